"""The reward model: a text judged as an answer to a prompt.

It reads text and tokenises it by its own tokenizer: the prompt as rendered (a conversation by its own chat template),
then the answer, then always what ends an answer, on whose state the score is read (of a classifier that exists: on the
last token that its chat template writes, as it was trained). Training and use pass through the same two functions
(:meth:`harness.text.formats.Format.judged`, :meth:`RewardModel.score`), so that one text has one score wherever it
stands.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, Protocol, cast

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import nn

from harness.api import Completions, Prompts
from harness.errors import StageError
from harness.in_parts import Batcher, at_once
from harness.lm.cuda.sizes import REWARD_TOKENS
from harness.lm.model.load import WEIGHT_DTYPES, load_model
from harness.lm.model.policy import Policy, positions_limit
from harness.lm.score.logprobs import ScoringModule, final_states
from harness.models.folders import check_folder, check_one_label
from harness.text.formats import format_of
from harness.text.tokenise import Tokeniser

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path

    from torch import Tensor

    from harness.in_parts import Keep
    from harness.spec.model import Model, Template
    from harness.text.formats import Format

#: The name of the module that a method which trains a reward model adds, and its shape: Linear(width, 1).
HEAD = "reward_head"
#: Answers of one prompt that go in one row.
_GROUP = 8


class Network(Protocol):
    """What gives scores for token ids."""

    @property
    def positions_limit(self) -> int | None:
        """Most tokens of prompt and answer together."""

    def __call__(self, prompts: Sequence[Sequence[int]], answers: Sequence[Sequence[Sequence[int]]]) -> list[Tensor]:
        """Return the scores (K_i,) of each prompt's answers."""

    def parameters(self) -> Iterable[nn.Parameter]:
        """Return all weights."""


