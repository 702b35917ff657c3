"""What holds for all preference methods of the distribution: the contract, cuts, ranks, padding, presets."""

from __future__ import annotations

import inspect
import subprocess
import sys
from dataclasses import replace
from typing import Any

import pytest
from preference_run import assert_alike, make, on_two_ranks, random_world, registration, step

from harness.spec.recipe import Recipe
from harness.testing import check_method, registrations

#: What a method is excused from in the contract's checks.
NEIGHBOURS = {"order": "each prompt is mismatched with the answer of the row that stands next, as published"}
FIRST = {"candidates": "pairing: first_two takes those that were drawn first"}
#: Names and option sets, for groups of three answers.
VARIANTS: list[tuple[str, dict[str, Any]]] = [
    ("best-of-n", {"n_samples": 3}),
    ("best-of-n", {"n_samples": 3, "selection": "top_fraction_global", "top_fraction": 0.5, "reduction": "seq_mean"}),
    ("best-of-n", {"n_samples": 3, "selection": "above_mean", "train_eos": False, "reduction": "seq_sum"}),
    ("best-of-n", {"n_samples": 3, "train_on_prompt": True, "mask_truncated": True, "ties": "skip"}),
    ("cpo", {}),
    ("cpo", {"loss_type": "ipo", "nll_reduction": "seq_sum"}),
    ("kto", {}),
    ("kto", {"kl_shift": -1, "kl_divisor": "nonzero", "undesirable_weight": 1.5}),
    ("kto", {"labels": "pairs"}),
    ("kto", {"labels": "pairs", "loss": "kto_pair"}),
    ("kto", {"labels": "group_mean", "n_samples": 3}),
    ("kto", {"labels": "threshold", "n_samples": 3, "kl_divisor": "printed"}),
    ("online-dpo", {"n_samples": 3}),
    ("online-dpo", {"n_samples": 3, "pairing": "all", "loss_type": "ipo", "ties": "first"}),
    ("online-dpo", {"n_samples": 3, "pairing": "best_worst", "missing_eos_penalty": 0.5, "beta": [0.1, 0.2]}),
    ("orpo", {}),
    ("orpo", {"nll_on": "prompt_and_answer", "nll_reduction": "seq_mean", "drop_identical": False}),
    ("simpo", {}),
    ("simpo", {"loss_type": "hinge", "sft_weight": 0.1}),
]
NAMES = sorted({name for name, _ in VARIANTS})
LABELS = ["-".join([name, *(str(value) for value in raw.values())]) for name, raw in VARIANTS]
#: Of each method the first option set; what the others change is seen in steps that are set up by hand.
CONTRACT = [
    pytest.param(name, raw, id=label, marks=() if name not in before else pytest.mark.long)
    for (name, raw), label, before in zip(
        VARIANTS, LABELS, ([name for name, _ in VARIANTS[:place]] for place in range(len(VARIANTS))), strict=True
    )
]


def excused(name: str, raw: dict[str, Any]) -> dict[str, str]:
    if name == "online-dpo" and "pairing" not in raw:
        return FIRST
    return NEIGHBOURS if name == "kto" and raw.get("loss", "kto") == "kto" else {}


@pytest.mark.parametrize(("name", "raw"), CONTRACT)
def test_they_keep_the_contract(name: str, raw: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registrations, "_check_imports", lambda _registration: None)  # all at once below
    check_method(registration(name), raw, excused=excused(name, raw))


def test_listing_them_imports_no_torch() -> None:
    modules = ", ".join(f"harness_methods.{name.replace('-', '_')}" for name in NAMES)
    code = f"import sys, {modules}\nassert not set(sys.modules) & {{'torch', 'numpy', 'transformers'}}"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert found.returncode == 0, found.stderr


@pytest.mark.parametrize(("name", "raw"), VARIANTS, ids=LABELS)
@pytest.mark.parametrize("seed", [11, 21])
def test_padding_and_cuts_have_no_say(name: str, raw: dict[str, Any], seed: int) -> None:
    world = random_world(seed, size=5, count=3)
    whole, said = step(name, raw, world)
    for other, around in [(replace(world, width=12), {}), (world, {"part": 1}), (world, {"part": 2})]:
        run, logged = step(name, raw, other, **around)
        assert_alike(whole, run)
        assert logged == {key: pytest.approx(value, rel=1e-9, abs=1e-11) for key, value in said.items()}


@pytest.mark.parametrize(("name", "raw"), VARIANTS, ids=LABELS)
@pytest.mark.parametrize("split", [0, 2])
def test_two_ranks_equal_one(name: str, raw: dict[str, Any], split: int) -> None:
    world = random_world(12, size=5, count=3)  # rows 0 and 1 have one prompt
    whole, said = step(name, raw, world)
    runs, logs = on_two_ranks(name, raw, world, split)
    for run, logged in zip(runs, logs, strict=True):
        assert_alike(whole, run)
        assert logged == {key: pytest.approx(value, rel=1e-9, abs=1e-11) for key, value in said.items()}


