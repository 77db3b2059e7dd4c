"""What of training needs no TensorFlow: labels, the order of samples, which epoch is kept, checkpoints, weights."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from tflq import flatbuffer
from tflq.datasets import TensorSpec
from tflq.errors import ConversionError, DatasetError, RecipeError
from tflq.result import UNTRAINED, CompressionStats, FileFigures, Gain, Score, Variant
from tflq.scores import with_gains
from tflq.training.checkpoint import Checkpoint, folder_for
from tflq.training.data import DataRequest, Examples, label, read_examples
from tflq.training.fit import _best, _is_done
from tflq.training.outcome import Epoch
from tflq.training.pruning import refuse_too_few_zeros, structure_in_words
from tflq.training.schema import Loss, Pruning, Training
from tflq.training.techniques import skipped_layers

DATA = Path(__file__).parent / "data"


def recipe(**keys: Any) -> Training:
    given = {"techniques": ["quantize"], "dataset": {"npz": "data.npz"}, "label": "label"} | keys
    return Training.model_validate(given, context={"folder": "."})


def wanted(loss: Loss, dataset: Any = None, **keys: Any) -> DataRequest:
    return DataRequest("training", dataset or recipe().dataset, "all", 0, keys.get("label", "label"), loss, {})


def output(*shape: int | None) -> TensorSpec:
    return TensorSpec("y", "float32", (None, *shape))


@pytest.mark.parametrize(
    ("loss", "value", "shape", "made"),
    [
        ("sparse_categorical_crossentropy", np.int32(3), (10,), np.int64(3)),
        ("sparse_categorical_crossentropy", np.array([2.0]), (10,), np.int64(2)),
        ("sparse_categorical_crossentropy", [[0, 1], [2, 1]], (2, 2, 3), np.array([[0, 1], [2, 1]])),
        ("categorical_crossentropy", [0, 1, 0], (3,), np.array([0, 1, 0], np.float32)),
        ("binary_crossentropy", True, (1,), np.array([1], np.float32)),
        ("mean_squared_error", [1, 2], (2, 1), np.array([[1], [2]], np.float32)),
    ],
)
def test_label_takes_the_shape_of_the_output(loss: Loss, value: Any, shape: tuple[int, ...], made: Any) -> None:
    found = label(np.asarray(value), wanted(loss), output(*shape))
    assert found.dtype == made.dtype
    np.testing.assert_array_equal(found, made)


@pytest.mark.parametrize(
    ("loss", "value", "said"),
    [
        ("sparse_categorical_crossentropy", 1.5, r"the label \[1.5\] is not a class number from 0 to 2"),
        ("sparse_categorical_crossentropy", [0, 1], r"needs one class number for each row of classes$"),
        ("categorical_crossentropy", 1, "for class numbers, use sparse_categorical_crossentropy"),
        ("mean_absolute_error", [1, 2], r"the model's output \[3\]; mean_absolute_error needs one value for each$"),
    ],
)
def test_label_that_does_not_fit_is_refused(loss: Loss, value: Any, said: str) -> None:
    with pytest.raises(DatasetError, match=said):
        label(np.asarray(value), wanted(loss), output(3))


@pytest.fixture
def examples(tmp_path: Path) -> Examples:
    np.savez(tmp_path / "data.npz", x=np.arange(10, dtype=np.float32)[:, np.newaxis], label=np.arange(10) % 3)
    dataset = Training.model_validate(
        {"techniques": ["prune"], "dataset": {"npz": "data.npz"}, "label": "label"}, context={"folder": tmp_path}
    ).dataset
    specs = [TensorSpec("x", "float32", (None, 1))]
    loss: Loss = "sparse_categorical_crossentropy"
    return read_examples(lambda *_: None, wanted(loss, dataset), specs, output(3), tmp_path / "stored")


def test_an_epoch_is_every_row_once_in_an_order_that_the_seeds_decide(examples: Examples) -> None:
    def order(*seeds: int) -> list[float]:
        return [float(x) for batch in examples.batches(4, seeds) for x in batch["x"][:, 0]]

    assert (examples.stored.count, examples.total) == (10, 10)
    assert [len(batch["label"]) for batch in examples.batches(4, None)] == [4, 4, 2]
    assert sorted(order(0, 0)) == list(range(10))
    assert order(0, 1) == order(0, 1) != order(0, 0) != order(1, 0)
    for batch in examples.batches(3, [5]):
        np.testing.assert_array_equal(batch["label"], batch["x"][:, 0] % 3)


def test_samples_of_several_shapes_make_no_batch(tmp_path: Path) -> None:
    (tmp_path / "rows.py").write_text(
        "import numpy as np\n\ndef rows():\n"
        "    for n in (2, 3):\n        yield {'x': np.ones(n, 'float32'), 'label': 0}\n"
    )
    dataset = Training.model_validate(
        {"techniques": ["prune"], "dataset": {"python": "rows:rows"}, "label": "label"}, context={"folder": tmp_path}
    ).dataset
    specs = [TensorSpec("x", "float32", (None, None))]
    with pytest.raises(DatasetError, match=r"samples of 'x' differ in shape, \[2\] and \[3\]"):
        read_examples(
            lambda *_: None,
            wanted("sparse_categorical_crossentropy", dataset),
            specs,
            output(3),
            tmp_path / "stored",
        )


def epochs(*losses: float | None) -> list[Epoch]:
    return [Epoch(1.0, 0.5, loss, None, 1.0) for loss in losses]


def test_the_epoch_with_the_lowest_validation_loss_is_kept_once_weights_are_settled() -> None:
    assert _best(epochs(0.5, 0.2, 0.3), first_usable=1) == 2
    assert _best(epochs(0.1, 0.2, 0.3, 0.25), first_usable=3) == 4
    assert _best(epochs(None, None), first_usable=1) == 2


def test_training_stops_after_as_many_epochs_without_gain_as_patience_allows() -> None:
    patient = recipe(epochs=10, validation={"dataset": {"npz": "v.npz"}, "patience": 2})
    assert not _is_done(epochs(0.5, 0.2, 0.3), 1, patient)
    assert _is_done(epochs(0.5, 0.2, 0.3, 0.4), 1, patient)
    assert not _is_done(epochs(0.1, 0.2, 0.3), 3, patient)
    assert _is_done(epochs(*[0.1] * 10), 9, patient)
    assert not _is_done(epochs(*[None] * 9), 1, recipe(epochs=10))


@dataclass
class Variable:
    value: np.ndarray

    def numpy(self) -> np.ndarray:
        return self.value

    def assign(self, value: np.ndarray) -> None:
        self.value = value


def test_a_checkpoint_keeps_the_last_epoch_and_the_best(tmp_path: Path) -> None:
    point, variables = Checkpoint(tmp_path / "prune"), [Variable(np.zeros(2)), Variable(np.int64(0))]
    assert point.epochs() == []
    done: list[Epoch] = []
    for number, loss in enumerate((0.3, 0.1, 0.2, 0.2), 1):
        done += epochs(loss)
        variables[0].value, variables[1].value = np.full(2, number), np.int64(number)
        point.save(done, _best(done, 1), variables)
    assert point.epochs() == done
    assert sorted(path.name for path in point.folder.iterdir()) == ["2.npz", "4.npz", "state.json"]
    point.restore(2, variables)
    assert [int(variable.value.max()) for variable in variables] == [2, 2]


def test_checkpoints_of_another_key_are_removed(tmp_path: Path) -> None:
    first = folder_for(tmp_path / "points", "a" * 64)
    assert folder_for(tmp_path / "points", "a" * 64) == first
    second = folder_for(tmp_path / "points", "b" * 64)
    assert list((tmp_path / "points").iterdir()) == [second]


def test_a_layer_with_fewer_zeros_than_asked_for_is_an_error() -> None:
    kernel = SimpleNamespace(numpy=lambda: np.array([[0.0, 1.0], [2.0, 3.0]] * 50))
    layers = [SimpleNamespace(name="dense", kernel=kernel), SimpleNamespace(name="relu")]
    refuse_too_few_zeros(layers, Pruning(target_sparsity=0.25))
    with pytest.raises(ConversionError, match="layer 'dense' has 25% zeros after pruning, but the target is 50%"):
        refuse_too_few_zeros(layers, Pruning())


def test_groups_without_their_zeros_are_an_error_though_others_have_more() -> None:
    kernel = np.ones((8, 3), np.float32)
    kernel[:4] = 0
    layers = [SimpleNamespace(name="dense", kernel=SimpleNamespace(numpy=lambda: kernel))]
    pruning = Pruning(m_by_n=(2, 4))
    with pytest.raises(ConversionError, match="layer 'dense' has 25% zeros after pruning, but the target is 50%"):
        refuse_too_few_zeros(layers, pruning)
    kernel[:] = np.tile([[1], [0], [0], [1]], (2, 3))
    refuse_too_few_zeros(layers, pruning)


def test_structures_of_zeros_in_words() -> None:
    assert structure_in_words(Pruning()) == structure_in_words(None) == ""
    assert structure_in_words(Pruning(m_by_n=(2, 4))).startswith(" with 2 zeros in 4 weights, which needs")
    assert structure_in_words(Pruning(block_size=(4, 1))).startswith(" in blocks of 4 by 1, which needs")


def test_skip_layers_takes_names_and_globs_and_refuses_what_matches_nothing() -> None:
    model = SimpleNamespace(layers=[SimpleNamespace(name=name) for name in ("stem", "deep_1", "deep_2", "logits")])
    assert skipped_layers(model, recipe(skip_layers=["deep_*", "logits"])) == ("deep_1", "deep_2", "logits")
    with pytest.raises(RecipeError, match=r"'logit' matches no layer \(did you mean 'logits'\?\)"):
        skipped_layers(model, recipe(skip_layers=["deep_1", "logit"]))


def test_weights_are_counted_from_the_file() -> None:
    graph = flatbuffer.load(DATA / "cnn_int8.tflite")
    found = {one.tensor: one for one in flatbuffer.weights(graph)}
    stored = {tensor.name: tensor for subgraph in graph.subgraphs for tensor in subgraph.tensors}
    assert {one.op for one in found.values()} >= {"CONV_2D"}
    for name, one in found.items():
        values = np.asarray(stored[name].data)
        assert one.zeros == pytest.approx((values == 0).mean())
        assert one.distinct == len(np.unique(values)) >= one.distinct_per_channel
        assert one.dtype == "int8"
    total = sum(values.data.size for name, values in stored.items() if name in found)
    zeros = sum((values.data == 0).sum() for name, values in stored.items() if name in found)
    assert CompressionStats(1, tuple(found.values())).zeros == pytest.approx(zeros / total)


@pytest.mark.parametrize(
    ("gain", "said"),
    [
        (Gain("int8", 0.04, 0.05), "recovers 0.0400 of the 0.0500 that int8 loses (80%)"),
        (Gain("int8", -0.01, 0.05), "recovers nothing of the 0.0500 that int8 loses (-0.0100)"),
        (
            Gain("int8", 0.04, 0.05, "corrected"),
            "recovers 0.0400 of the 0.0500 that int8 loses (80%). corrected needs no training and loses less: ship that"
            " file",
        ),
        (Gain("int8", 0.0, 0.05), "recovers nothing of the 0.0500 that int8 loses (+0.0000)"),
        (
            Gain("int8", 0.05, 0.0006),
            "is better by 0.0500 than int8, which loses 0.0006: it is better than the float32 file",
        ),
        (Gain("int8", -0.01, 0.0), "loses 0.0100 more than int8, which loses nothing"),
        (Gain("int8", 0.0, -0.01), "is as good as int8, which loses nothing"),
        (Gain("int8", 0.02, 0.0), "is better by 0.0200 than int8, which loses nothing"),
        (Gain(UNTRAINED, 0.02, 0.0), "is better by 0.0200 than the float32 file before training"),
        (Gain(UNTRAINED, -0.002, 0.0), "loses 0.0020 against the float32 file before training"),
        (
            Gain(UNTRAINED, -0.2, 0.0, needs_more_training=True),
            "loses 0.2000 against the float32 file before training. Train for more epochs or with a larger"
            " learning_rate",
        ),
    ],
)
def test_what_training_won_back_in_words(gain: Gain, said: str) -> None:
    assert gain.in_words == said


@pytest.mark.parametrize(
    ("mode", "ci95", "needs_more"),
    [("float32", (0.05, 0.15), True), ("float16", (-0.05, 0.25), False), ("int8", (0.05, 0.15), False)],
)
def test_a_file_without_an_untrained_one_is_compared_with_the_float32_file(
    mode: str, ci95: tuple[float, float], needs_more: bool
) -> None:
    """Quantization explains the loss of an int8 file, and few samples that of a float file."""
    figures = FileFigures(100, Score("top1", 0.875, 0.125, ci95, 100, None), {}, None)
    (variant,) = with_gains([Variant("pruned", mode, measured=figures, is_trained=True)])
    assert variant.gain == Gain(UNTRAINED, -0.125, 0.0, needs_more_training=needs_more)
