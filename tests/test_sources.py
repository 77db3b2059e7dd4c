"""Float models of every kind, signature and shape; those that cannot be read, each with its message."""

from __future__ import annotations

import json
import shutil
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from running import Recipes

from tflq.datasets import TensorSpec
from tflq.errors import RecipeError, SourceError
from tflq.inputs.schema import Input
from tflq.interpreter import Runner
from tflq.sources.keras_file import Keras
from tflq.sources.prepare import describe, prepare
from tflq.sources.saved_model import SavedModel
from tflq.sources.shapes import fix_shapes
from tflq.sources.unreadable import unknown_class
from tflq.worker import Task, Workers


def described(model: SavedModel | Keras, folder: Path) -> Any:
    """What the model says of itself, in a worker."""
    with Workers(folder / "log", None, lambda _: None) as workers:
        return workers.run(Task("read the signature", describe, (model, folder / "model"), SourceError)).value


def prepared(model: SavedModel | Keras, folder: Path) -> Any:
    with Workers(folder / "log", None, lambda _: None) as workers:
        return workers.run(Task("read the source", prepare, (model, {}, folder / "model"), SourceError)).value


def refusal(model: SavedModel | Keras, folder: Path) -> str:
    """What is said against the model, before a worker reads it or when one does."""
    with pytest.raises(SourceError) as caught:  # noqa: PT012  (either may refuse)
        model.check()
        prepared(model, folder)
    return str(caught.value).replace(f"{model.path}", "MODEL")


class TestSignatures:
    def test_all_are_listed(self, models: Path, tmp_path: Path) -> None:
        found = described(SavedModel(saved_model=models / "signatures"), tmp_path)
        assert list(found.signatures) == ["embed", "serve", "serving_default"]
        assert found.outputs == (TensorSpec("y", "float32", (None, 64)),)

    @pytest.mark.parametrize(
        ("signature", "output", "size"), [("embed", "e", 3), ("serve", "y", 64), ("serving_default", "y", 64)]
    )
    def test_the_one_asked_for_is_converted(self, recipes: Recipes, signature: str, output: str, size: int) -> None:
        """TensorFlow's converter takes serving_default where there is a `serve`, whatever it is asked for."""
        model = {"saved_model": str(recipes.models / "signatures"), "signature": signature}
        ran = recipes.uncorrected.run("signatures", ["float32", "int8_only"], model=model)
        assert ran.result.exit_code == 0, ran.page
        (port,) = ran.variant("int8_only").file.outputs
        assert (port.name, port.shape) == (output, (1, size))
        assert ran.result.baseline.fidelity[output].sqnr_db > 100

    def test_of_an_unknown_name_is_refused_with_the_nearest(self, models: Path, tmp_path: Path) -> None:
        model = SavedModel(saved_model=models / "signatures", signature="embeds")
        assert refusal(model, tmp_path) == (
            "MODEL: there is no signature 'embeds' (did you mean 'embed'?); it has embed, serve, serving_default"
        )

    def test_must_be_there_at_all(self, models: Path, tmp_path: Path) -> None:
        assert refusal(SavedModel(saved_model=models / "without_signature"), tmp_path) == (
            "MODEL: there is no signature 'serving_default'; it has none at all: save it with"
            " signatures={'serving_default': function}"
        )

    def test_must_take_something(self, models: Path, tmp_path: Path) -> None:
        assert refusal(SavedModel(saved_model=models / "without_inputs"), tmp_path) == (
            "MODEL: the signature 'serving_default' has no inputs, so there is nothing to convert"
        )


class TestTags:
    @pytest.mark.parametrize(("tags", "size"), [(("serve",), 64), (("serve", "gpu"), 8)])
    def test_choose_the_graph(self, models: Path, tmp_path: Path, tags: tuple[str, ...], size: int) -> None:
        (output,) = described(SavedModel(saved_model=models / "tagged", tags=tags), tmp_path).outputs
        assert output == TensorSpec("y", "float32", (None, size))

    def test_that_no_graph_has_are_refused(self, models: Path, tmp_path: Path) -> None:
        said = refusal(SavedModel(saved_model=models / "tagged", tags=("train",)), tmp_path)
        assert said.startswith("MODEL: TensorFlow cannot load it: ")
        assert "'train'" in said


@pytest.mark.parametrize("file", ["keras3.keras", "keras3.h5", "keras2.keras", "keras2.h5"])
def test_keras_file_computes_what_keras_does(recipes: Recipes, file: str) -> None:
    """With the statistics of its batch normalization, as a .npz file beside it holds."""
    ran = recipes.uncorrected.run(file, ["float32", "int8"])
    assert ran.result.exit_code == 0, ran.page
    answers = np.load(recipes.models / f"{Path(file).stem}.npz")
    (answer,) = Runner(ran.file("float32"))({ran.variant("float32").file.inputs[0].name: answers["input"]}).values()
    np.testing.assert_allclose(answer, answers["output"], atol=1e-5)


