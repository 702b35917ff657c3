"""Invented plugins in a real registry, and a small file that uses them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Literal, Protocol, Self

from pydantic import Field, model_validator

from harness.api import (
    Column,
    DatasetRegistration,
    MethodRegistration,
    MetricRegistration,
    Options,
    Preset,
    RewardRegistration,
)
from harness.plugins.registry import Plugin, Registry

if TYPE_CHECKING:
    from harness.api import Kind, Registration
    from harness.spec.benchmark import Benchmark

SMALL = """\
benchmark: small
seeds: [0, 1]
models: [org/tiny]
template: {text: "{instruction} {context}:"}
train: tales
evaluate: [tales]
reward: {use: match, variant: whole}
recipe: {epochs: 3, learning_rate: 1e-3}
decoding:
  t1: {temperature: 1.0, draws: 2}
methods:
  - tune
  - {use: push, coef: 0.5}
metrics: [overlap]
"""


class TuneOptions(Options):
    reduction: Literal["mean", "sum"] = "mean"


class Schedule(Options):
    start: float = 1.0
    steps: tuple[int, ...] = ()


class PushOptions(Options):
    coef: Annotated[float, Field(ge=0)] = 0.1
    temperatures: Annotated[tuple[float, ...], Field(min_length=2)] = (1.0, 2.0)
    mode: Literal["soft", "hard"] = "soft"
    gate: float | None = None
    schedule: Schedule = Schedule()
    word: str = ""

    @model_validator(mode="after")
    def _gate(self) -> Self:
        if self.mode == "hard" and self.gate is None:
            raise ValueError("mode: hard needs a gate")
        return self


class FragileOptions(Options):
    size: int = 1

    @model_validator(mode="after")
    def _raise(self) -> Self:
        if self.size == 0:
            raise ZeroDivisionError("size is nought")
        return self


class MatchOptions(Options):
    variant: Literal["part", "whole"] = "part"


class TalesOptions(Options):
    revision: str | None = None
    language: Literal["en", "de"] = "en"


class MadeOptions(Options):
    variant: Literal["base", "shifted"] = "base"


def nothing(options: Any) -> Any:
    raise AssertionError("resolving a file builds no plugin")


PUSH_PRESETS = {
    "paper": Preset(options={"coef": 0.25}, recipe={"epochs": 9}),
    "official": Preset(
        options={"coef": 0.75, "temperatures": [0.5, 1.5]},
        recipe={"learning_rate": 5e-4, "weight_decay": 0.01},
        active="all_but_last",
    ),
}

REGISTRATIONS: list[tuple[Kind, Registration]] = [
    ("method", MethodRegistration(
        name="tune", summary="s", build=nothing, options=TuneOptions, supervised=True,
        presets={"official": Preset(options={"reduction": "sum"}, recipe={"epochs": 7})})),
    ("method", MethodRegistration(
        name="push", summary="s", build=nothing, options=PushOptions, needs=frozenset({"reward"}),
        presets=PUSH_PRESETS, default_preset="paper")),
    ("method", MethodRegistration(
        name="pair", summary="s", build=nothing, needs=frozenset({"preferences", "reference"}), start="after")),
    ("method", MethodRegistration(name="fragile", summary="s", build=nothing, options=FragileOptions)),
    ("reward", RewardRegistration(name="match", summary="s", build=nothing, options=MatchOptions)),
    ("reward", RewardRegistration(name="brevity", summary="s", build=nothing)),
    ("dataset", DatasetRegistration(name="tales", summary="s", build=nothing, options=TalesOptions)),
    ("dataset", DatasetRegistration(name="made", summary="s", build=nothing, options=MadeOptions, generated=True)),
    ("dataset", DatasetRegistration(
        name="choices", summary="s", build=nothing, provides="preferences", splits=("train", "test"))),
    ("metric", MetricRegistration(
        name="overlap", summary="s", build=nothing, options=MatchOptions,
        columns=(Column("overlap", "O", higher_is_better=True), Column("plain", "P")))),
    ("metric", MetricRegistration(name="size", summary="s", build=nothing, columns=(Column("size", "S"),))),
]  # fmt: skip


class Load(Protocol):
    def __call__(self, text: str = SMALL, *overrides: str, profile: str | None = None) -> Benchmark: ...


class Mistakes(Protocol):
    def __call__(self, text: str, *overrides: str, profile: str | None = None) -> list[str]: ...


def invented_registry() -> Registry:
    return Registry(
        Plugin(kind, one.name, f"{kind}-{one.name}", "invented", "1.0", "invented", "ok", registration=one)
        for kind, one in REGISTRATIONS
    )
