"""Statistics of every sample in one pass: the same whatever the batch, and however the samples are shared out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from running import Ran

from tflq.datasets import TensorSpec
from tflq.errors import DatasetError, EvaluationError, RecipeError
from tflq.evaluate.measuring import measure, output_ranges
from tflq.evaluate.plan import EvaluationPlan, EvaluationRows, evaluation_rows, split, stack
from tflq.evaluate.record import Record, merge
from tflq.evaluate.recorded import FLOAT32
from tflq.evaluate.section import Evaluation
from tflq.inputs.schema import Input
from tflq.metrics.channel_figures import channel_figures
from tflq.metrics.channels import OutputRange
from tflq.sources.prepared import PreparedSource
from tflq.sources.saved_model import SavedModel

ROWS = 11


def nothing(done: int, total: int) -> None:
    pass


def source(*inputs: TensorSpec, outputs: Sequence[str] = ("scores",)) -> PreparedSource:
    """What is known of a float model that nobody runs here."""
    nowhere = Path("nowhere")
    specs = tuple(TensorSpec(name, "float32", (1, 4)) for name in outputs)
    return PreparedSource(SavedModel(saved_model=nowhere), nowhere, inputs, specs, 0, 0)


IMAGE = TensorSpec("image", "float32", (1, 8, 8, 3))


@pytest.fixture
def evaluation(tmp_path: Path) -> Evaluation:
    random = np.random.default_rng(0)
    images, labels = random.normal(0, 1, (ROWS, 8, 8, 3)).astype(np.float32), random.integers(0, 4, ROWS)
    np.savez(tmp_path / "rows.npz", image=images, label=labels)
    return evaluation_of(tmp_path / "rows.npz", label="label", metric="top1", samples="all")


def evaluation_of(npz: Path, **keys: Any) -> Evaluation:
    return Evaluation.model_validate({"dataset": {"npz": str(npz)}} | keys)


def plan(evaluation: Evaluation, all_modes: Ran) -> EvaluationPlan:
    """int8_only and dynamic against float32."""
    first = evaluation_rows(nothing, evaluation, {}, source(IMAGE)).arrays
    files = {name: all_modes.file(name) for name in ("int8_only", "dynamic")}
    return EvaluationPlan(evaluation, {}, source(IMAGE), all_modes.file("float32"), first, files)


def fields(records: dict[str, Record]) -> dict[str, np.ndarray]:
    """Every array of every record, without the sums of channels: their last bits depend on the order."""
    found = {}
    for subject, record in records.items():
        if record.answers:
            arrays = {**vars(record.answers), "pictures": np.array(list(record.answers.pictures))}
            found |= {f"{subject} answers {name}": np.nan_to_num(array) for name, array in arrays.items()}
        for field, value in vars(replace(record, channels={}, answers=None)).items():
            arrays = value if isinstance(value, dict) else {"": value}
            found |= {f"{subject} {field} {name}": array for name, array in arrays.items()}
    return found


class TestShards:
    @pytest.mark.parametrize("count", [2, 3, 11])
    def test_give_the_same_figures_as_one_process_to_the_bit(
        self, evaluation: Evaluation, all_modes: Ran, count: int
    ) -> None:
        whole = plan(evaluation, all_modes)
        alone = fields(measure(nothing, whole, range(ROWS)))
        shards = [measure(nothing, whole, range(start, ROWS, count)) for start in range(count)]
        ranks = [range(start, ROWS, count) for start in range(count)]
        together = fields({name: merge([shard[name] for shard in shards], ranks) for name in shards[0]})
        assert alone.keys() == together.keys()
        different = [name for name in alone if not np.array_equal(alone[name], together[name])]
        assert different == []

    def test_give_the_same_figures_of_channels(self, evaluation: Evaluation, all_modes: Ran) -> None:
        whole = plan(evaluation, all_modes)
        alone = measure(nothing, whole, range(ROWS))
        shards = [measure(nothing, whole, range(start, ROWS, 3)) for start in range(3)]
        for name, record in alone.items():
            together = merge([shard[name] for shard in shards], [range(start, ROWS, 3) for start in range(3)])
            assert {k: channel_figures(sums) for k, sums in together.channels.items()} == {
                k: channel_figures(sums) for k, sums in record.channels.items()
            }
        assert {name: list(record.channels) for name, record in alone.items()} == {
            FLOAT32: [],
            "int8_only": ["scores"],
            "dynamic": ["scores"],
        }
        (sums,) = alone["int8_only"].channels.values()
        port = all_modes.variant("int8_only").file.outputs[0]
        ends = ((limit - port.zero_point) * port.scale for limit in (-128, 127))
        assert (sums.samples, sums.range) == (ROWS, OutputRange(*ends, port.scale))
        assert output_ranges(all_modes.file("int8")) == {"scores": sums.range}  # its outputs are dequantized
        assert output_ranges(all_modes.file("dynamic")) == {}

    def test_keep_the_order_of_the_samples(self) -> None:
        def shard(*numbers: float) -> dict[str, Record]:
            column = np.array(numbers)
            return {"x": Record(column[:, np.newaxis], {"y": column}, {}, {"y": column}, column > 0, column < 0)}

        shards = [shard(0, 3, 6), shard(7, 1, 4), shard(2, 5)]
        merged = merge([each["x"] for each in shards], [each["x"].errors["y"].astype(int) for each in shards])
        assert merged.errors["y"].tolist() == merged.spread["y"].tolist() == [0, 1, 2, 3, 4, 5, 6, 7]
        assert merged.statistics.tolist() == [[n] for n in range(8)]
        assert merged.is_finite.tolist() == [False, *[True] * 7]

    def test_may_get_no_rows(self, tmp_path: Path, all_modes: Ran) -> None:
        """A dataset that cannot be counted may end before every shard has a row."""
        (tmp_path / "one.py").write_text(
            "import numpy as np\ndef rows():\n    yield {'image': np.ones((8, 8, 3), np.float32), 'label': 1}\n"
        )
        dataset = {"python": "one:rows", "folder": str(tmp_path)}
        given = {"dataset": dataset, "label": "label", "metric": "top1", "samples": 4}
        whole = plan(Evaluation.model_validate(given, context={"folder": tmp_path}), all_modes)
        shards = [measure(nothing, whole, range(start, 4, 2)) for start in range(2)]
        merged = {name: merge([shard[name] for shard in shards], [[0], []]) for name in shards[0]}
        assert {len(record.is_finite) for record in merged.values()} == {1}
        assert merged["int8_only"].statistics.shape == (1, 2)

    def test_may_all_be_empty(self, evaluation: Evaluation, all_modes: Ran) -> None:
        empty = measure(nothing, plan(evaluation, all_modes), [])["dynamic"]
        assert len(merge([empty, empty], [[], []]).is_finite) == 0


def test_a_file_is_measured_on_its_rows_alone(evaluation: Evaluation, all_modes: Ran) -> None:
    whole = plan(evaluation, all_modes)
    every = measure(nothing, whole, [1, 4, 6, 9])
    some = measure(nothing, replace(whole, only={"dynamic": frozenset([4, 9])}), [1, 4, 6, 9])
    assert {name: len(record.is_finite) for name, record in some.items()} == {FLOAT32: 4, "int8_only": 4, "dynamic": 2}
    assert np.array_equal(some["dynamic"].errors["scores"], every["dynamic"].errors["scores"][[1, 3]])


class TestRecord:
    @pytest.fixture
    def records(self, evaluation: Evaluation, all_modes: Ran) -> dict[str, Record]:
        return measure(nothing, plan(evaluation, all_modes), range(ROWS))

    def test_of_the_float32_file_is_without_error(self, records: dict[str, Record]) -> None:
        base = records[FLOAT32]
        assert base.errors["scores"][:, 1].tolist() == [0.0] * ROWS
        assert base.agreement["scores"].tolist() == [1.0] * ROWS

    def test_has_a_row_for_each_sample(self, records: dict[str, Record]) -> None:
        for record in records.values():
            assert record.statistics.shape == (ROWS, 2)
            assert record.errors["scores"].shape == (ROWS, 8)
            assert record.is_finite.all()

    def test_of_one_sample_does_not_depend_on_others(
        self, records: dict[str, Record], evaluation: Evaluation, all_modes: Ran
    ) -> None:
        alone = measure(nothing, plan(evaluation, all_modes), [7])["int8_only"]
        assert np.array_equal(alone.errors["scores"][0], records["int8_only"].errors["scores"][7])
        assert np.array_equal(alone.spread["scores"][0], records["int8_only"].spread["scores"][7])

    def test_says_how_far_answers_are_from_the_first(self, records: dict[str, Record]) -> None:
        spread = records["int8_only"].spread["scores"]
        assert spread[0] == 0
        assert (spread[1:] > 0).all()


def test_progress_is_told(evaluation: Evaluation, all_modes: Ran) -> None:
    told: list[tuple[int, int]] = []
    measure(lambda done, total: told.append((done, total)), plan(evaluation, all_modes), range(ROWS))
    assert told == [(n, ROWS) for n in range(1, ROWS + 1)]


class TestBatches:
    def test_are_padded_with_the_last_sample(self) -> None:
        four = source(replace(IMAGE, shape=(4, 2)))
        samples = [{"image": np.full(2, n, np.float32)} for n in (1, 2)]
        assert stack(samples, four)["image"].tolist() == [[1, 1], [2, 2], [2, 2], [2, 2]]

    def test_are_cut_to_the_samples_that_are_there(self) -> None:
        four = source(replace(IMAGE, shape=(4, 2)))
        answers = {"scores": np.arange(8).reshape(4, 2)}
        assert [part["scores"].tolist() for part in split(answers, 3, four)] == [[[0, 1]], [[2, 3]], [[4, 5]]]
        assert [part["scores"].tolist() for part in split(answers, 1, four)] == [[[0, 1]]]

    @pytest.mark.parametrize("shape", [(1, 2), (None, 2)])
    def test_of_one_are_left_as_they_are(self, shape: tuple[int | None, ...]) -> None:
        one = source(replace(IMAGE, shape=shape))
        answers = {"boxes": np.arange(6).reshape(3, 2), "count": np.array(3)}
        (part,) = split(answers, 1, one)
        assert part == answers

    def test_whose_answers_do_not_come_apart_are_refused(self) -> None:
        four = source(replace(IMAGE, shape=(4, 2)))
        with pytest.raises(EvaluationError) as caught:
            split({"mean": np.zeros((1, 2))}, 4, four)
        assert str(caught.value) == (
            "output 'mean' is [1, 2] for 4 samples, so it cannot be split into samples: set model.batch_size to 1"
        )


class TestProbe:
    def test_is_the_first_of_the_chosen_rows(self, evaluation: Evaluation) -> None:
        chosen = evaluation_rows(nothing, evaluation.model_copy(update={"samples": 3, "seed": 5}), {}, source(IMAGE))
        assert isinstance(chosen, EvaluationRows)
        assert (len(chosen.indices), chosen.total) == (3, ROWS)
        images = np.load(evaluation.dataset.npz)["image"]
        assert np.array_equal(chosen.arrays["image"], images[chosen.indices[0]][np.newaxis])

    def test_takes_the_inputs_as_the_recipe_says(self, evaluation: Evaluation) -> None:
        plain, scaled = (
            evaluation_rows(nothing, evaluation, given, source(IMAGE)) for given in ({}, {"image": Input(scale=2.0)})
        )
        np.testing.assert_allclose(scaled.arrays["image"], 2 * plain.arrays["image"])

    def test_refuses_a_label_that_is_no_column(self, evaluation: Evaluation) -> None:
        with pytest.raises(
            DatasetError, match=r"no column 'labels' \(did you mean 'label'\?\); the columns are image, label"
        ):
            evaluation_rows(nothing, evaluation.model_copy(update={"label": "labels"}), {}, source(IMAGE))

    def test_refuses_an_output_that_the_model_has_not(self, evaluation: Evaluation) -> None:
        with pytest.raises(
            RecipeError, match=r"there is no output 'score' \(did you mean 'scores'\?\); the outputs are scores"
        ):
            evaluation_rows(nothing, evaluation.model_copy(update={"output": "score"}), {}, source(IMAGE))

    def test_needs_the_output_where_there_are_several(self, evaluation: Evaluation) -> None:
        several = source(IMAGE, outputs=("boxes", "scores"))
        with pytest.raises(
            RecipeError, match=r"evaluation\.output is missing: give one of the model's outputs boxes, scores"
        ):
            evaluation_rows(nothing, evaluation, {}, several)
        assert evaluation_rows(nothing, evaluation.model_copy(update={"output": "scores"}), {}, several).total == ROWS

    def test_refuses_a_dataset_without_rows(self, tmp_path: Path) -> None:
        (tmp_path / "none.py").write_text("def rows():\n    return iter([])\n")
        given = {"dataset": {"python": "none:rows"}}
        with pytest.raises(DatasetError, match="none:rows: yields no rows, so there is nothing to measure"):
            evaluation_rows(nothing, Evaluation.model_validate(given, context={"folder": tmp_path}), {}, source(IMAGE))


class TestRowsThatCannotBeMeasured:
    @pytest.mark.parametrize("value", [np.nan, np.inf])
    def test_hold_what_is_no_number(self, tmp_path: Path, all_modes: Ran, value: float) -> None:
        images = np.ones((4, 8, 8, 3), np.float32)
        images[2, 0, 0, 0] = value
        np.savez(tmp_path / "rows.npz", image=images)
        with pytest.raises(DatasetError, match=rf"rows.npz: row 2: input 'image' holds {value}: "):
            measure(nothing, plan(evaluation_of(tmp_path / "rows.npz"), all_modes), [0, 2])

    def test_have_a_label_that_is_no_class(self, tmp_path: Path, all_modes: Ran) -> None:
        np.savez(tmp_path / "rows.npz", image=np.ones((2, 8, 8, 3), np.float32), label=[0, 4])
        whole = plan(evaluation_of(tmp_path / "rows.npz", label="label", metric="top1"), all_modes)
        with pytest.raises(DatasetError, match=r"the label \[4\] is neither a class index from 0 to 3"):
            measure(nothing, whole, [0, 1])


def renamed(file: Path, target: Path, output: str) -> Path:
    """The file with another name for its output."""
    import tflite_edit as edit

    model = edit.flatbuffer_utils.read_model_from_bytearray(bytearray(file.read_bytes()))
    model.signatureDefs[0].outputs[0].name = output.encode()
    target.write_bytes(edit.packed(model))
    return target


def test_a_file_without_the_output_is_refused(evaluation: Evaluation, all_modes: Ran, tmp_path: Path) -> None:
    file = renamed(all_modes.file("int8"), tmp_path / "other.tflite", "logits")
    with pytest.raises(EvaluationError, match="the file has no output 'scores'; its outputs are logits"):
        measure(nothing, replace(plan(evaluation, all_modes), files={"other": file}), [0])
