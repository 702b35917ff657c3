"""Both directions of the adapter: modules loaded by path, and our metrics behind evaluate's interface."""

from __future__ import annotations

import shutil
from importlib.metadata import EntryPoint
from typing import TYPE_CHECKING, Any

import pytest
from pydantic import ValidationError

from harness.api import Column, InputError, MachineError, MetricRegistration, StageError
from harness.errors import PluginError
from harness.plugins.loader import load_registry
from harness_plugins.metrics.evaluate import EvaluateOptions, local_digest
from harness_plugins.metrics.evaluate_module import EvaluateModule

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from harness.plugins.registry import Registry

HEAD = """
import datasets
import evaluate


class {name}(evaluate.Metric):
    def _info(self):
        return evaluate.MetricInfo(
            description="", citation="", inputs_description="", features={features}
        )
"""

TEXT = 'datasets.Value("string")'
MANY = 'datasets.Sequence(datasets.Value("string"))'
PAIR = 'datasets.Features({{"predictions": {}, "references": {}}})'

#: A module with every kind of result: a number that is a mean, a list, a number of the list, NaN, infinity, no number.
FIRST = (
    HEAD.format(name="Overlap", features=PAIR.format(TEXT, TEXT))
    + """
    def _compute(self, predictions, references, bonus=0.0):
        import numpy as np

        shares = [len(set(p.split()) & set(r.split())) / max(len(set(r.split())), 1)
                  for p, r in zip(predictions, references)]
        return {
            "overlap": np.float64(sum(shares) / len(shares) + bonus),
            "each": np.array(shares),
            "count": len(predictions),
            "hole": [float("nan") if s == 0 else s for s in shares],
            "endless": float("inf"),
            "name": "overlap",
            "short": shares[:-1] if len(shares) > 1 else [0.0, 0.0],
        }
"""
)

#: Takes one reference or several; needs two answers at least.
BOTH = (
    HEAD.format(name="BothForms", features=f"[{PAIR.format(TEXT, MANY)}, {PAIR.format(TEXT, TEXT)}]")
    + """
    def _compute(self, predictions, references):
        if len(predictions) < 2:
            raise ZeroDivisionError("one answer has no spread")
        return {"known": float(sum(len(r) for r in references))}
"""
)

#: A measurement: texts alone, under another name.
DATA = (
    "from .loudness import loud\n"
    + HEAD.format(name="Shouting", features=f'datasets.Features({{"data": {TEXT}}})')
    + """
    def _compute(self, data):
        return {"shouting": sum(map(loud, data)) / len(data)}
"""
)

LOUD = """
def loud(text):
    return float(text.isupper())
"""

MISFIT = (
    HEAD.format(name="Misfit", features='datasets.Features({"left": datasets.Value("string")})')
    + """
    def _compute(self, left):
        return {}
"""
)


