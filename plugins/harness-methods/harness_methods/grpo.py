"""GRPO and its kin: Dr. GRPO, DAPO, GSPO (Shao et al. 2024, https://arxiv.org/abs/2402.03300, and those after it)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Literal, Self

from pydantic import Field, PositiveFloat, PositiveInt, model_validator

from harness.api import Column, InputError, MethodRegistration, Options, Preset, Rewards, Stateless, hookimpl

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from torch import Tensor

    from harness.api import Batch, Completions, Run

    Total = Callable[[Tensor | float], Tensor]


class GRPOOptions(Options):
    """Options of ``grpo``; TRL's names where it has them. Defaults are the first paper's but for num_generations."""

    num_generations: Annotated[int, Field(ge=2)] = 8
    """Answers sampled for each prompt, k: a group."""
    temperature: Annotated[float, Field(gt=0.0, allow_inf_nan=False)] = 1.0
    """Sampling temperature; log-probs, ratios and KL are those at this temperature."""
    scale_rewards: Literal["group", "batch", "none"] = "group"
    """Divide advantages by the standard deviation of the group's rewards, or of the whole batch's, or not at all."""
    scale_epsilon: PositiveFloat = 1e-4
    """What is added to that deviation: 1e-4 in TRL, 1e-6 in verl, 1e-8 in Dr. GRPO's code."""
    scale_ddof: Literal[0, 1] = 1
    """That deviation is over n - 1 rewards (1: all code) or over n (0); the papers do not say."""
    importance_sampling_level: Literal["token", "sequence"] = "token"
    """Ratios of each token, or for all tokens of an answer the geometric mean of them (GSPO)."""
    epsilon: Annotated[float, Field(gt=0.0, lt=1.0)] = 0.2
    """Ratios below 1 minus this push no further down."""
    epsilon_high: PositiveFloat | None = None
    """Ratios above 1 plus this push no further up; null for epsilon."""
    delta: PositiveFloat | None = None
    """Ratios above this push nowhere, downwards neither (two-sided clipping; verl's dual clip); null for no limit."""
    loss_reduction: Literal[
        "seq_mean", "token_mean", "token_mean_group", "token_mean_micro", "constant", "constant_sum", "seq_sum"
    ] = "seq_mean"
    """What token losses are divided by, see the method: seq_mean (GRPO, GSPO), token_mean over all answers (TRL's
    dapo), token_mean_group (DAPO's formula), token_mean_micro (TRL's bnpo), constant (Dr. GRPO), constant_sum (verl's
    reading of it), seq_sum (LUSPO)."""
    micro_batch_size: PositiveInt = 1
    """Prompts in a micro-batch of token_mean_micro: part of the objective, not of how a batch is cut to fit memory."""
    length_limit: PositiveInt | None = None
    """L_max of constant, constant_sum and overlong_cache; null for the longest completion that the run samples."""
    beta: Annotated[float, Field(ge=0.0, allow_inf_nan=False)] = 0.04
    """Weight of the KL to the reference in a token's loss (k3); 0 needs no reference."""
    use_bias_correction_kl: bool = False
    """Multiply that KL by the ratio, so that its gradient is the KL's own (TRL's default)."""
    num_iterations: PositiveInt = 1
    """Passes over the answers of a step."""
    num_minibatches: PositiveInt = 1
    """Optimiser steps a pass: the prompts of the step are cut into so many parts, shuffled again in each pass."""
    overlong_cache: PositiveInt | None = None
    """Tokens before length_limit over which 0 to 1 is taken off an answer's reward (DAPO); null for no punishment."""
    drop_equal_groups: bool = False
    """Leave out groups whose rewards are all equal, as if they had not been drawn (DAPO draws others instead)."""
    absent_divisor: Literal["present", "all"] = "present"
    """Average over the answers that have a reward, as if the others had not been drawn; or over all answers (TRL)."""
    mask_truncated: bool = False
    """Leave the tokens of an answer that was cut at the length limit out; it stays in its group and among answers."""
    disable_dropout: bool = True
    """Compute the policy's log-probs without the recipe's dropout; the reference model never has any."""

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.num_iterations * self.num_minibatches > 1 and not self.disable_dropout:
            message = "disable_dropout: false is for one update a batch: ratios to stored log-probs would be noise"
            raise ValueError(message)
        return self


