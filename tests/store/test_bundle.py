"""Zip files of results: nothing in one is believed."""

from __future__ import annotations

import stat
import zipfile
from typing import TYPE_CHECKING

import pytest

from harness.errors import InputError
from harness.store.bundle import pack, unpacked

if TYPE_CHECKING:
    from pathlib import Path


def archive(path: Path, files: dict[str, bytes], *, mode: int = stat.S_IFREG | 0o644) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as into:
        for name, content in files.items():
            entry = zipfile.ZipInfo(name)
            entry.compress_type, entry.external_attr, entry.create_system = zipfile.ZIP_DEFLATED, mode << 16, 3
            into.writestr(entry, content)
    return path


def names(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_what_is_packed_is_unpacked_and_removed(tmp_path: Path) -> None:
    source = tmp_path / "source"
    (source / "small/quick").mkdir(parents=True)
    (source / "small/quick/manifest.json").write_bytes(b"{}")
    (source / "small/quick/b.csv").write_bytes(b"a,b\n" * 1000)
    assert pack(source, tmp_path / "new/a.zip") == 2
    with unpacked(tmp_path / "new/a.zip") as folder:
        assert names(folder) == names(source)
    assert not folder.exists()
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["a.zip"]


def test_times_and_the_order_of_writing_change_no_byte(tmp_path: Path) -> None:
    for number, order in enumerate((("a", "b"), ("b", "a"))):
        folder = tmp_path / str(number) / "x" / "y"
        folder.mkdir(parents=True)
        for name in order:
            (folder / name).write_bytes(name.encode())
            (folder / name).chmod(0o600 if number else 0o644)
        pack(tmp_path / str(number), tmp_path / f"{number}.zip")
    assert (tmp_path / "0.zip").read_bytes() == (tmp_path / "1.zip").read_bytes()


@pytest.mark.parametrize(
    "name",
    [
        "../a/b/c", "a/../../c", "/etc/passwd/x", "C:/a/b", "a\\..\\b/c/d", "a/b", "a", "a/./b/c", "a/b/c/d/e/f/g",
        "a/b/c:d", "a/b/..",
    ],
)  # fmt: skip
def test_names_that_lead_elsewhere_are_refused(tmp_path: Path, name: str) -> None:
    bundle = archive(tmp_path / "a.zip", {name: b"x"})
    with pytest.raises(InputError, match="has a file where a bundle has none"), unpacked(bundle):
        pytest.fail("it was unpacked")
    assert names(tmp_path).keys() == {"a.zip"}


def test_links_are_refused(tmp_path: Path) -> None:
    bundle = archive(tmp_path / "a.zip", {"a/b/c": b"/etc/passwd"}, mode=stat.S_IFLNK | 0o777)
    with pytest.raises(InputError, match="has a link"), unpacked(bundle):
        pytest.fail("it was unpacked")


def test_a_name_twice_is_refused(tmp_path: Path) -> None:
    bundle = archive(tmp_path / "a.zip", {"a/b/c": b"1", "a/b/C": b"2"})
    with pytest.raises(InputError, match="has a file twice"), unpacked(bundle):
        pytest.fail("it was unpacked")


def test_bombs_are_refused(tmp_path: Path) -> None:
    bomb = archive(tmp_path / "a.zip", {"a/b/c": b"0" * (50 << 20)})
    assert bomb.stat().st_size < 100_000
    with pytest.raises(InputError, match="unpacks to far more than text does"), unpacked(bomb):
        pytest.fail("it was unpacked")
    many = archive(tmp_path / "b.zip", {f"a/b/{number}": b"text" for number in range(30)})
    with pytest.raises(InputError, match="holds too many files, got 30; expected 20 at most"):
        unpacked(many, most_files=20).__enter__()
    large = archive(tmp_path / "c.zip", {f"a/b/{number}": bytes(range(256)) * 100 for number in range(4)})
    with pytest.raises(InputError, match="unpacks to too much"):
        unpacked(large, most_bytes=100_000).__enter__()


def test_a_size_that_is_not_true_is_not_believed(tmp_path: Path) -> None:
    bundle = archive(tmp_path / "a.zip", {"a/b/c": b"0" * 200_000})
    content = bytearray(bundle.read_bytes())
    place = content.rfind(b"PK\x01\x02") + 24
    content[place : place + 4] = (10).to_bytes(4, "little")  # what the table of contents says of its size
    bundle.write_bytes(bytes(content))
    with pytest.raises(InputError), unpacked(bundle, most_bytes=1000):
        pytest.fail("it was unpacked")


@pytest.mark.parametrize("cut", [0, 20, 60])
def test_half_a_file_is_refused(tmp_path: Path, cut: int) -> None:
    bundle = archive(tmp_path / "a.zip", {"a/b/c": b"some text"})
    bundle.write_bytes(bundle.read_bytes()[:cut])
    with pytest.raises(InputError, match=r"a\.zip: is not a whole zip file"), unpacked(bundle):
        pytest.fail("it was unpacked")


def test_a_changed_byte_is_seen(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "a.zip", "w", zipfile.ZIP_STORED) as into:
        into.writestr("a/b/c", b"some text")
    content = (tmp_path / "a.zip").read_bytes()
    (tmp_path / "a.zip").write_bytes(content.replace(b"some text", b"same text", 1))
    with pytest.raises(InputError, match="is not a whole zip file"), unpacked(tmp_path / "a.zip"):
        pytest.fail("it was unpacked")


def test_a_bundle_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="there is no such file"), unpacked(tmp_path / "a.zip"):
        pytest.fail("it was unpacked")


def test_a_damaged_length_of_a_name_makes_no_long_message(tmp_path: Path) -> None:
    bundle = tmp_path / "a.zip"
    with zipfile.ZipFile(bundle, "w", zipfile.ZIP_STORED) as into:
        into.writestr("a/b/c", bytes(range(256)) * 400)
    raw = bytearray(bundle.read_bytes())
    raw[26:28] = b"\xff\xff"  # of the file's own header
    bundle.write_bytes(raw)
    with (
        pytest.raises(InputError, match="is not a whole zip file: File name in directory") as refusal,
        unpacked(bundle),
    ):
        pass
    assert len(str(refusal.value)) < 1000


def test_an_entry_without_a_name_is_refused(tmp_path: Path) -> None:
    bundle = archive(tmp_path / "a.zip", {"a/b/c": b"x", "": b"y"})
    with pytest.raises(InputError, match="has a file where a bundle has none"), unpacked(bundle):
        pass
