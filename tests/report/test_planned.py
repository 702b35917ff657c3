"""What a run could find, before it is run."""

from __future__ import annotations

import math
import re
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from report.synthetic import Place

from harness.api.registration import Column, MetricRegistration
from harness.report.components import Components, estimated, spread
from harness.report.detectable import planned
from harness.report.planned import forecasts, json_of, text_of, time_text
from harness.spec.benchmark import Compare

if TYPE_CHECKING:
    from report.synthetic import Run

ROUGE = Column("rougeL", "ROUGE-L", higher_is_better=True, scale=100.0, range=(0.0, 1.0))


class _Registry:
    """Knows one metric."""

    def get(self, _kind: str, _name: str) -> MetricRegistration:
        return MetricRegistration(name="rouge", summary="", build="x:y", columns=(ROUGE,))

    def options(self, *_: object) -> None:
        return None


def asked(run: Run, seeds: int = 3, **changed: Any) -> list[Any]:
    use = SimpleNamespace(label="in-data", group=changed.pop("group", None), limit=None)
    benchmark: Any = SimpleNamespace(
        benchmark="small", profile="quick", seeds=tuple(range(seeds)), evaluate=(use,),
        metrics=(SimpleNamespace(use="rouge", options={}),), compare=changed.pop("compare", Compare()),
    )  # fmt: skip
    registry: Any = _Registry()
    wanted = {"labels": ["sft", "eso", "drl"], "start": "sft", "prompts": {"in-data": 200}, **changed}
    return forecasts(benchmark, registry, run.root, **wanted)


def value(place: Place) -> float:
    generator = np.random.default_rng([place.seed, place.example, *map(ord, place.row)])
    seed = np.random.default_rng([place.seed, *map(ord, place.row)])
    return 0.3 + 0.02 * float(seed.normal()) + 0.05 * float(generator.normal())


def test_is_from_the_variances_of_stored_results(run: Run) -> None:
    run.value, run.examples, run.seeds = value, 30, (0, 1, 2, 3)
    run.write()
    (found,) = asked(run)
    rows = {
        row: np.array(
            [[value(Place(row, "tiny", s, "in-data", "t1", "rougeL", e)) for e in range(30)] for s in range(4)]
        )
        for row in ("sft", "eso")
    }
    expected = estimated(spread(rows["eso"] - rows["sft"]), 4, 30)
    assert found.components == pytest.approx(expected)
    assert "small/quick (in-data: 1 differences, 4 seeds, 30 prompts)" in found.source
    assert found.tests == 2
    assert found.sizes[0][:3] == (3, 200, pytest.approx(planned(expected, 3, 200, rows=3, tests=2)))


def test_says_what_more_seeds_and_prompts_would_make_of_it(run: Run) -> None:
    (found,) = asked(run)
    assert [(one.seeds, one.prompts) for one in found.sizes] == [(3, 200), (5, 200), (10, 200), (3, 400), (5, 400)]
    by_plan = {(one.seeds, one.prompts): one.size for one in found.sizes}
    assert by_plan[10, 200] < by_plan[5, 200] < by_plan[3, 200]
    assert by_plan[3, 400] < by_plan[3, 200]
    told = json_of(found)
    assert told["sizes"][0] == {
        "seeds": 3, "prompts": 200, "difference": pytest.approx(100 * by_plan[3, 200]),
        "work_seconds": None, "seconds": None,
    }  # fmt: skip
    assert told["sd"] == pytest.approx({"seed": 1.0, "prompt": 10.0, "rest": 10.0})


def test_states_the_variances_that_it_assumes(run: Run) -> None:
    (found,) = asked(run)
    assert found.components == pytest.approx(Components(0.0001, 0.01, 0.01))
    text = text_of(found)
    effect = "minimum detectable effect (a difference from sft, adjusted for 2 comparisons, found four times in five)"
    assert f"{effect} with 3 seeds × 200" in text
    assert "stated variances, since no results of this kind are stored: standard deviations of 1 (seed)" in text


def test_says_what_each_would_cost(run: Run) -> None:
    (found,) = asked(run, cost=lambda name, seeds, more: (3600.0 * seeds * more, 1800.0 * seeds * more))
    assert found.sizes[0].work == 3 * 3600.0
    assert [one.wall for one in found.sizes] == [1800.0 * count for count in (3, 5, 10, 6, 10)]
    text = text_of(found)
    assert re.search(r"3 seeds × 200 prompts: [\d.]+, in 1.5 h; 5 seeds × 200 prompts: [\d.]+, in 2.5 h;", text)
    assert json_of(found)["sizes"][3]["seconds"] == 6 * 1800.0


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(1, "less than a minute"), (61, "1 min"), (5000, "83 min"), (5401, "1.5 h"), (86400, "24 h"), (864000, "10 days")],
)
def test_times_are_said_as_people_say_them(seconds: float, text: str) -> None:
    assert time_text(seconds) == text


def test_of_two_seeds_is_no_claim_and_says_what_three_would_find(run: Run) -> None:
    (found,) = asked(run, seeds=2)
    assert math.isnan(found.sizes[0].size)
    assert "2 seeds × 200 prompts: no claim; 3 seeds × 200 prompts: " in text_of(found)
    assert json_of(found)["sizes"][0]["difference"] is None


def test_all_pairs_are_more_comparisons(run: Run) -> None:
    (few,), (many,) = asked(run), asked(run, compare=Compare(pairs="all"))
    assert (few.tests, many.tests) == (2, 3)
    assert many.sizes[0].size > few.sizes[0].size


def test_other_data_lend_where_the_same_have_none(run: Run) -> None:
    run.value, run.datasets = value, {"elsewhere": "in-data"}
    run.write()
    (found,) = asked(run)
    assert "(elsewhere: 1 differences" in found.source


def test_of_one_row_or_of_groups_there_is_none(run: Run) -> None:
    assert asked(run, labels=["sft"]) == []
    assert asked(run, group="template") == []
