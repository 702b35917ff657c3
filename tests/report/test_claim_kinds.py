"""Kinds of claims beside the first paper's: runs whose truth is known, and faults that turn or silence a word."""

from __future__ import annotations

import itertools
import shutil
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from report.synthetic import GREEDY, METRICS, ROUGE_L, T1, Place, Run
from scipy import stats

from harness.report.claims import Claim, Finding, verdict
from harness.report.claims.evidence import Measured, judge_not_above
from harness.report.claims.needs import needs_of
from harness.report.claims.over_rows import chance_of, correlation, resampled
from harness.report.claims.sharpening import Gains, judge_sharpening
from harness.report.claims.standing import about_tuned, label_of
from harness.report.results import load_results, read_manifest
from harness.report.verdicts import Verdict, table

if TYPE_CHECKING:
    from collections.abc import Mapping

COLUMNS = ("rouge.rougeL",)
NOT_ABOVE = Claim("n", "no variant beats DPO", "", ("small",), "not-above", "dpo", ("dpo loss=ipo", "simpo", "cpo"),
                  COLUMNS, margin=0.05, some=True)  # fmt: skip
SHARP = Claim("s", "the gain is sharpening", "", ("small",), "sharpening", "eso", ("sft",), COLUMNS)
RANK = Claim("r", "forgetting follows KL", "", ("small",), "rank", "", (), ("divergence.kl", "text.loss"))
SPREAD = Claim("w", "instruct spreads more", "", ("small",), "spread", "", ("sft", "eso", "dpo"), COLUMNS,
               models=("(?i)instruct",))  # fmt: skip


def noise(place: Place, spread: float = 0.02) -> float:
    named = f"{place.row}{place.model}{place.decoding}{place.column}"
    return float(spread * np.random.default_rng([place.seed, place.example, *map(ord, named)]).normal())


def found(run: Run, claim: Claim) -> Finding:
    shutil.rmtree(run.root / "store", ignore_errors=True)
    return verdict(claim, load_results(run.root, run.write()))


def measured(centre: float, spread: float = 0.05, seed: int = 1) -> Measured:
    values = np.random.default_rng(seed).normal(0.0, spread, size=(4, 60))
    return Measured("here", values - values.mean() + centre)


class TestNotAbove:
    @pytest.mark.parametrize(
        ("centres", "word"),
        [
            ((0.0, 0.02), "supported"),
            ((0.3, -0.02), "contradicted"),  # better by less than the margin is better
            ((0.3, 0.3), "supported"),
            ((0.3, -0.3), "contradicted"),
        ],
    )
    def test_is_about_every_other(self, centres: tuple[float, float], word: str) -> None:
        places = [measured(centre, seed=seed) for seed, centre in enumerate(centres)]
        assert judge_not_above(places, 0.05).word == word

    def test_between_is_undecided_and_says_what_would_decide(self) -> None:
        finding = judge_not_above([measured(-0.01, spread=0.5)], 0.05)
        assert finding.word == "undecided"
        assert "would decide" in finding.because
        assert judge_not_above([measured(0.0)], 0.05, no_claim="no").because == "no claim: no"

    def test_takes_three_seeds(self) -> None:
        short = replace(measured(0.2), difference=np.zeros((2, 60)))
        assert judge_not_above([short], 0.05).word == "undecided"

    def test_of_some_needs_those_that_the_file_has(self, run: Run) -> None:
        run.rows = ("sft", "dpo", "dpo[i]", "simpo")
        run.options = lambda row: {"loss": "ipo" if row == "dpo[i]" else "sigmoid"} if row.startswith("dpo") else {}
        level = {"dpo": 0.5, "dpo[i]": 0.4, "simpo": 0.45}
        run.value = lambda place: level.get(place.row, 0.2) + noise(place)
        finding = found(run, NOT_ABOVE)
        assert finding.word == "supported"
        assert [cell.where.rpartition(" ")[2] for cell in finding.cells] == ["dpo[i]", "simpo"]
        level["dpo[i]"] = 0.6
        assert found(run, NOT_ABOVE).because == "the opposite in 1 of 2: in-data ROUGE-L against dpo[i]"
        run.unfinished = {("simpo", "train", "1")}
        assert found(run, NOT_ABOVE).because == "no claim: no value for simpo, seed 1 (failed)"
        run.rows = ("sft", "dpo")
        assert found(run, NOT_ABOVE).word == "not run"


