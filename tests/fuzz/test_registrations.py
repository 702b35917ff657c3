"""Whatever a plugin registers: it can be listed, shown and built from, or it failed with one line that says why."""

from __future__ import annotations

import contextlib
import json
import sys
import types
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import pytest
from click.testing import CliRunner
from fuzz.campaign import Campaign
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, create_model
from report.synthetic import in_memory

from harness.api import (
    Column,
    DatasetRegistration,
    MethodRegistration,
    MetricRegistration,
    Options,
    Preset,
    Provenance,
    RewardRegistration,
    hookimpl,
)
from harness.benchmark import json_schema
from harness.cli import main
from harness.cli.plugins import _details
from harness.errors import HarnessError, PluginError
from harness.plugins.loader import load_registry
from harness.plugins.registry import Registry

if TYPE_CHECKING:
    from harness.plugins.registry import Plugin

REGISTRATIONS = Campaign("registrations", few=150, many=3_000)
CORPUS = Path(__file__).parent / "corpus" / "plugin-files"
MODULE: Final = "fuzzed_plugin"

FORMS: Final[dict[str, tuple[type[Any], dict[str, Any]]]] = {
    "harness_register_methods": (MethodRegistration, {
        "needs": frozenset({"reward"}), "presets": {"paper": Preset(options={}, recipe={"epochs": 2})},
        "default_preset": "paper", "start": "branch", "active": "last", "logs": (Column("a", "A"),), "reads": (),
    }),
    "harness_register_rewards": (RewardRegistration, {
        "range": (0.0, 1.0), "reads": ("references",), "needs": frozenset(),
    }),
    "harness_register_datasets": (DatasetRegistration, {
        "provides": "demonstrations", "splits": ("train", "test"), "generated": True, "licence": "CC0-1.0",
    }),
    "harness_register_metrics": (MetricRegistration, {
        "columns": (Column("a", "A"),), "corpus": (Column("b", "B", None),), "headline": "a", "role": "score",
        "draws": 1, "opponents": (), "models_of": (), "retryable": (),
    }),
}  # fmt: skip


class Good(Options):
    """Options as they should be."""

    coef: float = 0.5
    sizes: tuple[int, ...] = (1,)


class NotStrict(BaseModel):
    """No child of the class that options must be."""

    coef: float = 0.5


WORDS = st.sampled_from([
    "", " ", "a", "A b", "../x", "a.b", "a:b", "a,b", "no", "paper", "train", "test", "reward", "policy", "last", "\n",
    "\u202e", "é", "x" * 300, "[b]", "{x}", "=1", "sft", "use", "recipe", "module:Name", "json:loads", "os", "os:nope",
]) | st.text(max_size=5)  # fmt: skip
ODD = st.sampled_from([
    Good, NotStrict, int, object(), json.loads, print, Good(), Preset(options={"coef": 2.0}), Preset(options={"x": 1}),
    Column("a", "A"), Column("", ""), Column("a", "B", higher_is_better=False), float("nan"), frozenset({"reward"}),
    Provenance("x"), len, list, lambda options: options, lambda *_: 1 / 0,
])  # fmt: skip
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-3, 3) | st.floats() | WORDS | ODD,
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.lists(inner, max_size=3).map(tuple)
        | st.dictionaries(WORDS, inner, max_size=2)
        | st.frozensets(WORDS, max_size=2)
    ),
    max_leaves=4,
)
TYPES = st.sampled_from([int, float, str, bool, list[int], dict[str, float], tuple[int, ...], object, Any, type, bytes])


FIELDS = st.dictionaries(
    st.sampled_from(["coef", "use", "recipe", "sweep", "label", "size", "_x", "model_config"]),
    st.tuples(TYPES, VALUES),
    max_size=3,
)


def made_options(fields: dict[str, Any]) -> Any:
    """Return a class of options with types and defaults that may not fit each other; a number where there is none."""
    try:
        return create_model("Made", __base__=Options, **fields)
    except Exception:  # noqa: BLE001  # pydantic's many words for a class that cannot be
        return 3


