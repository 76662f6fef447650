"""A plan's manifest against its graphs: both sides of every difference are named."""

import onnx
import pytest
from onnx import TensorProto, helper
from sojourn.codec import digest, encode
from sojourn.contracts import Graph, Port, StateTensor
from sojourn.datoms import DType
from sojourn.errors import GraphRefused, PlanMismatch
from sojourn.interpreters import check_plan, plan_digest
from sojourn.interpreters import manifest as module
from sojourn.interpreters.manifest import NUMPY_DTYPES

X = Port("x", "tensor", "f32", (None, 3))
Y = Port("y", "tensor", "f32", (None, 1))
STATE = Port("state", "state", "", ())
LOSSES = Port("losses", "unit", "f32", (None,))
W = StateTensor("w", "f32", (3, 1), True)
STEPS = StateTensor("steps", "i64", (), False)


@pytest.fixture
def graphs(train):
    return {"train": train.SerializeToString()}


def mismatch(plan, graphs, words):
    with pytest.raises(PlanMismatch, match=words) as caught:
        check_plan(plan, graphs)
    assert "plan 'least-squares'" in str(caught.value)


def test_a_true_manifest(graphs, manifest):
    plan = manifest(graphs)
    checked = check_plan(plan, graphs)
    assert checked.constants == {"train": ("rate",)}
    assert checked.digest == plan_digest(plan) == digest(encode(plan))


@pytest.mark.parametrize(
    ("port", "words"),
    [
        (
            Port("x", "tensor", "f64", (None, 3)),
            r"input 'x': the manifest states f64\[\?, 3\], the graph has f32\[\?, 3\]",
        ),
        (Port("x", "tensor", "f32", (None, 4)), r"states f32\[\?, 4\], the graph has f32\[\?, 3\]"),
        (Port("x", "tensor", "f32", (8, 3)), r"states f32\[8, 3\], the graph has f32\[\?, 3\]"),
        (Port("x", "tensor", "f32", (None, None)), r"states f32\[\?, \?\], the graph has f32\[\?, 3\]"),
        (Port("x", "tensor", "f32", (3,)), r"states f32\[3\], the graph has"),
        (
            Port("z", "tensor", "f32", (None, 3)),
            r"states \['z'\], which the graph does not have; the graph has \['x'\]",
        ),
        (Port("x", "unit", "f32", (None,)), "only an output can have the role 'unit'"),
        (Port("x", "tensor", "bf16", (None, 3)), "'bf16'; graphs take f16"),
        (Port("x", "tensor", "f32", (-1, 3)), "not a shape"),
        (Port("x", "tensor", "f32", (1,) * 9), "not a shape"),
        (Port("", "tensor", "f32", (None, 3)), "1 to 256 characters"),
        (Port("w", "tensor", "f32", (3, 1)), "'w' as a port and as a state tensor"),
        (Port("y", "tensor", "f32", (None, 1)), "names repeat"),
        (Port("more", "state", "", ()), "more than one state"),
        (Port("rate", "tensor", "f32", ()), "'rate' both as an input and as a constant"),
    ],
)
def test_inputs(graphs, manifest, port, words):
    mismatch(manifest(graphs, inputs=(STATE, port, Y)), graphs, words)


def test_a_missing_input(graphs, manifest):
    mismatch(manifest(graphs, inputs=(STATE, X)), graphs, r"the graph has \['y'\], which the manifest does not state")


def test_a_state_has_no_shape_of_its_own(graphs, manifest):
    mismatch(manifest(graphs, inputs=(Port("state", "state", "f32", ()), X, Y)), graphs, "no dtype and no shape")


@pytest.mark.parametrize(
    ("outputs", "words"),
    [
        ((LOSSES,), r"the graph has \['steps.new', 'w.new'\]"),
        ((STATE,), r"the graph has \['losses'\]"),
        ((STATE, Port("losses", "unit", "f64", (None,))), r"output 'losses': the manifest states f64\[\?\]"),
        ((STATE, Port("losses", "unit", "f32", (None, 1))), r"shape \[\?\]; the manifest states f32\[\?, 1\]"),
        ((STATE, Port("losses", "unit", "i64", (None,))), "one float per row"),
        ((STATE, LOSSES, Port("w.new", "tensor", "f32", (3, 1))), "'w.new' as a port and as a state tensor"),
    ],
)  # fmt: skip
def test_outputs(graphs, manifest, outputs, words):
    mismatch(manifest(graphs, outputs=outputs), graphs, words)


@pytest.mark.parametrize(
    ("state", "words"),
    [
        ((W,), r"\['steps'\]"),
        ((StateTensor("w", "f32", (3, 2), True), STEPS), r"manifest states f32\[3, 2\], the graph has f32\[3, 1\]"),
        ((W, StateTensor("steps", "i32", (), False)), r"'steps': the manifest states i32\[\], the graph has i64\[\]"),
        ((W, W, STEPS), "same name"),
        ((W, StateTensor("steps", "i64", (), True)), "trained tensors are f32"),
        ((W, StateTensor("steps", "u16", (), False)), "'u16'"),
        ((W, StateTensor("", "i64", (), False)), "1 to 256"),
        ((W, StateTensor("steps", "i64", (-1,), False)), "not a shape"),
        ((W, StateTensor("steps", "i64", (1 << 30, 1 << 30), False)), "elements"),
    ],
)  # fmt: skip
def test_state(graphs, manifest, state, words):
    mismatch(manifest(graphs, state=state), graphs, words)


