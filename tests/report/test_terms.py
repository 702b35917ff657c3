"""What the tuning chose, and whether rows were compared on equal terms."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from harness.report.results import load_results
from harness.report.terms import Terms, term_lines, terms_of, unequal
from harness.report.tuning import tuned, tuning_table
from harness.report.write import build

if TYPE_CHECKING:
    from report.synthetic import Run

    from harness.report.results import Results
    from harness.report.table import Table, TableCell

SCORES = {"eso": ((0.1, 30.0), (0.5, 32.5), (1.0, None)), "drl": ((0.1, 20.0), (0.5, 21.0), (1.0, 22.0))}


def described(row: str) -> dict[str, Any]:
    if row not in SCORES:
        return {}
    scores = [{"settings": {"coef": coef}, "score": score} for coef, score in SCORES[row]]
    best = max((score, coef) for coef, score in SCORES[row] if score is not None)[1]
    how = {"metric": "rouge.rougeL", "decoding": "t1", "seeds": [0, 1], "scores": scores}
    return {"trials": 3, "chosen": {"coef": best}, "tuned_on": "tales/validation", "tuning": how}


def tuning(manifest: dict[str, Any]) -> None:
    manifest["config"]["tune"] = {
        "options": {"methods.*.coef": [0.1, 0.5, 1.0]},
        "metric": "rouge.rougeL",
        "seeds": [0, 1],
    }


@pytest.fixture
def results(run: Run) -> Results:
    run.rows, run.seeds, run.examples = ("sft", "eso", "drl", "rrhf"), (0, 1), 2
    run.described, run.change = described, tuning
    steps = {"sft": (10, 0), "eso": (10, 1000), "drl": (10, 1015), "rrhf": (10, 1019)}
    run.trained = lambda row, _: dict(zip(("steps", "tokens_generated"), steps[row], strict=True))
    return load_results(run.root, run.write())


def cells(table: Table, label: str) -> dict[str, TableCell]:
    return dict(next(row for row in table.rows if row.label == label).cells)


def test_there_is_a_row_for_each_row_that_was_tuned(results: Results) -> None:
    table = tuning_table(results)
    assert [row.label for row in table.rows] == ["eso", "drl"]
    assert {name: cell.value for name, cell in cells(table, "eso").items()} == {
        "tried": "coef: 0.1, 0.5, 1.0", "trials": 3.0, "on": "tales/validation", "decoding": "t1", "seeds": "0, 1",
        "metric": "rouge.rougeL", "scores": "coef 0.1: 30; coef 0.5: 32.5; coef 1.0: no score", "chosen": "coef 0.5",
        "score": 32.5, "edge": "no",
    }  # fmt: skip
    assert set(cells(table, "drl")) == {heading.name for heading in table.headings}


def test_a_choice_at_the_edge_of_what_was_tried_is_a_warning(results: Results) -> None:
    table = tuning_table(results)
    assert cells(table, "drl")["edge"].value == "coef 1.0 is the largest"
    (warning,) = (line for line in table.caption if line.startswith("Warning"))
    assert warning.endswith("of drl (coef 1.0 is the largest).")


def test_a_choice_that_is_not_made_is_not_shown_as_one(results: Results) -> None:
    row = next(row for row in results.rows if row.label == "eso")
    row.described = row.described.model_copy(update={"tuning": None, "chosen": None})
    assert cells(tuning_table(results), "eso")["chosen"].value == "not yet: trials are missing"
    row.described = row.described.model_copy(update={"tuning": results.rows[2].described.tuning})
    assert cells(tuning_table(results), "eso")["chosen"].value == "nothing: every trial failed"


def test_is_among_the_tables_of_a_run_that_tunes_alone(results: Results) -> None:
    (table,) = (table for table in build(results).tables if table.name == "tuning")
    assert any(line.startswith("Terms: ") for line in table.caption)
    config = results.manifest.config.model_copy(update={"tune": None})
    plain = replace(results, manifest=results.manifest.model_copy(update={"config": config}))
    assert tuned(results)
    assert not tuned(plain)
    assert not any(table.name == "tuning" for table in build(plain).tables)
    assert term_lines(plain) == []


def test_equal_terms_are_said(results: Results) -> None:
    prompts = round(terms_of(results.rows[0]).prompts)
    assert prompts % 10 == 0
    (line,) = term_lines(results)
    assert line == (
        f"Terms: 3 trials of each tuned row (one configuration: rrhf); {prompts} prompts for each row; 1,000 to 1,019 "
        "sampled tokens for each that samples, equal within 2 %."
    )


def test_those_that_had_other_terms_are_named(run: Run, results: Results) -> None:
    for row in results.rows:
        if row.label == "eso":
            row.described = row.described.model_copy(update={"trials": 2})
    run.trained = lambda row, _: {
        "steps": 12 if row == "drl" else 10,
        "tokens_generated": 1100 if row == "eso" else 1000,
    }
    run.root = run.root / "other"
    other = load_results(run.root, run.write())
    prompts = round(terms_of(other.rows[0]).prompts)
    (line,) = term_lines(other)
    assert f"prompts are NOT equal: {prompts} for most, drl {12 * prompts // 10}" in line
    assert "sampled tokens are NOT equal within 2 %: 1,000 in the middle, eso 1,100" in line
    (line,) = term_lines(results)
    assert "numbers of trials are NOT equal: eso 2, drl 3" in line


def test_two_per_cent_are_of_the_smallest() -> None:
    def row(label: str, sampled: float, prompts: float = 10.0) -> Terms:
        return Terms(label, 1, prompts, sampled, trained=True, start=False)

    assert unequal([row("a", 100.0), row("b", 102.0, 20.0)]) == []
    assert unequal([row("a", 100.0), row("b", 102.1, 20.0)]) == [
        "budgets differ in prompts (a 10, b 20) and in sampled tokens (a 100, b 102)"
    ]
    assert unequal([row("a", 0.0), row("b", 500.0)]) == []
    assert unequal([row("a", 0.0), row("b", 500.0, 20.0)]) != []
