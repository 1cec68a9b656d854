"""Small data sets in the layouts of the official distributions: same folders, file names and metadata syntax.

Every builder takes a new folder, puts a few painted images and the official tables there, and returns the folder.
Tables that MATLAB wrote are written with the same shapes, dtypes and field order; pickles that Python 2 wrote are
written opcode by opcode (:func:`python2_pickle`), so that no code of Python 3 has a say in them.
"""

import hashlib
import io
import struct
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image
from scipy.io import savemat

GLARING = (255, 0, 255)  # of the banner below aircraft, which nothing may show
BANNER = 20  # pixel rows


@dataclass(frozen=True)
class Official:
    """How one set comes.

    Parameters
    ----------
    make : builder.
    folder : of the archive; empty where the archive unpacks into the folder it is put in.
    missing : regular expression; what an error about an empty folder has to name.
    """

    make: Callable[[Path], Path]
    folder: str
    missing: str

    def under(self, root: Path) -> Path:
        """Make the set as unpacking its archives in ``root`` would; returns the official folder."""
        return self.make(root / self.folder)


# ---------------------------------------------------------------------------------------------------------- files


def painted(seed: int, size: tuple[int, int] = (24, 16)) -> Image.Image:
    """Coarse noise; ``size`` is width and height."""
    coarse = np.random.default_rng(seed).integers(0, 256, (4, 6, 3), dtype=np.uint8)
    return Image.fromarray(coarse).resize(size, Image.Resampling.BICUBIC)


def save_image(path: Path, image: Image.Image, form: str = "JPEG", **options: object) -> None:
    """Save an image in a format that its name need not tell."""
    path.parent.mkdir(parents=True, exist_ok=True)
    image.save(path, form, **options)


def save_painted(folder: Path, names: Iterable[str], size: tuple[int, int] = (24, 16)) -> None:
    """Save one painted JPEG for each name."""
    for seed, name in enumerate(names):
        save_image(folder / name, painted(seed, size))


def save_lines(path: Path, lines: Iterable[str]) -> None:
    """Save a text table."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")


def save_matlab(path: Path, variables: dict[str, np.ndarray]) -> None:
    """Save a MAT-file of version 5 with compressed variables, as MATLAB's ``save`` does."""
    path.parent.mkdir(parents=True, exist_ok=True)
    savemat(path, variables, do_compression=True, oned_as="row")


def cells(values: Sequence[str], column: bool) -> np.ndarray:
    """A cell array of strings, (n, 1) or (1, n)."""
    array = np.empty((len(values), 1) if column else (1, len(values)), object)
    for place, value in zip(np.ndindex(array.shape), values, strict=True):
        array[place] = value
    return array


def small_integer(value: int) -> np.ndarray:
    """A 1 x 1 matrix as MATLAB stores a double that is a small integer: in the least type that holds it."""
    return np.array([[value]], np.min_scalar_type(value))


# ------------------------------------------------------------------------------------------------------------ cub

CUB_CLASSES = ("001.Black_footed_Albatross", "002.Laysan_Albatross", "003.Sooty_Albatross")
# path under images/, class, in the training split, box x y w h
CUB_IMAGES = (
    ("001.Black_footed_Albatross/Black_Footed_Albatross_0046_18.jpg", 1, 0, "6.0 2.0 12.0 9.0"),
    ("001.Black_footed_Albatross/Black_Footed_Albatross_0009_34.jpg", 1, 1, "3.5 0.0 20.5 16.0"),
    ("002.Laysan_Albatross/Laysan_Albatross_0002_1027.jpg", 2, 1, "0.0 1.0 24.0 15.0"),
    ("003.Sooty_Albatross/Sooty_Albatross_0048_1130.jpg", 3, 1, "1.0 2.0 3.0 4.0"),
    ("003.Sooty_Albatross/Sooty_Albatross_0040_796375.jpg", 3, 0, "10.0 10.0 20.0 20.0"),
)


