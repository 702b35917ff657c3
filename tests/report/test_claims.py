"""A verdict says one word, and never more than the run that it is from allows."""

from __future__ import annotations

import json
import math
import re
import shutil
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from click.testing import CliRunner
from report.synthetic import METRICS, ROUGE_L, Place, Run, step
from scipy import stats
from statsmodels.stats.power import TTestPower

from harness.cli import main
from harness.plugins.loader import load_registry
from harness.report.claims import Claim, Finding, claims_for, read_claims, verdict
from harness.report.claims.evidence import Measured, judge, judge_equal
from harness.report.claims.kinds import KINDS
from harness.report.components import Components
from harness.report.differences import difference
from harness.report.power import enough, needed_prompts, needed_seeds
from harness.report.results import load_results
from harness.report.verdicts import across, claims_json, claims_table, claims_text

if TYPE_CHECKING:
    from collections.abc import Sequence

ABOVE = Claim("c", "A is above B", "Table 9", ("small",), "above", "eso", ("sft",), ("rouge.rougeL",))


def noise(place: Place, *, spread: float = 0.05) -> float:
    generator = np.random.default_rng([place.seed, place.example, *map(ord, place.row)])
    return float(spread * generator.normal())


def levels(means: dict[str, float], *, spread: float = 0.05) -> Any:
    return lambda place: means.get(place.row, 0.2) + noise(place, spread=spread)


def found(run: Run, claim: Claim = ABOVE) -> Finding:
    shutil.rmtree(run.root / "store", ignore_errors=True)  # a run may be asked twice, with other numbers
    return verdict(claim, load_results(run.root, run.write()))


@pytest.fixture
def sized(run: Run) -> Run:
    run.seeds = (0, 1, 2, 3)
    run.examples = 40
    return run


class TestGroups:
    """Prompts that belong together are no independent witnesses of a claim."""

    def test_are_what_is_wanted_where_nothing_is_decided(self) -> None:
        generator = np.random.default_rng(3)
        groups = [str(index % 20) for index in range(60)]
        for centre, wanted in ((0.01, "would decide"), (-0.01, "would decide it against the claim")):
            values = generator.normal(size=(3, 60))
            part = replace(measured(values - values.mean() + centre), groups=groups)
            assert judge([part]).cells[0].needed == f"more seeds, or more groups of prompts, {wanted}"

    def test_that_are_few_decide_nothing(self, sized: Run) -> None:
        sized.value = levels({"eso": 0.5, "sft": 0.3})
        sized.prompts = lambda index: {"fields": {"prompt": f"p{index}"}, "columns": {"template": index % 9}}
        assert found(sized).word == "supported"
        sized.change = lambda manifest: manifest["config"]["evaluate"][0].update(group="template")
        finding = found(sized)
        assert finding.word == "undecided"
        assert "few groups" in finding.because

    def test_widen_the_interval_that_a_verdict_follows_from(self, sized: Run) -> None:
        together = {"eso": 0.25}
        sized.examples = 60
        sized.value = lambda place: (
            0.3 + together.get(place.row, 0.0) * ((place.example % 12) * 7 % 12 - 4) / 12 + noise(place, spread=0.01)
        )
        sized.prompts = lambda index: {"fields": {"prompt": f"p{index}"}, "columns": {"template": index % 12}}
        plain = found(sized)
        sized.change = lambda manifest: manifest["config"]["evaluate"][0].update(group="template")
        grouped = found(sized)
        assert (plain.word, grouped.word) == ("supported", "undecided")

    def test_no_interval_leaves_what_a_difference_can_be(self, sized: Run) -> None:
        sized.value = levels({"eso": 0.97, "sft": 0.03}, spread=0.4)
        sized.metrics = [{**METRICS[0], "columns": [{**ROUGE_L, "range": [0.0, 1.0]}]}]
        (cell,) = found(sized).cells
        assert cell.difference is not None
        assert -1.0 <= cell.difference.low <= cell.difference.high <= 1.0


