"""The recipe: one float model, its data, the variants wanted, the bars that they must pass."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field, NonNegativeInt, PositiveFloat, PositiveInt

from tflq import layers, strict, training
from tflq.calibrate import Calibration
from tflq.datasets import Random
from tflq.errors import RecipeError
from tflq.evaluate import Evaluation
from tflq.inputs import Input
from tflq.modes import CALIBRATED, LEARNED, Converter, Float32, Int8, Mode, ModeName, default_name, named
from tflq.sources import Model, SavedModel
from tflq.strict import AsTuple, FileName, RecipePath, Strict, or_words
from tflq.training import Technique, Training

RANDOM_SAMPLES = 16
"""Random samples that show whether a file runs and how near it is to the float model."""


class Latency(Strict):
    """How the time of one call is measured, on this machine's CPU."""

    runs: PositiveInt = Field(50, description="Calls that are timed; fewer once they took half a minute.")
    warmup: NonNegativeInt = Field(5, description="Calls before those.")
    threads: PositiveInt = 1


class Gates(Strict):
    """Bars for every variant; a variant that fails one makes the exit code 1."""

    max_metric_drop: Annotated[float, Field(ge=0)] | None = Field(
        None, description="Against the float32 .tflite, on the same samples, in the metric's own unit."
    )
    min_agreement: Annotated[float, Field(ge=0, le=1)] | None = Field(
        None, description="The share of samples with the float32 file's top class."
    )
    min_sqnr_db: float | None = Field(None, description="Of every output, against the float32 .tflite.")
    max_size_bytes: PositiveInt | None = Field(None, description="Of the file.")
    max_size_ratio: PositiveFloat | None = Field(None, description="Of the float32 .tflite.")


def _homes() -> dict[str, str]:
    """Where the keys of the sections belong, for those that stand outside of them."""
    sections: dict[str, type[Strict]] = {
        "model": SavedModel,
        "calibration": Calibration,
        "evaluation": Evaluation,
        "training": Training,
        "latency": Latency,
        "variants": Int8,
        "converter": Converter,
        "gates": Gates,
    }
    keys = [key for section in sections.values() for key in section.model_fields]
    return {key: " or ".join(name for name, kind in sections.items() if key in kind.model_fields) for key in keys}


class Recipe(Strict):
    """One float model, its data, the variants wanted, the bars that they must pass."""

    homes: ClassVar[Mapping[str, str]] = _homes()

    extends: RecipePath | None = Field(None, description="A file whose keys hold too where this one says nothing else.")
    name: FileName = Field(description="Starts the names of the files; by default the recipe file's name.")
    model: Model
    inputs: dict[str, Input] = Field({}, description="For each input of the model, how it is made from a row.")
    calibration: Calibration | None = Field(None, description="Needed by integer modes.")
    evaluation: Evaluation | None = Field(None, description="Without it, fidelity is measured on calibration samples.")
    training: Training | None = Field(None, description="Needed by qat_int8, qat_int8_only and `trained: true`.")
    latency: Annotated[Latency | Literal["off"], or_words("a mapping such as {runs: 50}", "off")] = Field(
        Latency(), description="How the time of one call is measured, or off."
    )
    mode: ModeName | None = Field(None, description="Short for `variants` with this one mode.")
    variants: Annotated[tuple[Mode, ...], AsTuple] = Field(
        (), description="The files to make: modes, or mappings of a mode and its options."
    )
    converter: Converter = Field(Converter(), description="For every variant; a variant may override each key.")
    gates: Gates = Field(Gates(), description="Bars that every variant must pass.")
    cache: bool = Field(
        True,
        description="false: keep nothing for the next run, and use nothing of an earlier one. `calibration.cache` does"
        " the same; this key is there for recipes without calibration. See tflq cache.",
    )
    output: RecipePath = Field(description="By default build/<name>, beside the recipe.")

    @property
    def measured_on(self) -> Evaluation:
        """The evaluation; without one, fidelity on the calibration samples, or on random ones."""
        if self.evaluation:
            return self.evaluation
        if self.calibration:
            given = self.calibration
            return Evaluation(dataset=given.dataset, samples=given.samples, seed=given.seed)
        return Evaluation(dataset=Random.model_validate({"random": {}}), samples=RANDOM_SAMPLES)

    @property
    def keeps(self) -> bool:
        """Whether the float model and all that is made of it are kept for the next run."""
        return self.cache and (self.calibration is None or self.calibration.cache)

    @property
    def base(self) -> Float32:
        """The float32 file that all variants are compared with."""
        return Float32(
            allow_custom_ops=any(variant.allow_custom_ops for variant in self.variants),
            select_tf_ops=any(variant.select_tf_ops for variant in self.variants),
        )

    @property
    def techniques(self) -> tuple[Technique, ...]:
        """Those of training that a variant is made of; none where it is made for nothing."""
        if self.training is None or not any(variant.trained for variant in self.variants):
            return ()
        is_learned = any(variant.mode in LEARNED for variant in self.variants)
        return tuple(technique for technique in self.training.techniques if is_learned or technique != "quantize")


