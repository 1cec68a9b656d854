"""CUB-200-2011 (Wah et al., 2011): 200 bird species, 5,994 training and 5,794 test photographs."""

from pathlib import Path

from preprocess.datasets.base import Adapter, Listing, Sample
from preprocess.errors import DatasetError

_REMEDY = """\
fetch CUB_200_2011.tgz (1,150,585,339 bytes, md5 97eceeb196236b17998738112f37df78)
from data.caltech.edu/records/65de6-vp158 and unpack it there, so that this exists:
  {root}/CUB_200_2011/images.txt"""


def find_cub(root: Path) -> Listing:
    """List CUB-200-2011 in its official layout.

    Parameters
    ----------
    root : the folder ``CUB_200_2011`` or the folder that holds it.

    Returns
    -------
    Listing with the official split; label = official class id - 1, key = path under ``images/``.

    Raises
    ------
    DatasetError : the layout is missing (the message says what to fetch), or its tables do not agree.
    """
    home = root / "CUB_200_2011" if (root / "CUB_200_2011").is_dir() else root
    if not (home / "images.txt").is_file():
        raise DatasetError(f"CUB-200-2011 is not under {root}; " + _REMEDY.format(root=root))
    names = _table(home / "classes.txt")
    paths = _table(home / "images.txt")
    labels = _table(home / "image_class_labels.txt")
    in_train = _table(home / "train_test_split.txt")
    if not paths.keys() == labels.keys() == in_train.keys():
        raise DatasetError(
            f"{home}: images.txt, image_class_labels.txt and train_test_split.txt list different image ids; "
            "unpack the archive again"
        )
    if odd := set(in_train.values()) - {"0", "1"}:
        raise DatasetError(
            f"{home / 'train_test_split.txt'}: expected 0 or 1, got {min(odd)!r}; unpack the archive again"
        )
    label_of = {class_id: label for label, class_id in enumerate(sorted(names, key=int))}
    splits: dict[str, list[Sample]] = {"train": [], "test": []}
    for image_id in sorted(paths, key=int):
        if labels[image_id] not in label_of:
            raise DatasetError(f"{home}: image {image_id} has class {labels[image_id]}, which classes.txt lacks")
        sample = Sample(paths[image_id], label_of[labels[image_id]], home / "images" / paths[image_id])
        splits["train" if in_train[image_id] == "1" else "test"].append(sample)
    classes = tuple(names[class_id] for class_id in label_of)
    return Listing(classes, {split: tuple(samples) for split, samples in splits.items()})


def _table(path: Path) -> dict[str, str]:
    """Read lines of ``id value``."""
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except OSError as error:
        raise DatasetError(f"{path} cannot be read: {error.strerror}; unpack the archive again") from None
    table = {}
    for number, line in enumerate(lines, start=1):
        parts = line.split(maxsplit=1)
        if len(parts) == 2 and parts[0].isdigit():
            if parts[0] in table:
                raise DatasetError(f"{path}, line {number}: id {parts[0]} comes twice; unpack the archive again")
            table[parts[0]] = parts[1].strip()
        elif parts:
            raise DatasetError(f"{path}, line {number}: expected 'id value', got {line!r}; unpack the archive again")
    return table


CUB = Adapter(
    summary="CUB-200-2011, official layout and split",
    find=find_cub,
    # The papers draw 30 to 40 on the 224x224 crop; (256/224)² times as many keep the size of a superpixel.
    segments="39:52",
)
