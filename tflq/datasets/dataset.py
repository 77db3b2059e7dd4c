"""The section of a recipe that describes a dataset: one of the kinds, named by its first key."""

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
        raise ValueError(f"a dataset is a mapping with one of the keys {', '.join(KINDS)}")
    kinds = _kinds_of(value)
    if len(kinds) > 1:
        raise ValueError(f"a dataset is of one kind, but both {' and '.join(kinds)} are given")
    if not kinds:
        hints = filter(None, (did_you_mean(str(key), KINDS) for key in value))
        raise ValueError(f"which kind of dataset? Give one of the keys {', '.join(KINDS)}{next(hints, '')}")
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
    Field(description="Where rows come from; the first key names the kind."),
]
