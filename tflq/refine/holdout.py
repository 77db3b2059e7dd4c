"""Hold-out calls: which calls corrections are fitted to, and how near a candidate is on the other calls."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from pydantic import TypeAdapter

from tflq.calibrate.ranges import Range
from tflq.calibrate.samples import Samples
from tflq.evaluate.recorded import load_outputs, save_outputs
from tflq.flatbuffer import mapped_content
from tflq.interpreter import Arrays, Runner
from tflq.metrics.fidelity import errors
from tflq.modes import Mode
from tflq.refine.corrected_model import correct, corrected_layers, with_rounded_weights
from tflq.refine.fitted_layers import FittedLayers
from tflq.refine.holdout_score import SignalAndNoise
from tflq.refine.other_ranges import with_other_ranges
from tflq.refine.patched_file import has_constants, patch
from tflq.refine.quantizer_input import QuantizerInput, quantize_to_compare
from tflq.refine.weighted_ops import WeightGranularity
from tflq.worker import ProgressCallback

MAX_HOLDOUT_CALLS = 32
"""The largest number of hold-out calls; they are a quarter of all calls if that is fewer."""
MAX_PARTS = 5
"""The number of parts into which all calls are divided. The ranges for each part are those of all other calls."""
MIN_CALLS = 4
"""The least number of calls that are divided."""
TEMPLATE, RANGES, PATCHABLE = "uncorrected.tflite", "ranges.json", "patchable"
"""The file from which the quantized files of candidates are made, its ranges, and a mark that it can be patched."""
CROSS_FITTING_CALLS = 48
"""The number of calls below which each call is once fitted to and once held out, in two halves."""


@dataclass(frozen=True)
class Fold:
    """A division of the calls: corrections are fitted to some calls, and evaluated on others."""

    fitting: tuple[int, ...]
    holdout: tuple[int, ...]


def folds(calls: int) -> tuple[Fold, ...]:
    """Return how the calls are divided: once if there are many; in two halves, both ways round, if there are few.

    The second is cross-fitting (Chernozhukov et al. 2018, arXiv:1608.00060). With fewer than MIN_CALLS, return none.
    """
    if calls < MIN_CALLS:
        return ()
    if calls < CROSS_FITTING_CALLS:
        even, odd = tuple(range(0, calls, 2)), tuple(range(1, calls, 2))
        return Fold(even, odd), Fold(odd, even)
    return (split_holdout(calls),)


def split_holdout(calls: int) -> Fold:
    """Return one division, with hold-out calls that are evenly spread over all calls."""
    count = min(MAX_HOLDOUT_CALLS, calls // 4)
    holdout = tuple((2 * place + 1) * calls // (2 * count) for place in range(count))
    return Fold(tuple(call for call in range(calls) if call not in holdout), holdout)


def folds_of_all(calls: int) -> tuple[Fold, ...]:
    """Return folds whose hold-out calls together are all calls, but at most MAX_PARTS · MAX_HOLDOUT_CALLS of them.

    If there are more, these are evenly spread. The fitting calls of a fold are all other calls. They are for ranges
    alone, which take no time to fit.
    """
    count = min(calls, MAX_PARTS * MAX_HOLDOUT_CALLS)
    chosen = [place * calls // count for place in range(count)]
    parts = [tuple(chosen[part::MAX_PARTS]) for part in range(MAX_PARTS)]
    return tuple(Fold(tuple(call for call in range(calls) if call not in part), part) for part in parts if part)


@dataclass(frozen=True)
class HoldoutSamples:
    """The hold-out calls of a fold, with the outputs of the float32 file on them."""

    samples: Samples
    calls: tuple[int, ...]
    outputs: Path
    """The folder that `run_reference` writes: a file for each call."""

    def path(self, number: int) -> Path:
        """Return the file of the outputs of that call; `number` counts the hold-out calls."""
        return self.outputs / f"{number}.npy"

    def expected(self) -> Iterator[Arrays]:
        """Yield the outputs of the float32 file on each call."""
        for number in range(len(self.calls)):
            yield load_outputs(self.path(number))


def run_reference(report: ProgressCallback, float32: Path, holdout: HoldoutSamples) -> HoldoutSamples:
    """Write the outputs of the float32 file on the hold-out calls, and return the samples."""
    holdout.outputs.mkdir()
    run = Runner(float32)
    for number, inputs in enumerate(holdout.samples.calls(holdout.calls)):
        save_outputs(run(inputs), holdout.path(number))
        report(number + 1, len(holdout.calls))
    return holdout


@dataclass(frozen=True)
class HoldoutCandidate:
    """A float32 file, the ranges of its activations, and corrections of its layers that are not applied yet."""

    model: Path
    ranges: tuple[Range, ...]
    granularity: WeightGranularity
    corrections: tuple[str, ...]
    """The keys of the corrections of layers."""
    fitted: FittedLayers | None
    """The fitted values of the layers; None without corrections."""
    templates: Path
    """The folder of the quantized file of this model with these ranges, without corrections."""
    base: Path | None = None
    """The folder of such a file with other ranges, from which this one is made; None if the quantizer makes it."""

    @property
    def is_quantized(self) -> bool:
        """Whether the quantized file without corrections exists."""
        return (self.templates / TEMPLATE).exists()

    @property
    def lacks_base(self) -> bool:
        """Whether the file that this one is made from does not exist yet."""
        return self.base is not None and not (self.base / TEMPLATE).exists()


def holdout_fidelity(
    report: ProgressCallback, candidate: HoldoutCandidate, variant: Mode, holdout: HoldoutSamples, path: Path
) -> dict[str, SignalAndNoise]:
    """Return the fidelity of each output to the float32 file's on hold-out calls. `path` is for a temporary file.

    For int8, the quantized file runs. For int16, the float32 file runs with rounded weights alone, since LiteRT has no
    fast kernels for int16 activations. The rounding of activations is left out.
    """
    if variant.activation_bits == 16:
        _write_with_rounded_weights(candidate, path)
    else:
        _quantize(candidate, variant, path)
    run, inputs = Runner(path), holdout.samples.calls(holdout.calls)
    pairs = zip(holdout.expected(), map(run, inputs), strict=True)
    fidelity = _fidelity(report, pairs, len(holdout.calls))
    path.unlink()
    return fidelity


def quantize_uncorrected(report: ProgressCallback, candidate: HoldoutCandidate, variant: Mode, path: Path) -> None:
    """Write the quantized file without corrections, unless it exists. `path` is for a temporary file."""
    _uncorrected_file(candidate, variant, path)
    report(1, 1)


def output_errors(
    report: ProgressCallback, path: Path, float32: Path, data: tuple[Samples, Sequence[int]]
) -> dict[str, SignalAndNoise]:
    """Return the fidelity of each output of the file to the float32 file's on these calls."""
    samples, calls = data
    run_float32, run = Runner(float32), Runner(path)
    return _fidelity(report, ((run_float32(arrays), run(arrays)) for arrays in samples.calls(calls)), len(calls))


