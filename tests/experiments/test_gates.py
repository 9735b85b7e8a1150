"""The gates of a GRU that reads digits: averages, probe and histograms are those of the model, printed and drawn."""

from __future__ import annotations

import re

import gates
import numpy as np
import pytest

from minigru.experiments import trace
from minigru.plots import digits as digit_plots


def test_what_is_printed_is_what_is_drawn(run, dataset, call, drawn, tmp_path, monkeypatch):
    monkeypatch.setattr(gates, "CHUNK", 77)  # of 360 test images: the last chunk is smaller
    readings, memories = drawn(digit_plots, "reading"), drawn(digit_plots, "memory")
    status, out, _ = call(gates, run.folder, "--index", 5, "--out", tmp_path)
    assert status == 0
    seen = trace.gates(run.model, dataset.x_test)
    start = trace.gates(gates.untrained(run.model, run.config), dataset.x_test)
    order = seen.gamma_u.mean(axis=(0, 1)).argsort(kind="stable")
    image, gamma_u, gamma_r, c, probabilities, mean, accuracy, _, probed = readings[0]
    assert np.array_equal(image, dataset.x_test[5])
    for shown, array in ((gamma_u, seen.gamma_u), (gamma_r, seen.gamma_r), (c, seen.c)):
        assert shown == pytest.approx(array[5][:, order])
    assert probabilities == pytest.approx(trace.answers(run.model, seen.c[5]))
    assert mean == pytest.approx(seen.gamma_u.mean(axis=(0, 2)))
    right = trace.answers(run.model, seen.c).argmax(axis=2) == dataset.y_test[:, None]
    assert accuracy == pytest.approx(right.mean(axis=0))
    for line, curve in (("gate    ", mean), ("accuracy", accuracy), ("probe   ", probed)):
        shown = re.search(rf"^{line}((?: +\d+)+) ", out, re.MULTILINE)[1].split()
        assert [int(value) for value in shown] == pytest.approx(100 * curve, abs=0.51)
    units, histograms = list(memories[0][2]), memories[0][3]
    assert units == [*order[:3], *order[-3:]]
    for gate in ("gamma_u", "gamma_r"):
        for when, trace_of in (("before training", start), ("after training", seen)):
            values = getattr(trace_of, gate)
            ends = 100 * (values < 0.1).mean(), 100 * (values >= 0.9).mean()
            low, _, high = re.search(rf"^{gate} +{when} +(\S+) +(\S+) +(\S+)$", out, re.MULTILINE).groups()
            assert (float(low), float(high)) == pytest.approx(ends, abs=0.051)
            assert histograms[gate][when][:5].sum() == pytest.approx(ends[0])


def test_the_probe_is_ridge_regression_on_training_images(run, dataset, monkeypatch):
    monkeypatch.setattr(gates, "FITTED", 300)
    monkeypatch.setattr(gates, "CHUNK", 77)
    c, c_test = (trace.gates(run.model, x).c for x in (dataset.x_train[:300], dataset.x_test))
    probed = gates.probe(run.model, dataset)
    for t in range(8):
        A, rows = np.c_[c[:, t], np.ones(300)], np.sqrt(gates.RIDGE) * np.eye(17)
        wanted = np.r_[np.eye(10)[dataset.y_train[:300]], np.zeros((17, 10))]
        W = np.linalg.lstsq(np.r_[A, rows], wanted, rcond=None)[0]
        predicted = (np.c_[c_test[:, t], np.ones(len(c_test))] @ W).argmax(axis=1)
        assert probed[t] == pytest.approx((predicted == dataset.y_test).mean(), abs=1e-9)


def test_the_untrained_model_is_the_one_from_which_the_run_started(run):
    assert np.array_equal(gates.untrained(run.model, run.config).vector, run.start)


@pytest.mark.parametrize(
    ("path", "since"),
    [([0, 5, 5, 5], 2), ([5, 5, 5, 5], 1), ([5, 5, 5, 0], None), ([5, 0, 5, 5], 3), ([0, 5, 0, 5], 4)],
)
def test_sure_is_from_the_row_after_the_last_doubt(path, since):
    probabilities = np.full((4, 10), 0.005)
    probabilities[range(4), path] = 0.955
    assert gates.sure_since(probabilities, 5) == since
