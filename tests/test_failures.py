"""What TensorFlow does in silence, or dies of, is an error with a message and an exit code of its own."""

from __future__ import annotations

import os
import re
import signal
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from running import CALIBRATED, Ran, Recipes, run_recipe

from tflq import conversion, refine
from tflq.errors import ConversionError, DatasetError, RecipeError, SourceError, TflqError
from tflq.result import Variant

BY_HAND = "TensorFlow's calibrator can crash if an activation is infinite"


def errors(variant: Variant) -> list[str]:
    """What is said of the variant's file, warnings apart."""
    return [f"{fault.where} {fault.message}" for fault in variant.violations if fault.severity == "error"]


@pytest.fixture(scope="module")
def sin(recipes: Recipes) -> Ran:
    return recipes.run("with_sin", ["float32", *CALIBRATED])


class TestOpsWithoutAnIntegerKernel:
    """TFLITE_BUILTINS_INT8 alone is not enforced: the converter leaves such ops in float and says nothing."""

    def test_may_stay_in_float_where_the_mode_allows_it(self, sin: Ran) -> None:
        for mode in ("int8", "int16x8"):
            assert (sin.variant(mode).exit_code, errors(sin.variant(mode))) == (0, [])
            assert [op.type for op in sin.variant(mode).file.float_ops] == ["SIN"]

    def test_break_the_contract_of_int8_only(self, sin: Ran) -> None:
        variant = sin.variant("int8_only")
        (op,) = variant.file.float_ops
        assert (op.type, op.reason) == ("SIN", "the quantizer knows no int8 version of this op")
        assert (variant.status, variant.exit_code) == ("broken", 6)
        assert errors(variant) == [f"SIN {op.tensor!r} stays in float: {op.reason}"]

    def test_are_listed_in_both_reports_and_the_file_is_kept(self, sin: Ran) -> None:
        row = next(row for row in sin.report["variants"] if row["name"] == "int8_only")
        (op,) = sin.variant("int8_only").file.float_ops
        assert row["float_ops"] == [{"type": op.type, "tensor": op.tensor, "reason": op.reason}]
        assert row["status"] == "broken"
        assert f"| int8_only | SIN | `{op.tensor}` | {op.reason} |" in sin.page
        assert sin.file("int8_only").stat().st_size == row["size_bytes"]

    def test_break_the_contract_of_int16x8_only(self, sin: Ran) -> None:
        variant = sin.variant("int16x8_only")
        (op,) = variant.file.float_ops
        assert (variant.status, variant.exit_code) == ("broken", 6)
        assert errors(variant) == [f"SIN {op.tensor!r} stays in float: the quantizer knows no int16 version of this op"]

    def test_make_the_exit_code_the_most_serious(self, sin: Ran) -> None:
        assert sin.codes == {"float32": 0, "int8": 0, "int8_only": 6, "int16x8": 0, "int16x8_only": 6}
        assert sin.result.exit_code == sin.report["exit_code"] == 6

    def test_are_found_wherever_they_stand(self, recipes: Recipes) -> None:
        ran = recipes.run("with_cumsum", ["int8_only"])
        assert ran.codes == {"int8_only": 6}
        assert errors(ran.variant("int8_only"))[0].startswith("CUMSUM ")

    def test_alone_make_no_integer_file_at_all(self, recipes: Recipes) -> None:
        """Where no integer op takes the input, int8 is a float file, and int8_only adaptors around one."""
        ran = recipes.run("sin_of_input", ["int8", "int8_only", "int16x8"])
        assert ran.codes == {"int8": 6, "int8_only": 6, "int16x8": 6}
        assert errors(ran.variant("int8")) == ["the file has no int8 op at all: it computes in float"]
        assert errors(ran.variant("int16x8")) == ["the file has no int16 op at all: it computes in float"]
        assert [op.type for op in ran.variant("int8").file.float_ops] == ["SIN"]


