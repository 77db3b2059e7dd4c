"""The recipe: one float model, its data, the variants to make, and the gates that each must pass."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field, NonNegativeInt, PositiveInt

from tflq import overlay, strict
from tflq.calibrate.schema import Calibration
from tflq.datasets import Random
from tflq.errors import RecipeError, SourceError, TflqError
from tflq.evaluate.section import Evaluation
from tflq.firmware.schema import Artifacts
from tflq.gates import Gates as Gates
from tflq.inputs.schema import Input
from tflq.modes import CALIBRATED, QAT_MODES, Converter, Float32, Int8, Mode, ModeName, named
from tflq.recipe_conflicts import conflicts
from tflq.search_section import SearchSection
from tflq.sources.saved_model import SavedModel
from tflq.sources.schema import Model
from tflq.strict import AsTuple, FileName, RecipePath, Strict, or_words
from tflq.targets.name import TargetNames
from tflq.targets.schema import Target
from tflq.targets.shipped import load as load_target
from tflq.training.schema import Technique, Training
from tflq.training.source import refuse_untrainable

RANDOM_SAMPLES = 16
"""The number of random samples if the recipe has no data. They show that a file runs and how close it is."""


class Latency(Strict):
    """How latency is measured on this machine's CPU."""

    runs: PositiveInt = Field(
        30,
        description="Timed calls. There are fewer, but at least three, if they take more than 10 ms each and more than"
        " 0.3 seconds together.",
    )
    warmup: NonNegativeInt = Field(5, description="Untimed calls before the timed ones.")
    threads: PositiveInt = Field(1, description="Number of CPU threads.")


def _sections_of_keys() -> dict[str, str]:
    """Map each key of a section to the section's name, for keys that are given outside of it."""
    sections: dict[str, type[Strict]] = {
        "model": SavedModel,
        "calibration": Calibration,
        "evaluation": Evaluation,
        "training": Training,
        "latency": Latency,
        "variants": Int8,
        "converter": Converter,
        "gates": Gates,
        "artifacts": Artifacts,
    }
    keys = [key for section in sections.values() for key in section.model_fields]
    return {key: " or ".join(name for name, kind in sections.items() if key in kind.model_fields) for key in keys}


