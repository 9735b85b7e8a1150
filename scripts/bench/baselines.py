"""Who is timed by bench.py: minigru, its reference, and what one would use instead, all with the same interface.

A contestant is made from the parameters of minigru's model. ``prepare`` brings a batch into its own form, ``step``
takes one training step (forward, loss, backward, Adam at 1e-3). Where the contestant computes the same equations,
``check`` returns the loss and the gradients of minigru's parameters, and ``parameters`` yields what Adam makes of them.
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import importlib.util
import json
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

import minigru
from minigru import reference
from minigru.engine.kernels import numpy_kernels

K = 10
Params = dict[str, np.ndarray]


def initial(D: int, H: int, seed: int) -> Params:
    """Return the parameters that every contestant starts from."""
    model = minigru.SequenceClassifier(D, H, K, rng=seed)
    return {name: view.copy() for name, view in model.params.items()}


def make_batch(T: int, B: int, D: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Return x (B, T, D), four fifths of it zero as in MNIST, and labels (B,)."""
    rng = np.random.default_rng(seed)
    x = rng.random((B, T, D), dtype=np.float32) * (rng.random((B, T, D)) < 0.2)
    return x.astype(np.float32), rng.integers(K, size=B)


def sizes(params: Params) -> tuple[int, int]:
    """Return D and H."""
    H = params["gru.b_u"].size
    return params["gru.W_u"].shape[0] - H, H


class Baseline:
    """What all baselines share."""

    name: str
    same_equations = True
    own_threads = False  # whether the library decides for itself how many threads it uses

    def prepare(self, x: np.ndarray, y: np.ndarray) -> tuple[Any, Any]:
        """Return the batch as this contestant takes it."""
        return x, y

    def step(self, x: Any, y: Any) -> Any:
        """Take one training step."""
        raise NotImplementedError

    def check(self, x: Any, y: Any) -> tuple[float, Params]:
        """Return loss and gradients, before any step."""
        raise NotImplementedError

    def parameters(self) -> Iterator[tuple[str, np.ndarray]]:
        """Yield name and value of those parameters of minigru that this contestant has too."""
        raise NotImplementedError

    def finish(self) -> None:
        """Wait until the steps asked for are done."""

    def seconds(self, steps: int, x: Any, y: Any) -> float:
        """Return how long that many training steps take."""
        start = time.perf_counter()
        for _ in range(steps):
            self.step(x, y)
        self.finish()
        return time.perf_counter() - start


class Engine(Baseline):
    """minigru, one process."""

    name = "minigru"
    backend: str | minigru.Backend = "numpy"

    def __init__(self, params: Params, backend: minigru.Backend | None = None) -> None:
        self.model = minigru.SequenceClassifier(*sizes(params), K, backend=backend or self.backend)
        self.to_device, self.to_host = self.model.backend.to_device, self.model.backend.to_host
        for name, value in params.items():
            self.model.params[name][...] = self.to_device(value)
        self.adam = minigru.Adam(self.model)

    def prepare(self, x: np.ndarray, y: np.ndarray) -> tuple[Any, Any]:
        """Return the batch on the device of the engine."""
        return self.to_device(x), self.to_device(y)

    def finish(self) -> None:
        """Wait for the device."""
        self.to_host(self.model.vector[:1])

    def step(self, x: Any, y: Any) -> None:
        """Take one training step."""
        self.model.loss(x, y)
        self.model.backward()
        self.adam.step()

    def check(self, x: Any, y: Any) -> tuple[float, Params]:
        """Return loss and gradients, before any step."""
        loss = float(self.model.loss(x, y))
        self.model.backward()
        return loss, {name: self.to_host(grad).copy() for name, grad in self.model.grads.items()}

    def parameters(self) -> Iterator[tuple[str, np.ndarray]]:
        """Yield name and value of every parameter."""
        return ((name, self.to_host(value)) for name, value in self.model.params.items())

    def predict(self, x: np.ndarray) -> np.ndarray:
        """Return the classes of images x (B, T, D)."""
        return self.model.predict(x)


def gpu_engines(backend: minigru.Backend) -> list[type[Engine]]:
    """Return minigru on a GPU as it is, without the kernel of the whole recurrence, and with no kernels of its own."""
    spec = importlib.util.spec_from_file_location("numpy_kernels_on_cupy", numpy_kernels.__file__)
    plain = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(plain)
    plain.np = backend.xp
    steps = dataclasses.replace(backend, persistent=None)
    made = {
        "minigru": backend,
        "minigru, fused step halves": steps,
        "minigru, one call an operation": dataclasses.replace(steps, kernels=plain),
    }
    return [type("GPUEngine", (Engine,), {"name": name, "backend": backend}) for name, backend in made.items()]


