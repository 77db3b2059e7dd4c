"""What differs between two files: planted changes, matching of ops, and what the report says."""

from __future__ import annotations

import json
import math
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tflite_edit as edit
from ai_edge_litert import schema_py_generated as schema
from browser import faults, needs_browser
from click.testing import CliRunner, Result

from tflq.cli import main
from tflq.diff.constant_change import constant_changes
from tflq.diff.file_diff import FileDiff, compare_files, read_file
from tflq.diff.matching import OperatorMatch, match_operators
from tflq.flatbuffer import Operator, Subgraph, Tensor, read

Pair = Callable[..., FileDiff]


def diff(*arguments: str | Path) -> Result:
    return CliRunner().invoke(main, ["diff", *map(str, arguments)])


@pytest.fixture
def files(tmp_path: Path) -> Callable[..., tuple[Path, Path]]:
    """Writes cnn_int8 as it is, and after a change."""

    def write(change: Callable[[Any], None], name: str = "cnn_int8") -> tuple[Path, Path]:
        model = edit.load(name)
        (tmp_path / "a.tflite").write_bytes(edit.packed(model))
        change(model)
        (tmp_path / "b.tflite").write_bytes(edit.packed(model))
        return tmp_path / "a.tflite", tmp_path / "b.tflite"

    return write


@pytest.fixture
def changed(files: Callable[..., tuple[Path, Path]]) -> Pair:
    """Compares cnn_int8 with itself after a change."""

    def compare(change: Callable[[Any], None], name: str = "cnn_int8") -> FileDiff:
        before, after = files(change, name)
        return compare_files(read_file(before), read_file(after))

    return compare


def nothing(_: Any) -> None:
    pass


def other_weights(model: Any) -> None:
    tensor = edit.read_by(model, "CONV_2D", 1)
    values = edit.numbers(model, tensor, "int8")
    values[:27] = 0  # the first of eight channels
    edit.store(model, tensor, values)


def other_scale(model: Any) -> None:
    quantization = edit.written_by(model, "MEAN").quantization
    quantization.scale = [2 * quantization.scale[0]]
    quantization.zeroPoint = [quantization.zeroPoint[0] + 3]


def other_zero_point(model: Any) -> None:
    quantization = edit.written_by(model, "MEAN").quantization
    quantization.zeroPoint = [quantization.zeroPoint[0] + 1]


def no_zero_point(model: Any) -> None:
    """Some writers leave out a zero point of 0."""
    for tensor in model.subgraphs[0].tensors:
        if tensor.quantization is not None:
            tensor.quantization.zeroPoint = None


def other_weight_scale(model: Any) -> None:
    quantization = edit.read_by(model, "FULLY_CONNECTED", 1).quantization
    quantization.scale = [1.01 * scale for scale in quantization.scale]


def other_names(model: Any) -> None:
    for number, tensor in enumerate(model.subgraphs[0].tensors):
        tensor.name = f"renamed_{number}".encode()


def other_stride(model: Any) -> None:
    edit.operator(model, "DEPTHWISE_CONV_2D").builtinOptions.strideW += 1


def other_function(model: Any) -> None:
    edit.operator(model, "CONV_2D").builtinOptions.fusedActivationFunction = schema.ActivationFunctionType.RELU


def other_type(model: Any) -> None:
    code = model.operatorCodes[edit.operator(model, "SOFTMAX").opcodeIndex]
    code.builtinCode = code.deprecatedBuiltinCode = schema.BuiltinOperator.LOGISTIC


def other_signature(model: Any) -> None:
    model.signatureDefs[0].inputs[0].name = b"picture"


def other_description(model: Any) -> None:
    model.description = b"made elsewhere"


def in_float(model: Any) -> None:
    for tensor in (edit.written_by(model, "FULLY_CONNECTED"), edit.written_by(model, "SOFTMAX")):
        tensor.type, tensor.quantization = schema.TensorType.FLOAT32, None


