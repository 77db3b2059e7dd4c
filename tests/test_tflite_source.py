"""A float .tflite file as the source: what is accepted, what is changed in it, and what is refused with which words."""

from __future__ import annotations

import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import models_tflite as exported
import numpy as np
import pytest
from ai_edge_litert import schema_py_generated as schema

from tflq.datasets import TensorSpec
from tflq.errors import RecipeError, SourceError
from tflq.flatbuffer import load
from tflq.inputs.schema import Input
from tflq.interpreter import Runner
from tflq.sources.prepare import describe, prepare
from tflq.sources.prepared import PreparedSource
from tflq.sources.schema import TFLite

IMAGES = np.random.default_rng(5).normal(0, 1, (3, 8, 8, 3)).astype(np.float32)


def nothing(done: int, total: int, note: str = "") -> None:
    pass


def prepared(path: Path, inputs: dict[str, Input] | None = None, **keys: Any) -> PreparedSource:
    return prepare(nothing, TFLite(tflite=path, **keys), inputs or {}, path.parent / "prepared")


def outputs(file: Path, name: str = "image", layout: tuple[int, ...] = (0, 1, 2, 3)) -> list[np.ndarray]:
    run = Runner(file)
    return [next(iter(run({name: image[np.newaxis].transpose(layout)}).values())) for image in IMAGES]


def refusal(path: Path, **keys: Any) -> str:
    with pytest.raises(SourceError) as caught:  # noqa: PT012  (either may refuse)
        TFLite(tflite=path, **keys).check()
        prepared(path, **keys)
    return str(caught.value).replace(f"{path}", "MODEL")


class TestFloatFile:
    def test_that_needs_no_change_is_the_float32_file_byte_for_byte(self, tmp_path: Path) -> None:
        source = exported.made(tmp_path / "net.tflite")
        made = prepared(source)
        assert made.path.read_bytes() == source.read_bytes()
        assert made.notes == ()
        assert made.inputs == (TensorSpec("image", "float32", (1, 8, 8, 3)),)
        assert made.outputs == (TensorSpec("scores", "float32", (1, 4)),)
        assert made.original is None
        assert made.batch == 1

    def test_with_float16_weights_gets_the_float32_weights_that_it_computes_with(self, tmp_path: Path) -> None:
        source = exported.made(tmp_path / "net.tflite", exported.with_float16)
        made = prepared(source)
        graph = load(made.path)
        assert {tensor.dtype for tensor in graph.subgraphs[0].tensors} == {"float32", "int32"}
        assert "DEQUANTIZE" not in {operator.type for _, operator in graph.operators()}
        assert "reduced_precision_support" not in {entry.name for entry in graph.metadata}
        np.testing.assert_array_equal(outputs(made.path), outputs(source))
        assert made.notes == (
            "net.tflite: 6 float16 constants are float32 in the float32 file, from which all files are made",
            "net.tflite: the metadata reduced_precision_support was removed, because it allows float16 arithmetic,"
            " which only the file of mode float16 should",
        )

    def test_of_pytorch_loses_the_metadata_that_forbids_int8_weights(self, tmp_path: Path) -> None:
        source = exported.made(tmp_path / "net.tflite", exported.from_torch)
        made = prepared(source, {"args_0": Input(layout="nchw", column="image")})
        assert "keep_stablehlo_constant" not in {entry.name for entry in load(made.path).metadata}
        assert made.notes == (
            "net.tflite: the metadata keep_stablehlo_constant was removed, because with it, the int8 quantizer leaves"
            " all weights in float",
        )
        assert [spec.name for spec in (*made.inputs, *made.outputs)] == ["args_0", "output_0"]
        np.testing.assert_array_equal(
            outputs(made.path, "args_0", (0, 3, 1, 2)), outputs(exported.made(tmp_path / "plain.tflite"))
        )

    def test_with_weights_behind_the_flatbuffer_gets_them_inside(self, tmp_path: Path) -> None:
        source = exported.with_weights_outside(tmp_path / "net.tflite")
        assert offsets(source)
        made = prepared(source)
        assert not offsets(made.path)
        np.testing.assert_array_equal(outputs(made.path), outputs(exported.made(tmp_path / "plain.tflite")))

    def test_with_packed_labels_says_that_other_files_have_none(self, tmp_path: Path) -> None:
        source = exported.made(tmp_path / "net.tflite")
        with zipfile.ZipFile(source, "a") as archive:
            archive.writestr("labels.txt", "cat")
        assert prepared(source).notes == (
            "net.tflite: the files that are packed into it (labels.txt) are not in quantized files: pack them again",
        )

    def test_names_of_inputs_that_the_recipe_has_and_the_model_has_not(self, tmp_path: Path) -> None:
        with pytest.raises(RecipeError, match=r"inputs\.imgae: the model has no such input \(did you mean 'image'\?\)"):
            prepared(exported.made(tmp_path / "net.tflite"), {"imgae": Input()})


