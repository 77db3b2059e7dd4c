"""Files run on named float arrays: what is rounded and clipped on the way in and out, and what is refused."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tflite_edit as edit
from running import Ran

from tflq.errors import EvaluationError
from tflq.interpreter import Runner, dequantized, quantized


def detail(dtype: str, scale: float = 0.0, zero_point: int = 0) -> dict[str, Any]:
    return {"dtype": np.dtype(dtype).type, "quantization": (scale, zero_point)}


@pytest.mark.parametrize(
    ("real", "dtype", "scale", "zero_point", "steps"),
    [
        ([0.0, 0.5, -0.5], "int8", 0.5, 3, [3, 4, 2]),
        ([0.24, 0.26, -0.24, -0.26], "int8", 0.5, 0, [0, 1, 0, -1]),
        ([0.25, 0.75, 1.25], "int8", 0.5, 0, [0, 2, 2]),  # halves go to the even step
        ([1000.0, -1000.0], "int8", 0.5, 0, [127, -128]),
        ([1000.0, -1000.0], "uint8", 0.5, 128, [255, 0]),
        ([1e9, -1e9, 1.0], "int16", 1 / 32768, 0, [32767, -32768, 32767]),
        ([np.inf, -np.inf], "int8", 0.5, 0, [127, -128]),
        ([3.4e38], "int8", 1e-30, 0, [127]),
    ],
)
def test_a_float_is_rounded_and_clipped(
    real: list[float], dtype: str, scale: float, zero_point: int, steps: list[int]
) -> None:
    made = quantized(np.array(real, np.float32), detail(dtype, scale, zero_point))
    assert (made.dtype, made.tolist()) == (dtype, steps)


@pytest.mark.parametrize(
    ("array", "dtype"),
    [
        (np.array([1, 255], np.uint8), "uint8"),
        (np.array([7], np.int32), "int32"),
        (np.array([0.5], np.float32), "float32"),
        (np.array(0.5, np.float32), "float32"),
        (np.array([True]), "bool"),
    ],
)
def test_what_is_not_quantized_is_fed_as_it_is(array: np.ndarray, dtype: str) -> None:
    fed = quantized(array, detail(dtype))
    assert (fed.dtype, fed.shape) == (dtype, array.shape)
    assert np.array_equal(fed, array)
    assert dequantized(fed, detail(dtype)) is fed


def test_integers_of_the_files_own_dtype_are_taken_for_quantized() -> None:
    steps = np.array([5, -128], np.int8)
    assert quantized(steps, detail("int8", 0.5, 3)) is steps


@pytest.mark.parametrize("dtype", ["int8", "uint8", "int16"])
def test_every_step_survives_the_way_out_and_in(dtype: str) -> None:
    limits = np.iinfo(dtype)
    steps = np.arange(limits.min, limits.max + 1).astype(dtype)
    how = detail(dtype, 0.0371, 0 if dtype == "int16" else int(limits.min) + 77)
    real = dequantized(steps, how)
    assert real.dtype == np.float32
    assert np.array_equal(quantized(real, how), steps)


def test_a_step_is_worth_its_scale() -> None:
    assert dequantized(np.array([-128, 3, 127], np.int8), detail("int8", 0.5, 3)).tolist() == [-65.5, 0.0, 62.0]


IMAGE = np.random.default_rng(0).normal(0, 1, (1, 8, 8, 3)).astype(np.float32)


def test_an_integer_file_is_fed_and_read_in_real_numbers(all_modes: Ran) -> None:
    """As by hand, through LiteRT's own interpreter."""
    from ai_edge_litert.interpreter import Interpreter

    file = all_modes.file("int8_only")
    by_hand = Interpreter(model_path=str(file), num_threads=1).get_signature_runner("serving_default")
    (taken,), (given,) = by_hand.get_input_details().values(), by_hand.get_output_details().values()
    (scale, zero_point), (worth, zero) = taken["quantization"], given["quantization"]
    assert taken["dtype"] is given["dtype"] is np.int8
    steps = np.clip(np.round(IMAGE / scale) + zero_point, -128, 127).astype(np.int8)
    answer = (by_hand(image=steps)["scores"].astype(np.float64) - zero) * worth
    assert np.array_equal(Runner(file)({"image": IMAGE})["scores"], answer.astype(np.float32))


