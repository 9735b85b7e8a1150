"""Time minigru beside what one would use instead, on this machine.

Every contestant takes whole training steps (forward, loss, backward, Adam) on batches of MNIST's shape: minigru in one
process and in several, its reference.py, torch.nn.GRU (another GRU: its reset gate acts after the product), the
article's cell looped in PyTorch, and jax.lax.scan under jit. Those that share minigru's equations must first agree in
loss, gradients and a step of Adam, or nothing is timed. Then all take turns, round after round, with one thread and
with all (JAX and the ranks with those they choose).
With --backend cupy the baselines are those that a GPU has: minigru as it is, without its kernel of the whole
recurrence, and without any kernel of its own, and both of PyTorch's. The clock stops when the device is done.
Anything else that runs on the machine spoils the figures.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib.metadata
import json
import math
import multiprocessing
import os
import platform
import sys
import time
import tracemalloc
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
from baselines import (
    Baseline,
    Engine,
    K,
    RankJob,
    Reference,
    gpu_engines,
    initial,
    jax_baselines,
    make_batch,
    several_ranks,
    torch_baselines,
)
from threadpoolctl import threadpool_info, threadpool_limits

from minigru import __version__, cli
from minigru.engine.backend import BACKENDS, Backend, BackendUnavailable, get_backend
from minigru.plots.training import step_times
from minigru.training.files import replace_file

ON_GPU = ("steps", "length", "width")
SECTIONS = ("steps", "profile", "length", "width", "memory", "inference", "ranks")
EPILOG = """
sections:
  steps      the training step, against the others, at every --batch
  profile    where minigru's step goes, and what the arithmetic alone would take
  length     the cost against the number of steps T, 28 to 784
  width      the cost against the number of hidden units H
  memory     the engine's buffers beside the formula in docs/engine.md, and the peak of a process
  inference  images a second, one at a time and 10,000 at once
  ranks      what one rank computes, what the sum over the ranks costs, and a model of many ranks

examples:
  python scripts/bench/bench.py                                 all of it, in about four minutes
  python scripts/bench/bench.py --only steps --batch 32         one table, in half a minute
  python scripts/bench/bench.py --json out.json --plot out.png  for later, and to look at
  python scripts/bench/bench.py --backend cupy                  on an NVIDIA GPU: steps, length and width
