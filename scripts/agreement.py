"""Let a GRU and an RNN choose between "was" and "were", and look at the gates as a sentence is read.

The sentences come from a small grammar: a subject, prepositional phrases and relative clauses full of other nouns, and
then the verb, as in "the cat that the dogs saw near the birds was". Nothing but the subject tells the number. There are
two training sets, with and without short sentences; both models get the same ones, and are tested on distances half as
long again as the longest in training.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np

from minigru import BackendUnavailable, SequenceClassifier, cli, get_backend, story_plots, tasks, trace

B, UNITS, FEWEST = 32, 5, 30  # sentences a batch, units that are drawn, sentences that make a percentage
CELLS = {"RNN": "rnn", "GRU": "gru"}
TRAINING = {"0 to 12 words in between": range(13), "8 to 20 words in between": range(8, 21)}
SENTENCE = "the cat that the dogs saw near the birds"


class Scores(NamedTuple):
    """Accuracy in percent, by distance and by the number of distractors."""

    by_distance: dict[int, float]
    by_distractors: dict[int, float]


def lengths(distances: range) -> list[int]:
    """Return the distances that the grammar can fill."""
    return [distance for distance in distances if distance != 1]


def batches(distances: range, seed: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Make batches of sentences, each batch with one distance drawn by chance."""
    rng = np.random.default_rng([seed, *distances])
    possible = lengths(distances)
    while True:
        made = tasks.sentences(rng, B, possible[rng.integers(len(possible))])
        yield made.x, made.y


def train(cell: str, distances: range, options: argparse.Namespace) -> SequenceClassifier:
    """Train a model on sentences with these distances."""
    model = SequenceClassifier(len(tasks.WORDS), options.hidden_size, 2, cell, options.backend, rng=options.seed)
    tasks.fit(model, batches(distances, options.seed), options.steps, options.lr, f"{cell.upper()}, {distances}")
    return model


def unseen(distances: range, options: argparse.Namespace) -> dict[int, tasks.Sentences]:
    """Make sentences to test on, for each distance up to half as long again as the longest in training."""
    rng = np.random.default_rng([options.seed, 1])
    longest = distances[-1] * 3 // 2
    return {distance: tasks.sentences(rng, options.tests, distance) for distance in lengths(range(longest + 1))}


def score(model: SequenceClassifier, tests: dict[int, tasks.Sentences]) -> Scores:
    """Return how often the model chooses the right verb."""
    right = {distance: model.predict(made.x) == made.y for distance, made in tests.items()}
    hits = np.concatenate(list(right.values()))
    distractors = np.concatenate([made.distractors for made in tests.values()])
    numbers, counts = np.unique(distractors, return_counts=True)
    return Scores(
        {distance: float(100 * hit.mean()) for distance, hit in right.items()},
        {int(n): float(100 * hits[distractors == n].mean()) for n in numbers[counts >= FEWEST]},
    )


def carriers(model: SequenceClassifier, made: tasks.Sentences) -> np.ndarray:
    """Return the units in the order of how much of the number they carry to the verb.

    That is the difference, on average over sentences, that changing the number of the subject and nothing else makes
    to the memory before the verb.
    """
    here, twin = trace.gates(model, made.x), trace.gates(model, tasks.other_number(made).x)
    sign = np.where(made.y == 0, 1, -1)[:, None]
    return np.argsort(-np.abs((sign * (here.c[:, -1] - twin.c[:, -1])).mean(axis=0)), kind="stable")


def print_scores(training: str, scores: dict[str, Scores]) -> None:
    """Print one training set's accuracies."""
    for what, curves in zip(("distance", "distractors"), zip(*scores.values(), strict=True), strict=True):
        print(f"\nTrained on {training}: accuracy (%) by {what}")
        print(f"{'':5}" + "".join(f"{place:4d}" for place in curves[0]))
        for name, curve in zip(scores, curves, strict=True):
            print(f"{name:5}" + "".join(f"{value:4.0f}" for value in curve.values()))


