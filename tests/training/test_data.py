"""The data are what they are said to be, or are refused."""

from __future__ import annotations

import io
from types import SimpleNamespace
from unittest.mock import Mock

import fake_openml
import numpy as np
import pytest

from minigru.training import data

NOT_THERE = "http://127.0.0.1:9"  # a closed port of this machine: no test waits for a server


@pytest.fixture
def offline(monkeypatch):
    for name in ("http_proxy", "https_proxy", "no_proxy"):
        monkeypatch.setenv(name, "" if name == "no_proxy" else NOT_THERE)
        monkeypatch.setenv(name.upper(), "" if name == "no_proxy" else NOT_THERE)


def made_up_images():
    return np.concatenate([fake_openml.first_rows(), np.zeros((69_997, 784), np.uint8)])


@pytest.fixture
def openml(monkeypatch):
    """Stand in for scikit-learn's reader; return what it answers, which a test may change."""
    answer = SimpleNamespace(data=made_up_images(), target=fake_openml.labels())
    monkeypatch.setattr("sklearn.datasets.fetch_openml", lambda *args, **options: answer)
    return answer


def made_up_cache(home, **change):
    path = home / "minigru" / "mnist.npz"
    path.parent.mkdir(parents=True)
    np.savez(path, **({"images": made_up_images(), "labels": fake_openml.labels()} | change))  # as before the digest
    return path


def test_digits_are_real_and_split_the_same_way_each_time():
    first, again = data.load("digits"), data.load("digits", dtype="float64")
    assert (first.x_train.shape, first.x_test.shape) == ((1437, 8, 8), (360, 8, 8))
    assert (first.x_train.dtype, again.x_train.dtype) == (np.float32, np.float64)
    assert (first.x_train.min(), first.x_train.max()) == (0, 1)
    assert all(np.array_equal(one, two) for one, two in zip(first[1:], again[1:], strict=True))
    assert np.bincount(first.y_test).min() >= 34  # stratified: 34 to 37 of each


def test_mnist_is_read_through_scikit_learn_and_then_from_the_decoded_cache(tmp_path, offline, capsys):
    fake_openml.write(tmp_path)
    cache = tmp_path / "minigru" / "mnist.npz"
    cache.parent.mkdir()
    cache.write_bytes(b"half-writ")
    mnist = data.load("mnist", tmp_path)
    assert (mnist.name, mnist.x_train.shape, mnist.x_test.shape) == ("mnist", (60_000, 28, 28), (10_000, 28, 28))
    assert np.array_equal(mnist.x_train[:3].reshape(3, 784), fake_openml.first_rows() / np.float32(255))
    assert np.array_equal(np.concatenate([mnist.y_train, mnist.y_test]), fake_openml.labels())
    damaged, reading = capsys.readouterr().err.splitlines()
    assert "is damaged" in damaged
    assert reading.startswith("Reading MNIST through scikit-learn")
    assert [entry.name for entry in cache.parent.iterdir()] == ["mnist.npz"]

    for path in (tmp_path / "openml").rglob("*.gz"):
        path.unlink()
    again = data.load("mnist", tmp_path)
    assert np.array_equal(again.x_train, mnist.x_train)
    assert capsys.readouterr().err == ""


def test_a_fetched_set_that_is_not_mnist_is_refused(tmp_path, openml):
    openml.data, openml.target = openml.data[:60], openml.target[:60]
    with pytest.raises(data.DataUnavailable, match=r"is not MNIST \(images are \(60, 784\).*: delete .*openml"):
        data.load("mnist", tmp_path)
    assert not (tmp_path / "minigru").exists()


@pytest.mark.parametrize(
    "change",
    [
        {"images": np.zeros((70_000, 784), np.uint8)},
        {"images": np.zeros((3, 784), np.float32)},
        {"labels": np.zeros(70_000, np.uint8)},
        {"labels": np.zeros(3, np.uint8)},
        {"labels": np.where(np.arange(70_000) < 60_000, 77, fake_openml.labels()).astype(np.uint8)},
        {"labels": np.array([None])},
        {"images": made_up_images()[::-1], "digest": "that of another order"},
    ],
    ids=["blank", "floats", "labels all 0", "three labels", "training labels 77", "pickled", "other order"],
)
def test_a_cache_of_something_else_is_decoded_again(change, tmp_path, openml, capsys):
    made_up_cache(tmp_path, **change)
    data.load("mnist", tmp_path)
    assert "is damaged" in capsys.readouterr().err


