"""Generated sequences that measure memory: recall of the first symbol, and agreement of a verb with its subject.

They are what `minigru.SequenceClassifier` learns from: one-hot, batch first, with one label per sequence.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..engine import checks
from ..engine.adam import Adam, clip_by_global_norm
from ..engine.backend import Array
from ..engine.model import SequenceClassifier

VERBS = ("was", "were")  # the label: 0 or 1
SINGULAR = ("cat", "dog", "bird", "child", "king", "farmer")
PLURAL = ("cats", "dogs", "birds", "children", "kings", "farmers")  # in the same order
CHOICES = {"NEAR": ("near", "behind", "with"), "SLEPT": ("slept", "ran", "smiled"), "SAW": ("saw", "fed", "chased")}
MODIFIERS = (
    ("that", "SLEPT"),
    ("NEAR", "the", "NOUN"),
    ("that", "SAW", "the", "NOUN"),
    ("that", "the", "NOUN", "SAW"),
)
WORDS = ("the", "that", *SINGULAR, *PLURAL, *(word for words in CHOICES.values() for word in words))


def one_hot(indices: np.ndarray, D: int) -> np.ndarray:
    """Return (…, D) float32, with 1 at the index and 0 elsewhere."""
    return np.eye(D, dtype=np.float32)[indices]


def recall(rng: np.random.Generator, n: int, T: int, K: int = 8) -> tuple[np.ndarray, np.ndarray]:
    """Generate sequences whose label is their first symbol: one of K, followed by T - 1 symbols of another alphabet.

    Parameters
    ----------
    rng : draws the symbols
    n : number of sequences
    T : steps
    K : symbols in each alphabet

    Returns
    -------
    x : (n, T, 2 K) float32, one-hot: the first K places are symbols to recall, the last K distractors
    y : (n,) int64, the first symbol, from 0 to K - 1

    Raises
    ------
    ValueError
        n, T or K is not a whole number from 1 up.
    """
    for name, value in (("n", n), ("T", T), ("K", K)):
        checks.whole(name, value)
    symbols = rng.integers(K, size=(n, T))
    y = symbols[:, 0].copy()
    symbols[:, 1:] += K
    return one_hot(symbols, 2 * K), y


def is_plural(words: np.ndarray) -> np.ndarray:
    """Return which word indices are plural nouns, in the shape of `words`."""
    return np.isin(words, [WORDS.index(noun) for noun in PLURAL])


def is_noun(words: np.ndarray) -> np.ndarray:
    """Return which word indices are nouns, in the shape of `words`."""
    return np.isin(words, [WORDS.index(noun) for noun in SINGULAR + PLURAL])


@dataclass(frozen=True)
class Sentences:
    """Sentences of one length, up to but not including their verb.

    Attributes
    ----------
    words : (n, T) int64, indices into `WORDS`; word 1 is the subject
    """

    words: np.ndarray

    @property
    def x(self) -> np.ndarray:
        """The words one-hot, (n, T, D) float32, where D is the size of the vocabulary."""
        return one_hot(self.words, len(WORDS))

    @property
    def y(self) -> np.ndarray:
        """The right verbs, (n,) int64 indices into `VERBS`."""
        return is_plural(self.words[:, 1]).astype(np.int64)

    @property
    def distractors(self) -> np.ndarray:
        """How many nouns behind the subject differ from it in number, (n,) int64."""
        behind = self.words[:, 2:]
        return (is_noun(behind) & (is_plural(behind) != self.y[:, None])).sum(axis=1)


def sentences(rng: np.random.Generator, n: int, distance: int) -> Sentences:
    """Generate sentences with `distance` words between the subject and its verb: "the cat that the dogs saw" (was).

    Every noun is drawn singular or plural. Modifiers (prepositional phrases and relative clauses) fill the distance
    exactly, in random order. Their verbs have the same form in both numbers, so only the subject decides.

    Parameters
    ----------
    rng : draws everything
    n : number of sentences
    distance : 0, or 2 and more: no modifier has one word

    Raises
    ------
    ValueError
        n is not a whole number from 1 up, or distance is negative, 1 or not a whole number.
    """
    checks.whole("n", n)
    if checks.whole("distance", distance, 0) == 1:
        raise ValueError("distance is 1; expected 0, or 2 and more: no modifier has one word")
    return Sentences(np.array([_sentence(rng, distance) for _ in range(n)]))


def _sentence(rng: np.random.Generator, distance: int) -> list[int]:
    """Return the words of one sentence."""

    def pick(options: Sequence[Any]) -> Any:
        return options[int(rng.integers(len(options)))]

    slots, left = ["the", "NOUN"], distance
    while left:
        modifier = pick([modifier for modifier in MODIFIERS if left - len(modifier) in (0, *range(2, left))])
        slots += modifier
        left -= len(modifier)
    words = [pick(pick((SINGULAR, PLURAL)) if slot == "NOUN" else CHOICES.get(slot, (slot,))) for slot in slots]
    return [WORDS.index(word) for word in words]


def sentence(text: str) -> Sentences:
    """Return one sentence, given as text up to its verb, such as "the cat that the dogs saw".

    Raises
    ------
    ValueError
        A word is not one of `WORDS`, or the text does not begin with "the" and a noun.
    """
    if not isinstance(text, str):
        raise ValueError(f"text is {checks.shown(text)}; expected the words of a sentence up to its verb")
    words = text.split()
    unknown = [word for word in words if word not in WORDS]
    if unknown:
        raise ValueError(f"{checks.shown(unknown[0])} is not in the vocabulary; expected words of: {' '.join(WORDS)}")
    if len(words) < 2 or words[0] != "the" or words[1] not in SINGULAR + PLURAL:
        raise ValueError(
            f"{checks.shown(text)} does not begin with a subject; expected 'the', then one of: "
            f"{' '.join(SINGULAR + PLURAL)}"
        )
    return Sentences(np.array([[WORDS.index(word) for word in words]]))


def other_number(sentences: Sentences) -> Sentences:
    """Return the same sentences with the subject in the other number, and so with the other verb."""
    words = sentences.words.copy()
    words[:, 1] += np.where(sentences.y == 0, len(SINGULAR), -len(SINGULAR))  # PLURAL follows SINGULAR in WORDS
    return Sentences(words)


def expect_length(model: SequenceClassifier, T: int, rng: np.random.Generator) -> None:
    """Initialise the update gates of a GRU so that its units remember for 1 to T steps (Tallec & Ollivier 2018).

    With b_u = -log(U(1, T - 1)) a unit first replaces a share of about 1 / U of its memory per step.

    Raises
    ------
    ValueError
        The model has no gates, or T is not a whole number from 2 up.
    """
    if "gru.b_u" not in model.params:
        raise ValueError("the model has no bias gru.b_u; expected one with cell 'gru'")
    spans = rng.uniform(1, max(checks.whole("T", T, 2) - 1, 1), model.cell.hidden_size)
    model.params["gru.b_u"][...] = model.backend.to_device((-np.log(spans)).astype(model.dtype))


def fit(
    model: SequenceClassifier,
    batches: Iterable[tuple[np.ndarray, np.ndarray]],
    steps: int,
    lr: float,
    name: str,
) -> None:
    """Train a model on generated batches, with Adam and gradients clipped to norm 1.

    Parameters
    ----------
    model : the classifier to train, in place
    batches : x (B, T, D) and y (B,), at least as many as there are steps
    steps : number of batches to train on
    lr : learning rate of Adam
    name : label of the progress bar, which a terminal shows

    Raises
    ------
    ValueError
        steps is not a whole number from 1 up, lr is negative, or a batch is not one that the model can learn from.
    FloatingPointError
        The last loss is not finite.
    """
    from tqdm import tqdm

    checks.whole("steps", steps)
    adam = Adam(model, lr)
    loss: Array | float = 0.0
    bar = tqdm(range(steps), desc=name, unit="batch", leave=False, disable=not sys.stderr.isatty())
    with np.errstate(over="ignore", invalid="ignore"):  # a diverging loss is reported below, in one sentence
        for _, (x, y) in zip(bar, batches, strict=False):
            loss = model.loss(x, y)
            model.backward()
            clip_by_global_norm(model, 1.0)
            adam.step()
    if not math.isfinite(float(loss)):
        raise FloatingPointError(f"the loss of {name} is {float(loss)} after {steps} steps: try a smaller --lr")
