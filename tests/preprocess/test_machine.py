"""Resources of this machine."""

import platform

from preprocess.machine import processor


def test_a_processor_is_named_with_its_family(tmp_path):
    (tmp_path / "x86").write_text(
        "processor\t: 0\nvendor_id\t: AuthenticAMD\ncpu family\t: 26\nmodel\t\t: 2\nmodel name\t: AMD EPYC\n\n"
        "processor\t: 1\nvendor_id\t: AuthenticAMD\ncpu family\t: 26\nmodel\t\t: 2\nmodel name\t: AMD EPYC\n\n"
    )
    assert processor(tmp_path / "x86") == "AMD EPYC (family 26)"


def test_a_processor_without_a_name_is_that_of_the_platform(tmp_path, monkeypatch):
    monkeypatch.setattr(platform, "machine", lambda: "aarch64")
    monkeypatch.setattr(platform, "processor", lambda: "")
    (tmp_path / "arm").write_text("processor\t: 0\nBogoMIPS\t: 50.00\n")
    assert processor(tmp_path / "arm") == processor(tmp_path / "no file") == "aarch64"