@pytest.fixture(scope="module", autouse=True)
def caches(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Keep what evaluate writes out of the user's folders."""
    import sys

    import evaluate

    folder = tmp_path_factory.mktemp("hf")
    before = list(sys.path)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(evaluate.config, "HF_MODULES_CACHE", folder / "modules")
        patch.setattr(evaluate.config, "HF_METRICS_CACHE", folder / "metrics")
        yield
    sys.path[:] = before
    for name in [name for name in sys.modules if name.partition(".")[0] == "evaluate_modules"]:
        del sys.modules[name]


@pytest.fixture
def module(tmp_path: Path) -> Path:
    file = tmp_path / "overlap.py"
    file.write_text(FIRST, encoding="utf-8")
    return file


@pytest.fixture(scope="module")
def registry() -> Registry:
    names = {"rouge": "rouge", "gleu": "gleu", "length": "length", "perplexity": "perplexity", "evaluate": "evaluate"}
    points = [EntryPoint(f"metric-{n}", f"harness_plugins.metrics.{m}", "harness") for n, m in names.items()]
    return load_registry(entry_points=points)


PAIRS = [("a b", ["a c", "x"]), ("", ["a"]), ("no reference", []), ("x y z", ["x y z"])]


def score(samples: Any, services: Any, pairs: Any, **options: Any) -> Any:
    return EvaluateModule(EvaluateOptions(**options)).score(samples(pairs), services)


def test_a_local_module_by_path(samples: Any, services: Any, module: Path) -> None:
    result = score(samples, services, PAIRS, module=str(module), keys=("overlap", "each", "hole"))
    assert result.values["overlap"] == [0.5, 0.0, None, 1.0]  # computed on each answer alone; the first reference
    assert result.values["each"] == [0.5, 0.0, None, 1.0]
    assert result.values["hole"] == [0.5, None, None, 1.0]  # NaN is missing
    assert result.corpus == {"overlap": 0.5}
    assert (
        f"|module:overlap|code:{(local_digest(str(module)) or '')[:16]}|config:default|refs:first|" in result.signature
    )


def test_arguments_of_compute(samples: Any, services: Any, module: Path) -> None:
    result = score(samples, services, PAIRS, module=str(module), keys=("overlap",), kwargs={"bonus": 1.0})
    assert result.values["overlap"] == [1.5, 1.0, None, 2.0]
    assert "|kwargs:bonus=1.0|" in result.signature


def test_over_the_list_only(samples: Any, services: Any, module: Path) -> None:
    result = score(samples, services, PAIRS, module=str(module), keys=("overlap", "count"), per_answer=False)
    assert result.values == {"overlap": [None] * 4, "count": [None] * 4}
    assert result.corpus == {"overlap": 0.5, "count": 3.0}


def test_a_folder_several_references_and_its_error_on_one_answer(samples: Any, services: Any, tmp_path: Path) -> None:
    folder = tmp_path / "both_forms"
    folder.mkdir()
    (folder / "both_forms.py").write_text(BOTH, encoding="utf-8")
    options: dict[str, Any] = {"module": str(folder), "keys": ("known",)}
    assert score(samples, services, PAIRS, **options, per_answer=False).corpus == {"known": 4.0}
    # one text each: evaluate hands over strings, whose lengths add up to 3 + 1 + 5
    assert score(samples, services, PAIRS, **options, per_answer=False, references="first").corpus == {"known": 9.0}
    with pytest.raises(
        StageError, match=r"raised ZeroDivisionError on the answer to '0' alone: one answer[^\n]*\n.*per_answer"
    ):
        score(samples, services, PAIRS, **options)


def test_a_measurement_with_a_neighbour(samples: Any, services: Any, tmp_path: Path) -> None:
    (tmp_path / "shouting.py").write_text(DATA, encoding="utf-8")
    (tmp_path / "loudness.py").write_text(LOUD, encoding="utf-8")
    result = score(
        samples, services, [("HEY", []), ("hey", [])], module=str(tmp_path / "shouting.py"), keys=("shouting",)
    )
    assert result.values["shouting"] == [1.0, 0.0]  # no reference is needed, so none is missing
    assert result.corpus == {"shouting": 0.5}
    assert "|refs:none|" in result.signature


def test_nothing_to_score(samples: Any, services: Any, module: Path) -> None:
    result = score(samples, services, [("a", [])], module=str(module), keys=("overlap",))
    assert result.values == {"overlap": [None]}
    assert result.corpus == {}


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        (
            {"keys": ("overlop",)},
            InputError,
            "no such key, got 'overlop'; expected one of overlap, .*did you mean 'overlap'",
        ),
        ({"keys": ("name",)}, InputError, "'name' is not a number, got 'str'"),
        (
            {"keys": ("short",)},
            InputError,
            "'short' is a list of another length, got 2; expected a number, or 3 of them",
        ),
        ({"keys": ("endless",)}, StageError, "'endless' is infinite"),
        (
            {"keys": ("overlap",), "references": "all"},
            InputError,
            "cannot take references so, got 'references: all'; expected first",
        ),
        ({"keys": ("overlap",), "kwargs": {"bonos": 1}}, StageError, "raised TypeError on 3 answers: .*bonos"),
    ],
)
def test_mistakes_are_named(
    samples: Any, services: Any, module: Path, options: dict[str, Any], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=f"metric 'evaluate', module .*overlap.py'.*{message}"):
        score(samples, services, PAIRS, module=str(module), **options)


def test_modules_that_do_not_fit(samples: Any, services: Any, tmp_path: Path) -> None:
    (tmp_path / "misfit.py").write_text(MISFIT, encoding="utf-8")
    with pytest.raises(InputError, match=r"takes other inputs than answers and references, got \['left'\]"):
        score(samples, services, PAIRS, module=str(tmp_path / "misfit.py"), keys=("x",))
    (tmp_path / "raising.py").write_text(FIRST + "\nraise RuntimeError('at once')\n", encoding="utf-8")
    with pytest.raises(InputError, match="raised RuntimeError while it was loaded: at once"):
        score(samples, services, PAIRS, module=str(tmp_path / "raising.py"), keys=("x",))
    (tmp_path / "hungry.py").write_text("import a_library_nobody_has\n" + FIRST, encoding="utf-8")
    with pytest.raises(InputError, match=r"needs what is not installed.*a_library_nobody_has"):
        score(samples, services, PAIRS, module=str(tmp_path / "hungry.py"), keys=("x",))


