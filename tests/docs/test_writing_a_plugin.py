"""The guide for plugin authors says everything, and its code is the code that the tests install, or is tried here."""

from __future__ import annotations

import dataclasses
import importlib
import inspect
import re
import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING, get_args

import pytest
from click.testing import CliRunner
from docs.pages import DOCS, compared, marked_commands, quoted_files, text_of

import harness.testing
from harness import cli
from harness.api import (
    Column,
    Dataset,
    DatasetRegistration,
    Kind,
    Method,
    MethodRegistration,
    Metric,
    MetricRegistration,
    MetricResult,
    MetricServices,
    Preset,
    RewardRegistration,
    Run,
    hookspecs,
)
from harness.api.registration import RESERVED_KEYS
from harness.cli import main
from harness.plugins import loader, registry
from harness.testing import check_metric, check_reward

if TYPE_CHECKING:
    from collections.abc import Callable

ROOT = Path(__file__).resolve().parents[2]
#: The page about what plugins have in common, and one for each kind.
PAGES = ["writing-a-plugin.md", *(f"plugin-{kind}.md" for kind in get_args(Kind))]
TEXTS = {page: (DOCS / page).read_text(encoding="utf-8") for page in PAGES}
GUIDE = "\n".join(TEXTS.values())
#: Plugins that are shown whole, each in one file, and the check that they pass.
ALONE: dict[str, Callable[..., None]] = {"short.py": check_reward, "variety.py": check_metric}
#: Whose commands are run here; those of a method are in own-method.md.
MARKS = {"reward": "reward", "dataset": "data set", "metric": "metric"}
DISTRIBUTION = ROOT / "tests" / "third_party"

REGISTRATIONS = (MethodRegistration, RewardRegistration, DatasetRegistration, MetricRegistration)


def quoted() -> dict[str, str]:
    """Return the fenced blocks that are introduced by a file's name."""
    return {name: text for page in PAGES for name, text in quoted_files(page).items()}


def test_the_tutorial_is_the_distribution_that_is_installed() -> None:
    files = {
        path.relative_to(DISTRIBUTION).as_posix(): path.read_text(encoding="utf-8")
        for path in DISTRIBUTION.rglob("*")
        if path.suffix in {".py", ".toml"}
    }
    assert {name: text for name, text in quoted().items() if name not in ALONE} == files


@pytest.mark.parametrize("name", ALONE)
def test_a_plugin_in_one_file_keeps_its_contract(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / name).write_text(quoted()[name], encoding="utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    try:
        module = importlib.import_module(name.removesuffix(".py"))
        (registration,) = (one for one in vars(module).values() if isinstance(one, REGISTRATIONS))
        ALONE[name](registration)
    finally:
        sys.modules.pop(name.removesuffix(".py"), None)


@pytest.mark.parametrize(("page", "mark"), [(f"plugin-{kind}.md", mark) for kind, mark in MARKS.items()])
def test_the_commands_of_a_page_find_its_plugin(
    page: str, mark: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for name, text in quoted_files(page).items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text, encoding="utf-8")
    called = [CliRunner().invoke(main, shlex.split(line)[1:]) for line in marked_commands(page, mark)]
    assert [found.exit_code for found in called] == [0] * len(called), "".join(found.output for found in called)
    looked, *checked, tried = called
    assert looked.stdout.startswith(page.removeprefix("plugin-").removesuffix(".md"))
    assert len(checked) == (mark != "data set")  # which names a module that must be installed to be built
    assert all(" keeps its contract: " in found.stdout for found in checked)
    assert tried.stdout.startswith("ok: ")


def test_the_sum_of_rewards_is_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "short.py").write_text(quoted()["short.py"], encoding="utf-8")
    (shown,) = re.findall(r"^```yaml\nreward: (.*)\n```$", TEXTS["plugin-reward.md"], re.MULTILINE)
    tried = CliRunner().invoke(main, ["validate", "dolly", "--plugin", "short.py", "-o", f"reward={shown}"])
    assert tried.exit_code == 0, tried.output


def test_every_hook_is_a_heading_with_its_arguments() -> None:
    hooks = [
        f"{name}{inspect.signature(function)}".partition(" ->")[0]
        for name, function in vars(hookspecs).items()
        if hasattr(function, "harness_spec")
    ]
    assert len(hooks) == 4
    assert re.findall(r"^### `(.*)`$", GUIDE, re.MULTILINE) == hooks


@pytest.mark.parametrize("record", [*REGISTRATIONS, Preset, Column, MetricResult], ids=lambda record: record.__name__)
def test_every_field_of_a_record_is_named(record: type) -> None:
    assert [field.name for field in dataclasses.fields(record) if f"`{field.name}`" not in GUIDE] == []


@pytest.mark.parametrize("protocol", [Method, Dataset, Metric, MetricServices], ids=lambda protocol: protocol.__name__)
def test_every_function_of_a_plugin_is_named(protocol: type) -> None:
    functions = [name for name, value in vars(protocol).items() if inspect.isfunction(value) and name[0] != "_"]
    assert functions
    assert [name for name in functions if f"`{name}(" not in GUIDE] == []


def test_every_service_of_a_run_is_named() -> None:
    services = [name for name, value in vars(Run).items() if inspect.isfunction(value) and name[0] != "_"]
    assert len(services) > 10
    assert [name for name in services if f"`run.{name}(" not in GUIDE] == []


def test_every_check_is_named() -> None:
    assert [name for name in harness.testing.__all__ if f"`{name}" not in GUIDE] == []


def test_every_reserved_key_is_named() -> None:
    assert [key for key in RESERVED_KEYS if f"`{key}`" not in GUIDE] == []


def test_every_setting_is_named() -> None:
    sources = "".join(inspect.getsource(module) for module in (loader, registry, cli))
    settings = set(re.findall(r"HARNESS_[A-Z_]+", sources))
    assert {"HARNESS_PLUGINS", "HARNESS_STRICT_PLUGINS", "HARNESS_TRACEBACK", "HARNESS_API"} <= settings
    assert [name for name in settings if name not in GUIDE] == []


def test_the_verdict_on_a_plugin_is_what_is_shown() -> None:
    (block,) = re.findall(
        r"^```console\n(\$ harness plugins check .*?)^```$", text_of(PAGES[0]), re.DOTALL | re.MULTILINE
    )
    assert compared(block) == ["plugins"]
