"""ONNX Runtime behind the contract, with real graphs: what comes out, and what is said when it fails."""

import dataclasses
import pickle
import threading

import numpy as np
import onnxruntime
import pytest
from onnx import TensorProto, helper
from sojourn.contracts import Port, StateTensor
from sojourn.datoms import DType
from sojourn.errors import ConfigError, GraphFailed, GraphRefused, PlanMismatch
from sojourn.interpreters import Interpreter, OnnxInterpreter, PlanHandle, devices
from sojourn.interpreters.devices import cuda_devices, providers_for

RATE = np.float32(0.0625)


@pytest.fixture
def interpreter():
    made = OnnxInterpreter("cpu")
    yield made
    made.close()


@pytest.fixture
def graphs(train):
    return {"train": train.SerializeToString()}


@pytest.fixture
def inputs():
    draw = np.random.default_rng(7)
    return {
        "state": {"w": draw.normal(size=(3, 1)).astype(np.float32), "steps": np.array(4, np.int64)},
        "x": draw.normal(size=(16, 3)).astype(np.float32),
        "y": draw.normal(size=(16, 1)).astype(np.float32),
    }


def test_a_training_step_is_what_numpy_says(interpreter, graphs, manifest, inputs):
    plan = interpreter.load(manifest(graphs), graphs)
    out = interpreter.run(plan, "train", inputs)
    x, y, w = inputs["x"], inputs["y"], inputs["state"]["w"]
    error = x @ w - y
    np.testing.assert_allclose(out["losses"], (error**2)[:, 0], rtol=1e-5)
    np.testing.assert_allclose(out["state"]["w"], w - RATE * (x.T @ error), rtol=1e-4, atol=1e-6)
    assert out["state"]["steps"].shape == ()
    assert out["state"]["steps"] == 5
    assert list(out) == ["state", "losses"]


def test_training_converges_through_states(interpreter, graphs, manifest, inputs):
    plan = interpreter.load(manifest(graphs), graphs)
    truth = np.array([[1.0], [-2.0], [0.5]], np.float32)
    inputs["y"] = inputs["x"] @ truth
    state = inputs["state"]
    for _ in range(200):
        state = interpreter.run(plan, "train", inputs | {"state": state})["state"]
    np.testing.assert_allclose(state["w"], truth, atol=1e-4)
    assert state["steps"] == 204


def test_it_is_an_interpreter(interpreter):
    checked: Interpreter = interpreter
    runtime = checked.runtime
    assert (runtime.name, runtime.provider, runtime.threads) == ("onnxruntime", "cpu", 1)
    assert runtime.version
    assert "asked for" in runtime.note


def test_what_crosses_is_plain_data(interpreter, graphs, manifest, inputs):
    """The contract's promise: everything can be sent to another process and back."""
    plan = pickle.loads(pickle.dumps(interpreter.load(manifest(graphs), graphs)))
    assert {type(value) for value in dataclasses.asdict(plan).values()} == {bytes, str}
    out = interpreter.run(plan, "train", pickle.loads(pickle.dumps(inputs)))
    assert pickle.loads(pickle.dumps(out))["losses"].tolist() == out["losses"].tolist()


@pytest.mark.parametrize("threads", [1, 3])
def test_same_bytes_again_and_in_another_session(graphs, manifest, inputs, threads):
    found = set()
    for _ in range(2):
        interpreter = OnnxInterpreter("cpu", threads=threads)
        plan = interpreter.load(manifest(graphs), graphs)
        for _ in range(3):
            out = interpreter.run(plan, "train", inputs)
            found.add((out["losses"].tobytes(), out["state"]["w"].tobytes()))
        interpreter.close()
    assert len(found) == 1


def test_results_are_values(interpreter, graphs, manifest, inputs):
    plan = interpreter.load(manifest(graphs), graphs)
    before = {"w": inputs["state"]["w"].copy(), "x": inputs["x"].copy()}
    first = interpreter.run(plan, "train", inputs)
    kept = first["losses"].copy()
    interpreter.run(plan, "train", inputs | {"x": inputs["x"] * 2})
    np.testing.assert_array_equal(first["losses"], kept)
    np.testing.assert_array_equal(inputs["state"]["w"], before["w"])
    np.testing.assert_array_equal(inputs["x"], before["x"])
    for tensor in (first["losses"], first["state"]["w"], first["state"]["steps"]):
        with pytest.raises(ValueError, match="read-only"):
            tensor[...] = 0


