"""A checkpoint resumes to the very same numbers, whichever version wrote it, or is refused in one sentence."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import train_mnist
from calling import assert_one_sentence, call

from minigru.engine.gru import GRU
from minigru.engine.model import CELLS
from minigru.training import checkpoint, data
from minigru.training.checkpoint import CheckpointError
from minigru.training.config import Config
from minigru.training.files import save_arrays
from minigru.training.trainer import Trainer

FORMAT_1 = Path(__file__).with_name("format_1")  # two epochs of 4 steps, stopped after 6, by a version without sizes
CONFIG = Config(data="digits", hidden_size=8, epochs=2, limit=100)


@pytest.fixture(scope="module")
def dataset():
    return data.load("digits")


@pytest.fixture(scope="module")
def run(tmp_path_factory, dataset):
    """The folder of a completed run."""
    out = tmp_path_factory.mktemp("run")
    Trainer(CONFIG, dataset, out).run(quiet=True)
    return out


def arrays_of(folder):
    with np.load(folder / checkpoint.NAME, allow_pickle=False) as file:
        return {name: file[name] for name in file.files if name != "digest"}


def test_a_run_of_format_1_resumes_to_the_same_numbers(dataset, tmp_path):
    shutil.copytree(FORMAT_1, tmp_path / "parts")
    (tmp_path / "whole").mkdir()
    config = checkpoint.read(tmp_path / "parts" / checkpoint.NAME).config
    whole, parts = (Trainer(config, dataset, tmp_path / name) for name in ("whole", "parts"))
    parts.resume()
    assert (parts.epoch, parts.adam.t) == (1, 6)
    assert whole.run(quiet=True)
    assert parts.run(quiet=True)
    one, two = arrays_of(tmp_path / "whole"), arrays_of(tmp_path / "parts")
    assert str(one.pop("meta")) == str(two.pop("meta"))
    for name, array in one.items():  # up to the rounding of the machine that wrote the file
        np.testing.assert_allclose(two[name], array, rtol=1e-4, atol=1e-6, err_msg=name)
    numbers = [pd.read_csv(tmp_path / name / "history.csv").iloc[:, :4] for name in ("whole", "parts")]
    pd.testing.assert_frame_equal(*numbers, rtol=1e-4)


@pytest.mark.parametrize("model", CELLS)
def test_load_model_returns_the_model_that_was_saved(model, dataset, tmp_path):
    trainer = Trainer(Config(data="digits", hidden_size=3, limit=64, epochs=1, model=model), dataset, tmp_path)
    trainer.run(quiet=True)
    for path in (tmp_path, tmp_path / checkpoint.NAME, str(tmp_path), str(tmp_path / checkpoint.NAME)):
        loaded, config = checkpoint.load_model(path)
        np.testing.assert_array_equal(loaded.vector, trainer.model.vector)
        assert config == trainer.config
    arrays = arrays_of(tmp_path)
    arrays["meta"] = np.array(json.dumps({**json.loads(str(arrays["meta"])), "format": 1}))
    np.savez(tmp_path / checkpoint.NAME, **{name: arrays[name] for name in arrays if name not in ("adam.m", "adam.v")})
    np.testing.assert_array_equal(checkpoint.load_model(tmp_path)[0].vector, trainer.model.vector)


def test_a_new_cell_needs_no_entry_here(dataset, tmp_path, monkeypatch):
    class Other(GRU):
        """A cell that only the engine knows."""

    monkeypatch.setitem(CELLS, "other", Other)
    config = Config(data="digits", hidden_size=3, limit=64, epochs=1)
    object.__setattr__(config, "model", "other")  # the option is declared with the cells that there were
    trainer = Trainer(config, dataset, str(tmp_path))
    trainer.run(quiet=True)
    assert trainer.model.cell.__class__ is Other


def meta(**change):
    def damage(folder):
        arrays = arrays_of(folder)
        arrays["meta"] = np.array(json.dumps({**json.loads(str(arrays["meta"])), **change}))
        save_arrays(folder / checkpoint.NAME, arrays)

    return damage


def generator(change):
    state = np.random.default_rng(0).bit_generator.state
    change(state)
    return meta(generator=state)


def array(name, change):
    def damage(folder):
        arrays = arrays_of(folder)
        arrays[name] = change(arrays[name])
        save_arrays(folder / checkpoint.NAME, {name: value for name, value in arrays.items() if value is not None})

    return damage


def unsigned(folder):
    np.savez(folder / checkpoint.NAME, **arrays_of(folder))


def huge_epoch(folder):
    meta(epoch=10**12, config=vars(CONFIG) | {"epochs": 10**12})(folder)
    array("adam.t", lambda t: t // CONFIG.epochs * 10**12)(folder)


def content(name, change):
    def damage(folder):
        (folder / name).write_bytes(change((folder / name).read_bytes()))

    return damage


def lines(*numbers):
    return content("history.csv", lambda text: b"".join(text.splitlines(keepends=True)[number] for number in numbers))


def flip(text):
    return text[: len(text) // 2] + bytes([text[len(text) // 2] ^ 255]) + text[len(text) // 2 + 1 :]


NOT_A_CHECKPOINT = "is damaged or is not a checkpoint of minigru"
DAMAGE = {
    "missing": (lambda folder: (folder / checkpoint.NAME).unlink(), "there is no checkpoint"),
    "empty": (content(checkpoint.NAME, lambda text: b""), NOT_A_CHECKPOINT),
    "half": (content(checkpoint.NAME, lambda text: text[: len(text) // 2]), NOT_A_CHECKPOINT),
    "flipped": (content(checkpoint.NAME, flip), NOT_A_CHECKPOINT),
    "text": (content(checkpoint.NAME, lambda text: b"not an archive"), NOT_A_CHECKPOINT),
    "foreign": (array("meta", lambda meta: None), NOT_A_CHECKPOINT),
    "format 5": (meta(format=5), "has checkpoint format 5; expected 1 to 4"),
    "no digest": (unsigned, "is damaged: its digest is missing"),
    "deep": (array("meta", lambda meta: np.array("[" * 10**5)), NOT_A_CHECKPOINT),
    "format None": (meta(format=None), "has checkpoint format None"),
    "no config": (meta(config=None), "is damaged"),
    "part of a config": (meta(config={"lr": 1}), "is damaged"),
    "wrong config": (meta(config=vars(CONFIG) | {"lr": -1}), "lr is -1; expected"),
    "no epoch": (meta(epoch=None), "epoch is None"),
    "negative epoch": (meta(epoch=-1), "epoch is -1"),
    "late epoch": (meta(epoch=99), "epoch is 99"),
    "other epoch": (meta(epoch=1), "contradict each other"),
    "no generator": (meta(generator=None), "is damaged"),
    "other generator": (meta(generator={"bit_generator": "MT19937"}), "is damaged"),
    "negative state": (generator(lambda state: state["state"].update(state=-1)), "is damaged"),
    "negative increment": (generator(lambda state: state["state"].update(inc=-1)), "is damaged"),
    "huge increment": (generator(lambda state: state["state"].update(inc=2**200)), "is damaged"),
    "list of states": (meta(generator=[]), "is damaged"),
    "huge state": (meta(generator=np.random.default_rng(0).bit_generator.state | {"uinteger": 2**300}), "is damaged"),
    "huge epoch": (huge_epoch, "its epoch and its results contradict each other"),
    "huge K": (meta(num_classes=10**12), "its arrays are not those of a model"),
    "huge D": (meta(input_size=10**12), "its arrays are not those of a model with D = 1000000000000"),
    "wrong K": (meta(num_classes=0), "num_classes is 0"),
    "short weight": (array("linear.W", lambda W: W[:-1]), "is of another model: linear.W is float32 (7, 10); expected"),
    "other dtype": (array("gru.W_r", np.float64), "is of another model: gru.W_r is float64"),
    "no weight": (array("gru.W_r", lambda W: None), "is of another model: gru.W_r is missing"),
    "scalar": (array("gru.W_u", lambda W: np.array(1.0)), "is of another model: gru.W_u is float64 ()"),
    "no bias": (array("linear.b", lambda b: None), "linear.b is missing"),
    "NaN": (array("adam.m", lambda m: m * np.nan), "adam.m holds numbers that are not finite"),
    "no losses": (array("losses", lambda losses: None), "'losses' is missing"),
    "NaN in losses": (array("losses", lambda losses: np.array([np.nan])), "losses is not a list of finite losses"),
    "losses": (array("losses", lambda losses: np.ones((2, 2))), "losses is not a list"),
    "negative steps": (array("adam.t", lambda t: np.array(-5)), "adam.t is not a number of steps"),
    "two steps": (array("adam.t", lambda t: np.array([1, 2])), "adam.t is not a number of steps"),
    "more steps": (array("adam.t", lambda t: t + 1), "contradict each other"),
    "short results": (array("results", lambda rows: rows[:-1]), "results contradict each other"),
    "swapped results": (array("results", lambda rows: rows[::-1]), "results contradict each other"),
}
HISTORIES = {
    "no history": lambda folder: (folder / "history.csv").unlink(),
    "empty history": lines(),
    "short history": lines(0, 1),
    "long history": lines(0, 1, 2, 2),
    "swapped history": lines(0, 2, 1),
    "other history": content("history.csv", lambda text: b"a,b\n1,2\n"),
    "words in history": content("history.csv", lambda text: text.replace(b"\n2,", b"\ntwo,")),
    "other numbers": content("history.csv", lambda text: text.replace(b"\n2,", b"\n2,9")),
}


@pytest.mark.parametrize(("damage", "words"), DAMAGE.values(), ids=DAMAGE)
def test_a_damaged_run_is_refused_in_one_sentence_and_left_alone(damage, words, run, tmp_path):
    out = tmp_path / "out"
    shutil.copytree(run, out)
    damage(out)
    before = {path.name: path.read_bytes() for path in out.iterdir()}
    assert_one_sentence(call(train_mnist, "--out", out, "--resume"), 2, str(out), words)
    assert {path.name: path.read_bytes() for path in out.iterdir()} == before


@pytest.mark.parametrize("damage", HISTORIES.values(), ids=HISTORIES)
def test_the_history_follows_the_checkpoint_digit_by_digit(damage, run, dataset, tmp_path):
    shutil.copytree(run, tmp_path, dirs_exist_ok=True)
    before = (tmp_path / "history.csv").read_text().splitlines()
    damage(tmp_path)
    Trainer(CONFIG, dataset, tmp_path).resume()
    after = (tmp_path / "history.csv").read_text().splitlines()
    assert len(before) == len(after)
    for one, two in zip(before, after, strict=True):
        assert two == one or two == ",".join([*one.split(",")[:4], "", ""])  # a time is kept or empty
    array("results", lambda results: None)(tmp_path)  # a checkpoint of an older version
    damage(tmp_path)
    if damage not in (HISTORIES["long history"], HISTORIES["other numbers"]):
        with pytest.raises(CheckpointError, match=r"history\.csv"):
            Trainer(CONFIG, dataset, tmp_path).resume()


def test_a_refused_checkpoint_changes_nothing_in_the_trainer(run, dataset, tmp_path):
    shutil.copytree(run, tmp_path, dirs_exist_ok=True)
    array("adam.v", lambda v: v[:-1])(tmp_path)  # the last one to be restored
    trainer = Trainer(CONFIG, dataset, tmp_path)
    before = trainer.model.vector.copy()
    with pytest.raises(CheckpointError, match="adam"):
        trainer.resume()
    np.testing.assert_array_equal(trainer.model.vector, before)
    assert (trainer.epoch, trainer.adam.t) == (0, 0)


@pytest.mark.parametrize(
    ("made", "wanted", "words"),
    [
        ({}, {"recipe": "fast"}, "recipe is 'fast', but .* was made with 'article'"),
        ({}, {"lr": 0.5}, "lr is 0.5, but .* was made with 0.001: keep 0.001, or"),
        ({}, {"epochs": 1}, "epochs is 1; expected at least 2"),
        ({}, {"epochs": 3, "schedule": "cosine"}, "epochs is 3, but .* was made with 2"),
        ({"schedule": "cosine"}, {"epochs": 3}, "epochs is 3, but .* was made with 2"),
    ],
)
def test_a_trainer_and_the_script_refuse_another_configuration_alike(made, wanted, words, dataset, tmp_path):
    config = vars(CONFIG) | {"limit": 32} | made
    Trainer(Config(**config), dataset, tmp_path).run(quiet=True)
    with pytest.raises(CheckpointError, match=words):
        Trainer(Config(**config | wanted), dataset, tmp_path).resume()
    options = [f"--{name}={value}" for name, value in wanted.items()]
    result = call(train_mnist, "--out", tmp_path, "--resume", *options)
    assert_one_sentence(result, 2)
    assert re.search(words, result.stderr)
