"""The inputs of ops: the positions of activation, weights and bias, and the ops that only move values."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType


@dataclass(frozen=True)
class Roles:
    """The positions among the inputs of an operator with weights."""

    activation: int
    weights: int
    bias: int
    channels: int
    """The dimension of the weights that holds the output channels."""


ROLES: Mapping[str, Roles] = MappingProxyType(
    {
        "CONV_2D": Roles(0, 1, 2, channels=0),
        "DEPTHWISE_CONV_2D": Roles(0, 1, 2, channels=3),
        "FULLY_CONNECTED": Roles(0, 1, 2, channels=0),
        "TRANSPOSE_CONV": Roles(2, 1, 3, channels=0),
        "CONV_3D": Roles(0, 1, 2, channels=4),
    }
)
"""The positions by operator type. Other operators have no weights, or several weight tensors."""

WEIGHT_POSITIONS: Mapping[str, tuple[int, ...]] = MappingProxyType(
    {
        **{type_: (roles.weights,) for type_, roles in ROLES.items()},
        "BATCH_MATMUL": (1,),
        "GATHER": (0,),
        "EMBEDDING_LOOKUP": (1,),
        "UNIDIRECTIONAL_SEQUENCE_LSTM": (*range(1, 9), 16),
    }
)
"""The positions of all weights, by operator type, also of operators with several weight tensors."""

MOVING = frozenset(
    ("EXPAND_DIMS", "GATHER", "RESHAPE", "REVERSE_V2", "SLICE", "SQUEEZE", "STRIDED_SLICE", "TILE", "TRANSPOSE")
)
"""Ops that only move the values of their first input, so that integers are moved like floats."""