class TestNothingSmaller:
    def test_dynamic_of_small_weights(self, recipes: Recipes) -> None:
        ran = recipes.run("small_weights", ["float32", "dynamic", "float16", "int8_only"])
        assert ran.codes == {"float32": 0, "dynamic": 6, "float16": 0, "int8_only": 0}
        assert errors(ran.variant("dynamic")) == [
            "the file is still a float32 file: 1 of its 1 constants has fewer than 1,024 elements. Use mode float16 or"
            " int8 instead"
        ]
        assert ran.file("dynamic").stat().st_size == pytest.approx(ran.file("float32").stat().st_size, abs=16)

    def test_without_weights(self, recipes: Recipes) -> None:
        ran = recipes.run("sin_of_input", ["dynamic", "float16"])
        assert errors(ran.variant("dynamic")) == [
            "the file is still a float32 file: it holds no float constants. Use mode int8 instead"
        ]
        assert errors(ran.variant("float16")) == ["the file has no float16 constant, so nothing became smaller"]
        assert ran.result.exit_code == 6


class TestKernelsThatTheQuantizerBelievesIn:
    """The quantizer writes some ops with int16 activations for which LiteRT has no kernel."""

    def test_stay_in_float(self, recipes: Recipes) -> None:
        ran = recipes.run("squared_difference", ["int8_only", "int16x8", "int16x8_only"])
        assert ran.codes == {"int8_only": 0, "int16x8": 0, "int16x8_only": 6}
        for mode in ("int16x8", "int16x8_only"):
            (op,) = ran.variant(mode).file.float_ops
            assert (op.type, op.reason) == ("SQUARED_DIFFERENCE", "LiteRT has no int16 kernel for this op")
        assert errors(ran.variant("int16x8_only")) == [
            f"SQUARED_DIFFERENCE {op.tensor!r} stays in float: LiteRT has no int16 kernel for this op; multiply the"
            " difference by itself; LayerNormalization of Keras 3 has this op"
        ]

    def test_fused_lstm_stays_in_float(self, recipes: Recipes) -> None:
        ran = recipes.run("lstm_keras2", ["int16x8"])
        assert ran.codes == {"int16x8": 0}
        assert [op.type for op in ran.variant("int16x8").file.float_ops] == ["UNIDIRECTIONAL_SEQUENCE_LSTM"]


class TestIntegersInTheModel:
    def test_need_no_range(self, recipes: Recipes) -> None:
        """The mask is computed from the ids, which the 16-bit quantizer would give a range."""
        ran = recipes.run("padded_ids", ["int16x8", "int16x8_only"])
        assert ran.codes == {"int16x8": 0, "int16x8_only": 6}
        assert [op.type for op in ran.variant("int16x8").file.float_ops] == ["CAST"]
        assert min(output.sqnr_db for output in ran.variant("int16x8").measured.fidelity.values()) > 40


class TestFilesThatCannotRun:
    def test_open_batch_that_is_none(self, recipes: Recipes) -> None:
        model = {"saved_model": str(recipes.models / "one_at_a_time"), "batch_size": "dynamic"}
        ran = recipes.run("one_at_a_time", ["float32", "int8"], model=model)
        assert ran.codes == {"float32": 7, "int8": 7}
        assert str(ran.variant("float32").error).startswith(
            "recipe-float32.tflite: runs one sample, but not two at a time, though the recipe has batch_size: dynamic: "
        )

    def test_several_samples_where_one_fits(self, recipes: Recipes) -> None:
        model = {"saved_model": str(recipes.models / "one_at_a_time"), "batch_size": 2}
        with pytest.raises(SourceError) as caught:
            recipes.run("one_at_a_time", ["float32"], model=model)
        assert str(caught.value).startswith(
            f"{recipes.models}/one_at_a_time: cannot take x [2, 16] (correct model.batch_size and the shapes in"
            " inputs): "
        )

    def test_without_a_runtime_for_tensorflow_ops(self, recipes: Recipes) -> None:
        """Python has no Flex: the files are made and kept, but nobody can measure them here."""
        ran = recipes.run("with_cumprod", ["float32", "float16", "int8"], converter={"select_tf_ops": True})
        assert ran.codes == {"float32": 7, "float16": 7, "int8": 5}
        assert str(ran.variant("float16").error) == (
            "recipe-float16.tflite: LiteRT cannot run this file: it has TensorFlow ops (select_tf_ops), which need"
            " the Flex runtime, and LiteRT for Python has none: measure it on the device"
        )
        assert str(ran.variant("int8").error) == (
            "calibration would have to run TensorFlow ops (select_tf_ops), but Python has no Flex runtime for them. Use"
            " mode dynamic or float16, which need no calibration"
        )
        assert ran.file("float16").is_file()
        assert ran.variant("float16").file.ops["FlexCumprod"] == 1
        assert errors(ran.variant("float16")) == []

    def test_without_a_kernel_for_a_custom_op(self, recipes: Recipes) -> None:
        ran = recipes.run("with_cumprod", ["float32", "int8"], converter={"allow_custom_ops": True})
        assert ran.codes == {"float32": 7, "int8": 5}
        assert "it has custom ops (allow_custom_ops), for which LiteRT has no kernel: " in str(
            ran.variant("float32").error
        )
        assert "the custom op Cumprod" in str(ran.variant("int8").error)
        assert ran.file("float32").is_file()