def make_cub(home: Path) -> Path:
    """CUB_200_2011: ``id value`` tables, ids and classes from 1. The last box leaves its image of 24 x 16 pixels."""
    save_painted(home / "images", [image[0] for image in CUB_IMAGES])
    tables = {"images.txt": 0, "image_class_labels.txt": 1, "train_test_split.txt": 2, "bounding_boxes.txt": 3}
    for name, column in tables.items():
        save_lines(home / name, (f"{row} {image[column]}" for row, image in enumerate(CUB_IMAGES, start=1)))
    save_lines(home / "classes.txt", (f"{number} {name}" for number, name in enumerate(CUB_CLASSES, start=1)))
    return home


# ----------------------------------------------------------------------------------------------------------- dogs

DOGS = {
    "train": (
        ("n02085620-Chihuahua/n02085620_5927", 1, ((7, 4, 20, 15),)),
        ("n02085620-Chihuahua/n02085620_4441", 1, ((1, 1, 12, 9),)),
        ("n02085782-Japanese_spaniel/n02085782_2874", 2, ((2, 3, 9, 14), (11, 1, 23, 15))),
        ("n02105855-Shetland_sheepdog/n02105855_2933", 4, ((0, 0, 24, 16),)),
        ("n02085936-Maltese_dog/n02085936_7394", 3, ((5, 0, 21, 13),)),
    ),
    "test": (
        ("n02085620-Chihuahua/n02085620_2650", 1, ((3, 2, 8, 10),)),
        ("n02085936-Maltese_dog/n02085936_37", 3, ((4, 5, 6, 7),)),
        ("n02085782-Japanese_spaniel/n02085782_1039", 2, ((1, 2, 3, 4),)),
        ("n02105855-Shetland_sheepdog/n02105855_10095", 4, ((9, 8, 22, 14),)),
    ),
}
DOG_OBJECT = (
    "\t<object>\n\t\t<name>{name}</name>\n\t\t<pose>Unspecified</pose>\n\t\t<truncated>0</truncated>\n"
    "\t\t<difficult>0</difficult>\n\t\t<bndbox>\n\t\t\t<xmin>{box[0]}</xmin>\n\t\t\t<ymin>{box[1]}</ymin>\n"
    "\t\t\t<xmax>{box[2]}</xmax>\n\t\t\t<ymax>{box[3]}</ymax>\n\t\t</bndbox>\n\t</object>\n"
)


def dog_annotation(stem: str, boxes: Sequence[tuple[int, int, int, int]]) -> str:
    """The XML of one image. The official ``folder`` lacks the n; some files say ``%s`` for folder and file name."""
    folder, image = stem.split("/")
    wnid, name = folder.split("-", 1)
    if image == "n02105855_2933":
        wnid, image = "n%s", "%s"
    return (
        f"<annotation>\n\t<folder>{wnid[1:]}</folder>\n\t<filename>{image}</filename>\n"
        "\t<source>\n\t\t<database>ImageNet database</database>\n\t</source>\n"
        "\t<size>\n\t\t<width>24</width>\n\t\t<height>16</height>\n\t\t<depth>3</depth>\n\t</size>\n"
        "\t<segment>0</segment>\n" + "".join(DOG_OBJECT.format(name=name, box=box) for box in boxes) + "</annotation>"
    )


def save_dog_list(path: Path, rows: Sequence[tuple]) -> None:
    """``train_list.mat`` and its like: two cell arrays (n, 1) of strings, labels (n, 1) uint8 from 1."""
    variables = {
        "file_list": cells([f"{stem}.jpg" for stem, _, _ in rows], column=True),
        "annotation_list": cells([stem for stem, _, _ in rows], column=True),
        "labels": np.array([[label] for _, label, _ in rows], np.uint8),
    }
    save_matlab(path, variables)


