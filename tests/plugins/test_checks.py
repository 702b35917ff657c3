"""Every rule for a registration, broken once."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Annotated, Any, cast

import pytest
from pydantic import AliasChoices, AliasPath, BaseModel, ConfigDict, Field

from harness.api import (
    Column,
    DatasetRegistration,
    MethodRegistration,
    MetricRegistration,
    Options,
    Preset,
    RewardRegistration,
)
from harness.api.registration import RESERVED_KEYS
from harness.benchmark.data import DATA_KEYS
from harness.benchmark.methods import METHOD_KEYS
from harness.benchmark.scores import PART_KEYS, REWARD_KEYS
from harness.errors import PluginError
from harness.plugins.checks import check_registration

if TYPE_CHECKING:
    from harness.api import Kind, Registration


class Opts(Options):
    coef: float = 0.1
    layers: int = 2


class Lax(BaseModel):
    coef: float = 0.1


class Inner(BaseModel):
    rate: float = 0.0


class Nested(Options):
    inner: list[Inner] | None = None


class Grouped(Options):
    opts: Opts = Opts()


class Reserved(Options):
    sweep: int = 1


class Aliased(Options):
    model_config = ConfigDict(populate_by_name=True)
    which: Annotated[str, Field(alias="use")] = "a"


class Chosen(Options):
    where: Annotated[str, Field(validation_alias=AliasChoices("folder", AliasPath("path", 0)))] = "a"


class Recursive(Options):
    inner: Recursive | None = None
    many: dict[str, tuple[Opts, ...]] = {}  # noqa: RUF012  # pydantic copies defaults


GOOD: dict[Kind, Registration] = {
    "method": MethodRegistration(name="kto-2", summary="s", build="a.b:C", options=Opts),
    "reward": RewardRegistration(name="rouge", summary="s", build=print, range=(0, 1)),
    "dataset": DatasetRegistration(name="dolly", summary="s", build="a:B.make"),
    "metric": MetricRegistration(name="rouge", summary="s", build="a:b", columns=(Column("r", "R"),)),
}


@pytest.mark.parametrize("kind", GOOD)
def test_good_registrations(kind: Kind) -> None:
    check_registration(kind, GOOD[kind])


@pytest.mark.parametrize(
    ("kind", "field", "value", "message"),
    [
        ("method", "name", "KTO", "a name is lower-case letters, digits and single hyphens"),
        ("method", "name", "my_kto", "a name is"),
        ("method", "name", "kto-", "a name is"),
        ("method", "name", "", "a name is"),
        ("method", "name", None, "a name is"),
        ("method", "summary", " ", "`summary` must be one line"),
        ("method", "summary", "two\nlines", "`summary` must be one line"),
        ("method", "source", None, "`source` must be text"),
        ("method", "build", "my.module", "`build` must be 'package.module:name' or a callable, got 'my.module'"),
        ("method", "build", "my module:x", "`build` must be"),
        ("method", "build", 3, "`build` must be"),
        ("method", "modules", "a.b", "`modules` must be a tuple of names"),
        ("method", "modules", ("a", "a"), "`modules` must be different names"),
        ("method", "options", dict, "`options` must be a subclass of harness.api.Options"),
        ("method", "options", Opts(), "`options` must be a subclass"),
        ("method", "options", Lax, "options model Lax would swallow misspelt options"),
        ("method", "options", Nested, "options model Inner would swallow misspelt options"),
        ("method", "options", Reserved, "option 'sweep' has a name that benchmark files reserve"),
        ("method", "options", Aliased, "option 'use' (an alias of 'which') has a name that"),
        ("dataset", "options", Chosen, "option 'path' (an alias of 'where') has a name that"),
        ("method", "needs", {"rewards"}, "got 'rewards'; expected critic, labels, preferences, reference, reward"),
        ("method", "needs", "reward", "`needs` must be a set"),
        ("method", "start", "later", "`start` has an unknown value, got 'later'"),
        ("method", "presets", {"p": {}}, "preset 'p' must be a Preset"),
        ("method", "presets", {"p": Preset({"cof": 1})}, "unknown option, got 'cof'; did you mean 'coef'?"),
        ("method", "presets", {"p": Preset(active=cast("Any", "no"))}, "`presets['p'].active` has an unknown value"),
        ("method", "default_preset", "paper", "`default_preset` is none of the presets, got 'paper'"),
        ("reward", "range", (1.0, 0.0), "`range` must be (smallest, largest) or None"),
        ("reward", "range", 1.0, "`range` must be"),
        ("reward", "range", ("a", "b"), "`range` must be"),
        ("dataset", "splits", (), "`splits` must be one or more different names"),
        ("dataset", "splits", "train", "`splits` must be a tuple of names"),
        ("dataset", "splits", ("train", "train"), "`splits` must be one or more different names"),
        ("dataset", "provides", "pairs", "`provides` has an unknown value"),
        ("metric", "columns", (), "it has neither `columns` nor `corpus`"),
        ("metric", "columns", ("r",), "`columns` must be a tuple of Column"),
        ("metric", "columns", (Column("r", "R"), Column("r", "S")), "`columns` must be different names"),
        ("metric", "corpus", Column("r", "R"), "`corpus` must be a tuple of Column"),
        ("metric", "by_options", "later", "`by_options` must be a function"),
        ("metric", "headline", "s", "`headline` has an unknown value, got 's'; expected r"),
        ("metric", "needs", {"model"}, "`needs` has an unknown value, got 'model'"),
        ("metric", "role", "scores", "`role` has an unknown value, got 'scores'; expected fluency"),
    ],
)  # fmt: skip
def test_what_is_refused(kind: Kind, field: str, value: Any, message: str) -> None:
    broken = dataclasses.replace(GOOD[kind], **{field: value})
    with pytest.raises(PluginError) as raised:
        check_registration(kind, broken)
    assert message in str(raised.value)
    assert str(raised.value).startswith(f"{kind} {broken.name!r}: ")


@pytest.mark.parametrize("key", sorted(RESERVED_KEYS))
def test_every_reserved_key_is_refused(key: str) -> None:
    options = type("Taken", (Options,), {"__annotations__": {key: int}, key: 1, "__module__": __name__})
    with pytest.raises(PluginError, match=f"option '{key}' has a name that benchmark files reserve"):
        check_registration("reward", RewardRegistration(name="r", summary="s", build=print, options=options))


def test_options_may_be_nested_and_recursive() -> None:
    check_registration("method", dataclasses.replace(GOOD["method"], options=Recursive))


def test_a_preset_may_set_options_within_a_group_and_no_others() -> None:
    grouped = MethodRegistration(name="kto-2", summary="s", build="a.b:C", options=Grouped)
    check_registration("method", dataclasses.replace(grouped, presets={"p": Preset({"opts": {"coef": 1.0}})}))
    for given, got, near in (({"opts": {"cof": 1}}, "opts.cof", "opts.coef"), ({"opt": {}}, "opt", "opts")):
        with pytest.raises(PluginError, match=f"unknown option, got '{got}'; did you mean '{near}'"):
            check_registration("method", dataclasses.replace(grouped, presets={"p": Preset(given)}))


def test_a_metric_may_have_corpus_numbers_or_columns_by_options_only() -> None:
    corpus = MetricRegistration(
        name="bleu", summary="s", build="a:b", columns=(), corpus=(Column("b", "B"),), role="other"
    )
    check_registration("metric", corpus)
    adapter = MetricRegistration(name="evaluate", summary="s", build="a:b", columns=(), by_options=lambda _: {})
    check_registration("metric", adapter)


@pytest.mark.parametrize(
    ("settings", "got"),
    [
        ({"columns": ()}, "`corpus` alone"),
        ({"columns": (Column("a", "A"),), "headline": "b"}, "headline 'b', which `corpus` has"),
    ],
)
def test_no_corpus_number_stands_for_a_score(settings: dict[str, Any], got: str) -> None:
    whole = MetricRegistration(name="m", summary="s", build="a:b", corpus=(Column("b", "B"),), **settings)
    with pytest.raises(PluginError, match="the number that stands for a score must be one of `columns`") as raised:
        check_registration("metric", whole)
    assert got in str(raised.value)


def test_every_key_that_a_benchmark_file_reads_is_reserved() -> None:
    read = {*DATA_KEYS, *METHOD_KEYS, *PART_KEYS, *REWARD_KEYS, "use"}
    assert read <= RESERVED_KEYS
