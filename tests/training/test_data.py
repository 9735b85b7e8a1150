"""The data are what they are said to be, or are refused."""

from __future__ import annotations

import io
import os
from pathlib import Path

import fake_openml
import numpy as np
import pytest

from minigru.training import data
from minigru.training.files import DamagedFile, read_arrays, replace_file

NO_NETWORK = {"http_proxy": "http://127.0.0.1:9", "https_proxy": "http://127.0.0.1:9"}


@pytest.fixture
def offline(monkeypatch):
    """Point the proxies at a closed port of this machine, so that no test waits for a server."""
    for name, value in NO_NETWORK.items():
        monkeypatch.setenv(name, value)
        monkeypatch.setenv(name.upper(), value)
    monkeypatch.delenv("no_proxy", raising=False)
    monkeypatch.delenv("NO_PROXY", raising=False)


def write_cache(home: Path, **change) -> Path:
    """Write a decoded cache of made-up images, or with `change` one that is not MNIST."""
    images = np.zeros((70_000, 784), np.uint8)
    images[:3] = fake_openml.first_rows()
    path = home / "minigru" / "mnist.npz"
    path.parent.mkdir(parents=True)
    np.savez(path, **({"images": images, "labels": fake_openml.labels()} | change))
    return path


def test_digits_are_real_and_split_the_same_way_each_time():
    first, again = data.load("digits"), data.load("digits")
    assert first.x_train.shape == (1437, 8, 8)
    assert first.x_test.shape == (360, 8, 8)
    assert first.x_train.dtype == np.float32
    assert data.load("digits", dtype="float64").x_train.dtype == np.float64
    assert first.x_train.min() == 0
    assert first.x_train.max() == 1
    assert all(np.array_equal(one, two) for one, two in zip(first[1:], again[1:], strict=True))
    assert np.bincount(first.y_test).min() >= 34  # stratified: 34 to 37 of each


def test_mnist_is_read_through_scikit_learn_and_then_from_the_decoded_cache(tmp_path, offline, capsys):
    fake_openml.write(tmp_path)
    mnist = data.load("mnist", tmp_path)
    assert (mnist.name, mnist.x_train.shape, mnist.x_test.shape) == ("mnist", (60_000, 28, 28), (10_000, 28, 28))
    assert np.array_equal(mnist.x_train[:3].reshape(3, 784), fake_openml.first_rows() / np.float32(255))
    assert np.array_equal(np.concatenate([mnist.y_train, mnist.y_test]), fake_openml.labels())
    assert "Reading MNIST through scikit-learn" in capsys.readouterr().err

    for path in (tmp_path / "openml").rglob("*.gz"):
        path.unlink()
    again = data.load("mnist", tmp_path)
    assert np.array_equal(again.x_train, mnist.x_train)
    assert capsys.readouterr().err == ""


def test_another_number_of_images_is_refused(tmp_path, offline):
    fake_openml.write(tmp_path, rows=60)
    with pytest.raises(data.DataUnavailable, match=r"is not MNIST \(images are \(60, 784\)"):
        data.load("mnist", tmp_path)
    assert not (tmp_path / "minigru").exists()


@pytest.mark.parametrize("damage", ["flipped bit", "half", "empty", "text", "one array"])
def test_a_damaged_cache_is_noticed(damage, tmp_path, offline, capsys):
    path = write_cache(tmp_path)
    content = bytearray(path.read_bytes())
    content[30_000_000] ^= 1
    one_array = io.BytesIO()
    np.save(one_array, np.ones(3))
    damaged = {
        "flipped bit": content,
        "half": content[: len(content) // 2],
        "empty": b"",
        "text": b"hello",
        "one array": one_array.getvalue(),
    }[damage]
    path.write_bytes(damaged)
    with pytest.raises(data.DataUnavailable, match="could not be fetched"):
        data.load("mnist", tmp_path)
    assert "is damaged" in capsys.readouterr().err


@pytest.mark.parametrize(
    "change",
    [
        {"images": np.zeros((70_000, 784), np.uint8)},
        {"images": np.zeros((70_000, 784), np.float32)},
        {"labels": np.zeros(70_000, np.uint8)},
        {"labels": np.zeros(3, np.uint8)},
        {"labels": np.where(np.arange(70_000) < 60_000, 77, fake_openml.labels()).astype(np.uint8)},
        {"labels": np.array([None])},
    ],
    ids=["blank", "floats", "labels all 0", "three labels", "training labels 77", "pickled"],
)
def test_a_cache_of_something_else_is_noticed(change, tmp_path, offline, capsys):
    write_cache(tmp_path, **change)
    with pytest.raises(data.DataUnavailable):
        data.load("mnist", tmp_path)
    assert "is damaged" in capsys.readouterr().err


def test_a_damaged_cache_is_made_anew(tmp_path, offline, capsys):
    fake_openml.write(tmp_path)
    path = tmp_path / "minigru" / "mnist.npz"
    path.parent.mkdir()
    path.write_bytes(b"half-writ")
    data.load("mnist", tmp_path)
    assert "is made anew" in capsys.readouterr().err
    assert path.stat().st_size > 50e6
    assert [entry.name for entry in path.parent.iterdir()] == ["mnist.npz"]


def test_auto_falls_back_to_the_digits_and_says_so_in_two_lines(tmp_path, offline, capsys):
    assert data.load("auto", tmp_path).name == "digits"
    first, not_mnist, how = capsys.readouterr().err.splitlines()
    assert first.startswith("Reading MNIST")
    assert not_mnist.startswith("This is not MNIST but scikit-learn's 1,797 digits")
    assert "could not be fetched" in not_mnist
    assert how.startswith("To get MNIST: ")
    assert "SCIKIT_LEARN_DATA" in how


def test_auto_takes_mnist_where_it_is(tmp_path, offline, monkeypatch):
    write_cache(tmp_path)
    monkeypatch.setenv("SCIKIT_LEARN_DATA", str(tmp_path))
    assert data.load("auto").name == "mnist"


def test_a_cache_that_cannot_be_written_stops_nothing(tmp_path, offline, capsys):
    fake_openml.write(tmp_path)
    (tmp_path / "minigru").write_text("a file where the folder should be")
    assert data.load("mnist", tmp_path).name == "mnist"
    assert "could not be kept" in capsys.readouterr().err


def test_a_data_folder_that_is_a_file(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(data.DataUnavailable, match="is not a folder: name another"):
        data.load("mnist", tmp_path / "file")


def test_a_flipped_bit_in_the_headers_of_an_archive_is_one_error(tmp_path):
    path = tmp_path / "arrays.npz"
    np.savez(path, a=np.arange(3), b=np.ones((2, 2)))
    content = path.read_bytes()
    whole, other = 0, 0
    for position in range(0, len(content)):
        for bit in (0, 3, 6):
            path.write_bytes(content[:position] + bytes([content[position] ^ (1 << bit)]) + content[position + 1 :])
            try:
                read_arrays(path)
                whole += 1  # a bit that no reader looks at, such as one of a date
            except DamagedFile:
                other += 1
    assert other > 200


def test_unknown_name():
    with pytest.raises(ValueError, match="data is 'cifar'; expected one of 'auto', 'mnist', 'digits'"):
        data.load("cifar")


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
