"""The scripts of the story: what they print is what they measured and drew, and bad input is one sentence."""

from __future__ import annotations

import argparse
import json
import re
import subprocess

import agreement
import gates
import make_figures
import numpy as np
import predict
import pytest
import show_batch
import vanishing_gradient
from helpers import ROOT, run_script
from matplotlib.image import imread
from PIL import Image

from minigru import cli
from minigru.experiments import tasks, trace
from minigru.plots import digits as digit_plots
from minigru.plots import story as story_plots
from minigru.training import data
from minigru.training.checkpoint import load_model
from minigru.training.config import Config
from minigru.training.trainer import Trainer

FIVE = ROOT / "docs" / "figures" / "five.png"


@pytest.fixture(scope="module")
def dataset():
    return data.load("digits")


def make_run(folder, dataset, **changes):
    config = Config(data="digits", **{"hidden_size": 16, "epochs": 3, "lr": 1e-2, "seed": 3, **changes})
    trainer = Trainer(config, dataset, folder)
    trainer.run(quiet=True)
    return folder, trainer


@pytest.fixture(scope="module")
def run(tmp_path_factory, dataset):
    return make_run(tmp_path_factory.mktemp("run"), dataset)


@pytest.fixture(scope="module")
def rnn_run(tmp_path_factory, dataset):
    return make_run(tmp_path_factory.mktemp("rnn"), dataset, model="rnn")


@pytest.fixture
def call(monkeypatch, capsys):
    """Call a script's main with arguments; return its status, stdout and stderr."""

    def calling(script, *arguments):
        monkeypatch.setattr("sys.argv", [f"{script.__name__}.py", *map(str, arguments)])
        try:
            status = script.main()
        except SystemExit as stop:
            status = stop.code
        return status, *capsys.readouterr()

    return calling


def capture(monkeypatch, module, name):
    """Return a list to which each call of module.name will add its arguments."""
    given, function = [], getattr(module, name)
    monkeypatch.setattr(module, name, lambda *args: given.append(args) or function(*args))
    return given


def assert_pictures(folder, *names):
    assert {path.name for path in folder.iterdir()} == {f"{name}.png" for name in names}
    for name in names:
        picture = imread(folder / f"{name}.png")
        assert picture.shape[1] >= 480
        assert picture[..., :3].std() > 0.05
        assert (folder / f"{name}.png").stat().st_size < 120_000


# --- The trained model -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("which", ["run", "rnn_run"])
def test_a_trained_model_is_the_one_that_was_saved(which, request, dataset):
    folder, trainer = request.getfixturevalue(which)
    for path in (folder, folder / "checkpoint.npz"):
        model, config = load_model(path)
        assert np.array_equal(model.logits(dataset.x_test), trainer.model.logits(dataset.x_test))
        assert config == trainer.config


# --- Why not a plain RNN ---------------------------------------------------------------------------------------------


def test_vanishing_gradient_end_to_end(tmp_path):
    options = ("--lengths", 4, "--steps", 10, "--hidden-size", 8, "--out", tmp_path / "new" / "figures")
    result = run_script("vanishing_gradient.py", *options)
    assert result.returncode == 0, result.stderr
    assert_pictures(tmp_path / "new" / "figures", "vanishing_gradient")


def test_what_vanishing_gradient_prints_is_what_it_draws(call, tmp_path, monkeypatch):
    given = capture(monkeypatch, story_plots, "vanishing")
    sizes = ("--lengths", 4, 28, "--steps", 60, "--hidden-size", 8, "--seed", 1)
    status, out, _ = call(vanishing_gradient, *sizes, "--out", tmp_path)
    assert status == 0
    norms, accuracy, chance = given[0]
    assert (chance, list(accuracy), list(norms)) == (12.5, list(vanishing_gradient.NAMES), [28])
    rows = re.findall(r"^ +(4|28)((?: +[\d.]+){4})$", out, re.MULTILINE)
    shown = {int(T): [float(value) for value in values.split()] for T, values in rows}
    assert list(shown) == [4, 28]
    for T, values in shown.items():
        assert values == pytest.approx([curve[T] for curve in accuracy.values()], abs=0.051)
    for name, pair in norms[28].items():
        numbers = re.search(rf"^ +28  {re.escape(name)} +(\S+) +(\S+)$", out, re.MULTILINE).groups()
        assert [float(n) for n in numbers] == pytest.approx([norm[1] / norm[28] for norm in pair], rel=0.06)
    good = [name for name in accuracy if accuracy[name][28] > 97.99]
    assert f"At T = 28 these learn (at least 98 %): {'; '.join(good) or 'none'}\n" in out


