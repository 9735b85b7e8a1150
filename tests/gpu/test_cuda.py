"""The CUDA C++ sources: right in whatever order threads run, each barrier needed, accepted by NVIDIA's compiler."""

from __future__ import annotations

import ctypes
import re
from contextlib import contextmanager
from importlib import resources

import cuda_on_cpu
import numpy as np
import pytest
from helpers import relative

import minigru.engine.kernels
from minigru import reference

needs_compiler = pytest.mark.skipif(cuda_on_cpu.missing is not None, reason=str(cuda_on_cpu.missing))
ORDERS = range(4)
TILE = ("-DROWS=16", "-DCOLUMNS=2")
GRU, LOSS = (
    resources.files(minigru.engine.kernels).joinpath(f"{name}.cu").read_text("utf-8")
    for name in ("gru_persistent", "softmax_cross_entropy")
)

# Faults are planted wherever the structure of the code matches a pattern; @ is true while this fault is switched on.
TAGGED = r"(?=[^;\n]*; *// \(d?[A-Z])"
FAULTS = {
    "a condition is negated": (r"if \(((?:[^()]|\([^()]*\))+)\)", r"if (@!=(\1))"),
    "a guard is missing": (r" && (\w+ < [A-Z])(?=[^?\n]*;)", r" && (@||\1)"),
    "a barrier is missing": (r"__syncthreads\(\)", "@?(void)0:__syncthreads()"),
    "a loop starts one later": (r"(for \(int \w+ = [^;]+);", r"\1+@;"),
    "the steps start one later": (r"\((T - 1)\)", r"(\1+@)"),
    "a matrix is transposed": (r", (H|1), (H|1)\);", r",@?\2:\1,@?\1:\2);"),
    "padding is not zero": (r"(?<=\] = )0;", r"@?NAN:0;"),
    "the tile of another thread": (r"\bthreadIdx\.x(?= [/%] (?!WIDTH))", "(@?threadIdx.x^48:threadIdx.x)"),
    "a factor is missing": (r" ([*/]) (\w+\b(?!\()|\([^()]*\))" + TAGGED, r" \1 (@?1:\2)"),
    "a term has the wrong sign": (r" ([+-]) " + TAGGED, r" \1 (1-2*@)*"),
    "a result is doubled": (r"(= |return )([^=;\n]*)(?=; *// \(d?[A-Z])", r"\1(1+@)*(\2)"),
}


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
    margin = 2 * array.size
    whole = np.full(array.size + 2 * margin, np.nan)
    guards += [whole[:margin], whole[-margin:]]
    inside = whole[margin:-margin].reshape(array.shape)
    inside[...] = array
    return inside