class TestModelsThatCannotBeConverted:
    def test_op_that_tensorflow_lite_has_not(self, recipes: Recipes) -> None:
        with pytest.raises(ConversionError) as caught:
            recipes.run("unknown_op", ["float32", "int8"])
        assert str(caught.value) == (
            "TensorFlow Lite has no op for 'tf.ScaleAndTranslate'. Rewrite that part of the model with other ops, or"
            " end the model before it with model.outputs, or set converter.select_tf_ops: true (the file then needs the"
            " Flex runtime), or set converter.allow_custom_ops: true and register a kernel of your own"
        )
        assert caught.value.exit_code == 5

    def test_keras_3_lstm_for_several_samples(self, recipes: Recipes) -> None:
        model = {"saved_model": str(recipes.models / "lstm_exported"), "batch_size": "dynamic"}
        with pytest.raises(ConversionError) as caught:
            recipes.run("lstm_exported", ["float32"], model=model)
        assert str(caught.value).endswith(
            "Leave model.batch_size at 1, or build the layer with unroll=True, or build it with Keras 2, whose LSTM"
            " becomes one fused op"
        )


class TestCrashes:
    """TensorFlow kills the process that it runs in."""

    def test_infinity_inside_with_ordinary_data(self, recipes: Recipes) -> None:
        ran = recipes.run("infinite_inside", ["float32", "float16", "int8", "int16x8"])
        assert ran.codes == {"float32": 0, "float16": 0, "int8": 4, "int16x8": 4}
        for mode in ("int8", "int16x8"):
            said = str(ran.variant(mode).error)
            assert said == (
                "calibration row 0 makes the activation 'Log' inside the model -inf, as do 19 other samples; no"
                " integer can represent that value. Correct the model or the data, or use mode dynamic or float16,"
                " which need no ranges"
            )

    def test_infinity_that_tensorflow_s_calibrator_meets(self, recipes: Recipes) -> None:
        """Its quantizer would die of it."""
        ran = recipes.run("infinite_in_branch", ["float32", "int8"])
        assert ran.codes == {"float32": 0, "int8": 4}
        assert re.fullmatch(
            r"the activation '\S+' inside the model becomes -inf on a calibration sample; no integer can represent"
            r" that value\. Correct the model or the data, or use mode dynamic or float16, which need no ranges",
            str(ran.variant("int8").error),
        )

    @pytest.mark.parametrize(("dying", "is_known"), [((refine, "quantize"), False), ((conversion, "calibrate"), True)])
    def test_cause_is_named_where_tensorflow_calibrates(
        self, recipes: Recipes, monkeypatch: pytest.MonkeyPatch, dying: tuple[ModuleType, str], is_known: bool
    ) -> None:
        monkeypatch.setattr(*dying, dies)
        said = str(recipes.run("branches", ["int8"]).variant("int8").error)
        assert "the worker process was killed (SIGKILL)" in said
        assert (BY_HAND in said) == is_known

    def test_no_cause_is_guessed_where_nothing_calibrates(
        self, recipes: Recipes, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(conversion, "convert", dies)
        with pytest.raises(ConversionError, match="the worker process was killed") as caught:
            recipes.run("branches", ["float32"])
        assert BY_HAND not in str(caught.value)


def dies(*_: object) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


class TestRangesThatAreMissing:
    def test_branch_that_no_sample_takes(self, recipes: Recipes) -> None:
        ran = recipes.run("branches", ["int8", "int8_only", "int16x8"])
        assert ran.codes == {"int8": 0, "int8_only": 6, "int16x8": 5}
        assert [op.type for op in ran.variant("int8").file.float_ops] == ["FULLY_CONNECTED"]
        assert str(ran.variant("int16x8").error).startswith("calibration never reached the tensor ")
        assert str(ran.variant("int16x8").error).endswith(
            ", so it has no range: it is in a branch that no sample takes, or it was NaN for all samples. Calibrate"
            " with samples that reach it, or use mode dynamic or float16"
        )

    def test_answers_that_are_no_numbers(self, recipes: Recipes) -> None:
        ran = recipes.run("not_a_number", ["float32", "dynamic", "int8"])
        assert ran.codes == {"float32": 6, "dynamic": 6, "int8": 4}
        assert "inside the model nan, as do 19 other samples; no integer can represent that value. " in str(
            ran.variant("int8").error
        )
        assert errors(ran.variant("float32")) == [
            "the file outputs NaN or Inf on 8 of 8 samples, and so does the float32 file"
        ]

    def test_nan_that_a_later_op_hides(self, recipes: Recipes) -> None:
        error = str(recipes.run("hidden_nan", ["int8"]).variant("int8").error)
        assert "calibration row 0 makes the activation 'Sqrt' inside the model nan, as do 19 other samples; " in error


def test_fake_quantized_source_has_no_float_files(recipes: Recipes) -> None:
    """The converter makes integers of it in every mode."""
    ran = recipes.run("fake_quantized", ["float32", "dynamic", "float16", "int8", "int8_only"])
    assert ran.codes == {"float32": 6, "dynamic": 6, "float16": 6, "int8": 0, "int8_only": 0}
    (said,) = errors(ran.variant("float32"))
    assert said.startswith("the file computes with integers, such as 'FakeQuantWithMinMaxArgs_1' of uint8, ")
    assert said.endswith(
        ": the source has fake-quantize ops of quantization-aware training. Use mode int8 or int8_only"
    )
    assert f"the float32 baseline: {said}" in ran.result.warnings


def test_ranges_that_the_source_brings_are_not_clipped(recipes: Recipes, data: Path) -> None:
    calibration = {"dataset": {"npz": str(data / "vectors.npz")}, "ranges": "mse"}
    ran = recipes.run("fake_quantized", ["int8"], calibration=calibration)
    assert ran.codes == {"int8": 5}
    assert str(ran.variant("int8").error) == (
        "calibration.ranges: this model supports only minmax, because its fake-quantize ops set the ranges; write"
        " minmax"
    )


def test_answers_of_no_fixed_size_cannot_be_compared(recipes: Recipes) -> None:
    ran = recipes.run("as_many_as_positive", ["float32", "int8"])
    assert ran.codes == {"float32": 0, "int8": 7}
    assert ran.report["ranges"]["found_by"] == "observation"
    assert "so they cannot be compared" in str(ran.variant("int8").error)


@pytest.mark.parametrize(
    ("variant", "said"),
    [
        ({"mode": "int8"}, "int8 needs calibration samples: add calibration with a dataset"),
        ({"mode": "int16x8"}, "int16x8 needs calibration samples: add calibration with a dataset"),
    ],
)
def test_integers_without_samples_are_refused_before_anything_runs(
    recipes: Recipes, variant: dict[str, str], said: str
) -> None:
    """TensorFlow makes a float file, or one of dynamic range."""
    with pytest.raises(RecipeError) as caught:
        recipes.run("tiny_dense", [variant], calibration=None)
    assert said in str(caught.value)


@pytest.mark.parametrize(
    ("mode", "side", "dtype"),
    [
        ("float32", "input", "int8"),
        ("dynamic", "output", "uint8"),
        ("int8", "input", "int16"),
        ("int16x8", "input", "int8"),
    ],
)
def test_types_that_a_mode_has_not_are_refused_before_anything_runs(
    recipes: Recipes, mode: str, side: str, dtype: str
) -> None:
    """TensorFlow fails after it has calibrated, or not at all."""
    with pytest.raises(RecipeError, match=rf"inference_{side}_type: .*{mode}"):
        recipes.run("tiny_dense", [{"mode": mode, f"inference_{side}_type": dtype}])


def spoiled(data: Path, tmp_path: Path, what: str) -> dict[str, str]:
    """The vectors, one of which is not fit to calibrate with."""
    rows = {name: np.array(array) for name, array in np.load(data / "vectors.npz").items()}
    match what:
        case "-inf":
            rows["x"][5, 3] = -np.inf
        case "nan":
            rows["x"][5, 3] = np.nan
        case "empty":
            rows = {name: array[:0] for name, array in rows.items()}
        case "zeros":
            rows["x"][:] = 0
        case "shape":
            rows["x"] = rows["x"][:, :9]
    np.savez(tmp_path / "data.npz", **rows)
    return {"npz": str(tmp_path / "data.npz")}


UNFIT = {
    "-inf": "{data}: row 5: input 'x' holds -inf: correct the data, its scale and offset, or leave that row out",
    "nan": "{data}: row 5: input 'x' holds nan: correct the data, its scale and offset, or leave that row out",
    "empty": "{data}: has no rows",
    "zeros": "input 'x' never varies: it is 0 in all 24 calibration samples, so it has no range; check its"
    " column, scale and offset",
    "shape": "input 'x' takes [16], but column 'x' gives [9]: set inputs.x.column to another column, or give the rows"
    " that shape in a python dataset",
}


@pytest.mark.parametrize("what", UNFIT)
def test_samples_that_cannot_calibrate_never_reach_tensorflow(
    recipes: Recipes, data: Path, tmp_path: Path, what: str
) -> None:
    rows = spoiled(data, tmp_path, what)
    ran = recipes.run("tiny_dense", ["float32", "dynamic", *CALIBRATED], calibration={"dataset": rows})
    assert ran.codes == {"float32": 0, "dynamic": 0} | dict.fromkeys(CALIBRATED, 4)
    assert {str(ran.variant(mode).error) for mode in CALIBRATED} == {UNFIT[what].format(data=rows["npz"])}
    assert isinstance(ran.variant("int8").error, DatasetError)
    assert ran.result.exit_code == 4
    assert not [stage for stage in ran.stages if stage.startswith(("convert int", "check int", "try int"))]
    assert "convert int" not in ran.log


@pytest.mark.parametrize("dtype", [np.float64, np.float16, np.int64])
def test_samples_of_another_dtype_are_cast(recipes: Recipes, data: Path, tmp_path: Path, dtype: type) -> None:
    """TensorFlow refuses them, or takes them for other numbers."""
    np.savez(tmp_path / "data.npz", x=(np.load(data / "vectors.npz")["x"] * 10).astype(dtype))
    rows = {"npz": str(tmp_path / "data.npz")}
    ran = recipes.uncorrected.run("tiny_dense", ["int8"], calibration={"dataset": rows}, evaluation={"dataset": rows})
    assert ran.result.exit_code == 0, ran.page


def refusal(recipes: Recipes, model: str = "tiny_dense", **keys: Any) -> str:
    """What is said against the data, for which nothing is made."""
    file = recipes.write(model, ["float32", "int8"], **keys)
    with pytest.raises((DatasetError, RecipeError)) as caught:
        run_recipe(file)
    assert caught.value.exit_code == (2 if isinstance(caught.value, RecipeError) else 4)
    assert not list((file.parent / "build/recipe").glob("*.tflite"))
    return str(caught.value)


class TestDataThatDoesNotFit:
    def test_missing(self, recipes: Recipes, tmp_path: Path) -> None:
        said = refusal(recipes, evaluation={"dataset": {"npz": str(tmp_path / "no.npz")}})
        assert said == f"{tmp_path}/no.npz: cannot be read: No such file or directory"

    def test_damaged(self, recipes: Recipes, data: Path, tmp_path: Path) -> None:
        (tmp_path / "data.npz").write_bytes((data / "vectors.npz").read_bytes()[:500])
        said = refusal(recipes, evaluation={"dataset": {"npz": str(tmp_path / "data.npz")}})
        assert said.startswith(f"{tmp_path}/data.npz: is not a complete .npz file, as numpy.savez writes it: ")

    def test_without_the_label(self, recipes: Recipes, data: Path) -> None:
        evaluation = {"dataset": {"npz": str(data / "vectors.npz")}, "label": "labels", "metric": "top1"}
        assert refusal(recipes, evaluation=evaluation) == (
            "evaluation.label: there is no column 'labels' (did you mean 'label'?); the columns are x, label"
        )

    def test_without_the_output(self, recipes: Recipes, data: Path) -> None:
        evaluation = {"dataset": {"npz": str(data / "images.npz")}, "label": "label", "metric": "top1"}
        assert refusal(recipes, "two_outputs", evaluation=evaluation) == (
            "evaluation.output is missing: give one of the model's outputs alpha, zeta"
        )
        assert refusal(recipes, "two_outputs", evaluation=evaluation | {"output": "zetta"}) == (
            "evaluation.output: there is no output 'zetta' (did you mean 'zeta'?); the outputs are alpha, zeta"
        )

    def test_of_another_shape(self, recipes: Recipes, tmp_path: Path) -> None:
        np.savez(tmp_path / "data.npz", x=np.zeros((4, 17), np.float32))
        said = refusal(recipes, evaluation={"dataset": {"npz": str(tmp_path / "data.npz")}})
        assert said.startswith("input 'x' takes [16], but column 'x' gives [17]: ")

    def test_of_other_columns(self, recipes: Recipes, data: Path) -> None:
        rows = {"dataset": {"npz": str(data / "vectors.npz")}}
        assert refusal(recipes, "two_inputs", evaluation=rows).startswith(
            "input 'alpha': the dataset has no column 'alpha'; it has x, label: set inputs.alpha.column to one of them"
        )

    def test_with_an_input_that_the_model_has_not(self, recipes: Recipes) -> None:
        assert refusal(recipes, inputs={"xx": {"scale": 2.0}}) == (
            "inputs.xx: the model has no such input (did you mean 'x'?); it has x"
        )

    def test_not_a_number_in_the_first_row(self, recipes: Recipes, tmp_path: Path) -> None:
        np.savez(tmp_path / "data.npz", x=np.full((4, 16), np.nan, np.float32))
        rows = {"dataset": {"npz": str(tmp_path / "data.npz")}}
        said = f"{tmp_path / 'data.npz'}: row 0: input 'x' holds nan: "
        assert refusal(recipes, evaluation=rows).startswith(said)
        assert refusal(recipes, calibration=rows, evaluation=None).startswith(said)


class TestDataThatFailsLate:
    """The files are made by then, so they are kept, and each row of the report has the reason."""

    def test_label_out_of_range(self, recipes: Recipes, data: Path, tmp_path: Path) -> None:
        rows = dict(np.load(data / "vectors.npz"))
        rows["label"][20] = 9
        np.savez(tmp_path / "data.npz", **rows)
        rows = {"npz": str(tmp_path / "data.npz")}
        evaluation = {"dataset": rows, "label": "label", "metric": "top1", "samples": "all"}
        ran = recipes.uncorrected.run("tiny_dense", ["float32", "int8"], evaluation=evaluation)
        assert ran.codes == {"float32": 4, "int8": 4}
        assert str(ran.variant("int8").error).startswith("the label [9] is neither a class index from 0 to 3")
        assert ran.file("float32").is_file()
        assert ran.file("int8").is_file()
        assert ran.report["exit_code"] == 4

    def test_not_a_number_in_a_later_row(self, recipes: Recipes, data: Path, tmp_path: Path) -> None:
        rows = spoiled(data, tmp_path, "nan")
        ran = recipes.uncorrected.run("tiny_dense", ["float32", "int8"], evaluation={"dataset": rows, "samples": "all"})
        assert ran.codes == {"float32": 4, "int8": 4}
        assert str(ran.variant("int8").error).startswith(f"{rows['npz']}: row 5: input 'x' holds nan: ")


DEADLY = """\
import os, signal
import numpy as np

def rows():
    for number in range(20):
        if number == {fatal}:
            os.kill(os.getpid(), signal.SIGKILL)
        yield {{"x": np.random.default_rng(number).normal(0, 1, 16)}}
"""


class TestKilledWorkers:
    """As by kill -9, or by a system that has no memory left."""

    KILLED = "the worker process was killed (SIGKILL); the usual cause is that memory ran out"

    def dataset(self, folder: Path, fatal: int) -> dict[str, str]:
        (folder / "deadly.py").write_text(DEADLY.format(fatal=fatal))
        return {"python": "deadly:rows", "folder": str(folder)}

    def test_while_calibration_data_is_read(self, recipes: Recipes, tmp_path: Path) -> None:
        calibration = {"dataset": self.dataset(tmp_path, 5)}
        ran = recipes.run("tiny_dense", ["dynamic", "int8"], calibration=calibration)
        assert ran.codes == {"dynamic": 0, "int8": 4}
        assert str(ran.variant("int8").error).startswith(f"read the calibration data: {self.KILLED}")

    def test_while_files_are_measured(self, recipes: Recipes, tmp_path: Path) -> None:
        evaluation = {"dataset": self.dataset(tmp_path, 5)}
        ran = recipes.uncorrected.run("tiny_dense", ["dynamic", "int8"], evaluation=evaluation)
        assert ran.codes == {"dynamic": 7, "int8": 7}
        assert self.KILLED in str(ran.variant("int8").error)
        assert str(ran.variant("int8").error).startswith("measure float32 baseline, part ")
        assert ran.file("int8").is_file()

    def test_while_the_first_row_is_read(self, recipes: Recipes, tmp_path: Path) -> None:
        said = refusal(recipes, evaluation={"dataset": self.dataset(tmp_path, 0)})
        assert said.startswith(f"open the evaluation data: {self.KILLED}")


class TestOldFiles:
    def test_do_not_stand_in_for_a_variant_that_failed(self, recipes: Recipes, data: Path, tmp_path: Path) -> None:
        good = recipes.uncorrected.write("tiny_dense", ["float32", "int8"])
        assert run_recipe(good).file("int8").exists()
        good.write_text(good.read_text().replace(str(data / "vectors.npz"), spoiled(data, tmp_path, "zeros")["npz"], 1))
        ran = run_recipe(good)
        assert ran.codes == {"float32": 0, "int8": 4}
        assert [ran.file(name).exists() for name in ("float32", "int8")] == [True, False]

    def test_are_left_where_nothing_could_be_made(self, recipes: Recipes) -> None:
        file = recipes.write("tiny_dense", ["float32"])
        before = {path: path.read_bytes() for path in run_recipe(file).output.iterdir() if path.name != "tflq.log"}
        file.write_text(file.read_text().replace("tiny_dense", "text_input"))
        with pytest.raises(TflqError, match="takes text"):
            run_recipe(file)
        assert {path: path.read_bytes() for path in before} == before


def test_an_output_without_any_element_is_told_of_and_the_others_measured(recipes: Recipes) -> None:
    ran = recipes.run("empty_output", ["float32", "dynamic"])
    assert ran.codes == {"float32": 0, "dynamic": 0}
    for variant in ran.result.variants:
        (said,) = (one for one in variant.violations if one.where == "output 'none'")
        assert said.message == "has no elements for any sample, so it was not compared"
        assert variant.measured is not None
        assert variant.measured.fidelity["none"].mse == 0.0
        assert variant.measured.fidelity["y"].cosine > 0.99
