"""Recipes: options of a training run that were chosen together, by name."""

from __future__ import annotations

from typing import Any

# What differs from the defaults of `Config`; docs/results.md says how it was chosen.
RECIPES: dict[str, dict[str, Any]] = {
    "article": {},
    "fast": {"epochs": 2, "batch_size": 32, "lr": 5e-3, "schedule": "warmup-cosine", "clip_norm": 1.0},
    "best": {"lr": 3e-3, "schedule": "warmup-cosine", "clip_norm": 1.0, "distort": "affine"},
}
