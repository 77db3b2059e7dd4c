"""What TensorFlow does in silence, or dies of, becomes an error with its own message and exit code."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from running import Ran, Recipes, run_recipe

from tflq.errors import ConversionError, DatasetError, SourceError


@pytest.fixture(scope="module")
def sines(recipes: Recipes) -> Ran:
    return recipes.run("with_sin", ["int8", "int8_only", "int16x8", "int16x8_only"])


def test_an_op_without_an_integer_kernel_breaks_int8_only(sines: Ran) -> None:
    broken = sines.variant("int8_only")
    assert (broken.status, broken.exit_code) == ("broken", 6)
    assert broken.why == "SIN 'Sin' stays in float: the quantizer knows no int8 version of this op"
    assert sines.file("int8_only").exists()
    assert "| int8_only | SIN | `Sin` | the quantizer knows no int8 version of this op |" in sines.page


def test_the_same_op_is_listed_where_float_is_allowed(sines: Ran) -> None:
    for name in ("int8", "int16x8"):
        variant = sines.variant(name)
        assert variant.exit_code == 0
        assert [op.type for op in variant.file.float_ops] == ["SIN"]


def test_an_op_without_a_16_bit_kernel_cannot_be_made_and_costs_the_others_nothing(sines: Ran) -> None:
    failed = sines.variant("int16x8_only")
    assert (failed.exit_code, failed.why) == (
        5,
        "there is no kernel with 16-bit activations for 'SIN'; mode int16x8 leaves such ops in float",
    )
    assert sines.codes == {"int8": 0, "int8_only": 6, "int16x8": 0, "int16x8_only": 5}
    assert sines.result.exit_code == 6


def test_a_file_that_converts_but_cannot_run(recipes: Recipes) -> None:
    ran = recipes.run("squared_difference", ["int16x8", "int8"])
    assert ran.codes == {"int16x8": 7, "int8": 0}
    assert "SquaredDifference only supports FLOAT32 and INT32 now, got 7" in ran.variant("int16x8").why


def test_dynamic_range_that_quantized_nothing_says_so(recipes: Recipes) -> None:
    ran = recipes.run("small_weights", ["dynamic", "float16"])
    assert ran.codes == {"dynamic": 6, "float16": 0}
    assert "still a float32 file" in ran.variant("dynamic").why
    assert "1,024" in ran.variant("dynamic").why


def test_an_infinity_inside_kills_only_its_worker(recipes: Recipes) -> None:
    ran = recipes.run("infinite_inside", ["float32", "int8"])
    assert ran.codes == {"float32": 0, "int8": 5}
    assert ran.variant("int8").why.startswith("convert int8: the worker process crashed with SIGSEGV; ")
    assert "Inf in an activation" in ran.variant("int8").why
    assert ran.file("float32").exists()
    assert not ran.file("int8").exists()


def test_a_recurrent_layer_of_keras_3_kills_only_its_worker(recipes: Recipes) -> None:
    ran = recipes.run("lstm.keras", ["float32", "int8"])
    assert ran.codes == {"float32": 0, "int8": 5}


def test_nan_in_the_answers_is_found(recipes: Recipes) -> None:
    ran = recipes.run("not_a_number", ["float32"])
    assert ran.codes == {"float32": 6}
    assert "answers NaN or Inf on 8 of 8 samples" in ran.variant("float32").why


def test_a_branch_that_no_sample_takes_stays_in_float(recipes: Recipes) -> None:
    ran = recipes.run("branches", ["int8_only"])
    assert ran.codes == {"int8_only": 6}
    assert "it is in the body of a control-flow op" in ran.variant("int8_only").why


def test_an_op_that_tensorflow_lite_has_not(recipes: Recipes) -> None:
    with pytest.raises(ConversionError, match=r"TensorFlow Lite has no op for 'tf.ScaleAndTranslate'\..*select_tf_ops"):
        recipes.run("unknown_op", ["float32"])


def test_a_source_that_takes_text(recipes: Recipes) -> None:
    with pytest.raises(SourceError, match="input 'text' takes text"):
        recipes.run("text_input", ["float32"])


def with_nan(x: np.ndarray) -> np.ndarray:
    return np.where(np.arange(len(x))[:, np.newaxis] == 5, np.nan, x)


def with_minus_inf(x: np.ndarray) -> np.ndarray:
    return np.where(np.arange(len(x))[:, np.newaxis] == 5, -np.inf, x)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            with_nan,
            "calibration row 5: input 'x' holds nan: correct the data, its scale and offset, or leave that row out",
        ),
        (with_minus_inf, "calibration row 5: input 'x' holds -inf"),
        (np.zeros_like, "input 'x' never varies: it is 0 throughout all 24 calibration samples"),
        (lambda x: x[:0], "holds no rows"),
        (lambda x: x[:, :9], "input 'x'"),
    ],
    ids=["nan", "minus infinity", "constant", "empty", "wrong shape"],
)
def test_data_that_cannot_calibrate_ends_before_tensorflow_sees_it(
    recipes: Recipes, tmp_path: Path, change: Callable[[Any], Any], message: str
) -> None:
    with np.load(recipes.data / "vectors.npz") as good:
        np.savez(tmp_path / "bad.npz", x=change(good["x"]).astype(np.float32))
    calibration = {"dataset": {"npz": str(tmp_path / "bad.npz")}, "samples": "all"}
    ran = recipes.run("tiny_dense", ["float32", "int8", "int8_only", "int16x8"], calibration=calibration)
    assert ran.codes == {"float32": 0, "int8": 4, "int8_only": 4, "int16x8": 4}
    assert message in ran.variant("int8").why
    assert [stage for stage in ran.stages if stage.startswith("convert")] == [
        "convert float32, the base line",
        "convert float32",
    ]


@pytest.mark.parametrize(
    ("evaluation", "message"),
    [
        ({"label": "lable", "metric": "top1"}, "there is no column 'lable' (did you mean 'label'?)"),
        ({"dataset": {"npz": "/nowhere.npz"}}, "/nowhere.npz: cannot be read: No such file or directory"),
    ],
    ids=["no such label", "no such file"],
)
def test_evaluation_data_that_is_wrong_ends_the_run_at_once(
    recipes: Recipes, evaluation: dict[str, Any], message: str
) -> None:
    rows = {"npz": str(recipes.data / "vectors.npz")}
    path = recipes.write("tiny_dense", ["float32"], evaluation={"dataset": rows} | evaluation)
    with pytest.raises(DatasetError) as raised:
        run_recipe(path)
    assert message in str(raised.value)
    assert not list(path.parent.rglob("*.tflite"))
