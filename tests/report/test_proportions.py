"""Win rates, lengths and strengths: against other people's statistics."""

from __future__ import annotations

import itertools
import math
import warnings
from typing import TYPE_CHECKING

import numpy as np
import pytest
import statsmodels.api as sm
from hypothesis import given
from hypothesis import strategies as st
from scipy.special import expit
from statsmodels.stats.proportion import proportion_confint

from harness.report.proportions import _fit, length_controlled, wilson, win_rate
from harness.report.strengths import _fit as fit_strengths
from harness.report.strengths import strengths

if TYPE_CHECKING:
    from harness.report.statistics import Array


class TestWilson:
    @given(st.integers(1, 2000), st.floats(0, 1))
    def test_is_statsmodels(self, count: int, share: float) -> None:
        wins = round(share * count)
        low, high = proportion_confint(wins, count, method="wilson")
        assert wilson(wins / count, count) == pytest.approx((low, high), abs=1e-12)

    def test_has_a_width_at_the_ends(self) -> None:
        assert wilson(1.0, 20) == pytest.approx((0.8389, 1.0), abs=1e-4)
        assert wilson(0.0, 20)[0] == 0.0

    def test_counts_prompts_and_never_draws_or_seeds(self) -> None:
        wins = np.random.default_rng(1).integers(0, 2, size=(1, 30)).astype(float)
        once, often = win_rate(wins), win_rate(np.repeat(wins, 5, axis=0))
        assert once is not None
        assert often is not None
        assert once[1] == often[1]

    def test_takes_over_where_the_bootstrap_has_no_width(self) -> None:
        found = win_rate(np.ones((3, 25)))
        assert found is not None
        assert found[0].low == pytest.approx(proportion_confint(25, 25, method="wilson")[0])
        assert found[0].high == 1.0

    def test_gives_way_where_seeds_differ(self) -> None:
        wins = np.zeros((3, 200))
        wins[1, :100] = wins[2] = 1.0
        found = win_rate(wins)
        assert found is not None
        assert found[0].low < found[1].low

    def test_counts_only_prompts_with_a_verdict(self) -> None:
        wins = np.full((2, 12), math.nan)
        wins[0, :8] = 1.0
        found = win_rate(wins)
        assert found is not None
        assert found[1].low == pytest.approx(wilson(1.0, 8)[0])
        assert win_rate(np.full((2, 3), math.nan)) is None


def drawn(
    seed: int, *, intercept: float = 0.4, slope: float = 0.9, shape: tuple[int, int] = (1, 400)
) -> tuple[Array, Array]:
    generator = np.random.default_rng(seed)
    lengths = generator.normal(3.0, 10.0, size=shape)
    chance = expit(intercept + slope * lengths / 10.0)
    return (generator.random(shape) < chance).astype(float), lengths


