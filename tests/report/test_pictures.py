"""What pictures show is what the tables say: the same numbers, the same claims, and nothing where there is nothing."""

from __future__ import annotations

import copy
import csv
import io
import math
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from report.synthetic import GREEDY, JUDGE, METRICS, ROUGE_L, T1, Place, Run, in_memory, step, summary

from harness.report.calculated import Calculated
from harness.report.columns import ComparedColumns
from harness.report.export import json_value
from harness.report.kinds import tables_of
from harness.report.pictures.curves import POINTS, curve
from harness.report.pictures.every import NEEDS, Picture, pictures_of
from harness.report.pictures.figure import Band, Dots, Line, Note, Span
from harness.report.results import load_results
from harness.report.rewards import calibration, read_pairs, statistics_of
from harness.report.write import build
from harness.spec.results.train import PHASES

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

#: Most tests compare the same numbers; each comparison is made once.
CALCULATED = Calculated()
LEVELS = {"base": 0.02, "sft": 0.30, "eso": 0.36, "drl": 0.31, "rrhf": 0.25}


def noisy(place: Place) -> float:
    generator = np.random.default_rng([place.seed, place.example, *map(ord, place.row + place.column + place.decoding)])
    level = LEVELS.get(place.row, 0.3) + 0.08 * (place.decoding == "greedy")
    return float(level + 0.1 * math.sin(place.example) + 0.02 * generator.normal() + 0.005 * place.seed)


class Seen:
    """The pictures of a run beside its tables."""

    def __init__(self, run: Run) -> None:
        self.columns = ComparedColumns(load_results(run.root, run.write()), CALCULATED)
        self.pictures = {picture.name: picture for picture in pictures_of(self.columns)}

    @cached_property
    def tables(self) -> dict[str, Any]:
        found: dict[str, Any] = json_value({}, tables_of(self.columns))["tables"]
        return found

    def cells(self, table: str, model: str = "tiny") -> dict[str, dict[str, Any]]:
        return {row["label"]: row["cells"] for row in self.tables[table]["rows"] if row["model"] == model}

    def lines(self, name: str) -> list[dict[str, str]]:
        return list(csv.DictReader(io.StringIO(self.pictures[name].csv)))

    def parts(self, name: str, kind: type[Any]) -> Iterator[Any]:
        for panel in self.pictures[name].figure.panels:
            yield from (part for part in panel.parts if isinstance(part, kind))


KINDS = ("open", "closed", "odd")
TOKENS = {"sft": 0, "eso": 900, "drl": 400, "rrhf": 100}


def several(run: Run) -> Run:
    """Make a run one with rows that differ, two decodings, a second data set, categories and logs."""
    run.rows, run.examples, run.value, run.log = tuple(LEVELS), 24, noisy, logged
    run.decodings = {"t1": T1, "greedy": GREEDY}
    run.datasets = {"in-data": "in-data", "other": "cross"}
    run.tables = ("scores", "cross-dataset", "decoding", "timing", "seeds")
    run.prompts = lambda i: {"fields": {}, "columns": {"source": f"{i}", "category": KINDS[i % 3]}}
    run.trained = lambda row, seed: {
        "tokens_generated": TOKENS[row], "seconds": dict.fromkeys(PHASES, 1.0 + seed + len(row)),
    }  # fmt: skip
    return run


@pytest.fixture(scope="module")
def seen() -> Iterator[Seen]:
    """Return the pictures and tables of a run that most tests read."""
    with in_memory() as folder:
        yield Seen(several(Run(folder)))


@pytest.fixture
def small(run: Run) -> Run:
    """Return a run to change, with as little as a picture takes."""
    run.rows, run.examples, run.value = ("sft", "eso", "drl"), 8, noisy
    return run


def number(text: str) -> float:
    return float(text) if text else math.nan