def test_the_hub_out_of_reach_names_the_alternatives(
    samples: Any, services: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(
        MachineError, match=r"module 'exact_match': .*cannot be loaded.*\n.*path of a local module"
    ) as caught:
        score(samples, services, PAIRS, module="exact_match", keys=("exact_match",))
    assert caught.value.exit_code == 3


def test_options_hold_the_content_of_a_local_module(module: Path) -> None:
    options = EvaluateOptions(module=str(module), keys=("overlap",))
    assert options.sha256 == local_digest(str(module))
    assert EvaluateOptions.model_validate(options.model_dump()) == options
    module.write_text(FIRST + "\n# changed\n", encoding="utf-8")
    assert EvaluateOptions(module=str(module), keys=("overlap",)).sha256 != options.sha256
    with pytest.raises(ValidationError, match=r"overlap\.py has sha256"):
        EvaluateOptions.model_validate(options.model_dump())
    assert EvaluateOptions(module="exact_match", keys=("exact_match",)).sha256 is None


def test_the_content_includes_imported_neighbours(tmp_path: Path) -> None:
    (tmp_path / "shouting.py").write_text(DATA, encoding="utf-8")
    (tmp_path / "loudness.py").write_text(LOUD, encoding="utf-8")
    before = local_digest(str(tmp_path / "shouting.py"))
    (tmp_path / "unrelated.py").write_text("", encoding="utf-8")
    assert local_digest(str(tmp_path / "shouting.py")) == before
    (tmp_path / "loudness.py").write_text(LOUD + "\n", encoding="utf-8")
    assert local_digest(str(tmp_path / "shouting.py")) != before


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"module": "./nowhere.py", "keys": ("x",)}, "there is no evaluate module at ./nowhere.py"),
        (
            {"module": "/no/where", "keys": ("x",)},
            "there is no evaluate module at /no/where .looked for /no/where/where.py",
        ),
        ({"module": "exact_match", "keys": ("x",), "sha256": "0" * 64}, "exact_match is not a local module"),
        ({"module": "exact_match", "keys": ()}, "at least 1 item"),
        ({"module": "exact_match"}, "keys"),
    ],
)
def test_options_that_cannot_be(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        EvaluateOptions(**options)


def test_a_revision_is_for_the_hub(module: Path) -> None:
    with pytest.raises(ValidationError, match="`revision` is for modules on the hub"):
        EvaluateOptions(module=str(module), keys=("x",), revision="main")


def test_a_module_that_is_no_python(tmp_path: Path) -> None:
    (tmp_path / "broken.py").write_text("def (:", encoding="utf-8")
    with pytest.raises(ValidationError, match="is not Python"):
        EvaluateOptions(module=str(tmp_path / "broken.py"), keys=("x",))


def test_columns_are_the_keys(registry: Registry, module: Path) -> None:
    registration = registry.get("metric", "evaluate")
    assert isinstance(registration, MetricRegistration)
    raw = {
        "module": str(module),
        "keys": ["overlap", "each"],
        "higher_is_better": True,
        "scale": 100.0,
        "role": "fluency",
    }
    resolved = registration.resolved(registry.options("metric", "evaluate", raw))
    assert resolved.columns == (
        Column("overlap", "overlap", higher_is_better=True, scale=100.0),
        Column("each", "overlap each", higher_is_better=True, scale=100.0),
    )
    assert resolved.role == "fluency"
    assert resolved.corpus == ()
    whole = registration.resolved(registry.options("metric", "evaluate", {**raw, "per_answer": False}))
    assert whole.corpus == whole.columns == resolved.columns


def test_through_the_registry(registry: Registry, samples: Any, services: Any, module: Path) -> None:
    metric = registry.build("metric", "evaluate", {"module": str(module), "keys": ["overlap"]})
    assert metric.score(samples(PAIRS), services).corpus == {"overlap": 0.5}
    shutil.move(module, module.with_name("gone.py"))
    with pytest.raises(PluginError, match="there is no evaluate module at"):
        registry.build("metric", "evaluate", {"module": str(module), "keys": ["overlap"]})


def test_a_harness_metric_as_an_evaluate_metric(registry: Registry, samples: Any, services: Any) -> None:
    import evaluate

    from harness_plugins.metrics.as_evaluate import as_evaluate

    gleu = as_evaluate(registry, "gleu")
    assert isinstance(gleu, evaluate.Metric)
    assert gleu.name == "gleu"
    pairs = [("a b c", ["a b c d", "x"]), ("x", ["y"]), ("z", [])]
    direct = registry.build("metric", "gleu", {}).score(samples(pairs), services)
    got = gleu.compute(predictions=[a for a, _ in pairs], references=[k for _, k in pairs], per_answer=True)
    first, second = direct.values["gleu"][:2]
    assert got == {
        "gleu": (first + second) / 2,
        "corpus_gleu": direct.corpus["gleu"],
        "gleu_per_answer": [first, second, None],
    }


def test_one_reference_batches_and_combinations(registry: Registry) -> None:
    import evaluate

    from harness_plugins.metrics.as_evaluate import as_evaluate

    rouge = as_evaluate(registry, "rouge", {"use_stemmer": False})
    whole = rouge.compute(predictions=["a b", "c"], references=["a b", "d"])
    assert whole == {"rouge1": 0.5, "rouge2": 0.5, "rougeL": 0.5}
    rouge.add(prediction="a b", reference="a b")
    rouge.add_batch(predictions=["c"], references=["d"])
    assert rouge.compute() == whole
    both = evaluate.combine([as_evaluate(registry, "rouge"), as_evaluate(registry, "gleu")])
    assert both.compute(predictions=["a b"], references=["a b"]) == {
        "rouge1": 1.0,
        "rouge2": 1.0,
        "rougeL": 1.0,
        "gleu": 1.0,
        "corpus_gleu": 1.0,
    }


def test_our_evaluate_metric_comes_back_through_the_other_adapter(
    registry: Registry, samples: Any, services: Any, tmp_path: Path
) -> None:
    (tmp_path / "round_trip.py").write_text(
        "import evaluate\n"
        "from harness.plugins.loader import load_registry\n"
        "from importlib.metadata import EntryPoint\n"
        "from harness_plugins.metrics import as_evaluate\n\n"
        "point = EntryPoint('metric-rouge', 'harness_plugins.metrics.rouge', 'harness')\n"
        "registry = load_registry(entry_points=[point])\n\n\n"
        "class RoundTrip(as_evaluate.HarnessMetric):\n"
        "    def __init__(self, **kwargs):\n"
        "        built = registry.build('metric', 'rouge', {})\n"
        "        super().__init__(registry.get('metric', 'rouge'), built, None, str.split)\n",
        encoding="utf-8",
    )
    pairs = [("the cat sat", ["a cat sat", "the cat"]), ("dogs", ["dog"])]
    result = score(samples, services, pairs, module=str(tmp_path / "round_trip.py"), keys=("rougeL",))
    direct = registry.build("metric", "rouge", {}).score(samples(pairs), services)
    assert result.values["rougeL"] == direct.values["rougeL"]
    assert "refs:all" in result.signature


def test_tokens_are_counted_as_asked(registry: Registry) -> None:
    from harness_plugins.metrics.as_evaluate import as_evaluate

    by_words = as_evaluate(registry, "length").compute(predictions=["ab cd"], references=["x y"])
    assert (by_words["tokens"], by_words["ratio"], by_words["truncated"]) == (2.0, 1.0, 0.0)
    assert (
        as_evaluate(registry, "length", tokenise=list).compute(predictions=["ab cd"], references=["x"])["tokens"] == 5.0
    )


def test_metrics_that_need_a_model_ask_for_it(registry: Registry, services: Any) -> None:
    from harness_plugins.metrics.as_evaluate import as_evaluate

    with pytest.raises(
        InputError, match=r"metric 'perplexity': the metric needs a model \(scorer\); expected `services`"
    ):
        as_evaluate(registry, "perplexity")
    services.table = {"hello": (3.0, 2)}
    got = as_evaluate(registry, "perplexity", services=services).compute(predictions=["hello"], references=["x"])
    assert got["log_perplexity"] == 1.5


def test_unknown_names_and_options(registry: Registry) -> None:
    from harness_plugins.metrics.as_evaluate import as_evaluate

    with pytest.raises(PluginError, match=r"there is no metric called 'roge'.*did you mean 'rouge'"):
        as_evaluate(registry, "roge")
    with pytest.raises(ValidationError, match="stemmer"):
        as_evaluate(registry, "rouge", {"stemmer": True})
