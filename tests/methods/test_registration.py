"""What the methods' plugins register: names, options, presets; and that no torch is needed to know it."""

from __future__ import annotations

import inspect
import subprocess
import sys
import tomllib
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import Any

import pytest
from methods.cases import NAMES, make, registration
from pydantic import TypeAdapter

from harness.api import Method
from harness.plugins.loader import load_registry
from harness.plugins.option_groups import option_groups
from harness.spec import benchmark as schema
from harness.spec.recipe import Recipe

ROOT = Path(__file__).parents[2]
#: What every method that adds a term to the supervised one calls its weight.
COEFFICIENT = "coef"


def entry_points() -> list[EntryPoint]:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    listed = project["entry-points"]["harness"]
    return [EntryPoint(name, target, "harness") for name, target in listed.items() if name.startswith("method-")]


def test_the_loader_takes_every_method() -> None:
    registry = load_registry(entry_points=entry_points(), environment={}, strict=True)
    assert set(registry.names("method")) >= set(NAMES)
    for name in NAMES:
        built = registry.build("method", name, {})
        assert isinstance(built, Method)
        assert len(registry.fingerprint("method", name)) == 64


def test_listing_and_validating_need_no_torch() -> None:
    modules = ", ".join(f"harness_plugins.methods.{name}" for name in NAMES)
    code = (
        f"import sys, {modules}\nassert not set(sys.modules) & {{'torch', 'numpy', 'transformers'}}, sys.modules.keys()"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert found.returncode == 0, found.stderr


@pytest.mark.parametrize("name", NAMES)
def test_presets_are_settings_that_exist(name: str) -> None:
    offered = registration(name)
    assert offered.default_preset == "paper"
    assert {"paper", "official"} <= set(offered.presets)
    for preset in offered.presets.values():
        offered.options(**preset.options)
        Recipe(**preset.recipe)
        assert preset.summary
        if preset.active is not None:
            TypeAdapter(schema.Active).validate_python(preset.active)


@pytest.mark.parametrize("name", NAMES)
def test_the_default_preset_is_the_defaults(name: str) -> None:
    offered = registration(name)
    assert offered.options(**offered.presets["paper"].options) == offered.options()
    assert offered.options(**offered.presets["official"].options) != offered.options()


def descriptions(name: str) -> dict[str, str]:
    """Return the help of each option, those under ``compat`` too."""
    options = registration(name).options
    fields = {**options.model_fields, **option_groups(options)["compat"].model_fields}
    return {option: field.description or "" for option, field in fields.items()}


@pytest.mark.parametrize("name", NAMES)
def test_what_only_published_code_does_stands_apart(name: str) -> None:
    """What a newcomer is shown first has none of it, and what stands apart is off where nothing is said."""
    options = registration(name).options
    compat = option_groups(options)["compat"]
    assert not set(compat.model_fields) & set(options.model_fields)
    assert set(compat.model_fields) >= {"token_mean_micro", "micro_batch_size"}
    assert options().model_dump()["compat"] == compat().model_dump()
    assert "compat" not in registration(name).presets["paper"].options


@pytest.mark.parametrize("name", NAMES)
def test_every_option_says_what_it_does(name: str) -> None:
    for option, description in descriptions(name).items():
        assert len(description) > 20, option


@pytest.mark.parametrize("name", NAMES)
def test_the_docstring_lists_what_differs_from_the_paper(name: str) -> None:
    method, _ = make(name)
    text = inspect.getdoc(type(method)) or ""
    assert "Differs from the paper" in text
    assert "\n1. " in text


def test_one_name_means_one_thing() -> None:
    """Options that two methods share have the same meaning: the same description, or the common coefficient."""
    seen: dict[str, Any] = {}
    for name in NAMES:
        for option, description in descriptions(name).items():
            if option in {COEFFICIENT, "length_norm"}:
                continue
            assert seen.setdefault(option, description) == description, option
    for name in NAMES:
        assert (COEFFICIENT in registration(name).options.model_fields) == (name != "sft")


def test_only_sft_may_train_the_shared_start() -> None:
    assert [name for name in NAMES if registration(name).supervised] == ["sft"]
    for name in NAMES:
        assert registration(name).needs == (frozenset() if name == "sft" else {"reward"})


def test_the_papers_settings() -> None:
    """Section 5.4: four candidates, lambda 0.05; the released code's as methods list them."""
    eso = registration("eso")
    defaults = eso.options().model_dump()
    assert defaults["temperatures"] == (0.5, 1.0, 1.5, 2.0)
    assert defaults["coef"] == 0.05
    assert defaults["k_reduction"] == "sum"
    assert eso.presets["paper"].active == "last"
    assert eso.presets["paper"].recipe["max_completion_length"] == 128
    official = eso.presets["official"]
    assert official.options["temperatures"] == [0.5, 1.0, 1.25, 1.5]
    assert official.options["compat"]["official_gate"]
    assert official.active == "all_but_last"
    assert official.recipe["max_completion_length"] == 64
    assert official.recipe["learning_rate"] == 1e-4
    drl = registration("drl").options().model_dump()
    assert (drl["baseline"], drl["n_samples"], drl["temperature"]) == ("greedy", 1, 1.0)
    rrhf = registration("rrhf").options().model_dump()
    assert (rrhf["length_norm"], rrhf["compat"]["pair_set"], rrhf["use_sft_term"]) == (True, "all", True)
