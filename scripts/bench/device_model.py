"""Estimate how long a GPU takes for a training step of minigru: A MODEL, NOT A MEASUREMENT.

It knows the kernels of the GRU (docs/gpu.md) and what NVIDIA publishes about four GPUs, and it assumes what it lists
under the table. T = D = 28, H = 128, K = 10, float32. A cell is a range: with the first number, a load that all threads
of a warp share takes one cycle, with the second as many as four loads of a number per thread. The time of the host is
not in it: a step takes as long as the slower of the two.
"""

from __future__ import annotations

import itertools
from typing import NamedTuple

from report import table

from minigru import cli

T, D, H, K = 28, 28, 128, 10
EPOCHS, STEPS, IMAGES, TESTED = 10, 1875, 10_000, 1000  # of MNIST with B = 32; test images, and those at a time
ROWS, SLICES, WARPS, SAMPLES = 16, 8, 16, 4  # of the persistent kernel; SAMPLES is the most of a block
ARRAYS = 8  # (T, B, H), which the persistent kernel reads or writes
SIDE, DEPTH, TILE_WARPS = 32, 32, 8  # of products.cu: rows and columns of a tile, terms at a time, warps of a block
MOST_ROWS, MOST_SAMPLES = 4096, 1024  # T B, and B of the linear layer, up to which products.cu computes the gradients
SCHEDULERS = 4  # of a multiprocessor, each of which starts one instruction of a warp per cycle
BARRIER, SHARED, DEPENDENT, TANH = 30, 30, 4, 60  # cycles until the next instruction can go on
L2_BYTES, TAGS = 64, 4  # per multiprocessor and cycle: bytes from the L2 cache, and cache lines looked up in the L1
START = 2e-6  # seconds
CUBLAS_SIDE, CUBLAS_TERMS, CUBLAS_SHARE = 64, 256, 0.7
ASSUMPTIONS = f"""
Published: multiprocessors, lanes, float32 rate, bandwidth. The clock is the one that gives the float32 rate.
Counted: multiply-adds, additions, accesses of shared memory, blocks, samples per block, rounds of blocks, kernels.

Assumed:

- The clock is the published one throughout, and no other work shares the GPU.
- A time step of the persistent kernel takes a chain of latencies and, for each sample of the block, the longest of:
  multiply-adds and additions (one per lane and cycle), accesses of shared memory, instructions (4 warps per cycle).
- The chain has 4 barriers of {BARRIER} cycles, 4 loads from shared memory of {SHARED}, and 2 sums of {SLICES} terms
  with {DEPENDENT} cycles per addition. Forward adds 2 tanh of {TANH} cycles, backward 10 operations of {DEPENDENT}.
- Shared memory delivers one number per thread of a warp and cycle. The persistent kernel's loads of four numbers that
  all threads of a warp share take 1 cycle at best and 4 at worst.
- A block of the persistent kernel first loads its weights: forward {L2_BYTES} bytes per cycle; backward neighbouring
  threads read from different cache lines, of which {TAGS} are looked up per cycle.
- The persistent kernel reads or writes its arrays once at the full bandwidth, behind the arithmetic.
- A product of at most {MOST_ROWS:,} rows is one of products.cu, one block per multiprocessor at a time, whose loads of
  two numbers, of which a warp needs 32 or fewer, take one cycle. A larger one is cuBLAS's: blocks of 64 by 64 over at
  most 256 terms, at 70 % of the rate of the multiprocessors that have one.
- Every kernel takes {START * 1e6:g} µs until it starts and its first load arrives; one without a product, no more.
- MNIST is {EPOCHS} times {STEPS:,} steps, and the forward pass of {IMAGES:,} images, {TESTED:,} at a time.
"""


class Card(NamedTuple):
    """What NVIDIA publishes about a GPU: multiprocessors, float32 lanes of each, 10^12 operations and 10^9 bytes/s."""

    processors: int
    lanes: int
    teraflops: float
    gigabytes: float

    def seconds(self, cycles: float, arrays: float = 0) -> float:
        """Return the seconds of that many cycles, or of reading or writing so many numbers if that takes longer."""
        clock = self.teraflops * 1e12 / (2 * self.lanes * self.processors)  # two operations per lane and cycle
        return max(cycles / clock, 4 * arrays / (self.gigabytes * 1e9))


CARDS = {  # NVIDIA's data sheets of the H100, the A100 (40 GB) and the T4, and its "Ada GPU Architecture"
    "H100 SXM": Card(132, 128, 67, 3350),
    "A100 SXM": Card(108, 64, 19.5, 1555),
    "RTX 4090": Card(128, 128, 82.6, 1008),
    "T4": Card(40, 64, 8.1, 320),
}


