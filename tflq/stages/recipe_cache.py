"""What is kept between runs, each under a key of all that it was made from: float models, samples, ranges."""

from __future__ import annotations

import json
import shutil
from dataclasses import dataclass
from functools import cache as memoized
from functools import cached_property
from pathlib import Path

from pydantic import TypeAdapter

from tflq import cache, refine
from tflq.cache import Store, digest
from tflq.calibrate import Calibration, CalibrationData, CalibrationSamples, load_calibration_data
from tflq.datasets import TensorSpec
from tflq.evaluate import Evaluation, Record
from tflq.metrics import Custom
from tflq.modes import Mode
from tflq.recipe import Recipe
from tflq.refine import RefinedInput, RefinementReport, RefinementRequest
from tflq.sources import Prepared, SavedModel, refuse_strangers
from tflq.stages.record_file import load, save

FLOAT32, PREPARED, GATHERED, ANSWERS = "float32.tflite", "prepared.json", "gathered.json", "answers.npz"
HYBRID, REFINEMENT = "hybrid.tflite", "refinement.json"


@dataclass(frozen=True)
class _Signature:
    """What is known of a prepared source besides its files."""

    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    size_bytes: int
    weight_bytes: int


_SIGNATURE, _GATHERED, _REFINEMENT = (
    TypeAdapter(_Signature),
    TypeAdapter(CalibrationSamples),
    TypeAdapter(RefinementReport),
)


