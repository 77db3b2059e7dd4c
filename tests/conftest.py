"""Small models and data, made once a session, and what all modes make of one of them.

The processes among which pytest-xdist shares out the tests are one session here: they share models.
"""

from __future__ import annotations

import fcntl
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from running import MODES, Ran, Recipes

from tflq.worker import ENVIRONMENT, preload_tensorflow

HERE = Path(__file__).parent
FOREIGN = (
    *("MAKEFLAGS", "MAKELEVEL", "MAKEOVERRIDES", "MFLAGS"),
    *("COLUMNS", "LINES", "NO_COLOR", "FORCE_COLOR", "TTY_COMPATIBLE", "TTY_INTERACTIVE", "TERM"),
    *("TFLQ_CACHE_GB", "TFDS_DATA_DIR", "TF_USE_LEGACY_KERAS", *ENVIRONMENT),
)
"""What a shell, a terminal, a make or a CI service may have set, and what TensorFlow and tflq listen to."""


def pytest_configure(config: pytest.Config) -> None:
    """How the tests go is not for the environment of whoever runs them to decide; before anything reads it."""
    patch = pytest.MonkeyPatch()
    for name in FOREIGN:
        patch.delenv(name, raising=False)
    config.add_cleanup(patch.undo)
    if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:  # as in what a script runs in the background
        config.add_cleanup(partial(signal.signal, signal.SIGINT, signal.SIG_IGN))
        signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_collection_finish(session: pytest.Session) -> None:
    """Where models will be converted, workers are to have TensorFlow for nothing, also those of tests before."""
    if any("models" in item.fixturenames for item in session.items if isinstance(item, pytest.Function)):
        preload_tensorflow()


@pytest.fixture(scope="session", autouse=True)
def own_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """No test finds or leaves anything in the cache of whoever runs them."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TFLQ_CACHE_DIR", str(tmp_path_factory.mktemp("cache")))
        yield


def made_once(factory: pytest.TempPathFactory, name: str, make: Callable[[Path], None]) -> Path:
    """The folder of that name, which the first process of the session that asks for it makes; others wait."""
    base = factory.getbasetemp()
    shared = base.parent if "PYTEST_XDIST_WORKER" in os.environ else base
    folder, unfinished = shared / name, shared / f"{name}.unfinished"
    with (shared / f"{name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not folder.exists():
            unfinished.mkdir()
            make(unfinished)
            unfinished.rename(folder)
    return folder


def run_script(name: str, folder: Path) -> None:
    made = subprocess.run([sys.executable, HERE / name, folder], capture_output=True, text=True, check=False)
    assert made.returncode == 0, made.stderr


@pytest.fixture(scope="session")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of all models of models.py; the process that makes them costs seconds, each model little."""
    return made_once(tmp_path_factory, "models", partial(run_script, "models.py"))


@pytest.fixture(scope="session")
def planted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of models_planted.py: models, and their data."""
    preload_tensorflow()
    return made_once(tmp_path_factory, "planted", partial(run_script, "models_planted.py"))


@pytest.fixture(scope="session")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of .npz files with 24 rows each: vectors, pairs, images with labels, pixels, ids, sequences."""
    folder, random = tmp_path_factory.mktemp("data"), np.random.default_rng(1)
    images = random.normal(0, 1, (24, 8, 8, 3)).astype(np.float32)
    vectors = random.normal(0, 1, (24, 16)).astype(np.float32)
    labels = random.integers(0, 4, 24)
    np.savez(folder / "images.npz", image=images, label=labels)
    np.savez(folder / "vectors.npz", x=vectors, label=labels)
    np.savez(folder / "pairs.npz", zeta=vectors, alpha=vectors[::-1])
    np.savez(folder / "pixels.npz", image=random.integers(0, 256, (24, 8, 8, 3), np.uint8))
    np.savez(folder / "ids.npz", ids=random.integers(0, 20, (24, 5)))
    np.savez(folder / "sequences.npz", x=random.normal(0, 1, (24, 6, 8)).astype(np.float32))
    return folder


@pytest.fixture(scope="session")
def recipes(tmp_path_factory: pytest.TempPathFactory, models: Path, data: Path) -> Recipes:
    return Recipes(tmp_path_factory.mktemp("recipes"), models, data)


@pytest.fixture(scope="session")
def all_modes(recipes: Recipes, data: Path) -> Ran:
    """tiny_conv in every mode, scored."""
    rows = {"npz": str(data / "images.npz")}
    evaluation = {"dataset": rows, "samples": 12, "seed": 2, "label": "label", "metric": "top1"}
    return recipes.run("tiny_conv", MODES, evaluation=evaluation, latency={"runs": 3, "warmup": 1})
