"""10,000 damaged checkpoints and caches: each is refused in one line or holds the same numbers, and takes little RAM.

Some damage changes no number, such as a flipped bit in the date of a member; such a file may be read. A damaged cache
is decoded again.
"""

from __future__ import annotations

import io
import json
import struct
import tracemalloc
import warnings
import zipfile
from functools import cache
from types import SimpleNamespace

import fake_openml
import numpy as np
import pytest

from minigru.training import checkpoint, data
from minigru.training.checkpoint import CheckpointError
from minigru.training.config import Config
from minigru.training.trainer import Trainer

pytestmark = pytest.mark.slow
CHECKPOINTS, CACHES = 9_800, 200
CONFIG = Config(data="digits", hidden_size=8, epochs=2, limit=100)
RAM = 4 << 20  # bytes for the reader itself, beside what the file holds


def flipped_bits(content, rng):
    """Flip one to eight bits anywhere."""
    found = bytearray(content)
    for position in rng.integers(len(found), size=rng.integers(1, 9)):
        found[position] ^= 1 << rng.integers(8)
    return bytes(found)


def flipped_end(content, rng):
    """Flip bits in the last kilobyte, which lists the members of the archive."""
    return content[:-1000] + flipped_bits(content[-1000:], rng)


def truncated(content, rng):
    return content[: rng.integers(len(content))]


def zeroed(content, rng):
    """Write zeros over a block, as a file system does after a loss of power."""
    start, length = rng.integers(len(content)), 2 ** rng.integers(14)
    return content[:start] + bytes(len(content[start : start + length])) + content[start + length :]


def spliced(content, rng):
    """Copy one part of the file over another."""
    one, two = rng.integers(len(content), size=2)
    length = rng.integers(1, 2000)
    return (content[:one] + content[two : two + length] + content[one + length :])[: len(content)]


def foreign(content, rng):
    """Return a file of something else."""
    one_array = io.BytesIO()
    np.save(one_array, np.ones(3))
    other_zip = io.BytesIO()
    with zipfile.ZipFile(other_zip, "w") as file:
        file.writestr("a.txt", "text")
    found = [b"", b"PK\5\6" + bytes(18), one_array.getvalue(), other_zip.getvalue(), rng.bytes(5000), b"\x80\4N."]
    return found[rng.integers(len(found))]


def members(content):
    """Return the members of an archive by name."""
    with zipfile.ZipFile(io.BytesIO(content)) as file:
        return {info.filename: file.read(info) for info in file.infolist()}


