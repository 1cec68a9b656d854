"""HDF5 files whose data lies elsewhere: external storage, virtual datasets, soft and external links, cycles."""

import os
from collections.abc import Callable, Iterator

import h5py
import numpy as np

from tests.hostile.case import HARMLESS, REFUSED, Case, Place
from tests.hostile.commands import ANYWHERE, IMAGES, INDEX, MAPS
from tests.hostile.craft import edit_shard, put, seal_file

_VERIFY = frozenset({"verify"})
_WHERE = {"images": ("images", "labels", "keys", "sources", "checksums", "failed"), "maps": ("maps", "regions")}


def _external(place: Place, file: h5py.File, name: str) -> None:
    old = file[name]
    size = old.size * old.dtype.itemsize
    put(file, name, shape=old.shape, dtype=old.dtype, external=[(str(place.outside / "secret.bin"), 0, size)])


def _external_relative(place: Place, file: h5py.File, name: str) -> None:
    old = file[name]
    put(file, name, shape=old.shape, dtype=old.dtype, external=[("../outside/secret.bin", 0, h5py.h5f.UNLIMITED)])


def _virtual(place: Place, file: h5py.File, name: str) -> None:
    shape, dtype = file[name].shape, file[name].dtype
    layout = h5py.VirtualLayout(shape or (1,), dtype)
    source = h5py.VirtualSource(str(place.outside / "secret.h5"), "images", shape or (1,))
    layout[...] = source
    del file[name]
    file.create_virtual_dataset(name, layout)


def _virtual_of_itself(place: Place, file: h5py.File, name: str) -> None:
    file.move(name, "elsewhere")
    layout = h5py.VirtualLayout(file["elsewhere"].shape or (1,), file["elsewhere"].dtype)
    layout[...] = h5py.VirtualSource(".", "elsewhere", file["elsewhere"].shape or (1,))
    file.create_virtual_dataset(name, layout)


def _soft(place: Place, file: h5py.File, name: str) -> None:
    file.move(name, "elsewhere")
    file[name] = h5py.SoftLink("/elsewhere")


def _dangling(place: Place, file: h5py.File, name: str) -> None:
    del file[name]
    file[name] = h5py.SoftLink("/nowhere")


def _soft_cycle(place: Place, file: h5py.File, name: str) -> None:
    del file[name]
    file[name] = h5py.SoftLink("/other")
    file["other"] = h5py.SoftLink(f"/{name}")


def _linked(place: Place, file: h5py.File, name: str) -> None:
    with h5py.File(place.outside / "secret.h5", "a") as other:
        if name not in other:
            file.copy(name, other)
    del file[name]
    file[name] = h5py.ExternalLink(str(place.outside / "secret.h5"), f"/{name}")


def _linked_relative(place: Place, file: h5py.File, name: str) -> None:
    del file[name]
    file[name] = h5py.ExternalLink("../../../../outside/secret.h5", f"/{name}")


def _linked_pipe(place: Place, file: h5py.File, name: str) -> None:
    os.mkfifo(place.outside / "pipe")
    del file[name]
    file[name] = h5py.ExternalLink(str(place.outside / "pipe"), f"/{name}")


def _group(place: Place, file: h5py.File, name: str) -> None:
    del file[name]
    file.create_group(name)


def _cycle(place: Place, file: h5py.File, name: str) -> None:
    del file[name]
    file[name] = file["/"]


def _reference(place: Place, file: h5py.File, name: str) -> None:
    shape = file[name].shape
    del file[name]
    values = np.full(shape or (1,), file.ref, dtype=h5py.ref_dtype)
    file.create_dataset(name, data=values, dtype=h5py.ref_dtype)


def _named_type(place: Place, file: h5py.File, name: str) -> None:
    del file[name]
    file[name] = np.dtype("<i4")


_TRICKS: dict[str, Callable[[Place, h5py.File, str], None]] = {
    "external storage": _external,
    "external storage by a relative path": _external_relative,
    "virtual": _virtual,
    "virtual of itself": _virtual_of_itself,
    "soft link": _soft,
    "dangling link": _dangling,
    "links in a circle": _soft_cycle,
    "external link": _linked,
    "external link by a relative path": _linked_relative,
    "external link to a pipe": _linked_pipe,
    "group in its place": _group,
    "root in its place": _cycle,
    "references": _reference,
    "named type": _named_type,
}


def links() -> Iterator[Case]:
    """Every trick on every dataset of a shard, beside them, in the index and in a pack."""
    for trick, craft in _TRICKS.items():
        for column, names in _WHERE.items():
            for name in names:
                readers = ANYWHERE & (IMAGES | MAPS | {"pack"})

                def make(place: Place, craft: Callable = craft, column: str = column, name: str = name) -> None:
                    edit_shard(place.given / "x.h5", lambda file: craft(place, file, name), column)

                yield Case(f"{trick}: {name}", make, REFUSED, readers if name not in ("failed", "sources") else _VERIFY)
        yield Case(f"{trick}: codes", _coded(craft, "codes"), REFUSED, IMAGES, base="coded")
        yield Case(f"{trick}: boxes", _coded(craft, "boxes"), REFUSED, frozenset({"verify", "export"}), base="coded")
        yield Case(f"{trick}: document", _in_index(craft), REFUSED, INDEX)
        yield Case(f"{trick}: index in a pack", _in_pack(craft, "index"), REFUSED, INDEX - {"pack"}, base="packed")
        yield Case(f"{trick}: shard in a pack", _in_pack(craft, ""), REFUSED, MAPS, base="packed")
    for trick in ("external storage", "virtual", "soft link", "external link"):
        yield Case(f"{trick}: beside the rest", _beside(_TRICKS[trick]), REFUSED, frozenset({"verify", "pack"}))
    yield Case("another dataset beside the rest", _beside(lambda *_: None), HARMLESS)


def _coded(craft: Callable, name: str) -> Callable[[Place], None]:
    return lambda place: edit_shard(place.given / "x.h5", lambda file: craft(place, file, name))


def _in_index(craft: Callable) -> Callable[[Place], None]:
    def make(place: Place) -> None:
        with h5py.File(place.given / "x.h5", "r+") as file:
            craft(place, file, "document")
        seal_file(place.given / "x.h5", "index")

    return make


def _in_pack(craft: Callable, name: str) -> Callable[[Place], None]:
    def make(place: Place) -> None:
        with h5py.File(place.given / "x.h5", "r+") as file:
            if name:
                craft(place, file, name)
            else:
                group = file["x.shards/train/images"]
                craft(place, group[next(iter(group))], "images")
        seal_file(place.given / "x.h5", "pack")

    return make


def _beside(craft: Callable) -> Callable[[Place], None]:
    def edit(place: Place, file: h5py.File) -> None:
        file.copy("labels", "more")
        craft(place, file, "more")

    return lambda place: edit_shard(place.given / "x.h5", lambda file: edit(place, file))
