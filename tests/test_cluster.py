"""A real Dask scheduler and two real workers on this machine: one is killed in the middle, and everything is made."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from types import SimpleNamespace

import distributed
import psutil
import pytest
from batching import Ended, batch, begin, end, on, write_zoo
from distributed.comm import CommClosedError
from waiting import PATIENCE, until

from tflq.batch import cluster
from tflq.batch.attempt import ModelLimits
from tflq.batch.cluster import _Submission
from tflq.batch.cluster_workers import ClusterWorkers
from tflq.errors import ClusterError
from tflq.recipe import load

pytestmark = pytest.mark.slow
MODELS = ("tiny_dense", "with_sin", "squared_difference", "small_weights")
ROWS = """\
import pathlib
import time

import numpy as np


def rows():
    here = pathlib.Path(__file__).parent
    if not (here / "begun").exists():
        (here / "begun").touch()
        time.sleep(3600)  # until the worker of the cluster is killed; nobody else comes here
    for row in np.random.default_rng(0).normal(0, 1, (12, 16)):
        yield {"x": row.astype(np.float32)}
"""


@contextmanager
def dask(folder: Path, *arguments: str) -> Iterator[subprocess.Popen[bytes]]:
    command = [sys.executable, "-m", "dask", *arguments]
    with (folder / f"{arguments[0]}-{len(list(folder.iterdir()))}.log").open("wb") as log:
        process = subprocess.Popen(command, cwd=folder, stdout=log, stderr=log, start_new_session=True)
    try:
        yield process
    finally:
        kill(process)


def kill(process: subprocess.Popen[bytes]) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait(timeout=PATIENCE)


def address_of(file: Path) -> str:
    """Where the scheduler listens, once it does."""
    until(lambda: file.exists() and file.read_text())
    return str(json.loads(file.read_text())["address"])


@pytest.fixture
def scheduler(tmp_path: Path) -> Iterator[str]:
    folder = tmp_path / "dask"
    folder.mkdir()
    file = folder / "scheduler.json"
    with dask(folder, "scheduler", "--port", "0", "--no-dashboard", "--scheduler-file", str(file)):
        yield address_of(file)


def worker(scheduler: str, folder: Path) -> list[str]:
    return ["worker", scheduler, "--nthreads", "1", "--no-dashboard", "--local-directory", str(folder)]


@pytest.fixture
def zoo(models: Path, data: Path, tmp_path: Path) -> Path:
    folder = tmp_path / "zoo"
    folder.mkdir()
    (folder / "rows.py").write_text(ROWS)
    slow = {"model": str(models / "tiny_dense"), "name": "slow", "calibration": {"dataset": {"python": "rows:rows"}}}
    listed = [slow, *(str(models / name) for name in MODELS)]
    return write_zoo(folder, listed, calibration=on(data, "vectors"), latency="off", variants=["int8", "float16"])


def test_a_worker_is_killed_and_everything_is_made(scheduler: str, zoo: Path, tmp_path: Path) -> None:
    folder = tmp_path / "dask"
    with (
        dask(folder, *worker(scheduler, folder / "one")) as one,
        dask(folder, *worker(scheduler, folder / "two")) as two,
    ):
        process = begin(zoo, "--scheduler", scheduler, "--format", "json")
        held = wait_for_the_slow_one(zoo, [one, two])
        kill(held)
        ended = end(process, zoo)
    assert ended.exit_code == 0, ended.output + ended.log
    assert ended.states == dict.fromkeys(["slow", *MODELS], "made")
    made = list(zoo.parent.glob("build/*/*.tflite"))  # the killed one, until it is waited for, leaves what it worked in
    assert len(made) == 2 * (len(MODELS) + 1)
    assert not list(zoo.parent.rglob(".shared-*"))
    assert ended.output.count('"event": "began", "model": "slow"') == 2
    assert '"event": "stage", "model": "slow", "stage": "convert int8"' in ended.output
    assert all_are_up_to_date(zoo)


def test_the_scheduler_is_killed(zoo: Path, tmp_path: Path) -> None:
    """What was made stays, the rest is told in one sentence, and the next run makes it."""
    folder = tmp_path / "dask"
    folder.mkdir()
    file = folder / "scheduler.json"
    with dask(folder, "scheduler", "--port", "0", "--no-dashboard", "--scheduler-file", str(file)) as scheduler:
        address = address_of(file)
        with dask(folder, *worker(address, folder / "one")), dask(folder, *worker(address, folder / "two")):
            process = begin(zoo, "--scheduler", address)
            until((zoo.parent / "begun").exists)
            until(lambda: len(list(zoo.parent.glob("build/*/report.json"))) > 1)
            kill(scheduler)
            ended = end(process, zoo)
    assert "Traceback" not in ended.log + ended.output, ended.log + ended.output
    assert ended.exit_code == 8
    made = [name for name, state in ended.states.items() if state == "made"]
    assert made
    assert ended.states["slow"] == "failed"
    lost = f"the Dask scheduler at {address} was lost, so this model was not converted: run the batch again"
    assert f"slow: {lost}" in ended.output
    ended = batch(zoo)
    assert ended.exit_code == 0
    assert {ended.states[name] for name in made} == {"up to date"}


class LostFuture:
    """A task that ended well; the scheduler is gone before its result is received."""

    status = "finished"

    def cancelled(self) -> bool:
        return False

    def result(self) -> None:
        raise CommClosedError("Connection reset by peer")


def test_the_scheduler_is_lost_before_a_result_is_received() -> None:
    workers, limits = ClusterWorkers(SimpleNamespace(status="closing"), print), ModelLimits(None, None, 1, 0)
    answer = _Submission(workers, limits, "token", "tcp://there:1")._answer(LostFuture())
    assert isinstance(answer, ClusterError)
    assert str(answer) == (
        "the Dask scheduler at tcp://there:1 was lost, so this model was not converted: run the batch again"
    )


def all_are_up_to_date(zoo: Path) -> bool:
    ended: Ended = batch(zoo)
    return set(ended.states.values()) == {"up to date"} and ended.exit_code == 0


def wait_for_the_slow_one(zoo: Path, workers: list[subprocess.Popen[bytes]]) -> subprocess.Popen[bytes]:
    """The worker of the cluster whose process opened the dataset that never ends."""
    until((zoo.parent / "begun").exists)
    log = zoo.parent / "build/slow/tflq.log"
    until(lambda: any(holds(worker.pid, log) for worker in workers))
    return next(worker for worker in workers if holds(worker.pid, log))


def holds(group: int, file: Path) -> bool:
    """Whether a process of the group has the file open."""
    for process in psutil.process_iter():
        try:
            if os.getpgid(process.pid) == group and str(file) in [one.path for one in process.open_files()]:
                return True
        except (psutil.Error, ProcessLookupError):
            continue
    return False


KILLER = """\
import distributed
import psutil