def test_inputs_may_be_read_only_strided_or_unaligned(interpreter, graphs, manifest, inputs):
    plan = interpreter.load(manifest(graphs), graphs)
    expected = interpreter.run(plan, "train", inputs)["losses"]
    strided = np.asfortranarray(inputs["x"])
    strided.flags.writeable = False
    raw = bytearray(1 + inputs["x"].nbytes)
    raw[1:] = inputs["x"].tobytes()
    unaligned = np.frombuffer(raw, np.float32, offset=1).reshape(16, 3)
    assert not unaligned.flags.aligned
    for x in (strided, unaligned):
        np.testing.assert_array_equal(interpreter.run(plan, "train", inputs | {"x": x})["losses"], expected)


def test_an_empty_batch(interpreter, graphs, manifest, inputs):
    plan = interpreter.load(manifest(graphs), graphs)
    out = interpreter.run(plan, "train", inputs | {"x": inputs["x"][:0], "y": inputs["y"][:0]})
    assert out["losses"].shape == (0,)
    np.testing.assert_array_equal(out["state"]["w"], inputs["state"]["w"])


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda i: i.pop("x"), r"takes \['state', 'x', 'y'\], the program gave \['state', 'y'\]"),
        (lambda i: i.update(z=i["x"]), "gave .*'z'"),
        (lambda i: i.update(x=i["x"].astype(np.float64)), r"'x' is stated as f32 \[-1, 3\], this is float64 \[16, 3\]"),
        (lambda i: i.update(x=i["x"].astype(">f4")), "this is >f4"),
        (lambda i: i.update(x=i["x"][:, :2]), r"\[16, 2\]"),
        (lambda i: i.update(x=i["x"][0]), r"this is float32 \[3\]"),
        (lambda i: i.update(x=i["x"][:4]), "16 rows, another input has 4"),
        (lambda i: i.update(x=[[1.0, 2.0, 3.0]]), "this is a list"),
        (lambda i: i.update(x=i["state"]), "this is a dict"),
        (lambda i: i.update(state=i["x"]), "is a state, the program gave a tensor"),
        (lambda i: i["state"].pop("w"), r"tensors \['steps', 'w'\], the program gave \['steps'\]"),
        (lambda i: i["state"].update(v=i["x"]), "program gave .*'v'"),
        (lambda i: i["state"].update(w=i["x"]), "state tensor 'w' is stated as f32"),
        (lambda i: i["state"].update(steps=np.float32(1)), "'steps' is a tensor, this is a float32"),
    ],
)
def test_inputs_that_the_plan_does_not_state(interpreter, graphs, manifest, inputs, change, words):
    plan = interpreter.load(manifest(graphs), graphs)
    change(inputs)
    with pytest.raises(GraphFailed, match=words) as caught:
        interpreter.run(plan, "train", inputs)
    assert "graph 'train'" in str(caught.value)
    assert caught.value.detail == ""


def one_graph(nodes, inputs, outputs, initializers=()):
    graph = helper.make_graph(nodes, "g", inputs, outputs, list(initializers))
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
    return {"train": model.SerializeToString()}


def value(name, kind, shape):
    return helper.make_tensor_value_info(name, kind, shape)


def stateless(manifest, graphs, inputs, outputs):
    return manifest(graphs, state=(), constants={}, inputs=inputs, outputs=outputs)


def test_a_failure_inside_the_runtime_tells_no_value(interpreter, manifest):
    graphs = one_graph(
        [helper.make_node("Gather", ["table", "i"], ["out"])],
        [value("table", TensorProto.FLOAT, [4]), value("i", TensorProto.INT64, ["n"])],
        [value("out", TensorProto.FLOAT, ["n"])],
    )
    ports = (Port("table", "tensor", "f32", (4,)), Port("i", "tensor", "i64", (None,)))
    plan = interpreter.load(stateless(manifest, graphs, ports, (Port("out", "unit", "f32", (None,)),)), graphs)
    secret = 8675309
    with pytest.raises(GraphFailed) as caught:
        interpreter.run(plan, "train", {"table": np.zeros(4, np.float32), "i": np.array([secret])})
    assert str(secret) in caught.value.detail  # the owner's log may have it
    assert str(secret) not in str(caught.value)
    assert str(secret) not in repr(caught.value)
    assert caught.value.__cause__ is None
    assert caught.value.__suppress_context__