def offsets(file: Path) -> list[int]:
    model = schema.Model.GetRootAs(file.read_bytes())
    return [offset for place in range(model.BuffersLength()) if (offset := model.Buffers(place).Offset()) > 1]


class TestSignature:
    def test_is_made_from_the_names_of_tensors(self, tmp_path: Path) -> None:
        source = exported.made(tmp_path / "net.tflite", exported.without_signature)
        made = prepared(source)
        (signature,) = load(made.path).signatures
        assert signature.key == "serving_default"
        assert [spec.name for spec in (*made.inputs, *made.outputs)] == [
            "serving_default_image:0",
            "StatefulPartitionedCall:0",
        ]
        assert describe(nothing, TFLite(tflite=source), tmp_path / "d").signatures == ()

    def test_has_numbers_if_tensors_have_no_names(self, tmp_path: Path) -> None:
        made = prepared(exported.made(tmp_path / "net.tflite", exported.without_names))
        assert [spec.name for spec in (*made.inputs, *made.outputs)] == ["input_0", "output_0"]

    def test_must_be_chosen_if_there_are_two(self, tmp_path: Path) -> None:
        source = exported.made(tmp_path / "net.tflite", exported.with_two_signatures)
        assert refusal(source) == "MODEL: has the signatures serving_default, embed: choose one with model.signature"
        assert refusal(source, signature="embeds") == (
            "MODEL: there is no signature 'embeds' (did you mean 'embed'?); it has serving_default, embed"
        )
        assert describe(nothing, TFLite(tflite=source), tmp_path / "d").signatures == ("serving_default", "embed")

    @pytest.mark.parametrize("signature", ["serving_default", "embed"])
    def test_that_is_chosen_comes_without_the_weights_of_the_other(self, tmp_path: Path, signature: str) -> None:
        source = exported.made(tmp_path / "net.tflite", exported.with_two_signatures)
        graph = load(prepared(source, signature=signature).path)
        assert len(graph.subgraphs) == 1
        assert [each.key for each in graph.signatures] == ["serving_default"]
        first, second = (load(source).subgraphs[place] for place in (0, 1))
        chosen = first if signature == "serving_default" else second
        assert weights_of(graph.subgraphs[0]) == weights_of(chosen)
        assert weights_of(first) != weights_of(second)
        assert graph.size_bytes < 0.7 * source.stat().st_size

    def test_cannot_be_chosen_if_there_is_none(self, tmp_path: Path) -> None:
        source = exported.made(tmp_path / "net.tflite", exported.without_signature)
        assert refusal(source, signature="serve") == (
            "MODEL: there is no signature 'serve'; it has none at all: remove model.signature"
        )


def weights_of(subgraph: Any) -> list[bytes]:
    return sorted(tensor.stored.tobytes() for tensor in subgraph.tensors if tensor.is_constant and tensor.is_float)


class TestOpenSizes:
    def test_are_needed_in_the_recipe(self, tmp_path: Path) -> None:
        source = exported.made(tmp_path / "net.tflite", exported.with_open_sizes)
        with pytest.raises(RecipeError, match=r"inputs\.image\.shape is needed: .* the shape \[1, \?, \?, 3\]"):
            prepared(source)

    def test_are_written_into_all_tensors(self, tmp_path: Path) -> None:
        source = exported.made(tmp_path / "net.tflite", exported.with_open_sizes)
        made = prepared(source, {"image": Input(resize=(12, 10))}, batch_size=2)
        (subgraph,) = load(made.path).subgraphs
        assert made.inputs[0].shape == subgraph.tensors[subgraph.inputs[0]].shape == (2, 12, 10, 3)
        convolution = next(operator for operator in subgraph.operators if operator.type == "CONV_2D")
        assert subgraph.tensors[convolution.outputs[0]].shape == (2, 6, 5, 8)
        assert all(-1 not in tensor.shape_signature for tensor in subgraph.tensors)
        assert Runner(made.path)({"image": np.zeros((2, 12, 10, 3), np.float32)})["scores"].shape == (2, 4)

    def test_of_the_batch_stay_open_if_the_recipe_says_so(self, tmp_path: Path) -> None:
        source = exported.made(tmp_path / "net.tflite", exported.with_open_sizes)
        made = prepared(source, {"image": Input(resize=(8, 8))}, batch_size="dynamic")
        (subgraph,) = load(made.path).subgraphs
        activations = [tensor for tensor in subgraph.tensors if not tensor.is_constant]
        assert {tensor.shape_signature.count(-1) for tensor in activations} == {1}
        assert {tensor.shape_signature[0] for tensor in activations} == {-1}
        assert made.outputs[0].shape == (None, 4)
        assert prepared(made.path, batch_size="dynamic").path.read_bytes() == made.path.read_bytes()

    def test_that_ops_compute_become_constants(self, tmp_path: Path) -> None:
        source = exported.made(tmp_path / "net.tflite", exported.with_computed_shape)
        made = prepared(source, {"image": Input(resize=(8, 8))})
        types = {operator.type for _, operator in load(made.path).operators()}
        assert "RESHAPE" in types
        assert not types & {"SHAPE", "STRIDED_SLICE", "PACK"}
        np.testing.assert_array_equal(
            np.reshape(outputs(made.path), (3, 4)),
            np.reshape(outputs(exported.made(tmp_path / "plain.tflite")), (3, 4)),
        )


