"""Train a GRU and an RNN to choose between "was" and "were", and look at the gates as a sentence is read.

A small grammar generates the sentences: a subject, prepositional phrases and relative clauses with other nouns, and
then the verb, as in "the cat that the dogs saw near the birds was". Only the subject decides the verb. There are two
training sets, one with and one without short sentences. Both models learn from the same batches and are tested on
distances up to half as long again as the longest in training. Two interventions show how the GRU keeps the number of
the subject: all update gates are held at one value, and the memories of some units are flipped. Everything takes about
20 s.
"""

from __future__ import annotations

import argparse
import itertools
from collections.abc import Iterator
from functools import partial
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from minigru import BackendUnavailable, SequenceClassifier, cli, get_backend
from minigru.experiments import tasks, trace
from minigru.experiments.tasks import Sentences
from minigru.plots import story as story_plots
from minigru.training.config import add_option

if TYPE_CHECKING:
    from matplotlib.figure import Figure

B, UNITS, FEWEST = 32, 5, 30  # sentences per batch, units drawn, least sentences for which a percentage is given
CARRIED = 1.0  # a unit carries the number if the number changes its memory by more than this, of 2 at most
HELD = (0.05, 0.5, 0.99)  # values at which all update gates are held
FLIPPED = 9  # words after which memories are flipped
CELLS = {"RNN": "rnn", "GRU": "gru"}
TRAINING = {"0 to 12 words in between": range(13), "8 to 20 words in between": range(8, 21)}
SENTENCE = "the cat that the dogs saw near the birds"
EXAMPLES = """
examples:
  python scripts/story/agreement.py --sentence "the king that saw the dogs"     draw the gates of another sentence
  python scripts/story/agreement.py --steps 300                                 a first look
"""


class Scores(NamedTuple):
    """Accuracy in percent, by distance and by the number of distractors."""

    by_distance: dict[int, float]
    by_distractors: dict[int, float]


def lengths(distances: range) -> list[int]:
    """Return the distances for which the grammar has sentences."""
    return [distance for distance in distances if distance != 1]


def batches(distances: range, seed: int) -> Iterator[Sentences]:
    """Generate batches of sentences, each batch with one distance drawn at random."""
    rng = np.random.default_rng([seed, *distances])
    possible = lengths(distances)
    while True:
        yield tasks.sentences(rng, B, possible[rng.integers(len(possible))])


def train(cell: str, training: list[Sentences], options: argparse.Namespace) -> SequenceClassifier:
    """Return a model trained on these batches."""
    model = SequenceClassifier(len(tasks.WORDS), options.hidden_size, 2, cell, options.backend, rng=options.seed)
    tasks.fit(model, ((made.x, made.y) for made in training), len(training), options.lr, cell.upper())
    return model


def held_out(distances: range, options: argparse.Namespace) -> dict[int, Sentences]:
    """Return test sentences for each distance up to half as long again as the longest in training."""
    rng = np.random.default_rng([options.seed, 1])
    longest = distances[-1] * 3 // 2
    return {distance: tasks.sentences(rng, options.tests, distance) for distance in lengths(range(longest + 1))}


def repeated(training: list[Sentences], tests: dict[int, Sentences]) -> dict[int, float]:
    """Return for each distance the share of test sentences that also occur in training, in percent."""
    known = {tuple(words) for made in training for words in made.words}
    return {distance: 100 * float(np.mean([tuple(w) in known for w in made.words])) for distance, made in tests.items()}


def score(model: SequenceClassifier, tests: dict[int, Sentences]) -> Scores:
    """Return the accuracy of the model in choosing the verb."""
    right = {distance: model.predict(made.x) == made.y for distance, made in tests.items()}
    hits = np.concatenate(list(right.values()))
    distractors = np.concatenate([made.distractors for made in tests.values()])
    numbers, counts = np.unique(distractors, return_counts=True)
    return Scores(
        {distance: float(100 * hit.mean()) for distance, hit in right.items()},
        {int(n): float(100 * hits[distractors == n].mean()) for n in numbers[counts >= FEWEST]},
    )


