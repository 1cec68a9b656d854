"""What a setting of initial weights names: ``none``, ``pretrained``, a tag of timm, or a file. Works without torch."""

from pathlib import Path


def names_file(weights: str, home: Path = Path()) -> bool:
    """Whether a setting names a file: it has a folder or a suffix, or such a file exists. A tag of timm has neither.

    Parameters
    ----------
    home : folder in which relative paths start.

    Examples
    --------
    >>> from lgcoamix.settings.weights import names_file
    >>> names_file("tv_in1k"), names_file("best.pt"), names_file("runs/best")
    (False, True, True)
    """
    if weights in ("none", "pretrained"):
        return False
    return any(mark in weights for mark in "./\\") or _exists(home / weights)


def names_hub(weights: str) -> bool:
    """Whether a setting names weights on timm's hub: ``pretrained``, or a tag."""
    return weights != "none" and not names_file(weights)


def _exists(path: Path) -> bool:
    try:
        return path.exists() and not path.is_dir()
    except OSError:  # a name that is too long for any file
        return False
