"""What is written is read again, ONNX's own evaluator gives the same answers, and a wrong file is one sentence."""

from __future__ import annotations

import contextlib
import io
import json
import re
import subprocess
import sys
import zipfile

import convert
import numpy as np
import onnx
import pytest
import safetensors.numpy
from calling import assert_one_sentence, call
from helpers import relative
from onnx import helper, numpy_helper
from onnx.reference import ReferenceEvaluator
from random_models import drawn

import minigru
from minigru import interchange, reference
from minigru.interchange import names, running

ROUNDING = {"float32": 1e-6, "float64": 1e-12}


@pytest.mark.parametrize("dtype", ROUNDING)
@pytest.mark.parametrize("ending", [".npz", ".safetensors", ".onnx", ".json"])
def test_twenty_models_come_back_with_the_bits_they_had(ending, dtype, tmp_path):
    for seed in range(20):
        model, x = drawn(seed, dtype)
        interchange.save(model, tmp_path / f"model{ending}")
        again = minigru.load(str(tmp_path / f"model{ending}"))
        if ending == ".json":  # TensorFlow.js has float32 alone
            assert relative(again.logits(x), model.logits(x)) < 1e-6
            continue
        assert again.dtype == dtype
        assert all(np.array_equal(again.params[name], array) for name, array in model.params.items())


@pytest.mark.parametrize("dtype", ROUNDING)
def test_the_whole_classifier_runs_in_onnx_s_evaluator_with_any_batch_and_length(dtype, tmp_path):
    for seed in range(20):
        model, x = drawn(seed, dtype)
        interchange.save(model, tmp_path / "model.onnx")
        evaluator = ReferenceEvaluator(str(tmp_path / "model.onnx"))
        for part in (x, x[:2, :1]):
            logits, probabilities = evaluator.run(None, {"x": part})
            assert relative(logits, model.logits(part)) < ROUNDING[dtype]
            assert relative(probabilities, model.predict_proba(part)) < ROUNDING[dtype]
    stored = onnx.load(tmp_path / "model.onnx")
    assert {entry.key: entry.value for entry in stored.metadata_props} == {
        "variant": "minigru: linear_before_reset=0, z = 1 - gamma_u"
    }


def test_safetensors_names_the_variant_and_a_header_that_contradicts_it_is_refused(tmp_path):
    model, _ = drawn(0, "float32")
    interchange.save(model, tmp_path / "a.safetensors")
    with safetensors.safe_open(tmp_path / "a.safetensors", "numpy") as file:
        header = file.metadata()
        arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    assert header["cell"] == "gru"
    assert "reset gate before the product" in header["variant"]
    header["variant"] = (
        header["variant"]
        .replace("before", "after")
        .replace("update gate replaces at 1, one bias per gate", "gate keeps at 1, two biases for the candidate")
    )
    safetensors.numpy.save_file(arrays, tmp_path / "a.safetensors", header)
    with pytest.raises(interchange.InterchangeError, match="its header says 'reset gate after"):
        interchange.read(tmp_path / "a.safetensors")


def test_a_run_and_an_rnn_are_read_too(tmp_path):
    rnn = minigru.SequenceClassifier(3, 4, 2, "rnn")
    interchange.save(rnn, tmp_path / "rnn.safetensors")
    assert np.array_equal(minigru.load(tmp_path / "rnn.safetensors").vector, rnn.vector)
    with pytest.raises(interchange.InterchangeError, match=r"the model is a rnn; \.onnx is written from"):
        interchange.save(rnn, tmp_path / "rnn.onnx")


@pytest.mark.parametrize("ending", [".npz", ".safetensors"])
def test_the_article_s_state_dict_is_read_and_its_two_biases_add(ending, tmp_path, rng):
    model, x = drawn(3, "float64")
    arrays = names.to_article(dict(model.params))
    for gate in ("x_t_u", "x_t"):
        moved = rng.standard_normal(model.cell.hidden_size)
        arrays[f"gru.GRUCell.{gate}.bias"] = arrays[f"gru.GRUCell.{gate}.bias"] + moved
        arrays[f"gru.GRUCell.{gate.replace('x', 'c')}.bias"] = -moved
    save(arrays, tmp_path / f"article{ending}")
    assert relative(minigru.load(tmp_path / f"article{ending}").logits(x), model.logits(x)) < 1e-12


