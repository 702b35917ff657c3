from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, Any

import pytest
import torch
from lm.families import FAMILIES
from lm.ragged import sharpen, some_prompts

from harness.api import Completions, Prompts
from harness.errors import InputError
from harness.in_parts import Batcher
from harness.lm.decode.beam import BeamParams, beam
from harness.lm.decode.noise import Noise
from harness.lm.decode.sampling import SamplingParams, sample

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from harness.lm.model.policy import Policy

    Make = Callable[..., Policy]


def narrowed(policy: Policy, vocabulary: int, eos_bonus: float = 0.0) -> Policy:
    """Leave only the first few ids, EOS (0) among them."""
    restrict = policy.restrict
    bonus = torch.zeros(vocabulary, dtype=torch.float64)
    bonus[policy.eos_id] = eos_bonus
    policy.restrict = lambda logits: restrict(logits)[..., :vocabulary] + bonus  # type: ignore[method-assign]
    policy.vocab_size = vocabulary
    return policy


def next_logp(policy: Policy, prompt: Sequence[int], text: Sequence[int]) -> list[float]:
    with torch.no_grad():
        logits = policy.model(input_ids=torch.tensor([[*prompt, *text]])).logits[0, -1]
    return [float(x) for x in policy.restrict(logits).log_softmax(-1)]


def slowly(
    policy: Policy, prompt: Sequence[int], *, beams: int, groups: int, penalty: float, limit: int
) -> list[list[int]]:
    """Diverse beam search as the paper's algorithm reads, on lists, one prompt at a time."""
    width = beams // groups
    running: list[list[tuple[float, list[int]]]] = [[(0.0, [])] for _ in range(groups)]
    ended: list[list[tuple[float, list[int]]]] = [[] for _ in range(groups)]
    for position in range(1, limit + 1):
        chosen: list[int] = []
        for group in range(groups):
            offers = [
                (total + logp - penalty * chosen.count(token), number, [*text, token])
                for number, (total, text) in enumerate(running[group])
                for token, logp in enumerate(next_logp(policy, prompt, text))
            ]
            offers.sort(key=lambda offer: (-offer[0], offer[1], offer[2][-1]))
            ends = [(total, text) for total, _, text in offers[:width] if text[-1] == policy.eos_id]
            ended[group] += [(total / position, text) for total, text in ends]
            ended[group] = sorted(ended[group], key=lambda entry: -entry[0])[:width]
            best = offers[: 2 * width]
            running[group] = [(total, text) for total, _, text in best if text[-1] != policy.eos_id][:width]
            chosen += [text[-1] for _, text in running[group]]
        for group in range(groups):
            full = len(ended[group]) == width
            if full and ended[group][-1][0] >= max(entry[0] for entry in running[group] or [(-1e300, [])]) / position:
                running[group] = []
    result = []
    for group in range(groups):
        every = ended[group] + [(total / limit, text) for total, text in running[group]]
        result += [text for _, text in sorted(every, key=lambda entry: -entry[0])[:width]]
    return result


def searched(policy: Policy, prompts: Prompts, *, batcher: Batcher | None = None, **options: Any) -> Completions:
    return beam(policy, prompts, BeamParams(**options), batcher=batcher)


def found(policy: Policy, prompts: Prompts, **options: Any) -> list[list[list[int]]]:
    done = searched(policy, prompts, **options)
    for row, size, finished in zip(
        done.ids.flatten(0, 1).tolist(), done.lengths.flatten().tolist(), done.finished.flatten().tolist(), strict=True
    ):
        assert policy.eos_id not in row[: size - 1]
        assert (row[size - 1] == policy.eos_id) == finished
        assert not any(row[size:])
    return [
        [ids[:n] for ids, n in zip(group, sizes, strict=True)]
        for group, sizes in zip(done.ids.tolist(), done.lengths.tolist(), strict=True)
    ]


@pytest.mark.parametrize(
    ("beams", "groups", "penalty"), [(1, 1, 0.0), (3, 1, 0.0), (4, 2, 1.0), (4, 4, 0.5), (6, 3, 0.2), (4, 2, 0.0)]
)
def test_the_search_is_the_papers(make_policy: Make, beams: int, groups: int, penalty: float) -> None:
    policy = narrowed(sharpen(make_policy()), 12, 1.5)
    prompts = some_prompts(policy, [4, 1, 7])
    texts = found(policy, prompts, beams=beams, groups=groups, diversity_penalty=penalty, max_new_tokens=6)
    for b, rows in enumerate(texts):
        prompt = prompts.ids[b, : prompts.lengths[b]].tolist()
        assert rows == slowly(policy, prompt, beams=beams, groups=groups, penalty=penalty, limit=6)
    assert len({len(row) for rows in texts for row in rows}) > 1