def group_advantages(rewards: Rewards, o: GRPOOptions, total: Total) -> Tensor:
    """Return (R - mean of the group) / (deviation + epsilon), (B, K) float64; exactly 0 in a group of equal rewards."""
    centred = rewards.centred()
    if o.scale_rewards == "none":
        return centred
    count, squares = rewards.counts[:, None], centred.square().sum(1, keepdim=True)
    if o.scale_rewards == "batch":
        count = total(rewards.present.sum())
        mean = total(rewards.values.sum()) / count.clamp(min=1)
        squares = total((rewards.values - mean).where(rewards.present, 0.0).square().sum())
    return centred / ((squares / (count - o.scale_ddof).clamp(min=1)).sqrt() + o.scale_epsilon)


def overlong_punishment(lengths: Tensor, limit: int, cache: int) -> Tensor:
    """Return 0 up to ``limit - cache`` tokens, falling to -1 at ``limit`` and beyond (DAPO, section 3.4)."""
    return ((limit - cache - lengths).double() / cache).clamp(-1.0, 0.0)


def token_losses(
    logp: Tensor, old: Tensor, advantages: Tensor, mask: Tensor, o: GRPOOptions
) -> tuple[Tensor, Tensor, Tensor]:
    """Return the ratio, the loss without KL and whether clipping takes its gradient, for each token: (b, K, T).

    ``logp`` (with gradient) and ``old`` are (b, K, T) log-probs now and at sampling, ``mask`` says which count.
    """
    change = (logp - old).where(mask, 0.0)
    if o.importance_sampling_level == "sequence":
        change = (change.sum(-1, keepdim=True) / mask.sum(-1, keepdim=True).clamp(min=1)).expand_as(logp)
    ratio, a = change.exp(), advantages[..., None]
    low, high = 1 - o.epsilon, 1 + (o.epsilon_high or o.epsilon)
    most = float("inf") if o.delta is None else o.delta
    free = ratio.clamp(max=most)
    held_down, held_up = (ratio < low) | (ratio > max(high, most)), ratio > min(high, most)
    clipped = (held_down & (a < 0)) | (held_up & (a > 0))
    return ratio, -(free * a).minimum(ratio.clamp(low, high) * a), clipped


def kl_terms(logp: Tensor, reference: Tensor, ratio: Tensor, o: GRPOOptions) -> Tensor:
    """Return the k3 estimate of each token's KL to the reference, (b, K, T)."""
    d = reference - logp
    return (d.exp() - d - 1) * (ratio if o.use_bias_correction_kl else 1)


