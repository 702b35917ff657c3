"""``docs/paper-and-code.md`` is true: every setting in its tables exists, and its two values differ in what they do."""

from __future__ import annotations

import copy
import functools
import io
import json
import tomllib
from dataclasses import dataclass
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import torch
from methods.cases import NAMES, make, random_case, registration
from methods.fake_run import FakeRun, TinyModel
from methods.preferences import random_pairs
from ruamel.yaml import YAML

from harness.benchmark import load_benchmark
from harness.plugins.loader import load_registry
from harness.plugins.option_groups import dotted
from harness.spec.recipe import Recipe

if TYPE_CHECKING:
    from harness.plugins.registry import Registry

DOCUMENT = Path(__file__).parents[2] / "docs" / "paper-and-code.md"


@dataclass(frozen=True)
class Row:
    """One row of a table."""

    key: str
    paper: dict[str, Any] | None
    """None for a dash."""
    code: dict[str, Any] | None
    remarks: str


def setting(cell: str) -> dict[str, Any] | None:
    if cell == "—":
        return None
    assert cell.startswith("`{"), cell
    assert cell.endswith("}`"), cell
    read: dict[str, Any] = YAML(typ="safe", pure=True).load(io.StringIO(cell.strip("`")))
    return read


def rows() -> list[Row]:
    found = []
    for line in DOCUMENT.read_text(encoding="utf-8").splitlines():
        cells = [cell.strip() for cell in line.strip().strip("|").split("|")]
        if line.startswith("| ") and cells[0] and len(cells) == 5 and not cells[0].startswith("-"):
            found.append(Row(cells[0], setting(cells[2]), setting(cells[3]), cells[4]))
    return found


ROWS = {row.key: row for row in rows()}
#: The model that writes the candidates: some of its answers are cut, one is empty (a test below says so).
SEED = 5
SETTABLE = [key for key, row in ROWS.items() if row.paper is not None]


def test_every_disagreement_stands_in_the_table() -> None:
    assert [key for key in ROWS if key.startswith("D")] == [f"D{n}" for n in range(1, 25)]
    assert len(rows()) == len(ROWS), "a key stands twice"


def test_a_dash_has_a_reason() -> None:
    dashes = [row for row in ROWS.values() if row.paper is None]
    assert dashes
    for row in dashes:
        assert row.code is None
        assert len(row.remarks) > 40


def outcome(entry: dict[str, Any]) -> dict[str, Any]:
    """Take one step with a method's entry; return what it came to.

    The model writes its own candidates, rewards are given; some are cut, one is empty, the mean reward of one prompt
    lies below 0.1.
    """
    raw = {key: value for key, value in entry.items() if key != "use"}
    name = entry["use"]
    if name == "dpo":
        return outcome_of_pairs(raw)
    case = random_case(17, size=4, count=4, missing=0, absent=0)
    case.rewards = [[0.0, 0.3, 0.05, 0.0], [0.2, 0.9, 0.1, 0.1], [0.6, 0.5, 0.6, 0.4], [0.3, 0.31, 0.0, 0.8]]
    case.greedy_rewards = [0.1, 0.4, 0.2, 0.6]
    case.demonstration_rewards = [1.0, 0.9, 0.95, 1.0]
    if name == "drl":
        case.rewards = [row[:1] for row in case.rewards]
    method, options = make(name, **raw)
    run = FakeRun(model=TinyModel(SEED), table=case.table(name, options), ids=case.batch.ids, max_new_tokens=4)
    method.step(run, case.batch)
    return {
        "shares": run.shares,
        "gradients": [slope.tolist() for slopes in run.grads.values() for slope in slopes],
        "samples": [[drawn.ids.tolist(), drawn.lengths.tolist()] for drawn in run.drawn],
    }


def outcome_of_pairs(raw: dict[str, Any]) -> dict[str, Any]:
    """Take one step of DPO on a few pairs of unequal lengths; return what it came to."""
    method, _ = make("dpo", **raw)
    case = random_pairs(17, size=4)
    run = case.run()
    method.step(run, case.batch)
    return {"shares": run.shares, "gradients": [slope.tolist() for slope in run.grads["dpo"]]}