def save(arrays, path):
    if path.suffix == ".npz":
        np.savez(path, **arrays)
    else:
        arrays = {name: np.ascontiguousarray(array) for name, array in arrays.items()}
        safetensors.numpy.save_file(arrays, path)


def test_a_gru_of_pytorch_is_refused_by_load_and_read_for_the_reference(tmp_path, torch_names):
    save(torch_names, tmp_path / "torch.safetensors")
    with pytest.raises(interchange.InterchangeError, match=r"reset gate acts after the product.*gru_after_forward"):
        minigru.load(tmp_path / "torch.safetensors")
    p = interchange.read(tmp_path / "torch.safetensors")
    gru = {name.removeprefix("gru_after."): array for name, array in p.items()}
    x, h = np.ones((2, 4), "float32"), np.full((2, 5), 0.5, "float32")
    W, U, b, d = (torch_names[f"gru.{name}_l0"] for name in ("weight_ih", "weight_hh", "bias_ih", "bias_hh"))
    (ri, zi, ni), (rh, zh, nh) = np.split(x @ W.T + b, 3, 1), np.split(h @ U.T + d, 3, 1)
    r, z = reference.sigmoid(ri + rh), reference.sigmoid(zi + zh)
    assert relative(reference.gru_after_cell(x, h, gru)[0], (1 - z) * np.tanh(ni + r * nh) + z * h) < 1e-6
    assert np.array_equal(p["linear.W"], torch_names["fc.weight"].T)


# --- Files that are not what they should be: one sentence with what was found and what can be read ---


def changed(model_path, change):
    """Change the ONNX model in a file."""
    model = onnx.load(model_path)
    change(model, next(node for node in model.graph.node if node.op_type == "GRU"))
    model_path.write_bytes(model.SerializeToString())


def gru_attribute(name, value):
    def change(model, node):
        kept = [attribute for attribute in node.attribute if attribute.name != name]
        del node.attribute[:]
        node.attribute.extend([*kept, helper.make_attribute(name, value)])

    return change


def stored(name, make):
    def change(model, node):
        tensor = next(tensor for tensor in model.graph.initializer if tensor.name == name)
        tensor.CopyFrom(make(tensor))

    return change


def huge(tensor):
    tensor.dims[1] = 3 * 10**9
    return tensor


def external(tensor):
    tensor.data_location = onnx.TensorProto.EXTERNAL
    return tensor


def half(tensor):
    return numpy_helper.from_array(numpy_helper.to_array(tensor).astype("float16"), tensor.name)


def lstm(model, node):
    node.op_type = "LSTM"


def made(place, *node, **attributes):
    """Put another node at a place of the graph."""

    def change(model, gru):
        found = model.graph.node[place]
        found.CopyFrom(helper.make_node(*node, found.input[:1], found.output, **attributes))

    return change


def relu_before_the_transpose(model, node):
    model.graph.node.insert(0, helper.make_node("Relu", ["x"], ["positive"]))
    model.graph.node[1].input[0] = "positive"


def units_in_another_order(model, node):
    model.graph.initializer.append(numpy_helper.from_array(np.arange(drawn(1, "float32")[0].cell.hidden_size), "order"))
    model.graph.node[2].output[0] = "squeezed"
    model.graph.node.insert(3, helper.make_node("Gather", ["squeezed", "order"], ["c"], axis=1))


def memory_as_bias(model, node):
    model.graph.node[3].input[:] = ["x", "linear_W", "c"]


def cycle(model, node):
    model.graph.node[2].CopyFrom(helper.make_node("Identity", ["last"], ["last"]))


def other_output(model, node):
    model.graph.node.append(helper.make_node("Relu", ["x"], ["y"]))
    model.graph.output[0].name = "y"


