"""The selection of corrections: forward selection with a look back, on samples that nothing was fitted to.

1. Score the configuration that the recipe demands.
2. For each open choice in turn, score the other values of it, given what is kept so far. Keep the nearest. The values
   of later choices are scored at the same time, since what is kept often stays.
3. Look back: go through all choices again, given what is kept now, until nothing changes.
4. Of all that is about as near as the nearest, keep the one with the fewest corrections.
5. Add headroom if it loses little. If it loses more, score both again on all calls: the rare samples that headroom is
   for are seldom among the hold-out calls.
"""

from __future__ import annotations

from collections.abc import Collection, Generator, Mapping
from dataclasses import dataclass, field, replace

from tflq.calibrate.schema import Ranges
from tflq.refine.bias_correction import BIAS_CORRECTION
from tflq.refine.holdout_score import MIN_GAIN_DB, HoldoutScore, prefer_headroom, simplest
from tflq.refine.range_levels import HEADROOM
from tflq.refine.request import RefinementConfig, RefinementRequest

HOPELESS_DB = 3.0
"""A value of a choice that loses more than this at its first trial is not tried again when looking back."""
MAX_PASSES = 3
"""The largest number of times that all choices are gone through."""

Scores = Mapping[RefinementConfig, HoldoutScore]
Configs = list[RefinementConfig]


@dataclass(frozen=True)
class ScoresWanted:
    """Configurations to score."""

    configs: tuple[RefinementConfig, ...]
    on_all_calls: bool = False
    """Whether they are scored on all calls in parts, each with the ranges of the other parts."""


def select_corrections(
    request: RefinementRequest, ranges: Ranges, left_out: Collection[str] = ()
) -> Generator[ScoresWanted, Scores, RefinementConfig]:
    """Select the corrections of a request: yield configurations to score, and return the one to keep.

    `ranges` is the recipe's method of ranges; with `auto`, methods are compared, too. `left_out` are keys of open
    choices that stay off.
    The caller sends the scores of those that could be scored. One that failed is never kept. Return the demanded
    configuration if it failed, or if no other one is nearer.
    """
    selection, kept = _Selection(request, ranges), request.required
    choices = tuple(key for key in request.open_choices if key not in left_out)
    yield from selection.score(_first(request, ranges == "auto"))
    for _ in range(MAX_PASSES if kept in selection.scores else 0):
        before = kept
        for place in range(len(choices)):
            kept = yield from selection.best(kept, choices[place:])
        if kept == before:
            break
    if kept not in selection.scores:
        return request.required
    return (yield from selection.finish())


def _first(request: RefinementRequest, ranges_are_open: bool) -> Configs:
    """Return what is scored first, all at once: the demanded configuration, and what is likely to be needed next."""
    first = [request.required]
    for key in (BIAS_CORRECTION.key, HEADROOM.key):
        if key in request.open_choices:
            first += request.alternatives(first[-1], key, ranges_are_open)
    return first


@dataclass
class _Selection:
    """The scores so far, and the values of choices that are not tried again."""

    request: RefinementRequest
    ranges: Ranges
    scores: dict[RefinementConfig, HoldoutScore] = field(default_factory=dict)
    hopeless: set[tuple[str, object]] = field(default_factory=set)

    def score(self, configs: Configs) -> Generator[ScoresWanted, Scores, None]:
        """Score those configurations that have no score yet."""
        missing = [config for config in dict.fromkeys(configs) if config not in self.scores]
        if missing:
            self.scores |= yield ScoresWanted(tuple(missing))

    def best(
        self, kept: RefinementConfig, choices: tuple[str, ...]
    ) -> Generator[ScoresWanted, Scores, RefinementConfig]:
        """Score the other values of the first choice, and return the nearest; `kept` if none gains MIN_GAIN_DB on it.

        If there is anything to score, score the other values of the later choices, too.
        """
        choice, others = choices[0], self._others(kept, choices[0])
        if not self.scores.keys() >= {*others}:
            yield from self.score([other for each in choices for other in self._others(kept, each)])
        scored = sorted((other for other in others if other in self.scores), key=lambda each: self.scores[each].mean)
        nearest_by_value = {other.value(choice): other for other in scored}
        for other in nearest_by_value.values():
            self._note_hopeless(choice, other, kept)
        nearest = max([kept, *scored], key=lambda config: self.scores[config].mean)
        return nearest if self.scores[nearest].mean >= self.scores[kept].mean + MIN_GAIN_DB else kept

    def _others(self, kept: RefinementConfig, choice: str) -> Configs:
        """Return the configurations with the other values of a choice, without those that are hopeless."""
        alternatives = self.request.alternatives(kept, choice, self.ranges == "auto")
        return [other for other in alternatives if (choice, other.value(choice)) not in self.hopeless]

    def finish(self) -> Generator[ScoresWanted, Scores, RefinementConfig]:
        """Return what to keep of all that was scored."""
        demanded = self.scores[self.request.required]
        kept = simplest(list(self.scores.values()), demanded)
        if HEADROOM.key not in self.request.open_choices or kept.config.headroom != 1:
            return kept.config
        methods = dict.fromkeys((None, kept.config.ranges))
        roomy = [replace(kept.config, headroom="expected", ranges=ranges) for ranges in methods]
        yield from self.score(roomy)
        scored = [self.scores[config] for config in roomy if config in self.scores]
        nearest = prefer_headroom(kept, scored, demanded)
        is_minmax = kept.config.ranges is None and self.ranges in ("auto", "minmax")
        if nearest.config.headroom != 1 or not is_minmax:  # other methods leave out rare values on purpose
            return nearest.config
        return (yield from self._nearer_on_all_calls(kept.config, roomy[0]))

    def _nearer_on_all_calls(
        self, kept: RefinementConfig, roomy: RefinementConfig
    ) -> Generator[ScoresWanted, Scores, RefinementConfig]:
        """Return the configuration with headroom if it is nearer on all calls, else the other one."""
        scores = yield ScoresWanted((kept, roomy), on_all_calls=True)
        is_nearer = scores.keys() >= {kept, roomy} and scores[roomy].mean >= scores[kept].mean + MIN_GAIN_DB
        return roomy if is_nearer else kept

    def _note_hopeless(self, choice: str, other: RefinementConfig, kept: RefinementConfig) -> None:
        if self.scores[kept].mean - self.scores[other].mean > HOPELESS_DB:
            self.hopeless.add((choice, other.value(choice)))
