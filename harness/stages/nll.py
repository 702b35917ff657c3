"""The models that metrics may ask: scorer and policy for likelihoods, other rows' for divergences, the reward model."""

from __future__ import annotations

import sys
from dataclasses import replace
from typing import TYPE_CHECKING, TypeAlias

import numpy as np
import torch

from harness.api import Divergence, Example, Sample
from harness.errors import StageError
from harness.in_parts import Batcher
from harness.lm.cuda.memory import training_tokens
from harness.lm.score.divergence import divergence_sums
from harness.lm.score.logprobs import ScoringModule, score
from harness.spec.results.score import CutTexts
from harness.stages.environment import environment
from harness.stages.exposure import prefix_losses
from harness.stages.judge import load_reward_model
from harness.stages.setup import borrow_policy, open_parts
from harness.stages.shared import SharedServices
from harness.stages.stored_rows import read
from harness.text.encode import Answer, EncodedRow, EncodingParams, check_room, collate, collate_answers, encode
from harness.text.formats import format_of
from harness.training.budget import HINT

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from torch import Tensor

    from harness.api import Completions, Prompts
    from harness.lm.model.policy import Policy
    from harness.lm.score.reward_model import RewardModel
    from harness.spec.stages.score import ModelScoreConfig
    from harness.stages.request import StageRequest, Tell
    from harness.store.stages import Store

#: Called with B prompts and completions (B, K, T); returns M sums over the tokens of each, (B, K, M).
Measure: TypeAlias = "Callable[[Prompts, Completions], Tensor]"

#: A column added here: whether the text of a row was cut.
_CUT = "cut"


