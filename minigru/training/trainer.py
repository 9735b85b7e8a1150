"""Training a classifier on images, so that it can be watched, stopped and resumed."""

from __future__ import annotations

import sys
import threading
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from ..engine.adam import SCHEDULES, Adam, clip_by_global_norm
from ..engine.loss import SoftmaxCrossEntropy
from ..engine.model import SequenceClassifier
from . import checkpoint
from .checkpoint import CheckpointError
from .config import Config
from .data import Dataset
from .files import replace_file
from .interrupt import interruption
from .parallel import Ranks

HISTORY = (
    "epoch",
    "train_loss_nats",
    "test_loss_nats",
    "test_accuracy_percent",
    "train_seconds",
    "images_per_second",
)
READ_EVERY = 100  # steps between two looks at the loss; with a GPU, which would have to be waited for, one an epoch


class Diverged(RuntimeError):
    """The loss is no longer a finite number; the message says since which step."""


class Trainer:
    """A training run: the model, its optimiser, the one random generator, and where it stands.

    Parameters
    ----------
    config : its `data` must be the name of `dataset`
    dataset : the images
    out : folder for ``checkpoint.npz`` and ``history.csv``; must exist
    ranks : the processes that share the work; all must be given the same config and dataset

    Attributes
    ----------
    epoch : epochs completed
    history : DataFrame, a row an epoch; the seconds of an epoch that was interrupted are those since it was resumed

    Raises
    ------
    ValueError
        config.limit is larger than the training set.
        config.backend is "cupy" and there are several ranks.
    BackendUnavailable
        CuPy was asked for and cannot be used.
    """

    def __init__(self, config: Config, dataset: Dataset, out: Path, ranks: Ranks | None = None) -> None:
        self.config, self.out, self.ranks = config, out, ranks or Ranks()
        if self.ranks.size > 1 and config.backend != "numpy":
            raise ValueError(
                f"backend is {config.backend!r} for {self.ranks.size} ranks, which would share one GPU; "
                "expected 'numpy', or a run without mpiexec"
            )
        available = len(dataset.x_train)
        images = config.limit or available
        if images > available:
            raise ValueError(f"limit is {images}; expected at most the {available} training images of {dataset.name}")
        self.rng = np.random.default_rng(config.seed)
        D = dataset.x_train.shape[2]
        K = int(dataset.y_train.max()) + 1
        self.model = SequenceClassifier(D, config.hidden_size, K, config.model, config.backend, config.dtype, self.rng)
        self.adam = Adam(self.model, config.lr)
        to_device = self.model.backend.to_device
        self._x, self._y = to_device(dataset.x_train[:images]), to_device(dataset.y_train[:images])
        self._x_test, self._y_test = to_device(dataset.x_test), dataset.y_test
        self._batches = -(-images // config.batch_size)
        self.epoch = 0
        self._losses = np.empty(0)  # of the steps done in the current epoch
        self._generator_state = self.rng.bit_generator.state  # at the start of the current epoch
        self.history = pd.DataFrame(columns=HISTORY)

    def save(self) -> None:
        """Write the history, then the checkpoint, on rank 0; each file is replaced only when it is whole.

        Raises
        ------
        OSError
            A file cannot be written.
        """
        if self.ranks.rank > 0:
            return
        replace_file(self.out / "history.csv", lambda file: self.history.to_csv(file, index=False))
        meta = {"config": asdict(self.config), "epoch": self.epoch, "generator": self._generator_state}
        checkpoint.save(self.out / "checkpoint.npz", self.model, self.adam, meta, self._losses)

    def resume(self) -> None:
        """Stand where the checkpoint in `out` was written.

        Raises
        ------
        CheckpointError
            The checkpoint or the history is missing, damaged, of another model or of another configuration.
        """
        path = self.out / "checkpoint.npz"
        arrays, meta = checkpoint.read(path)
        epoch: Any = meta.get("epoch")
        generator: Any = meta.get("generator")
        config = meta.get("config")
        free = {"backend", "epochs"}
        mine = {name: value for name, value in asdict(self.config).items() if name not in free}
        if not isinstance(config, dict) or {n: v for n, v in config.items() if n not in free} != mine:
            raise CheckpointError(f"{path} was made with {config}; expected {mine}")
        history = self._read_history(epoch)
        rng = np.random.default_rng()
        try:
            rng.bit_generator.state = generator
        except (TypeError, ValueError, KeyError) as error:
            raise CheckpointError(f"{path} is damaged: it has no state of the random generator ({error})") from error
        losses, steps = arrays.get("losses", np.empty(0)), arrays.get("adam.t", -1)
        if np.size(losses) >= self._batches or np.any(steps != epoch * self._batches + np.size(losses)):
            raise CheckpointError(f"{path} is damaged: its epoch, its steps and its losses contradict each other")
        checkpoint.restore(path, arrays, self.model, self.adam)
        self.rng.bit_generator.state = self._generator_state = generator
        self.epoch, self._losses, self.history = epoch, losses, history

    def _read_history(self, epochs: object) -> pd.DataFrame:
        """Return the rows of the epochs that the checkpoint has behind it."""
        path = self.out / "history.csv"
        if not isinstance(epochs, int) or not 0 <= epochs <= self.config.epochs:
            raise CheckpointError(f"{self.out / 'checkpoint.npz'} is damaged: its epoch is {epochs!r}")
        try:
            history = pd.read_csv(path, dtype={name: float for name in HISTORY})
        except (OSError, ValueError) as error:
            reason = str(error).replace("\n", " ")
            raise CheckpointError(f"{path} cannot be read, and goes with the checkpoint ({reason})") from error
        if list(history) != list(HISTORY) or list(history["epoch"][:epochs]) != [*range(1, epochs + 1)]:
            raise CheckpointError(f"{path} does not hold the {epochs} epochs that the checkpoint has behind it")
        return history[:epochs].astype({"epoch": int})

    def run(self, *, quiet: bool = False) -> bool:
        """Train until config.epochs are done, saving after each, or until Ctrl-C, saving at once. Rank 0 prints.

        Returns
        -------
        completed : False after Ctrl-C

        Raises
        ------
        Diverged
            The loss, a parameter or a test score is not finite; the checkpoint is still the last good one.
        OSError
            A file cannot be written.
        """
        with interruption() as interrupted, np.errstate(over="ignore", invalid="ignore"):
            while self.epoch < self.config.epochs:
                seconds, done = self._train_epoch(interrupted, quiet or self.ranks.rank > 0)
                finished = len(self._losses) == self._batches
                if finished:
                    self._finish_epoch(seconds, done)
                self.save()
                if finished and not quiet and self.ranks.rank == 0:
                    self._print_epoch()
                if self.ranks.any(interrupted.is_set()):
                    return self.epoch == self.config.epochs
        return True

    def _train_epoch(self, interrupted: threading.Event, quiet: bool) -> tuple[float, int]:
        """Do the steps of this epoch that are still to be done; return seconds and images."""
        from tqdm.auto import tqdm

        config, model, adam = self.config, self.model, self.adam
        xp, B, images = model.backend.xp, config.batch_size, len(self._x)
        schedule, total_steps = SCHEDULES[config.schedule], config.epochs * self._batches
        order = model.backend.to_device(self.rng.permutation(images))
        first = checked = len(self._losses)
        read_every = READ_EVERY if model.backend.name == "numpy" else self._batches  # reading makes a GPU wait
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
                losses[batch], stop = self.ranks.gradient(model, self._x, self._y, chosen, interrupted.is_set())
                if config.clip_norm is not None:
                    clip_by_global_norm(model, config.clip_norm)
                adam.step()
                stop = stop or (self.ranks.size == 1 and interrupted.is_set())  # alone, there is no need to agree
                done = batch + 1
                bar.update()
                if done == self._batches or done - checked == read_every or stop:
                    self._losses = model.backend.to_host(losses[:done]).copy()
                    self._check_finite(checked)
                    bar.set_postfix(loss=f"{self._losses[checked:].mean():.4f}", refresh=False)
                    checked = done
                if stop:
                    break
        return time.perf_counter() - start, min(images, checked * B) - first * B

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

    def _finish_epoch(self, seconds: float, images: int) -> None:
        sizes = np.full(self._batches, self.config.batch_size)
        sizes[-1] = len(self._x) - (self._batches - 1) * self.config.batch_size
        train_loss = float(np.average(self._losses.astype(np.float64), weights=sizes))
        test_loss, accuracy, _ = self.evaluate()
        self.epoch += 1
        self._losses = np.empty(0)
        self._generator_state = self.rng.bit_generator.state
        row = (self.epoch, train_loss, test_loss, accuracy, seconds, images / seconds)
        self.history = pd.DataFrame([*self.history.itertuples(index=False), row], columns=HISTORY)

    def _print_epoch(self) -> None:
        row, width = self.history.iloc[-1], len(str(self.config.epochs))
        print(
            f"epoch {self.epoch:{width}d}/{self.config.epochs}  loss {row.train_loss_nats:.4f}  "
            f"test loss {row.test_loss_nats:.4f}  test accuracy {row.test_accuracy_percent:.2f} %  "
            f"{row.train_seconds:.1f} s  {row.images_per_second:,.0f} images/s",
            flush=True,
        )

    def evaluate(self) -> tuple[float, float, np.ndarray]:
        """Return the test loss in nats, the test accuracy in percent, and the predicted digits, one an image.

        Raises
        ------
        Diverged
            A score is not finite.
        """
        logits = self.ranks.broadcast(self.model.logits(self._x_test) if self.ranks.rank == 0 else None)
        if not np.isfinite(logits).all():
            self._diverged("a score of a test image is not finite", self.adam.t)
        loss = SoftmaxCrossEntropy("numpy", "float64").forward(logits, self._y_test)
        predictions = logits.argmax(axis=1)
        return float(loss), float((predictions == self._y_test).mean() * 100), predictions
