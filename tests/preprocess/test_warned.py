"""Warnings of decoders are kept, and those of everybody else are left alone."""

import threading
import warnings

import PIL.TiffImagePlugin
import pytest
from PIL import Image

from preprocess.images import decode_source
from preprocess.warned import kind_of, listening
from tests.preprocess.test_images import coded, noise


def odd_exif(image: Image.Image) -> bytes:
    """A JPEG whose EXIF data names a maker that lies behind its end."""
    exif = Image.Exif()
    exif[0x010F] = "a maker of cameras"
    data = bytearray(coded(image, "JPEG", exif=exif))
    entry = data.index(b"\x01\x0f\x00\x02")
    data[entry + 8 : entry + 12] = (90_000).to_bytes(4, "big")
    return bytes(data)


def test_what_a_decoder_warns_of_comes_with_the_image_and_is_not_printed():
    with warnings.catch_warnings(record=True) as printed:
        warnings.simplefilter("always")
        found = decode_source(odd_exif(noise()))
    assert (found.warned, printed) == (("Truncated File Read",), [])
    assert decode_source(coded(noise())).warned == ()


def test_a_program_that_makes_errors_of_warnings_reads_the_same_image():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert decode_source(odd_exif(noise())).warned == ("Truncated File Read",)


def test_a_program_still_sees_its_own_warnings_of_pillow_at_its_own_line():
    decode_source(coded(noise()))  # from here on we listen
    with pytest.warns(UserWarning, match="mine") as seen:
        PIL.TiffImagePlugin.warnings.warn("mine", stacklevel=1)
    assert seen[0].filename == __file__


def test_each_thread_hears_its_own_decoder():
    heard, meeting = {}, threading.Barrier(2, timeout=20)

    def work(name: str) -> None:
        with listening() as said:
            meeting.wait()
            PIL.TiffImagePlugin.warnings.warn(name, stacklevel=1)
            meeting.wait()
        heard[name] = list(said)

    decode_source(coded(noise()))
    threads = [threading.Thread(target=work, args=(name,)) for name in ("one", "two")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert heard == {"one": ["one"], "two": ["two"]}


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("Corrupt EXIF data.  Expecting to read 12 bytes but only got 0. ", "Corrupt EXIF data"),
        ("Metadata Warning, tag 256 had too many entries: 65, expected 1", None),
        ("Tag data larger than file. Skipping tag 274", "Tag data larger than file"),
        ("\x1b[2J\nx", "\ufffd[NJ"),
        ("x" * 1000, "x" * 100),
    ],
)
def test_warnings_of_one_fault_are_one_kind(text, kind):
    assert kind_of(text) == (kind or "Metadata Warning, tag N had too many entries: N, expected N")
