"""Every way in which tflq says no, in one file: what a script may tell apart is an exit code.

    TflqError
    ├── RecipeError       2   the command line or the recipe is wrong
    ├── SourceError       3   the float model cannot be read
    ├── DatasetError      4   the data cannot be read, or cannot calibrate
    ├── ConversionError   5   conversion failed, crashed, timed out, ran out of memory
    └── EvaluationError   7   the file was made, but it cannot be run or evaluated

Exit code 1 (a gate failed) and 6 (a file breaks its mode's contract) are properties of a result, not errors.
A message says what happened, where, and what to do about it.
"""

from __future__ import annotations


class TflqError(Exception):
    """The root of the family; never raised itself."""

    exit_code = 70
    may_pass = False
    """Whether to try again may help: a process died or met a limit, which the inputs alone do not decide."""


class RecipeError(TflqError):
    exit_code = 2


class SourceError(TflqError):
    exit_code = 3


class DatasetError(TflqError):
    exit_code = 4


class ConversionError(TflqError):
    exit_code = 5


class EvaluationError(TflqError):
    exit_code = 7
