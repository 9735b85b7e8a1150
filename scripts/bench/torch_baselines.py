"""The baselines of PyTorch, on the CPU and on a GPU: the article's cell in a loop, and torch.nn.GRU."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager
from typing import Any

import numpy as np
import torch
from baselines import Baseline, K, Params, sizes
from machine import cores
from torch import nn


def host(tensor: torch.Tensor) -> np.ndarray:
    """Return the tensor as an array on the host."""
    return tensor.detach().cpu().numpy()


def rows(weights: list[torch.Tensor]) -> np.ndarray:
    """Return PyTorch's weights (out, in) as one of minigru's, (in, out), the first on top."""
    return np.concatenate([host(weight).T for weight in weights])


def threads(device: str) -> dict[str, bool]:
    """Return the claim that PyTorch uses one thread for each core of this process."""
    return {"on all of its cores": torch.get_num_threads() == cores()} if device == "cpu" else {}


def operations(loss: torch.Tensor) -> set[str]:
    """Return the names of the operations that the gradients of the loss go back through."""
    found, ahead = set(), [loss.grad_fn]
    while ahead:
        node = ahead.pop()
        if node is not None and node not in found:
            found.add(node)
            ahead += [before for before, _ in node.next_functions]
    return {node.name() for node in found}


class Article(nn.Module):
    """The article's cell, looped over the rows of an image x (B, T, D); returns the last memory (B, H)."""

    def __init__(self, params: Params) -> None:
        super().__init__()
        D, H = sizes(params)
        for gate in "urc":
            W, b = (torch.from_numpy(params[f"gru.{name}_{gate}"]) for name in "Wb")
            from_x, from_c = nn.Linear(D, H), nn.Linear(H, H)
            with torch.no_grad():
                from_c.weight.copy_(W[:H].T)
                from_x.weight.copy_(W[H:].T)
                from_x.bias.copy_(b)
                from_c.bias.zero_()
            setattr(self, f"x_{gate}", from_x)
            setattr(self, f"c_{gate}", from_c)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return the last memory."""
        c = torch.zeros(len(x), self.c_u.out_features, device=x.device)
        for t in range(x.shape[1]):
            x_t = x[:, t, :]
            gamma_u = torch.sigmoid(self.c_u(c) + self.x_u(x_t))
            gamma_r = torch.sigmoid(self.c_r(c) + self.x_r(x_t))
            c_tilde = torch.tanh(self.c_c(gamma_r * c) + self.x_c(x_t))
            c = gamma_u * c_tilde + (1 - gamma_u) * c
        return c


class ArticleLoop(Baseline):
    """The article's loop with a linear layer, cross-entropy and PyTorch's Adam."""

    name = "the article's loop, PyTorch"
    device = "cpu"

    def __init__(self, params: Params) -> None:
        self.recurrent = self.recurrent_layer(params).to(self.device)
        self.linear = nn.Linear(params["linear.W"].shape[0], K, device=self.device)
        with torch.no_grad():
            self.linear.weight.copy_(self.tensor(params["linear.W"].T))
            self.linear.bias.copy_(self.tensor(params["linear.b"]))
        self.adam = torch.optim.Adam([*self.recurrent.parameters(), *self.linear.parameters()], lr=1e-3, fused=True)

    def recurrent_layer(self, params: Params) -> nn.Module:
        """Return the layer that the baseline is about."""
        return Article(params)

    def last_state(self, x: torch.Tensor) -> torch.Tensor:
        """Return the last state (B, H) of x (B, T, D)."""
        return self.recurrent(x)

    def output(self, x: torch.Tensor) -> torch.Tensor:
        """Return the logits (B, K) of x (B, T, D)."""
        return self.linear(self.last_state(x))

    def loss(self, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        """Return the mean cross-entropy."""
        return nn.functional.cross_entropy(self.output(x), y)

    def tensor(self, array: np.ndarray) -> torch.Tensor:
        """Return the array as a tensor on the device."""
        return torch.from_numpy(np.ascontiguousarray(array)).to(self.device)

    def prepare(self, x: np.ndarray, y: np.ndarray) -> tuple[Any, Any]:
        """Return the batch on the device."""
        return self.tensor(x), self.tensor(y)

    def backward(self, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        """Fill the gradients, and return the loss."""
        self.adam.zero_grad()
        loss = self.loss(x, y)
        loss.backward()
        return loss

    def step(self, x: torch.Tensor, y: torch.Tensor) -> None:
        """Take one training step."""
        self.backward(x, y)
        self.adam.step()

    def finish(self) -> None:
        """Wait for the GPU."""
        if self.device == "cuda":
            torch.cuda.synchronize()

    def check(self, x: torch.Tensor, y: torch.Tensor) -> tuple[float, Params]:
        """Return the loss and the gradients at the present parameters."""
        loss = float(self.backward(x, y).detach())
        grads = {"linear.W": host(self.linear.weight.grad).T, "linear.b": host(self.linear.bias.grad)}
        for gate in "urc":
            from_c, from_x = getattr(self.recurrent, f"c_{gate}"), getattr(self.recurrent, f"x_{gate}")
            grads[f"gru.W_{gate}"] = rows([from_c.weight.grad, from_x.weight.grad])
            grads[f"gru.b_{gate}"] = host(from_x.bias.grad)
        return loss, {name: grad.copy() for name, grad in grads.items()}

    def parameters(self) -> Iterator[tuple[str, np.ndarray]]:
        """Yield the name and value of every parameter but the biases of the gates.

        The article has two biases per gate, and Adam moves both.
        """
        yield "linear.W", host(self.linear.weight).T
        yield "linear.b", host(self.linear.bias)
        for gate in "urc":
            from_c, from_x = getattr(self.recurrent, f"c_{gate}"), getattr(self.recurrent, f"x_{gate}")
            yield f"gru.W_{gate}", rows([from_c.weight, from_x.weight])

    def claims(self, x: torch.Tensor, y: torch.Tensor) -> dict[str, bool]:
        """Return whether all of it is on the device, and Adam is one call."""
        tensors = [x, y, *self.recurrent.parameters(), *self.linear.parameters()]
        on_device = all(tensor.device.type == self.device for tensor in tensors)
        fused = all(group["fused"] for group in self.adam.param_groups)
        return {f"on {self.device}": on_device, "stepped by a fused Adam": fused} | threads(self.device)

    def logits(self, x: np.ndarray) -> np.ndarray:
        """Return the logits (B, K) of images x (B, T, D)."""
        with torch.no_grad():
            return host(self.output(self.tensor(x)))


class TorchGRU(ArticleLoop):
    """torch.nn.GRU: another variant, whose reset gate acts after the product."""

    name, part = "torch.nn.GRU (its own variant)", 250
    same_equations = False

    def recurrent_layer(self, params: Params) -> nn.Module:
        """Return torch.nn.GRU with weights of its own."""
        return nn.GRU(*sizes(params), batch_first=True)

    def last_state(self, x: torch.Tensor) -> torch.Tensor:
        """Return the last state (B, H) of x (B, T, D)."""
        return self.recurrent(x)[1][0]

    def parameters(self) -> Iterator[tuple[str, np.ndarray]]:
        """Yield the name and value of every parameter, under PyTorch's names."""
        for layer in (self.recurrent, self.linear):
            yield from ((name, host(value)) for name, value in layer.named_parameters())

    def claims(self, x: torch.Tensor, y: torch.Tensor) -> dict[str, bool]:
        """Return also whether the layer is torch.nn.GRU of minigru's size, with its second bias per gate."""
        H, D = self.linear.in_features, x.shape[2]
        size = sum(value.numel() for value in self.recurrent.parameters())
        is_gru = type(self.recurrent) is nn.GRU and size == 3 * H * (H + D + 2)
        return super().claims(x, y) | {f"torch.nn.GRU({D}, {H})": is_gru}


