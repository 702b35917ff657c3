"""Scoring without gradient: as many rows at a time as the token budget, or what memory holds, allows."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch

from harness.api import LogProbs
from harness.in_parts import Batcher
from harness.lm.score.logprobs import ScoringModule, final_states, score
from harness.training.budget import row_tokens, take_all

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from torch import Tensor

    from harness.api import Batch, Completions
    from harness.lm.model.policy import Policy
    from harness.training.critic import Critic

HINT = "shorten max_prompt_length or max_completion_length, or use a smaller model"


class Scorer:
    """Scores in parts, with one limit on their size that is learnt."""

    def __init__(self, budget: int) -> None:
        """Score at most ``budget`` tokens in one forward."""
        self.batcher = Batcher(budget, doing="scoring", hint=HINT)

    def logprobs(
        self, policy: Policy, module: ScoringModule, batch: Batch, completions: Completions, **options: Any
    ) -> LogProbs:
        """Return what :func:`harness.lm.score.logprobs.score` finds with these ``options``."""
        if not len(batch):
            values = torch.zeros(completions.ids.shape, dtype=torch.float32, device=completions.ids.device)
            return LogProbs(values, completions.mask)

        def compute(batch: Batch, completions: Completions) -> Sequence[Tensor]:
            made = score(policy, batch.prompts, completions, module=module, **options)
            return [made.values] if made.hidden is None else [made.values, made.hidden]

        values, *hidden = self._in_parts(batch, completions, compute)
        return LogProbs(values, completions.mask, *hidden)

    def final_states(
        self, policy: Policy, module: ScoringModule, batch: Batch, completions: Completions, **options: Any
    ) -> Tensor:
        """Return what :func:`harness.lm.score.logprobs.final_states` finds with these ``options``."""

        def compute(batch: Batch, completions: Completions) -> Sequence[Tensor]:
            return [final_states(policy, batch.prompts, completions, module=module, **options)]

        return self._in_parts(batch, completions, compute)[0]

    def critic_values(self, critic: Critic, batch: Batch, completions: Completions) -> Tensor:
        """Return a critic's values (B, K, T)."""
        if not len(batch):
            return next(critic.parameters()).new_zeros(completions.ids.shape)
        return self._in_parts(batch, completions, lambda batch, completions: [critic.values(batch, completions)])[0]

    def _in_parts(
        self, batch: Batch, completions: Completions, compute: Callable[[Batch, Completions], Sequence[Tensor]]
    ) -> list[Tensor]:
        """Compute tensors that have a row for each prompt."""
        rows: dict[str, Any] = {"batch": batch, "completions": completions}

        def work(index: list[int]) -> list[tuple[Tensor, ...]]:
            part = rows if len(index) == len(batch) else take_all(rows, index)
            return list(zip(*compute(part["batch"], part["completions"]), strict=True))

        with torch.no_grad():
            if not len(batch):
                return list(compute(batch, completions))
            costs = row_tokens({"prompts": batch.prompts, "completions": completions})
            found = self.batcher.run(costs, work)
        return [torch.stack(values) for values in zip(*found, strict=True)]