def foreign(model, node):
    node.domain = "com.example"


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (gru_attribute("direction", "bidirectional"), "has the direction 'bidirectional'; expected 'forward'"),
        (gru_attribute("direction", "reverse"), "has the direction 'reverse'"),
        (gru_attribute("activations", ["HardSigmoid", "Tanh"]), r"activations \['HardSigmoid', 'Tanh'\]; expected Sig"),
        (gru_attribute("clip", 3.0), "has a clip of 3.0"),
        (stored("gru_W", half), "'gru_W' is of dtype FLOAT16; expected FLOAT or DOUBLE"),
        (stored("gru_W", huge), "'gru_W' claims the shape .* more than the file has bytes for"),
        (stored("gru_R", external), "'gru_R' is stored in another file"),
        (lambda model, node: model.graph.initializer.pop(0), "'gru_W' is given at run time; expected an array stored"),
        (lstm, "the recurrent nodes of its graph are: LSTM; expected one GRU"),
        (lambda model, node: model.graph.node.append(node), "are: GRU, GRU; expected one GRU"),
        (made(-1, "Relu"), "Relu follows its linear layer; expected at most Softmax"),
        (made(2, "Relu"), "Relu follows its GRU; expected a linear layer"),
        (made(0, "Relu"), "the node Relu stands before its GRU"),
        (relu_before_the_transpose, "the node Relu stands before its GRU"),
        (units_in_another_order, "Gather takes a part of the memories of its GRU; expected the last memory"),
        (memory_as_bias, "Gemm follows its GRU; expected a linear layer"),
        (cycle, "ONNX's checker refuses it"),
        (other_output, "its first output, 'y', is not of its GRU or linear layer"),
        (foreign, "its node GRU is of the domain 'com.example'"),
        (gru_attribute("hidden_size", 99), "has the hidden_size 99"),
        (gru_attribute("activations", 3), "ONNX's checker refuses it"),
        (stored("first", external), "'first' is stored in another file"),
    ],
)
def test_another_onnx_graph_is_one_sentence(change, words, tmp_path):
    interchange.save(drawn(1, "float32")[0], tmp_path / "model.onnx")
    changed(tmp_path / "model.onnx", change)
    with pytest.raises(interchange.InterchangeError, match=words):
        minigru.load(tmp_path / "model.onnx")


def last_of_all(index):
    """Let the linear layer read Y, the memories of all steps, as PyTorch's exporters do for `gru(x)[0][:, -1]`."""

    def change(model, gru):
        gru.output[0] = "Y"
        stored = {"shape": np.array([0, 0, -1]), "index": np.array(index)}
        model.graph.initializer.extend(numpy_helper.from_array(array, name) for name, array in stored.items())
        moves = [
            helper.make_node("Transpose", ["Y"], ["TB1H"], perm=[0, 2, 1, 3]),
            helper.make_node("Reshape", ["TB1H", "shape"], ["TBH"]),
            helper.make_node("Transpose", ["TBH"], ["BTH"], perm=[1, 0, 2]),
            helper.make_node("Gather", ["BTH", "index"], ["c"], axis=1),
        ]
        nodes = [*model.graph.node[:2], *moves, *model.graph.node[3:]]
        del model.graph.node[:]
        model.graph.node.extend(nodes)

    return change


def test_a_graph_that_takes_the_last_of_all_memories_is_read(tmp_path):
    model, x = drawn(1, "float32")
    interchange.save(model, tmp_path / "model.onnx")
    changed(tmp_path / "model.onnx", last_of_all(-1))
    assert relative(minigru.load(tmp_path / "model.onnx").logits(x), model.logits(x)) < 1e-6
    logits, by = running.logits(tmp_path / "model.onnx", x)
    assert "ONNX" in by
    assert relative(logits, model.logits(x)) < 1e-6
    interchange.save(model, tmp_path / "model.onnx")
    changed(tmp_path / "model.onnx", last_of_all(0))
    with pytest.raises(interchange.InterchangeError, match="Gather takes a part of the memories of its GRU"):
        interchange.read(tmp_path / "model.onnx")


def time_first(model, gru):
    gru.input[0] = "x"
    model.graph.node.pop(0)


