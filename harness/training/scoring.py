"""How the rows of a method are scored: inside a loss with gradient, elsewhere without one and in parts.

:class:`harness.training.services.Services` asks one of two objects that answer the same questions; whether a loss is
being computed is all that chooses between them.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any, Protocol

import torch

from harness.api import Logits, LogProbs
from harness.in_parts import Batcher
from harness.lm.score.logprobs import final_states, score, score_logits
from harness.training.budget import HINT, row_tokens, take_all

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from torch import Tensor

    from harness.api import Batch, Completions
    from harness.lm.score.log_softmax import ScoringParams
    from harness.lm.score.logprobs import ScoringModule
    from harness.training.critic import Critic
    from harness.training.shares import Outputs


class Scorer(Protocol):
    """What can be asked of a model about completions (B, K, T) of a batch of B rows."""

    def logprobs(
        self, module: ScoringModule, batch: Batch, completions: Completions, params: ScoringParams, *, dropout: bool
    ) -> LogProbs:
        """Return log-probabilities (B, K, T); see :func:`harness.lm.score.logprobs.score`."""
        ...

    def final_states(self, module: ScoringModule, batch: Batch, completions: Completions, *, dropout: bool) -> Tensor:
        """Return states (B, K, D); see :func:`harness.lm.score.logprobs.final_states`."""
        ...

    def logits(
        self, module: ScoringModule, batch: Batch, completions: Completions, *, dropout: bool
    ) -> Iterator[Logits]:
        """Yield all logits in chunks; see :func:`harness.lm.score.logprobs.score_logits`."""
        ...

    def critic_values(self, critic: Critic, batch: Batch, completions: Completions) -> Tensor:
        """Return a critic's values (B, K, T)."""
        ...


class InLoss:
    """Scores all rows at once, and hands the results out as leaves whose gradients the loss's shares find.

    Memory that runs out is the business of who cut the rows: :class:`harness.training.updates.Updater`.
    """

    def __init__(self, outputs: Outputs) -> None:
        """Note in ``outputs`` what is handed out, and how many tokens it came of."""
        self._outputs = outputs

    def logprobs(
        self, module: ScoringModule, batch: Batch, completions: Completions, params: ScoringParams, *, dropout: bool
    ) -> LogProbs:
        """Implement :meth:`Scorer.logprobs`."""
        if not len(batch):
            return _no_logprobs(module, completions, params)
        scored = score(module.policy, batch.prompts, completions, params, dropout=dropout, module=module)
        self._count(completions)
        hidden = None if scored.hidden is None else self._outputs.hand_out(scored.hidden, "hidden")
        return replace(scored, values=self._outputs.hand_out(scored.values), hidden=hidden)

    def final_states(self, module: ScoringModule, batch: Batch, completions: Completions, *, dropout: bool) -> Tensor:
        """Implement :meth:`Scorer.final_states`."""
        if not len(batch):
            return _no_states(module, completions)
        states = final_states(module.policy, batch.prompts, completions, dropout=dropout, module=module)
        self._count(completions)
        return self._outputs.hand_out(states, "states")

    def logits(
        self, module: ScoringModule, batch: Batch, completions: Completions, *, dropout: bool
    ) -> Iterator[Logits]:
        """Implement :meth:`Scorer.logits`."""
        if not len(batch):
            return
        self._count(completions)
        for chunk in score_logits(module.policy, batch.prompts, completions, dropout=dropout, module=module):
            yield replace(chunk, values=self._outputs.hand_out(chunk.values, "logits"))

    def critic_values(self, critic: Critic, batch: Batch, completions: Completions) -> Tensor:
        """Implement :meth:`Scorer.critic_values`."""
        if not len(batch):
            return _no_values(critic, completions)
        return self._outputs.hand_out(critic.values(batch, completions))

    def _count(self, completions: Completions) -> None:
        if torch.is_grad_enabled():
            self._outputs.tokens += int(completions.lengths.sum())


