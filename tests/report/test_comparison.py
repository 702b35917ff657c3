"""Which rows differ: against other people's statistics, and by simulation."""

from __future__ import annotations

import gc
import itertools
import math
from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from statsmodels.stats.multitest import multipletests

from harness.report.statistics import Array, Pair, _paired_t, _permutation, compare, holm, letter_groups

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

PAIR = ("a", "b")


def rows(
    generator: np.random.Generator, means: Mapping[str, float], shape: tuple[int, int], seed_noise: float
) -> dict[str, Array]:
    """Draw rows on the same prompts; a row's seeds differ by ``seed_noise``."""
    prompts = generator.normal(size=(1, shape[1]))
    return {
        name: centre + prompts + seed_noise * generator.normal(size=(shape[0], 1)) + 0.05 * generator.normal(size=shape)
        for name, centre in means.items()
    }


def scipys(difference: Array) -> float:
    """Return scipy's exact p of the paired permutation test."""
    found = stats.permutation_test(
        (difference, np.zeros_like(difference)),
        lambda x, y, axis: np.mean(x - y, axis=axis),
        permutation_type="samples",
        n_resamples=10**6,
        vectorized=True,
    )
    return float(found.pvalue)


class TestThePermutationTest:
    @pytest.mark.parametrize("examples", [1, 2, 5, 8, 12])
    def test_of_few_examples_is_exact(self, examples: int) -> None:
        for seed in range(5):
            difference = np.random.default_rng([examples, seed]).normal(0.5, 1, size=(3, examples))
            means = difference.mean(0)
            every = [abs(np.mean(means * signs)) for signs in itertools.product((1, -1), repeat=examples)]
            by_hand = np.mean([other >= abs(means.mean()) * (1 - 1e-9) for other in every])
            assert _permutation({PAIR: difference})[PAIR] == pytest.approx(by_hand)

    def test_equals_scipys(self) -> None:
        for seed in range(5):
            difference = np.random.default_rng(seed).normal(size=10)
            assert _permutation({PAIR: difference[None]})[PAIR] == pytest.approx(scipys(difference))

    def test_of_many_examples_is_near_the_exact_one(self) -> None:
        for seed in range(4):
            difference = np.random.default_rng(seed).normal(0.3, 1, size=14)
            assert _permutation({PAIR: difference[None]})[PAIR] == pytest.approx(scipys(difference), abs=0.025)

    def test_flips_every_example_alike_often(self) -> None:
        lone = np.zeros((1, 37))
        lone[0, 36] = 1.0  # any flip leaves its size: p is 1
        assert _permutation({PAIR: lone})[PAIR] == 1.0

    def test_examples_without_a_value_change_nothing(self) -> None:
        difference = np.random.default_rng(2).normal(0.4, 1, size=(2, 9))
        padded = np.full((2, 12), math.nan)
        padded[:, :9] = difference
        assert _permutation({PAIR: padded})[PAIR] == pytest.approx(_permutation({PAIR: difference})[PAIR])

    def test_equal_rows_do_not_differ(self) -> None:
        assert _permutation({PAIR: np.zeros((3, 40)), ("a", "c"): np.zeros((3, 40))}) == {PAIR: 1.0, ("a", "c"): 1.0}

    def test_can_reject_among_many_rows(self) -> None:
        means = {f"row {number}": float(number) for number in range(30)}
        found = compare(rows(np.random.default_rng(1), means, (5, 40), 0.001))
        assert all(found.differs.values())
        assert len(found.differs) == 435


class TestThePairedT:
    @given(st.lists(st.floats(-5, 5), min_size=3, max_size=9))
    def test_equals_scipys(self, seeds: list[float]) -> None:
        difference = np.repeat(np.array(seeds)[:, None], 4, axis=1)
        if np.std(seeds) < 1e-6:
            return
        theirs = stats.ttest_rel(seeds, np.zeros(len(seeds))).pvalue
        assert _paired_t(difference) == pytest.approx(theirs, rel=1e-6, abs=1e-12)

    def test_leaves_out_seeds_that_one_row_does_not_have(self) -> None:
        difference = np.array([[0.1, 0.2], [0.3, 0.2], [math.nan, math.nan], [0.2, 0.1]])
        assert _paired_t(difference) == pytest.approx(stats.ttest_1samp([0.15, 0.25, 0.15], 0).pvalue)
        assert _paired_t(difference[:3]) == 1.0

    def test_of_constant_differences(self) -> None:
        assert _paired_t(np.full((3, 4), 0.5)) == 0.0
        assert _paired_t(np.zeros((3, 4))) == 1.0