def test_what_reaches_the_first_step_and_who_has_learned():
    assert vanishing_gradient.reach(np.array([9.0, 2, 3, 4])) == 0.5  # of the memory after one step, not before it
    accuracy = {"a": {5: 97.9, 9: 100.0}, "b": {5: 98.0, 9: 10.0}}
    assert vanishing_gradient.learners(accuracy, 5) == ["b"]
    assert vanishing_gradient.learners(accuracy, 9) == ["a"]


def test_the_four_models_differ_in_their_start_alone():
    options = argparse.Namespace(seed=0, hidden_size=16, backend="numpy")
    rnn, orthogonal, plain, timed = (vanishing_gradient.start(n, 50, options) for n in vanishing_gradient.NAMES)
    W = orthogonal.params["rnn.W_a"]
    assert W[:16].T @ W[:16] == pytest.approx(np.eye(16), abs=1e-5)
    assert np.array_equal(W[16:], rnn.params["rnn.W_a"][16:])
    assert vanishing_gradient.radius(orthogonal) == pytest.approx(1, abs=1e-5)
    assert 0.4 < vanishing_gradient.radius(rnn) < 0.9
    assert (plain.params["gru.b_u"] == -1).all()
    assert np.ptp(timed.params["gru.b_u"]) > 1
    for one, other, name in ((rnn, orthogonal, "rnn.W_a"), (plain, timed, "gru.b_u")):
        assert [n for n in one.params if not np.array_equal(one.params[n], other.params[n])] == [name]


def test_the_crossover_at_a_small_size():
    """At T = 50 the gradient of the RNN is lost at the start, and it learns little; that of the GRU is not."""
    options = argparse.Namespace(seed=0, hidden_size=16, backend="numpy", steps=350, lr=1e-2, curriculum=False)
    accuracy, norms = {}, {}
    for name in (vanishing_gradient.RNN, vanishing_gradient.TIMED):
        accuracy[name], norms[name] = vanishing_gradient.measure(name, 50, options)
    rnn, gru = accuracy.values()
    assert rnn < 60
    assert gru >= 98
    (rnn_before, _), (gru_before, gru_after) = norms.values()
    assert rnn_before[1] / rnn_before[-1] < 1e-8
    assert gru_before[1] / gru_before[-1] > 1e-2
    assert gru_after[1] / gru_after[-1] > 1e-1


def test_all_models_of_a_length_are_trained_on_the_same_batches():
    options = argparse.Namespace(seed=0, steps=10, curriculum=False)
    first, second = vanishing_gradient.batches(5, options), vanishing_gradient.batches(5, options)
    for _ in range(3):
        assert all(np.array_equal(one, other) for one, other in zip(next(first), next(second), strict=True))


def test_a_curriculum_grows_to_the_whole_length():
    batches = vanishing_gradient.batches(20, argparse.Namespace(seed=0, steps=10, curriculum=True))
    lengths = [next(batches)[0].shape[1] for _ in range(10)]
    assert lengths == [3, 6, 9, 12, 15, 18, 20, 20, 20, 20]


def test_the_figure_of_vanishing_gradients_shows_its_numbers():
    norms = {4: {"A": (np.array([1e-14, 0.1, 1, 2, 4]), np.array([8.0, 4, 2, 2, 2]))}}
    figure = story_plots.vanishing(norms, {"A": {4: 50.0, 9: 75.0}}, 12.5)
    panel, below = (part.axes[0] for part in figure.subfigs)
    before, after = panel.lines[:2]
    assert np.array_equal(before.get_xdata(), [0, 1, 2, 3])  # what is as good as zero is left out
    assert before.get_ydata() == pytest.approx([1, 0.5, 0.25, 0.025])
    assert after.get_ydata() == pytest.approx([1, 1, 1, 2, 4])
    assert (before.get_linestyle(), after.get_linestyle()) == ("--", "-")
    assert list(below.lines[0].get_xdata()) == [4, 9]
    assert list(below.lines[0].get_ydata()) == [50, 75]


# --- The cat that was full -------------------------------------------------------------------------------------------


def test_agreement_end_to_end(tmp_path):
    options = ("--steps", 20, "--hidden-size", 8, "--tests", 20, "--out", tmp_path / "f")
    result = run_script("agreement.py", *options, "--sentence", "the kings near the cat")
    assert result.returncode == 0, result.stderr
    assert_pictures(tmp_path / "f", "agreement", "agreement_gates")


