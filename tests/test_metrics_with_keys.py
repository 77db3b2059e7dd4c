"""Metrics with keys, against the libraries of their fields."""

from __future__ import annotations

import contextlib
import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydantic import ValidationError

from tflq.errors import DatasetError, EvaluationError
from tflq.metrics.detection import Detection
from tflq.metrics.drop import paired_drop
from tflq.metrics.metric import stacked, value_of
from tflq.metrics.word_errors import WordErrors

RANDOM = np.random.default_rng(3)
OUTPUTS = {"boxes": "b", "scores": "s", "classes": "c", "label_boxes": "box"}
SAMPLES, DETECTIONS, CLASSES = 30, 25, 3


def detection(name: str = "map", **keys: Any) -> Detection:
    return Detection.model_validate({"detection": name, **OUTPUTS, "box_format": "xywh", **keys})


def scenes() -> list[tuple[dict[str, np.ndarray], np.ndarray, np.ndarray]]:
    """Outputs, true boxes and true classes of samples. Half of the detections are near a true box."""
    found = []
    for _ in range(SAMPLES):
        count = int(RANDOM.integers(0, 7))
        truth = np.concatenate([RANDOM.uniform(0, 60, (count, 2)), RANDOM.uniform(10, 40, (count, 2))], 1)
        classes = RANDOM.integers(0, CLASSES, count)
        boxes = np.concatenate([RANDOM.uniform(0, 60, (DETECTIONS, 2)), RANDOM.uniform(10, 40, (DETECTIONS, 2))], 1)
        answers = RANDOM.integers(0, CLASSES + 1, DETECTIONS)  # one class never occurs
        near = RANDOM.integers(0, count, DETECTIONS // 2) if count else np.zeros(0, int)
        boxes[: len(near)] = truth[near] + RANDOM.normal(0, 2, (len(near), 4))
        answers[: len(near)] = np.where(RANDOM.random(len(near)) < 0.8, classes[near], answers[: len(near)])
        scores = RANDOM.integers(0, 32, DETECTIONS) / 32  # quantized scores tie
        outputs = {"b": boxes, "s": scores, "c": answers.astype(np.float32)}
        found.append(({name: array[np.newaxis] for name, array in outputs.items()}, truth, classes))
    return found


SCENES = scenes()


def rows_of(metric: Detection, keep: slice = slice(None)) -> np.ndarray:
    return stacked(
        [
            metric.statistics_of({name: array[:, keep] for name, array in outputs.items()}, truth, classes)
            for outputs, truth, classes in SCENES
        ]
    )


@pytest.fixture(scope="module")
def coco() -> np.ndarray:
    """The first six figures of the COCO challenge: map, map50, map75 and those by size of objects."""
    tools = pytest.importorskip("pycocotools.coco")
    challenge = pytest.importorskip("pycocotools.cocoeval")
    truths, answers = [], []
    for image, (outputs, truth, classes) in enumerate(SCENES):
        for box, class_ in zip(truth.tolist(), classes.tolist(), strict=True):
            area = box[2] * box[3]
            truths.append({"image_id": image, "category_id": class_, "bbox": box, "area": area, "iscrowd": 0})
        each = zip(*(outputs[key][0].tolist() for key in ("b", "s", "c")), strict=True)
        answers += [{"image_id": image, "bbox": b, "score": s, "category_id": int(c)} for b, s, c in each]
    with contextlib.redirect_stdout(io.StringIO()):
        data = tools.COCO()
        data.dataset = {
            "images": [{"id": image} for image in range(SAMPLES)],
            "categories": [{"id": class_} for class_ in range(CLASSES + 1)],
            "annotations": [{"id": number, **each} for number, each in enumerate(truths, 1)],
        }
        data.createIndex()
        evaluation = challenge.COCOeval(data, data.loadRes(answers), "bbox")
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    return np.asarray(evaluation.stats)


@pytest.mark.parametrize(("name", "place"), [("map", 0), ("map50", 1), ("map75", 2)])
def test_mean_average_precision_as_pycocotools_has_it(coco: np.ndarray, name: str, place: int) -> None:
    metric = detection(name, label_box_format="xywh")
    assert value_of(metric, rows_of(metric)) == pytest.approx(coco[place], abs=1e-12)
    assert 0.1 < coco[place] < 0.9


def test_average_precision_by_hand() -> None:
    """Right, wrong, right: precision 1 up to a recall of 1/2, then 2/3. 51 of 101 recalls are at most 1/2."""
    box, far = [0, 0, 10, 10], [50, 50, 10, 10]
    outputs = {"b": [[box, far, [20, 0, 10, 10]]], "s": [[0.9, 0.8, 0.7]], "c": [[1, 1, 1]]}
    metric = detection("map50", label_box_format="xywh")
    arrays = {name: np.array(values) for name, values in outputs.items()}
    rows = metric.statistics_of(arrays, np.array([box, [20, 0, 10, 9]]), np.array([1, 1]))
    assert value_of(metric, rows[np.newaxis]) == pytest.approx((51 + 50 * 2 / 3) / 101)


def test_map_of_weights_is_that_of_repeated_samples() -> None:
    metric = detection(label_box_format="xywh")
    rows, counts = rows_of(metric), RANDOM.integers(0, 3, (4, SAMPLES))
    scores = rows.reshape(-1, 3)[:, 1]
    scores += RANDOM.uniform(0, 1e-6, scores.shape)  # without ties, whose order is that of the samples
    repeated = [value_of(metric, np.repeat(rows, count, 0)) for count in counts]
    assert metric.value(rows, counts) == pytest.approx(np.array(repeated))


def test_map_has_an_interval_by_bootstrap() -> None:
    metric = detection(label_box_format="xywh")
    base, other = rows_of(metric), rows_of(metric, slice(6, None))  # without six detections that are near a box
    drop = paired_drop(metric, base, other)
    assert 0 < drop.low < drop.value < drop.high < 1
    assert paired_drop(metric, base, base).deviation == 0


def test_forms_of_boxes_sizes_and_offsets_say_the_same() -> None:
    metric = detection(label_box_format="xywh")
    other = detection(box_format="cxcywh", label_size=[50, 100], class_offset=-2, count="n")
    for outputs, truth, classes in SCENES:
        x, y, width, height = np.moveaxis(outputs["b"], -1, 0)
        moved = {
            "b": np.stack([x + width / 2, y + height / 2, width, height], -1),
            "s": outputs["s"],
            "c": outputs["c"] + 2,
            "n": np.array([DETECTIONS]),
        }
        ends = np.concatenate([truth[:, :2], truth[:, :2] + truth[:, 2:]], 1)[:, [1, 0, 3, 2]] / (50, 100, 50, 100)
        padded = np.concatenate([ends, np.zeros((2, 4))]), np.concatenate([classes, [-1, -1]])
        expected = metric.statistics_of(outputs, truth, classes)
        assert metric.statistics_of(outputs, truth, classes).tolist() == pytest.approx(expected.tolist(), nan_ok=True)
        assert other.statistics_of(moved, *padded).tolist() == pytest.approx(expected.tolist(), nan_ok=True)


def test_scores_of_each_class_in_place_of_classes() -> None:
    metric = Detection.model_validate({"detection": "map50", "boxes": "b", "scores": "s", "label_boxes": "box"})
    outputs = {"b": np.array([[[0, 0, 1, 1], [0, 0, 0.5, 0.5]]]), "s": np.array([[[0.1, 0.8], [0.7, 0.2]]])}
    rows = metric.statistics_of(outputs, np.array([[0, 0, 1, 1]]), np.array([1]))
    assert np.nan_to_num(rows.reshape(-1, 3), nan=-1).tolist() == [[0, 0.7, 0], [0, -1, 0], [1, 0.8, 1], [1, -1, 1]]


def test_a_file_that_finds_nothing_and_data_without_objects() -> None:
    metric = detection("map50")
    nothing = {"b": np.full((1, 2, 4), np.nan), "s": np.ones((1, 2)), "c": np.zeros((1, 2))}
    rows = metric.statistics_of(nothing, np.array([[0, 0, 1, 1]]), np.array([0]))
    assert value_of(metric, rows[np.newaxis]) == 0
    (doubt,) = metric.doubts(rows[np.newaxis])
    assert doubt.startswith("map50 of the float32 file is 0.0000: check the keys box_format, label_box_format,")
    empty = metric.statistics_of(nothing, np.zeros((0, 4)), np.zeros(0))
    assert np.isnan(value_of(metric, stacked([empty, empty])))


RAW = [[0, 0, 10, 10], [0, 0, 10, 9], [0, 0, 10, 6], [0, 0, 10, 4], [50, 50, 10, 10]]
"""Boxes as `xywh`. The IoU of the first with the next ones is 0.9, 0.6 and 0.4."""


def raw(keys: Any, scores: Any, **others: Any) -> list[list[float]]:
    """Class and score of each detection of RAW that non-maximum suppression keeps, in the order of the classes."""
    metric = detection("map50", nms=keys, **{"classes": None, **others})
    arrays = {"b": np.array([RAW], np.float32), "s": np.array([scores]), "c": np.array([[0, 1, 0, 0, 0]])}
    triples = metric.statistics_of(arrays, np.zeros((0, 4)), np.zeros(0)).reshape(-1, 3)
    return [row[:2].tolist() for row in triples if np.isfinite(row[1])]


ONE_CLASS = [0.9, 0.8, 0.7, 0.5, 0.3]


@pytest.mark.parametrize(
    ("keys", "kept"),
    [
        ({}, [0.9, 0.5, 0.3]),
        ({"iou": 0.7}, [0.9, 0.7, 0.5, 0.3]),  # the IoU of the third and the fourth is 2/3
        ({"iou": 0.65}, [0.9, 0.7, 0.3]),
        ({"iou": 0.39}, [0.9, 0.3]),
        ({"score": 0.4}, [0.9, 0.5]),
        ({"max_boxes": 2}, [0.9, 0.5]),
        ({"iou": 1}, ONE_CLASS),
    ],
)
def test_boxes_that_overlap_a_better_one_are_suppressed(keys: Any, kept: list[float]) -> None:
    assert raw(keys, ONE_CLASS) == raw(keys, [[score] for score in ONE_CLASS]) == [[0, score] for score in kept]


def test_suppression_sees_all_boxes_even_if_the_best_thousands_are_of_one_object() -> None:
    boxes = np.tile([0.0, 0, 10, 10], (1, 5000, 1))
    boxes[0, -1] = 50
    metric = detection("map50", classes=None, nms={})
    rows = metric.statistics_of(
        {"b": boxes, "s": np.linspace(0.9, 0.1, 5000)[np.newaxis]}, np.zeros((0, 4)), np.zeros(0)
    )
    assert rows.reshape(-1, 3)[:-1, 1].tolist() == pytest.approx([0.9, 0.1])


def test_boxes_of_other_classes_are_suppressed_only_if_asked_for() -> None:
    table = [[0.9, 0.1], [0.2, 0.8], [0.7, 0.02], [0.01, 0.02], [0.03, 0.3]]
    each = [[0, 0.9], [1, 0.8], [1, 0.3]]
    assert raw({}, table) == each
    assert raw({"iou": 0.7}, table) == [[0, 0.9], [0, 0.7], *each[1:]]
    assert raw({"iou": 0.95, "max_boxes": 4}, table) == [[0, 0.9], [0, 0.7], *each[1:]]
    assert raw({"per_class": False}, table) == [[0, 0.9], [1, 0.3]]
    assert raw({}, table, class_offset=-1) == [[0, 0.8], [0, 0.3]]
    assert raw({}, ONE_CLASS, classes="c") == [[0, 0.9], [0, 0.5], [0, 0.3], [1, 0.8]]
    assert raw({"per_class": False}, ONE_CLASS, classes="c") == [[0, 0.9], [0, 0.5], [0, 0.3]]


def test_boxes_and_scores_in_one_output_and_with_the_detections_last() -> None:
    table = np.array([[[0.9, 0.1], [0.2, 0.8], [0.7, 0], [0, 0], [0, 0.3]]])
    boxes, label = np.array([RAW], np.float64), (np.array([[0, 0, 10, 10]]), np.array([0]))
    expected = detection(classes=None, nms={}).statistics_of({"b": boxes, "s": table}, *label)
    one = np.concatenate([boxes, table], 2)
    for keys, arrays in (
        ({}, {"b": one}),
        ({"detections_last": True}, {"b": one.swapaxes(1, 2)}),
        ({"detections_last": True, "scores": "s"}, {"b": boxes.swapaxes(1, 2), "s": table.swapaxes(1, 2)}),
    ):
        metric = detection(classes=None, nms={}, **{"scores": "b", **keys})
        assert metric.statistics_of(arrays, *label).tolist() == pytest.approx(expected.tolist(), nan_ok=True)


def test_the_map_of_raw_boxes_is_that_of_the_kept_ones() -> None:
    """By hand: two objects, of which one has four boxes. The precision at the second one is 2/5, 2/3, or 1."""
    label = (np.array([[0, 0, 10, 10], [50, 50, 10, 10]]), np.array([0, 0]))
    arrays = {"b": np.array([RAW]), "s": np.array([[0.9, 0.8, 0.7, 0.6, 0.5]])}
    for nms, value in ((None, (51 + 50 * 2 / 5) / 101), ({}, (51 + 50 * 2 / 3) / 101), ({"iou": 0.3}, 1)):
        metric = detection("map50", classes=None, label_box_format="xywh", nms=nms)
        assert value_of(metric, metric.statistics_of(arrays, *label)[np.newaxis]) == pytest.approx(value)


def test_many_boxes_without_suppression_are_a_doubt() -> None:
    boxes, scores = np.tile([0.0, 0, 1, 1], (1, 100, 1)), np.linspace(0.1, 1, 100)[np.newaxis]
    label = (np.array([[0, 0, 1, 1]]), np.array([0]))
    doubts = {}
    for name, keys in {"raw": {}, "suppressed": {"nms": {}}, "classes": {"classes": "c"}}.items():
        metric = detection("map50", **{"classes": None, **keys})
        rows = metric.statistics_of({"b": boxes, "s": scores, "c": np.zeros((1, 100))}, *label)
        doubts[name] = list(metric.doubts(stacked([rows, rows])))
    assert doubts == {
        "raw": [
            "the float32 file answers 100 boxes or more for each sample: if the model has no non-maximum suppression,"
            " add `nms: {}` to the metric, or map50 counts them as wrong"
        ],
        "suppressed": [],
        "classes": [],
    }


@pytest.mark.slow
def test_suppression_keeps_what_tensorflow_keeps() -> None:
    tensorflow = pytest.importorskip("tensorflow")
    for outputs, _, _ in SCENES:
        scores = np.unique(outputs["s"], return_inverse=True)[1].reshape(-1) + np.linspace(0, 0.5, DETECTIONS)
        first, size = np.split(outputs["b"][0], 2, 1)
        ends = np.concatenate([first, first + size], 1)[:, [1, 0, 3, 2]]
        places = tensorflow.image.non_max_suppression(ends, scores, 10, 0.4, 3.0).numpy()
        metric = detection(classes=None, nms={"iou": 0.4, "score": 3, "max_boxes": 10})
        rows = metric.statistics_of({"b": outputs["b"], "s": scores[np.newaxis]}, np.zeros((0, 4)), np.zeros(0))
        assert rows.reshape(-1, 3)[:-1, 1].tolist() == scores[places].tolist()


@pytest.mark.parametrize(
    ("keys", "shapes", "message"),
    [
        ({}, {"b": (1, 5, 4), "s": (1, 3, 5)}, r"scores \(1, detections\), or \(1, detections, classes\) without"),
        (
            {"scores": "b"},
            {"b": (1, 5, 4)},
            r"one output with boxes and scores should be \(1, detections, 4 \+ classes\)",
        ),
        ({"detections_last": True}, {"b": (1, 5, 4), "s": (1, 3, 5)}, r"boxes should be \(1, 4, detections\), classes"),
    ],
)
def test_shapes_of_raw_outputs_that_do_not_fit_are_refused(keys: Any, shapes: Any, message: str) -> None:
    arrays = {name: np.zeros(shape) for name, shape in shapes.items()}
    with pytest.raises(DatasetError, match=message):
        detection(classes=None, **keys).statistics_of(arrays, np.zeros((2, 4)), np.zeros(2))


@pytest.mark.parametrize(
    ("outputs", "label", "message"),
    [
        (
            {"b": (1, 5, 4), "s": (1, 3), "c": (1, 5)},
            ((2, 4), (2,)),
            r"evaluation.metric: the outputs are boxes \(1, 5, 4\), scores \(1, 3\), classes \(1, 5\); boxes should be"
            r" \(1, detections, 4\), classes \(1, detections\), and scores \(1, detections\), or",
        ),
        ({"b": (1, 5), "s": (1, 5), "c": (1, 5)}, ((2, 4), (2,)), r"the outputs are boxes \(1, 5\), scores \(1, 5\)"),
        (
            {"b": (1, 5, 4), "s": (1, 5), "c": (1, 5)},
            ((3, 4), (2,)),
            r"the label has 2 classes, so 'box' should be \(2, 4\), not \(3, 4\)",
        ),
    ],
)
def test_shapes_that_do_not_fit_are_refused(outputs: dict[str, Any], label: tuple[Any, Any], message: str) -> None:
    arrays = {name: np.zeros(shape) for name, shape in outputs.items()}
    with pytest.raises(DatasetError, match=message):
        detection().statistics_of(arrays, *(np.zeros(shape) for shape in label))


LETTERS = ["<pad>", "<space>", *"abcdefgh"]


@pytest.fixture
def vocabulary(tmp_path: Path) -> Path:
    path = tmp_path / "vocabulary.txt"
    path.write_text("\n".join(LETTERS) + "\n")
    return path


def speech(vocabulary: Path, kind: str = "wer", **keys: Any) -> WordErrors:
    return WordErrors.model_validate({"speech": kind, "vocabulary": vocabulary, "blank": 0, **keys})


def numbers(text: str) -> list[int]:
    return [LETTERS.index({" ": "<space>"}.get(letter, letter)) for letter in text]


@pytest.mark.parametrize("kind", ["wer", "cer"])
def test_error_rates_as_jiwer_has_them(vocabulary: Path, kind: str) -> None:
    jiwer = pytest.importorskip("jiwer")
    truths, answers = [], []
    for _ in range(20):
        words = ["".join(RANDOM.choice([*"abcd"], RANDOM.integers(1, 3))) for _ in range(RANDOM.integers(1, 8))]
        heard = [word for word in words if RANDOM.random() < 0.8] + ["a"] * int(RANDOM.integers(0, 3))
        truths.append(" ".join(words))
        answers.append(" ".join(heard))
    metric = speech(vocabulary, kind)
    rows = stacked(
        [
            metric.statistics(np.array([numbers(answer)]), np.array(truth))
            for truth, answer in zip(truths, answers, strict=True)
        ]
    )
    assert value_of(metric, rows) == pytest.approx(getattr(jiwer, kind)(truths, answers))


@pytest.mark.parametrize(("extra", "blank"), [(0, 0), (1, -1)])
def test_scores_of_time_steps_are_decoded_as_ctc(vocabulary: Path, extra: int, blank: int) -> None:
    steps = [numbers(letter)[0] if letter != "_" else blank for letter in "aab_bb ccc_dd_"]
    scores = np.eye(len(LETTERS) + extra)[steps]
    metric = speech(vocabulary, "cer", blank=blank)
    assert metric.statistics(scores[np.newaxis].astype(np.float32), np.array(b"abb cd")).tolist() == [0, 6]
    assert metric.statistics(scores[:, np.newaxis], np.array("abb cdd")).tolist() == [1, 7]


def test_tokens_of_several_letters(tmp_path: Path) -> None:
    path = tmp_path / "pieces.txt"
    path.write_text("▁the\n▁ca\nt\n<s>\n", encoding="utf-8")
    metric = speech(path, blank=-1)
    assert metric.statistics(np.array([[3, 0, 1, 2, 2]]), np.array("the cat")).tolist() == [1, 2]


def test_what_does_not_fit_a_speech_model_is_refused(vocabulary: Path, tmp_path: Path) -> None:
    metric = speech(vocabulary)
    with pytest.raises(
        DatasetError, match=r"the output \(1, 7, 4\) should have 10 or 11 scores for each time step, or"
    ):
        metric.statistics(np.zeros((1, 7, 4)), np.array("a"))
    with pytest.raises(DatasetError, match=r"the label \[1, 2\] should be the text that was spoken"):
        metric.statistics(np.zeros((1, 7, 10)), np.array([1, 2]))
    with pytest.raises(EvaluationError, match=r"none.txt: the vocabulary cannot be read: No such file or directory"):
        speech(tmp_path / "none.txt").statistics(np.zeros((1, 7, 10)), np.array("a"))
    (tmp_path / "latin.txt").write_bytes("ä\n".encode("latin-1"))
    with pytest.raises(EvaluationError, match=r"latin.txt: is not UTF-8 text with a token in each line"):
        speech(tmp_path / "latin.txt").statistics(np.zeros((1, 7, 10)), np.array("a"))
    with pytest.raises(ValidationError, match="should be at least -1"):
        speech(vocabulary, blank=-2)