def recurrence(card: Card, B: int, load: int, forward: bool) -> float:
    """Return the seconds of a persistent kernel; `load` is the cycles of a load that all threads of a warp share."""
    rounds = -(-B // (card.processors * SAMPLES))
    samples = -(-B // (card.processors * rounds))
    arithmetic = 3 * H * (H + SLICES)  # three products with (H, H), and their sums over the slices
    loads = (2 if forward else 3) * WARPS * ROWS / 4  # forward two products have the same left factor
    sums = 2 * 3 * SLICES * H / 32  # stored once and loaded once
    cycles = max(arithmetic / card.lanes, loads * load + sums, (arithmetic / 32 + loads + sums) / SCHEDULERS)
    chain = 4 * (BARRIER + SHARED) + 2 * SLICES * DEPENDENT + (2 * TANH if forward else 10 * DEPENDENT)
    weights = 3 * H * H * (4 / L2_BYTES if forward else 1 / TAGS)
    return card.seconds(rounds * (weights + T * (chain + samples * cycles)), ARRAYS * T * B * H)


def product(card: Card, rows: int, terms: int, columns: int, times: int = 1) -> float:
    """Return the seconds of a kernel of products.cu that computes so many products."""
    blocks = times * -(-rows // SIDE) * -(-columns // SIDE)
    accesses = 2 * TILE_WARPS  # per term: two loads of two numbers for each warp, of which its threads share most
    cycles = DEPTH * max(SIDE * SIDE / card.lanes, accesses, (SIDE * SIDE / 32 + accesses) / SCHEDULERS)
    cycles += 2 * SIDE * DEPTH / 32 + 2 * BARRIER + SHARED  # both factors are stored between two barriers
    return card.seconds(-(-blocks // card.processors) * -(-terms // DEPTH) * cycles)


def cublas(card: Card, rows: int, terms: int, columns: int) -> float:
    """Return the seconds of a product of cuBLAS."""
    blocks = -(-rows // CUBLAS_SIDE) * -(-columns // CUBLAS_SIDE) * -(-terms // CUBLAS_TERMS)
    cycles = CUBLAS_SIDE**2 * min(terms, CUBLAS_TERMS) / (card.lanes * CUBLAS_SHARE)
    return card.seconds(-(-blocks // card.processors) * cycles, rows * terms + terms * columns + rows * columns)


def kernels(card: Card, B: int, load: int) -> list[tuple[str, float]]:
    """Return each kernel of a training step with its seconds, without its start."""
    if T * B <= MOST_ROWS:
        inputs = [("inputs", product(card, T * B, D + 1, H, 3))]
        gradients = [("weight gradients", product(card, H + D + 1, T * B, H, 3))]
    else:
        inputs = [("[x, 1]", 0.0)] * 2 + [("inputs", cublas(card, T * B, D + 1, H))] * 3
        gradients = [("weight gradients", cublas(card, rows, T * B, H)) for rows in 3 * (H, D + 1)]
    if B <= MOST_SAMPLES:
        linear = [("linear layer, backward", product(card, H + 1, B, K) + product(card, B, K, H))]
    else:
        products = cublas(card, B, K, H), cublas(card, H, B, K), 0.0  # dx, dW and the sum that is db
        linear = [("linear layer, backward", seconds) for seconds in products]
    return [
        *[("gather images", 0.0), ("gather labels", 0.0), *inputs],
        *[("recurrence", recurrence(card, B, load, forward=True)), ("linear layer", product(card, B, H + 1, K))],
        *[("loss", 0.0), ("keep the loss", 0.0), *linear],
        *[("recurrence, backward", recurrence(card, B, load, forward=False)), *gradients, ("Adam", 0.0)],
    ]


def step(card: Card, B: int, load: int) -> float:
    """Return the seconds of a training step."""
    return sum(START + seconds for _, seconds in kernels(card, B, load))


def mnist(card: Card, load: int) -> float:
    """Return the seconds of all epochs of MNIST."""
    evaluated = itertools.takewhile(lambda kernel: kernel[0] != "loss", kernels(card, TESTED, load))
    test = IMAGES / TESTED * sum(START + seconds for _, seconds in evaluated)
    return EPOCHS * (STEPS * step(card, 32, load) + test)


def main() -> int:
    """Print the table and the assumptions."""
    parser = cli.Parser(description=__doc__)
    batch, said = cli.whole("--batch"), "batch sizes (default: 32 128 512 4096)"
    parser.add_argument("--batch", type=batch, nargs="+", default=[32, 128, 512, 4096], metavar="B", help=said)
    options = parser.parse_args()
    cells = []
    for name, card in CARDS.items():
        times = [[step(card, B, load) * 1e6 for load in (1, 4)] for B in options.batch]
        cells.append([name, *("{:,.0f} to {:,.0f}".format(*both) for both in times)])
        cells[-1].append("{:.1f} to {:.1f}".format(*(mnist(card, load) for load in (1, 4))))
    head = ["device time in µs", *(f"B={B:,}" for B in options.batch), f"{EPOCHS} epochs of MNIST, B=32 (s)"]
    table(f"A training step, T={T} D={D} H={H}, float32: a model, not a measurement.", head, cells)
    print(ASSUMPTIONS, end="")
    return 0


if __name__ == "__main__":
    cli.run(main)
