"""The built-in options of the operators of a .tflite file, such as strides and padding."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from ai_edge_litert import schema_py_generated as schema

from tflq.errors import EvaluationError
from tflq.flatbuffer.reader import DECODING_ERRORS, FileContent

Options = Mapping[str, Any]
"""The names and values of the options, as the schema names them."""


def operator_options(data: FileContent) -> tuple[tuple[Options, ...], ...]:
    """Return the options of each operator of each subgraph of a .tflite file. EvaluationError if they are damaged.

    An operator without options, or with options that this version of the schema does not know, has none.
    """
    try:
        return _of_all(data)
    except DECODING_ERRORS as error:
        raise EvaluationError("the options of an operator are damaged. Convert or copy the file again") from error


def _of_all(data: FileContent) -> tuple[tuple[Options, ...], ...]:
    model = schema.Model.GetRootAs(data)
    subgraphs = (model.Subgraphs(index) for index in range(model.SubgraphsLength()))
    return tuple(
        tuple(_options(subgraph.Operators(index)) for index in range(subgraph.OperatorsLength()))
        for subgraph in subgraphs
    )


def _options(packed: Any) -> Options:
    unpacked = (
        schema.BuiltinOptionsCreator(packed.BuiltinOptionsType(), packed.BuiltinOptions()),
        schema.BuiltinOptions2Creator(packed.BuiltinOptions2Type(), packed.BuiltinOptions2()),
    )
    return {key: _plain(value) for options in unpacked if options is not None for key, value in vars(options).items()}


def _plain(value: Any) -> Any:
    return value.tolist() if isinstance(value, np.ndarray) else value
