"""The failures of the training side that a user can cause and mend."""


class SettingsError(ValueError):
    """A setting is unknown or has a value that cannot be: a usage error."""


class RunError(RuntimeError):
    """A run cannot start or go on: the world is not as it must be."""


class Interrupted(Exception):  # noqa: N818 - not an error: the run stopped where it was told to
    """A run was told to stop by a signal, and saved where it is."""

    def __init__(self, message: str, signal: int) -> None:
        super().__init__(message)
        self.signal = signal