class RewardModel:
    """Scores of texts, normalised.

    A score is (raw - shift) / scale: 0 and 1 for raw scores.
    """

    def __init__(self, network: Network, format_: Format, *, device: torch.device, max_prompt: int | None) -> None:
        """Score by ``network``; a prompt that is longer than ``max_prompt`` tokens loses its left end."""
        self.network = network
        self.format = format_
        self.tokeniser = format_.tokeniser
        self.shift = 0.0
        self.scale = 1.0
        self._max_prompt = max_prompt
        budget, hint = REWARD_TOKENS[device.type], "use a smaller reward model, or a lower max_prompt"
        self.batcher = Batcher(budget, doing="scoring by the reward model", hint=hint)

    @classmethod
    def trained(cls, policy: Policy, modules: Path, *, template: Template, max_prompt: int | None) -> RewardModel:
        """Join what a method trained: the backbone, and the file of modules with the head."""
        policy.model.requires_grad_(requires_grad=False)
        head = load_head(modules)
        head.to(device=policy.device, dtype=WEIGHT_DTYPES[policy.dtype])
        format_ = format_of(template, policy.tokeniser, where="the reward model")
        return cls(Backbone(policy, head), format_, device=policy.device, max_prompt=max_prompt)

    @classmethod
    def classifier(
        cls,
        folder: Path,
        *,
        spec: Model,
        template: Template,
        max_prompt: int | None,
        device: torch.device | str = "cpu",
    ) -> RewardModel:
        """Load a sequence classifier with one output.

        Raises:
            InputError: several outputs, no head, weights of other shapes than the configuration says, no safetensors,
                a configuration that wants code, or no chat template where one is wanted.
        """
        network = Classifier(folder, spec, torch.device(device))
        format_ = format_of(template, network.tokeniser, where=f"reward model {spec.name}")
        return cls(network, format_, device=network.device, max_prompt=max_prompt)

    def normalise(self, kind: Literal["none", "shift", "zscore"], mean: float, sd: float) -> None:
        """Bring scores to mean 0 (``shift``) and standard deviation 1 (``zscore``) over the set they were taken on."""
        self.shift = 0.0 if kind == "none" else mean
        self.scale = sd if kind == "zscore" else 1.0

    def parameters(self) -> Iterable[nn.Parameter]:
        """Return all weights, those of the head included."""
        return self.network.parameters()

    def score(self, prompts: Sequence[str], texts: Sequence[str], *, keep: Keep = at_once) -> list[float]:
        """Return a score for each text as the answer to the prompt of the same place.

        The score of a pair depends on nothing else that is asked: answers of one prompt share its forward, and prompts
        of like length go together. ``keep`` gives the raw scores of a batch that it knows, and keeps the others.
        """
        asked = [(prompt, self.format.judged(prompt, text)) for prompt, text in zip(prompts, texts, strict=True)]
        scores_of: dict[tuple[str, str], float] = {}
        groups = self._groups(asked)
        scored = self.batcher.kept(
            [group.tokens for group in groups],
            lambda part: self._raw([groups[place] for place in part]),
            keep=keep,
            key=lambda part: ["score", [groups[place].pairs for place in part]],
        )
        for part, of_part in scored:
            for place, scores in zip(part, of_part, strict=True):
                scores_of.update(zip(groups[place].pairs, scores, strict=True))
        return [(scores_of[pair] - self.shift) / self.scale for pair in asked]

    def _raw(self, part: list[_Group]) -> list[list[float]]:
        with torch.no_grad():
            raw = self.network([group.prompt_ids for group in part], [group.answer_ids for group in part])
        return [scores.double().tolist() for scores in raw]

    def _groups(self, asked: Iterable[tuple[str, str]]) -> list[_Group]:
        """Return the different pairs, some answers of one prompt together, those with the most tokens first."""
        wanted: dict[str, dict[str, None]] = {}
        for prompt, text in asked:
            wanted.setdefault(prompt, {})[text] = None
        groups = []
        for prompt, texts in wanted.items():
            listed = sorted(texts, key=len)
            answers = self.format.finished([prompt] * len(listed), listed, whole=isinstance(self.network, Classifier))
            tokens = self._prompt_ids(prompt, max(map(len, answers)))
            for place in range(0, len(listed), _GROUP):
                part = slice(place, place + _GROUP)
                groups.append(_Group([(prompt, text) for text in listed[part]], tokens, answers[part]))
        return sorted(groups, key=lambda group: -group.tokens)

    def _prompt_ids(self, prompt: str, answer: int) -> list[int]:
        """Return the ids of a prompt, without as much of its left end as it takes for the answer to fit behind it."""
        limit = self.network.positions_limit
        rooms = [room for room in (self._max_prompt, None if limit is None else max(1, limit - answer)) if room]
        (tokens,) = self.format.prompts([prompt])
        if rooms and len(tokens) > min(rooms):
            (tokens,) = self.format.prompts([self.format.shorten(prompt, min(rooms))])
        return tokens


@dataclass(frozen=True)
class _Group:
    """Answers of one prompt that are scored together."""

    pairs: list[tuple[str, str]]
    prompt_ids: list[int]
    answer_ids: list[list[int]]

    @property
    def tokens(self) -> int:
        """Tokens of all."""
        return len(self.prompt_ids) + sum(map(len, self.answer_ids))


class Backbone:
    """A language model whose last state a linear head reads: what is trained here."""

    def __init__(self, policy: Policy, head: nn.Linear) -> None:
        """Take over both."""
        self.policy = policy
        self.head = head
        self._scoring = ScoringModule(policy)

    @property
    def positions_limit(self) -> int | None:
        """Most tokens of prompt and answer together."""
        return self.policy.positions_limit

    def __call__(self, prompts: Sequence[Sequence[int]], answers: Sequence[Sequence[Sequence[int]]]) -> list[Tensor]:
        """Return the scores of each prompt's answers; all of a prompt go in one row."""
        device = self.policy.device
        asked = Prompts(*_padded(prompts, device), tuple("" for _ in prompts))
        width = max(map(len, answers))
        flat = [answer for group in answers for answer in [*group, *[()] * (width - len(group))]]
        ids, lengths = _padded(flat, device)
        shape = (len(prompts), width)
        group = Completions(ids.view(*shape, -1), lengths.view(shape), (lengths > 0).view(shape))
        states = final_states(self.policy, asked, group, dropout=False, module=self._scoring)
        scores = self.head(states.to(self.head.weight.dtype))[..., 0]
        return [row[: len(listed)].cpu() for row, listed in zip(scores, answers, strict=True)]

    def parameters(self) -> Iterable[nn.Parameter]:
        """Return the weights of both."""
        yield from self.policy.model.parameters()
        yield from self.head.parameters()


