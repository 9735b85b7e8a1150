"""MNIST, or scikit-learn's small digits, as sequences of image rows."""

from __future__ import annotations

import errno
import gzip
import http.client
import json
import os
import socket
import ssl
import sys
import urllib.error
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from ..engine import checks
from .files import DamagedFile, read_arrays, save_arrays

DATA = ("auto", "mnist", "digits")
SIDES = {"mnist": 28, "digits": 8}  # of an image, in pixels
TRAIN_COUNTS = [5923, 6742, 5958, 6131, 5842, 5421, 5918, 6265, 5851, 5949]  # images of each digit, 0 to 9
TEST_COUNTS = [980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009]
NETWORK_TIMEOUT = 20  # seconds to wait for a silent server
NETWORK_ERRORS = (urllib.error.URLError, http.client.HTTPException, ssl.SSLError, ConnectionError, TimeoutError)
ANSWERS = {  # files of scikit-learn's cache, and the key that OpenML's answer in each has
    "list/data_name/mnist_784/**/*.gz": "data",
    "554.gz": "data_set_description",
    "features/554.gz": "data_features",
    "qualities/554.gz": "data_qualities",
}


class DataUnavailable(RuntimeError):
    """The data are not available: `reason` says why, `remedy` what to do."""

    def __init__(self, reason: str, remedy: str) -> None:
        super().__init__(f"{reason}: {remedy}")
        self.reason, self.remedy = reason, remedy


class Dataset(NamedTuple):
    """Images as sequences: step t of a sequence is row t of the image, from the top.

    Attributes
    ----------
    name : "mnist" or "digits"
    x_train, x_test : (n, T, D) floats from 0 (background) to 1 (ink)
    y_train, y_test : (n,) int64, the digits 0 to 9
    """

    name: str
    x_train: np.ndarray
    y_train: np.ndarray
    x_test: np.ndarray
    y_test: np.ndarray


def load(name: str = "auto", data_home: str | os.PathLike | None = None, dtype: Any = "float32") -> Dataset:
    """Load a data set by name.

    Parameters
    ----------
    name : "mnist", "digits", or "auto": MNIST if it is available, otherwise the digits, with two lines on stderr
    data_home : scikit-learn's data folder; if None, ``$SCIKIT_LEARN_DATA`` or ``~/scikit_learn_data``
    dtype : "float32" or "float64"

    Raises
    ------
    ValueError
        name or dtype is not one of these.
    DataUnavailable
        "mnist" was asked for, but is not cached and could not be fetched.
    """
    checks.choice("data", name, DATA)
    dtype = checks.dtype(dtype)
    if name == "digits":
        return load_digits(dtype)
    try:
        return load_mnist(data_home, dtype)
    except DataUnavailable as error:
        if name == "mnist":
            raise
        print(
            f"This is not MNIST but scikit-learn's 1,797 digits of 8x8 pixels, because {error.reason}.", file=sys.stderr
        )
        print(f"To get MNIST: {error.remedy}.", file=sys.stderr)
        return load_digits(dtype)


def hold_out(dataset: Dataset, images: int) -> Dataset:
    """Return the data set with its last training images in place of the test images, to choose options with.

    Raises
    ------
    ValueError
        No training image would be left.
    """
    kept = len(dataset.x_train) - images
    if kept < 1:
        raise ValueError(
            f"holdout is {images}; expected less than the {len(dataset.x_train)} training images of {dataset.name}"
        )
    x, y = dataset.x_train, dataset.y_train
    return Dataset(dataset.name, x[:kept], y[:kept], x[kept:], y[kept:])


def load_digits(dtype: Any = "float32") -> Dataset:
    """Load scikit-learn's bundled digits: 1,797 real images, T = 8, D = 8; the same 360 are always the test set."""
    import sklearn.datasets
    from sklearn.model_selection import train_test_split

    digits = sklearn.datasets.load_digits()
    x = (digits.images / 16).astype(dtype)
    y = digits.target.astype(np.int64)
    x_train, x_test, y_train, y_test = train_test_split(x, y, test_size=360, stratify=y, random_state=0)
    return Dataset("digits", x_train, y_train, x_test, y_test)