@st.composite
def offers(draw: st.DrawFn) -> tuple[str, Any]:
    """Return a hook's name and what implements it."""
    hook = draw(st.sampled_from([*FORMS]))
    kind, usual = FORMS[hook]
    given = {"name": "made", "summary": "s", "build": "json:loads", "options": Good, **usual}
    for _ in range(draw(st.integers(0, 2))):
        name = draw(st.sampled_from(sorted({*given, "source", "may_read", "by_options", "kind_of", "splits_of", "zq"})))
        given[name] = draw(VALUES)
    makes = draw(st.integers(0, 9))
    if draw(st.integers(0, 3)) == 0:
        given["options"] = made_options(draw(FIELDS))
    whole = draw(VALUES) if makes == 1 else ...

    @hookimpl
    def implementation() -> Any:
        return [kind(**given)] if whole is ... else whole

    implementation.__name__ = hook
    return hook, implementation


def loaded(hook: str, implementation: Any) -> list[Plugin]:
    """Load a module that has one hook."""
    module = types.ModuleType(MODULE)
    setattr(module, hook, implementation)
    sys.modules[MODULE] = module
    try:
        entry = EntryPoint(name="fuzzed", value=MODULE, group="harness")
        return list(load_registry(entry_points=[entry], environment={}, strict=False).plugins)
    finally:
        del sys.modules[MODULE]


def used(row: Plugin) -> None:
    """Do with a plugin what commands do before they build anything."""
    registry = Registry([row])
    json.dumps([row.name, json_schema(registry)], allow_nan=False)
    assert row.kind is not None
    assert registry.names(row.kind) == (row.name,)
    for act in (
        lambda: json.dumps(_details(row), allow_nan=False),
        lambda: registry.fingerprint(row.kind, row.name),
        lambda: registry.options(row.kind, row.name, {}),
    ):
        with contextlib.suppress(HarnessError, ValueError):  # a validation error is what a message is made of
            act()


@REGISTRATIONS.settings(0.8)
@given(offers())
def test_any_registration(offer: tuple[str, Any]) -> None:
    with REGISTRATIONS.case() as said:
        rows = loaded(*offer)
        for row in rows:
            if row.status == "failed":
                assert row.reason
                assert row.reason.isprintable(), row.reason
                assert len(row.reason) < 2_000
            elif row.registration is not None:
                used(row)
        said("failed" if any(row.status == "failed" for row in rows) else "loaded")


FILE = """from harness.api import Options, RewardRegistration


class Made(Options):
    most: int = 5


def shortness(completions, most=5, **_):
    return [float(len(text) <= most) for text in completions]


reward = RewardRegistration(name="shortness", summary="s", build=shortness, options=Made, function=True)
"""
SWAPS = st.sampled_from(
    ["name", "=", ":", "(", ")", '"', "\n", "    ", "int", "5", "None", "Made", "lambda", "\t", "é", "\0"]
)


@REGISTRATIONS.settings(0.2)
@given(st.lists(st.tuples(st.integers(0, len(FILE)), st.integers(0, 4), SWAPS), min_size=1, max_size=3))
def test_a_file_with_anything_in_it(cuts: list[tuple[int, int, str]]) -> None:
    text = FILE
    for start, length, instead in cuts:
        text = text[:start] + instead + text[start + length :]
    with REGISTRATIONS.case() as said:
        said(shown(text))


def shown(text: str) -> str:
    with in_memory() as folder:
        (folder / "my_fuzzed.py").write_text(text, encoding="utf-8")
        try:
            load_registry(entry_points=(), files=[folder / "my_fuzzed.py"], environment={})
        except PluginError as refusal:
            error = str(refusal)
        else:
            return "loaded"
        finally:
            sys.modules.pop("my_fuzzed", None)
    assert "my_fuzzed.py" in error
    return "failed"


@pytest.mark.parametrize("path", sorted(CORPUS.iterdir()), ids=lambda path: path.stem)
def test_the_corpus(path: Path) -> None:
    """Of the command line: a plugin that cannot be used is one message."""
    found = CliRunner().invoke(main, ["plugins", "show", "made", "--plugin", str(path)])
    assert isinstance(found.exception, SystemExit)
    assert found.exit_code == 2