class TestAbove:
    def test_is_supported_by_a_large_difference(self, sized: Run) -> None:
        sized.value = levels({"eso": 0.5, "sft": 0.3})
        finding = found(sized)
        assert (finding.word, finding.because) == ("supported", "in 1 of 1")
        difference = finding.cells[0].difference
        assert difference is not None
        assert difference.low < 0.2 < difference.high
        assert finding.cells[0].where == "in-data ROUGE-L against sft"

    def test_is_contradicted_by_the_opposite(self, sized: Run) -> None:
        sized.value = levels({"eso": 0.3, "sft": 0.5})
        assert found(sized).word == "contradicted"
        assert found(sized).because == "the opposite in 1 of 1: in-data ROUGE-L against sft"

    def test_is_undecided_between(self, sized: Run) -> None:
        sized.value = levels({"eso": 0.305, "sft": 0.3}, spread=0.2)
        finding = found(sized)
        assert finding.word == "undecided"
        assert "would decide" in finding.because

    def test_must_hold_in_every_place(self, sized: Run) -> None:
        sized.datasets = {"in-data": "in-data", "other": "cross"}
        wide = levels({"eso": 0.5, "sft": 0.3})
        sized.value = lambda place: wide(place) if place.dataset == "in-data" else 0.3 + noise(place, spread=0.3)
        finding = found(sized)
        assert finding.word == "undecided"
        assert finding.because.startswith("1 of 2 supported; other ROUGE-L against sft: ")

    def test_turns_where_less_is_better(self, sized: Run) -> None:
        sized.metrics = [{**METRICS[0], "columns": [{**ROUGE_L, "higher_is_better": False}]}]
        sized.value = levels({"eso": 0.3, "sft": 0.5})
        assert found(sized).word == "supported"
        assert found(sized, replace(ABOVE, better="more")).word == "contradicted"

    def test_is_about_every_row_that_it_names(self, sized: Run) -> None:
        sized.value = levels({"eso": 0.5, "sft": 0.3})
        finding = found(sized, replace(ABOVE, others=("sft", "rrhf")))
        assert finding.word == "undecided"
        assert finding.because == "no claim: no value for rrhf (no such row)"

    def test_does_not_depend_on_the_order_of_rows_or_seeds(self, sized: Run) -> None:
        sized.value = levels({"eso": 0.34, "sft": 0.3})
        first = found(sized)
        sized.rows, sized.seeds = sized.rows[::-1], (3, 1, 0, 2)
        second = found(sized)
        assert first.word == second.word
        assert first.cells[0].p == pytest.approx(second.cells[0].p)