def rows():
    for process in psutil.Process().parents()[1:2]:  # the process of Dask's that began the fork server
        process.kill()
    yield {}
"""


def test_a_model_that_kills_workers_is_set_aside(
    models: Path, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On a cluster that --scheduler starts for itself; it would try a model on three more workers, and then again.

    Dask would close the process that starts a worker again if the worker were not there in time.
    """
    monkeypatch.setenv("DASK_DISTRIBUTED__SCHEDULER__ALLOWED_FAILURES", "0")
    monkeypatch.setenv("DASK_DISTRIBUTED__DEPLOY__LOST_WORKER_TIMEOUT", "10 ms")
    (tmp_path / "rows.py").write_text(KILLER)
    killer = {
        "model": str(models / "tiny_dense"),
        "name": "killer",
        "calibration": {"dataset": {"python": "rows:rows"}},
    }
    listed = [killer, str(models / "with_sin")]
    zoo = write_zoo(tmp_path, listed, calibration=on(data, "vectors"), latency="off", variants=["float16"])
    ended = batch(zoo, "--scheduler", "local", "--jobs", "1")
    assert ended.states == {"killer": "failed", "with_sin": "made"}, ended.log
    assert ended.exit_code == 5
    why = ended.model("killer")["why"]
    assert why.startswith("every worker of the cluster that ran this model died, at last tcp://127.0.0.1:")
    assert why.endswith("; the model was given up")