def test_a_damaged_cache_is_decoded_again(tmp_path, openml, capsys):
    path, one_array = made_up_cache(tmp_path), io.BytesIO()
    np.save(one_array, np.ones(3))
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    for damaged in (content, content[: len(content) // 2], one_array.getvalue()):
        path.write_bytes(damaged)
        assert np.array_equal(data.load("mnist", tmp_path).y_test, fake_openml.labels()[60_000:])
        assert "is damaged" in capsys.readouterr().err


def test_auto_falls_back_to_the_digits_and_says_so_in_two_lines(tmp_path, offline, capsys):
    with pytest.raises(data.DataUnavailable, match="could not be fetched"):
        data.load("mnist", tmp_path)
    capsys.readouterr()
    assert data.load("auto", tmp_path).name == "digits"
    first, not_mnist, how = capsys.readouterr().err.splitlines()
    assert first.startswith("Reading MNIST")
    assert not_mnist.startswith("This is not MNIST but scikit-learn's 1,797 digits")
    assert "could not be fetched" in not_mnist
    assert how.startswith("To get MNIST: ")


def test_auto_takes_mnist_where_the_environment_says(tmp_path, monkeypatch):
    made_up_cache(tmp_path)
    monkeypatch.setenv("SCIKIT_LEARN_DATA", str(tmp_path))
    assert data.load("auto").name == "mnist"


def test_a_cache_that_cannot_be_written_stops_nothing(tmp_path, openml, capsys):
    (tmp_path / "minigru").write_text("a file where the folder should be")
    assert data.load("mnist", tmp_path).name == "mnist"
    assert "could not be cached" in capsys.readouterr().err


def test_wrong_arguments_are_named(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(data.DataUnavailable, match="file is not a folder: choose a data folder"):
        data.load("mnist", tmp_path / "file")
    with pytest.raises(ValueError, match="data is 'cifar'; expected one of 'auto', 'mnist', 'digits'"):
        data.load("cifar")


ODD = {
    "an error in place of the description": ("description", {"error": {"code": "111"}}),
    "no description": ("description", {"data_set_description": None}),
    "a list in place of the list of data sets": ("list", []),
    "a number in place of the features": ("features", 7),
    "a list in place of the qualities": ("qualities", [1]),
}


@pytest.mark.parametrize(("name", "answer"), ODD.values(), ids=ODD)
def test_an_odd_answer_in_the_cache_is_named_and_auto_takes_the_digits(name, answer, tmp_path, offline, capsys):
    path = fake_openml.write(tmp_path, rows=3, **{name: answer}) / f"{fake_openml.FILES[name]}.gz"
    with pytest.raises(data.DataUnavailable, match="scikit-learn cannot read") as refusal:
        data.load("mnist", tmp_path)
    assert refusal.value.remedy.startswith(f"delete {path} and run again")
    assert data.load("auto", tmp_path).name == "digits"
    assert capsys.readouterr().err.count("\n") == 4  # of both: "Reading", of auto: "This is not", "To get"


def test_a_truncated_answer_and_a_folder_in_its_place_are_refused(tmp_path, offline):
    path = fake_openml.write(tmp_path, rows=3) / "554.gz"
    path.write_bytes(path.read_bytes()[:-9])
    with pytest.raises(data.DataUnavailable, match="could not be fetched"):  # scikit-learn has deleted it
        data.load("mnist", tmp_path)
    path.mkdir()
    with pytest.raises(data.DataUnavailable) as refusal:
        data.load("mnist", tmp_path)
    assert f"delete {path}" in refusal.value.remedy


def test_whatever_scikit_learn_raises_means_that_the_data_are_unavailable(tmp_path, monkeypatch):
    fake_openml.write(tmp_path, rows=3)
    for error in (
        EOFError("early\nend"),
        MemoryError(),
        ImportError("no pandas"),
        OSError(28, "No space left on device"),
    ):
        monkeypatch.setattr("sklearn.datasets.fetch_openml", Mock(side_effect=error))
        with pytest.raises(data.DataUnavailable, match=r"delete .*openml.org|No space left on device") as refusal:
            data.load("mnist", tmp_path)
        assert "\n" not in str(refusal.value)


def test_a_data_folder_that_cannot_be_had_names_the_variable(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("os.path.expanduser", lambda path: path)  # as for a user without a home folder
    monkeypatch.delenv("SCIKIT_LEARN_DATA", raising=False)
    with pytest.raises(data.DataUnavailable, match=r"no home folder .*: set SCIKIT_LEARN_DATA"):
        data.load("mnist")
    (tmp_path / "file").write_text("")
    (tmp_path / "dangling").symlink_to(tmp_path / "nowhere")
    for folder in ("~nosuchuser/data", tmp_path / "file", tmp_path / "dangling"):
        monkeypatch.setenv("SCIKIT_LEARN_DATA", str(folder))
        assert data.load("auto").name == "digits"
        assert "To get MNIST: set SCIKIT_LEARN_DATA to a folder" in capsys.readouterr().err
    with pytest.raises(data.DataUnavailable, match=r"cannot be used .*: choose a data folder"):
        data.load("mnist", "no\0path")
