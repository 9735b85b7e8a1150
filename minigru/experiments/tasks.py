"""Sequences made to order, on which memory can be measured: recall of the first symbol, and agreement with a subject.

What `minigru.SequenceClassifier` learns from: one-hot, batch first, with a label for every sequence.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Iterable
from typing import Any, NamedTuple

import numpy as np

from ..engine import checks
from ..engine.adam import Adam, clip_by_global_norm
from ..engine.model import SequenceClassifier

VERBS = ("was", "were")  # the label: 0 or 1
SINGULAR = ("cat", "dog", "bird", "child", "king", "farmer")
PLURAL = ("cats", "dogs", "birds", "children", "kings", "farmers")
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
    """Make sequences whose label is their first symbol: one of K, followed by T - 1 symbols of another alphabet.

    Parameters
    ----------
    rng : draws the symbols
    n : how many sequences
    T : steps
    K : symbols of either alphabet

    Returns
    -------
    x : (n, T, 2 K) float32, one-hot: the first K places are symbols to recall, the others distractors
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


class Sentences(NamedTuple):
    """Sentences up to their verb and without it, all of one length.

    Attributes
    ----------
    words : (n, T) int64, indices into `WORDS`; word 1 is the subject
    y : (n,) int64, the verb that is right, an index into `VERBS`
    distractors : (n,) int64, how many nouns behind the subject are of the other number
    """

    words: np.ndarray
    y: np.ndarray
    distractors: np.ndarray

    @property
    def x(self) -> np.ndarray:
        """The words one-hot, (n, T, D) float32, with D the number of words known."""
        return one_hot(self.words, len(WORDS))

    def __str__(self) -> str:
        """The sentences with their verbs, one a line."""
        rows = zip(self.words, self.y, strict=True)
        return "\n".join(" ".join([*(WORDS[word] for word in words), VERBS[verb]]) for words, verb in rows)


def sentences(rng: np.random.Generator, n: int, distance: int) -> Sentences:
    """Make sentences with `distance` words between the subject and its verb: "the cat that the dogs saw" (was).

    Every noun is singular or plural by chance. Modifiers (prepositional phrases and relative clauses) fill the
    distance exactly, in any order, and their verbs stand in a tense that does not tell the number: the subject alone
    decides.

    Parameters
    ----------
    rng : draws everything
    n : how many sentences
    distance : 0, or 2 and more: no modifier has one word

    Raises
    ------
    ValueError
        n is not a whole number from 1 up, or distance is none of those.
    """
    checks.whole("n", n)
    if checks.whole("distance", distance, 0) == 1:
        raise ValueError("distance is 1; expected 0, or 2 and more: no modifier has one word")
    drawn = [_sentence(rng, distance) for _ in range(n)]
    return Sentences(*(np.array(column) for column in zip(*drawn, strict=True)))


def _sentence(rng: np.random.Generator, distance: int) -> tuple[list[int], int, int]:
    """Return the words, the number of the subject (0 or 1), and how many of the other nouns have the other number."""

    def pick(options: Any) -> Any:
        return options[rng.integers(len(options))]

    slots, left = ["the", "NOUN"], distance
    while left:
        modifier = pick([modifier for modifier in MODIFIERS if left - len(modifier) in (0, *range(2, left))])
        slots += modifier
        left -= len(modifier)
    words, numbers = [], []
    for slot in slots:
        if slot == "NOUN":
            numbers.append(pick((0, 1)))
            words.append(pick((SINGULAR, PLURAL)[numbers[-1]]))
        else:
            words.append(pick(CHOICES.get(slot, (slot,))))
    return [WORDS.index(word) for word in words], numbers[0], sum(number != numbers[0] for number in numbers)


def sentence(text: str) -> Sentences:
    """Return one sentence given as text up to its verb, such as "the cat that the dogs saw".

    Raises
    ------
    ValueError
        A word is not one of `WORDS`, or it does not begin with "the" and a noun.
    """
    words = text.split()
    unknown = [word for word in words if word not in WORDS]
    if unknown:
        raise ValueError(f"{unknown[0]!r} is not in the vocabulary; expected words of: {' '.join(WORDS)}")
    if len(words) < 2 or words[0] != "the" or words[1] not in SINGULAR + PLURAL:
        raise ValueError(
            f"{text!r} does not begin with a subject; expected 'the', then one of: {' '.join(SINGULAR + PLURAL)}"
        )
    numbers = [int(word in PLURAL) for word in words if word in SINGULAR + PLURAL]
    distractors = sum(number != numbers[0] for number in numbers)
    return Sentences(np.array([[WORDS.index(word) for word in words]]), np.array(numbers[:1]), np.array([distractors]))


def other_number(sentences: Sentences) -> Sentences:
    """Return the same sentences with the subject in the other number, and so with the other verb."""
    nouns = SINGULAR + PLURAL
    twin = {WORDS.index(noun): WORDS.index(other) for noun, other in zip(nouns, PLURAL + SINGULAR, strict=True)}
    words = sentences.words.copy()
    words[:, 1] = [twin[word] for word in words[:, 1]]
    others = np.isin(words[:, 2:], [WORDS.index(noun) for noun in nouns]).sum(axis=1)
    return Sentences(words, 1 - sentences.y, others - sentences.distractors)


def expect_length(model: SequenceClassifier, T: int, rng: np.random.Generator) -> None:
    """Start the update gates of a GRU so that its units remember for 1 to T steps (Tallec & Ollivier 2018).

    With b_u = -log(U(1, T - 1)) a unit first replaces a share of about 1 / U of its memory a step.

    Raises
    ------
    ValueError
        The model has no gates, or T is not a whole number from 2 up.
    """
    if "gru.b_u" not in model.params:
        raise ValueError("the model is a plain RNN, which has no gates; expected one with cell 'gru'")
    spans = rng.uniform(1, max(checks.whole("T", T, 2) - 1, 1), model.cell.hidden_size)
    model.params["gru.b_u"][...] = model.backend.to_device((-np.log(spans)).astype(model.dtype))


def fit(
    model: SequenceClassifier,
    batches: Iterable[tuple[np.ndarray, np.ndarray]],
    steps: int,
    lr: float,
    name: str,
) -> None:
    """Train a model on batches made as they are needed, with Adam and gradients cut to the norm 1.

    Parameters
    ----------
    model : what to train
    batches : x (B, T, D) and y (B,), at least as many as there are steps
    steps : how many batches to train on
    lr : learning rate of Adam
    name : shown beside the progress bar, on a terminal

    Raises
    ------
    FloatingPointError
        The last loss is not finite.
    """
    from tqdm import tqdm

    adam, loss = Adam(model, lr), 0.0
    bar = tqdm(range(steps), desc=name, unit="batch", leave=False, disable=not sys.stderr.isatty())
    with np.errstate(over="ignore", invalid="ignore"):  # the last loss tells it in one sentence
        for _, (x, y) in zip(bar, batches, strict=False):
            loss = model.loss(x, y)
            model.backward()
            clip_by_global_norm(model, 1.0)
            adam.step()
    if not math.isfinite(float(loss)):
        raise FloatingPointError(f"the loss of {name} is {float(loss)} after {steps} steps: try a smaller --lr")
