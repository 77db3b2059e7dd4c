"""Ids in samples, such as tokens, for which a table of the model has no row."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from tflq.datasets import Sample
from tflq.errors import DatasetError
from tflq.flatbuffer import FileContent, Graph, Subgraph, edit, mapped_content, operator_options, read
from tflq.inputs.schema import Input
from tflq.interpreter import Runner
from tflq.leftovers import own_folder

POSITIONS: Mapping[str, tuple[int, int]] = {"GATHER": (0, 1), "EMBEDDING_LOOKUP": (1, 0)}
"""The ops that read rows of a table by ids, with the positions of table and ids."""
_LOGICAL = ("GREATER", "GREATER_EQUAL", "LESS", "LESS_EQUAL", "SELECT", "SELECT_V2")
_ARITHMETIC = ("ADD", "CAST", "FLOOR", "MAXIMUM", "MINIMUM", "MUL", "ROUND", "SUB")
_MOVING = ("CONCATENATION", "EXPAND_DIMS", "PACK", "RESHAPE", "SLICE", "SPLIT", "SQUEEZE", "STRIDED_SLICE", "UNPACK")
PASSING = frozenset((*_LOGICAL, *_ARITHMETIC, *_MOVING, "TRANSPOSE"))
"""The ops that ids may pass on their way to the table. What other ops compute is not taken from the data."""


@dataclass(frozen=True)
class IdTable:
    """A table of the model, whose rows are chosen by ids from the inputs."""

    ids: int
    """The tensor of the ids, as the table is read with them."""
    rows: int
    inputs: frozenset[int]
    """The inputs of the model that the ids come from."""
    operators: frozenset[int]
    """The ops between these inputs and the table."""


def id_tables(content: FileContent, graph: Graph) -> Iterator[IdTable]:
    """Yield the tables of the main graph of a float32 file whose rows are chosen by its inputs."""
    (main, *_) = graph.subgraphs
    (options, *_) = operator_options(content)
    for operator in main.operators:
        if operator.type not in POSITIONS:
            continue
        table, ids = (main.input(operator, position) for position in POSITIONS[operator.type])
        chosen = options[operator.index]
        if table is None or ids is None or not table.is_constant or chosen.get("batchDims"):
            continue
        origin = _origin(main, ids.index)
        if origin is not None and origin[0]:
            yield IdTable(ids.index, table.shape[chosen.get("axis") or 0], *origin)


def _origin(main: Subgraph, ids: int) -> tuple[frozenset[int], frozenset[int]] | None:
    """Return the inputs and the ops that the ids come from, or None if other ops than `PASSING` compute them."""
    writers = {index: operator for operator in main.operators for index in operator.outputs}
    seen, waiting, operators = set[int](), [ids], set[int]()
    while waiting:
        tensor = waiting.pop()
        if tensor < 0 or tensor in seen:
            continue
        seen.add(tensor)
        if (writer := writers.get(tensor)) is not None:
            if writer.type not in PASSING:
                return None
            operators.add(writer.index)
            waiting.extend(writer.inputs)
    return frozenset(seen & {*main.inputs}), frozenset(operators)


class IdCheck:
    """Finds the ids in the arrays of calls for which a table of the float32 file has no row."""

    def __init__(self, float32: Path, inputs: Mapping[str, Input]) -> None:
        content = mapped_content(float32)
        graph = read(content)
        self._tables = tuple(id_tables(content, graph))
        self._columns = {name: config.column for name, config in inputs.items()}
        if not self._tables:
            return
        (signature,) = graph.signatures
        self._names = {index: name for name, index in signature.inputs}
        model = edit.unpack(bytes(content))
        (subgraph, *_) = model.subgraphs
        needed = {index for table in self._tables for index in table.operators}
        subgraph.operators = [operator for index, operator in enumerate(subgraph.operators) if index in needed]
        edit.set_outputs(model, {str(table.ids): table.ids for table in self._tables})
        edit.drop_unused(model)
        with own_folder("tflq-ids-") as folder:
            file = Path(folder) / "ids.tflite"
            edit.write(model, file)
            self._run = Runner(file)

    def refuse(self, arrays: Sample, rows: Sequence[int], dataset: object) -> None:
        """Raise DatasetError if a table has no row for an id. `rows` are the rows of the dataset in this call."""
        found = self._run(arrays) if self._tables else {}
        for table in self._tables:
            ids = found[str(table.ids)].reshape(-1)
            places = np.flatnonzero((ids < 0) | (ids >= table.rows))
            if places.size:
                place = int(places[0])
                row = rows[min(place * len(rows) // ids.size, len(rows) - 1)]
                where = f"{dataset}: row {row}: {self._value(table, arrays, ids, place)}"
                raise DatasetError(
                    f"{where}, but the model has {table.rows:,} rows for ids, from 0 to {table.rows - 1:,}: correct the"
                    " data, or leave that row out"
                )

    def _value(self, table: IdTable, arrays: Sample, ids: np.ndarray, place: int) -> str:
        """Return which input has which id. An id may have been changed on its way to the table."""
        names = [self._names[index] for index in sorted(table.inputs)]
        same = [name for name in names if arrays[name].size == ids.size]
        name = (same or names)[0]
        value = arrays[name].reshape(-1)[place] if same else ids[place]
        column = self._columns.get(name) or name
        return f"input {name!r}{'' if column == name else f', column {column!r},'} holds the id {value:g}"
