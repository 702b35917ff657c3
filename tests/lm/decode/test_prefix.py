"""Decoding over one copy of each prompt, against a copy of the cache for every row, and against whole sequences."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

import pytest
import torch
from lm.architectures import InFloat64, make
from lm.families import FAMILIES
from lm.ragged import sharpen, some_prompts

from harness.lm.decode import prefix
from harness.lm.decode.copied import Copied
from harness.lm.decode.noise import Noise
from harness.lm.decode.prefix import SharedPrefix, _cut
from harness.lm.decode.sampling import SamplingParams, sample
from harness.lm.score.logprobs import score

if TYPE_CHECKING:
    from collections.abc import Callable

    from harness.lm.decode.decoder import Decoder
    from harness.lm.model.policy import Policy
    from harness.text.tokenise import Tokeniser

    Make = Callable[..., Policy]

LENGTHS = [12, 11, 7, 4, 2, 1]
#: Which of the rows stay, at three moments: a few leave, then most, then all of some prompts.
STAYING = ([0, 1, 3, 4, 6, 7, 8, 10, 11, 13, 14, 15, 17], [1, 2, 5, 9, 12], [0, 4])


def steps(policy: Policy, rows: Decoder) -> list[torch.Tensor]:
    """Feed the same tokens to any decoder, let rows leave in between, and return all logits."""
    generator = torch.Generator().manual_seed(5)
    found = [rows.logits]
    count = 3 * len(LENGTHS)
    for staying in (*STAYING, None):
        for _ in range(2):
            tokens = torch.randint(1, policy.vocab_size, (count,), generator=generator)
            rows.step(tokens)
            found.append(rows.logits)
        if staying is not None:
            rows.select(torch.tensor(staying))
            found.append(rows.logits)
            count = len(staying)
    return found


def assert_equal(found: list[torch.Tensor], expected: list[torch.Tensor]) -> None:
    assert len(found) == len(expected)
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=1e-9)


@pytest.mark.parametrize("family", FAMILIES)
def test_logits_are_those_of_rows_with_a_cache_of_their_own(make_policy: Make, family: str) -> None:
    policy = sharpen(make_policy(family))
    prompts = some_prompts(policy, LENGTHS, padding=-7)
    given = (policy, prompts.ids, prompts.lengths)
    with torch.inference_mode():
        expected = steps(policy, Copied(*given, 3))
        assert_equal(steps(policy, SharedPrefix(*given, 3, 9)), expected)


@pytest.mark.parametrize("prefill", [1, 12, 1000])
@pytest.mark.parametrize("kind", ["gpt2", "mistral-window", "gemma2"])
def test_neither_parts_of_a_prefill_nor_windows_change_a_logit(
    tokeniser: Tokeniser, monkeypatch: pytest.MonkeyPatch, prefill: int, kind: str
) -> None:
    policy = make(kind, tokeniser)
    prompts = some_prompts(policy, LENGTHS)
    monkeypatch.setattr(prefix, "PREFILL", {"cpu": prefill})
    with torch.inference_mode(), InFloat64():
        expected = steps(policy, Copied(policy, prompts.ids, prompts.lengths, 3))
        found = steps(policy, SharedPrefix(policy, prompts.ids, prompts.lengths, 3, 9))
    assert_equal(found, expected)


@pytest.mark.parametrize(
    ("lengths", "expected"),
    [([5], [(0, 1)]), ([20], [(0, 1)]), ([5, 5, 5], [(0, 2), (2, 3)]), ([20, 1, 9], [(0, 1), (1, 3)])],
)
def test_a_batch_is_cut_where_a_prefill_would_be_too_large(lengths: list[int], expected: list[tuple[int, int]]) -> None:
    assert [(part.start, part.stop) for part in _cut(lengths, 10)] == expected


def test_rows_inherit_what_others_of_their_prompt_wrote(make_policy: Make) -> None:
    policy = sharpen(make_policy())
    prompts = some_prompts(policy, [5, 3])
    tokens = torch.randint(1, policy.vocab_size, (4, 6), generator=torch.Generator().manual_seed(1))
    with torch.inference_mode():
        each: list[Decoder] = [
            SharedPrefix(policy, prompts.ids, prompts.lengths, 3, 4),
            Copied(policy, prompts.ids, prompts.lengths, 3),
        ]
        for rows in each:
            rows.step(tokens[0])
            rows.step(tokens[1])
            rows.inherit(torch.tensor([1, 1, 0, 5, 3, 3]))
            rows.step(tokens[2])
            rows.select(torch.tensor([0, 2, 3]))
            rows.step(tokens[3, :3])
    assert_equal([each[0].logits], [each[1].logits])


def test_prompts_are_kept_once_and_the_grid_shrinks(make_policy: Make) -> None:
    policy = make_policy()
    prompts = some_prompts(policy, LENGTHS)
    with torch.inference_mode():
        rows = SharedPrefix(policy, prompts.ids, prompts.lengths, 3, 4)
        assert [store.shape for store in rows._stores[0]] == [(6, 2, 12 + 4 * 3, 16)] * 2
        rows.step(torch.ones(18, dtype=torch.int64))
        rows.select(torch.tensor([3, 5, 12]))  # two rows of the second prompt, one of the fifth
    assert [store.shape for store in rows._stores[0]] == [(2, 2, 11 + 4 * 2, 16)] * 2


@pytest.mark.parametrize("family", FAMILIES)
def test_bfloat16_takes_the_same_way(make_policy: Make, family: str, caplog: pytest.LogCaptureFixture) -> None:
    policy = sharpen(make_policy(family, dtype="bfloat16"), 3)
    prompts = some_prompts(policy, [5, 9, 2])
    with caplog.at_level(logging.WARNING, logger="harness"):
        found = sample(
            policy, prompts, ["a", "b", "c"], SamplingParams((1.0, 0.5), 8, with_logprobs=True), Noise(0, "t")
        )
        again = score(policy, prompts, found.completions, dropout=False)
    assert not caplog.records  # nothing was too rough to be tried
    assert found.logprobs is not None
    torch.testing.assert_close(found.logprobs.float(), again.values.detach(), rtol=0, atol=0.2)
