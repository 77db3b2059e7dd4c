"""The shapes of a model's inputs: those that its signature leaves open are the recipe's to say."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Literal

from tflq.datasets import TensorSpec, brackets
from tflq.errors import RecipeError, SourceError
from tflq.inputs import Input
from tflq.strict import did_you_mean

BatchSize = int | Literal["dynamic"]


def fixed(specs: Iterable[TensorSpec], batch_size: BatchSize, inputs: Mapping[str, Input]) -> tuple[TensorSpec, ...]:
    """The inputs with every dimension but the batch known; RecipeError where the recipe does not say them all."""
    known = _batched(_fix(spec, batch_size, inputs.get(spec.name, Input())) for spec in specs)
    for spec in known:
        if spec.is_batched and batch_size not in (1, spec.batch or "dynamic"):
            raise RecipeError(
                f"model.batch_size: {batch_size} cannot be had: input {spec.name!r} takes {brackets(spec.shape or ())}"
                f" at a time, as the signature or inputs.{spec.name}.shape says; leave batch_size out"
            )
    return known


def refuse_strangers(inputs: Mapping[str, Input], specs: Iterable[TensorSpec]) -> None:
    """RecipeError where the recipe names an input that the model does not have."""
    names = [spec.name for spec in specs]
    for name in inputs:
        if name not in names:
            hint = did_you_mean(name, names)
            raise RecipeError(f"inputs.{name}: the model has no such input{hint}; it has {', '.join(names)}")


def _fix(spec: TensorSpec, batch_size: BatchSize, given: Input) -> TensorSpec:
    if spec.dtype == "string":
        raise SourceError(f"input {spec.name!r} takes text, which no quantized model can: convert what follows it")
    shape = given.shape or spec.shape
    if shape is not None and given.shape is None and given.size is not None:
        rows, columns = (1, 2) if given.layout == "nhwc" else (2, 3)
        shape = tuple(_sized(i, known, {rows: given.size[0], columns: given.size[1]}) for i, known in enumerate(shape))
    if shape is not None and shape[:1] == (None,) and batch_size != "dynamic":
        shape = (batch_size, *shape[1:])
    if shape is None or None in shape[1:]:
        has = "an unknown number of dimensions" if shape is None else f"the shape {brackets(shape)}"
        raise RecipeError(
            f"inputs.{spec.name}.shape is needed: the model's signature gives this input {has}, and a .tflite is made"
            f" for one; such as shape: {_example(shape, batch_size)} with the sizes that you will use"
        )
    _refuse_mismatch(spec, shape)
    return TensorSpec(spec.name, spec.dtype, shape)


def _example(shape: tuple[int | None, ...] | None, batch_size: BatchSize) -> str:
    sizes = ["null" if batch_size == "dynamic" else str(batch_size), *(str(size or 64) for size in (shape or ())[1:])]
    return f"[{', '.join(sizes)}]"


def _batched(specs: Iterable[TensorSpec]) -> tuple[TensorSpec, ...]:
    """The inputs, with whether their first dimension is a batch: where they share it, and it is not all they have."""
    known = tuple(specs)
    shapes = [spec.shape or () for spec in known]
    is_batched = len({shape[:1] for shape in shapes}) == 1 and all(
        len(shape) > 1 or shape in ((1,), (None,)) for shape in shapes
    )
    return tuple(replace(spec, is_batched=is_batched) for spec in known)


def _sized(index: int, known: int | None, sizes: Mapping[int, int]) -> int | None:
    return sizes.get(index) if known is None else known


def _refuse_mismatch(spec: TensorSpec, shape: tuple[int | None, ...]) -> None:
    fits = spec.shape is None or (
        len(shape) == len(spec.shape)
        and all(None in (given, known) or given == known for given, known in zip(shape, spec.shape, strict=True))
    )
    if not fits:
        raise RecipeError(
            f"inputs.{spec.name}.shape: {brackets(shape)} does not fit the model's {brackets(spec.shape or ())}"
        )
