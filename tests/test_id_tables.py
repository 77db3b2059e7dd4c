"""Ids in the data for which the model has no row."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tests.running import Recipes
from tflq.errors import DatasetError
from tflq.id_tables import IdCheck
from tflq.inputs.schema import Input

RIGHT = np.arange(60).reshape(12, 5) % 20


@pytest.fixture
def float32(recipes: Recipes) -> Path:
    return recipes.run("embedding", ["float32"], calibration=None).file("float32")


def with_id(folder: Path, row: int, value: int) -> dict[str, str]:
    ids = RIGHT.copy()
    ids[row, 2] = value
    np.savez(folder / f"{value}.npz", ids=ids)
    return {"npz": str(folder / f"{value}.npz")}


def test_names_input_column_value_and_limit(float32: Path) -> None:
    check = IdCheck(float32, {"ids": Input(column="tokens")})
    check.refuse({"ids": RIGHT[:1].astype(np.int32)}, [7], "data.npz")
    for value in (20, -1):
        with pytest.raises(DatasetError) as raised:
            check.refuse({"ids": np.array([[0, 1, value, 3, 4]], np.int32)}, [7], "data.npz")
        assert str(raised.value) == (
            f"data.npz: row 7: input 'ids', column 'tokens', holds the id {value}, but the model has 20 rows for ids,"
            " from 0 to 19: correct the data, or leave that row out"
        )


def test_ids_of_calibration_and_evaluation(recipes: Recipes, tmp_path: Path) -> None:
    calibration, evaluation = with_id(tmp_path, 9, 20), with_id(tmp_path, 4, 33)
    ran = recipes.run(
        "embedding", ["dynamic", "int8"], calibration={"dataset": calibration}, evaluation={"dataset": evaluation}
    )
    assert ran.codes == {"dynamic": 4, "int8": 4}
    assert "20.npz: row 9: input 'ids' holds the id 20" in str(ran.variant("int8").error)
    assert "33.npz: row 4: input 'ids' holds the id 33" in str(ran.variant("dynamic").error)


def test_id_of_the_first_row_ends_the_run(recipes: Recipes, tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match=r"40\.npz: row 0: input 'ids' holds the id 40"):
        recipes.run("embedding", ["dynamic"], calibration=None, evaluation={"dataset": with_id(tmp_path, 0, 40)})


def test_a_model_without_tables_is_not_run(recipes: Recipes) -> None:
    IdCheck(recipes.run("with_sin", ["float32"], calibration=None).file("float32"), {}).refuse({}, [0], "data.npz")