class TestNoMoreThanTheRunAllows:
    def test_two_seeds_decide_nothing(self, sized: Run) -> None:
        sized.seeds = (0, 1)
        sized.value = levels({"eso": 0.9, "sft": 0.1})
        finding = found(sized)
        assert (finding.word, finding.because) == ("undecided", "no claim: 2 seeds, and a claim takes 3")
        assert finding.cells[0].difference is not None

    @pytest.mark.parametrize(("eso", "sft"), [(0.9, 0.1), (0.1, 0.9)])
    def test_generated_data_decide_nothing_either_way(self, sized: Run, eso: float, sft: float) -> None:
        sized.value = levels({"eso": eso, "sft": sft})
        sized.change = lambda manifest: manifest["datasets"][1].update(generated=True)
        finding = found(sized)
        assert finding.word == "undecided"
        assert finding.because == "no claim: the data (tales) are generated by code, and the paper's are not"

    def test_random_weights_decide_nothing(self, sized: Run) -> None:
        sized.value = levels({"eso": 0.9, "sft": 0.1})
        sized.change = lambda manifest: manifest["config"]["models"][0].update(config={"model_type": "gpt2"})
        assert "the model started from random weights" in found(sized).because

    def test_another_judge_decides_nothing(self, sized: Run) -> None:
        column = {**ROUGE_L, "name": "win:chosen"}
        sized.metrics = [
            {**METRICS[0], "use": "referee", "role": "judge", "options": {"judge": "rule"}, "columns": [column]}
        ]
        sized.value = levels({"eso": 0.9, "sft": 0.1})
        claim = replace(ABOVE, columns=("referee.win:chosen",), requires={"referee.judge": "endpoint"})
        finding = found(sized, claim)
        assert finding.because == "no claim: judge of referee is rule, and the claim takes endpoint"
        sized.metrics[0]["options"] = {"judge": "endpoint"}
        assert found(sized, claim).word == "supported"

    def test_a_judge_that_favours_nothing_decides_nothing(self, sized: Run) -> None:
        columns = [{**ROUGE_L, "name": name} for name in ("win:chosen", "null:chosen")]
        sized.metrics = [{**METRICS[0], "use": "referee", "role": "judge", "columns": columns}]
        usual = levels({"eso": 0.9, "sft": 0.1})
        sized.value = lambda place: 0.7 if place.column == "null:chosen" else usual(place)
        finding = found(sized, replace(ABOVE, columns=("referee.win:chosen",)))
        assert finding.because == "no claim: the judge referee favours an answer that says nothing"

    def test_what_was_not_run_is_not_run(self, sized: Run) -> None:
        assert found(sized, replace(ABOVE, row="ppo", others=("dpo",))).because == "the run has no row of ppo, dpo"
        assert found(sized, replace(ABOVE, columns=("judge.win",))).because == "the run does not measure judge.win"
        assert found(sized, replace(ABOVE, row="ppo")).word == "not run"

    def test_a_failed_row_is_undecided(self, sized: Run) -> None:
        sized.unfinished = {("eso", "train", str(seed)) for seed in sized.seeds}
        finding = found(sized)
        assert (finding.word, finding.because) == ("undecided", "no claim: no value for eso (failed)")


def measured(values: Any) -> Measured:
    return Measured("here", np.asarray(values, dtype=np.float64))


class TestEqual:
    def test_is_supported_only_within_the_margin(self) -> None:
        close = np.random.default_rng(1).normal(0.0, 0.05, size=(4, 200))
        close -= close.mean()
        assert judge_equal([measured(close)], 0.05).word == "supported"
        assert judge_equal([measured(close + 0.2)], 0.05).word == "contradicted"
        finding = judge_equal([measured(close * 20)], 0.05)
        assert finding.word == "undecided"
        assert "would decide" in finding.because
        assert "cannot support" in judge_equal([measured(close * 20 + 0.1)], 0.05).because

    def test_is_stricter_than_two_one_sided_tests(self) -> None:
        generator = np.random.default_rng(2)
        words = []
        for _ in range(40):
            values = generator.normal(0.01, 0.2, size=(1, 60)).repeat(3, axis=0)
            words.append(judge_equal([measured(values)], 0.07).word)
            lower = stats.ttest_1samp(values[0], -0.07, alternative="greater").pvalue
            upper = stats.ttest_1samp(values[0], 0.07, alternative="less").pvalue
            assert words[-1] != "supported" or max(lower, upper) < 0.05
        assert "supported" in words

    def test_takes_three_seeds(self) -> None:
        assert judge_equal([measured(np.zeros((2, 200)))], 0.05).word == "undecided"


def drawn(generator: np.random.Generator, components: Components, centre: float, seeds: int, prompts: int) -> Any:
    seed, prompt, rest = (part**0.5 for part in components)
    return (
        centre
        + seed * generator.normal(size=(seeds, 1))
        + prompt * generator.normal(size=(1, prompts))
        + rest * generator.normal(size=(seeds, prompts))
    )