def _fidelity(
    report: ProgressCallback, pairs: Iterable[tuple[Arrays, Arrays]], calls: int
) -> dict[str, SignalAndNoise]:
    """Return the sums of squares of each output's expected values, and of the errors of its values.

    Each pair holds the expected outputs and the outputs of one call.
    """
    rows: dict[str, list[np.ndarray]] = {}
    for number, (expected, outputs) in enumerate(pairs, 1):
        for name, values in expected.items():
            rows.setdefault(name, []).append(errors(values, outputs[name]))
        report(number, calls)
    return {name: SignalAndNoise.of(np.stack(by_call)) for name, by_call in rows.items()}


def _write_with_rounded_weights(candidate: HoldoutCandidate, path: Path) -> None:
    content = mapped_content(candidate.model)
    corrected = corrected_layers(content, candidate.fitted, candidate.granularity, candidate.corrections)
    path.write_bytes(with_rounded_weights(content, corrected))


def _quantize(candidate: HoldoutCandidate, variant: Mode, path: Path) -> None:
    """Write the quantized file of the candidate: the file without corrections, with the constants of corrected layers.

    It does not depend on the candidates before it. If the file cannot be patched, the quantizer is called again.
    """
    content, keys = mapped_content(candidate.model), candidate.corrections
    uncorrected = _uncorrected_file(candidate, variant, path)
    if not keys:
        path.write_bytes(uncorrected)
        return
    corrected = corrected_layers(content, candidate.fitted, candidate.granularity, keys)
    if (candidate.templates / PATCHABLE).exists():
        path.write_bytes(patch(uncorrected, content, corrected))
        return
    model = path.with_suffix(".float32")
    model.write_bytes(correct(content, corrected, keys))
    quantize_to_compare(QuantizerInput(model, candidate.model, candidate.ranges), _dense(variant), path)
    model.unlink()


def _dense(variant: Mode) -> Mode:
    """Return the variant without sparse weights: its answers are the same, and its constants can be patched."""
    return variant.model_copy(update={"sparse": "off"})


def _uncorrected_file(candidate: HoldoutCandidate, variant: Mode, path: Path) -> bytes:
    """Return the quantized file without corrections, which candidates with the same ranges share."""
    variant, template = _dense(variant), candidate.templates / TEMPLATE
    if not candidate.is_quantized:
        candidate.templates.mkdir(parents=True, exist_ok=True)
        temporary = path.with_suffix(".template")
        content = _with_other_ranges(candidate)
        if content is None:
            uncorrected = QuantizerInput(candidate.model, candidate.model, candidate.ranges)
            quantize_to_compare(uncorrected, variant, temporary)
        else:
            temporary.write_bytes(content)
        (candidate.templates / RANGES).write_bytes(_RANGES.dump_json(candidate.ranges))
        if _is_patchable(candidate, temporary, has_base=content is not None):
            (candidate.templates / PATCHABLE).touch()
        temporary.replace(template)  # another process may have written the same file
    return template.read_bytes()


def _is_patchable(candidate: HoldoutCandidate, uncorrected: Path, has_base: bool) -> bool:
    """Return whether the constants of corrections can take the place of those in the file without corrections.

    If it was made from a file with other ranges, it has the same constants, but for the scales of biases.
    """
    if has_base and candidate.base is not None:
        return (candidate.base / PATCHABLE).exists()
    content = mapped_content(candidate.model)
    return has_constants(uncorrected.read_bytes(), content, corrected_layers(content, None, candidate.granularity, ()))


def _with_other_ranges(candidate: HoldoutCandidate) -> bytes | None:
    """Return the file that is made from one with other ranges; None if there is none, or if it cannot be."""
    if candidate.base is None or candidate.lacks_base:
        return None
    quantized, before = (candidate.base / name for name in (TEMPLATE, RANGES))
    ranges = _RANGES.validate_json(before.read_bytes())
    return with_other_ranges(quantized.read_bytes(), mapped_content(candidate.model), ranges, candidate.ranges)


_RANGES = TypeAdapter(tuple[Range, ...])
