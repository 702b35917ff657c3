"""Online DPO: direct preference optimisation on pairs of the policy's own answers, which the reward orders."""

from __future__ import annotations

from itertools import combinations
from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field

from harness.api import InputError, MethodRegistration, Options, Preset, hookimpl

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from torch import Tensor

    from harness.api import Batch, Completions, Rewards, Run, State

#: How much a log-ratio to the reference model weighs.
Beta = Annotated[float, Field(gt=0.0, allow_inf_nan=False)]


class OnlineDPOOptions(Options):
    """Options of ``online-dpo``; TRL's names."""

    beta: Beta | Annotated[tuple[Beta, ...], Field(min_length=1)] = 0.1
    """How much a log-ratio to the reference model weighs; a list has one for each of the method's epochs, of which the
    last holds for all further ones."""
    loss_type: Literal["sigmoid", "ipo"] = "sigmoid"
    """sigmoid is DPO's loss, ipo the square of the summed log-ratios' distance from 1 / (2 beta)."""
    n_samples: Annotated[int, Field(ge=2)] = 2
    """Answers drawn for each prompt at each step."""
    temperature: Annotated[float, Field(gt=0.0, allow_inf_nan=False)] = 0.9
    """Temperature at which they are drawn."""
    pairing: Literal["first_two", "best_worst", "all"] = "first_two"
    """Pairs of a prompt, among its answers that have a reward: the first two, the best with the worst, or every two.
    All are the same for two answers."""
    ties: Literal["skip", "first"] = "skip"
    """A pair with equal rewards: leave it out, or prefer the answer that was drawn first, as TRL does."""
    missing_eos_penalty: Annotated[float, Field(ge=0.0, allow_inf_nan=False)] | None = None
    """Taken off the reward of an answer that was cut at the length limit, before pairs are ordered."""
    disable_dropout: bool = True
    """Compute the policy's log-probs without the recipe's dropout; the reference model never has any."""


@hookimpl
def harness_register_methods() -> Iterable[MethodRegistration]:
    """Offer ``online-dpo``."""
    recipe = {
        "method_learning_rate": 5e-7, "restart_schedule": "linear", "method_warmup_steps": 0, "batch_size": 8,
        "optimizer": "adamw", "weight_decay": 0.0, "max_grad_norm": 1.0, "dropout": 0.0, "generate_length": 64,
    }  # fmt: skip
    return [
        MethodRegistration(
            name="online-dpo",
            summary="Online DPO: the policy's own answers, preferred as the reward has it, against a fixed reference",
            options=OnlineDPOOptions,
            build="harness_methods.online_dpo:OnlineDPO",
            source="https://arxiv.org/abs/2402.04792",
            needs=frozenset({"reward", "reference"}),
            start="after",
            mixes_supervision=False,
            presets={
                "paper": Preset(summary="OAIF's loss at TRL's numbers; the reward stands for its annotator"),
                "trl": Preset(
                    options={"ties": "first"},
                    recipe=recipe,
                    summary="The defaults of TRL's OnlineDPOConfig, on one device",
                ),
            },
            default_preset="paper",
        )
    ]