def load_mnist(data_home: str | os.PathLike | None = None, dtype: Any = "float32") -> Dataset:
    """Load MNIST (LeCun et al. 1998), T = 28, D = 28: 60,000 training images, and 10,000 test images by other writers.

    scikit-learn fetches and caches it. The decoded arrays are cached beside it, and validated before they are used.

    Raises
    ------
    DataUnavailable
        It is not cached and could not be fetched, what was fetched is not MNIST, or the data folder cannot be used.
    """
    home, choose = _data_folder(data_home)
    cache = home / "minigru" / "mnist.npz"
    arrays = _read_cache(cache)
    if arrays is None:
        arrays = _fetch(home, choose)
        _write_cache(cache, *arrays)
    images, labels = arrays
    x = images.reshape(-1, 28, 28).astype(dtype)
    x /= 255
    y = labels.astype(np.int64)
    return Dataset("mnist", x[:60_000], y[:60_000], x[60_000:], y[60_000:])


def _data_folder(data_home: str | os.PathLike | None) -> tuple[Path, str]:
    """Return scikit-learn's data folder, and in words how a user chooses another one."""
    choose = "choose a data folder" if data_home else "set SCIKIT_LEARN_DATA to a folder"
    given = os.fspath(data_home or os.environ.get("SCIKIT_LEARN_DATA") or os.path.join("~", "scikit_learn_data"))
    home = os.path.expanduser(given)
    if home.startswith("~"):  # Python leaves it where there is no such user, or where this user has no home folder
        raise DataUnavailable(f"there is no home folder for the data folder {given}", f"{choose} elsewhere")
    try:
        os.stat(os.path.join(home, "minigru"))
    except (FileNotFoundError, NotADirectoryError) as error:  # scikit-learn makes a folder that is missing
        missing = not os.path.lexists(home) and isinstance(error, FileNotFoundError)
        if not missing and not os.path.isdir(home):
            raise DataUnavailable(f"the data folder {home} is not a folder", f"{choose} that is one") from None
    except (OSError, ValueError) as error:
        reason = f"the data folder {home} cannot be used ({getattr(error, 'strerror', error)})"
        raise DataUnavailable(reason, f"{choose} that this user can read") from error
    return Path(home), choose


def _fetch(home: Path, choose: str) -> tuple[np.ndarray, np.ndarray]:
    """Return images (70000, 784) and labels (70000,), uint8, from scikit-learn's cache or from OpenML.

    `choose` says how a user chooses another `home`.
    """
    from sklearn.datasets import fetch_openml

    print(
        f"Reading MNIST through scikit-learn (data folder {home}; OpenML sends 15 MB if it is not there) …",
        file=sys.stderr,
    )
    try:
        with _patience(NETWORK_TIMEOUT), warnings.catch_warnings():
            for category in (UserWarning, RuntimeWarning):  # "Retrying…", "Invalid cache…"
                warnings.simplefilter("ignore", category)  # the error below says it better
            # Without dtype, scikit-learn 1.9.1 crashes on pandas 3.1 (scikit-learn #34892). It also saves RAM.
            bunch = fetch_openml(
                "mnist_784",
                version=1,
                as_frame=False,
                data_home=str(home),
                n_retries=1,
                parser="pandas",
                read_csv_kwargs={"dtype": {**dict.fromkeys(range(784), np.uint8), 784: str}},
            )
        images = np.ascontiguousarray(bunch.data, dtype=np.uint8)
        labels = np.array([int(str(label).strip("'\"")) for label in bunch.target], dtype=np.uint8)
    except Exception as error:  # scikit-learn lets pass whatever an odd answer in its cache leads to
        raise _unavailable(error, home, choose) from error
    fault = _fault(images, labels)
    if fault:
        reason = f"what {home} holds as mnist_784 is not MNIST ({fault})"
        raise DataUnavailable(reason, f"delete {_culprit(home)} and run again with a network that reaches openml.org")
    return images, labels


