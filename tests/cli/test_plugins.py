"""``harness plugins`` in processes of its own, with distributions on disk."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import pytest
from execution import warm
from execution.bench import PATIENCE
from pydantic import Field, PositiveInt

from harness.api import Options, RewardRegistration
from harness.cli.plugins import option_rows
from harness.testing.distributions import write_distribution

if TYPE_CHECKING:
    from collections.abc import Callable

    Harness = Callable[..., subprocess.CompletedProcess[str]]

ROOT = Path(__file__).resolve().parents[2]

GUEST = '''
from typing import Literal
from harness.api import *

class Opts(Options):
    """Options."""
    coef: float
    """Weight of the term, [Eq. 3].

    More about it, which the list leaves out.
    """
    mode: Literal["a", "b"] = "a"
    sizes: tuple[int, ...] = (1, 2)

@hookimpl
def harness_register_methods():
    paper = Preset(options={"mode": "b"}, recipe={"epochs": 3}, summary="As published")
    return [MethodRegistration(name="guest", summary="A guest method", options=Opts, build="guest_method:Guest",
                               source="https://example.org/paper", needs=frozenset({"reward"}),
                               presets={"paper": paper}, default_preset="paper")]

@hookimpl
def harness_register_metrics():
    return [MetricRegistration(name="guest", summary="A guest metric", build=print,
                               columns=(Column("g", "G", True, "%"),), corpus=(Column("c", "C", False),))]
'''


@pytest.fixture
def harness(tmp_path: Path) -> Harness:
    """Install a good distribution and a broken one, and return the command line."""
    write_distribution(
        tmp_path, "good-guest", "2.1", entry_points={"guest": "good_guest"}, modules={"good_guest.py": GUEST}
    )
    write_distribution(
        tmp_path, "bad-guest", "0.3", entry_points={"bad": "bad_guest"}, modules={"bad_guest.py": "import absent_lib\n"}
    )

    clean = {name: value for name, value in os.environ.items() if not name.startswith("HARNESS_")}

    def run(*arguments: str, cold: bool = False, **environment: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "harness", *arguments]
        return warm.ended(
            command, env={**clean, "PYTHONPATH": str(tmp_path), **environment}, cold=cold, timeout=PATIENCE
        )

    return run


def ours(text: str) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = json.loads(text)
    return [row for row in rows if row["distribution"].endswith("guest")]


def test_the_list_as_json(harness: Harness) -> None:
    result = harness("plugins", "--json", cold=True)
    assert (result.returncode, result.stderr) == (0, "")
    good = {
        "entry_point": "guest",
        "distribution": "good-guest",
        "version": "2.1",
        "where": "good_guest",
        "status": "ok",
    }
    assert ours(result.stdout) == [
        {"kind": "method", "name": "guest", **good, "summary": "A guest method"},
        {"kind": "metric", "name": "guest", **good, "summary": "A guest metric"},
        {
            "kind": None,
            "name": "bad",
            "entry_point": "bad",
            "distribution": "bad-guest",
            "version": "0.3",
            "where": "bad_guest",
            "status": "failed",
            "reason": "ModuleNotFoundError: No module named 'absent_lib'",
        },
    ]


def test_the_list_in_a_pipe_is_one_whole_line_a_row(harness: Harness) -> None:
    result = harness("plugins", COLUMNS="30")
    assert result.returncode == 0
    lines = [line.split() for line in result.stdout.splitlines()]
    assert lines[0] == ["kind", "name", "distribution", "version", "status", "summary"]
    assert ["metric", "guest", "good-guest", "2.1", "ok", "A", "guest", "metric"] in lines
    assert ["?", "bad", "bad-guest", "0.3", "failed"] in lines
    assert "good_guest" not in result.stdout
    assert "failed: bad of bad-guest 0.3: ModuleNotFoundError: No module named 'absent_lib'" in result.stdout


def test_one_kind_and_what_might_be_of_it(harness: Harness) -> None:
    rows = ours(harness("plugins", "--kind", "metric", "--json").stdout)
    assert [(row["kind"], row["status"]) for row in rows] == [("metric", "ok"), (None, "failed")]
    assert harness("plugins", "--kind", "metrics").returncode == 2


def test_failures_are_no_error_here_even_when_strict(harness: Harness) -> None:
    assert harness("plugins", HARNESS_STRICT_PLUGINS="1").returncode == 0


def test_elsewhere_a_failure_is_a_warning_and_an_error_when_strict(harness: Harness) -> None:
    result = harness("schema")
    reason = "ModuleNotFoundError: No module named 'absent_lib'"
    assert (result.returncode, result.stderr) == (0, f"warning: plugin 'bad' of bad-guest 0.3 failed: {reason}\n")
    assert json.loads(result.stdout)
    result = harness("schema", HARNESS_STRICT_PLUGINS="1")
    assert (result.returncode, result.stdout) == (2, "")
    assert result.stderr.endswith(f"\n  bad of bad-guest 0.3: {reason}\n")


def test_a_file_that_uses_what_failed_names_it(harness: Harness, tmp_path: Path) -> None:
    file = tmp_path / "file.yaml"
    file.write_text(
        "benchmark: b\nseeds: [0]\nmodels: [gpt2]\ntemplate: {text: '{instruction}'}\n"
        "train: dolly\nevaluate: [dolly]\ndecoding: {greedy: {temperature: 0}}\nmetrics: [length]\n"
        "methods: [sft, bad]\n"
    )
    result = harness("validate", str(file))
    assert result.returncode == 2
    assert f"error: {file}:9:16: methods.bad.use: there is no method" in result.stderr
    assert "plugin 'bad' of bad-guest 0.3 failed: ModuleNotFoundError" in result.stderr
    assert "Traceback" not in result.stderr


def test_blocked_plugins_are_listed_as_such(harness: Harness) -> None:
    rows = ours(harness("-p", "no:guest", "plugins", "--json", HARNESS_PLUGINS="guest").stdout)
    assert [(row["name"], row["status"], row["reason"]) for row in rows] == [
        ("bad", "blocked", "not among HARNESS_PLUGINS"),
        ("guest", "blocked", "blocked by -p no:NAME"),
    ]


def test_blocking_an_unknown_name_is_an_error(harness: Harness) -> None:
    result = harness("-p", "no:gest", "plugins")
    assert result.returncode == 2
    assert "did you mean 'no:guest'?" in result.stderr


def test_show_as_json(harness: Harness) -> None:
    method, metric = json.loads(harness("plugins", "show", "guest", "--json").stdout)
    assert method["options"] == [
        {"name": "coef", "type": "number", "required": True, "help": "Weight of the term, [Eq. 3]."},
        {"name": "mode", "type": "a | b", "default": "a", "help": ""},
        {"name": "sizes", "type": "list of integer", "default": [1, 2], "help": ""},
    ]
    assert (method["summary"], method["source"]) == ("A guest method", "https://example.org/paper")
    assert (method["needs"], method["build"], method["default_preset"]) == (["reward"], "guest_method:Guest", "paper")
    paper = method["presets"]["paper"]
    assert (paper["options"], paper["recipe"], paper["summary"]) == ({"mode": "b"}, {"epochs": 3}, "As published")
    assert metric["columns"][0]["name"] == "g"
    assert metric["columns"][0]["higher_is_better"] is True
    assert metric["corpus"][0]["label"] == "C"


def test_show_in_words(harness: Harness) -> None:
    text = harness("plugins", "show", "guest", "--kind", "method").stdout
    lines = text.splitlines()
    assert lines[:3] == [
        "method guest, from good-guest 2.1 (good_guest)",
        "A guest method",
        "source: https://example.org/paper",
    ]
    assert "needs: reward" in lines
    assert "coef   number           (required)  Weight of the term, [Eq. 3]." in lines
    assert "sizes  list of integer  [1, 2]" in lines
    assert text.rstrip().endswith("preset paper (default): As published\n  mode: b\n  recipe.epochs: 3")
    text = harness("plugins", "show", "guest", "--kind", "metric").stdout
    assert "no options" in text
    assert "g     G      %     higher is better" in text
    assert "c     C            lower is better" in text


def test_show_takes_what_was_said_before_it(harness: Harness) -> None:
    (only,) = json.loads(harness("plugins", "--kind", "metric", "--json", "show", "guest").stdout)
    assert only["kind"] == "metric"


def test_show_a_failed_plugin_with_its_traceback(harness: Harness) -> None:
    result = harness("plugins", "show", "bad")
    assert result.returncode == 0
    assert "failed: ModuleNotFoundError: No module named 'absent_lib'" in result.stdout
    assert 'bad_guest.py", line 1, in <module>' in result.stdout


def test_show_an_unknown_plugin(harness: Harness) -> None:
    result = harness("plugins", "show", "gues")
    assert (result.returncode, result.stdout) == (2, "")
    assert result.stderr.startswith("error: there is no plugin called 'gues'; did you mean 'guest'?")
    assert "1 failed to load: see `harness plugins`" in result.stderr


def test_show_a_plugin_of_another_kind(harness: Harness) -> None:
    result = harness("plugins", "show", "rouge", "--kind", "dataset")
    assert (result.returncode, result.stdout) == (2, "")
    assert result.stderr.startswith("error: there is no dataset called 'rouge'")
    assert "there is a metric of this name; there is a reward of this name" in result.stderr


class Typed(Options):
    """Options of every shape."""

    at_least: Annotated[float, Field(ge=0.5, lt=2)] = 1.0
    count: PositiveInt = 1
    maybe: int | None = None
    pair: tuple[float, float] = (0.9, 0.999)
    table: dict[str, int] = {}  # noqa: RUF012  # pydantic copies defaults
    flag: bool = False
    fixed: Literal[3] = 3
    nested: Inner | None = None
    anything: Any = None
    some: Annotated[list[str], Field(min_length=1)] = ["a"]  # noqa: RUF012  # as above
    code: Annotated[str, Field(pattern="^x")] = "x"
    made: Annotated[dict[str, Any], Field(default_factory=lambda: {"a": (1,)})]


class Inner(Options):
    """Nested."""

    depth: int = 1


def test_types_in_words() -> None:
    Typed.model_rebuild()
    rows = option_rows(RewardRegistration(name="r", summary="s", build=print, options=Typed))
    assert {row["name"]: row["type"] for row in rows} == {
        "at_least": "number >= 0.5, < 2",
        "count": "integer > 0",
        "maybe": "integer | null",
        "pair": "list (number, number)",
        "table": "mapping of integer",
        "flag": "boolean",
        "fixed": "3",
        "nested": "mapping (depth) | null",
        "anything": "any",
        "some": "list of string at least 1",
        "code": "string matching ^x",
        "made": "mapping",
    }
    assert rows[-1]["default"] == {"a": [1]}


def test_listing_the_builtins_imports_nothing_heavy() -> None:
    entry_points = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"].get("entry-points", {})
    code = (
        "import sys\n"
        "from importlib.metadata import EntryPoint\n"
        "from harness.cli.plugins import option_rows\n"
        "from harness.plugins.loader import load_registry\n"
        f"points = [EntryPoint(n, v, 'harness') for n, v in {entry_points.get('harness', {})!r}.items()]\n"
        "registry = load_registry(entry_points=points, environment={})\n"
        "for row in registry.plugins:\n"
        "    assert row.status == 'ok', row\n"
        "    print(row.entry_point, len(option_rows(row.registration)), registry.fingerprint(row.kind, row.name)[:8])\n"
        "heavy = {'torch', 'transformers', 'datasets', 'evaluate', 'pandas', 'nltk', 'sacrebleu', 'scipy'}\n"
        "assert not heavy & set(sys.modules), heavy & set(sys.modules)\n"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    assert len(result.stdout.splitlines()) >= len(entry_points.get("harness", {}))
