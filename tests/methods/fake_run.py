"""A run in memory over a small float64 model: what a method is tested against without the training services.

The model's next token depends on the whole prefix, prompt included, so a mistake in masks, padding or alignment shows.
"""

from __future__ import annotations

import copy
import hashlib
import threading
from dataclasses import dataclass, field, is_dataclass
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, Literal, NoReturn

import torch
from torch import Tensor, nn

from harness.api import Batch, Completions, Limits, LogProbs, Prompts, Rewards

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

EOS = 0
VOCABULARY = 11


class TinyModel(nn.Module):
    """Logits from the running mean of token embeddings; float64."""

    def __init__(self, seed: int, width: int = 6) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(seed)
        self.embedding = nn.Parameter(torch.randn(VOCABULARY, width, generator=generator, dtype=torch.float64))
        self.head = nn.Parameter(torch.randn(width, VOCABULARY, generator=generator, dtype=torch.float64))
        # a fixed mask that stands for dropout: what is off and on must differ, and nothing else
        self.drop = torch.tensor([0.0] + [width / (width - 1)] * (width - 1), dtype=torch.float64)

    def forward(self, ids: Tensor, *, dropout: bool = False) -> Tensor:
        """(N, L) ids to (N, L, V) logits."""
        return self.states(ids, dropout=dropout) @ self.head

    def states(self, ids: Tensor, *, dropout: bool = False) -> Tensor:
        """(N, L) ids to (N, L, D) hidden states."""
        counts = torch.arange(1, ids.shape[1] + 1, dtype=torch.float64)[:, None]
        hidden = torch.tanh(self.embedding[ids].cumsum(1) / counts)
        return hidden * self.drop if dropout else hidden

    def get_output_embeddings(self) -> Any:
        """Return what has the head's weight (V, D), as transformers has it."""
        return SimpleNamespace(weight=self.head.T)


@dataclass
class Ranks:
    """Threads that stand for the processes of a distributed run; sums meet at a barrier."""

    count: int
    barrier: threading.Barrier = field(init=False)
    slots: list[Any] = field(init=False)

    def __post_init__(self) -> None:
        self.barrier = threading.Barrier(self.count, timeout=20)
        self.slots = [None] * self.count

    def gather(self, rank: int, value: Any) -> list[Any]:
        self.slots[rank] = value
        self.barrier.wait()
        every = list(self.slots)
        self.barrier.wait()
        return every

    def total(self, rank: int, value: Tensor) -> Tensor:
        summed: Tensor = sum(self.gather(rank, value), torch.zeros_like(value))
        return summed