"""
Rows = list[dict[str, Any]]


def parse_args() -> argparse.Namespace:
    """Return the options."""
    parser = cli.Parser(description=__doc__, epilog=EPILOG)
    positive = cli.positive
    parser.add_argument("--backend", choices=BACKENDS, default="numpy", help="cupy needs an NVIDIA GPU (numpy)")
    parser.add_argument(
        "--batch", type=positive, nargs="+", metavar="B", help="batch sizes (32 128 512, and 4096 on a GPU)"
    )
    parser.add_argument("--length", type=positive, default=28, metavar="T", help="steps of a sequence (28)")
    parser.add_argument("--inputs", type=positive, default=28, metavar="D", help="inputs of a step (28)")
    parser.add_argument("--hidden-size", type=positive, default=128, metavar="H", help="hidden units (128)")
    parser.add_argument("--rounds", type=positive, default=15, metavar="N", help="turns of each contestant (15)")
    parser.add_argument(
        "--threads", type=positive, nargs="+", metavar="N", help="thread counts to try (1, and one for each core)"
    )
    parser.add_argument("--ranks", type=int, metavar="N", help="processes under mpiexec (2); 0 for none")
    parser.add_argument(
        "--only", nargs="+", choices=SECTIONS, metavar="SECTION", help="sections to run (all that the backend has)"
    )
    parser.add_argument("--seed", type=cli.seed, default=0, metavar="N", help="of the weights and the batches (0)")
    parser.add_argument("--json", type=cli.output_file, metavar="FILE", help="write all figures there")
    parser.add_argument(
        "--plot", type=cli.output_file, metavar="FILE", help="draw the table of the training step there"
    )
    options = parser.parse_args()
    if options.ranks is not None and (options.ranks == 1 or options.ranks < 0):
        parser.error(f"--ranks is {options.ranks}; expected at least 2, or 0 for none")
    if options.ranks == 0 and options.only and "ranks" in options.only:
        parser.error("--only ranks needs --ranks 2 or more")
    on_gpu = options.backend == "cupy"
    if on_gpu:
        with cli.exit_on(2, BackendUnavailable):
            get_backend("cupy")
        if options.threads or options.ranks:
            parser.error("--threads and --ranks are about the CPU; leave them out with --backend cupy")
        foreign = [section for section in options.only or () if section not in ON_GPU]
        if foreign:
            parser.error(f"--only {foreign[0]} measures the CPU; expected {', '.join(ON_GPU)} with --backend cupy")
        options.threads, options.ranks = [1], 0
    options.ranks = 2 if options.ranks is None else options.ranks
    options.only = options.only or (ON_GPU if on_gpu else SECTIONS)
    options.batch = options.batch or [32, 128, 512, *([4096] if on_gpu else [])]
    if options.plot and "steps" not in options.only:
        parser.error("--plot draws the section steps, which --only leaves out")
    options.threads = options.threads or sorted({1, os.cpu_count() or 1})
    return options


def processor() -> str:
    """Return the name of the processor."""
    with contextlib.suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def card(backend: Backend) -> dict[str, Any]:
    """Describe the GPU, or nothing."""
    if backend.name != "cupy":
        return {}
    runtime = backend.xp.cuda.runtime
    name = runtime.getDeviceProperties(runtime.getDevice())["name"].decode()
    return {"gpu": name, "cuda": {"driver": runtime.driverGetVersion(), "runtime": runtime.runtimeGetVersion()}}


def machine() -> dict[str, Any]:
    """Describe what the figures were measured on."""
    versions = {"python": platform.python_version(), "minigru": __version__}
    for package in ("numpy", "cupy-cuda12x", "cupy-cuda13x", "torch", "jax", "mpi4py"):
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            versions[package] = importlib.metadata.version(package)
    blas = next((lib for lib in threadpool_info() if lib["user_api"] == "blas"), {})
    name = " ".join(str(blas[key]) for key in ("internal_api", "version", "architecture") if blas.get(key))
    return {"processor": processor(), "cores": os.cpu_count(), "blas": name or "BLAS unknown", "versions": versions}


@contextlib.contextmanager
def threads(count: int) -> Iterator[None]:
    """Let BLAS, OpenMP and, where it is loaded, PyTorch use that many threads."""
    if "torch" in sys.modules:
        sys.modules["torch"].set_num_threads(count)
    with threadpool_limits(count):
        yield


def take_turns(runs: dict[Any, Callable[[int], float]], rounds: int, seconds: float = 0.2) -> dict[Any, np.ndarray]:
    """Let the runs take turns; return for each (rounds,) milliseconds a step.

    A run is called with a number of steps and returns the seconds they took. A turn lasts about `seconds`.
    """
    steps = {}
    for key, run in runs.items():
        run(2)
        steps[key] = max(1, round(seconds / (run(2) / 2)))
    times: dict[Any, list[float]] = {key: [] for key in runs}
    for _ in range(rounds):
        for key, run in runs.items():
            time.sleep(0.1)  # threads that wait for more work spin for a while, and would disturb the next
            run(1)
            times[key].append(run(steps[key]) / steps[key] * 1e3)
    return {key: np.array(values) for key, values in times.items()}


def spread(times: np.ndarray) -> dict[str, float]:
    """Return the median and both quartiles."""
    low, median, high = np.percentile(times, (25, 50, 75))
    return {"ms": float(median), "low": float(low), "high": float(high)}


def calls(function: Callable[[], Any], finish: Callable[[], Any] = lambda: None) -> Callable[[int], float]:
    """Return a run of `take_turns` whose step is one call; `finish` waits for a device."""

    def run(steps: int) -> float:
        start = time.perf_counter()
        for _ in range(steps):
            function()
        finish()
        return time.perf_counter() - start

    return run


def with_threads(count: int, run: Callable[[int], float]) -> Callable[[int], float]:
    """Return a run of `take_turns` that has that many threads."""

    def limited(steps: int) -> float:
        with threads(count):
            return run(steps)

    return limited


def in_words(count: int) -> str:
    """Return a number of threads with its noun."""
    return f"{count} thread" if count == 1 else f"{count} threads"


def flops(T: int, B: int, D: int, H: int) -> int:
    """Count the additions and multiplications in the matrix products of a training step, without dx."""
    forward = 3 * H * (H + D)
    memory, weights = 3 * H * H, 3 * H * (H + D)
    return 2 * T * B * (forward + memory + weights) + 2 * B * 3 * H * K


def product_rate(backend: Backend, counts: list[int], n: int = 2048) -> dict[int, float]:
    """Return the GFLOP/s of a product of two large float32 matrices, by the number of threads."""
    a = backend.to_device(np.random.default_rng(0).random((n, n), dtype=np.float32))
    product = backend.empty((n, n), "float32")

    run = calls(lambda: backend.xp.matmul(a, a, out=product), lambda: backend.to_host(product[0]))
    times = take_turns({count: with_threads(count, run) for count in counts}, 7)
    return {count: 2 * n**3 / float(np.median(times[count])) / 1e6 for count in counts}


def prove_agreement(kinds: list[type[Baseline]], T: int, B: int, D: int, H: int, seed: int) -> Rows:
    """Return how far the baselines that share minigru's equations are from it: loss, gradients, and a step of Adam.

    All compute in float32; 1e-4 of a norm leaves room for its rounding, and none for another equation.

    Raises
    ------
    ValueError
        One of them differs by more.
    """
    params, (x, y) = initial(D, H, seed), make_batch(T, B, D, seed)
    ours, rows = Engine(params), []
    expected_loss, expected = ours.check(x, y)
    ours.step(x, y)
    after_a_step = dict(ours.parameters())
    for kind in kinds:
        if kind is Engine or not kind.same_equations:
            continue
        contestant = kind(params)
        batch = contestant.prepare(x, y)
        loss, grads = contestant.check(*batch)
        contestant.step(*batch)
        compared = {"loss": (np.array(loss), np.array(expected_loss))}
        compared |= {f"gradient of {name}": (grads[name], grad) for name, grad in expected.items()}
        compared |= {f"{name} after a step": (value, after_a_step[name]) for name, value in contestant.parameters()}
        errors = {what: relative(*pair) for what, pair in compared.items()}
        for what, error in errors.items():
            if not error < 1e-4:
                raise ValueError(f"{kind.name} is not minigru: its {what} is off by {error:.1e}; nothing was timed")
        gradients = max(error for what, error in errors.items() if what.startswith("gradient"))
        after = max(error for what, error in errors.items() if what.endswith("step"))
        rows.append({"name": kind.name, "loss": errors["loss"], "gradient": gradients, "parameters": after})
    return rows


def relative(value: np.ndarray, expected: np.ndarray) -> float:
    """Return the norm of the difference over the norm of what was expected; 0 where both are zero."""
    difference, norm = float(np.linalg.norm(value - expected)), float(np.linalg.norm(expected))
    return difference / norm if norm else difference


def time_steps(kinds: list[type[Baseline]], B: int, options: argparse.Namespace, rates: dict[int, float]) -> Rows:
    """Return a row for each contestant and thread count; ratios are medians over the rounds."""
    T, D, H = options.length, options.inputs, options.hidden_size
    params, (x, y) = initial(D, H, options.seed), make_batch(T, B, D, options.seed)
    runs, cores = {}, os.cpu_count() or 1
    for kind in kinds:
        contestant = kind(params)
        batch = contestant.prepare(x, y)
        for count in [cores] if kind.own_threads else options.threads:
            runs[kind.name, None if kind.own_threads else count] = with_threads(
                count, partial(contestant.seconds, x=batch[0], y=batch[1])
            )
    times = take_turns(runs, options.rounds)
    ours = min((key for key in times if key[0] == Engine.name), key=lambda key: np.median(times[key]))
    work = flops(T, B, D, H) / 1e6
    return [
        {
            "name": name,
            "threads": count,
            "B": B,
            **spread(values),
            "times_minigru": float(np.median(values / times[ours])),
            "share_of_product_rate": work / float(np.median(values)) / rates.get(count, max(rates.values())),
            "rounds": values.tolist(),
        }
        for (name, count), values in times.items()
    ]


def best(rows: Rows, name: str) -> dict[str, Any] | None:
    """Return the fastest row of a contestant."""
    return min((row for row in rows if row["name"] == name), key=lambda row: row["ms"], default=None)


def how_much_faster(rows: Rows, cores: int) -> Rows:
    """Return how many times faster minigru is than the others, medians over the rounds of one batch size."""

    def ratio(ours: dict[str, Any], other: dict[str, Any]) -> float:
        return float(np.median(np.array(other["rounds"]) / np.array(ours["rounds"])))

    found = []
    for ours in filter(None, {row["name"]: best(rows, row["name"]) for row in rows}.values()):
        if not ours["name"].startswith(Engine.name):
            continue
        for other in rows:
            fastest = other is best(rows, other["name"])
            if not other["name"].startswith(Engine.name) and (fastest or other["threads"] == cores):
                found.append({"minigru": ours, "other": other, "fastest": fastest, "times": ratio(ours, other)})
    return found


def profile(T: int, B: int, D: int, H: int, seconds: float = 1.0) -> dict[str, float]:
    """Return the milliseconds of a training step of minigru by what they are spent on."""
    recurrence, weights = "products of B rows: the recurrence", "products of T B rows: weight gradients"
    elementwise, rest = "elementwise steps, and the other layers", "Python between the calls, checks, copies"
    spent = dict.fromkeys((recurrence, weights, elementwise, "Adam"), 0.0)

    def watched(function: Callable[..., Any], kind: Callable[..., str]) -> Callable[..., Any]:
        def call(*args: Any, **kwargs: Any) -> Any:
            start = time.perf_counter()
            result = function(*args, **kwargs)
            spent[kind(*args, **kwargs)] += time.perf_counter() - start
            return result

        return call

    def product(a: np.ndarray, b: np.ndarray, out: np.ndarray) -> str:
        if np.shares_memory(out, engine.model.gradient):
            return weights
        cell = engine.model.cell
        recurrent = any(np.shares_memory(b, matrix) for matrix in (cell.vector, *cell._transposed))
        return recurrence if recurrent else elementwise

    numpy = get_backend("numpy")
    add = watched(np.add, lambda *_, out: elementwise)
    xp = SimpleNamespace(**{**vars(np), "matmul": watched(np.matmul, product), "add": add})
    kernels = {
        name: watched(function, lambda *_, name=name: "Adam" if name == "adam" else elementwise)
        for name, function in vars(numpy.kernels).items()
        if callable(function) and not name.startswith("_") and name != "Array"
    }
    engine, (x, y) = Engine(initial(D, H, 0), Backend("numpy", xp, SimpleNamespace(**kernels))), make_batch(T, B, D, 0)
    engine.seconds(3, x, y)
    steps = max(1, round(seconds / (engine.seconds(2, x, y) / 2)))
    spent.update(dict.fromkeys(spent, 0.0))
    whole = engine.seconds(steps, x, y)
    spent[rest] = whole - sum(spent.values())
    return {what: value / steps * 1e3 for what, value in spent.items()}


def profile_section(options: argparse.Namespace, rate: float) -> Rows:
    """Measure and print where the step goes, with one thread."""
    T, D, H = options.length, options.inputs, options.hidden_size
    with threads(1):
        rows = [{"B": B, **profile(T, B, D, H)} for B in options.batch]
    names = [name for name in rows[0] if name != "B"]
    cells = [
        [name, *(f"{row[name]:.2f} ({row[name] / (sum(row.values()) - row['B']):.0%})" for row in rows)]
        for name in names
    ]
    cells.append(["all", *(f"{sum(row.values()) - row['B']:.2f}" for row in rows)])
    cells.append(
        ["its products at the product rate", *(f"{flops(T, row['B'], D, H) / rate / 1e6:.2f}" for row in rows)]
    )
    head = ["ms (share of the step)", *(f"B={row['B']}" for row in rows)]
    table(f"Where minigru's step goes: T={T} D={D} H={H}, 1 thread, watched call by call.", head, cells)
    return rows


def cost(shapes: list[tuple[int, int, int, int]], options: argparse.Namespace, count: int) -> Rows:
    """Return the time of a training step of minigru for each (T, B, D, H)."""
    runs, backend = {}, get_backend(options.backend)
    for T, B, D, H in shapes:
        engine = Engine(initial(D, H, options.seed), backend)
        x, y = engine.prepare(*make_batch(T, B, D, options.seed))
        runs[T, B, D, H] = with_threads(count, partial(engine.seconds, x=x, y=y))
    times = take_turns(runs, max(3, options.rounds // 3))
    return [{"T": T, "B": B, "D": D, "H": H, **spread(times[T, B, D, H])} for T, B, D, H in shapes]


def count_parameters(D: int, H: int) -> int:
    """Return the number of parameters."""
    return 3 * H * (H + D + 1) + (H + 1) * K


def engine_bytes(T: int, B: int, D: int, H: int) -> int:
    """Return what the formulas in docs/engine.md give for a model in float32 that has been trained."""
    N = count_parameters(D, H)
    recurrent = 9 * T * B * H + T * B * (4 * D + 2) + 5 * B * H + 3 * H * H
    return 4 * (5 * N + recurrent + B * (2 * H + 6 * K + 1))


def peak_memory() -> int:
    """Return the most bytes of memory that this process has held at a time."""
    with contextlib.suppress(OSError):
        for line in Path("/proc/self/status").read_text().splitlines():
            if line.startswith("VmHWM"):
                return int(line.split()[1]) * 1024
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss  # in bytes on macOS, the one left


def measure_memory(T: int, B: int, D: int, H: int) -> dict[str, int]:
    """Return, in bytes, what NumPy has allocated for a model and its optimiser, and the peak of this process."""
    params, (x, y) = initial(D, H, 0), make_batch(T, B, D, 0)
    before = peak_memory()
    tracemalloc.start()
    engine = Engine(params)
    engine.seconds(3, x, y)
    arrays = tracemalloc.DomainFilter(inclusive=True, domain=np.lib.tracemalloc_domain)
    allocated = sum(trace.size for trace in tracemalloc.take_snapshot().filter_traces([arrays]).traces)
    tracemalloc.stop()
    return {"formula": engine_bytes(T, B, D, H), "allocated": allocated, "before": before, "peak": peak_memory()}


def memory(options: argparse.Namespace) -> Rows:
    """Return the memory that training takes at every batch size, each in a process of its own."""
    rows, fresh = [], multiprocessing.get_context("spawn")
    for B in options.batch:
        shape = (options.length, B, options.inputs, options.hidden_size)
        with ProcessPoolExecutor(1, mp_context=fresh) as pool:
            rows.append({"B": B, **pool.submit(measure_memory, *shape).result()})
    return rows


def inference(kinds: list[type[Baseline]], options: argparse.Namespace) -> Rows:
    """Return how many images a second are named, one at a time and 10,000 at once."""
    T, D, H = options.length, options.inputs, options.hidden_size
    rows = []
    for B in (1, 10_000):
        x, _ = make_batch(T, B, D, options.seed)
        runs = {}
        for kind in kinds:
            contestant = kind(initial(D, H, options.seed))
            if hasattr(contestant, "predict"):
                for count in options.threads:
                    runs[kind.name, count] = with_threads(count, calls(partial(contestant.predict, x)))
        times = take_turns(runs, max(3, options.rounds // 3))
        for (name, count), values in times.items():
            rows.append({"name": name, "threads": count, "B": B, "images_per_second": B / np.median(values) * 1e3})
    return rows


def allreduce(job: RankJob, elements: int, rounds: int) -> float:
    """Return the milliseconds of one sum over the ranks."""
    sums = 500
    return float(np.median([job.ask(sums=sums, elements=elements) / sums * 1e3 for _ in range(rounds)]))


def model_of_ranks(
    B: int, ranks: int, computing: dict[int, float], start_up: float, per_element: float, N: int
) -> float:
    """Return the milliseconds of a training step that a simple model expects; see docs/scaling.md.

    The largest share is computed as measured in one process. The sum takes 2 log2(ranks) messages one after another,
    and every rank sends and receives 2 (ranks - 1) / ranks times the gradient (Rabenseifner 2004).
    """
    share = -(-B // ranks)
    sizes = sorted(computing)
    compute = float(np.interp(share, sizes, [computing[size] for size in sizes]))
    return compute + 2 * math.log2(ranks) * start_up + 2 * (ranks - 1) / ranks * N * per_element


def scaling(job: RankJob, options: argparse.Namespace) -> dict[str, Any]:
    """Return what a rank computes by its share, what a sum costs, and what the model makes of both."""
    T, D, H = options.length, options.inputs, options.hidden_size
    largest = 8 * max(options.batch)
    shares = [2**power for power in range(largest.bit_length())]
    rows = cost([(T, b, D, H) for b in shares], options, 1)
    computing = {row["B"]: row["ms"] for row in rows}
    N = count_parameters(D, H) + 2
    sums = {elements: allreduce(job, elements, options.rounds) for elements in (1, N)}
    start_up = sums[1] / (2 * math.log2(job.ranks))
    per_element = (sums[N] - sums[1]) / (2 * (job.ranks - 1) / job.ranks * N)
    model = [
        {"B": B, "ranks": ranks, "ms": model_of_ranks(B, ranks, computing, start_up, per_element, N)}
        for B in sorted({*options.batch, largest})
        for ranks in sorted({1, job.ranks, 8, 64, 1024})
    ]
    return {"computing": rows, "sums": [{"elements": n, "ms": ms} for n, ms in sums.items()], "model": model}


def table(title: str, head: list[str], rows: list[list[str]]) -> None:
    """Print a table in Markdown, its columns aligned for the eye as well."""
    widths = [max(len(cell) for cell in column) for column in zip(head, *rows, strict=True)]
    print(f"\n{title}\n")
    for cells in (head, ["-" * widths[0], *("-" * (width - 1) + ":" for width in widths[1:])], *rows):
        aligned = [cells[0].ljust(widths[0]), *(c.rjust(w) for c, w in zip(cells[1:], widths[1:], strict=True))]
        print(f"| {' | '.join(aligned)} |")
    sys.stdout.flush()


def main() -> int:
    """Measure, and print each section as soon as it is there."""
    options = parse_args()
    T, D, H = options.length, options.inputs, options.hidden_size
    backend = get_backend(options.backend)
    found: dict[str, Any] = {"machine": machine() | card(backend), "shape": {"T": T, "D": D, "H": H}}
    about = found["machine"]
    print(f"{about['processor']}, {about['cores']} cores, {about['blas']}")
    print(", ".join(f"{name} {version}" for name, version in about["versions"].items()))
    kinds: list[type[Baseline]]
    if options.backend == "cupy":
        print(f"{about['gpu']}, CUDA {about['cuda']['driver']} (driver), {about['cuda']['runtime']} (runtime)")
        kinds = [*gpu_engines(backend), *torch_baselines("cuda")]
        if len(kinds) < 6:
            print("torch is not installed, or sees no GPU, and is left out")
    else:
        kinds = [Engine, *torch_baselines(), *jax_baselines(), Reference]
        if len(kinds) < 5:
            print('torch or jax is not installed and left out: pip install -e ".[bench]" brings both')
    with contextlib.ExitStack() as stack, cli.exit_on(1, ValueError, RuntimeError, OSError):
        job = None
        if options.ranks > 1 and {"steps", "ranks"} & set(options.only):
            try:
                job = stack.enter_context(contextlib.closing(RankJob(options.ranks)))
                kinds.insert(1, several_ranks(job))
            except FileNotFoundError as error:
                print(f'{error}, so several ranks are left out: pip install -e ".[mpi]" brings both')
        counts = [1] if options.backend == "cupy" else sorted({1, os.cpu_count() or 1})
        found["product_gflops"] = product_rate(backend, counts)
        rates = ", ".join(f"{rate:.0f} with {in_words(count)}" for count, rate in found["product_gflops"].items())
        print(f"GFLOP/s of a product of two 2048x2048 matrices: {rates}")
        if "steps" in options.only:
            found |= steps_section(kinds, options, found["product_gflops"])
        if "profile" in options.only:
            found["profile"] = profile_section(options, found["product_gflops"][1])
        if "length" in options.only:
            rows = found["length"] = cost([(t, 32, D, H) for t in (28, 56, 112, 196, 392, 784)], options, 1)
            cells = [[f"{r['T']}", f"{r['ms']:.2f}", f"{r['ms'] / r['T'] * 1e3:.0f}"] for r in rows]
            table(f"Cost against T: minigru, B=32 D={D} H={H}, 1 thread.", ["T", "ms a step", "µs / T"], cells)
        if "width" in options.only:
            rows = found["width"] = cost([(T, 32, D, h) for h in (32, 64, 128, 256, 512)], options, 1)
            cells = [[f"{r['H']}", f"{r['ms']:.2f}", f"{flops(T, 32, D, r['H']) / r['ms'] / 1e6:.0f}"] for r in rows]
            table(f"Cost against H: minigru, T={T} B=32 D={D}, 1 thread.", ["H", "ms a step", "GFLOP/s"], cells)
        if "memory" in options.only:
            rows = found["memory"] = memory(options)
            cells = [
                [f"{r['B']}", *(f"{r[n] / 2**20:.1f}" for n in ("formula", "allocated", "before", "peak"))]
                for r in rows
            ]
            head = ["B", "formula", "allocated", "process before", "peak of process"]
            table(f"Memory of training: MiB, T={T} D={D} H={H}, float32.", head, cells)
        if "inference" in options.only:
            rows = found["inference"] = inference(kinds, options)
            cells = [[r["name"], f"{r['threads']}", f"{r['B']:,}", f"{r['images_per_second']:,.0f}"] for r in rows]
            table(f"Inference: T={T} D={D} H={H}.", ["", "threads", "batch", "images/s"], cells)
        if "ranks" in options.only and job is not None:
            found["ranks"] = ranks_section(job, options)
        if options.json:
            replace_file(options.json, lambda file: file.write((json.dumps(found, indent=1) + "\n").encode()))
        if options.plot:
            shown = {
                B: [best(rows, name) for name in {row["name"]: 0 for row in rows}]
                for B, rows in by_batch(found["steps"])
            }
            figure = step_times(shown, about.get("gpu") or f"{about['processor']}, {about['cores']} cores")
            replace_file(options.plot, lambda file: figure.savefig(file, format="png"))
    return 0


def by_batch(rows: Rows) -> list[tuple[int, Rows]]:
    """Return the rows of each batch size."""
    return [(B, [row for row in rows if row["B"] == B]) for B in dict.fromkeys(row["B"] for row in rows)]


def steps_section(kinds: list[type[Baseline]], options: argparse.Namespace, rates: dict[int, float]) -> dict[str, Any]:
    """Prove that the baselines agree, time their training steps, and print both."""
    T, D, H, cores = options.length, options.inputs, options.hidden_size, os.cpu_count() or 1
    agreement = prove_agreement(kinds, T, min(options.batch), D, H, options.seed)
    cells = [[row["name"], *(f"{row[what]:.0e}" for what in ("loss", "gradient", "parameters"))] for row in agreement]
    head = ["", "loss", "worst gradient", "worst parameter after a step"]
    table("Same equations as minigru: relative difference.", head, cells)
    steps, ratios = [], []
    for B in options.batch:
        rows = time_steps(kinds, B, options, rates)
        steps += rows
        cells = [
            [
                row["name"],
                "own" if row["threads"] is None else str(row["threads"]),
                f"{row['ms']:.2f}",
                f"{row['low']:.2f} to {row['high']:.2f}",
                f"{row['times_minigru']:.2f}",
                f"{row['share_of_product_rate']:.0%}",
            ]
            for row in rows
        ]
        head = ["", "threads", "ms a step", "quartiles", "x minigru", "of the product rate"]
        table(f"Training step: B={B} T={T} D={D} H={H}, {options.rounds} rounds.", head, cells)
        ratios += [{"B": B, **found} for found in how_much_faster(rows, cores)]
    print()
    for each in ratios:
        ours, other = each["minigru"], each["other"]
        count = in_words(other["threads"]) if other["threads"] else "its own threads"
        mark = ", its best" if each["fastest"] else ""
        print(f"B={each['B']}: {ours['name']} is {each['times']:.2f}x as fast as {other['name']} ({count}{mark})")
    sys.stdout.flush()
    return {"agreement": agreement, "steps": steps}


def ranks_section(job: RankJob, options: argparse.Namespace) -> dict[str, Any]:
    """Measure and model the ranks, and print both."""
    found = scaling(job, options)
    shape = f"T={options.length} D={options.inputs} H={options.hidden_size}"
    cells = [[f"{row['B']}", f"{row['ms']:.2f}", f"{row['ms'] / row['B'] * 1e3:.0f}"] for row in found["computing"]]
    table(f"What one rank computes: {shape}, 1 thread.", ["share", "ms a step", "µs a sample"], cells)
    cells = [[f"{row['elements']:,}", f"{row['ms'] * 1e3:.0f}"] for row in found["sums"]]
    table(f"The sum over {job.ranks} ranks on this machine.", ["float32", "µs"], cells)
    alone = {row["B"]: row["ms"] for row in found["model"] if row["ranks"] == 1}
    cells = [[f"{r['B']}", f"{r['ranks']}", f"{r['ms']:.2f}", f"{alone[r['B']] / r['ms']:.1f}"] for r in found["model"]]
    table(
        "A model, not a measurement: the training step on many ranks.", ["B", "ranks", "ms a step", "x faster"], cells
    )
    return found


if __name__ == "__main__":
    cli.run(main)
