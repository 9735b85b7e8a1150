"""Agreement with the subject: scores and interventions are what they say, printed and drawn."""

from __future__ import annotations

import argparse
import itertools
import re

import agreement
import numpy as np
import pytest
from helpers import randomise

from minigru import SequenceClassifier, reference
from minigru.experiments import tasks, trace
from minigru.plots import story as story_plots


def test_what_is_printed_is_what_is_drawn(call, drawn, tmp_path, monkeypatch):
    curves, sentences = drawn(story_plots, "agreement"), drawn(story_plots, "sentence")
    for name, value in {"TRAINING": {"0 to 4": range(5), "2 to 6": range(2, 7)}, "FLIPPED": 4, "CARRIED": 1.6}.items():
        monkeypatch.setattr(agreement, name, value)
    models, train = [], agreement.train
    monkeypatch.setattr(agreement, "train", lambda *args: models.append(train(*args)) or models[-1])
    status, out, _ = call(
        agreement, "--steps", 60, "--hidden-size", 8, "--lr", 1e-2, "--tests", 40, "--seed", 2, "--out", tmp_path
    )
    assert status == 0
    by_distance, by_distractors, longest = curves[0]
    assert longest == {"0 to 4": 4, "2 to 6": 6}
    options = argparse.Namespace(seed=2, tests=40)
    for k, (training, distances) in enumerate(agreement.TRAINING.items()):
        tests = agreement.held_out(distances, options)
        for model, name in zip(models[2 * k : 2 * k + 2], ("RNN", "GRU"), strict=True):
            right, distractors = agreement.score(model, tests)
            assert by_distance[training][name] == right
            assert by_distractors[training][name] == distractors
            assert " ".join(f"{value:.0f}" for value in right.values()) in " ".join(out.split())
            longer = np.mean([value for d, value in right.items() if d > distances[-1]])
            assert f"{name} on distances longer than any in training: {longer:.2f} %" in out
    gru, made = models[1], agreement.held_out(range(5), options)[6]
    change = agreement.changes(gru, made)
    carriers = np.flatnonzero(change > 1.6)
    assert 0 < len(carriers) < 8, change
    assert f"{len(carriers)} of 8 units carry the number" in out
    subject = trace.gates(gru, made.x).gamma_u[:, 1, carriers].mean()
    assert re.search(r"^at the subject +(\S+)", out, re.MULTILINE)[1] == f"{subject:.2f}"
    assert f"held at 0.50: accuracy {agreement.held(gru, made, 0.5):5.1f} %" in out
    alone = [agreement.flipped(gru, made, unit[None]) for unit in carriers]
    assert f"alone {min(alone):.1f} to {max(alone):.1f} %" in out
    words, gamma_u, memories, units, _ = sentences[0]
    assert list(units) == sorted(range(8), key=lambda unit: -change[unit])[:5]
    here = tasks.sentence(agreement.SENTENCE)
    for text, seen in (("“cat …”", here), ("“cats …”", tasks.other_number(here))):
        assert np.array_equal(memories[text], trace.gates(gru, seen.x).c[0][:, units])
    assert np.array_equal(gamma_u, trace.gates(gru, here.x).gamma_u[0][:, units])
    assert words == agreement.SENTENCE.split()


class AlwaysWas:
    def predict(self, x):
        return np.zeros(len(x), int)


def test_scores_count_the_right_verbs_by_distance_and_by_distractors():
    texts = ("the cat near the dogs", "the cats near the dog", "the cat near the dog")
    many = tasks.Sentences(np.concatenate([tasks.sentence(text).words for text in texts] * 30))
    few = tasks.sentence("the cats that saw the dog that saw the dog")
    scores = agreement.score(AlwaysWas(), {3: many, 8: few})
    assert scores.by_distance == pytest.approx({3: 200 / 3, 8: 0})
    assert scores.by_distractors == pytest.approx({0: 100, 1: 50})  # one sentence has two distractors: too few