def test_files_are_sent_where_the_folder_is_not_shared(models: Path, data: Path, tmp_path: Path) -> None:
    recipe = tmp_path / "net.yaml"
    rows = f"{{dataset: {{npz: {data}/vectors.npz}}, samples: 12}}"
    (tmp_path / "rows.py").write_text("import os\n\n\ndef rows():\n    os.abort()\n")
    calibration = 'calibration: {dataset: {python: "rows:rows"}}'
    text = f"model: {models}/tiny_dense\n{calibration}\nevaluation: {rows}\nlatency: off\nvariants: [float32, int8]\n"
    recipe.write_text(text)
    loaded = load(recipe)
    task = cluster.ClusterTask("net", loaded, ModelLimits(None, None, 2, 0), "not-there", "topic")
    result = cluster.run_task(task, lambda _: None)
    assert not loaded.output.exists()
    cluster.install_files(loaded, result)
    assert sorted(path.name for path in loaded.output.iterdir()) == [
        "net-float32.tflite",
        "recipe.yaml",
        "report.html",
        "report.json",
        "report.md",
        "tflq.lock",
        "tflq.log",
    ]
    report = json.loads((loaded.output / "report.json").read_text())
    dataset = report["recipe"]["evaluation"]["dataset"]["npz"]
    assert (loaded.output / dataset).resolve() == (data / "vectors.npz").resolve()
    assert [variant["status"] for variant in report["variants"]] == ["ok", "error"]
    assert tempfile.gettempdir() not in report["variants"][1]["error"].replace(str(tmp_path), "")
    assert str(loaded.output) in report["variants"][1]["error"]


BLIND = """\
import pathlib

exists = pathlib.Path.exists
pathlib.Path.exists = lambda path: str(path) != {hidden!r} and exists(path)
"""


def addresses(scheduler: str) -> list[str]:
    """The workers of the cluster."""
    with distributed.Client(scheduler) as client:
        return list(client.nthreads())


def unlike(folder: Path) -> Path:
    """A folder that hides the installed package behind one of another version."""
    package = folder / "tflq-0.0.1.dist-info"
    package.mkdir(parents=True)
    (package / "METADATA").write_text("Metadata-Version: 2.1\nName: tflq\nVersion: 0.0.1\n")
    return folder


def test_workers_that_cannot_convert_get_no_model(
    scheduler: str, models: Path, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One has another version of tflq, one does not see the data; the third makes everything."""
    folder = tmp_path / "dask"
    hidden = tmp_path / "hidden.npz"
    shutil.copy(data / "vectors.npz", hidden)
    listed = [str(models / name) for name in MODELS]
    calibration = {"dataset": {"npz": str(hidden)}, "samples": 12}
    zoo = write_zoo(tmp_path, listed, calibration=calibration, latency="off", variants=["float16"])
    (tmp_path / "blind").mkdir()
    (tmp_path / "blind/sitecustomize.py").write_text(BLIND.format(hidden=str(hidden)))
    with ExitStack() as stack:
        for name, path in (("old", unlike(tmp_path / "unlike")), ("blind", tmp_path / "blind")):
            with monkeypatch.context() as patch:
                patch.setenv("PYTHONPATH", f"{path}:{os.environ.get('PYTHONPATH', '')}")
                stack.enter_context(dask(folder, *worker(scheduler, folder / name)))
                until(lambda name=name: (folder / name).exists())
        until(lambda: len(addresses(scheduler)) == 2)
        alone = batch(zoo, "--scheduler", scheduler)
        assert alone.exit_code == 8, alone.log
        assert set(alone.states.values()) == {"failed"}
        assert all(
            "no worker of the cluster can convert this model: tcp://" in alone.model(name)["why"] for name in MODELS
        )
        stack.enter_context(dask(folder, *worker(scheduler, folder / "whole")))
        until(lambda: len(addresses(scheduler)) == 3)
        ended = batch(zoo, "--scheduler", scheduler)
    assert ended.exit_code == 0, ended.output + ended.log
    assert ended.states == dict.fromkeys(MODELS, "made")
    told = [line for line in ended.log.splitlines() if line.startswith("note: ")]
    assert [line for line in told if "it has tflq 0.0.1, and this process has tflq" in line]
    assert [line for line in told if f"it does not see {hidden}: give all workers the same folders" in line]
    assert "Traceback" not in alone.log + ended.log