class TestMore:
    @pytest.mark.parametrize(("difference", "spread"), [(1.0, 1.0), (0.5, 1.0), (-0.3, 0.4), (2.0, 1.0)])
    def test_seeds_are_statsmodels(self, difference: float, spread: float) -> None:
        wanted = needed_seeds(Components(spread**2, 0.0, 0.0), abs(difference), 3, 40)
        assert wanted is not None
        power = TTestPower()
        size = abs(difference) / spread
        assert power.power(size, wanted, 0.05) >= 0.8 - 1e-3
        assert wanted == 3 or power.power(size, wanted - 1, 0.05) < 0.8

    def test_prompts_are_the_normal_approximation(self) -> None:
        prompts = Components(0.0, 1.0, 0.0)
        assert needed_prompts(prompts, 0.2, 3, 10) == math.ceil((1.959964 + 0.841621) ** 2 / 0.04)
        assert needed_prompts(prompts, 1e-9, 3, 10) is None
        assert needed_prompts(Components(1.0, 1.0, 0.0), 0.2, 3, 10) is None
        assert needed_seeds(Components(1.0, 0.0, 0.0), 1e-9, 3, 10) is None
        assert needed_seeds(Components(0.0, 0.01, 0.0), 0.1, 3, 10) == 3

    def test_what_is_said_to_be_enough_is_found_four_times_in_five(self) -> None:
        components, size = Components(0.02, 0.3, 0.1), 0.15
        generator = np.random.default_rng(12)
        for tests in (1, 6):
            text = enough(components, size, 3, 40, tests=tests)
            seeds, prompts = (int(count) for count in re.findall(r"\((\d+) in all\)", text))
            more_seeds, more_prompts = f"{seeds - 3} more seeds ({seeds} in all)", f"{prompts - 40} more prompts"
            assert text == f"{more_seeds} and {more_prompts} ({prompts} in all) would decide"
            times = 300
            hits = sum(
                difference(drawn(generator, components, size, seeds, prompts), tests=tests).claimed
                for _ in range(times)
            )
            assert hits / times >= 0.8 - 3 * (0.16 / times) ** 0.5
            assert hits / times <= 0.95

    def test_names_either_where_either_is_enough(self) -> None:
        text = enough(Components(0.0, 0.0, 1.0), 0.2, 4, 40)
        assert re.fullmatch(r"\d+ more seeds \(\d+ in all\) or \d+ more prompts \(\d+ in all\) would decide", text)
        assert enough(Components(1.0, 1.0, 0.0), 1e-6, 3, 40) == "no practical number of seeds and prompts would decide"
        assert enough(Components(0.0, 0.0, 1e-6), 1.0, 3, 40) == "a little more of both seeds and prompts would decide"

    def test_is_said_of_what_points_the_other_way(self) -> None:
        values = np.random.default_rng(4).normal(-0.02, 0.3, size=(3, 30))
        values -= values.mean() + 0.01
        assert "against the claim" in judge([measured(values)]).because
        flat = values - values.mean()
        assert "would decide" in judge([measured(flat)]).because

    def test_is_nothing_where_there_is_no_difference(self) -> None:
        assert "no number of seeds or prompts" in judge([measured(np.zeros((3, 10)))]).because


def test_the_claims_of_chance_are_rarely_supported_or_contradicted() -> None:
    generator = np.random.default_rng(11)
    words = [judge([measured(generator.normal(size=(4, 40)) * 0.1)]).word for _ in range(200)]
    assert words.count("supported") <= 10
    assert words.count("contradicted") <= 10