class TestRefused:
    @pytest.mark.parametrize(
        ("change", "expected"),
        [
            (
                exported.with_int8_weights,
                "is a quantized file: its weights are int8 already, such as 'Conv2D1'. Give the float file that it"
                " was made from",
            ),
            (
                exported.with_sparse_weights,
                "the weights 'Conv2D1' are stored sparse, which no quantizer reads: export the model without sparse"
                " weights",
            ),
            (
                exported.with_densify,
                "the weights 'Conv2D1' are stored sparse (DENSIFY): export the model without sparse weights",
            ),
            (
                exported.with_custom_op("FlexRoll"),
                "has the TensorFlow op Roll (select_tf_ops), which calibration cannot run: export the model without"
                " select_tf_ops, or end the model before it with model.outputs: ['MatMul;add_2']",
            ),
            (
                exported.with_custom_op("Swirl"),
                "has the custom op Swirl, for which there is no kernel and no integer version: give the float file"
                " without that op, or end the model before it with model.outputs: ['MatMul;add_2']",
            ),
            (
                exported.with_custom_op("ethos-u"),
                "has the custom op ethos-u, for which there is no kernel and no integer version; the file was compiled"
                " for an Ethos-U: give the float file without that op, or end the model before it with model.outputs:"
                " ['MatMul;add_2']",
            ),
            (
                exported.with_fake_quant,
                "has FAKE_QUANT ops of quantization-aware training, which fix the ranges: give the float file from"
                " before that training, or give the SavedModel with the mode qat_int8",
            ),
            (
                exported.in_float16,
                "its CONV_2D computes in float16 ('serving_default_image:0'), but quantizers read float32: export the"
                " model in float32",
            ),
        ],
    )
    def test_for_what_it_is(self, tmp_path: Path, change: Callable[[Any], None], expected: str) -> None:
        assert refusal(exported.made(tmp_path / "net.tflite", change)) == f"MODEL: {expected}"

    @pytest.mark.parametrize(("name", "dtype"), [("cnn_int8", "uint8"), ("cnn_int16x8", "int16")])
    def test_an_integer_file(self, tmp_path: Path, name: str, dtype: str) -> None:
        source = tmp_path / "net.tflite"
        source.write_bytes(exported.tflite_edit.raw(name))
        assert refusal(source).startswith(f"MODEL: is a quantized file: it computes in {dtype} already, such as '")

    def test_what_no_interpreter_can_prepare(self, tmp_path: Path) -> None:
        said = refusal(exported.made(tmp_path / "net.tflite", exported.with_wrong_channels))
        assert said.startswith("MODEL: LiteRT cannot run it (correct the shapes in inputs, or export the model again")
        assert "its op 0, CONV_2D, fails to prepare: " in said

    def test_what_is_no_such_file(self, tmp_path: Path) -> None:
        assert refusal(tmp_path / "no.tflite") == "MODEL: there is no such file"
        (tmp_path / "dir.tflite").mkdir()
        assert refusal(tmp_path / "dir.tflite") == "MODEL: is a folder"
        (tmp_path / "text.tflite").write_text("something else")
        assert refusal(tmp_path / "text.tflite") == (
            "MODEL: not a .tflite file: the identifier TFL3 is missing at its start"
        )

    def test_what_lost_its_end(self, tmp_path: Path) -> None:
        source = exported.made(tmp_path / "net.tflite")
        source.write_bytes(source.read_bytes()[:2000])
        assert refusal(source).startswith("MODEL: not a complete .tflite file")
