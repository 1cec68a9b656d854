"""Failures that a user can cause and fix. Each message says what was expected, what was found and what to do."""


class PreprocessError(Exception):
    """Base class of all errors of the offline stage that are not bugs."""


class DatasetError(PreprocessError):
    """The raw data is missing, incomplete or not in the layout that its adapter expects."""


class MissingDataError(DatasetError):
    """The layout that an adapter expects is missing: the data set must be downloaded."""


class UnavailableError(DatasetError):
    """An archive cannot be downloaded, for lack of a network or of the file on the server."""


class ImageError(PreprocessError):
    """The bytes of one source file are not a usable image."""


class StoreError(PreprocessError):
    """A store is missing, damaged or of another version, or lacks the requested content."""


class SettingError(PreprocessError):
    """A setting of a build is not possible: a usage error.

    Parameters
    ----------
    name : of the setting.
    reason : what was expected.
    """

    def __init__(self, name: str, reason: str) -> None:
        super().__init__(f"{name}: {reason}")
        self.name, self.reason = name, reason


class OutputError(PreprocessError):
    """An output would replace an input, or a file that the command did not write: a usage error."""


class BuildError(PreprocessError):
    """A build ended without publishing its index."""
