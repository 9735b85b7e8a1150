"""Models that minigru has written, run by the library they were written for, and models made there, read by minigru.

PyTorch, Keras and ONNX Runtime come with the extras bench and keras; NODE_PATH says where TensorFlow.js is. The 10,000
answers of a trained model take about a minute for each library:

    npm install --prefix tfjs @tensorflow/tfjs@4 @tensorflow/tfjs-backend-wasm@4
    NODE_PATH=$PWD/tfjs/node_modules MINIGRU_RUN=runs/story pytest -n0 -k trained tests/interchange/test_libraries.py
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import warnings
from pathlib import Path

import convert
import numpy as np
import pytest
from calling import call
from helpers import ROOT, relative
from random_models import drawn

import minigru
from minigru import interchange
from minigru.interchange import names, running
from minigru.training import data
from minigru.training.checkpoint import load_model
from minigru.training.config import Config
from minigru.training.reading import sequences
from minigru.training.trainer import Trainer

os.environ.setdefault("KERAS_BACKEND", "torch")
pytestmark = pytest.mark.filterwarnings("ignore")  # of the other libraries
EXTRA = "is not installed: the extras bench and keras bring it"
ROUNDING = {"float32": 1e-6, "float64": 1e-12}
KERAS = 1e-6  # in float64 too: on PyTorch and NumPy, Keras 3.15 multiplies matrices in float32

# What a program of the other library does: it loads the file and answers. Each is a function (path, x) -> logits.


def needed(name):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the library
        return pytest.importorskip(name, reason=f"{name} {EXTRA}")


def by_onnx_runtime(path, x):
    runtime = needed("onnxruntime")
    return runtime.InferenceSession(str(path), providers=["CPUExecutionProvider"]).run(["logits"], {"x": x})[0]


def by_keras(path, x):
    keras = needed("keras")
    return keras.ops.convert_to_numpy(keras.saving.load_model(path)(x))


def by_the_article(path, x):
    torch = needed("torch")
    nn, F = torch.nn, torch.sigmoid

    class GRUCell(nn.Module):
        def __init__(self, D, H):
            super().__init__()
            for layer, fan_in in {"x_t": D, "c_t": H, "x_t_r": D, "c_t_r": H, "x_t_u": D, "c_t_u": H}.items():
                setattr(self, layer, nn.Linear(fan_in, H))

        def forward(self, x, c):
            gamma_u, gamma_r = F(self.c_t_u(c) + self.x_t_u(x)), F(self.c_t_r(c) + self.x_t_r(x))
            return gamma_u * torch.tanh(self.c_t(gamma_r * c) + self.x_t(x)) + (1 - gamma_u) * c

    class DigitClassification(nn.Module):
        def __init__(self, D, H, K):
            super().__init__()
            self.gru = nn.Module()
            self.gru.GRUCell = GRUCell(D, H)
            self.classifier = nn.Linear(H, K)

        def forward(self, x):
            c = torch.zeros(len(x), self.classifier.in_features, dtype=x.dtype)
            for t in range(x.shape[1]):
                c = self.gru.GRUCell(x[:, t], c)
            return self.classifier(c)

    state = torch.load(path, weights_only=True)
    K, H = state["classifier.weight"].shape
    model = DigitClassification(x.shape[2], H, K).to(torch.from_numpy(x).dtype)
    model.load_state_dict(state)
    return model(torch.from_numpy(x)).detach().numpy()


PAGE = (ROOT / "docs" / "interchange.md").read_text("utf-8")
PROGRAM = re.search(r"```js\n(.*?)```", PAGE, re.DOTALL)[1]


# Runs the page's program for each pair of a model and an input, in one process, because node starts slowly; on the
# WebAssembly backend of TensorFlow.js, because plain JavaScript is much slower.
RUNNER = """
const [program, ...files] = process.argv.slice(2), tf = require('@tensorflow/tfjs');
require('@tensorflow/tfjs-backend-wasm');
const run = new Function('require', 'process', 'console', require('fs').readFileSync(program));
tf.setBackend('wasm').then(async () => {
  for (let i = 0; i < files.length; i += 2) {
    process.argv.splice(2, 2, files[i], files[i + 1]);
    console.log(await new Promise((log) => run(require, process, {log})));
  }
});
"""


def by_tensorflow_js(path, x):
    return of_tensorflow_js([(path, x)])[0]


def of_tensorflow_js(pairs):
    """Return the logits of each pair of a file and an input."""
    folder, files = pairs[0][0].parent, []
    (folder / "program.js").write_text(PROGRAM)
    (folder / "runner.js").write_text(RUNNER)
    for i, (path, x) in enumerate(pairs):
        files += [path, folder / f"x{i}.json"]
        files[-1].write_text(json.dumps(x.tolist()))
    command = ["node", folder / "runner.js", folder / "program.js", *files]
    result = subprocess.run(command, capture_output=True, text=True, timeout=600)
    lines = [line for line in result.stdout.splitlines() if line.startswith("[[")]
    assert len(lines) == len(pairs), result.stderr
    return [np.array(json.loads(line), "float32") for line in lines]


NEEDED = {".onnx": "onnxruntime", ".keras": "keras", ".pt": "torch"}


@pytest.fixture
def installed(ending):
    """Skip a test whose library is not installed."""
    if ending in NEEDED:
        needed(NEEDED[ending])
    elif not any(Path(folder, "@tensorflow").is_dir() for folder in os.environ.get("NODE_PATH", "").split(":")):
        pytest.skip("TensorFlow.js is not installed: the module's docstring says how")


LIBRARIES = [
    (".onnx", "float32", by_onnx_runtime),
    (".keras", "float32", by_keras),
    (".keras", "float64", by_keras),
    (".pt", "float32", by_the_article),
    (".pt", "float64", by_the_article),
    (".json", "float32", by_tensorflow_js),
]


@pytest.mark.usefixtures("installed")
@pytest.mark.parametrize(("ending", "dtype", "library"), LIBRARIES)
def test_twenty_models_answer_the_same_in_the_other_library(ending, dtype, library, tmp_path):
    models = [drawn(seed, dtype) for seed in range(20)]
    pairs = [(tmp_path / f"model{seed}{ending}", x) for seed, (_, x) in enumerate(models)]
    for (path, _), (model, _) in zip(pairs, models, strict=True):
        interchange.save(model, path)
    answers = of_tensorflow_js(pairs) if library is by_tensorflow_js else [library(path, x) for path, x in pairs]
    for (path, x), (model, _), logits in zip(pairs, models, answers, strict=True):
        assert relative(logits, model.logits(x)) < (KERAS if library is by_keras else ROUNDING[dtype])
        again = minigru.load(path)
        assert all(np.array_equal(again.params[name], array) for name, array in model.params.items())


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """Return a trained model and test images: those of the run in MINIGRU_RUN, or of a small one of the digits."""
    folder = os.environ.get("MINIGRU_RUN")
    if folder is None:
        folder, config = tmp_path_factory.mktemp("run"), Config(data="digits", hidden_size=32, epochs=3, lr=1e-2)
        Trainer(config, data.load("digits"), folder).run(quiet=True)
    model, config = load_model(folder)
    return model, sequences(data.load(config.data).x_test, config).astype(model.dtype)


@pytest.mark.usefixtures("installed")
@pytest.mark.parametrize(("ending", "library"), {ending: library for ending, _, library in LIBRARIES}.items())
def test_a_trained_model_gives_the_same_answers_there(ending, library, request, tmp_path):
    model, images = request.getfixturevalue("trained")
    interchange.save(model, tmp_path / f"model{ending}")
    parts = np.array_split(images, max(1, len(images) // 1000))
    logits = np.concatenate([library(tmp_path / f"model{ending}", part) for part in parts])
    assert np.array_equal(logits.argmax(1), model.predict(images))
    assert relative(logits, model.logits(images)) < 1e-6


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("reset_after", [False, True])
def test_a_model_made_by_keras_is_read(reset_after, dtype, tmp_path, rng):
    keras = needed("keras")
    layers = [keras.layers.GRU(5, reset_after=reset_after, dtype=dtype), keras.layers.Dense(3, dtype=dtype)]
    model = keras.Sequential([keras.Input((None, 4), dtype=dtype), *layers])
    model.set_weights([rng.standard_normal(w.shape) for w in model.get_weights()])
    model.save(tmp_path / "model.keras")
    x = rng.standard_normal((6, 7, 4)).astype(dtype)
    theirs = keras.ops.convert_to_numpy(model(x))
    if not reset_after:
        assert relative(minigru.load(tmp_path / "model.keras").logits(x), theirs) < KERAS
        return
    with pytest.raises(interchange.InterchangeError, match="reset gate acts after the product"):
        minigru.load(tmp_path / "model.keras")
    by_reference = running.by_reference(interchange.read(tmp_path / "model.keras"), x)
    assert relative(by_reference, theirs) < KERAS


MAKE = """
const tf = require('@tensorflow/tfjs'), fs = require('fs'), [folder, recurrentActivation] = process.argv.slice(2);
const gru = tf.layers.gru({name: 'reader', units: 5, inputShape: [null, 4], recurrentActivation});
const model = tf.sequential({layers: [gru, tf.layers.dense({name: 'a_gru_is_before_me', units: 3})]});
model.setWeights(model.getWeights().map((w, i) => tf.randomNormal(w.shape, 0, 0.5, 'float32', i)));
const save = async ({modelTopology, weightSpecs, weightData}) => {
  const weightsManifest = [{paths: ['weights.bin'], weights: weightSpecs}];
  fs.writeFileSync(folder + '/weights.bin', Buffer.from(weightData));
  fs.writeFileSync(folder + '/model.json', JSON.stringify({modelTopology, weightsManifest}));
  return {modelArtifactsInfo: {dateSaved: new Date(), modelTopologyType: 'JSON'}};
};
const x = tf.randomNormal([6, 7, 4], 0, 1, 'float32', 8);
model.save({save}).then(() => console.log(JSON.stringify([x.arraySync(), model.predict(x).arraySync()])));
"""


@pytest.mark.usefixtures("installed")
@pytest.mark.parametrize(("ending", "activation"), [(".json", "sigmoid"), (".json", "hardSigmoid")])
def test_a_model_made_by_tensorflow_js_is_read(ending, activation, tmp_path):
    (tmp_path / "make.js").write_text(MAKE)
    made = subprocess.run(["node", tmp_path / "make.js", tmp_path, activation], capture_output=True, text=True)
    assert made.returncode == 0, made.stderr
    if activation != "sigmoid":
        with pytest.raises(
            interchange.InterchangeError, match="recurrent_activation 'hard_sigmoid'; expected 'sigmoid'"
        ):
            minigru.load(tmp_path / f"model{ending}")
        return
    x, theirs = (np.array(array, "float32") for array in json.loads(made.stdout.splitlines()[-1]))
    assert relative(minigru.load(tmp_path / f"model{ending}").logits(x), theirs) < 1e-6


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_a_gru_of_pytorch_is_read_for_the_reference_by_every_way(dtype, tmp_path, rng):
    torch = needed("torch")
    kind = getattr(torch, dtype)

    class Model(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.gru, self.fc = torch.nn.GRU(4, 5, batch_first=True, dtype=kind), torch.nn.Linear(5, 3, dtype=kind)

        def forward(self, x):
            return self.fc(self.gru(x)[1][-1])

    model, x = Model(), rng.standard_normal((6, 7, 4)).astype(dtype)
    theirs = model(torch.from_numpy(x)).detach().numpy()
    torch.save(model.state_dict(), tmp_path / "model.pt")
    by_reference = running.by_reference(interchange.read(tmp_path / "model.pt"), x)
    assert relative(by_reference, theirs) < ROUNDING[dtype]


@pytest.mark.parametrize("dynamo", [True, False])
@pytest.mark.parametrize("last", ["[1][-1]", "[0][:, -1]", None])
def test_what_pytorch_exports_is_read(last, dynamo, tmp_path):
    torch = needed("torch")
    needed("onnxscript")

    class Model(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.gru, self.fc = torch.nn.GRU(4, 5, batch_first=True), torch.nn.Linear(5, 3)

        def forward(self, x):
            return self.fc(eval(f"self.gru(x){last}")) if last else self.gru(x)

    model, x, path = Model(), torch.rand(6, 7, 4), tmp_path / "model.onnx"
    options = {"external_data": False, "verbose": False} if dynamo else {}
    torch.onnx.export(model, (x,), path, dynamo=dynamo, **options)
    params, state = interchange.read(path), {f"gru.{name}": array for name, array in model.gru.state_dict().items()}
    _, packed = names.from_names({name: array.numpy() for name, array in state.items()})
    assert all(np.array_equal(params[name], array) for name, array in packed.items())
    if last:
        assert relative(running.by_reference(params, x.numpy()), model(x).detach().numpy()) < 1e-6


def test_a_pickle_that_runs_code_is_refused_and_does_not_run(tmp_path):
    torch = needed("torch")

    class Trap:
        def __reduce__(self):
            return Path(tmp_path, "ran").touch, ()

    torch.save({"x_t_u.weight": Trap()}, tmp_path / "a.pt")
    with pytest.raises(interchange.InterchangeError, match="weights-only reader refuses it"):
        interchange.read(tmp_path / "a.pt")
    assert not (tmp_path / "ran").exists()


def test_an_archive_with_a_broken_directory_is_one_sentence(tmp_path):
    needed("torch")
    (tmp_path / "a.pt").write_bytes(b"x" * 100 + b"PK\x05\x06" + b"\0" * 4 + b"\1\0\1\0" + b"@\0\0\0" + b"\0" * 6)
    with pytest.raises(interchange.InterchangeError, match=r"it is damaged \(BadZipFile"):
        interchange.read(tmp_path / "a.pt")


def test_a_tensor_that_claims_more_than_its_file_is_refused(tmp_path):
    torch = needed("torch")
    state = {"gru.weight_ih_l0": torch.zeros(1, 1).expand(3 * 10**6, 10**6)}
    torch.save(state, tmp_path / "a.pt")
    with pytest.raises(interchange.InterchangeError, match=r"claim 12,000,000,000,000 bytes"):
        interchange.read(tmp_path / "a.pt")


@pytest.mark.usefixtures("installed")
@pytest.mark.parametrize("ending", NEEDED)
def test_check_runs_the_other_library(ending, tmp_path):
    interchange.save(drawn(0, "float32")[0], tmp_path / "a.npz")
    result = call(convert, tmp_path / "a.npz", tmp_path / f"a{ending}", "--check")
    assert result.returncode == 0, result.stderr
    assert {".onnx": "ONNX Runtime", ".keras": "Keras on", ".pt": "minigru.reference"}[ending] in result.stdout
