"""Time minigru beside its alternatives, on this machine.

Every baseline takes whole training steps (forward, loss, backward, Adam) on batches of MNIST's shape: minigru in one
process and in several, reference.py, torch.nn.GRU (another variant: its reset gate acts after the product), the
article's cell in a loop of PyTorch, also under torch.compile, jax.lax.scan under jit, and Keras 3's GRU with JAX and
PyTorch. ONNX Runtime takes part in inference. Before anything is timed, each baseline with minigru's equations must
agree with minigru in loss, gradients and a step of Adam. The baselines are then timed in rounds. Each has a process of
its own, which is pinned to its cores: once to one core, once to all. On a GPU (--backend cupy) the baselines are
minigru, minigru without its persistent kernel, minigru without any kernel of its own, and those of PyTorch, all in one
process. Other programs that run on the machine spoil the figures.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib.util
import json
from collections.abc import Callable
from functools import partial
from typing import Any

from baselines import Baseline, gpu_engines
from costs import length_section, width_section
from inference import inference_section
from machine import cores, gpu, machine, product_rate
from ram import memory_section
from rank_baseline import RankJob, several_ranks
from ranks import ranks_section
from report import in_words, who_is_ahead
from runners import Apart, Here
from sources import SOURCES, installed
from step_profile import profile_section
from steps import draw, steps_section

from minigru import cli
from minigru.engine.backend import Backend, BackendUnavailable, get_backend
from minigru.training.config import add_option
from minigru.training.files import replace_file

ON_GPU = ("steps", "length", "width")
SECTIONS = ("steps", "profile", "length", "width", "memory", "inference", "ranks")
EPILOG = """
sections:
  steps      the training step of every baseline, at every --batch
  profile    where minigru's step goes, and what its products alone would take
  length     the cost against the number of steps T, 28 to 784
  width      the cost against the number of hidden units H
  memory     the RAM of training beside the formula in docs/engine.md
  inference  images per second, one at a time and 10,000 at once
  ranks      what one rank computes, and what the sum over the ranks costs

examples:
  python scripts/bench/bench.py                                 everything, in about eight minutes
  python scripts/bench/bench.py --only steps --baselines jax    one section, and two baselines
  python scripts/bench/bench.py --json out.json --plot out.png  write the figures to files
  python scripts/bench/bench.py --backend cupy                  on an NVIDIA GPU: steps, length and width