class TestNames:
    def test_may_be_no_identifiers(self, recipes: Recipes) -> None:
        inputs = {"image/encoded:0": {"column": "zeta"}, "x-1": {"column": "alpha"}}
        ran = recipes.uncorrected.run("odd_names", ["float32", "int8_only"], inputs=inputs)
        assert ran.result.exit_code == 0, ran.page
        file = ran.variant("int8_only").file
        assert [port.name for port in file.inputs] == ["image/encoded:0", "x-1"]
        assert {port.name for port in file.outputs} == {"scores:0", "2nd out"}
        fidelity = ran.result.baseline.fidelity
        assert all(output.sqnr_db is None or output.sqnr_db > 100 for output in fidelity.values())

    def test_of_inputs_that_the_model_has_not_are_refused(self, recipes: Recipes) -> None:
        with pytest.raises(RecipeError) as caught:
            recipes.run("odd_names", ["float32"], inputs={"x-2": {"column": "zeta"}}, calibration=None)
        assert str(caught.value) == (
            "inputs.x-2: the model has no such input (did you mean 'x-1'?); it has image/encoded:0, x-1"
        )


class TestShapes:
    def test_that_are_open_are_the_recipes_to_say(self, recipes: Recipes) -> None:
        with pytest.raises(RecipeError) as caught:
            recipes.run("dynamic_size", ["float32"])
        assert str(caught.value) == (
            "inputs.image.shape is needed: the model's signature gives this input the shape [1, ?, ?, 3], but a .tflite"
            " file needs known sizes; for example shape: [1, 64, 64, 3] with your own sizes"
        )

    @pytest.mark.parametrize("given", [{"shape": [1, 8, 8, 3]}, {"resize": [8, 8]}], ids=["shape", "resize"])
    def test_are_said_by_shape_or_resize(self, recipes: Recipes, given: dict[str, Any]) -> None:
        ran = recipes.uncorrected.run("dynamic_size", ["int8_only"], inputs={"image": given})
        assert ran.result.exit_code == 0, ran.page
        assert ran.variant("int8_only").file.inputs[0].shape == (1, 8, 8, 3)

    def test_must_fit_the_model(self) -> None:
        spec = TensorSpec("image", "float32", (None, 8, 8, 3))
        with pytest.raises(
            RecipeError, match=r"inputs\.image\.shape: \[1, 9, 9, 3\] does not fit the model's \[\?, 8, 8, 3\]"
        ):
            fix_shapes([spec], 1, {"image": Input(shape=(1, 9, 9, 3))})

    def test_may_have_no_batch(self, recipes: Recipes) -> None:
        ran = recipes.run("without_batch", ["float32", "int8_only", "int16x8_only"])
        assert ran.result.exit_code == 0, ran.page
        assert ran.variant("int8_only").file.inputs[0].shape == (16,)
        assert ran.variant("int8_only").measured.fidelity["y"].sqnr_db > 20

    @pytest.mark.parametrize("shape", [(None, 16), (4, 16), (16,), (None,), ()])
    def test_are_of_a_batch_where_something_is_left_of_them(self, shape: tuple[int | None, ...]) -> None:
        (spec,) = fix_shapes([TensorSpec("x", "float32", shape)], 1, {})
        assert spec.is_batched == (shape not in ((16,), ()))
        assert spec.shape == tuple(1 if size is None else size for size in shape)

    def test_of_a_fixed_batch_refuse_another(self) -> None:
        spec = TensorSpec("x", "float32", (4, 16))
        assert fix_shapes([spec], 1, {})[0].batch == fix_shapes([spec], 4, {})[0].batch == 4
        for asked in (2, "dynamic"):
            with pytest.raises(RecipeError) as caught:
                fix_shapes([spec], asked, {})
            assert str(caught.value) == (
                f"model.batch_size: {asked} is not possible: input 'x' takes [4, 16] per call, by the signature or"
                " inputs.x.shape; remove batch_size"
            )

    def test_that_are_open_stay_so_in_their_batch_alone(self) -> None:
        (spec,) = fix_shapes([TensorSpec("x", "float32", (None, None, 3))], "dynamic", {"x": Input(shape=(None, 9, 3))})
        assert (spec.shape, spec.batch) == ((None, 9, 3), None)

    def test_of_unknown_rank_are_the_recipes_to_say(self) -> None:
        with pytest.raises(RecipeError, match="gives this input an unknown number of dimensions"):
            fix_shapes([TensorSpec("x", "float32", None)], 1, {})
        assert fix_shapes([TensorSpec("x", "float32", None)], 1, {"x": Input(shape=(1, 5))})[0].shape == (1, 5)