def make_dogs(home: Path, images: str = "", annotation: str = "", lists: str = "") -> Path:
    """Stanford Dogs; the last three say in which folders the three archives were unpacked."""
    rows = (*DOGS["train"], *DOGS["test"])
    save_painted(home / images / "Images", [f"{stem}.jpg" for stem, _, _ in rows])
    for stem, _, boxes in rows:
        path = home / annotation / "Annotation" / stem
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(dog_annotation(stem, boxes))
    save_dog_list(home / lists / "train_list.mat", DOGS["train"])
    save_dog_list(home / lists / "test_list.mat", DOGS["test"])
    save_dog_list(home / lists / "file_list.mat", sorted(rows))
    return home


# ----------------------------------------------------------------------------------------------------------- cars

CAR_CLASSES = ("AM General Hummer SUV 2000", "Acura RL Sedan 2012", "Acura TL Sedan 2012")
# x1, y1, x2, y2, class, file; inclusive pixels from 1, of images of 300 x 20 pixels, so that some need two bytes
CARS = {
    "train": ((39, 2, 260, 19, 3, "00001.jpg"), (1, 1, 300, 20, 1, "00002.jpg"), (257, 5, 258, 6, 2, "00003.jpg")),
    "test": ((30, 3, 246, 14, 2, "00001.jpg"), (100, 19, 299, 20, 3, "00002.jpg")),
}
CAR_FIELDS = ("bbox_x1", "bbox_y1", "bbox_x2", "bbox_y2", "class", "fname")


def save_car_annotations(path: Path, rows: Sequence[tuple], fields: Sequence[str] = CAR_FIELDS) -> None:
    """The variable ``annotations``: a struct array (1, n); those of the official test set have no class."""
    array = np.empty((1, len(rows)), [(field, object) for field in fields])
    for place, row in enumerate(rows):
        values = dict(zip(CAR_FIELDS, row, strict=True))
        wanted = [values[field] for field in fields]
        array[0, place] = tuple(value if isinstance(value, str) else small_integer(value) for value in wanted)
    save_matlab(path, {"annotations": array})


def make_cars(home: Path, labelled: str = "", nested: bool = False) -> Path:
    """Stanford Cars.

    Parameters
    ----------
    home : the folder ``stanford_cars``.
    labelled : folder of ``cars_test_annos_withlabels.mat`` within it.
    nested : put everything one folder deeper, as the copies do: ``cars_train/cars_train``, ``car_devkit/devkit``.
    """
    devkit = home / "car_devkit" / "devkit" if nested else home / "devkit"
    for split, rows in CARS.items():
        folder = home / f"cars_{split}"
        save_painted(folder / folder.name if nested else folder, [row[5] for row in rows], size=(300, 20))
    save_matlab(devkit / "cars_meta.mat", {"class_names": cells(CAR_CLASSES, column=False)})
    save_car_annotations(devkit / "cars_train_annos.mat", CARS["train"])
    save_car_annotations(devkit / "cars_test_annos.mat", CARS["test"], (*CAR_FIELDS[:4], "fname"))
    save_car_annotations(home / labelled / "cars_test_annos_withlabels.mat", CARS["test"])
    return home


# ------------------------------------------------------------------------------------------------------- aircraft

VARIANTS = ("707-320", "Boeing 717", "DH-82", "F-16A/B", "MD-11", "Model B200")
# image, variant, box: inclusive pixels from 1, of images of 48 x 52 pixels, of which the last 20 rows are the banner
AIRCRAFT = {
    "train": (("1025794", "707-320", "3 4 40 30"), ("0113201", "Boeing 717", "1 1 48 32")),
    "val": (("0056978", "F-16A/B", "2 9 47 10"), ("1340192", "MD-11", "13 17 36 24")),
    "test": (
        ("1514522", "Model B200", "25 9 48 32"),
        ("0747566", "DH-82", "5 6 7 8"),
        ("1008575", "Boeing 717", "1 2 24 52"),
    ),
}


