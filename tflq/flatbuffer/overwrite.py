"""Write other values of constants into the bytes of a file. Nothing else of the file changes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping

import numpy as np

from tflq.flatbuffer import edit
from tflq.flatbuffer.reader import FileContent, read


def with_constants(content: FileContent, values: Mapping[tuple[int, int], np.ndarray]) -> bytes:
    """Return the file with other values of constants that ops of the first subgraph read: float32, int8 or int32.

    `values` has as many values as the constant, by the index of the op and the position among its inputs. If other
    tensors or ops share a constant, they keep the old values.
    """
    copy = bytearray(content)
    graph = read(copy)
    subgraph = graph.subgraphs[0]
    readers = Counter(index for operator in subgraph.operators for index in operator.inputs)
    sharing = Counter(tensor.buffer for each in graph.subgraphs for tensor in each.tensors)
    for (operator, position), array in values.items():
        tensor = subgraph.tensors[subgraph.operators[operator].inputs[position]]
        if readers[tensor.index] > 1 or sharing[tensor.buffer] > 1 or tensor.data is None:
            return _rebuilt(content, values)
        tensor.data.reshape(-1)[:] = array.reshape(-1)
    return bytes(copy)


def _rebuilt(content: FileContent, values: Mapping[tuple[int, int], np.ndarray]) -> bytes:
    model = edit.unpack(bytes(content))
    for place, array in values.items():
        edit.set_constant(model, place, array)
    return edit.pack(model)