class Classifier:
    """A sequence classifier of transformers with one output."""

    def __init__(self, folder: Path, spec: Model, device: torch.device) -> None:
        """Load it.

        Raises:
            InputError: see :meth:`RewardModel.classifier`.
        """
        where = f"reward model {spec.name} ({folder})"
        check_folder(folder, where=where)
        check_one_label(folder, where=where)
        self.tokeniser = Tokeniser.load(folder)
        self.device = device
        self.dtype = spec.dtype
        self.model = cast("Any", load_model(folder, spec, "AutoModelForSequenceClassification", where=where))
        if self.model.config.pad_token_id is None:  # transformers would take no two texts at once
            self.model.config.pad_token_id = int(self.tokeniser.eos_id == 0)
        self.model.requires_grad_(requires_grad=False)
        self.model.to(device=device, dtype=WEIGHT_DTYPES[spec.dtype])
        self.model.eval()
        self.positions_limit = positions_limit(self.model.config)

    def __call__(self, prompts: Sequence[Sequence[int]], answers: Sequence[Sequence[Sequence[int]]]) -> list[Tensor]:
        """Return the scores of each prompt's answers, as transformers computes them for each text by itself.

        Where a causal model's configuration gives EOS as its padding, transformers reads the score before EOS; that is
        how such a model was trained.
        """
        rows = [[*prompt, *answer] for prompt, group in zip(prompts, answers, strict=True) for answer in group]
        ids, lengths = _padded(rows, self.device, fill=int(self.model.config.pad_token_id))
        mask = torch.arange(ids.shape[1], device=self.device) < lengths[:, None]
        scores = []
        for place in range(0, len(rows), _ROWS):
            part = slice(place, place + _ROWS)
            with torch.autocast(self.device.type, dtype=torch.bfloat16, enabled=self.dtype == "bfloat16"):
                output = self.model(input_ids=ids[part], attention_mask=mask[part].long())
            scores.append(output.logits[:, 0].cpu())
        return list(torch.split(torch.cat(scores), [len(group) for group in answers]))

    def parameters(self) -> Iterable[nn.Parameter]:
        """Return all weights."""
        return cast("Iterable[nn.Parameter]", self.model.parameters())


#: Texts that a classifier is given at once.
_ROWS = 64


def load_head(modules: Path) -> nn.Linear:
    """Load the scalar head that a training stage left behind.

    Raises:
        StageError: there is none, or it does not map to one number.
    """
    try:
        tensors = load_file(modules)
        weight, bias = tensors[f"{HEAD}.weight"], tensors.get(f"{HEAD}.bias")
    except (OSError, SafetensorError, KeyError) as error:
        what = f"the reward model has no head: {error}"
        raise StageError(what, where=str(modules), expected=f"{HEAD}.weight, of a module called {HEAD!r}") from error
    if weight.ndim != 2 or weight.shape[0] != 1:
        raise StageError("the head of the reward model gives more than one number", got=list(weight.shape))
    head = nn.Linear(weight.shape[1], 1, bias=bias is not None, dtype=weight.dtype, device="meta")
    head = head.to_empty(device="cpu")  # and no random number was drawn
    with torch.no_grad():
        head.weight.copy_(weight)
        if bias is not None:
            head.bias.copy_(bias)
    return head.requires_grad_(requires_grad=False)


def _padded(rows: Sequence[Sequence[int]], device: torch.device, fill: int = 0) -> tuple[Tensor, Tensor]:
    """Return ids (N, L), padded at the right end, and lengths (N,)."""
    lengths = [len(row) for row in rows]
    ids = torch.full((len(rows), max(1, *lengths)), fill, dtype=torch.int64)
    for place, row in enumerate(rows):
        ids[place, : lengths[place]] = torch.tensor(row, dtype=torch.int64)
    return ids.to(device), torch.tensor(lengths, device=device)