class TestTrends:
    CLAIM = Claim("k", "more helps", "", ("small",), "trend", "eso", (), ("rouge.rougeL",), option="temperatures")

    def swept(self, run: Run, slope: float) -> Run:
        run.rows = ("base", "sft", "eso[4]", "eso[6]", "eso[8]")
        run.options = lambda row: {"temperatures": [1.0] * int(row[4])} if "[" in row else {}
        run.value = lambda place: slope * int(place.row[4]) + noise(place) if "[" in place.row else 0.1
        return run

    def test_are_steps_between_neighbours_and_the_rise_between_the_ends(self, sized: Run) -> None:
        finding = found(self.swept(sized, 0.02), self.CLAIM)
        assert (finding.word, finding.because) == ("supported", "in 1 of 1")
        assert [cell.where for cell in finding.cells] == [
            "in-data ROUGE-L at temperatures 6 against 4",
            "in-data ROUGE-L at temperatures 8 against 6",
            "in-data ROUGE-L at temperatures 8 against 4",
        ]
        values = {k: [[0.02 * k + noise(Place(f"eso[{k}]", "tiny", s, "in-data", "t1", "rougeL", i))
                       for i in range(40)] for s in range(4)] for k in (4, 6, 8)}  # fmt: skip
        means = [np.mean(values[high]) - np.mean(values[low]) for high, low in ((6, 4), (8, 6), (8, 4))]
        assert [cell.difference.mean for cell in finding.cells if cell.difference] == pytest.approx(means)

    def test_may_go_down(self, sized: Run) -> None:
        assert found(self.swept(sized, -0.02), self.CLAIM).word == "contradicted"

    def test_are_told_apart_by_the_other_options(self, sized: Run) -> None:
        self.swept(sized, 0.02)
        sized.rows = (*sized.rows, "eso[4]m", "eso[8]m")
        sized.options = lambda row: {"temperatures": [1] * int(row[4]), "mean": row.endswith("m")} if "[" in row else {}
        finding = found(sized, self.CLAIM)
        assert [cell.where.partition(" (")[2] for cell in finding.cells] == [
            *["eso[4] to eso[8])"] * 3,
            "eso[4]m to eso[8]m)",
        ]

    def test_peak_where_they_are_said_to(self, sized: Run) -> None:
        coefs = {"eso[a]": 0.05, "eso[b]": 0.5, "eso[c]": 1.0}
        sized.rows = ("sft", *coefs)
        sized.options = lambda row: {"coef": coefs[row]} if row in coefs else {}
        sized.value = levels({"eso[a]": 0.3, "eso[b]": 0.5, "eso[c]": 0.4})
        claim = Claim("p", "peak", "", ("small",), "peak", "eso", (), ("rouge.rougeL",), option="coef", at=0.5)
        finding = found(sized, claim)
        assert (finding.word, finding.because) == ("supported", "in all 2 of 2; the highest mean is at 0.5")
        sized.value = levels({"eso[a]": 0.6, "eso[b]": 0.5, "eso[c]": 0.4})
        assert found(sized, claim).word == "contradicted"
        assert found(sized, replace(claim, at=0.7)).word == "not run"


class TestTime:
    CLAIM = Claim("t", "order", "", ("small",), "order", order=("drl", "eso", "rrhf"))

    def timed(self, run: Run, seconds: dict[str, float], *, warm: int = 0) -> Run:
        run.rows, run.seeds = ("sft", *seconds), (0,)

        def log(row: str, seed: int) -> list[dict[str, Any]]:
            generator = np.random.default_rng([seed, *map(ord, row)])
            laps = seconds.get(row, 1.0) + 0.1 * generator.random(40)
            laps[:5] += 9.0
            return [{**step(row), "seconds": {"sampling": lap / 2, "other": lap / 2}} for lap in laps]

        run.log = log
        run.change = lambda manifest: manifest["config"].update(timing={"warmup_steps": warm})
        return run

    def test_is_an_order_of_medians_over_steps_with_one_seed(self, run: Run) -> None:
        finding = found(self.timed(run, {"drl": 1.0, "eso": 2.0, "rrhf": 3.0}, warm=5), self.CLAIM)
        assert finding.word == "supported"
        assert [cell.where for cell in finding.cells] == ["eso − drl", "rrhf − eso"]
        assert finding.cells[0].difference is not None
        assert finding.cells[0].difference.mean == pytest.approx(1.0, abs=0.03)

    def test_may_be_another_order(self, run: Run) -> None:
        finding = found(self.timed(run, {"drl": 1.0, "eso": 3.0, "rrhf": 2.0}), self.CLAIM)
        assert finding.because == "the opposite in 1 of 2: rrhf − eso"
        assert found(self.timed(run, {"drl": 1.0, "eso": 1.0, "rrhf": 2.0}), self.CLAIM).word == "undecided"

    def test_beside_other_stages_decides_nothing(self, run: Run) -> None:
        run.trained = lambda _row, _seed: {"concurrent": True}
        finding = found(self.timed(run, {"drl": 1.0, "eso": 2.0, "rrhf": 3.0}), self.CLAIM)
        assert finding.because == "no claim: timed while other stages ran on the same machine"

    def test_of_methods_that_did_not_run_is_not_run(self, run: Run) -> None:
        assert found(self.timed(run, {"drl": 1.0}), self.CLAIM).word == "not run"