"""


def parse_args() -> argparse.Namespace:
    """Return the options."""
    parser = cli.Parser(description=__doc__, epilog=EPILOG)
    whole, output = cli.whole, cli.output_file
    add = parser.add_argument
    add_option(parser, "backend")
    add("--batch", type=whole("--batch"), nargs="+", metavar="B", help="batch sizes (32 128 512, and 4096 on a GPU)")
    add("--length", type=whole("--length"), default=28, metavar="T", help="steps of a sequence (28)")
    add("--inputs", type=whole("--inputs"), default=28, metavar="D", help="inputs per step (28)")
    add_option(parser, "hidden_size")
    add("--rounds", type=whole("--rounds"), default=9, metavar="N", help="rounds in which every baseline is timed (9)")
    add("--cores", type=whole("--cores"), nargs="+", metavar="N", help="cores that a baseline is given (1, and all)")
    add("--baselines", nargs="+", choices=[*SOURCES], metavar="NAME", help=f"of {', '.join(SOURCES)} (all)")
    add("--ranks", type=whole("--ranks", 0), metavar="N", help="processes under mpiexec (2); 0 for none")
    add("--only", nargs="+", choices=SECTIONS, metavar="SECTION", help="sections to run (all)")
    add_option(parser, "seed", help="seed of the weights and the batches")
    add("--json", type=output, metavar="FILE", help="write all figures to this file")
    add("--plot", type=output, metavar="FILE", help="draw the training steps to this PNG file")
    options = parser.parse_args()
    if options.ranks == 1:
        parser.error(f"--ranks is {options.ranks}; expected at least 2, or 0 for none")
    if options.ranks == 0 and options.only and "ranks" in options.only:
        parser.error("--only ranks needs --ranks 2 or more")
    on_gpu = options.backend == "cupy"
    if on_gpu:
        with cli.exit_on(2, BackendUnavailable):
            get_backend("cupy")
        if options.cores or options.ranks or options.baselines:
            parser.error("--cores, --ranks and --baselines are about the CPU; leave them out with --backend cupy")
        foreign = [section for section in options.only or () if section not in ON_GPU]
        if foreign:
            parser.error(f"--only {foreign[0]} measures the CPU; expected {', '.join(ON_GPU)} with --backend cupy")
        options.ranks = 0
    options.ranks = 2 if options.ranks is None else options.ranks
    options.only = options.only or (ON_GPU if on_gpu else SECTIONS)
    options.batch = options.batch or [32, 128, 512, *([4096] if on_gpu else [])]
    if options.plot and "steps" not in options.only:
        parser.error("--plot draws the section steps, which --only leaves out")
    too_many = max(options.cores or [1])
    if too_many > cores():
        parser.error(f"--cores has {too_many}; expected at most {cores()}, the cores of this machine")
    options.cores = sorted(set(options.cores or (1, cores())))
    options.baselines = list(dict.fromkeys(["minigru", *(options.baselines or SOURCES)]))
    return options


def start(options: argparse.Namespace, backend: Backend, stack: contextlib.ExitStack) -> list[Any]:
    """Return the baselines in one process, started; on the CPU once for each number of cores."""
    if backend.name != "cupy":
        sources = installed(options.baselines).values()
        runners = [Apart(source, count) for source in sources for count in options.cores]
        for runner in runners:
            stack.callback(runner.close)
        for runner in runners:
            runner.wait()
        return runners
    kinds: list[type[Baseline]] = [*gpu_engines(backend)]
    if importlib.util.find_spec("torch"):
        import torch_baselines

        kinds += torch_baselines.on_gpu()
    if len(kinds) < 6:
        print("torch is not installed, or sees no GPU, and is left out")
    return [Here(kind) for kind in kinds]


def main() -> int:
    """Measure, and print each section as soon as it is measured."""
    options = parse_args()
    backend = get_backend(options.backend)
    about = machine() | gpu(backend)
    print(f"{about['processor']}, {about['cores']} cores, {about['blas']}")
    print(", ".join(f"{name} {version}" for name, version in about["versions"].items()))
    if backend.name == "cupy":
        print(f"{about['gpu']}, CUDA {about['cuda']['driver']} (driver), {about['cuda']['runtime']} (runtime)")
    with contextlib.ExitStack() as stack, cli.exit_on(1, ValueError, RuntimeError, OSError):
        wanted = {"steps", "inference"} & set(options.only)
        runners = start(options, backend, stack) if wanted else []
        job = None
        if options.ranks and {"steps", "ranks"} & set(options.only):
            try:
                job = stack.enter_context(contextlib.closing(RankJob(options.ranks)))
                runners.insert(len(options.cores), Here(several_ranks(job), min(options.ranks, cores())))
            except FileNotFoundError as error:
                print(f'{error}, so several ranks are left out: pip install -e ".[mpi]" installs both')
        counts = [1] if backend.name == "cupy" else sorted({1, cores()})
        rates = product_rate(backend, counts, rounds=min(7, options.rounds))
        said = ", ".join(f"{rate:.0f} with {in_words(count)}" for count, rate in rates.items())
        print(f"GFLOP/s of a product of two 2048x2048 matrices: {said}")
        shape = {"T": options.length, "D": options.inputs, "H": options.hidden_size}
        found: dict[str, Any] = {"machine": about, "shape": shape, "product_gflops": rates}
        sections: dict[str, Callable[[], dict[str, Any]]] = {
            "steps": lambda: steps_section(runners, options, rates),
            "profile": lambda: profile_section(options, rates[1]),
            "length": lambda: length_section(options),
            "width": lambda: width_section(options),
            "memory": lambda: memory_section(options),
            "inference": lambda: inference_section(runners, options),
            "ranks": lambda: ranks_section(job, options) if job else {},
        }
        for name in SECTIONS:
            if name in options.only:
                found |= sections[name]()
        who_is_ahead(found.get("steps", []), found.get("inference", []))
        if options.json:
            replace_file(options.json, lambda file: file.write((json.dumps(found, indent=1) + "\n").encode()))
        if options.plot:
            cli.drawn(lambda: replace_file(options.plot, partial(draw(found["steps"], about).savefig, format="png")))
    return 0


if __name__ == "__main__":
    cli.run(main)
