from __future__ import annotations

import math
from hashlib import blake2b

import pytest
import torch
from scipy import stats

from harness.lm.decode.noise import Noise, Race, exponentials, noise_digest, row_keys

CPU = torch.device("cpu")
GOLDEN = 0x9E3779B97F4A7C15
MASK = (1 << 64) - 1


def splitmix(state: int) -> int:
    """SplitMix64's output function on Python integers."""
    state = ((state ^ (state >> 30)) * 0xBF58476D1CE4E5B9) & MASK
    state = ((state ^ (state >> 27)) * 0x94D049BB133111EB) & MASK
    return state ^ (state >> 31)


def test_splitmix_has_the_published_values() -> None:
    # the first outputs of the reference generator for seed 1234567
    assert [splitmix((1234567 + (i + 1) * GOLDEN) & MASK) for i in range(3)] == [
        6457827717110365317,
        3203168211198807973,
        9817491932198370423,
    ]


def test_every_number_is_the_hash_of_its_coordinates() -> None:
    keys = row_keys(Noise(7, "sample", 40), ["dolly-1", "naïve \ud800"], [0, 5], CPU)
    found = exponentials(keys.view(-1), 3, 4, 6)
    for row, (name, candidate) in enumerate([(n, c) for n in ("dolly-1", "naïve \ud800") for c in (0, 5)]):
        text = f"7\x00sample\x0040\x00{name}".encode("utf-8", "surrogatepass")
        base = int.from_bytes(blake2b(text, digest_size=8).digest(), "little")
        key = splitmix((base + (candidate + 1) * GOLDEN) & MASK)
        assert keys.view(-1)[row].item() % (1 << 64) == key
        for place, position in enumerate(range(3, 7)):
            at = splitmix((key + (position + 1) * GOLDEN) & MASK)
            for lane in range(6):
                bits = splitmix((at + (lane + 1) * GOLDEN) & MASK) >> 12
                uniform = torch.tensor((bits + 0.5) * 2.0**-52, dtype=torch.float64)
                assert found[place, row, lane].item() == pytest.approx(-uniform.log().item(), rel=1e-12)


def test_coordinates_do_not_collide() -> None:
    ids = [f"example-{i}" for i in range(300)]
    keys = torch.cat(
        [row_keys(Noise(seed, p, step), ids, range(8), CPU) for seed in (0, 1) for p in ("a", "b") for step in (0, 1)]
    )
    assert len(torch.unique(keys)) == keys.numel()
    # what stands in one coordinate cannot pass for another's
    assert row_keys(Noise(1, "a", 11), ["x"], [0], CPU) != row_keys(Noise(1, "a", 1), ["1x"], [0], CPU)


def test_a_digest_is_that_of_the_random_numbers() -> None:
    one = Noise(0, "sample", 3)
    others = [Noise(1, "sample", 3), Noise(0, "greedy", 3), Noise(0, "sample", 4)]
    assert len({noise_digest([each]) for each in (one, *others)}) == 4
    assert noise_digest([one, others[0]]) != noise_digest([others[0], one])
    assert noise_digest([Noise(0, "sample", 3)]) == noise_digest([one])


def test_noise_is_exponential_and_uncorrelated() -> None:
    keys = row_keys(Noise(0, "t"), [str(i) for i in range(40)], range(4), CPU)
    noise = exponentials(keys.view(-1), 0, 16, 20)
    assert bool((noise > 0).all())
    assert stats.kstest(noise.flatten().numpy(), "expon").pvalue > 0.01
    uniform = (-noise).exp().view(16, 40, 4, 20)
    for axis in range(4):
        ahead = uniform.narrow(axis, 1, uniform.shape[axis] - 1).flatten()
        behind = uniform.narrow(axis, 0, uniform.shape[axis] - 1).flatten()
        assert stats.pearsonr(ahead.numpy(), behind.numpy()).pvalue > 0.001


@pytest.mark.parametrize("vocabulary", [1, 2, 3, 7, 30, 61])
def test_the_race_draws_in_proportion(vocabulary: int) -> None:
    rows = 20_000
    weights = torch.rand(vocabulary, generator=torch.Generator().manual_seed(3)).double() ** 3
    weights[vocabulary // 2] = 0 if vocabulary > 2 else 1
    keys = row_keys(Noise(1, "t"), [str(i) for i in range(rows // 8)], range(8), CPU).view(-1)
    drawn = Race(keys, vocabulary).draw(weights.expand(rows, -1), 0)
    counts = torch.bincount(drawn, minlength=vocabulary)
    assert len(counts) == vocabulary
    real = weights > 0
    assert counts[~real].sum() == 0
    if int(real.sum()) > 1:
        expected = (weights / weights.sum() * rows)[real]
        assert stats.chisquare(counts[real].numpy(), expected.numpy()).pvalue > 0.01


def test_draws_do_not_depend_on_the_order_of_positions_or_rows() -> None:
    keys = row_keys(Noise(1, "t"), ["a", "b", "c"], range(5), CPU).view(-1)
    weights = torch.rand(15, 90, generator=torch.Generator().manual_seed(0))
    whole = Race(keys, 90)
    forwards = torch.stack([whole.draw(weights, position) for position in range(200)])
    again = Race(keys, 90)
    backwards = [again.draw(weights, position) for position in reversed(range(200))]
    assert torch.equal(forwards, torch.stack(backwards[::-1]))
    some = torch.tensor([14, 2, 7])
    fewer = Race(keys, 90)
    fewer.draw(weights, 0)
    fewer.select(some)
    for position in (1, 2, 150, 151):
        assert torch.equal(fewer.draw(weights[some], position), forwards[position, some])


@pytest.mark.parametrize("vocabulary", [1, 2, 7, 30, 61, 90, 100, 1000])
def test_the_race_is_run_in_blocks_of_its_definition(vocabulary: int) -> None:
    """The winner of the blocks by their sums, and of its ids by their weights; the last block may be shorter."""
    keys = row_keys(Noise(1, "t"), [str(i) for i in range(50)], range(4), CPU).view(-1)
    weights = torch.rand(200, vocabulary, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
    size = math.isqrt(vocabulary)
    blocks = [range(first, min(vocabulary, first + size)) for first in range(0, vocabulary, size)]
    noise = exponentials(keys, 4, 1, len(blocks) + size)[0]
    expected = []
    for row, own in zip(weights.tolist(), noise.tolist(), strict=True):
        best = max(range(len(blocks)), key=lambda block: sum(row[i] for i in blocks[block]) / own[block])
        inside = own[len(blocks) :]
        expected.append(max(blocks[best], key=lambda i: row[i] / inside[i - blocks[best].start]))
    race = Race(keys, vocabulary)
    assert race.draw(weights, 4).tolist() == expected
    parts = [race.draw(weights[first : first + 7], 4, slice(first, first + 7)) for first in range(0, 200, 7)]
    assert torch.cat(parts).tolist() == expected
