"""Runs `tflq batch` as a process of its own, over zoos of the small models."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from results import RESULT
from waiting import PATIENCE

from tflq.batch.plan import Planner
from tflq.batch.zoo import collect
from tflq.report.json_report import to_json
from tflq.result import Result

CODE = "from tflq.cli import main; main(prog_name='tflq')"
COMMAND = [sys.executable, "-c", CODE, "batch"]


@dataclass(frozen=True)
class Ended:
    """A batch that has come to its end."""

    exit_code: int
    output: str
    log: str
    summary: Any

    @property
    def states(self) -> dict[str, str]:
        return {model["name"]: model["state"] for model in self.summary["models"]}

    @property
    def codes(self) -> dict[str, int]:
        return {model["name"]: model["exit_code"] for model in self.summary["models"]}

    def model(self, name: str) -> Any:
        return next(model for model in self.summary["models"] if model["name"] == name)


def write_zoo(folder: Path, models: list[Any], **keys: Any) -> Path:
    """zoo.yaml in the folder; `keys` are the defaults'."""
    path = folder / "zoo.yaml"
    path.write_text(yaml.safe_dump({"kind": "zoo", "defaults": keys, "models": models}, sort_keys=False))
    return path


def on(data: Path, name: str) -> Mapping[str, Any]:
    """Calibration on twelve rows of that .npz file."""
    return {"dataset": {"npz": str(data / f"{name}.npz")}, "samples": 12}


def begin(zoo: Path, *options: str, environment: Mapping[str, str] | None = None) -> subprocess.Popen[str]:
    pipe = subprocess.PIPE
    command = [*COMMAND, zoo.name, *options]
    return subprocess.Popen(
        command,
        stdout=pipe,
        stderr=pipe,
        text=True,
        cwd=zoo.parent,
        start_new_session=True,
        env=os.environ | dict(environment or {}),
    )


def end(process: subprocess.Popen[str], zoo: Path) -> Ended:
    output, log = process.communicate(timeout=PATIENCE)
    file = zoo.parent / "build/summary.json"
    summary = json.loads(file.read_text(encoding="utf-8")) if file.exists() else None
    return Ended(process.returncode, output, log, summary)


def batch(zoo: Path, *options: str) -> Ended:
    return end(begin(zoo, *options), zoo)


def pretend(path: Path, result: Result = RESULT) -> None:
    """Leave behind what a batch leaves that made all models of the zoo with that result."""
    planner, batch = Planner(), collect([path])
    for work in planner.plan(batch.items):
        work.recipe.output.mkdir(parents=True, exist_ok=True)
        (work.recipe.output / "report.json").write_text(to_json(result), encoding="utf-8")
        planner.settle(work, ["report.json"], "")
