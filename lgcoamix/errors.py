"""The failures of the training side that a user can cause and mend."""


class SettingsError(ValueError):
    """A setting is unknown or has a value that cannot be: a usage error."""


class RunError(RuntimeError):
    """A run cannot start or go on: the world is not as it must be."""
