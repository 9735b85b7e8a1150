"""The baseline of torch.compile: the article's loop, compiled with its loss and its gradients; Adam is fused."""

from __future__ import annotations

import os
import tempfile

CACHE = tempfile.TemporaryDirectory()  # an old cache would hide how long it takes to compile
os.environ["TORCHINDUCTOR_CACHE_DIR"] = CACHE.name

import torch  # noqa: E402
from baselines import Params  # noqa: E402
from torch._dynamo.utils import counters  # noqa: E402
from torch_baselines import ArticleLoop  # noqa: E402


class CompiledLoop(ArticleLoop):
    """The article's loop under torch.compile."""

    name = "the article's loop, torch.compile"

    def __init__(self, params: Params) -> None:
        super().__init__(params)
        torch.compiler.reset()
        counters.clear()
        # Without dynamic=False the second batch size would be compiled for any size, which is slower.
        self.loss = torch.compile(super().loss, fullgraph=True, dynamic=False)
        self.output = torch.compile(super().output, fullgraph=True, dynamic=False)

    def claims(self, x: torch.Tensor, y: torch.Tensor) -> dict[str, bool]:
        """Return also whether the loss is one compiled graph."""
        graphs = counters["stats"]["unique_graphs"]
        return super().claims(x, y) | {"one compiled graph": graphs == 1 and not counters["graph_break"]}
