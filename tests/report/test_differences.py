"""One adjusted interval a pair: its worked example, and every case that is not the plain one."""

from __future__ import annotations

import itertools
import math
from typing import TYPE_CHECKING

import numpy as np
import pytest
import scipy
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.report import detectable
from harness.report.components import grouping, summed
from harness.report.differences import Difference, compare, difference, own_interval

if TYPE_CHECKING:
    from collections.abc import Callable

    from harness.report.statistics import Array


def worked() -> dict[str, Array]:
    """Return the rows of the worked example."""
    rows, seeds, prompts = np.meshgrid(np.arange(3), np.arange(3), np.arange(4), indexing="ij")
    values = ((7 * rows**2 + 5 * seeds * (rows + 1) + 3 * prompts**2 + 2 * rows * prompts) % 11) / 10
    return {name: values[index] for index, name in enumerate("abc")}


def drawn(generator: np.random.Generator, rows: int = 3, seeds: int = 3, prompts: int = 40) -> dict[str, Array]:
    """Draw rows that differ by seed and by prompt."""
    shape = (rows, seeds, prompts)
    values = 0.02 * generator.normal(size=(rows, seeds, 1)) + 0.05 * generator.normal(size=(rows, 1, prompts))
    return dict(zip("abcdefgh", values + 0.1 * generator.normal(size=shape), strict=False))


class TestTheWorkedExample:
    def test_has_these_intervals(self) -> None:
        found = compare(worked(), baseline="a")
        for name, centre, margin in (("b", 0.033333, 0.991965), ("c", 0.091667, 0.729575)):
            pair = found.pairs[name, "a"]
            assert pair.estimate == pytest.approx(centre, abs=1e-6)
            assert pair.high - pair.estimate == pytest.approx(margin, abs=1e-6)
            assert pair.estimate - pair.low == pytest.approx(margin, abs=1e-6)

    def test_has_these_critical_values(self) -> None:
        level = detectable.level_of(2)
        assert detectable.freedom(3, 3) == pytest.approx(2.684564, abs=1e-6)
        assert detectable.student(detectable.freedom(3, 3), level) == pytest.approx(4.539186, abs=1e-6)
        assert detectable.student(3, level) == pytest.approx(4.156450, abs=1e-6)

    def test_written_out_by_hand(self) -> None:
        """The same from loops over single numbers, which share no line with the code."""
        rows = worked()
        by_seed = {}
        for first, second in itertools.combinations(rows, 2):
            means = [sum(rows[first][s][e] - rows[second][s][e] for e in range(4)) / 4 for s in range(3)]
            by_seed[second, first] = sum((m - sum(means) / 3) ** 2 for m in means) / 2
        pool = sum(by_seed.values()) / 3
        d = rows["c"] - rows["a"]
        centre = sum(d[s][e] for s in range(3) for e in range(4)) / 12
        of_seed = [sum(d[s]) / 4 for s in range(3)]
        of_prompt = [sum(d[s][e] for s in range(3)) / 3 for e in range(4)]
        prompt = sum((m - centre) ** 2 for m in of_prompt) / 3
        cells = [(d[s][e] - of_seed[s] - of_prompt[e] + centre) ** 2 for s in range(3) for e in range(4)]
        rest = sum(cells) / 6
        shrunk = 0.7 * by_seed["c", "a"] + 0.3 * pool
        seeds, prompts = 4.539186, 4.156450
        square = max(seeds**2 * shrunk / 3, prompts**2 * rest / 12) + prompts**2 * max(0, prompt / 4 - rest / 12)
        pair = compare(rows, baseline="a").pairs["c", "a"]
        assert pair.high - pair.estimate == pytest.approx(math.sqrt(square), abs=1e-5)


