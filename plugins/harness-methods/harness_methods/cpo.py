"""CPO: contrastive preference optimisation, DPO's loss without its reference model and with a supervised term."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal, Self

from pydantic import Field, model_validator

from harness.api import InputError, MethodRegistration, Options, Preset, Stateless, hookimpl

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from torch import Tensor

    from harness.api import Batch, Completions, Run


class CPOOptions(Options):
    """Options of ``cpo``."""

    beta: Annotated[float, Field(gt=0.0, allow_inf_nan=False)] = 0.1
    """Scale of the log-probs that are compared."""
    alpha: Annotated[float, Field(ge=0.0, allow_inf_nan=False)] = 1.0
    """Weight of the supervised term on the chosen answers; TRL's cpo_alpha."""
    loss_type: Literal["sigmoid", "hinge", "ipo", "simpo"] = "sigmoid"
    """sigmoid and hinge compare the log-probs of whole answers; ipo and simpo their means over tokens."""
    simpo_gamma: Annotated[float, Field(ge=0.0, allow_inf_nan=False)] = 0.5
    """Margin of loss_type: simpo, absolute."""
    label_smoothing: Annotated[float, Field(ge=0.0, lt=0.5)] = 0.0
    """Assumed probability that the two answers of a pair are the wrong way round; for sigmoid and simpo."""
    alphapo: Annotated[float, Field(allow_inf_nan=False)] = 0.0
    """AlphaPO's a: compare (1 - P^-a) / a in place of log P; 0 for log P. TRL's alpha."""
    nll_reduction: Literal["token_mean", "seq_sum"] = "token_mean"
    """Supervised term: the mean over the tokens of all chosen answers (TRL and the authors' code), or the mean over
    answers of a sum over tokens (the paper)."""
    disable_dropout: bool = True
    """Compute log-probs without the recipe's dropout."""

    @model_validator(mode="after")
    def _smoothing(self) -> Self:
        if self.label_smoothing and self.loss_type not in {"sigmoid", "simpo"}:
            message = f"label_smoothing is for loss_type sigmoid or simpo, got {self.loss_type}"
            raise ValueError(message)
        return self


@hookimpl
def harness_register_methods() -> Iterable[MethodRegistration]:
    """Offer ``cpo``."""
    trl = {
        "method_learning_rate": 1e-6, "restart_schedule": "linear", "method_warmup_steps": 0, "batch_size": 8,
        "optimizer": "adamw", "weight_decay": 0.0, "max_grad_norm": 1.0, "dropout": 0.0,
    }  # fmt: skip
    return [
        MethodRegistration(
            name="cpo",
            summary="Contrastive preference optimisation: DPO's loss without reference, with a supervised term",
            options=CPOOptions,
            build="harness_methods.cpo:CPO",
            source="https://arxiv.org/abs/2401.08417",
            needs=frozenset({"preferences"}),
            start="after",
            presets={
                "paper": Preset(
                    options={"nll_reduction": "seq_sum"},
                    summary="The paper's formula, Eq. 3 to 5, with TRL's beta and alpha",
                ),
                "trl": Preset(
                    options={"beta": 0.1, "alpha": 1.0}, recipe=trl, summary="The defaults of TRL's CPOConfig"
                ),
            },
            default_preset="trl",
        )
    ]


class CPO(Stateless):
    """Contrastive preference optimisation (Xu et al. 2024, arXiv:2401.08417), Eq. 3 to 5.

    In formulas, with l(y) = log p(y | x), summed over the tokens of y, EOS included, m(y) its mean over tokens, and
    D = l(y_w) - l(y_l) for sigmoid and hinge, D = m(y_w) - m(y_l) for ipo and simpo::

        sigmoid   - log s(beta D)
        hinge     max(0, 1 - beta D)
        ipo       (D - 1 / (2 beta))^2
        simpo     - log s(beta D - simpo_gamma)
        L         = mean over pairs of that + alpha NLL(y_w)

    With ``alphapo: a`` each l, or m, becomes (1 - exp(-a l)) / a first (AlphaPO, arXiv:2501.03884). It is DPO where
    the reference model finds both answers of every pair equally likely, and ``simpo`` with ``loss_type: simpo`` and
    ``alpha: 0``.

    Degenerate cases: a pair of which an answer has no token has no share in either term; a batch of none moves nothing.
    Two equal answers have a loss of log 2 (simpo: - log s(-simpo_gamma)) and a gradient of the supervised term alone.

    Differs from the paper:

    1. The paper's NLL is that of whole answers; its code and TRL take the mean over the batch's tokens, as is done
       here unless ``preset: paper``, or ``nll_reduction: seq_sum``, is named.
    2. A pair of which an answer is too long is left out, for every method alike, where its code and TRL cut.
    """

    def __init__(self, options: CPOOptions) -> None:
        """Keep the options."""
        self.options = options

    def step(self, run: Run, batch: Batch) -> Mapping[str, float]:
        """Take one optimiser step.

        Logged, as means over pairs before the update: ``rewards/chosen`` and ``rewards/rejected``, beta times what is
        compared; ``rewards/margins``, their difference; ``rewards/accuracies``, the share of pairs where it is above 0.
        """
        options = self.options
        if batch.pairs is None:
            raise InputError("the training rows have no pairs", where="method cpo", expected="preferences")
        answers = batch.pairs.chosen.join(batch.pairs.rejected)
        there = (answers.lengths > 0).all(1)
        pairs = run.total(there.sum()).clamp(min=1)
        tokens = run.total((answers.lengths[:, 0] * there).sum()).clamp(min=1)

        def loss(batch: Batch, answers: Completions, there: Tensor) -> Mapping[str, Tensor]:
            logps = run.logprobs(batch, answers, dropout=not options.disable_dropout).values.double().sum(-1)
            scores = logps
            if options.loss_type in {"ipo", "simpo"}:
                scores = scores / answers.lengths.clamp(min=1)
            if options.alphapo:
                scores = -(-options.alphapo * scores).expm1() / options.alphapo
            rewards, margins = options.beta * scores, scores[:, 0] - scores[:, 1]
            said = {"rewards/chosen": rewards[:, 0], "rewards/rejected": rewards[:, 1]}
            said |= {"rewards/margins": options.beta * margins, "rewards/accuracies": margins > 0}
            for name, value in said.items():
                run.log(name, value.detach() * there, there)
            shares = {"cpo": (pair_losses(margins, options) * there).sum() / pairs}
            if options.alpha:
                count = tokens if options.nll_reduction == "token_mean" else pairs
                shares["sft"] = -options.alpha * (logps[:, 0] * there).sum() / count
            return shares

        run.update(loss, batch=batch, answers=answers, there=there)
        return {}


def pair_losses(margins: Tensor, options: CPOOptions) -> Tensor:
    """Return the loss of each pair, (b,), from D."""
    from torch.nn.functional import logsigmoid

    e = options.label_smoothing
    if options.loss_type == "ipo":
        return (margins - 1 / (2 * options.beta)).square()
    if options.loss_type == "hinge":
        return (1 - options.beta * margins).clamp(min=0)
    lead = options.beta * margins - (options.simpo_gamma if options.loss_type == "simpo" else 0.0)
    return -(1 - e) * logsigmoid(lead) - e * logsigmoid(-lead)
