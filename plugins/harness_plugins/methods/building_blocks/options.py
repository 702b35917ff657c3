"""Options that several methods share, so that one name means one thing in every method. Imports no torch."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Literal, Self, TypeAlias

from pydantic import Field, NonNegativeFloat, NonNegativeInt, PositiveInt, model_validator

from harness.api import Options

if TYPE_CHECKING:
    from collections.abc import Mapping

#: What a sum of token losses is divided by; see :mod:`harness_plugins.methods.building_blocks.supervised`.
SftReduction: TypeAlias = Literal["token_mean", "seq_sum", "seq_mean"]

#: A sampling temperature; 0 decodes greedily.
Temperature: TypeAlias = Annotated[float, Field(ge=0.0, allow_inf_nan=False)]

#: The weight of a method's term; the same name in every method, so that one sweep or override reaches them all.
Coefficient: TypeAlias = Annotated[float, Field(ge=0.0, allow_inf_nan=False)]


class SupervisedCompat(Options):
    """What published code does otherwise in the supervised term; presets set it."""

    token_mean_micro: bool = False
    """Under sft_reduction: token_mean, take the mean of micro-batches' token means, as the ESO authors' code does
    (github.com/boyellow/ESO); of another reduction it says nothing."""
    micro_batch_size: PositiveInt = 8
    """Prompts in a micro-batch of that code, for what it averages within one (token_mean_micro, its gate). Part of the
    objective: how the memory at hand cuts a batch is another matter and changes nothing."""


class CandidateCompat(SupervisedCompat):
    """What published code does otherwise with candidates; presets set it."""

    include_eos_in_logp: bool = True
    """Count the closing EOS in a candidate's log-prob, so that the decision to stop is trained too. The ESO authors'
    code leaves it out, and so does TRL's PPO where padding and EOS are one id."""
    empty_completion: Literal["keep", "zero", "drop"] = "keep"
    """A candidate without a token before its EOS: keep it like any other; zero its log-prob but keep its reward in the
    group, as the ESO authors' code does; or drop it from the group."""
    logprob_dtype: Literal["float32", "bfloat16"] = "float32"
    """Precision of the candidates' log-softmax; bfloat16 in the ESO authors' code (it costs a second forward)."""


class SupervisedOptions(Options):
    """The supervised term on the demonstrations."""

    sft_reduction: SftReduction = "token_mean"
    """Supervised term: token_mean over the batch; seq_sum, the mean over examples of a sum over tokens (Eq. 1);
    seq_mean, the mean over examples of a mean over tokens."""
    compat: SupervisedCompat = SupervisedCompat()
    """Departures of papers and released code, as presets set them."""

    @property
    def sft_micro_batch(self) -> int | None:
        """Prompts in the micro-batches that token means are taken within; None where they are the batch's."""
        by_parts = self.compat.token_mean_micro and self.sft_reduction == "token_mean"
        return self.compat.micro_batch_size if by_parts else None


class CandidateTermOptions(SupervisedOptions):
    """How candidates enter a loss beside the supervised term."""

    use_sft_term: bool = True
    """Add the supervised term; off, the method's own term stands alone."""
    mask_truncated: bool = False
    """Give a candidate that was cut at the length limit no gradient; its reward stays in the group."""
    dropout_in_logp: bool = True
    """Leave the recipe's dropout on while candidates' log-probs are computed (off costs a second forward)."""
    top_k: NonNegativeInt = 0
    """Sample candidates from the k most probable tokens; 0 from all."""
    compat: CandidateCompat = CandidateCompat()
    """Departures of papers and released code, as presets set them."""


class GroupOptions(CandidateTermOptions):
    """A group of candidates for each prompt."""

    temperatures: Annotated[tuple[Temperature, ...], Field(min_length=2)] = (0.5, 1.0, 1.5, 2.0)
    """One candidate a prompt and temperature."""
    sampler: Literal["temperatures", "diverse_beam"] = "temperatures"
    """Sample at the temperatures, or decode by diverse beam search (which reads the three options below instead)."""
    num_beams: Annotated[int, Field(ge=2)] = 4
    """Beams, and so candidates, of diverse_beam."""
    num_beam_groups: PositiveInt = 2
    """Groups of diverse_beam; divides num_beams."""
    diversity_penalty: NonNegativeFloat = 1.0
    """Penalty for a token that another group of diverse_beam chose at the same position."""
    candidate_source: Literal["policy", "reference"] = "policy"
    """Who writes the candidates: the model as it is at each step, or the checkpoint at which the method started, once
    for each prompt."""

    @model_validator(mode="after")
    def _beams(self) -> Self:
        if self.num_beams % self.num_beam_groups:
            message = f"num_beam_groups must divide num_beams, got {self.num_beam_groups} and {self.num_beams}"
            raise ValueError(message)
        if self.sampler == "diverse_beam" and self.top_k:
            message = "top_k is for sampler: temperatures; diverse_beam does not sample"
            raise ValueError(message)
        return self


def group_needs(options: GroupOptions) -> Mapping[str, Any]:
    """Return what a method whose candidates are ``options`` needs beside its reward, as ``by_options`` does."""
    return {"needs": frozenset({"reward", "reference"})} if options.candidate_source == "reference" else {}
