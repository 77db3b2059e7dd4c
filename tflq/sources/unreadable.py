"""Tell of a model that TensorFlow or Keras cannot read with its path, and in words, whatever exception they raise."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tflq.errors import SourceError

UNREADABLE = (
    LookupError,
    ValueError,
    TypeError,
    AttributeError,
    ArithmeticError,
    AssertionError,
    RuntimeError,
    OSError,
)
"""The exceptions of Python code that reads a damaged model. TensorFlow has exceptions of its own beside these."""
HDF5 = ("Unable to synchronously", "Can't get", "truncated file")
"""Parts of HDF5's messages about a damaged file."""
UNKNOWN_CLASS = re.compile(r"(?:Could not locate (?:class|function)|Unknown (?:layer|activation function):) '?(\w+)")
"""The start of the messages of Keras 3 and Keras 2 about a class or a function that they do not have."""
MAX_LENGTH = 400


@contextmanager
def read_by_tensorflow(path: Path) -> Iterator[None]:
    """Turn an exception inside the context into a SourceError with the path of the model."""
    import tensorflow as tf

    try:
        yield
    except (*UNREADABLE, tf.errors.OpError) as error:
        raise cannot_load(path, error) from error


def cannot_load(path: Path, error: BaseException) -> SourceError:
    """Return the error to raise for an exception of TensorFlow."""
    return SourceError(f"{path}: TensorFlow cannot load it: {_in_words(error)}")


def _in_words(error: BaseException) -> str:
    """Return the message as a clause. A KeyError has only the key as its message."""
    text = " ".join(str(error).split())[:MAX_LENGTH]
    if isinstance(error, KeyError):
        return f"it refers to {text}, which it does not have, so it may be damaged"
    return text or "its graph is damaged"


def is_damage(error: BaseException) -> bool:
    """Return whether a part of a Keras file is certainly damaged."""
    return isinstance(error, json.JSONDecodeError) or any(text in str(error) for text in HDF5)


def unknown_class(reason: str) -> str | None:
    """Return what to do if Keras lacks a class or a function of the model; None if the reason is another."""
    found = UNKNOWN_CLASS.match(reason)
    if found is None:
        return None
    return (
        f"{found[1]!r} is not a part of Keras but code of your own, which tflq does not run: load the model where this"
        " code is, write it with model.export(FOLDER), and give saved_model: FOLDER"
    )
