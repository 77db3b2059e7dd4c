"""Keys of a recipe that exclude each other, or that need each other. They are told before the recipe is validated."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from tflq import strict
from tflq.modes import CALIBRATED, CORRECTABLE, WITH_INT16_OPS, WITH_ROUNDING, default_name
from tflq.targets.name import has_time
from tflq.training.schema import training_conflicts


def conflicts(data: dict[str, Any], folder: Path) -> Iterator[tuple[strict.Location, str]]:
    """Yield keys that exclude each other. This runs before validation, so that one message lists everything.

    Paths are relative to the folder.
    """
    mode, variants = data.get("mode"), data.get("variants")
    if mode is None and variants is None:
        yield (), "mode or variants is missing: give mode for one variant, or variants for several"
    elif mode is not None and variants is not None:
        yield ("variants",), "mode and variants are both given: remove one of them"
    elif variants == []:
        yield ("variants",), "should list at least one variant"
    entries = variants if isinstance(variants, list) else []
    sections: dict[strict.Location, dict[str, Any]] = {
        ("variants", i): entry if isinstance(entry, dict) else {"mode": entry} for i, entry in enumerate(entries)
    }
    names = {location: variant.get("name") or _default_name(variant) for location, variant in sections.items()}
    yield from _same_names(names)
    sections[("mode",)] = {"mode": mode}
    yield from training_conflicts(data, sections)
    for location, variant in sections.items():
        if variant.get("mode") in CALIBRATED and data.get("calibration") is None:
            yield location, f"{variant['mode']} needs calibration samples: add calibration with a dataset"
    yield from _conflicts_of_float_activations(data, sections)
    yield from _conflicts_of_int16_outputs(data, sections)
    yield from _conflicts_of_evaluation(data)
    yield from _conflicts_of_targets(data, folder)


def _conflicts_of_float_activations(
    data: dict[str, Any], variants: Mapping[strict.Location, dict[str, Any]]
) -> Iterator[tuple[strict.Location, str]]:
    """Yield an error if a mode without ranges must be corrected but the recipe has no calibration samples."""
    section = data.get("converter")
    converter = section if isinstance(section, dict) else {}
    purposes = {"bias_correction": (CORRECTABLE, "correct biases"), "rounding": (WITH_ROUNDING, "round weights")}
    found: dict[strict.Location, tuple[str, str]] = {}
    for key, (modes, purpose) in purposes.items():
        for location, variant in variants.items():
            if variant.get("mode") in modes and {**converter, **variant}.get(key) == "on":
                place = location if key in variant else ("converter",)
                found.setdefault((*place, key), (str(variant["mode"]), purpose))
    for location, (mode, purpose) in found.items() if data.get("calibration") is None else ():
        yield (
            location,
            f"mode {mode} needs calibration samples to {purpose}: add calibration with a dataset, or write auto",
        )


def _conflicts_of_int16_outputs(
    data: dict[str, Any], variants: Mapping[strict.Location, dict[str, Any]]
) -> Iterator[tuple[strict.Location, str]]:
    """Yield an error for each int8 variant with int16 outputs that names no ops in 16 bits, which would write them."""
    section = data.get("converter")
    converter = section if isinstance(section, dict) else {}
    for location, variant in variants.items():
        is_int16 = variant.get("inference_output_type") == "int16" and variant.get("mode") in WITH_INT16_OPS
        if is_int16 and not {**converter, **variant}.get("keep_int16"):
            yield (
                (*location, "inference_output_type"),
                "an output is int16 only if an op in 16 bits writes it: name that op in keep_int16",
            )


def _default_name(variant: dict[str, Any]) -> str | None:
    mode = variant.get("mode")
    return default_name(mode, variant.get("trained") is True) if isinstance(mode, str) else None


def _same_names(names: Mapping[strict.Location, Any]) -> Iterator[tuple[strict.Location, str]]:
    earlier: list[Any] = []
    for location, name in names.items():
        if name is not None and name in earlier:
            yield location, f"another variant has the name {name!r}: give this one a different name"
        earlier.append(name)


def _conflicts_of_evaluation(data: dict[str, Any]) -> Iterator[tuple[strict.Location, str]]:
    evaluation, gates = (data[key] if isinstance(data.get(key), dict) else {} for key in ("evaluation", "gates"))
    for key, other in (("metric", "label"), ("label", "metric"), ("output", "metric")):
        if evaluation.get(key) is not None and evaluation.get(other) is None:
            yield (
                ("evaluation", key),
                f"needs evaluation.{other} too, because a metric compares an output with a label",
            )
    metric = evaluation.get("metric")
    if isinstance(metric, dict) and "detection" in metric and evaluation.get("output") is not None:
        yield ("evaluation", "output"), "remove this key, because the metric names its outputs itself"
    if gates.get("max_metric_drop") is not None and evaluation.get("metric") is None:
        yield ("gates", "max_metric_drop"), "needs evaluation.metric and evaluation.label"


def _conflicts_of_targets(data: dict[str, Any], folder: Path) -> Iterator[tuple[strict.Location, str]]:
    gates = data["gates"] if isinstance(data.get("gates"), dict) else {}
    lists = (data.get("targets"), gates.get("runs_whole_on"))
    names = [name for names in lists if isinstance(names, list) for name in names]
    if gates.get("max_estimated_ms") is not None and not has_time(names, folder):
        yield ("gates", "max_estimated_ms"), "needs a target that has a model of time: add ethos-u55-128 to targets"