def gains(sampled: float, greedy: float, spread: float = 0.05) -> Gains:
    return Gains(measured(sampled, spread, 1), measured(greedy, spread, 2))


class TestSharpening:
    @pytest.mark.parametrize(
        ("sampled", "greedy", "word"),
        [
            (0.3, 0.0, "supported"),
            (0.3, -0.1, "supported"),
            (0.3, 0.3, "contradicted"),
            (0.0, 0.3, "contradicted"),  # the other way round: a gain when greedy alone
            (0.3, 0.15, "undecided"),  # half of it
            (0.0, 0.0, "undecided"),
            (-0.3, 0.0, "undecided"),  # there is no gain to explain
            (-0.3, -0.1, "undecided"),
        ],
    )
    def test_is_decided_by_the_contrast_of_two_gains(self, sampled: float, greedy: float, word: str) -> None:
        assert judge_sharpening([gains(sampled, greedy)]).word == word

    def test_says_both_gains(self) -> None:
        because = judge_sharpening([gains(0.3, 0.0)]).because
        assert because.startswith("in all 2 of 2; here: +0.30 [")

    def test_must_hold_everywhere(self) -> None:
        assert judge_sharpening([gains(0.3, 0.0), gains(0.3, 0.0, spread=3.0)]).word == "undecided"
        assert judge_sharpening([gains(0.3, 0.0), gains(0.3, 0.3)]).word == "contradicted"

    def test_the_contrast_is_half_of_one_gain_less_the_other(self) -> None:
        part = gains(0.3, 0.1)
        expected = part.sampled.difference.mean() / 2 - part.greedy.difference.mean()
        assert part.missing.difference.mean() == pytest.approx(expected)

    def test_pairs_decodings_wherever_they_stand_in_the_file(self, run: Run) -> None:
        run.decodings = {"greedy": GREEDY, "warm": {**T1, "temperature": 0.7}, "t1": T1}
        run.examples = 30
        level = {("eso", "t1"): 0.5, ("eso", "warm"): 0.9}
        run.value = lambda place: level.get((place.row, place.decoding), 0.3) + noise(place)
        finding = found(run, SHARP)
        assert finding.word == "supported"
        assert finding.cells[0].where == "gain at T = 1 of eso over sft, in-data ROUGE-L"
        level[("eso", "greedy")] = 0.5
        assert found(run, SHARP).word == "contradicted"
        run.unfinished = {("eso", "rouge", "2")}
        assert found(run, SHARP).because.startswith("no claim: no value for eso, seed 2 (failed)")
        run.decodings = {"t1": T1}
        assert found(run, SHARP).because == "the run does not answer both at temperature 1 and greedily"


def ranked(run: Run, loss: Mapping[str, float], kl: Mapping[str, float]) -> Run:
    column = {**ROUGE_L, "scale": 1.0}
    run.metrics = [
        {**METRICS[0], "use": use, "headline": name, "columns": [{**column, "name": name, "label": name}]}
        for use, name in (("divergence", "kl"), ("text", "loss"))
    ]
    run.rows = tuple(loss)
    run.value = lambda place: (
        0.0 if place.row == "sft" and place.column == "kl"
        else (kl if place.column == "kl" else loss)[place.row] + noise(place, 0.001)
    )  # fmt: skip
    return run


KL = {"sft": 0.0, "a": 0.1, "b": 0.2, "c": 0.3, "d": 0.4, "e": 0.5, "f": 0.6}


