"""Best-of-n distillation (RAFT): fine-tune on the best of one's own answers, again and again."""

from __future__ import annotations

import math
from dataclasses import replace
from itertools import chain
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import Field, PositiveInt

from harness.api import Column, Completions, MethodRegistration, Options, Preset, Prompts, Stateless, hookimpl

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from torch import Tensor

    from harness.api import Batch, Rewards, Run


class BestOfNOptions(Options):
    """Options of ``best-of-n``."""

    n_samples: PositiveInt = 4
    """Answers drawn for each prompt at each step, the n of best-of-n."""
    temperature: Annotated[float, Field(gt=0.0, allow_inf_nan=False)] = 1.0
    """Temperature at which they are drawn."""
    selection: Literal["best_per_prompt", "top_fraction_global", "above_mean"] = "best_per_prompt"
    """Answers that are trained on: each prompt's best (RAFT, Algorithm 1); the best top_fraction of all answers of the
    batch, whatever their prompts (LMFlow); or all that are better than the mean of their prompt."""
    top_fraction: Annotated[float, Field(gt=0.0, le=1.0)] = 0.2
    """Share of the batch's answers that selection: top_fraction_global keeps, rounded down."""
    ties: Literal["first", "all", "skip"] = "first"
    """Of equal rewards at the edge of what is kept: keep the first ones, all of them, or none. Of answers to several
    prompts that is first whose row's id is."""
    reduction: Literal["token_mean", "seq_mean", "seq_sum"] = "token_mean"
    """Loss over the tokens of all kept answers: their mean; the mean over answers of a mean over tokens, or of a sum
    over tokens."""
    train_eos: bool = True
    """Train the closing EOS of an answer too; without it nothing teaches the policy to stop."""
    train_on_prompt: bool = False
    """Train the tokens of the prompt too, all but its first."""
    mask_truncated: bool = False
    """Leave answers that were cut at the length limit out before they are ranked."""


@hookimpl
def harness_register_methods() -> Iterable[MethodRegistration]:
    """Offer ``best-of-n``."""
    lmflow = {"n_samples": 1, "temperature": 0.7, "selection": "top_fraction_global", "top_fraction": 0.2,
              "train_eos": False, "train_on_prompt": True}  # fmt: skip
    return [
        MethodRegistration(
            name="best-of-n",
            summary="Best-of-n distillation (RAFT): supervised fine-tuning on the best of the policy's own answers",
            options=BestOfNOptions,
            build="harness_methods.best_of_n:BestOfN",
            source="https://arxiv.org/abs/2304.06767",
            needs=frozenset({"reward"}),
            start="after",
            mixes_supervision=False,
            logs=(Column("kept", "kept %", scale=100.0, digits=1), Column("kept_reward", "reward of kept", digits=3)),
            presets={
                "paper": Preset(summary="RAFT's Algorithm 1: the best answer of each prompt; n is the harness's own"),
                "lmflow": Preset(options=lmflow, summary="The RAFT authors' released code, LMFlow's RaftAligner"),
            },
            default_preset="paper",
        )
    ]


