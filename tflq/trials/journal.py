"""What trials found, line by line in a file, so that work which was stopped goes on where it was."""

from __future__ import annotations

import json
from pathlib import Path

from pydantic import TypeAdapter, ValidationError

from tflq.trials.trial import TrialResult

_TRIED = TypeAdapter(TrialResult)


class Journal:
    """Trials under the keys of all that decides them; other keys are those of other data or another version."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._held: dict[str, TrialResult] = {}
        text = path.read_text(encoding="utf-8") if path.exists() else ""
        for line in text.splitlines():
            self._read(line)
        if text and not text.endswith("\n"):  # it was stopped while it wrote
            self._append("")

    def _read(self, line: str) -> None:
        try:
            entry = json.loads(line)
            self._held[entry["key"]] = _TRIED.validate_python(entry["tried"])
        except (ValueError, KeyError, TypeError, ValidationError):
            return

    def get(self, key: str) -> TrialResult | None:
        return self._held.get(key)

    def add(self, key: str, tried: TrialResult) -> None:
        self._held[key] = tried
        self._append(json.dumps({"key": key, "tried": _TRIED.dump_python(tried, mode="json")}))

    def _append(self, line: str) -> None:
        with self._path.open("a", encoding="utf-8") as file:
            file.write(f"{line}\n")
