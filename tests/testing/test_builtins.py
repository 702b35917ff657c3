"""Everything that ships passes the checks that anybody's plugin must pass."""

from __future__ import annotations

import tomllib
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from harness.api.registration import DatasetRegistration
from harness.cli.plugins import option_rows
from harness.plugins.loader import load_registry
from harness.testing import check_dataset, check_method, check_metric, check_registration, check_reward
from harness.testing.rewards import COMPLETIONS

if TYPE_CHECKING:
    from harness.api import Kind

PROJECT = tomllib.loads((Path(__file__).resolve().parents[2] / "pyproject.toml").read_text(encoding="utf-8"))["project"]
POINTS = [EntryPoint(name, value, "harness") for name, value in PROJECT["entry-points"]["harness"].items()]
REGISTRY = load_registry(entry_points=POINTS, environment={})


def offered(kind: Kind) -> list[Any]:
    rows = [row for row in REGISTRY.plugins if row.kind == kind]
    return [pytest.param(row.registration, id=row.name) for row in rows]


def test_all_are_loaded() -> None:
    assert [(row.name, row.reason) for row in REGISTRY.failures] == []
    assert len(REGISTRY.plugins) == len(POINTS)
    assert all(row.entry_point == f"{row.kind}-{row.name}" for row in REGISTRY.plugins)


@pytest.mark.parametrize("registration", [p for k in ("method", "reward", "dataset", "metric") for p in offered(k)])
def test_every_option_has_help(registration: Any) -> None:
    check_registration(registration)
    assert [row["name"] for row in option_rows(registration) if not row["help"]] == []


@pytest.mark.parametrize("registration", offered("method"))
def test_methods(registration: Any) -> None:
    check_method(registration)


@pytest.mark.parametrize("registration", offered("reward"))
def test_rewards(registration: Any) -> None:
    columns = {name: ["yes"] * len(COMPLETIONS) for name in registration.reads if name != "references"}
    check_reward(registration, columns=columns)


@pytest.mark.parametrize("registration", offered("metric"))
def test_metrics(registration: Any) -> None:
    if not any(field.is_required() for field in registration.options.model_fields.values()):
        check_metric(registration)


#: Data sets that code makes, and the options without which one says nothing of what it is.
GENERATED: dict[str, dict[str, Any]] = {
    "generated-addition": {"slips": 0.5, "questions": 500},
    "generated-instructions": {},
    "generated-preferences": {},
    "generated-second-largest": {"slips": 0.5, "questions": 500},
    "generated-summaries": {},
    "reasoning-gym": {"task": "count_bits", "difficulty": {"max_n": 255}, "train": 40, "validation": 10, "test": 20},
}


@pytest.mark.parametrize("name", GENERATED)
def test_data_sets_that_are_generated(name: str, tmp_path: Path) -> None:
    if name == "reasoning-gym":
        pytest.importorskip("reasoning_gym", reason="reasoning-gym is not installed (the extra `reasoning`)")
    registration = REGISTRY.get("dataset", name)
    assert isinstance(registration, DatasetRegistration)
    check_dataset(registration, tmp_path, GENERATED[name])


def test_all_other_data_sets_are_read() -> None:
    """And held to the contract beside their own tests, which have something to read."""
    rows = [row.registration for row in REGISTRY.plugins if row.kind == "dataset"]
    assert {row.name for row in rows if isinstance(row, DatasetRegistration) and row.generated} == set(GENERATED)