class ModelServices(SharedServices):
    """Implements :class:`harness.api.MetricServices` with the stage's parents."""

    def __init__(
        self,
        request: StageRequest[ModelScoreConfig],
        store: Store,
        tell: Tell,
        samples: Sequence[Sample],
        read: Callable[[str], list[Sample]],
    ) -> None:
        """Load nothing yet."""
        super().__init__(request, store, tell, samples, read)
        self.environment = environment(request)
        self._config = request.config
        self.cut = CutTexts()
        """Of the texts whose likelihood was asked."""
        self._parts = open_parts(request, store, self.environment)
        self._policies: dict[str, Policy] = {}
        self._reward_model: RewardModel | None = None
        scorer = request.parents.get("scorer")
        #: The stage that made the scorer: a name that follows its content, and no label of somebody's file.
        self.scorer_label = f"{scorer.kind}-{scorer.id[:12]}" if scorer else ""

    def answer_nll(self, samples: Sequence[Sample]) -> Sequence[tuple[float, int]]:
        """Return nats and tokens (EOS not counted) of each answer under the scorer; (0, 0) for an empty one."""
        return self._nll("scorer", samples, [sample.text for sample in samples], eos=False)

    def reference_nll(self, samples: Sequence[Sample]) -> Sequence[tuple[float, int]]:
        """Return nats and tokens (EOS counted) of each first reference under the policy."""
        texts = [sample.references[0] if sample.references else "" for sample in samples]
        return self._nll("policy", samples, texts, eos=True)

    def prefix_nll(self, samples: Sequence[Sample]) -> Sequence[Sequence[tuple[float, float]]]:
        """Return the loss of each first reference behind its own beginnings and behind those of the answer."""
        policy = self._policy("policy")
        examples = self._examples()
        rows = [
            _asked(str(place), examples[sample.id], sample.references[0])
            for place, sample in enumerate(samples)
            if sample.references
        ]
        losses_of: list[list[tuple[float, float]]] = [[] for _ in samples]
        if rows:
            encoded = self._encode(policy, rows, eos=True)
            self._count(encoded, [row.id for row in rows])
            format_ = format_of(self._config.asking.template, policy.tokeniser, where=self._request.label)
            texts = [samples[int(row.id)].text for row in encoded]
            answers = format_.answers([row.text for row in encoded], texts)
            losses = prefix_losses(
                policy, encoded, answers, lambda done, whole: self._tell(done, whole, "answer", ""), self._parts.keep
            )
            for row, pair_losses in zip(encoded, losses, strict=True):
                losses_of[int(row.id)] = pair_losses
        return losses_of

    def text_nll(self, texts: Sequence[str]) -> Sequence[tuple[float, int]]:
        """Return nats and tokens of each text under the policy, behind BOS or else behind its own first token."""
        policy = self._policy("policy")
        numbers = {text: str(number) for number, text in enumerate(dict.fromkeys(texts))}
        (before,) = policy.tokeniser.prompts([""])
        rows = [
            _fitting(_alone(number, text, ids, max(1, len(before))), policy.positions_limit)
            for (text, number), ids in zip(numbers.items(), policy.tokeniser.prompts(list(numbers)), strict=True)
        ]
        self._count(rows, [numbers[text] for text in texts])
        predicted = [[row] for row in rows if row.completion is not None and len(row.completion.ids)]
        sums = self._measure(policy, predicted, _likelihood(policy), "nll of texts")
        pairs = {text: sums.get(number, [0.0, 0.0]) for text, number in numbers.items()}
        return [(-nats, int(tokens)) for nats, tokens in (pairs[text] for text in texts)]

    def divergences(self, samples: Sequence[Sample], label: str) -> Sequence[Divergence]:
        """Return how far the policy is from the model of another row, along each sample's text."""
        parent = f"model:{label}"
        if parent not in self._request.parents:
            raise StageError(
                f"the metric asked for the model of the row {label!r}",
                where=self._request.label,
                expected="that row in `models_of` of its registration",
            )
        policy, other = self._policy("policy"), self._policy(parent)
        if policy.tokeniser.digest != other.tokeniser.digest:
            raise StageError(
                f"this row and {label!r} have different tokenizers: their distributions are over different tokens",
                where=self._request.label,
                hint="leave the metric out, or the row",
            )
        examples = self._examples()
        asked = [(sample.id, sample.text, sample.finished) for sample in samples]
        numbers = {each: str(number) for number, each in enumerate(dict.fromkeys(asked))}
        if not numbers:
            return []
        rows = [_asked(number, examples[id_], text) for (id_, text, _), number in numbers.items()]
        limits = [limit for limit in (policy.positions_limit, other.positions_limit) if limit is not None]
        encoded = self._encode(policy, rows, eos=True, positions=min(limits, default=None))
        self._count(encoded, [numbers[each] for each in asked])
        ended = {number: finished for (_, _, finished), number in numbers.items()}
        read = [row if ended[row.id] else _without_end(row) for row in encoded]
        lengths = {row.id: 0 if row.completion is None else len(row.completion.ids) for row in read}
        names = {number: id_ for (id_, _, _), number in numbers.items()}
        groups: dict[str, list[EncodedRow]] = {}
        for row in read:
            if lengths[row.id]:
                groups.setdefault(names[row.id], []).append(row)
        sums = self._measure(
            policy,
            groups.values(),
            lambda prompts, answers: divergence_sums(policy, other, prompts, answers),
            f"divergence from {label}",
        )
        found = []
        for number in (numbers[each] for each in asked):
            forward, reverse, entropy = sums.get(number, (0.0, 0.0, 0.0))
            found.append(Divergence(forward, reverse, entropy, lengths[number]))
        return found

    def rewards(self, samples: Sequence[Sample], texts: Sequence[str]) -> Sequence[float]:
        """Return the reward model's score of each text as an answer to its sample's prompt."""
        if self._reward_model is None:
            use = self._config.reward_model
            assert use is not None  # planned for whatever declares that it needs one
            self._reward_model = load_reward_model(self._request, self._store, use)
        examples = self._examples()
        prompts = [self._reward_model.format.render(examples[sample.id]) for sample in samples]
        return self._reward_model.score(prompts, texts, keep=self._parts.keep)

    def discard_parts(self) -> None:
        """Remove the finished parts: the stage is done."""
        self._parts.discard()

    def _nll(self, parent: str, samples: Sequence[Sample], texts: list[str], *, eos: bool) -> list[tuple[float, int]]:
        policy = self._policy(parent)
        examples = self._examples()
        wanted = {(sample.id, text) for sample, text in zip(samples, texts, strict=True) if text}
        asked = [(sample.id, text) for sample, text in zip(samples, texts, strict=True)]
        shown = [pair for pair in asked if pair[1]]
        scores = self._score(policy, examples, sorted(wanted), shown, eos=eos, what=f"nll of {parent}")
        return [scores.get(pair, (0.0, 0)) for pair in asked]

    def _examples(self) -> dict[str, Example]:
        return {e.id: e for e in read(self._store.open("prepare", self._request.parents["rows"].id))}

    def _encode(
        self, policy: Policy, rows: list[Example], *, eos: bool, positions: int | None = None
    ) -> list[EncodedRow]:
        """Tokenise rows as they were for the answers; a completion may take all the context that its prompt leaves.

        The context has as many ``positions`` as the policy's unless given.
        """
        longest = self._config.asking.max_prompt_length
        positions = policy.positions_limit if positions is None else positions
        check_room(positions, longest, where=self._request.label)
        encoded = encode(
            rows,
            policy.tokeniser,
            self._config.asking.template,
            EncodingParams(max_prompt=longest, max_completion=sys.maxsize, training=False, train_eos=eos),
            where=self._request.label,
        )
        return [_fitting(row, positions) for row in encoded.rows]

    def _count(self, encoded: Sequence[EncodedRow], asked: Sequence[str]) -> None:
        """Count the cuts of rows, each as often as its id was ``asked`` for."""
        prompts = {row.id for row in encoded if row.cut}
        texts = {row.id for row in encoded if row.completion is not None and row.columns[_CUT]}
        self.cut = CutTexts(
            texts=self.cut.texts + len(asked),
            cut=self.cut.cut + sum(row in texts for row in asked),
            prompts_cut=self.cut.prompts_cut + sum(row in prompts for row in asked),
        )

    def _policy(self, parent: str) -> Policy:
        if parent not in self._policies:
            own = self._config.scorer if parent == "scorer" else None
            at = self._config.at if parent == "policy" else None
            loading = own or self._config.asking.loading
            self._policies[parent] = borrow_policy(self._request, self._store, parent, loading, at)
        return self._policies[parent]

    def _score(
        self,
        policy: Policy,
        examples: dict[str, Example],
        wanted: list[tuple[str, str]],
        asked: list[tuple[str, str]],
        *,
        eos: bool,
        what: str,
    ) -> dict[tuple[str, str], tuple[float, int]]:
        rows = [_asked(str(number), examples[example_id], text) for number, (example_id, text) in enumerate(wanted)]
        scores: dict[tuple[str, str], tuple[float, int]] = {}
        if not rows:
            return scores
        groups: dict[str, list[EncodedRow]] = {}
        encoded = self._encode(policy, rows, eos=eos)
        numbers = {pair: str(number) for number, pair in enumerate(wanted)}
        self._count(encoded, [numbers[pair] for pair in asked])
        for row in encoded:
            groups.setdefault(wanted[int(row.id)][0], []).append(row)
        sums = self._measure(policy, groups.values(), _likelihood(policy), what)
        return {wanted[int(number)]: (-nats, int(tokens)) for number, (nats, tokens) in sums.items()}

    def _measure(
        self, policy: Policy, groups: Iterable[list[EncodedRow]], measure: Measure, what: str
    ) -> dict[str, list[float]]:
        """Return what ``measure`` gives of each row's completion, by the row's id.

        The rows of a group have one prompt, and share a forward. ``what`` names the measure among finished parts.
        """
        ordered = sorted(groups, key=_tokens, reverse=True)

        def compute(part: list[int]) -> list[list[list[float]]]:
            chosen = [ordered[place] for place in part]
            prompts = collate([group[0] for group in chosen], policy.device).prompts
            answers = collate_answers([[row.completion for row in group] for group in chosen], policy.device)
            sums: list[list[list[float]]] = measure(prompts, answers).tolist()
            return sums

        measured = Batcher(training_tokens(policy), doing="scoring", hint=HINT).kept(
            [_tokens(group) for group in ordered],
            compute,
            keep=self._parts.keep,
            key=lambda part: [what, [[_ids(row) for row in ordered[place]] for place in part]],
        )
        found: dict[str, list[float]] = {}
        total = sum(map(len, ordered))
        for part, each in measured:
            for place, sums in zip(part, each, strict=True):
                # a group may have fewer answers than those that it was measured with
                found |= {row.id: values for row, values in zip(ordered[place], sums, strict=False)}
            self._tell(len(found), total, "answer", "")
        return found


