"""``precompute``: what normalises a reward model's scores, and its scores of held-out preferences."""

from __future__ import annotations

import itertools
import math
from typing import TYPE_CHECKING, Any

from harness.errors import InputError
from harness.lm.score.reward_model import answer_text
from harness.lm.text.templates import render
from harness.spec.benchmark import Template
from harness.stages.rows import read
from harness.stages.setup import REWARD_SUMMARY, environment, load_reward_model, open_parts

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from harness.api import Example
    from harness.lm.score.reward_model import RewardModel
    from harness.plugins import Registry
    from harness.stages.order import Order, Tell
    from harness.store import Record, Store
    from harness.store.parts import Parts

PAIRS = "pairs.jsonl"

#: Training rows whose demonstrations the scores are normalised over.
SET = 256
#: Pairs that are scored between two words to the user.
_PART = 256


def run(order: Order, store: Store, registry: Registry, tell: Tell) -> Record:  # noqa: ARG001  # the common signature
    """Score the demonstrations of the first training rows, and both answers of every held-out pair."""
    where = environment(order)
    model = load_reward_model(order, store)
    template = Template(**order.config["template"])
    rows = itertools.islice(_demonstrations(order, store), SET)
    prompts, answers = _texts(((render(template, e.fields), answer) for e, answer in rows), order)
    parts = open_parts(order, store, where)
    summary = _summary(model.score(prompts, answers, keep=parts.keep), order, model)
    pairs = list(_scored(order, store, template, model, tell, parts)) if "pairs" in order.parents else []
    with store.draft(order.kind, order.id) as draft:
        draft.write_json(REWARD_SUMMARY, summary)
        draft.write_jsonl(PAIRS, pairs)
        record = draft.commit(config=order.config, environment=where, label=order.label)
    parts.discard()
    return record


def _demonstrations(order: Order, store: Store) -> Iterable[tuple[Example, str]]:
    for example in read(store.open("prepare", order.parents["rows"].id)):
        if example.demonstration is not None:
            yield example, example.demonstration


def _texts(pairs: Iterable[tuple[str, str]], order: Order) -> tuple[list[str], list[str]]:
    listed = list(pairs)
    if not listed and order.config["normalise"] != "none":
        raise InputError(
            "there is no demonstration to normalise the reward model's scores by",
            where=order.label,
            expected="training rows with a completion or a chosen answer, or normalise: none",
        )
    return [prompt for prompt, _ in listed], [answer for _, answer in listed]


def _summary(scores: Sequence[float], order: Order, model: RewardModel) -> dict[str, Any]:
    """Return mean and standard deviation (n - 1) of the scores, and how large the model is."""
    count = len(scores)
    mean = math.fsum(scores) / count if count else 0.0
    sd = math.sqrt(math.fsum((score - mean) ** 2 for score in scores) / (count - 1)) if count > 1 else 0.0
    if order.config["normalise"] == "zscore" and not sd > 0:
        raise InputError(
            "the reward model gives all demonstrations the same score, which no z-score can be made of",
            where=order.label,
            got=f"{count} scores of {mean:g}",
            expected="normalise: shift or none",
        )
    weights = list(model.parameters())
    return {
        "normalise": order.config["normalise"],
        "mean": mean,
        "sd": sd,
        "n": count,
        "model": order.parents["reward_model"].id,
        "parameters": sum(weight.numel() for weight in weights),
        "bytes": sum(weight.numel() * weight.element_size() for weight in weights),
    }


def _scored(
    order: Order, store: Store, template: Template, model: RewardModel, tell: Tell, kept: Parts
) -> Iterable[dict[str, Any]]:
    """Yield a row for each held-out pair: raw scores, and lengths in the reward model's own tokens without EOS."""
    examples = list(read(store.open("prepare", order.parents["pairs"].id)))
    for place in range(0, len(examples), _PART):
        part = examples[place : place + _PART]
        prompts = [render(template, example.fields) for example in part]
        sides = {"chosen": [e.chosen or "" for e in part], "rejected": [e.rejected or "" for e in part]}
        answers = [*sides["chosen"], *sides["rejected"]]
        both = model.score(prompts * 2, answers, keep=kept.keep)  # a prompt's two answers together
        scores = {"chosen": both[: len(part)], "rejected": both[len(part) :]}
        lengths = {
            name: [len(ids) for ids in model.tokeniser.completions(list(map(answer_text, prompts, texts)))]
            for name, texts in sides.items()
        }
        for number, example in enumerate(part):
            row: dict[str, Any] = {"id": example.id}
            row |= {name: scores[name][number] for name in sides}
            yield row | {f"{name}_tokens": lengths[name][number] for name in sides}
        tell(min(place + _PART, len(examples)), len(examples), "pair", "")