@dataclass
class FakeRun:
    """The services of a run. ``grads`` and ``shares`` hold what the last update came to, over all parts and ranks."""

    model: TinyModel
    table: Mapping[str, Sequence[float | None]]
    """Rewards of each example's candidates, in the order in which the method asks for them."""
    samples: Completions | None = None
    """What ``sample`` and ``beam`` return; drawn from the model where None. Keyed by ``ids`` below."""
    greedy_samples: Completions | None = None
    ids: tuple[str, ...] = ()
    part: int | None = None
    """Rows of a micro-batch; all where None."""
    dropout: bool = True
    learning_rate: float = 0.0
    max_new_tokens: int = 6
    ranks: Ranks | None = None
    rank: int = 0
    shares: dict[str, float] = field(default_factory=dict)
    grads: dict[str, list[Tensor]] = field(default_factory=dict)
    drawn: list[Completions] = field(default_factory=list)
    scored: list[Completions] = field(default_factory=list)
    """Every group of completions that went through ``logprobs``."""
    modules: dict[str, nn.Module] = field(default_factory=dict)
    progress: Any = field(default_factory=lambda: SimpleNamespace(step=0, total_steps=1, epoch=0, fraction=0.0))

    def __post_init__(self) -> None:
        self.reference = copy.deepcopy(self.model)
        self.limits = Limits(64, self.max_new_tokens, 64, None)
        self.tokenizer: Any = SimpleNamespace(vocab_size=VOCABULARY, eos_id=EOS)
        count = sum(p.numel() for p in self.model.parameters())
        self.policy: Any = SimpleNamespace(model=self.model, vocab_size=VOCABULARY, eos_id=EOS, parameter_count=count)

    # -- candidates

    def sample(
        self,
        batch: Batch,
        temperatures: Sequence[float],
        *,
        top_k: int = 0,
        top_p: float = 1.0,
        by: Literal["policy", "reference"] = "policy",
        noise: int | None = None,
    ) -> Completions:
        assert top_p == 1.0
        assert noise is None
        if self.samples is not None:
            scripted = self._scripted(batch, self.samples)
            if temperatures[-1] or self.greedy_samples is None:
                return scripted
            return scripted.join(self._scripted(batch, self.greedy_samples))
        every = [
            [self._decode(batch, b, temperature, top_k, by, f"{by}-{k}") for k, temperature in enumerate(temperatures)]
            for b in range(len(batch))
        ]
        return self._draw(every)

    def beam(
        self,
        batch: Batch,
        *,
        beams: int,
        groups: int,
        diversity_penalty: float,
        by: Literal["policy", "reference"] = "policy",
    ) -> Completions:
        """Not a beam search: candidate j starts with the j-th most probable token and goes on greedily."""
        assert beams % groups == 0
        assert diversity_penalty >= 0
        if self.samples is not None:
            return self._scripted(batch, self.samples)
        return self._draw(
            [[self._decode(batch, b, 0.0, 0, by, "", start=j) for j in range(beams)] for b in range(len(batch))]
        )

    def greedy(self, batch: Batch) -> Completions:
        if self.greedy_samples is not None:
            return self._scripted(batch, self.greedy_samples)
        return self._draw([[self._decode(batch, b, 0.0, 0, "policy", "")] for b in range(len(batch))])

    def _scripted(self, batch: Batch, script: Completions) -> Completions:
        chosen = script[[self.ids.index(name) for name in batch.ids]]
        self.drawn.append(chosen)
        return chosen

    def _draw(self, every: list[list[list[int]]]) -> Completions:
        self.drawn.append(completions(every))
        return self.drawn[-1]

    def _decode(
        self, batch: Batch, b: int, temperature: float, top_k: int, by: str, key: str, start: int | None = None
    ) -> list[int]:
        seed = int.from_bytes(hashlib.sha256(f"{batch.ids[b]}/{key}".encode()).digest()[:4], "big")
        generator = torch.Generator().manual_seed(seed)
        model = self.reference if by == "reference" else self.model
        prefix = batch.prompts.ids[b, : batch.prompts.lengths[b]].tolist()
        tokens: list[int] = []
        with torch.no_grad():
            while len(tokens) < self.max_new_tokens and EOS not in tokens:
                logits = model(torch.tensor([prefix + tokens]))[0, -1]
                if start is not None and not tokens:
                    tokens.append(int(logits.argsort(descending=True)[start]))
                elif temperature == 0:
                    tokens.append(int(logits.argmax()))
                else:
                    if top_k:
                        logits = logits.masked_fill(logits < logits.topk(top_k).values[-1], -torch.inf)
                    tokens.append(int(torch.multinomial((logits / temperature).softmax(0), 1, generator=generator)))
        return tokens

    # -- scores

    def reward(self, batch: Batch, completions: Completions) -> Rewards:
        shape = completions.lengths.shape
        rows = [list(self.table[name]) for name in batch.ids]
        assert all(len(row) == shape[1] for row in rows), "the table has another number of candidates"
        present = torch.tensor([[r is not None for r in row] for row in rows], dtype=torch.bool)
        values = torch.tensor([[0.0 if r is None else r for r in row] for row in rows], dtype=torch.float64)
        return Rewards(values.reshape(shape), present.reshape(shape))

    def logprobs(
        self,
        batch: Batch,
        completions: Completions,
        *,
        temperature: float = 1.0,
        dropout: bool = True,
        dtype: torch.dtype | None = None,
        hidden: bool = False,
        entropy: bool = False,
    ) -> LogProbs:
        assert not entropy
        self.scored.append(completions)
        drop = dropout and self.dropout
        return self._score(
            self.model, batch, completions, temperature=temperature, drop=drop, dtype=dtype, hidden=hidden
        )

    def _score(
        self,
        model: TinyModel,
        batch: Batch,
        completions: Completions,
        *,
        temperature: float = 1.0,
        drop: bool = False,
        dtype: torch.dtype | None = None,
        hidden: bool = False,
    ) -> LogProbs:
        assert len(batch) == len(completions)
        size, count, width = completions.ids.shape
        mask = completions.mask
        if not size:  # the share of a rank without rows
            return LogProbs(torch.zeros(mask.shape, dtype=torch.float64), mask)
        # what stands in padded places is arbitrary, so that reading it would show
        tokens = torch.where(mask, completions.ids, VOCABULARY - 1)
        prompt = batch.prompts.ids[:, None].expand(-1, count, -1)
        length = batch.prompts.lengths
        longest = int(length.max())
        row = torch.full((size, count, longest + width), VOCABULARY - 1)
        for b in range(size):
            n = int(length[b])
            row[b, :, :n] = prompt[b, :, :n]
            row[b, :, n : n + width] = tokens[b]
        states = model.states(row.flatten(0, 1), dropout=drop).view(size, count, longest + width, -1)
        logp = (states @ model.head / temperature).to(dtype or torch.float64).log_softmax(-1)
        place = (length[:, None, None] - 1 + torch.arange(width)).expand(size, count, width)
        logp = logp.gather(2, place[..., None].expand(-1, -1, -1, VOCABULARY))
        values = logp.gather(3, tokens[..., None])[..., 0]
        states = states.gather(2, place[..., None].expand(-1, -1, -1, states.shape[-1]))
        return LogProbs(torch.where(mask, values, torch.zeros_like(values)), mask, states if hidden else None)

    # -- the rest

    def total(self, x: Tensor | float) -> Tensor:
        value = torch.as_tensor(x, dtype=torch.float64).detach()
        return value if self.ranks is None else self.ranks.total(self.rank, value)

    def update(self, loss: Callable[..., Mapping[str, Tensor]], **rows: Any) -> Mapping[str, float]:
        sizes = {len(value) for value in rows.values()}
        assert len(sizes) == 1, "the rows have different lengths"
        size = sizes.pop()
        step = self.part or max(size, 1)
        # backwards, as a cut by length may order them otherwise too
        parts = [list(range(first, min(first + step, size))) for first in range(0, size, step)][::-1]
        parameters = [p for module in (self.model, *self.modules.values()) for p in module.parameters()]
        self.shares, self.grads = {}, {}
        for index in parts:
            part = {name: _take(value, index) for name, value in rows.items()}
            before = {name: _fingerprint(value) for name, value in part.items()}
            loss(**part)  # a diagnosed step evaluates a part again; what is logged must not count it twice
            for name, share in loss(**part).items():
                assert share.dim() == 0
                found = torch.autograd.grad(share, parameters, retain_graph=True, allow_unused=True)
                grads = [torch.zeros_like(p) if g is None else g for p, g in zip(parameters, found, strict=True)]
                old = self.grads.get(name, [torch.zeros_like(p) for p in parameters])
                self.grads[name] = [a + b for a, b in zip(old, grads, strict=True)]
                self.shares[name] = self.shares.get(name, 0.0) + float(share.detach())
            assert before == {name: _fingerprint(value) for name, value in part.items()}, "a loss changed its rows"
        if self.ranks is not None:
            nothing = [torch.zeros_like(p) for p in parameters]  # of a rank without rows
            for name in sorted(set().union(*self.ranks.gather(self.rank, set(self.shares)))):
                self.shares[name] = float(self.total(self.shares.get(name, 0.0)))
                self.grads[name] = [self.total(g) for g in self.grads.get(name, nothing)]
        if self.learning_rate:
            with torch.no_grad():
                for parameter, slope in zip(parameters, self.gradient(), strict=True):
                    parameter.sub_(self.learning_rate * slope)
        return dict(self.shares)

    def gradient(self, *names: str) -> list[Tensor]:
        """Return the gradient of some shares, of all if none is named."""
        chosen = [self.grads[name] for name in names or self.grads]
        return [torch.stack(slopes).sum(0) for slopes in zip(*chosen, strict=True)]

    @property
    def loss(self) -> float:
        return sum(self.shares.values())

    def reference_logprobs(self, batch: Batch, completions: Completions, *, temperature: float = 1.0) -> LogProbs:
        with torch.no_grad():
            return self._score(self.reference, batch, completions, temperature=temperature)

    def final_states(self, batch: Batch, completions: Completions, *, dropout: bool = True) -> Tensor:
        return _unused()

    def logits(self, batch: Batch, completions: Completions, *, reference: bool = False) -> Any:
        return _unused()

    def reference_logits(self, batch: Batch, completions: Completions) -> Any:
        return _unused()

    def log(self, name: str, numerator: Tensor | float, denominator: Tensor | float) -> None:
        _unused()

    def roll(self, rows: Mapping[str, Any], shift: int) -> Any:
        return _unused()

    def gather(self, rows: Mapping[str, Any]) -> Any:
        return _unused()

    def add_module(self, name: str, module: nn.Module, *, learning_rate: float | None = None) -> None:
        self.modules[name] = module.double()

    def add_critic(
        self,
        name: str,
        *,
        start: Literal["policy", "reward_model"],
        head: nn.Module | None = None,
        learning_rate: float | None = None,
    ) -> None:
        critic = nn.ModuleDict({"body": copy.deepcopy(self.reference if start == "policy" else TinyModel(99))})
        critic["head"] = head or nn.Linear(self.model.embedding.shape[1], 1)
        self.modules[name] = critic.double()

    def critic_values(self, name: str, batch: Batch, completions: Completions) -> Tensor:
        critic: Any = self.modules[name]
        made = self._score(critic["body"], batch, completions, hidden=True)
        values = critic["head"](made.hidden)[..., 0]
        return torch.where(made.mask, values, torch.zeros_like(values))

    def shuffle(self, rows: Mapping[str, Any], parts: int, purpose: str) -> Any:
        size = len(next(iter(rows.values())))
        order = torch.randperm(size, generator=self.generator(purpose)).tolist()
        cuts = [order[part * size // parts : (part + 1) * size // parts] for part in range(parts)]
        return [{name: _take(value, cut) for name, value in rows.items()} for cut in cuts]

    def generator(self, purpose: str) -> torch.Generator:
        return torch.Generator().manual_seed(int.from_bytes(hashlib.sha256(purpose.encode()).digest()[:4], "big"))

    def perturbed(
        self, seed: int, scale: float, *, rank: int | None = None, only: Literal["all", "matrices"] = "all"
    ) -> Any:
        return _unused()

    def apply(
        self, noise: Iterable[tuple[int, float]], *, rank: int | None = None, only: Literal["all", "matrices"] = "all"
    ) -> Mapping[str, float]:
        return _unused()


def _unused() -> NoReturn:
    message = "no method that ships uses this service"
    raise AssertionError(message)


def _take(value: Any, index: list[int]) -> Any:
    return value[torch.tensor(index)] if isinstance(value, Tensor) else value[index]


def _fingerprint(value: Any) -> Any:
    """Return the content of anything made of tensors, to see whether it was changed in place."""
    if isinstance(value, Tensor):
        return value.detach().numpy().tobytes()
    if is_dataclass(value):
        return {name: _fingerprint(part) for name, part in vars(value).items()}
    return repr(value)


def completions(every: Sequence[Sequence[Sequence[int]]], *, width: int = 0) -> Completions:
    """Make (B, K, T) completions from lists of token ids; one that ends with EOS is finished."""
    longest = max([len(tokens) for row in every for tokens in row] + [1, width])
    return Completions(
        torch.tensor([[[*tokens, *[0] * (longest - len(tokens))] for tokens in row] for row in every]),
        torch.tensor([[len(tokens) for tokens in row] for row in every]),
        torch.tensor([[bool(tokens) and tokens[-1] == EOS for tokens in row] for row in every]),
    )


def batch_of(prompts: Sequence[Sequence[int]], demonstrations: Sequence[Sequence[int]], *, width: int = 0) -> Batch:
    """Make a batch from lists of token ids."""
    longest = max([len(p) for p in prompts] + [width])
    ids = tuple(f"row-{b}" for b in range(len(prompts)))
    return Batch(
        ids,
        Prompts(
            torch.tensor([[*p, *[0] * (longest - len(p))] for p in prompts]),
            torch.tensor([len(p) for p in prompts]),
            ids,
        ),
        completions([[d] for d in demonstrations], width=width),
    )
