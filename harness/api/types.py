"""The values that pass between a method and the services of a run. B prompts, K candidates a prompt, T tokens.

Tensors are padded at the right end; what is real is told by ``lengths``, never by a token id.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from torch import Tensor

    from harness.api.conversation import Turn

#: What a method may keep between steps and across a restart.
State: TypeAlias = "Tensor | bool | int | float | str | list[State]"


@dataclass(frozen=True)
class Example:
    """One row of a data set, before any template or tokenizer."""

    id: str
    """Unique within the split and independent of order."""
    fields: Mapping[str, str]
    """What a prompt template may name: ``instruction``, ``context``, ``document``, ``prompt``, …"""
    completion: str | None = None
    """The demonstration; None where the row has none."""
    references: tuple[str, ...] = ()
    """Answers that metrics and rewards compare with; the demonstration alone where empty."""
    chosen: str | None = None
    rejected: str | None = None
    columns: Mapping[str, Any] = field(default_factory=dict)
    """Anything else (``category``, …), JSON values only; passed to rewards and metrics by name."""
    label: bool | None = None
    """Whether ``completion`` is desirable, for unpaired preferences; None in data of any other kind."""
    turns: tuple[Turn, ...] = ()
    """The conversation that is to be answered, where the row is one: what a chat template is given. The answers are
    what the assistant says next; ``fields`` are what a template of text may name."""

    @property
    def demonstration(self) -> str | None:
        """What supervised training learns: the completion unless it is undesirable; without one the chosen answer."""
        if self.label is False:
            return None
        return self.chosen if self.completion is None else self.completion


@dataclass(frozen=True)
class Provenance:
    """Where the content of a prepared data set came from."""

    origin: str
    """A hub name, ``file`` or ``generated``."""
    revision: str | None = None
    """The resolved upstream commit; None where it is not known."""
    sha256: str | None = None
    """Of the upstream content, where it is one or more files."""
    notes: tuple[str, ...] = ()
    """What was dropped or repaired, in words a table's caption can print."""


@dataclass(frozen=True)
class Limits:
    """How long the texts of a run may be, in tokens."""

    prompt: int
    """Longest prompt of a training row (``recipe.max_prompt_length``)."""
    completion: int
    """Longest completion that the run samples, EOS included."""
    demonstration: int
    """Longest demonstration, chosen or rejected answer of a training row, EOS included."""
    context: int | None
    """Most tokens that prompt and completion may have together; None where the model sets no limit."""


@dataclass(frozen=True)
class Prompts:
    """B tokenised prompts, padded at the right end."""

    ids: Tensor
    """(B, P) int64."""
    lengths: Tensor
    """(B,) int64."""
    texts: tuple[str, ...]
    """The rendered template of each prompt; a :class:`harness.api.Conversation` under a chat template."""

    def __len__(self) -> int:
        """Return B."""
        return len(self.texts)

    def __getitem__(self, rows: slice | Tensor | Sequence[int]) -> Prompts:
        """Return some of the prompts, in the order asked for."""
        index = _index(rows, len(self), self.ids.device)
        return Prompts(self.ids[index], self.lengths[index], tuple(self.texts[i] for i in index.tolist()))


