"""A GRU classifier for scikit-learn: `SequenceClassifier` and `Adam`, with scikit-learn's conventions around them."""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterator
from numbers import Integral, Real
from typing import Any

import numpy as np
from scipy.special import log_softmax, softmax
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.model_selection import train_test_split
from sklearn.utils import check_random_state, compute_class_weight
from sklearn.utils._param_validation import Interval, StrOptions
from sklearn.utils.multiclass import check_classification_targets, unique_labels
from sklearn.utils.validation import _check_sample_weight, _check_y, check_consistent_length, check_is_fitted
from tqdm import tqdm

from .engine.adam import SCHEDULES, Adam, clip_by_global_norm
from .engine.backend import BACKENDS
from .engine.model import SequenceClassifier
from .sequences import Sequences, are_sequences, batch, check_rows, check_sequences, take

try:
    from sklearn.utils.validation import validate_data
except ImportError:  # scikit-learn 1.5 has it as a method

    def validate_data(estimator: BaseEstimator, **arguments: Any) -> Any:
        """Call scikit-learn's validation of X, y or both."""
        return estimator._validate_data(**arguments)


PREDICTED_AT_ONCE = 250  # sequences of nearly one length: little padding


class GRUClassifier(ClassifierMixin, BaseEstimator):
    """Classify sequences with a GRU, as a scikit-learn estimator.

    X is one of three: an array (n, T, D); a table (n, T * D), each row the T steps of a sequence one after the other;
    or a list of n sequences (T_i, D) of any lengths. A model that was fitted on a table also predicts sequences.

    Parameters
    ----------
    hidden_size : H, the length of the memory
    step_size : D, the numbers per step in a row of a table; None reads a row as a series of single numbers, D = 1, and
        takes the D of sequences as it comes
    learning_rate : of Adam, at the first step
    schedule : "cosine" lets the rate fall to 0 at the end of `fit`, "warmup-cosine" lets it rise over the first tenth
        of the steps before that, "constant" keeps it. `partial_fit`, which does not know the end, keeps it
    clip_norm : longer gradients are scaled down to this norm; None leaves them
    batch_size : B, sequences per step of Adam
    max_iter : epochs of `fit`
    class_weight : a dict {label: weight}, "balanced" for weights inverse to the frequency of a class, in
        which a sample counts by its weight, or None
    warm_start : if True, a repeated `fit` continues from the weights, moments and random generator of the last one
    early_stopping : if True, hold out a part of the training data, stop once its accuracy no longer improves, and keep
        the weights of the best epoch
    validation_fraction, n_iter_no_change, tol : the part held out, and for how many epochs the accuracy may fail to
        rise by more than `tol`; used with `early_stopping` only
    random_state : seed of the initial weights, the order of the samples, and what is held out
    verbose : if True, show a progress bar
    backend : "numpy" or "cupy"
    dtype : "float32", "float64", or None for that of X: float32 if X is float32, else float64

    Attributes
    ----------
    classes_ : (K,), the labels in order
    n_features_in_ : columns of the table X, or the D of sequences
    feature_names_in_ : the names of the columns, if X was a data frame
    n_iter_ : epochs completed
    loss_curve_ : the mean training loss of each epoch, in nats
    validation_scores_ : the accuracy on the part held out after each epoch; empty without `early_stopping`
    model_ : the `SequenceClassifier`

    Examples
    --------
    >>> from minigru.estimator import GRUClassifier
    >>> X = [[[0.0], [1.0]], [[1.0], [0.0], [0.0]], [[0.0], [1.0], [1.0]], [[1.0], [0.0]]]
    >>> GRUClassifier(random_state=0).fit(X, ["rise", "fall", "rise", "fall"]).predict(X).tolist()
    ['rise', 'fall', 'rise', 'fall']
    """

    _parameter_constraints = {  # noqa: RUF012 (what scikit-learn reads)
        "hidden_size": [Interval(Integral, 1, None, closed="left")],
        "step_size": [Interval(Integral, 1, None, closed="left"), None],
        "learning_rate": [Interval(Real, 0, None, closed="neither")],
        "schedule": [StrOptions({*SCHEDULES})],
        "clip_norm": [Interval(Real, 0, None, closed="neither"), None],
        "batch_size": [Interval(Integral, 1, None, closed="left")],
        "max_iter": [Interval(Integral, 1, None, closed="left")],
        "class_weight": [dict, StrOptions({"balanced"}), None],
        "warm_start": ["boolean"],
        "early_stopping": ["boolean"],
        "validation_fraction": [Interval(Real, 0, 1, closed="neither")],
        "n_iter_no_change": [Interval(Integral, 1, None, closed="left")],
        "tol": [Interval(Real, 0, None, closed="left")],
        "random_state": ["random_state"],
        "verbose": ["verbose"],
        "backend": [StrOptions({*BACKENDS})],
        "dtype": [StrOptions({"float32", "float64"}), None],
    }

    def __init__(
        self,
        hidden_size: int = 64,
        *,
        step_size: int | None = None,
        learning_rate: float = 1e-2,
        schedule: str = "cosine",
        clip_norm: float | None = 1.0,
        batch_size: int = 32,
        max_iter: int = 30,
        class_weight: Any = None,
        warm_start: bool = False,
        early_stopping: bool = False,
        validation_fraction: float = 0.1,
        n_iter_no_change: int = 10,
        tol: float = 1e-4,
        random_state: Any = None,
        verbose: bool = False,
        backend: str = "numpy",
        dtype: str | None = None,
    ) -> None:
        self.hidden_size = hidden_size
        self.step_size = step_size
        self.learning_rate = learning_rate
        self.schedule = schedule
        self.clip_norm = clip_norm
        self.batch_size = batch_size
        self.max_iter = max_iter
        self.class_weight = class_weight
        self.warm_start = warm_start
        self.early_stopping = early_stopping
        self.validation_fraction = validation_fraction
        self.n_iter_no_change = n_iter_no_change
        self.tol = tol
        self.random_state = random_state
        self.verbose = verbose
        self.backend = backend
        self.dtype = dtype

    def fit(self, X: Any, y: Any, sample_weight: Any = None) -> GRUClassifier:
        """Train for `max_iter` epochs, and return the estimator. Ctrl-C ends the training early, with a warning.

        Parameters
        ----------
        X : (n, T, D), (n, T * D), or a list of n sequences (T_i, D), finite real numbers
        y : (n,), labels of at least two classes
        sample_weight : (n,), not negative; only their ratios count, and 0 leaves a sample out

        Raises
        ------
        ValueError
            An argument or a parameter is not one of those above, or the loss is no longer finite.
        BackendUnavailable
            CuPy was asked for and cannot be used.
        """
        resumed = self.warm_start and hasattr(self, "model_")
        X, y, weight = self._check(X, y, sample_weight, reset=not resumed)
        classes = unique_labels(y)
        if not resumed and len(classes) < 2:
            raise ValueError(f"y has only one class, {classes[0]!r}; expected at least two classes")
        if resumed and not np.array_equal(classes, self.classes_):
            raise ValueError(f"y has the classes {classes}; warm_start continues with the classes {self.classes_}")
        if not resumed:
            self._start(X, classes)
        return self._train(X, y, weight, self.max_iter, self.schedule)

    def partial_fit(self, X: Any, y: Any, classes: Any = None, sample_weight: Any = None) -> GRUClassifier:
        """Train for one epoch at the constant `learning_rate`, and return the estimator.

        Parameters
        ----------
        X, y, sample_weight : as in `fit`; y may lack some of the classes
        classes : (K,), all labels that any call will bring; needed in the first call

        Raises
        ------
        ValueError
            As in `fit`; or classes is missing or not as before, or y has others; or `early_stopping` or a "balanced"
            `class_weight` is asked for, which need all data at once.
        """
        if self.early_stopping or self.class_weight == "balanced":
            raise ValueError("partial_fit has neither early_stopping nor class_weight 'balanced'; call fit instead")
        first = not hasattr(self, "model_")
        if first and classes is None:
            raise ValueError("classes is missing in the first call of partial_fit; expected all labels to come")
        X, y, weight = self._check(X, y, sample_weight, reset=first)
        known = unique_labels(classes) if first else self.classes_
        if classes is not None and not np.array_equal(unique_labels(classes), known):
            raise ValueError(f"classes is {classes}; expected {known} as in the first call of partial_fit")
        if others := {*np.unique(y)} - {*known}:
            raise ValueError(f"y has the labels {others}; expected some of the classes {known}")
        if first:
            self._start(X, known)
        return self._train(X, y, weight, 1, "constant")

    def predict(self, X: Any) -> np.ndarray:
        """Return the likeliest label of each sequence, (n,)."""
        likeliest = self._logits(X).argmax(axis=1)
        return self.classes_[likeliest]

    def predict_proba(self, X: Any) -> np.ndarray:
        """Return the probability of each class, (n, K), in the order of `classes_`."""
        return softmax(self._logits(X), axis=1)

    def predict_log_proba(self, X: Any) -> np.ndarray:
        """Return the logarithm of `predict_proba`, (n, K)."""
        return log_softmax(self._logits(X), axis=1)

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.three_d_array = True
        return tags

    def _logits(self, X: Any) -> np.ndarray:
        check_is_fitted(self)
        return self._scores(self._check_X(X, reset=False))

    def _scores(self, X: Sequences) -> np.ndarray:
        """Return the logits (n, K) of valid sequences."""
        order = np.argsort([len(sequence) for sequence in X], kind="stable")  # neighbours are padded least
        logits = np.empty((len(X), len(self.classes_)), self.model_.dtype)
        for start in range(0, len(X), PREDICTED_AT_ONCE):
            rows = order[start : start + PREDICTED_AT_ONCE]
            x, lengths = batch(X, rows)
            logits[rows] = self.model_.logits(x, lengths=lengths)
        return logits

    def _check(self, X: Any, y: Any, sample_weight: Any, reset: bool) -> tuple[Sequences, np.ndarray, Any]:
        """Return valid training data without the samples of weight 0; the weights (n,) may be None."""
        self._validate_params()
        if not reset:
            made = {"hidden_size": self.model_.cell.hidden_size, "backend": self.model_.backend.name}
            for name, value in made.items():
                if getattr(self, name) != value:
                    raise ValueError(
                        f"{name} is {getattr(self, name)!r}; expected {value!r}, with which the model was made"
                    )
        if y is None:
            raise ValueError("GRUClassifier requires y to be passed, but the target y is None")
        y = _check_y(y, estimator=self)
        check_classification_targets(y)
        X = self._check_X(X, reset)
        check_consistent_length(X, y)
        if sample_weight is None:
            return X, y, None
        weight = _check_sample_weight(sample_weight, y, dtype=np.float64)
        if weight.min() < 0 or weight.max() == 0:
            raise ValueError("sample_weight is negative, or zero everywhere; expected weights from 0 up, some above 0")
        kept = np.flatnonzero(weight)
        return take(X, kept), y[kept], weight[kept]

    @np.errstate(over="ignore")  # a number too large for the dtype is an error of its own
    def _check_X(self, X: Any, reset: bool) -> Sequences:
        """Return X as sequences, an array (n, T, D) or a list; at `reset`, record which form it has."""
        dtype = (self.dtype or (np.float64, np.float32)) if reset else self.model_.dtype
        from_table = not are_sequences(X)
        if from_table:
            if not reset and not self._from_table:
                raise ValueError("X is not a batch of sequences as in fit; expected (n, T, D), or a list of (T_i, D)")
            check_rows(X)
            X = validate_data(self, X=X, reset=reset, dtype=dtype)
            D = self.step_size or 1
            if X.shape[1] % D:
                raise ValueError(f"X has {X.shape[1]} features; expected a multiple of step_size, which is {D}")
            X = X.reshape(len(X), -1, D)
        else:
            X = check_sequences(X, dtype)
        D = X[0].shape[1]
        expected = (self.step_size or D) if reset else self.model_.cell.input_size
        if expected != D:
            raise ValueError(f"X has {D} features per step, but GRUClassifier is expecting {expected}")
        if reset:
            self._from_table: bool = from_table
            if not from_table:
                self.n_features_in_ = D
                self.__dict__.pop("feature_names_in_", None)  # of an earlier fit on a data frame
        return X

    def _start(self, X: Sequences, classes: np.ndarray) -> None:
        """Make a new model; its weights, and later all that is random, come from one generator."""
        rng = np.random.default_rng(check_random_state(self.random_state).randint(2**31 - 1))
        D, dtype = X[0].shape[1], X[0].dtype
        self.model_ = SequenceClassifier(D, self.hidden_size, len(classes), "gru", self.backend, dtype, rng)
        self.classes_, self.n_iter_ = classes, 0
        self.loss_curve_: list[float] = []
        self.validation_scores_: list[float] = []
        self._rng, self._adam = rng, Adam(self.model_)

    def _train(
        self, X: Sequences, y: np.ndarray, weight: np.ndarray | None, epochs: int, schedule: str
    ) -> GRUClassifier:
        """Train for at most `epochs`; where a part of the data is held out, end with the weights that suit it best."""
        if self.class_weight == "balanced":  # the function of scikit-learn 1.5 knows no sample weights
            by_class = 1 / np.bincount(np.searchsorted(self.classes_, y), weight)
        else:
            by_class = compute_class_weight(self.class_weight, classes=self.classes_, y=y)
        y = np.searchsorted(self.classes_, y)
        held_out, best_weights = None, None
        best, epochs_since = -math.inf, 0
        if self.early_stopping:
            seed = int(self._rng.integers(2**31))
            size = self.validation_fraction
            rows, out = train_test_split(np.arange(len(y)), test_size=size, random_state=seed, stratify=y)
            held_out = take(X, out), y[out], None if weight is None else weight[out]
            X, y, weight = take(X, rows), y[rows], None if weight is None else weight[rows]
        if self.class_weight is not None:
            weight = by_class[y] if weight is None else by_class[y] * weight
            if not (np.isfinite(weight).all() and weight.min() >= 0 and weight.max() > 0):
                raise ValueError(
                    f"class_weight is {self.class_weight}; expected finite weights from 0 up, above 0 for a class in y"
                )
        if weight is not None:
            weight = weight / weight.mean()  # so that the size of the steps does not depend on the scale of the weights
        steps = epochs * math.ceil(len(y) / self.batch_size)
        rates = (SCHEDULES[schedule](self.learning_rate, step, steps) for step in range(steps))
        try:
            bar = tqdm(range(epochs), unit="epoch", disable=not self.verbose)
            with bar, np.errstate(over="ignore", invalid="ignore"):  # a loss that is not finite is an error of its own
                for _ in bar:
                    self.loss_curve_.append(self._epoch(X, y, weight, rates))
                    self.n_iter_ += 1
                    bar.set_postfix(loss=f"{self.loss_curve_[-1]:.4f}")
                    if held_out is None:
                        continue
                    score = self._accuracy(*held_out)
                    self.validation_scores_.append(score)
                    epochs_since = 0 if score > best + self.tol else epochs_since + 1
                    if score > best:
                        best, best_weights = score, self.model_.vector.copy()
                    if epochs_since >= self.n_iter_no_change:
                        break
        except KeyboardInterrupt:
            warnings.warn(
                f"training was interrupted after {self.n_iter_} epochs; the model keeps what it has learned",
                stacklevel=3,
            )
        if best_weights is not None:
            self.model_.vector[...] = best_weights
        return self

    def _epoch(self, X: Sequences, y: np.ndarray, weight: np.ndarray | None, rates: Iterator[float]) -> float:
        """Take the steps of one epoch, each at the next of the learning rates, and return the mean loss."""
        order = self._rng.permutation(len(y))
        total: Any = 0.0  # on the device: to read the loss of each step would make the host wait
        for start in range(0, len(y), self.batch_size):
            rows = order[start : start + self.batch_size]
            x, lengths = batch(X, rows)
            weights = None if weight is None else weight[rows]
            total += self.model_.loss_and_gradient(x, y[rows], lengths=lengths, weights=weights) * len(rows)
            if self.clip_norm is not None:
                clip_by_global_norm(self.model_, self.clip_norm)
            self._adam.lr = next(rates)
            self._adam.step()
        mean = float(total) / len(y)
        if not math.isfinite(mean):
            raise ValueError(f"the loss is {mean} in epoch {self.n_iter_ + 1}; scale X, or lower learning_rate")
        return mean

    def _accuracy(self, X: Sequences, y: np.ndarray, weight: np.ndarray | None) -> float:
        return float(np.average(self._scores(X).argmax(axis=1) == y, weights=weight))