def print_gates(model: SequenceClassifier, made: tasks.Sentences, units: np.ndarray) -> None:
    """Print how near the gates of the carriers come to opening at the subject alone."""
    seen = trace.gates(model, made.x)
    nouns = np.isin(made.words, [tasks.WORDS.index(noun) for noun in tasks.SINGULAR + tasks.PLURAL])
    behind = np.arange(made.words.shape[1]) > 1
    places = {
        "at the subject": ~behind & nouns,
        "at nouns behind it": behind & nouns,
        "at other words": behind & ~nouns,
    }
    print(f"\nUpdate gate of the {len(units)} units that carry the number, in {len(made.y):,} test sentences")
    print(f"{'':22}{'mean':>6}{'below 0.1':>11}{'above 0.9':>11}")
    for place, where in places.items():
        values = seen.gamma_u[where][:, units]
        shares = 100 * (values < 0.1).mean(), 100 * (values > 0.9).mean()
        print(f"{place:22}{values.mean():6.2f}{shares[0]:9.0f} %{shares[1]:9.0f} %")
    agree = np.sign(seen.c_tilde[:, 2:, units]) == np.sign(seen.c[:, 1:-1, units])
    print(f"behind the subject the candidate has the sign of the memory it is to replace: {100 * agree.mean():.1f} %")


def main() -> int:
    """Train, print what was measured, and draw it."""
    parser = cli.Parser(description=__doc__)
    cli.figure_options(parser)
    parser.add_argument("--steps", type=cli.positive, default=1500, metavar="N", help="batches of 32 (default: 1500)")
    parser.add_argument("--hidden-size", type=cli.positive, default=32, metavar="H", help="width (default: 32)")
    parser.add_argument("--lr", type=cli.rate, default=3e-3, metavar="RATE", help="of Adam (default: 3e-3)")
    parser.add_argument("--tests", type=cli.positive, default=1000, metavar="N", help="a distance (default: 1000)")
    parser.add_argument("--sentence", default=SENTENCE, metavar="TEXT", help=f"to draw (default: {SENTENCE!r})")
    options = parser.parse_args()
    cli.limit_blas(None, B, options.hidden_size)
    found: dict[str, dict[str, Scores]] = {}
    drawn = None
    with cli.exit_on(2, ValueError, BackendUnavailable):
        get_backend(options.backend)
        sentence = tasks.sentence(options.sentence)
    for training, distances in TRAINING.items():
        tests = unseen(distances, options)
        with cli.exit_on(1, FloatingPointError):
            models = {name: train(cell, distances, options) for name, cell in CELLS.items()}
        found[training] = {name: score(model, tests) for name, model in models.items()}
        print_scores(training, found[training])
        longer = [made for distance, made in tests.items() if distance > distances[-1]]
        for name, model in models.items():
            right = np.concatenate([model.predict(made.x) == made.y for made in longer])
            print(f"{name} on distances longer than any in training: {100 * right.mean():.2f} %")
        if drawn is None:
            made = tests[max(tests)]
            units = carriers(models["GRU"], made)[:UNITS]
            drawn = draw_sentence(models["GRU"], sentence, units)
            print_gates(models["GRU"], made, units)
    with cli.exit_on(2, OSError):
        figure = story_plots.agreement(
            {training: {name: s.by_distance for name, s in scores.items()} for training, scores in found.items()},
            {training: {name: s.by_distractors for name, s in scores.items()} for training, scores in found.items()},
            {training: distances[-1] for training, distances in TRAINING.items()},
        )
        cli.write_figures(options.out, agreement=figure, agreement_gates=drawn)
    return 0


def draw_sentence(model: SequenceClassifier, made: tasks.Sentences, units: np.ndarray) -> Any:
    """Draw the gates of these units word by word, and their memory in the sentence and in its twin."""
    twin = tasks.other_number(made)
    seen, other = trace.gates(model, made.x), trace.gates(model, twin.x)
    words = [tasks.WORDS[word] for word in made.words[0]]
    memories = {
        f"“{words[1]} …”": seen.c[0][:, units],
        f"“{tasks.WORDS[twin.words[0, 1]]} …”": other.c[0][:, units],
    }
    verb = tasks.VERBS[int(model.predict(made.x)[0])]
    return story_plots.sentence(words, seen.gamma_u[0][:, units], memories, units, f"{' '.join(words)} … {verb}")


if __name__ == "__main__":
    cli.run(main)