@dataclass(frozen=True)
class Completions:
    """K completions for each of B prompts, padded at the right end with zeros that mean nothing."""

    ids: Tensor
    """(B, K, T) int64. A finished completion ends with the EOS token, which ``lengths`` counts. Where the model has
    several stop tokens it is any of them, and where a stop string ended the completion, the token that completed it."""
    lengths: Tensor
    """(B, K) int64, the EOS token included; 0 is an absent completion (an EOS alone has length 1)."""
    finished: Tensor
    """(B, K) bool: the completion ended by itself (its last token is EOS)."""

    def __len__(self) -> int:
        """Return B."""
        return int(self.ids.shape[0])

    def __getitem__(self, rows: slice | Tensor | Sequence[int]) -> Completions:
        """Return the completions of some prompts."""
        index = _index(rows, len(self), self.ids.device)
        return Completions(self.ids[index], self.lengths[index], self.finished[index])

    @property
    def mask(self) -> Tensor:
        """(B, K, T) bool: real tokens, EOS included."""
        import torch

        steps = torch.arange(self.ids.shape[2], device=self.ids.device)
        return steps < self.lengths[..., None]

    @property
    def answer_lengths(self) -> Tensor:
        """(B, K) int64: tokens without the closing EOS."""
        return self.lengths - self.finished.to(self.lengths.dtype)

    @classmethod
    def cat(
        cls, parts: Sequence[Completions], *, along: Literal["candidates", "prompts"] = "candidates"
    ) -> Completions:
        """Return the completions of all parts, whose T may differ: (B, sum of K, T), or along prompts (sum of B, K, T).

        Along candidates all parts are of the same B prompts, along prompts all have the same K.
        """
        import torch

        dim = 1 if along == "candidates" else 0
        width = max(part.ids.shape[2] for part in parts)
        return cls(
            torch.cat([torch.nn.functional.pad(part.ids, (0, width - part.ids.shape[2])) for part in parts], dim=dim),
            torch.cat([part.lengths for part in parts], dim=dim),
            torch.cat([part.finished for part in parts], dim=dim),
        )

    @classmethod
    def of(cls, ids: Sequence[Sequence[Sequence[int]]], *, eos_id: int, device: Any = None) -> Completions:
        """Return the completions that are spelt out, K lists of token ids for each of B prompts.

        One that ends with ``eos_id`` is finished, an empty one is absent; longer than ``run.limits.completion`` none
        need be cut, but prompt and completion must fit in ``run.limits.context``.
        """
        import torch

        size = len(ids[0]) if ids else 0
        width = max((len(row) for group in ids for row in group), default=0)
        grid = torch.zeros(len(ids), size, width, dtype=torch.int64)
        for place, group in enumerate(ids):
            for number, row in enumerate(group):
                grid[place, number, : len(row)] = torch.tensor(list(row), dtype=torch.int64)
        lengths = torch.tensor([[len(row) for row in group] for group in ids], dtype=torch.int64).view(len(ids), size)
        ended = [[bool(row) and row[-1] == eos_id for row in group] for group in ids]
        finished = torch.tensor(ended, dtype=torch.bool).view(len(ids), size)
        return cls(grid.to(device), lengths.to(device), finished.to(device))

    def join(self, *others: Completions) -> Completions:
        """Return one group a prompt with the candidates of ``self`` first, then those of ``others``."""
        return Completions.cat((self, *others))

    def pick(self, index: Tensor) -> Completions:
        """Return the candidates that ``index`` (B, N) names: (B, N, T)."""
        wide = index[..., None].expand(-1, -1, self.ids.shape[2])
        return Completions(self.ids.gather(1, wide), self.lengths.gather(1, index), self.finished.gather(1, index))


@dataclass(frozen=True)
class Rewards:
    """A reward for each candidate; an absent one is absent, never 0 and never NaN."""

    values: Tensor
    """(B, K) float64; 0 where absent, so that arithmetic stays finite."""
    present: Tensor
    """(B, K) bool."""
    parts: Mapping[str, Tensor] = field(default_factory=dict)
    """Each part of a combined reward by label, (B, K), NaN where absent; for the log only."""

    def __len__(self) -> int:
        """Return B."""
        return int(self.values.shape[0])

    def __getitem__(self, rows: slice | Tensor | Sequence[int]) -> Rewards:
        """Return the rewards of some prompts."""
        index = _index(rows, len(self), self.values.device)
        return Rewards(self.values[index], self.present[index], {k: v[index] for k, v in self.parts.items()})

    @property
    def counts(self) -> Tensor:
        """(B,) int64: candidates that have a reward."""
        return self.present.sum(1)

    def mean(self) -> Tensor:
        """(B, 1): the mean of each group over its present members; 0 for a group with none."""
        return (self.values * self.present).sum(1, keepdim=True) / self.counts[:, None].clamp(min=1)

    def centred(self) -> Tensor:
        """(B, K): value minus the mean of its group; 0 where absent.

        A group whose present rewards are all equal gives exact zeros, so that it moves no weight.
        """
        import torch

        masked_low = self.values.masked_fill(~self.present, float("inf")).amin(1, keepdim=True)
        masked_high = self.values.masked_fill(~self.present, float("-inf")).amax(1, keepdim=True)
        keep = self.present & (masked_high > masked_low)
        return torch.where(keep, self.values - self.mean(), torch.zeros_like(self.values))


@dataclass(frozen=True)
class LogProbs:
    """Log-probabilities of the tokens of completions given their prompts, with gradient where it was asked for."""

    values: Tensor
    """(B, K, T); exactly 0 outside the completion, so that sums need no mask."""
    mask: Tensor
    """(B, K, T) bool."""
    hidden: Tensor | None = None
    """(B, K, T, D): the last hidden state at the position that predicts each token, when asked for."""
    entropy: Tensor | None = None
    """(B, K, T): entropy of the predictive distribution in nats, without gradient, when asked for."""

    def __len__(self) -> int:
        """Return B."""
        return int(self.values.shape[0])

    def __getitem__(self, rows: slice | Tensor | Sequence[int]) -> LogProbs:
        """Return the log-probs of some prompts."""
        index = _index(rows, len(self), self.values.device)
        return LogProbs(
            self.values[index],
            self.mask[index],
            None if self.hidden is None else self.hidden[index],
            None if self.entropy is None else self.entropy[index],
        )

    def sum(self) -> Tensor:
        """(B, K): log-probability of each completion."""
        return self.values.sum(-1)

    def mean(self) -> Tensor:
        """(B, K): log-probability a token; 0 for an absent completion."""
        return self.values.sum(-1) / self.mask.sum(-1).clamp(min=1)


