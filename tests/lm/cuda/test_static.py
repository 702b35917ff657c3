"""Static caches and buckets on a processor, against a copy of the cache for every row: what CUDA captures."""

from __future__ import annotations

import gc
import logging
import weakref
from typing import TYPE_CHECKING

import pytest
import torch
from lm.architectures import FAST, InFloat64, make
from lm.ragged import often_ending, sharpen, some_prompts

from harness.in_parts import free_memory
from harness.lm.cuda import buckets, choice, static
from harness.lm.cuda.static import StaticPrefix
from harness.lm.decode.beam import BeamParams, beam
from harness.lm.decode.choose import decoder
from harness.lm.decode.copied import Copied
from harness.lm.decode.noise import Noise
from harness.lm.decode.prefix import SharedPrefix
from harness.lm.decode.sampling import SamplingParams, sample
from harness.lm.switches import STATIC

if TYPE_CHECKING:
    from harness.lm.decode.decoder import Decoder
    from harness.lm.model.policy import Policy
    from harness.text.tokenise import Tokeniser

LENGTHS = [12, 11, 7, 4, 2, 1]
#: Which of the rows stay, at four moments: a few leave, then most, then all of some prompts, then all but one row.
STAYING = ([0, 1, 3, 4, 6, 7, 8, 10, 11, 13, 14, 15, 17], [1, 2, 5, 9, 12], [0, 4], [1])


def steps(policy: Policy, rows: Decoder) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(5)
    found, count = [rows.logits], 3 * len(LENGTHS)
    for staying in (*STAYING, None):
        for _ in range(2):
            rows.step(torch.randint(1, policy.vocab_size, (count,), generator=generator))
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


@pytest.mark.parametrize("kind", FAST)
def test_logits_are_those_of_rows_with_a_cache_of_their_own(tokeniser: Tokeniser, kind: str) -> None:
    policy = make(kind, tokeniser)
    prompts = some_prompts(policy, LENGTHS, padding=3)
    given = (policy, prompts.ids, prompts.lengths, 3)
    with torch.inference_mode(), InFloat64():
        assert choice.why_not(policy) == ""
        expected = steps(policy, Copied(*given))
        assert_equal(steps(policy, StaticPrefix(*given, 10)), expected)
        assert_equal(steps(policy, StaticPrefix(*given, 10)), expected)  # over what the first has left in the cache
    assert len(static._caches[policy.model]) == 2  # the trial's and this one, which was used twice


def test_a_smaller_batch_uses_the_cache_of_a_larger_one(tokeniser: Tokeniser) -> None:
    policy = make("llama", tokeniser)
    tokens = torch.randint(1, policy.vocab_size, (3, 4), generator=torch.Generator().manual_seed(1))
    with torch.inference_mode():
        StaticPrefix(policy, *_given(policy, [9, 9, 9, 9, 9]), 2, 6)
        both: list[Decoder] = [
            make_of(policy, *_given(policy, [3, 8]), 2, 4) for make_of in (StaticPrefix, SharedPrefix)
        ]
        for some in tokens:
            for rows in both:
                rows.step(some)
    assert_equal([both[0].logits], [both[1].logits])
    assert len(static._caches[policy.model]) == 1


def _given(policy: Policy, lengths: list[int]) -> tuple[torch.Tensor, torch.Tensor]:
    prompts = some_prompts(policy, lengths)
    return prompts.ids, prompts.lengths


def test_what_hidden_places_hold_does_not_matter(tokeniser: Tokeniser) -> None:
    policy = make("mistral-window", tokeniser)
    given = (policy, *_given(policy, LENGTHS), 3, 10)
    with torch.inference_mode(), InFloat64():
        expected = steps(policy, StaticPrefix(*given))
        rows = StaticPrefix(*given)
        for pair in rows._cache.stores:
            for store in pair:
                hidden = rows._cache._places >= rows._cache.width
                store[:, :, hidden] = 1e6
        assert_equal(steps(policy, rows), expected)


def test_the_batch_shrinks_by_buckets(tokeniser: Tokeniser) -> None:
    policy = make("gpt2", tokeniser)
    seen: list[int] = []
    with torch.inference_mode():
        rows = StaticPrefix(policy, *_given(policy, LENGTHS), 3, 10)
        for staying in (None, *STAYING):
            if staying is not None:
                rows.select(torch.tensor(staying))
            rows.step(torch.ones(18 if staying is None else len(staying), dtype=torch.int64))
            seen.append(rows._bucket)
    assert seen == [6, 6, 6, 2, 1]


