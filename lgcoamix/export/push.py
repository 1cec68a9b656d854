"""Send an exported folder to a model repository of the Hugging Face hub."""

import contextlib
import logging
import re
import sys
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from huggingface_hub import CommitOperationAdd, CommitOperationDelete, HfApi, ModelInfo, get_token
from huggingface_hub.errors import HfHubHTTPError, HFValidationError, OfflineModeIsEnabled, RepositoryNotFoundError
from huggingface_hub.utils import (
    are_progress_bars_disabled,
    disable_progress_bars,
    enable_progress_bars,
    validate_repo_id,
)

from lgcoamix.errors import RunError, SettingsError
from preprocess.outputs import MODEL
from preprocess.text import one_line

_LOGIN = "log in with `hf auth login`, or set HF_TOKEN to a token that may write"
_LATER = "wait a while"
_LONGEST = 300  # characters of what the hub says
_REMEDIES = {  # by status
    401: f"the hub does not accept the token: {_LOGIN}",
    403: "the token may not write there: take one that may, or another USER/NAME",
    404: "the hub does not know the user or organisation, or hides it from the token: check USER/NAME and the token",
    409: "something else is changing the repository: wait until it is done",
    412: "something else has changed the repository meanwhile",
    429: f"the hub takes no more requests for now: {_LATER}",
}


@dataclass(frozen=True)
class Sent:
    """What happened to the repository.

    Parameters
    ----------
    address : web page of the repository, as the hub gave it.
    is_new : whether it was created.
    is_private : who sees it.
    is_changed : whether anything was sent; False if the repository held the same files.
    removed : files of earlier exports that the folder no longer has, sorted.
    licence : what the card named that was there before; None if none.
    """

    address: str
    is_new: bool
    is_private: bool
    is_changed: bool
    removed: tuple[str, ...]
    licence: object


def check_repository(name: str) -> None:
    """Refuse the name of a repository that no hub takes.

    Raises
    ------
    SettingsError : it is not ``USER/NAME``.
    """
    try:
        validate_repo_id(name)
        fits = name.count("/") == 1
    except HFValidationError:
        fits = False
    if not fits:
        raise SettingsError(
            "--push-to-hub: expected USER/NAME, or ORGANISATION/NAME, of letters, digits and single - _ . between "
            f"them, such as anna/birds-resnet50, got {name[:_LONGEST]!r}"
        )


def check_token() -> None:
    """Refuse to begin without a token.

    Raises
    ------
    RunError : nobody is logged in.
    """
    try:
        token = get_token()
    except Exception as error:  # of the file, or of a service that gives tokens
        raise RunError(f"--push-to-hub: the token of the hub cannot be read: {_reason(error)}; {_LOGIN}") from None
    if token is None:
        raise RunError(f"--push-to-hub needs a token of the hub: {_LOGIN}. Nothing was written")


def push(folder: Path, files: tuple[str, ...], repository: str, say: Callable[[str], None]) -> Sent:
    """Make a repository hold the files of an exported folder, in one commit: all of them or none.

    A repository that is missing is created, with the visibility that is the default there. Other files in it stay, but
    those that an earlier export put there and this one lacks go.

    Parameters
    ----------
    folder : exported folder.
    files : names of the files that the export wrote; nothing else is sent.
    repository : ``USER/NAME``.
    say : shows a line of text: what the hub remarks, and that a request is repeated.

    Raises
    ------
    RunError : the hub cannot be reached, or refuses. The folder stays.
    """
    try:
        with _quiet(say):
            return _push(HfApi(token=get_token(), library_name="lgcoamix"), folder, files, repository)
    except Exception as error:  # those of huggingface_hub, its HTTP client and its storage have no common type
        reason = f"{_remedy(error)} ({_reason(error)})"
        raise RunError(
            f"{folder} is complete, but was not sent to {repository}: {reason}. Then the same command sends it"
        ) from None


def _push(api: HfApi, folder: Path, files: tuple[str, ...], repository: str) -> Sent:
    before = _look_up(api, repository)
    if before is None:
        api.create_repo(repository, exist_ok=True)
    now = before or api.model_info(repository)
    earlier = {part.rfilename for part in now.siblings or ()}
    removed = sorted(name for name in earlier - set(files) if re.fullmatch(MODEL.files, name))
    operations = [CommitOperationAdd(name, folder / name) for name in files]
    done = api.create_commit(
        now.id, [*operations, *map(CommitOperationDelete, removed)], commit_message="Export with lgcoamix"
    )
    licence = now.card_data.get("license") if now.card_data else None
    return Sent(str(done.repo_url), before is None, bool(now.private), done.oid != now.sha, tuple(removed), licence)


def _look_up(api: HfApi, repository: str) -> ModelInfo | None:
    """Describe a repository; None if there is none, or none that the token sees."""
    try:
        return api.model_info(repository)
    except RepositoryNotFoundError:
        return None


@contextlib.contextmanager
def _quiet(say: Callable[[str], None]) -> Iterator[None]:
    """Pass on what huggingface_hub logs and warns of, and show its bars to a terminal alone."""
    logger = logging.getLogger("huggingface_hub")
    handlers, disabled = logger.handlers, are_progress_bars_disabled()
    logger.handlers = [_Saying(say)]
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # what concerns programs
            warnings.simplefilter("always", UserWarning)
            warnings.showwarning = lambda message, *_, **__: say(f"note: {one_line(message, _LONGEST)}")
            if not sys.stderr.isatty():
                disable_progress_bars()
            yield
    finally:
        logger.handlers = handlers
        if not disabled:
            enable_progress_bars()


class _Saying(logging.Handler):
    def __init__(self, say: Callable[[str], None]) -> None:
        super().__init__(logging.WARNING)
        self._say = say

    def emit(self, record: logging.LogRecord) -> None:
        self._say(f"note: {one_line(record.getMessage(), _LONGEST)}")


def _remedy(error: Exception) -> str:
    if isinstance(error, OfflineModeIsEnabled):
        return "HF_HUB_OFFLINE forbids it: unset it"
    status = _status(error)
    if status is None:
        return "the hub was not reached: check the network, and HF_ENDPOINT if it is set"
    return _REMEDIES.get(
        status, f"the hub fails: {_LATER}" if status >= 500 else "the hub refuses it: see what it says"
    )


def _status(error: BaseException | None) -> int | None:
    """Status of the hub's answer, perhaps to a request of which another error came; None if it gave none."""
    while error is not None and not isinstance(error, HfHubHTTPError):
        error = error.__cause__
    return None if error is None else error.response.status_code


def _reason(error: BaseException) -> str:
    """What happened, in one line: the hub's words, or the first error of several."""
    while error.__cause__ is not None and not isinstance(error, HfHubHTTPError):
        error = error.__cause__
    if isinstance(error, HfHubHTTPError):
        words = f"{error.response.status_code}: {error.server_message or error.response.reason_phrase}"
        return one_line(words, _LONGEST)
    return one_line(f"{type(error).__name__}: {error}", _LONGEST)
