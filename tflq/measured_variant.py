"""A variant as report.json has it: what advice is reasoned from."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

FAR_SLOWER = 3.0
"""A file is not recommended for a CPU if it is so many times as slow as another one that passes."""
RUNS_WHOLE = "runs whole"
"""The start of a verdict in words, if every op runs on the target."""
SCALE_RULE = "V4"
"""The rule about scales. Its warnings tell of ranges that are far too wide or too narrow."""


@dataclass(frozen=True)
class MeasuredVariant:
    """The measurements of one variant in the report."""

    name: str
    mode: str
    status: str
    is_trained: bool
    size_bytes: int
    milliseconds: float | None
    loss: float | None
    """The drop of the metric from the float32 file; without a metric, the share of samples with another top class."""
    margin: float
    """Half the width of the 95 % interval of the loss."""
    is_scored: bool = True
    """Whether the loss is that of a metric."""
    work: float | None = None
    """The estimated work of one call on a CPU, in multiply-adds of int8."""
    mend: str | None = None
    """What to mend in the file before training; None if nothing was found."""
    verdicts: dict[str, str] = field(default_factory=dict)
    """The verdict of each target of the recipe on the file, in words."""

    @property
    def has_passed(self) -> bool:
        """Whether it passed all gates. A poor output is acceptable if a metric tells more about it."""
        return self.status == "ok" or (self.status == "poor" and self.is_scored)

    @property
    def loss_in_words(self) -> str:
        """The loss with its margin, such as `0.0040 ±0.0020`."""
        return f"{self.loss:.4f}" + (f" ±{self.margin:.4f}" if self.margin else "")


def measurements(variant: Mapping[str, Any]) -> MeasuredVariant:
    """Return the measurements of the variant of report.json."""
    loss, margin = None, 0.0
    if variant["metric"]:
        loss, (low, high) = variant["metric"]["drop"], variant["metric"]["ci95"]
        margin = (high - low) / 2
    elif variant["fidelity"]:
        agreements = [out["agreement"] for out in variant["fidelity"].values() if out["agreement"] is not None]
        loss = 1 - min(agreements) if agreements else None
    return MeasuredVariant(
        name=variant["name"],
        mode=variant["mode"],
        status=variant["status"],
        is_trained=variant.get("trained", False),
        size_bytes=variant["size_bytes"],
        milliseconds=variant["latency_ms"]["median"] if variant["latency_ms"] else None,
        loss=loss,
        margin=margin,
        is_scored=bool(variant["metric"]),
        work=variant.get("work"),
        mend=mend_first(variant),
        verdicts={each["target"]: each["in_words"] for each in variant.get("targets", ())},
    )


def mend_first(variant: Mapping[str, Any]) -> str | None:
    """Return what was found in the variant of the report, with its remedy; None if nothing stands before training.

    A constant or a range out of scale comes first, then channels of unlike scale, then one op that loses much.
    """
    return next(_found(variant), None)


def _found(variant: Mapping[str, Any]) -> Iterator[str]:
    findings = variant.get("findings", ())
    yield from (_in_words(each) for each in findings if each["kind"] == "constant")
    for violation in variant.get("violations", ()):
        if violation["rule"] == SCALE_RULE:
            yield f"{violation['where']} has {violation['message']}: bring the values that it comes from into range"
    for kind in ("dead channels", "broken", "poor"):
        yield from (_in_words(each) for each in findings if each["kind"] == kind and each["remedy"])


def _in_words(finding: Mapping[str, Any]) -> str:
    fact = f"{finding['where']} {finding['message']}"
    parts = [": ".join(part for part in (fact, finding["cause"]) if part), finding["remedy"]]
    return ". ".join(part for part in parts if part)


def fast_enough(variants: Sequence[MeasuredVariant]) -> list[MeasuredVariant]:
    """Return the variants that are not far slower on a CPU than the fastest one."""
    return [variant for variant in variants if _slowdown(variant, variants) < FAR_SLOWER]


def _slowdown(variant: MeasuredVariant, others: Sequence[MeasuredVariant]) -> float:
    """Return how many times as slow as the fastest other one it is: measured, or else estimated from its kernels."""
    times = [other.milliseconds for other in others if other.milliseconds]
    if variant.milliseconds and len(times) == len(others):
        return variant.milliseconds / min(times)
    work = [other.work for other in others if other.work]
    return variant.work / min(work) if variant.work and len(work) == len(others) else 1.0


def slower(chosen: MeasuredVariant, passed: Sequence[MeasuredVariant]) -> str:
    """Name the variants that are smaller, but far slower on a CPU."""
    slow = [variant for variant in passed if variant not in fast_enough(passed)]
    named = [
        f"{variant.name} ({variant.size_bytes:,} bytes, about {_slowdown(variant, passed):.0f} times as slow as the"
        f" fastest{'' if variant.milliseconds else ' by an estimate of its kernels'})"
        for variant in slow
        if variant.size_bytes < chosen.size_bytes
    ]
    return f"; smaller, but far slower on a CPU: {', '.join(named)}" if named else ""
