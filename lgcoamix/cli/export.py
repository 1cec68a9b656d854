"""``python -m lgcoamix export``."""

import re
from pathlib import Path
from typing import Any

import click

from lgcoamix.cli.common import CONTEXT, friendly
from lgcoamix.cli.options import CHECKPOINT, FORCE, PATH, options_of
from lgcoamix.errors import SettingsError
from lgcoamix.runs.documents import checkpoint_file
from lgcoamix.settings.options import ExportOptions
from preprocess import interrupt
from preprocess.extras import required
from preprocess.outputs import MODEL, check_output
from preprocess.terminal import say, tell
from preprocess.text import shown


@click.command(short_help="Export a trained network as a folder that timm loads.", context_settings=CONTEXT)
@CHECKPOINT
@click.option("--out", type=PATH, required=True, help="Folder to create.")
@options_of(ExportOptions)
@FORCE
@friendly
def export(checkpoint: Path, out: Path, force: bool, **given: Any) -> None:
    """Write a trained backbone for timm: model.safetensors, config.json and a model card, README.md.

    timm.create_model("local-dir:OUT", pretrained=True) loads the folder. Its logits are compared with those of the
    checkpoint before OUT is created. If the checkpoint has averaged weights, they are exported.

    \b
    Examples:
      python -m lgcoamix export --checkpoint runs/try --out models/try
      python -m lgcoamix export --checkpoint runs/try/last.pt --out models/try-last --onnx
      python -m lgcoamix export --checkpoint runs/try --out models/try --push-to-hub anna/birds
    """
    repository, licence = given["push_to_hub"], given["license"]
    if licence is not None and not re.fullmatch(r"[a-z0-9]+([.-][a-z0-9]+)*", licence):
        raise SettingsError(
            f"--license: expected an identifier of the hub, such as mit, apache-2.0 or cc-by-nc-4.0, got {licence!r}; "
            "give other if the hub lists none for yours"
        )
    if repository is not None:
        with required("--push-to-hub"):
            from lgcoamix.export.push import check_repository
        check_repository(repository)
    if given["onnx"]:
        with required("--onnx"):
            import onnx  # noqa: F401
            import onnxruntime  # noqa: F401
            import onnxscript  # noqa: F401
    file = checkpoint_file(checkpoint)
    check_output(out, MODEL, force, [file], [file.parent])
    if repository is not None:
        from lgcoamix.export.push import check_token

        check_token()

    from lgcoamix.export.export import export as run

    summary = run(ExportOptions(checkpoint, out, **given), tell)
    say(
        f"{summary.checkpoint}: {summary.architecture}, {summary.classes} classes, input {summary.image_size} pixels; "
        "timm gives the same logits"
    )
    if summary.onnx_difference is not None:
        say(f"model.onnx differs from PyTorch by at most {summary.onnx_difference:.1e}")
    say(f"wrote {out}: {', '.join(summary.files)}")
    if repository is not None:
        _push(out, summary.files, repository, licence)


def _push(out: Path, files: tuple[str, ...], repository: str, licence: str | None) -> None:
    from lgcoamix.export.push import push

    interrupt.explain(
        shown(f"interrupted; {out} is complete, {repository} may lack it: run the same command to send it")
    )
    tell(f"sending {out} to {repository} ...")
    sent = push(out, files, repository, tell)
    did = f"sent {len(files)} files to" if sent.is_changed else f"nothing to send: the same {len(files)} files are in"
    state = [*(["new"] if sent.is_new else []), "private" if sent.is_private else "public: everybody can read it"]
    say(f"{did} {sent.address} ({', '.join(state)})")
    if sent.removed:
        say(f"removed there, as this export has none: {', '.join(sent.removed)}")
    if sent.licence and sent.licence != licence:
        now = licence or "names none: pass --license to keep it"
        tell(f"note: the card that was there named the licence {sent.licence}, the new one {now}")