def test_what_agreement_prints_is_what_it_draws(call, tmp_path, monkeypatch):
    curves, gates_of = capture(monkeypatch, story_plots, "agreement"), capture(monkeypatch, story_plots, "sentence")
    monkeypatch.setattr(agreement, "TRAINING", {"0 to 4": range(5), "2 to 6": range(2, 7)})
    trained_models = []

    def train(*args, train=agreement.train):
        trained_models.append(train(*args))
        return trained_models[-1]

    monkeypatch.setattr(agreement, "train", train)
    monkeypatch.setattr(agreement, "FLIPPED", 4)
    monkeypatch.setattr(agreement, "CARRIED", 1.6)
    sizes = ("--steps", 60, "--hidden-size", 8, "--lr", 1e-2, "--tests", 40, "--seed", 2)
    status, out, _ = call(agreement, *sizes, "--out", tmp_path, "--sentence", agreement.SENTENCE)
    assert status == 0
    by_distance, by_distractors, longest = curves[0]
    assert longest == {"0 to 4": 4, "2 to 6": 6}
    options = argparse.Namespace(seed=2, tests=40)
    for k, (training, distances) in enumerate(agreement.TRAINING.items()):
        tests = agreement.held_out(distances, options)
        for model, name in zip(trained_models[2 * k : 2 * k + 2], ("RNN", "GRU"), strict=True):
            right = {d: 100 * (model.predict(made.x) == made.y).mean() for d, made in tests.items()}
            assert by_distance[training][name] == pytest.approx(right)
            assert by_distractors[training][name] == agreement.score(model, tests).by_distractors
            row = " ".join(f"{value:.0f}" for value in right.values())
            assert row in " ".join(out.split())
            longer = np.mean([value for d, value in right.items() if d > distances[-1]])
            assert f"{name} on distances longer than any in training: {longer:.2f} %" in out
    gru, made = trained_models[1], agreement.held_out(range(5), options)[6]
    change = agreement.changes(gru, made)
    assert 0 < (many := (change > 1.6).sum()) < 8, change
    assert f"{many} of 8 units carry the number" in out
    subject = trace.gates(gru, made.x).gamma_u[:, 1, change > 1.6].mean()
    assert re.search(r"^at the subject +(\S+)", out, re.MULTILINE)[1] == f"{subject:.2f}"
    assert f"held at 0.50: accuracy {agreement.held(gru, made, 0.5):5.1f} %" in out
    alone = [agreement.flipped(gru, made, np.array([unit])) for unit in np.flatnonzero(change > 1.6)]
    assert f"each carrier alone {min(alone):.1f} to {max(alone):.1f} %" in out
    words, gamma_u, memories, units, _ = gates_of[0]
    assert list(units) == sorted(range(8), key=lambda unit: -change[unit])[:5]
    here = tasks.sentence(agreement.SENTENCE)
    for text, seen in (("“cat …”", here), ("“cats …”", tasks.other_number(here))):
        assert np.array_equal(memories[text], trace.gates(gru, seen.x).c[0][:, units])
    assert np.array_equal(gamma_u, trace.gates(gru, here.x).gamma_u[0][:, units])
    assert words == agreement.SENTENCE.split()


class Constant:
    """A model that says "was" whatever it reads."""

    def predict(self, x):
        return np.zeros(len(x), int)


def test_scores_count_the_right_verbs_by_distance_and_by_distractors():
    made = [tasks.sentence(text) for text in ("the cat near the dogs", "the cats near the dog", "the cat near the dog")]
    joined = tasks.Sentences(*(np.concatenate(parts) for parts in zip(*made, strict=True)))
    many = tasks.Sentences(*(np.concatenate([part] * 30) for part in joined))
    few = tasks.sentence("the cats that saw the dog that saw the dog")
    scores = agreement.score(Constant(), {3: many, 8: few})
    assert scores.by_distance == pytest.approx({3: 200 / 3, 8: 0})
    assert scores.by_distractors == pytest.approx({0: 100, 1: 50})  # two distractors are in one sentence only


def test_tests_reach_half_as_far_again():
    tests = agreement.held_out(range(13), argparse.Namespace(seed=0, tests=2))
    assert list(tests) == [0, *range(2, 19)]
    assert all(made.words.shape == (2, distance + 2) for distance, made in tests.items())


def test_only_longer_distances_count_as_longer():
    assert agreement.beyond({3: 0.0, 4: 10.0, 5: 50.0, 6: 100.0}, range(2, 5)) == 75


def test_long_test_sentences_are_not_those_of_the_training():
    options = argparse.Namespace(seed=0, tests=50)
    for distances in (range(13), range(8, 21)):
        given = [made for made, _ in zip(agreement.batches(distances, 0), range(60), strict=False)]
        tests = agreement.held_out(distances, options)
        known = agreement.repeated(given, tests)
        assert max(share for distance, share in known.items() if distance >= 9) < 5
        assert agreement.repeated([*given, tests[10]], tests)[10] == 100
        first = next(agreement.batches(distances, 0))
        assert not any(np.array_equal(made.words[0], first.words[0]) for made in tests.values())


def test_gates_are_sorted_by_the_word_they_stand_at():
    words = tasks.sentence("the cat near the dogs").words
    gamma_u = np.arange(5.0).reshape(1, 5, 1)
    places = agreement.gates_by_place(gamma_u, words)
    assert {place: list(values[:, 0]) for place, values in places.items()} == {
        "at the subject": [1],
        "at nouns behind it": [4],
        "at other words": [2, 3],
    }