def probabilities_alone(model, gru):
    model.graph.output.pop(0)


@pytest.mark.parametrize("change", [time_first, probabilities_alone])
def test_the_logits_of_another_graph_are_found(change, tmp_path):
    model, x = drawn(1, "float32")
    interchange.save(model, tmp_path / "model.onnx")
    changed(tmp_path / "model.onnx", change)
    logits, by = running.logits(tmp_path / "model.onnx", x)
    assert "ONNX" in by
    assert relative(logits, model.logits(x)) < 1e-6


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda a: a | {"gru.weight_ih_l1": a["gru.weight_ih_l0"]}, "is of a stacked layer; expected one layer in one"),
        (lambda a: a | {"gru.weight_ih_l0_reverse": a["gru.weight_ih_l0"]}, "is of a bidirectional layer"),
        (lambda a: a | {"gru.weight_hh_l0": np.ones((20, 5), "float32")}, "that of an LSTM; expected"),
        (lambda a: a | {"gru.weight_hh_l0": np.ones((5, 5), "float32")}, "that of a plain RNN; expected"),
        (lambda a: a | {"gru.weight_ih_l0": np.ones((12, 4), "float32")}, "the shapes of the arrays do not fit"),
        (lambda a: a | {"conv.weight": np.ones((3, 5), "float32")}, "besides a GRU and a linear layer"),
        (lambda a: {n: v for n, v in a.items() if n != "gru.weight_hh_l0"}, "the arrays lack gru.weight_hh_l0"),
        (lambda a: {n: v.astype("float16") for n, v in a.items()}, "is of dtype (float|F)16; expected"),
        (
            lambda a: a | {"fc.bias": a["fc.bias"].astype("float64")},
            "is of float64 and .* of float32; expected one dtype",
        ),
        (lambda a: a | {"fc.bias": a["fc.bias"] * np.nan}, "linear.b holds NaN or infinity"),
        (lambda a: {"encoder.weight": a["fc.weight"]}, "the arrays are 'encoder.weight'; expected those of a GRU of"),
        (lambda a: {}, "the arrays are none"),
    ],
)
@pytest.mark.parametrize("ending", [".npz", ".safetensors"])
def test_other_arrays_are_one_sentence(ending, change, words, tmp_path, torch_names):
    save(change(torch_names), tmp_path / f"a{ending}")
    with pytest.raises(interchange.InterchangeError, match=words) as caught:
        interchange.read(tmp_path / f"a{ending}")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("ending", [".npz", ".safetensors", ".onnx", ".keras", ".json", ".pt"])
@pytest.mark.parametrize("content", [b"", b"\x00" * 100, b"\x80\x04K*.", b'{"a": 1}', b"\xff" * 4096])
def test_a_file_of_another_kind_is_one_sentence(ending, content, tmp_path):
    path = tmp_path / f"model{ending}"
    path.write_bytes(content)
    with pytest.raises(interchange.InterchangeError, match=re.escape(f"{path} cannot be read: ")):
        interchange.read(path)


@pytest.mark.parametrize("ending", [".npz", ".safetensors", ".onnx", ".json"])
def test_a_damaged_file_is_an_error_of_one_sentence_or_another_model(ending, tmp_path, rng):
    path = tmp_path / f"model{ending}"
    interchange.save(drawn(2, "float32")[0], path)
    content = path.read_bytes()
    for _ in range(60):
        damaged = bytearray(content)
        for place in rng.integers(len(content), size=3):
            damaged[place] = rng.integers(256)
        path.write_bytes(bytes(damaged[: rng.integers(1, len(content) + 1)] if rng.random() < 0.5 else damaged))
        with contextlib.suppress(interchange.InterchangeError):  # no other error, and no warning
            interchange.read(path)


# --- TensorFlow.js, whose files are text ---


