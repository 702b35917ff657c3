"""``docs/paper-and-code.md`` is true: every setting in its tables exists, and its two values differ in what they do."""

from __future__ import annotations

import io
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from methods.cases import make, random_case
from methods.fake_run import FakeRun, TinyModel
from pydantic import TypeAdapter
from ruamel.yaml import YAML

from harness.benchmark import schema

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
    raw = {key: value for key, value in entry.items() if key not in {"use", "active"}}
    name = entry["use"]
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
        "active": TypeAdapter(schema.Active).validate_python(entry.get("active", "last")),
        "shares": run.shares,
        "gradients": [slope.tolist() for slopes in run.grads.values() for slope in slopes],
        "samples": [[drawn.ids.tolist(), drawn.lengths.tolist()] for drawn in run.drawn],
    }


def test_the_batch_that_settings_are_tried_on_has_what_they_speak_of() -> None:
    method, options = make("eso")
    case = random_case(17, size=4, count=4, missing=0, absent=0)
    run = FakeRun(model=TinyModel(SEED), table=case.table("eso", options), ids=case.batch.ids, max_new_tokens=4)
    method.step(run, case.batch)
    (drawn,) = run.drawn
    assert ((drawn.answer_lengths == 0) & drawn.finished).any(), "no empty candidate"
    assert (~drawn.finished).any(), "no candidate is cut"
    assert torch.unique(drawn.lengths).numel() > 2


def resolved(written: dict[str, Any]) -> Any:
    """Validate what is no method's entry, by the section of the benchmark file that it belongs to."""
    ((section, value),) = written.items()
    if section == "recipe":
        return schema.Recipe(**value)
    if section == "decoding":
        return {name: schema.Decoding(**one) for name, one in value.items()}
    if section == "evaluate":
        return schema.DataUse(dataset="dolly", split="test", **value)
    assert section == "seeds", section
    return TypeAdapter(tuple[int, ...]).validate_python(value)


@pytest.mark.parametrize("key", SETTABLE)
def test_both_values_are_possible_and_differ(key: str) -> None:
    row = ROWS[key]
    assert row.paper is not None
    assert row.code is not None
    if "use" not in row.paper:
        assert row.paper.keys() == row.code.keys()
        assert resolved(row.paper) != resolved(row.code)
        return
    assert row.paper["use"] == row.code["use"]
    paper, code = outcome(row.paper), outcome(row.code)
    assert paper == outcome(row.paper), "the same setting twice gives two results"
    assert paper != code


#: Rows whose first column of settings is what a method does when nothing is said, or the preset's options.
DEFAULTS = [
    key
    for key, row in ROWS.items()
    if key[0] in "UPR" or key in {"D2", "D3", "D4", "D10", "D22", "D23", "D24", "E1", "E2"}
]


@pytest.mark.parametrize("key", DEFAULTS)
def test_what_the_table_calls_the_default_is_it(key: str) -> None:
    entry = dict(ROWS[key].paper or {})
    name = entry.pop("use")
    _, defaults = make(name)
    _, written = make(name, **entry)
    assert written == defaults