def bannered(above: Image.Image) -> Image.Image:
    """An image with the banner put below it."""
    image = Image.new("RGB", (above.width, above.height + BANNER), GLARING)
    image.paste(above)
    return image


def make_aircraft(home: Path, variants: Sequence[str] = VARIANTS) -> Path:
    """FGVC-Aircraft 2013b: tables of ``image name``, where names hold spaces and slashes."""
    data = home / "data"
    splits = {**AIRCRAFT, "trainval": (*AIRCRAFT["train"], *AIRCRAFT["val"])}
    rows = (*splits["trainval"], *splits["test"])
    for seed, (image, _, _) in enumerate(rows):
        # Without chroma subsampling and on the border of a block, so that nothing of the banner bleeds upwards.
        save_image(data / "images" / f"{image}.jpg", bannered(painted(seed, (48, 32))), subsampling=0, quality=95)
    save_lines(data / "variants.txt", variants)
    save_lines(data / "families.txt", ["Boeing 707", "Boeing 717", "DH-82", "F-16", "MD-11", "King Air"])
    save_lines(
        data / "manufacturers.txt", ["Boeing", "de Havilland", "Lockheed Martin", "McDonnell Douglas", "Beechcraft"]
    )
    for split, some in splits.items():
        save_lines(data / f"images_variant_{split}.txt", (f"{image} {variant}" for image, variant, _ in some))
        save_lines(data / f"images_{split}.txt", (image for image, _, _ in some))
    save_lines(data / "images_box.txt", (f"{image} {box}" for image, _, box in sorted(rows)))
    return home


# -------------------------------------------------------------------------------------------------------- nabirds

# Ids and folders as the official ones; 0, 22 and 77 are parents, which have no images. As text 1010 comes before 295.
NABIRD_CLASSES = {
    0: "Birds",
    22: "Perching Birds",
    77: "Titmice, Chickadees, and Relatives",
    295: "Ring-necked Duck (Breeding male)",
    817: "Oak Titmouse",
    1010: "Purple Finch (Female/immature)",
}
# id, class, in the training split, box x y w h
NABIRDS = (
    ("0000139e-21dc-4d0c-bfe1-4cae3c85c829", 817, 0, "8 5 12 9"),
    ("0000d9fc-4e02-4c06-a0af-a55cfb16b12b", 1010, 1, "0 0 24 16"),
    ("00019306-9d83-4334-b255-a447742edce3", 295, 1, "1 2 3 4"),
    ("0001afd4-99a1-4a67-b940-d419413e23b3", 817, 1, "5 6 7 8"),
    ("000332b8-997c-4540-9647-2f0a8495aecf", 1010, 0, "20 10 3 5"),
)
NABIRD_PATHS = (
    "0817/0000139e21dc4d0cbfe14cae3c85c829.jpg",
    "1010/0000d9fc4e024c06a0afa55cfb16b12b.jpg",
    "0295/000193069d834334b255a447742edce3.jpg",
    "0817/0001afd499a14a67b940d419413e23b3.jpg",
    "1010/000332b8997c454096472f0a8495aecf.jpg",
)


def make_nabirds(home: Path) -> Path:
    """NABirds: as CUB, with UUIDs for images and a hierarchy of classes."""
    save_painted(home / "images", NABIRD_PATHS)
    names = [image[0] for image in NABIRDS]
    save_lines(home / "images.txt", (f"{name} {path}" for name, path in zip(names, NABIRD_PATHS, strict=True)))
    for column, table in enumerate(("image_class_labels.txt", "train_test_split.txt", "bounding_boxes.txt"), start=1):
        save_lines(home / table, (f"{image[0]} {image[column]}" for image in NABIRDS))
    save_lines(home / "sizes.txt", (f"{name} 24 16" for name in names))
    save_lines(home / "photographers.txt", (f"{name} A. Person" for name in names))
    save_lines(home / "classes.txt", (f"{number} {name}" for number, name in NABIRD_CLASSES.items()))
    save_lines(home / "hierarchy.txt", ["22 0", "77 22", "295 0", "817 77", "1010 22"])
    return home