def test_renewal_is_the_candidate_against_the_memory_before_it():
    c = np.array([0.1, 0.5, 0.7, 0.9]).reshape(1, 4, 1)
    candidate = np.array([9.0, 9.0, 0.8, 0.6]).reshape(1, 4, 1)
    seen = trace.Trace(c, c, np.concatenate([candidate, candidate * 0], axis=2), np.concatenate([c, c], axis=2))
    assert agreement.renewal(seen, np.array([0])) == pytest.approx([0.3, 0.1])


@pytest.fixture(scope="module")
def reader():
    """A GRU that knows the number after few sentences, and sentences to read."""
    given = [made for made, _ in zip(agreement.batches(range(5), 0), range(150), strict=False)]
    options = argparse.Namespace(seed=0, hidden_size=8, backend="numpy", lr=1e-2)
    return agreement.train("gru", given, options), tasks.sentences(np.random.default_rng(0), 40, 10)


def test_carriers_are_the_units_that_the_number_changes(reader):
    model, made = reader
    assert (model.predict(made.x) == made.y).mean() > 0.95
    changes = []
    for i in range(40):
        one = tasks.Sentences(*(part[i : i + 1] for part in made))
        c, other = (trace.gates(model, each.x).c[0, -1] for each in (one, tasks.other_number(one)))
        changes.append((c - other) * (1 - 2 * one.y[0]))
    assert agreement.changes(model, made) == pytest.approx(np.abs(np.mean(changes, axis=0)))
    assert agreement.changes(model, made).max() > 0.5


def cell(model, c, x, gate=None):
    """One step of (G1) to (G4), with the update gate given if it is."""
    p = {name.partition(".")[2]: view.astype(np.float64) for name, view in model.params.items()}
    z = np.concatenate([c, x], axis=1)
    gamma_r, gamma_u = (1 / (1 + np.exp(-(z @ p[f"W_{g}"] + p[f"b_{g}"]))) for g in "ru")
    c_tilde = np.tanh(np.concatenate([gamma_r * c, x], axis=1) @ p["W_c"] + p["b_c"])
    gamma_u = gamma_u if gate is None else gate
    return gamma_u * c_tilde + (1 - gamma_u) * c


@pytest.mark.parametrize("gate", [0.0001, 0.5, 0.99])
def test_held_gates_are_held_behind_the_subject_alone(gate, reader):
    model, made = reader
    c = np.zeros((40, 8))
    for t in range(12):
        c = cell(model, c, made.x[:, t], gate if t >= 2 else None)
    right = (trace.answers(model, c).argmax(axis=1) == made.y).mean()
    assert agreement.held(model, made, gate) == pytest.approx(100 * right)


def test_flipped_memories_are_read_on_from(reader):
    model, made = reader
    for units in (np.array([3]), np.arange(8)):
        c = np.zeros((40, 8))
        for t in range(12):
            if t == agreement.FLIPPED:
                before = np.sign(c[:, units])
                c[:, units] *= -1
            c = cell(model, c, made.x[:, t])
        assert agreement.flipped(model, made, units) == pytest.approx(100 * (np.sign(c[:, units]) == before).mean())


def test_the_figures_of_agreement_show_their_numbers():
    by_distance = {"short": {"RNN": {0: 100.0, 5: 60.0}, "GRU": {0: 100.0, 5: 99.0}}}
    by_distractors = {"short": {"RNN": {0: 90.0, 1: 50.0}, "GRU": {0: 100.0, 1: 98.0}}}
    left, right = story_plots.agreement(by_distance, by_distractors, {"short": 3}).axes
    assert [list(line.get_ydata()) for line in left.lines[:2]] == [[100, 60], [100, 99]]
    assert [list(line.get_ydata()) for line in right.lines[:2]] == [[90, 50], [100, 98]]
    gates_of, memories = np.array([[0.1, 0.2], [0.9, 0.3], [0.5, 0.4]]), {"a": np.eye(3, 2), "b": -np.eye(3, 2)}
    above, below, _ = story_plots.sentence(["the", "cat", "ran"], gates_of, memories, np.array([7, 2]), "title").axes
    assert np.array_equal(above.images[0].get_array(), gates_of.T)
    assert [text.get_text() for text in above.get_yticklabels()] == ["unit 7", "unit 2"]
    assert [text.get_text() for text in below.get_xticklabels()] == ["the", "cat", "ran"]
    assert list(below.lines[0].get_ydata()) == [1, 0, 0]


# --- Gates and memory ------------------------------------------------------------------------------------------------