def load(path: Path | str, overrides: Sequence[str] = ()) -> Recipe:
    """Read a recipe, with `key.subkey=value` overrides; RecipeError with all its faults, one a line."""
    path = Path(path)
    source = layers.read(path)
    if isinstance(source.data, dict) and source.data.get("kind") == "zoo":
        raise RecipeError(f"{source.places[('kind',)]}: kind: this is a zoo, of many recipes: tflq batch makes them")
    strict.override(source, overrides)
    return compose(source, path.stem, path.parent)


def compose(source: strict.Source, name: str, folder: Path) -> Recipe:
    """The recipe that the source describes, of that name where it gives none; RecipeError with all its faults."""
    if isinstance(source.data, dict):
        source.data.setdefault("name", name)
        source.places.setdefault(("name",), source.name)
        source.data.setdefault("output", f"build/{source.data['name']}")
        source.faults += [source.fault(location, message) for location, message in _conflicts(source.data)]
    recipe = strict.validate(source, Recipe, folder)
    variants = recipe.variants or ((named(recipe.mode),) if recipe.mode else ())
    resolved = tuple(variant.with_defaults(recipe.converter) for variant in variants)
    return recipe.model_copy(update={"variants": resolved, "mode": None})


def _conflicts(data: dict[str, Any]) -> Iterator[tuple[strict.Location, str]]:
    """Keys that do not go together, seen before the rest is validated, so that they are told with the rest."""
    mode, variants = data.get("mode"), data.get("variants")
    if mode is None and variants is None:
        yield (), "give mode, for one variant, or variants, for several"
    elif mode is not None and variants is not None:
        yield ("variants",), "give mode, for one variant, or variants, for several, not both"
    elif variants == []:
        yield ("variants",), "should list at least one variant"
    listed = variants if isinstance(variants, list) else []
    asked: dict[strict.Location, dict[str, Any]] = {
        ("variants", i): one if isinstance(one, dict) else {"mode": one} for i, one in enumerate(listed)
    }
    names = {location: one.get("name") or _default_name(one) for location, one in asked.items()}
    yield from _same_names(names)
    every: dict[strict.Location, dict[str, Any]] = {**asked, ("mode",): {"mode": mode}}
    yield from training.conflicts(data, every)
    for location, one in every.items():
        if one.get("mode") in CALIBRATED and data.get("calibration") is None:
            yield location, f"{one['mode']} takes its ranges from samples: give calibration with a dataset"
    yield from _conflicts_of_dynamic(data, every)
    yield from _conflicts_of_evaluation(data)


def _conflicts_of_dynamic(
    data: dict[str, Any], variants: Mapping[strict.Location, dict[str, Any]]
) -> Iterator[tuple[strict.Location, str]]:
    """It takes samples where its biases must be corrected, and needs none otherwise."""
    given = data.get("converter")
    converter = given if isinstance(given, dict) else {}
    asked = {
        ((*location, "bias_correction") if "bias_correction" in one else ("converter", "bias_correction")): one
        for location, one in variants.items()
        if one.get("mode") == "dynamic" and {**converter, **one}.get("bias_correction") == "on"
    }
    for location in asked if data.get("calibration") is None else ():
        yield (
            location,
            "mode dynamic corrects biases by calibration samples: give calibration with a dataset, or write auto",
        )


def _default_name(variant: dict[str, Any]) -> str | None:
    mode = variant.get("mode")
    return default_name(mode, variant.get("trained") is True) if isinstance(mode, str) else None


