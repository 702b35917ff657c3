"""Decoding with a kernel of our own, against a copy of the cache for every row."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import torch
from lm.families import FAMILIES
from lm.ragged import sharpen, some_prompts
from lm.test_shared_prefix import LENGTHS, assert_equal, steps

from harness.lm.decode import ragged
from harness.lm.decode.decoder import _Copied, decoder
from harness.lm.decode.prefix import SharedPrefix
from harness.lm.decode.ragged import Ragged, _cut
from harness.lm.native import library

if TYPE_CHECKING:
    from collections.abc import Callable

    from harness.lm.model.policy import Policy

    Make = Callable[..., Policy]

pytestmark = pytest.mark.usefixtures("own_kernels")


@pytest.mark.parametrize("prefill", [1, 12, 1000])
@pytest.mark.parametrize("family", FAMILIES)
def test_logits_are_those_of_rows_with_a_cache_of_their_own(
    make_policy: Make, monkeypatch: pytest.MonkeyPatch, family: str, prefill: int
) -> None:
    monkeypatch.setattr(ragged, "_PREFILL", prefill)
    policy = sharpen(make_policy(family))
    prompts = some_prompts(policy, LENGTHS, padding=-7)
    with torch.inference_mode():
        expected = steps(policy, _Copied(policy, prompts.ids, prompts.lengths, 3))
        rows = decoder(policy, prompts.ids, prompts.lengths, repeats=3, room=9)
        assert isinstance(rows, Ragged)
        assert_equal(steps(policy, rows), expected)


@pytest.mark.parametrize("repeats", [1, 2, 5, 9])
def test_more_tokens_than_a_tile_of_keys_holds(make_policy: Make, repeats: int) -> None:
    policy = sharpen(make_policy(n_positions=256), 3)
    prompts = some_prompts(policy, [library.TILE + 1, 2, library.TILE])
    room = 2 * library.TILE + 1
    generator = torch.Generator().manual_seed(3)
    tokens = torch.randint(1, policy.vocab_size, (room, 3 * repeats), generator=generator)
    with torch.inference_mode():
        rows = Ragged(policy, prompts.ids, prompts.lengths, repeats, room)
        others = _Copied(policy, prompts.ids, prompts.lengths, repeats)
        for each in tokens:
            rows.step(each)
            others.step(each)
            torch.testing.assert_close(rows.logits, others.logits, rtol=0, atol=1e-9)


def test_attention_is_the_same_to_the_bit_in_any_company(make_policy: Make, threads: None) -> None:
    """In float32, with the same states given to a row that is alone and to one that is not.

    What prefills keep is made of BLAS's products, which round by their sizes and threads: a row alone is given what
    was kept of its prompt in company.
    """
    policy = make_policy(dtype="float32")
    lengths = [20, 9, 60]
    prompts = some_prompts(policy, lengths, seed=2)
    generator = torch.Generator().manual_seed(0)
    heads = policy.model.config.num_attention_heads
    size = policy.model.config.hidden_size // heads
    news = torch.randn(3, 5, 3, heads, size, generator=generator)  # prompts, positions, q k v

    def run(rows: Ragged, which: list[int], repeats: int, count: int) -> torch.Tensor:
        torch.set_num_threads(count)
        found = []
        for position in range(5):
            states = news[which, position].repeat_interleave(repeats, 0)
            found.append(rows._attend(1, states[:, 0], states[:, 1], states[:, 2], 0.4))
            rows._written += 1
        return torch.stack(found)

    with torch.inference_mode():
        company = Ragged(policy, prompts.ids, prompts.lengths, 4, 5)
        every = run(company, [0, 1, 2], 4, 2)
        for place, length in enumerate(lengths):
            rows = Ragged(policy, prompts.ids[[place]], prompts.lengths[[place]], 1, 5)
            tile, token = sum(map(library.tiles, lengths[:place])), sum(lengths[:place])
            kept = company._layers[1]
            rows._layers[1].keys.copy_(kept.keys[tile : tile + library.tiles(length)])
            rows._layers[1].values.copy_(kept.values[token : token + length])
            alone = run(rows, [place], 1, 1)
            for candidate in range(4):
                assert torch.equal(every[:, place * 4 + candidate], alone[:, 0])


def test_rows_inherit_what_others_of_their_prompt_wrote(make_policy: Make) -> None:
    policy = sharpen(make_policy())
    prompts = some_prompts(policy, [5, 3])
    tokens = torch.randint(1, policy.vocab_size, (4, 6), generator=torch.Generator().manual_seed(1))
    sources = torch.tensor([1, 1, 0, 5, 3, 3])
    with torch.inference_mode():
        each = [make(policy, prompts.ids, prompts.lengths, 3, 4) for make in (Ragged, SharedPrefix)]
        for rows in each:
            rows.step(tokens[0])
            rows.step(tokens[1])
            rows.inherit(sources)
            rows.step(tokens[2])
            rows.select(torch.tensor([0, 2, 3]))
            rows.step(tokens[3, :3])
    torch.testing.assert_close(each[0].logits, each[1].logits, rtol=0, atol=1e-9)


@pytest.mark.parametrize(
    ("lengths", "expected"),
    [([5], [(0, 1)]), ([20], [(0, 1)]), ([5, 5, 5], [(0, 2), (2, 3)]), ([20, 1, 9], [(0, 1), (1, 3)])],
)
def test_a_batch_is_cut_where_a_prefill_would_be_too_large(
    monkeypatch: pytest.MonkeyPatch, lengths: list[int], expected: list[tuple[int, int]]
) -> None:
    monkeypatch.setattr(ragged, "_PREFILL", 10)
    assert list(_cut(lengths)) == expected


def test_bfloat16_and_eager_attention_go_another_way(make_policy: Make) -> None:
    assert ragged.takes(make_policy())
    assert not ragged.takes(make_policy(dtype="bfloat16"))
    assert not ragged.takes(make_policy(attention="eager"))
