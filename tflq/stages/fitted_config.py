"""A configuration of corrections with the calls that it is fitted to, and the statistics that it needs."""

from __future__ import annotations

from dataclasses import dataclass

from tflq import refine
from tflq.refine import LayerFit, RefinementConfig, RefinementRequest
from tflq.stages.refinement_work import Calls

LAYER_FITS: dict[str, LayerFit] = {
    each.key: each.layer_fit for each in refine.LAYERWISE_CORRECTIONS if each.layer_fit is not None
}
"""The fits to layers beside their statistics, by the key of the correction."""


@dataclass(frozen=True)
class FittedConfig:
    """One configuration of a request, with its corrections fitted to some of the calls."""

    request: RefinementRequest
    config: RefinementConfig
    calls: Calls
    range_calls: Calls | None = None
    """The calls that its ranges cover; None for those of the fit."""

    @property
    def covered(self) -> Calls:
        """The calls that its ranges cover."""
        return self.calls if self.range_calls is None else self.range_calls

    @property
    def needs_means(self) -> bool:
        return bool(self.config.of_layers)

    def may_need_moments(self, is_final: bool) -> bool:
        """Whether the configuration needs second moments, or one that is compared with it later may."""
        keys = self.config.of_layers if is_final else (*self.config.of_layers, *self.request.open_choices)
        return any(key in LAYER_FITS for key in keys)
