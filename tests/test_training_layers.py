"""Every kind of layer, alone and with batch normalization, becomes int8 throughout by quantization-aware training."""

from __future__ import annotations

from typing import Any

import lessons
import numpy as np
import pytest
import tf_keras
from lessons import Lesson
from running import Recipes

from benchmarks.trainable import NAMES, network
from tflq.errors import ConversionError
from tflq.training.train import ENVIRONMENT
from tflq.worker import Task, Workers

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def learned(recipes: Recipes, tmp_path_factory: pytest.TempPathFactory) -> Any:
    folder = tmp_path_factory.mktemp("layers")
    images = np.random.default_rng(0).uniform(0, 1, (32, 8, 8, 1)).astype(np.float32)
    np.savez(folder / "images.npz", image=images, label=np.arange(32) % 10)
    rows = {"npz": str(folder / "images.npz")}
    section = {"techniques": ["quantize"], "dataset": rows, "label": "label", "epochs": 1, "batch_size": 16}
    paths = {}
    for name in NAMES:
        network(tf_keras, name, images).save(folder / f"{name}.h5")
        data = {"calibration": {"dataset": rows}, "evaluation": {"dataset": rows, "samples": 8}}
        paths[name] = recipes.write(str(folder / f"{name}.h5"), ["qat_int8"], training=section, **data)
    with Workers(folder / "log", None, lambda _: None) as workers:
        task = Task("learn", lessons.learn, (paths, folder), ConversionError, environment=ENVIRONMENT)
        return workers.run(task).value


@pytest.mark.parametrize("name", NAMES)
def test_the_file_is_int8_throughout(learned: dict[str, Lesson | str], name: str) -> None:
    lesson = learned[name]
    assert isinstance(lesson, Lesson), lesson
    file = lesson.files["quantized"]
    assert [fault.message for fault in file.verified.violations if fault.severity == "error"] == []
    assert {weights.dtype for weights in file.weights} == {"int8"}
    assert lesson.trained.left_in_float == ()
