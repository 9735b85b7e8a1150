"""The CUDA C++ sources: right whatever order threads run in, each barrier needed, and accepted by NVIDIA's compiler."""

from __future__ import annotations

import itertools
import re
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
DOUBLES = ("lr", "beta1", "beta2", "eps", "correction1", "correction2")
WIDTHS = {"float": (32, 64, 96, 128), "double": (32, 64)}


def source(name):
    return resources.files(minigru.engine.kernels).joinpath(f"{name}.cu").read_text("utf-8")


GRU, LOSS = source("gru_persistent"), source("softmax_cross_entropy")


def guarded(array, guards):
    """Return a copy that lies between two stretches of NaN, which are added to `guards`."""
    margin = 2 * array.size
    whole = np.full(array.size + 2 * margin, np.nan)
    guards += [whole[:margin], whole[-margin:]]
    inside = whole[margin:-margin].reshape(array.shape)
    inside[...] = array
    return inside


def worst_of_gru(code, order, H=33, B=5, T=3, samples=2):
    """Return the largest relative error of anything the two kernels write, against the reference in float64.

    It is NaN where something was left out, or was read or written outside of its array.
    """
    rng = np.random.default_rng(0)
    p = {f"W_{k}": rng.standard_normal((H + 2, H)) / np.sqrt(H) for k in "urc"}
    p |= {f"b_{k}": rng.standard_normal(H) for k in "urc"}
    x, c_0, dstates, dlast = (rng.standard_normal(s) for s in [(T, B, 2), (B, H), (T, B, H), (B, H)])
    states, caches = reference.gru_forward(x, c_0, p)
    total = dstates.copy()
    total[-1] += dlast
    _, dc_0, grads = reference.gru_backward(total, caches)

    kernels = cuda_on_cpu.RawModule(code, ("-DREAL=double", "-DWIDTH=64", f"-DSAMPLES={samples}", *TILE))
    guards, unwritten = [], np.full((T, B, H), np.nan)
    z = {k: guarded(x @ p[f"W_{k}"][H:] + p[f"b_{k}"], guards) for k in "urc"}
    c = guarded(np.concatenate([c_0[None], unwritten]), guards)
    rc, dc, *dz = (guarded(array, guards) for array in (unwritten, dlast, *[unwritten] * 3))
    sizes, launch = tuple(map(np.int32, (T, B, H))), ((-(-B // samples),), (128,))
    saved = (*(guarded(p[f"W_{k}"][:H], guards) for k in "urc"), c, *z.values(), rc)
    cuda_on_cpu.seed = order
    try:
        kernels.get_function("gru_forward")(*launch, (*saved, *sizes))
        kernels.get_function("gru_backward")(*launch, (*saved, guarded(dstates, guards), np.int32(1), *dz, dc, *sizes))
    finally:
        cuda_on_cpu.seed = 0
    gates = [[cache[k] for cache in caches] for k in (2, 3, 4)]
    pairs = [(c[1:], states), (dc, dc_0), (rc, np.array(gates[1]) * c[:-1]), *zip(z.values(), gates, strict=True)]
    pairs += [(d.sum((0, 1)), grads[f"b_{k}"]) for d, k in zip(dz, "urc", strict=True)]
    untouched = all(np.isnan(guard).all() for guard in guards)
    return np.max([relative(value, np.array(expected)) for value, expected in pairs]) if untouched else np.nan


def worst_of_loss(code, order, B=70, K=3, threads=32):
    """Return the larger relative error of the loss and its gradient, against the reference in float64."""
    rng = np.random.default_rng(0)
    logits, labels = 3 * rng.standard_normal((B, K)), rng.integers(K, size=B)
    logits[:2] = np.array([[1000, 0, -1000], [-1000, 0, 1000]])[:B]  # whose exponential would overflow
    expected, cache = reference.softmax_cross_entropy(logits, labels)
    options = ("-DREAL=double", "-DLABEL=long long", f"-DTHREADS={threads}")
    kernel = cuda_on_cpu.RawModule(code, options).get_function("softmax_cross_entropy")
    dlogits, loss = np.full((B, K), np.nan), np.array(np.nan)
    cuda_on_cpu.seed = order
    try:
        kernel((1,), (threads,), (logits, labels, dlogits, loss, np.int32(B), np.int32(K)))
    finally:
        cuda_on_cpu.seed = 0
    return max(relative(loss, expected), relative(dlogits, reference.softmax_cross_entropy_backward(cache)))


@needs_compiler
@pytest.mark.parametrize("order", ORDERS)
def test_the_order_in_which_threads_and_blocks_run_does_not_matter(order):
    assert worst_of_gru(GRU, order) < 1e-14
    assert worst_of_gru(GRU, order, B=1, T=1, samples=1) < 1e-14
    assert worst_of_loss(LOSS, order) < 1e-14
    assert worst_of_loss(LOSS, order, B=1) < 1e-14


def without_one_barrier(code):
    parts = code.split("__syncthreads();")
    return ["__syncthreads();".join(parts[:k]) + ";" + "__syncthreads();".join(parts[k:]) for k in range(1, len(parts))]


@needs_compiler
@pytest.mark.parametrize("missing", range(GRU.count("__syncthreads();")))
def test_no_barrier_of_the_recurrence_can_be_left_out(missing):
    code = without_one_barrier(GRU)[missing]
    assert not all(worst_of_gru(code, order) < 1e-14 for order in ORDERS)


@needs_compiler
def test_the_barrier_of_the_loss_cannot_be_left_out():
    (code,) = without_one_barrier(LOSS)
    assert not all(worst_of_loss(code, order) < 1e-14 for order in ORDERS)


@needs_compiler
def test_a_barrier_that_some_threads_never_reach_is_an_error():
    code = GRU.replace(
        "        __syncthreads();\n        if (mine) {", "        if (mine) {\n        __syncthreads();", 1
    )
    assert code != GRU
    with pytest.raises(RuntimeError, match="gru_forward wait at a barrier"):
        worst_of_gru(code, 0)


MUTANTS = [
    ("U[k * down + j * across]", "U[j * down + k * across]"),
    ("threadIdx.x % GROUP + n * GROUP;\n", "threadIdx.x % GROUP * COLUMNS + n;\n"),
    ("state[s][slice * ROWS + r]", "state[s][r]"),
    ("for (int p = 0; p < SLICES; ++p)", "for (int p = 1; p < SLICES; ++p)"),
    ("z_r * c_prev;", "c_prev;"),
    ("load(w_c, U_c, H, 1, H);", "load(w_c, U_c, H, H, 1);"),
    ("i += (T - 1) * step;", "i += (T - 2) * step;"),
    ("if (every_state)", "if (!every_state)"),
    ("d = d * (1 - u);", "d = d * u;"),
    ("b < B && j < H;", "b < B;"),
    ("+ total(sums_u, s, j);", ";"),
    ("reset * (1 - r);", "reset * r;"),
    ("        rc_all[s][j] = 0;\n", ""),
    ("        dz_u_all[s][j] = dz_r_all[s][j] = dz_c_all[s][j] = 0;\n", ";"),
    ("    if (s < SAMPLES) {\n        c_all", "    if (mine) {\n        c_all"),
]
MUTANTS_OF_LOSS = [
    ("highest = row[0], sum", "highest = 0, sum"),
    ("            highest = row[k] > highest ? row[k] : highest;\n", ";"),
    ("i += THREADS", "i += THREADS + 1"),
    ("k == label;", "k == 0;"),
    ("(exp(log_p) - y) / B;", "exp(log_p) - y;"),
    ("loss[0] = sums[0] / B;", "loss[0] = nats / B;"),
]


@needs_compiler
@pytest.mark.parametrize(("line", "wrong"), MUTANTS, ids=[line for line, _ in MUTANTS])
def test_a_wrong_line_is_noticed(line, wrong):
    assert line in GRU
    assert not worst_of_gru(GRU.replace(line, wrong), 0) < 1e-14


@needs_compiler
@pytest.mark.parametrize(("line", "wrong"), MUTANTS_OF_LOSS, ids=[line for line, _ in MUTANTS_OF_LOSS])
def test_a_wrong_line_of_the_loss_is_noticed(line, wrong):
    assert line in LOSS
    assert not worst_of_loss(LOSS.replace(line, wrong), 0) < 1e-14


@needs_compiler
def test_arguments_of_another_type_than_declared_are_refused():
    kernel = cuda_on_cpu.RawModule(LOSS, ("-DREAL=float", "-DLABEL=int", "-DTHREADS=32")).get_function(
        "softmax_cross_entropy"
    )
    logits, labels, loss = np.ones((2, 2), "float32"), np.zeros(2, "int32"), np.zeros((), "float32")
    good = (logits, labels, logits.copy(), loss, np.int32(2), np.int32(2))
    kernel((1,), (32,), good)
    assert loss == pytest.approx(np.log(2))
    for place, bad in [(0, logits.astype("float64")), (1, labels[::-1]), (1, labels.astype("int64")), (4, 2)]:
        with pytest.raises(TypeError):
            kernel((1,), (32,), (*good[:place], bad, *good[place + 1 :]))
    with pytest.raises(AssertionError):
        kernel((1,), (32,), good[:-1])


def nvrtc():
    """Return CUDA's run-time compiler, which needs no GPU."""
    pytest.importorskip("cupy", reason="CuPy is not installed; CI has a step that installs it")
    try:
        from cupy.cuda import nvrtc

        nvrtc.getVersion()
    except (ImportError, RuntimeError) as error:
        pytest.skip(f"CUDA's run-time compiler is not installed ({error}); CI has a step that installs it")
    return nvrtc


def compile_for(architecture, code, *options):
    """Compile to machine code as CuPy does; return what the compiler said. A mistake raises with its own message."""
    compiler = nvrtc()
    program = compiler.createProgram(code, "kernel.cu", [], [])
    try:
        compiler.compileProgram(program, (f"--gpu-architecture={architecture}", "--std=c++17", "-ftz=true", *options))
    except compiler.NVRTCError as error:
        raise SyntaxError(compiler.getProgramLog(program)) from error
    assert compiler.getCUBIN(program)
    return compiler.getProgramLog(program)


@pytest.mark.parametrize("architecture", ["sm_80", "sm_90"])
def test_nvidia_compiles_the_recurrence_at_every_size(architecture):
    for REAL, widths in WIDTHS.items():
        for width, samples in itertools.chain.from_iterable(
            [(width, samples) for samples in range(1, width // 32 + 1)] for width in widths
        ):
            options = (f"-DREAL={REAL}", f"-DWIDTH={width}", f"-DSAMPLES={samples}", *TILE)
            log = compile_for(architecture, GRU, *options, "--ptxas-options=-v")
            assert log.count("0 bytes stack frame, 0 bytes spill stores, 0 bytes spill loads") == 2, log
            registers = max(map(int, re.findall(r"Used (\d+) registers", log)))
            assert registers * width**2 // 32 <= 65536


@pytest.mark.parametrize("architecture", ["sm_80", "sm_90"])
def test_nvidia_compiles_the_loss(architecture):
    for REAL, LABEL in itertools.product(("float", "double"), ("unsigned char", "int", "long long")):
        compile_for(architecture, LOSS, f"-DREAL={REAL}", f"-DLABEL={LABEL}", "-DTHREADS=256")


@pytest.mark.parametrize("architecture", ["sm_80", "sm_90"])
def test_nvidia_compiles_every_elementwise_kernel(architecture):
    nvrtc()
    import cupy

    from minigru.engine.kernels import cupy_kernels

    found = [value for value in vars(cupy_kernels).values() if isinstance(value, cupy.ElementwiseKernel)]
    assert len(found) == 6
    for kernel in found:
        outputs = {param.name for param in kernel.out_params}
        params = [(param.name, "double" if param.name in DOUBLES else "REAL") for param in kernel.params]
        consts = {name: "" if name in outputs else "const " for name, _ in params}
        arguments = ", ".join(f"{consts[name]}{kind}* p_{name}" for name, kind in params)
        bound = "\n".join(f"{consts[name]}{kind}& {name} = p_{name}[threadIdx.x];" for name, kind in params)
        code = f'typedef REAL T; extern "C" __global__ void run({arguments})\n{{\n{bound}\n{kernel.operation};\n}}'
        for REAL in ("float", "double"):
            compile_for(architecture, code, f"-DREAL={REAL}")


def test_nvidia_refuses_what_is_no_cuda():
    with pytest.raises(SyntaxError, match="error"):
        compile_for(
            "sm_90", GRU.replace("REAL z = 0;", "REAL z = ;"), "-DREAL=float", "-DWIDTH=32", "-DSAMPLES=1", *TILE
        )
