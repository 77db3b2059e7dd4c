"""Real files held to the contracts of modes that they were not made for: nothing passes for something else."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from running import MODES, Ran

from tflq.datasets import TensorSpec
from tflq.errors import EvaluationError
from tflq.modes import named
from tflq.sources.prepared import PreparedSource
from tflq.sources.saved_model import SavedModel
from tflq.verify import smoke_test, verify

IMAGE, SCORES = TensorSpec("image", "float32", (1, 8, 8, 3)), TensorSpec("scores", "float32", (1, 4))
NOWHERE = Path("nowhere")
SOURCE = PreparedSource(SavedModel(saved_model=NOWHERE), NOWHERE, (IMAGE,), (SCORES,), 0, 0)


def nothing(done: int, total: int) -> None:
    pass


def faults(file: Path, mode: str, source: PreparedSource = SOURCE) -> list[str]:
    found = verify(nothing, file, named(mode), source).violations
    return [f"{fault.where} {fault.message}" for fault in found if fault.severity == "error"]


@pytest.mark.parametrize("made", MODES)
def test_file_keeps_the_contract_of_its_own_mode(all_modes: Ran, made: str) -> None:
    assert faults(all_modes.file(made), made) == []


ALSO = {("int8", "int8_only"), ("int16x8", "int16x8_only")}


@pytest.mark.parametrize("asked", MODES)
@pytest.mark.parametrize("made", MODES)
def test_file_breaks_the_contract_of_any_other_mode(all_modes: Ran, made: str, asked: str) -> None:
    if made != asked:
        assert faults(all_modes.file(made), asked)


SILENT = [
    ("float32", "int8", ["the file has no int8 op at all: it computes in float"]),
    (
        "float32",
        "dynamic",
        [
            "the file is still a float32 file: 5 of its 6 constants have fewer than 1,024 elements. Use mode float16 or"
            " int8 instead"
        ],
    ),
    ("dynamic", "int16x8", ["the file has no int16 op at all: it computes in float"]),
    ("float32", "float16", ["the file has no float16 constant, so nothing became smaller"]),
    ("int8", "int16x8", ["the file has no int16 op at all: it computes in float"]),
]


@pytest.mark.parametrize(("made", "asked", "said"), SILENT)
def test_what_the_converter_makes_instead_is_found(all_modes: Ran, made: str, asked: str, said: Sequence[str]) -> None:
    """Without samples, or with NaN alone, it makes a float file of a request for integers."""
    assert [fault for fault in faults(all_modes.file(made), asked) if fault.startswith("the file")] == said


def test_types_of_inputs_and_outputs_are_those_asked(all_modes: Ran) -> None:
    said = faults(all_modes.file("int8"), "int8_only")
    assert said[-2:] == [
        "input 'image' is float32, but should be int8",
        "output 'scores' is float32, but should be int8",
    ]


@pytest.mark.parametrize(
    ("image", "scores", "said"),
    [
        (replace(IMAGE, name="picture"), SCORES, "the file has the inputs image, but should have picture"),
        (IMAGE, replace(SCORES, name="logits"), "the file has the outputs scores, but should have logits"),
        (
            replace(IMAGE, shape=(1, 9, 9, 3)),
            SCORES,
            "input 'image' has the shape [1, 8, 8, 3], but the source has [1, 9, 9, 3]",
        ),
        (
            replace(IMAGE, shape=(None, 8, 8, 3)),
            SCORES,
            "input 'image' has the shape [1, 8, 8, 3], but the source has [?, 8, 8, 3]",
        ),
        (IMAGE, replace(SCORES, shape=(4,)), "output 'scores' has the shape [1, 4], but the source has [4]"),
    ],
)
def test_signature_is_that_of_the_source(all_modes: Ran, image: TensorSpec, scores: TensorSpec, said: str) -> None:
    source = replace(SOURCE, inputs=(image,), outputs=(scores,))
    assert faults(all_modes.file("float32"), "float32", source) == [said]


def test_output_may_be_more_definite_than_the_source_says(all_modes: Ran) -> None:
    source = replace(SOURCE, outputs=(replace(SCORES, shape=(None, 4)),))
    assert faults(all_modes.file("float32"), "float32", source) == []


def test_file_that_is_none_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "no.tflite").write_bytes(b"something else entirely, and long enough to be read")
    with pytest.raises(EvaluationError, match=r"not a \.tflite file"):
        verify(nothing, tmp_path / "no.tflite", None, SOURCE)


def test_file_of_no_mode_has_only_to_keep_the_rules(all_modes: Ran) -> None:
    for mode in MODES:
        found = verify(nothing, all_modes.file(mode), None, SOURCE)
        assert found.violations == ()
        assert found.file.float_ops == ()


@pytest.mark.parametrize("is_open", [False, True])
def test_file_is_tried_with_two_samples_where_any_number_will_do(all_modes: Ran, is_open: bool) -> None:
    arrays = {"image": np.zeros((1, 8, 8, 3), np.float32)}
    if not is_open:
        smoke_test(nothing, all_modes.file("int8"), arrays, is_open)
        return
    with pytest.raises(EvaluationError) as caught:
        smoke_test(nothing, all_modes.file("int8"), arrays, is_open)
    assert str(caught.value).startswith(
        "recipe-int8.tflite: runs one sample, but not two at a time, though the recipe has batch_size: dynamic: "
    )
