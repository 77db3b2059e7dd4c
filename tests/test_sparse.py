"""`sparse: on` stores weights with many zeros sparsely. The answers stay the same; the report says what it saves."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from running import Ran, Recipes

from tflq.flatbuffer import densified, edit, has_sparse_integers, read

PLAIN = {"bias_correction": "off"}


@pytest.fixture(scope="module")
def pruned(tmp_path_factory: pytest.TempPathFactory, recipes: Recipes) -> Path:
    """The float32 file of a model with weights of which nine in ten are zero."""
    ran = recipes.run("tiny_conv", ["float32"])
    model = edit.unpack(ran.file("float32").read_bytes())
    subgraph = model.subgraphs[0]
    for number, operator in enumerate(subgraph.operators):
        if edit.type_of(model.operatorCodes[operator.opcodeIndex]) in ("CONV_2D", "FULLY_CONNECTED"):
            tensor = subgraph.tensors[operator.inputs[1]]
            values = np.frombuffer(bytes(model.buffers[tensor.buffer].data), np.float32).reshape(tensor.shape).copy()
            values[np.abs(values) < np.quantile(np.abs(values), 0.9)] = 0
            edit.set_constant(model, (number, 1), values)
    path = tmp_path_factory.mktemp("pruned") / "pruned.tflite"
    edit.write(model, path)
    return path


@pytest.fixture(scope="module")
def ran(recipes: Recipes, pruned: Path) -> Ran:
    variants: list[Any] = ["float32", {"mode": "int8", **PLAIN}]
    variants += [
        {"mode": "float32", "name": "sparse_float32", "sparse": "on"},
        {"mode": "int8", "name": "sparse_int8", "sparse": "on", "keep_int16": ["ADD"], **PLAIN},
        {"mode": "int8", "name": "dense_int8", "keep_int16": ["ADD"], **PLAIN},
        {"mode": "int8", "name": "corrected", "sparse": "on", "bias_correction": "on"},
    ]
    return recipes.run("tiny_conv", variants, model=str(pruned))


def size(ran: Ran, name: str) -> int:
    return ran.file(name).stat().st_size


def sqnr(ran: Ran, name: str) -> float | None:
    measured = ran.variant(name).measured
    assert measured is not None
    (output,) = measured.fidelity.values()
    return output.sqnr_db


def test_sparse_files_are_smaller_and_answer_as_dense_ones(ran: Ran) -> None:
    assert set(ran.codes.values()) == {0}
    assert size(ran, "sparse_float32") < 0.6 * size(ran, "float32")
    assert size(ran, "sparse_int8") < size(ran, "dense_int8")
    assert sqnr(ran, "sparse_float32") is None
    sparse, dense = sqnr(ran, "sparse_int8"), sqnr(ran, "dense_int8")
    assert sparse is not None
    assert dense is not None
    assert sparse > dense - 3  # other kernels round otherwise


@pytest.mark.parametrize(("sparse", "dense"), [("sparse_float32", "float32"), ("sparse_int8", "dense_int8")])
def test_constants_are_those_of_the_dense_file(ran: Ran, sparse: str, dense: str) -> None:
    (ours,), (theirs,) = read(densified(ran.file(sparse).read_bytes())).subgraphs, ran.graph(dense).subgraphs
    assert [op.type for op in ours.operators] == [op.type for op in theirs.operators]
    for op, twin in zip(ours.operators, theirs.operators, strict=True):
        for one, other in zip(ours.read_by(op), theirs.read_by(twin), strict=True):
            assert one.dtype == other.dtype
            if other.is_constant:
                np.testing.assert_array_equal(np.asarray(one.data), np.asarray(other.data))


def test_report_says_what_is_sparse_and_what_it_needs(ran: Ran) -> None:
    by_name = {variant["name"]: variant for variant in ran.report["variants"]}
    first = by_name["sparse_float32"]["sparse_weights"][1]
    assert (first["op"], first["dtype"], first["shape"]) == ("CONV_2D", "float32", [16, 3, 3, 16])
    assert first["zeros"] == pytest.approx(0.9, abs=0.01)
    assert first["size_bytes"] + first["saved_bytes"] == 4 * 16 * 3 * 3 * 16
    assert by_name["float32"]["sparse_weights"] == []
    assert "## Sparse weights" in ran.page
    warnings = {name: [each["rule"] for each in variant["violations"]] for name, variant in by_name.items()}
    assert "V17" in warnings["sparse_int8"]
    assert "V17" not in warnings["sparse_float32"]
    assert [need[:22] for need in by_name["sparse_int8"]["needs"]] == ["an interpreter without"]
    assert by_name["sparse_float32"]["needs"] == []
    assert "- **sparse_int8** needs an interpreter without LiteRT's default delegate (XNNPACK)" in ran.page
    assert has_sparse_integers(ran.file("sparse_int8"))
    assert not has_sparse_integers(ran.file("sparse_float32"))


def test_file_without_zeros_is_told(recipes: Recipes) -> None:
    ran = recipes.run("tiny_dense", [{"mode": "float32", "sparse": "on"}])
    (violation,) = ran.variant("float32").violations
    assert violation.message == (
        "stores nothing sparsely, though sparse is on: no weights have enough zeros. Prune the model first"
    )