def token_weights(tokens: Tensor, counted: Tensor, limit: int, o: GRPOOptions, total: Total) -> Tensor:
    """Return the weight of each token of an answer in the global loss, (B, K) float64.

    Args:
        tokens: (B, K) float64, how many tokens of each answer are trained.
        counted: (B, K) bool, the answers that means are over.
        limit: L_max.
        o: the options.
        total: sums over all ranks.
    """
    answers = total(counted.double().sum()).clamp(min=1)
    if o.loss_reduction in {"token_mean_group", "token_mean_micro"}:
        import torch

        size = 1 if o.loss_reduction == "token_mean_group" else o.micro_batch_size
        place = torch.arange(len(tokens), device=tokens.device) // size
        nothing = tokens.new_zeros(-(-len(tokens) // size))
        sums = nothing.index_add(0, place, tokens.sum(1)).clamp(min=1)
        there = nothing.index_add(0, place, counted.any(1).double()) > 0
        return (1 / (total(there.sum()).clamp(min=1) * sums[place]))[:, None].expand_as(tokens)
    divisor = {
        "seq_mean": answers * tokens.clamp(min=1),
        "token_mean": total(tokens.sum()).clamp(min=1),
        "constant": answers * limit,
        "constant_sum": answers.new_tensor(limit),
        "seq_sum": answers,
    }
    return (1 / divisor[o.loss_reduction]).expand_as(tokens)


class GRPO(Stateless):
    """Group-relative policy optimisation (Shao et al. 2024, Eq. 3 and 4) and the methods that changed a part of it.

    In formulas, for k answers y_j of each prompt, t over the tokens of one, EOS included, p_old as they were drawn::

        A_j = (R_j - mean R) / (std R + scale_epsilon)              mean and std over the group
        c_t = p(y_jt) / p_old(y_jt)                                 token;    (p(y_j) / p_old(y_j))^(1/|y_j|)  sequence
        l_t = - min(min(c_t, delta) A_j, clip(c_t, 1 - epsilon, 1 + epsilon_high) A_j) + beta q_t
        q_t = e^d - d - 1,  d = log p_ref(y_jt) - log p(y_jt)                               Eq. 4

    with l summed over tokens and then, for N answers of B prompts in the (mini-)batch:

    ================  ==================================================  ==============================
    seq_mean          mean over answers of the mean over its tokens       GRPO, GSPO, TRL ``grpo``
    token_mean        / all tokens                                        TRL ``dapo``
    token_mean_group  mean over prompts of the mean over its tokens       DAPO (arXiv:2503.14476) as printed
    token_mean_micro  mean over micro-batches of their token means        TRL ``bnpo``
    constant          / (N L_max)                                         Dr. GRPO (arXiv:2503.20783)
    constant_sum      / L_max                                             verl ``seq-mean-token-sum-norm``
    seq_sum           / N                                                 LUSPO, with sequence ratios
    ================  ==================================================  ==============================

    GSPO (arXiv:2507.18071) is ``sequence`` with ``seq_mean``. One update a batch has c = 1 and sees no epsilon.

    Differs from the papers:

    1. DAPO's dynamic sampling draws further prompts in place of groups of equal rewards; a step here has one batch.
       ``drop_equal_groups`` leaves such groups out, and a batch is then smaller.
    2. An answer without a reward counts as if it had never been drawn; TRL gives it A = 0 and counts it in all means
       (``absent_divisor: all``). A group of one, or of equal rewards, has A = 0 exactly.
    3. Dropout is off in the policy too; TRL leaves it on (``disable_dropout: false``). With one update a batch p_old is
       p without gradient, and not a second forward.
    4. ``token_mean`` is over the optimiser's batch on all ranks; TRL rescales the count of what was sampled together.
    5. The reference is the checkpoint at which the method started, and is never replaced.
    """

    def __init__(self, options: GRPOOptions) -> None:
        """Keep the options."""
        self.options = options

    def setup(self, run: Run) -> None:
        """Refuse a punishment of lengths that would reach every answer."""
        cache, limit = self.options.overlong_cache or 0, self._limit(run)
        if cache > limit:
            raise InputError(
                "overlong_cache is longer than an answer may be",
                where="method grpo",
                got=cache,
                expected=f"at most {limit}, the longest completion (recipe.generate_length, or length_limit)",
            )

    def step(self, run: Run, batch: Batch) -> Mapping[str, float]:
        """Sample, judge, and take the optimiser steps.

        Logged are ``kl``, nats a token to the reference, with beta, and with several updates ``clipped``, the share of
        tokens whose gradient clipping takes; both over all updates.
        """
        o = self.options
        samples = run.sample(batch, (o.temperature,) * o.num_generations)
        rewards = run.reward(batch, samples)
        drawn = samples.lengths > 0
        present = rewards.present & drawn
        counted = present if o.absent_divisor == "present" else drawn
        if o.drop_equal_groups:
            unequal = Rewards(rewards.values, present).centred().ne(0).any(1, keepdim=True)
            present, counted = present & unequal, counted & unequal
        values = rewards.values
        if o.overlong_cache is not None:
            values = values + overlong_punishment(samples.lengths, self._limit(run), o.overlong_cache)
        rows: dict[str, Any] = {
            "batch": batch,
            "samples": samples,
            "counted": counted,
            "trained": counted & samples.finished if o.mask_truncated else counted,
            "advantages": group_advantages(Rewards(values.where(present, 0.0), present), o, run.total),
        }
        if o.num_iterations * o.num_minibatches > 1:
            rows["old"] = run.logprobs(batch, samples, temperature=o.temperature, dropout=False).values.detach()
        if o.beta:
            rows["reference"] = run.reference_logprobs(batch, samples, temperature=o.temperature).values
        for number in range(o.num_iterations):
            whole = o.num_minibatches == 1
            for part in [rows] if whole else run.shuffle(rows, o.num_minibatches, f"pass {number}"):
                self._update(run, part)
        return {}

    def _limit(self, run: Run) -> int:
        return self.options.length_limit or run.limits.completion

    def _update(self, run: Run, rows: Mapping[str, Any]) -> None:
        """Take one optimiser step, unless no rank has a row."""
        o = self.options
        kept = {name: value for name, value in rows.items() if name != "counted"}
        tokens = (rows["samples"].lengths * rows["trained"]).double()
        weights = token_weights(tokens, rows["counted"], self._limit(run), o, run.total)
        if not float(run.total(len(rows["batch"]))):
            return

        def loss(
            batch: Batch, samples: Completions, trained: Tensor, advantages: Tensor, weights: Tensor, **stored: Tensor
        ) -> Mapping[str, Tensor]:
            values = run.logprobs(batch, samples, temperature=o.temperature, dropout=not o.disable_dropout).values
            logp, mask = values.double(), samples.mask & trained[..., None]
            ratio, losses, clipped = token_losses(logp, stored.get("old", logp.detach()), advantages, mask, o)
            shares = {"grpo": (losses.where(mask, 0.0).sum(-1) * weights).sum()}
            if "old" in stored:
                run.log("clipped", clipped & mask, mask)
            if "reference" in stored:
                kl = kl_terms(logp, stored["reference"].double(), ratio, o).where(mask, 0.0)
                run.log("kl", kl.detach(), mask)
                shares["kl"] = o.beta * (kl.sum(-1) * weights).sum()
            return shares

        run.update(loss, **kept, weights=weights)


_PRESETS = {
    "grpo": Preset(
        options={"num_generations": 64, "beta": 0.04, "loss_reduction": "seq_mean", "scale_rewards": "group"},
        recipe={"method_learning_rate": 1e-6, "generate_length": 1024},
        summary="DeepSeekMath (Shao et al. 2024): one update a batch, 64 answers a prompt",
    ),
    "dr_grpo": Preset(
        options={"num_generations": 8, "beta": 0.0, "loss_reduction": "constant", "scale_rewards": "none"},
        recipe={"generate_length": 3000},
        summary="Dr. GRPO (Liu et al. 2025): neither the group's deviation nor an answer's length divides",
    ),
    "dapo": Preset(
        options={"num_generations": 16, "beta": 0.0, "loss_reduction": "token_mean", "scale_rewards": "group"}
        | {"epsilon": 0.2, "epsilon_high": 0.28, "num_minibatches": 16, "scale_epsilon": 1e-6}
        | {"overlong_cache": 4096, "drop_equal_groups": True},
        recipe={"method_learning_rate": 1e-6, "method_warmup_steps": 20, "batch_size": 512, "generate_length": 20480},
        summary="DAPO (Yu et al. 2025): higher upper clip, token mean, soft punishment; equal groups go, no refill",
    ),
    "gspo": Preset(
        options={"beta": 0.0, "loss_reduction": "seq_mean", "importance_sampling_level": "sequence"}
        | {"epsilon": 3e-4, "epsilon_high": 4e-4, "num_minibatches": 4},
        summary="GSPO (Zheng et al. 2025): ratios of whole answers, four mini-batches",
    ),
    "trl": Preset(
        options={"num_generations": 8, "beta": 0.0, "loss_reduction": "token_mean", "use_bias_correction_kl": True}
        | {"absent_divisor": "all", "disable_dropout": False},
        recipe={"method_learning_rate": 1e-6, "restart_schedule": "linear", "method_warmup_steps": 0}
        | {"optimizer": "adamw", "weight_decay": 0.0, "max_grad_norm": 1.0, "generate_length": 512},
        summary="The defaults of TRL's GRPOConfig",
    ),
}


@hookimpl
def harness_register_methods() -> Iterable[MethodRegistration]:
    """Offer ``grpo``."""
    return [
        MethodRegistration(
            name="grpo",
            summary="Group-relative policy optimisation, with the variants Dr. GRPO, DAPO and GSPO as presets",
            options=GRPOOptions,
            build="harness_methods.grpo:GRPO",
            source="https://arxiv.org/abs/2402.03300",
            needs=frozenset({"reward", "reference"}),
            by_options=lambda options: {} if options.beta else {"needs": frozenset({"reward"})},
            presets=_PRESETS,
            start="after",
            mixes_supervision=False,
            logs=(Column("kl", "KL", digits=3), Column("clipped", "clipped %", scale=100.0, digits=1)),
        )
    ]
