"""Oxford Flowers 102 (Nilsback and Zisserman, 2008)."""

from pathlib import Path

import numpy as np

from preprocess.datasets.base import EVERYTHING, Adapter, Archive, Listing, Request, Sample, locate
from preprocess.datasets.metadata import RESTORE, check_classes, read_mat
from preprocess.errors import DatasetError

_SPLITS = {"train": "trnid", "val": "valid", "test": "tstid"}

# The archive has no class names; these are from the set's home page, by label.
CLASSES = (
    "pink primrose", "hard-leaved pocket orchid", "canterbury bells", "sweet pea", "english marigold", "tiger lily",
    "moon orchid", "bird of paradise", "monkshood", "globe thistle", "snapdragon", "colt's foot", "king protea",
    "spear thistle", "yellow iris", "globe-flower", "purple coneflower", "peruvian lily", "balloon flower",
    "giant white arum lily", "fire lily", "pincushion flower", "fritillary", "red ginger", "grape hyacinth",
    "corn poppy", "prince of wales feathers", "stemless gentian", "artichoke", "sweet william", "carnation",
    "garden phlox", "love in the mist", "mexican aster", "alpine sea holly", "ruby-lipped cattleya", "cape flower",
    "great masterwort", "siam tulip", "lenten rose", "barbeton daisy", "daffodil", "sword lily", "poinsettia",
    "bolero deep blue", "wallflower", "marigold", "buttercup", "oxeye daisy", "common dandelion", "petunia",
    "wild pansy", "primula", "sunflower", "pelargonium", "bishop of llandaff", "gaura", "geranium", "orange dahlia",
    "pink-yellow dahlia?", "cautleya spicata", "japanese anemone", "black-eyed susan", "silverbush",
    "californian poppy", "osteospermum", "spring crocus", "bearded iris", "windflower", "tree poppy", "gazania",
    "azalea", "water lily", "rose", "thorn apple", "morning glory", "passion flower", "lotus", "toad lily",
    "anthurium", "frangipani", "clematis", "hibiscus", "columbine", "desert-rose", "tree mallow", "magnolia",
    "cyclamen", "watercress", "canna lily", "hippeastrum", "bee balm", "ball moss", "foxglove", "bougainvillea",
    "camellia", "mallow", "mexican petunia", "bromelia", "blanket flower", "trumpet creeper", "blackberry lily",
)  # fmt: skip


def find_flowers102(root: Path, request: Request = EVERYTHING) -> Listing:
    """List Flowers 102 in its official layout.

    ``root`` contains ``jpg/``, ``imagelabels.mat`` and ``setid.mat``, each directly or up to two levels below. Label =
    official label - 1; keys are file names.
    """
    images = locate(root, "jpg")
    table, ids = (locate(root, name) for name in ("imagelabels.mat", "setid.mat"))
    labels = read_mat(table, lambda found: np.ravel(found["labels"]).astype(int))
    check_classes(table, labels, len(CLASSES))
    chosen = read_mat(ids, lambda found: {name: np.ravel(found[key]).astype(int) for name, key in _SPLITS.items()})
    splits = {}
    for split, numbers in chosen.items():
        if not request.wants(split):
            continue
        odd = numbers[(numbers < 1) | (numbers > len(labels))]
        if odd.size:
            raise DatasetError(f"{ids}: {split} has image {odd[0]}, but {table} has {len(labels)} labels; {RESTORE}")
        files = [(f"image_{number:05d}.jpg", int(labels[number - 1]) - 1) for number in numbers]
        splits[split] = tuple(Sample(file, label, images / file) for file, label in files)
    return Listing(CLASSES, splits, tables=(table, ids))


_HOME = "https://www.robots.ox.ac.uk/~vgg/data/flowers/102"

FLOWERS102 = Adapter(
    summary="Oxford Flowers 102 (Nilsback and Zisserman, 2008)",
    find=find_flowers102,
    layout="{jpg/image_00001.jpg, imagelabels.mat, setid.mat}",
    source=_HOME,
    licence="none stated; photographs from the web: research",
    archives=(
        Archive("102flowers.tgz", f"{_HOME}/102flowers.tgz", "md5:52808999861908f626f3c1f4e79d11fa", holds="jpg"),
        Archive("imagelabels.mat", f"{_HOME}/imagelabels.mat", "md5:e0620be6f572b9609742df49c70aed4d"),
        Archive("setid.mat", f"{_HOME}/setid.mat", "md5:a5357ecc9cb78c4bef273ce3793fc85c"),
    ),
    counts={"train": 1_020, "val": 1_020, "test": 6_149},
    classes=len(CLASSES),
    # Inferred: as on CUB, 30 to 40 per 224 crop, times (256/224)².
    segments="39:52",
)