class TestEqualLength:
    def test_is_statsmodels_logit_at_difference_0(self) -> None:
        wins, lengths = drawn(1)
        z = lengths / np.sqrt((lengths**2).mean())
        oracle = sm.Logit(wins[0], sm.add_constant(z[0])).fit(disp=0)
        found = length_controlled(wins, lengths)
        assert found is not None
        assert found.rate.mean == pytest.approx(expit(oracle.params[0]), abs=1e-9)
        assert found.slope == pytest.approx(oracle.params[1], abs=1e-8)

    def test_has_an_interval_like_the_delta_methods(self) -> None:
        wins, lengths = drawn(2, shape=(1, 800))
        z = lengths / np.sqrt((lengths**2).mean())
        oracle = sm.Logit(wins[0], sm.add_constant(z[0])).fit(disp=0)
        p = expit(oracle.params[0])
        half = 1.96 * p * (1 - p) * math.sqrt(oracle.cov_params()[0, 0])
        found = length_controlled(wins, lengths)
        assert found is not None
        assert found.rate.high - found.rate.low == pytest.approx(2 * half, rel=0.15)

    def test_takes_ties_and_means_over_draws_as_a_quasi_binomial_fit_does(self) -> None:
        wins, lengths = drawn(3)
        wins[0, ::3], wins[0, 1::7] = 0.5, 0.25
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # it says that the outcomes are no counts
            oracle = sm.GLM(wins[0], sm.add_constant(lengths[0]), family=sm.families.Binomial()).fit()
        found = length_controlled(wins, lengths)
        assert found is not None
        assert found.rate.mean == pytest.approx(expit(oracle.params[0]), abs=1e-8)

    def test_takes_off_what_length_alone_won(self) -> None:
        wins, lengths = drawn(4, intercept=0.0, slope=2.0, shape=(3, 600))
        found = length_controlled(wins, lengths)
        assert found is not None
        assert wins.mean() > 0.55
        assert found.rate.low < 0.5 < found.rate.high

    def test_has_no_interval_with_two_seeds(self) -> None:
        found = length_controlled(*drawn(4, shape=(2, 600)))
        assert found is not None
        assert not found.rate.known

    def test_has_no_unit(self) -> None:
        wins, lengths = drawn(5, shape=(3, 60))
        first, second = length_controlled(wins, lengths), length_controlled(wins, 4.5 * lengths)
        assert first is not None
        assert second is not None
        assert first.rate.mean == pytest.approx(second.rate.mean)
        assert first.slope == pytest.approx(second.slope)

    def test_of_equal_lengths_is_the_win_rate(self) -> None:
        wins, _ = drawn(6)
        found = length_controlled(wins, np.zeros_like(wins))
        assert found is not None
        assert found.rate.mean == pytest.approx(wins.mean())
        assert found.slope == 0.0

    @pytest.mark.parametrize("wins", [np.ones((1, 20)), np.zeros((2, 20)), (np.arange(20.0)[None] > 9.5).astype(float)])
    def test_has_no_fit_where_all_is_won_or_length_decides(self, wins: Array) -> None:
        lengths = np.broadcast_to(np.arange(20.0) - 9.5, wins.shape)
        assert length_controlled(wins, lengths) is None

    def test_leaves_missing_verdicts_out(self) -> None:
        wins, lengths = drawn(7, shape=(2, 50))
        padded, further = np.full((3, 60), math.nan), np.full((3, 60), 5.0)
        padded[:2, 5:55], further[:2, 5:55] = wins, lengths
        assert length_controlled(padded, further) == length_controlled(wins, lengths)
        assert length_controlled(np.full((2, 4), math.nan), np.zeros((2, 4))) is None

    def test_of_many_weights_is_many_fits(self) -> None:
        wins, lengths = drawn(8)
        weights = np.random.default_rng(1).integers(0, 3, size=(4, 400)).astype(float)
        together = _fit(wins[0], lengths[0] / 10, weights)
        for row, alone in zip(weights, together, strict=True):
            oracle = sm.GLM(wins[0], sm.add_constant(lengths[0] / 10), family=sm.families.Binomial(), freq_weights=row)
            assert alone == pytest.approx(oracle.fit().params, abs=1e-7)


def games(
    truth: dict[str, float], pairs: list[tuple[str, str]], shape: tuple[int, int] = (1, 120)
) -> dict[tuple[str, str], Array]:
    generator = np.random.default_rng(len(pairs))
    return {(a, b): (generator.random(shape) < expit(truth[a] - truth[b])).astype(float) for a, b in pairs}


TRUTH = {"a": 0.8, "b": 0.1, "c": -0.3, "d": -0.6}
ROUND = list(itertools.combinations(TRUTH, 2))