class TestAPair:
    @settings(max_examples=60, deadline=None)
    @given(seed=st.integers(0, 10**6), shift=st.floats(-0.5, 0.5), baseline=st.sampled_from([None, "a", "b"]))
    def test_is_claimed_exactly_where_its_interval_excludes_zero(
        self, seed: int, shift: float, baseline: str | None
    ) -> None:
        rows = drawn(np.random.default_rng(seed))
        rows["a"] = rows["a"] + shift
        for pair in compare(rows, baseline=baseline).pairs.values():
            assert pair.claimed == (not pair.low <= 0 <= pair.high)
            assert pair.claimed == (pair.p < 0.05) or pair.p == 0.05

    def test_is_the_same_the_other_way_round(self) -> None:
        found = compare(drawn(np.random.default_rng(1)), baseline="b")
        there, back = found.of("a", "b"), found.of("b", "a")
        assert there is not None
        assert back is not None
        assert (back.estimate, back.low, back.high) == (-there.estimate, -there.high, -there.low)
        assert found.of("a", "c") is None

    def test_of_two_rows_borrows_nothing(self) -> None:
        rows = drawn(np.random.default_rng(2), rows=2)
        pair, alone = compare(rows).pairs["a", "b"], difference(rows["a"] - rows["b"])
        assert (pair.low, pair.high) == pytest.approx((alone.low, alone.high))
        assert pair.p == pytest.approx(alone.p)
        assert pair.detectable == pytest.approx(alone.detectable)

    def test_is_wider_for_more_tests(self) -> None:
        values = drawn(np.random.default_rng(3), rows=1)["a"]
        widths = [difference(values, tests=tests).high - difference(values, tests=tests).low for tests in (1, 2, 15)]
        assert widths == sorted(widths)
        assert widths[0] < widths[-1]

    def test_p_is_the_level_at_which_the_interval_ends_at_zero(self) -> None:
        values = drawn(np.random.default_rng(4), rows=1, seeds=5)["a"] + 0.03
        one, ten = difference(values), difference(values, tests=10)
        assert ten.p == pytest.approx(1 - (1 - one.p) ** 10, rel=1e-6)
        # one prompt for all: a t-test over seeds and nothing else
        constant = np.repeat(np.array([[0.1], [0.2], [0.15], [0.3]]), 50, axis=1)
        from scipy import stats

        assert difference(constant).p == pytest.approx(float(stats.ttest_1samp(constant[:, 0], 0).pvalue), rel=1e-6)


class TestTheFamily:
    def test_with_a_baseline_has_one_pair_a_row(self) -> None:
        found = compare(drawn(np.random.default_rng(5), rows=4), baseline="c")
        assert set(found.pairs) == {("a", "c"), ("b", "c"), ("d", "c")}
        assert not found.letters
        assert found.claims

    def test_of_all_pairs_has_letters_that_say_what_its_pairs_say(self) -> None:
        rows = drawn(np.random.default_rng(6), rows=4)
        rows["d"] = rows["d"] + 2
        found = compare(rows)
        assert len(found.pairs) == 6
        for (first, second), pair in found.pairs.items():
            assert pair.claimed == (not set(found.letters[first]) & set(found.letters[second]))
        assert found.letters["d"] == "a"
        assert compare({name: -values for name, values in rows.items()}, better=-1).letters["d"] == "a"

    def test_without_its_baseline_has_no_pair(self) -> None:
        assert not compare(drawn(np.random.default_rng(7)), baseline="z").pairs

    def test_ends_stay_within_what_is_possible(self) -> None:
        rows = {name: np.clip(0.5 + 5 * values, 0, 1) for name, values in drawn(np.random.default_rng(8)).items()}
        free, cut = compare(rows, baseline="a"), compare(rows, baseline="a", bounds=(0.0, 1.0))
        assert any(pair.low < -1 or pair.high > 1 for pair in compare(worked(), bounds=None).pairs.values())
        for key, pair in cut.pairs.items():
            assert pair.low == max(-1.0, free.pairs[key].low)
            assert pair.high == min(1.0, free.pairs[key].high)


