"""The dtypes in which each op computes. `python -m benchmarks.op_dtypes` writes this file; do not edit it."""

from __future__ import annotations

MADE_WITH = {"tensorflow": "2.21.0", "ai-edge-litert": "2.3.0"}
"""The versions that the table is of."""

OPS = """
ABS                           runs    runs    runs
ADD                           runs    runs    runs
ADD_N                         runs    float   float
ARG_MAX                       runs    runs    float
ARG_MIN                       runs    runs    float
ATAN2                         runs    float   float
AVERAGE_POOL_2D               runs    runs    runs
BATCH_MATMUL                  runs    runs    runs
BATCH_TO_SPACE_ND             runs    runs    runs
BROADCAST_TO                  runs    runs    runs
CAST                          runs    float   float
CEIL                          runs    float   float
CONCATENATION                 runs    runs    runs
CONV_2D                       runs    runs    runs
CONV_3D                       runs    float   float
CONV_3D_TRANSPOSE             runs    float   float
COS                           runs    float   float
CUMSUM                        runs    float   float
DEPTHWISE_CONV_2D             runs    runs    runs
DEPTH_TO_SPACE                runs    runs    float
DIV                           runs    runs    float
DYNAMIC_UPDATE_SLICE          runs    float   float
ELU                           runs    float   float
EMBEDDING_LOOKUP              runs    runs    float
EQUAL                         runs    runs    runs
EXP                           runs    runs    runs
EXPAND_DIMS                   runs    runs    runs
FILL                          runs    runs    runs
FLOOR                         runs    float   float
FLOOR_DIV                     runs    float   float
FLOOR_MOD                     runs    float   float
FULLY_CONNECTED               runs    runs    runs
GATHER                        runs    runs    runs
GATHER_ND                     runs    runs    runs
GELU                          runs    runs    runs
GREATER                       runs    runs    runs
GREATER_EQUAL                 runs    runs    runs
HARD_SWISH                    runs    runs    float
L2_NORMALIZATION              runs    runs    float
L2_POOL_2D                    runs    float   float
LEAKY_RELU                    runs    runs    runs
LESS                          runs    runs    runs
LESS_EQUAL                    runs    runs    runs
LOCAL_RESPONSE_NORMALIZATION  runs    float   float
LOG                           runs    runs    runs
LOGISTIC                      runs    runs    runs
LOG_SOFTMAX                   runs    runs    float
MATRIX_DIAG                   runs    runs    float
MATRIX_SET_DIAG               runs    runs    float
MAXIMUM                       runs    runs    runs
MAX_POOL_2D                   runs    runs    runs
MEAN                          runs    runs    runs
MINIMUM                       runs    runs    runs
MIRROR_PAD                    runs    runs    runs
MUL                           runs    runs    runs
NEG                           runs    runs    runs
NOT_EQUAL                     runs    runs    runs
ONE_HOT                       runs    runs    float
PACK                          runs    runs    runs
PAD                           runs    runs    runs
PADV2                         runs    runs    fails
POW                           runs    float   float
PRELU                         runs    runs    float
REDUCE_MAX                    runs    runs    runs
REDUCE_MIN                    runs    runs    runs
REDUCE_PROD                   runs    runs    runs
RELU                          runs    runs    runs
RELU6                         runs    runs    runs
RELU_0_TO_1                   runs    runs    float
RELU_N1_TO_1                  runs    runs    float
RESHAPE                       runs    runs    runs
RESIZE_BILINEAR               runs    runs    runs
RESIZE_NEAREST_NEIGHBOR       runs    runs    runs
REVERSE_SEQUENCE              runs    fails   float
REVERSE_V2                    runs    runs    runs
ROUND                         runs    float   float
RSQRT                         runs    runs    runs
SCATTER_ND                    runs    runs    fails
SEGMENT_SUM                   runs    float   float
SELECT                        runs    runs    runs
SELECT_V2                     runs    runs    runs
SIGN                          runs    float   float
SIN                           runs    float   float
SLICE                         runs    runs    runs
SOFTMAX                       runs    runs    runs
SPACE_TO_BATCH_ND             runs    runs    runs
SPACE_TO_DEPTH                runs    runs    float
SPARSE_TO_DENSE               runs    runs    float
SPLIT                         runs    runs    runs
SPLIT_V                       runs    runs    runs
SQRT                          runs    runs    float
SQUARE                        runs    float   float
SQUARED_DIFFERENCE            runs    runs    fails
SQUEEZE                       runs    runs    runs
STRIDED_SLICE                 runs    runs    runs
SUB                           runs    runs    runs
SUM                           runs    runs    runs
TANH                          runs    runs    runs
TILE                          runs    runs    runs
TOPK_V2                       runs    runs    float
TRANSPOSE                     runs    runs    runs
TRANSPOSE_CONV                runs    runs    runs
UNIDIRECTIONAL_SEQUENCE_LSTM  runs    runs    fails
UNPACK                        runs    runs    runs
UNSORTED_SEGMENT_MAX          runs    float   float
UNSORTED_SEGMENT_MIN          runs    float   float
UNSORTED_SEGMENT_PROD         runs    float   float
UNSORTED_SEGMENT_SUM          runs    float   float
ZEROS_LIKE                    runs    runs    runs
"""
"""One op a line: its type, then a word for each of float32, int8 and int16.

`runs`: the quantizer writes it, and LiteRT runs it. `fails`: the quantizer writes it, and LiteRT cannot run it.
`float`: the quantizer leaves it in float. `none`: LiteRT has no such kernel.
"""
