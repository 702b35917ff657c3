"""ORPO: supervised fine-tuning on preferred answers with a penalty on the odds of rejected ones, without reference."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field

from harness.api import Completions, InputError, MethodRegistration, Options, Preset, Prompts, Stateless, hookimpl

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from torch import Tensor

    from harness.api import Batch, Run


class ORPOOptions(Options):
    """Options of ``orpo``."""

    coef: Annotated[float, Field(ge=0.0, allow_inf_nan=False)] = 0.1
    """Weight of the odds-ratio term beside the supervised one: the paper's lambda, TRL's beta."""
    nll_on: Literal["answer", "prompt_and_answer"] = "answer"
    """Tokens of the supervised term: those of the chosen answer, or of its prompt too, as the authors' code and TRL."""
    nll_reduction: Literal["token_mean", "seq_mean", "seq_sum"] = "token_mean"
    """Supervised term over all chosen answers: the mean over tokens; the mean over answers of a mean over tokens, or of
    a sum over tokens."""
    drop_identical: bool = True
    """Leave out pairs of two equal answers, as the paper does."""


@hookimpl
def harness_register_methods() -> Iterable[MethodRegistration]:
    """Offer ``orpo``."""
    trl = {
        "method_learning_rate": 1e-6, "restart_schedule": "linear", "method_warmup_steps": 0, "batch_size": 8,
        "optimizer": "adamw", "weight_decay": 0.0, "max_grad_norm": 1.0,
    }  # fmt: skip
    code = {"nll_on": "prompt_and_answer", "drop_identical": False}
    return [
        MethodRegistration(
            name="orpo",
            summary="Odds-ratio preference optimisation: fine-tune on chosen answers, at higher odds than rejected",
            options=ORPOOptions,
            build="harness_methods.orpo:ORPO",
            source="https://arxiv.org/abs/2403.07691",
            needs=frozenset({"preferences"}),
            presets={
                "paper": Preset(
                    recipe={"method_learning_rate": 8e-6}, active="all", summary="The paper, with lambda for Mistral 7B"
                ),
                "llama-2": Preset(
                    options={"coef": 0.2}, recipe={"method_learning_rate": 8e-6}, active="all", summary="For Llama 2 7B"
                ),
                "phi-2": Preset(
                    options={"coef": 0.25}, recipe={"method_learning_rate": 8e-6}, active="all", summary="For Phi-2"
                ),
                "official": Preset(
                    options={**code, "coef": 1.0},
                    recipe={"method_learning_rate": 2e-5},
                    active="all",
                    summary="The defaults of the authors' code, without its count of one token of padding",
                ),
                "trl": Preset(options=code, recipe=trl, summary="The defaults of TRL's ORPOConfig, on one device"),
            },
            default_preset="paper",
        )
    ]


class ORPO(Stateless):
    """Monolithic odds-ratio preference optimisation (Hong et al. 2024, arXiv:2403.07691), Eq. 3 to 7.

    In formulas, with m(y) the mean log-prob of the tokens of y, EOS included, and P(y) = exp m(y)::

        g = log (P(y_w) / (1 - P(y_w))) - log (P(y_l) / (1 - P(y_l)))
        L = NLL(y_w) + coef mean over pairs of - log s(g)

    There is no reference model, and no fine-tuning before it is needed.

    Degenerate cases: a pair of which an answer has no token has no share in either term; a batch of none moves nothing.
    Two equal answers have g = 0 and a gradient of the supervised term alone. P is kept below 1 by 1e-7, where its odds
    would be infinite.

    Differs from the paper:

    1. What is averaged over is the whole batch, not a device's.
    2. The authors' code counts one token of padding in every answer that is shorter than its padded row, and its
       ``--disable_prompt_loss`` drops every token of id 0 too. Neither is done here.
    3. A pair of which an answer is too long is left out, for every method alike, where the authors' code and TRL cut.
    """

    def __init__(self, options: ORPOOptions) -> None:
        """Keep the options."""
        self.options = options

    def step(self, run: Run, batch: Batch) -> Mapping[str, float]:
        """Take one optimiser step.

        Logged, as means over pairs before the update: ``log_odds_ratio``, g; ``rewards/accuracies``, the share of
        pairs with g above 0; ``logps/chosen`` and ``logps/rejected``, the mean log-prob of a token.
        """
        options = self.options
        if batch.pairs is None:
            raise InputError("the training rows have no pairs", where="method orpo", expected="preferences")
        answers = batch.pairs.chosen.join(batch.pairs.rejected)
        there = (answers.lengths > 0).all(1)
        if options.drop_identical:
            padded = answers.ids * answers.mask
            equal = (padded[:, 0] == padded[:, 1]).all(1) & (answers.lengths[:, 0] == answers.lengths[:, 1])
            there = there & ~equal
        pairs = run.total(there.sum()).clamp(min=1)
        target = batch.pairs.chosen
        whole: dict[str, Batch | Completions] = {}
        if options.nll_on == "prompt_and_answer":
            starts, target = with_prompt(batch, target, run.tokenizer.eos_id)
            whole = {"starts": starts, "target": target}
        lengths = target.lengths[:, 0]
        if options.nll_reduction == "token_mean":
            weights = there.double() / run.total((lengths * there).sum()).clamp(min=1)
        else:
            weights = there.double() / (pairs * (lengths.clamp(min=1) if options.nll_reduction == "seq_mean" else 1))

        def loss(
            batch: Batch,
            answers: Completions,
            there: Tensor,
            weights: Tensor,
            starts: Batch | None = None,
            target: Completions | None = None,
        ) -> Mapping[str, Tensor]:
            import torch

            logps = run.logprobs(batch, answers)
            chosen = logps.sum()[:, 0] if starts is None or target is None else run.logprobs(starts, target).sum()[:, 0]
            means = logps.values.double().sum(-1) / answers.lengths.clamp(min=1)
            odds = log_odds(means[:, 0]) - log_odds(means[:, 1])
            said = {"log_odds_ratio": odds, "rewards/accuracies": odds > 0}
            for name, value in {**said, "logps/chosen": means[:, 0], "logps/rejected": means[:, 1]}.items():
                run.log(name, value.detach() * there, there)
            losses = -torch.nn.functional.logsigmoid(odds)
            return {
                "sft": -(weights * chosen.double()).sum(),
                "orpo": options.coef * (losses * there).sum() / pairs,
            }

        run.update(loss, batch=batch, answers=answers, there=there, weights=weights, **whole)
        return {}


def log_odds(means: Tensor) -> Tensor:
    """Return log (P / (1 - P)) of P = exp ``means``, (b,) float64 and at most 0."""
    means = means.clamp(max=-1e-7)
    return means - (-means.expm1()).log()


def with_prompt(batch: Batch, answers: Completions, eos_id: int) -> tuple[Batch, Completions]:
    """Return prompts that are cut to their first token, and the rest of each with its answer (B, 1, T) behind it."""
    if not len(batch):  # the share of a process without rows
        return batch, answers
    prompts = batch.prompts
    columns = (prompts.ids, prompts.lengths, answers.ids[:, 0], answers.lengths[:, 0])
    listed = zip(*(column.tolist() for column in columns), strict=True)
    joined = [[prompt[1:n] + answer[:m]] for prompt, n, answer, m in listed]
    starts = Prompts(prompts.ids[:, :1], prompts.lengths.clamp(max=1), prompts.texts)
    return replace(batch, prompts=starts), Completions.of(joined, eos_id=eos_id, device=answers.ids.device)
