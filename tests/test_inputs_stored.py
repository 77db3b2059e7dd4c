from __future__ import annotations

import gc
from pathlib import Path

import numpy as np
import pytest
from observing import nothing

from tflq.calibrate.samples import read_samples
from tflq.calibrate.schema import Calibration
from tflq.datasets import Sample, TensorSpec
from tflq.errors import DatasetError
from tflq.inputs.stored import RowWriter, StoredRows
from tflq.sources.prepared import PreparedSource
from tflq.sources.saved_model import SavedModel

RNG = np.random.default_rng(0)


def rows(count: int) -> list[Sample]:
    return [
        {"image": RNG.random((2, 3)).astype(np.float32), "id": np.asarray(number, np.int64)} for number in range(count)
    ]


def write(folder: Path, samples: list[Sample]) -> StoredRows:
    with RowWriter(folder, "calibration") as writer:
        for sample in samples:
            writer.add(sample)
    return writer.stored


def test_what_was_written_is_read(tmp_path: Path) -> None:
    given = rows(7)
    stored = write(tmp_path / "deep/folder", given)
    assert stored.count == 7
    assert dict(stored.columns) == {"image": ("float32", (2, 3)), "id": ("int64", ())}
    for name, array in stored.arrays().items():
        np.testing.assert_array_equal(array, np.stack([sample[name] for sample in given]))


def test_columns_are_told_by_name_not_by_place(tmp_path: Path) -> None:
    first, second = rows(2)
    stored = write(tmp_path, [first, dict(reversed(second.items()))])
    np.testing.assert_array_equal(stored.arrays()["image"][1], second["image"])


def test_files_are_closed_whatever_happens(tmp_path: Path) -> None:
    with pytest.raises(KeyError, match="id"):
        write(tmp_path, [*rows(1), {"image": rows(1)[0]["image"]}])
    gc.collect()  # which would warn of a file that is open still


def test_calibration_samples_of_several_shapes_are_refused(tmp_path: Path) -> None:
    (tmp_path / "uneven.py").write_text(
        "import numpy as np\n\ndef rows():\n    for n in (2, 3):\n        yield {'x': np.ones(n, 'float32')}\n"
    )
    specs = (TensorSpec("x", "float32", (1, None)),)
    source = PreparedSource(SavedModel(saved_model=tmp_path), tmp_path, specs, specs, 0, 0)
    asked = Calibration.model_validate({"dataset": {"python": "uneven:rows"}}, context={"folder": tmp_path})
    with pytest.raises(DatasetError, match=r"calibration: samples of 'x' differ in shape, \[2\] and \[3\], so"):
        read_samples(nothing, asked, {}, source, tmp_path / "samples")