def test_outputs_are_near_over_files_of_all_precisions() -> None:
    names = ("cnn_float16", "cnn_int8", "cnn_int16x8")
    half, byte, wide = (Runner(edit.DATA / f"{name}.tflite")({"image": IMAGE})["scores"] for name in names)
    np.testing.assert_allclose(byte, half, atol=0.05)
    np.testing.assert_allclose(wide, half, atol=0.02)


def refusal(path: Path, arrays: dict[str, np.ndarray]) -> str:
    with pytest.raises(EvaluationError) as caught:
        Runner(path)(arrays)
    assert caught.value.exit_code == 7
    return str(caught.value)


def test_a_damaged_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "cut.tflite"
    path.write_bytes(edit.raw("cnn_int8")[:2000])
    assert refusal(path, {"image": IMAGE}).startswith("cut.tflite: LiteRT cannot run this file: ")


@pytest.mark.parametrize(("count", "has"), [(0, "no signature"), (2, "the signatures serving_default, other")])
def test_a_file_has_one_signature(tmp_path: Path, count: int, has: str) -> None:
    model = edit.load("cnn_int8")
    if count:
        model.signatureDefs = [*model.signatureDefs, edit.load("cnn_int8").signatureDefs[0]]
        model.signatureDefs[1].signatureKey = b"other"
    else:
        model.signatureDefs = []
    path = tmp_path / "some.tflite"
    path.write_bytes(edit.packed(model))
    assert refusal(path, {"image": IMAGE}) == (
        f"some.tflite: has {has}, but exactly one is needed to name inputs and outputs"
    )


def test_an_input_of_another_name_is_refused() -> None:
    said = refusal(edit.DATA / "cnn_int8.tflite", {"picture": IMAGE})
    assert said == "cnn_int8.tflite: has an input 'image', but the inputs of the model are picture"


@pytest.mark.parametrize("shape", [(1, 16, 16, 3), (2, 8, 8, 3), (8, 8, 3), (1, 8, 8, 3, 1)])
def test_an_input_of_another_shape_is_refused(shape: tuple[int, ...]) -> None:
    """LiteRT would make the file one of that shape, and might answer nonsense."""
    said = refusal(edit.DATA / "cnn_int8.tflite", {"image": np.zeros(shape, np.float32)})
    assert said == (f"cnn_int8.tflite: input 'image' takes [1, 8, 8, 3], but the recipe gives {list(shape)}")


def test_calls_do_not_depend_on_each_other() -> None:
    run = Runner(edit.DATA / "cnn_int8.tflite")
    first = run({"image": IMAGE})["scores"].copy()
    run({"image": -IMAGE})
    assert np.array_equal(run({"image": IMAGE})["scores"], first)


def test_answers_are_the_callers_to_keep() -> None:
    run = Runner(edit.DATA / "cnn_float16.tflite")
    first = run({"image": IMAGE})["scores"]
    kept = first.copy()
    run({"image": -IMAGE})
    assert np.array_equal(first, kept)


def test_latency_is_of_as_many_runs_as_asked_and_names_the_kernels() -> None:
    latency = Runner(edit.DATA / "cnn_int8.tflite", threads=2).time({"image": IMAGE}, runs=7, warmup=1)
    assert (latency.runs, latency.threads) == (7, 2)
    assert 0 < latency.median <= latency.p90
    assert re.fullmatch(r"LiteRT \d+\.\d+\.\d+, (XNNPACK|built-in)", latency.kernels)
