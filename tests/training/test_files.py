"""Files are written completely or not at all, and read without believing what they claim."""

from __future__ import annotations

import io
import os
import tracemalloc
import zipfile

import numpy as np
import pytest

from minigru.training import history
from minigru.training.files import DamagedFile, digest, read_arrays, replace_file, save_arrays

ARRAYS = {"a": np.arange(6.0), "b": np.ones(6), "text": np.array("wörd"), "none": np.empty(0), "F": np.eye(2, 3).T}


def npy(array, shape=None, descr=None):
    """Return the content of an .npy file, whose header claims another shape or dtype if they are given."""
    file = io.BytesIO()
    header = {"descr": descr or array.dtype.str, "fortran_order": False, "shape": shape or array.shape}
    np.lib.format.write_array_header_1_0(file, header)
    return file.getvalue() + array.tobytes()


def archive(path, *members, compression=zipfile.ZIP_STORED):
    with zipfile.ZipFile(path, "w", compression) as file:
        for name, content in members:
            file.writestr(f"{name}.npy", content)


def test_arrays_come_back_as_they_were_saved(tmp_path):
    save_arrays(tmp_path / "f.npz", ARRAYS)
    found = read_arrays(tmp_path / "f.npz")
    assert str(found.pop("digest")) == digest(ARRAYS)
    assert found.keys() == ARRAYS.keys()
    for name, array in ARRAYS.items():
        assert found[name].dtype == array.dtype
        np.testing.assert_array_equal(found[name], array, strict=True)


CLAIMS = {
    "many numbers": dict(shape=(10**12,)),
    "more than any number": dict(shape=(10**30,)),
    "nothing, in a huge shape": dict(shape=(0, 10**30)),
    "a negative shape": dict(shape=(-2, -3)),
    "too few numbers": dict(shape=(5,)),
    "objects": dict(descr="|O"),
    "wide numbers": dict(descr="|V1000000000000", shape=()),
}


@pytest.mark.parametrize("claim", CLAIMS.values(), ids=CLAIMS)
def test_a_header_that_claims_too_much_takes_no_ram(claim, tmp_path):
    archive(tmp_path / "f.npz", ("a", npy(np.arange(6.0), **claim)))
    assert_refused_within(tmp_path / "f.npz", 10**6)


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_an_archive_that_claims_too_much_takes_no_ram(tmp_path):
    path, large = tmp_path / "f.npz", npy(np.zeros(10**6))
    archive(path, ("a", large), compression=zipfile.ZIP_DEFLATED)
    assert_refused_within(path, 10**6)
    archive(path, ("a", npy(np.zeros(3))), ("a", npy(np.ones(3))))
    assert_refused_within(path, 10**6)
    archive(path, ("a", npy(np.zeros(3))))
    content = bytearray(path.read_bytes())
    place = content.rindex(b"PK\x01\x02") + 20  # compressed and uncompressed size, in the directory of the archive
    content[place : place + 8] = b"\xff\xff\xff\x7f" * 2
    path.write_bytes(content)
    assert_refused_within(path, 10**6)


def assert_refused_within(path, size):
    """Check that an archive is refused on one line, and that reading it takes less RAM than `size` bytes."""
    tracemalloc.start()
    with pytest.raises(DamagedFile) as refusal:
        read_arrays(path)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < size
    assert "\n" not in str(refusal.value)


CHANGES = {
    "swapped": lambda arrays: arrays | {"a": arrays["b"], "b": arrays["a"]},
    "renamed": lambda arrays: {name.replace("b", "c"): array for name, array in arrays.items()},
    "reshaped": lambda arrays: arrays | {"a": arrays["a"].reshape(2, 3)},
    "another dtype": lambda arrays: arrays | {"b": arrays["b"].view(np.int64)},
    "one more": lambda arrays: arrays | {"c": np.ones(1)},
    "one less": lambda arrays: {name: array for name, array in arrays.items() if name != "none"},
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_a_repacked_archive_does_not_match_its_digest(change, tmp_path):
    path = tmp_path / "f.npz"
    np.savez(path, **change(ARRAYS), digest=np.array(digest(ARRAYS)))
    with pytest.raises(DamagedFile, match="do not match its digest"):
        read_arrays(path)


def test_the_history_is_the_same_text_after_it_was_read_and_written_again(tmp_path, rng):
    numbers = np.exp(rng.uniform(-20, 20, (500, 5)))
    rows = [(epoch, *row) for epoch, row in enumerate(numbers.tolist(), 1)]
    history.save(tmp_path / "first", history.extend(None, *rows))
    history.save(tmp_path / "again", history.read(tmp_path / "first", 500))
    assert (tmp_path / "again").read_bytes() == (tmp_path / "first").read_bytes()


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no named pipes here")
def test_a_named_pipe_is_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "f.npz")
    with pytest.raises(DamagedFile, match="not a regular file"):
        read_arrays(tmp_path / "f.npz")


def test_a_flipped_bit_in_an_archive_is_one_error(tmp_path):
    path = tmp_path / "arrays.npz"
    np.savez(path, a=np.arange(3), b=np.ones((2, 2)))
    content, noticed = path.read_bytes(), 0
    for position in range(len(content)):
        flipped = content[position] ^ (1 << position % 8)
        path.write_bytes(content[:position] + bytes([flipped]) + content[position + 1 :])
        try:
            read_arrays(path)  # some bits are not looked at, such as those of a date
        except DamagedFile:
            noticed += 1
    assert noticed > len(content) / 3


def test_replace_file_leaves_the_old_one_when_writing_fails(tmp_path):
    path = tmp_path / "file"
    path.write_text("old")

    def write(file):
        file.write(b"half")
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        replace_file(path, write)
    assert path.read_text("utf-8") == "old"
    assert os.listdir(tmp_path) == ["file"]
