"""A stage's id holds everything that can change its result, and nothing else.

The cases come from the schema: a new field must be classified there, and if it changes results a test here must be able
to change it, or the suite fails.
"""

from __future__ import annotations

import os
import shutil
from typing import TYPE_CHECKING, Any, Literal, get_args, get_origin

import pytest
from plan.files import Planner, small, write_rows
from pydantic import BaseModel

import harness.plan.planner
from harness.plugins.loader import load_registry
from harness.spec.benchmark import Benchmark
from harness.spec.section import Section
from harness.stages.entries import code_digest

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from pydantic.fields import FieldInfo

Path_ = tuple[str | int, ...]


def all_sections(section: type[Section] = Benchmark) -> set[type[Section]]:
    """Return the benchmark and every section below it."""
    found = {section}
    for info in section.model_fields.values():
        for below in _sections_in(info.annotation):
            found |= all_sections(below)
    return found


def _sections_in(annotation: Any) -> Iterator[type[Section]]:
    if isinstance(annotation, type) and issubclass(annotation, Section):
        yield annotation
    for part in get_args(annotation):
        yield from _sections_in(part)


def mark(info: FieldInfo) -> Any:
    extra = info.json_schema_extra
    return extra.get("changes") if isinstance(extra, dict) else None


def leaves(value: Any, path: Path_ = ()) -> Iterator[tuple[Path_, type[Section], str]]:
    """Yield the place, section and name of every field of a benchmark that holds no further section."""
    if isinstance(value, Section):
        for name, info in type(value).model_fields.items():
            inner = getattr(value, name)
            if any(_sections_in(info.annotation)) and inner is not None:
                yield from leaves(inner, (*path, name))
            elif not any(_sections_in(info.annotation)):
                yield (*path, name), type(value), name
    elif isinstance(value, tuple):
        for index, inner in enumerate(value):
            yield from leaves(inner, (*path, index))
    elif isinstance(value, dict):
        for key, inner in value.items():
            yield from leaves(inner, (*path, key))


def replaced(value: Any, path: Path_, new: Any) -> Any:
    """Return a copy of a benchmark with the value at ``path`` replaced."""
    if not path:
        return new
    head, *rest = path
    if isinstance(value, BaseModel):
        return value.model_copy(update={str(head): replaced(getattr(value, str(head)), tuple(rest), new)})
    if isinstance(value, tuple):
        return tuple(replaced(v, tuple(rest), new) if i == head else v for i, v in enumerate(value))
    return {k: replaced(v, tuple(rest), new) if k == head else v for k, v in value.items()}


def at(value: Any, path: Path_) -> Any:
    for step in path:
        value = getattr(value, str(step)) if isinstance(value, BaseModel) else value[step]
    return value


def another(section: type[Section], name: str, value: Any) -> Any:
    """Return another valid value of a field, from its type."""
    annotation = section.model_fields[name].annotation
    literals = [
        v for part in (annotation, *get_args(annotation)) if get_origin(part) is Literal for v in get_args(part)
    ]
    if literals:
        return next(v for v in literals if v != value)
    if isinstance(value, bool):
        return not value
    if isinstance(value, int):
        return value + 1
    if isinstance(value, float):
        return value * 0.5 if value else 0.25
    kinds = set(_types_in(annotation))
    if value is None and int in kinds:
        return 7
    if value is None and float in kinds:
        return 0.125
    raise LookupError(f"{section.__name__}.{name} = {value!r}: say in SPECIAL how to change it")


def _types_in(annotation: Any) -> Iterator[Any]:
    """Yield the types of a union, without their bounds."""
    parts = get_args(annotation)
    if parts and get_origin(annotation) is not Literal:
        for part in parts:
            yield from _types_in(part)
    yield annotation


ROUGE_2 = {"variant": "rouge2", "use_stemmer": True}