class TestGroups:
    def test_count_as_trials(self) -> None:
        wins = np.random.default_rng(1).integers(0, 2, size=(1, 20)).repeat(5, axis=1).astype(float)
        groups = [str(index // 5) for index in range(100)]
        found = win_rate(wins, groups=groups)
        assert found is not None
        assert (found[1].low, found[1].high) == wilson(float(wins.mean()), 20)

    def test_of_which_there_are_few_leave_no_interval(self) -> None:
        found = win_rate(np.ones((3, 90)), groups=[str(index % 9) for index in range(90)])
        assert found is not None
        assert not found[0].known
        assert found[1].known

    def test_leave_a_fit_without_an_interval(self) -> None:
        wins, lengths = drawn(4, shape=(3, 60))
        plain, grouped = length_controlled(wins, lengths), length_controlled(wins, lengths, grouped=True)
        assert plain is not None
        assert grouped is not None
        assert (plain.rate.known, grouped.rate.known) == (True, False)
        assert (plain.rate.mean, plain.slope) == (grouped.rate.mean, grouped.slope)


class TestStrengths:
    @pytest.mark.parametrize(
        "pairs", [ROUND, [("a", "d"), ("b", "d"), ("c", "d")], [("a", "b"), ("b", "c"), ("c", "d")]]
    )
    def test_are_those_of_a_logistic_regression(self, pairs: list[tuple[str, str]]) -> None:
        wins = games(TRUTH, pairs)
        wins[pairs[0]][0, ::4] = 0.5
        outcome = np.concatenate([values.ravel() for values in wins.values()])
        design = np.zeros((outcome.size, 4))
        for index, pair in enumerate(np.repeat(np.arange(len(wins)), 120)):
            first, second = list(wins)[pair]
            design[index, "abcd".index(first)], design[index, "abcd".index(second)] = 1, -1
        oracle = sm.GLM(outcome, design[:, :3], family=sm.families.Binomial()).fit().params
        expected = np.append(oracle, 0.0)
        found = strengths(wins)
        assert [found.players[name].mean for name in "abcd"] == pytest.approx(expected - expected.mean(), abs=1e-7)

    def test_have_intervals_of_the_size_that_the_regression_gives(self) -> None:
        wins = games(TRUTH, ROUND, (1, 400))
        found = strengths(wins)
        # the variance of a centred strength in a balanced tournament: about 4 / (games a pair · players)
        for strength in found.players.values():
            assert 0.07 < strength.reach < 0.2
            assert strength.low < strength.mean < strength.high

    def test_do_not_depend_on_order_or_on_who_is_named_first(self) -> None:
        wins = games(TRUTH, ROUND, (3, 40))
        turned = {(b, a): 1 - values for (a, b), values in reversed(wins.items())}
        first, second = strengths(wins), strengths(turned)
        for name in TRUTH:
            assert first.players[name].mean == pytest.approx(second.players[name].mean, abs=1e-9)
            assert first.players[name].low == pytest.approx(second.players[name].low, abs=1e-9)
        seeds = strengths({pair: values[[2, 0, 1]] for pair, values in wins.items()})
        assert seeds.players["a"].mean == pytest.approx(first.players["a"].mean)

    def test_have_no_interval_with_two_seeds_or_where_prompts_are_grouped(self) -> None:
        wins = games(TRUTH, ROUND, (3, 40))
        assert strengths(wins).players["a"].known
        assert not strengths(wins, grouped=True).players["a"].known
        for values in wins.values():
            values[1] = math.nan  # one seed of three has no verdict
        assert not strengths(wins).players["a"].known

    def test_need_a_comparison_that_links_all(self) -> None:
        found = strengths(games(TRUTH, [("a", "b"), ("c", "d")]))
        assert found.players == {}
        assert found.because == "no comparison links c, d with a, so there is no common scale"

    def test_need_three_players(self) -> None:
        assert strengths(games(TRUTH, [("a", "b")])).because == "strengths need three players or more"

    def test_are_not_finite_for_who_never_lost(self) -> None:
        wins = games(TRUTH, ROUND)
        for pair in wins:
            if "a" in pair:
                wins[pair] = np.ones((1, 120))
        assert "no finite strength" in strengths(wins).because

    def test_survive_replicates_in_which_somebody_wins_all(self) -> None:
        wins = games({"a": 3.0, "b": 0.0, "c": 0.0}, [("a", "b"), ("a", "c"), ("b", "c")], (1, 30))
        wins["a", "b"][:] = 1.0
        wins["a", "c"][:] = 1.0
        wins["a", "c"][0, 3] = 0.0
        found = strengths(wins).players["a"]
        assert np.isfinite([found.low, found.high]).all()
        assert found.high > found.mean + 1

    def test_of_an_empty_replicate_are_equal(self) -> None:
        assert fit_strengths(np.zeros((1, 3, 3))) == pytest.approx(np.zeros((1, 3)))