@pytest.mark.parametrize(
    ("change", "verdict"),
    [
        (nothing, "Identical: both files have the same bytes."),
        (other_weights, "Same size (3.9 kB); 1 constant changed."),
        (other_scale, "1 activation with another scale or zero point."),
        (other_zero_point, "1 activation with another scale or zero point."),
        (other_weight_scale, "1 constant changed."),
        (no_zero_point, "other inputs or outputs; 8 activations with another scale or zero point."),
        (other_names, "only names, metadata or the order of bytes differ."),
        (other_stride, "1 op changed otherwise."),
        (other_function, "1 op changed otherwise."),
        (other_type, "1 op changed otherwise."),
        (other_signature, "other inputs or outputs."),
        (other_description, "only names, metadata or the order of bytes differ."),
        (in_float, "3 ops changed dtype; 0 → 2 ops in float."),
    ],
)
def test_verdict_says_what_was_changed(
    change: Callable[[Any], None], verdict: str, files: Callable[..., tuple[Path, Path]]
) -> None:
    said = diff(*files(change))
    assert said.exit_code == 0, said.output
    first = said.stdout.splitlines()[0]
    assert first.startswith("**")
    assert first.removesuffix("**").endswith(verdict)


def test_constant_is_compared_as_real_numbers(changed: Pair) -> None:
    (change,) = changed(other_weights).graph.constants
    assert (change.op, change.before, change.after) == ("#1 CONV_2D", "int8 [8, 3, 3, 3]", "int8 [8, 3, 3, 3]")
    assert 0.1 < change.changed <= 1 / 8
    assert 0 < change.sqnr_db < 20
    assert 0 < change.max_abs_difference <= change.peak
    (scaled,) = changed(other_weight_scale).graph.constants
    assert scaled.sqnr_db == pytest.approx(40, abs=0.1)
    assert scaled.changed > 0.9


def test_scale_and_zero_point_are_told(changed: Pair) -> None:
    (change,) = changed(other_scale).graph.scales
    assert (change.tensor, change.op, change.dtype) == ("Mean", "MEAN", "int8")
    assert change.ratio == pytest.approx(2)
    assert change.zero_point_after == change.zero_point_before + 3


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (other_stride, "stride w 1 → 2"),
        (other_function, "fused function RELU6 → RELU"),
        (other_type, "type SOFTMAX → LOGISTIC"),
    ],
)
def test_change_of_an_op_is_told(change: Callable[[Any], None], said: str, changed: Pair) -> None:
    (operator,) = changed(change).graph.operators
    assert [str(each) for each in operator.changes] == [said]


def test_inputs_are_compared_by_name(changed: Pair) -> None:
    ports = changed(other_signature).graph.ports
    assert [(port.name, bool(port.before), bool(port.after)) for port in ports] == [
        ("image", True, False),
        ("picture", False, True),
    ]


def test_names_do_not_matter(changed: Pair) -> None:
    graph = changed(other_names).graph
    assert [*graph.operators, *graph.added, *graph.removed, *graph.constants, *graph.scales] == []
    assert len(graph.renamed) == 9


def test_modes_of_one_model_are_matched_op_by_op() -> None:
    before, after = (read_file(edit.DATA / f"cnn_{name}.tflite") for name in ("float16", "int8"))
    graph = compare_files(before, after).graph
    assert len(graph.operators) == 6
    assert all(change.has_other_dtypes for change in graph.operators)
    assert {op.type for op in graph.added} == {"QUANTIZE", "DEQUANTIZE"}
    assert {op.type for op in graph.removed} == {"DEQUANTIZE"}
    assert len(graph.constants) == 6
    assert all(35 < change.sqnr_db < math.inf for change in graph.constants)
    sizes = {each.type: (each.bytes_before, each.bytes_after) for each in graph.op_bytes}
    assert sizes["CONV_2D"] == (448, 248)


def chain(*layers: tuple[str, str, float]) -> Subgraph:
    """A chain of ops of one type and shape: type, name and the seed of the weights of each."""
    tensors = [Tensor(0, "input", "float32", (1, 4), (1, 4), 0)]
    operators = []
    for number, (type_, name, seed) in enumerate(layers):
        values = np.random.default_rng(int(seed)).normal(0, 1, 16).astype(np.float32)
        weights, output = len(tensors), len(tensors) + 1
        tensors.append(Tensor(weights, f"{name}/w", "float32", (4, 4), (4, 4), weights, stored=values.view(np.uint8)))
        tensors.append(Tensor(output, name, "float32", (1, 4), (1, 4), 0))
        operators.append(Operator(number, type_, 1, (output - 2 if number else 0, weights), (output,)))
    return Subgraph(0, "main", tuple(tensors), tuple(operators), (0,), (len(tensors) - 1,))


