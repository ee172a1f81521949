"""The archives of torch.save: what is honest is mapped, every lie of a directory is found before it is believed."""

import io
import zipfile

import pytest

from querypose_jax.weights import archives
from querypose_jax.weights.archives import open_archive
from tests.weights.torch_files import Entry, archive

HONEST = [Entry("a/data.pkl", b"program"), Entry("a/data/0", b"0123456789" * 20), Entry("a/data/empty", b"")]
TWO = [Entry("a/x", b"x" * 100), Entry("a/y", b"y" * 100)]
OF_Y = archive(TWO).index(b"PK\3\4", 1)  # where the second of them begins


def opened(tmp_path, content: bytes):
    (tmp_path / "a.zip").write_bytes(content)
    return open_archive(tmp_path / "a.zip")


def read_all(tmp_path, content: bytes) -> dict[str, bytes]:
    found = opened(tmp_path, content)
    return {name: bytes(found.content(name)) for name in found.entries}


@pytest.mark.parametrize(
    "options",
    [{}, {"zip64": True}, {"end_64": False}, {"comment": b"PK\5\6"}, {"zip64": True, "comment": b"x" * 65535}],
)
def test_every_form_of_a_directory_gives_every_content(tmp_path, options):
    assert read_all(tmp_path, archive(HONEST, **options)) == {entry.name: entry.content for entry in HONEST}


def test_what_pythons_zipfile_stores_is_read(tmp_path):
    written = io.BytesIO()
    with zipfile.ZipFile(written, "w") as file:
        for entry in HONEST:
            file.writestr(entry.name, entry.content)
    assert read_all(tmp_path, written.getvalue()) == {entry.name: entry.content for entry in HONEST}


def test_contents_are_read_only_parts_of_the_file(tmp_path):
    content = opened(tmp_path, archive(HONEST)).content("a/data/0")
    assert content.readonly
    with pytest.raises(TypeError):
        content[0] = 1


def test_a_checksum_of_zero_is_none_and_any_other_must_fit(tmp_path):
    entry = Entry("a/x", b"content")
    assert read_all(tmp_path, archive([entry._replace(crc=0)])) == {"a/x": b"content"}
    with pytest.raises(ValueError, match="'a/x' is damaged"):
        read_all(tmp_path, archive([entry._replace(crc=1)]))


def test_an_entry_that_is_not_looked_at_may_be_damaged(tmp_path):
    assert opened(tmp_path, archive([TWO[0]._replace(crc=1), TWO[1]])).content("a/y") == b"y" * 100


@pytest.mark.parametrize(
    ("listed", "match"),
    [
        ([Entry("a/x", b"x", method=8)], "compressed"),
        ([Entry("a/x", b"x", size=2**31, packed=1)], "compressed"),  # what a bomb looks like
        ([Entry("a/x", b"x", flags=1)], "encrypted"),
        ([Entry("a/x", b"x"), Entry("a/x", b"y")], "two entries are called 'a/x'"),
        ([Entry("../x", b"x")], "is called '../x'"),
        ([Entry("a/../x", b"x")], "is called"),
        ([Entry("/x", b"x")], "is called '/x'"),
        ([Entry("a\\x", b"x")], "is called"),
        ([Entry("a\0x", b"x")], "is called"),
        ([Entry("a" * 501, b"x")], "is called"),
        ([TWO[0], TWO[1]._replace(at=0)], "overlaps"),
        ([TWO[0]._replace(size=101 + 64), TWO[1]], "overlaps"),
        ([TWO[0], TWO[1]._replace(at=OF_Y - 60)], "overlaps"),
        ([TWO[0], TWO[1]._replace(size=2**31)], "overlaps"),
        ([TWO[0], TWO[1]._replace(at=2**31)], "overlaps"),
        ([TWO[0], TWO[1]._replace(at=OF_Y + 1)], "is not where the directory says"),
        ([TWO[0]._replace(size=150), TWO[1]], "is not where the directory says"),
    ],
)
@pytest.mark.parametrize("zip64", [False, True])
def test_what_torch_never_writes_is_refused(tmp_path, listed, match, zip64):
    with pytest.raises(ValueError, match=match):
        read_all(tmp_path, archive(listed, zip64=zip64))


@pytest.mark.parametrize("number", [2**40, 2**64 - 1])
@pytest.mark.parametrize("field", ["size", "at"])
def test_numbers_beyond_the_file_are_found_in_64_bits_too(tmp_path, field, number):
    lie = TWO[1]._replace(**{field: number})
    with pytest.raises(ValueError, match="overlaps"):
        opened(tmp_path, archive([TWO[0], lie], zip64=True))


@pytest.mark.parametrize("count", [3, 60_000])
def test_more_entries_than_the_directory_has_are_refused(tmp_path, count):
    with pytest.raises(ValueError, match="directory is damaged"):
        opened(tmp_path, archive(TWO, count=count))


@pytest.mark.parametrize("count", [archives.MAX_ENTRIES + 1, 2**64 - 1])
def test_a_huge_number_of_entries_is_refused_before_one_is_read(tmp_path, count):
    with pytest.raises(ValueError, match=f"{count} entries, more than"):
        opened(tmp_path, archive(TWO, count=count))


@pytest.mark.parametrize("end_64", [False, True])
def test_archives_cut_short_or_behind_something_are_refused(tmp_path, end_64):
    whole = archive(TWO, end_64=end_64)
    for length in (1, 21, len(whole) // 2, len(whole) - 1):
        with pytest.raises(ValueError, match="no archive, or the end of it is missing"):
            opened(tmp_path, whole[:length])
    with pytest.raises(ValueError, match="directory"):
        opened(tmp_path, b"#!/bin/sh\n" + whole)


def test_a_directory_larger_than_the_file_is_refused(tmp_path):
    whole = bytearray(archive(TWO, end_64=False))
    whole[-10:-6] = (2**31).to_bytes(4, "little")  # its size
    with pytest.raises(ValueError, match="directory is larger than the file"):
        opened(tmp_path, bytes(whole))
