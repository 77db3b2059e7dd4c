"""A small transformer with a padding mask, and what 16-bit files make of it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from ai_edge_litert import schema_py_generated as schema

from tests.running import Ran, Recipes
from tflq.conversion.sum_ranges import widen_sums
from tflq.flatbuffer import edit

IN_FLOAT = {"CAST", "SQUARED_DIFFERENCE"}
BUILTINS = schema.BuiltinOperator


def test_tensors_before_a_sum_get_its_range() -> None:
    """A RESHAPE has one scale, and a SUM the scale of its input, so the sum would be clipped."""
    ranges = [(0.0, 2.0), (0.0, 1.0), (0.0, 1.0), (0.0, 12.0)]
    tensors = [schema.TensorT(name=b"t", shape=[1, 12], quantization=schema.QuantizationParametersT()) for _ in ranges]
    codes = [schema.OperatorCodeT(builtinCode=kind) for kind in (BUILTINS.ABS, BUILTINS.RESHAPE, BUILTINS.SUM)]
    operators = [schema.OperatorT(opcodeIndex=i, inputs=[i], outputs=[i + 1]) for i in range(3)]
    graph = schema.SubGraphT(tensors=tensors, inputs=[0], outputs=[3], operators=operators)
    model = schema.ModelT(operatorCodes=codes, subgraphs=[graph], buffers=[schema.BufferT()])
    for index, ends in enumerate(ranges):
        edit.set_range(model, (0, index), *ends)
    widen_sums(model)
    assert [edit.range_of(tensor) for tensor in tensors] == [(0, 2), (0, 12), (0, 12), (0, 12)]


@pytest.fixture(scope="module")
def ran(recipes: Recipes, tmp_path_factory: pytest.TempPathFactory) -> Ran:
    folder = tmp_path_factory.mktemp("transformer")
    _save_transformer(folder / "transformer.keras")
    data = {"npz": str(_save_ids(folder / "tokens.npz"))}
    keys = {"calibration": {"dataset": data}, "evaluation": {"dataset": data}}
    return recipes.run(str(folder / "transformer.keras"), ["int8", "int8_only", "int16x8", "int16x8_only"], **keys)


def _save_ids(path: Path) -> Path:
    random = np.random.default_rng(0)
    ids, lengths = random.integers(1, 50, (40, 12)), random.integers(4, 13, (40, 1))
    np.savez(path, tokens=np.where(np.arange(12) < lengths, ids, 0))
    return path


def _save_transformer(path: Path) -> None:
    import keras
    from keras import layers, ops

    keras.utils.set_random_seed(0)
    ids = keras.Input((12,), dtype="int32", name="tokens")
    mask = ops.not_equal(ids, 0)
    x = layers.Embedding(50, 32)(ids)
    y = layers.LayerNormalization()(x)
    x = x + layers.MultiHeadAttention(4, 8)(y, y, attention_mask=mask[:, None, :])
    y = layers.Dense(64, activation="gelu")(layers.LayerNormalization()(x))
    weights = ops.cast(mask, "float32")[..., None]
    x = ops.sum((x + layers.Dense(32)(y)) * weights, 1) / ops.maximum(ops.sum(weights, 1), 1.0)
    keras.Model(ids, layers.Dense(4)(x)).save(path)


@pytest.mark.slow
class TestTransformer:
    def test_has_files_with_fallback(self, ran: Ran) -> None:
        assert ran.codes == {"int8": 0, "int8_only": 6, "int16x8": 0, "int16x8_only": 6}
        worst = {name: min(o.sqnr_db for o in ran.variant(name).measured.fidelity.values()) for name in ran.codes}
        assert worst["int8"] > 20
        assert worst["int16x8"] > 40

    def test_leaves_in_float_what_has_no_kernel(self, ran: Ran) -> None:
        assert {op.type for op in ran.variant("int16x8").file.float_ops} == IN_FLOAT | {"DIV"}
        assert {op.type for op in ran.variant("int8_only").file.float_ops} == {"CAST"}

    def test_strict_mode_names_all_ops_with_remedies(self, ran: Ran) -> None:
        violations = [each for each in ran.variant("int16x8_only").violations if each.rule == "V11"]
        said = [f"{violation.where} {violation.message}" for violation in violations]
        assert {words.split()[0] for words in said} == IN_FLOAT | {"DIV"}
        assert all(";" in words.split(" in float: ")[1] for words in said)
        assert all(type_ in ran.variant("int16x8_only").why for type_ in IN_FLOAT)