def _same_names(names: Mapping[strict.Location, Any]) -> Iterator[tuple[strict.Location, str]]:
    seen: list[Any] = []
    for location, name in names.items():
        if name is not None and name in seen:
            yield location, f"another variant is called {name!r} already; give this one a name of its own"
        seen.append(name)


def _conflicts_of_evaluation(data: dict[str, Any]) -> Iterator[tuple[strict.Location, str]]:
    evaluation, gates = (data[key] if isinstance(data.get(key), dict) else {} for key in ("evaluation", "gates"))
    for given, other in (("metric", "label"), ("label", "metric"), ("output", "metric")):
        if evaluation.get(given) is not None and evaluation.get(other) is None:
            yield ("evaluation", given), f"needs evaluation.{other} too: a metric compares an output with a label"
    if gates.get("max_metric_drop") is not None and evaluation.get("metric") is None:
        yield ("gates", "max_metric_drop"), "needs evaluation.metric and evaluation.label"


def only(recipe: Recipe, names: Sequence[str]) -> Recipe:
    """The recipe with the variants of those names, or all where there are none; RecipeError for a name it has not."""
    known = [variant.name for variant in recipe.variants]
    for name in names:
        if name not in known:
            hint = strict.did_you_mean(name, known)
            raise RecipeError(f"--only {name}: there is no such variant{hint}; there are {', '.join(known)}")
    kept = tuple(variant for variant in recipe.variants if not names or variant.name in names)
    return recipe.model_copy(update={"variants": kept})


def check_source(recipe: Recipe) -> None:
    """SourceError where there is certainly no such model, or none that can be trained; needs no TensorFlow."""
    recipe.model.check()
    if recipe.techniques:
        training.check(recipe.model)


def warnings(recipe: Recipe) -> Iterator[str]:
    """What is allowed, but probably not meant."""
    if isinstance(recipe.measured_on.dataset, Random):
        yield "measured on random numbers, not on real data: these figures say nothing of real accuracy"
    if recipe.calibration and isinstance(recipe.calibration.dataset, Random):
        yield "calibrated on random numbers, not on real data: the integer files are of no use but for a trial"
    if recipe.evaluation is None and recipe.calibration:
        yield "there is no evaluation: fidelity is measured on the calibration samples, which flatters it"
    if recipe.calibration and not any(variant.reads_samples for variant in recipe.variants):
        yield "calibration is given, but none of the variants reads it"
    yield from _warnings_of_training(recipe)
    if recipe.calibration and recipe.evaluation and recipe.calibration.dataset == recipe.evaluation.dataset:
        yield "calibration and evaluation share a dataset, so the quantized models have seen what they are tested on"


def _warnings_of_training(recipe: Recipe) -> Iterator[str]:
    given = recipe.training
    if given is None:
        return
    if not recipe.techniques:
        yield "training is given, but none of the variants is made of what it leaves"
    elif set(recipe.techniques) < set(given.techniques):
        yield "training.techniques has quantize, but there is no qat_int8 or qat_int8_only to make of it"
    if isinstance(given.dataset, Random):
        yield "trained on random numbers, not on real data: the trained files are of no use but for a trial"
    if recipe.evaluation and given.dataset == recipe.evaluation.dataset:
        yield "training and evaluation share a dataset, so the trained models have seen what they are tested on"
    if recipe.evaluation and given.validation and given.validation.dataset == recipe.evaluation.dataset:
        yield "training.validation and evaluation share a dataset, so the best epoch was chosen by the test"


def dump(recipe: Recipe, folder: Path) -> str:
    """The recipe as YAML that runs again as it is from that folder, every default filled in."""
    plain = recipe.model_dump(mode="json", exclude_none=True, context={"folder": folder})
    return strict.write(plain)


def json_schema() -> str:
    """The JSON Schema of a recipe file: as `Recipe`, with what `load` fills in left out of what is required."""
    schema = Recipe.model_json_schema()
    schema["required"] = [key for key in schema["required"] if key not in ("name", "output", "model")]
    schema["anyOf"] = [{"required": ["model"]}, {"required": ["extends"]}]
    return json.dumps({"$schema": "https://json-schema.org/build/2020-12/schema"} | schema, indent=2) + "\n"