# ----------------------------------------------------------------------------------------------------- flowers102

FLOWER_LABELS = (77, 77, 1, 102, 1, 51, 102, 51, 77)  # of image_00001.jpg and so on
FLOWER_SPLITS = {"trnid": (6, 3, 1), "valid": (9, 5), "tstid": (8, 2, 7, 4)}


def make_flowers102(home: Path) -> Path:
    """Oxford 102 Flowers: labels (1, n) uint8 from 1, splits (1, n) uint16 from 1."""
    save_painted(home / "jpg", [f"image_{number:05d}.jpg" for number in range(1, len(FLOWER_LABELS) + 1)])
    save_matlab(home / "imagelabels.mat", {"labels": np.array([FLOWER_LABELS], np.uint8)})
    save_matlab(home / "setid.mat", {name: np.array([ids], np.uint16) for name, ids in FLOWER_SPLITS.items()})
    return home


# ---------------------------------------------------------------------------------------------------------- cifar

CIFAR10_CLASSES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
CIFAR10_FILES = {
    "data_batch_1": "training batch 1 of 5",
    "data_batch_2": "training batch 2 of 5",
    "data_batch_3": "training batch 3 of 5",
    "data_batch_4": "training batch 4 of 5",
    "data_batch_5": "training batch 5 of 5",
    "test_batch": "testing batch 1 of 1",
}
CIFAR100_FILES = {"train": "training batch 1 of 1", "test": "testing batch 1 of 1"}
CIFAR10_META = {"num_cases_per_batch": 10000, "label_names": list(CIFAR10_CLASSES), "num_vis": 3072}
_COARSE = (
    "aquatic_mammals fish flowers food_containers fruit_and_vegetables household_electrical_devices "
    "household_furniture insects large_carnivores large_man-made_outdoor_things large_natural_outdoor_scenes "
    "large_omnivores_and_herbivores medium_mammals non-insect_invertebrates people reptiles small_mammals trees "
    "vehicles_1 vehicles_2"
)
_FINE = (
    "apple aquarium_fish baby bear beaver bed bee beetle bicycle bottle bowl boy bridge bus butterfly camel can castle "
    "caterpillar cattle chair chimpanzee clock cloud cockroach couch crab crocodile cup dinosaur dolphin elephant "
    "flatfish forest fox girl hamster house kangaroo keyboard lamp lawn_mower leopard lion lizard lobster man "
    "maple_tree motorcycle mountain mouse mushroom oak_tree orange orchid otter palm_tree pear pickup_truck pine_tree "
    "plain plate poppy porcupine possum rabbit raccoon ray road rocket rose sea seal shark shrew skunk skyscraper "
    "snail snake spider squirrel streetcar sunflower sweet_pepper table tank telephone television tiger "
    "tractor train trout tulip turtle wardrobe whale willow_tree wolf woman worm"
)
CIFAR100_META = {"fine_label_names": _FINE.split(), "coarse_label_names": _COARSE.split()}

# MD5 of the official files that are known in full; the builders give the same bytes.
CIFAR10_META_MD5 = "5ff9c542aee3614f3951f8cda6e48888"
CIFAR100_META_MD5 = "7973b15100ade9c7d40fb424638fde48"


def cifar_pixels(seed: int, count: int) -> np.ndarray:
    """(count, 32, 32, 3) uint8, coarse noise."""
    return np.stack([np.asarray(painted(1000 * seed + index, (32, 32))) for index in range(count)])


