"""Kill `tflq convert` and `tflq batch`, without corrections, latency and cache, and look at what is left.

`python -m benchmarks.kills [CONVERT] [BATCH] [SEED]` prints a table. The defaults are 60 and 20 kills.

The moments are random. The recipe changes from run to run, so that a folder with files of two runs is seen. After each
kill, the output folder has to hold the files of one run, with a report and a lock that agree with them. If the kill
stopped the installation of files, this holds after the next command. No process may stay. The folder for temporary
files and the hidden entries of the output are counted, since they must not grow from kill to kill. Each tenth run is
left alone: it has to end well and to leave nothing.
"""

from __future__ import annotations

import hashlib
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import yaml

from tflq import cache

DATA = Path(__file__).parent.parent / "tests/data"
SIGNALS = (signal.SIGKILL, signal.SIGTERM, signal.SIGINT)
RANGES = ("minmax", "mse")
"""The methods of ranges, of which the runs use one after the other."""
UNDISTURBED = 10
"""Each run of this number is not killed."""
PATIENCE = 600.0
"""The longest time in seconds that processes may stay after a kill."""
Digests = Mapping[str, str]


@dataclass
class Trial:
    """A folder with a recipe or a zoo, and what was seen there."""

    folder: Path
    command: str
    models: tuple[str, ...]
    wanted: dict[str, list[Digests]] = field(default_factory=dict)
    """The files of a whole run of each model, for each method of ranges."""
    faults: list[str] = field(default_factory=list)
    most_left: int = 0
    """The largest number of temporary folders, hidden entries and unknown files after a kill."""
    seconds: float = 0.0
    """The time of a run that is not killed."""

    @property
    def temporary(self) -> Path:
        return self.folder / "temporary"

    def output(self, model: str) -> Path:
        return self.folder / "build" / model

    def write(self, ranges: str) -> None:
        """Write the recipe or the zoo with that method of ranges."""
        options = {
            "calibration": {"dataset": {"npz": "data.npz"}, "samples": 8, "ranges": ranges},
            "variants": ["float16", {"mode": "int8", "bias_correction": "off"}],
            "latency": "off",
            "cache": False,
        }
        if self.command == "convert":
            content = {"model": "net", **options}
        else:
            listed = [{"model": "net", "name": name} for name in self.models]
            content = {"kind": "zoo", "output": "build", "defaults": options, "models": listed}
        (self.folder / f"{self.models[0]}.yaml").write_text(yaml.safe_dump(content), encoding="utf-8")

    def start(self) -> subprocess.Popen[bytes]:
        """Start the command in a process group of its own."""
        environment = {"TMPDIR": str(self.temporary), "TFLQ_CACHE_DIR": str(self.folder / "cache")}
        arguments = [sys.executable, "-m", "tflq", self.command, f"{self.models[0]}.yaml"]
        nothing = subprocess.DEVNULL
        return subprocess.Popen(
            arguments,
            cwd=self.folder,
            env=os.environ | environment,
            stdout=nothing,
            stderr=nothing,
            start_new_session=True,
        )

    def left(self) -> int:
        """Return the number of things that a killed run left."""
        return len([*self.folder.glob("build/**/.*"), *self.temporary.iterdir()])


def prepared(folder: Path, command: str, models: tuple[str, ...]) -> Trial:
    """Return a trial whose undisturbed runs are known."""
    folder.mkdir()
    trial = Trial(folder, command, models)
    trial.temporary.mkdir()
    shutil.copytree(DATA / "net", folder / "net")
    pixels = np.random.default_rng(0).normal(size=(12, 8, 8, 3)).astype(np.float32)
    np.savez(folder / "data.npz", image=pixels)
    for ranges in RANGES:
        trial.write(ranges)
        started = time.monotonic()
        code = trial.start().wait()
        trial.seconds = time.monotonic() - started
        if code:
            raise SystemExit(f"an undisturbed {command} ends with exit code {code}")
        for model in models:
            trial.wanted.setdefault(model, []).append(digests(trial.output(model)))
    return trial