class CudnnGRU(TorchGRU):
    """torch.nn.GRU on a GPU as it comes: cuDNN, which rounds the factors of a product to 10 bits (TF32)."""

    name, device, allow_tf32 = "torch.nn.GRU, cuDNN with TF32", "cuda", True

    def backward(self, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        """Fill the gradients, and return the loss."""
        with self.flags():
            return super().backward(x, y)

    def flags(self) -> AbstractContextManager[None]:
        """Return a context with cuDNN, which `torch.backends.cudnn.flags` switches off unless told otherwise."""
        return torch.backends.cudnn.flags(enabled=True, allow_tf32=self.allow_tf32)

    def claims(self, x: torch.Tensor, y: torch.Tensor) -> dict[str, bool]:
        """Return also whether cuDNN computes the gradients of a step, with or without TF32."""
        with self.flags():
            cudnn = any("Cudnn" in name for name in operations(self.loss(x, y)))
            as_told = torch.backends.cudnn.allow_tf32 == self.allow_tf32
        return super().claims(x, y) | {"cuDNN": cudnn, f"{'with' if self.allow_tf32 else 'without'} TF32": as_told}


class CudnnFloat32GRU(CudnnGRU):
    """torch.nn.GRU on a GPU without TF32."""

    name, allow_tf32 = "torch.nn.GRU, cuDNN in float32", False


class ArticleLoopOnGPU(ArticleLoop):
    """The article's loop on a GPU, with products in float32."""

    device = "cuda"

    def claims(self, x: torch.Tensor, y: torch.Tensor) -> dict[str, bool]:
        """Return also whether its products are without TF32, as PyTorch sets them."""
        return super().claims(x, y) | {"without TF32": not torch.backends.cuda.matmul.allow_tf32}


def on_gpu() -> list[type[Baseline]]:
    """Return the baselines on a GPU; none if PyTorch sees no GPU."""
    return [CudnnGRU, CudnnFloat32GRU, ArticleLoopOnGPU] if torch.cuda.is_available() else []