def cifar_rows(pixels: np.ndarray) -> np.ndarray:
    """(n, 32, 32, 3) pixels as the (n, 3072) uint8 of the pickles: 1024 red, 1024 green, 1024 blue."""
    return np.concatenate([pixels[..., channel].reshape(len(pixels), 1024) for channel in range(3)], axis=1)


def cifar10_batch(label: str, labels: Sequence[int], filenames: Sequence[str], data: np.ndarray) -> dict:
    """One batch, keys in the official order."""
    return {"batch_label": label, "labels": list(labels), "data": data, "filenames": list(filenames)}


def cifar100_batch(label: str, labels: Sequence[int], filenames: Sequence[str], data: np.ndarray) -> dict:
    """One batch, keys in the official order; the coarse labels are others than the fine ones."""
    coarse = [index % 20 for index in range(len(labels))]
    keys = {"filenames": list(filenames), "batch_label": label, "fine_labels": list(labels)}
    return {**keys, "coarse_labels": coarse, "data": data}


# name of the pickle: labels and file names of its rows
CIFAR10 = {
    "data_batch_1": ((6, 9), ("leptodactylus_pentadactylus_s_000004.png", "camion_s_000148.png")),
    "data_batch_2": ((9, 4), ("tipper_truck_s_001250.png", "american_elk_s_001521.png")),
    "data_batch_3": ((1, 1), ("station_wagon_s_000293.png", "coupe_s_001735.png")),
    "data_batch_4": ((2, 7), ("cassowary_s_001300.png", "cow_pony_s_001168.png")),
    "data_batch_5": ((8, 3), ("sea_boat_s_001584.png", "tabby_s_001355.png")),
    "test_batch": ((3, 8, 8), ("domestic_cat_s_000907.png", "hydrofoil_s_000078.png", "sea_boat_s_001456.png")),
}
CIFAR100 = {
    "train": ((19, 29, 0), ("bos_taurus_s_000507.png", "stegosaurus_s_000125.png", "mcintosh_s_000643.png")),
    "test": ((49, 99), ("volcano_s_000012.png", "woolly_bear_s_000013.png")),
}


def cifar10_batches() -> dict[str, dict]:
    """The batches of the small CIFAR-10 by file name."""
    return {
        name: cifar10_batch(CIFAR10_FILES[name], labels, filenames, cifar_rows(cifar_pixels(seed, len(labels))))
        for seed, (name, (labels, filenames)) in enumerate(CIFAR10.items())
    }


def cifar100_batches() -> dict[str, dict]:
    """The batches of the small CIFAR-100 by file name."""
    return {
        name: cifar100_batch(CIFAR100_FILES[name], labels, filenames, cifar_rows(cifar_pixels(seed, len(labels))))
        for seed, (name, (labels, filenames)) in enumerate(CIFAR100.items())
    }


def save_pickles(home: Path, values: dict[str, dict], write: Callable[[dict], bytes] | None = None) -> Path:
    """Save pickles by name; ``write`` is Python 2's unless told."""
    home.mkdir(parents=True, exist_ok=True)
    for name, value in values.items():
        (home / name).write_bytes((write or python2_pickle)(value))
    return home


def make_cifar10(home: Path, write: Callable[[dict], bytes] | None = None) -> Path:
    """cifar-10-batches-py."""
    save_pickles(home, {"batches.meta": CIFAR10_META, **cifar10_batches()}, write)
    (home / "readme.html").write_text(
        '<meta HTTP-EQUIV="REFRESH" content="0; url=http://www.cs.toronto.edu/~kriz/cifar.html">'
    )
    return home


def make_cifar100(home: Path, write: Callable[[dict], bytes] | None = None) -> Path:
    """cifar-100-python, with the empty file that the archive holds."""
    save_pickles(home, {"meta": CIFAR100_META, **cifar100_batches()}, write)
    (home / "file.txt~").touch()
    return home


