"""The section `inference`: how many images per second are classified."""

from __future__ import annotations

import argparse
from typing import Any

from baselines import initial, make_batch
from report import Rows, columns, in_words
from timing import spread, time_in_rounds
from verify import verify_logits

ONE, MANY = 1, 10_000


def inference_section(runners: list[Any], options: argparse.Namespace) -> dict[str, Any]:
    """Measure and print the images per second of the baselines that predict."""
    runners = [runner for runner in runners if runner.about["predicts"]]
    rows = []
    for B in (ONE, MANY):
        print(f"\n{in_words(B, 'image')} at once: verifying and compiling, then the rounds ...", flush=True)
        rows += images_per_second(runners, B, options)
    columns("Images classified per second, by the cores given.", rows, "images_per_second")
    return {"inference": rows}


def images_per_second(runners: list[Any], B: int, options: argparse.Namespace) -> Rows:
    """Return a row for each baseline, with B images at once; its logits are verified first."""
    T, D, H = options.length, options.inputs, options.hidden_size
    params, (x, _) = initial(D, H, options.seed), make_batch(T, B, D, options.seed)
    for runner in runners:
        verify_logits(runner, params, x)
    times = time_in_rounds({i: runner.classify for i, runner in enumerate(runners)}, max(3, options.rounds // 2))
    return [
        {
            "name": runner.about["name"],
            "cores": runner.cores,
            "B": B,
            **spread(times[i]),
            "images_per_second": B / spread(times[i])["ms"] * 1e3,
            "rounds": times[i].tolist(),
        }
        for i, runner in enumerate(runners)
    ]
