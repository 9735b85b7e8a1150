"""predict.py: what it prints is what the model computes, for a test image, a picture and the worst mistakes."""

from __future__ import annotations

import re

import numpy as np
import predict
import pytest
from helpers import ROOT

from minigru import cli
from minigru.plots import digits as digit_plots

FIVE = ROOT / "docs" / "figures" / "five.png"


def test_a_test_image(run, call, dataset, tmp_path):
    status, out, _ = call(predict, run.folder, "--index", 9, "--out", tmp_path)
    assert status == 0
    row = out.splitlines()[1].split()
    probabilities = run.model.predict_proba(dataset.x_test[9:10])[0]
    assert row[:4] == ["test", "9", str(probabilities.argmax()), str(dataset.y_test[9])]
    assert [float(value) for value in row[4:]] == pytest.approx(100 * probabilities, abs=0.06)


def test_a_picture_is_drawn_as_the_model_receives_it(run, call, drawn, tmp_path):
    given = drawn(digit_plots, "answers")
    status, out, _ = call(predict, run.folder, "--image", FIVE, "--out", tmp_path)
    assert status == 0
    x, probabilities = given[0][:2]
    assert x.shape == (1, 8, 8)
    assert np.array_equal(run.model.predict_proba(x), probabilities)
    assert out.splitlines()[1].split()[:3] == ["five.png", str(probabilities.argmax()), "?"]


def test_the_worst_mistakes_come_first(run, call, dataset, tmp_path):
    status, out, _ = call(predict, run.folder, "-", "--out", tmp_path)
    assert status == 0
    rows = [line.split() for line in out.splitlines()[1:] if line.startswith("test")]
    probabilities = run.model.predict_proba(dataset.x_test)
    sure = np.where(probabilities.argmax(axis=1) != dataset.y_test, probabilities.max(axis=1), 0)
    assert [int(row[1]) for row in rows] == list(np.argsort(-sure, kind="stable")[: predict.WORST])
    wrong = 100 * np.sort(sure[sure > 0])[::-1]
    said = re.search(r"Of (\d+) mistakes\D+(\d+) .* at ([\d.]+) % or more; half .* at ([\d.]+) % or less", out)
    assert [int(said[1]), int(said[2])] == [len(wrong), len(rows)]
    assert wrong[len(rows) - 1] - 0.1 <= float(said[3]) <= wrong[len(rows) - 1]
    assert float(said[4]) == pytest.approx(np.median(wrong), abs=0.051)


def test_without_a_choice_the_seed_draws_one(run, call, tmp_path, monkeypatch):
    monkeypatch.setattr(cli, "write_figures", lambda out, **figures: None)
    said = [call(predict, run.folder, "--seed", seed, "--out", tmp_path)[1].splitlines()[1] for seed in (0, 0, 1)]
    assert said[0] == said[1] != said[2]
