"""Switches have one value each, and stand in the documentation."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from harness.errors import InputError
from harness.lm.switches import ASKED_FOR, SWITCHES, Switch, in_force, switched
from harness.spec.results.models import Way

PAGE = Path(__file__).resolve().parents[2] / "docs" / "results-format.md"


@pytest.fixture(autouse=True)
def none_is_on(monkeypatch: pytest.MonkeyPatch) -> None:
    for switch in SWITCHES:
        monkeypatch.delenv(switch.variable, raising=False)


@pytest.mark.parametrize("switch", SWITCHES, ids=lambda switch: switch.variable)
def test_a_switch_is_off_unless_it_has_its_value(switch: Switch, monkeypatch: pytest.MonkeyPatch) -> None:
    found = [(switch.on, switched())]
    for value in ("", switch.value):
        monkeypatch.setenv(switch.variable, value)
        found.append((switch.on, switched()))
    assert found == [(False, {}), (False, {}), (True, {switch.recorded_as: switch.value})]


@pytest.mark.parametrize("value", ["1", "on", "General", "off "])
@pytest.mark.parametrize("switch", SWITCHES, ids=lambda switch: switch.variable)
def test_another_value_is_refused(switch: Switch, value: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(switch.variable, value)
    with pytest.raises(InputError) as error:
        switched()
    assert str(error.value) == (
        f"environment variable {switch.variable}: no such setting of this switch, got {value!r}; "
        f"expected {switch.value!r}, or no value"
    )


def test_what_a_switch_makes_of_a_way(monkeypatch: pytest.MonkeyPatch) -> None:
    ways = [Way(name="fast"), Way(name="general", reason="it has an encoder", batched=False)]
    assert [in_force(way) for way in ways] == ways
    monkeypatch.setenv("HARNESS_WAY", "general")
    assert [str(in_force(way)) for way in ways] == [
        "general way: padded rows, copied caches; HARNESS_WAY=general asks for it",
        f"general way: padded rows, prompts decoded one at a time, for padding is text to the model; {ASKED_FOR}",
    ]


def test_the_page_lists_every_switch_with_its_value() -> None:
    section = PAGE.read_text(encoding="utf-8").partition("\n## Switches\n")[2].partition("\n## ")[0]
    listed = re.findall(r"^\| `(\w+)=(\w+)` \| `(\w+)` \|", section, re.MULTILINE)
    assert listed == [(switch.variable, switch.value, switch.recorded_as) for switch in SWITCHES]