def edited(change):
    def edit(folder):
        model = json.loads((folder / "model.json").read_text())
        layers = model["modelTopology"]["config"]["layers"]
        change(model, layers[0]["config"], model["weightsManifest"][0])
        (folder / "model.json").write_text(json.dumps(model))

    return edit


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda model, gru, group: gru.pop("recurrent_activation"), "recurrent_activation 'hard_sigmoid'; expected"),
        (lambda model, gru, group: gru.update(activation="relu"), "the activation 'relu'; expected 'tanh'"),
        (lambda model, gru, group: gru.update(reset_after=True), "reset_after=true, which TensorFlow.js cannot run"),
        (lambda model, gru, group: gru.update(go_backwards=True), "reads a sequence backwards"),
        (lambda model, gru, group: gru.update(return_sequences=True), "returns every state"),
        (lambda model, gru, group: gru.update(dtype="mixed_float16"), "computes in mixed_float16; expected float32"),
        (lambda model, gru, group: group.update(paths=["../model.json"]), "expected a file in its own folder"),
        (lambda model, gru, group: group["weights"].pop(), "its weights claim"),
        (lambda model, gru, group: group["weights"][0].update(quantization={}), "float32 and quantised"),
        (lambda model, gru, group: group["weights"][0].update(shape=[10**9, 10**9]), "its weights claim"),
        (lambda model, gru, group: group["weights"][0].update(name="gru/other"), "its weights lack gru/kernel"),
        (lambda model, gru, group: group.update(paths=group["paths"] * 2), "names a file twice"),
        (lambda model, gru, group: group["weights"][0].update(shape=[float("inf")]), "it is damaged .OverflowError"),
        (
            lambda model, gru, group: model["modelTopology"]["config"]["layers"][0].update(config=5),
            "has no list of layers",
        ),
        (
            lambda model, gru, group: model["modelTopology"]["config"]["layers"][0].update(class_name="LSTM"),
            "its layers are: LSTM, Dense; expected a GRU",
        ),
    ],
)
def test_another_model_of_tensorflow_js_is_one_sentence(change, words, tmp_path):
    interchange.save(drawn(1, "float32")[0], tmp_path / "model.json")
    edited(change)(tmp_path)
    with pytest.raises(interchange.InterchangeError, match=words):
        interchange.read(tmp_path / "model.json")


# --- Keras's files, read by h5py alone ---


def keras_file(path, model, gru=(), weights=None):
    """Write what Keras writes for a GRU and a Dense layer, with other options of the GRU or other weights."""
    h5py = pytest.importorskip("h5py", reason="h5py is not installed: the extra keras brings it")
    options = {"units": model.cell.hidden_size, "activation": "tanh", "recurrent_activation": "sigmoid"}
    options |= {"use_bias": True, "reset_after": False, "dtype": {"config": {"name": "float32"}}, **dict(gru)}
    layers = [("InputLayer", {}), ("GRU", options), ("Dense", {"activation": "softmax"})]
    config = {"config": {"layers": [{"class_name": kind, "config": config} for kind, config in layers]}}
    arrays, file = (
        [*names.to_keras(dict(model.params)), model.params["linear.W"], model.params["linear.b"]],
        io.BytesIO(),
    )
    places = [f"layers/gru/cell/vars/{i}" for i in range(3)] + [f"layers/dense/vars/{i}" for i in range(2)]
    with h5py.File(file, "w") as h5:
        for place, array in zip(places, arrays, strict=True):
            h5.create_dataset(place, data=array)
        if weights:
            weights(h5)
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("config.json", json.dumps(config))
        archive.writestr("model.weights.h5", file.getvalue())


def replaced(place, **options):
    def replace(h5):
        del h5[place]
        if options:
            h5.create_dataset(place, **options)

    return replace


def linked(h5):
    import h5py

    del h5["layers/gru/cell/vars/0"]
    h5["layers/gru/cell/vars/0"] = h5py.ExternalLink("/etc/passwd", "/")


KERNEL = "layers/gru/cell/vars/0"


