"""Decoding over one copy of each prompt, against a copy of the cache for every row, and against whole sequences."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

import pytest
import torch
from lm.families import FAMILIES
from lm.foreign import make_foreign
from lm.ragged import sharpen, some_prompts

from harness.lm.decode import prefix as shared_prefix
from harness.lm.decode.decoder import _Copied, decoder
from harness.lm.decode.prefix import SharedPrefix, _cut
from harness.lm.decode.sampling import sample
from harness.lm.score.logprobs import score

if TYPE_CHECKING:
    from collections.abc import Callable

    from harness.lm.decode.decoder import Decoder
    from harness.lm.model.policy import Policy
    from harness.lm.text.tokenise import Tokeniser

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
def test_every_way_gives_the_same_logits(make_policy: Make, family: str) -> None:
    policy = sharpen(make_policy(family))
    prompts = some_prompts(policy, LENGTHS, padding=-7)
    given = (policy, prompts.ids, prompts.lengths)
    with torch.inference_mode():
        expected = steps(policy, _Copied(*given, 3))
        assert_equal(steps(policy, SharedPrefix(*given, 3, 9)), expected)


@pytest.mark.parametrize(("prefill", "padded"), [(1, 0), (12, 100), (1000, 0), (1000, 4), (1000, 1000)])
@pytest.mark.parametrize("worth", [0.0, 0.75, 2.0])
def test_neither_segments_nor_places_change_a_logit(
    make_policy: Make, monkeypatch: pytest.MonkeyPatch, prefill: int, padded: int, worth: float
) -> None:
    policy = sharpen(make_policy())
    prompts = some_prompts(policy, LENGTHS)
    monkeypatch.setattr(shared_prefix, "_PREFILL", {"cpu": prefill})
    monkeypatch.setattr(shared_prefix, "_PADDED", {"cpu": padded})
    monkeypatch.setattr(shared_prefix, "_WORTH", worth)  # rows never get places of their own, in good time, at once
    with torch.inference_mode():
        expected = steps(policy, _Copied(policy, prompts.ids, prompts.lengths, 3))
        found = steps(policy, SharedPrefix(policy, prompts.ids, prompts.lengths, 3, 9))
    assert_equal(found, expected)


@pytest.mark.parametrize(
    ("lengths", "prefill", "padded", "expected"),
    [
        ([5], 1, 0, [(0, 1)]),
        ([5, 5, 5], 100, 0, [(0, 3)]),
        ([9, 8, 3, 3], 100, 1, [(0, 2), (2, 4)]),
        ([9, 8, 3, 3], 100, 13, [(0, 4)]),
        ([4, 4, 4, 4], 8, 0, [(0, 2), (2, 4)]),
        ([1, 9, 1], 100, 8, [(0, 2), (2, 3)]),  # no order is needed
    ],
)
def test_a_batch_is_cut_where_padding_or_size_would_be_too_much(
    monkeypatch: pytest.MonkeyPatch, lengths: list[int], prefill: int, padded: int, expected: list[tuple[int, int]]
) -> None:
    monkeypatch.setattr(shared_prefix, "_PREFILL", {"cpu": prefill})
    monkeypatch.setattr(shared_prefix, "_PADDED", {"cpu": padded})
    assert list(_cut(lengths, "cpu")) == expected


@pytest.mark.parametrize("family", FAMILIES)
def test_bfloat16_takes_the_same_way(make_policy: Make, family: str, caplog: pytest.LogCaptureFixture) -> None:
    policy = sharpen(make_policy(family, dtype="bfloat16"), 3)
    prompts = some_prompts(policy, [5, 9, 2])
    with caplog.at_level(logging.WARNING, logger="harness"):
        found = sample(
            policy, prompts, ["a", "b", "c"], temperatures=[1.0, 0.5], seed=0, purpose="t", step=0,
            max_new_tokens=8, logprobs=True,
        )  # fmt: skip
        again = score(policy, prompts, found.completions, dropout=False)
    assert not caplog.records  # nothing was too rough to be tried
    assert found.logprobs is not None
    torch.testing.assert_close(found.logprobs.float(), again.values.detach(), rtol=0, atol=0.2)


def test_another_family_goes_through_its_own_forward(tokeniser: Tokeniser) -> None:
    policy = make_foreign("llama", tokeniser)
    prompts = some_prompts(policy, LENGTHS)
    with torch.inference_mode():
        rows = decoder(policy, prompts.ids, prompts.lengths, repeats=3, room=9)
        assert isinstance(rows, SharedPrefix)
        expected = steps(policy, _Copied(policy, prompts.ids, prompts.lengths, 3))
        assert_equal(steps(policy, rows), expected)