def test_gates_of_a_checkpoint_end_to_end(run, tmp_path):
    result = run_script("gates.py", "--checkpoint", run[0], "--index", 5, "--out", tmp_path / "f")
    assert result.returncode == 0, result.stderr
    assert_pictures(tmp_path / "f", "gates", "memory")
    accuracy = run[1].history["test_accuracy_percent"].iloc[-1]
    by_row = re.search(r"^accuracy(.*)   of", result.stdout, re.MULTILINE)[1].split()
    assert len(by_row) == 8
    assert float(by_row[-1]) == pytest.approx(accuracy, abs=0.51)


def test_what_gates_prints_is_what_it_draws(run, dataset, call, tmp_path, monkeypatch):
    readings, memories = capture(monkeypatch, digit_plots, "reading"), capture(monkeypatch, digit_plots, "memory")
    status, out, _ = call(gates, "--checkpoint", run[0], "--index", 5, "--out", tmp_path)
    assert status == 0
    model = run[1].model
    seen, start = trace.gates(model, dataset.x_test), trace.gates(gates.untrained(model, run[1].config), dataset.x_test)
    order = seen.gamma_u.mean(axis=(0, 1)).argsort(kind="stable")
    image, gamma_u, gamma_r, c, probabilities, mean, accuracy, _, probed = readings[0]
    assert np.array_equal(image, dataset.x_test[5])
    for shown, array in ((gamma_u, seen.gamma_u), (gamma_r, seen.gamma_r), (c, seen.c)):
        assert shown == pytest.approx(array[5][:, order])
    assert probabilities == pytest.approx(trace.answers(model, seen.c[5]))
    assert mean == pytest.approx(seen.gamma_u.mean(axis=(0, 2)))
    right = trace.answers(model, seen.c).argmax(axis=2) == dataset.y_test[:, None]
    assert accuracy == pytest.approx(right.mean(axis=0))
    for line, curve in (("gate    ", mean), ("accuracy", accuracy), ("probe   ", probed)):
        shown = re.search(rf"^{line}((?: +\d+)+) ", out, re.MULTILINE)[1].split()
        assert [int(value) for value in shown] == pytest.approx(100 * curve, abs=0.51)
    units, spreads = list(memories[0][2]), memories[0][3]
    assert units == [*order[:3], *order[-3:]]
    for gate in ("gamma_u", "gamma_r"):
        for when, trace_of in (("before training", start), ("after training", seen)):
            values = getattr(trace_of, gate)
            ends = 100 * (values < 0.1).mean(), 100 * (values >= 0.9).mean()
            low, _, high = re.search(rf"^{gate} +{when} +(\S+) +(\S+) +(\S+)$", out, re.MULTILINE).groups()
            assert (float(low), float(high)) == pytest.approx(ends, abs=0.051)
            assert spreads[gate][when][:5].sum() == pytest.approx(ends[0])


def test_the_probe_is_ridge_regression_on_training_images(run, dataset, monkeypatch):
    monkeypatch.setattr(gates, "FITTED", 300)
    monkeypatch.setattr(gates, "CHUNK", 77)
    model = run[1].model
    c, c_test = (trace.gates(model, x).c for x in (dataset.x_train[:300], dataset.x_test))
    probed = gates.probe(model, dataset)
    for t in range(8):
        A, rows = np.c_[c[:, t], np.ones(300)], np.sqrt(gates.RIDGE) * np.eye(17)
        wanted = np.r_[np.eye(10)[dataset.y_train[:300]], np.zeros((17, 10))]
        W = np.linalg.lstsq(np.r_[A, rows], wanted, rcond=None)[0]
        read = (np.c_[c_test[:, t], np.ones(len(c_test))] @ W).argmax(axis=1)
        assert probed[t] == pytest.approx((read == dataset.y_test).mean(), abs=1e-9)


def test_gates_without_a_checkpoint_trains_first(call, tmp_path, monkeypatch):
    monkeypatch.setitem(gates.EPOCHS, "digits", 1)
    status, out, err = call(gates, "--data", "digits", "--out", tmp_path / "f")
    assert status == 0
    assert "training for 1 epochs" in err
    assert "epoch 1/1" in out
    assert_pictures(tmp_path / "f", "gates", "memory")