class TestDtypes:
    def test_pixels_as_they_are(self, recipes: Recipes) -> None:
        ran = recipes.run("uint8_input", ["float32", "int8"])
        assert ran.result.exit_code == 0, ran.page
        assert ran.variant("int8").file.inputs[0].dtype == "uint8"
        assert [op.type for op in ran.variant("int8").file.float_ops] == ["CAST"]
        assert ran.variant("int8").measured.fidelity["scores"].sqnr_db > 20

    def test_ids(self, recipes: Recipes) -> None:
        """The table of an embedding is quantized in dynamic mode too, and its rows are no activations."""
        ran = recipes.run("embedding", ["float32", "dynamic", "int8_only"])
        assert ran.codes == {"float32": 0, "dynamic": 0, "int8_only": 0}, ran.page
        assert ran.variant("int8_only").file.inputs[0].dtype == "int32"

    def test_text_is_refused(self, recipes: Recipes) -> None:
        with pytest.raises(SourceError) as caught:
            recipes.run("text_input", ["float32"])
        assert (
            str(caught.value)
            == "input 'text' takes text, which no quantized model supports: convert the part of the model after it"
        )


class TestState:
    def test_of_variables_is_kept(self, recipes: Recipes) -> None:
        ran = recipes.run("counter", ["float32", "int8"])
        assert ran.result.exit_code == 0, ran.page
        assert {op.type for op in ran.variant("int8").file.float_ops} == {"READ_VARIABLE", "ASSIGN_VARIABLE"}

    def test_of_a_fused_lstm_is_cleared_between_samples(self, recipes: Recipes) -> None:
        """As Keras does, where the file keeps it from call to call."""
        ran = recipes.run("lstm_keras2", ["float32", "int8"])
        assert ran.result.exit_code == 0, ran.page
        (fidelity,) = ran.result.baseline.fidelity.values()
        assert fidelity.sqnr_db is None or fidelity.sqnr_db > 80
        (warning,) = ran.variant("float32").violations
        assert (warning.where, warning.severity) == ("UNIDIRECTIONAL_SEQUENCE_LSTM", "warning")
        assert "call reset_all_variables() before each new sequence" in warning.message


@pytest.mark.parametrize("model", ["lstm.keras", "gru.keras", "lstm_exported"])
def test_recurrent_layers_of_keras_3_convert_in_float_modes(recipes: Recipes, model: str) -> None:
    ran = recipes.run(model, ["float32", "dynamic", "float16"], calibration=None)
    assert ran.codes == {"float32": 0, "dynamic": 0, "float16": 0}, ran.page
    (fidelity,) = ran.result.baseline.fidelity.values()
    assert fidelity.sqnr_db > 100


