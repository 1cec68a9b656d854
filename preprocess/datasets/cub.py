"""CUB-200-2011 (Wah et al., 2011), 200 bird species, and NABirds (Van Horn et al., 2015), which share a layout."""

from pathlib import Path
from shlex import quote

from preprocess.datasets.base import EVERYTHING, Adapter, Archive, Listing, Request, Sample, locate, located
from preprocess.datasets.masks import keep_masks
from preprocess.datasets.metadata import NUMBER, RESTORE, SeparatorError, read_boxes, read_table
from preprocess.errors import DatasetError, MissingDataError

_TABLES = ("images.txt", "image_class_labels.txt", "train_test_split.txt")
_BOXES = "bounding_boxes.txt"
_MASKS = "segmentations"  # a folder beside images/, or beside the folder of the set, as its archive unpacks
_NABIRDS_ID = r"[0-9a-fA-F-]{32,36}"


def find_cub(root: Path, request: Request = EVERYTHING) -> Listing:
    """List CUB-200-2011 in its official layout.

    ``root`` is the folder ``CUB_200_2011``, or a folder up to two levels above it. Label = official class id - 1; keys
    are paths under ``images/``. Without ``bounding_boxes.txt``, boxes are those around masks in ``segmentations/``.

    Raises
    ------
    DatasetError : also for CUB-200 of 2010, and for tables with commas; the message says how to build those.
    """
    try:
        home = locate(root, "images.txt").parent
    except MissingDataError:
        _refuse_2010(root)
        raise
    try:
        listing = _list(home, read_table(home / "classes.txt"), NUMBER, request)
    except SeparatorError as error:
        if missing := [name for name in _TABLES if not (home / name).is_file()]:
            raise DatasetError(f"{error}, which takes {' and '.join(missing)} too: there is none in {home}") from None
        raise DatasetError(f"{error}. It is made and built by\n{_join(home, error.mark)}") from None
    inside = (home / _MASKS).is_dir() or home == root  # nothing above the root
    return keep_masks(listing, home / _MASKS if inside else home.parent / _MASKS)


def _refuse_2010(root: Path) -> None:
    if (table := located(root, "lists/train.txt")) is None:
        return
    lists = table.parent
    home = lists.parent
    rows = f'for s in train test; do sed "s|\\(.*\\)/.*|&,\\1,$s|" {quote(str(lists))}/$s.txt; done'
    raise DatasetError(
        f"{home} is CUB-200 of 2010 with 6,033 images, not CUB-200-2011 with 11,788. For that one, choose another "
        f"--root. To build this one:\n{_commands(home, rows)}"
    )


def _join(home: Path, mark: str) -> str:
    """Commands that build a set of tables with a comma or the like between their columns."""
    tables = " ".join(quote(str(home / name)) for name in ("classes.txt", *_TABLES))
    program = (
        """{gsub(/\\r/, "")} FNR == 1 {++table} $1 !~ /[0-9]/ {next} """  # a header has no id
        """table == 1 {name[$1] = $2} table == 2 {path[$1] = $2} table == 3 {class[$1] = $2} """
        """table == 4 {print path[$1] "," name[class[$1]] "," ($2 + 0 || $2 ~ /^[Tt]r/ ? "train" : "test")}"""
    )
    return _commands(home, f"awk -F' *[{mark}] *' '{program}' {tables}")


def _commands(home: Path, rows: str) -> str:
    """Commands that build the images under a folder from rows of path, class and split."""
    images = home / "images"
    root = quote(str(images if images.is_dir() else home))
    table = f"(echo path,label,split; {rows}) > list.csv"
    return f"  {table}\n  python -m lgcoamix preprocess build table --table list.csv --root {root}"


def find_nabirds(root: Path, request: Request = EVERYTHING) -> Listing:
    """List NABirds, like :func:`find_cub`. Its classes are those with images, ordered by official number.

    Class ids are not contiguous, because the table of classes also contains the upper nodes of the hierarchy.
    """
    home = locate(root, "images.txt").parent
    names = read_table(home / "classes.txt")
    used = set(read_table(home / "image_class_labels.txt", _NABIRDS_ID).values())
    return _list(home, {number: name for number, name in names.items() if number in used}, _NABIRDS_ID, request)


def _list(home: Path, names: dict[str, str], identity: str, request: Request) -> Listing:
    paths, labels, in_train = (read_table(home / name, identity) for name in _TABLES)
    boxes = read_boxes(home / _BOXES, lambda x, y, width, height: (x, y, x + width, y + height), identity)
    if not paths.keys() == labels.keys() == in_train.keys() == (boxes or paths).keys():
        raise DatasetError(
            f"{home}: images.txt, image_class_labels.txt, train_test_split.txt and bounding_boxes.txt list different "
            f"image ids; {RESTORE}"
        )
    if odd := set(in_train.values()) - {"0", "1"}:
        raise DatasetError(f"{home / 'train_test_split.txt'}: expected 0 or 1, got {min(odd)!r}; {RESTORE}")
    ordered = sorted(names, key=int)
    label_of = {number: label for label, number in enumerate(ordered)}
    splits: dict[str, list[Sample]] = {"train": [], "test": []}
    for image, path in paths.items():
        if labels[image] not in label_of:
            raise DatasetError(
                f"{home / 'image_class_labels.txt'}: image {image} has class {labels[image]}, not in classes.txt; "
                f"{RESTORE}"
            )
        sample = Sample(path, label_of[labels[image]], home / "images" / path, boxes.get(image, ()))
        splits["train" if in_train[image] == "1" else "test"].append(sample)
    return Listing(
        tuple(names[number] for number in ordered),
        {split: tuple(samples) for split, samples in splits.items() if request.wants(split)},
        tables=tuple(home / name for name in ("classes.txt", *_TABLES, *([_BOXES] if boxes else []))),
    )


CUB = Adapter(
    summary="CUB-200-2011 (Wah et al., 2011): birds",
    find=find_cub,
    layout="CUB_200_2011/{images.txt, image_class_labels.txt, train_test_split.txt, classes.txt, images/}",
    source="https://data.caltech.edu/records/65de6-vp158",
    licence="images for non-commercial research and education only",
    archives=(
        Archive(
            "CUB_200_2011.tgz",
            "https://data.caltech.edu/records/65de6-vp158/files/CUB_200_2011.tgz?download=1",
            "md5:97eceeb196236b17998738112f37df78",
            1_150_585_339,
        ),
    ),
    counts={"train": 5_994, "test": 5_794},
    classes=200,
    # The papers draw 30 to 40 on the 224x224 crop; times (256/224)² keeps the size of a superpixel.
    segments="39:52",
)

NABIRDS = Adapter(
    summary="NABirds (Van Horn et al., 2015): birds of North America",
    find=find_nabirds,
    layout="nabirds/{images.txt, image_class_labels.txt, train_test_split.txt, classes.txt, hierarchy.txt, images/}",
    source="https://dl.allaboutbirds.org/nabirds (after accepting its terms)",
    licence="non-commercial research and education only, under the terms of the Cornell Lab",
    archives=(Archive("nabirds.tar.gz", None, "md5:df21a9e4db349a14e2b08adfd45873bd"),),
    counts={"train": 23_929, "test": 24_633},
    classes=555,
    # SnapMix: short side 512, crop 448. Inferred: 30 to 40 superpixels per crop, as on CUB, times (512/448)².
    size=512,
    resize="short",
    codec="jpeg",
    segments="39:52",
)