class Recipe(Strict):
    """One float model, its data, the variants to make, and the gates that each must pass."""

    sections: ClassVar[Mapping[str, str]] = _sections_of_keys()

    extends: RecipePath | None = Field(None, description="A recipe file. Its keys apply unless this file gives them.")
    name: FileName = Field(description="Start of the file names. Default: the name of the recipe file.")
    model: Model
    inputs: dict[str, Input] = Field({}, description="For each model input, how a row becomes that input.")
    calibration: Calibration | None = Field(
        None, description=f"Calibration samples. {', '.join(CALIBRATED[:-1])} and {CALIBRATED[-1]} need them."
    )
    evaluation: Evaluation | None = Field(
        None,
        description="Evaluation samples and the metric. Without it, only fidelity is measured, on at most 400 of the"
        " calibration samples.",
    )
    training: Training | None = Field(
        None, description=f"Training before conversion. {', '.join(QAT_MODES)} and `trained: true` need it."
    )
    latency: Annotated[Latency | Literal["off"], or_words("a mapping such as {runs: 50}", "off")] = Field(
        Latency(), description="How latency is measured, or `off`."
    )
    mode: ModeName | None = Field(None, description="Short for `variants` with this one mode.")
    variants: Annotated[tuple[Mode, ...], AsTuple] = Field(
        (), description="The files to make. Each is a mode, or a mapping of a mode and its options."
    )
    converter: Converter = Field(Converter(), description="Options of every variant. A variant can override each one.")
    gates: Gates = Field(Gates(), description="Limits that every variant must meet.")
    search: SearchSection = Field(SearchSection(), description="Ways to mend a file that `tflq search` may try.")
    targets: TargetNames = Field(
        (),
        description="Targets on which every variant is checked. `tflq targets` lists them; a path is your own.",
    )
    artifacts: Artifacts = Field(
        Artifacts(), description="What is made beside the .tflite files, such as C++ source for microcontrollers."
    )
    report: Literal["standard", "full"] = Field("standard", description="`full`: report.html without its limits.")
    cache: bool = Field(
        True, description="`false`: keep nothing for the next run, and use nothing of an earlier run. See `tflq cache`."
    )
    output: RecipePath = Field(description="Output folder. Default: `build/<name>`, beside the recipe.")

    @property
    def measured_on(self) -> Evaluation:
        """The evaluation. Without one, fidelity is measured on the calibration samples, or on random samples."""
        if self.evaluation:
            return self.evaluation
        if self.calibration:
            section = self.calibration
            return Evaluation(dataset=section.dataset, samples=section.samples, seed=section.seed)
        return Evaluation(dataset=Random.model_validate({"random": {}}), samples=RANDOM_SAMPLES)

    @property
    def checked_targets(self) -> tuple[Target, ...]:
        """The targets that every file is checked on: those of `targets`, and those that gates need."""
        names = dict.fromkeys((*self.targets, *self.gates.runs_whole_on))
        chosen = {name: load_target(name) for name in names}
        if self.gates.max_ram_kb is not None and not any(target.has_memory for target in chosen.values()):
            chosen["micro"] = load_target("micro")
        return tuple(chosen.values())

    @property
    def measures_all(self) -> bool:
        """Whether every file is measured on all evaluation samples, as a metric or `samples: all` requests."""
        return self.evaluation is not None and (self.evaluation.metric is not None or self.evaluation.samples == "all")

    @property
    def keeps(self) -> bool:
        """Whether the float model and everything made from it are cached for the next run."""
        return self.cache and (self.calibration is None or self.calibration.cache)

    @property
    def base(self) -> Float32:
        """The float32 baseline, which all variants are compared with."""
        return Float32(
            allow_custom_ops=any(variant.allow_custom_ops for variant in self.variants),
            select_tf_ops=any(variant.select_tf_ops for variant in self.variants),
        )

    @property
    def techniques(self) -> tuple[Technique, ...]:
        """The training techniques that a variant needs; empty if no variant uses the trained model."""
        if self.training is None or not any(variant.trained for variant in self.variants):
            return ()
        needs_qat = any(variant.mode in QAT_MODES for variant in self.variants)
        return tuple(technique for technique in self.training.techniques if needs_qat or technique != "quantize")


def load(path: Path | str, overrides: Sequence[str] = ()) -> Recipe:
    """Read a recipe, or standard input for `-`, with overrides. Raise a RecipeError with all errors, one per line."""
    path = Path(path)
    source = overlay.read(path)
    if isinstance(source.data, dict) and source.data.get("kind") == "zoo":
        raise RecipeError(f"{source.places[('kind',)]}: kind: this file is a zoo of many models: run tflq batch on it")
    strict.override(source, overrides)
    return compose(source, "stdin" if path == strict.STANDARD_INPUT else path.stem, path.parent)


def place_of(error: TflqError, path: Path, overrides: Sequence[str] = (), variant: str = "") -> str:
    """Return the place of the key that the error is about, as `place_in` does, in the recipe at that path.

    The result is empty if the recipe came from standard input.
    """
    if path == strict.STANDARD_INPUT:
        return ""
    source = overlay.read(path)
    strict.override(source, overrides)
    return place_in(error, overlay.placed(source, path.parent), variant)


