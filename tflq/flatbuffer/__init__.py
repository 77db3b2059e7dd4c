"""Read a .tflite file as a Graph of frozen values, without TensorFlow."""

from tflq.flatbuffer.graph import (
    ABSENT,
    BlockScales,
    Graph,
    Metadata,
    Operator,
    Quantization,
    Signature,
    Subgraph,
    Tensor,
)
from tflq.flatbuffer.inventory import (
    CONVERSIONS,
    OperatorCount,
    OperatorKind,
    float_operators,
    operator_counts,
    size_by_dtype,
    stored_constants,
)
from tflq.flatbuffer.mapped import mapped, mapped_content
from tflq.flatbuffer.options import Options, operator_options
from tflq.flatbuffer.output_ranges import integers_of, output_ranges
from tflq.flatbuffer.overwrite import with_constants
from tflq.flatbuffer.reader import FileContent, file_bytes, load, op_types, read
from tflq.flatbuffer.real_values import has_real_values, real_values
from tflq.flatbuffer.roles import MOVING, ROLES, WEIGHT_POSITIONS, Roles
from tflq.flatbuffer.sparse import SparseWeights, densified, has_sparse_integers, sparse_weights
from tflq.flatbuffer.weights import Weights, weights

__all__ = [
    "ABSENT",
    "CONVERSIONS",
    "MOVING",
    "ROLES",
    "WEIGHT_POSITIONS",
    "BlockScales",
    "FileContent",
    "Graph",
    "Metadata",
    "Operator",
    "OperatorCount",
    "OperatorKind",
    "Options",
    "Quantization",
    "Roles",
    "Signature",
    "SparseWeights",
    "Subgraph",
    "Tensor",
    "Weights",
    "densified",
    "file_bytes",
    "float_operators",
    "has_real_values",
    "has_sparse_integers",
    "integers_of",
    "load",
    "mapped",
    "mapped_content",
    "op_types",
    "operator_counts",
    "operator_options",
    "output_ranges",
    "read",
    "real_values",
    "size_by_dtype",
    "sparse_weights",
    "stored_constants",
    "weights",
    "with_constants",
]
