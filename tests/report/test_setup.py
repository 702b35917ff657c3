"""The block that says what a run was, in every form."""

from __future__ import annotations

import datetime as dt
import json
from html import unescape
from typing import TYPE_CHECKING

from harness.report.markdown import escaped
from harness.report.results import load_results
from harness.report.write import build, make_tables

if TYPE_CHECKING:
    from report.synthetic import Run

OVERRIDES = (
    "recipe.epochs=3", "recipe.learning_rate=1e-05", "recipe.batch_size=4", "seeds=[0, 1, 2]", "methods.eso.coef=0.5",
    "title=a b; c",
)  # fmt: skip


def test_has_its_parts_in_one_order(run: Run) -> None:
    run.manifest = {
        "plugins": [
            {"kind": "method", "name": "eso", "distribution": "posttune-harness", "version": "0.1.0", "editable": False,
             "sha256": None, "rows": ["eso"]},
            {"kind": "method", "name": "mine", "distribution": "mine.py", "version": "", "editable": False,
             "sha256": "a" * 64, "rows": ["mine"]},
        ]
    }  # fmt: skip
    setup = build(load_results(run.root, run.write())).setup
    assert list(setup) == [
        "Model", "Data", "Budget", "Recipe", "Decoding", "Seeds", "Command", "Overrides", "Date", "Versions",
        "Distributions",
    ]  # fmt: skip
    assert setup["Model"] == "tiny, 1.5M parameters"
    assert setup["Data"].split("; ")[1] == "tested on tales/test, 40 rows, sha256 2222222222222222"
    assert setup["Budget"] == "5 epochs, the last 1 with the method's own term; 16 prompts a step, 10 steps in all"
    assert "learning_rate 0.0001" in setup["Recipe"]
    assert setup["Seeds"] == "0, 1, 2"
    assert setup["Command"] == "harness run small --profile quick --plugin mine.py"
    assert setup["Overrides"] == "none"
    assert setup["Date"] == dt.datetime.now(dt.UTC).date().isoformat()
    assert "posttune-harness 0.1.0" in setup["Distributions"]


def test_overrides_are_in_the_title_and_spelled_in_every_form(run: Run) -> None:
    run.change = lambda manifest: manifest["config"].update(overrides=list(OVERRIDES))
    made = make_tables(run.root, run.write())
    assert made.document.title == "Small (quick, 6 overrides)"
    assert "-o 'title=a b; c'" in made.document.setup["Command"]
    page, text = unescape(made.files["leaderboard.html"]), made.files["leaderboard.md"]
    told = json.loads(made.files["leaderboard.json"])["setup"]["Overrides"]
    for override in OVERRIDES:
        assert page.count(override) >= 2
        assert text.count(escaped(override)) >= 2
        assert override in told


def test_a_budget_is_said_in_its_unit(run: Run) -> None:
    recipe = {"epochs": 2, "budget": {"unit": "sampled_tokens", "amount": 20000}}
    run.change = lambda manifest: manifest["config"].update(recipe=recipe)
    setup = build(load_results(run.root, run.write())).setup
    assert setup["Budget"] == "2 shared epochs, then 20,000 sampled tokens for each method; 16 prompts a step"