@pytest.mark.parametrize(
    ("constants", "words"),
    [
        ({}, r"the graph has \['rate'\]"),
        ({"rate": 0.1, "beta": 0.9}, "constant 'beta', no graph has such an input"),
        ({"rate": float("inf")}, "not a finite 32-bit float"),
        ({"rate": 1e39}, "not a finite 32-bit float"),
        ({"rate": float("nan")}, "not a finite 32-bit float"),
    ],
)
def test_constants(graphs, manifest, constants, words):
    mismatch(manifest(graphs, constants=constants), graphs, words)


def test_a_constant_is_a_32_bit_scalar(train, manifest):
    train.graph.input[4].type.tensor_type.elem_type = TensorProto.DOUBLE
    graphs = {"train": train.SerializeToString()}
    mismatch(manifest(graphs), graphs, r"'rate': the manifest states f32\[\], the graph has f64\[\]")


def test_files_and_manifest_name_the_same_graphs(graphs, manifest):
    plan = manifest(graphs)
    mismatch(plan, {}, r"states graphs \['train'\], the bundle has \[\]")
    mismatch(plan, graphs | {"more": b""}, r"the bundle has \['more', 'train'\]")
    mismatch(manifest(graphs, graphs=()), {}, "a state, and no graph that takes it")
    mismatch(manifest(graphs, graphs=plan.graphs * 2), graphs, "has its own name")


def test_a_plan_of_analytics_has_no_graph_and_no_state(graphs, manifest):
    plan = manifest(graphs, graphs=(), state=(), constants={})
    assert check_plan(plan, {}).constants == {}
    mismatch(plan, graphs, r"states graphs \[\], the bundle has \['train'\]")


def test_another_file_than_the_pinned_one(graphs, manifest):
    plan = manifest(graphs)
    other = {"train": graphs["train"] + b"\x32\x00"}
    mismatch(plan, other, f"pins graph 'train' as sha256:{digest(graphs['train']).hex()}, the file is sha256:")


def test_graphs_have_a_size_together(graphs, manifest, monkeypatch):
    monkeypatch.setattr(module, "MAX_BUNDLE_BYTES", 10)
    with pytest.raises(GraphRefused, match="together, the limit is 10"):
        check_plan(manifest(graphs), graphs)


def test_admission_comes_with_it(train, manifest):
    train.graph.node.append(helper.make_node("Spy", ["x"], ["z"], domain="custom"))
    graphs = {"train": train.SerializeToString()}
    with pytest.raises(GraphRefused, match="custom"):
        check_plan(manifest(graphs), graphs)


def changed(train, change):
    change(train.graph)
    return {"train": train.SerializeToString()}


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda g: g.output[2].type.tensor_type.ClearField("shape"), "output 'losses' of the graph declares no shape"),
        (lambda g: setattr(g.input[2].type.tensor_type, "elem_type", TensorProto.STRING), "has type STRING"),
        (lambda g: setattr(g.input[2].type.tensor_type, "elem_type", 99), "has type 99"),
        (lambda g: g.input[2].type.sequence_type.SetInParent(), "not a tensor"),
        (lambda g: g.input.append(g.input[2]), "stands twice"),
        (lambda g: g.initializer.append(helper.make_tensor("x", 1, [1, 3], [0, 0, 0])), "default value inside"),
    ],
)
def test_what_a_graph_declares(train, manifest, change, words):
    graphs = changed(train, change)
    mismatch(manifest(graphs), graphs, words)


def test_a_name_that_is_not_text(train, manifest):
    data = train.SerializeToString().replace(b"\n\x06losses", b"\n\x06l\xffsses")
    assert isinstance(onnx.ModelProto.FromString(data).graph.output[2].name, bytes)
    graphs = {"train": data}
    with pytest.raises(GraphRefused, match="not UTF-8"):
        check_plan(manifest(graphs), graphs)


def test_a_graph_without_state(train, manifest):
    """An evaluation graph may take the state and give none."""
    del train.graph.output[:2]
    graphs = {"train": train.SerializeToString()}
    check_plan(manifest(graphs, outputs=(LOSSES,)), graphs)
    two = {"train": graphs["train"], "again": graphs["train"]}
    plan = manifest(graphs, outputs=(LOSSES,))
    again = Graph("again", plan.graphs[0].digest, plan.graphs[0].inputs, plan.graphs[0].outputs)
    checked = check_plan(manifest(graphs, graphs=(*plan.graphs, again)), two)
    assert checked.constants == {"train": ("rate",), "again": ("rate",)}


def test_dtypes_are_those_of_the_blocks():
    for name, dtype in NUMPY_DTYPES.items():
        assert DType.from_name(name).numpy == dtype
