"""The word and character error rates of speech recognition."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar, Literal

import numpy as np
from pydantic import Field

from tflq.errors import DatasetError, EvaluationError
from tflq.metrics.metric import mean
from tflq.strict import RecipePath, Strict

SPACES = ("<space>", "▁", "|")
"""The texts of tokens, or the starts of tokens, that stand for a space."""


class WordErrors(Strict):
    """The word error rate of a speech model: edits / words over all samples. The label is the text.

    The output has the scores of tokens for each time step, which are decoded greedily as CTC, or the numbers of tokens.
    """

    EXAMPLE: ClassVar[str] = "{speech: wer, vocabulary: FILE}"
    """The metric as the recipes of `tflq init` and messages show it."""
    is_mean: ClassVar[bool] = False
    is_right_or_wrong: ClassVar[bool] = False
    higher_is_better: ClassVar[bool] = False

    speech: Literal["wer", "cer"] = Field(description="`wer` counts words, `cer` characters.")
    vocabulary: RecipePath = Field(
        description="A text file with a token in each line, in the order of their numbers. `<space>`, `|` and `▁` are"
        " spaces, also at the start of a token. Other tokens in angle brackets, such as `<pad>`, are left out."
    )
    blank: int = Field(
        -1, description="The number of the blank token of CTC. -1 is the last score of a time step.", ge=-1
    )

    @property
    def name(self) -> str:
        return self.speech

    def statistics(self, output: np.ndarray, label: np.ndarray) -> np.ndarray:
        """Return the number of edits from the label to the answer, and the length of the label."""
        truth, answer = (_parts(text, self.speech) for text in (_text(label), self._decoded(output)))
        return np.array([edits(truth, answer), len(truth)], np.float64)

    def value(self, rows: np.ndarray, counts: np.ndarray) -> np.ndarray:
        with np.errstate(divide="ignore", invalid="ignore"):
            return mean(rows, counts)

    def _decoded(self, output: np.ndarray) -> str:
        tokens = self._tokens()
        steps = output.reshape([size for size in output.shape[:-1] if size != 1] + [output.shape[-1]])
        if steps.ndim == 2 and steps.shape[1] in (len(tokens), len(tokens) + 1) and self.blank < steps.shape[1]:
            best = steps.argmax(1)
            is_new = np.concatenate([[True], best[1:] != best[:-1]])
            blank = self.blank % steps.shape[1]
            numbers = [number for number in best[is_new].tolist() if number != blank]
        elif steps.ndim == 1 and np.isfinite(steps).all() and not (steps % 1).any():
            numbers = [int(number) for number in steps if number != self.blank]
        else:
            raise DatasetError(
                f"the output {output.shape} should have {len(tokens)} or {len(tokens) + 1} scores for each time step,"
                f" or the numbers of tokens: {self.vocabulary} has {len(tokens)} tokens"
            )
        return "".join(tokens[number] for number in numbers if 0 <= number < len(tokens))

    def _tokens(self) -> tuple[str, ...]:
        try:
            return _read(self.vocabulary, self.vocabulary.stat().st_mtime_ns)
        except OSError as error:
            raise EvaluationError(f"{self.vocabulary}: the vocabulary cannot be read: {error.strerror}") from error
        except UnicodeDecodeError as error:
            raise EvaluationError(f"{self.vocabulary}: is not UTF-8 text with a token in each line") from error


@functools.lru_cache(maxsize=4)
def _read(path: Path, _: int) -> tuple[str, ...]:
    """Return the text of each token of the vocabulary, as it is at that time of its last change."""
    return tuple(_token(line) for line in path.read_text(encoding="utf-8").splitlines())


def _token(line: str) -> str:
    for space in SPACES:
        if line.startswith(space):
            return " " + line.removeprefix(space)
    return "" if line.startswith("<") and line.endswith(">") else line


def _text(label: np.ndarray) -> str:
    value = np.asarray(label).reshape(-1)
    text = value[0] if value.size == 1 else None
    if isinstance(text, bytes):
        return text.decode("utf-8", "replace")
    if not isinstance(text, str):
        raise DatasetError(f"the label {value.tolist()[:8]} should be the text that was spoken")
    return str(text)


def _parts(text: str, kind: str) -> Sequence[str]:
    words = text.split()
    return words if kind == "wer" else " ".join(words)


def edits(truth: Sequence[str], answer: Sequence[str]) -> int:
    """Return the least number of substitutions, insertions and deletions between both (Levenshtein 1966)."""
    row = list(range(len(answer) + 1))
    for i, wanted in enumerate(truth, 1):
        corner, row[0] = row[0], i
        for j, found in enumerate(answer, 1):
            corner, row[j] = row[j], min(row[j] + 1, row[j - 1] + 1, corner + (wanted != found))
    return row[-1]
