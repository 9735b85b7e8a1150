"""A filled scikit-learn cache with made-up images, so that the real loader runs without the network.

It holds the files that ``fetch_openml("mnist_784", version=1)`` reads. Each is named by the path of its URL.
"""

from __future__ import annotations

import gzip
import hashlib
import json
from pathlib import Path

import numpy as np

FILES = {
    "list": "list/data_name/mnist_784/limit/2/data_version/1",
    "description": "554",
    "features": "features/554",
    "qualities": "qualities/554",
}
TRAIN_COUNTS = [5923, 6742, 5958, 6131, 5842, 5421, 5918, 6265, 5851, 5949]
TEST_COUNTS = [980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009]


def labels() -> np.ndarray:
    """Return 70,000 labels with the counts of the official training set, then of the test set."""
    return np.concatenate([np.repeat(np.arange(10), counts) for counts in (TRAIN_COUNTS, TEST_COUNTS)]).astype(np.uint8)


def first_rows() -> np.ndarray:
    """Return the only images that are not blank."""
    images = np.random.default_rng(0).integers(0, 256, (3, 784)).astype(np.uint8)
    images[0, :2] = 0, 255
    return images


def write(home: Path, rows: int = 70_000, **changed: object) -> Path:
    """Write the cache below the data folder `home`, and return the folder of its answers.

    `changed` are other answers: to the list of data sets, about the description, the features or the qualities.
    """
    names = [*(f"pixel{i + 1}" for i in range(784)), "class"]
    header = "@RELATION mnist_784\n" + "".join(f"@ATTRIBUTE {name} real\n" for name in names[:-1])
    header += "@ATTRIBUTE class {0,1,2,3,4,5,6,7,8,9}\n@DATA\n"
    lines = [",".join(map(str, image)) for image in first_rows()]
    lines += ["0," * 783 + "0"] * (rows - len(lines))
    arff = (header + "".join(f"{line},{label}\n" for line, label in zip(lines, labels()[:rows], strict=True))).encode()
    description = {
        "id": "554", "name": "mnist_784", "version": "1", "format": "ARFF", "status": "active", "file_id": "52667",
        "description": "made up for a test", "md5_checksum": hashlib.md5(arff).hexdigest(),
        "url": "https://api.openml.org/data/v1/download/52667/mnist_784.arff",
    }  # fmt: skip
    features = [
        {
            "index": str(index), "name": name, "data_type": "nominal" if name == "class" else "numeric",
            "is_target": str(name == "class").lower(), "is_ignore": "false", "is_row_identifier": "false",
            "number_of_missing_values": "0",
        }
        for index, name in enumerate(names)
    ]  # fmt: skip
    api, download = "api/v1/json/data", "data/v1/download/52667"
    qualities = [{"name": "NumberOfInstances", "value": f"{rows}.0"}]
    answers = {
        "list": {"data": {"dataset": [{"did": 554, "status": "active", "version": 1}]}},
        "description": {"data_set_description": description},
        "features": {"data_features": {"feature": features}},
        "qualities": {"data_qualities": {"quality": qualities}},
    } | changed
    files = {f"{api}/{FILES[name]}": gzip.compress(json.dumps(answer).encode()) for name, answer in answers.items()}
    files |= dict.fromkeys((download, f"{download}/mnist_784.arff"), gzip.compress(arff, 1))  # by version of the reader
    for name, content in files.items():
        path = home / "openml" / "openml.org" / f"{name}.gz"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    return home / "openml" / "openml.org" / api