class RecipeCache:
    """The store as one recipe uses it; without a store nothing is found and nothing kept."""

    def __init__(self, recipe: Recipe, store: Store | None = None) -> None:
        self.recipe, self._store = recipe, store

    def for_recipe(self, recipe: Recipe) -> RecipeCache:
        """The same store as another recipe uses it."""
        return RecipeCache(recipe, self._store)

    @property
    def notes(self) -> tuple[str, ...]:
        return tuple(self._store.notes) if self._store else ()

    def load_float_model(self, folder: Path) -> Prepared | None:
        """The source as it was prepared before, with its float32 file, put into a new folder."""
        if not self._fetch("model", self._model_key, folder):
            return None
        held = _SIGNATURE.validate_json((folder / PREPARED).read_bytes())
        refuse_strangers(self.recipe.inputs, held.inputs)
        given = self.recipe.model
        original = given if isinstance(given, SavedModel) else SavedModel(saved_model=folder / "keras")
        sizes = held.size_bytes, held.weight_bytes
        return Prepared(original, folder / "model", held.inputs, held.outputs, *sizes)

    def save_float_model(self, source: Prepared, folder: Path) -> None:
        held = _Signature(source.inputs, source.outputs, source.size_bytes, source.weight_bytes)
        (folder / PREPARED).write_bytes(_SIGNATURE.dump_json(held))
        self._save("model", self._model_key, folder)

    @cached_property
    def _model_key(self) -> str:
        recipe = self.recipe
        shapes = {
            name: (given.shape, given.size, given.layout)
            for name, given in recipe.inputs.items()
            if given.shape or given.size
        }
        ops = (recipe.base.allow_custom_ops, recipe.base.select_tf_ops)
        model = recipe.model.model_dump(mode="json", exclude={"saved_model", "keras"})
        return digest(versions(), cache.contents(recipe.model.path), json.dumps([model, shapes, ops]))

    def load_samples(self, source: Prepared, folder: Path) -> CalibrationSamples | None:
        """What the calibration samples were, where the files that they come from have not changed since."""
        key = self._samples_key(source)
        if key is None or not self._fetch("samples", key, folder):
            return None
        return _GATHERED.validate_json((folder / GATHERED).read_bytes())

    def save_samples(self, calibration_samples: CalibrationSamples, source: Prepared, folder: Path) -> None:
        key = self._samples_key(source)
        if key is not None:
            folder.mkdir()
            (folder / GATHERED).write_bytes(_GATHERED.dump_json(calibration_samples))
            self._save("samples", key, folder)

    def _samples_key(self, source: Prepared) -> str | None:
        return self._rows_key(self._calibration, source)

    def _rows_key(self, section: Calibration | Evaluation, source: Prepared) -> str | None:
        """Of samples that have not been read; None where only reading the dataset tells whether it has changed."""
        files = section.dataset.files()
        if files is None or not all(file.exists() for file in files):  # what is missing is told where it is read
            return None
        inputs = {name: given.model_dump(mode="json") for name, given in self.recipe.inputs.items()}
        specs = [(spec.name, spec.dtype, spec.shape, spec.is_batched) for spec in source.inputs]
        selected_ranges = section.model_dump(mode="json", include={"dataset", "samples", "seed"})
        return digest(versions(), cache.identity(files), json.dumps([selected_ranges, inputs, specs]))

    def load_ranges(
        self, float32: Path, calibration_samples: CalibrationSamples, folder: Path
    ) -> CalibrationData | None:
        """What calibration found of that float32 file with those samples."""
        if not self._fetch("ranges", self._ranges_key(float32, calibration_samples), folder):
            return None
        return load_calibration_data(folder, float32)

    def save_ranges(
        self, calibration_data: CalibrationData, key: tuple[Path, CalibrationSamples], folder: Path
    ) -> None:
        calibration_data.save(folder)
        self._save("ranges", self._ranges_key(*key), folder)

    def _ranges_key(self, float32: Path, calibration_samples: CalibrationSamples) -> str:
        return digest(versions(), cache.sha256(float32), calibration_samples.digest, self._calibration.counting)

    def load_refined(
        self, key: tuple[Path, CalibrationSamples, RefinementRequest], folder: Path
    ) -> RefinedInput | None:
        """What variants that ask for that are quantized from, by what was found of the float32 file before."""
        return refine.load_refined(folder) if self._fetch("refined", self._refined_key(*key), folder) else None

    def save_refined(
        self, refined: RefinedInput, key: tuple[Path, CalibrationSamples, RefinementRequest], folder: Path
    ) -> None:
        refined.save(folder)
        self._save("refined", self._refined_key(*key), folder)

    def _refined_key(self, float32: Path, calibration_samples: CalibrationSamples, asked: RefinementRequest) -> str:
        method = self._calibration.model_dump_json(include={"ranges"})
        return digest(versions(), cache.sha256(float32), calibration_samples.digest, method, repr(asked))

    def load_corrected(
        self, key: tuple[Path, CalibrationSamples, Mode], folder: Path
    ) -> tuple[Path, RefinementReport] | None:
        """What that variant's file became by those samples, and what was done."""
        if not self._fetch("corrected", _corrected_key(*key), folder):
            return None
        return folder / HYBRID, _REFINEMENT.validate_json((folder / REFINEMENT).read_bytes())

    def save_corrected(
        self, made: tuple[Path, RefinementReport], key: tuple[Path, CalibrationSamples, Mode], folder: Path
    ) -> None:
        folder.mkdir()
        shutil.copyfile(made[0], folder / HYBRID)
        (folder / REFINEMENT).write_bytes(_REFINEMENT.dump_json(made[1]))
        self._save("corrected", _corrected_key(*key), folder)

    def load_answers(self, float32: Path, source: Prepared, folder: Path) -> Record | None:
        """What the source answered on the evaluation samples, where none of them can have changed since."""
        key = self._answers_key(float32, source)
        return load(folder / ANSWERS) if key is not None and self._fetch("answers", key, folder) else None

    def save_answers(self, answers: Record, key: tuple[Path, Prepared], folder: Path) -> None:
        found = self._answers_key(*key)
        if found is not None:
            folder.mkdir()
            save(answers, folder / ANSWERS)
            self._save("answers", found, folder)

    def _answers_key(self, float32: Path, source: Prepared) -> str | None:
        evaluation = self.recipe.measured_on
        rows = self._rows_key(evaluation, source)
        if rows is None or isinstance(evaluation.metric, Custom):
            return None
        scored = evaluation.model_dump(mode="json", include={"label", "output", "metric"})
        return digest(self._model_key, rows, cache.sha256(float32), json.dumps(scored))

    @property
    def _calibration(self) -> Calibration:
        assert self.recipe.calibration is not None
        return self.recipe.calibration

    def _fetch(self, kind: str, key: str, folder: Path) -> bool:
        return self._store is not None and self._store.fetch(kind, key, folder)

    def _save(self, kind: str, key: str, folder: Path) -> None:
        if self._store is not None:
            self._store.keep(kind, key, folder)


def _corrected_key(float32: Path, calibration_samples: CalibrationSamples, variant: Mode) -> str:
    asked = variant.model_dump_json(exclude={"name"})
    return digest(versions(), cache.sha256(float32), calibration_samples.digest, asked)


@memoized
def versions() -> str:
    """Of all whose change may change what is kept; tflq's own code between two releases included."""
    package = Path(cache.__file__).parent.parent
    code = [digest(file.read_bytes()) for file in sorted(package.rglob("*.py"))]
    return digest(*cache.versions(trains=False).values(), *code)
