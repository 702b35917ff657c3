"""``harness plugins check``: a verdict on one plugin, rule by rule."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest
from click.testing import CliRunner

from harness.cli import main
from harness.testing import registrations
from harness.testing.rules import heard, rule

if TYPE_CHECKING:
    from pathlib import Path

    from click.testing import Result

FILE = """
from harness.api import DatasetRegistration, Options, RewardRegistration

class Made(Options):
    most: int = 5
    least: int

def shortness(completions, least, most=5, **_):
    return [float(least <= len(text) <= most) for text in completions]

def broken(completions, references, **_):
    return [0.0 for _ in completions]

def raises(options):
    raise KeyError("nothing there")

short = RewardRegistration(name="shortness", summary="s", build="my_checked:made", options=Made)
nought = RewardRegistration(name="nought", summary="s", build=broken, function=True, reads=("references", "topic"))
bad = DatasetRegistration(name="nought", summary="s", build=raises)

def made(options):
    return lambda completions, **_: [float(options.least <= len(text) <= options.most) for text in completions]
"""


@pytest.fixture(autouse=True)
def _imports_are_checked_once(monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> None:
    if request.function is not test_a_plugin_that_keeps_its_contract:
        monkeypatch.setattr(registrations, "_check_imports", lambda _registration: None)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "my_checked.py"
    path.write_text(FILE, encoding="utf-8")
    return path


def check(*arguments: str) -> Result:
    return CliRunner().invoke(main, ["plugins", "check", *arguments])


def test_a_plugin_that_keeps_its_contract(file: Path) -> None:
    found = check("shortness", "--plugin", str(file), "-o", "least=1", "-o", "most=9")
    assert found.exit_code == 0, found.output
    lines = found.stdout.splitlines()
    assert [line[0] for line in lines[:-1]] == ["✓"] * 5
    assert "the same whatever else is in the call, in whatever order (0." in lines[-2]
    assert lines[-1].startswith("reward shortness of my_checked.py keeps its contract: 5 rules in ")


def test_a_plugin_that_breaks_it(file: Path) -> None:
    found = check("nought", "--kind", "reward", "--plugin", str(file))
    assert found.exit_code == 1
    assert "✗ no reward where there is no reference to compare with (0." in found.stdout
    assert "what cannot be judged has none (None), and never 0" in found.stdout
    assert "note: the column 'topic' was filled with 'yes'" in found.stdout
    assert found.stdout.endswith("what follows the broken rule was not looked at\n")


def test_the_verdict_as_json(file: Path) -> None:
    found = check("nought", "--kind", "dataset", "--plugin", str(file), "--json")
    assert found.exit_code == 1
    value = json.loads(found.stdout)
    assert (value["kind"], value["name"], value["kept"]) == ("dataset", "nought", False)
    assert [one["broken"] is None for one in value["rules"]] == [True, True, True, False]
    assert "nothing there" in value["rules"][-1]["broken"]
    assert value["notes"] == ["its own default was prepared, which may need the network; --source PATH names files"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["shortness"], "error: shortness: needs options; expected -o least=VALUE\n"),
        (["shortness", "-o", "least"], "error: -o: an option is KEY=VALUE, got 'least'\n"),
        (["nought"], "error: there are several plugins of this name, got 'nought'; expected --kind, one of "),
        (["shortnes"], "error: there is no plugin called 'shortnes'; did you mean 'shortness'?\n"),
    ],
)
def test_a_call_that_is_wrong(arguments: list[str], message: str, file: Path) -> None:
    found = check(*arguments, "--plugin", str(file))
    assert found.exit_code == 2
    assert message in found.stderr


def test_options_that_do_not_fit_are_a_broken_rule(file: Path) -> None:
    found = check("shortness", "--plugin", str(file), "-o", "least=many")
    assert found.exit_code == 1
    assert "✗ it can be built with these options" in found.stdout
    assert "least" in found.stdout


def test_rules_are_told_to_who_listens_alone() -> None:
    with rule("nobody hears of it"):
        pass
    with heard() as rules, pytest.raises(ValueError, match="no"), rule("outer"), rule("inner"):
        raise ValueError("no")
    assert [(one.words, one.broken) for one in rules] == [("inner", "no")]