#: What type alone does not tell: (section, field) to a function of the value, or a value.
SPECIAL: dict[tuple[str, str], Any] = {
    ("Benchmark", "benchmark"): "other",
    ("Benchmark", "title"): "Another title",
    ("Benchmark", "description"): "Another text",
    ("Benchmark", "profile"): "other",
    ("Benchmark", "requires"): ("another",),
    ("Benchmark", "seeds"): (5,),
    ("Benchmark", "tables"): ("timing",),
    ("Benchmark", "published"): "eso-coling-2025",
    ("Benchmark", "pareto"): ("rouge.rougeL", "rouge.rouge1"),
    ("Overoptimisation", "gold"): "rouge.rouge1",
    ("Overoptimisation", "proxy"): "rouge.rouge1",
    ("Overoptimisation", "kl"): "rouge.rouge1",
    ("Cases", "dataset"): "another",
    ("Cases", "ids"): ("1",),
    ("Cases", "decoding"): "another",
    ("Benchmark", "sources"): {"nobody": "/nowhere"},
    ("Execution", "address"): "node:6379",
    ("Slurm", "partition"): "long",
    ("Slurm", "account"): "another",
    ("Slurm", "qos"): "high",
    ("Slurm", "constraint"): "a100",
    ("Slurm", "setup"): ("module load cuda",),
    ("Slurm", "options"): {"nice": "1"},
    ("Benchmark", "overrides"): ("recipe.epochs=3",),
    ("Model", "name"): "renamed",
    ("Model", "label"): "relabelled",
    ("Model", "revision"): "0" * 40,
    ("Model", "config"): lambda value: {**value, "n_layer": 2} if value else None,
    ("Template", "text"): lambda value: value + " ",
    ("Template", "text_without_context"): "{instruction}",
    ("Template", "truncate"): lambda value: "context" if value == "instruction" else "instruction",
    ("DataUse", "dataset"): "generated-instructions",
    ("DataUse", "split"): lambda value: "test" if value == "train" else "train",
    ("DataUse", "options"): lambda value: {**value, "columns": {**value["columns"], "references": "completion"}},
    ("DataUse", "label"): "relabelled",
    ("RewardUse", "use"): "gleu",
    ("RewardUse", "options"): ROUGE_2,
    ("RewardUse", "label"): "relabelled",
    ("RewardModel", "use"): "sft",
    ("RewardModel", "options"): lambda value: {**value, "margin": 1.0},
    ("Recipe", "betas"): (0.9, 0.95),
    ("AdapterSettings", "targets"): ("c_attn",),
    ("Model", "base"): "someone/base",
    ("Model", "stop"): ("\n",),
    ("Decoding", "stop"): ("\n",),
    ("Template", "system"): "Be brief.",
    ("Decoding", "draws"): 3,
    ("MethodEntry", "use"): "drl",
    ("MethodEntry", "options"): lambda value: {**value, "sft_reduction": "seq_sum"},
    ("MethodEntry", "label"): "relabelled",
    ("MethodEntry", "active"): 1,
    ("MethodEntry", "reward_weights"): {"g": 0.75},
    ("MethodEntry", "trials"): lambda value: ({"coef": 0.3}, {"coef": 0.6}) if value else value,
    ("Tune", "options"): {"methods.tuned.coef": (0.3, 0.4)},
    ("Tune", "metric"): "rouge.rouge1",
    ("Tune", "seeds"): (7,),
    ("MethodEntry", "preset"): "official",
    ("MetricUse", "use"): "length",
    ("MetricUse", "options"): lambda value: {name: not flag for name, flag in value.items()},
    ("Scorer", "model"): "folder",
    ("Execution", "device"): "cuda",
    ("DataUse", "pair_with"): "other-rows",
    ("DataUse", "group"): "category",
    ("Compare", "baseline"): "eso",
    ("Budget", "checkpoints"): (0.25,),
    ("Budget", "steps"): (1,),
    ("ElsewhereEntry", "base"): "someone/base",
    ("ElsewhereEntry", "label"): "relabelled",
    ("ElsewhereEntry", "model"): "folder",
    ("ElsewhereEntry", "name"): "some/other",
    ("ElsewhereEntry", "revision"): "1" * 40,
    ("DataUse", "kind"): "prompts",
}

