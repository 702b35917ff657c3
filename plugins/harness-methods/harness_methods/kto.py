"""KTO: Kahneman-Tversky optimisation on answers that are each desirable or undesirable, without pairs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Literal, Self

from pydantic import Field, PositiveInt, model_validator

from harness.api import Completions, InputError, MethodRegistration, Options, Preset, Stateless, hookimpl

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from torch import Tensor

    from harness.api import Batch, Run

Weight = Annotated[float, Field(ge=0.0, allow_inf_nan=False)]


class KTOOptions(Options):
    """Options of ``kto``; TRL's names where it has one."""

    beta: Annotated[float, Field(gt=0.0, allow_inf_nan=False)] = 0.1
    """How much a log-ratio to the reference model weighs: larger keeps the policy nearer to it."""
    desirable_weight: Weight = 1.0
    """Weight of desirable answers, lambda_D. With n_D of them and n_U others, keep lambda_D n_D / (lambda_U n_U)
    between 1 and 4/3."""
    undesirable_weight: Weight = 1.0
    """Weight of undesirable answers, lambda_U."""
    labels: Literal["data", "pairs", "threshold", "group_mean"] = "data"
    """What is desirable: answers that the data set labels so; the chosen answer of each pair, with the rejected one
    undesirable; or, of the policy's own answers, those with a reward above threshold, or above their prompt's mean."""
    loss: Literal["kto", "apo_zero_unpaired", "kto_pair"] = "kto"
    """kto; the same with z = 0 (APO-zero, unpaired); or kto_pair, for labels: pairs, where z of chosen answers is the
    mean log-ratio of rejected ones, and the other way round (an early KTO that TRL had)."""
    kl_shift: Literal[1, -1] = 1
    """Whose answer each prompt is mismatched with: that of the next row (paper, HALOs) or of the one before (TRL)."""
    kl_divisor: Literal["m", "nonzero", "printed"] = "m"
    """z is a sum over m mismatched answers divided by m (TRL); by the number of its terms that are not 0 (HALOs); or
    the sum without its last term divided by m, as the paper prints it."""
    n_samples: PositiveInt = 2
    """Answers drawn for each prompt, where labels are those of rewards."""
    temperature: Annotated[float, Field(gt=0.0, allow_inf_nan=False)] = 1.0
    """Temperature at which they are drawn."""
    threshold: Annotated[float, Field(allow_inf_nan=False)] = 0.5
    """Reward above which an answer is desirable under labels: threshold."""
    disable_dropout: bool = True
    """Compute the policy's log-probs without the recipe's dropout; the reference model never has any."""

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.loss == "kto_pair" and self.labels != "pairs":
            message = f"loss kto_pair is for labels: pairs, got {self.labels}"
            raise ValueError(message)
        return self


def _needs(options: KTOOptions) -> Mapping[str, Any]:
    kind = {"data": "labels", "pairs": "preferences"}.get(options.labels, "reward")
    return {"needs": frozenset({"reference", kind})}


@hookimpl
def harness_register_methods() -> Iterable[MethodRegistration]:
    """Offer ``kto``."""
    trl = {
        "method_learning_rate": 1e-6, "restart_schedule": "linear", "method_warmup_steps": 0, "batch_size": 8,
        "optimizer": "adamw", "weight_decay": 0.0, "max_grad_norm": 1.0, "dropout": 0.0,
    }  # fmt: skip
    return [
        MethodRegistration(
            name="kto",
            summary="Kahneman-Tversky optimisation: desirable and undesirable answers, against a fixed reference model",
            options=KTOOptions,
            build="harness_methods.kto:KTO",
            source="https://arxiv.org/abs/2402.01306",
            needs=frozenset({"labels", "reference"}),
            by_options=_needs,
            start="after",
            mixes_supervision=False,
            presets={
                "paper": Preset(
                    recipe={"method_learning_rate": 5e-7, "dropout": 0.0}, summary="The paper's Eq. 7 and 8"
                ),
                "halos": Preset(options={"kl_divisor": "nonzero"}, summary="The KTO authors' code"),
                "trl": Preset(
                    options={"kl_shift": -1}, recipe=trl, summary="The defaults of TRL's KTOConfig, on one device"
                ),
            },
            default_preset="paper",
        )
    ]


