"""The benchmark's reward: one or more functions with TRL's signature, called and combined.

``None`` is an absent reward and stays absent: a candidate without one of the parts has no reward, and what is computed
for a group equals what would be computed had the candidate not been drawn. A reward that is not finite is a mistake.
"""

from __future__ import annotations

import asyncio
import functools
import inspect
import math
import numbers
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeAlias

import torch

from harness.api import Rewards
from harness.errors import HarnessError, PluginError, StageError
from harness.plugins.reading import reading

if TYPE_CHECKING:
    from torch import Tensor

    from harness.api import Batch, Completions, Tokenizer
    from harness.plugins.registry import Registry
    from harness.spec.reward import Reward

#: A reward model as a reward sees it: prompts and completions to scores.
Scores: TypeAlias = Callable[[Sequence[str], Sequence[str]], Sequence[float]]


#: What training in single precision can hold; beyond it a loss is infinite.
_LARGEST = torch.finfo(torch.float32).max


@dataclass(frozen=True)
class TrainerState:
    """Where training stands, under the names that TRL's rewards read."""

    global_step: int
    max_steps: int
    epoch: float
    num_train_epochs: int


@dataclass(frozen=True)
class Part:
    """One reward function and its weight."""

    label: str
    function: Callable[..., Any]
    """See :class:`harness.api.RewardFunction`."""
    weight: float = 1.0


@dataclass
class Notes:
    """What rewards reported through ``log_metric`` and ``log_extra``: means of the numbers among it."""

    sums: dict[str, tuple[float, int]] = field(default_factory=dict)

    def metric(self, name: str, value: Any) -> None:
        """Take one number (TRL's ``log_metric``)."""
        if isinstance(value, numbers.Real) and math.isfinite(value):
            total, count = self.sums.get(name, (0.0, 0))
            self.sums[name] = (total + float(value), count + 1)

    def extra(self, column: str, values: Sequence[Any]) -> None:
        """Take one value a completion (TRL's ``log_extra``); what is not a number has no mean and is not kept."""
        for value in values:
            self.metric(column, value)


class CombinedReward:
    """All parts of a benchmark's reward."""

    def __init__(self, parts: Sequence[Part], aggregate: str = "before") -> None:
        """Combine ``parts``: see :class:`harness.spec.reward.Reward`.

        ``before``: r = sum of weight x part; the group's mean comes off later, as for a single reward. ``after``: each
        part is first brought to mean 0 and standard deviation 1 (n - 1 in the denominator) over the candidates of its
        group that have all parts, 0 where they are all equal.
        """
        self.parts = tuple(parts)
        self.aggregate = aggregate

    @classmethod
    def build(
        cls,
        reward: Reward,
        registry: Registry,
        reward_model: Scores | None = None,
        tokenizer: Tokenizer | None = None,
    ) -> CombinedReward:
        """Build every part through the registry; each gets the reward model's scores and the tokenizer on request."""
        labels = [part.label or part.use for part in reward.parts]
        if len(set(labels)) < len(labels):
            labels = [f"{label}[{number}]" for number, label in enumerate(labels)]
        functions = []
        for part in reward.parts:
            function = registry.build("reward", part.use, part.options)
            registration: Any = registry.resolved("reward", part.use, part.options)
            if reward_model is not None and "reward_model" in registration.needs:
                function = functools.partial(function, reward_model=reward_model)
            if "tokenizer" in registration.needs:
                function = functools.partial(function, tokenizer=tokenizer)
            function = reading(function, registration, registry.find("reward", part.use).named)
            functions.append(function)
        return cls(
            [Part(label, f, use.weight) for label, f, use in zip(labels, functions, reward.parts, strict=True)],
            reward.aggregate,
        )

    def score(
        self,
        batch: Batch,
        completions: Completions,
        texts: Sequence[str],
        *,
        state: TrainerState,
        notes: Notes | None = None,
    ) -> Rewards:
        """Score the present completions.

        Args:
            batch: B rows.
            completions: (B, K, T).
            texts: the decoded completions, B x K of them in that order.
            state: what rewards may read as ``trainer_state``.
            notes: takes what rewards log.

        Raises:
            PluginError: a reward broke its contract (other length, no numbers, an exception).
            StageError: a reward is NaN or infinite; it names the part and the example.
        """
        here = (completions.lengths > 0).cpu()
        rows, candidates = [place.tolist() for place in here.nonzero(as_tuple=True)]
        lengths = completions.answer_lengths.tolist()
        ids = completions.ids.tolist()
        width = completions.ids.shape[1]
        columns: dict[str, Any] = {name: [values[b] for b in rows] for name, values in batch.columns.items()}
        notes = notes or Notes()
        asked: dict[str, Any] = {
            **columns,
            "prompts": [batch.prompts.texts[b] for b in rows],
            "completions": [texts[b * width + k] for b, k in zip(rows, candidates, strict=True)],
            "completion_ids": [ids[b][k][: lengths[b][k]] for b, k in zip(rows, candidates, strict=True)],
            "trainer_state": state,
            "log_extra": notes.extra,
            "log_metric": notes.metric,
        }
        names = [batch.ids[b] for b in rows]
        parts = {}
        for part, answer in zip(self.parts, self._ask(asked) if names else [[]] * len(self.parts), strict=True):
            values = torch.full(here.shape, math.nan, dtype=torch.float64)
            values[here] = torch.tensor(_checked(part.label, answer, names), dtype=torch.float64)
            parts[part.label] = values
        return self._combined(parts, batch.ids, completions.ids.device)

    def _ask(self, asked: Mapping[str, Any]) -> list[Any]:
        """Call all parts; those that are coroutines run together."""
        answers: list[Any] = []
        for part in self.parts:
            try:
                answers.append(part.function(**asked))
            except HarnessError:
                raise
            except Exception as error:
                raise _failed(part, error) from error
        if any(inspect.isawaitable(answer) for answer in answers):
            answers = asyncio.run(_together(self.parts, answers))
        return answers

    def _combined(self, parts: Mapping[str, Tensor], ids: Sequence[str], device: torch.device) -> Rewards:
        values_of = torch.stack(list(parts.values()))  # (parts, B, K)
        present = ~values_of.isnan().any(0)
        if self.aggregate == "after":
            values_of = torch.stack([_normalised(part, present) for part in values_of])
        weights = torch.tensor([part.weight for part in self.parts], dtype=torch.float64)
        values = torch.where(present, (weights[:, None, None] * values_of).sum(0), 0.0)
        _refuse_overflow(values, ids)
        return Rewards(values.to(device), present.to(device), {label: part.to(device) for label, part in parts.items()})


