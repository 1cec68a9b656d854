"""``export --push-to-hub``: what arrives at a hub on loopback, and what is said where it fails."""

import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import timm
import torch
from click.testing import CliRunner, Result
from huggingface_hub import ModelCard

from lgcoamix.cli import main
from lgcoamix.errors import RunError
from lgcoamix.export.push import push
from tests.conftest import PROOF, ROOT
from tests.lgcoamix.export.hub_server import DROP, HOLD, Hub, Repository, serving
from tests.lgcoamix.export.test_export import CLASSES, FILES, _by_hand, _settings
from tests.lgcoamix.runs.checkpoints import write_checkpoint

TOKEN = "hf_secret"
FAILS = r"\S+ is complete, but was not sent to anna/birds: {}\. Then the same command sends it"


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    """A hub to which the library talks as it would with HF_ENDPOINT, HF_HUB_DISABLE_XET, HF_HOME and HF_TOKEN."""
    constants = "huggingface_hub.constants"
    with serving() as hub:
        monkeypatch.setattr(f"{constants}.ENDPOINT", hub.address)
        monkeypatch.setattr(
            f"{constants}.HUGGINGFACE_CO_URL_TEMPLATE", hub.address + "/{repo_id}/resolve/{revision}/{filename}"
        )
        monkeypatch.setattr(f"{constants}.HF_HUB_DISABLE_XET", True)
        monkeypatch.setattr(f"{constants}.HF_HUB_OFFLINE", False)
        monkeypatch.setattr(f"{constants}.HF_HUB_CACHE", str(tmp_path / "cache"))
        monkeypatch.setattr(f"{constants}.HF_TOKEN_PATH", str(tmp_path / "token"))
        monkeypatch.setenv("HF_TOKEN", TOKEN)
        yield hub


