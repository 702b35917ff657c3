"""Supervised fine-tuning."""

from __future__ import annotations

from typing import TYPE_CHECKING

from harness.api import Stateless
from harness_plugins.methods.building_blocks.supervised import supervised_loss, supervised_weights

if TYPE_CHECKING:
    from collections.abc import Mapping

    from torch import Tensor

    from harness.api import Batch, Run
    from harness_plugins.methods.sft import SFTOptions


class SFT(Stateless):
    """Maximise the likelihood of the demonstrations, EOS included (COLING 2025.coling-main.357, Eq. 1).

    In formulas::

        L_sft = - sum_t log p(y_t | x, y_<t)

    Differs from the paper:

    1. Eq. 1 sums over the tokens of an example. The default is the mean over all target tokens of the batch, which
       is what the released code's learning rates were chosen for; ``sft_reduction: seq_sum`` is Eq. 1.
    2. The mean is over the whole batch of all ranks. The released code averages within each micro-batch, so that a
       token of a short micro-batch weighs more: ``compat.token_mean_micro``. Its micro-batches are
       consecutive prompts of a rank, so this reading alone depends on the number of ranks where a rank's share of
       the batch is not a multiple of ``compat.micro_batch_size``.
    """

    def __init__(self, options: SFTOptions) -> None:
        """Keep the options."""
        self.options = options

    def step(self, run: Run, batch: Batch) -> Mapping[str, float]:
        """Take one optimiser step; nothing to log beyond what every run logs."""
        weights = supervised_weights(
            batch.demonstrations.lengths[:, 0], self.options.sft_reduction, self.options.sft_micro_batch, run.total
        )

        def loss(batch: Batch, weights: Tensor) -> Mapping[str, Tensor]:
            logp = run.logprobs(batch, batch.demonstrations).sum()[:, 0]
            return {"sft": supervised_loss(logp, weights)}

        run.update(loss, batch=batch, weights=weights)
        return {}
