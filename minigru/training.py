"""Training a classifier on images, so that it can be watched, stopped and resumed."""

from __future__ import annotations

import signal
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from types import FrameType
from typing import Any

import numpy as np
import pandas as pd

from . import checkpoint, checks
from .adam import SCHEDULES, Adam, clip_by_global_norm
from .backend import BACKENDS
from .checkpoint import CheckpointError
from .data import DATA, Dataset
from .files import replace_file
from .loss import SoftmaxCrossEntropy
from .model import CELLS, SequenceClassifier

HISTORY = (
    "epoch",
    "train_loss_nats",
    "test_loss_nats",
    "test_accuracy_percent",
    "train_seconds",
    "images_per_second",
)
READ_EVERY = 100  # steps between two looks at the loss, which make the host wait for the device


class Diverged(RuntimeError):
    """The loss is no longer a finite number; the message says since which step."""


@dataclass(frozen=True)
class Config:
    """What a training run depends on; the defaults are the article's recipe.

    Attributes
    ----------
    backend : "numpy" or "cupy"
    data : "auto", "mnist" or "digits"
    model : "gru" or "rnn"
    hidden_size : H
    epochs : passes over the training images
    batch_size : B
    lr : learning rate of Adam
    schedule : "constant" or "cosine"
    clip_norm : longest gradient that is let through, or None
    seed : of the initial weights and of the order of the images
    dtype : "float32" or "float64"
    limit : how many training images to use, from the first, or None for all

    Raises
    ------
    ValueError
        A value is not one of those.
    """

    backend: str = "numpy"
    data: str = "auto"
    model: str = "gru"
    hidden_size: int = 128
    epochs: int = 10
    batch_size: int = 32
    lr: float = 1e-3
    schedule: str = "constant"
    clip_norm: float | None = None
    seed: int = 0
    dtype: str = "float32"
    limit: int | None = None

    def __post_init__(self) -> None:
        checks.choice("backend", self.backend, BACKENDS)
        checks.choice("data", self.data, DATA)
        checks.choice("model", self.model, tuple(CELLS))
        checks.whole("hidden_size", self.hidden_size)
        checks.whole("epochs", self.epochs)
        checks.whole("batch_size", self.batch_size)
        checks.number("lr", self.lr, 0)
        checks.choice("schedule", self.schedule, tuple(SCHEDULES))
        if self.clip_norm is not None:
            checks.number("clip_norm", self.clip_norm, 0, above=True)
        checks.whole("seed", self.seed, 0)
        checks.dtype(self.dtype)
        if self.limit is not None:
            checks.whole("limit", self.limit)


