"""The result of a run, as frozen values. The fields are the keys of report.json; a result also has an exit code."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

from tflq.calibrate.data_checks import RangeComparison
from tflq.calibrate.lower_masks import MaskReport
from tflq.errors import TflqError
from tflq.inputs.checks import InputSummary
from tflq.refine import RefinementReport
from tflq.result.activation_histogram import ActivationHistogram
from tflq.result.file_figures import CompressionStats, File, FileFigures, Finding, Output
from tflq.result.layer_figures import LayerFigures
from tflq.rules.violation import Violation
from tflq.targets.target_verdict import TargetVerdict
from tflq.training.outcome import Phase
from tflq.verdicts import Gate, Status

OP_TYPE = re.compile(r"^(\w+) '.* in float: ", re.MULTILINE)
"""The type of an op that stays in float, in the words of a contract."""


UNTRAINED = "the float32 file before training"
"""What a trained variant is compared with if the recipe has no untrained variant of its mode."""


@dataclass(frozen=True)
class Gain:
    """A trained variant, compared with the untrained variant of the same mode."""

    against: str
    """The name of the untrained variant, or `UNTRAINED`."""
    value: float
    """The improvement of the metric. It is positive if training helped, and negative if training did harm."""
    lost: float
    """The loss of the untrained variant against the float32 .tflite."""
    better: str = ""
    """The untrained variant of the same mode that loses less than this one, and least of all; else empty."""
    needs_more_training: bool = False
    """Whether the samples show that a file with float weights lost by its training."""

    @property
    def share(self) -> float | None:
        """The share of the loss that training recovered; None if there was no loss."""
        return self.value / self.lost if self.lost > 0 else None

    @property
    def in_words(self) -> str:
        advice = f". {self.better} needs no training and loses less: ship that file" if self.better else ""
        if self.needs_more_training:
            advice = ". Train for more epochs or with a larger learning_rate"
        return f"{self._change}{advice}"

    @property
    def _change(self) -> str:
        if self.against == UNTRAINED:
            change = f"is better by {self.value:.4f} than" if self.value > 0 else f"loses {-self.value:.4f} against"
            return f"{'is as good as' if self.value == 0 else change} {UNTRAINED}"
        if self.share is None:
            change = f"is better by {self.value:.4f} than" if self.value > 0 else f"loses {-self.value:.4f} more than"
            return f"{'is as good as' if self.value == 0 else change} {self.against}, which loses nothing"
        if self.value <= 0:
            return f"recovers nothing of the {self.lost:.4f} that {self.against} loses ({self.value:+.4f})"
        if self.share > 1:
            loss = f"which loses {self.lost:.4f}: it is better than the float32 file"
            return f"is better by {self.value:.4f} than {self.against}, {loss}"
        return f"recovers {self.value:.4f} of the {self.lost:.4f} that {self.against} loses ({self.share:.0%})"


@dataclass(frozen=True)
class TrainingReport:
    """The training of the trained variants."""

    dataset: str
    samples: int
    of: int | None
    """The number of rows in the dataset; None if it is known only after reading all of it."""
    loss: str
    from_logits: bool | None
    """Whether the model returns logits, for a cross-entropy loss; None for other losses."""
    metric: str
    phases: tuple[Phase, ...]
    skipped_layers: tuple[str, ...]
    left_in_float: tuple[str, ...]
    """The layers without weights that quantization-aware training cannot quantize."""
    unchanged_kernels: tuple[str, ...]
    """The layers whose depthwise kernels pruning and clustering leave as they are."""
    seconds: float


@dataclass(frozen=True)
class Variant:
    """A row of the report: one variant of the recipe, or an existing file."""

    name: str
    mode: str | None
    """The mode of the variant; None for an existing file."""
    file: File | None = None
    size_ratio: float | None = None
    measured: FileFigures | None = None
    gates: tuple[Gate, ...] = ()
    violations: tuple[Violation, ...] = ()
    error: TflqError | None = None
    is_reproduced: bool | None = None
    """Whether a second conversion gave the same bytes; None if there was no second conversion."""
    seconds: float = 0.0
    is_trained: bool = False
    compression: CompressionStats | None = None
    refinement: RefinementReport | None = None
    """The corrections before quantization; None if none were requested."""
    gain: Gain | None = None
    findings: tuple[Finding, ...] = ()
    targets: tuple[TargetVerdict, ...] = ()
    """The verdict of each target of the recipe on the file."""
    artifacts: tuple[str, ...] = ()
    """The names of the source files for firmware, beside the file."""
    layers: LayerFigures | None = None
    """The activations along the graph; None if they were not to be compared. Only report.html has them."""

    @property
    def exit_code(self) -> int:
        broken = any(violation.severity == "error" for violation in self.violations)
        failed = any(not gate.passed for gate in self.gates)
        return max(self.error.exit_code if self.error else 0, 6 if broken else 0, 1 if failed else 0)

    @property
    def is_poor(self) -> bool:
        """Whether an output has little in common with that of the float32 file."""
        return any(finding.kind == "poor" for finding in self.findings)

    @property
    def status(self) -> Status:
        if self.error:
            return "error"
        if self.exit_code == 0:
            return "poor" if self.is_poor else "ok"
        return "failed" if self.exit_code == 1 else "broken"

    @property
    def why(self) -> str:
        """The reason in one line if the status is not ok; else empty. It names all ops that break the contract."""
        if self.error:
            return str(self.error)
        problems = [f"{v.where} {v.message}" for v in self.violations if v.severity == "error"]
        problems += [gate.in_words for gate in self.gates if not gate.passed]
        problems += [f"{f.where} {f.message}" for f in self.findings if f.kind == "poor"]
        if len(problems) < 2:
            return "".join(problems)
        types = dict.fromkeys(OP_TYPE.findall("\n".join(problems[1:])))
        return f"{problems[0]} (and {len(problems) - 1} more{': ' if types else ''}{', '.join(types)})"


@dataclass(frozen=True)
class DatasetReport:
    """The samples of a run, and their dataset."""

    dataset: str
    samples: int
    of: int | None
    """The number of rows in the dataset; None if it is known only after reading all of it."""
    inputs: tuple[InputSummary, ...]


FoundBy = Literal["observation", "TensorFlow's calibrator", "the public converter", "quantization-aware training"]
"""The origin of the ranges. The public converter computes the ranges again for each file."""


@dataclass(frozen=True)
class RangeReport:
    """The ranges of the activations, which all variants share."""

    method: str
    found_by: FoundBy
    reason: str | None
    """The reason why the ranges could not be observed; None if they were observed."""
    activations: int | None
    clips: tuple[RangeComparison, ...]
    """The activations with rare values far from the others, and the part of the range that each method keeps."""
    masks: MaskReport | None = None
    """The attention masks that are too large for integers; None if there are none."""


@dataclass(frozen=True)
class Baseline:
    """The float32 baseline, with which all files are compared, and the source as TensorFlow runs it."""

    source_bytes: int
    source_metric: float | None
    source_error: str | None
    float32_bytes: int
    float32_metric: float | None
    fidelity: dict[str, Output]
    """The fidelity of the source's outputs to the outputs of the float32 file."""
    source_samples: int | None
    """The number of samples that the source was measured on; None if TensorFlow cannot run it."""


@dataclass(frozen=True)
class Stage:
    """A stage of the run."""

    name: str
    seconds: float


@dataclass(frozen=True)
class Run:
    """The time and memory of a run."""

    seconds: float
    peak_rss_bytes: int
    """The peak resident memory of the largest process."""
    stages: tuple[Stage, ...]


@dataclass(frozen=True)
class Result:
    """The complete result of one recipe."""

    name: str
    recipe: str
    """The resolved recipe, in YAML."""
    environment: dict[str, str]
    warnings: tuple[str, ...]
    calibration: DatasetReport | None
    range_report: RangeReport | None
    evaluation: DatasetReport
    """The samples that the recipe selects. A file may be measured on fewer."""
    metric: str | None
    """The name of the metric; None if there is no metric."""
    baseline: Baseline
    variants: tuple[Variant, ...]
    run: Run
    training: TrainingReport | None = None
    histograms: tuple[ActivationHistogram, ...] = ()
    """The histograms of a few activations. Only report.html has them."""

    @property
    def exit_code(self) -> int:
        """The most serious exit code of all variants."""
        return max((variant.exit_code for variant in self.variants), default=0)
