"""GRUClassifier: scikit-learn's own checks, the three forms of X, and what the parameters do."""

from __future__ import annotations

import pickle
import signal

import numpy as np
import pandas as pd
import pytest
from helpers import relative
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.estimator_checks import parametrize_with_checks

from minigru.estimator import GRUClassifier

n, T, D = 40, 6, 3
CHECKS = parametrize_with_checks([GRUClassifier()])


def classifier(**parameters):
    defaults = {"hidden_size": 8, "max_iter": 4, "batch_size": 16, "random_state": 0}
    return GRUClassifier(**defaults | parameters)


@pytest.fixture
def data(rng):
    """Sequences (n, T, D), and whether their first number is positive, in words."""
    X = rng.standard_normal((n, T, D))
    return X, np.where(X[:, 0, 0] > 0, "up", "down")


@pytest.fixture
def ragged(data, rng):
    X, y = data
    return [sequence[:length] for sequence, length in zip(X, rng.integers(1, T + 1, n), strict=True)], y


@pytest.mark.parametrize(CHECKS.args[0], [*CHECKS.args[1]], **CHECKS.kwargs)  # pytest 9 wants no iterator
def test_a_check_of_scikit_learn(estimator, check):
    check(estimator)


def test_three_forms_of_x_give_one_model(data):
    X, y = data
    expected = classifier().fit(X, y).predict_proba(X)
    table = classifier(step_size=D).fit(X.reshape(n, -1), y)
    np.testing.assert_array_equal(classifier().fit([*X], y).predict_proba([*X]), expected)
    for form in (X, [*X], X.reshape(n, -1)):
        np.testing.assert_array_equal(table.predict_proba(form), expected)


def test_sequences_of_several_lengths_are_learned_and_keep_their_order(ragged):
    X, y = ragged
    model = classifier(max_iter=40, hidden_size=16, learning_rate=0.03).fit(X, y)
    assert model.score(X, y) > 0.95
    each = np.concatenate([model.predict_proba([sequence]) for sequence in X])
    assert relative(model.predict_proba(X), each) < 1e-12
    assert relative(np.log(each), model.predict_log_proba(X)) < 1e-12
    longer = [*X, np.zeros((3 * T, D))]
    assert relative(model.predict_proba(longer)[:-1], each) < 1e-12
    assert model.n_features_in_ == D


def planted(X, value):
    X = X.copy()
    X[3, 2, 1] = value
    return X


@pytest.mark.parametrize(
    ("parameters", "bad", "message"),
    [
        ({}, lambda X, y: (planted(X, np.nan), y), "Input X contains NaN"),
        ({"dtype": "float32"}, lambda X, y: (planted(X, 1e300), y), "too large for dtype"),
        ({}, lambda X, y: ([*planted(X, np.nan)], y), "Input X contains NaN"),
        ({}, lambda X, y: (X, ["one"] * n), "only one class"),
        ({}, lambda X, y: (X[:1], y[:1]), "only one class"),
        ({}, lambda X, y: (X, y[1:]), "inconsistent numbers of samples"),
        ({}, lambda X, y: (X[:, :0], y), r"shape \(40, 0, 3\)"),
        ({}, lambda X, y: ([[1.0], [1.0, 2.0]], y[:2]), "rows of 1 to 2 numbers; pass .* as a list"),
        ({}, lambda X, y: (np.array([X[0], X[1, :2]], object), y[:2]), "array of 2 objects; pass .* as a list"),
        ({}, lambda X, y: ([X[0], X[1, :, :2]], y[:2]), r"X\[1\] has shape \(6, 2\); expected \(T_i, 3\)"),
        ({}, lambda X, y: ([X[0], X[1, :0]], y[:2]), r"X\[1\] has shape \(0, 3\)"),
        ({"step_size": 5}, lambda X, y: (X.reshape(n, -1), y), "18 features; expected a multiple of step_size"),
        ({"step_size": 2}, lambda X, y: (X, y), "3 features per step, but GRUClassifier is expecting 2"),
        ({"step_size": 0}, lambda X, y: (X, y), "'step_size' parameter of GRUClassifier must be"),
        ({"schedule": "linear"}, lambda X, y: (X, y), "'schedule' parameter of GRUClassifier must be"),
        ({"learning_rate": 1e307}, lambda X, y: (X, y), "the loss is (nan|inf) in epoch .; scale X"),
        ({}, lambda X, y: (X, y, -np.ones(n)), "sample_weight is negative"),
        ({"class_weight": {"up": -1}}, lambda X, y: (X, y), "class_weight is {'up': -1}; expected finite"),
        ({"class_weight": {"up": 0, "down": 0}}, lambda X, y: (X, y), "above 0 for a class in y"),
        ({}, lambda X, y: ([[[1.0], [1.0, 2.0]], [[1.0]]], y[:2]), r"X\[0\] has steps of several lengths"),
        ({}, lambda X, y: ([[[1.0]], [[1.0], [1.0, 2.0]]], y[:2]), r"X\[1\] has steps of several lengths"),
        ({"early_stopping": True, "validation_fraction": 0.01}, lambda X, y: (X, y), "test_size"),
    ],
)
def test_bad_training_data_is_an_error_of_one_sentence(parameters, bad, message, data):
    with pytest.raises(ValueError, match=message):
        classifier(**parameters).fit(*bad(*data))


