"""``compat:`` of a method: what only published code does, under one option, in files, presets, sweeps and messages."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
from click.testing import CliRunner
from methods.cases import registration
from methods.test_paper_and_code import BASE, registry

from harness.benchmark import load_benchmark
from harness.cli import main
from harness.cli.plugins import option_rows
from harness.errors import InputErrors
from harness.execution.manifest import options_set
from harness.plan.tuning import configured
from harness.plugins.option_groups import dotted

if TYPE_CHECKING:
    from pathlib import Path

    from harness.spec.benchmark import MethodEntry

#: What preset ``official`` of ESO sets under ``compat``.
OFFICIAL = {
    "token_mean_micro": True,
    "micro_batch_size": 8,
    "include_eos_in_logp": False,
    "empty_completion": "zero",
    "logprob_dtype": "bfloat16",
    "official_gate": True,
}


def rows(entry: Any, folder: Path, *overrides: str) -> list[MethodEntry]:
    """Return the rows that an entry of ``methods`` becomes."""
    path = folder / "file.yaml"
    path.write_text(json.dumps({**BASE, "methods": ["sft", entry]}), encoding="utf-8")  # JSON is YAML 1.2
    return list(load_benchmark(path, registry=registry(), overrides=overrides).methods[1:])


def test_an_entry_changes_one_option_of_a_presets_group(tmp_path: Path) -> None:
    (row,) = rows({"use": "eso", "preset": "official"}, tmp_path)
    assert row.options["compat"] == OFFICIAL
    (row,) = rows({"use": "eso", "preset": "official", "compat": {"empty_completion": "drop"}}, tmp_path)
    assert row.options["compat"] == {**OFFICIAL, "empty_completion": "drop"}
    (row,) = rows({"use": "eso", "preset": "official"}, tmp_path, "methods.eso.compat.micro_batch_size=2")
    assert row.options["compat"] == {**OFFICIAL, "micro_batch_size": 2}
    (row,) = rows("eso", tmp_path)
    assert row.options["compat"] == registration("eso").options().model_dump()["compat"]


def test_a_sweep_names_an_option_of_the_group(tmp_path: Path) -> None:
    swept = rows({"use": "eso", "preset": "official", "sweep": {"compat.empty_completion": ["keep", "zero"]}}, tmp_path)
    assert [(row.label, row.options["compat"]) for row in swept] == [
        ("eso[empty_completion=keep]", {**OFFICIAL, "empty_completion": "keep"}),
        ("eso[empty_completion=zero]", OFFICIAL),
    ]


@pytest.mark.parametrize("reduction", ["seq_sum", "token_mean"])
def test_an_entry_may_replace_what_a_presets_group_is_about(reduction: str, tmp_path: Path) -> None:
    (row,) = rows({"use": "eso", "preset": "official", "sft_reduction": reduction}, tmp_path)
    options: Any = registration("eso").options.model_validate(row.options)
    assert options.sft_micro_batch == (8 if reduction == "token_mean" else None)


def test_a_trial_of_tuning_changes_one_option_of_the_group(tmp_path: Path) -> None:
    (row,) = rows({"use": "eso", "preset": "official"}, tmp_path)
    tried = configured(row, {"compat.empty_completion": "drop", "coef": 2.0}, registry())
    assert tried.options == {
        **row.options, "coef": 2.0, "compat": {**OFFICIAL, "empty_completion": "drop"},
    }  # fmt: skip


def test_the_settings_table_is_told_what_differs_and_no_more(tmp_path: Path) -> None:
    (row,) = rows({"use": "eso", "coef": 0.5, "compat": {"empty_completion": "drop"}}, tmp_path)
    assert options_set(registry(), "eso", row.options) == {"coef": 0.5, "compat.empty_completion": "drop"}
    (row,) = rows("eso", tmp_path)
    assert options_set(registry(), "eso", row.options) == {}


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        (
            {"use": "eso", "empty_completion": "zero"},
            (
                "methods.eso.empty_completion: unknown option of method eso\n"
                "  empty_completion is under compat: write compat: {empty_completion: …},"
                " or compat.empty_completion in a sweep and after -o"
            ),
        ),
        (
            {"use": "eso", "compat.official_gate": True},
            (
                "methods.eso.compat.official_gate: unknown option of method eso\n"
                "  official_gate is under compat: write compat: {official_gate: …}, or"
            ),
        ),
        (
            {"use": "eso", "sweep": {"compat.empty_completion": ["drop"], "compat": [{"official_gate": False}]}},
            "methods.eso.sweep.compat.empty_completion: compat is swept as a whole too",
        ),
        (
            {"use": "eso", "compat": 5, "sweep": {"compat.empty_completion": ["drop"]}},
            "compat of the entry is no place for empty_completion, got 5; expected a mapping: key: value",
        ),
        (
            {"use": "rrhf", "ft_paded_bug": True},
            "methods.rrhf.ft_paded_bug: unknown option of method rrhf; did you mean 'compat.ft_padded_bug'?",
        ),
        (
            {"use": "eso", "compat": {"empty_completions": "zero"}},
            "methods.eso.compat.empty_completions: unknown option of method eso; did you mean 'empty_completion'?",
        ),
        (
            {"use": "eso", "compat": {"coef": 1}},
            "coef does not belong under compat: write it beside compat",
        ),
        ({"use": "eso", "compat": {"empty_completion": "zro"}}, "did you mean 'zero'?"),
        ({"use": "eso", "sweep": {"ties": ["first"]}}, "methods.eso[ties=first].ties: unknown option of method eso"),
    ],
)
def test_an_option_in_the_wrong_place_is_told_the_right_one(entry: Any, message: str, tmp_path: Path) -> None:
    with pytest.raises(InputErrors) as raised:
        rows(entry, tmp_path)
    assert message in str(raised.value)


def test_what_a_newcomer_is_shown_first_is_short() -> None:
    offered = option_rows(registration("eso"))
    *own, group = offered
    assert group["name"] == "compat"
    assert {row["name"] for row in group["options"]} == set(OFFICIAL)
    assert all(row["help"] for row in group["options"])
    assert not {row["name"] for row in own} & set(OFFICIAL)


def test_plugins_show_lists_the_group_apart() -> None:
    said = CliRunner().invoke(main, ["plugins", "show", "eso", "--kind", "method"], catch_exceptions=False).output
    first, apart = said.split("options under compat")
    assert "compat " in first
    assert "empty_completion" not in first
    assert "empty_completion" in apart
    for name in dotted(registration("eso").options, {"compat": OFFICIAL}):
        assert f"\n  {name}: " in apart, "the preset names it as a file would"


def test_the_plan_tells_of_the_group_what_is_set(tmp_path: Path) -> None:
    path = tmp_path / "file.yaml"
    entry = {"use": "eso", "compat": {"empty_completion": "drop"}}
    path.write_text(json.dumps({**BASE, "methods": ["sft", entry]}), encoding="utf-8")
    said = CliRunner().invoke(main, ["plan", str(path), "--results", str(tmp_path)], catch_exceptions=False).output
    (line,) = (line for line in said.splitlines() if line.strip().startswith("eso:"))
    assert "compat.empty_completion=drop" in line
    assert "micro_batch_size" not in line
    assert "coef=0.05" in line