class InParts:
    """Scores without gradient, as many rows at a time as the token budget, or what memory holds, allows."""

    def __init__(self, budget: int) -> None:
        """Score at most ``budget`` tokens in one forward."""
        self.batcher = Batcher(budget, doing="scoring", hint=HINT)

    def logprobs(
        self, module: ScoringModule, batch: Batch, completions: Completions, params: ScoringParams, *, dropout: bool
    ) -> LogProbs:
        """Implement :meth:`Scorer.logprobs`."""
        if not len(batch):
            return _no_logprobs(module, completions, params)

        def compute(batch: Batch, completions: Completions) -> Sequence[Tensor]:
            scored = score(module.policy, batch.prompts, completions, params, dropout=dropout, module=module)
            return [part for part in (scored.values, scored.hidden, scored.entropy) if part is not None]

        values, *rest = self._tensors(batch, completions, compute)
        hidden = rest.pop(0) if params.hidden else None
        return LogProbs(values, completions.mask, hidden, rest.pop(0) if params.entropy else None)

    def final_states(self, module: ScoringModule, batch: Batch, completions: Completions, *, dropout: bool) -> Tensor:
        """Implement :meth:`Scorer.final_states`."""
        if not len(batch):
            return _no_states(module, completions)

        def compute(batch: Batch, completions: Completions) -> Sequence[Tensor]:
            return [final_states(module.policy, batch.prompts, completions, dropout=dropout, module=module)]

        return self._tensors(batch, completions, compute)[0]

    def logits(
        self, module: ScoringModule, batch: Batch, completions: Completions, *, dropout: bool
    ) -> Iterator[Logits]:
        """Implement :meth:`Scorer.logits`: part by part, so that no more than two parts' are held at a time."""

        def work(index: list[int]) -> list[Logits]:
            part = _some(index, batch, completions)
            with torch.no_grad():
                chunks = list(score_logits(module.policy, part[0].prompts, part[1], dropout=dropout, module=module))
            places = torch.tensor(index, device=completions.ids.device)
            for chunk in chunks:
                chunk.rows[:, 0] = places[chunk.rows[:, 0]]
            return chunks

        for _, chunks in self.batcher.parts(_costs(batch, completions), work):
            while chunks:
                yield chunks.pop(0)

    def critic_values(self, critic: Critic, batch: Batch, completions: Completions) -> Tensor:
        """Implement :meth:`Scorer.critic_values`."""
        if not len(batch):
            return _no_values(critic, completions)
        return self._tensors(batch, completions, lambda batch, completions: [critic.values(batch, completions)])[0]

    def _tensors(
        self, batch: Batch, completions: Completions, compute: Callable[[Batch, Completions], Sequence[Tensor]]
    ) -> list[Tensor]:
        """Compute tensors that have a row for each prompt."""

        def work(index: list[int]) -> list[tuple[Tensor, ...]]:
            return list(zip(*compute(*_some(index, batch, completions)), strict=True))

        with torch.no_grad():
            rows = self.batcher.run(_costs(batch, completions), work)
        return [torch.stack(values) for values in zip(*rows, strict=True)]


def _some(index: list[int], batch: Batch, completions: Completions) -> tuple[Batch, Completions]:
    rows: dict[str, Any] = {"batch": batch, "completions": completions}
    part = rows if len(index) == len(batch) else take_all(rows, index)
    return part["batch"], part["completions"]


def _costs(batch: Batch, completions: Completions) -> list[int]:
    """Return the tokens of each row; none where there are no rows."""
    return row_tokens({"prompts": batch.prompts, "completions": completions}) if len(batch) else []


def _no_logprobs(module: ScoringModule, completions: Completions, params: ScoringParams) -> LogProbs:
    """Return log-probabilities of no rows, in the type that rows would have."""
    weight = next(module.parameters())
    dtype = params.dtype or torch.promote_types(weight.dtype, torch.float32)
    values = torch.zeros(completions.ids.shape, dtype=dtype, device=completions.ids.device)
    hidden = _no_states(module, completions)[:, :, None].expand(*values.shape, -1) if params.hidden else None
    return LogProbs(values, completions.mask, hidden, values if params.entropy else None)


def _no_states(module: ScoringModule, completions: Completions) -> Tensor:
    dtype, device = next(module.parameters()).dtype, completions.ids.device
    return torch.zeros(*completions.lengths.shape, _width(module), dtype=dtype, device=device)


def _no_values(critic: Critic, completions: Completions) -> Tensor:
    dtype, device = next(critic.parameters()).dtype, completions.ids.device
    return torch.zeros(completions.ids.shape, dtype=dtype, device=device)


def _width(module: ScoringModule) -> int:
    """Return D, the length of a hidden state that the head reads."""
    model: Any = module.policy.model  # transformers leaves some methods without types
    return int(model.get_output_embeddings().weight.shape[1])
