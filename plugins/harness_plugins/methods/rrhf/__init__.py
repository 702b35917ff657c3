"""RRHF: rank candidates by their length-normalised log-prob as the reward ranks them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field

from harness.api import MethodRegistration, Preset, hookimpl
from harness_plugins.methods.building_blocks.options import CandidateCompat, Coefficient, GroupOptions, group_needs
from harness_plugins.methods.building_blocks.recipes import COLING_2025, ESO_CODE

if TYPE_CHECKING:
    from collections.abc import Iterable


class RRHFCompat(CandidateCompat):
    """What RRHF's released code (github.com/GanjinZero/RRHF) and the ESO authors' sampler do otherwise."""

    rank_padded_bug: bool = False
    """Divide a candidate's log-prob by the length of the prompt's padded row instead of its own, as RRHF's code does by
    mistake; without length_norm it says nothing."""
    ft_padded_bug: bool = False
    """Divide the fine-tuning term by the length of the prompt's padded row, mean over prompts, as RRHF's code does;
    takes the place of sft_reduction."""
    pair_set: Literal["all", "upper_triangle"] = "all"
    """All pairs of candidates with unequal rewards, or only those whose later (hotter) member is the better one, as the
    ESO authors' sampler keeps."""


class RRHFOptions(GroupOptions):
    """Options of ``rrhf``."""

    coef: Coefficient = 1.0
    """Weight of the ranking term beside the fine-tuning term; rrhf_weight in the released code."""
    pair_reduction: Literal["sum", "mean"] = "sum"
    """Sum over a prompt's pairs or mean."""
    length_norm: bool = True
    """Divide a candidate's log-prob by its length."""
    length_penalty: Annotated[float, Field(ge=0.0, allow_inf_nan=False)] = 1.0
    """Exponent of the length that log-probs are divided by."""
    ft_target: Literal["reference", "best_candidate"] = "reference"
    """What the fine-tuning term raises: the demonstration, or the (first) candidate with the highest reward."""
    rank_demonstration: bool = False
    """Rank the demonstration among the candidates, with the reward that it gets."""
    compat: RRHFCompat = RRHFCompat()
    """Departures of papers and released code, as presets set them."""


@hookimpl
def harness_register_methods() -> Iterable[MethodRegistration]:
    """Offer ``rrhf``."""
    return [
        MethodRegistration(
            name="rrhf",
            summary="Rank candidates by length-normalised log-prob in the order of their rewards, beside fine-tuning",
            options=RRHFOptions,
            build="harness_plugins.methods.rrhf.method:RRHF",
            source="https://arxiv.org/abs/2304.05302",
            needs=frozenset({"reward"}),
            by_options=group_needs,
            presets={
                "paper": Preset(recipe=COLING_2025, active="last", summary="As the ESO paper's baseline, section 2.2"),
                "official": Preset(
                    options={
                        "candidate_source": "reference",
                        "sampler": "diverse_beam",
                        "num_beams": 4,
                        "num_beam_groups": 4,
                        "diversity_penalty": 1.0,
                        "ft_target": "best_candidate",
                        "rank_demonstration": True,
                        "compat": {"rank_padded_bug": True, "ft_padded_bug": True},
                    },
                    # its three epochs are left to the file: they would change the budget beside the other rows
                    recipe={
                        "method_learning_rate": 2e-5,
                        "weight_decay": 0.0,
                        "method_schedule": "restart",
                        "restart_schedule": "cosine",
                        "generate_length": 128,
                    },
                    active="last",
                    summary="RRHF's released code and training script: offline candidates, padded lengths",
                ),
                "eso-authors": Preset(
                    options={
                        "compat": {
                            "token_mean_micro": True,
                            "micro_batch_size": 8,
                            "include_eos_in_logp": False,
                            "pair_set": "upper_triangle",
                        }
                    },
                    recipe=ESO_CODE,
                    active="last",
                    summary="Candidates and pairs as the ESO paper's authors formed them; their loss is unreleased",
                ),
            },
            default_preset="paper",
        )
    ]