@pytest.mark.parametrize("kind", ["gpt2", "gemma2", "qwen3"])
def test_texts_are_those_of_the_other_caches(tokeniser: Tokeniser, kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    policy = often_ending(make(kind, tokeniser))
    prompts = some_prompts(policy, [7, 1, 4])
    found = []
    for value in ("", "static"):
        monkeypatch.setenv(STATIC.variable, value)
        with torch.inference_mode():
            kept = decoder(policy, prompts.ids, prompts.lengths, repeats=2, room=3)
        params = SamplingParams((1.0, 0.7, 0.0), 9, with_logprobs=True)
        drawn = sample(policy, prompts, ["a", "b", "c"], params, Noise(0, "t"))
        best = beam(policy, prompts, BeamParams(4, 2, 0.5, 6))
        found.append((type(kept), drawn.completions.ids, drawn.logprobs, best.ids))
    assert [each[0] for each in found] == [SharedPrefix, StaticPrefix]
    assert torch.equal(found[0][1], found[1][1])
    assert torch.equal(found[0][3], found[1][3])
    assert found[0][2] is not None
    torch.testing.assert_close(found[0][2], found[1][2], rtol=0, atol=1e-5)


@pytest.mark.parametrize("kind", ["llama", "qwen3"])  # whose norms make float32 of queries and keys
def test_bfloat16_and_packed_weights(tokeniser: Tokeniser, kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    policy = sharpen(make(kind, tokeniser, dtype="bfloat16", factor=1.0), 3)
    prompts = some_prompts(policy, [5, 9, 2])
    found = []
    for value in ("", "static"):
        monkeypatch.setenv(STATIC.variable, value)
        params = SamplingParams((1.0, 0.5), 20, with_logprobs=True)
        drawn = sample(policy, prompts, ["a", "b", "c"], params, Noise(0, "t"))
        assert drawn.logprobs is not None
        found.append(drawn.logprobs[:, :, 0])
    types = {store.dtype for _, cache in static._caches[policy.model] for pair in cache.stores for store in pair}
    assert torch.bfloat16 in types
    torch.testing.assert_close(*found, rtol=0, atol=0.05)


def test_a_model_that_counts_by_its_cache_is_found_out(
    tokeniser: Tokeniser, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """What a graph would repeat: the number of the first step."""
    policy = make("llama", tokeniser)
    forward = policy.model.base_model.forward

    def by_cache(*given: object, position_ids: torch.Tensor | None = None, **more: object) -> object:
        cache = more.get("cache", more.get("past_key_values"))
        if cache is not None and position_ids is not None:
            position_ids = position_ids - position_ids + cache.get_seq_length()  # type: ignore[attr-defined]
        return forward(*given, position_ids=position_ids, **more)

    monkeypatch.setattr(policy.model.base_model, "forward", by_cache)
    monkeypatch.setenv(STATIC.variable, "static")
    with caplog.at_level(logging.WARNING, logger="harness.lm.cuda"), torch.inference_mode():
        rows = choice.shared_decoder(policy, *_given(policy, [3, 2]), 2, 2)
    assert type(rows) is SharedPrefix
    said = "llama is decoded without CUDA graphs: static caches gave it other logits than whole rows"
    assert [record.getMessage() for record in caplog.records] == [said]


def test_what_cannot_be_captured_is_decoded_as_elsewhere(
    tokeniser: Tokeniser, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    policy = make("llama", tokeniser)
    monkeypatch.setenv(STATIC.variable, "static")
    assert choice.why_not(policy) == ""

    def raises(*_: object) -> None:
        raise RuntimeError("operation not permitted when stream is capturing\nand more")

    monkeypatch.setattr(static.Cache, "begin", raises)
    with caplog.at_level(logging.WARNING, logger="harness.lm.cuda"), torch.inference_mode():
        given = _given(policy, [3, 2])
        assert [type(choice.shared_decoder(policy, *given, 2, 2)) for _ in range(2)] == [SharedPrefix] * 2
    assert len(caplog.records) == 1


def test_memory_that_runs_out_says_nothing_of_a_model(tokeniser: Tokeniser, monkeypatch: pytest.MonkeyPatch) -> None:
    policy = make("llama", tokeniser)
    with monkeypatch.context() as patch:
        patch.setattr(static.Cache, "begin", lambda *_: (_ for _ in ()).throw(torch.OutOfMemoryError("full")))
        with pytest.raises(torch.OutOfMemoryError):
            choice.why_not(policy)
    assert choice.why_not(policy) == ""


def test_caches_go_with_their_model_and_where_memory_runs_out(tokeniser: Tokeniser) -> None:
    policy = make("llama", tokeniser)
    with torch.inference_mode():
        StaticPrefix(policy, *_given(policy, [3, 2]), 2, 2)
    assert policy.model in static._caches
    free_memory()
    assert policy.model not in static._caches
    with torch.inference_mode():
        StaticPrefix(policy, *_given(policy, [3, 2]), 2, 2)
    model = weakref.ref(policy.model)
    del policy
    gc.collect()
    assert model() is None


@pytest.mark.parametrize("capacity", [1, 2, 3, 5, 16, 17, 100])
def test_buckets_waste_less_than_a_third(capacity: int) -> None:
    sizes = buckets.prompts(capacity)
    assert sizes == tuple(sorted(set(sizes)))
    assert sizes[-1] == capacity
    for needed in range(1, capacity + 1):
        bucket = buckets.smallest(sizes, needed)
        assert needed <= bucket <= capacity
        assert bucket - needed <= bucket / 3
    assert len(sizes) <= 2 * capacity.bit_length() + 1


def test_rooms_waste_little() -> None:
    for longest in range(1, 3000):
        width = buckets.width(longest)
        assert longest <= width <= max(longest + 63, longest * 1.25)
    assert len({buckets.width(longest) for longest in range(1, 4097)}) <= 36
    assert [buckets.capacity(batch) for batch in (1, 5, 16, 17, 512)] == [1, 6, 16, 24, 512]