def test_with_room_for_all_the_best_of_all_is_found(make_policy: Make) -> None:
    policy = narrowed(sharpen(make_policy()), 4, 1.0)
    prompts = some_prompts(policy, [3, 5, 1])
    texts = found(policy, prompts, beams=120, groups=1, diversity_penalty=0.0, max_new_tokens=3)
    for b, rows in enumerate(texts):
        prompt = prompts.ids[b, : prompts.lengths[b]].tolist()
        worth = {}
        for text in itertools.product(range(4), repeat=3):
            cut = text[: text.index(0) + 1] if 0 in text else text
            logp = sum(next_logp(policy, prompt, cut[:i])[token] for i, token in enumerate(cut))
            worth[cut] = logp / len(cut)
        ordered = sorted(worth, key=lambda text: -worth[text])
        assert [tuple(row) for row in rows[: len(ordered)]] == ordered


@pytest.mark.parametrize("family", FAMILIES)
def test_one_beam_is_greedy(make_policy: Make, family: str) -> None:
    policy = narrowed(sharpen(make_policy(family, vocab_size=336)), 40, 3.0)
    prompts = some_prompts(policy, [4, 1, 9, 2])
    greedy = sample(policy, prompts, list("abcd"), SamplingParams((0.0,), 8), Noise(0, "t")).completions
    one = searched(policy, prompts, beams=1, groups=1, diversity_penalty=0.0, max_new_tokens=8)
    assert torch.equal(one.ids, greedy.ids)
    assert torch.equal(one.lengths, greedy.lengths)
    assert torch.equal(one.finished, greedy.finished)


def test_prompts_do_not_see_each_other(make_policy: Make) -> None:
    policy = narrowed(sharpen(make_policy("opt-350m")), 30, 3.0)
    prompts = some_prompts(policy, [4, 1, 9, 2, 6])
    options: dict[str, Any] = {"beams": 4, "groups": 2, "diversity_penalty": 1.0, "max_new_tokens": 7}
    whole = found(policy, prompts, **options)
    assert [found(policy, prompts[[b]], **options)[0] for b in range(5)] == whole
    assert found(policy, prompts, **options, batcher=Batcher(60, doing="decoding")) == whole
    assert found(policy, prompts[[3, 1, 4, 0, 2]], **options) == [whole[b] for b in (3, 1, 4, 0, 2)]


def test_a_penalty_makes_groups_differ(make_policy: Make) -> None:
    policy = narrowed(sharpen(make_policy()), 30)
    prompts = some_prompts(policy, [4, 6])
    options: dict[str, Any] = {"beams": 4, "groups": 2, "max_new_tokens": 6}
    for rows in found(policy, prompts, diversity_penalty=0.0, **options):
        assert rows[:2] == rows[2:]
    for rows in found(policy, prompts, diversity_penalty=50.0, **options):
        assert not {row[0] for row in rows[:2]} & {row[0] for row in rows[2:]}


def test_the_model_is_left_as_it_was(make_policy: Make) -> None:
    policy = sharpen(make_policy(dropout=0.5))
    prompts = some_prompts(policy, [4, 6])
    options: dict[str, Any] = {"beams": 2, "groups": 1, "diversity_penalty": 0.0, "max_new_tokens": 4}
    texts = found(policy, prompts, **options)
    policy.model.train()
    assert found(policy, prompts, **options) == texts
    assert all(module.training for module in policy.model.modules())
    assert not searched(policy, prompts, **options).ids.is_inference()


def test_no_prompts(make_policy: Make) -> None:
    none = Prompts(torch.zeros(0, 3, dtype=torch.int64), torch.zeros(0, dtype=torch.int64), ())
    done = searched(make_policy(), none, beams=4, groups=2, diversity_penalty=1.0, max_new_tokens=3)
    assert done.ids.shape[:2] == (0, 4)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"beams": 0}, "beams is out of range, got 0"),
        ({"groups": 3}, "groups is out of range, got 3; expected a divisor of beams (4)"),
        ({"groups": 0}, "groups is out of range, got 0"),
        ({"diversity_penalty": -1.0}, "diversity_penalty is out of range, got -1.0"),
        ({"max_new_tokens": 0}, "max_new_tokens is out of range, got 0"),
        ({"max_new_tokens": 95}, "more than the model's context"),
    ],
)
def test_mistakes(make_policy: Make, options: dict[str, Any], message: str) -> None:
    policy = make_policy()
    settings = {"beams": 4, "groups": 2, "diversity_penalty": 1.0, "max_new_tokens": 4, **options}
    with pytest.raises(InputError) as error:
        searched(policy, some_prompts(policy, [3, 8]), **settings)
    assert message in str(error.value)


def test_suppressed_stops_fill_every_sequence_with_the_best_that_does_not_end(make_policy: Make) -> None:
    policy = narrowed(make_policy(), 5, eos_bonus=8.0)
    prompts = some_prompts(policy, [4, 1, 7])
    options: dict[str, Any] = {"beams": 4, "groups": 2, "diversity_penalty": 1.0, "max_new_tokens": 4}
    assert searched(policy, prompts, **options).finished.any()
    full = searched(policy, prompts, suppress_stops=True, **options)
    assert (full.lengths == 4).all()
    assert not full.finished.any()
    assert (full.ids != policy.eos_id).all()
    narrow = policy.restrict
    never = torch.zeros(5, dtype=torch.float64)
    never[policy.eos_id] = -torch.inf
    policy.restrict = lambda logits: narrow(logits) + never  # type: ignore[method-assign]
    assert torch.equal(searched(policy, prompts, **options).ids, full.ids)