@pytest.fixture(scope="module")
def best(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint, read-only."""
    return write_checkpoint(tmp_path_factory.mktemp("run") / "best.pt", _settings(), CLASSES)


@pytest.fixture(scope="module")
def exported(best: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Its export, read-only."""
    out = tmp_path_factory.mktemp("exported") / "birds"
    assert CliRunner().invoke(main, ["export", "--checkpoint", str(best), "--out", str(out)]).exit_code == 0
    return out


def _push(checkpoint: Path, out: Path, *options: object, to: str = "anna/birds") -> Result:
    words = ["export", "--checkpoint", checkpoint, "--out", out, "--push-to-hub", to, *options]
    done = CliRunner().invoke(main, list(map(str, words)))
    assert done.exception is None or isinstance(done.exception, SystemExit), repr(done.exception)
    return done


def _silent(line: str) -> None:
    """Show nothing."""


def _content(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_the_repository_gets_the_files_of_the_folder_byte_for_byte_in_one_commit(best, hub, tmp_path):
    done = _push(best, tmp_path / "out")
    assert done.exit_code == 0, done.output
    assert hub.repositories["anna/birds"].files == _content(tmp_path / "out")
    assert sorted(hub.repositories["anna/birds"].files) == FILES
    assert hub.repositories["anna/birds"].messages == ["Export with lgcoamix"]
    assert hub.repositories.keys() == {"anna/birds"}
    said = f"sent 3 files to {hub.address}/anna/birds (new, public: everybody can read it)"
    assert done.stdout.splitlines()[-1] == said
    tokens = {token for route, token in hub.requests if route != "store"}
    assert tokens == {f"Bearer {TOKEN}"}
    assert TOKEN not in done.output
    # What was sent is what a user of timm gets.
    images = torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(1))
    card = (tmp_path / "out" / "README.md").read_text()
    (line,) = re.findall(r"^model = (timm.create_model\(\"hf-hub:.+)\.eval\(\)$", card, re.MULTILINE)
    with torch.no_grad():
        logits = eval(line, {"timm": timm}).eval()(images)
        assert torch.equal(logits, _by_hand(best, "test_resnet", {})(images))
    assert "hf download anna/birds --local-dir out" in card


def test_a_repository_keeps_its_other_files_and_who_sees_it(best, hub, tmp_path):
    old = {"README.md": b"old", "model.onnx": b"of other weights", "notes.txt": b"mine", "images/a.png": b"mine"}
    hub.repositories["anna/birds"] = Repository(private=True, files=dict(old))
    out = tmp_path / "out"
    out.mkdir()
    (out / "diary.txt").write_text("not yours")
    done = _push(best, out, "--force")
    assert done.exit_code == 0, done.output
    mine = {name: old[name] for name in ("notes.txt", "images/a.png")}
    assert hub.repositories["anna/birds"].files == mine | {name: (out / name).read_bytes() for name in FILES}
    assert f"sent 3 files to {hub.address}/anna/birds (private)\n" in done.stdout
    assert "removed there, as this export has none: model.onnx" in done.stdout
    assert "create" not in [route for route, _ in hub.requests]
    hub.requests.clear()
    done = _push(best, out, "--force")
    assert f"nothing to send: the same 3 files are in {hub.address}/anna/birds (private)\n" in done.stdout
    assert "store" not in [route for route, _ in hub.requests]
    assert len(hub.repositories["anna/birds"].messages) == 1


def test_a_licence_that_was_chosen_there_is_not_lost_in_silence(best, hub, tmp_path):
    hub.repositories["anna/birds"] = Repository(files={"README.md": b"---\nlicense: mit\n---\nold"})
    note = "note: the card that was there named the licence mit, the new one names none: pass --license to keep it\n"
    done = _push(best, tmp_path / "out")
    assert done.exit_code == 0, done.output
    assert done.stderr.endswith(note)
    assert note not in _push(best, tmp_path / "out").output


def test_a_licence_that_is_chosen_here_is_kept(best, hub, tmp_path):
    hub.repositories["anna/birds"] = Repository(files={"README.md": b"---\nlicense: mit\n---\nold"})
    done = _push(best, tmp_path / "out", "--license", "apache-2.0")
    assert done.stderr.endswith("note: the card that was there named the licence mit, the new one apache-2.0\n")
    done = _push(best, tmp_path / "out", "--license", "apache-2.0")
    assert (done.exit_code, "named the licence" in done.output) == (0, False)
    assert ModelCard.load(tmp_path / "out" / "README.md").data.license == "apache-2.0"


@pytest.mark.parametrize("name", ["MIT", "my licence", "", "mit\nx", "-mit"])
def test_what_is_no_identifier_of_a_licence_is_refused(name, best, tmp_path):
    done = CliRunner().invoke(
        main, ["export", "--checkpoint", str(best), "--out", str(tmp_path / "o"), "--license", name]
    )
    assert (done.exit_code, (tmp_path / "o").exists()) == (2, False)
    assert "--license: expected an identifier of the hub, such as mit" in " ".join(done.output.split())


def test_what_the_hub_remarks_is_passed_on(exported, hub):
    hub.warnings, said = ["no licence\nis given"], []
    push(exported, tuple(FILES), "anna/birds", said.append)
    assert [line for line in said if not re.fullmatch(r"note: .*: - no licence is given", line)] == []
    assert len(said) == 1


REFUSALS = {
    "token": (
        "describe",
        401,
        "Invalid username or password.",
        r"the hub does not accept the token: log in .*\(401: .+\)",
    ),
    "right": ("create", 403, "No right", r"the token may not write there: .* another USER/NAME \(403: No right\)"),
    "user": ("create", 404, "No such user", r"the hub does not know the user .* \(404: No such user\)"),
    "both": (
        "create",
        400,
        "Name is taken\nby you",
        r"the hub refuses it: see what it says \(400: Name is taken by you\)",
    ),
    "hub": ("create", 500, "", r"the hub fails: wait a while \(500: Internal Server Error\)"),
    "head": ("validate", 400, "license is odd", r"the hub refuses it: see what it says \(400: license is odd\)"),
    "storage": ("store", 403, "quota", r"the token may not .* \(403: quota\)"),
    "digest": ("verify", 422, "short", r"the hub refuses it: see what it says \(422: short\)"),
    "another": ("commit", 412, "main has moved", r"something else has changed .* \(412: main has moved\)"),
    "change": ("commit", 409, "busy", r"something else is changing .* \(409: busy\)"),
    "last": ("commit", 500, "", r"the hub fails: wait a while \(500: Internal Server Error\)"),
    "interrupted": ("commit", DROP, "", r"the hub was not reached: check .* \(RemoteProtocolError: .+\)"),
}


@pytest.mark.parametrize("case", REFUSALS)
def test_a_refusal_is_one_line_that_says_what_to_do(case, exported, hub):
    route, status, text, said = REFUSALS[case]
    hub.refusals[route] = (status, text)
    if case == "token":
        hub.refusals["create"] = hub.refusals[route]
    with pytest.raises(RunError) as caught:
        push(exported, tuple(FILES), "anna/birds", _silent)
    assert re.fullmatch(FAILS.format(said), str(caught.value)), caught.value
    assert TOKEN not in str(caught.value)
    assert all(not repository.files for repository in hub.repositories.values())
    hub.refusals.clear()
    assert push(exported, tuple(FILES), "anna/birds", _silent).is_changed
    assert hub.repositories["anna/birds"].files == _content(exported)


def test_after_a_failure_the_folder_stands_and_the_same_command_sends_it(best, hub, tmp_path):
    hub.refusals["commit"] = (500, "")
    done = _push(best, tmp_path / "out")
    assert done.exit_code == 1, done.output
    line = done.stderr.splitlines()[-1]
    assert re.fullmatch(f"Error: {FAILS.format(REFUSALS['last'][-1])}", line), done.stderr
    assert sum(line.startswith("Error") for line in done.output.splitlines()) == 1
    assert "Traceback" not in done.output
    assert f"wrote {tmp_path / 'out'}: README.md, config.json, model.safetensors" in done.stdout
    before = _content(tmp_path / "out")
    assert sorted(before) == FILES
    hub.refusals.clear()
    done = _push(best, tmp_path / "out")
    assert done.exit_code == 0, done.output
    assert hub.repositories["anna/birds"].files == _content(tmp_path / "out") == before
    assert f"sent 3 files to {hub.address}/anna/birds (public: everybody can read it)" in done.stdout  # it is there now


@pytest.mark.parametrize("case", ["nobody listens", "offline"])
def test_without_a_network_that_is_said(case, exported, hub, monkeypatch):
    if case == "offline":
        monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
        said = r"HF_HUB_OFFLINE forbids it: unset it \(OfflineModeIsEnabled: .+\)"
    else:
        monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", "http://127.0.0.1:9")
        said = r"the hub was not reached: check the network, and HF_ENDPOINT if it is set \(ConnectError: .+\)"
    with pytest.raises(RunError) as caught:
        push(exported, tuple(FILES), "anna/birds", _silent)
    assert re.fullmatch(FAILS.format(said), str(caught.value)), caught.value
    assert hub.requests == []


def test_without_a_token_nothing_begins(best, hub, tmp_path, monkeypatch):
    monkeypatch.delenv("HF_TOKEN")
    done = _push(best, tmp_path / "out")
    assert done.exit_code == 1, done.output
    assert done.stderr == (
        "Error: --push-to-hub needs a token of the hub: log in with `hf auth login`, or set HF_TOKEN to a token that "
        "may write. Nothing was written\n"
    )
    assert not (tmp_path / "out").exists()
    assert hub.requests == []
    (tmp_path / "token").write_text("hf_other\n")  # as `hf auth login` leaves it
    assert _push(best, tmp_path / "out").exit_code == 0
    assert ("commit", "Bearer hf_other") in hub.requests


@pytest.mark.parametrize(
    "name", ["birds", "a/b/c", "", "anna/", "/birds", "anna/bi rds", "anna/-x", "a/b--c", "a/b.git"]
)
def test_a_name_that_no_hub_takes_is_a_usage_error(name, best, hub, tmp_path):
    done = _push(best, tmp_path / "out", to=name)
    assert done.exit_code == 2, done.output
    assert "--push-to-hub: expected USER/NAME" in " ".join(done.stderr.split())
    assert not (tmp_path / "out").exists()
    assert hub.requests == []


@pytest.mark.skipif(not PROOF, reason="processes that import torch, and half a minute of attempts: LGCOAMIX_PROOF=1")
@pytest.mark.parametrize("case", ["sent", "cut off", "Ctrl-C"])
def test_in_a_process_of_its_own_with_the_variables_of_the_library(case, best, tmp_path):
    out = tmp_path / "out"
    with serving() as hub:
        if case != "sent":
            hub.refusals["store"] = (DROP if case == "cut off" else HOLD, "")
        variables = {"HF_ENDPOINT": hub.address, "HF_HUB_DISABLE_XET": "1", "HF_TOKEN": TOKEN, "HF_HOME": str(tmp_path)}
        words = ("-m", "lgcoamix", "export", "--checkpoint", best, "--out", out, "--push-to-hub", "anna/birds")
        process = subprocess.Popen(
            [sys.executable, *map(str, words)],
            cwd=ROOT,
            env={**os.environ, "HF_HUB_OFFLINE": "", **variables},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        if case == "Ctrl-C":
            assert hub.held.wait(120)
            process.send_signal(signal.SIGINT)
        told, said = process.communicate(timeout=300)
        assert "Traceback" not in said
        files = hub.repositories["anna/birds"].files
        assert sorted(path.name for path in out.iterdir()) == FILES
        if case == "sent":
            assert (process.returncode, files) == (0, _content(out)), said
            assert f"sent 3 files to {hub.address}/anna/birds (new, public" in told
            return
        assert (process.returncode, files) == (1 if case == "cut off" else 130, {}), said
        last = said.splitlines()[-1]
        if case == "cut off":
            assert re.fullmatch(f"Error: {FAILS.format(REFUSALS['interrupted'][-1])}", last), said
            assert said.count("note: Retrying in") == 5
        else:
            again = f"interrupted; {out} is complete, anna/birds may lack it: run the same command to send it"
            assert last == again


def test_without_the_option_nothing_is_sent_and_the_card_names_no_repository(best, hub, tmp_path):
    words = ["export", "--checkpoint", str(best), "--out", str(tmp_path / "out")]
    assert CliRunner().invoke(main, words).exit_code == 0
    assert hub.requests == []
    assert "hf-hub:" not in (tmp_path / "out" / "README.md").read_text()
