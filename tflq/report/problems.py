"""What is wrong with a variant, as sentences for report.md and report.html."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Literal, TypeVar

from tflq.metrics.drop import uncertainty
from tflq.result import FindingKind, Variant
from tflq.rules.effect import Severity

T = TypeVar("T")


@dataclass(frozen=True)
class Problem:
    """One problem of a variant."""

    kind: Literal["no file", "gate", "uncertain"] | Severity | FindingKind
    text: str


def by_message(messages: Iterable[tuple[str, T]]) -> Iterator[tuple[str, T]]:
    """Yield each message once, with the names of all that it is about. `messages` has a name and a message each."""
    names: dict[T, list[str]] = {}
    for name, message in messages:
        names.setdefault(message, []).append(name)
    yield from ((", ".join(those), message) for message, those in names.items())


def problems(variant: Variant) -> Iterator[Problem]:
    """Yield the problems of the variant, the gravest first."""
    if variant.error:
        yield Problem("no file", str(variant.error))
    for violation in variant.violations:
        runtimes = f" ({violation.runtimes})" if violation.runtimes else ""
        yield Problem(violation.severity, f"{violation.where} {violation.message}{runtimes}")
    for gate in variant.gates:
        if not gate.passed:
            yield Problem("gate", gate.in_words)
    for finding in variant.findings:
        yield Problem(finding.kind, finding.in_words)
    score = variant.measured.metric if variant.measured else None
    if score and score.samples_needed:
        limit = "the limit" if any(gate.name == "max_metric_drop" for gate in variant.gates) else "0"
        drop = f"the drop is {score.drop:.4f} on {score.samples:,} samples"
        yield Problem("uncertain", f"{drop}; {uncertainty(score.samples_needed, limit)}")
