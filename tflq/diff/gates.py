"""The gates of a diff: those of a recipe, with the first file in the place of the float32 file, and a few more."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from pydantic import Field, NonNegativeInt, ValidationError

from tflq import scores
from tflq.diff.graph_diff import GraphDiff
from tflq.errors import RecipeError
from tflq.gates import FileGates
from tflq.result import File, FileFigures, Gate
from tflq.strict import did_you_mean

SIZE_GATES = ("max_size_bytes", "max_size_ratio")
"""The gates of a recipe that need no measurement."""


class DiffGates(FileGates):
    """Limits for the second file. Metric, agreement, SQNR and ratio compare it with the first file."""

    max_changed_ops: NonNegativeInt | None = Field(
        None, description="Largest number of ops that differ, or that only one file has."
    )
    max_changed_constants: NonNegativeInt | None = Field(
        None, description="Largest number of constants whose real values differ."
    )
    max_changed_scales: NonNegativeInt | None = Field(
        None, description="Largest number of activations with another scale or zero point."
    )
    max_new_float_ops: NonNegativeInt | None = Field(
        None, description="How many ops more than the first file the second file may compute in float."
    )

    @property
    def requested(self) -> dict[str, float]:
        """The limits that are given, by name."""
        return {name: float(limit) for name, limit in self.model_dump(exclude_unset=True, exclude_none=True).items()}

    @property
    def needs_samples(self) -> tuple[str, ...]:
        """The names of the given gates that need a recipe with data."""
        own = {name for name in type(self).model_fields if name not in FileGates.model_fields}
        return tuple(name for name in self.requested if name not in own and name not in SIZE_GATES)


def parse_gates(texts: Sequence[str]) -> DiffGates:
    """Return the gates of texts such as `max_size_ratio=1.01`. RecipeError if a name or a limit is wrong."""
    limits: dict[str, float | int] = {}
    for text in texts:
        name, _, number = text.partition("=")
        if name not in DiffGates.model_fields:
            hint, names = did_you_mean(name, DiffGates.model_fields), ", ".join(DiffGates.model_fields)
            raise RecipeError(f"--gate {text}: there is no gate {name!r}{hint}; the gates are {names}")
        try:
            limits[name] = int(number) if number.lstrip("+-").isdigit() else float(number)
            DiffGates.model_validate({name: limits[name]})
        except ValidationError as error:
            raise RecipeError(f"--gate {text}: {error.errors()[0]['msg']}") from error
        except ValueError as error:
            raise RecipeError(f"--gate {text}: should read NAME=LIMIT, such as max_size_ratio=1.01") from error
    return DiffGates.model_validate(limits)


def check_gates(
    gates: DiffGates, files: tuple[File, File], graph: GraphDiff, figures: FileFigures | None
) -> tuple[Gate, ...]:
    """Return a verdict for every gate. A gate that could not be measured has failed. `files`: the first, the second."""
    ratio = files[1].size_bytes / files[0].size_bytes
    verdicts = {gate.name: gate for gate in scores.gates(gates, files[1], ratio, figures)}
    verdicts |= {gate.name: gate for gate in _gates_of_graph(gates, files, graph)}
    if figures and gates.max_dead_channels is not None:  # without dead channels, a recipe has no such verdict
        passed = Gate("max_dead_channels", float(gates.max_dead_channels), 0.0, passed=True, certain=True)
        verdicts.setdefault(passed.name, passed)
    return tuple(verdicts.get(name, unmeasured(name, limit)) for name, limit in gates.requested.items())


def unmeasured(name: str, limit: float) -> Gate:
    """Return the failed gate of a value that could not be measured."""
    return Gate(name, limit, None, passed=False, certain=True)


def _gates_of_graph(gates: DiffGates, files: tuple[File, File], graph: GraphDiff) -> Iterator[Gate]:
    counts = {
        "max_changed_ops": graph.changed_ops,
        "max_changed_constants": graph.changed_constants,
        "max_changed_scales": len(graph.scales),
        "max_new_float_ops": len(files[1].float_ops) - len(files[0].float_ops),
    }
    for name, count in counts.items():
        limit = gates.requested.get(name)
        if limit is not None:
            yield Gate(name, limit, float(count), count <= limit, certain=True)
