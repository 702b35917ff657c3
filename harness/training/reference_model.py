"""The reference model: the checkpoint at which a method started, loaded when it is first asked for something new.

Where the run trains an adapter alone nothing is loaded: see :mod:`harness.models.adapter`.
"""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import replace
from typing import TYPE_CHECKING

import torch

from harness.api import Completions, LogProbs
from harness.errors import StageError
from harness.lm.model import backbone
from harness.lm.score.log_softmax import ScoringParams, upcast
from harness.lm.score.logprobs import ScoringModule
from harness.training import memo
from harness.training.budget import take_all
from harness.training.distributed import Ranks
from harness.training.sharding import whole
from harness.training.weights import module_digest

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from contextlib import AbstractContextManager

    from torch import Tensor

    from harness.api import Batch, Logits
    from harness.lm.model.policy import Policy
    from harness.training.meters import Clock
    from harness.training.reference import StoredLogProbs
    from harness.training.scoring import Scorer


class ReferenceModel:
    """Says of an example what it said before: values are kept, and those that a stage stored are read."""

    def __init__(
        self,
        load: Callable[[], Policy],
        *,
        adapted: Policy | None = None,
        stored: StoredLogProbs | None = None,
        digest: str = "",
        where: str = "",
        ranks: Ranks | None = None,
    ) -> None:
        """Load nothing yet.

        Args:
            load: loads the model, without dropout; also for critics that start as it.
            adapted: the policy, where an adapter alone is trained: the reference then is that model as it was.
            stored: log-probs that a stage computed.
            digest: of its weights, where that is known.
            where: what to blame in messages.
            ranks: among whom its weights are divided, if those of the policy are.
        """
        self.load = load
        self._ranks = ranks or Ranks()
        self._fetch = self._ranks.for_all(self._load)
        self.loaded: Policy | None = None
        self._adapted = adapted
        self.memo = memo.Memo()
        self._stored = stored
        self._digest = digest
        self._where = where
        self._scoring: ScoringModule | None = None

    def policy(self, clock: Clock) -> Policy:
        """Return the model, whose weights are as they were."""
        if self.loaded is None:
            with clock.phase("other"):
                self._fetch()
        assert self.loaded is not None
        return self.loaded

    def _load(self) -> None:
        if self._adapted is not None:
            self.loaded, self._digest = self._adapted, self._content(self._adapted)
            return
        self.loaded = self.load()
        self.loaded.model.requires_grad_(requires_grad=False)
        digest = self._content(self.loaded)
        if self._digest not in {"", digest}:
            raise StageError("the reference model is not the one whose log-probs were stored", where=self._where)
        self._digest = digest
        self._scoring = ScoringModule(self.loaded)
        self._ranks.divide(self._scoring)

    def logprobs(
        self, batch: Batch, completions: Completions, *, temperature: float, scorer: Scorer, clock: Clock
    ) -> LogProbs:
        """Return log-probs without dropout and without gradient."""
        stored = self._stored.find(batch.prompts, completions) if self._stored and temperature == 1 else None
        if stored is not None:
            return LogProbs(stored, completions.mask)
        if not len(batch):
            return LogProbs(torch.zeros(completions.ids.shape, device=completions.ids.device), completions.mask)
        module = self._module(clock)
        lengths = completions.lengths.amax(1).tolist()

        def compute(places: list[int]) -> list[Tensor]:
            rows = take_all({"batch": batch, "completions": completions}, places)
            params = ScoringParams(temperature)
            with self._at_start():
                scored = scorer.logprobs(module, rows["batch"], rows["completions"], params, dropout=False)
            return [scored.values[i, :, : lengths[place]].clone() for i, place in enumerate(places)]

        settings = "logprobs" if temperature == 1 else f"logprobs at {temperature!r}"
        values = self.memo.look_up(list(memo.keys(batch.ids, settings, completions)), compute)
        device = completions.ids.device
        widened = memo.widen([value.to(device) for value in values], completions.ids.shape[2])
        return LogProbs(widened, completions.mask)

    def logits(self, batch: Batch, completions: Completions, *, scorer: Scorer, clock: Clock) -> Iterator[Logits]:
        """Yield whole distributions at the scored positions, chunk by chunk, without gradient."""
        if len(batch):
            chunks = scorer.logits(self._module(clock), batch, completions, dropout=False)
            while True:
                with self._at_start():  # each chunk by itself: whoever takes it may ask the policy meanwhile
                    chunk = next(chunks, None)
                if chunk is None:
                    return
                yield chunk

    def beside(
        self, chunks: Iterator[Logits], batch: Batch, completions: Completions, *, scorer: Scorer, clock: Clock
    ) -> Iterator[Logits]:
        """Yield chunks of another model's logits of the same rows, each with this model's beside it.

        What is held of all rows is the states (B, K, T, D) that logits are made of; where a model's logits take more
        than its head, the logits of all rows.
        """
        states: Tensor | None = None
        for chunk in chunks:
            if states is None:
                states = self._states(batch, completions, scorer=scorer, clock=clock)
            with torch.no_grad():
                prompts, candidates, places = chunk.rows.unbind(1)
                own = states[prompts, candidates, places]
                if backbone.split(self.policy(clock).model) is not None:
                    with self.policy(clock).autocast():
                        own = backbone.logits(self.policy(clock), own, None)
            yield replace(chunk, reference=upcast(own, None))  # outside: who takes it may want a gradient

    def _states(self, batch: Batch, completions: Completions, *, scorer: Scorer, clock: Clock) -> Tensor:
        """Return the states (B, K, T, D) that logits are made of, or the logits (B, K, T, V) themselves."""
        module = self._module(clock)
        if backbone.split(module.policy.model) is not None:
            with self._at_start():
                hidden = scorer.logprobs(module, batch, completions, ScoringParams(hidden=True), dropout=False).hidden
            assert hidden is not None  # it was asked for
            return hidden
        whole: Tensor | None = None
        for chunk in self.logits(batch, completions, scorer=scorer, clock=clock):
            if whole is None:
                whole = chunk.values.new_zeros(*completions.ids.shape, chunk.values.shape[1])
            whole[chunk.rows[:, 0], chunk.rows[:, 1], chunk.rows[:, 2]] = chunk.values
        assert whole is not None  # there is a chunk of the policy, so there is one here
        return whole

    def _module(self, clock: Clock) -> ScoringModule:
        self._scoring = self._scoring or ScoringModule(self.policy(clock))
        return self._scoring

    def completions(
        self, batch: Batch, settings: object, decode: Callable[[Batch], Completions], device: torch.device
    ) -> Completions:
        """Return the completions of each prompt that ``decode`` makes of some; ``settings`` is all else it depends on.

        They are made once, whatever the step and the batch.
        """
        if not len(batch):
            return decode(batch)

        def compute(places: list[int]) -> list[Tensor]:
            with self._at_start():
                new = decode(batch[places])
            ends = torch.stack((new.lengths, new.finished.long()), dim=2)
            packed = torch.cat((ends, new.ids), dim=2)
            return [row[:, : 2 + int(row[:, 0].max())].clone() for row in packed]

        rows = self.memo.look_up(list(memo.keys(batch.ids, settings)), compute)
        packed = memo.widen([row.to(device) for row in rows], max(row.shape[1] for row in rows))
        return Completions(packed[:, :, 2:], packed[:, :, 0], packed[:, :, 1].bool())

    def check(self) -> None:
        """Raise StageError if the model, or what is stored of it, is not what it was when it was loaded."""
        if self.loaded is not None and self._content(self.loaded) != self._digest:
            raise StageError("the weights of the reference model were changed", where=self._where)
        if self._stored is not None and not self._stored.unchanged():
            raise StageError("the stored log-probs of the reference model were changed", where=self._where)

    def _at_start(self) -> AbstractContextManager[None]:
        """Return the context in which the model that was loaded is the reference."""
        adapter = self._adapted.adapter if self._adapted is not None else None
        return nullcontext() if adapter is None else adapter.at_start()

    def _content(self, policy: Policy) -> str:
        """Return the digest of what the reference is made of."""
        if self._adapted is None or policy.adapter is None:
            return module_digest(policy.model)
        return policy.adapter.frozen_digest(whole)


def no_reference() -> Policy:
    """Raise StageError: there is nothing to load."""
    raise StageError("the method asks for the reference model and none was given")