@pytest.mark.parametrize(
    ("options", "weights", "words"),
    [
        ({"reset_after": True}, None, "contradict each other"),
        ({"recurrent_activation": "hard_sigmoid"}, None, "recurrent_activation 'hard_sigmoid'; expected 'sigmoid'"),
        ({"activation": {"config": {"name": "f"}, "class_name": "function"}}, None, "activation 'function'; expected"),
        ({"dtype": {"config": {"name": "mixed_float16"}}}, None, "computes in mixed_float16"),
        ({}, replaced(KERNEL), "lack the array 'kernel'"),
        ({}, replaced(KERNEL, data=np.zeros((4, 9), "float16")), "kernel is of dtype float16"),
        ({}, replaced(KERNEL, shape=(10**6, 10**6), dtype="f4"), "its arrays claim"),
        ({}, replaced(KERNEL, shape=(10**6, 10**6), dtype="f4", chunks=True), "kernel is not a plain array"),
        ({}, replaced(KERNEL, shape=(9,), dtype="f4", external="/etc/passwd"), "kernel is not a plain array"),
        ({}, linked, "lack the array 'kernel'"),
    ],
)
def test_another_model_of_keras_is_one_sentence(options, weights, words, tmp_path):
    keras_file(tmp_path / "a.keras", drawn(1, "float32")[0], options, weights)
    with pytest.raises(interchange.InterchangeError, match=words):
        interchange.read(tmp_path / "a.keras")


def test_a_model_of_keras_is_read_without_keras(tmp_path):
    model, x = drawn(1, "float32")
    keras_file(tmp_path / "a.keras", model)
    assert relative(minigru.load(tmp_path / "a.keras").logits(x), model.logits(x)) < 1e-6


# --- The script, and what is imported ---


def test_the_script_converts_and_compares(tmp_path, torch_names):
    model, _ = drawn(5, "float32")
    interchange.save(model, tmp_path / "a.npz")
    result = call(convert, tmp_path / "a.npz", tmp_path / "a.onnx", "--check")
    assert result.returncode == 0, result.stderr
    assert float(re.search(r"largest difference .*: (.*)", result.stdout)[1]) < 1e-5
    save(torch_names, tmp_path / "torch.npz")
    refused = call(convert, tmp_path / "torch.npz", tmp_path / "b.onnx")
    assert_one_sentence(refused, 2, "reset gate acts after the product", "gru_after_forward")
    assert_one_sentence(call(convert, tmp_path / "a.npz", tmp_path / "a.h5"), 2, "ends in '.h5'; expected one of .npz")
    assert_one_sentence(call(convert, tmp_path / "no.onnx", tmp_path / "a.npz"), 2, "no.onnx does not exist")
    assert not (tmp_path / "b.onnx").exists()
    before = (tmp_path / "a.npz").read_bytes()
    assert_one_sentence(call(convert, tmp_path / "a.npz", tmp_path / "a.npz"), 2, "is the file to read; name another")
    assert (tmp_path / "a.npz").read_bytes() == before


def test_check_finds_a_difference(tmp_path, monkeypatch):
    interchange.save(drawn(5, "float32")[0], tmp_path / "a.npz")
    run = convert.running.logits
    monkeypatch.setattr(convert.running, "logits", lambda path, x: run(path, x + (path.suffix == ".onnx") * 1e-3))
    result = call(convert, tmp_path / "a.npz", tmp_path / "a.onnx", "--check")
    assert_one_sentence(result, 1, "the logits differ by", "more than the rounding of float32")


def test_no_library_is_imported_before_a_file_needs_it(tmp_path):
    code = "import sys, minigru; minigru.interchange.save(minigru.SequenceClassifier(2, 3, 2), sys.argv[1]); "
    code += "minigru.load(sys.argv[1]); print({*sys.modules} & {'onnx', 'keras', 'torch', 'safetensors', 'h5py'})"
    result = subprocess.run([sys.executable, "-c", code, tmp_path / "a.npz"], capture_output=True, text=True)
    assert result.stdout.strip() == "set()", result.stderr


def test_a_missing_library_is_one_sentence(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "onnx", None)
    with pytest.raises(
        interchange.InterchangeError, match=r"the package onnx is needed .*pip install 'minigru\[onnx\]'"
    ):
        interchange.save(drawn(1, "float32")[0], tmp_path / "a.onnx")