class KTO(Stateless):
    """Kahneman-Tversky optimisation (Ethayarajh et al. 2024, arXiv:2402.01306), Eq. 7 and 8.

    In formulas, with h(y) = log p(y | x) - log p_ref(y | x), summed over the tokens of y, EOS included::

        L = lambda_D (1 - s(beta (h(y) - z)))       for a desirable y
        L = lambda_U (1 - s(beta (z - h(y))))       for an undesirable one, mean over all rows
        z = max(0, mean_i of log p(y'_i | x_i) - log p_ref(y'_i | x_i))       without gradient

    where y'_i is the answer of another row, over the whole batch. At p = p_ref every row gives lambda / 2.

    Degenerate cases: an answer without a token, or whose reward is absent or ties with what it is compared with, has no
    share. Where a class is missing the loss is that of the other one. Where all rows have one prompt, as in a batch of
    one, z is 0 (TRL refuses such a batch).

    Differs from the papers:

    1. A neighbour with the same prompt is stepped over, since its answer is no mismatched one.
    2. z is one number for the whole batch. HALOs and TRL take it over one micro-batch of all devices.
    3. A pair is split into two answers of one prompt; each is mismatched with the same side of another pair.
    4. The reference is the checkpoint at which the method starts.
    """

    def __init__(self, options: KTOOptions) -> None:
        """Keep the options."""
        self.options = options

    def step(self, run: Run, batch: Batch) -> Mapping[str, float]:
        """Take one optimiser step.

        Returns:
            ``kl``: z, of ``kto_pair`` that of chosen answers. Logged beside it: ``rewards/chosen`` and
            ``rewards/rejected``, beta h of desirable and of undesirable answers, before the update.
        """
        options = self.options
        answers, desirable, there = self._labelled(run, batch)  # (B, K, T), (B, K), (B, K)
        there = there & (answers.lengths > 0)
        reference = run.reference_logprobs(batch, answers).values
        z = self._reference_point(run, batch, answers, there)  # of undesirable and of desirable answers
        count = run.total(there.sum()).clamp(min=1)

        def loss(
            batch: Batch, answers: Completions, reference: Tensor, desirable: Tensor, there: Tensor
        ) -> Mapping[str, Tensor]:
            values = run.logprobs(batch, answers, dropout=not options.disable_dropout).values
            # token by token, so that what is equal cancels before anything is rounded
            ratios = (values - reference).double().sum(-1)
            rewards = options.beta * ratios.detach()
            for name, those in (("rewards/chosen", there & desirable), ("rewards/rejected", there & ~desirable)):
                run.log(name, rewards * those, those)
            good, bad = desirable.double(), (~desirable).double()
            distance = (ratios - z[1]) * good - (ratios - z[0]) * bad
            weight = options.desirable_weight * good + options.undesirable_weight * bad
            losses = weight * (-options.beta * distance).sigmoid()  # 1 - s(x) = s(-x)
            return {"kto": (losses * there).sum() / count}

        run.update(loss, batch=batch, answers=answers, reference=reference, desirable=desirable, there=there)
        return {"kl": z[1]}

    def _labelled(self, run: Run, batch: Batch) -> tuple[Completions, Tensor, Tensor]:
        """Return answers (B, K, T), which are desirable (B, K), and which have a label at all (B, K)."""
        options = self.options
        if options.labels == "data":
            if batch.labels is None or batch.completions is None:
                expected = "unpaired preferences; or labels: pairs, threshold or group_mean"
                raise InputError("the training rows have no labels", where="method kto", expected=expected)
            desirable = batch.labels[:, None]
            return batch.completions, desirable, desirable | True
        if options.labels == "pairs":
            if batch.pairs is None:
                raise InputError("the training rows have no pairs", where="method kto", expected="preferences")
            answers = batch.pairs.chosen.join(batch.pairs.rejected)
            desirable = (answers.lengths.new_tensor([[1, 0]]) > 0).expand(len(batch), -1)
            return answers, desirable, desirable | True
        answers = run.sample(batch, [options.temperature] * options.n_samples)
        rewards = run.reward(batch, answers)
        lead = rewards.centred() if options.labels == "group_mean" else rewards.values - options.threshold
        # a mean is rounded: what is no further from it than that is a tie
        tie = lead.abs() <= 1e-12 * rewards.values.abs().amax(1, keepdim=True)
        return answers, lead > 0, rewards.present & ~tie

    def _reference_point(self, run: Run, batch: Batch, answers: Completions, there: Tensor) -> tuple[float, float]:
        """Return z of undesirable and of desirable answers."""
        options = self.options
        if options.loss == "apo_zero_unpaired":
            return 0.0, 0.0
        if options.loss == "kto_pair":  # each side's is the mean of the other side
            sums = run.total((self._ratios(run, batch, answers) * there).sum(0))
            means = (sums / run.total(there.sum(0)).clamp(min=1)).clamp(min=0).tolist()
            return means[0], means[1]
        other, there = self._mismatched(run, batch, answers, there)
        whole = run.gather({"terms": self._ratios(run, batch, other), "there": there})
        terms = whole["terms"][whole["there"]]
        count = len(terms.nonzero() if options.kl_divisor == "nonzero" else terms)
        total = float((terms[:-1] if options.kl_divisor == "printed" else terms).sum())
        z = max(0.0, total / max(1, count))
        return z, z

    def _mismatched(self, run: Run, batch: Batch, answers: Completions, there: Tensor) -> tuple[Completions, Tensor]:
        """Return the answers (B, K, T) of the nearest rows with other prompts, and which are there (B, K) bool."""
        size, texts = len(batch), batch.prompts.texts
        rows = {"answers": answers, "there": there, "texts": texts}
        other, found = answers, there & False
        open_rows = there.new_tensor([True] * size)
        for distance in range(1, int(run.total(size))):
            rolled = run.roll(rows, distance * self.options.kl_shift)
            unlike = [mine != theirs for mine, theirs in zip(texts, rolled["texts"], strict=True)]
            taken = open_rows & there.new_tensor(unlike)
            places = [place + size * new for place, new in enumerate(taken.tolist())]
            other = Completions.cat((other, rolled["answers"]), along="prompts")[places]
            found = found | (there & rolled["there"] & taken[:, None])
            open_rows = open_rows & ~taken
            if not run.total(open_rows.sum()):
                break
        return other, found

    def _ratios(self, run: Run, batch: Batch, answers: Completions) -> Tensor:
        """Return (B, K) float64, the log-ratio of each answer, without gradient and dropout."""
        values = run.logprobs(batch, answers, dropout=False).values.detach()
        return (values - run.reference_logprobs(batch, answers).values).double().sum(-1)
