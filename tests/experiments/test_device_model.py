"""The model of device time counts the work of the kernels as docs/gpu.md does, and says that it is a model."""

from __future__ import annotations

import re

import baselines
import cuda_on_cpu
import device_model as model
import fake_device
import formulas
import pytest
from calling import call

SLOW = model.Card(processors=1, lanes=1, teraflops=2e-12, gigabytes=1e9)  # one multiply-add per second, and no waiting


@pytest.mark.parametrize(
    ("most_rows", "low", "high"), [(10**9, 1.05, 1.07), (0, 1.11, 1.2)], ids=["products.cu", "cuBLAS"]
)
@pytest.mark.parametrize("B", [32, 512])
def test_a_gpu_with_one_lane_takes_a_second_per_multiply_add(B, most_rows, low, high, monkeypatch):
    monkeypatch.setattr(model, "MOST_ROWS", most_rows)
    monkeypatch.setattr(model, "MOST_SAMPLES", most_rows)
    monkeypatch.setattr(model, "CUBLAS_SHARE", 1)
    needed = formulas.flops(model.T, B, model.D, model.H) / 2
    seconds = sum(seconds for _, seconds in model.kernels(SLOW, B, 1))
    assert low < seconds / needed < high  # tiles are whole, sums are added up, a column of ones is multiplied too
    own = [model.product(SLOW, 64, 320, 128, times) for times in (1, 3)]
    assert own == pytest.approx([64 * 320 * 128, 3 * 64 * 320 * 128], rel=0.01)


def test_the_persistent_kernel_has_the_loads_and_the_cycles_of_the_documents(monkeypatch):
    cards = {lanes: model.Card(132, lanes, 2 * 132 * lanes * 1e-12, 1e9) for lanes in (64, 128, 10**9)}  # 1 cycle/s
    monkeypatch.setattr(model, "SCHEDULERS", 10**9)
    monkeypatch.setattr(model, "SLICES", 0)  # no sums, so that the products remain
    for forward, loads in ((True, 512), (False, 768)):
        low, high = (model.recurrence(cards[10**9], 132, load, forward) for load in (0, 4))
        assert high - low == pytest.approx(model.T * loads)
        for lanes, cycles in ((64, 768), (128, 384)):
            assert model.recurrence(cards[lanes], 132, 0, forward) - low == pytest.approx(model.T * cycles)
    assert model.recurrence(cards[64], 1, 1, True) == model.recurrence(cards[64], 132, 1, True)  # a sample per block
    one, two = (model.recurrence(cards[64], B, 1, True) for B in (4 * 132, 4 * 132 + 1))
    assert 1.5 < two / one < 2  # two rounds, of three samples per block and not of four


def test_the_table_has_every_gpu_and_a_range_in_every_cell():
    result = call(model, "--batch", "8", "4096")
    assert result.returncode == 0, result.stderr
    assert "a model, not a measurement" in result.stdout
    assert "Assumed:" in result.stdout
    rows = {line.split("|")[1].strip(): line.split("|")[2:-1] for line in result.stdout.splitlines() if "to" in line}
    for name in model.CARDS:
        ranges = [[float(n.replace(",", "")) for n in re.findall(r"[\d.,]+", cell)] for cell in rows[name]]
        assert all(0 < low <= high for low, high in ranges), name
        assert ranges[0][1] < ranges[1][0]
    assert call(model, "--batch", "0").returncode == 2


@pytest.mark.skipif(bool(cuda_on_cpu.missing), reason=str(cuda_on_cpu.missing))
@pytest.mark.parametrize("B", [2, model.MOST_ROWS // model.T + 1])
def test_it_has_the_kernels_of_a_step_and_the_sizes_of_their_sources(B):
    device = fake_device.fake_backend()
    engine = baselines.gpu_engines(device)[0](baselines.initial(model.D, model.H, 0))
    batch = engine.prepare(*baselines.make_batch(model.T, B, model.D, 0))
    engine.step(*batch)
    before = len(fake_device.launches)
    engine.step(*batch)
    of_the_trainer = 3  # it gathers the images and the labels, and keeps the loss
    assert len(model.kernels(model.CARDS["T4"], B, 1)) == len(fake_device.launches) - before + of_the_trainer
    assert device.persistent.few(model.MOST_ROWS)
    assert not device.persistent.few(model.MOST_ROWS + 1)
    assert device.persistent.MOST_SAMPLES == model.MOST_SAMPLES
    assert device.persistent.ROWS == model.ROWS
    assert model.SLICES * model.ROWS == model.H
    assert 32 * model.WARPS == model.H**2 / (device.persistent.ROWS * device.persistent.COLUMNS)