def test_holm_is_statsmodels(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gc, "collect", lambda: 0)  # statsmodels collects at every call, half a second with torch loaded
    generator = np.random.default_rng(9)
    for _ in range(300):
        small = generator.choice([0.0, 0.01, 0.0125, 0.05 / 3, 0.025, 0.05], size=6)
        p_values = generator.permutation(np.concatenate([small, generator.uniform(0, 0.1, size=6)]))
        p_values = p_values[: generator.integers(1, 13)].tolist()
        named = {(str(index), "x"): p for index, p in enumerate(p_values)}
        assert list(holm(named).values()) == list(multipletests(p_values, alpha=0.05, method="holm")[0])


@st.composite
def relations(draw: st.DrawFn) -> tuple[list[str], set[Pair]]:
    order = [chr(ord("A") + index) for index in range(draw(st.integers(1, 8)))]
    pairs = list(itertools.combinations(order, 2))
    chosen = draw(st.sets(st.sampled_from(pairs))) if pairs else set()
    flipped = draw(st.booleans())
    return order, {(b, a) if flipped else (a, b) for a, b in chosen}


@settings(max_examples=300)
@given(relations())
def test_rows_share_a_letter_if_and_only_if_they_do_not_differ(relation: tuple[list[str], set[Pair]]) -> None:
    order, different = relation
    letters = letter_groups(order, different)
    apart = {frozenset(pair) for pair in different}
    for first, second in itertools.combinations(order, 2):
        assert (set(letters[first]).isdisjoint(letters[second])) == (frozenset((first, second)) in apart)
    assert all(letters[row] for row in order)
    assert "a" in letters[order[0]]
    used = sorted(set("".join(letters.values())))
    assert used == [chr(ord("a") + index) for index in range(len(used))]


def test_letters_read_from_the_best_on() -> None:
    order = ["best", "next", "third", "last"]
    different = {("best", "third"), ("best", "last"), ("next", "last")}
    assert letter_groups(order, different) == {"best": "a", "next": "ab", "third": "bc", "last": "c"}
    assert letter_groups(order, set()) == dict.fromkeys(order, "a")
    assert letter_groups(order, set(itertools.combinations(order, 2))) == dict(zip(order, "abcd", strict=True))


def test_there_are_letters_for_any_number_of_groups() -> None:
    order = [str(number) for number in range(60)]
    letters = letter_groups(order, set(itertools.combinations(order, 2)))
    assert len(set(letters.values())) == 60
    assert (letters["0"], letters["25"], letters["26"], letters["59"]) == ("a", "z", "a1", "h2")


