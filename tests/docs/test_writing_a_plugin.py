"""The guide for plugin authors says everything, and its code is the code that the tests install."""

from __future__ import annotations

import dataclasses
import inspect
import re
from pathlib import Path

import pytest

import harness.testing
from harness import cli
from harness.api import (
    Column,
    Dataset,
    DatasetRegistration,
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
from harness.plugins import loader, registry

ROOT = Path(__file__).resolve().parents[2]
GUIDE = (ROOT / "docs" / "writing-a-plugin.md").read_text(encoding="utf-8")
DISTRIBUTION = ROOT / "tests" / "third_party"

REGISTRATIONS = (MethodRegistration, RewardRegistration, DatasetRegistration, MetricRegistration)


def quoted() -> dict[str, str]:
    """Return the fenced blocks that are introduced by a file's name."""
    return dict(re.findall(r"^`([\w./]+)`:\n\n```\w+\n(.*?)^```$", GUIDE, re.DOTALL | re.MULTILINE))


def test_the_tutorial_is_the_distribution_that_is_installed() -> None:
    files = {
        path.relative_to(DISTRIBUTION).as_posix(): path.read_text(encoding="utf-8")
        for path in DISTRIBUTION.rglob("*")
        if path.suffix in {".py", ".toml"}
    }
    assert quoted() == files


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


def test_links_lead_somewhere() -> None:
    headings = {
        re.sub(r"[^\w -]", "", heading).strip().lower().replace(" ", "-")
        for heading in re.findall(r"^#+ (.*)$", GUIDE, re.MULTILINE)
    }
    links = set(re.findall(r"\]\(#([\w-]+)\)", GUIDE))
    assert len(links) > 10
    assert links <= headings