class TestRank:
    def test_of_rows_in_one_order_is_supported_and_turned_is_contradicted(self, run: Run) -> None:
        finding = found(ranked(run, {row: 3.0 + value for row, value in KL.items()}, KL), RANK)
        assert finding.word == "supported"
        (cell,) = finding.cells
        assert cell.where == "in-data kl and loss, 6 rows, chance 0.0028"  # two of 720 orders; sft is 0 throughout
        assert cell.difference is not None
        assert cell.difference.mean == pytest.approx(1.0)
        assert found(ranked(run, {row: 3.0 - value for row, value in KL.items()}, KL), RANK).word == "contradicted"

    def test_without_order_is_undecided(self, run: Run) -> None:
        loss = dict(zip(KL, (3.0, 3.4, 3.1, 3.6, 3.0, 3.5, 3.2), strict=True))
        finding = found(ranked(run, loss, KL), RANK)
        assert finding.word == "undecided"
        assert "more rows would decide" in finding.because

    def test_takes_all_rows_with_all_seeds(self, run: Run) -> None:
        ranked(run, {row: 3.0 + value for row, value in KL.items()}, KL).unfinished = {("c", "train", "1")}
        assert found(run, RANK).because == "no claim: no value for c, seed 1 (failed)"

    def test_takes_five_rows(self, run: Run) -> None:
        few = {row: KL[row] for row in ("sft", "a", "b", "c", "d")}
        assert "a rank correlation takes 5 rows" in found(ranked(run, few, few), RANK).because

    def test_is_spearmans(self) -> None:
        generator = np.random.default_rng(5)
        for first, second in generator.integers(0, 6, size=(20, 2, 8)):
            expected = stats.spearmanr(first, second).statistic
            assert float(correlation(first, second)) == pytest.approx(expected, nan_ok=True)

    def test_chance_is_the_share_of_orders(self) -> None:
        first, second = np.arange(5.0), np.array([0.0, 2.0, 1.0, 3.0, 4.0])
        observed = stats.spearmanr(first, second).statistic
        orders = [abs(stats.spearmanr(first, order).statistic) for order in itertools.permutations(second)]
        assert chance_of(first, second) == pytest.approx(np.mean([one >= observed - 1e-9 for one in orders]))
        many = np.arange(9.0)
        assert chance_of(many, many) < 0.001
        assert chance_of(many, np.ones(9)) == 1.0


def spreading(run: Run, wide: float, narrow: float) -> Run:
    run.models, run.rows = ("tiny-Instruct", "tiny"), ("sft", "eso", "dpo")
    level = {"sft": 0.0, "eso": 0.5, "dpo": 1.0}
    run.value = lambda place: 0.3 + level[place.row] * (wide if "I" in place.model else narrow) + noise(place)
    return run


class TestSpread:
    def test_is_the_difference_of_two_ranges(self, run: Run) -> None:
        finding = found(spreading(run, 0.4, 0.1), SPREAD)
        assert finding.word == "supported"
        (cell,) = finding.cells
        assert cell.where == "in-data ROUGE-L: spread of 3 rows with tiny-Instruct less that with tiny"
        assert cell.difference is not None
        assert cell.difference.low < 0.3 < cell.difference.high
        assert found(spreading(run, 0.1, 0.4), SPREAD).word == "contradicted"
        assert found(spreading(run, 0.2, 0.2), SPREAD).word == "undecided"

    def test_takes_both_models_with_all_rows_and_seeds(self, run: Run) -> None:
        spreading(run, 0.4, 0.1).unfinished = {("eso", "train", "0")}
        assert "no value for eso with tiny-Instruct, seed 0 (failed)" in found(run, SPREAD).because
        run.models = ("tiny-Instruct",)
        assert found(run, SPREAD).because == "the run does not have both kinds of models"

    def test_two_models_have_seeds_of_their_own(self) -> None:
        scores = np.random.default_rng(3).normal(size=(2, 3, 20))
        own, other = resampled(scores), resampled(scores, apart=True)
        assert own.mean(0) == pytest.approx(scores.mean((1, 2)), abs=0.03)
        assert abs(np.corrcoef(own[:, 0], other[:, 0])[0, 1]) < np.corrcoef(own[:, 0], own[:, 0])[0, 1] - 0.2


EQUAL = Claim("e", "ESO is RLOO", "", ("small",), "equal", "eso", ("rloo",), COLUMNS, margin=0.05, equal_terms=True)


def tuned(row: str, trials: int = 3) -> dict[str, Any]:
    if not row.endswith("[tuned]"):
        return {}
    tried = [{"settings": {"coef": number}, "score": float(number)} for number in range(trials)]
    how = {"metric": "rouge.rougeL", "decoding": "t1", "seeds": [0], "scores": tried}
    return {"trials": trials, "chosen": {"coef": trials - 1}, "tuned_on": "tales/validation", "tuning": how}


