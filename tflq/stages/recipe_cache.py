"""The results that a recipe keeps between runs: float models, samples, ranges, corrections, and source records.

The key of each entry is a digest of everything that decides the result.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from functools import cache as memoized
from functools import cached_property
from pathlib import Path
from typing import Self

from pydantic import TypeAdapter

from tflq import cache, refine
from tflq.cache import Store, digest
from tflq.calibrate.calibration_data import CalibrationData, load_calibration_data
from tflq.calibrate.samples import KEPT_CALLS, CalibrationSamples
from tflq.calibrate.schema import Calibration
from tflq.datasets import TensorSpec
from tflq.evaluate.record import Record
from tflq.evaluate.section import Evaluation
from tflq.metrics.custom import Custom
from tflq.metrics.word_errors import WordErrors
from tflq.modes import Mode
from tflq.recipe import Recipe
from tflq.refine import RefinedInput, RefinementReport, RefinementRequest
from tflq.sources.keras_file import Keras
from tflq.sources.prepared import EXPORTED, PreparedSource
from tflq.sources.saved_model import SavedModel
from tflq.sources.schema import KINDS, TFLite, is_converted_from_tflite
from tflq.sources.shapes import refuse_strangers
from tflq.sources.tflite_file import PREPARED_TFLITE
from tflq.stages.record_file import load, save

FLOAT32, PREPARED, SAMPLES, ANSWERS = "float32.tflite", "prepared.json", "samples.json", "answers.npz"
CORRECTED, REFINEMENT = "corrected.tflite", "refinement.json"


@dataclass(frozen=True)
class _Signature:
    """The signature and the sizes of a prepared source."""

    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    size_bytes: int
    weight_bytes: int
    notes: tuple[str, ...]


_SIGNATURE, _SAMPLES, _REFINEMENT = (
    TypeAdapter(_Signature),
    TypeAdapter(CalibrationSamples),
    TypeAdapter(RefinementReport),
)


class RecipeCache:
    """The entries of one recipe in the store; without a store, every load returns None and nothing is saved.

    Entries are saved in the background. As a context, it waits for them at the end.
    """

    def __init__(self, recipe: Recipe, store: Store | None = None) -> None:
        self.recipe, self._store = recipe, store
        self._sha256 = memoized(cache.sha256)  # the files of a run do not change, and large ones take time

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._wait()

    def _wait(self) -> None:
        if self._store is not None:
            self._store.wait()

    def for_recipe(self, recipe: Recipe) -> RecipeCache:
        """Return the cache of another recipe in the same store."""
        return RecipeCache(recipe, self._store)

    @property
    def notes(self) -> tuple[str, ...]:
        """Sentences for the warnings of the report, about damaged entries, when all is saved."""
        self._wait()
        return tuple(dict.fromkeys(self._store.notes)) if self._store else ()

    def load_float_model(self, folder: Path) -> PreparedSource | None:
        """Copy the prepared source and its float32 file into a new folder; return the source, or None if there is none.

        Raises RecipeError if the recipe names inputs that the model does not have.
        """
        if not self._fetch("model", self._model_key, folder):
            return None
        signature = _SIGNATURE.validate_json((folder / PREPARED).read_bytes())
        refuse_strangers(self.recipe.inputs, signature.inputs)
        model, path = self.recipe.model, folder / "model"
        original = None
        if is_converted_from_tflite(model):
            path = folder / PREPARED_TFLITE
        elif not isinstance(model, TFLite):
            original = _exported(folder / EXPORTED, path) if isinstance(model, Keras) else model
        sizes = signature.size_bytes, signature.weight_bytes
        return PreparedSource(original, path, signature.inputs, signature.outputs, *sizes, signature.notes)

    def save_float_model(self, source: PreparedSource, folder: Path) -> None:
        sizes = source.size_bytes, source.weight_bytes
        signature = _Signature(source.inputs, source.outputs, *sizes, source.notes)
        (folder / PREPARED).write_bytes(_SIGNATURE.dump_json(signature))
        self._save("model", self._model_key, folder)

    @cached_property
    def _model_key(self) -> str:
        recipe = self.recipe
        shapes = {
            name: (section.shape, section.size, section.layout)
            for name, section in recipe.inputs.items()
            if section.shape or section.size
        }
        ops = (recipe.base.allow_custom_ops, recipe.base.select_tf_ops)
        model = recipe.model.model_dump(mode="json", exclude={*KINDS})
        return digest(versions(), cache.contents(recipe.model.path), json.dumps([model, shapes, ops]))

    def load_samples(self, source: PreparedSource, folder: Path) -> CalibrationSamples | None:
        """Return the calibration samples; None if there are none, or if they may have changed.

        Of the samples themselves, only those of the first `KEPT_CALLS` calls can be read.
        """
        key = self._samples_key(source)
        if key is None or not self._fetch("samples", key, folder):
            return None
        described = _SAMPLES.validate_json((folder / SAMPLES).read_bytes())
        stored = replace(described.samples.stored, folder=folder)
        return replace(described, samples=replace(described.samples, stored=stored))

    def save_samples(self, calibration_samples: CalibrationSamples, source: PreparedSource, folder: Path) -> None:
        key = self._samples_key(source)
        if key is not None:
            folder.mkdir()
            (folder / SAMPLES).write_bytes(_SAMPLES.dump_json(calibration_samples))
            samples = calibration_samples.samples
            samples.stored.copy_first(KEPT_CALLS * samples.per_call, folder)
            self._save("samples", key, folder)

    def _samples_key(self, source: PreparedSource) -> str | None:
        return self._rows_key(self._calibration, source)

    def _rows_key(self, section: Calibration | Evaluation, source: PreparedSource) -> str | None:
        """Return the key of the rows of a dataset; None if only reading the dataset can show a change."""
        files = section.dataset.files()
        if files is None or not all(file.exists() for file in files):  # the reader reports missing files
            return None
        sections = self.recipe.inputs.items()
        inputs = {name: section.model_dump(mode="json", exclude={"quantization"}) for name, section in sections}
        specs = [(spec.name, spec.dtype, spec.shape, spec.is_batched) for spec in source.inputs]
        rows = section.model_dump(mode="json", include={"dataset", "samples", "seed"})
        return digest(versions(), cache.identity(files), json.dumps([rows, inputs, specs]))

    def load_ranges(
        self, float32: Path, calibration_samples: CalibrationSamples, folder: Path
    ) -> CalibrationData | None:
        """Return the statistics of the float32 file's activations on these samples; None if there is no entry."""
        if not self._fetch("ranges", self._ranges_key(float32, calibration_samples), folder):
            return None
        return load_calibration_data(folder, float32)

    def save_ranges(
        self, calibration_data: CalibrationData, key: tuple[Path, CalibrationSamples], folder: Path
    ) -> None:
        calibration_data.save(folder)
        self._save("ranges", self._ranges_key(*key), folder)

    def _ranges_key(self, float32: Path, calibration_samples: CalibrationSamples) -> str:
        recurrent = self.recipe.model.recurrent if isinstance(self.recipe.model, Keras) else ""
        modes = [variant.mode == "int16x8_only" for variant in self.recipe.variants] if recurrent else []
        form = json.dumps([recurrent, any(modes)])
        return digest(versions(), self._sha256(float32), calibration_samples.digest, self._calibration.counting, form)

    def load_refined(
        self, key: tuple[Path, CalibrationSamples, RefinementRequest], folder: Path
    ) -> RefinedInput | None:
        """Return the quantizer input of a request and its report; None if there is no entry."""
        return refine.load_refined(folder) if self._fetch("refined", self._refined_key(*key), folder) else None

    def save_refined(
        self, refined: RefinedInput, key: tuple[Path, CalibrationSamples, RefinementRequest], folder: Path
    ) -> None:
        refined.save(folder)
        self._save("refined", self._refined_key(*key), folder)

    def _refined_key(self, float32: Path, calibration_samples: CalibrationSamples, request: RefinementRequest) -> str:
        method = self._calibration.model_dump_json(include={"ranges"})
        return digest(versions(), self._sha256(float32), calibration_samples.digest, method, repr(request))

    def load_corrected(
        self, key: tuple[Path, CalibrationSamples, Mode], folder: Path
    ) -> tuple[Path, RefinementReport] | None:
        """Return the corrected file of a dynamic range variant with its report; None if there is no entry.

        The key is the float32 file, the samples and the variant.
        """
        if not self._fetch("corrected", self._corrected_key(*key), folder):
            return None
        return folder / CORRECTED, _REFINEMENT.validate_json((folder / REFINEMENT).read_bytes())

    def save_corrected(
        self, corrected: tuple[Path, RefinementReport], key: tuple[Path, CalibrationSamples, Mode], folder: Path
    ) -> None:
        folder.mkdir()
        cache.link(corrected[0], folder / CORRECTED)
        (folder / REFINEMENT).write_bytes(_REFINEMENT.dump_json(corrected[1]))
        self._save("corrected", self._corrected_key(*key), folder)

    def _corrected_key(self, float32: Path, calibration_samples: CalibrationSamples, variant: Mode) -> str:
        options = variant.model_dump_json(exclude={"name"})
        return digest(versions(), self._sha256(float32), calibration_samples.digest, options)

    def load_source_record(self, float32: Path, source: PreparedSource, folder: Path) -> Record | None:
        """Return the record of the source on the evaluation samples; None if there is none, or if they changed."""
        key = self._source_record_key(float32, source)
        return load(folder / ANSWERS) if key is not None and self._fetch("answers", key, folder) else None

    def save_source_record(self, record: Record, inputs: tuple[Path, PreparedSource], folder: Path) -> None:
        key = self._source_record_key(*inputs)
        if key is not None:
            folder.mkdir()
            save(record, folder / ANSWERS)
            self._save("answers", key, folder)

    def _source_record_key(self, float32: Path, source: PreparedSource) -> str | None:
        evaluation = self.recipe.measured_on
        rows = self._rows_key(evaluation, source)
        if rows is None or isinstance(evaluation.metric, (Custom, WordErrors)):
            return None
        scoring = evaluation.model_dump(mode="json", include={"label", "output", "metric"})
        return digest(self._model_key, rows, self._sha256(float32), json.dumps([scoring, self.recipe.measures_all]))

    @property
    def _calibration(self) -> Calibration:
        assert self.recipe.calibration is not None
        return self.recipe.calibration

    def _fetch(self, kind: str, key: str, folder: Path) -> bool:
        return self._store is not None and self._store.fetch(kind, key, folder)

    def _save(self, kind: str, key: str, folder: Path) -> None:
        if self._store is not None:
            self._store.keep_in_background(kind, key, folder)


def _exported(exported: Path, converted: Path) -> SavedModel:
    """Return the SavedModel of a Keras model that TensorFlow runs: Keras' export if there is one."""
    return SavedModel(saved_model=exported if exported.is_dir() else converted)


@memoized
def versions() -> str:
    """Return the digest of the versions of all packages that decide results, and of the code of tflq itself."""
    package = Path(cache.__file__).parent.parent
    code = [digest(file.read_bytes()) for file in sorted(package.rglob("*.py"))]
    return digest(*cache.versions(trains=False).values(), *code)
