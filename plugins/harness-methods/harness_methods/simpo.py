"""SimPO: simple preference optimisation, with the mean log-prob of a token for a reward and a margin to reach."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Literal, Self

from pydantic import Field, model_validator

from harness.api import InputError, MethodRegistration, Options, Preset, Stateless, hookimpl

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from torch import Tensor

    from harness.api import Batch, Completions, Run


class SimPOOptions(Options):
    """Options of ``simpo``."""

    beta: Annotated[float, Field(gt=0.0, allow_inf_nan=False)] = 2.0
    """Scale of the reward, which is beta times the mean log-prob of an answer's tokens."""
    gamma: Annotated[float, Field(ge=0.0, allow_inf_nan=False)] = 0.5
    """Margin by which the chosen answer's reward is to exceed the other's. It is absolute, as TRL's simpo_gamma: the
    authors' gamma_beta_ratio times beta."""
    loss_type: Literal["sigmoid", "hinge"] = "sigmoid"
    """sigmoid (Eq. 6) or hinge."""
    label_smoothing: Annotated[float, Field(ge=0.0, lt=0.5)] = 0.0
    """Assumed probability that the two answers of a pair are the wrong way round; for sigmoid."""
    sft_weight: Annotated[float, Field(ge=0.0, allow_inf_nan=False)] = 0.0
    """Weight of a supervised term on the chosen answers beside it, a mean over their tokens; TRL's cpo_alpha, which is
    1 unless set."""
    disable_dropout: bool = True
    """Compute log-probs without the recipe's dropout."""

    @model_validator(mode="after")
    def _smoothing(self) -> Self:
        if self.label_smoothing and self.loss_type != "sigmoid":
            message = f"label_smoothing is for loss_type sigmoid, got {self.loss_type}"
            raise ValueError(message)
        return self


def _published(rate: float, *, batch_size: int = 128) -> dict[str, Any]:
    """Return the recipe of the authors' runs, but for their warm-up over a tenth of the steps."""
    return {
        "batch_size": batch_size, "method_epochs": 1, "method_learning_rate": rate, "restart_schedule": "cosine",
        "optimizer": "adamw", "weight_decay": 0.0, "dropout": 0.0,
    }  # fmt: skip


@hookimpl
def harness_register_methods() -> Iterable[MethodRegistration]:
    """Offer ``simpo``."""
    trl = {
        "method_learning_rate": 1e-6, "restart_schedule": "linear", "method_warmup_steps": 0, "batch_size": 8,
        "optimizer": "adamw", "weight_decay": 0.0, "max_grad_norm": 1.0, "dropout": 0.0,
    }  # fmt: skip
    return [
        MethodRegistration(
            name="simpo",
            summary="Simple preference optimisation: mean log-probs of chosen and rejected answers, without reference",
            options=SimPOOptions,
            build="harness_methods.simpo:SimPO",
            source="https://arxiv.org/abs/2405.14734",
            needs=frozenset({"preferences"}),
            start="after",
            mixes_supervision=False,
            presets={
                "official": Preset(
                    options={"beta": 2.0, "gamma": 0.5},
                    recipe=_published(1e-6),
                    summary="The defaults of the authors' code: beta 2 and gamma / beta 0.25",
                ),
                "mistral-base": Preset(
                    options={"beta": 2.0, "gamma": 1.6}, recipe=_published(3e-7), summary="As run for Mistral 7B"
                ),
                "llama-3-instruct": Preset(
                    options={"beta": 2.5, "gamma": 1.375},
                    recipe=_published(1e-6),
                    summary="As run for Llama 3 8B Instruct",
                ),
                "trl": Preset(
                    options={"beta": 0.1, "gamma": 0.5, "sft_weight": 1.0},
                    recipe=trl,
                    summary="The defaults of TRL's CPOConfig with loss_type: simpo, on one device",
                ),
            },
            default_preset="official",
        )
    ]


class SimPO(Stateless):
    """Simple preference optimisation (Meng et al. 2024, arXiv:2405.14734), Eq. 6.

    In formulas, with m(y) the mean log-prob of the tokens of y, EOS included, and D = m(y_w) - m(y_l)::

        L = - log s(beta D - gamma)              sigmoid; mean over pairs
        L = max(0, 1 - beta D + gamma)           hinge

    It is ``cpo`` with ``loss_type: simpo`` and ``alpha: 0``.

    Degenerate cases: a pair of which an answer has no token has no share; a batch of none moves nothing. Two equal
    answers have the loss - log s(-gamma) and no gradient.

    Differs from the paper:

    1. ``gamma`` is the paper's. The authors' code asks for gamma / beta, and shifts the hinge's corner by it as here.
    2. A pair of which an answer is too long is left out, for every method alike, where the authors' code cuts.
    """

    def __init__(self, options: SimPOOptions) -> None:
        """Keep the options."""
        self.options = options

    def step(self, run: Run, batch: Batch) -> Mapping[str, float]:
        """Take one optimiser step.

        Logged, as means over pairs before the update: ``rewards/chosen`` and ``rewards/rejected``, beta m of each
        answer; ``rewards/margins``, their difference; ``rewards/accuracies``, the share of pairs where it is above 0.
        """
        options = self.options
        if batch.pairs is None:
            raise InputError("the training rows have no pairs", where="method simpo", expected="preferences")
        answers = batch.pairs.chosen.join(batch.pairs.rejected)
        there = (answers.lengths > 0).all(1)
        pairs = run.total(there.sum()).clamp(min=1)
        tokens = run.total((answers.lengths[:, 0] * there).sum()).clamp(min=1)

        def loss(batch: Batch, answers: Completions, there: Tensor) -> Mapping[str, Tensor]:
            logps = run.logprobs(batch, answers, dropout=not options.disable_dropout).values.double().sum(-1)
            rewards = options.beta * logps / answers.lengths.clamp(min=1)
            margins = rewards[:, 0] - rewards[:, 1]
            said = {"rewards/chosen": rewards[:, 0], "rewards/rejected": rewards[:, 1], "rewards/margins": margins}
            for name, value in {**said, "rewards/accuracies": margins > 0}.items():
                run.log(name, value.detach() * there, there)
            losses = pair_losses(margins, options)
            shares = {"simpo": (losses * there).sum() / pairs}
            if options.sft_weight:
                shares["sft"] = -options.sft_weight * (logps[:, 0] * there).sum() / tokens
            return shares

        run.update(loss, batch=batch, answers=answers, there=there)
        return {}


def pair_losses(margins: Tensor, options: SimPOOptions) -> Tensor:
    """Return the loss of each pair, (b,), from beta D."""
    from torch.nn.functional import logsigmoid

    lead, e = margins - options.gamma, options.label_smoothing
    if options.loss_type == "hinge":
        return (1 - lead).clamp(min=0)
    return -(1 - e) * logsigmoid(lead) - e * logsigmoid(-lead)
