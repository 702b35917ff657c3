"""What holds for every shipped metric: its registration, order, duplicates, draws, missing values, no NaN."""

from __future__ import annotations

import math
import subprocess
import sys
import tomllib
from dataclasses import replace
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from harness.api import MetricRegistration, MetricResult
from harness.plugins.loader import load_registry

if TYPE_CHECKING:
    from harness.plugins.registry import Registry

ROOT = Path(__file__).resolve().parents[2]
MODULES = {
    "accuracy": "accuracy", "bleu": "bleu", "chrf": "chrf", "dialogue": "dialogue", "divergence": "divergence",
    "diversity": "diversity", "evaluate": "evaluate", "exact-match": "exact_match", "exposure-bias": "exposure_bias",
    "gleu": "gleu", "length": "length", "minimal-pairs": "minimal_pairs", "pass-at-k": "pass_at_k",
    "perplexity": "perplexity", "reference-loss": "reference_loss", "reward-model": "reward_model", "rouge": "rouge",
    "text-loss": "text_loss", "win-rate": "win_rate",
}  # fmt: skip
#: The others have tests of their own: what they give is a module's, or is about pairs of answers, all draws of a
#: prompt, two models, texts that are no answers, or answers that a column has.
NAMES = sorted(
    set(MODULES) - {"accuracy", "divergence", "evaluate", "minimal-pairs", "pass-at-k", "text-loss", "win-rate"}
)

PAIRS = [
    ("The cat sat on the mat, twice on the mat.", ["The cat sat on a mat.", "A cat!"]),
    ("", ["Something."]),
    ("Some thing", ["Something else entirely, 3,000 words long."]),
    ("no reference here", []),
    ("\U0001f600 \u6771\u4eac", ["\u6771\u4eac"]),
    ("word", [""]),
]


@pytest.fixture(scope="module")
def registry() -> Registry:
    return load_registry(
        entry_points=[
            EntryPoint(f"metric-{name}", f"harness_plugins.metrics.{m}", "harness") for name, m in MODULES.items()
        ]
    )


def run(registry: Registry, name: str, made: Any, services: Any) -> MetricResult:
    services.table = {sample.text: (1.5 * len(sample.text), len(sample.text)) for sample in made}
    services.table |= {text: (0.5 * len(text), len(text)) for sample in made for text in sample.references}
    result = registry.build("metric", name, {}).score(made, services)
    assert isinstance(result, MetricResult)
    return result


def test_every_module_is_an_entry_point_of_the_distribution() -> None:
    lines = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["entry-points"]["harness"]
    offered = {name: target for name, target in lines.items() if name.startswith("metric-")}
    assert offered == {f"metric-{name}": f"harness_plugins.metrics.{module}" for name, module in MODULES.items()}


@pytest.mark.parametrize("name", NAMES)
def test_columns_are_those_that_were_announced(registry: Registry, samples: Any, services: Any, name: str) -> None:
    registration = registry.get("metric", name)
    assert isinstance(registration, MetricRegistration)
    result = run(registry, name, samples(PAIRS), services)
    assert list(result.values) == [column.name for column in registration.columns]
    assert set(result.corpus) == {column.name for column in registration.corpus}
    assert result.signature.startswith(f"{name}|")


@pytest.mark.parametrize("name", NAMES)
def test_every_number_is_finite_or_missing(registry: Registry, samples: Any, services: Any, name: str) -> None:
    result = run(registry, name, samples(PAIRS), services)
    for values in result.values.values():
        assert len(values) == len(PAIRS)
        assert all(value is None or (isinstance(value, float) and math.isfinite(value)) for value in values)
    assert all(isinstance(value, float) and math.isfinite(value) for value in result.corpus.values())


@pytest.mark.parametrize("name", NAMES)
def test_nothing_to_score(registry: Registry, samples: Any, services: Any, name: str) -> None:
    result = run(registry, name, samples([]), services)
    assert all(list(values) == [] for values in result.values.values())
    assert result.corpus == {}


@pytest.mark.parametrize("name", NAMES)
def test_order_changes_no_value(registry: Registry, samples: Any, services: Any, name: str) -> None:
    made = samples(PAIRS)
    forward, backward = run(registry, name, made, services), run(registry, name, made[::-1], services)
    assert {c: list(v)[::-1] for c, v in backward.values.items()} == {c: list(v) for c, v in forward.values.items()}
    assert backward.corpus == pytest.approx(forward.corpus, rel=1e-12)
    assert backward.signature == forward.signature


@pytest.mark.parametrize("name", NAMES)
def test_company_and_history_change_no_value(registry: Registry, samples: Any, services: Any, name: str) -> None:
    made = samples(PAIRS)
    together = run(registry, name, made, services)
    metric = registry.build("metric", name, {})
    for place, sample in enumerate(made):
        alone = metric.score([sample], services)
        assert {c: v[0] for c, v in alone.values.items()} == {c: v[place] for c, v in together.values.items()}


@pytest.mark.parametrize("name", NAMES)
def test_duplicates_and_draws_are_scored_alike(registry: Registry, samples: Any, services: Any, name: str) -> None:
    made = samples(PAIRS)
    once = run(registry, name, made, services)
    twice = run(registry, name, [*made, *(replace(sample, draw=1) for sample in made)], services)
    assert {c: list(v) for c, v in twice.values.items()} == {c: list(v) * 2 for c, v in once.values.items()}
    per_answer = {c: v for c, v in once.corpus.items() if name != "diversity"}  # distinct-n over all must fall
    assert {c: twice.corpus[c] for c in per_answer} == pytest.approx(per_answer, rel=1e-12)


def test_samples_are_not_changed(registry: Registry, samples: Any, services: Any) -> None:
    made = samples(PAIRS)
    for name in NAMES:
        run(registry, name, made, services)
    assert made == samples(PAIRS)


def test_registering_imports_nothing_heavy() -> None:
    modules = ", ".join(f"harness_plugins.metrics.{module}" for module in MODULES.values())
    heavy = {"torch", "nltk", "sacrebleu", "rapidfuzz", "numpy", "pandas", "datasets", "huggingface_hub"}
    # the library `evaluate` is not what `harness_plugins.metrics.evaluate` is called in sys.modules
    code = f"import {modules}, sys; print(sorted({heavy | {'evaluate'}} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