class TestWhatRepresentsAMethod:
    ROWS = ("sft", "eso[tuned]", "eso", "rloo", "rloo[tuned]")

    def both(self, run: Run) -> Run:
        run.rows, run.described, run.examples = self.ROWS, tuned, 30
        level = {"eso": 0.6, "rloo": 0.3, "eso[tuned]": 0.5, "rloo[tuned]": 0.5}
        run.value = lambda place: level.get(place.row, 0.2) + noise(place)
        return run

    def test_is_the_supervised_row_that_was_trained_as_long(self, run: Run) -> None:
        run.rows = ("sft", "sft[more]", "sft[tuned]", "eso")
        run.described = lambda row: tuned(row) | ({} if row == "sft" else {"start": "after"})
        manifest = read_manifest(run.write())
        assert (label_of("sft", manifest), label_of("sft", manifest, tuned=True)) == ("sft[more]", "sft[tuned]")
        run.described = tuned  # nothing goes on from the first: the others are rows beside it
        assert label_of("sft", read_manifest(run.write())) == "sft"

    def test_is_the_row_as_published_or_on_equal_terms_the_tuned_one(self, run: Run) -> None:
        manifest = read_manifest(self.both(run).write())
        assert (label_of("eso", manifest), label_of("eso", manifest, tuned=True)) == ("eso", "eso[tuned]")
        assert (label_of("sft", manifest, tuned=True), label_of("grpo", manifest)) == ("sft", None)
        finding = found(run, EQUAL)
        assert finding.word == "supported"
        assert finding.cells[0].where == "in-data ROUGE-L of eso[tuned] against rloo[tuned]"
        assert found(run, replace(EQUAL, equal_terms=False)).word == "contradicted"

    def test_is_the_tuned_row_where_another_method_has_no_other(self, run: Run) -> None:
        run.rows, run.described = ("sft", "eso", "eso[tuned]", "rloo[tuned]"), tuned
        manifest = read_manifest(run.write())
        against_rloo = replace(EQUAL, equal_terms=False)
        assert about_tuned(against_rloo, manifest)
        assert [*needs_of(against_rloo, manifest).rows.values()] == [("eso[tuned]", "rloo[tuned]")]
        assert not about_tuned(replace(against_rloo, others=("sft",)), manifest)

    def test_with_other_numbers_of_trials_decides_nothing(self, run: Run) -> None:
        self.both(run).described = lambda row: tuned(row, 3 if row.startswith("eso") else 2)
        assert found(run, EQUAL).because == "no claim: trials differ: eso[tuned] 3, rloo[tuned] 2"

    def test_with_another_budget_decides_nothing(self, run: Run) -> None:
        spent = {"eso[tuned]": (10, 1000), "rloo[tuned]": (12, 1010)}
        self.both(run).trained = lambda row, _: dict(
            zip(("steps", "tokens_generated"), spent.get(row, (10, 1000)), strict=True)
        )
        assert found(run, EQUAL).word == "supported"  # sampled tokens within 2 %
        spent["rloo[tuned]"] = (12, 1030)
        assert "budgets differ in prompts" in found(run, EQUAL).because
        spent["rloo[tuned]"] = (10, 5000)
        assert found(run, EQUAL).word == "supported"  # as many prompts

    def test_a_failed_seed_of_it_decides_nothing(self, run: Run) -> None:
        self.both(run).unfinished = {("eso[tuned]", "train", "1")}
        assert found(run, EQUAL).because == "no claim: no value for eso[tuned], seed 1 (failed)"


def test_data_made_by_code_are_enough_and_random_weights_are_not(run: Run) -> None:
    claim = Claim("a", "a", "", ("small",), "above", "eso", ("sft",), COLUMNS, made_data=True)
    run.value = lambda place: (0.5 if place.row == "eso" else 0.3) + noise(place)
    run.change = lambda manifest: manifest["datasets"][1].update(generated=True)
    assert found(run, claim).word == "supported"
    run.change = lambda manifest: manifest["config"]["models"][0].update(config={"model_type": "gpt2"}, vocab_size=300)
    assert found(run, claim).because == "no claim: the model started from random weights"


def test_a_margin_on_one_side_is_said_so() -> None:
    finding = judge_not_above([measured(0.0)], 0.05)
    shown = table([Verdict(replace(NOT_ABOVE, why="so"), finding, "")], "Claims")
    assert any("none better by 0.05 (so)" in line for line in shown.caption)
