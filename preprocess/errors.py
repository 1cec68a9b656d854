"""The failures that a user can cause and mend. Each message says what was expected, what came, what to do."""


class PreprocessError(Exception):
    """Base of every failure of the offline stage that is not a bug."""


class DatasetError(PreprocessError):
    """The raw data set is missing, incomplete or laid out otherwise than its adapter expects."""


class MissingDataError(DatasetError):
    """The layout that an adapter expects is not there: the data set has to be fetched."""


class UnavailableError(DatasetError):
    """An archive cannot be downloaded: no network, or no such file on the server."""


class ImageError(PreprocessError):
    """The bytes of one source file are not a usable image."""


class StoreError(PreprocessError):
    """A store is missing, damaged, of another version, or does not hold what was asked for."""


class Terminated(KeyboardInterrupt):
    """SIGTERM came: as Ctrl-C, with another exit code."""


class ThreadsInterrupted(KeyboardInterrupt):
    """Ctrl-C or SIGTERM while threads of this process are at work: they cannot be stopped, it has to end at once."""


class BuildError(PreprocessError):
    """A build ended without publishing its index."""
