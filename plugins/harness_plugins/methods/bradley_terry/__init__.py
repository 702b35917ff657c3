"""Bradley-Terry: a reward model learns from pairs which answer people preferred."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

from pydantic import Field, NonNegativeFloat

from harness.api import MethodRegistration, Options, hookimpl

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping


class BradleyTerryOptions(Options):
    """Options of ``bradley-terry``."""

    margin: Annotated[float, Field(allow_inf_nan=False)] | str = Field(0.0, union_mode="left_to_right")
    """By how much the chosen answer should lead: a number, or the name of a column that has one for each pair."""
    center_rewards_coefficient: NonNegativeFloat = 0.0
    """Weight of the mean of (r_chosen + r_rejected)^2, which keeps rewards around 0; TRL's name. 0 turns it off."""
    head_learning_rate: NonNegativeFloat | None = None
    """Peak rate of the new head; that of the recipe where null."""


def _by_options(options: BradleyTerryOptions) -> Mapping[str, Any]:
    return {"reads": (options.margin,)} if isinstance(options.margin, str) else {}


@hookimpl
def harness_register_methods() -> Iterable[MethodRegistration]:
    """Offer ``bradley-terry``."""
    return [
        MethodRegistration(
            name="bradley-terry",
            summary="Reward model by Bradley-Terry: raise the chosen answer's score above the rejected one's",
            options=BradleyTerryOptions,
            build="harness_plugins.methods.bradley_terry.method:BradleyTerry",
            source="https://arxiv.org/abs/2203.02155",
            needs=frozenset({"preferences"}),
            trains="reward_model",
            start="after",
            mixes_supervision=False,
            by_options=_by_options,
        )
    ]
