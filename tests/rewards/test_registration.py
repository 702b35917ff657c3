"""The shipped rewards as a benchmark meets them: through their entry points."""

from __future__ import annotations

import subprocess
import sys
from importlib.metadata import EntryPoint
from pathlib import Path

import pytest

from harness.api import RewardRegistration
from harness.plugins.loader import load_registry
from harness.testing import check_reward

ROOT = Path(__file__).resolve().parents[2]
#: Those that read text alone; the other one asks a model.
NAMES = ["gleu", "length", "repetition", "rouge", "verifiable"]
MODULES = {**{name: name for name in NAMES}, "reward-model": "reward_model"}


def entry_points() -> list[EntryPoint]:
    return [EntryPoint(f"reward-{name}", f"harness_plugins.rewards.{m}", "harness") for name, m in MODULES.items()]


def test_every_module_is_an_entry_point_of_the_distribution() -> None:
    import tomllib

    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    lines = project["entry-points"]["harness"]
    offered = {name: target for name, target in lines.items() if name.startswith("reward-")}
    assert offered == {point.name: point.value for point in entry_points()}
    modules = {file.stem for file in (ROOT / "plugins/harness_plugins/rewards").glob("*.py")} - {"__init__"}
    assert modules == set(MODULES.values())


def test_all_load_and_are_built_with_their_defaults() -> None:
    registry = load_registry(entry_points=entry_points())
    assert registry.failures == ()
    assert registry.names("reward") == tuple(sorted(MODULES))
    for name in NAMES:
        reward = registry.build("reward", name, {})
        assert reward.__name__ == name  # what TRL logs a reward under
        registration = registry.get("reward", name)
        assert isinstance(registration, RewardRegistration)
        assert registration.range is not None
        low, high = registration.range
        columns = {"references": [("a b d",)], "answer": ["a b d"]}
        (value,) = reward(prompts=["p"], completions=["a b c"], completion_ids=[[1]], **columns)
        assert low <= value <= high


@pytest.mark.parametrize(  # beside the defaults, which are held to the contract with every other plugin that ships
    ("name", "options"),
    [
        ("rouge", {"variant": "rouge2", "use_stemmer": False}),
        ("length", {"shape": "at-most", "target": 4, "unit": "tokens"}),
        ("length", {"shape": "at-least", "target": "reference", "unit": "characters"}),
        ("repetition", {"ngram_size": 1}),
    ],
)
def test_keeps_the_contract_that_third_parties_are_held_to(name: str, options: dict[str, object]) -> None:
    registration = load_registry(entry_points=entry_points()).get("reward", name)
    assert isinstance(registration, RewardRegistration)
    check_reward(registration, options)


@pytest.mark.parametrize(("raw", "word"), [({"variant": "rougeLsum"}, "rougeL"), ({"stemmer": True}, "stemmer")])
def test_wrong_options_are_refused(raw: dict[str, object], word: str) -> None:
    with pytest.raises(ValueError, match=word):
        load_registry(entry_points=entry_points()).options("reward", "rouge", raw)


def test_the_fingerprint_covers_the_shared_text_modules() -> None:
    # planning must notice a change of how ROUGE counts, which does not lie in the plugin's own module
    registry = load_registry(entry_points=entry_points())
    prints = {name: registry.fingerprint("reward", name) for name in NAMES}
    assert len(set(prints.values())) == len(NAMES)
    from harness.plugins import closure

    found = closure.Sources().closure(["harness_plugins.rewards.rouge"])
    assert {"harness_plugins.text.rouge", "harness_plugins.text.references"} <= set(found)
    assert "harness_plugins.text.gleu" not in found


def test_registering_imports_nothing_heavy() -> None:
    modules = ", ".join(f"harness_plugins.rewards.{name}" for name in NAMES)
    heavy = {"torch", "nltk", "sacrebleu", "rapidfuzz", "numpy"}
    code = f"import {modules}, sys; print(sorted({heavy} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
