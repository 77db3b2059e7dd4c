"""The section of a recipe that describes a dataset: a mapping of one of the kinds."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BeforeValidator, Discriminator, Field, Tag

from tflq.datasets.images import Images
from tflq.datasets.npz import Npz
from tflq.datasets.python import Python
from tflq.datasets.random import Random
from tflq.datasets.tfds import Tfds
from tflq.datasets.tfrecord import TFRecord
from tflq.strict import Strict, did_you_mean

KINDS = ("tfds", "npz", "images", "tfrecord", "python", "random")


def _kinds_of(value: Any) -> list[str]:
    keys = value if isinstance(value, dict) else vars(value) if isinstance(value, Strict) else ()
    return [kind for kind in KINDS if kind in keys]


def _of_one_kind(value: Any) -> Any:
    if isinstance(value, Strict):
        return value
    if not isinstance(value, dict):
        raise ValueError(f"should be a mapping with one of the keys {', '.join(KINDS)}")
    kinds = _kinds_of(value)
    if len(kinds) > 1:
        raise ValueError(f"{' and '.join(kinds)} are both given: keep the key of one kind of dataset")
    if not kinds:
        hints = filter(None, (did_you_mean(str(key), KINDS) for key in value))
        raise ValueError(f"the kind of dataset is missing: give one of the keys {', '.join(KINDS)}{next(hints, '')}")
    return value


def _tag(value: Any) -> str:
    return f"<{_kinds_of(value)[0]}>"


Dataset = Annotated[
    Annotated[Tfds, Tag("<tfds>")]
    | Annotated[Npz, Tag("<npz>")]
    | Annotated[Images, Tag("<images>")]
    | Annotated[TFRecord, Tag("<tfrecord>")]
    | Annotated[Python, Tag("<python>")]
    | Annotated[Random, Tag("<random>")],
    Discriminator(_tag),
    BeforeValidator(_of_one_kind),
    Field(description="The dataset. One of its keys names the kind."),
]
