"""``precompute``: what normalises a reward model's scores, and its scores of held-out preferences."""

from __future__ import annotations

import itertools
import math
from typing import TYPE_CHECKING

from harness.errors import InputError
from harness.spec.results.reward_statistics import PairScores, RewardStatistics
from harness.stages.environment import environment
from harness.stages.judge import load_reward_model
from harness.stages.setup import open_parts
from harness.stages.stored_rows import read

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from harness.api import Example
    from harness.lm.score.reward_model import RewardModel
    from harness.plugins.registry import Registry
    from harness.spec.stages.reward_statistics import RewardStatisticsConfig
    from harness.stages.request import StageRequest, Tell
    from harness.store.parts import Parts
    from harness.store.records import Record
    from harness.store.stages import Store

#: Training rows whose demonstrations the scores are normalised over.
SET = 256
#: Pairs that are scored between two words to the user.
_PART = 256


def run(
    request: StageRequest[RewardStatisticsConfig],
    store: Store,
    registry: Registry,  # noqa: ARG001  # the common signature
    tell: Tell,
) -> Record:
    """Score the demonstrations of the first training rows, and both answers of every held-out pair."""
    where, config = environment(request), request.config
    model = load_reward_model(request, store, config.reward_model)
    rows = itertools.islice(_demonstrations(store.open("prepare", request.parents["rows"].id)), SET)
    prompts, answers = _texts(((model.format.render(e), answer) for e, answer in rows), request)
    parts = open_parts(request, store, where)
    summary = _summary(model.score(prompts, answers, keep=parts.keep), request, model)
    pairs: list[PairScores] = []
    if "pairs" in request.parents:
        examples = list(read(store.open("prepare", request.parents["pairs"].id)))
        pairs += _scored(examples, model, tell, parts)
    with store.draft(request.kind, request.id) as draft:
        draft.write(summary)
        draft.write_lines(PairScores, pairs)
        record = store.commit(draft, config=config.to_json(), environment=where, label=request.label)
    parts.discard()
    return record


def _demonstrations(rows: Record) -> Iterable[tuple[Example, str]]:
    for example in read(rows):
        if example.demonstration is not None:
            yield example, example.demonstration


def _texts(
    pairs: Iterable[tuple[str, str]], request: StageRequest[RewardStatisticsConfig]
) -> tuple[list[str], list[str]]:
    listed = list(pairs)
    if not listed and request.config.normalise != "none":
        raise InputError(
            "there is no demonstration to normalise the reward model's scores by",
            where=request.label,
            expected="training rows with a completion or a chosen answer, or normalise: none",
        )
    return [prompt for prompt, _ in listed], [answer for _, answer in listed]


def _summary(
    scores: Sequence[float], request: StageRequest[RewardStatisticsConfig], model: RewardModel
) -> RewardStatistics:
    """Return mean and standard deviation (n - 1) of the scores, and how large the model is."""
    count = len(scores)
    mean = math.fsum(scores) / count if count else 0.0
    sd = math.sqrt(math.fsum((score - mean) ** 2 for score in scores) / (count - 1)) if count > 1 else 0.0
    if request.config.normalise == "zscore" and not sd > 0:
        raise InputError(
            "the reward model gives all demonstrations the same score, which no z-score can be made of",
            where=request.label,
            got=f"{count} scores of {mean:g}",
            expected="normalise: shift or none",
        )
    weights = list(model.parameters())
    return RewardStatistics(
        normalise=request.config.normalise,
        mean=mean,
        sd=sd,
        n=count,
        model=request.parents["reward_model"].id,
        parameters=sum(weight.numel() for weight in weights),
        bytes=sum(weight.numel() * weight.element_size() for weight in weights),
    )


def _scored(examples: Sequence[Example], model: RewardModel, tell: Tell, kept: Parts) -> Iterable[PairScores]:
    """Yield a row for each held-out pair: raw scores, and lengths in the reward model's own tokens without EOS."""
    for place in range(0, len(examples), _PART):
        part = examples[place : place + _PART]
        prompts = [model.format.render(example) for example in part]
        sides = {"chosen": [e.chosen or "" for e in part], "rejected": [e.rejected or "" for e in part]}
        answers = [*sides["chosen"], *sides["rejected"]]
        both = model.score(prompts * 2, answers, keep=kept.keep)  # a prompt's two answers together
        lengths = {
            name: [len(ids) for ids in model.format.answers(prompts, list(map(model.format.judged, prompts, texts)))]
            for name, texts in sides.items()
        }
        for number, example in enumerate(part):
            yield PairScores(
                id=example.id,
                chosen=both[number],
                rejected=both[len(part) + number],
                chosen_tokens=lengths["chosen"][number],
                rejected_tokens=lengths["rejected"][number],
            )
        tell(min(place + _PART, len(examples)), len(examples), "pair", "")