def place_in(error: TflqError, source: strict.YamlSource, variant: str = "") -> str:
    """Return the place (`file:line`) of the key, the model or the data that the error's message starts with.

    For an error of one variant, the key may be its own, or one of `converter` or `evaluation`. The result is empty if
    the message starts with none of these. The texts of the source have their folders.
    """
    if isinstance(error, SourceError):
        return source.places.get(("model",), "")
    keys = {".".join(map(str, location)): place for location, place in source.places.items() if location}
    sections = (*_sections_of_variant(source.data, variant), "converter.", "evaluation.") if variant else ()
    for section in (*sections, ""):
        inner = {key.removeprefix(section): place for key, place in keys.items() if key.startswith(section)}
        if named := [key for key in inner if re.match(rf"{re.escape(key)}(?![\w-])", str(error))]:
            return inner[max(named, key=len)]
    return _place_of_data(str(error), source)


def _sections_of_variant(data: Mapping[str, Any], variant: str) -> Iterator[str]:
    """Yield the start of the keys of the variant with that name."""
    for position, given in enumerate(data.get("variants") or ()):
        if isinstance(given, dict) and given.get("name", given.get("mode")) == variant:
            yield f"variants.{position}."


def _place_of_data(message: str, source: strict.YamlSource) -> str:
    """Return the place of the dataset whose path the message starts with, or an empty text."""
    for location, place in source.places.items():
        value = source.at(location) if "dataset" in location[:-1] else None
        if isinstance(value, strict.PlacedText) and re.match(rf"{re.escape(str(value.folder / value))}[:/]", message):
            return place
    return ""


def compose(source: strict.YamlSource, name: str, folder: Path) -> Recipe:
    """Return the recipe in the source. `name` is its default name.

    Raise a RecipeError that lists all errors, one per line.
    """
    if isinstance(source.data, dict):
        source.data.setdefault("name", name)
        source.places.setdefault(("name",), source.name)
        source.data.setdefault("output", f"build/{source.data['name']}")
        meant = _with_meant_keys(source.data)
        source.errors += [source.error(location, message) for location, message in conflicts(meant, folder)]
    recipe = strict.validate(source, Recipe, folder)
    variants = recipe.variants or ((named(recipe.mode),) if recipe.mode else ())
    resolved = tuple(variant.with_defaults(recipe.converter) for variant in variants)
    return recipe.model_copy(update={"variants": resolved, "mode": None})


def _with_meant_keys(data: dict[str, Any]) -> dict[str, Any]:
    """Return the recipe with the most similar section in place of each unknown one.

    Otherwise a misspelt section would also be told as a missing one.
    """
    sections = Recipe.model_fields
    similar = {key: strict.most_similar(str(key), sections) for key in data if key not in sections}
    return {**{name: data[key] for key, name in similar.items() if name}, **data}


def only(recipe: Recipe, names: Sequence[str]) -> Recipe:
    """Return the recipe with only the variants of these names, or with all if there are no names.

    Raise RecipeError if no variant has a given name.
    """
    known_names = [variant.name for variant in recipe.variants]
    for name in names:
        if name not in known_names:
            hint = strict.did_you_mean(name, known_names)
            raise RecipeError(
                f"--only {name}: no variant has this name{hint}; the variants are {', '.join(known_names)}"
            )
    variants = tuple(variant for variant in recipe.variants if not names or variant.name in names)
    return recipe.model_copy(update={"variants": variants})


def check_source(recipe: Recipe) -> None:
    """Raise SourceError if the model is missing or cannot be trained. This check does not import TensorFlow."""
    recipe.model.check()
    if recipe.techniques:
        refuse_untrainable(recipe.model)


def dump(recipe: Recipe, folder: Path) -> str:
    """Return the recipe as YAML with every default filled in. Its paths are relative to the folder."""
    plain = recipe.model_dump(mode="json", exclude_none=True, context={"folder": folder})
    return strict.write(plain)


def json_schema() -> str:
    """Return the JSON Schema of a recipe file. Keys that `load` fills in are not required."""
    schema = Recipe.model_json_schema()
    schema["required"] = [key for key in schema["required"] if key not in ("name", "output", "model")]
    schema["anyOf"] = [{"required": ["model"]}, {"required": ["extends"]}]
    return json.dumps({"$schema": "https://json-schema.org/draft/2020-12/schema"} | schema, indent=2) + "\n"