def test_the_batch_that_settings_are_tried_on_has_what_they_speak_of() -> None:
    method, options = make("eso")
    case = random_case(17, size=4, count=4, missing=0, absent=0)
    run = FakeRun(model=TinyModel(SEED), table=case.table("eso", options), ids=case.batch.ids, max_new_tokens=4)
    method.step(run, case.batch)
    (drawn,) = run.drawn
    assert ((drawn.answer_lengths == 0) & drawn.finished).any(), "no empty candidate"
    assert (~drawn.finished).any(), "no candidate is cut"
    assert torch.unique(drawn.lengths).numel() > 2


BASE: dict[str, Any] = {
    "benchmark": "disagreements",
    "profile": "only",
    "seeds": [0],
    "models": [{"name": "new", "config": {"model_type": "gpt2", "n_layer": 1}, "vocab_size": 300}],
    "template": {"text": "{context} {instruction}"},
    "train": {"dataset": "generated-instructions", "split": "train"},
    "evaluate": [{"dataset": "generated-instructions", "split": "test"}],
    "reward": {"use": "rouge"},
    "decoding": {"test": {"temperature": 1.0}},
    "methods": ["sft", "eso"],
    "metrics": ["rouge"],
    "profiles": {"only": {}},
}


def resolved(written: dict[str, Any], folder: Path) -> dict[str, Any]:
    """Return a whole benchmark file, resolved, with one setting of the tables in it."""
    text = copy.deepcopy(BASE)
    if written.get("use") == "dpo":
        text["train"] = {"dataset": "generated-preferences", "split": "train"}
    if "use" in written:
        text["methods"] = ["sft", written]
    elif "evaluate" in written:
        text["evaluate"][0] |= written["evaluate"]
    else:
        text |= written
    path = folder / "file.yaml"
    path.write_text(json.dumps(text), encoding="utf-8")  # JSON is YAML 1.2
    return load_benchmark(path, registry=registry()).model_dump(mode="json")


@functools.cache
def registry() -> Registry:
    """Everything that the project's own distribution offers, installed or not."""
    project = tomllib.loads((DOCUMENT.parents[1] / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    listed = [EntryPoint(name, target, "harness") for name, target in project["entry-points"]["harness"].items()]
    return load_registry(entry_points=listed, environment={})


@pytest.mark.parametrize("key", SETTABLE)
def test_both_values_can_stand_in_a_file_and_differ(key: str, tmp_path: Path) -> None:
    row = ROWS[key]
    assert row.paper is not None
    assert row.code is not None
    assert {k for k in row.paper if k != "use"} & set(row.code), "the two cells speak of different settings"
    assert resolved(row.paper, tmp_path) != resolved(row.code, tmp_path)


@pytest.mark.parametrize(("name", "preset"), [(n, p) for n in NAMES for p in registration(n).presets])
def test_a_preset_that_is_named_sets_options_recipe_and_epochs(name: str, preset: str, tmp_path: Path) -> None:
    stated = registration(name).presets[preset]
    *_, entry = resolved({"use": name, "preset": preset, "label": "it"}, tmp_path)["methods"]
    model = registration(name).options
    given, became = dotted(model, stated.options), dotted(model, entry["options"])
    assert {key: became[key] for key in given} == given
    assert {key: entry["recipe"][key] for key in stated.recipe} == dict(stated.recipe)
    assert entry["active"] == (stated.active or "last")
    *_, bare = resolved({"use": name, "label": "it"}, tmp_path)["methods"]
    assert bare["options"] == registration(name).options().model_dump(mode="json")
    assert bare["recipe"] == Recipe().model_dump(mode="json")


@pytest.mark.parametrize("key", [key for key in SETTABLE if "use" in (ROWS[key].paper or {}) and key != "D1"])
def test_both_values_of_an_option_change_loss_gradient_or_samples(key: str) -> None:
    row = ROWS[key]
    assert row.paper is not None
    assert row.code is not None
    assert row.paper["use"] == row.code["use"]
    paper, code = outcome(row.paper), outcome(row.code)
    assert paper == outcome(row.paper), "the same setting twice gives two results"
    assert paper != code


#: Rows whose first column of settings is what a method does when nothing is said, or the preset's options.
DEFAULTS = [
    key
    for key, row in ROWS.items()
    if key[0] in "UPR" or key in {"C1", "C3", "C4", "D2", "D3", "D4", "D10", "D22", "D23", "D24", "E1", "E2"}
]


@pytest.mark.parametrize("key", DEFAULTS)
def test_what_the_table_calls_the_default_is_it(key: str) -> None:
    entry = dict(ROWS[key].paper or {})
    name = entry.pop("use")
    _, defaults = make(name)
    _, written = make(name, **entry)
    assert written == defaults