class TestLuck:
    def test_of_seeds_alone_is_no_win(self) -> None:
        one = np.array([[0.1], [-0.1], [0.7]]) + np.zeros((1, 200))
        two = np.zeros((3, 200)) + 0.001 * np.random.default_rng(1).normal(size=(1, 200))
        assert not compare({"a": one, "b": two}).pairs["a", "b"].claimed

    def test_of_one_prompt_is_no_win(self) -> None:
        one = np.zeros((3, 30))
        one[:, 4] = [5.0, 5.1, 4.9]
        assert not compare({"a": one, "b": np.zeros((3, 30))}).pairs["a", "b"].claimed

    def test_has_no_order(self) -> None:
        rows = drawn(np.random.default_rng(25), rows=4, seeds=4)
        rows["d"] = rows["d"] + 0.5
        found = compare(rows)
        turned = compare({name: rows[name][[2, 0, 3, 1]][:, ::-1] for name in "dbca"})
        assert turned.letters == found.letters
        for first, second in found.pairs:
            one, other = found.of(first, second), turned.of(first, second)
            assert one is not None
            assert other is not None
            assert (one.low, one.high, one.p) == pytest.approx((other.low, other.high, other.p))
            assert one.detectable == pytest.approx(other.detectable)


class TestFewSeeds:
    def test_two_have_both_differences_and_no_interval(self) -> None:
        rows = drawn(np.random.default_rng(9), seeds=2)
        pair = compare(rows, baseline="a").pairs["b", "a"]
        assert pair.note == "two seeds"
        assert pair.per_seed == pytest.approx(tuple((rows["b"] - rows["a"]).mean(1)))
        assert not pair.known
        assert not pair.claimed
        assert math.isnan(pair.detectable)

    def test_one_has_an_interval_of_these_runs_and_no_claim(self) -> None:
        from scipy import stats

        rows = drawn(np.random.default_rng(10), seeds=1)
        pair = compare(rows, baseline="a").pairs["b", "a"]
        ours = stats.ttest_rel(rows["b"][0], rows["a"][0]).confidence_interval()
        assert (pair.low, pair.high) == pytest.approx((ours.low, ours.high))
        assert pair.note == "one seed"
        far = compare({"a": rows["a"], "b": rows["b"] + 5}, baseline="a").pairs["b", "a"]
        assert far.low > 0
        assert not far.claimed

    def test_of_one_row_leave_the_others_alone(self) -> None:
        rows = drawn(np.random.default_rng(11), rows=3, seeds=4)
        cut = rows["c"].copy()
        cut[2:] = np.nan
        found = compare({**rows, "c": cut}, baseline="a")
        assert found.pairs["c", "a"].note == "two seeds"
        alone = compare({name: rows[name] for name in "ab"}, baseline="a")
        assert found.pairs["b", "a"] == alone.pairs["b", "a"]


class TestMissingValues:
    def test_leave_common_seeds_and_complete_prompts(self) -> None:
        rows = drawn(np.random.default_rng(12), rows=2, seeds=5)
        first, second = rows["a"].copy(), rows["b"].copy()
        first[0] = np.nan
        second[3, 7] = np.nan
        pair = compare({"a": first, "b": second}, baseline="a").pairs["b", "a"]
        kept = np.delete((rows["b"] - rows["a"])[1:], 7, axis=1)
        assert (pair.seeds, pair.prompts) == (4, 39)
        assert pair == difference(kept)

    def test_make_the_shared_part_no_surer_than_its_least_sure_pair(self) -> None:
        rows = drawn(np.random.default_rng(13), rows=3, seeds=5)
        rows["c"][3:] = np.nan
        found = compare(rows, baseline="a")
        assert found.pairs["b", "a"].seeds == 5
        assert found.pairs["c", "a"].seeds == 3
        assert detectable.freedom(5, 3, fewest=3) == pytest.approx(1 / (0.49 / 4 + 0.51 / (2 * 2)))

    def test_with_nothing_in_common_say_so(self) -> None:
        first, second = np.full((4, 6), np.nan), np.ones((4, 6))
        pair = compare({"a": first, "b": second}, baseline="a").pairs["b", "a"]
        assert pair.note == "nothing in common"
        assert not pair.claimed


