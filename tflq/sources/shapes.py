"""The shapes of a model's inputs. The recipe gives the sizes that the signature leaves open."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Literal

from tflq.datasets import TensorSpec, brackets
from tflq.errors import RecipeError, SourceError
from tflq.inputs.schema import Input
from tflq.strict import did_you_mean

BatchSize = int | Literal["dynamic"]


def fix_shapes(
    specs: Iterable[TensorSpec], batch_size: BatchSize, inputs: Mapping[str, Input]
) -> tuple[TensorSpec, ...]:
    """Return the inputs with all sizes known except the batch. Raise RecipeError if the recipe leaves a size open."""
    fixed = _batched(_fix(spec, batch_size, inputs.get(spec.name, Input())) for spec in specs)
    for spec in fixed:
        if spec.is_batched and batch_size not in (1, spec.batch or "dynamic"):
            raise RecipeError(
                f"model.batch_size: {batch_size} is not possible: input {spec.name!r} takes"
                f" {brackets(spec.shape or ())} per call, by the signature or inputs.{spec.name}.shape;"
                " remove batch_size"
            )
    return fixed


def refuse_strangers(inputs: Mapping[str, Input], specs: Iterable[TensorSpec]) -> None:
    """Raise RecipeError if the recipe names an input that the model does not have."""
    names = [spec.name for spec in specs]
    for name in inputs:
        if name not in names:
            hint = did_you_mean(name, names)
            raise RecipeError(f"inputs.{name}: the model has no such input{hint}; it has {', '.join(names)}")


def _fix(spec: TensorSpec, batch_size: BatchSize, config: Input) -> TensorSpec:
    if spec.dtype == "string":
        raise SourceError(
            f"input {spec.name!r} takes text, which no quantized model supports: convert the part of the model after it"
        )
    shape = config.known_shape(spec.shape)
    if shape is not None and shape[:1] == (None,) and batch_size != "dynamic":
        shape = (batch_size, *shape[1:])
    if shape is None or None in shape[1:]:
        shown = "an unknown number of dimensions" if shape is None else f"the shape {brackets(shape)}"
        raise RecipeError(
            f"inputs.{spec.name}.shape is needed: the model's signature gives this input {shown}, but a .tflite file"
            f" needs known sizes; for example shape: {_example(shape, batch_size)} with your own sizes"
        )
    _refuse_mismatch(spec, shape)
    return TensorSpec(spec.name, spec.dtype, shape)


def _example(shape: tuple[int | None, ...] | None, batch_size: BatchSize) -> str:
    sizes = ["null" if batch_size == "dynamic" else str(batch_size), *(str(size or 64) for size in (shape or ())[1:])]
    return f"[{', '.join(sizes)}]"


def _batched(specs: Iterable[TensorSpec]) -> tuple[TensorSpec, ...]:
    """Return the inputs, and set `is_batched` if all have the same first dimension and it is not their only one."""
    fixed = tuple(specs)
    shapes = [spec.shape or () for spec in fixed]
    is_batched = len({shape[:1] for shape in shapes}) == 1 and all(
        len(shape) > 1 or shape in ((1,), (None,)) for shape in shapes
    )
    return tuple(replace(spec, is_batched=is_batched) for spec in fixed)


def _refuse_mismatch(spec: TensorSpec, shape: tuple[int | None, ...]) -> None:
    fits = spec.shape is None or (
        len(shape) == len(spec.shape)
        and all(None in (size, known) or size == known for size, known in zip(shape, spec.shape, strict=True))
    )
    if not fits:
        raise RecipeError(
            f"inputs.{spec.name}.shape: {brackets(shape)} does not fit the model's {brackets(spec.shape or ())}"
        )