def test_a_unit_output_has_one_value_per_row(interpreter, manifest):
    """The graph gives each value twice: a release would count twice as many units."""
    graphs = one_graph(
        [helper.make_node("Concat", ["x", "x"], ["out"], axis=0)],
        [value("x", TensorProto.FLOAT, ["n"])],
        [value("out", TensorProto.FLOAT, ["m"])],
    )
    plan = stateless(manifest, graphs, (Port("x", "tensor", "f32", (None,)),), (Port("out", "unit", "f32", (None,)),))
    handle = interpreter.load(plan, graphs)
    with pytest.raises(GraphFailed, match="one value per row"):
        interpreter.run(handle, "train", {"x": np.zeros(3, np.float32)})


def test_a_graph_that_computes_another_shape_than_it_declares(interpreter, manifest):
    graphs = one_graph(
        [helper.make_node("Reshape", ["x", "s"], ["out"])],
        [value("x", TensorProto.FLOAT, ["n"]), value("s", TensorProto.INT64, [2])],
        [value("out", TensorProto.FLOAT, [2, 2])],
    )
    ports = (Port("x", "tensor", "f32", (None,)), Port("s", "tensor", "i64", (2,)))
    handle = interpreter.load(stateless(manifest, graphs, ports, (Port("out", "tensor", "f32", (2, 2)),)), graphs)
    fits = interpreter.run(handle, "train", {"x": np.zeros(4, np.float32), "s": np.array([2, 2])})
    assert fits["out"].shape == (2, 2)
    with pytest.raises(GraphFailed, match=r"output 'out' is stated as f32 \[2, 2\], this is float32 \[1, 4\]"):
        interpreter.run(handle, "train", {"x": np.zeros(4, np.float32), "s": np.array([1, 4])})


@pytest.mark.parametrize("dtype", ["f16", "f32", "f64", "i8", "i32", "i64", "u8", "bool"])
def test_every_dtype_passes(interpreter, manifest, dtype):
    kinds = {"f16": 10, "f32": 1, "f64": 11, "i8": 3, "i32": 6, "i64": 7, "u8": 2, "bool": 9}
    graphs = one_graph(
        [helper.make_node("Identity", ["s"], ["s.new"])],
        [value("s", kinds[dtype], [2])],
        [value("s.new", kinds[dtype], [2])],
    )
    state = (Port("state", "state", "", ()),)
    plan = manifest(graphs, state=(StateTensor("s", dtype, (2,), False),), constants={}, inputs=state, outputs=state)
    given = np.array([0, 1]).astype(DType.from_name(dtype).numpy)
    out = interpreter.run(interpreter.load(plan, graphs), "train", {"state": {"s": given}})
    assert out["state"]["s"].dtype == given.dtype
    assert out["state"]["s"].tolist() == given.tolist()


def test_a_graph_that_the_runtime_does_not_load(interpreter, train, manifest):
    train.graph.node[0].input[1] = "nowhere"
    graphs = {"train": train.SerializeToString()}
    with pytest.raises(GraphRefused, match=r"graph 'train': ONNX Runtime .* does not load it"):
        interpreter.load(manifest(graphs), graphs)


def test_loading_judges_first(interpreter, graphs, manifest):
    with pytest.raises(PlanMismatch):
        interpreter.load(manifest(graphs, constants={}), graphs)


def test_loads_are_counted(interpreter, graphs, manifest, inputs):
    first = interpreter.load(manifest(graphs), graphs)
    again = interpreter.load(manifest(graphs), graphs)
    assert first == again
    interpreter.unload(first)
    interpreter.run(again, "train", inputs)
    interpreter.unload(again)
    interpreter.unload(again)
    with pytest.raises(GraphFailed, match="'least-squares' is not loaded here; load it"):
        interpreter.run(again, "train", inputs)


def test_two_plans_side_by_side(interpreter, graphs, manifest, inputs):
    slow = interpreter.load(manifest(graphs, constants={"rate": 0.0}), graphs)
    fast = interpreter.load(manifest(graphs), graphs)
    np.testing.assert_array_equal(interpreter.run(slow, "train", inputs)["state"]["w"], inputs["state"]["w"])
    assert (interpreter.run(fast, "train", inputs)["state"]["w"] != inputs["state"]["w"]).any()


