"""Recurrent layers in integers: loops whose bodies are quantized, and LSTM layers that are fused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from observing import gathered_from, nothing
from running import Ran, Recipes

from tflq.calibrate.calibration_data import ActivationStatistics, CalibrationData, load_calibration_data
from tflq.calibrate.histogram import Histogram
from tflq.calibrate.loop_ranges import loop_activations, merge_loops, observe_loops
from tflq.calibrate.observe import Observation, obstacle
from tflq.calibrate.ranges import RangeMethod
from tflq.conversion.conversions import fold_conversions, move_integers
from tflq.conversion.lstm_scales import with_equal_scales
from tflq.errors import ConversionError
from tflq.flatbuffer import edit, load, read
from tflq.flatbuffer.loops import loop_obstacle, loops
from tflq.result import Variant

INTEGER = ["int8", "int8_only", "int16x8", "int16x8_only"]


def sqnr(variant: Variant) -> float:
    assert variant.measured is not None
    return min(np.inf if output.sqnr_db is None else output.sqnr_db for output in variant.measured.fidelity.values())


@pytest.fixture(scope="module")
def gru(recipes: Recipes) -> Ran:
    kept = {"mode": "int8", "name": "kept", "keep_float": ["WHILE"]}
    plain = {"bias_correction": "off", "headroom": "expected"}
    return recipes.run("gru.keras", ["float32", "int8_only", "int16x8_only", kept], converter=plain)


@pytest.fixture(scope="module")
def lstm(recipes: Recipes) -> Ran:
    return recipes.run("lstm.keras", ["float32", "int8_only", "int16x8"])


class TestLoops:
    def test_are_computed_in_integers(self, gru: Ran) -> None:
        assert gru.codes == {"float32": 0, "int8_only": 0, "int16x8_only": 0, "kept": 0}
        assert sqnr(gru.variant("int8_only")) > 20
        assert sqnr(gru.variant("int16x8_only")) > 38
        for mode, dtype in (("int8_only", "int8"), ("int16x8_only", "int16")):
            graph = gru.graph(mode)
            assert gru.variant(mode).file.float_ops == ()
            ((loop,), main) = loops(graph), graph.subgraphs[0]
            carried = {t.dtype for t in main.read_by(main.operators[loop.operator])}
            assert carried == {"int32", dtype}

    def test_are_told(self, gru: Ran) -> None:
        assert gru.report["ranges"]["found_by"] == "observation"
        assert any("1 loop (WHILE) is computed in integers" in warning for warning in gru.result.warnings)
        assert not any("calibrate with TensorFlow" in stage for stage in gru.stages)

    def test_may_stay_in_float(self, gru: Ran) -> None:
        graph = gru.graph("kept")
        (loop,) = loops(graph)
        assert {t.dtype for t in graph.subgraphs[loop.body].tensors if t.name.endswith("MatMul1")} == {"float32"}
        assert sqnr(gru.variant("kept")) > sqnr(gru.variant("int8_only"))

    def test_fit_wherever_results_are_kept(self, gru: Ran, tmp_path: Path) -> None:
        body = Observation((3, 4), np.zeros((2, 2), np.float32), np.ones((2, 2), np.float32), np.ones(2, bool))
        main = Observation((0,), np.zeros((2, 1)), np.ones((2, 1)), np.ones(2, bool))
        statistics = ActivationStatistics(main, {0: Histogram(np.zeros(1), np.ones(1), np.ones(1))}, {2: body})
        CalibrationData(gru.file("float32"), statistics).save(tmp_path / "kept")
        again = load_calibration_data(tmp_path / "kept", gru.file("float32")).for_calls([1])
        assert isinstance(again.statistics, ActivationStatistics)
        assert again.statistics.loops[2].tensors == (3, 4)
        found = [(each.subgraph, each.tensor, each.highest) for each in again.ranges(RangeMethod("minmax", 8))]
        assert found == [(0, 0, 1.0), (2, 3, 1.0), (2, 4, 1.0)]

    def test_each_iteration_is_a_sample(self, gru: Ran, data: Path, tmp_path: Path) -> None:
        """The body reads the whole sequence in each iteration, and its states are outputs of TANH and LOGISTIC."""
        graph = load(gru.file("float32"))
        calibration_samples = gathered_from(gru.file("float32"), data / "sequences.npz", tmp_path)
        rows = np.load(data / "sequences.npz")["x"][list(calibration_samples.rows)].astype(np.float32)
        shards, float32 = (range(4), range(4, len(rows))), gru.file("float32")
        parts = [observe_loops(nothing, float32, calibration_samples.samples, calls) for calls in shards]
        ((body, observation),) = merge_loops(graph, parts).items()
        sequence = observation.tensors.index(graph.subgraphs[body].inputs[4])
        assert observation.minima[:, sequence].tolist() == rows.min((1, 2)).tolist()
        assert observation.maxima[:, sequence].tolist() == rows.max((1, 2)).tolist()
        for operator in graph.subgraphs[body].operators:
            if operator.type == "LOGISTIC":
                place = observation.tensors.index(operator.outputs[0])
                assert 0 < observation.minima[:, place].min() < 0.5 < observation.maxima[:, place].max() < 1

    def test_that_never_ran_has_no_ranges(self, gru: Ran) -> None:
        graph = load(gru.file("float32"))
        largest, count = np.finfo(np.float32).max, len(loop_activations(graph.subgraphs[2]))
        never = np.full((3, count), largest, np.float32), np.full((3, count), -largest, np.float32)
        with pytest.raises(ConversionError, match="ran on no calibration sample, so its activations have no ranges"):
            merge_loops(graph, [{2: never}])

    def test_with_variables_have_an_obstacle(self) -> None:
        graph = load(Path(__file__).parent / "data/loop_float32.tflite")
        assert loop_obstacle(graph) == "its subgraphs are not each the body or the condition of one WHILE"
        assert obstacle(graph) is not None


class TestFusedLayers:
    def test_of_a_keras_3_model(self, lstm: Ran) -> None:
        assert lstm.codes == {"float32": 0, "int8_only": 0, "int16x8": 0}
        assert [op.type for op in lstm.graph("float32").subgraphs[0].operators if op.type == "WHILE"] == ["WHILE"]
        assert lstm.variant("int8_only").file.ops["UNIDIRECTIONAL_SEQUENCE_LSTM"] == 1
        assert sqnr(lstm.variant("int8_only")) > 20

    def test_stay_in_float_in_int16x8(self, lstm: Ran) -> None:
        assert [op.type for op in lstm.variant("int16x8").file.float_ops] == ["UNIDIRECTIONAL_SEQUENCE_LSTM"]
        assert sqnr(lstm.variant("int16x8")) > 38

    def test_are_told(self, lstm: Ran) -> None:
        assert any("built again in tf-keras with the same weights" in warning for warning in lstm.result.warnings)
        assert "built again in tf-keras with the same weights" in lstm.page

    def test_have_one_scale(self, lstm: Ran) -> None:
        model = edit.unpack(lstm.file("int8_only").read_bytes())
        (operator,) = (op for op in model.subgraphs[0].operators if len(op.inputs) == 24)
        readers = [op for op in model.subgraphs[0].operators if operator.outputs[0] in op.inputs]
        for index in (operator.outputs[0], readers[0].outputs[0]):  # the reader only moves values
            model.subgraphs[0].tensors[index].quantization.scale = [0.5]
        subgraph = read(with_equal_scales(edit.pack(model))).subgraphs[0]
        same = [operator.outputs[0], operator.inputs[18], operator.intermediates[4]]
        assert [subgraph.tensors[index].quantization.scales for index in same if subgraph.tensors[index]] == [
            (0.5,)
        ] * 3
        cell = subgraph.tensors[operator.inputs[19]].quantization
        assert cell is not None
        assert cell.scales != (0.5,)

    def test_that_are_demanded_but_impossible(self, recipes: Recipes) -> None:
        model = {"keras": str(recipes.models / "gru.keras"), "recurrent": "fused"}
        ran = recipes.run("gru.keras", ["int8", "int16x8"], model=model)
        assert ran.codes == {"int8": 5, "int16x8": 5}
        assert str(ran.variant("int8").error).startswith("model.recurrent: fused is not possible: ")


def test_variables_in_int16(recipes: Recipes) -> None:
    ran = recipes.run("counter", ["int16x8"])
    assert ran.codes == {"int16x8": 0}


class TestConversions:
    """An op that moves values in float, between DEQUANTIZE and QUANTIZE."""

    @pytest.mark.parametrize("is_alike", [True, False])
    def test_that_nothing_needs_disappear(self, gru: Ran, is_alike: bool) -> None:
        model = edit.unpack(gru.file("int8_only").read_bytes())
        main = model.subgraphs[0]
        before = [kind(model, op) for op in main.operators]
        first = next(i for i, op in enumerate(main.operators) if kind(model, op) == "RESHAPE")
        reshape = main.operators[first]
        source, target = int(reshape.inputs[0]), int(reshape.outputs[0])
        floats = [edit.add_copy(main, index) for index in (source, target)]
        for index in floats:
            main.tensors[index].type, main.tensors[index].quantization = 0, None
        if not is_alike:
            main.tensors[target].quantization.scale = [9.0]
        reshape.inputs, reshape.outputs = [floats[0], *reshape.inputs[1:]], [floats[1]]
        main.operators.insert(first + 1, edit.conversion(model, "QUANTIZE", floats[1], target))
        main.operators.insert(first, edit.conversion(model, "DEQUANTIZE", source, floats[0]))
        move_integers(model, main, ())
        fold_conversions(model, main)
        types = [kind(model, op) for op in main.operators]
        assert types[first : first + 3] == ["DEQUANTIZE", "RESHAPE", "DEQUANTIZE"]
        assert types.count("QUANTIZE") == before.count("QUANTIZE") + (not is_alike)


def kind(model: Any, operator: Any) -> str:
    return edit.type_of(model.operatorCodes[operator.opcodeIndex])


@pytest.mark.slow
@pytest.mark.parametrize(
    ("model", "keys"),
    [
        ("lstm_bidirectional.keras", {}),
        ("lstm_bidirectional.keras", {"recurrent": "fused"}),
        ("gru_stacked.keras", {}),
        ("gru_keras2.h5", {}),
        ("lstm_exported", {}),
        ("gru_states.keras", {}),
    ],
)
def test_every_kind_of_recurrent_model(recipes: Recipes, tmp_path: Path, model: str, keys: dict[str, str]) -> None:
    rows = np.random.default_rng(0).normal(size=(40, 6, 8)).astype(np.float32)
    columns = {"x": rows} | ({"state": 0.3 * rows[:, 0]} if "states" in model else {})
    name = next(iter(recipes_input(recipes, model)))
    np.savez(
        tmp_path / "rows.npz", allow_pickle=False, **{name if key == "x" else key: v for key, v in columns.items()}
    )
    dataset = {"npz": str(tmp_path / "rows.npz")}
    given = {"saved_model" if "." not in model else "keras": str(recipes.models / model), **keys}
    modes = INTEGER[:3] if keys else INTEGER
    ran = recipes.run(
        model,
        modes,
        model=given,
        calibration={"dataset": dataset, "samples": 30},
        evaluation={"dataset": dataset, "samples": 20},
    )
    assert ran.codes == dict.fromkeys(modes, 0)
    assert sqnr(ran.variant("int8")) > 18
    assert sqnr(ran.variant("int16x8")) > 36
    if not keys:
        assert all(not ran.variant(mode).file.float_ops for mode in modes)


def recipes_input(recipes: Recipes, model: str) -> list[str]:
    """Return the name of the sequence input of the model. Keras 2 names it after the layer."""
    return ["bidirectional_input"] if "keras2" in model else ["x"]