async def _together(parts: Sequence[Part], answers: Sequence[Any]) -> list[Any]:
    async def one(part: Part, answer: Any) -> Any:
        if not inspect.isawaitable(answer):
            return answer
        try:
            return await answer
        except HarnessError:
            raise
        except Exception as error:
            raise _failed(part, error) from error

    return list(await asyncio.gather(*(one(part, answer) for part, answer in zip(parts, answers, strict=True))))


def _failed(part: Part, error: Exception) -> PluginError:
    return PluginError(f"the reward raised {type(error).__name__}: {error}", where=f"reward {part.label!r}")


def _checked(label: str, answer: Any, names: Sequence[str]) -> list[float]:
    """Return one float a completion, NaN where the reward is absent."""
    where = f"reward {label!r}"
    try:
        values = list(answer)
    except TypeError:
        raise PluginError("the reward did not give a list", where=where, got=type(answer).__name__) from None
    except Exception as error:  # a generator's own
        raise PluginError(f"the reward raised {type(error).__name__}: {error}", where=where) from error
    if len(values) != len(names):
        raise PluginError(
            "the reward gave another number of values than there are completions",
            where=where,
            got=len(values),
            expected=str(len(names)),
        )
    checked = []
    for value, name in zip(values, names, strict=True):
        if value is None:
            checked.append(math.nan)
            continue
        if isinstance(value, (str, bytes)):
            raise PluginError(f"the reward of example {name!r} is not a number", where=where, got=value)
        try:
            number = float(value)
        except OverflowError:
            number = math.inf
        except (TypeError, ValueError, RuntimeError):  # a tensor of several numbers raises the last
            raise PluginError(
                f"the reward of example {name!r} is not a number", where=where, got=type(value).__name__
            ) from None
        if not math.isfinite(number):
            raise StageError(
                f"the reward of example {name!r} is not finite",
                where=where,
                got=str(number),
                expected="a finite number, or None where there is no reward",
            )
        if abs(number) > _LARGEST:
            raise StageError(
                f"the reward of example {name!r} is too large",
                where=where,
                got=str(number),
                expected=f"at most {_LARGEST:.3g} in size, what single precision can hold",
            )
        checked.append(number)
    return checked


def _refuse_overflow(values: Tensor, ids: Sequence[str]) -> None:
    """Refuse a sum of parts that single precision cannot hold: weights may have made it that large."""
    too_large = (values.abs() > _LARGEST).nonzero()
    if len(too_large):
        b, k = too_large[0].tolist()
        raise StageError(
            f"the weighted sum of the rewards of example {ids[b]!r} is too large",
            where="reward",
            got=str(float(values[b, k])),
            expected=f"at most {_LARGEST:.3g} in size, what single precision can hold",
        )


def _normalised(part: Tensor, present: Tensor) -> Tensor:
    """Bring each group (row) of ``part`` (B, K) to mean 0 and standard deviation 1 over its present members."""
    group = Rewards(torch.where(present, part, 0.0), present)
    centred = group.centred()
    spread = (centred.square().sum(1, keepdim=True) / (group.counts[:, None] - 1).clamp(min=1)).sqrt()
    return torch.where(spread > 0, centred / torch.where(spread > 0, spread, 1.0), 0.0)