class TestNoVariance:
    def test_identical_rows_are_no_claim(self) -> None:
        values = np.random.default_rng(14).normal(size=(3, 30))
        pair = compare({"a": values, "b": values}, baseline="a").pairs["b", "a"]
        assert (pair.note, pair.estimate, pair.claimed, pair.known) == ("identical", 0.0, False, False)

    def test_a_constant_difference_is_none_either(self) -> None:
        values = np.random.default_rng(15).normal(size=(3, 30))
        pair = compare({"a": values, "b": values + 0.1}, baseline="a").pairs["b", "a"]
        assert (pair.note, pair.claimed, pair.known) == ("no variation", False, False)

    def test_equal_answers_of_right_and_wrong_have_the_rule_of_three(self) -> None:
        values = (np.random.default_rng(16).random((3, 100)) < 0.3).astype(float)
        pair = compare({"a": values, "b": values}, baseline="a", bounds=(0.0, 1.0)).pairs["b", "a"]
        assert (pair.low, pair.high, pair.note, pair.claimed) == (-0.03, 0.03, "identical", False)

    @pytest.mark.parametrize(("prompts", "claimed"), [(79, False), (80, True)])
    def test_all_right_against_all_wrong_is_one_with_enough_prompts(self, prompts: int, *, claimed: bool) -> None:
        rows = {"a": np.zeros((3, prompts)), "b": np.ones((3, prompts))}
        pair = compare(rows, baseline="a", bounds=(0.0, 1.0)).pairs["b", "a"]
        assert pair.claimed is claimed
        assert pair.high == 1.0


class TestGroups:
    def test_of_one_prompt_each_change_nothing(self) -> None:
        rows = drawn(np.random.default_rng(17))
        plain, grouped = compare(rows, baseline="a"), compare(rows, baseline="a", groups=list(range(40)))
        for pair, other in zip(plain.pairs.values(), grouped.pairs.values(), strict=True):
            # a prompt's deviation is divided by sqrt(1 - 1/E): a little wider, and never narrower
            assert 1 <= (other.high - other.low) / (pair.high - pair.low) < 1.02
            assert other.estimate == pytest.approx(pair.estimate)

    def test_that_vary_together_widen_the_interval(self) -> None:
        generator = np.random.default_rng(18)
        groups = np.repeat(np.arange(20), 10)
        values = 0.2 * generator.normal(size=20)[groups] + 0.01 * generator.normal(size=(5, 200))
        plain, grouped = difference(values), difference(values, groups=groups)
        assert grouped.high - grouped.low > 2 * (plain.high - plain.low)
        assert grouped.estimate == pytest.approx(plain.estimate)
        assert grouped.prompts == 200

    def test_of_which_one_holds_nearly_all_prompts_support_no_claim(self) -> None:
        values = 5 + np.random.default_rng(20).normal(size=(3, 100))
        groups = np.maximum(np.arange(100) - 90, 0)  # 91 prompts and nine times one
        for seeds, note in ((3, "few groups"), (1, "one seed")):
            found = difference(values[:seeds], groups=groups)
            assert (found.note, found.claimed, found.known) == (note, False, False)

    def test_below_ten_support_no_claim(self) -> None:
        values = 5 + np.random.default_rng(19).normal(size=(3, 90))
        few, enough = (difference(values, groups=np.arange(90) % count) for count in (9, 10))
        assert (few.note, few.claimed, few.known) == ("few groups", False, False)
        assert enough.claimed

    def test_sums_keep_the_means_of_seeds(self) -> None:
        values = np.random.default_rng(20).normal(size=(4, 60))
        known = grouping(["x"] * 25 + [f"y{i % 12}" for i in range(35)])
        assert summed(values, known).mean(1) == pytest.approx(values.mean(1))
        alone, together = 60**2 / (known.sizes**2).sum() - 1, (known.sizes**2).sum() ** 2 / (known.sizes**4).sum()
        assert known.freedom == pytest.approx(2 / (1 / alone + 1 / together))
        assert grouping(list(range(12)) * 5).freedom == 11

    def test_are_told_for_the_prompts_that_are_left(self) -> None:
        rows = drawn(np.random.default_rng(21), rows=2)
        rows["a"][0, 39] = np.nan
        groups = np.array([*(np.arange(39) % 13), 99])
        pair = compare(rows, baseline="a", groups=groups).pairs["b", "a"]
        kept = (rows["b"] - rows["a"])[:, :39]
        assert pair == difference(kept, groups=groups[:39])