#: Places where a field that changes results elsewhere has nothing to change, and why.
IDLE: dict[Path_, str] = {
    ("train", "overlong"): "over-long rows always leave the training set",
    ("validation", "overlong"): "nothing is answered on the validation split",
    ("recipe",): "entries hold their own recipes already; this one gives evaluation its longest prompt",
    ("reward_model", "train", "overlong"): "over-long rows always leave the training set",
    ("reward_model", "test", "overlong"): "the reward model cuts its prompts itself",
    **{
        ("reward_model", "recipe", name): "a reward model has one schedule, samples nothing and always reads EOS"
        for name in (
            "method_epochs",
            "method_schedule",
            "method_learning_rate",
            "restart_schedule",
            "generate_length",
            "suppress_stops",
            "max_steps",
            "method_warmup_steps",
            "train_eos",
        )
    },
    ("methods", 0, "start"): "the shared supervised method is what others start from",
    ("methods", 0, "active"): "the supervised term is always on",
    ("methods", 0, "trials"): "the shared start is not tuned",
    ("methods", 0, "reward_weights"): "the supervised method reads no reward",
    ("methods", 0, "recipe", "generate_length"): "a supervised method samples nothing",
    ("methods", 0, "recipe", "suppress_stops"): "a supervised method samples nothing",
    ("methods", 4, "active"): "under a budget there is one way to be active",
    **{
        ("methods", 4, "recipe", name): "a budget says when training ends, on a schedule of its own"
        for name in ("method_epochs", "method_schedule", "max_steps")
    },
    **{("elsewhere", 0, name): "it lies in a folder" for name in ("name", "revision")},
    ("elsewhere", 0, "model"): "the model in whose tables it then stands lies in the same folder",
    **{
        ("methods", row, "recipe", name): "under continue nothing starts again"
        for row in (0, 1, 3, 5)
        for name in ("restart_schedule", "method_warmup_steps")
    },
}