class TestModelsHeld:
    CLAIM = Claim("m", "two against four", "", ("small",), "held", held={"eso": 2, "ppo": 4})

    def holding(self, run: Run, counts: dict[str, int]) -> Run:
        part = {"role": "policy", "parameters": 1, "bytes": 4}
        run.rows = ("sft", *counts)
        run.trained = lambda row, _seed: {"models_held": [part] * counts.get(row, 1)}
        return run

    def test_are_counted_on_any_data_with_any_seeds(self, run: Run) -> None:
        run.seeds = (0,)
        run.change = lambda manifest: manifest["datasets"][1].update(generated=True)
        assert found(self.holding(run, {"eso": 2, "ppo": 4}), self.CLAIM).word == "supported"

    def test_may_be_others(self, run: Run) -> None:
        finding = found(self.holding(run, {"eso": 3, "ppo": 4}), self.CLAIM)
        assert finding.because == "the opposite in 1 of 2: eso holds 3, 2 claimed"

    def test_of_methods_that_did_not_run_are_not_run(self, run: Run) -> None:
        assert found(self.holding(run, {"eso": 2}), self.CLAIM).word == "not run"


class TestWhatIsAboutMadeData:
    """A claim about data made by code, or random weights, is not silenced by them, and by everything else as ever."""

    MADE = replace(ABOVE, made=True)

    def test_may_be_decided_by_it(self, sized: Run) -> None:
        sized.value = levels({"eso": 0.5, "sft": 0.3})
        sized.change = lambda manifest: manifest["datasets"][1].update(generated=True)
        assert found(sized).because.startswith("no claim: the data (")
        assert found(sized, self.MADE).word == "supported"
        sized.value = levels({"eso": 0.3, "sft": 0.5})
        assert found(sized, self.MADE).word == "contradicted"

    def test_may_be_decided_by_a_model_from_random_weights(self, sized: Run) -> None:
        def drawn(manifest: dict[str, Any]) -> None:
            manifest["config"]["models"][0].update(config={"model_type": "gpt2"}, vocab_size=300)

        sized.value, sized.change = levels({"eso": 0.5, "sft": 0.3}), drawn
        assert found(sized).because == "no claim: the model started from random weights"
        assert found(sized, self.MADE).word == "supported"

    def test_takes_as_many_seeds_as_any(self, sized: Run) -> None:
        sized.seeds = (0, 1)
        sized.value = levels({"eso": 0.5, "sft": 0.3})
        assert found(sized, self.MADE).because == "no claim: 2 seeds, and a claim takes 3"


