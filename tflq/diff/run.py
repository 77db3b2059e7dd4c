"""`diff(A, B)`: compare two .tflite files or two output folders, and check the gates."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path

from tflq.batch.summary import VariantRow
from tflq.diff.file_diff import FileDiff, ReadFile, compare_files, read_file
from tflq.diff.folders import OutputFolder, SettingChange, read_folder, setting_changes
from tflq.diff.gates import DiffGates, check_gates, unmeasured
from tflq.diff.outputs import OutputsDiff, compare_outputs
from tflq.errors import EvaluationError, RecipeError, TflqError
from tflq.pipeline import Settings
from tflq.recipe import Recipe
from tflq.result import Gate


@dataclass(frozen=True)
class PairDiff:
    """The comparison of one variant, or of two files."""

    name: str
    diff: FileDiff | TflqError | None
    """The differences, or why the files cannot be read; None if only one folder has the file."""
    reported: tuple[VariantRow | None, VariantRow | None] = (None, None)
    """The rows of the variant in the reports of both folders."""
    gates: tuple[Gate, ...] = ()
    """The gates of a pair that cannot be compared; all of them have failed."""
    present: str = "both"
    """Which side has the file: `both`, `before` or `after`."""

    @property
    def exit_code(self) -> int:
        code = 0 if self.diff is None else self.diff.exit_code
        return max(code, 1 if any(not gate.passed for gate in self.gates) else 0)


@dataclass(frozen=True)
class DiffResult:
    """The comparison of A with B."""

    before: str
    after: str
    """The paths that were given."""
    are_folders: bool
    pairs: tuple[PairDiff, ...]
    settings: tuple[SettingChange, ...] = ()
    samples: str = ""
    """The dataset of the recipe; empty without one."""

    @property
    def exit_code(self) -> int:
        """The most serious exit code of all pairs."""
        return max((pair.exit_code for pair in self.pairs), default=0)


@dataclass(frozen=True)
class DiffRequest:
    """What to compare with what."""

    before: Path
    after: Path
    recipe: Recipe | None = None
    gates: DiffGates = field(default_factory=DiffGates)


def diff(request: DiffRequest, settings: Settings) -> DiffResult:
    """Compare two files or two folders.

    Raise RecipeError if they cannot be paired or a gate needs a recipe. Raise EvaluationError if a single file cannot
    be read. In folders, such an error belongs to its pair.
    """
    gates = request.gates
    if gates.needs_samples and request.recipe is None:
        raise RecipeError(f"{gates.needs_samples[0]} is measured on samples: give --recipe, a recipe with the data")
    if request.before.is_dir() != request.after.is_dir():
        raise RecipeError(f"{request.before} and {request.after}: give two .tflite files, or two output folders")
    are_folders = request.before.is_dir()
    folders = (read_folder(request.before), read_folder(request.after)) if are_folders else None
    pairs = _folder_pairs(*folders, gates) if folders else _file_pair(request)
    if request.recipe is not None:
        pairs = _with_outputs(pairs, request.recipe, gates, settings)
    return DiffResult(
        before=str(request.before),
        after=str(request.after),
        are_folders=are_folders,
        pairs=tuple(_with_gates(pair, gates) for pair in pairs),
        settings=tuple(setting_changes(*folders)) if folders else (),
        samples=str(request.recipe.measured_on.dataset) if request.recipe else "",
    )


def _file_pair(request: DiffRequest) -> list[PairDiff]:
    return [PairDiff(request.after.name, compare_files(read_file(request.before), read_file(request.after)))]


def _folder_pairs(before: OutputFolder, after: OutputFolder, gates: DiffGates) -> list[PairDiff]:
    """Return a pair for each variant of both folders, in the order of the second one."""
    pairs = []
    for name in dict.fromkeys([*after.files, *before.files]):
        reported = (before.rows.get(name), after.rows.get(name))
        if name in before.files and name in after.files:
            pairs.append(PairDiff(name, _compared(before.files[name], after.files[name]), reported))
        elif name in before.files:
            failed = tuple(unmeasured(*gate) for gate in gates.requested.items())
            pairs.append(PairDiff(name, None, reported, failed, "before"))
        else:
            pairs.append(PairDiff(name, None, reported, present="after"))
    return pairs


def _compared(before: Path, after: Path) -> FileDiff | TflqError:
    try:
        return compare_files(read_file(before), read_file(after))
    except EvaluationError as error:
        return error


def _with_outputs(pairs: list[PairDiff], recipe: Recipe, gates: DiffGates, settings: Settings) -> list[PairDiff]:
    """Return the pairs with their outputs. Files with other names of inputs or outputs cannot be compared."""
    diffs = {pair.name: pair.diff for pair in pairs if isinstance(pair.diff, FileDiff)}
    errors: dict[str, OutputsDiff | TflqError] = {
        name: error for name, each in diffs.items() if (error := _obstacle(each.before, each.after))
    }
    paths = {name: (each.before.path, each.after.path) for name, each in diffs.items() if name not in errors}
    outputs = errors | (compare_outputs(recipe, paths, gates, settings) if paths else {})
    return [
        replace(pair, diff=replace(pair.diff, outputs=outputs[pair.name])) if isinstance(pair.diff, FileDiff) else pair
        for pair in pairs
    ]


def _obstacle(before: ReadFile, after: ReadFile) -> EvaluationError | None:
    """Return why the outputs of two files cannot be compared, or None."""
    for what, ours, theirs in (
        ("inputs", before.file.inputs, after.file.inputs),
        ("outputs", before.file.outputs, after.file.outputs),
    ):
        names = [{port.name: port.shape for port in ports} for ports in (ours, theirs)]
        if set(names[0]) != set(names[1]):
            has = " and ".join(", ".join(sorted(each)) or "none" for each in names)
            return EvaluationError(f"the {what} have other names, {has}, so the outputs cannot be compared")
        for name, shape in names[0].items():
            if (what == "outputs" and len(shape) != len(names[1][name])) or not _may_match(shape, names[1][name]):
                shapes = f"{list(shape)} and {list(names[1][name])}"
                return EvaluationError(f"{name!r} of the {what} has the shapes {shapes}, so outputs cannot be compared")
    return None


def _may_match(one: tuple[int, ...], other: tuple[int, ...]) -> bool:
    return len(one) == len(other) and all(-1 in pair or pair[0] == pair[1] for pair in zip(one, other, strict=True))


def _with_gates(pair: PairDiff, gates: DiffGates) -> PairDiff:
    if not isinstance(pair.diff, FileDiff):
        return pair
    each = pair.diff
    figures = each.outputs.figures if isinstance(each.outputs, OutputsDiff) else None
    verdicts = check_gates(gates, (each.before.file, each.after.file), each.graph, figures)
    return replace(pair, diff=replace(each, gates=verdicts))