class TestComparing:
    def test_a_difference_in_every_seed_and_prompt_is_found(self) -> None:
        found = compare(rows(np.random.default_rng(1), {"a": 0.0, "b": 1.0, "c": 1.0}, (5, 40), 0.05))
        assert found.claims
        assert found.differs == {("a", "b"): True, ("a", "c"): True, ("b", "c"): False}
        assert found.letters == {"b": "a", "c": "a", "a": "b"}
        assert found.above("b", "a")
        assert found.above("a", "b")
        assert not found.above("c", "b")
        assert not found.above("b", "unknown")

    def test_less_is_better_turns_the_letters(self) -> None:
        drawn = rows(np.random.default_rng(1), {"a": 0.0, "b": 1.0}, (5, 40), 0.05)
        assert compare(drawn, better=-1).letters == {"a": "a", "b": "b"}

    def test_seed_noise_alone_is_no_win(self) -> None:
        one = np.array([[0.1], [-0.1], [0.7]]) + np.zeros((1, 200))
        two = np.zeros((3, 200)) + 0.001 * np.random.default_rng(1).normal(size=(1, 200))
        found = compare({"a": one, "b": two})
        assert _permutation({PAIR: one - two})[PAIR] < 0.001
        assert found.p_values[PAIR] == pytest.approx(stats.ttest_1samp((one - two).mean(1), 0).pvalue)
        assert not found.differs[PAIR]

    def test_one_lucky_prompt_is_no_win(self) -> None:
        one = np.zeros((3, 30))
        one[:, 4] = [5.0, 5.1, 4.9]
        found = compare({"a": one, "b": np.zeros((3, 30))})
        assert _paired_t(one) < 0.001
        assert not found.differs[PAIR]

    @pytest.mark.parametrize("seeds", [0, 1, 2])
    def test_fewer_than_three_seeds_claim_nothing(self, seeds: int) -> None:
        found = compare({"a": np.zeros((seeds, 30)), "b": np.ones((seeds, 30))})
        assert not found.claims
        assert found.letters == {}
        assert found.differs == {}
        assert found.detectable is None

    def test_one_row_or_none_claims_nothing(self) -> None:
        assert not compare({}).claims
        assert not compare({"a": np.ones((3, 4))}).claims

    def test_equal_rows_are_tied(self) -> None:
        found = compare({name: np.full((3, 20), 0.5) for name in "abc"})
        assert found.letters == dict.fromkeys("abc", "a")
        assert found.detectable == 0.0

    def test_a_row_with_too_few_seeds_takes_no_part_and_spoils_nothing(self) -> None:
        drawn = rows(np.random.default_rng(1), {"a": 0.0, "b": 1.0, "c": 5.0}, (4, 40), 0.01)
        drawn["c"][2:] = math.nan
        found = compare(drawn)
        assert found.letters == {"b": "a", "a": "b"}
        assert found == compare({"a": drawn["a"], "b": drawn["b"]})

    def test_a_seed_that_one_row_lacks_is_used_by_the_others(self) -> None:
        drawn = rows(np.random.default_rng(1), {"a": 0.0, "b": 1.0, "c": 2.0}, (4, 40), 0.01)
        drawn["c"][0] = math.nan
        found = compare(drawn)
        assert set(found.letters) == {"a", "b", "c"}
        assert found.p_values["a", "b"] == compare({"a": drawn["a"], "b": drawn["b"]}).p_values["a", "b"]

    def test_rows_that_share_fewer_than_three_seeds_are_not_told_apart(self) -> None:
        drawn = rows(np.random.default_rng(1), {"a": 0.0, "b": 9.0}, (5, 40), 0.01)
        drawn["a"][3:] = math.nan
        drawn["b"][:2] = math.nan
        assert compare(drawn).differs == {PAIR: False}

    def test_seeds_and_rows_have_no_order(self) -> None:
        drawn = rows(np.random.default_rng(3), {"a": 0.0, "b": 0.15, "c": 0.3, "d": 0.3}, (4, 12), 0.05)
        found = compare(drawn)
        turned = compare({name: drawn[name][[2, 0, 3, 1]] for name in "dbca"})
        assert turned.letters == found.letters
        assert turned.detectable == pytest.approx(found.detectable)
        assert {frozenset(p): v for p, v in turned.differs.items()} == {
            frozenset(p): v for p, v in found.differs.items()
        }


def _simulate(means: Mapping[str, float], seeds: int, runs: int) -> list[tuple[bool, float]]:
    generator = np.random.default_rng(11)
    found = [compare(rows(generator, means, (seeds, 12), 0.2)) for _ in range(runs)]
    return [(any(one.differs.values()), one.detectable or 0.0) for one in found]


def test_noise_is_called_a_difference_in_at_most_one_run_of_twenty() -> None:
    claimed = np.mean([any_ for any_, _ in _simulate(dict.fromkeys("abcd", 0.0), 3, 300)])
    assert claimed <= 0.07


@pytest.mark.parametrize("seeds", [3, 5])
def test_the_detectable_difference_is_found_four_times_in_five(seeds: int) -> None:
    spread = (2 * 0.2**2 + 2 * 0.05**2 / 12) ** 0.5 / seeds**0.5
    strict = stats.t.ppf(0.975, seeds - 1)
    size = _root(lambda shift: stats.nct.sf(strict, seeds - 1, shift) - 0.8) * spread
    found = _simulate({"a": 0.0, "b": size}, seeds, 400)
    assert np.mean([any_ for any_, _ in found]) == pytest.approx(0.8, abs=0.06)
    # a variance is estimated without bias, so it is the squares that agree in the mean
    assert np.mean([estimate**2 for _, estimate in found]) ** 0.5 == pytest.approx(size, rel=0.08)


def _root(function: Callable[[float], float]) -> float:
    low, high = 0.0, 60.0
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if function(middle) < 0 else (low, middle)
    return low