class Reference(Baseline):
    """The equations as they stand in reference.py, in float32."""

    name = "reference.py"

    def __init__(self, params: Params) -> None:
        self.p = {name.partition(".")[2]: value.copy() for name, value in params.items()}
        self.moments = {name: (np.zeros_like(value), np.zeros_like(value)) for name, value in self.p.items()}
        self.t = 0

    def prepare(self, x: np.ndarray, y: np.ndarray) -> tuple[Any, Any]:
        """Return the batch time major."""
        return np.ascontiguousarray(x.transpose(1, 0, 2)), y

    def check(self, x: Any, y: Any) -> tuple[float, Params]:
        """Return loss and gradients, before any step."""
        c_0 = np.zeros((x.shape[1], self.p["b_u"].size), x.dtype)
        states, cache = reference.gru_forward(x, c_0, self.p)
        logits, linear_cache = reference.linear(states[-1], self.p)
        loss, loss_cache = reference.softmax_cross_entropy(logits, y)
        dlogits = reference.softmax_cross_entropy_backward(loss_cache).astype(x.dtype)
        dlast, grads = reference.linear_backward(dlogits, linear_cache)
        dstates = np.zeros_like(states)
        dstates[-1] = dlast
        _, _, gru_grads = reference.gru_backward(dstates, cache)
        named = {f"gru.{name}": grad for name, grad in gru_grads.items()}
        return float(loss), named | {f"linear.{name}": grad for name, grad in grads.items()}

    def step(self, x: Any, y: Any) -> None:
        """Take one training step."""
        _, grads = self.check(x, y)
        self.t += 1
        for name, grad in grads.items():
            short = name.partition(".")[2]
            self.p[short], *self.moments[short] = reference.adam(self.p[short], grad, *self.moments[short], self.t)

    def parameters(self) -> Iterator[tuple[str, np.ndarray]]:
        """Yield name and value of every parameter."""
        for short, value in self.p.items():
            yield f"{'linear' if short in ('W', 'b') else 'gru'}.{short}", value


class RankJob:
    """Processes started by mpiexec that wait, asleep, for batches to train on; see rank_worker.py."""

    def __init__(self, ranks: int) -> None:
        beside = Path(sys.executable).with_name("mpiexec")
        mpiexec = str(beside) if beside.exists() else shutil.which("mpiexec")
        if mpiexec is None or importlib.util.find_spec("mpi4py") is None:
            raise FileNotFoundError("mpiexec or mpi4py is not installed")
        worker = str(Path(__file__).with_name("rank_worker.py"))
        self.ranks = ranks
        self._process = subprocess.Popen(
            [mpiexec, "-n", str(ranks), sys.executable, worker],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            start_new_session=True,  # so that Ctrl-C is for bench.py alone
        )

    def ask(self, **order: Any) -> Any:
        """Send an order to all ranks, and return the answer of rank 0."""
        with contextlib.suppress(BrokenPipeError):
            print(json.dumps(order), file=self._process.stdin, flush=True)
        answer = self._process.stdout.readline()
        if not answer:
            raise RuntimeError(f"the job of {self.ranks} ranks has ended with status {self._process.wait()}")
        return json.loads(answer)

    def close(self) -> None:
        """End the job."""
        with contextlib.suppress(BrokenPipeError):
            self._process.stdin.close()
        self._process.wait()
        self._process.stdout.close()


def several_ranks(job: RankJob) -> type[Baseline]:
    """Return the contestant that shares each batch among the ranks of a job, with one BLAS thread each."""

    class SeveralRanks(Baseline):
        name = f"minigru, {job.ranks} ranks"
        own_threads = True

        def __init__(self, params: Params) -> None:
            self.params = params

        def prepare(self, x: np.ndarray, y: np.ndarray) -> tuple[Any, Any]:
            with tempfile.TemporaryDirectory() as folder:
                np.savez(Path(folder, "batch.npz"), x=x, y=y, **self.params)
                job.ask(batch=str(Path(folder, "batch.npz")))
            return None, None

        def seconds(self, steps: int, x: Any, y: Any) -> float:
            return job.ask(steps=steps)

        def step(self, x: Any, y: Any) -> None:
            self.seconds(1, x, y)

        def check(self, x: Any, y: Any) -> tuple[float, Params]:
            return job.ask(loss=True), self.arrays("grads")

        def parameters(self) -> Iterator[tuple[str, np.ndarray]]:
            yield from self.arrays("params").items()

        def arrays(self, which: str) -> Params:
            with tempfile.TemporaryDirectory() as folder:
                job.ask(save=str(Path(folder, "arrays.npz")), which=which)
                with np.load(Path(folder, "arrays.npz")) as stored:
                    return dict(stored)

    return SeveralRanks