def worst_of_gru(code, H=33, B=5, T=3, samples=2):
    """Return a function of (order, fault): the largest relative error of all that the two kernels write.

    Errors are relative to the reference in float64. The error is NaN if an element was not written, or if an access was
    outside of its array.
    """
    rng = np.random.default_rng(0)
    p = {f"W_{k}": rng.standard_normal((H + 2, H)) / np.sqrt(H) for k in "urc"}
    p |= {f"b_{k}": rng.standard_normal(H) for k in "urc"}
    x, c_0, dstates, dlast = (rng.standard_normal(s) for s in [(T, B, 2), (B, H), (T, B, H), (B, H)])
    states, caches = reference.gru_forward(x, c_0, p)
    total = dstates.copy()
    total[-1] += dlast
    _, dc_0, grads = reference.gru_backward(total, caches)
    gates = [[cache[k] for cache in caches] for k in (2, 3, 4)]
    kernels = cuda_on_cpu.RawModule(code, ("-DREAL=double", "-DWIDTH=64", f"-DSAMPLES={samples}", *TILE))

    def worst(order=0, fault=-1):
        guards, unwritten = [], np.full((T, B, H), np.nan)
        z = {k: guarded(x @ p[f"W_{k}"][H:] + p[f"b_{k}"], guards) for k in "urc"}
        c = guarded(np.concatenate([c_0[None], unwritten]), guards)
        rc, dc, *dz = (guarded(array, guards) for array in (unwritten, dlast, *[unwritten] * 3))
        sizes, launch = tuple(map(np.int32, (T, B, H))), ((-(-B // samples),), (128,))
        saved = (*(guarded(p[f"W_{k}"][:H], guards) for k in "urc"), c, *z.values(), rc)
        with switched(kernels, order, fault):
            kernels.get_function("gru_forward")(*launch, (*saved, *sizes))
            backward = (*saved, guarded(dstates, guards), np.int32(1), *dz, dc, *sizes)
            kernels.get_function("gru_backward")(*launch, backward)
        pairs = [(c[1:], states), (dc, dc_0), (rc, np.array(gates[1]) * c[:-1]), *zip(z.values(), gates, strict=True)]
        pairs += [(d.sum((0, 1)), grads[f"b_{k}"]) for d, k in zip(dz, "urc", strict=True)]
        untouched = all(np.isnan(guard).all() for guard in guards)
        return np.max([relative(value, np.array(expected)) for value, expected in pairs]) if untouched else np.nan

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
        dlogits, loss = np.full((B, K), np.nan), np.array(np.nan)
        with switched(module, order, fault):
            arguments = (logits, labels, w / B, dlogits, loss, np.int32(B), np.int32(K))
            module.get_function("softmax_cross_entropy")((1,), (threads,), arguments)
        return np.max([relative(loss, expected), relative(dlogits, reference.softmax_cross_entropy_backward(cache))])

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
    ("worst_of", "code"), [(worst_of_gru, GRU), (worst_of_loss, LOSS)], ids=["GRU", "loss"]
)


@needs_compiler
@KERNELS
def test_the_order_in_which_threads_and_blocks_run_does_not_matter(worst_of, code):
    worst, worst_of_one = worst_of(code), worst_of(code, B=1)
    assert all(run(order) < 1e-14 for run in (worst, worst_of_one) for order in ORDERS)


@needs_compiler
@KERNELS
def test_every_planted_fault_is_noticed(worst_of, code):
    code, planted = with_faults(code)
    assert code.count("__syncthreads()") == sum("barrier" in fault for fault in planted)
    assert worst_of is worst_of_loss or {fault.partition(",")[0] for fault in planted} == {*FAULTS}
    worst = worst_of(code)
    assert worst() < 1e-14
    unnoticed = [what for n, what in enumerate(planted) if all(worst(order, n) < 1e-14 for order in ORDERS)]
    assert unnoticed == []


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


def compile_for(architecture, code, *options):
    """Compile to machine code with CuPy's own options, which needs no GPU; return the compiler's report and the PTX."""
    pytest.importorskip("cupy", reason="CuPy is not installed; CI has a step that installs it")
    try:
        from cupy.cuda import nvrtc

        nvrtc.getVersion()
    except (ImportError, RuntimeError) as error:
        pytest.skip(f"CUDA's run-time compiler is not installed ({error}); CI has a step that installs it")
    program = nvrtc.createProgram(code, "kernel.cu", [], [])
    try:
        fixed = ("--std=c++17", "-ftz=true", f"-arch={architecture}", "--device-as-default-execution-space")
        nvrtc.compileProgram(program, (*fixed, *options))
    except nvrtc.NVRTCError as error:
        raise SyntaxError(nvrtc.getProgramLog(program)) from error
    assert nvrtc.getCUBIN(program)
    return nvrtc.getProgramLog(program), nvrtc.getPTX(program)


ARCHITECTURES = pytest.mark.parametrize("architecture", [f"sm_{n}" for n in (75, 80, 86, 89, 90, 100, 120)])


@ARCHITECTURES
@pytest.mark.parametrize(
    ("REAL", "width"), [("float", 32), ("float", 64), ("float", 96), ("float", 128), ("double", 32), ("double", 64)]
)
def test_nvidia_compiles_the_recurrence_without_spills(REAL, width, architecture):
    for samples in range(1, width // 32 + 1):
        options = (f"-DREAL={REAL}", f"-DWIDTH={width}", f"-DSAMPLES={samples}", *TILE)
        log, ptx = compile_for(architecture, GRU, *options, "--ptxas-options=-v")
        assert log.count("0 bytes stack frame, 0 bytes spill stores, 0 bytes spill loads") == 2, log
        registers = max(map(int, re.findall(r"Used (\d+) registers", log)))
        assert registers * width**2 // 32 <= 65536  # of a multiprocessor: 128 per thread at width 128
        assert REAL == "double" or b".f64" not in ptx


@ARCHITECTURES
@pytest.mark.parametrize("REAL", ["float", "double"])
def test_nvidia_compiles_the_other_kernels(REAL, architecture):
    cupy = pytest.importorskip("cupy", reason="CuPy is not installed; CI has a step that installs it")
    from minigru.engine.kernels import cupy_kernels

    labels = ("unsigned char", "int", "long long")
    jobs = [(LOSS, f"-DREAL={REAL}", f"-DLABEL={LABEL}", "-DTHREADS=256") for LABEL in labels]
    found = [value for value in vars(cupy_kernels).values() if isinstance(value, cupy.ElementwiseKernel)]
    jobs += [(cuda_on_cpu.elementwise_source(kernel), f"-DREAL={REAL}") for kernel in found]
    assert found
    for job in jobs:
        _, ptx = compile_for(architecture, *job)
        assert REAL == "double" or b".f64" not in ptx  # no kernel of float32 computes in float64


def test_nvidia_refuses_what_is_no_cuda():
    with pytest.raises(SyntaxError, match="error"):
        compile_for("sm_90", "__global__ void kernel() { float z = ; }")