def beyond(by_distance: dict[int, float], distances: range) -> float:
    """Return the mean accuracy over all distances longer than any in training."""
    return float(np.mean([percent for distance, percent in by_distance.items() if distance > distances[-1]]))


def changes(model: SequenceClassifier, made: Sentences) -> np.ndarray:
    """Return how much the number of the subject changes the memory of each unit before the verb, (H,) from 0 to 2.

    The change is that between a sentence and the same sentence with its subject in the other number, averaged over the
    sentences.
    """
    here, twin = trace.gates(model, made.x), trace.gates(model, tasks.other_number(made).x)
    sign = np.where(made.y == 0, 1, -1)[:, None]
    return np.abs((sign * (here.c[:, -1] - twin.c[:, -1])).mean(axis=0))


def gates_by_place(gamma_u: np.ndarray, words: np.ndarray) -> dict[str, np.ndarray]:
    """Return the update gates (n, T, m) grouped by the kind of word (n, T) that is read, each (…, m)."""
    nouns = tasks.is_noun(words)
    behind = np.arange(words.shape[1]) > 1
    return {
        "at the subject": gamma_u[~behind & nouns],
        "at nouns behind it": gamma_u[behind & nouns],
        "at other words": gamma_u[behind & ~nouns],
    }


def renewal(seen: trace.Trace, units: np.ndarray) -> np.ndarray:
    """Return the mean distance of the candidate from the memory it replaces, for each word behind the subject."""
    return np.abs(seen.c_tilde[:, 2:, units] - seen.c[:, 1:-1, units]).mean(axis=(0, 2))


def held(model: SequenceClassifier, made: Sentences, gate: float) -> float:
    """Return the accuracy in percent when every update gate behind the subject has the value `gate`."""
    subject = trace.gates(model, made.x[:, :2]).c[:, -1]
    still = SequenceClassifier(len(tasks.WORDS), model.cell.hidden_size, 2, backend=model.backend)
    still.vector[...] = model.vector
    still.params["gru.W_u"][...] = 0
    still.params["gru.b_u"][...] = np.log(gate / (1 - gate))  # the inverse of the sigmoid
    c = trace.gates(still, made.x[:, 2:], subject).c[:, -1]
    return float(100 * (trace.answers(still, c).argmax(axis=1) == made.y).mean())


def flipped(model: SequenceClassifier, made: Sentences, units: np.ndarray) -> float:
    """Flip the memories of these units after word `FLIPPED`; return how many recover their sign before the verb (%)."""
    c = trace.gates(model, made.x[:, :FLIPPED]).c[:, -1]
    sign = np.sign(c[:, units])
    c[:, units] *= -1
    end = trace.gates(model, made.x[:, FLIPPED:], c).c[:, -1]
    return float(100 * (np.sign(end[:, units]) == sign).mean())


def print_scores(training: str, scores: dict[str, Scores]) -> None:
    """Print the accuracies for one training set."""
    for what, curves in zip(("distance", "distractors"), zip(*scores.values(), strict=True), strict=True):
        print(f"\nTrained on {training}: accuracy (%) by {what}")
        print(f"{'':5}" + "".join(f"{place:4d}" for place in curves[0]))
        for name, curve in zip(scores, curves, strict=True):
            print(f"{name:5}" + "".join(f"{value:4.0f}" for value in curve.values()))