def digests(output: Path) -> Digests:
    """Return the digest of each .tflite file of the folder."""
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in sorted(output.glob("*.tflite"))}


def kill_often(trial: Trial, kills: int, draw: random.Random) -> None:
    """Run the command again and again, and kill it at random moments. What is wrong is added to the trial's faults."""
    for number in range(1, kills + 1):
        trial.write(RANGES[number % 2])
        process = trial.start()
        name, moment = draw.choice(SIGNALS), draw.uniform(0, trial.seconds)
        if is_whole := number % UNDISTURBED == 0:
            code = process.wait()
        else:
            code = killed(process, name, moment, is_group=bool(draw.randrange(2)))
        what = f"{trial.command} {number}, {name.name} after {moment:.2f} s, exit code {code}"
        trial.faults += [f"{what}: {fault}" for fault in _faults(trial, process.pid, is_whole, code)]
        trial.most_left = max(trial.most_left, trial.left())


def killed(process: subprocess.Popen[bytes], name: signal.Signals, moment: float, is_group: bool) -> int:
    """Send the signal to the process or to its group at that moment, and return the exit code."""
    with suppress(subprocess.TimeoutExpired):
        return process.wait(moment)
    with suppress(ProcessLookupError):
        (os.killpg if is_group else os.kill)(process.pid, name)
    return process.wait()


def _faults(trial: Trial, group: int, is_whole: bool, code: int) -> Iterator[str]:
    if not _ends(group):
        yield "a process stayed"
        with suppress(ProcessLookupError):
            os.killpg(group, signal.SIGKILL)
    for model in trial.models:
        if any(_faults_of_files(trial.output(model), trial.wanted[model])):
            cache.clear_workspaces(trial.output(model))  # as the next command does
        yield from (f"{model}: {fault}" for fault in _faults_of_files(trial.output(model), trial.wanted[model]))
    if is_whole and code:
        yield "an undisturbed run fails"
    if is_whole and (left := trial.left()):
        yield f"an undisturbed run leaves {left} temporary entries"


def _ends(group: int) -> bool:
    """Return whether all processes of the group end in time."""
    end = time.monotonic() + PATIENCE
    while time.monotonic() < end:
        try:
            os.killpg(group, 0)
        except ProcessLookupError:
            return True
        time.sleep(0.05)
    return False


def _faults_of_files(output: Path, wanted: list[Digests]) -> Iterator[str]:
    """Yield what is wrong with the output folder of a model."""
    found = digests(output)
    if found not in wanted:
        yield f"its files are not those of one run: {sorted(found)}"
    report = json.loads((output / "report.json").read_text(encoding="utf-8"))
    told = {each["file"]: each["sha256"] for each in report["variants"] if each["file"]}
    if told != found:
        yield "report.json does not agree with the files"
    locked = yaml.safe_load((output / "tflq.lock").read_text(encoding="utf-8"))["files"]
    if {name: file["sha256"] for name, file in locked.items()} != found:
        yield "tflq.lock does not agree with the files"


def report(convert: int, batch: int, seed: int) -> list[str]:
    """Return a Markdown table of the kills, and the faults."""
    lines = [
        "| command | runs | faults | most left after a kill | a whole run takes |",
        "| --- | --- | --- | --- | --- |",
    ]
    faults: list[str] = []
    with tempfile.TemporaryDirectory() as folder:
        for command, kills, models in (("convert", convert, ("net",)), ("batch", batch, ("net", "second", "third"))):
            if not kills:
                continue
            trial = prepared(Path(folder) / command, command, models)
            kill_often(trial, kills, random.Random(f"{command} {seed}"))
            figures = f"{len(trial.faults)} | {trial.most_left} | {trial.seconds:.1f} s"
            lines.append(f"| {command} | {kills} | {figures} |")
            faults += trial.faults
    return [*lines, "", *(f"- {fault}" for fault in faults)]


if __name__ == "__main__":
    numbers = [int(argument) for argument in sys.argv[1:]]
    print("\n".join(report(*(*numbers, *(60, 20, 0)[len(numbers) :]))))