def python2_pickle(value: object) -> bytes:
    """What ``cPickle.dump(value, file, 2)`` of Python 2 writes; every ``str`` is the byte string that it was there."""
    return _Python2Pickle().dump(value)


class _Python2Pickle:
    def __init__(self) -> None:
        self._out = io.BytesIO()
        self._memo = 0

    def dump(self, value: object) -> bytes:
        self._out.write(b"\x80\x02")
        self._save(value)
        return self._out.getvalue() + b"."

    def _put(self) -> None:
        self._memo += 1  # cPickle counts from 1
        self._out.write(b"q" + bytes([self._memo]) if self._memo < 256 else b"r" + struct.pack("<I", self._memo))

    def _save(self, value: object) -> None:
        savers = {dict: self._dict, list: self._list, str: self._string, int: self._integer, np.ndarray: self._array}
        savers[type(value)](value)

    def _dict(self, value: dict) -> None:
        self._out.write(b"}")
        self._put()
        self._out.write(b"(")
        for key, item in value.items():
            self._save(key)
            self._save(item)
        self._out.write(b"u")

    def _list(self, value: list) -> None:
        self._out.write(b"]")
        self._put()
        for start in range(0, len(value), 1000):
            self._out.write(b"(")
            for item in value[start : start + 1000]:
                self._save(item)
            self._out.write(b"e")

    def _string(self, value: str) -> None:
        self._bytes(value.encode("ascii"))
        self._put()

    def _bytes(self, value: bytes) -> None:
        head = b"U" + bytes([len(value)]) if len(value) < 256 else b"T" + struct.pack("<i", len(value))
        self._out.write(head + value)

    def _integer(self, value: int) -> None:
        if 0 <= value < 256:
            self._out.write(b"K" + bytes([value]))
        elif 0 <= value < 65536:
            self._out.write(b"M" + struct.pack("<H", value))
        else:
            self._out.write(b"J" + struct.pack("<i", value))

    def _array(self, value: np.ndarray) -> None:
        """As NumPy 1 under Python 2: _reconstruct(ndarray, (0,), 'b'), then (1, shape, dtype, Fortran order, bytes)."""
        self._out.write(b"cnumpy.core.multiarray\n_reconstruct\n")
        self._put()
        self._out.write(b"cnumpy\nndarray\n")
        self._put()
        self._out.write(b"K\x00\x85U\x01b\x87R")
        self._put()
        self._out.write(b"(K\x01")
        for length in value.shape:
            self._integer(length)
        self._out.write({1: b"\x85", 2: b"\x86", 3: b"\x87"}[value.ndim])
        self._out.write(b"cnumpy\ndtype\n")
        self._put()
        self._bytes(value.dtype.str[1:].encode())
        order = b"|" if value.dtype.itemsize == 1 else b"<"
        self._out.write(b"K\x00K\x01\x87R")
        self._put()
        self._out.write(b"(K\x03U\x01" + order + b"NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb")
        fortran = value.flags.f_contiguous and not value.flags.c_contiguous
        self._out.write(b"\x88" if fortran else b"\x89")
        self._bytes(value.tobytes("F" if fortran else "C"))
        self._out.write(b"tb")


# -------------------------------------------------------------------------------------------------- tiny-imagenet

WNIDS = ("n02124075", "n04067472", "n01443537")  # the official order is not sorted either
WORDS = (
    "n00001740\tentity",
    "n01443537\tgoldfish, Carassius auratus",
    "n01629819\tEuropean fire salamander, Salamandra salamandra",
    "n02124075\tEgyptian cat",
    "n04067472\treel",
)
TINY_TRAIN = {
    "n02124075": ((0, "0\t9\t62\t58"), (2, "1\t2\t3\t4"), (10, "0\t0\t63\t63")),
    "n04067472": ((0, "15\t11\t52\t57"), (1, "5\t5\t5\t5")),
    "n01443537": ((0, "0\t10\t63\t58"), (1, "7\t12\t63\t40")),
}
TINY_VAL = (
    ("val_0.JPEG", "n04067472", "0\t32\t44\t62"),
    ("val_2.JPEG", "n01443537", "4\t0\t63\t55"),
    ("val_10.JPEG", "n02124075", "10\t20\t30\t40"),
    ("val_1.JPEG", "n04067472", "52\t55\t57\t59"),
)