def packed(found, method=zipfile.ZIP_STORED):
    """Return an archive of members, whose checksums are right."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", method) as archive:
        for name, member in found.items():
            archive.writestr(name, member)
    return file.getvalue()


@cache
def unpacked(content):
    """Return the arrays of an archive."""
    with np.load(io.BytesIO(content), allow_pickle=False) as file:
        return {name: file[name] for name in file.files}


def repacked(change):
    """Return a kind of damage that changes the arrays and writes them to a new archive without a fault."""

    def damage(content, rng):
        arrays = {name: array.copy() for name, array in unpacked(content).items()}
        change(arrays, rng)
        found = io.BytesIO()
        np.savez(found, **arrays)
        return found.getvalue()

    damage.__name__ = change.__name__
    return damage


def numeric(arrays, rng):
    """Choose an array of numbers that is not empty."""
    names = [name for name, array in arrays.items() if array.dtype.kind in "fiu" and array.size]
    return names[rng.integers(len(names))]


def swapped(arrays, rng):
    pairs = [
        (one, two)
        for one in arrays
        for two in arrays
        if one < two and arrays[one].shape == arrays[two].shape and not np.array_equal(arrays[one], arrays[two])
    ]
    one, two = pairs[rng.integers(len(pairs))]
    arrays[one], arrays[two] = arrays[two], arrays[one]


def another_number(arrays, rng):
    name = numeric(arrays, rng)
    array = arrays[name] = arrays[name].copy()
    array.reshape(-1)[rng.integers(array.size)] += 1


def not_finite(arrays, rng):
    name = numeric(arrays, rng)
    arrays[name] = arrays[name].astype(np.float32)
    arrays[name].reshape(-1)[rng.integers(arrays[name].size)] = rng.choice([np.nan, np.inf, -np.inf])


def another_dtype(arrays, rng):
    name = numeric(arrays, rng)
    kinds = [kind for kind in ("f2", "f8", ">f4", "i1", "i4", "c8", "U3", "?") if arrays[name].dtype != kind]
    arrays[name] = arrays[name].astype(kinds[rng.integers(len(kinds))])


def another_shape(arrays, rng):
    name = numeric(arrays, rng)
    array = arrays[name]
    shapes = [array.reshape(-1, 1), array[None], array.reshape(-1)[:-1], np.zeros(0, array.dtype), array.T[..., None]]
    arrays[name] = shapes[rng.integers(len(shapes))]


def renamed(arrays, rng):
    name = list(arrays)[rng.integers(len(arrays))]
    arrays[name + "_"] = arrays.pop(name)


def missing(arrays, rng):
    del arrays[list(arrays)[rng.integers(len(arrays))]]


def one_more(arrays, rng):
    arrays["more"] = np.ones(3)


def meta(arrays, rng):
    """Change a value of the description, or a part of it."""
    found = json.loads(str(arrays["meta"]))
    inner = found if rng.random() < 0.5 else found["config"]
    key = list(inner)[rng.integers(len(inner))]
    values = [None, -1, 10**12, 1.5, "text", [], {}, True]
    value = values[rng.integers(len(values))]
    inner[key] = 7 if value == inner[key] else value
    arrays["meta"] = np.array(json.dumps(found))


def header(shape, descr="<f4", data=b""):
    """Return a member of an archive whose header claims a shape."""
    text = f"{{'descr': {descr!r}, 'fortran_order': False, 'shape': {shape}, }}".encode()
    text += b" " * (-(len(text) + 11) % 64) + b"\n"
    return b"\x93NUMPY\1\0" + struct.pack("<H", len(text)) + text + data


def claims(content, rng):
    """Let the header of a member claim numbers that the file does not hold."""
    found = members(content)
    name = list(found)[rng.integers(len(found))]
    shapes = [
        "(10**12,)",
        "(1000000000000,)",
        "(100000000,)",
        "(1000000, 1000000)",
        "(-1,)",
        "(3,",
        "(9" + "0" * 40 + ",)",
    ]
    descrs = ["<f4", "<f8", "|O", "<U100000000", "|V1000000000", "nonsense"]
    shape, descr = shapes[rng.integers(len(shapes))], descrs[rng.integers(len(descrs))]
    found[name] = header(shape, descr, bytes(100))
    return packed(found)


def bomb(content, rng):
    """Let a member, a new one or one of its own, unpack to a thousand times its size."""
    found = members(content)
    name = list(found)[rng.integers(len(found))] if rng.random() < 0.7 else "more.npy"
    numbers = int(rng.choice([4, 16, 64])) << 20
    found[name] = header(f"({numbers // 4},)", "<f4", bytes(numbers))
    return packed(found, zipfile.ZIP_DEFLATED)


def twice(content, rng):
    """Write a member twice under one name, the second time with other bytes."""
    file = io.BytesIO(content)
    with warnings.catch_warnings(), zipfile.ZipFile(file, "a") as archive:
        warnings.simplefilter("ignore", UserWarning)
        name = archive.namelist()[rng.integers(len(archive.namelist()))]
        archive.writestr(name, header("(3,)", "<f4", rng.bytes(12)))
    return file.getvalue()


def many(content, rng):
    """Add hundreds of members."""
    return packed(members(content) | {f"{number}.npy": b"" for number in range(int(rng.integers(1, 1000)))})


CHEAP = (flipped_bits, flipped_end, truncated, zeroed, spliced)
CHANGES = (
    swapped,
    another_number,
    not_finite,
    another_dtype,
    another_shape,
    renamed,
    missing,
    one_more,
    meta,
)
KINDS = {kind.__name__: kind for kind in (*CHEAP, foreign, claims, bomb, twice, many, *map(repacked, CHANGES))}
FEW = {"bomb": 50, "many": 20, "foreign": 100}  # these take long, or there are no more of them


def trials(kind):
    """Return the number of trials of a kind, so that all kinds together have `CHECKPOINTS`."""
    return FEW.get(kind) or -(-(CHECKPOINTS - sum(FEW.values())) // (len(KINDS) - len(FEW)))


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A trainer of a completed run, and the bytes of its checkpoint."""
    out = tmp_path_factory.mktemp("run")
    trainer = Trainer(CONFIG, data.load("digits"), out)
    trainer.run(quiet=True)
    return trainer, (out / checkpoint.NAME).read_bytes()