def with_weights(values: list[float]) -> Subgraph:
    """A chain of one op, with those four values four times as its weights."""
    made = chain(("FULLY_CONNECTED", "dense", 1))
    stored = np.tile(np.array(values, np.float32), 4).view(np.uint8)
    tensors = (made.tensors[0], replace(made.tensors[1], stored=stored), made.tensors[2])
    return replace(made, tensors=tensors)


def test_infinity_and_nan_are_equal_to_themselves() -> None:
    before, after = with_weights([np.inf, np.nan, 2.0, 1.0]), with_weights([np.inf, np.nan, 2.0, 1.5])
    (change,) = constant_changes(match_operators(before, after))
    assert (change.changed, change.max_abs_difference) == (0.25, 0.5)
    (change,) = constant_changes(match_operators(before, with_weights([np.inf, 0.0, 2.0, 1.0])))
    assert (change.changed, change.sqnr_db) == (0.25, -math.inf)
    assert list(constant_changes(match_operators(before, before))) == []


DENSE = "FULLY_CONNECTED"
THREE = chain((DENSE, "dense", 1), (DENSE, "dense_1", 2), (DENSE, "dense_2", 3))


def numbers(match: OperatorMatch) -> list[tuple[int, int]]:
    return [(one.index, other.index) for one, other in match.pairs]


@pytest.mark.parametrize(
    ("after", "pairs"),
    [
        (chain((DENSE, "dense_1", 1), (DENSE, "dense_2", 2), (DENSE, "dense_3", 3)), [(0, 0), (1, 1), (2, 2)]),
        (chain((DENSE, "dense_1", 2), (DENSE, "dense", 1), (DENSE, "dense_2", 3)), [(1, 0), (0, 1), (2, 2)]),
        (
            chain((DENSE, "d_8", 9), (DENSE, "d_9", 1), (DENSE, "d_10", 2), (DENSE, "d_11", 3)),
            [(0, 1), (1, 2), (2, 3)],
        ),
        (chain((DENSE, "dense", 1), (DENSE, "dense_2", 3)), [(0, 0), (2, 1)]),
        (
            chain((DENSE, "dense", 1), ("RELU", "relu", 7), (DENSE, "dense_1", 2), (DENSE, "dense_2", 3)),
            [(0, 0), (1, 2), (2, 3)],
        ),
        (chain((DENSE, "x", 1), ("TANH", "y", 5), (DENSE, "z", 3)), [(0, 0), (1, 1), (2, 2)]),
    ],
    ids=["numbered anew", "moved", "inserted and numbered anew", "removed", "inserted", "replaced"],
)
def test_ops_are_matched_by_name_and_by_order(after: Subgraph, pairs: list[tuple[int, int]]) -> None:
    match = match_operators(THREE, after)
    assert numbers(match) == pairs
    assert len(match.removed) == 3 - len(pairs)
    assert len(match.added) == len(after.operators) - len(pairs)


def test_many_ops_without_names_in_common_are_matched() -> None:
    before = chain(*((DENSE, f"a_{number}", number) for number in range(600)))
    layers = [(DENSE, f"b_{number}", number) for number in range(600)]
    match = match_operators(before, chain(*layers[:300], ("TANH", "new", 1000), *layers[300:]))
    assert [operator.type for operator in match.added] == ["TANH"]
    assert numbers(match) == [*((n, n) for n in range(300)), *((n, n + 1) for n in range(300, 600))]


def test_file_without_a_signature_has_ports() -> None:
    graph = read(edit.raw("cnn_int8"))
    bare = replace(read_file(edit.DATA / "cnn_int8.tflite"), graph=replace(graph, signatures=()))
    ports = compare_files(bare, bare).graph.ports
    assert ports == ()


@pytest.mark.parametrize("order", [1, -1])
def test_damaged_file_is_named(order: int, tmp_path: Path) -> None:
    cut = tmp_path / "cut.tflite"
    cut.write_bytes(edit.raw("cnn_int8")[:900])
    said = diff(*[edit.DATA / "cnn_int8.tflite", cut][::order])
    assert (said.exit_code, said.stdout) == (7, "")
    assert f"error: {cut}: not a complete .tflite file" in said.stderr