#: Fields that change which of several stages a result is taken from, and no stage: tests/plan/test_tuning.py has them.
#: And one that would take a model's folder for a file: tests/execution/test_elsewhere.py has both.
CHOOSING = {("Tune", "metric"), ("ElsewhereEntry", "use")}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder that passes for a model as long as nobody loads it."""
    folder = tmp_path_factory.mktemp("model")
    (folder / "config.json").write_text('{"model_type": "gpt2"}', encoding="utf-8")
    (folder / "model.safetensors").write_bytes(b"weights")
    return folder


@pytest.fixture(scope="module")
def base(planner: Planner, data: Path, folder: Path) -> Benchmark:
    """Return a benchmark in which every kind of entry stands once."""
    pairs = {"dataset": "files", "path": str(data), "columns": {"chosen": "completion", "rejected": "prompt"}}
    budget = {"unit": "steps", "amount": 4, "checkpoints": [0.5], "steps": [2]}
    content = small(
        data,
        seeds=[0],
        models=[
            {"name": "new", "config": small(data)["models"][0]["config"], "vocab_size": 300},
            {"name": "folder", "path": str(folder)},
            "someone/model",
        ],
        validation={"dataset": "files", "path": str(data)},
        reward={"parts": [{"use": "rouge"}, {"use": "gleu", "label": "g", "weight": 0.5}, "reward-model"]},
        reward_model={"use": "bradley-terry", "train": pairs, "test": {**pairs, "split": "test"}},
        methods=[
            "sft",
            "eso",
            {"use": "eso", "label": "again", "recipe": {"method_schedule": "restart", "sampling": {"engine": "own"}}},
            {"use": "eso", "label": "tuned"},
            {"use": "eso", "label": "spent", "recipe": {"budget": budget}},
            {"use": "eso", "label": "low", "recipe": {"adapter": {"rank": 2}}},
            {"use": "checkpoint", "path": str(folder), "label": "theirs", "model": "new"},
            {"use": "checkpoint", "name": "some/body", "revision": "0" * 40, "model": "new"},
        ],
        tune={"options": {"methods.tuned.coef": [0.1, 0.2]}},
        metrics=["rouge", "perplexity", "reference-loss", "reward-model"],
        timing={},
        cases={"count": 2},
        overoptimisation={"gold": "rouge.rougeL", "proxy": "reward-model.reward", "kl": "reward-model.reward"},
    )
    return planner.load(content)


@pytest.fixture(scope="module")
def known(planner: Planner, base: Benchmark) -> dict[str, str]:
    return planner.ids(base)


def mutations(base: Benchmark, section: str, name: str) -> Iterator[tuple[Path_, Benchmark]]:
    for path, kind, field in leaves(base):
        if (kind.__name__, field) != (section, name):
            continue
        value = at(base, path)
        rule = SPECIAL.get((section, name))
        new = rule(value) if callable(rule) else rule if rule is not None else another(kind, name, value)
        if new == value:
            continue
        changed = replaced(base, path, new)
        if name == "use" or (section, name) == ("DataUse", "dataset"):  # its options go with it
            options: dict[str, Any] = _options(section, new, at(base, path[:-1]))
            changed = replaced(changed, (*path[:-1], "options"), options)
        if section == "MetricUse" and name == "use" and base.tune is not None and path[:2] == ("metrics", 0):
            changed = replaced(changed, ("tune", "metric"), "length.tokens")  # trials are compared by the first metric
        if (section, name) == ("DataUse", "dataset"):  # and so does its file
            changed = replaced(changed, (*path[:-1], "path"), None)
            changed = replaced(changed, (*path[:-1], "kind"), "demonstrations")
        if (section, name) == ("Model", "label"):  # and the rows that stand in its tables
            moved = [e.model_copy(update={"model": new if e.model == value else e.model}) for e in changed.elsewhere]
            changed = replaced(changed, ("elsewhere",), tuple(moved))
        yield path, changed


def _options(section: str, name: str, owner: Any) -> dict[str, Any]:
    kinds = {"DataUse": "dataset", "RewardUse": "reward", "MetricUse": "metric"}
    kind: Any = kinds.get(section, "method")
    same = owner.options if name == getattr(owner, "use", None) else {}
    return load_registry().options(kind, name, same).model_dump(mode="json")


FIELDS = sorted(
    (section.__name__, name, mark(info))
    for section in all_sections()
    for name, info in section.model_fields.items()
    if not any(_sections_in(info.annotation))
)


def test_every_field_is_classified() -> None:
    unmarked = [
        f"{section.__name__}.{name}"
        for section in all_sections()
        for name, info in section.model_fields.items()
        if mark(info) not in {"result", "runtime", "display"}
    ]
    assert unmarked == []


@pytest.mark.parametrize(
    ("section", "name"), [(s, n) for s, n, changes in FIELDS if changes == "result" and (s, n) not in CHOOSING]
)
def test_what_can_change_a_result_changes_an_id(
    section: str, name: str, planner: Planner, base: Benchmark, known: dict[str, str]
) -> None:
    changed = {}
    for path, other in mutations(base, section, name):
        if path[0] == "models" and _does_not_concern(section, name, at(base, path[:2])):
            continue
        changed[path] = set(planner.ids(other).values()) != set(known.values())
    silent = [path for path, differs in changed.items() if not differs and not _is_idle(path, name)]
    assert any(changed.values())
    assert silent == []


def _does_not_concern(section: str, name: str, model: Any) -> bool:
    """Whether a field of a model is about another kind of model: new, from a folder, from the hub."""
    if section != "Model":
        return False
    new, local = model.config is not None, model.path is not None
    return {"revision": new or local, "config": not new, "vocab_size": not new}.get(name, False)


def _is_idle(path: Path_, name: str) -> bool:
    return path in IDLE or (path[:1] in IDLE and name != "max_prompt_length") or path == ("methods", 1, "active", 0)


@pytest.mark.parametrize(("section", "name"), [(s, n) for s, n, changes in FIELDS if changes != "result"])
def test_what_cannot_change_a_result_changes_no_id(
    section: str, name: str, planner: Planner, base: Benchmark, known: dict[str, str], tmp_path: Path
) -> None:
    found = 0
    for path, other in _elsewhere(base, tmp_path) if name == "path" else mutations(base, section, name):
        if (section, name) == ("Model", "name") and at(base, path[:2]).config is None and not at(base, path[:2]).path:
            continue  # on the hub the name says which model it is
        found += 1
        assert sorted(planner.ids(other).values()) == sorted(known.values()), path
    assert found


def _elsewhere(base: Benchmark, tmp_path: Path) -> Iterator[tuple[Path_, Benchmark]]:
    """Yield the benchmark with each path of data or of a model replaced by that of a copy."""
    for path, section, name in leaves(base):
        if name == "path" and at(base, path) is not None:
            copy = tmp_path / f"{section.__name__}-{len(path)}-{path[1] if len(path) > 2 else ''}"
            shutil.copytree(at(base, path), copy, dirs_exist_ok=True)
            yield path, replaced(base, path, str(copy))


def test_the_source_of_the_core_and_of_each_plugin_is_part_of_ids(
    planner: Planner, base: Benchmark, known: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    usual = planner.registry.fingerprint
    for kind, name, stages in [
        ("dataset", "files", "prepare"), ("method", "sft", "train"), ("method", "eso", "train"),
        ("reward", "gleu", "train"), ("metric", "rouge", "score"),
    ]:  # fmt: skip
        with monkeypatch.context() as patch:
            patch.setattr(
                planner.registry, "fingerprint", lambda k, n, w=(kind, name): "0" * 64 if (k, n) == w else usual(k, n)
            )
            changed = {label for label, known_id in planner.ids(base).items() if known.get(label) != known_id}
        assert changed
        assert all(label.startswith(stages) or stages != "score" for label in changed)
    usual_code = code_digest
    for kind in ("rows", "train", "generate", "score"):
        with monkeypatch.context() as patch:
            patch.setattr(harness.plan.planner, "code_digest", lambda k, w=kind: "0" * 64 if k == w else usual_code(k))
            changed = {label for label, known_id in planner.ids(base).items() if known.get(label) != known_id}
        assert any(label.startswith("prepare" if kind == "rows" else kind) for label in changed)


def test_an_edited_file_is_other_data_and_the_same_rows_in_another_file_are_not(
    planner: Planner, tmp_path: Path
) -> None:
    one, two = write_rows(tmp_path / "one"), write_rows(tmp_path / "two")
    before = planner.ids(planner.load(small(one)))
    assert planner.ids(planner.load(small(two))) == before
    train, edited = two / "train.jsonl", two / "edited"
    edited.write_text(train.read_text(encoding="utf-8").replace("It is 1", "It is 9"), encoding="utf-8")
    os.utime(edited, ns=(train.stat().st_atime_ns, train.stat().st_mtime_ns))
    assert (edited.stat().st_size, edited.stat().st_mtime) == (train.stat().st_size, train.stat().st_mtime)
    edited.replace(train)
    after = planner.ids(planner.load(small(two)))
    changed = {label for label in after if after[label] != before[label]}
    assert all(label in changed for label in after if label.startswith(("train", "generate", "score")))


def test_edits_of_rows_that_are_not_used_change_no_trained_weights(planner: Planner, tmp_path: Path) -> None:
    one, two = write_rows(tmp_path / "one"), write_rows(tmp_path / "two", train=6)
    uses = {"train": {"dataset": "files", "limit": 4}}
    before = planner.ids(planner.load(small(one, train={**uses["train"], "path": str(one)})))
    after = planner.ids(planner.load(small(one, train={**uses["train"], "path": str(two)})))
    assert {label: i for label, i in after.items() if not label.startswith("prepare")} == {
        label: i for label, i in before.items() if not label.startswith("prepare")
    }
