"""The reward model's update."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from harness.api import InputError, Stateless
from harness_plugins.methods.bradley_terry.losses import bradley_terry_losses, centring_losses
from harness_plugins.methods.building_blocks.meter import Mean

if TYPE_CHECKING:
    from collections.abc import Mapping

    from harness.api import Batch, Run
    from harness_plugins.methods.bradley_terry import BradleyTerryOptions

#: What whoever loads the reward model looks for.
HEAD = "reward_head"


class BradleyTerry(Stateless):
    """A scalar reward from preferences (Bradley and Terry 1952; Ouyang et al. 2022, arXiv:2203.02155, Eq. 1).

    In formulas, for the answers y_w (chosen) and y_l (rejected) to a prompt x::

        r(x, y) = head(h(x, y, EOS))                                the state of the EOS behind the answer
        L       = -log sigmoid(r(x, y_w) - r(x, y_l) - margin)  +  c (r(x, y_w) + r(x, y_l))^2

    each a mean over the pairs of the batch; c is ``center_rewards_coefficient``. The loss tells differences alone: a
    constant added to r changes nothing but the second term.

    The head starts at N(0, 1 / (D + 1)) for a state of D numbers and at bias 0 (``methods`` of Huang et al. 2024,
    arXiv:2403.17031). EOS is always read, whatever id padding has, and both answers of a pair go through one forward.
    """

    def __init__(self, options: BradleyTerryOptions) -> None:
        """Keep the options."""
        self.options = options
        self._head: nn.Linear | None = None

    def setup(self, run: Run) -> None:
        """Add the head, the same on every rank."""
        model: Any = run.policy.model
        width = model.get_output_embeddings().weight.shape[1]
        head = nn.Linear(width, 1, device="meta").to_empty(device="cpu")  # draws no random number
        spread = 1.0 / math.sqrt(width + 1)
        with torch.no_grad():
            head.weight.copy_(torch.randn(1, width, generator=run.generator(HEAD), dtype=torch.float64) * spread)
            head.bias.zero_()
        run.add_module(HEAD, head, learning_rate=self.options.head_learning_rate)
        self._head = head

    def step(self, run: Run, batch: Batch) -> Mapping[str, float]:
        """Take one optimiser step.

        Returns:
            ``accuracy``: share of pairs whose chosen answer has the higher reward, ties a half; ``margin``: the mean
            lead; ``reward_chosen``, ``reward_rejected``: the means.

        Raises:
            InputError: a row without a chosen and a rejected answer, or without a margin.
        """
        if batch.pairs is None:
            raise InputError("the training rows are not preferences", expected="rows with chosen and rejected answers")
        margins = self._margins(batch)
        pairs = run.total(len(batch))
        places = torch.arange(len(batch), device=margins.device)
        meters = {name: Mean(places) for name in ("accuracy", "margin", "reward_chosen", "reward_rejected")}

        def loss(batch: Batch, margins: Tensor, places: Tensor) -> Mapping[str, Tensor]:
            rewards = self._rewards(run, batch)
            chosen, rejected = rewards[:, 0], rewards[:, 1]
            lead = (chosen - rejected).detach()
            right = (lead > 0).double() + 0.5 * (lead == 0)
            said = {"accuracy": right, "margin": lead, "reward_chosen": chosen, "reward_rejected": rejected}
            for name, meter in meters.items():
                meter.put(places, said[name][:, None], torch.ones_like(lead, dtype=torch.bool)[:, None])
            shares = {"bt": bradley_terry_losses(chosen, rejected, margins.to(rewards.dtype)).sum() / pairs}
            if self.options.center_rewards_coefficient:
                centring = self.options.center_rewards_coefficient * centring_losses(chosen, rejected).sum()
                shares["centring"] = centring / pairs
            return shares

        run.update(loss, batch=batch, margins=margins, places=places)
        return {name: meter.value(run) for name, meter in meters.items()}

    def _rewards(self, run: Run, batch: Batch) -> Tensor:
        """Return (b, 2): the rewards of the chosen and the rejected answers."""
        assert batch.pairs is not None
        assert self._head is not None
        states = run.final_states(batch, batch.pairs.chosen.join(batch.pairs.rejected))
        rewards: Tensor = self._head(states.to(self._head.weight.dtype))[..., 0]
        return rewards

    def _margins(self, batch: Batch) -> Tensor:
        """Return (B,) float64: the margin of each pair."""
        device = batch.prompts.ids.device
        margin = self.options.margin
        if not isinstance(margin, str):
            return torch.full((len(batch),), float(margin), dtype=torch.float64, device=device)
        column = batch.columns.get(margin)
        if column is None:
            listed = ", ".join(sorted(batch.columns)) or "none"
            raise InputError("the pairs have no such column", got=margin, expected=f"one of {listed}")
        for name, value in zip(batch.ids, column, strict=True):
            if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value):
                raise InputError("the margin of a pair is not a number", where=f"row {name}", got=value)
        return torch.tensor([float(value) for value in column], dtype=torch.float64, device=device)