def test_json_has_everything(files: Callable[..., tuple[Path, Path]]) -> None:
    before, after = files(other_weights)
    said = diff(before, after, "--json", "--gate", "max_changed_constants=0")
    assert said.exit_code == 1
    plain = json.loads(said.stdout)
    (pair,) = plain["files"]
    assert plain["exit_code"] == pair["exit_code"] == 1
    assert pair["before"]["path"] == str(before)
    assert pair["constants"][0]["sqnr_db"] > 0
    assert pair["gates"] == [
        {
            "name": "max_changed_constants",
            "bar": 0.0,
            "measured": 1.0,
            "passed": False,
            "certain": True,
            "reason": "",
        }
    ]
    assert pair["outputs"] is None


@pytest.mark.parametrize(
    ("gate", "change", "exit_code"),
    [
        ("max_size_ratio=1", other_weights, 0),
        ("max_size_bytes=3000", other_weights, 1),
        ("max_changed_ops=0", other_weights, 0),
        ("max_changed_ops=0", other_stride, 1),
        ("max_changed_constants=0", other_weights, 1),
        ("max_changed_scales=0", other_scale, 1),
        ("max_changed_scales=1", other_scale, 0),
        ("max_new_float_ops=1", in_float, 1),
        ("max_new_float_ops=2", in_float, 0),
    ],
)
def test_gates(
    gate: str, change: Callable[[Any], None], exit_code: int, files: Callable[..., tuple[Path, Path]]
) -> None:
    said = diff(*files(change), "--gate", gate)
    assert said.exit_code == exit_code, said.output
    assert said.stdout.startswith("**Failed: ") == bool(exit_code)


CNN = edit.DATA / "cnn_int8.tflite"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            [CNN, CNN, "--gate", "max_size_ration=1"],
            "there is no gate 'max_size_ration' (did you mean 'max_size_ratio'?)",
        ),
        ([CNN, CNN, "--gate", "max_size_ratio"], "should read NAME=LIMIT, such as max_size_ratio=1.01"),
        ([CNN, CNN, "--gate", "min_agreement=2"], "--gate min_agreement=2: "),
        ([CNN, CNN, "--gate", "min_sqnr_db=30"], "min_sqnr_db is measured on samples: give --recipe"),
        ([CNN, edit.DATA], "give two .tflite files, or two output folders"),
        ([edit.DATA / "..", edit.DATA], "there is no .tflite file in this folder"),
    ],
)
def test_wrong_command_line(arguments: list[Any], message: str) -> None:
    said = diff(*arguments)
    assert (said.exit_code, said.stdout) == (2, "")
    assert message in said.stderr


def test_code_of_a_recipe_is_refused(tmp_path: Path) -> None:
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text("model: net\nmode: dynamic\nevaluation: {dataset: {python: 'own:rows'}}\n")
    said = diff(CNN, CNN, "--recipe", recipe, "--no-code")
    assert (said.exit_code, said.stdout) == (2, "")
    assert "would run Python code, and --no-code was given" in said.stderr


def test_names_are_data(files: Callable[..., tuple[Path, Path]], tmp_path: Path) -> None:
    def change(model: Any) -> None:
        other_scale(model)
        edit.written_by(model, "MEAN").name = b"a|`b`<script>"

    page = tmp_path / "page.html"
    said = diff(*files(change), "--html", page, "--markdown", tmp_path / "page.md").stdout
    assert "| `` a\\|`b`<script> `` | MEAN |" in said
    assert (tmp_path / "page.md").read_text() == said
    assert "a|`b`&lt;script&gt;</code>" in page.read_text()
    assert "<script" not in page.read_text()


@pytest.mark.slow
@needs_browser
def test_pages_have_no_faults_in_a_browser(files: Callable[..., tuple[Path, Path]], tmp_path: Path) -> None:
    before, after = files(other_weights)
    float16 = edit.DATA / "cnn_float16.tflite"
    folders = tmp_path / "one", tmp_path / "other"
    for folder, file in zip(folders, (before, float16), strict=True):
        folder.mkdir()
        shutil.copy(file, folder / "cnn.tflite")
    for number, (one, other) in enumerate([(before, after), (float16, after), folders]):
        page = tmp_path / f"{number}.html"
        diff(one, other, "--html", page, "--gate", "max_changed_ops=0")
        assert faults(page) == []
