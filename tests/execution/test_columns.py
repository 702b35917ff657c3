"""Which columns prepared rows count as having."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING

import pytest
from store.stage import ENVIRONMENT, ID

from harness.api import Example
from harness.execution.columns import columns_of
from harness.store.stages import Store

if TYPE_CHECKING:
    from pathlib import Path

PROMPT = {"prompt": "Why?"}


@pytest.mark.parametrize(
    ("example", "compared"),
    [
        (Example("a", PROMPT, completion="So."), True),
        (Example("a", PROMPT, references=("So.",)), True),
        (Example("a", PROMPT, chosen="So.", rejected="No."), True),
        (Example("a", PROMPT, completion="No.", label=False), False),
        (Example("a", PROMPT), False),
    ],
    ids=["completion", "references", "preference", "undesirable", "prompt"],
)
def test_references_are_what_answers_are_compared_with(tmp_path: Path, example: Example, *, compared: bool) -> None:
    store = Store(tmp_path)
    with store.draft("prepare", ID) as draft:
        draft.write_jsonl("rows.jsonl", [asdict(example)])
        record = store.commit(draft, config={}, environment=ENVIRONMENT, label="rows")
    assert columns_of(record) == (frozenset({"references"}) if compared else frozenset())