def test_averages_are_those_of_all_images_at_once(run, dataset, monkeypatch):
    model = run[1].model
    seen = trace.gates(model, dataset.x_test)
    monkeypatch.setattr(gates, "CHUNK", 77)
    mean, accuracy, shares = gates.average(model, dataset)
    assert mean == pytest.approx(seen.gamma_u.mean(axis=0), rel=1e-9)
    assert accuracy[-1] == pytest.approx((model.predict(dataset.x_test) == dataset.y_test).mean())
    for gate in ("gamma_u", "gamma_r"):
        assert shares[gate].sum() == pytest.approx(100)
        low = 100 * (getattr(seen, gate) < 0.1).mean()
        assert shares[gate][: gates.BINS // 10].sum() == pytest.approx(low, abs=1e-9)


def test_the_untrained_model_is_the_one_that_the_run_started_from(run, dataset, tmp_path):
    fresh = Trainer(run[1].config, dataset, tmp_path)
    assert np.array_equal(gates.untrained(run[1].model, run[1].config).vector, fresh.model.vector)


@pytest.mark.parametrize(
    ("path", "since"),
    [([0, 5, 5, 5], 2), ([5, 5, 5, 5], 1), ([5, 5, 5, 0], None), ([5, 0, 5, 5], 3), ([0, 5, 0, 5], 4)],
)
def test_when_it_knows(path, since):
    probabilities = np.full((4, 10), 0.005)
    probabilities[range(4), path] = 0.955
    assert gates.sure_since(probabilities, 5) == since


def test_the_figures_of_gates_show_their_numbers(rng):
    T, H, K = 8, 6, 10
    arrays = [rng.random((T, H)) for _ in range(3)]
    image, probabilities = rng.random((T, 8)), rng.random((T, K))
    mean, accuracy = rng.random(T), rng.random(T)
    probed = rng.random(T)
    axes = digit_plots.reading(image, *arrays, probabilities, mean, accuracy, "title", probed).axes[:6]
    for panel, expected in zip(axes, [image, *arrays, probabilities], strict=False):
        assert np.array_equal(panel.images[0].get_array(), expected)
    assert [list(line.get_xdata()) for line in axes[5].lines] == [list(mean), list(accuracy), list(probed)]
    assert all(list(line.get_ydata()) == list(range(T)) for line in axes[5].lines)
    memories, shares = rng.uniform(-1, 1, (2, T, 4)), rng.random(10)
    spreads = {gate: {"before": shares, "after": shares[::-1]} for gate in ("gamma_u", "gamma_r")}
    figure = digit_plots.memory(memories, np.array([3, 7]), {4: "a", 1: "b", 0: "c", 2: "d"}, spreads)
    above, below = figure.subfigs
    for place, panel in enumerate(above.axes):
        assert [list(line.get_ydata()) for line in panel.lines[:2]] == [list(c) for c in memories[:, :, place]]
    assert np.array_equal(below.axes[1].patches[1].get_data().values, shares[::-1])


# --- The data and the answers ----------------------------------------------------------------------------------------


def test_show_batch_shows_what_the_seed_chose(call, tmp_path, dataset, monkeypatch):
    drawn = []
    monkeypatch.setattr(digit_plots, "labelled", lambda *args, f=digit_plots.labelled: drawn.append(args) or f(*args))
    status, out, _ = call(show_batch, "--data", "digits", "--batch-size", 11, "--seed", 4, "--out", tmp_path / "f")
    assert status == 0
    assert_pictures(tmp_path / "f", "batch")
    (images, labels, _), chosen = drawn[0], np.random.default_rng(4).permutation(len(dataset.x_train))[:11]
    assert np.array_equal(images, dataset.x_train[chosen])
    assert "labels: " + " ".join(map(str, dataset.y_train[chosen])) in out
    assert np.array_equal(labels, dataset.y_train[chosen])


def test_predict_of_a_test_image(run, dataset, tmp_path):
    result = run_script("predict.py", run[0], "--index", 9, "--out", tmp_path / "f")
    assert result.returncode == 0, result.stderr
    assert_pictures(tmp_path / "f", "predict_index")
    row = result.stdout.splitlines()[1].split()
    probabilities = run[1].model.predict_proba(dataset.x_test[9:10])[0]
    assert row[:4] == ["test", "9", str(probabilities.argmax()), str(dataset.y_test[9])]
    assert [float(value) for value in row[4:]] == pytest.approx(100 * probabilities, abs=0.06)


def test_predict_of_a_picture_shows_what_the_model_saw(run, call, tmp_path, monkeypatch):
    drawn = []
    monkeypatch.setattr(digit_plots, "answers", lambda *args, f=digit_plots.answers: drawn.append(args) or f(*args))
    status, out, _ = call(predict, run[0], "--image", FIVE, "--out", tmp_path / "f")
    assert status == 0
    assert_pictures(tmp_path / "f", "predict_image")
    x, probabilities = drawn[0][:2]
    assert x.shape == (1, 8, 8)
    assert np.array_equal(run[1].model.predict_proba(x), probabilities)
    assert out.splitlines()[1].split()[:3] == ["five.png", str(probabilities.argmax()), "?"]


def test_the_worst_mistakes_come_first(run, call, tmp_path, dataset):
    status, out, _ = call(predict, run[0], "-", "--out", tmp_path / "f")
    assert status == 0
    assert_pictures(tmp_path / "f", "predict_worst")
    rows = [line.split() for line in out.splitlines()[1:] if line.startswith("test")]
    probabilities = run[1].model.predict_proba(dataset.x_test)
    sure = np.where(probabilities.argmax(axis=1) != dataset.y_test, probabilities.max(axis=1), 0)
    assert [int(row[1]) for row in rows] == list(np.argsort(-sure, kind="stable")[: len(rows)])
    wrong = 100 * np.sort(sure[sure > 0])[::-1]
    said = re.search(r"Of (\d+) mistakes these (\d+) .* at ([\d.]+) % or more; half .* at ([\d.]+) % or less", out)
    assert [int(said[1]), int(said[2])] == [len(wrong), len(rows)]
    assert wrong[len(rows) - 1] - 0.1 <= float(said[3]) <= wrong[len(rows) - 1]
    assert float(said[4]) == pytest.approx(np.median(wrong), abs=0.051)
    assert all(row[2] != row[3] for row in rows)
    assert 1 <= len(rows) <= predict.WORST


def test_predict_without_a_choice_draws_one_by_the_seed(run, call, tmp_path):
    said = [call(predict, run[0], "--seed", seed, "--out", tmp_path)[1].splitlines()[1] for seed in (0, 0, 1)]
    assert said[0] == said[1] != said[2]


@pytest.mark.parametrize("n", [1, 3, 8])
def test_answers_draw_image_and_probabilities(n, rng):
    images, probabilities = rng.random((n, 8, 8)), rng.dirichlet(np.ones(10), n)
    labels = probabilities.argmax(axis=1)
    labels[0] = (labels[0] + 1) % 10
    axes = digit_plots.answers(images, probabilities, labels, "title").axes
    assert len(axes) == 2 * n
    for place in range(n):
        picture, bars = axes[2 * place : 2 * place + 2]
        assert np.array_equal(picture.images[0].get_array(), images[place])
        assert [bar.get_height() for bar in bars.patches] == pytest.approx(100 * probabilities[place])
        assert picture.get_title() == f"read {probabilities[place].argmax()}, is {labels[place]}"
        assert picture.title.get_color() == (digit_plots.WRONG if place == 0 else "black")


# --- Bad input -------------------------------------------------------------------------------------------------------


def bad_files(folder):
    (folder / "foreign.npz").write_bytes(b"not an archive")
    np.savez(folder / "other.npz", W=np.ones(3))
    (folder / "text.png").write_text("a five")
    Image.new("L", (30, 30), 255).save(folder / "blank.png")
    (folder / "file").write_text("")


BAD = [
    (predict, ["{tmp}/nothing"], "there is no checkpoint {tmp}/nothing"),
    (predict, ["{tmp}"], "there is no checkpoint {tmp}/checkpoint.npz"),
    (predict, ["{tmp}/foreign.npz"], "not a checkpoint of minigru (not a NumPy archive, or only a part of one)"),
    (predict, ["{tmp}/other.npz"], "is damaged or is not a checkpoint of minigru"),
    (predict, ["{run}", "--index", "360"], "--index is 360; expected 0 to 359"),
    (predict, ["{run}", "--index", "-1"], "--index is -1; expected 0 to 359"),
    (predict, ["{run}", "--index", "two"], "--index"),
    (predict, ["{run}", "--image", "{tmp}/none.png"], "there is no image {tmp}/none.png"),
    (predict, ["{run}", "--image", "{tmp}/text.png"], "text.png is not an image"),
    (predict, ["{run}", "--image", "{tmp}/blank.png"], "blank.png: the picture is blank"),
    (predict, ["{run}", "--image", "{tmp}/blank.png", "--index", "1"], "not allowed with"),
    (predict, ["{run}", "--image", ""], "--image is empty"),
    (predict, ["{run}", "--image", "{tmp}"], "{tmp} is a folder; expected an image"),
    (predict, ["{run}", "five.png"], "five.png"),
    (predict, ["{run}", "--out", "{tmp}/file"], "is not a folder that can be written to"),
    (predict, ["{run}", "--out", "{tmp}/file/below"], "is not a folder that can be written to"),
    (predict, ["{run}", "--out", ""], "is not a folder that can be written to"),
    (gates, ["--checkpoint", "{tmp}/nothing"], "there is no checkpoint"),
    (gates, ["--checkpoint", "{rnn}"], "is a plain RNN, which has no gates"),
    (gates, ["--checkpoint", "{run}", "--index", "360"], "--index is 360; expected 0 to 359"),
    (gates, ["--checkpoint", "{run}", "--data", "digits"], "not allowed with"),
    (gates, ["--checkpoint", "{run}", "--epochs", "3"], "--epochs belongs to a training"),
    (gates, ["--data", "digits", "--index", "360"], "--index is 360; expected 0 to 359"),
    (show_batch, ["--data", "digits", "--batch-size", "101"], "--batch-size is 101; expected at most 100"),
    (make_figures, ["--run", "{run}"], "holds a gru trained on digits; expected a gru on mnist"),
    (make_figures, ["--run", "{rnn}", "--data", "digits"], "holds a rnn trained on digits; expected a gru"),
    (show_batch, ["--seed", "-1"], "-1 is negative"),
    (agreement, ["--sentence", "the walrus slept"], "'walrus' is not in the vocabulary"),
    (agreement, ["--lr", "-1"], "-1 is not a learning rate"),
    (vanishing_gradient, ["--lr", "nan"], "nan is not a learning rate"),
    (vanishing_gradient, ["--lengths", "1"], "--lengths holds 1"),
    (vanishing_gradient, ["--lengths", "1000000000"], "--lengths holds 1000000000; expected at most 10,000"),
    (vanishing_gradient, ["--steps", "0"], "0 is not positive"),
]


@pytest.mark.parametrize(
    ("script", "arguments", "message"), BAD, ids=[f"{s.__name__} {' '.join(a)}" for s, a, _ in BAD]
)
def test_bad_input_is_one_sentence_and_exit_2(script, arguments, message, run, rnn_run, call, tmp_path):
    bad_files(tmp_path)
    known = {"tmp": tmp_path, "run": run[0], "rnn": rnn_run[0]}
    if "--out" not in arguments:
        arguments = [*arguments, "--out", "{tmp}/figures"]
    status, _, err = call(script, *(argument.format(**known) for argument in arguments))
    assert status == 2
    assert message.format(**known) in err
    assert len(err.splitlines()) == 1
    assert not (tmp_path / "figures").exists()


def test_ctrl_c_is_130_and_a_diverging_training_is_1(monkeypatch, capsys, call, tmp_path):
    def stop(error):
        def fit(*args):
            raise error

        return fit

    monkeypatch.setattr(tasks, "fit", stop(FloatingPointError("the loss of RNN is nan")))
    monkeypatch.setattr(agreement, "held_out", lambda *args: {})  # it takes seconds, and nothing gets that far
    for script in (agreement, vanishing_gradient):
        status, _, err = call(script, "--steps", 2, "--out", tmp_path / "f")
        assert (status, err) == (1, f"{script.__name__}.py: the loss of RNN is nan\n")
    monkeypatch.setattr(tasks, "fit", stop(KeyboardInterrupt()))
    with pytest.raises(SystemExit) as stopped:
        cli.run(agreement.main)
    assert stopped.value.code == 130
    assert not (tmp_path / "f").exists()


# --- All of them -----------------------------------------------------------------------------------------------------


def test_make_figures_runs_each_script_of_the_story(call, tmp_path, run):
    _, out, _ = call(make_figures, "--dry-run", "--run", tmp_path / "r", "--out", tmp_path)
    scripts = re.findall(r"^\$ python scripts/(\S+)", out, re.MULTILINE)
    assert scripts[0] == "train_mnist.py"
    assert set(scripts[1:]) == {"show_batch.py", "vanishing_gradient.py", "agreement.py", "gates.py", "predict.py"}
    _, out, _ = call(make_figures, "--dry-run", "--run", run[0], "--data", "digits", "--out", tmp_path)
    assert "train_mnist.py" not in out


def test_make_figures_goes_on_with_a_stopped_training(run, tmp_path):
    arrays = dict(np.load(run[0] / "checkpoint.npz"))
    arrays["meta"] = np.array(json.dumps(json.loads(str(arrays["meta"])) | {"epoch": 2}))
    np.savez(tmp_path / "checkpoint.npz", **arrays)
    assert make_figures.training(tmp_path, "digits") == [["train_mnist.py", "--out", str(tmp_path), "--resume"]]


def test_make_figures_stops_at_the_first_script_that_fails(call, tmp_path, monkeypatch):
    ran = []
    statuses = iter(argparse.Namespace(returncode=status) for status in (0, 3, 0))
    monkeypatch.setattr(subprocess, "run", lambda line: ran.append(line) or next(statuses))
    status, _, _ = call(make_figures, "--run", tmp_path / "r", "--out", tmp_path / "f")
    assert (status, len(ran)) == (3, 2)


def test_every_figure_of_the_story_is_on_the_page_and_small():
    page = (ROOT / "docs" / "story.md").read_text("utf-8")
    shown = set(re.findall(r"!\[[^\]]+\]\(figures/(\w+)\.png\)", page))
    made = {"vanishing_gradient", "agreement", "agreement_gates", "gates", "memory"}
    assert shown == made | {"batch", "predict_index", "predict_image", "predict_worst"}
    for name in shown:
        path = ROOT / "docs" / "figures" / f"{name}.png"
        assert path.stat().st_size < 120_000
        assert 480 <= imread(path).shape[1] <= 1000
