"""A SavedModel that TensorFlow runs, and that its converter makes a file of without its weights, in silence.

Its module holds Keras variables. Saving makes copies of those: it is the copies that the checkpoint restores, while the
signature reads the originals, which the converter does not find.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from running import Ran, run_recipe

from tflq import flatbuffer, scores, verify
from tflq.errors import SourceError, TflqError
from tflq.evaluate.measuring import measure
from tflq.evaluate.plan import EvaluationPlan
from tflq.evaluate.record import Record
from tflq.evaluate.recorded import SOURCE
from tflq.evaluate.section import Evaluation
from tflq.interpreter import Runner
from tflq.modes import Float32
from tflq.sources.prepare import prepare
from tflq.sources.prepared import PreparedSource
from tflq.sources.saved_model import SavedModel
from tflq.worker import ProgressCallback, Task, Workers, preload_tensorflow

ROWS = np.random.default_rng(0).normal(0, 1, (8, 16)).astype(np.float32)


def save_trap(_: ProgressCallback, folder: Path) -> None:
    import keras
    import tensorflow as tf

    keras.utils.set_random_seed(0)
    net = keras.Sequential([keras.Input((16,)), keras.layers.Dense(64, "relu"), keras.layers.Dense(4)])
    module = tf.Module()
    module.variables_of_keras = net.variables
    serve = tf.function(lambda x: {"y": net(x)}, input_signature=[tf.TensorSpec((None, 16), tf.float32, "x")])
    tf.saved_model.save(module, str(folder), signatures=serve)


def convert_plainly(_: ProgressCallback, source: Path, target: Path) -> None:
    import tensorflow as tf

    target.write_bytes(tf.lite.TFLiteConverter.from_saved_model(str(source)).convert())


@pytest.fixture(scope="module")
def workers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Workers]:
    preload_tensorflow()
    with Workers(tmp_path_factory.mktemp("log") / "log", None, lambda _: None) as workers:
        yield workers


@pytest.fixture(scope="module")
def trap(workers: Workers, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("trap") / "trap"
    workers.run(Task("save", save_trap, (folder,), SourceError))
    np.savez(folder.parent / "rows.npz", x=ROWS)
    return folder


@pytest.fixture(scope="module")
def plain(workers: Workers, trap: Path) -> Path:
    """What the converter makes of the SavedModel itself."""
    file = trap.parent / "plain.tflite"
    workers.run(Task("convert", convert_plainly, (trap, file), SourceError))
    return file


@pytest.fixture(scope="module")
def prepared(workers: Workers, trap: Path) -> PreparedSource:
    arguments: tuple[object, ...] = (SavedModel(saved_model=trap), {}, trap.parent / "prepared")
    return workers.run(Task("prepare", prepare, arguments, SourceError)).value


def run(trap: Path, file: Path | None = None) -> Ran:
    rows = {"npz": str(trap.parent / "rows.npz")}
    data = {"calibration": {"dataset": rows}, "evaluation": {"dataset": rows}, "latency": "off"}
    return run_recipe({"model": str(trap), "variants": ["float32", "int8"], **data}, trap.parent, file=file)


def test_plain_conversion_loses_the_weights_in_silence(plain: Path) -> None:
    assert sum(size for _, size in flatbuffer.size_by_dtype(flatbuffer.load(plain))) == 0
    assert set(Runner(plain)({"x": ROWS[:1]})) == {"y"}  # and yet it runs, on whatever is in memory


def test_our_files_answer_as_the_source_does(trap: Path) -> None:
    ran = run(trap)
    assert ran.codes == {"float32": 0, "int8": 0}
    near = ran.result.baseline.fidelity["y"]
    assert near.sqnr_db is None or near.sqnr_db > 100
    measured = ran.variant("int8").measured
    assert measured is not None
    assert (measured.fidelity["y"].sqnr_db or 0) > 25


def test_file_without_weights_breaks_its_contract(trap: Path, plain: Path) -> None:
    (variant,) = run(trap, plain).result.variants
    assert variant.exit_code == 6
    found = [(violation.rule, violation.severity, violation.message) for violation in variant.violations]
    assert next(message for rule, _, message in found if rule == "V15").endswith("are read, but never assigned")
    lost = "holds 0 bytes of constants, but the source's signature reads 5,392 bytes of weights"
    assert any(severity == "warning" and message.startswith(lost) for _, severity, message in found)


def test_float32_file_without_weights_would_be_told_from_the_source(
    workers: Workers, trap: Path, plain: Path, prepared: PreparedSource
) -> None:
    """Were the file all else is compared with made so."""
    evaluation = Evaluation.model_validate({"dataset": {"npz": trap.parent / "rows.npz"}})
    plan = EvaluationPlan(evaluation, {}, prepared, plain, first={"x": ROWS[:1]}, files={}, runs_source=True)
    task: Task[dict[str, Record]] = Task("measure", measure, (plan, range(8)), TflqError)
    records = workers.run(task).value
    (found,) = scores.source_mismatches(records[SOURCE])
    assert (found.severity, found.where) == ("error", "output 'y'")


def test_lack_of_constants_alone_is_a_warning(plain: Path, prepared: PreparedSource) -> None:
    """Weights that serve no output are rightly left out."""
    variant = Float32()
    found = [v for v in verify.verify(lambda *_: None, plain, variant, prepared).violations if v.rule == "V13"]
    assert [violation.severity for violation in found] == ["warning"]
    enough = replace(prepared, weight_bytes=0)
    assert not [v for v in verify.verify(lambda *_: None, plain, variant, enough).violations if v.rule == "V13"]