class TestDifferences:
    def test_have_the_intervals_of_the_tables(self, seen: Seen) -> None:
        table = seen.cells("decoding")
        lines = [line for line in seen.lines("differences") if line["dataset"] == "in-data" and not line["seed"]]
        assert len(lines) == 2 * 3
        spans = {(span.start[0], span.end[0]) for span in seen.parts("differences", Span)}
        for line in lines:
            cell = table[line["row"]][f"in-data/{line['decoding']}/rouge.rougeL Δ"]
            ends = cell["value"], cell["low"], cell["high"]
            assert (number(line["difference"]), number(line["low"]), number(line["high"])) == pytest.approx(ends)
            assert line["claimed"] == ("yes" if cell["claimed"] else "no")
            assert any(span == pytest.approx(ends[1:]) for span in spans)
        assert {line["claimed"] for line in lines} == {"yes", "no"}

    def test_have_a_ring_a_seed(self, seen: Seen) -> None:
        cell = seen.cells("decoding")["eso"]["in-data/t1/rouge.rougeL Δ"]
        rings = [dots.xs for dots in seen.parts("differences", Dots) if dots.form == "seed"]
        assert len(rings) == 3 * 3  # rows by two decodings of the first data set and one of the other
        assert any(xs == pytest.approx(cell["by_seed"]) for xs in rings)
        lines = [line for line in seen.lines("differences") if line["row"] == "eso" and line["decoding"] == "t1"]
        by_seed = [(line["seed"], number(line["difference"])) for line in lines if line["dataset"] == "in-data"]
        assert [seed for seed, _ in by_seed] == ["", "0", "1", "2"]
        assert [value for _, value in by_seed[1:]] == pytest.approx(cell["by_seed"])

    def test_are_full_exactly_where_they_are_claimed(self, seen: Seen) -> None:
        claimed = [line["claimed"] for line in seen.lines("differences") if not line["seed"]]
        forms = [dots.form for dots in seen.parts("differences", Dots) if dots.form != "seed"]
        assert forms == ["full" if one == "yes" else "open" for one in claimed]

    @pytest.mark.parametrize(("seeds", "word"), [((0,), "One seed"), ((0, 1), "Two seeds")])
    def test_claim_nothing_with_fewer_than_three_seeds(self, small: Run, seeds: tuple[int, ...], word: str) -> None:
        small.seeds = seeds
        seen = Seen(small)
        assert list(seen.parts("differences", Span)) == []
        assert seen.pictures["differences"].figure.notes == (f"{word}: nothing is claimed, and no interval is drawn.",)
        assert {line["low"] for line in seen.lines("differences")} == {""}
        assert {dots.form for dots in seen.parts("differences", Dots)} <= {"open", "seed"}
        assert "nothing is claimed" in seen.pictures["differences"].svg()

    def test_say_why_a_row_has_none(self, small: Run) -> None:
        small.unfinished = {("eso", "train", str(seed)) for seed in small.seeds}
        seen = Seen(small)
        assert {note.text for note in seen.parts("differences", Note)} == {"failed"}
        assert {line["note"] for line in seen.lines("differences") if line["row"] == "eso"} == {"failed"}

    def test_are_of_the_seeds_that_both_rows_have(self, small: Run) -> None:
        small.seeds = (3, 4, 5, 6)
        small.unfinished = {("eso", "train", "4")}
        lines = [line for line in Seen(small).lines("differences") if line["row"] == "eso" and line["seed"]]
        assert {line["seed"] for line in lines} == {"3", "5", "6"}

    def test_need_something_to_compare_with(self, run: Run) -> None:
        run.rows = ("sft",)
        assert "differences" not in Seen(run).pictures

    def test_of_many_rows_are_left_out_with_a_word(self, small: Run, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("harness.report.pictures.differences._MOST", 2)
        seen = Seen(small)
        assert seen.pictures["differences"].figure.panels[0].y.names == ("in-data, t1", "eso")
        assert "1 more differences are in the data" in seen.pictures["differences"].figure.notes[0]
        assert {line["row"] for line in seen.lines("differences")} == {"eso", "drl"}


class TestCost:
    def test_is_that_of_the_tables(self, seen: Seen) -> None:
        scores, timing = seen.cells("decoding"), seen.cells("timing")
        for line in seen.lines("cost"):
            cell = scores[line["row"]][f"in-data/{line['decoding']}/rouge.rougeL"]
            assert number(line["score"]) == pytest.approx(cell["value"])
            assert (number(line["low"]), number(line["high"])) == pytest.approx((cell["low"], cell["high"]))
            if line["row"] != "base":
                assert number(line["tokens_sampled"]) == timing[line["row"]]["generated"]["value"]
                assert number(line["seconds"]) == pytest.approx(5 * (2.0 + len(line["row"])))
        assert {(line["row"], line["decoding"]) for line in seen.lines("cost")} == {
            (row, name) for row in LEVELS for name in ("t1", "greedy")
        }

    def test_is_nothing_for_the_untrained_model(self, seen: Seen) -> None:
        base = [line for line in seen.lines("cost") if line["row"] == "base"]
        assert {(line["seconds"], line["tokens_sampled"]) for line in base} == {("0", "0")}

    def test_phases_are_those_of_the_table(self, seen: Seen) -> None:
        table = seen.cells("timing")
        lines = seen.lines("phases")
        assert {line["phase"] for line in lines} == {"total", *PHASES}
        for line in lines:
            assert number(line["seconds"]) == pytest.approx(table[line["row"]][line["phase"]]["value"])


def logged(row: str, seed: int, steps: int = 7) -> list[dict[str, Any]]:
    found = []
    for place in range(steps):
        told = step(row)
        told |= {"step": place + 50, "loss": {"sft": 1.0 - place, "own": -0.5 * seed}, "kl": 0.1 * place + 0.01 * seed}
        if row != "sft":
            told["reward"] = {**told["reward"], "mean": -1.0 + 0.1 * place + 0.2 * seed}
            told["samples"] = {**told["samples"], "mean_length": 4.0, "entropy": 2.0 - 0.01 * place * seed}
        found.append(told)
    return found


class TestCurves:
    def test_are_medians_and_ranges_over_seeds(self, seen: Seen) -> None:
        lines = [line for line in seen.lines("training") if line["row"] == "eso"]
        rewards = [line for line in lines if line["quantity"] == "reward"]
        assert [number(line["step"]) for line in rewards] == list(range(1, 8))
        for place, line in enumerate(rewards):
            expected = [-1.0 + 0.1 * place + 0.2 * seed for seed in (0, 1, 2)]
            shown = number(line["median"]), number(line["low"]), number(line["high"])
            assert shown == pytest.approx((np.median(expected), min(expected), max(expected)))
        losses = [number(line["median"]) for line in lines if line["quantity"] == "loss"]
        assert losses == pytest.approx([1.0 - place - 0.5 for place in range(7)])
        assert {number(line["median"]) for line in lines if line["quantity"] == "length"} == {4.0}
        kl = [number(line["median"]) for line in seen.lines("divergence") if line["row"] == "eso"]
        assert kl == pytest.approx([0.1 * place + 0.01 for place in range(7)])

    def test_have_no_band_with_one_seed(self, small: Run) -> None:
        small.log, small.seeds = logged, (0,)
        seen = Seen(small)
        assert list(seen.parts("training", Band)) == []
        assert list(seen.parts("training", Line)) != []

    def test_what_samples_nothing_has_no_curve_of_samples(self, seen: Seen) -> None:
        lines = seen.lines("training")
        assert {line["quantity"] for line in lines if line["row"] == "sft"} == {"loss"}

    def test_long_ones_are_thinned(self, small: Run) -> None:
        small.rows, small.seeds, small.log = ("eso",), (0,), lambda row, seed: logged(row, seed, 1000)
        seen = Seen(small)
        picture = seen.pictures["training"]
        assert max(len(line.xs) for line in seen.parts("training", Line)) == POINTS
        assert len(picture.svg()) < 40_000
        assert len(picture.csv) < 40_000
        assert "mean of 17 steps or so" in picture.caption

    def test_seeds_may_stop_at_different_steps(self) -> None:
        found = curve([np.array([1.0, 2.0, 3.0]), np.array([3.0, math.nan])])
        assert found is not None
        assert found.steps.tolist() == [1, 2, 3]
        assert found.median.tolist() == [2, 2, 3]
        assert found.low.tolist() == [1, 2, 3]
        assert found.high.tolist() == [3, 2, 3]
        assert found.seeds.tolist() == [2, 1, 1]

    def test_a_quantity_that_is_measured_now_and_then_stands_at_its_steps(self) -> None:
        log = np.full(1000, np.nan)
        log[::100] = np.arange(10)
        found = curve([log])
        assert found is not None
        assert found.steps.tolist() == list(range(1, 1000, 100))
        assert found.median.tolist() == list(range(10))

    def test_thinned_points_are_means(self) -> None:
        log = np.random.default_rng(0).normal(size=POINTS * 4)
        found = curve([log])
        assert found is not None
        assert found.median == pytest.approx(log.reshape(POINTS, 4).mean(1))
        assert found.steps == pytest.approx(np.arange(POINTS) * 4 + 2.5)

    @pytest.mark.parametrize("logs", [[], [np.array([])], [np.array([math.nan, math.inf])]])
    def test_nothing_is_no_curve(self, logs: list[Any]) -> None:
        assert curve(logs) is None


class TestOveroptimisation:
    def test_gold_and_proxy_are_those_of_the_table(self, run: Run) -> None:
        distances = {"sft": 0.0, "eso[a]": 1.0, "eso[b]": 2.0, "eso[c]": 4.0}

        def value(place: Place) -> float:
            d, wave = distances[place.row], 1 - 2 * (place.example % 2)
            if place.column == "kl":
                return d**2 * (1 + 0.5 * wave)
            return 2.0 + 0.1 * place.seed + d * (0.9 if place.column == "proxy" else 0.5 - 0.1 * d) + 0.1 * wave * d

        shown = {**ROUGE_L, "scale": 1.0}
        run.metrics = [
            {**METRICS[0], "use": use, "role": role, "headline": name, "columns": [{**shown, "name": name}]}
            for use, role, name in (("g", "score", "gold"), ("p", "score", "proxy"), ("d", "paid", "kl"))
        ]
        run.rows, run.examples, run.value, run.tables = tuple(distances), 12, value, ("overoptimisation",)
        section = {"gold": "g.gold", "proxy": "p.proxy", "kl": "d.kl"}
        run.change = lambda manifest: manifest["config"].update(overoptimisation=section)
        seen = Seen(run)
        table = seen.cells("overoptimisation")
        lines = [line for line in seen.lines("divergence") if line["quantity"] in {"gold", "proxy"}]
        assert len(lines) == 6
        for line in lines:
            cells = table[line["row"]]
            cell = cells[line["quantity"]]
            assert number(line["distance"]) == pytest.approx(cells["distance"]["value"])
            shown_here = number(line["median"]), number(line["low"]), number(line["high"])
            assert shown_here == pytest.approx((cell["value"], cell["low"], cell["high"]))
        fits = [line for line in seen.parts("divergence", Line) if len(line.xs) == 41]
        gold = next(line for line in fits if line.look.dash == 0)
        assert gold.ys[-1] == pytest.approx(table["eso[c]"]["gold fit"]["value"])


class TestAblation:
    @staticmethod
    def sweep(run: Run, options: Mapping[str, Mapping[str, Any]], benchmark: str = "small") -> Seen:
        run.rows, run.value, run.examples = ("sft", *options), noisy, 12
        run.options = lambda row: options.get(row, {})
        run.manifest = {"published": "eso-coling-2025", "benchmark": benchmark}
        return Seen(run)

    def test_rows_that_differ_in_one_option_are_a_curve(self, run: Run) -> None:
        coefs = {f"eso[coef={coef}]": {"coef": coef, "k": 4} for coef in (0.05, 0.1, 0.5, 1.0)}
        seen = self.sweep(run, coefs, "ablation-coef")
        lines = [line for line in seen.lines("ablation") if line["model"] == "tiny"]
        assert [(number(line["setting"]), line["row"]) for line in lines] == [
            (told["coef"], row) for row, told in coefs.items()
        ]
        scores = seen.cells("scores")
        for line in lines:
            cell = scores[line["row"]]["in-data/rouge.rougeL"]
            shown = number(line["score"]), number(line["low"]), number(line["high"])
            assert shown == pytest.approx((cell["value"], cell["low"], cell["high"]))
        (panel,) = seen.pictures["ablation"].figure.panels
        assert panel.x.log
        assert panel.x.at == (0.05, 0.1, 0.5, 1.0)

    def test_the_papers_points_stand_beside(self, run: Run) -> None:
        seen = self.sweep(run, {f"eso[{c}]": {"coef": c} for c in (0.05, 0.1, 0.5, 1.0)}, "ablation-coef")
        lines = [line for line in seen.lines("ablation") if line["model"] == "published"]
        assert {(number(line["setting"]), number(line["score"])) for line in lines} == {
            (0.05, 29.2), (0.1, 30.2), (0.5, 30.27), (1.0, 29.57),
        }  # fmt: skip
        assert sum(dots.look.marker == "star" for dots in seen.parts("ablation", Dots)) == 4
        assert "compared with nothing" in seen.pictures["ablation"].caption

    def test_lists_are_known_by_their_lengths(self, run: Run) -> None:
        seen = self.sweep(run, {f"eso[{k}]": {"temperatures": [1.0] * k} for k in (4, 8, 2)}, "ablation-k")
        assert seen.pictures["ablation"].figure.panels[0].x.at == (2.0, 4.0, 8.0)
        assert {line["setting"] for line in seen.lines("ablation") if line["model"] == "published"} == {"4", "8"}

    def test_words_stand_in_a_row(self, run: Run) -> None:
        seen = self.sweep(run, {f"eso[{w}]": {"how": w, "on": True} for w in ("late", "early", None)})
        assert seen.pictures["ablation"].figure.panels[0].x.names == ("late", "early", "none")
        assert list(seen.parts("ablation", Line)) == []

    def test_rows_that_differ_in_two_options_are_none(self, run: Run) -> None:
        options = {"eso[a]": {"coef": 0.1, "k": 1}, "eso[b]": {"coef": 0.2, "k": 2}, "drl": {"coef": 0.3, "k": 1}}
        assert "ablation" not in self.sweep(run, options).pictures

    def test_a_grid_has_a_curve_for_each_of_the_other_options(self, run: Run) -> None:
        options = {f"eso[{c},{k}]": {"coef": c, "k": k} for c in (1, 2) for k in (3, 4, 5)}
        seen = self.sweep(run, options)
        panels = seen.pictures["ablation"].figure.panels
        assert [panel.title.partition(" over ")[2] for panel in panels] == ["coef of eso", "k of eso"]
        assert [sum(isinstance(part, Line) for part in panel.parts) for panel in panels] == [3, 2]

    def test_a_recipe_that_differs_counts_too(self, run: Run) -> None:
        run.described = lambda row: {"recipe_set": {"learning_rate": 0.5}} if row == "eso[b]" else {}
        seen = self.sweep(run, {"eso[a]": {"coef": 1}, "eso[b]": {"coef": 1}})
        assert {line["option"] for line in seen.lines("ablation")} == {"recipe.learning_rate"}


class TestJudged:
    @pytest.fixture
    def judged(self, run: Run) -> Run:
        judge = copy.deepcopy(JUDGE)
        judge["columns"] += [{**one, "name": one["name"].replace("chosen", "sft")} for one in judge["columns"]]
        run.metrics, run.tables, run.examples = [METRICS[0], judge], ("win-rates", "reward-model"), 30

        def verdict(place: Place) -> float:
            if place.column.startswith("win:"):
                return float(noisy(place) + 0.2 * ((place.example * 7) % 10 < 4) > 0.35)
            return noisy(place)

        run.value = verdict
        return run

    def test_wins_are_those_of_the_table(self, judged: Run) -> None:
        seen = Seen(judged)
        table, lines = seen.cells("win-rates"), seen.lines("wins")
        assert {(line["row"], line["opponent"]) for line in lines} == {
            (row, other) for row in judged.rows for other in ("chosen", "sft") if row != other
        }
        for line in lines:
            cell = table[line["row"]][f"in-data/{line['opponent']}/win"]
            assert number(line["wins_percent"]) == pytest.approx(cell["value"])

    def test_calibration_is_that_of_the_table(self, judged: Run) -> None:
        margins = np.random.default_rng(1).normal(0.6, 1.2, 120)
        judged.reward_models = {"tiny": {"pairs": [{"chosen": float(m), "rejected": 0.0} for m in margins]}}
        seen = Seen(judged)
        record = statistics_of(seen.columns.results, "tiny")
        pairs = read_pairs(record) if record else None
        assert pairs is not None
        error, bins = calibration(pairs)
        found = [tuple(map(number, line.values()))[1:3] for line in csv_of(seen.pictures["reward-model"], "model")]
        assert found == [pytest.approx((part.predicted, part.observed)) for part in bins]
        assert f"error {error:.3f}" in seen.pictures["reward-model"].figure.panels[0].title
        assert f"{error:.3f}" == f"{seen.tables['reward-model']['rows'][0]['cells']['calibration']['value']:.3f}"


def csv_of(picture: Picture, without: str) -> list[dict[str, str]]:
    lines = csv.DictReader(io.StringIO(picture.csv))
    return [{name: "nan" if name == without else value for name, value in line.items()} for line in lines]


class TestCategories:
    def test_are_means_over_their_prompts(self, seen: Seen) -> None:
        lines = [line for line in seen.lines("categories") if line["dataset"] == "in-data"]
        assert {(line["category"], line["prompts"]) for line in lines} == {
            *((kind, "8") for kind in KINDS), ("all prompts", "24"),
        }  # fmt: skip
        for line in lines:
            chosen = [i for i in range(24) if line["category"] in {KINDS[i % 3], "all prompts"}]
            places = [Place(line["row"], "tiny", s, "in-data", "t1", "rougeL", i) for s in (0, 1, 2) for i in chosen]
            assert number(line["score"]) == pytest.approx(100 * np.mean([noisy(place) for place in places]))
            if line["category"] == "all prompts":
                table = seen.cells("scores")[line["row"]]["in-data/rouge.rougeL"]
                assert number(line["score"]) == pytest.approx(table["value"])

    @pytest.mark.parametrize("columns", [{}, {"category": "one"}, {"answer": "{i}"}, {"score": 1}])
    def test_are_left_out_where_prompts_have_none(self, small: Run, columns: Mapping[str, Any]) -> None:
        small.prompts = lambda i: {
            "fields": {}, "columns": {name: value if value != "{i}" else str(i) for name, value in columns.items()},
        }  # fmt: skip
        assert "categories" not in Seen(small).pictures


class TestAll:
    def test_a_run_has_what_it_has_data_for(self, seen: Seen) -> None:
        assert list(seen.pictures) == ["differences", "cost", "training", "divergence", "phases", "categories"]
        assert set(seen.pictures) < set(NEEDS)

    def test_a_row_looks_the_same_in_all_of_them(self, seen: Seen) -> None:
        looks: dict[str, set[Any]] = {}
        for picture in seen.pictures.values():
            for key in picture.figure.keys:
                if key.text in LEVELS:
                    looks.setdefault(key.text, set()).add(key.look)
        assert set(looks) == set(LEVELS)
        assert {len(found) for found in looks.values()} == {1}
        assert next(iter(looks["sft"])).colour == "baseline"

    def test_only_what_is_asked_for_is_made(self, small: Run) -> None:
        columns = ComparedColumns(load_results(small.root, small.write()), CALCULATED)
        assert [picture.name for picture in pictures_of(columns, ["cost", "wins"])] == ["cost"]

    def test_several_models_have_panels_of_their_own(self, small: Run) -> None:
        small.models, small.log = ("tiny", "large"), logged
        seen = Seen(small)
        titles = [panel.title for panel in seen.pictures["training"].figure.panels]
        assert "Reward of the samples (tiny)" in titles
        assert "Reward of the samples (large)" in titles
        assert {line["model"] for line in seen.lines("differences")} == {"tiny", "large"}

    def test_a_run_without_scores_has_its_training(self, run: Run) -> None:
        run.datasets, run.metrics = {}, []
        assert set(Seen(run).pictures) == {"training", "divergence", "phases"}

    def test_whatever_is_missing_leaves_the_rest(self, small: Run) -> None:
        small.unfinished = {("drl", "rouge", "1"), ("eso", "generate", "0"), ("sft", "train", "2")}
        seen = Seen(small)
        assert {line["row"] for line in seen.lines("differences")} == {"eso", "drl"}
        for picture in seen.pictures.values():
            assert "nan" not in picture.svg().lower().replace("finance", "")

    @pytest.mark.parametrize("level", [-3.0, 0.0, 1e-9, 1e12])
    def test_numbers_of_any_size_can_be_drawn(self, small: Run, level: float) -> None:
        small.value = lambda _: level
        small.trained = lambda row, _: {**summary(row), "tokens_generated": 0}
        for picture in Seen(small).pictures.values():
            assert "nan" not in picture.svg()
            assert "inf" not in picture.csv

    def test_the_same_bytes_come_twice(self, small: Run) -> None:
        small.log = logged
        first, second = ({name: (one.svg(), one.csv) for name, one in Seen(small).pictures.items()} for _ in range(2))
        assert first == second

    def test_a_leaderboard_has_them(self, small: Run) -> None:
        document = build(load_results(small.root, small.write()), CALCULATED)
        assert [picture.name for picture in document.pictures] == list(NEEDS)[:5]