class BestOfN(Stateless):
    """Reward-ranked fine-tuning (Dong et al. 2023, arXiv:2304.06767, Algorithm 1).

    In formulas, for k answers a_j of each prompt x drawn from the policy as it is::

        y*(x) = argmax_j R(x, a_j)
        L     = - log p(y* | x)                      a supervised loss, under the reduction that the options name

    With one answer a prompt it is supervised fine-tuning on the policy's own answers.

    Degenerate cases: an answer without a reward, or without a token, is never kept; a prompt, or a batch, without any
    that is kept has no share, and moves nothing. Equal rewards still train the first answer unless ``ties`` says
    otherwise; ``above_mean`` keeps none of them.

    Differs from the paper:

    1. A stage of the paper (sample, rank, fine-tune) is one optimiser step here; nothing is kept for later epochs.
    2. LMFlow cuts prompts to 16 tokens, which ``preset: lmflow`` does not do: ``recipe.max_prompt_length`` would.
    3. LMFlow never trains an EOS, since it strips special tokens: ``train_eos: false``, as its preset has it.
    """

    def __init__(self, options: BestOfNOptions) -> None:
        """Keep the options."""
        self.options = options

    def step(self, run: Run, batch: Batch) -> Mapping[str, float]:
        """Take one optimiser step.

        Returns:
            ``kept``: share of the answers drawn that are trained on; ``kept_reward``: their mean reward.
        """
        options = self.options
        samples = run.sample(batch, [options.temperature] * options.n_samples)
        rewards = run.reward(batch, samples)
        kept = self._kept(run, batch, samples, rewards)  # (B, K)
        # no forward for what is not trained on: those kept first, as many columns as the prompt with most of them needs
        width = max([1, *kept.sum(1).tolist()])
        index = kept.int().argsort(dim=1, descending=True, stable=True)[:, :width]
        there = kept.gather(1, index)
        targets = samples.pick(index)
        if not options.train_eos:
            targets = replace(targets, lengths=targets.answer_lengths)
        targets = replace(targets, lengths=targets.lengths * there, finished=targets.finished & there)
        rows = batch
        if options.train_on_prompt:
            rows, targets = with_prompts(batch, targets, run.tokenizer.eos_id)
        weights = self._weights(run, targets.lengths)

        def loss(rows: Batch, targets: Completions, weights: Tensor) -> Mapping[str, Tensor]:
            return {"sft": -(weights * run.logprobs(rows, targets).sum().double()).sum()}

        run.update(loss, rows=rows, targets=targets, weights=weights)
        count = float(run.total(kept.sum()))
        said = {"kept": count / float(run.total(kept.numel()))}
        reward = float(run.total((rewards.values * kept).sum()))
        return {**said, "kept_reward": reward / count} if count else said

    def _kept(self, run: Run, batch: Batch, samples: Completions, rewards: Rewards) -> Tensor:
        """Return (B, K) bool: the answers that are trained on."""
        options = self.options
        present = rewards.present & (samples.lengths > 0)
        if options.mask_truncated:
            present = present & samples.finished
        rewards = replace(rewards, present=present, values=rewards.values * present)
        if options.selection == "above_mean":
            # a mean is rounded: what is above it by no more than that is not
            return rewards.centred() > 1e-12 * rewards.values.abs().amax(1, keepdim=True)
        whole = options.selection == "top_fraction_global"
        rows: Mapping[str, Any] = {"ids": batch.ids, "values": rewards.values, "present": present}
        rows = run.gather(rows) if whole else rows
        listed = zip(rows["ids"], rows["values"].tolist(), rows["present"].tolist(), strict=True)
        groups = [[(value, name, j) for j, value in enumerate(row) if there[j]] for name, row, there in listed]
        groups = [list(chain(*groups))] if whole else groups
        # the small number makes up for 0.29 * 100 being less than 29
        count = math.floor(options.top_fraction * len(groups[0]) + 1e-9) if whole else 1
        chosen = {answer for group in groups for answer in best(group, count, options.ties)}
        kept = [[(name, j) in chosen for j in range(present.shape[1])] for name in batch.ids]
        return present.new_tensor(kept).reshape(present.shape)

    def _weights(self, run: Run, lengths: Tensor) -> Tensor:
        """Return (B, N) float64: what the summed log-prob of each target is multiplied by, negated."""
        there = (lengths > 0).double()
        if self.options.reduction == "token_mean":
            return there / run.total(lengths.sum()).clamp(min=1)
        own = lengths.clamp(min=1) if self.options.reduction == "seq_mean" else 1
        return there / (own * run.total(there.sum()).clamp(min=1))


def best(
    answers: Sequence[tuple[float, str, int]], count: int, ties: Literal["first", "all", "skip"]
) -> set[tuple[str, int]]:
    """Return row and place of the ``count`` answers with the largest rewards.

    ``answers`` are reward, row's id and place in the row of all that can be kept; ``ties``: see the options.
    """
    ranked = sorted(answers, key=lambda answer: (-answer[0], *answer[1:]))
    chosen = ranked[:count]
    if chosen and ties != "first":
        edge = chosen[-1][0]
        reaching = [answer for answer in ranked if answer[0] >= edge]
        whole = ties == "all" or len(reaching) == len(chosen)
        chosen = reaching if whole else [answer for answer in chosen if answer[0] > edge]
    return {(name, place) for _, name, place in chosen}


def with_prompts(batch: Batch, answers: Completions, eos_id: int) -> tuple[Batch, Completions]:
    """Return prompts that are cut to their first token, and as answers to them the rest with each answer behind it.

    An absent answer stays absent.
    """
    prompts = batch.prompts
    columns = (prompts.ids, prompts.lengths, answers.ids, answers.lengths)
    listed = zip(*(column.tolist() for column in columns), strict=True)
    joined = [[prompt[1:n] + ids[:m] if m else [] for ids, m in zip(group, lengths, strict=True)]
              for prompt, n, group, lengths in listed]  # fmt: skip
    starts = Prompts(prompts.ids[:, :1], prompts.lengths.clamp(max=1), prompts.texts)
    return replace(batch, prompts=starts), Completions.of(joined, eos_id=eos_id, device=answers.ids.device)
