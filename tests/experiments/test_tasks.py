"""The tasks measure memory and nothing else, and `fit` trains on them."""

from __future__ import annotations

import numpy as np
import pytest

from minigru import SequenceClassifier, reference
from minigru.experiments import tasks


def texts(made: tasks.Sentences) -> list[str]:
    return [" ".join(tasks.WORDS[word] for word in words) for words in made.words]


@pytest.mark.parametrize("T", [1, 2, 9])
def test_recall_shows_the_label_first_and_never_again(T, rng):
    x, y = tasks.recall(rng, 200, T, K=3)
    assert x.shape == (200, T, 6)
    assert np.array_equal(x.sum(axis=2), np.ones((200, T)))
    assert np.array_equal(x[:, 0].argmax(axis=1), y)
    assert set(y) == {0, 1, 2}
    assert not x[:, 1:, :3].any()
    assert np.array_equal(x[:, 1:, 3:].any(axis=(0, 1)), [T > 1] * 3)


def test_recall_gives_no_hint_behind_the_first_step(rng):
    x, y = tasks.recall(rng, 4000, 3, K=2)
    means = [x[y == label, 1:].mean(axis=0) for label in (0, 1)]
    assert np.abs(means[0] - means[1]).max() < 0.06


@pytest.mark.parametrize("distance", [0, 2, 3, 4, 5, 11, 18])
def test_sentences_have_their_distance_and_agree_with_the_subject(distance, rng):
    made = tasks.sentences(rng, 100, distance)
    assert made.x.shape == (100, distance + 2, len(tasks.WORDS))
    assert set(made.y) == {0, 1}
    for text, y, distractors in zip(texts(made), made.y, made.distractors, strict=True):
        the, subject, *behind = text.split()
        right, wrong = (tasks.SINGULAR, tasks.PLURAL)[:: 1 - 2 * y]
        assert the == "the"
        assert subject in right
        assert distractors == sum(word in wrong for word in behind)
        assert not set(tasks.VERBS) & set(behind)


def test_all_words_occur_and_the_other_nouns_say_nothing_about_the_subject(rng):
    made = tasks.sentences(rng, 1500, 6)
    assert set(made.words.ravel()) == set(range(len(tasks.WORDS)))
    assert len(set(tasks.WORDS)) == len(tasks.WORDS)
    behind = made.words[:, 2:]
    share = [tasks.is_plural(behind[made.y == y]).sum() / tasks.is_noun(behind[made.y == y]).sum() for y in (0, 1)]
    assert share == pytest.approx([0.5, 0.5], abs=0.05)


def test_a_sentence_from_text_and_its_twin():
    made = tasks.sentence("the cat that the dogs saw near the child")
    twin = tasks.other_number(made)
    assert texts(twin) == ["the cats that the dogs saw near the child"]
    assert (made.y[0], made.distractors[0], twin.y[0], twin.distractors[0]) == (0, 1, 1, 1)
    assert np.array_equal(tasks.other_number(twin).words, made.words)


def test_the_twin_differs_in_the_subject_alone(rng):
    made = tasks.sentences(rng, 50, 9)
    twin = tasks.other_number(made)
    assert np.array_equal((made.words != twin.words).sum(axis=0), [0, 50] + [0] * 9)
    assert np.array_equal(twin.y, 1 - made.y)
    assert np.array_equal(made.distractors + twin.distractors, tasks.is_noun(made.words[:, 2:]).sum(axis=1))


BAD = {
    "distance is 1; expected 0, or 2": lambda rng: tasks.sentences(rng, 1, 1),
    "distance is -1": lambda rng: tasks.sentences(rng, 1, -1),
    "n is 0": lambda rng: tasks.sentences(rng, 0, 2),
    "T is 0": lambda rng: tasks.recall(rng, 1, 0),
    "K is 0": lambda rng: tasks.recall(rng, 1, 3, 0),
    "'walrus' is not in the vocabulary": lambda rng: tasks.sentence("the walrus that slept"),
    "does not begin with a subject": lambda rng: tasks.sentence("the that cat"),
    "'that cat' does not begin": lambda rng: tasks.sentence("that cat"),
    "'' does not begin": lambda rng: tasks.sentence(""),
    "the model has no bias gru.b_u; expected": lambda rng: tasks.expect_length(
        SequenceClassifier(2, 2, 2, "rnn"), 5, rng
    ),
    "T is 1": lambda rng: tasks.expect_length(SequenceClassifier(2, 2, 2), 1, rng),
}


@pytest.mark.parametrize("message", BAD)
def test_bad_input_is_named(message, rng):
    with pytest.raises(ValueError, match=message):
        BAD[message](rng)


def test_gates_initialised_for_a_length_replace_between_one_half_and_one_in_that_many(rng):
    model = SequenceClassifier(3, 1000, 2, rng=rng)
    tasks.expect_length(model, 101, rng)
    spans = 1 / reference.sigmoid(model.params["gru.b_u"].astype(np.float64)) - 1
    assert 1 <= spans.min() < 2
    assert 99 < spans.max() <= 100.001
    assert spans.mean() == pytest.approx(50.5, rel=0.05)


def test_fit_takes_as_many_steps_as_asked_with_adam_and_clipping(rng):
    model, twin = (SequenceClassifier(4, 3, 2, dtype="float64", rng=1) for _ in range(2))
    model.params["linear.W"][...] = twin.params["linear.W"][...] = 50 * twin.params["linear.W"]
    given = [tasks.recall(rng, 5, 6, K=2) for _ in range(4)]
    tasks.fit(model, iter(given), 3, 0.1, "test")
    theta, m, v, cut = twin.vector.copy(), 0.0, 0.0, 0
    for t, (x, y) in enumerate(given[:3], start=1):
        twin.vector[...] = theta
        twin.loss(x, y)
        twin.backward()
        norm = np.linalg.norm(twin.gradient)
        cut += norm > 1
        theta, m, v = reference.adam(theta, twin.gradient / max(norm, 1), m, v, t, lr=0.1)
    assert cut > 0
    assert np.allclose(model.vector, theta, rtol=1e-10, atol=1e-12)


def test_fit_says_when_the_loss_is_not_finite(rng):
    model = SequenceClassifier(4, 3, 2, rng=1)
    model.params["linear.W"][...] = np.inf
    with np.errstate(all="ignore"), pytest.raises(FloatingPointError, match="the loss of test is nan after 1 steps"):
        tasks.fit(model, [tasks.recall(rng, 5, 6, K=2)], 1, 0.1, "test")
