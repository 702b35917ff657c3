"""The simulation speaks of the report's own procedure, and the page shows what it found."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import numpy as np
import pytest
from simulation.procedure import judged, replaced
from simulation.run import FIGURES, PAGE, Figure, contradictions, false_claims, power, rendered
from simulation.worlds import World

from harness.report.differences import compare

if TYPE_CHECKING:
    from simulation.worlds import Kind, Pattern


@pytest.mark.parametrize("every", [False, True])
@pytest.mark.parametrize(
    ("rows", "seeds", "pattern", "kind"),
    [(6, 3, "half ×4", "normal"), (2, 4, "equal", "0/1"), (4, 5, "baseline ×4", "three large groups")],
)
def test_many_tables_at_once_are_judged_as_a_report_judges_one(
    rows: int,
    seeds: int,
    pattern: Pattern,
    kind: Kind,
    every: bool,  # noqa: FBT001  # pytest gives it by name
) -> None:
    world = World(rows, seeds, 100, 0.01, 0.05, 0.03, pattern, kind)
    tables = world.draw(np.random.default_rng(0), 2)
    found = judged(tables, world, every=every)
    for index, table in enumerate(tables):
        named = {str(row): table[row] for row in range(rows)}
        compared = compare(named, baseline=None if every else "0", groups=world.groups)
        sign = 1 if every else -1  # the baseline stands first here, and last in a report
        for place, pair in enumerate(compared.pairs.values()):
            said = (sign * pair.estimate, (pair.high - pair.low) / 2, pair.detectable)
            assert [part[index, place] for part in found] == pytest.approx(said)


@pytest.mark.long
def test_equal_rows_are_called_different_in_one_run_of_twenty() -> None:
    """The worst of the grid, with few repetitions: three standard errors above 6 % are not reached."""
    share = false_claims((World(6, 3, 80, 0.03, 0.01, 0.03, "baseline ×4"), 1500, False, (1,)))
    assert 0.01 < share < 0.06 + 3 * (0.06 * 0.94 / 1500) ** 0.5


@pytest.mark.long
@pytest.mark.parametrize("seeds", [3, 5])
def test_the_detectable_difference_is_found_four_times_in_five(seeds: int) -> None:
    shares = power((World(4, seeds, 80, 0.01, 0.05, 0.03), 1000, (2,)))
    assert 0.76 < np.mean(shares) < 0.88


@pytest.mark.long
def test_the_rule_before_had_a_third_of_the_power_at_most() -> None:
    world = World(6, 3, 80, 0.01, 0.05, 0.03)
    tables = world.draw(np.random.default_rng(3), 120)
    found = judged(tables, world)
    shift = float(np.quantile(found.margin + np.abs(found.estimate), 0.8))
    ours = float((np.abs(found.estimate - shift) > found.margin).mean())
    assert ours > 0.75
    assert replaced(tables, shift, flips=1000).mean() < ours / 2


@pytest.mark.parametrize("repetitions", [6, pytest.param(60, marks=pytest.mark.long)])
def test_no_call_contradicts_its_interval(repetitions: int) -> None:
    assert contradictions(repetitions) == 0


def test_the_page_has_the_figures_that_were_found_and_all_promises_were_kept() -> None:
    figures = [Figure(**found) for found in json.loads(FIGURES.read_text(encoding="utf-8"))]
    assert rendered(figures) in PAGE.read_text(encoding="utf-8")
    assert all(figure.kept for figure in figures)
    assert len(figures) > 25
