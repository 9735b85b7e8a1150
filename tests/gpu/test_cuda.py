"""The CUDA C++ sources: right in whatever order threads run, each barrier needed, accepted by NVIDIA's compiler."""

from __future__ import annotations

import ctypes
import re
from contextlib import contextmanager
from functools import cache
from importlib import resources
from importlib.util import find_spec
from pathlib import Path

import cuda_on_cpu
import numpy as np
import pytest
from helpers import relative

import minigru.engine.kernels
from minigru import reference

needs_compiler = pytest.mark.skipif(cuda_on_cpu.missing is not None, reason=str(cuda_on_cpu.missing))
ORDERS = range(4)
TILE, TILES = ("-DROWS=16", "-DCOLUMNS=2"), ("-DTHREADS=256", "-DSIDE=32")
GRU, PRODUCTS, LOSS, ADAM = (
    resources.files(minigru.engine.kernels).joinpath(f"{name}.cu").read_text("utf-8")
    for name in ("gru_persistent", "products", "softmax_cross_entropy", "adam")
)

# Faults are planted wherever the structure of the code matches a pattern; @ is true while this fault is switched on.
TAGGED = r"(?=[^;\n]*; *// \(d?[A-Z])"
FAULTS = {
    "a condition is negated": (r"if \(((?:[^()]|\([^()]*\))+)\)", r"if (@!=bool(\1))"),
    "a guard is missing": (r" && (\w+ < [A-Z])(?=[^?\n]*;)", r" && (@||\1)"),
    "a barrier is missing": (r"__syncthreads\(\)", "@?(void)0:__syncthreads()"),
    "a loop starts one later": (r"(for \(int \w+ = [^;]+);", r"\1+@;"),
    "the steps start one later": (r"\((T - 1)\)", r"(\1+@)"),
    "a matrix is transposed": (r", (H|1), (H|1)\);", r",@?\2:\1,@?\1:\2);"),
    "padding is not zero": (r"(?<=\] = )0;", r"@?NAN:0;"),
    "the tile of another thread": (r"\bthreadIdx\.x(?= [/%] (?!WIDTH))", "(@?threadIdx.x^48:threadIdx.x)"),
    "a factor is missing": (r" ([*/]) (\w+\b(?![(\[])|\w+\[\w+\]|\([^()]*\))" + TAGGED, r" \1 (@?1:\2)"),
    "a term has the wrong sign": (r" ([+-]) " + TAGGED, r" \1 (1-2*@)*"),
    "a result is doubled": (r"(= |return )([^=;\n]*)(?=; *// \(d?[A-Z])", r"\1(1+@)*(\2)"),
}
# In the products: threads that swap whole tiles, and another block that writes the same [x, 1].
HARMLESS = ("the tile of another thread", "if (keeps)")


def with_faults(code):
    """Return the source with every fault planted and switched off, and what each of them is."""
    planted = []
    for what, (pattern, replacement) in FAULTS.items():

        def plant(match, what=what, replacement=replacement):
            planted.append(f"{what}, line {match.string.count(chr(10), 0, match.start()) + 1}, {match[0].strip()}")
            return match.expand(replacement.replace("@", f"(fault=={len(planted) - 1})"))

        code = re.sub(pattern, plant, code)
    return 'extern "C" { int fault = -1; }\n' + code, planted


def guarded(array, guards):
    """Return a copy that lies between two stretches of NaN, which are added to `guards`."""
    margin = 2 * array.size + 10_000
    whole = np.full(array.size + 2 * margin, np.nan)
    guards += [whole[:margin], whole[-margin:]]
    inside = whole[margin:-margin].reshape(array.shape)
    inside[...] = array
    return inside


