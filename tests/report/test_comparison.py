"""Which rows differ: against other people's statistics, and by simulation."""

from __future__ import annotations

import gc
import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from statsmodels.stats.multitest import multipletests

from harness.report.statistics import Array, Pair, _paired_t, _permutation, holm, letter_groups

PAIR = ("a", "b")


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