class OnlineDPO:
    """Direct alignment from online feedback (Guo et al. 2024, arXiv:2402.04792), with a reward for the annotator.

    In formulas, for two answers to x drawn from the policy as it is, of which y_w has the larger reward, and with
    h(y) = log p(y | x) - log p_ref(y | x), summed over the tokens of y, EOS included::

        L = - log s(beta (h(y_w) - h(y_l)))         sigmoid
        L = (h(y_w) - h(y_l) - 1 / (2 beta))^2      ipo

    a mean over the batch's pairs: it is DPO on the pairs. No gradient goes through the drawing or the ordering.

    Degenerate cases: an answer without a reward, or without a token, is in no pair; a prompt without a pair has no
    share, a batch without any moves nothing. Two answers that are the same have a loss of log 2 and no gradient.

    Differs from the paper:

    1. The benchmark's reward decides and no language model is asked.
    2. A pair that the reward does not order is left out (``ties: skip``). TRL prefers the first answer of it, and
       takes a missing reward for 0.
    3. More than two answers, and so ``pairing``, are the harness's own.
    4. The reference is the checkpoint at which the method starts.
    """

    def __init__(self, options: OnlineDPOOptions) -> None:
        """Keep the options."""
        self.options = options
        self.first_epoch = 0

    def setup(self, run: Run) -> None:
        """Note at which epoch of the schedule the method begins: ``beta`` counts from there."""
        self.first_epoch = run.progress.epoch

    def step(self, run: Run, batch: Batch) -> Mapping[str, float]:
        """Take one optimiser step.

        Returns:
            ``pairs``: pairs a prompt; ``reward_margin``: how far apart their rewards are in the mean, where there is
            any. Logged beside them: ``rewards/margins``, the mean of beta (h(y_w) - h(y_l)), and
            ``rewards/accuracies``, the share of pairs where it is above 0 by more than rounding, before the update.
        """
        import torch

        options = self.options
        samples = run.sample(batch, [options.temperature] * options.n_samples)
        rewards = run.reward(batch, samples)
        index, there, gaps = self._pairs(samples, rewards)  # (B, 2, N), (B, N), (B, N)
        if options.pairing != "all":  # one pair at most: no forward for the others
            samples = samples.pick(index[:, :, 0])
            index = index.new_tensor([[[0], [1]]]).expand(len(batch), -1, -1)
        reference = run.reference_logprobs(batch, samples).values
        count = run.total(there.sum())
        beta = self._beta(run)

        def loss(
            batch: Batch, samples: Completions, reference: Tensor, index: Tensor, there: Tensor
        ) -> Mapping[str, Tensor]:
            values = run.logprobs(batch, samples, dropout=not options.disable_dropout).values
            # token by token, so that what is equal cancels before anything is rounded
            ratios = (values - reference).double().sum(-1)
            margins = ratios.gather(1, index[:, 0]) - ratios.gather(1, index[:, 1])  # (b, N)
            sizes = values.detach().double().sum(-1).abs()
            rounding = 4 * torch.finfo(values.dtype).eps * (sizes.gather(1, index[:, 0]) + sizes.gather(1, index[:, 1]))
            run.log("rewards/margins", beta * margins.detach() * there, there)
            run.log("rewards/accuracies", (margins.detach() > rounding) & there, there)
            losses = (margins - 1 / (2 * beta)).square()
            if options.loss_type == "sigmoid":
                losses = -torch.nn.functional.logsigmoid(beta * margins)
            return {"online_dpo": (losses * there).sum() / count.clamp(min=1)}

        run.update(loss, batch=batch, samples=samples, reference=reference, index=index, there=there)
        said = {"pairs": float(count / run.total(len(batch)))}
        return {**said, "reward_margin": float(run.total(gaps.sum()) / count)} if count else said

    def _pairs(self, samples: Completions, rewards: Rewards) -> tuple[Tensor, Tensor, Tensor]:
        """Return places of winners and losers (B, 2, N), which are there (B, N), and the gaps of their rewards."""
        options = self.options
        values = rewards.values - (options.missing_eos_penalty or 0.0) * (~samples.finished).double()
        present = rewards.present & (samples.lengths > 0)
        listed = zip(values.tolist(), present.tolist(), strict=True)
        every = [preferences(row, known, options.pairing, options.ties) for row, known in listed]
        width = max([1, *map(len, every)])
        padded = [pairs + [(0, 0)] * (width - len(pairs)) for pairs in every]
        index = samples.lengths.new_tensor(padded).reshape(len(every), width, 2).transpose(1, 2)
        there = present.new_tensor([[n < len(pairs) for n in range(width)] for pairs in every]).reshape(-1, width)
        return index, there, (values.gather(1, index[:, 0]) - values.gather(1, index[:, 1])) * there

    def _beta(self, run: Run) -> float:
        """Return the beta of the step about to be taken."""
        betas = self.options.beta if isinstance(self.options.beta, tuple) else (self.options.beta,)
        return betas[min(run.progress.epoch - self.first_epoch, len(betas) - 1)]

    def state_dict(self) -> Mapping[str, State]:
        """Return the epoch at which the method began."""
        return {"first_epoch": self.first_epoch}

    def load_state_dict(self, state: Mapping[str, State]) -> None:
        """Take it back.

        Raises:
            InputError: another method wrote the state.
        """
        first = state.get("first_epoch")
        if not isinstance(first, int) or len(state) > 1:
            raise InputError("the saved state is another method's", got=sorted(state), expected="first_epoch")
        self.first_epoch = first


def preferences(
    values: Sequence[float],
    present: Sequence[bool],
    pairing: Literal["first_two", "best_worst", "all"],
    ties: Literal["skip", "first"],
) -> list[tuple[int, int]]:
    """Return the pairs of one prompt as places of the preferred and of the other answer; see the options."""
    known = [place for place, there in enumerate(present) if there]
    if pairing == "best_worst":
        ranked = sorted(known, key=lambda place: -values[place])  # stable: of equals the first
        known = sorted([ranked[0], ranked[-1]]) if len(ranked) > 1 else []
    couples = list(combinations(known, 2))[: None if pairing == "all" else 1]
    ordered = [(one, other) if values[one] >= values[other] else (other, one) for one, other in couples]
    return [(best, worst) for best, worst in ordered if ties == "first" or values[best] > values[worst]]
