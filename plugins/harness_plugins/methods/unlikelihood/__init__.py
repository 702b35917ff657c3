"""Unlikelihood: make each prompt's worst candidate less likely."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field

from harness.api import MethodRegistration, Preset, hookimpl
from harness_plugins.methods.building_blocks.options import CandidateCompat, Coefficient, GroupOptions, group_needs
from harness_plugins.methods.building_blocks.recipes import COLING_2025, ESO_CODE

if TYPE_CHECKING:
    from collections.abc import Iterable


class UnlikelihoodCompat(CandidateCompat):
    """What the ESO authors' sampler does otherwise."""

    ties: Literal["share", "first"] = "share"
    """Several candidates with the lowest reward: share the weight among them (nothing where all are equal), or take
    the first, which is the coldest, as the ESO authors' sampler does."""


class UnlikelihoodOptions(GroupOptions):
    """Options of ``unlikelihood``."""

    coef: Coefficient = 0.05
    """Weight of the unlikelihood term."""
    loss: Literal["welleck", "logp_down"] = "welleck"
    """welleck: -log(1 - p) of each token of the worst candidate; logp_down: its log-prob, which has no lower bound."""
    length_norm: bool = False
    """Use the mean over a candidate's tokens, not the sum."""
    min_one_minus_p: Annotated[float, Field(gt=0.0, lt=1.0)] = 1e-20
    """welleck: floor of 1 - p; a token more probable than that gets no gradient."""
    min_logp_per_token: Annotated[float | None, Field(le=0.0, allow_inf_nan=False)] = None
    """logp_down: floor of a token's log-prob; a token less probable than that gets no gradient. None: no floor."""
    compat: UnlikelihoodCompat = UnlikelihoodCompat()
    """Departures of papers and released code, as presets set them."""


@hookimpl
def harness_register_methods() -> Iterable[MethodRegistration]:
    """Offer ``unlikelihood``."""
    return [
        MethodRegistration(
            name="unlikelihood",
            summary="Unlikelihood training on the worst of a group of candidates, beside the supervised term",
            options=UnlikelihoodOptions,
            build="harness_plugins.methods.unlikelihood.method:Unlikelihood",
            source="https://arxiv.org/abs/1908.04319",
            needs=frozenset({"reward"}),
            by_options=group_needs,
            presets={
                "paper": Preset(recipe=COLING_2025, active="last", summary="As the ESO paper's baseline, section 2.2"),
                "official": Preset(
                    options={
                        "compat": {
                            "token_mean_micro": True,
                            "micro_batch_size": 8,
                            "include_eos_in_logp": False,
                            "empty_completion": "zero",
                            "ties": "first",
                        }
                    },
                    recipe=ESO_CODE,
                    active="last",
                    summary="Candidates as the ESO paper's authors drew them; their loss for it was never released",
                ),
            },
            default_preset="paper",
        )
    ]