def print_carriers(model: SequenceClassifier, made: Sentences, change: np.ndarray, drawn: np.ndarray) -> None:
    """Print which units carry the number, their gates, and the two interventions."""
    units = np.flatnonzero(change > CARRIED)
    seen = trace.gates(model, made.x)
    print(
        f"\n{len(units)} of {len(change)} units carry the number: it changes their memory before the verb by more than "
        f"{CARRIED:g} of 2, over {len(made.y):,} test sentences"
    )
    if not len(units):
        return
    print(f"{'their update gate':22}{'mean':>6}{'below 0.1':>11}{'above 0.9':>11}")
    for place, values in gates_by_place(seen.gamma_u[:, :, units], made.words).items():
        shares = 100 * (values < 0.1).mean(), 100 * (values > 0.9).mean()
        print(f"{place:22}{values.mean():6.2f}{shares[0]:9.1f} %{shares[1]:9.1f} %")
    far = " ".join(f"{distance:.2f}" for distance in renewal(seen, units))
    print(f"mean |candidate - memory| at each word behind the subject: {far}")
    for gate in HELD:
        print(f"all update gates behind the subject held at {gate:4.2f}: accuracy {held(model, made, gate):5.1f} %")
    alone = [flipped(model, made, unit[None]) for unit in units]
    print(f"memories flipped after word {FLIPPED} that have their sign again before the verb:")
    print(f"each unit alone {min(alone):.1f} to {max(alone):.1f} %", end="; ")
    print(f"the {len(drawn)} drawn {flipped(model, made, drawn):.1f} %; all {flipped(model, made, units):.1f} %")


def draw_sentence(model: SequenceClassifier, made: Sentences, units: np.ndarray) -> Figure:
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


def compare(
    training: str, tests: dict[int, Sentences], options: argparse.Namespace
) -> tuple[dict[str, Scores], SequenceClassifier]:
    """Train both models on one training set and print their scores; return the scores and the GRU."""
    distances = TRAINING[training]
    given = list(itertools.islice(batches(distances, options.seed), options.steps))
    models = {name: train(cell, given, options) for name, cell in CELLS.items()}
    scores = {name: score(model, tests) for name, model in models.items()}
    print_scores(training, scores)
    print("known" + "".join(f"{share:4.0f}" for share in repeated(given, tests).values()), end="")
    print("   % of the test sentences, by distance, occur in training")
    for name, found in scores.items():
        print(f"{name} on distances longer than any in training: {beyond(found.by_distance, distances):.2f} %")
    return scores, models["GRU"]


def parse_args() -> argparse.Namespace:
    """Return the options."""
    parser = cli.Parser(description=__doc__, epilog=EXAMPLES)
    cli.figure_options(parser)
    option = parser.add_argument
    option(
        "--steps", type=cli.whole("--steps"), default=1500, metavar="N", help="training batches of 32 (default: 1500)"
    )
    add_option(parser, "hidden_size", default=32)
    add_option(parser, "lr", default=3e-3)
    tests = "test sentences per distance (default: 1000)"
    option("--tests", type=cli.whole("--tests"), default=1000, metavar="N", help=tests)
    option("--sentence", default=SENTENCE, metavar="TEXT", help=f"sentence to draw (default: {SENTENCE!r})")
    return parser.parse_args()


def main() -> int:
    """Train, print what was measured, and draw it."""
    options = parse_args()
    cli.limit_blas(None, B, options.hidden_size)
    with cli.exit_on(2, ValueError, BackendUnavailable):
        get_backend(options.backend)
        sentence = tasks.sentence(options.sentence)
    tests = {training: held_out(distances, options) for training, distances in TRAINING.items()}
    with cli.exit_on(1, FloatingPointError):
        found = {training: compare(training, made, options) for training, made in tests.items()}
    first = next(iter(TRAINING))
    made, gru = tests[first][max(tests[first])], found[first][1]
    change = changes(gru, made)
    drawn = np.argsort(-change, kind="stable")[:UNITS]
    print_carriers(gru, made, change, drawn)
    by_distance, by_distractors = (
        {training: {name: s[kind] for name, s in scores.items()} for training, (scores, _) in found.items()}
        for kind in range(2)
    )
    longest = {training: distances[-1] for training, distances in TRAINING.items()}
    cli.write_figures(
        options.out,
        agreement=partial(story_plots.agreement, by_distance, by_distractors, longest),
        agreement_gates=partial(draw_sentence, gru, sentence, drawn),
    )
    return 0


if __name__ == "__main__":
    cli.run(main)