def _unavailable(error: Exception, home: Path, choose: str) -> DataUnavailable:
    """Return what to tell a user about an error of scikit-learn's."""
    network, culprit = "a network that reaches openml.org", _culprit(home)
    what = " ".join(f"{type(error).__name__}: {error}".split())[:200]
    if isinstance(error, OSError) and not isinstance(error, NETWORK_ERRORS):
        if error.filename is not None or error.errno == errno.ENOSPC:
            return _unusable(error, home, choose)
        if error.errno:  # unlike BadGzipFile
            culprit = None
    if isinstance(error, NETWORK_ERRORS) or culprit is None:
        reason = f"MNIST is not in {home} and could not be fetched ({what})"
        return DataUnavailable(reason, f"run once with {network}, or {choose} of scikit-learn's that holds mnist_784")
    remedy = f"delete {culprit} and run again with {network}"
    return DataUnavailable(f"scikit-learn cannot read {culprit} ({what})", remedy)


def _unusable(error: OSError, home: Path, choose: str) -> DataUnavailable:
    """Return what to tell a user about a file or folder below `home` that the system refuses."""
    path = Path(error.filename or home)
    path = next((place for place in (path, *path.parents) if os.path.lexists(place)), home)
    remedy = f"{choose} elsewhere"
    if home in path.parents and isinstance(error, (IsADirectoryError, NotADirectoryError, FileExistsError)):
        remedy = f"delete {path}, or {remedy}"
    elif isinstance(error, PermissionError):
        remedy = f"let this user read and write {path}, or {remedy}"
    return DataUnavailable(f"{path} cannot be used ({error.strerror})", remedy)


def _culprit(home: Path) -> Path | None:
    """Return the file of mnist_784 in scikit-learn's cache that is no answer of OpenML's, or else the whole cache.

    None if nothing is cached.
    """
    cache = home / "openml" / "openml.org"
    for pattern, key in ANSWERS.items():
        for path in (cache / "api" / "v1" / "json" / "data").glob(pattern):
            try:
                if not json.loads(gzip.decompress(path.read_bytes()))[key]:
                    return path
            except Exception:  # not readable, not compressed, not JSON, or without the key
                return path
    return cache if any(cache.rglob("*.gz")) else None


def _fault(images: np.ndarray, labels: np.ndarray) -> str | None:
    """Return in words why two arrays are not MNIST, or None if they are."""
    if images.shape != (70_000, 784) or images.dtype != np.uint8:
        return f"images are {images.shape} of {images.dtype}, not (70000, 784) of uint8"
    if labels.shape != (70_000,) or labels.dtype != np.uint8:
        return f"labels are {labels.shape} of {labels.dtype}, not (70000,) of uint8"
    if images.min() != 0 or images.max() != 255:
        return f"pixels run from {images.min()} to {images.max()}, not from 0 to 255"
    for name, part, expected in (
        ("first 60,000", labels[:60_000], TRAIN_COUNTS),
        ("last 10,000", labels[60_000:], TEST_COUNTS),
    ):
        counts = np.bincount(part, minlength=10).tolist()
        if counts != expected:
            return f"the {name} labels have {counts} of the digits 0 to 9, not {expected}"
    return None


def _read_cache(path: Path) -> tuple[np.ndarray, np.ndarray] | None:
    """Return the decoded arrays, or None if the file is missing, unreadable, damaged or not MNIST."""
    try:
        arrays = read_arrays(path)
        images, labels = arrays["images"], arrays["labels"]
    except FileNotFoundError:
        return None
    except OSError as error:
        print(f"The cached {path} cannot be read ({error.strerror}); MNIST is decoded again.", file=sys.stderr)
        return None
    except DamagedFile as error:
        fault: str | None = str(error)
    except KeyError as error:
        fault = f"{error} is missing"
    else:
        fault = _fault(images, labels)
    if fault:
        print(f"The cached {path} is damaged ({fault}); MNIST is decoded again.", file=sys.stderr)
        return None
    return images, labels


def _write_cache(path: Path, images: np.ndarray, labels: np.ndarray) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        save_arrays(path, {"images": images, "labels": labels})
    except OSError as error:
        fault = f"The decoded MNIST could not be cached as {path} ({error.strerror})"
        print(f"{fault}; the next start will decode it again.", file=sys.stderr)


@contextmanager
def _patience(seconds: float) -> Iterator[None]:
    """Let a silent network connection fail after `seconds`, not after minutes."""
    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(seconds)
    try:
        yield
    finally:
        socket.setdefaulttimeout(before)