def gru(T, B, D, H):
    """Return arguments of a GRU, what the reference makes of them, and the gradients of its weight blocks."""
    rng = np.random.default_rng(0)
    p = {f"W_{k}": rng.standard_normal((H + D, H)) / np.sqrt(H) for k in "urc"}
    p |= {f"b_{k}": rng.standard_normal(H) for k in "urc"}
    x, c_0, dstates, dlast = (rng.standard_normal(s) for s in [(T, B, D), (B, H), (T, B, H), (B, H)])
    states, caches = reference.gru_forward(x, c_0, p)
    total = dstates.copy()
    total[-1] += dlast
    _, dc_0, grads = reference.gru_backward(total, caches)
    W, dW = (np.stack([np.vstack([of[f"W_{k}"], of[f"b_{k}"]]) for k in "urc"]) for of in (p, grads))
    gates = np.array([[cache[k] for cache in caches] for k in (2, 3, 4)])
    return (W, x, c_0, dlast, dstates), {"states": states, "gates": gates, "dc_0": dc_0, "dW": dW}


def worst_of_gru(code, H=33, B=5, T=3, samples=2):
    """Return a function of (order, fault): the largest relative error of all that the two kernels write.

    Errors are relative to the reference in float64. The error is NaN if an element was not written, or if an access was
    outside of its array.
    """
    (W, x, c_0, dlast, dstates), expected = gru(T, B, 2, H)
    kernels = cuda_on_cpu.RawModule(code, ("-DREAL=double", "-DWIDTH=64", f"-DSAMPLES={samples}", *TILE))

    def worst(order=0, fault=-1):
        guards = []
        gates = guarded(x @ W[:, None, H:-1] + W[:, None, -1:], guards)
        c, rc, dz, dc = (guarded(np.full(s, np.nan), guards) for s in [(T + 1, B, H), (T, B, H), (3, T, B, H), (B, H)])
        sizes, launch = (*map(np.int32, (T, B, 2, H)), np.int64(T * B * H)), ((-(-B // samples),), (128,))
        W_, c_0_, dlast_, dstates_ = (guarded(array, guards) for array in (W, c_0, dlast, dstates))
        with switched(kernels, order, fault):
            kernels.get_function("gru_forward")(*launch, (W_, c_0_, c, gates, rc, *sizes))
            kernels.get_function("gru_backward")(*launch, (W_, c, gates, rc, dlast_, dstates_, dz, dc, *sizes))
        found = {"states": c[1:], "gates": gates, "dc_0": dc, "db": dz.sum((1, 2)), "rc": rc}
        wanted = {**expected, "db": expected["dW"][:, -1], "rc": expected["gates"][1] * c[:-1]}
        return worst_error(found, wanted, guards)

    return worst


def worst_of_products(code, T=2, B=33, D=2, H=34, K=3):
    """Return the same of the products: a GRU in two launches per time step, and a linear layer on its last memory."""
    (W, x, c_0, dlast, dstates), expected = gru(T, B, D, H)
    rng = np.random.default_rng(1)
    block, dy = rng.standard_normal((H + 1, K)), rng.standard_normal((B, K))
    y, cache = reference.linear(expected["states"][-1], {"W": block[:-1], "b": block[-1]})
    dh, grads = reference.linear_backward(dy, cache)
    dblock, x1 = np.vstack([grads["W"], grads["b"]]), np.dstack([x, np.ones((T, B))])
    expected |= {"y": y, "dh": dh, "dblock": dblock, "x1": x1}
    kernels = cuda_on_cpu.RawModule(code, ("-DREAL=double", *TILES))

    def tiles(rows, columns):
        return -(-rows // 32) * -(-columns // 32)

    def run(name, tiles, *arguments):
        arguments = (np.int32(a) if isinstance(a, int) else a for a in arguments)
        kernels.get_function(name)((tiles,), (256,), tuple(arguments))

    def worst(order=0, fault=-1):
        guards = []
        W_, x_, dlast_, dstates_, block_, dy_ = (guarded(a, guards) for a in (W, x, dlast, dstates, block, dy))
        shapes = [(T, B, D + 1), (3, T, B, H), (T, B, H), (3, T, B, H), (B, H), (B, H), W.shape]
        x1, gates, rc, dz, kept, dc, dW = (guarded(np.full(shape, np.nan), guards) for shape in shapes)
        c, c_0_ = guarded(np.full((T + 1, B, H), np.nan), guards), guarded(c_0, guards)
        y, dh, dblock = (guarded(np.full(shape, np.nan), guards) for shape in [(B, K), (B, H), (H + 1, K)])
        with switched(kernels, order, fault):
            run("gru_inputs", 3 * tiles(T * B, H), x_, W_, x1, gates, T, B, D, H, B * D, D)
            for t in range(T):
                run("gru_gates", 2 * tiles(B, H), W_, c_0_, c, gates, rc, T, B, D, H, t)
                run("gru_memory", tiles(B, H), W_, c, gates, rc, T, B, D, H, t)
            run("affine", tiles(B, K), c[-1], block_, y, B, H, K)
            run("affine_backward", tiles(B, H) + tiles(H + 1, K), dy_, c[-1], block_, dh, dblock, B, H, K)
            dc_next = dlast_
            for t in reversed(range(T)):
                run("gru_candidate_backward", tiles(B, H), W_, c, gates, rc, dc_next, dstates_, dz, kept, T, B, D, H, t)
                run("gru_gates_backward", tiles(B, H), W_, dz, kept, dc, T, B, D, H, t)
                dc_next = dc
            run("gru_weight_gradients", 3 * tiles(H + D + 1, H), c, rc, x1, dz, dW, T, B, D, H)
        found = {"states": c[1:], "gates": gates, "dc_0": dc, "dW": dW, "x1": x1, "y": y, "dh": dh, "dblock": dblock}
        return worst_error(found, expected, guards)

    return worst


def worst_error(found, expected, guards):
    """Return the largest relative error, or NaN if something was written outside of the arrays."""
    untouched = all(np.isnan(guard).all() for guard in guards)
    return np.max([relative(value, expected[name]) for name, value in found.items()]) if untouched else np.nan


def worst_of_adam(code, N=300):
    """Return the same of two steps of Adam."""
    rng = np.random.default_rng(0)
    theta, g = rng.standard_normal((2, N))
    kernel = cuda_on_cpu.RawModule(code, ("-DREAL=double", "-DTHREADS=256"))
    expected = {"theta": theta, "m": np.zeros(N), "v": np.zeros(N)}
    for t in (1, 2):
        step = reference.adam(expected["theta"], g, expected["m"], expected["v"], t, 0.1)
        expected = dict(zip(("theta", "m", "v"), step, strict=True))

    def worst(order=0, fault=-1):
        guards = []
        g_, theta_, m, v = (guarded(array, guards) for array in (g, theta, np.zeros(N), np.zeros(N)))
        with switched(kernel, order, fault):
            for t in (1, 2):
                numbers = map(np.float64, (0.9, 0.1, 0.999, 0.001, 1 - 0.999**t, 1e-8, 0.1 / (1 - 0.9**t)))
                kernel.get_function("adam")((2,), (256,), (g_, theta_, m, v, *numbers, np.int64(N)))
        return worst_error({"theta": theta_, "m": m, "v": v}, expected, guards)

    return worst


def worst_of_loss(code, B=70, K=3, threads=32):
    """Return a function of (order, fault): the larger relative error of the loss and its gradient."""
    rng = np.random.default_rng(0)
    logits, labels = 3 * rng.standard_normal((B, K)), rng.integers(K, size=B)
    logits[:3] = np.array([[1000, 0, -1000], [-1000, 0, 1000], [0, 1000, -1000]])[:B]  # exp(1000) would overflow
    w = rng.uniform(0, 2, (B, 1))
    expected, cache = reference.softmax_cross_entropy(logits, labels, w)
    options = ("-DREAL=double", "-DLABEL=long long", f"-DTHREADS={threads}")
    module = cuda_on_cpu.RawModule(code, options)

    def worst(order=0, fault=-1):
        guards = []
        dlogits, loss = guarded(np.full((B, K), np.nan), guards), guarded(np.array(np.nan), guards)
        with switched(module, order, fault):
            arrays = (guarded(logits, guards), labels, guarded(w / B, guards), dlogits, loss)
            arguments = (*arrays, np.int32(B), np.int32(K))
            module.get_function("softmax_cross_entropy")((1,), (threads,), arguments)
        wanted = {"loss": expected, "dlogits": reference.softmax_cross_entropy_backward(cache)}
        return worst_error({"loss": loss, "dlogits": dlogits}, wanted, guards)

    return worst


@contextmanager
def switched(module, order, fault):
    """Run threads and blocks in this order, with this fault switched on where the source has faults."""
    cuda_on_cpu.seed = order
    if fault >= 0:
        ctypes.c_int.in_dll(module.library, "fault").value = fault
    try:
        yield
    finally:
        cuda_on_cpu.seed = 0
        if fault >= 0:
            ctypes.c_int.in_dll(module.library, "fault").value = -1


KERNELS = pytest.mark.parametrize(
    ("worst_of", "code"),
    [(worst_of_gru, GRU), (worst_of_products, PRODUCTS), (worst_of_loss, LOSS), (worst_of_adam, ADAM)],
    ids=["GRU", "products", "loss", "Adam"],
)


@needs_compiler
@KERNELS
def test_the_order_in_which_threads_and_blocks_run_does_not_matter(worst_of, code):
    runs = (worst_of(code), worst_of(code, **{"N" if worst_of is worst_of_adam else "B": 1}))
    assert all(run(order) < 1e-14 for run in runs for order in ORDERS)


@needs_compiler
@KERNELS
def test_every_planted_fault_is_noticed(worst_of, code):
    code, planted = with_faults(code)
    assert code.count("__syncthreads()") == sum("barrier" in fault for fault in planted)
    assert worst_of is not worst_of_gru or {fault.partition(",")[0] for fault in planted} == {*FAULTS}
    worst = worst_of(code)
    assert worst() < 1e-14
    unnoticed = [what for n, what in enumerate(planted) if all(worst(order, n) < 1e-14 for order in ORDERS)]
    harmless = HARMLESS if worst_of is worst_of_products else ()
    assert [what for what in unnoticed if not any(fault in what for fault in harmless)] == []


@needs_compiler
def test_a_barrier_that_some_threads_never_reach_is_an_error():
    code = 'extern "C" __global__ void kernel(int n) { if (threadIdx.x < n) __syncthreads(); }'
    kernel = cuda_on_cpu.RawModule(code, ()).get_function("kernel")
    for n in (0, 32):
        kernel((1,), (32,), (np.int32(n),))
    with pytest.raises(RuntimeError, match="kernel wait at a barrier"):
        kernel((1,), (32,), (np.int32(31),))


@needs_compiler
def test_arguments_of_another_type_than_declared_are_refused():
    module = cuda_on_cpu.RawModule(LOSS, ("-DREAL=float", "-DLABEL=int", "-DTHREADS=32"))
    kernel = module.get_function("softmax_cross_entropy")
    logits, labels, loss = np.ones((2, 2), "float32"), np.zeros(2, "int32"), np.zeros((), "float32")
    good = (logits, labels, np.full((2, 1), 0.5, "float32"), logits.copy(), loss, np.int32(2), np.int32(2))
    kernel((1,), (32,), good)
    assert loss == pytest.approx(np.log(2))
    for place, bad in [(0, logits.astype("float64")), (1, labels[::-1]), (1, labels.astype("int64")), (5, 2)]:
        with pytest.raises(TypeError):
            kernel((1,), (32,), (*good[:place], bad, *good[place + 1 :]))
    with pytest.raises(ValueError, match="argument"):
        kernel((1,), (32,), good[:-1])


@cache
def nvrtc(version):
    """Return NVIDIA's run-time compiler of this major version, from its wheel or the system; it needs no GPU."""
    nvidia = find_spec("nvidia")
    wheels = [Path(place) for place in nvidia.submodule_search_locations] if nvidia else []
    name = f"libnvrtc.so.{version}"
    try:
        return ctypes.CDLL(next((path for wheel in wheels for path in wheel.glob(f"*/lib/{name}")), name))
    except OSError as error:
        pytest.skip(f"CUDA's run-time compiler is not installed ({error}); CI has a step that installs it")


def compile_for(version, architecture, code, *options):
    """Compile to machine code with the options that CuPy passes; return the compiler's report and the PTX."""
    compiler, program = nvrtc(version), ctypes.c_void_p()
    fixed = ("--std=c++17", "-ftz=true", f"-arch={architecture}", "--device-as-default-execution-space")
    options = [option.encode() for option in (*fixed, *options)]

    def answer(what):
        size = ctypes.c_size_t()
        getattr(compiler, f"nvrtcGet{what}Size")(program, ctypes.byref(size))
        found = ctypes.create_string_buffer(size.value)
        getattr(compiler, f"nvrtcGet{what}")(program, found)
        return found.value.decode(errors="replace")

    compiler.nvrtcCreateProgram(ctypes.byref(program), code.encode(), b"kernel.cu", 0, None, None)
    try:
        if compiler.nvrtcCompileProgram(program, len(options), (ctypes.c_char_p * len(options))(*options)):
            raise SyntaxError(answer("ProgramLog"))
        assert answer("CUBIN")
        return answer("ProgramLog"), answer("PTX")
    finally:
        compiler.nvrtcDestroyProgram(ctypes.byref(program))


TARGETS = [(version, f"sm_{n}") for version in (12, 13) for n in (75, 80, 86, 89, 90, 100, 120)]
BLACKWELL = ("sm_100", "sm_120")
# Where registers are not scarce, the oldest and the newest card stand for all with NVRTC 12.
FEW = [target for target in TARGETS if target[0] == 13 or target[1] in ("sm_75", "sm_120")]
SCARCE, PLENTY = [("float", 128), ("double", 64)], [("float", 32), ("float", 64), ("float", 96), ("double", 32)]


def joined(parts):
    return "-".join(map(str, parts))


@pytest.mark.parametrize(
    ("size", "target"),
    [(size, t) for sizes, some in ((SCARCE, TARGETS), (PLENTY, FEW)) for size in sizes for t in some],
    ids=joined,
)
def test_nvidia_compiles_the_recurrence_without_spills(size, target):
    (REAL, width), (version, architecture) = size, target
    most = 16 if width == 128 and version == 12 and architecture in BLACKWELL else 0  # bytes, of four registers
    for samples in range(1, width // 32 + 1):
        options = (f"-DREAL={REAL}", f"-DWIDTH={width}", f"-DSAMPLES={samples}", *TILE)
        log, ptx = compile_for(*target, GRU, *options, "--ptxas-options=-v")
        spilled = [int(count) for count in re.findall(r"(\d+) bytes (?:stack frame|spill stores|spill loads)", log)]
        assert (len(spilled), max(spilled) <= most) == (6, True), log
        registers = max(map(int, re.findall(r"Used (\d+) registers", log)))
        assert registers * width**2 // 32 <= 65536  # of a multiprocessor: 128 per thread at width 128
        assert REAL == "double" or ".f64" not in ptx


@pytest.mark.parametrize("target", FEW, ids=joined)
@pytest.mark.parametrize("REAL", ["float", "double"])
def test_nvidia_compiles_the_other_kernels(REAL, target):
    cupy = pytest.importorskip("cupy", reason="CuPy is not installed; CI has a step that installs it")
    from minigru.engine.kernels import cupy_kernels

    labels = ("unsigned char", "int", "long long")
    jobs = [(LOSS, f"-DREAL={REAL}", f"-DLABEL={LABEL}", "-DTHREADS=256") for LABEL in labels]
    jobs += [(PRODUCTS, f"-DREAL={REAL}", *TILES), (ADAM, f"-DREAL={REAL}", "-DTHREADS=256")]
    found = [value for value in vars(cupy_kernels).values() if isinstance(value, cupy.ElementwiseKernel)]
    jobs += [(cuda_on_cpu.elementwise_source(kernel), f"-DREAL={REAL}") for kernel in found]
    assert found
    for job in jobs:
        log, ptx = compile_for(*target, *job, "--ptxas-options=-v")
        assert log.count("bytes spill stores") == log.count("0 bytes stack frame, 0 bytes spill stores") > 0, log
        assert REAL == "double" or ".f64" not in ptx  # no kernel of float32 computes in float64


@pytest.mark.parametrize("version", [12, 13])
def test_nvidia_refuses_what_is_no_cuda(version):
    with pytest.raises(SyntaxError, match="error"):
        compile_for(version, "sm_90", "__global__ void kernel() { float z = ; }")