class TestDamage:
    def test_missing(self, tmp_path: Path) -> None:
        assert refusal(SavedModel(saved_model=tmp_path / "no"), tmp_path) == "MODEL: there is no such folder"
        assert refusal(Keras(keras=tmp_path / "no.keras"), tmp_path) == "MODEL: there is no such file"

    def test_of_another_kind(self, models: Path, tmp_path: Path) -> None:
        said = refusal(SavedModel(saved_model=models), tmp_path)
        assert said == "MODEL: is not a SavedModel: it has no saved_model.pb"
        said = refusal(Keras(keras=models / "tiny_conv"), tmp_path)
        assert said == "MODEL: is a folder: if it is a SavedModel, give it as saved_model"

    @pytest.mark.parametrize("lost", ["variables/variables.index", "variables/variables.data-00000-of-00001"])
    def test_saved_model_without_its_variables(self, models: Path, tmp_path: Path, lost: str) -> None:
        shutil.copytree(models / "tiny_conv", tmp_path / "model")
        (tmp_path / "model" / lost).unlink()
        said = refusal(SavedModel(saved_model=tmp_path / "model"), tmp_path)
        assert said.startswith("MODEL: TensorFlow cannot load it: ")

    @pytest.mark.parametrize("keep", [0, 100, 3000])
    def test_saved_model_cut_off(self, models: Path, tmp_path: Path, keep: int) -> None:
        shutil.copytree(models / "tiny_conv", tmp_path / "model")
        file = tmp_path / "model/saved_model.pb"
        file.write_bytes(file.read_bytes()[:keep])
        said = refusal(SavedModel(saved_model=tmp_path / "model"), tmp_path)
        assert said.startswith("MODEL: TensorFlow cannot load it: ")

    @pytest.mark.parametrize("file", ["keras3.keras", "keras3.h5", "keras2.h5"])
    def test_keras_file_cut_off(self, models: Path, tmp_path: Path, file: str) -> None:
        path = tmp_path / file
        path.write_bytes((models / file).read_bytes()[:1000])
        said = refusal(Keras(keras=path), tmp_path)
        assert said == "MODEL: is not a complete Keras model: expected a .keras archive or an HDF5 file"

    @pytest.mark.parametrize(
        "metadata", ["[]", "{", "[" * 100_000, '{"keras_version": null}', '{"keras_version": "x"}', "{}", "1" * 2**21]
    )
    def test_keras_archive_with_wrong_metadata(self, tmp_path: Path, metadata: str) -> None:
        path = tmp_path / "net.keras"
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("metadata.json", metadata)
        with pytest.raises(SourceError, match=f"^{path}: is not a complete Keras model: expected a .keras archive or "):
            Keras(keras=path).check()

    @pytest.mark.parametrize("name", ["metadata.json", "config.json", "model.weights.h5"])
    def test_keras_archive_with_a_wrong_checksum(self, models: Path, tmp_path: Path, name: str) -> None:
        path = tmp_path / "keras3.keras"
        content = bytearray((models / "keras3.keras").read_bytes())
        with zipfile.ZipFile(models / "keras3.keras") as archive:
            start = archive.getinfo(name).header_offset + 30 + len(name)
        content[start + 5] ^= 1
        path.write_bytes(content)
        said = refusal(Keras(keras=path), tmp_path)
        wrong = "is not a complete Keras model: expected a .keras archive or an HDF5 file"
        damaged = "this archive is damaged: copy or write it again"
        assert said.startswith(f"MODEL: {wrong if name == 'metadata.json' else damaged}")

    def test_saved_model_with_variables_cut_off(self, models: Path, tmp_path: Path) -> None:
        shutil.copytree(models / "tiny_conv", tmp_path / "model")
        (file,) = (tmp_path / "model/variables").glob("*.data-*")
        file.write_bytes(file.read_bytes()[:-100])
        said = refusal(SavedModel(saved_model=tmp_path / "model"), tmp_path)
        assert said == "MODEL: its files of variables are cut short or damaged: copy it again"

    def test_keras_file_of_weights_alone(self, models: Path, tmp_path: Path) -> None:
        said = refusal(Keras(keras=models / "only.weights.h5"), tmp_path)
        assert said == "MODEL: is not a complete Keras model: expected a .keras archive or an HDF5 file"

    def test_keras_file_with_a_layer_of_ones_own(self, models: Path, tmp_path: Path) -> None:
        path = tmp_path / "custom.keras"
        with zipfile.ZipFile(models / "keras3.keras") as old, zipfile.ZipFile(path, "w") as new:
            for name in old.namelist():
                content = old.read(name)
                if name == "config.json":
                    config = json.loads(content)
                    layer = config["config"]["layers"][1]
                    layer.update(class_name="Swirl", module="mine", registered_name="mine>Swirl")
                    content = json.dumps(config).encode()
                new.writestr(name, content)
        said = refusal(Keras(keras=path), tmp_path)
        assert said == (
            "MODEL: 'Swirl' is not a part of Keras but code of your own, which tflq does not run: load the model where"
            " this code is, write it with model.export(FOLDER), and give saved_model: FOLDER"
        )

    @pytest.mark.parametrize(
        ("reason", "name"),
        [
            ("Could not locate function 'swirl'. Make sure custom classes and functions are decorated", "'swirl'"),
            ("Unknown layer: 'Swirl'. Please ensure you are using a `keras.utils.custom_object_scope`", "'Swirl'"),
            ("Unknown activation function: 'swirl'. Please ensure you are using a", "'swirl'"),
            ("The layer is damaged: Could not locate class 'Swirl'", None),
        ],
    )
    def test_code_that_keras_does_not_have(self, reason: str, name: str | None) -> None:
        said = unknown_class(reason)
        assert (said and said.split(" is ")[0]) == name


def test_prepared_model_knows_what_its_weights_take(models: Path, tmp_path: Path) -> None:
    """By which a file that lost variables is found out."""
    found = prepared(SavedModel(saved_model=models / "tiny_conv"), tmp_path)
    assert found.weight_bytes == 4 * (3 * 3 * 3 * 16 + 16 + 3 * 3 * 16 * 16 + 3 * 3 * 16 + 16 * 4)
    assert found.batch == 1


def test_source_with_more_than_variables_is_prepared_whole(models: Path, tmp_path: Path) -> None:
    made = prepared(SavedModel(saved_model=models / "lookup"), tmp_path)
    assert [spec.name for spec in made.inputs] == ["ids"]
    assert (made.path / "saved_model.pb").is_file()