def state(trainer):
    """Return all numbers that a checkpoint brings back."""
    arrays = [trainer.model.vector, trainer.adam.m, trainer.adam.v]
    counts = trainer.adam.t, trainer.epoch, trainer.rng.bit_generator.state
    return [*(array.tobytes() for array in arrays), *counts, trainer.history.to_csv()]


def attempt(read, *arguments):
    """Return what a reader returns, or the message of its refusal; and the bytes of RAM that it took at most."""
    tracemalloc.start()
    try:
        found = read(*arguments)
    except CheckpointError as error:
        found = str(error)
    ram = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return found, ram


@pytest.mark.parametrize("kind", KINDS)
def test_a_damaged_checkpoint_is_refused_or_holds_the_same_numbers(kind, run):
    trainer, good = run
    path, rng = trainer.out / checkpoint.NAME, np.random.default_rng(sum(map(ord, kind)))
    path.write_bytes(good)
    trainer.resume()
    before, (model, config) = state(trainer), checkpoint.load_model(path)
    for trial in range(trials(kind)):
        damaged = KINDS[kind](good, rng)
        path.write_bytes(damaged)
        for read, *arguments in ((trainer.resume,), (checkpoint.load_model, path)):
            found, ram = attempt(read, *arguments)
            assert ram < len(damaged) + RAM, f"trial {trial} took {ram:,} bytes of RAM"
            if isinstance(found, str):
                assert str(path) in found
                assert "\n" not in found
                assert len(found) < 500 + len(str(path))
            elif found is not None:
                assert found[0].vector.tobytes() == model.vector.tobytes(), f"trial {trial}: other numbers"
                assert found[1] == config
        assert state(trainer) == before, f"trial {trial}: other numbers"
    path.write_bytes(good)


def labels_changed(arrays, rng):
    arrays["labels"][rng.integers(70_000)] ^= 1


def pixel_changed(arrays, rng):
    arrays["images"][rng.integers(3, 70_000), rng.integers(784)] = 9


def images_float(arrays, rng):
    arrays["images"] = arrays["images"][:1000].astype(rng.choice([np.float32, np.int64, np.float16]))


def two_images_swapped(arrays, rng):
    arrays["images"][[0, rng.integers(3, 70_000)]] = arrays["images"][[1, 0]]


CACHE_CHANGES = (labels_changed, pixel_changed, images_float, two_images_swapped, missing)
CACHE_KINDS = {kind.__name__: kind for kind in (*CHEAP, foreign, claims, bomb, twice, *map(repacked, CACHE_CHANGES))}


@pytest.mark.parametrize("kind", CACHE_KINDS)
def test_a_damaged_cache_is_decoded_again(kind, tmp_path, monkeypatch, capsys):
    images = np.concatenate([fake_openml.first_rows(), np.zeros((69_997, 784), np.uint8)])
    answer = SimpleNamespace(data=images, target=fake_openml.labels())
    monkeypatch.setattr("sklearn.datasets.fetch_openml", lambda *args, **options: answer)
    path, rng = tmp_path / "minigru" / "mnist.npz", np.random.default_rng(sum(map(ord, kind)))
    expected = data.load_mnist(tmp_path)
    good = path.read_bytes()
    for _ in range(-(-CACHES // len(CACHE_KINDS))):
        capsys.readouterr()
        damaged = CACHE_KINDS[kind](good, rng)
        path.write_bytes(damaged)
        found, ram = attempt(data.load_mnist, tmp_path)
        assert ram < 7 * images.nbytes + RAM  # the arrays of the data set take five: float32, and the bytes
        for one, two in zip(found[1:], expected[1:], strict=True):
            assert np.array_equal(one, two)
        said = capsys.readouterr().err
        assert "is damaged" in said or damaged == good or path.read_bytes() == damaged
        assert said.count("\n") <= 2
