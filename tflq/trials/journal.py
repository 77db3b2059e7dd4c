"""A file with one line for each trial result, so that work that was stopped continues after the last result."""

from __future__ import annotations

import json
from pathlib import Path

from pydantic import TypeAdapter, ValidationError

from tflq.trials.trial import TrialResult

_RESULT = TypeAdapter(TrialResult)


class Journal:
    """Trial results by key. The key covers all inputs of a trial, so other data or another version has other keys."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._results: dict[str, TrialResult] = {}
        text = path.read_text(encoding="utf-8") if path.exists() else ""
        for line in text.splitlines():
            self._read(line)
        if text and not text.endswith("\n"):  # the process was stopped in the middle of a line
            self._append("")

    def _read(self, line: str) -> None:
        try:
            entry = json.loads(line)
            self._results[entry["key"]] = _RESULT.validate_python(entry["tried"])
        except (ValueError, KeyError, TypeError, ValidationError):
            return

    def get(self, key: str) -> TrialResult | None:
        return self._results.get(key)

    def add(self, key: str, result: TrialResult) -> None:
        self._results[key] = result
        self._append(json.dumps({"key": key, "tried": _RESULT.dump_python(result, mode="json")}))

    def _append(self, line: str) -> None:
        with self._path.open("a", encoding="utf-8") as file:
            file.write(f"{line}\n")