def _likelihood(policy: Policy) -> Measure:
    """Return what gives the log-likelihood of completions in nats, and their tokens: (B, K, 2)."""
    scoring = ScoringModule(policy)

    def measure(prompts: Prompts, answers: Completions) -> Tensor:
        with torch.no_grad():
            logp = score(policy, prompts, answers, dropout=False, module=scoring)
        return torch.stack((logp.values.double().sum(-1), logp.mask.sum(-1).double()), dim=-1)

    return measure


def _alone(name: str, text: str, ids: Sequence[int], first: int) -> EncodedRow:
    """Return a text as a row of which the ``first`` tokens are given and the others predicted."""
    prompt, rest = (np.asarray(part, dtype=np.int32) for part in (ids[:first], ids[first:]))
    return EncodedRow(name, prompt, text, Answer(rest, finished=False))


def _without_end(row: EncodedRow) -> EncodedRow:
    """Return a row of which nothing says that its completion ended."""
    answer = row.completion
    if answer is None or not answer.finished:
        return row
    return replace(row, completion=Answer(answer.ids[:-1], finished=False))


def _ids(row: EncodedRow) -> list[list[int]]:
    return [row.prompt.tolist(), [] if row.completion is None else row.completion.ids.tolist()]


def _asked(name: str, example: Example, answer: str) -> Example:
    """Return a row with the prompt of another and an answer of its own."""
    return Example(id=name, fields=example.fields, turns=example.turns, completion=answer)


def _fitting(row: EncodedRow, positions: int | None) -> EncodedRow:
    """Return a row whose completion fits behind its own prompt, and whether it was cut for that."""
    answer = row.completion
    room = sys.maxsize if positions is None else positions - len(row.prompt)
    cut = answer is not None and len(answer.ids) > room
    if answer is not None and cut:
        answer = Answer(answer.ids[:room], finished=False)
    return replace(row, completion=answer, columns={_CUT: cut})


def _tokens(group: Sequence[EncodedRow]) -> int:
    """Return what a prompt and its answers take together."""
    return len(group[0].prompt) + sum(len(row.completion.ids) for row in group if row.completion is not None)