def test_bad_data_of_a_fitted_model(data):
    X, y = data
    with pytest.raises(NotFittedError):
        classifier().predict(X)
    model = classifier(warm_start=True).fit(X, y)
    for call, message in [
        (lambda: model.predict(X[0]), "not a batch of sequences"),  # else it would be T sequences of one step
        (lambda: model.predict(X[..., :2]), "2 features per step, but GRUClassifier is expecting 3"),
        (lambda: model.fit(X, np.arange(n) // 4), "warm_start continues with the classes"),
        (lambda: clone(model).fit(X, y).set_params(hidden_size=9).fit(X, y), "hidden_size is 9; expected 8"),
        (lambda: model.set_params(backend="cupy").fit(X, y), "backend is 'cupy'; expected 'numpy', with which"),
        (lambda: classifier().partial_fit(X, y), "classes is missing"),
        (lambda: classifier().partial_fit(X, y, ["up"]), "labels {.*down.*}; expected"),
        (lambda: classifier().fit(X, y).partial_fit(X, y, ["up"]), "as in the first call"),
        (lambda: classifier(early_stopping=True).partial_fit(X, y, ["up"]), "call fit instead"),
    ]:
        with pytest.raises(ValueError, match=message):
            call()


def test_grid_search_pipeline_clone_and_pickle(data, ragged):
    X, y = data
    model = make_pipeline(StandardScaler(), classifier(step_size=D))
    search = GridSearchCV(model, {"gruclassifier__hidden_size": [1, 16]}, cv=2).fit(X.reshape(n, -1), y)
    again = pickle.loads(pickle.dumps(search.best_estimator_))
    np.testing.assert_array_equal(again.predict_proba(X.reshape(n, -1)), search.predict_proba(X.reshape(n, -1)))
    assert clone(again[-1]).get_params() == again[-1].get_params()
    assert not hasattr(clone(again[-1]), "model_")
    assert len(cross_val_score(classifier(), *ragged, cv=3)) == 3


def test_partial_fit_and_warm_start_continue_as_one_fit(data):
    X, y = data
    whole = classifier(schedule="constant").fit(X, y)
    warm = classifier(schedule="constant", max_iter=1, warm_start=True)
    parts = classifier()
    for _ in range(4):
        warm = pickle.loads(pickle.dumps(warm)).fit(X, y)  # with moments and generator
        parts.partial_fit(X, y, classes=["down", "up"])
    for model in (warm, parts):
        np.testing.assert_array_equal(model.predict_proba(X), whole.predict_proba(X))
        assert (model.n_iter_, model.loss_curve_) == (4, whole.loss_curve_)
    assert whole.fit(X, y).n_iter_ == 4
    assert parts.partial_fit(X[:4], ["up"] * 4).classes_.tolist() == ["down", "up"]


def test_weights_stand_for_repetitions_and_only_their_ratios_count(data, rng):
    X, y = data
    counts = rng.integers(0, 3, n)
    for class_weight in (None, "balanced"):
        model = classifier(batch_size=2 * n, class_weight=class_weight)
        weighted = model.fit(X, y, counts / 7).predict_proba(X)
        repeated = model.fit(X.repeat(counts, axis=0), y.repeat(counts)).predict_proba(X)
        assert relative(weighted, repeated) < 1e-9
    by_class = classifier(class_weight={"up": 5}).fit(X, y).predict_proba(X)
    by_sample = classifier().fit(X, y, np.where(y == "up", 5, 1)).predict_proba(X)
    np.testing.assert_array_equal(by_class, by_sample)
    counts = {label: (y == label).sum() for label in ("up", "down")}
    inverse = {label: 1 / count for label, count in counts.items()}
    balanced = classifier(class_weight="balanced").fit(X, y).predict_proba(X)
    assert relative(balanced, classifier(class_weight=inverse).fit(X, y).predict_proba(X)) < 1e-9


def test_early_stopping_keeps_the_best_weights(data, rng):
    X, _ = data
    y = rng.integers(0, 2, n)  # nothing to learn
    stopping = classifier(
        early_stopping=True, validation_fraction=0.3, n_iter_no_change=3, max_iter=500, schedule="constant"
    )
    model = clone(stopping).fit(X, y)
    best = 1 + int(np.argmax(model.validation_scores_))  # epochs
    assert model.n_iter_ == len(model.validation_scores_) == best + 3
    until_then = stopping.set_params(max_iter=best).fit(X, y)
    np.testing.assert_array_equal(model.predict_proba(X), until_then.predict_proba(X))
    weighted = stopping.set_params(max_iter=5).fit(X, y, rng.uniform(1, 9, n)).validation_scores_
    assert any(12 * score % 1 for score in weighted)  # without weights, so many of the 12 held out are right
    model = stopping.set_params(max_iter=9, learning_rate=0.1, tol=0.99).fit(X, X[:, -1, 0] > 0)
    assert max(model.validation_scores_) > model.validation_scores_[0]
    assert model.n_iter_ == 1 + 3


def test_every_parameter_of_the_training_changes_the_model(data):
    X, y = data
    changes = {"hidden_size": 9, "learning_rate": 0.02, "schedule": "constant", "clip_norm": 1e-9, "batch_size": 8}
    each = [{}, {"max_iter": 5}, *({name: value} for name, value in changes.items())]
    assert len({classifier(**change).fit(X, y).predict_proba(X).tobytes() for change in each}) == len(each)


def test_the_loss_of_an_epoch_is_the_mean_over_samples_with_the_last_smaller_batch(data):
    X, y = data
    model = classifier(learning_rate=1e-300, max_iter=1).fit(X, y)
    assert model.loss_curve_ == pytest.approx([float(model.model_.loss(X, (y == "up").astype(int)))])


def test_random_state_decides_everything_random(data):
    X, y = data
    first, again, other = (classifier(random_state=seed).fit(X, y).predict_proba(X) for seed in (1, 1, 2))
    np.testing.assert_array_equal(first, again)
    assert relative(other, first) > 1e-3


@pytest.mark.parametrize(("given", "dtype"), [("float32", None), ("float64", None), ("float64", "float32")])
def test_the_model_has_the_dtype_asked_for_or_that_of_x(given, dtype, data):
    X, y = data
    assert classifier(dtype=dtype).fit(X.astype(given), y).predict_proba(X).dtype == (dtype or given)


def test_ctrl_c_ends_fit_with_a_usable_model(data, monkeypatch, capsys):
    X, y = data
    model = classifier(max_iter=1000, verbose=True)
    epoch = model._epoch

    def interrupted(*arguments):
        if model.n_iter_ == 3:
            signal.raise_signal(signal.SIGINT)
        return epoch(*arguments)

    monkeypatch.setattr(model, "_epoch", interrupted)
    with pytest.warns(UserWarning, match="interrupted after 3 epochs"):
        model.fit(X, y)
    assert (model.n_iter_, len(model.loss_curve_), len(model.predict(X))) == (3, 3, n)
    assert "3/1000" in capsys.readouterr().err


def test_names_of_columns_end_with_the_data_frame(data):
    X, y = data
    model = classifier(step_size=D).fit(pd.DataFrame(X.reshape(n, -1)).add_prefix("x"), y)
    assert model.feature_names_in_[0] == "x0"
    assert not hasattr(model.fit(X, y), "feature_names_in_")