@dataclass(frozen=True)
class Logits:
    """A chunk of scored positions, for losses that need the whole distribution."""

    values: Tensor
    """(N, V) float32 or float64, with gradient; ids without a token are -inf."""
    rows: Tensor
    """(N, 3) int64: prompt, candidate and token position of each, as indices into (B, K, T)."""
    targets: Tensor
    """(N,) int64: the token at that position."""
    reference: Tensor | None = None
    """(N, V): the logits of the reference model at the same positions, without gradient, when asked for."""


@dataclass(frozen=True)
class Pairs:
    """Preferred and rejected completions of the same prompts."""

    chosen: Completions
    rejected: Completions

    def __getitem__(self, rows: slice | Tensor | Sequence[int]) -> Pairs:
        """Return some of the pairs."""
        return Pairs(self.chosen[rows], self.rejected[rows])


@dataclass(frozen=True)
class Batch:
    """B rows of the training data, tokenised."""

    ids: tuple[str, ...]
    """The example ids: what sampling noise and stored reference log-probs are keyed by."""
    prompts: Prompts
    demonstrations: Completions
    """(B, 1, T): what supervised terms learn. Length 0 where a row has none: an undesirable completion is none."""
    pairs: Pairs | None = None
    labels: Tensor | None = None
    """(B,) bool: whether each of ``completions`` is desirable, where the data set provides unpaired preferences."""
    columns: Mapping[str, tuple[Any, ...]] = field(default_factory=dict)
    """The data set's other columns and ``references``, each with B entries."""
    completions: Completions | None = None
    """(B, 1, T): the completions that ``labels`` speak of, undesirable ones included; None where there is no label."""

    def __len__(self) -> int:
        """Return B."""
        return len(self.ids)

    def __getitem__(self, rows: slice | Tensor | Sequence[int]) -> Batch:
        """Return some of the rows."""
        index = _index(rows, len(self), self.prompts.ids.device)
        places = index.tolist()
        return Batch(
            tuple(self.ids[i] for i in places),
            self.prompts[index],
            self.demonstrations[index],
            None if self.pairs is None else self.pairs[index],
            None if self.labels is None else self.labels[index],
            {name: tuple(column[i] for i in places) for name, column in self.columns.items()},
            None if self.completions is None else self.completions[index],
        )


@dataclass(frozen=True)
class Sample:
    """One generated answer, as a metric sees it."""

    id: str
    """The example's id."""
    draw: int
    prompt: str
    text: str
    """Decoded, without special tokens, stripped of white space at both ends."""
    tokens: int
    """Generated tokens, without EOS."""
    finished: bool
    """False for an answer cut at the limit."""
    references: tuple[str, ...]
    columns: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Divergence:
    """How far the policy is from another model along one text: sums over its positions, in nats, over all tokens."""

    forward: float
    """Sum of KL(other || policy) at each position."""
    reverse: float
    """Sum of KL(policy || other)."""
    entropy: float
    """Sum of the entropies of the policy's distributions."""
    tokens: int
    """Positions that were compared; 0, and all sums 0, for an empty text that was cut."""


@dataclass(frozen=True)
class MetricResult:
    """What a metric says of a list of samples, in their order."""

    values: Mapping[str, Sequence[float | None]]
    """Column name to one value a sample, at most 1e38 in size; None is missing, and stays missing."""
    corpus: Mapping[str, float] = field(default_factory=dict)
    """Numbers of the whole list that are no mean of the values (corpus BLEU, distinct-n over all answers)."""
    signature: str = ""
    """Implementation, version and options, in the manner of sacrebleu: equal signatures are comparable."""
    notes: Mapping[str, int] = field(default_factory=dict)
    """What a reader must know of some answers, such as why they have no value, to how many it holds for."""


def _index(rows: slice | Tensor | Sequence[int], size: int, device: Any) -> Tensor:
    import torch

    if isinstance(rows, slice):
        return torch.arange(size, device=device)[rows]
    return torch.as_tensor(rows, device=device, dtype=torch.int64)