class Trainer:
    """A training run: the model, its optimiser, the one random generator, and where it stands.

    Parameters
    ----------
    config : its `data` must be the name of `dataset`
    dataset : the images
    out : folder for ``checkpoint.npz`` and ``history.csv``; must exist

    Attributes
    ----------
    epoch : epochs completed
    history : DataFrame, a row an epoch

    Raises
    ------
    ValueError
        config.limit is larger than the training set.
    BackendUnavailable
        CuPy was asked for and cannot be used.
    """

    def __init__(self, config: Config, dataset: Dataset, out: Path) -> None:
        self.config, self.out = config, out
        N = config.limit or len(dataset.x_train)
        if len(dataset.x_train) < N:
            raise ValueError(
                f"limit is {N}; expected at most the {len(dataset.x_train)} training images of {dataset.name}"
            )
        self.rng = np.random.default_rng(config.seed)
        D = dataset.x_train.shape[2]
        K = int(dataset.y_train.max()) + 1
        self.model = SequenceClassifier(D, config.hidden_size, K, config.model, config.backend, config.dtype, self.rng)
        self.adam = Adam(self.model, config.lr)
        to_device = self.model.backend.to_device
        self._x, self._y = to_device(dataset.x_train[:N]), to_device(dataset.y_train[:N])
        self._x_test, self._y_test = to_device(dataset.x_test), dataset.y_test
        self._batches = -(-N // config.batch_size)
        self.epoch = 0
        self._losses = np.empty(0)  # of the steps done in the current epoch
        self._generator_state = self.rng.bit_generator.state  # at the start of the current epoch
        self.history = pd.DataFrame(columns=HISTORY)

    def save(self) -> None:
        """Write the checkpoint and the history; each file is replaced only when it is whole."""
        meta = {"config": asdict(self.config), "epoch": self.epoch, "generator": self._generator_state}
        checkpoint.save(self.out / "checkpoint.npz", self.model, self.adam, meta, self._losses)
        replace_file(self.out / "history.csv", lambda file: self.history.to_csv(file, index=False))

    def resume(self) -> None:
        """Stand where the checkpoint in `out` was written.

        Raises
        ------
        CheckpointError
            The checkpoint is missing, damaged, or of another model.
        """
        path = self.out / "checkpoint.npz"
        arrays, meta = checkpoint.read(path)
        checkpoint.restore(path, arrays, self.model, self.adam)
        self.rng.bit_generator.state = self._generator_state = meta["generator"]
        self.epoch, self._losses = meta["epoch"], arrays["losses"]
        try:
            history = pd.read_csv(self.out / "history.csv")[list(HISTORY)]
        except (OSError, ValueError, KeyError) as error:
            raise CheckpointError(f"{self.out / 'history.csv'} does not go with the checkpoint ({error})") from error
        self.history = history[history["epoch"] <= self.epoch]

    def run(self, *, quiet: bool = False) -> bool:
        """Train until config.epochs are done, saving after each, or until Ctrl-C, saving at once.

        Returns
        -------
        completed : False after Ctrl-C

        Raises
        ------
        Diverged
            The loss is not finite; the checkpoint is still the last good one.
        """
        with _interruption() as interrupted, np.errstate(over="ignore", invalid="ignore"):
            while self.epoch < self.config.epochs:
                seconds, done = self._train_epoch(interrupted, quiet)
                if len(self._losses) == self._batches:
                    self._finish_epoch(seconds, done, quiet)
                self.save()
                if interrupted.is_set():
                    return self.epoch == self.config.epochs
        return True

    def _train_epoch(self, interrupted: threading.Event, quiet: bool) -> tuple[float, int]:
        """Do the steps of this epoch that are still to be done; return seconds and images."""
        from tqdm.auto import tqdm

        config, model, adam = self.config, self.model, self.adam
        xp, B, N = model.backend.xp, config.batch_size, len(self._x)
        schedule, total_steps = SCHEDULES[config.schedule], config.epochs * self._batches
        order = model.backend.to_device(self.rng.permutation(N))
        first = checked = len(self._losses)
        losses = xp.empty(self._batches, model.dtype)
        losses[:first] = model.backend.to_device(self._losses.astype(model.dtype))
        start = time.perf_counter()
        with tqdm(
            total=self._batches,
            initial=first,
            desc=f"epoch {self.epoch + 1}",
            unit="batch",
            leave=False,
            disable=quiet or not sys.stderr.isatty(),
        ) as bar:
            for batch in range(first, self._batches):
                chosen = order[batch * B : (batch + 1) * B]
                adam.lr = schedule(config.lr, adam.t, total_steps)
                losses[batch] = model.loss(self._x[chosen], self._y[chosen])
                model.backward()
                if config.clip_norm is not None:
                    clip_by_global_norm(model, config.clip_norm)
                adam.step()
                done = batch + 1
                if done == self._batches or done - checked == READ_EVERY or interrupted.is_set():
                    self._losses = model.backend.to_host(losses[:done]).copy()
                    self._check_finite(checked)
                    bar.set_postfix(loss=f"{self._losses[checked:].mean():.4f}", refresh=False)
                    bar.update(done - checked)
                    checked = done
                if interrupted.is_set():
                    break
        return time.perf_counter() - start, min(N, checked * B) - first * B

    def _check_finite(self, first: int) -> None:
        bad = ~np.isfinite(self._losses[first:])
        if bad.any():
            batch = first + int(bad.argmax())
            self._diverged(f"the loss is {self._losses[batch]}", self.epoch * self._batches + batch + 1)
        if not np.isfinite(float(self.model.vector.sum())):
            self._diverged("a parameter is not finite", self.epoch * self._batches + len(self._losses))

    def _diverged(self, what: str, step: int) -> None:
        path = self.out / "checkpoint.npz"
        kept = f"the last good checkpoint is {path}" if path.exists() else "no checkpoint had been written yet"
        epoch, batch = (step - 1) // self._batches + 1, (step - 1) % self._batches + 1
        raise Diverged(
            f"{what} at step {step} (epoch {epoch}, batch {batch}); {kept}: try a smaller --lr, or --clip-norm 1"
        )

    def _finish_epoch(self, seconds: float, images: int, quiet: bool) -> None:
        sizes = np.full(self._batches, self.config.batch_size)
        sizes[-1] = len(self._x) - (self._batches - 1) * self.config.batch_size
        train_loss = float(np.average(self._losses.astype(np.float64), weights=sizes))
        test_loss, accuracy, _ = self.evaluate()
        self.epoch += 1
        self._losses = np.empty(0)
        self._generator_state = self.rng.bit_generator.state
        row = (self.epoch, train_loss, test_loss, accuracy, seconds, images / seconds)
        self.history = pd.DataFrame([*self.history.itertuples(index=False), row], columns=HISTORY)
        if not quiet:
            print(
                f"epoch {self.epoch:{len(str(self.config.epochs))}d}/{self.config.epochs}  loss {train_loss:.4f}  "
                f"test loss {test_loss:.4f}  test accuracy {accuracy:.2f} %  "
                f"{seconds:.1f} s  {images / seconds:,.0f} images/s",
                flush=True,
            )

    def evaluate(self) -> tuple[float, float, np.ndarray]:
        """Return the test loss in nats, the test accuracy in percent, and the predicted digits (N,)."""
        logits = self.model.logits(self._x_test)
        if not np.isfinite(logits).all():
            self._diverged("a score of a test image is not finite", self.adam.t)
        loss = SoftmaxCrossEntropy("numpy", "float64").forward(logits, self._y_test)
        predictions = logits.argmax(axis=1)
        return float(loss), float((predictions == self._y_test).mean() * 100), predictions


@contextmanager
def _interruption() -> Iterator[threading.Event]:
    """Turn the first Ctrl-C into an event, so that no step is left half done; the second one is as usual."""
    event = threading.Event()
    before: Any = None

    def handle(signum: int, frame: FrameType | None) -> None:
        event.set()
        signal.signal(signal.SIGINT, before)

    if threading.current_thread() is not threading.main_thread():
        yield event
        return  # only the main thread can be interrupted
    before = signal.signal(signal.SIGINT, handle)
    try:
        yield event
    finally:
        signal.signal(signal.SIGINT, before)
