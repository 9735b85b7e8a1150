"""Train a classifier on images, so that the training can be watched, stopped and resumed."""

from __future__ import annotations

import sys
import time
from pathlib import Path

import numpy as np
from tqdm.auto import tqdm

from ..engine.adam import SCHEDULES, Adam, clip_by_global_norm
from ..engine.backend import Array, Backend, BackendUnavailable
from ..engine.loss import SoftmaxCrossEntropy
from ..engine.model import SequenceClassifier
from . import checkpoint, data, distort, history
from .checkpoint import Checkpoint, CheckpointError
from .config import Config
from .data import Dataset
from .parallel import Ranks
from .reading import evaluation_batch, sequences, start_gates

ROOM = 0.9  # of a GPU's free memory, for the images; the rest is for the buffers of a step
READ_EVERY = 100  # steps between two looks at the loss on the CPU; once per epoch on a GPU, which each look makes wait


class Diverged(RuntimeError):
    """The loss is no longer a finite number; the message says since which step."""


class Trainer:
    """A training run: the model, its optimiser, the one random generator, and how far the run has come.

    Parameters
    ----------
    config : its `data` must be the name of `dataset`
    dataset : the images
    out : folder for ``checkpoint.npz`` and ``history.csv``; must exist
    ranks : the processes that share the work; all must be given the same config and dataset

    Attributes
    ----------
    epoch : epochs completed
    history : DataFrame, one row per epoch; for an epoch that was resumed, the seconds since then
    stopped_by : the number of the signal that has stopped `run`, or 0

    Raises
    ------
    ValueError
        config.limit is larger than the training set.
        config.backend is "cupy" and there are several ranks.
    BackendUnavailable
        CuPy was asked for and cannot be used, or the GPU has no room for the images.
    """

    def __init__(self, config: Config, dataset: Dataset, out: str | Path, ranks: Ranks | None = None) -> None:
        self.config, self.dataset, self.out, self.ranks = config, dataset, Path(out), ranks or Ranks()
        if self.ranks.size > 1 and config.backend != "numpy":
            raise ValueError(
                f"backend is {config.backend!r} for {self.ranks.size} ranks, which would share one GPU; "
                "expected 'numpy', or a run without mpiexec"
            )
        if config.holdout is not None:
            dataset = self.dataset = data.hold_out(dataset, config.holdout)
        available = len(dataset.x_train)
        images = config.limit or available
        if images > available:
            raise ValueError(f"limit is {images}; expected at most the {available} training images of {dataset.name}")
        self.rng = np.random.default_rng(config.seed)
        x, x_test = dataset.x_train[:images], sequences(dataset.x_test, config)
        (_, T, D), K = x_test.shape, int(dataset.y_train.max()) + 1
        self.model = SequenceClassifier(D, config.hidden_size, K, config.model, config.backend, config.dtype, self.rng)
        if config.pixels:
            start_gates(self.model, T, self.rng)
        self.adam = Adam(self.model, config.lr)
        _check_room(self.model.backend, x, x_test)
        to_device = self.model.backend.to_device
        self._x, self._y = to_device(x), to_device(dataset.y_train[:images])
        self._x_test, self._y_test = to_device(x_test), dataset.y_test
        self._batches = -(-images // config.batch_size)  # per epoch
        self.epoch = 0
        self._losses = np.empty(0)  # of the steps done in the current epoch
        self._generator_state = self.rng.bit_generator.state  # at the start of the current epoch
        self.history = history.extend(None)
        self.stopped_by = 0

    def step(self, x: Array, y: Array, weight: float = 1.0) -> Array:
        """Take one training step, and return the mean loss of the batch, in nats.

        Parameters
        ----------
        x, y : (b, T, D) and (b,), this rank's share of the batch
        weight : b / B, from `Ranks.share`
        """
        loss = self.model.loss_and_gradient(x, y)
        loss = self.ranks.average(self.model, loss, weight)  # alone, there is nothing to average
        if self.config.clip_norm is not None:
            clip_by_global_norm(self.model, self.config.clip_norm)
        self.adam.step()
        return loss

    def run(self, *, quiet: bool = False) -> bool:
        """Train until config.epochs are completed, and save after each. Rank 0 prints.

        On Ctrl-C, or a signal that asks the process to end, save after the step and return.

        Returns
        -------
        completed : False if a signal has stopped the run, which `stopped_by` then names

        Raises
        ------
        Diverged
            The loss, a parameter or a test score is not finite. The checkpoint is still the last good one.
        OSError
            A file cannot be written.
        """
        quiet = quiet or self.ranks.rank > 0
        with self.ranks.interruption(), np.errstate(over="ignore", invalid="ignore"):
            while self.epoch < self.config.epochs:
                seconds, images = self._train_epoch(quiet)
                completed = len(self._losses) == self._batches
                if completed:
                    self._complete_epoch(seconds, images)
                self.save()
                if completed and not quiet:
                    print(history.describe(self.history, self.config.epochs), flush=True)
                self.stopped_by = self.ranks.signal()
                if self.stopped_by:
                    return self.epoch == self.config.epochs
        return True

    def evaluate(self) -> tuple[float, float, np.ndarray]:
        """Return the test loss in nats, the test accuracy in percent, and the predicted digits (n,).

        Raises
        ------
        Diverged
            A score is not finite.
        """
        x = self._x_test
        logits = self.model.logits(x, evaluation_batch(x.shape[1])) if self.ranks.rank == 0 else None
        logits = self.ranks.broadcast(logits)
        if not np.isfinite(logits).all():
            raise self._diverged("a score of a test image is not finite", self.adam.t)
        loss = SoftmaxCrossEntropy("numpy", "float64").forward(logits, self._y_test)
        predictions = logits.argmax(axis=1)
        return float(loss), float((predictions == self._y_test).mean() * 100), predictions

    def save(self) -> None:
        """Write the checkpoint, then the history, on rank 0; each file is replaced only once the new one is complete.

        Raises
        ------
        OSError
            A file cannot be written.
        """
        if self.ranks.rank == 0:
            path, state = self.out / checkpoint.NAME, self._generator_state
            results = self.history[history.RESULTS].to_numpy(float)
            checkpoint.save(path, self.model, self.adam, self.config, self.epoch, state, self._losses, results)
            history.save(self.out / history.NAME, self.history)

    def resume(self, saved: Checkpoint | None = None) -> None:
        """Go back to where a checkpoint was written: `saved`, or the one in `out`.

        Raises
        ------
        CheckpointError
            The checkpoint is missing, damaged, of another model or of another configuration; or it is of an older
            version, and the history is missing or damaged.
        OSError
            The history cannot be written.
        """
        saved = saved or checkpoint.read(self.out / checkpoint.NAME)
        saved.check(self.config)
        done = len(saved.losses)
        if done >= self._batches or saved.steps != saved.epoch * self._batches + done:
            raise CheckpointError(f"{saved.path} is damaged: its epoch, its steps and its losses contradict each other")
        path = self.out / history.NAME
        rows = history.read(path, saved.epoch) if saved.results is None else history.restore(saved.results, path)
        saved.restore(self.model, self.adam)
        self.rng.bit_generator.state = self._generator_state = saved.generator
        self.epoch, self._losses, self.history = saved.epoch, saved.losses, rows
        if self.ranks.rank == 0:
            history.save(path, rows)  # a killed run may have left it behind the checkpoint, or ahead

    def _train_epoch(self, quiet: bool) -> tuple[float, int]:
        """Do the steps of this epoch that are not done yet, or those before a signal; return seconds and images."""
        config, ranks, backend = self.config, self.ranks, self.model.backend
        B, images, batches = config.batch_size, len(self._x), self._batches
        order = backend.to_device(self.rng.permutation(images))
        drawn = None
        if config.distort != "none":  # all at once: a resumed epoch, and every rank, draws the same
            drawn = [backend.to_device(a) for a in distort.draw(config.distort, self.rng, *self._x.shape)]
        first = read = len(self._losses)
        read_every = READ_EVERY if backend.name == "numpy" else batches
        losses = backend.xp.empty(batches, self.model.dtype)
        losses[:first] = backend.to_device(self._losses.astype(self.model.dtype))
        hidden = quiet or not sys.stderr.isatty()
        name = f"epoch {self.epoch + 1}"
        start = time.perf_counter()
        with tqdm(total=batches, initial=first, desc=name, unit="batch", leave=False, disable=hidden) as bar:
            for batch in range(first, batches):
                self.adam.lr = SCHEDULES[config.schedule](config.lr, self.adam.t, config.epochs * batches)
                mine, weight = ranks.share(order[batch * B : (batch + 1) * B])
                x = self._x[mine]
                if drawn is not None:
                    x = distort.apply(backend, x, *(array[mine] for array in drawn))
                losses[batch] = self.step(sequences(x, config), self._y[mine], weight)
                stop = ranks.stopped()
                done = batch + 1
                bar.update()
                if done == batches or done - read == read_every or stop:
                    self._losses = backend.to_host(losses[:done]).copy()
                    self._check_finite(read)
                    bar.set_postfix(loss=f"{self._losses[read:].mean():.4f}", refresh=False)
                    read = done
                if stop:
                    break
        return time.perf_counter() - start, min(images, read * B) - first * B

    def _complete_epoch(self, seconds: float, images: int) -> None:
        """Test the model, and add a row to the history."""
        sizes = np.full(self._batches, self.config.batch_size)
        sizes[-1] = len(self._x) - (self._batches - 1) * self.config.batch_size
        train_loss = float(np.average(self._losses.astype(np.float64), weights=sizes))
        test_loss, accuracy, _ = self.evaluate()
        self.epoch += 1
        self._losses = np.empty(0)
        self._generator_state = self.rng.bit_generator.state
        row = (self.epoch, train_loss, test_loss, accuracy, seconds, images / seconds)
        self.history = history.extend(self.history, row)

    def _check_finite(self, first: int) -> None:
        """Raise Diverged if a loss of this epoch, from step `first`, or a parameter is not finite."""
        bad = ~np.isfinite(self._losses[first:])
        if bad.any():
            batch = first + int(bad.argmax())
            raise self._diverged(f"the loss is {self._losses[batch]}", self.epoch * self._batches + batch + 1)
        if not np.isfinite(float(self.model.vector.sum())):
            raise self._diverged("a parameter is not finite", self.epoch * self._batches + len(self._losses))

    def _diverged(self, what: str, step: int) -> Diverged:
        path = self.out / checkpoint.NAME
        kept = "no checkpoint had been written yet: start again"
        if path.exists():  # to go on from there would end in the same step
            kept = f"the last good checkpoint is {path}: start a new run elsewhere"
        epoch, batch = (step - 1) // self._batches + 1, (step - 1) % self._batches + 1
        where = f"at step {step} (epoch {epoch}, batch {batch})"
        return Diverged(f"{what} {where}; {kept} with a smaller lr, or with clip_norm 1")


def _check_room(backend: Backend, x: np.ndarray, x_test: np.ndarray) -> None:
    """Raise BackendUnavailable if the images do not fit into the free memory of the GPU."""
    room, each = int(ROOM * backend.free_bytes()), x[0].nbytes + np.dtype(np.int64).itemsize
    if len(x) * each + x_test.nbytes > room:
        fit = max(room - x_test.nbytes, 0) // each
        do = f"take the first {fit:,} with --limit {fit}" if fit else "free some, take a smaller data set"
        raise BackendUnavailable(
            f"the GPU has {backend.free_bytes() / 1e6:,.0f} MB free, and {len(x):,} training images with "
            f"{len(x_test):,} test images take {(len(x) * each + x_test.nbytes) / 1e6:,.0f} MB: {do}, "
            "or use --backend numpy"
        )