def torch_baselines(device: str = "cpu") -> list[type[Baseline]]:
    """Return the article's loop and torch.nn.GRU on "cpu" or "cuda", or nothing where one cannot."""
    if importlib.util.find_spec("torch") is None:
        return []
    import torch
    from torch import nn

    if device == "cuda" and not torch.cuda.is_available():
        return []

    def tensor(array: np.ndarray) -> torch.Tensor:
        return torch.from_numpy(np.ascontiguousarray(array)).to(device)

    def array(tensor: torch.Tensor) -> np.ndarray:
        return tensor.detach().cpu().numpy()

    class Article(nn.Module):
        """The article's cell, looped over the rows of an image."""

        def __init__(self, params: Params) -> None:
            super().__init__()
            D, H = sizes(params)
            for gate in "urc":
                from_x, from_c = nn.Linear(D, H), nn.Linear(H, H)
                with torch.no_grad():
                    from_c.weight.copy_(tensor(params[f"gru.W_{gate}"][:H].T))
                    from_x.weight.copy_(tensor(params[f"gru.W_{gate}"][H:].T))
                    from_x.bias.copy_(tensor(params[f"gru.b_{gate}"]))
                    from_c.bias.zero_()
                setattr(self, f"x_{gate}", from_x)
                setattr(self, f"c_{gate}", from_c)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            c = torch.zeros(len(x), self.c_u.out_features, device=x.device)
            for t in range(x.shape[1]):
                x_t = x[:, t, :]
                gamma_u = torch.sigmoid(self.c_u(c) + self.x_u(x_t))
                gamma_r = torch.sigmoid(self.c_r(c) + self.x_r(x_t))
                c_tilde = torch.tanh(self.c_c(gamma_r * c) + self.x_c(x_t))
                c = gamma_u * c_tilde + (1 - gamma_u) * c
            return c

    class ArticleLoop(Baseline):
        name = "the article's loop, PyTorch"

        def __init__(self, params: Params) -> None:
            self.recurrent = self.recurrent_layer(params).to(device)
            self.linear = nn.Linear(params["linear.W"].shape[0], K, device=device)
            with torch.no_grad():
                self.linear.weight.copy_(tensor(params["linear.W"].T))
                self.linear.bias.copy_(tensor(params["linear.b"]))
            self.adam = torch.optim.Adam([*self.recurrent.parameters(), *self.linear.parameters()], lr=1e-3)

        def recurrent_layer(self, params: Params) -> nn.Module:
            return Article(params)

        def last_state(self, x: torch.Tensor) -> torch.Tensor:
            return self.recurrent(x)

        def prepare(self, x: np.ndarray, y: np.ndarray) -> tuple[Any, Any]:
            return tensor(x), tensor(y)

        def backward(self, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
            self.adam.zero_grad()
            loss = nn.functional.cross_entropy(self.linear(self.last_state(x)), y)
            loss.backward()
            return loss

        def step(self, x: torch.Tensor, y: torch.Tensor) -> None:
            self.backward(x, y)
            self.adam.step()

        def finish(self) -> None:
            if device == "cuda":
                torch.cuda.synchronize()

        def check(self, x: torch.Tensor, y: torch.Tensor) -> tuple[float, Params]:
            loss = float(self.backward(x, y).detach())
            grads = {"linear.W": array(self.linear.weight.grad).T, "linear.b": array(self.linear.bias.grad)}
            for gate in "urc":
                from_c, from_x = getattr(self.recurrent, f"c_{gate}"), getattr(self.recurrent, f"x_{gate}")
                rows = [array(from_c.weight.grad).T, array(from_x.weight.grad).T]
                grads |= {f"gru.W_{gate}": np.concatenate(rows), f"gru.b_{gate}": array(from_x.bias.grad)}
            return loss, {name: grad.copy() for name, grad in grads.items()}

        def parameters(self) -> Iterator[tuple[str, np.ndarray]]:
            yield "linear.W", array(self.linear.weight).T
            yield "linear.b", array(self.linear.bias)
            for gate in "urc":  # not the biases: the article has two a gate, and Adam moves both
                from_c, from_x = getattr(self.recurrent, f"c_{gate}"), getattr(self.recurrent, f"x_{gate}")
                yield f"gru.W_{gate}", np.concatenate([array(layer.weight).T for layer in (from_c, from_x)])

        def predict(self, x: np.ndarray) -> np.ndarray:
            with torch.no_grad():
                parts = [self.linear(self.last_state(part)).argmax(dim=1) for part in tensor(x).split(1000)]
            return array(torch.cat(parts))

    class TorchGRU(ArticleLoop):
        name = "torch.nn.GRU"
        same_equations = False

        def recurrent_layer(self, params: Params) -> nn.Module:
            return nn.GRU(*sizes(params), batch_first=True)

        def last_state(self, x: torch.Tensor) -> torch.Tensor:
            return self.recurrent(x)[1][0]

    class CudnnGRU(TorchGRU):
        name = "torch.nn.GRU, cuDNN with TF32"  # as it comes: factors rounded to 10 bits

        def backward(self, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
            with torch.backends.cudnn.flags(allow_tf32="TF32" in self.name):
                return super().backward(x, y)

    class CudnnFloat32GRU(CudnnGRU):
        name = "torch.nn.GRU, cuDNN in float32"

    return [TorchGRU, ArticleLoop] if device == "cpu" else [CudnnGRU, CudnnFloat32GRU, ArticleLoop]


def jax_baselines() -> list[type[Baseline]]:
    """Return jax.lax.scan under jit, or nothing without JAX."""
    if importlib.util.find_spec("jax") is None:
        return []
    import jax
    from jax import numpy as jnp

    def loss(p: dict[str, Any], x: Any, y: Any) -> Any:
        def cell(c: Any, x_t: Any) -> tuple[Any, None]:
            cx = jnp.concatenate([c, x_t], axis=1)
            gamma_u = jax.nn.sigmoid(cx @ p["gru.W_u"] + p["gru.b_u"])
            gamma_r = jax.nn.sigmoid(cx @ p["gru.W_r"] + p["gru.b_r"])
            rcx = jnp.concatenate([gamma_r * c, x_t], axis=1)
            c_tilde = jnp.tanh(rcx @ p["gru.W_c"] + p["gru.b_c"])
            return gamma_u * c_tilde + (1 - gamma_u) * c, None

        last, _ = jax.lax.scan(cell, jnp.zeros((x.shape[1], p["gru.b_u"].size), x.dtype), x)
        log_p = jax.nn.log_softmax(last @ p["linear.W"] + p["linear.b"])
        return -jnp.take_along_axis(log_p, y[:, None], axis=1).mean()

    value_and_grad = jax.jit(jax.value_and_grad(loss))

    @functools.partial(jax.jit, donate_argnums=(0, 1, 2))
    def train(p: Any, m: Any, v: Any, t: Any, x: Any, y: Any) -> tuple[Any, Any, Any]:
        _, g = value_and_grad(p, x, y)
        m = jax.tree.map(lambda m, g: 0.9 * m + 0.1 * g, m, g)
        v = jax.tree.map(lambda v, g: 0.999 * v + 0.001 * g * g, v, g)
        rate, correction = 1e-3 / (1 - 0.9**t), 1 - 0.999**t
        return jax.tree.map(lambda p, m, v: p - rate * m / (jnp.sqrt(v / correction) + 1e-8), p, m, v), m, v

    class JaxScan(Baseline):
        name = "jax.lax.scan, jit"
        own_threads = True

        def __init__(self, params: Params) -> None:
            self.p = {name: jnp.array(value) for name, value in params.items()}
            self.m, self.v = jax.tree.map(jnp.zeros_like, (self.p, self.p))
            self.t = 0

        def prepare(self, x: np.ndarray, y: np.ndarray) -> tuple[Any, Any]:
            return jnp.asarray(x.transpose(1, 0, 2)), jnp.asarray(y)

        def step(self, x: Any, y: Any) -> None:
            self.t += 1
            self.p, self.m, self.v = train(self.p, self.m, self.v, float(self.t), x, y)

        def finish(self) -> None:
            jax.block_until_ready(self.p)

        def parameters(self) -> Iterator[tuple[str, np.ndarray]]:
            return ((name, np.asarray(value)) for name, value in self.p.items())

        def check(self, x: Any, y: Any) -> tuple[float, Params]:
            value, grads = value_and_grad(self.p, x, y)
            return float(value), {name: np.asarray(grad) for name, grad in grads.items()}

    return [JaxScan]
