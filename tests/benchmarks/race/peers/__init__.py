"""The peers, one file each: ``write(folder, samples)``, and ``read(folder, form, workers)``, which gives epochs."""

from dataclasses import dataclass

from tests.benchmarks.race.samples import FORMS


@dataclass(frozen=True)
class Peer:
    """What a peer is called, and takes part in.

    Parameters
    ----------
    title : in the tables.
    packages : to install, beside those of this project.
    forms, workers : that it has.
    shows : whether it shows crops and maps, which are then checked.
    """

    title: str
    packages: tuple[str, ...] = ()
    forms: tuple[str, ...] = tuple(FORMS)
    workers: tuple[int, ...] = (0, 1, 2)
    shows: bool = True


PEERS = {
    "ours": Peer("ours", forms=("raw", "jpeg")),
    "hugging_face": Peer("Hugging Face datasets", ("datasets==5.2.0",)),
    "lit_data": Peer("LitData", ("litdata==0.2.76",)),
    # It asks for an older NumPy, and transformers that ask for an older huggingface-hub; it runs with ours.
    "mosaic_streaming": Peer("MosaicML Streaming", ("mosaicml-streaming==0.13.0", "transformers==5.24.0")),
    "web_dataset": Peer("WebDataset", ("webdataset==1.0.2",)),
    "plain_h5py": Peer("h5py alone"),
    "spdl_threads": Peer("SPDL, threads, memory map", ("spdl-core==0.8.0",), workers=(1, 2)),
    "image_folder": Peer("torchvision folder", ("torchvision==0.29.2",)),
    "memory_map": Peer("memory map"),
    "decode_only": Peer("decode only", forms=("jpeg",), workers=(0,), shows=False),
}
