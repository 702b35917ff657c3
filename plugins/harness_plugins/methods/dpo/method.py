"""DPO: raise the preferred answer over the other one, measured against where training started."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from harness.api import InputError, Stateless
from harness_plugins.methods.dpo.losses import pair_losses

if TYPE_CHECKING:
    from collections.abc import Mapping

    from torch import Tensor

    from harness.api import Batch, Completions, Pairs, Run
    from harness_plugins.methods.dpo import DPOOptions


class DPO(Stateless):
    """Direct preference optimisation (Rafailov et al. 2023, arXiv:2305.18290), Eq. 7.

    In formulas, with h(y) = log p(y | x) - log p_ref(y | x), summed over the tokens of y, EOS included::

        L = - log s(beta (h(chosen) - h(rejected)))        mean over pairs

    and the variants of :func:`harness_plugins.methods.dpo.losses.pair_losses`.

    Differs from the papers:

    1. The reference is the checkpoint at which the method starts, as in the paper where the data's preferred answers
       were fine-tuned on first; its log-probs of all pairs are computed once, before training.
    2. Dropout is off in the policy too, as in the authors' code, TRL and HALOs, whatever the recipe has
       (``disable_dropout: false`` leaves it on in the policy).
    3. IPO's paper writes log-probs of whole answers. Its authors told TRL's that they averaged over tokens, which is
       ``ipo``; the DPO authors' code sums, which is ``ipo_summed``.
    4. ``label_smoothing`` acts on ``sigmoid`` as in the DPO authors' code (conservative DPO); TRL ignores it there.
    5. The paper's optimiser is RMSprop, which the harness does not offer: ``preset: paper`` has AdamW.
    6. A pair of which an answer is too long is left out, for every method alike, where the authors' code and TRL cut.
    """

    def __init__(self, options: DPOOptions) -> None:
        """Keep the options."""
        self.options = options

    def step(self, run: Run, batch: Batch) -> Mapping[str, float]:
        """Take one optimiser step.

        Returns:
            ``rewards/chosen`` and ``rewards/rejected``: beta h of each answer; ``rewards/margins``: their difference;
            ``rewards/accuracies``: share of pairs whose chosen answer has the higher one (a tie
            has not, nor what may be one but for rounding: before the first update all pairs are ties);
            ``logps/chosen`` and ``logps/rejected``: log p of each answer. All means over pairs, before the update. Both
            log-probs may fall while the margin grows: the loss sees their difference alone.
        """
        options = self.options
        pairs = _pairs(batch)
        answers = pairs.chosen.join(pairs.rejected)
        reference = run.reference_logprobs(batch, answers).values
        examples = run.total(len(batch))
        seen = torch.zeros(len(batch), 4, dtype=torch.float64, device=reference.device)
        places = torch.arange(len(batch), device=reference.device)

        def loss(batch: Batch, answers: Completions, reference: Tensor, places: Tensor) -> Mapping[str, Tensor]:
            values = run.logprobs(batch, answers, dropout=not options.disable_dropout).values
            # token by token, so that what is equal cancels before anything is rounded
            ratios = (values - reference).double().sum(-1)
            seen[places] = torch.cat((ratios, values.double().sum(-1)), dim=1).detach()
            losses = pair_losses(
                ratios[:, 0],
                ratios[:, 1],
                answers.lengths,
                beta=options.beta,
                loss_type=options.loss_type,
                label_smoothing=options.label_smoothing,
            )
            return {"dpo": losses.sum() / examples}

        run.update(loss, batch=batch, answers=answers, reference=reference, places=places)
        rewards = options.beta * seen[:, :2]
        margins = rewards[:, 0] - rewards[:, 1]
        rounding = 4 * torch.finfo(reference.dtype).eps * seen[:, 2:].abs().sum(1)
        right = (margins > options.beta * rounding).double()
        columns = torch.cat((rewards, margins[:, None], right[:, None], seen[:, 2:]), dim=1)
        names = (
            "rewards/chosen", "rewards/rejected", "rewards/margins", "rewards/accuracies", "logps/chosen",
            "logps/rejected",
        )  # fmt: skip
        return dict(zip(names, (run.total(columns.sum(0)) / examples).tolist(), strict=True))


def _pairs(batch: Batch) -> Pairs:
    """Return the pairs of a batch.

    Raises:
        InputError: a row lacks an answer.
    """
    pairs = batch.pairs
    there = None if pairs is None else ((pairs.chosen.lengths > 0) & (pairs.rejected.lengths > 0))[:, 0].tolist()
    if pairs is None or there is None or not all(there):
        alone = [name for name, whole in zip(batch.ids, there or [False] * len(batch), strict=True) if not whole]
        raise InputError(
            "a training row has no pair of answers",
            where="method dpo",
            got=f"row {alone[0]}",
            expected="chosen and rejected in every row",
        )
    return pairs
