"""Runs as a method under test sees them: each changes or watches one thing that must not matter, or must not happen."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any, TypeVar

import torch

from harness.api import Completions, Pairs

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from torch import Tensor

    from harness.api import Batch, LogProbs, Prompts, Rewards, Run

Padded = TypeVar("Padded", "Prompts", "Completions")


class Around:
    """A run that passes everything on; subclasses change what they are about."""

    def __init__(self, run: Run) -> None:
        """Stand around ``run``."""
        self._run = run

    def __getattr__(self, name: str) -> Any:
        """Pass on."""
        return getattr(self._run, name)

    def sample(self, batch: Batch, temperatures: Sequence[float], **options: Any) -> Completions:
        """Pass on, as ``drawn`` gives it."""
        return self.drawn(batch, self._run.sample(batch, temperatures, **options))

    def greedy(self, batch: Batch) -> Completions:
        """Pass on, as ``drawn`` gives it."""
        return self.drawn(batch, self._run.greedy(batch))

    def beam(self, batch: Batch, **options: Any) -> Completions:
        """Pass on, as ``drawn`` gives it."""
        return self.drawn(batch, self._run.beam(batch, **options))

    def drawn(self, batch: Batch, completions: Completions) -> Completions:  # noqa: ARG002  # for subclasses
        """Return what the method gets of what was drawn."""
        return completions


class Habits:
    """What a method does with its run, as far as it decides which checks can be made of it."""

    shuffles = False
    alike = False
    """Whether it draws several candidates of a prompt alike."""
    groups = False
    """Whether it draws several candidates of a prompt at all."""
    noisy: str = ""
    """The service that it took log-probs from with dropout on, where no gradient is taken."""


class Watching(Around):
    """Keeps what a method asks for."""

    def __init__(self, run: Run, habits: Habits) -> None:
        """Write down habits of the method in ``habits``."""
        super().__init__(run)
        self._habits = habits
        self._inside = False

    def shuffle(self, *arguments: Any, **options: Any) -> Any:
        """Note it."""
        self._habits.shuffles = True
        return self._run.shuffle(*arguments, **options)

    def sample(self, batch: Batch, temperatures: Sequence[float], **options: Any) -> Completions:
        """Note whether all candidates are drawn alike."""
        if len(temperatures) > 1 and len(set(temperatures)) == 1:
            self._habits.alike = True
        return super().sample(batch, temperatures, **options)

    def drawn(self, batch: Batch, completions: Completions) -> Completions:  # noqa: ARG002  # as above
        """Note whether there are groups."""
        if completions.ids.shape[1] > 1:
            self._habits.groups = True
        return completions

    def logprobs(self, batch: Batch, completions: Completions, *, dropout: bool = True, **options: Any) -> LogProbs:
        """Note log-probs that are data and not part of a loss, and that dropout makes noise of."""
        self._listen("logprobs()", dropout=dropout)
        return self._run.logprobs(batch, completions, dropout=dropout, **options)

    def final_states(self, batch: Batch, completions: Completions, *, dropout: bool = True) -> Tensor:
        """As for log-probs."""
        self._listen("final_states()", dropout=dropout)
        return self._run.final_states(batch, completions, dropout=dropout)

    def update(self, loss: Callable[..., Mapping[str, Tensor]], **rows: Any) -> Mapping[str, float]:
        """Know when a loss is computed."""

        def watched(**part: Any) -> Mapping[str, Tensor]:
            self._inside = True
            try:
                return loss(**part)
            finally:
                self._inside = False

        return self._run.update(watched, **rows)

    def _listen(self, service: str, *, dropout: bool) -> None:
        if dropout and not (self._inside and torch.is_grad_enabled()):
            self._habits.noisy = service


class SpoiltPadding(Around):
    """Three more columns of padding, and garbage in all of it, behind everything that is drawn."""

    def drawn(self, batch: Batch, completions: Completions) -> Completions:  # noqa: ARG002  # as above
        """Spoil it."""
        return spoilt(completions, self._run.policy.vocab_size)


class Swapped(Around):
    """Candidates that were drawn alike come in another order."""

    def sample(self, batch: Batch, temperatures: Sequence[float], **options: Any) -> Completions:
        """Turn the order round where that makes no difference."""
        completions = self._run.sample(batch, temperatures, **options)
        if len(set(temperatures)) > 1:
            return completions
        places = torch.arange(completions.ids.shape[1], device=completions.ids.device).flip(0)
        return completions.pick(places.expand(len(completions), -1))


class FirstAbsent(Around):
    """The first of several candidates of a prompt has no reward, and ``fill`` is in the place of its value."""

    fill = 0.0

    def __init__(self, run: Run) -> None:
        """Nothing is drawn yet."""
        super().__init__(run)
        self._gone: set[tuple[str, tuple[int, ...]]] = set()

    def drawn(self, batch: Batch, completions: Completions) -> Completions:  # for subclasses
        """Remember the first of each group."""
        if completions.ids.shape[1] > 1:
            self._gone |= {key[0] for key in _keys(batch, completions)}
        return completions

    def reward(self, batch: Batch, completions: Completions) -> Rewards:
        """Take the rewards of what is remembered away."""
        rewards = self._run.reward(batch, completions)
        gone = torch.tensor(
            [[key in self._gone for key in keys] for keys in _keys(batch, completions)], device=rewards.present.device
        ).reshape(rewards.present.shape)
        return replace(rewards, values=rewards.values.masked_fill(gone, self.fill), present=rewards.present & ~gone)


class FirstFilled(FirstAbsent):
    """As :class:`FirstAbsent`, with another number that means nothing."""

    fill = 7.0


class FirstUndrawn(Around):
    """The first of several candidates of a prompt was never drawn."""

    def drawn(self, batch: Batch, completions: Completions) -> Completions:  # noqa: ARG002  # as above
        """Leave it out."""
        width = completions.ids.shape[1]
        if width < 2:
            return completions
        places = torch.arange(1, width, device=completions.ids.device)
        return completions.pick(places.expand(len(completions), -1))


def spoilt(padded: Padded, size: int) -> Padded:
    """Return the same rows with three more columns of padding and random ids in all of it."""
    ids = torch.nn.functional.pad(padded.ids, (0, 3))
    noise = torch.randint(size, ids.shape, generator=torch.Generator().manual_seed(0))
    real = torch.arange(ids.shape[-1]) < padded.lengths[..., None]
    return replace(padded, ids=torch.where(real, ids, noise))


def spoilt_batch(batch: Batch, size: int) -> Batch:
    """Return a batch with garbage in all of its padding."""
    batch = replace(batch, prompts=spoilt(batch.prompts, size), demonstrations=spoilt(batch.demonstrations, size))
    if batch.completions is not None:
        batch = replace(batch, completions=spoilt(batch.completions, size))
    if batch.pairs is None:
        return batch
    return replace(batch, pairs=Pairs(spoilt(batch.pairs.chosen, size), spoilt(batch.pairs.rejected, size)))


def _keys(batch: Batch, completions: Completions) -> list[list[tuple[str, tuple[int, ...]]]]:
    """Return what each completion is known by: its row and its tokens."""
    ids, lengths = completions.ids.tolist(), completions.lengths.tolist()
    return [
        [(name, tuple(row[:n])) for row, n in zip(group, ns, strict=True)]
        for name, group, ns in zip(batch.ids, ids, lengths, strict=True)
    ]
