"""Errors of the training side that a user can cause and fix."""


class SettingsError(ValueError):
    """A setting is unknown or has an invalid value: a usage error."""


class RunError(RuntimeError):
    """A run cannot start or continue: its data, files or machine are not as required."""


class FolderTakenError(RunError):
    """Another process is training in the run folder."""

    CODE = 75  # exit code of a run that a sweep has started: try again later, as in sysexits.h


class Interrupted(Exception):  # noqa: N818 - not an error: the user asked for it
    """A signal stopped the run, after it saved a checkpoint."""

    def __init__(self, message: str, signal: int) -> None:
        super().__init__(message)
        self.signal = signal
