"""What the adapters list of small sets in the official layouts: keys, labels, classes, boxes; what they refuse."""

import io
import pickle
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from scipy.io import loadmat

from preprocess.datasets import DATASETS
from preprocess.errors import DatasetError, MissingDataError
from tests.preprocess.datasets import official
from tests.preprocess.datasets.official import OFFICIAL


@pytest.fixture(scope="module")
def standing(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """The root of a set by name; read only."""
    made: dict[str, Path] = {}

    def root_of(name: str) -> Path:
        if name not in made:
            made[name] = tmp_path_factory.mktemp("official") / "outer" / "raw"
            OFFICIAL[name].under(made[name])
        return made[name]

    return root_of


def told(listing, split: str) -> list[tuple]:
    """Keys, labels and boxes of one split."""
    return [(sample.key, sample.label, sample.boxes) for sample in listing.splits[split]]


def listed(listing, split: str) -> list[tuple[str, int]]:
    return [(sample.key, sample.label) for sample in listing.splits[split]]


def box(x0: float, y0: float, x1: float, y1: float) -> tuple[tuple[float, ...], ...]:
    return ((x0, y0, x1, y1),)


# ----------------------------------------------------------------------------------------------- expected, by hand

CUB = {
    "train": [
        ("001.Black_footed_Albatross/Black_Footed_Albatross_0009_34.jpg", 0, box(3.5, 0, 24, 16)),
        ("002.Laysan_Albatross/Laysan_Albatross_0002_1027.jpg", 1, box(0, 1, 24, 16)),
        ("003.Sooty_Albatross/Sooty_Albatross_0048_1130.jpg", 2, box(1, 2, 4, 6)),
    ],
    "test": [
        ("001.Black_footed_Albatross/Black_Footed_Albatross_0046_18.jpg", 0, box(6, 2, 18, 11)),
        ("003.Sooty_Albatross/Sooty_Albatross_0040_796375.jpg", 2, box(10, 10, 30, 30)),
    ],
}
DOGS = {
    "train": [
        ("n02085620-Chihuahua/n02085620_5927.jpg", 0, box(7, 4, 20, 15)),
        ("n02085620-Chihuahua/n02085620_4441.jpg", 0, box(1, 1, 12, 9)),
        ("n02085782-Japanese_spaniel/n02085782_2874.jpg", 1, box(2, 3, 9, 14) + box(11, 1, 23, 15)),
        ("n02105855-Shetland_sheepdog/n02105855_2933.jpg", 3, box(0, 0, 24, 16)),
        ("n02085936-Maltese_dog/n02085936_7394.jpg", 2, box(5, 0, 21, 13)),
    ],
    "test": [
        ("n02085620-Chihuahua/n02085620_2650.jpg", 0, box(3, 2, 8, 10)),
        ("n02085936-Maltese_dog/n02085936_37.jpg", 2, box(4, 5, 6, 7)),
        ("n02085782-Japanese_spaniel/n02085782_1039.jpg", 1, box(1, 2, 3, 4)),
        ("n02105855-Shetland_sheepdog/n02105855_10095.jpg", 3, box(9, 8, 22, 14)),
    ],
}
CARS = {
    "train": [
        ("cars_train/00001.jpg", 2, box(38, 1, 260, 19)),
        ("cars_train/00002.jpg", 0, box(0, 0, 300, 20)),
        ("cars_train/00003.jpg", 1, box(256, 4, 258, 6)),
    ],
    "test": [
        ("cars_test/00001.jpg", 1, box(29, 2, 246, 14)),
        ("cars_test/00002.jpg", 2, box(99, 18, 299, 20)),
    ],
}
AIRCRAFT = {
    "train": [
        ("1025794.jpg", 0, box(2, 3, 40, 30)),
        ("0113201.jpg", 1, box(0, 0, 48, 32)),
        ("0056978.jpg", 3, box(1, 8, 47, 10)),
        ("1340192.jpg", 4, box(12, 16, 36, 24)),
    ],
    "test": [
        ("1514522.jpg", 5, box(24, 8, 48, 32)),
        ("0747566.jpg", 2, box(4, 5, 7, 8)),
        ("1008575.jpg", 1, box(0, 1, 24, 52)),
    ],
}
NABIRDS = {
    "train": [
        ("1010/0000d9fc4e024c06a0afa55cfb16b12b.jpg", 2, box(0, 0, 24, 16)),
        ("0295/000193069d834334b255a447742edce3.jpg", 0, box(1, 2, 4, 6)),
        ("0817/0001afd499a14a67b940d419413e23b3.jpg", 1, box(5, 6, 12, 14)),
    ],
    "test": [
        ("0817/0000139e21dc4d0cbfe14cae3c85c829.jpg", 1, box(8, 5, 20, 14)),
        ("1010/000332b8997c454096472f0a8495aecf.jpg", 2, box(20, 10, 23, 15)),
    ],
}
FLOWERS = {
    "train": [("image_00006.jpg", 50, ()), ("image_00003.jpg", 0, ()), ("image_00001.jpg", 76, ())],
    "val": [("image_00009.jpg", 76, ()), ("image_00005.jpg", 0, ())],
    "test": [
        ("image_00008.jpg", 50, ()),
        ("image_00002.jpg", 76, ()),
        ("image_00007.jpg", 101, ()),
        ("image_00004.jpg", 101, ()),
    ],
}
CIFAR10 = {
    "train": [
        ("data_batch_1/00000-leptodactylus_pentadactylus_s_000004.png", 6, ()),
        ("data_batch_1/00001-camion_s_000148.png", 9, ()),
        ("data_batch_2/00000-tipper_truck_s_001250.png", 9, ()),
        ("data_batch_2/00001-american_elk_s_001521.png", 4, ()),
        ("data_batch_3/00000-station_wagon_s_000293.png", 1, ()),
        ("data_batch_3/00001-coupe_s_001735.png", 1, ()),
        ("data_batch_4/00000-cassowary_s_001300.png", 2, ()),
        ("data_batch_4/00001-cow_pony_s_001168.png", 7, ()),
        ("data_batch_5/00000-sea_boat_s_001584.png", 8, ()),
        ("data_batch_5/00001-tabby_s_001355.png", 3, ()),
    ],
    "test": [
        ("test_batch/00000-domestic_cat_s_000907.png", 3, ()),
        ("test_batch/00001-hydrofoil_s_000078.png", 8, ()),
        ("test_batch/00002-sea_boat_s_001456.png", 8, ()),
    ],
}
CIFAR100 = {
    "train": [
        ("train/00000-bos_taurus_s_000507.png", 19, ()),
        ("train/00001-stegosaurus_s_000125.png", 29, ()),
        ("train/00002-mcintosh_s_000643.png", 0, ()),
    ],
    "test": [("test/00000-volcano_s_000012.png", 49, ()), ("test/00001-woolly_bear_s_000013.png", 99, ())],
}
TINY = {
    "train": [
        ("train/n01443537/images/n01443537_0.JPEG", 0, box(0, 10, 64, 59)),
        ("train/n01443537/images/n01443537_1.JPEG", 0, box(7, 12, 64, 41)),
        ("train/n02124075/images/n02124075_0.JPEG", 1, box(0, 9, 63, 59)),
        ("train/n02124075/images/n02124075_10.JPEG", 1, box(0, 0, 64, 64)),
        ("train/n02124075/images/n02124075_2.JPEG", 1, box(1, 2, 4, 5)),
        ("train/n04067472/images/n04067472_0.JPEG", 2, box(15, 11, 53, 58)),
        ("train/n04067472/images/n04067472_1.JPEG", 2, box(5, 5, 6, 6)),
    ],
    "val": [
        ("val/images/val_0.JPEG", 2, box(0, 32, 45, 63)),
        ("val/images/val_2.JPEG", 0, box(4, 0, 64, 56)),
        ("val/images/val_10.JPEG", 1, box(10, 20, 31, 41)),
        ("val/images/val_1.JPEG", 2, box(52, 55, 58, 60)),
    ],
}
IMAGENET = {
    "train": [
        ("train/n01440764/n01440764_10026.JPEG", 0, ()),
        ("train/n01440764/n01440764_18.JPEG", 0, ()),
        ("train/n01443537/n01443537_10007.JPEG", 1, ()),
        ("train/n02105855/n02105855_2933.JPEG", 2, ()),
    ],
    "val": [
        ("val/n01440764/ILSVRC2012_val_00000293.JPEG", 0, ()),
        ("val/n01443537/ILSVRC2012_val_00000236.JPEG", 1, ()),
        ("val/n02105855/ILSVRC2012_val_00000001.JPEG", 2, ()),
        ("val/n02105855/ILSVRC2012_val_00000106.JPEG", 2, ()),
    ],
}
EXPECTED = {
    "cub": CUB,
    "dogs": DOGS,
    "cars": CARS,
    "aircraft": AIRCRAFT,
    "nabirds": NABIRDS,
    "flowers102": FLOWERS,
    "cifar10": CIFAR10,
    "cifar100": CIFAR100,
    "tiny-imagenet": TINY,
    "imagenet": IMAGENET,
}
CLASSES = {
    "cub": ("001.Black_footed_Albatross", "002.Laysan_Albatross", "003.Sooty_Albatross"),
    "dogs": (
        "n02085620-Chihuahua",
        "n02085782-Japanese_spaniel",
        "n02085936-Maltese_dog",
        "n02105855-Shetland_sheepdog",
    ),
    "cars": ("AM General Hummer SUV 2000", "Acura RL Sedan 2012", "Acura TL Sedan 2012"),
    "aircraft": ("707-320", "Boeing 717", "DH-82", "F-16A/B", "MD-11", "Model B200"),
    "nabirds": ("Ring-necked Duck (Breeding male)", "Oak Titmouse", "Purple Finch (Female/immature)"),
    "cifar10": ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"),
    "tiny-imagenet": ("n01443537 goldfish, Carassius auratus", "n02124075 Egyptian cat", "n04067472 reel"),
    "imagenet": ("n01440764", "n01443537", "n02105855"),
}
NAMES = list(EXPECTED)


def check(name: str, root: Path) -> None:
    listing = DATASETS[name].find(root)
    assert {split: told(listing, split) for split in listing.splits} == EXPECTED[name]
    assert list(listing.splits) == list(EXPECTED[name])
    if name in CLASSES:
        assert listing.classes == CLASSES[name]


# ------------------------------------------------------------------------------------------------- the fixtures


def test_the_pickles_are_written_as_python_2_wrote_them(standing):
    meta = (standing("cifar10") / "cifar-10-batches-py" / "batches.meta").read_bytes()
    assert official.md5(meta) == "5ff9c542aee3614f3951f8cda6e48888"  # of the official file, as torchvision checks it
    meta = (standing("cifar100") / "cifar-100-python" / "meta").read_bytes()
    assert official.md5(meta) == "7973b15100ade9c7d40fb424638fde48"
    batch = pickle.loads((standing("cifar10") / "cifar-10-batches-py" / "test_batch").read_bytes(), encoding="bytes")
    assert list(batch) == [b"batch_label", b"labels", b"data", b"filenames"]
    assert (batch[b"data"].shape, batch[b"data"].dtype, batch[b"labels"]) == ((3, 3072), np.uint8, [3, 8, 8])
    assert batch[b"filenames"][0] == b"domestic_cat_s_000907.png"


def test_the_matlab_files_have_the_official_structure(standing):
    cars = loadmat(standing("cars") / "stanford_cars" / "devkit" / "cars_train_annos.mat")["annotations"]
    assert cars.shape == (1, 3)
    assert cars.dtype.names == ("bbox_x1", "bbox_y1", "bbox_x2", "bbox_y2", "class", "fname")
    assert cars[0, 0]["bbox_x1"].dtype == np.uint8
    assert cars[0, 0]["bbox_x2"].tolist() == [[260]]
    assert cars[0, 0]["bbox_x2"].dtype == np.uint16
    assert cars[0, 0]["fname"].tolist() == ["00001.jpg"]
    names = loadmat(standing("cars") / "stanford_cars" / "devkit" / "cars_meta.mat")["class_names"]
    assert (names.shape, names[0, 1].tolist()) == ((1, 3), ["Acura RL Sedan 2012"])
    dogs = loadmat(standing("dogs") / "train_list.mat")
    assert dogs["file_list"].shape == dogs["annotation_list"].shape == dogs["labels"].shape == (5, 1)
    assert dogs["file_list"][0, 0].tolist() == ["n02085620-Chihuahua/n02085620_5927.jpg"]
    flowers = loadmat(standing("flowers102") / "setid.mat")
    assert (flowers["tstid"].tolist(), flowers["tstid"].dtype) == ([[8, 2, 7, 4]], np.uint16)


# --------------------------------------------------------------------------------------------- listings and roots


@pytest.mark.parametrize("place", ["root", "official folder", "one folder deeper"])
@pytest.mark.parametrize("name", NAMES)
def test_keys_labels_classes_and_boxes_are_the_official_ones_wherever_the_set_lies(name, place, standing):
    root = standing(name)
    places = {"root": root, "official folder": root / OFFICIAL[name].folder, "one folder deeper": root.parent}
    check(name, places[place])


@pytest.mark.parametrize("name", NAMES)
def test_every_sample_can_be_read(name, standing):
    for samples in DATASETS[name].find(standing(name)).splits.values():
        for sample in samples:
            with Image.open(io.BytesIO(sample.read())) as image:
                image.load()
                assert image.mode == "RGB"
            assert sample.path.is_file()
            assert standing(name) in sample.path.parents
            assert all(isinstance(edge, float) for one in sample.boxes for edge in one)
            assert isinstance(sample.label, int)


@pytest.mark.parametrize("name", [name for name in NAMES if not name.startswith("cifar")])
def test_a_sample_is_the_file_that_its_key_says(name, standing):
    within = {"dogs": "Images", "flowers102": "jpg", "aircraft": "data/images", "cub": "images", "nabirds": "images"}
    folder = standing(name) / OFFICIAL[name].folder / within.get(name, "")
    for samples in DATASETS[name].find(standing(name)).splits.values():
        for sample in samples:
            assert sample.path.samefile(folder / sample.key)
            assert sample.read() == (folder / sample.key).read_bytes()


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("there", [True, False], ids=["empty", "absent"])
def test_a_root_without_the_set_is_missing_data_and_says_what_to_put_there(name, there, tmp_path):
    root = tmp_path / "raw"
    if there:
        root.mkdir()
    with pytest.raises(MissingDataError, match=OFFICIAL[name].missing) as caught:
        DATASETS[name].find(root)
    assert str(root) in str(caught.value)


# ----------------------------------------------------------------------------------------- variants of the layouts


def test_dogs_whose_archives_were_unpacked_in_folders_of_their_own(tmp_path):
    official.make_dogs(tmp_path, images="images", annotation="annotation", lists="lists")
    check("dogs", tmp_path)


def test_dogs_without_annotations_have_no_boxes(tmp_path):
    official.make_dogs(tmp_path, annotation="elsewhere/deep/down")
    listing = DATASETS["dogs"].find(tmp_path)
    for split, rows in DOGS.items():
        assert told(listing, split) == [(key, label, ()) for key, label, _ in rows]


def test_dogs_without_the_list_of_all_files_are_complete(tmp_path):
    official.make_dogs(tmp_path)
    (tmp_path / "file_list.mat").unlink()
    check("dogs", tmp_path)


@pytest.mark.parametrize("labelled", ["", "devkit"], ids=["beside", "in the devkit"])
def test_cars_with_the_labels_of_the_test_set_beside_or_in_the_devkit(labelled, tmp_path):
    official.make_cars(tmp_path / "stanford_cars", labelled)
    check("cars", tmp_path)


@pytest.mark.parametrize("labelled", ["", "car_devkit/devkit"])
def test_cars_in_the_nested_folders_of_the_copies_have_the_same_keys(labelled, tmp_path):
    official.make_cars(tmp_path, labelled, nested=True)
    check("cars", tmp_path)


def test_cars_without_labels_of_the_test_set_are_missing_data(tmp_path):
    official.make_cars(tmp_path)
    (tmp_path / "cars_test_annos_withlabels.mat").unlink()
    with pytest.raises(MissingDataError, match=r"cars_test_annos_withlabels\.mat"):
        DATASETS["cars"].find(tmp_path)


def test_aircraft_labels_follow_the_order_of_the_table_of_variants(tmp_path):
    official.make_aircraft(tmp_path, official.VARIANTS[::-1])
    listing = DATASETS["aircraft"].find(tmp_path)
    assert listing.classes == ("Model B200", "MD-11", "F-16A/B", "DH-82", "Boeing 717", "707-320")
    assert [sample.label for sample in listing.splits["train"]] == [5, 4, 2, 1]
    assert [sample.label for sample in listing.splits["test"]] == [0, 3, 4]


# As on https://www.robots.ox.ac.uk/~vgg/data/flowers/102/categories.html and in torchvision, by number.
FLOWERS_PUBLISHED = """
pink primrose; hard-leaved pocket orchid; canterbury bells; sweet pea; english marigold; tiger lily; moon orchid;
bird of paradise; monkshood; globe thistle; snapdragon; colt's foot; king protea; spear thistle; yellow iris;
globe-flower; purple coneflower; peruvian lily; balloon flower; giant white arum lily; fire lily; pincushion flower;
fritillary; red ginger; grape hyacinth; corn poppy; prince of wales feathers; stemless gentian; artichoke; sweet
william; carnation; garden phlox; love in the mist; mexican aster; alpine sea holly; ruby-lipped cattleya; cape
flower; great masterwort; siam tulip; lenten rose; barbeton daisy; daffodil; sword lily; poinsettia; bolero deep
blue; wallflower; marigold; buttercup; oxeye daisy; common dandelion; petunia; wild pansy; primula; sunflower;
pelargonium; bishop of llandaff; gaura; geranium; orange dahlia; pink-yellow dahlia?; cautleya spicata; japanese
anemone; black-eyed susan; silverbush; californian poppy; osteospermum; spring crocus; bearded iris; windflower;
tree poppy; gazania; azalea; water lily; rose; thorn apple; morning glory; passion flower; lotus; toad lily;
anthurium; frangipani; clematis; hibiscus; columbine; desert-rose; tree mallow; magnolia; cyclamen; watercress;
canna lily; hippeastrum; bee balm; ball moss; foxglove; bougainvillea; camellia; mallow; mexican petunia; bromelia;
blanket flower; trumpet creeper; blackberry lily
"""


def test_flowers_have_the_published_names(standing):
    classes = DATASETS["flowers102"].find(standing("flowers102")).classes
    assert len(classes) == 102
    assert list(classes) == " ".join(FLOWERS_PUBLISHED.split()).split("; ")
    assert (classes[0], classes[50], classes[76], classes[101]) == (
        "pink primrose",
        "petunia",
        "passion flower",
        "blackberry lily",
    )


def test_cifar100_has_the_fine_classes(standing):
    classes = DATASETS["cifar100"].find(standing("cifar100")).classes
    assert len(classes) == 100
    assert (classes[0], classes[1], classes[19], classes[29]) == ("apple", "aquarium_fish", "cattle", "dinosaur")
    assert (classes[49], classes[99]) == ("mountain", "worm")


@pytest.mark.parametrize(
    ("name", "folders"),
    [
        ("imagenet", ("train", "train/n01440764", "val")),
        ("tiny-imagenet", ("train", "train/n01443537/images", "val/images")),
    ],
)
def test_what_file_managers_leave_among_the_images_is_no_image(name, folders, tmp_path):
    OFFICIAL[name].make(tmp_path)
    for folder in folders:
        for junk in (".DS_Store", "Thumbs.db", "._n01440764_18.JPEG"):
            (tmp_path / folder / junk).write_bytes(b"junk")
    check(name, tmp_path)


def test_tiny_imagenet_without_words_has_ids_for_names(tmp_path):
    official.make_tiny_imagenet(tmp_path)
    (tmp_path / "words.txt").unlink()
    assert DATASETS["tiny-imagenet"].find(tmp_path).classes == ("n01443537", "n02124075", "n04067472")


def test_imagenet_takes_its_names_from_the_mapping(tmp_path):
    official.make_imagenet(tmp_path, mapping=True)
    listing = DATASETS["imagenet"].find(tmp_path)
    assert listing.classes == (
        "n01440764 tench, Tinca tinca",
        "n01443537 goldfish, Carassius auratus",
        "n02105855 Shetland sheepdog, Shetland sheep dog, Shetland",
    )
    assert told(listing, "val") == IMAGENET["val"]


# ------------------------------------------------------------------------------------- tables that do not agree


def replaced(old: str, new: str) -> Callable[[Path], None]:
    def change(path: Path) -> None:
        text = path.read_text()
        assert text.count(old) == 1, (old, text)
        path.write_text(text.replace(old, new))

    return change


def appended(line: str) -> Callable[[Path], None]:
    return lambda path: path.write_text(path.read_text() + line + "\n")


def written(data: bytes) -> Callable[[Path], None]:
    return lambda path: path.write_bytes(data)


def car_class(number: int) -> Callable[[Path], None]:
    rows = (*official.CARS["train"][:2], (1, 1, 2, 2, number, "00003.jpg"))
    return lambda path: official.save_car_annotations(path, rows)


def dogs_with(*rows: tuple) -> Callable[[Path], None]:
    return lambda path: official.save_dog_list(path, (*official.DOGS["train"], *rows))


def matlab(**variables: object) -> Callable[[Path], None]:
    arrays = {name: np.array([value], np.uint8) for name, value in variables.items()}
    return lambda path: official.save_matlab(path, arrays)


def dog_labels_less(path: Path) -> None:
    variables = loadmat(path)
    files = {name: variables[name] for name in ("file_list", "annotation_list")}
    official.save_matlab(path, {**files, "labels": variables["labels"][:-1]})


CHIHUAHUA = "n02085620-Chihuahua/n02085620_2650"
GARBAGE = written(b"<html>404 Not Found</html>" * 20)
UUID = "00019306-9d83-4334-b255-a447742edce3"
# set, table, what happens to it, what else than the table the error may name, for the two sides of a disagreement
DISAGREEMENTS = {
    "cub: no box": ("cub", "bounding_boxes.txt", replaced("4 1.0 2.0 3.0 4.0\n", ""), r"images\.txt"),
    "cub: no number in a box": ("cub", "bounding_boxes.txt", replaced("4 1.0 2.0", "4 1.0 two"), None),
    "cub: three numbers in a box": ("cub", "bounding_boxes.txt", replaced("4 1.0 2.0 3.0", "4 1.0 2.0"), None),
    "cub: no finite number in a box": ("cub", "bounding_boxes.txt", replaced("4 1.0 2.0", "4 1.0 nan"), None),
    "nabirds: no label": ("nabirds", "image_class_labels.txt", replaced(f"{UUID} 295\n", ""), r"images\.txt"),
    "nabirds: no split": ("nabirds", "train_test_split.txt", replaced(f"{UUID} 1\n", ""), r"images\.txt"),
    "nabirds: no box": ("nabirds", "bounding_boxes.txt", replaced(f"{UUID} 1 2 3 4\n", ""), r"images\.txt"),
    "nabirds: no path": (
        "nabirds",
        "images.txt",
        replaced(f"{UUID} 0295/000193069d834334b255a447742edce3.jpg\n", ""),
        r"image_class_labels\.txt|train_test_split\.txt|bounding_boxes\.txt",
    ),
    "nabirds: unknown class": (
        "nabirds",
        "image_class_labels.txt",
        replaced(f"{UUID} 295", f"{UUID} 9999"),
        r"classes\.txt",
    ),
    "nabirds: no number": ("nabirds", "image_class_labels.txt", replaced(f"{UUID} 295", f"{UUID} duck"), None),
    "nabirds: no number in a box": ("nabirds", "bounding_boxes.txt", replaced(f"{UUID} 1 2", f"{UUID} 1 x"), None),
    "nabirds: split 2": ("nabirds", "train_test_split.txt", replaced(f"{UUID} 1", f"{UUID} 2"), None),
    "nabirds: an id twice": ("nabirds", "images.txt", appended(f"{UUID} 0817/x.jpg"), None),
    "nabirds: no number of a class": ("nabirds", "classes.txt", appended("finch Finch"), None),
    "aircraft: unknown variant": (
        "aircraft",
        "data/images_variant_trainval.txt",
        replaced("1340192 MD-11", "1340192 MD-99"),
        r"variants\.txt",
    ),
    "aircraft: no variant": ("aircraft", "data/images_variant_test.txt", replaced("0747566 DH-82", "0747566"), None),
    "aircraft: no number": ("aircraft", "data/images_box.txt", replaced("13 17 36 24", "13 17 36 wide"), None),
    "aircraft: three numbers": ("aircraft", "data/images_box.txt", replaced("13 17 36 24", "13 17 36"), None),
    "aircraft: a variant twice": ("aircraft", "data/variants.txt", appended("MD-11"), None),
    "cars: class 0": ("cars", "devkit/cars_train_annos.mat", car_class(0), None),
    "cars: class 4 of 3": ("cars", "devkit/cars_train_annos.mat", car_class(4), r"cars_meta\.mat"),
    "cars: no labels": (
        "cars",
        "cars_test_annos_withlabels.mat",
        lambda path: official.save_car_annotations(
            path, [(1, 1, 2, 2, 1, "00001.jpg")], (*official.CAR_FIELDS[:4], "fname")
        ),
        None,
    ),
    "cars: no annotations": ("cars", "devkit/cars_train_annos.mat", matlab(other=[1]), None),
    "cars: no names": ("cars", "devkit/cars_meta.mat", matlab(other=[1]), None),
    "cars: no MAT-file": ("cars", "devkit/cars_train_annos.mat", GARBAGE, None),
    "cars: an empty MAT-file": ("cars", "devkit/cars_meta.mat", written(b""), None),
    "dogs: label 0": ("dogs", "train_list.mat", dogs_with((CHIHUAHUA, 0, ())), None),
    "dogs: a folder with two labels": ("dogs", "train_list.mat", dogs_with((CHIHUAHUA, 2, ())), None),
    "dogs: a label with two folders": (
        "dogs",
        "train_list.mat",
        dogs_with(("n02086079-Pekinese/n02086079_2650", 3, ())),
        None,
    ),
    "dogs: labels lack one": ("dogs", "train_list.mat", dog_labels_less, None),
    "dogs: no labels": ("dogs", "test_list.mat", matlab(other=[1]), None),
    "dogs: no MAT-file": ("dogs", "test_list.mat", GARBAGE, None),
    "dogs: no XML": ("dogs", f"Annotation/{CHIHUAHUA}", written(b"<annotation><object>"), None),
    "dogs: no number in a box": (
        "dogs",
        f"Annotation/{CHIHUAHUA}",
        replaced("<xmin>3</xmin>", "<xmin>three</xmin>"),
        None,
    ),
    "dogs: no finite number in a box": (
        "dogs",
        f"Annotation/{CHIHUAHUA}",
        replaced("<xmin>3</xmin>", "<xmin>nan</xmin>"),
        None,
    ),
    "dogs: no edge in a box": ("dogs", f"Annotation/{CHIHUAHUA}", replaced("<xmin>3</xmin>", ""), None),
    "flowers: label 103": (
        "flowers102",
        "imagelabels.mat",
        matlab(labels=[103, *official.FLOWER_LABELS[1:]]),
        None,
    ),
    "flowers: label 0": ("flowers102", "imagelabels.mat", matlab(labels=[0, *official.FLOWER_LABELS[1:]]), None),
    "flowers: no label": ("flowers102", "imagelabels.mat", matlab(labels=official.FLOWER_LABELS[:-1]), r"setid\.mat"),
    "flowers: no such image": (
        "flowers102",
        "setid.mat",
        matlab(trnid=[6, 99, 1], valid=[9, 5], tstid=[8]),
        r"imagelabels\.mat",
    ),
    "flowers: image 0": (
        "flowers102",
        "setid.mat",
        matlab(trnid=[6, 0, 1], valid=[9, 5], tstid=[8]),
        r"imagelabels\.mat",
    ),
    "flowers: no split": ("flowers102", "setid.mat", matlab(trnid=[6, 1], valid=[9, 5]), None),
    "flowers: no MAT-file": ("flowers102", "imagelabels.mat", GARBAGE, None),
    "tiny: unknown id": (
        "tiny-imagenet",
        "val/val_annotations.txt",
        replaced("val_2.JPEG\tn01443537", "val_2.JPEG\tn99999999"),
        r"wnids\.txt",
    ),
    "tiny: no number": ("tiny-imagenet", "val/val_annotations.txt", replaced("\t10\t20\t30", "\t10\tx\t30"), None),
    "tiny: no label": (
        "tiny-imagenet",
        "val/val_annotations.txt",
        replaced("val_2.JPEG\tn01443537\t4\t0\t63\t55\n", ""),
        None,
    ),
    "tiny: no number of a training box": (
        "tiny-imagenet",
        "train/n02124075/n02124075_boxes.txt",
        replaced("\t1\t2\t3\t4", "\t1\t2\tthree\t4"),
        None,
    ),
    "tiny: a folder without an id": ("tiny-imagenet", "wnids.txt", replaced("n04067472\n", ""), r"n04067472"),
    "tiny: an id twice": ("tiny-imagenet", "wnids.txt", appended("n04067472"), None),
}


@pytest.mark.parametrize("case", DISAGREEMENTS)
def test_tables_that_do_not_agree_are_refused_by_name(case, tmp_path):
    name, table, change, other = DISAGREEMENTS[case]
    OFFICIAL[name].make(tmp_path)
    change(tmp_path / table)
    file = Path(table).name.replace(".", r"\.")
    with pytest.raises(DatasetError, match=f"{file}|{other}" if other else file):
        DATASETS[name].find(tmp_path)


def test_an_imagenet_id_that_the_mapping_lacks_is_refused(tmp_path):
    official.make_imagenet(tmp_path, mapping=True)
    replaced("n01443537 goldfish, Carassius auratus\n", "")(tmp_path / "LOC_synset_mapping.txt")
    with pytest.raises(DatasetError, match=r"LOC_synset_mapping\.txt"):
        DATASETS["imagenet"].find(tmp_path)


def test_an_imagenet_class_that_only_validation_has_is_refused(tmp_path):
    official.make_imagenet(tmp_path)
    official.save_painted(tmp_path / "val" / "n01484850", ["ILSVRC2012_val_00002338.JPEG"])
    with pytest.raises(DatasetError, match="n01484850"):
        DATASETS["imagenet"].find(tmp_path)


@pytest.mark.parametrize(
    ("name", "table"),
    [
        ("nabirds", "train_test_split.txt"),
        ("nabirds", "image_class_labels.txt"),
        ("aircraft", "data/images_variant_test.txt"),
        ("cars", "devkit/cars_meta.mat"),
        ("dogs", "test_list.mat"),
        ("flowers102", "setid.mat"),
        ("tiny-imagenet", "val/val_annotations.txt"),
    ],
)
def test_a_missing_table_is_named(name, table, tmp_path):
    OFFICIAL[name].make(tmp_path)
    (tmp_path / table).unlink()
    with pytest.raises(DatasetError, match=Path(table).name.replace(".", r"\.")):
        DATASETS[name].find(tmp_path)


def test_imagenet_without_train_is_missing(tmp_path):
    official.make_imagenet(tmp_path)
    (tmp_path / "train").rename(tmp_path / "elsewhere")
    with pytest.raises(MissingDataError, match=r"\btrain\b"):
        DATASETS["imagenet"].find(tmp_path)


def test_imagenet_without_val_has_one_split_which_the_command_refuses_by_its_count(tmp_path):
    official.make_imagenet(tmp_path)
    (tmp_path / "val").rename(tmp_path / "elsewhere")
    assert list(DATASETS["imagenet"].find(tmp_path).splits) == ["train"]


def test_the_layout_that_is_nearest_to_the_root_is_taken(tmp_path):
    official.make_cub(tmp_path / "near")
    official.make_cub(tmp_path / "far" / "copy")
    sample = DATASETS["cub"].find(tmp_path).splits["train"][0]
    assert sample.path.is_relative_to(tmp_path / "near")


def test_two_copies_at_one_level_are_named(tmp_path):
    for name in ("first", "second"):
        official.make_cub(tmp_path / name)
    two = r"first/images\.txt and .*second/images\.txt; choose one with --root \S+first\S* or --root \S+second"
    with pytest.raises(DatasetError, match=two) as caught:
        DATASETS["cub"].find(tmp_path)
    chosen = Path(str(caught.value).rpartition(" ")[2])
    assert len(DATASETS["cub"].find(chosen).splits["train"]) > 0


def test_hidden_folders_hold_no_set(tmp_path):
    official.make_cub(tmp_path / ".trash")
    with pytest.raises(MissingDataError):
        DATASETS["cub"].find(tmp_path)


@pytest.mark.parametrize("path", ["../../etc/passwd", "/etc/passwd", ".", "n02085620-Chihuahua"])
def test_dogs_opens_no_annotation_outside_of_its_folder(path, tmp_path):
    official.make_dogs(tmp_path)
    paths, count = official.cells([path], column=True), official.cells(["x"], column=True)
    official.save_matlab(
        tmp_path / "train_list.mat", {"file_list": paths, "annotation_list": count, "labels": np.array([[1]], np.uint8)}
    )
    with pytest.raises(DatasetError, match=r"train_list\.mat does not have the published layout.*expected paths like"):
        DATASETS["dogs"].find(tmp_path)


@pytest.mark.parametrize("encoding", ["foo", "utf-32", "shift_jis"])
def test_annotations_of_odd_encodings_are_refused(encoding, tmp_path):
    official.make_dogs(tmp_path)
    annotation = next(path for path in (tmp_path / "Annotation").rglob("*") if path.is_file())
    annotation.write_text(f'<?xml version="1.0" encoding="{encoding}"?>' + annotation.read_text())
    with pytest.raises(DatasetError, match="is not a published annotation"):
        DATASETS["dogs"].find(tmp_path)


def test_a_table_with_zero_bytes_is_damaged(tmp_path):
    official.make_cub(tmp_path)
    table = tmp_path / "images.txt"
    table.write_text(table.read_text().replace("Laysan", "Lay\0san"))
    with pytest.raises(DatasetError, match=r"images\.txt is damaged"):
        DATASETS["cub"].find(tmp_path)