@pytest.mark.parametrize("name", NAMES)
def test_presets_exist_and_the_default_one_is_the_defaults(name: str) -> None:
    offered = registration(name)
    assert offered.default_preset is not None
    for preset in offered.presets.values():
        offered.options(**preset.options)
        Recipe(**preset.recipe)
        assert preset.summary
    assert offered.options(**offered.presets[offered.default_preset].options) == offered.options()
    for option, field in offered.options.model_fields.items():
        assert field.description, option
    text = inspect.getdoc(type(make(name, {})[0])) or ""
    assert "Differs from the paper" in text
    assert "\n1. " in text
    assert "Degenerate cases" in text


#: Option, or ``recipe.`` and its name, to what was published, by method and preset.
PUBLISHED: dict[tuple[str, str], dict[str, Any]] = {
    ("best-of-n", "paper"): {"selection": "best_per_prompt", "train_eos": True, "train_on_prompt": False},
    ("best-of-n", "lmflow"): {
        "selection": "top_fraction_global", "top_fraction": 0.2, "n_samples": 1, "temperature": 0.7,
        "train_eos": False, "train_on_prompt": True,
    },
    ("online-dpo", "paper"): {"beta": 0.1, "loss_type": "sigmoid", "n_samples": 2, "ties": "skip"},
    ("online-dpo", "trl"): {
        "beta": 0.1, "temperature": 0.9, "n_samples": 2, "ties": "first", "missing_eos_penalty": None,
        "disable_dropout": True, "recipe.method_learning_rate": 5e-7, "recipe.generate_length": 64,
    },
    ("kto", "paper"): {
        "beta": 0.1, "desirable_weight": 1.0, "undesirable_weight": 1.0, "kl_shift": 1, "kl_divisor": "m",
        "loss": "kto", "recipe.method_learning_rate": 5e-7,
    },
    ("kto", "halos"): {"kl_shift": 1, "kl_divisor": "nonzero"},
    ("kto", "trl"): {"kl_shift": -1, "kl_divisor": "m", "beta": 0.1, "recipe.method_learning_rate": 1e-6},
    ("orpo", "paper"): {"coef": 0.1, "nll_on": "answer", "drop_identical": True, "recipe.method_learning_rate": 8e-6},
    ("orpo", "llama-2"): {"coef": 0.2},
    ("orpo", "phi-2"): {"coef": 0.25},
    ("orpo", "official"): {"coef": 1.0, "nll_on": "prompt_and_answer", "recipe.method_learning_rate": 2e-5},
    ("orpo", "trl"): {
        "coef": 0.1, "nll_on": "prompt_and_answer", "nll_reduction": "token_mean", "drop_identical": False,
        "recipe.method_learning_rate": 1e-6,
    },
    ("simpo", "official"): {"beta": 2.0, "gamma": 0.25 * 2.0, "sft_weight": 0.0, "label_smoothing": 0.0},
    ("simpo", "mistral-base"): {"beta": 2.0, "gamma": 0.8 * 2.0, "recipe.method_learning_rate": 3e-7},
    ("simpo", "llama-3-instruct"): {"beta": 2.5, "gamma": 0.55 * 2.5, "recipe.method_learning_rate": 1e-6},
    ("simpo", "trl"): {"beta": 0.1, "gamma": 0.5, "sft_weight": 1.0, "recipe.method_learning_rate": 1e-6},
    ("cpo", "paper"): {"beta": 0.1, "alpha": 1.0, "nll_reduction": "seq_sum"},
    ("cpo", "trl"): {
        "beta": 0.1, "alpha": 1.0, "nll_reduction": "token_mean", "loss_type": "sigmoid", "simpo_gamma": 0.5,
        "alphapo": 0.0, "recipe.method_learning_rate": 1e-6,
    },
}  # fmt: skip


def test_every_preset_is_what_was_published() -> None:
    assert set(PUBLISHED) == {(name, preset) for name in NAMES for preset in registration(name).presets}
    for (name, preset), published in PUBLISHED.items():
        found = registration(name).presets[preset]
        options = make(name, found.options)[1]
        for key, value in published.items():
            _, recipe, option = key.rpartition("recipe.")
            assert (found.recipe[option] if recipe else getattr(options, option)) == value, (name, preset, key)


def test_what_they_start_from() -> None:
    """ORPO takes the place of supervised training; all others come after it."""
    assert {name: registration(name).start for name in NAMES} == {
        name: "branch" if name == "orpo" else "after" for name in NAMES
    }
    assert {name for name in NAMES if registration(name).mixes_supervision} == {"orpo", "cpo"}
