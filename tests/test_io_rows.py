"""How to feed and to read a file: formulas are computed, and lines of Python are run."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import tflite_edit as edit

from tflq.firmware.io_row import IoRow, code_lines, io_rows, with_preprocessing
from tflq.flatbuffer import read
from tflq.inputs.in_words import in_words
from tflq.inputs.schema import Input


def rows(change: Any = lambda _: None, name: str = "cnn_int8") -> tuple[IoRow, ...]:
    model = edit.load(name)
    change(model)
    graph = read(edit.packed(model))
    return io_rows(graph, graph.signatures[0])


def quantized(dtype: str, scale: float, zero_point: int) -> Any:
    def change(model: Any) -> None:
        tensor = edit.read_by(model, "QUANTIZE", 0)
        tensor.type = {"int8": 9, "uint8": 3, "int16": 7}[dtype]
        tensor.quantization.scale, tensor.quantization.zeroPoint = [scale], [zero_point]

    return change


def fed(dtype: str, scale: float, zero_point: int, config: Input | None = None) -> IoRow:
    """The row of the input of that quantization, under the preprocessing of a recipe."""
    found = rows(quantized(dtype, scale, zero_point))
    return (with_preprocessing(found, {"image": config}) if config else found)[0]


def run(line: str, **given: Any) -> np.ndarray:
    """The value that the line of Python computes."""
    names = {"np": np, **given}
    exec(line, names)
    return names["q" if line.startswith("q =") else "x"]


def test_rows_are_in_the_order_of_the_file() -> None:
    def swap(model: Any) -> None:
        graph, signature = model.subgraphs[0], model.signatureDefs[0]
        graph.outputs = [graph.outputs[0], edit.operator(model, "SOFTMAX").inputs[0]]
        second = type(signature.outputs[0])(name=b"before", tensorIndex=graph.outputs[1])
        signature.outputs = [second, *signature.outputs]

    assert [(row.side, row.index, row.name) for row in rows(swap)] == [
        ("in", 0, "image"),
        ("out", 0, "scores"),
        ("out", 1, "before"),
    ]


def test_pixels_of_a_known_recipe_are_fed_as_they_are() -> None:
    row = fed("uint8", 1 / 255, 0, Input(scale=1 / 255))
    assert row.formula.startswith("feed uint8 pixels from 0 to 255 as they are; in general q = clip(round(x /")
    assert row.c == "interpreter.input(0)->data.uint8[i] = (uint8_t)(pixel);"
    assert row.preprocessing == "value * 0.00392156863 + 0"
    pixels = np.arange(256, dtype=np.uint8)
    assert np.array_equal(run(row.python, pixels=pixels), pixels)


@pytest.mark.parametrize("config", [Input(mean=127.5, std=127.5), Input(scale=1 / 127.5, offset=-1)])
def test_pixels_of_int8_are_shifted(config: Input) -> None:
    row = fed("int8", 1 / 127.5, -1, config)
    assert row.formula.startswith("q = pixel - 128 for pixels from 0 to 255; in general")
    shifted = run(row.python, pixels=np.array([0, 255], np.uint8))
    assert (shifted.tolist(), shifted.dtype) == ([-128, 127], np.int8)


def test_a_scale_that_calibration_narrowed_is_no_pixel() -> None:
    row = fed("uint8", 0.0028, 0, Input(scale=1 / 255))
    assert row.formula == "q = clip(round(x / 0.0028), 0, 255)"
    assert run(row.python, x=np.array([0.5, 1.0], np.float32)).tolist() == [179, 255]


def test_without_a_recipe_the_condition_is_said() -> None:
    assert "as they are, if the model takes values from 0 to 1; in general" in fed("uint8", 1 / 255, 0).formula
    assert "as they are, if the model takes values from 0 to 255" in fed("uint8", 1.0, 0).formula
    assert "if the model takes" not in fed("uint8", 0.0028, 0).formula
    kept = fed("uint8", 1 / 255, 0, Input(resize=(8, 8)))
    assert "if the model takes values from 0 to 1" in kept.formula
    assert kept.preprocessing == "resize to 8×8 (height×width, bilinear, with antialiasing)"


def test_values_per_channel_are_no_pixels() -> None:
    config = Input(mean=(1.0, 2.0, 3.0), std=(4.0, 4.0, 4.0), channels="bgr", layout="nchw")
    assert config.scaling is None
    words = "swap the channels to BGR, then (value - [1, 2, 3]) / [4, 4, 4], then move the channels first (NCHW)"
    assert in_words(config) == words
    assert fed("uint8", 1 / 255, 0, config).formula.startswith("q = clip(round(x /")


def test_int16_and_outputs() -> None:
    row = fed("int16", 1 / 32768, 0)
    assert row.formula == "q = clip(round(x / 3.0517578e-05), -32768, 32767)"
    assert "(int16_t)fminf(fmaxf(rintf(x / 3.0517578e-05f), -32768), 32767)" in row.c

    def integer_output(model: Any) -> None:
        model.subgraphs[0].outputs = [int(edit.operator(model, "SOFTMAX").outputs[0])]
        model.signatureDefs[0].outputs[0].tensorIndex = model.subgraphs[0].outputs[0]

    out = rows(integer_output)[1]
    assert out.formula == "x = (q + 128) * 0.00390625"
    assert run(out.python, q=np.array([-128, 127], np.int8)).tolist() == [0.0, 255 / 256]
    assert out.c == "float x = (interpreter.output(0)->data.int8[i] + 128) * 0.00390625f;"


def test_values_that_are_not_quantized() -> None:
    row = rows()[1]
    assert (row.formula, row.python, row.scale) == ("float32 values as they are", "x = q", None)
    assert dict(code_lines(row))["C++"] == "float x = interpreter.output(0)->data.f[i];"


def test_dtype_without_a_field_has_no_line_of_c() -> None:
    def text(model: Any) -> None:
        edit.read_by(model, "QUANTIZE", 0).type, edit.read_by(model, "QUANTIZE", 0).quantization = 5, None

    row = rows(text)[0]
    assert (row.dtype, row.formula, [language for language, _ in code_lines(row)]) == (
        "string",
        "string values as they are",
        ["Python"],
    )
