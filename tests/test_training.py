"""Each technique and combination on a small model; and each model and dataset that cannot be trained with."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import lessons
import numpy as np
import pytest
from lessons import Lesson
from running import Recipes

from tflq import flatbuffer
from tflq.errors import ConversionError, SourceError
from tflq.flatbuffer import Weights
from tflq.recipe import load
from tflq.training.source import refuse_untrainable
from tflq.training.train import ENVIRONMENT
from tflq.worker import Task, Workers

COMBINATIONS = ["prune quantize", "cluster quantize", "prune cluster quantize"]
"""PQAT, CQAT and PCQAT. Each also makes the model that is not quantized."""
BLOCKS = {"pruning": {"target_sparsity": 0.5, "block_size": [4, 1], "block_pooling": "max"}}
CONVOLUTIONS = ["stem", "deep", "point"]
UNPRUNED = "DEPTHWISE_CONV_2D"
"""What tfmot neither prunes nor clusters."""


@pytest.fixture(scope="module")
def rows(tmp_path_factory: pytest.TempPathFactory, data: Path) -> dict[str, dict[str, str]]:
    """The data of the small models, with labels that do not fit beside those that do."""
    file = tmp_path_factory.mktemp("labels") / "images.npz"
    with np.load(data / "images.npz") as arrays:
        images, labels = arrays["image"], arrays["label"]
    np.savez(file, image=images, label=labels, onehot=np.eye(4)[labels], large=labels + 3, text=labels.astype(str))
    return {"images": {"npz": str(file)}, "vectors": {"npz": str(data / "vectors.npz")}}


def taught(recipes: Recipes, folder: Path, wanted: dict[str, tuple[str, dict[str, Any]]]) -> dict[str, Lesson | str]:
    """What training comes to of each (model, section), all in one worker."""
    paths = {}
    for name, (model, section) in wanted.items():
        is_learned = "quantize" in section["techniques"]
        floating = [{"mode": "float32", "trained": True}] if {"prune", "cluster"} & {*section["techniques"]} else []
        variants = [*floating, *["qat_int8"] * is_learned]
        paths[name] = recipes.write(model, variants, training=section)
    with Workers(folder / "log", None, lambda _: None) as workers:
        environment = ENVIRONMENT
        task = Task("learn", lessons.learn, (paths, folder), ConversionError, environment=environment)
        return workers.run(task).value


def section(rows: dict[str, str], techniques: str, **keys: Any) -> dict[str, Any]:
    given: dict[str, Any] = {"techniques": techniques.split(), "dataset": rows, "label": "label", "epochs": 1}
    given |= {"batch_size": 4, "learning_rate": 0.001}
    given |= {"pruning": {"target_sparsity": 0.5}} if "prune" in techniques else {}
    return given | ({"clustering": {"clusters": 4}} if "cluster" in techniques else {}) | keys


def weights(lesson: Lesson | str, file: str) -> dict[str, list[Weights]]:
    assert isinstance(lesson, Lesson), lesson
    pruned = [one for one in lesson.files[file].weights if one.op != UNPRUNED]
    return {"pruned": pruned, "other": [one for one in lesson.files[file].weights if one.op == UNPRUNED]}


def assert_kept(lesson: Lesson | str, file: str, techniques: str) -> None:
    assert isinstance(lesson, Lesson), lesson
    assert [fault for fault in lesson.files[file].verified.violations if fault.severity == "error"] == []
    found = weights(lesson, file)
    assert len(found["pruned"]) == 4
    for one in found["pruned"]:
        if "prune" in techniques:
            assert one.zeros == pytest.approx(0.5, abs=0.02)
        if "cluster" in techniques:
            assert one.distinct_per_channel <= 4
        elif "prune" not in techniques:
            assert one.zeros < 0.1
            assert one.distinct_per_channel > 8
    assert all(one.zeros < 0.1 for one in found["other"])


@pytest.fixture(scope="module")
def learned(recipes: Recipes, rows: dict[str, dict[str, str]], tmp_path_factory: pytest.TempPathFactory) -> Any:
    nested = section(rows["images"], "prune", samples=8, validation={"dataset": rows["images"], "samples": 5})
    wanted = {name: ("trainable_keras2.h5", section(rows["images"], name)) for name in COMBINATIONS}
    wanted |= {
        "quantize": ("trainable_keras2", section(rows["images"], "quantize", skip_layers=["dr*", "mean"])),
        "nested": ("trainable_nested.keras", nested),
        "nested in Keras 2": ("vectors_nested.h5", section(rows["vectors"], "quantize", skip_layers=["inner/wide"])),
        "separable": ("separable.h5", section(rows["images"], "quantize")),
        "line": ("line.h5", section(rows["images"], "prune quantize")),
        "half": ("half_trainable.h5", section(rows["images"], "prune quantize")),
        "blocks": ("trainable_keras2.h5", section(rows["images"], "prune", **BLOCKS, skip_layers=CONVOLUTIONS)),
        "two of four": ("trainable_keras2.h5", section(rows["images"], "prune", pruning={"m_by_n": [2, 4]})),
        "skipped": ("separable.h5", section(rows["images"], "quantize", skip_layers=["sep"])),
    }
    return taught(recipes, tmp_path_factory.mktemp("learned"), wanted)


@pytest.mark.slow
@pytest.mark.parametrize("techniques", COMBINATIONS)
def test_each_combination_keeps_its_promises_in_the_files(learned: dict[str, Lesson], techniques: str) -> None:
    assert_kept(learned[techniques], "quantized", techniques)
    assert_kept(learned[techniques], "floating", techniques.removesuffix(" quantize"))
    assert learned[techniques].trained.unchanged_kernels == ("deep",)


@pytest.mark.slow
def test_quantized_training_becomes_a_file_that_is_int8_throughout(learned: dict[str, Lesson]) -> None:
    assert_kept(learned["quantize"], "quantized", "quantize")
    assert learned["quantize"].trained.unchanged_kernels == ()


@pytest.mark.slow
def test_skipped_layers_are_told(learned: dict[str, Lesson]) -> None:
    assert learned["quantize"].trained.skipped == ("mean", "drop")
    assert learned["nested"].trained.skipped == ()


@pytest.mark.slow
def test_a_keras_3_model_is_taken_apart_down_to_the_model_inside(learned: dict[str, Lesson]) -> None:
    lesson = learned["nested"]
    found = weights(lesson, "floating")["pruned"]
    assert len(found) == 5
    assert all(one.zeros == pytest.approx(0.5, abs=0.05) for one in found)
    assert (lesson.trained.samples, lesson.trained.total) == (8, 24)
    (phase,) = lesson.trained.phases
    assert phase.epochs[0].validation_loss is not None


@pytest.mark.slow
def test_a_model_inside_is_trained_though_called_twice_and_its_layers_can_be_skipped(
    learned: dict[str, Lesson],
) -> None:
    assert dtypes(learned["nested in Keras 2"]) == ["int8", "int8", "int8"]
    assert learned["nested in Keras 2"].trained.skipped == ("inner/wide",)


@pytest.mark.slow
def test_whether_answers_are_logits_is_seen_from_them(learned: dict[str, Lesson]) -> None:
    assert learned["quantize"].trained.from_logits is True
    assert learned["nested"].trained.from_logits is False


def dtypes(lesson: Lesson | str) -> list[str]:
    assert isinstance(lesson, Lesson), lesson
    return sorted(one.dtype for one in lesson.files["quantized"].weights)


@pytest.mark.slow
def test_separable_transposed_and_one_dimensional_convolutions_are_quantized(learned: dict[str, Lesson]) -> None:
    assert set(dtypes(learned["separable"])) == set(dtypes(learned["line"])) == {"int8"}
    assert learned["separable"].trained.left_in_float == ("flipped",)


@pytest.mark.slow
def test_layers_after_a_skipped_layer_keep_their_ranges(learned: dict[str, Lesson]) -> None:
    assert dtypes(learned["skipped"]) == ["float32", "float32", "int8", "int8"]


@pytest.mark.slow
def test_the_pruned_model_is_made_though_a_layer_cannot_be_quantized(learned: dict[str, Lesson]) -> None:
    lesson = learned["half"]
    assert list(lesson.files) == ["floating"]
    assert [phase.technique for phase in lesson.trained.phases] == ["prune"]
    assert "write skip_layers: [norm] in training" in str(lesson.trained.error)


def groups_of_four(lesson: Lesson | str, op: str) -> np.ndarray:
    """Which weights of ops of that type are zero, in groups of four along the inputs."""
    assert isinstance(lesson, Lesson), lesson
    graph = flatbuffer.load(lesson.files["floating"].path)
    kernels = [subgraph.input(operator, 1) for subgraph, operator in graph.operators() if operator.type == op]
    found = [np.asarray(each.data).reshape(-1, 4) == 0 for each in kernels if each and each.shape[-1] % 4 == 0]
    return np.concatenate(found)


@pytest.mark.slow
def test_zeros_come_in_blocks(learned: dict[str, Lesson]) -> None:
    zeros = groups_of_four(learned["blocks"], "FULLY_CONNECTED")
    assert {*zeros.sum(1).tolist()} == {0, 4}
    assert zeros.mean() == pytest.approx(0.5, abs=0.02)
    assert learned["blocks"].trained.skipped == ("stem", "deep", "point")


@pytest.mark.slow
@pytest.mark.parametrize("op", ["FULLY_CONNECTED", "CONV_2D"])
def test_two_of_four_weights_are_zero(learned: dict[str, Lesson], op: str) -> None:
    assert {*groups_of_four(learned["two of four"], op).sum(1).tolist()} == {2}


REFUSED = {
    "blocks": "SourceError: TensorFlow Model Optimization cannot prune in blocks of 4 by 1, which needs kernels of two"
    " dimensions that these divide, 'stem' (Conv2D), 'point' (Conv2D); to leave these layers untrained, write"
    " skip_layers: [stem, point] in training",
    "policy": "SourceError: training.pruning.policy: XNNPACK's sparse kernels do not run this model: Could not find"
    " `Conv2D 3x3` layer with stride 2x2, `input filters == 3` and `VALID` padding and preceding `ZeroPadding2D` with"
    " `padding == 1` in all input branches of the model. Remove policy to prune every layer, which makes the file"
    " smaller but not faster",
    "operation": "SourceError: {models}/operation.keras: layer 'multiply' (Multiply) cannot be rebuilt in tf-keras: it"
    " is from keras.src.ops.numpy, and only layers of Keras itself are supported; remove training, or save the model"
    " with Keras 2 (tf-keras)",
    "attention": "SourceError: {models}/attention.keras: layer 'heads' (MultiHeadAttention) cannot be rebuilt in"
    " tf-keras: its configuration in Keras 3 lacks 'query_shape'; remove training, or save the model with Keras 2"
    " (tf-keras)",
    "unquantizable": "SourceError: TensorFlow Model Optimization cannot quantize 'norm' (LayerNormalization); to"
    " leave these layers untrained, write skip_layers: [norm] in training",
    "two heads": "SourceError: {models}/two_heads.keras: has the outputs output_0, output_1, but only a model with one"
    " output can be trained",
    "quantized": "SourceError: {models}/quantized.keras: layer 'scores' was quantized by Keras (int8), which TensorFlow"
    " Lite does not support: give the model from before quantize()",
    "by two": "SourceError: {models}/vectors_by_two.h5: has the fixed batch size 2, so it cannot be trained;"
    " build it without a batch size",
    "subclassed": "SourceError: {models}/vectors_subclassed: is a subclass of Model, but only Sequential and"
    " Functional models can be trained; build it as one of these, or remove training",
    "skipped": "RecipeError: training.skip_layers: 'hiden' matches no layer (did you mean 'hidden'?); the layers are"
    " stem, stem_norm, stem_relu, deep, deep_norm, deep_relu, point, sum, mean, hidden, drop, scores",
    "one-hot": "DatasetError: training: the label [0.0, 0.0, 0.0, 1.0] does not fit the model's output [4];"
    " sparse_categorical_crossentropy needs one class number for each row of classes; for one-hot labels, use"
    " categorical_crossentropy",
    "large": "DatasetError: training: the label [6] is not a class number from 0 to 3",
    "text": "DatasetError: training: the label ['3'] is not a class number from 0 to 3",
    "column": "DatasetError: training: the dataset has no column 'lable' for the label (did you mean 'label'?); it has"
    " image, label, onehot, large, text",
    "loss": "DatasetError: training: the label [3] does not fit the model's output [4]; huber needs one value for each;"
    " for class numbers, use sparse_categorical_crossentropy",
    "rate": "ConversionError: training (quantize): the loss became nan in epoch 1; lower training.learning_rate, and"
    " check that the loss fits the labels",
}


@pytest.fixture(scope="module")
def refused(recipes: Recipes, rows: dict[str, dict[str, str]], tmp_path_factory: pytest.TempPathFactory) -> Any:
    def quantized(model: str, **keys: Any) -> tuple[str, dict[str, Any]]:
        return model, section(rows["vectors" if model.startswith("vectors") else "images"], "quantize", **keys)

    net = "trainable_keras2.h5"
    wanted = {
        "blocks": (net, section(rows["images"], "prune", **BLOCKS)),
        "policy": (net, section(rows["images"], "prune", pruning={"policy": "xnnpack"})),
        "operation": quantized("operation.keras"),
        "attention": quantized("attention.keras"),
        "unquantizable": quantized("normalized.keras"),
        "two heads": quantized("two_heads.keras"),
        "quantized": quantized("quantized.keras"),
        "subclassed": quantized("vectors_subclassed"),
        "by two": quantized("vectors_by_two.h5"),
        "skipped": quantized(net, skip_layers=["hiden"]),
        "one-hot": quantized(net, label="onehot"),
        "large": quantized(net, label="large"),
        "text": quantized(net, label="text"),
        "column": quantized(net, label="lable"),
        "loss": quantized(net, loss="huber"),
        "rate": quantized(net, learning_rate=1e30, epochs=2),
    }
    return taught(recipes, tmp_path_factory.mktemp("refused"), wanted)


@pytest.mark.slow
@pytest.mark.parametrize("case", REFUSED)
def test_what_cannot_be_trained_is_refused_in_these_words(refused: Any, models: Path, case: str) -> None:
    assert refused[case] == REFUSED[case].format(models=models)


def test_an_exported_saved_model_is_refused_before_anything_is_read(recipes: Recipes, rows: Any) -> None:
    recipe = load(recipes.write("tiny_conv", ["qat_int8"], training=section(rows["images"], "quantize")))
    with pytest.raises(SourceError, match="an exported SavedModel has none: give the"):
        refuse_untrainable(recipe.model)