def test_unknown_graphs_and_plans(interpreter, graphs, manifest, inputs):
    plan = interpreter.load(manifest(graphs), graphs)
    with pytest.raises(GraphFailed, match=r"no graph 'evaluate'; it has \['train'\]"):
        interpreter.run(plan, "evaluate", inputs)
    with pytest.raises(GraphFailed, match="not loaded"):
        interpreter.run(PlanHandle(b"\0" * 32, "other", "cpu"), "train", inputs)


def test_closing(interpreter, graphs, manifest, inputs):
    plan = interpreter.load(manifest(graphs), graphs)
    interpreter.close()
    interpreter.close()
    with pytest.raises(GraphFailed, match="not loaded"):
        interpreter.run(plan, "train", inputs)


def test_several_threads(interpreter, graphs, manifest, inputs):
    plan = interpreter.load(manifest(graphs), graphs)
    expected = interpreter.run(plan, "train", inputs)["losses"].tobytes()
    found = []

    def work():
        mine = interpreter.load(manifest(graphs), graphs)
        found.extend(interpreter.run(mine, "train", inputs)["losses"].tobytes() for _ in range(20))
        interpreter.unload(mine)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [expected] * 80


def test_nothing_is_printed(capfd, graphs, manifest, inputs, train):
    interpreter = OnnxInterpreter("auto")
    interpreter.run(interpreter.load(manifest(graphs), graphs), "train", inputs)
    train.graph.node[0].input[1] = "nowhere"
    broken = {"train": train.SerializeToString()}
    with pytest.raises(GraphRefused):
        interpreter.load(manifest(broken), broken)
    assert capfd.readouterr() == ("", "")


def test_the_provider_is_reported_as_it_is(graphs, manifest):
    interpreter = OnnxInterpreter("auto")
    plan = interpreter.load(manifest(graphs), graphs)
    assert plan.provider == interpreter.runtime.provider == ("cuda" if cuda_devices() else "cpu")


@pytest.mark.skipif(cuda_devices() > 0, reason="needs a host without CUDA")
def test_insisting_on_cuda_without_a_device():
    with pytest.raises(ConfigError, match=r"CUDA was asked for, but there is .*; install the driver or ask for 'auto'"):
        OnnxInterpreter("cuda")
    assert providers_for("auto")[0] == ["CPUExecutionProvider"]


@pytest.mark.parametrize("threads", [0, -1, 257])
def test_threads_have_a_range(threads):
    with pytest.raises(ConfigError, match="choose 1 to 256"):
        OnnxInterpreter("cpu", threads=threads)


@pytest.mark.gpu
@pytest.mark.skipif(cuda_devices() == 0, reason="NO CUDA DEVICE: the CUDA provider was not tested")
def test_cuda_gives_the_same_result(graphs, manifest, inputs):
    cuda, cpu = OnnxInterpreter("cuda"), OnnxInterpreter("cpu")
    plan = manifest(graphs)
    on_cuda, on_cpu = cuda.load(plan, graphs), cpu.load(plan, graphs)
    assert (on_cuda.provider, on_cpu.provider) == ("cuda", "cpu")
    first, second = cuda.run(on_cuda, "train", inputs), cpu.run(on_cpu, "train", inputs)
    np.testing.assert_allclose(first["losses"], second["losses"], rtol=1e-5)
    np.testing.assert_allclose(first["state"]["w"], second["state"]["w"], rtol=1e-4, atol=1e-6)
    assert first["losses"].tobytes() == cuda.run(on_cuda, "train", inputs)["losses"].tobytes()


@pytest.mark.skipif(cuda_devices() > 0, reason="needs a host where CUDA cannot be loaded")
@pytest.mark.skipif("CUDAExecutionProvider" not in onnxruntime.get_available_providers(), reason="built without CUDA")
def test_a_driver_without_its_libraries_falls_back_quietly_and_says_so(monkeypatch, capfd, graphs, manifest, inputs):
    """The driver reports a device, but the provider does not load: the CPU is used, and that is what is reported."""
    monkeypatch.setattr(devices, "cuda_devices", lambda: 1)
    interpreter = OnnxInterpreter("auto")
    assert interpreter.runtime.provider == "cuda"
    plan = interpreter.load(manifest(graphs), graphs)
    assert plan.provider == interpreter.runtime.provider == "cpu"
    assert "could not be loaded: running on the CPU" in interpreter.runtime.note
    assert interpreter.run(plan, "train", inputs)["losses"].shape == (16,)
    with pytest.raises(ConfigError, match="provider could not be loaded"):
        OnnxInterpreter("cuda").load(manifest(graphs), graphs)
    assert capfd.readouterr() == ("", "")
