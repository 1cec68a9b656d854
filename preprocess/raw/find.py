"""Find, generate or download the raw data of a data set."""

from pathlib import Path

from preprocess.datasets import DATASETS, EVERYTHING, Adapter, Listing, Request
from preprocess.errors import DatasetError, MissingDataError, UnavailableError

RAW = Path("data/raw")


def find_raw_data(
    name: str,
    root: Path,
    download: bool = False,
    max_unpacked: int | None = None,
    request: Request = EVERYTHING,
) -> Listing:
    """List a data set; generate or download it if it is not under its root.

    Archives are downloaded only if ``download`` is set. Archives under the root are unpacked in any case, up to
    ``max_unpacked`` bytes each (:func:`preprocess.raw.unpack.unpack`).

    Raises
    ------
    DatasetError : the data set is damaged, or missing and not obtainable; the message says what to do.
    """
    adapter = DATASETS[name]
    if adapter.create is not None and not root.exists():
        adapter.create(root)
    try:
        return _find(adapter, root, download, max_unpacked, request)
    except UnavailableError as error:
        raise DatasetError(f"{error}\nexpected layout under {root}: {adapter.layout}") from None
    except MissingDataError as error:
        gap = "\n" if "\n" in str(error) else "; "
        raise MissingDataError(
            f"{name} was not found under {root}: {error}{gap}expected layout: {adapter.layout}"
        ) from None


def _find(adapter: Adapter, root: Path, download: bool, max_unpacked: int | None, request: Request) -> Listing:
    if not adapter.archives:
        return adapter.find(root, request)
    from preprocess.raw.download import fetch, unfinished

    try:
        if not unfinished(adapter.archives, root):
            return adapter.find(root, request)
    except MissingDataError as lacking:
        try:
            fetch(adapter.archives, root, download, max_unpacked)
        except MissingDataError as error:
            raise MissingDataError(f"{lacking}\n{error}") from None
    else:
        fetch(adapter.archives, root, download, max_unpacked)
    return adapter.find(root, request)