class TestTheCatalogue:
    def test_has_every_claim_of_every_paper(self) -> None:
        named: dict[str, list[str]] = {}
        for claim in read_claims():
            named.setdefault(claim.title.partition(" (")[0], []).append(claim.name)
            assert claim.kind in KINDS
            assert (claim.margin > 0) == (claim.kind in {"equal", "not-above"}) == bool(claim.why)
            assert claim.place
        assert named == {
            "When Evolution Strategy Meets Language Models Tuning": [
                "eso-above", "fluency", "eso-ppo", "below-dpo", "dpo-longer", "models-held", "more-k",
                "best-coefficient", "order-of-time", "exposure-bias",
            ],
            "What demonstrations leave to a reward": ["reward-knows-more", "reward-knows-no-more"],
            "ESO and RLOO": ["eso-is-rloo", "eso-is-rloo-checked"],
            "Evolution Strategies at Scale": ["es-above-grpo"],
            "Evolution Strategies at the Hyperscale": ["eggroll-above-grpo"],
            "Forgetting under evolution strategies": ["es-near-grpo", "es-forgets-more"],
            "RL's Razor": ["forgetting-follows-kl"],
            "oxRL": ["no-variant-beats-dpo", "starts-spread"],
            "Gains that are sharpening": [
                "eso-sharpens", "rloo-sharpens", "eso-sharpens-checked", "rloo-sharpens-checked",
            ],
        }  # fmt: skip

    def test_names_columns_methods_and_options_that_there_are(self) -> None:
        registry = load_registry()
        for claim in read_claims():
            for name in claim.columns:
                metric, _, column = name.partition(".")
                found: Any = registry.get("metric", metric)
                usual = {"to": "sft", "against": ["chosen"], "kind": "number", "judge": "reward-model"}
                asked = {key: value for key, value in usual.items() if key in found.options.model_fields}
                resolved = found.resolved(registry.options("metric", metric, asked))
                assert column in {each.name for each in resolved.columns}, name
            for method, *settings in map(str.split, filter(None, [claim.row, *claim.others, *claim.order])):
                options: Any = registry.get("method", method).options
                assert all(setting.partition("=")[0] in options.model_fields for setting in settings)
                registry.options("method", method, dict(setting.split("=") for setting in settings))

    def test_claims_of_made_data_are_those_of_the_checkable_tasks(self) -> None:
        assert [claim.benchmarks for claim in read_claims() if claim.made] == [("reasoning",), ("reasoning-clean",)]
        assert all("reasoning" in claim.benchmarks for claim in read_claims() if claim.made_data)

    def test_knows_which_benchmark_is_for_which_claim(self) -> None:
        assert [claim.name for claim in claims_for("hh")] == [
            "eso-ppo", "below-dpo", "dpo-longer", "models-held", "no-variant-beats-dpo", "starts-spread",
            "forgetting-follows-kl",
        ]  # fmt: skip
        assert claims_for("somebody-elses") == []


def words(verdicts: Sequence[Any]) -> dict[str, str]:
    return {one.claim.name: one.finding.word for one in verdicts}


class TestTheTables:
    def test_have_one_row_a_claim(self, sized: Run) -> None:
        sized.manifest = {"benchmark": "dolly"}
        table = claims_table(load_results(sized.root, sized.write()))
        assert [row.label for row in table.rows] == [claim.name for claim in claims_for("dolly")]
        assert table.names == ("name", "run")

    def test_over_several_runs_say_what_was_not_run(self, sized: Run) -> None:
        sized.manifest = {"benchmark": "dolly"}
        sized.value = levels({"eso": 0.5, "sft": 0.3})
        verdicts = across(sized.root, [sized.write()])
        assert words(verdicts)["order-of-time"] == "not run"
        assert words(verdicts)["eso-above"] == "undecided"
        assert "no run of timing was given" in claims_text(verdicts)
        listed = json.loads(claims_json(verdicts))["claims"]
        assert len(listed) == len(read_claims())
        above = next(one for one in listed if one["claim"] == "eso-above")
        place = above["places"][0]
        assert place["where"] == "in-data ROUGE-L against sft"
        assert place["low"] < place["difference"] < place["high"]
        assert above["run"] == "dolly/quick"

    def test_come_from_the_command_line(self, sized: Run) -> None:
        sized.manifest = {"benchmark": "dolly"}
        folder = sized.write()
        before = sorted(path.name for path in folder.iterdir())
        for arguments in ([], ["small/quick"], [str(folder), "small/quick"]):
            result = CliRunner().invoke(main, ["report", *arguments, "--claims", "--results", str(sized.root)])
            assert result.exit_code == 0, result.output
            assert "# What is claimed, and what was measured" in result.stdout
        result = CliRunner().invoke(main, ["report", "--claims", "--json", "--results", str(sized.root)])
        assert len(json.loads(result.stdout)["claims"]) == len(read_claims())
        assert sorted(path.name for path in folder.iterdir()) == before


def test_zeros_against_ones_are_claimed_as_in_the_tables(sized: Run) -> None:
    sized.examples = 90
    sized.value = lambda place: float(place.row == "eso")
    assert found(sized).word == "supported"