def make_tiny_imagenet(home: Path) -> Path:
    """tiny-imagenet-200: tables with tabs; the ids in an order of their own, words for more of them than are used."""
    for wnid, images in TINY_TRAIN.items():
        names = [f"{wnid}_{number}.JPEG" for number, _ in images]
        save_painted(home / "train" / wnid / "images", names, (64, 64))
        boxes = (f"{name}\t{box}" for name, (_, box) in zip(names, images, strict=True))
        save_lines(home / "train" / wnid / f"{wnid}_boxes.txt", boxes)
    save_painted(home / "val" / "images", [name for name, _, _ in TINY_VAL], (64, 64))
    save_lines(home / "val" / "val_annotations.txt", ("\t".join(row) for row in TINY_VAL))
    save_painted(home / "test" / "images", ["test_0.JPEG", "test_1.JPEG"], (64, 64))
    save_lines(home / "wnids.txt", WNIDS)
    save_lines(home / "words.txt", WORDS)
    return home


# ------------------------------------------------------------------------------------------------------- imagenet

IMAGENET = {
    "train": (
        "n01440764/n01440764_10026.JPEG",
        "n01440764/n01440764_18.JPEG",
        "n01443537/n01443537_10007.JPEG",
        "n02105855/n02105855_2933.JPEG",
    ),
    "val": (
        "n01440764/ILSVRC2012_val_00000293.JPEG",
        "n01443537/ILSVRC2012_val_00000236.JPEG",
        "n02105855/ILSVRC2012_val_00000001.JPEG",
        "n02105855/ILSVRC2012_val_00000106.JPEG",
    ),
}
SYNSETS = (
    "n01440764 tench, Tinca tinca",
    "n01443537 goldfish, Carassius auratus",
    "n02105855 Shetland sheepdog, Shetland sheep dog, Shetland",
)


def make_imagenet(home: Path, mapping: bool = False) -> Path:
    """ImageNet in the form of one folder a class; ``mapping`` adds LOC_synset_mapping.txt."""
    for split, names in IMAGENET.items():
        save_painted(home / split, names)
    if mapping:
        save_lines(home / "LOC_synset_mapping.txt", SYNSETS)
    return home


# ------------------------------------------------------------------------------------------------------------ all

OFFICIAL = {
    "cub": Official(make_cub, "CUB_200_2011", r"CUB_200_2011|images\.txt"),
    "dogs": Official(make_dogs, "", r"\bImages\b|train_list\.mat"),
    "cars": Official(make_cars, "stanford_cars", r"cars_train_annos\.mat|cars_meta\.mat"),
    "aircraft": Official(make_aircraft, "fgvc-aircraft-2013b", r"variants\.txt|images_variant_trainval\.txt"),
    "nabirds": Official(make_nabirds, "nabirds", r"images\.txt|classes\.txt"),
    "flowers102": Official(make_flowers102, "", r"\bjpg\b|imagelabels\.mat|setid\.mat"),
    "cifar10": Official(make_cifar10, "cifar-10-batches-py", r"batches\.meta|data_batch_1"),
    "cifar100": Official(make_cifar100, "cifar-100-python", r"\bmeta\b|cifar-100-python"),
    "tiny-imagenet": Official(make_tiny_imagenet, "tiny-imagenet-200", r"wnids\.txt"),
    "imagenet": Official(make_imagenet, "", r"\btrain\b"),
}


def md5(data: bytes) -> str:
    """MD5 as the published sums are written."""
    return hashlib.md5(data).hexdigest()