def test_sentences_reach_half_as_far_again_and_long_ones_are_not_those_of_the_training():
    options = argparse.Namespace(seed=0, tests=50)
    for distances in (range(13), range(8, 21)):
        given = list(itertools.islice(agreement.batches(distances, 0), 60))
        tests = agreement.held_out(distances, options)
        assert list(tests) == [0, *range(2, distances[-1] * 3 // 2 + 1)]
        assert all(made.words.shape == (50, distance + 2) for distance, made in tests.items())
        known = agreement.repeated(given, tests)
        assert max(share for distance, share in known.items() if distance >= 9) < 5
        assert agreement.repeated([*given, tests[10]], tests)[10] == 100
    assert agreement.beyond({3: 0.0, 4: 10.0, 5: 50.0, 6: 100.0}, range(2, 5)) == 75


def test_gates_are_grouped_by_the_word_and_the_candidate_is_compared_with_the_memory_before_it():
    places = agreement.gates_by_place(np.arange(5.0).reshape(1, 5, 1), tasks.sentence("the cat near the dogs").words)
    assert [list(values[:, 0]) for values in places.values()] == [[1], [4], [2, 3]]  # subject, other nouns, the rest
    c = np.array([0.1, 0.5, 0.7, 0.9]).reshape(1, 4, 1)
    candidate = np.array([9.0, 9.0, 0.8, 0.6]).reshape(1, 4, 1)
    seen = trace.Trace(c, c, np.concatenate([candidate, candidate * 0], axis=2), np.concatenate([c, c], axis=2))
    assert agreement.renewal(seen, np.array([0])) == pytest.approx([0.3, 0.1])


@pytest.fixture(scope="module")
def reader():
    """A GRU that has learned the number from a few short sentences, and longer sentences to read."""
    options = argparse.Namespace(seed=0, hidden_size=8, backend="numpy", lr=1e-2)
    gru = agreement.train("gru", list(itertools.islice(agreement.batches(range(5), 0), 150)), options)
    return gru, tasks.sentences(np.random.default_rng(0), 40, 10)


def step(model, c, x, gate=None):
    """One step of the reference, with the update gate replaced by `gate` if given."""
    p = {name.partition(".")[2]: view.astype(np.float64) for name, view in model.params.items()}
    c_next, (_, _, _, _, c_tilde, _) = reference.gru_cell(x, c, p)
    return c_next if gate is None else gate * c_tilde + (1 - gate) * c


def test_carriers_are_the_units_that_the_number_changes(reader):
    model, made = reader
    assert (model.predict(made.x) == made.y).mean() > 0.95
    other = tasks.other_number(made)
    singular, plural = (np.where((s.y == 0)[:, None], 1, -1) * trace.gates(model, s.x).c[:, -1] for s in (made, other))
    expected = np.abs((singular + plural).mean(axis=0))
    assert agreement.changes(model, made) == pytest.approx(expected)
    assert expected.max() > 0.5


@pytest.fixture(scope="module")
def readers(reader):
    """The trained GRU, which depends on the subject, and a random one, which depends on every gate and word."""
    rng = np.random.default_rng(0)
    model = SequenceClassifier(len(tasks.WORDS), 8, 2)
    randomise(model, rng)
    model.params["linear.b"][...] = 0  # or it would choose one verb throughout
    model.params["gru.W_c"][...] *= 3
    return [reader, (model, tasks.sentences(rng, 300, 8))]


@pytest.mark.parametrize("gate", [0.0001, 0.5, 0.99])
def test_gates_are_held_behind_the_subject_alone(gate, readers):
    for model, whole in readers:
        made = tasks.Sentences(whole.words[:, :5])  # short, so that every word matters
        c = np.zeros((len(made.y), 8))
        for t in range(5):
            c = step(model, c, made.x[:, t], gate if t >= 2 else None)
        right = (trace.answers(model, c).argmax(axis=1) == made.y).mean()
        assert agreement.held(model, made, gate) == pytest.approx(100 * right)


@pytest.mark.parametrize("units", [[3], list(range(8))])
def test_reading_goes_on_from_flipped_memories(units, readers):
    for model, made in readers:
        c = np.zeros((len(made.y), 8))
        for t in range(made.words.shape[1]):
            if t == agreement.FLIPPED:
                before = np.sign(c[:, units])
                c[:, units] *= -1
            c = step(model, c, made.x[:, t])
        recovered = 100 * (np.sign(c[:, units]) == before).mean()
        assert agreement.flipped(model, made, np.array(units)) == pytest.approx(recovered)
