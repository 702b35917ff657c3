"""ReMax: REINFORCE with the greedy answer's reward as baseline (Li et al. 2023, https://arxiv.org/abs/2310.10505)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Literal, Self

from pydantic import Field, PositiveFloat, model_validator

from harness.api import Column, MethodRegistration, Options, Preset, Stateless, hookimpl

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from torch import Tensor

    from harness.api import Batch, Completions, Run


class ReMaxOptions(Options):
    """Options of ``remax``."""

    temperature: Annotated[float, Field(gt=0.0, allow_inf_nan=False)] = 1.0
    """Sampling temperature; log-probs and KL are those at this temperature."""
    reduction: Literal["seq_sum", "token_mean"] = "seq_sum"
    """Mean over prompts of the sum over an answer's tokens (paper), or mean over all tokens (the authors' code)."""
    kl: Literal["none", "immediate", "cumulative"] = "none"
    """No penalty (paper); at each token that of this token alone (the authors' code), or of it and all later ones
    (verl)."""
    kl_coef: Annotated[float, Field(ge=0.0, allow_inf_nan=False)] = 0.05
    """Weight of the KL to the reference (k1) in a token's return, unless kl is none."""
    gamma: Annotated[float, Field(gt=0.0, le=1.0)] = 1.0
    """Discount of the advantage for each token up to the end, the last one included."""
    clip: PositiveFloat | None = None
    """Largest advantage on either side, before it is discounted; null for no limit."""
    mask_truncated: bool = False
    """Leave the tokens of an answer that was cut at the length limit out; its prompt stays in the mean."""

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.kl == "cumulative" and self.gamma != 1:
            message = f"kl: cumulative is for gamma 1, got {self.gamma}"
            raise ValueError(message)
        return self

    @property
    def penalised(self) -> bool:
        """Whether there is a KL to the reference at all."""
        return self.kl != "none" and self.kl_coef > 0


def returns(advantages: Tensor, kl: Tensor | None, mask: Tensor, o: ReMaxOptions) -> Tensor:
    """Return what each token's log-prob is weighted by, G, (b, K, T) float64; what stands outside ``mask`` is nothing.

    ``advantages`` are (b, K), ``kl`` (b, K, T) log-ratios to the reference, 0 outside ``mask``; None for no penalty.
    """
    to_go = mask.flip(-1).cumsum(-1).flip(-1)  # tokens from this one to the end
    found = advantages[..., None] * (advantages.new_tensor(o.gamma) ** to_go)
    if kl is None:
        return found
    return found - o.kl_coef * (kl if o.kl == "immediate" else kl.flip(-1).cumsum(-1).flip(-1))


class ReMax(Stateless):
    """REINFORCE against the greedy answer (Li et al. 2023).

    In formulas, for one sampled answer y and the greedy answer y' of each prompt x, t over the tokens of y with EOS::

        A   = R(x, y) - R(x, y')                                    clipped to +- clip
        G_t = gamma^(|y| - t + 1) A - kl_coef KL_t                  KL_t = log p_old(y_t) - log p_ref(y_t), k1
        L   = - sum_t G_t log p(y_t)                                mean over prompts, or over all tokens

    with KL_t of the token alone (immediate) or summed over s >= t (cumulative). Without a KL and with gamma 1 it is
    RLOO but for the baseline: put the mean of the prompt's other samples in the place of R(x, y').

    Differs from the paper and the authors' code:

    1. The paper's formula has neither KL, discount nor clip; the code has all three (``preset: official``).
    2. The code's token mean is taken within a micro-batch; here over the batch on all ranks.
    3. A prompt of which either answer has no reward is left out, as if it were not in the batch.
    4. Where the sampled answer is the greedy one A is 0, whatever the reward says of it each time.
    5. Dropout is off in the policy, so that the log-probs in KL and loss are one.
    """

    def __init__(self, options: ReMaxOptions) -> None:
        """Keep the options."""
        self.options = options

    def step(self, run: Run, batch: Batch) -> Mapping[str, float]:
        """Take one optimiser step.

        Returns:
            ``advantage``: mean of A over prompts, before it is clipped. With a penalty ``kl`` is logged, nats a token.
        """
        o = self.options
        both = run.sample(batch, (o.temperature, 0.0))  # (B, 2, T): sampled, greedy
        rewards = run.reward(batch, both)
        counted = (rewards.present & (both.lengths > 0)).all(1, keepdim=True)
        places = (both.ids[:, 0] == both.ids[:, 1]) | ~both.mask[:, 0]
        same = (both.lengths[:, 0] == both.lengths[:, 1]) & places.all(-1)
        plain = (rewards.values[:, :1] - rewards.values[:, 1:]).where(counted & ~same[:, None], 0.0)
        samples = both.pick(both.lengths[:, :1] * 0)
        trained = counted & samples.finished if o.mask_truncated else counted
        prompts = run.total(counted.sum()).clamp(min=1)
        divisor = prompts if o.reduction == "seq_sum" else run.total((samples.lengths * trained).sum()).clamp(min=1)
        advantages = plain if o.clip is None else plain.clamp(-o.clip, o.clip)
        rows: dict[str, Any] = {"batch": batch, "samples": samples, "trained": trained, "advantages": advantages}
        if o.penalised:
            rows["reference"] = run.reference_logprobs(batch, samples, temperature=o.temperature).values

        def loss(
            batch: Batch, samples: Completions, trained: Tensor, advantages: Tensor, **stored: Tensor
        ) -> Mapping[str, Tensor]:
            logp = run.logprobs(batch, samples, temperature=o.temperature, dropout=False).values.double()
            mask, kl = samples.mask & trained[..., None], None
            if stored:
                kl = (logp.detach() - stored["reference"].double()).where(mask, 0.0)
                run.log("kl", kl, mask)
            weighted = (returns(advantages, kl, mask, o) * logp).where(mask, 0.0)
            return {"remax": -weighted.sum() / divisor}

        run.update(loss, **rows)
        return {"advantage": float(run.total(plain.sum()) / prompts)}


@hookimpl
def harness_register_methods() -> Iterable[MethodRegistration]:
    """Offer ``remax``."""
    return [
        MethodRegistration(
            name="remax",
            summary="REINFORCE with the greedy answer's reward as baseline: one sample a prompt",
            options=ReMaxOptions,
            build="harness_methods.remax:ReMax",
            source="https://arxiv.org/abs/2310.10505",
            needs=frozenset({"reward"}),
            by_options=lambda options: {"needs": frozenset({"reward", "reference"})} if options.penalised else {},
            presets={
                "paper": Preset(
                    options={"reduction": "seq_sum", "kl": "none", "gamma": 1.0},
                    summary="The paper's formula: the plain gradient, no KL",
                ),
                "official": Preset(
                    options={"reduction": "token_mean", "kl": "immediate", "kl_coef": 0.05, "gamma": 0.99, "clip": 5.0},
                    summary="The authors' code as its scripts run it",
                ),
            },
            default_preset="paper",
            start="after",
            mixes_supervision=False,
            logs=(Column("advantage", "advantage", digits=3), Column("kl", "KL", digits=3)),
        )
    ]