class TestARowsOwnInterval:
    def test_stays_within_what_is_possible(self) -> None:
        values = np.clip(np.random.default_rng(22).normal(0.05, 0.1, size=(3, 30)), 0, 1)
        values[0] += 0.3
        found = own_interval(values, bounds=(0.0, 1.0))
        free = own_interval(values)
        assert found is not None
        assert free is not None
        assert free[0].low < 0
        assert found[0].low == 0.0
        assert found[0].high == free[0].high

    def test_of_two_seeds_is_none_and_of_one_is_of_these_runs(self) -> None:
        values = np.random.default_rng(23).normal(size=(3, 30))
        two, one = own_interval(values[:2]), own_interval(values[:1])
        assert two is not None
        assert one is not None
        assert (two[1], two[0].known) == ("two seeds", False)
        assert (one[1], one[0].known) == ("one seed", True)
        assert own_interval(np.full((3, 4), np.nan)) is None


class TestTheDetectableDifference:
    @pytest.mark.parametrize(
        ("seeds", "listed"),
        [
            (3, [8.83, 8.00, 8.04, 8.15, 8.31, 8.48, 8.67]),
            (5, [4.66, 4.78, 4.91, 5.06, 5.16, 5.28, 5.38]),
            (10, [3.47, 3.70, 3.87, 3.98, 4.07, 4.16, 4.23]),
        ],
    )
    def test_has_these_multiples(self, seeds: int, listed: list[float]) -> None:
        ours = [detectable.multiple(rows, seeds, rows - 1) for rows in range(2, 9)]
        assert ours == pytest.approx(listed, abs=0.1)

    @pytest.mark.parametrize("near", [0.01, 1.2, 60.0])
    @pytest.mark.parametrize(
        ("rising", "root"),
        [
            (lambda x: x**3 - 2, 2 ** (1 / 3)),
            (lambda x: math.erf(x - 3) + 0.6, 3 + float(scipy.special.erfinv(-0.6))),
            (lambda x: math.tanh(40 * (x - 1.8)), 1.8),  # flat nearly everywhere
            (lambda x: x - 1.2, 1.2),
        ],
        ids=["cubic", "error function", "step", "line"],
    )
    def test_a_root_is_found_from_wherever_it_is_sought(
        self, rising: Callable[[float], float], root: float, near: float
    ) -> None:
        assert detectable._root(rising, near) == pytest.approx(root, abs=2e-6)

    def test_of_a_plan_is_that_of_a_run_with_these_variances(self) -> None:
        values = drawn(np.random.default_rng(24), rows=1, seeds=4)["a"]
        from harness.report.components import estimated, spread

        parts = estimated(spread(values), *values.shape)
        assert min(parts) > 0
        assert detectable.planned(parts, 4, 40, rows=2, tests=1) == pytest.approx(difference(values).detectable)

    def test_shrinks_with_seeds_and_with_prompts(self) -> None:
        from harness.report.components import Components

        parts = Components(0.0001, 0.01, 0.04)
        by_seeds = [detectable.planned(parts, seeds, 200, rows=6, tests=5) for seeds in (3, 5, 10)]
        by_prompts = [detectable.planned(parts, 5, prompts, rows=6, tests=5) for prompts in (80, 200, 500)]
        assert by_seeds == sorted(by_seeds, reverse=True)
        assert by_prompts == sorted(by_prompts, reverse=True)
        assert math.isnan(detectable.planned(parts, 2, 200, rows=6, tests=5))


def test_a_difference_that_is_not_known_has_no_interval() -> None:
    assert not Difference(math.nan).known
    assert not Difference(math.nan).claimed


def test_the_same_is_said_of_zeros_against_ones_alone_and_among_rows() -> None:
    rows = {"a": np.zeros((3, 90)), "b": np.ones((3, 90))}
    pair = compare(rows, baseline="a").pairs["b", "a"]
    alone = difference(rows["b"] - rows["a"], binary=True)
    assert pair.claimed
    assert (alone.claimed, alone.low, alone.high) == (pair.claimed, pair.low, pair.high)
    assert not difference(rows["b"] - rows["a"]).claimed


def test_the_other_way_round_nothing_is_minus_zero() -> None:
    found = -Difference(0.0, 0.0, 0.0, per_seed=(0.0, 1.0))
    numbers = (found.estimate, found.low, found.high, *found.per_seed)
    assert [math.copysign(1, number) for number in numbers] == [1, 1, 1, 1, -1]
