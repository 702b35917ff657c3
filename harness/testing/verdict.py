"""The checks of one plugin that is installed, whatever its kind, as a list of rules that it keeps or breaks."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness.api import DatasetRegistration, MethodRegistration, MetricRegistration, RewardRegistration
from harness.testing.metrics import answers, check_metric
from harness.testing.rewards import COMPLETIONS, check_reward
from harness.testing.rules import Rule, heard

if TYPE_CHECKING:
    from collections.abc import Mapping

    from harness.plugins.registry import Plugin

#: What stands in columns of data that a plugin reads, since nothing says what they hold.
FILLED = "yes"


@dataclass(frozen=True)
class Verdict:
    """What became of the checks of a plugin."""

    rules: list[Rule]
    """In their order; after one that is broken none is looked at."""
    notes: list[str]
    """What the checks had to assume."""

    @property
    def kept(self) -> bool:
        """Whether every rule is."""
        return all(rule.broken is None for rule in self.rules)

    @property
    def seconds(self) -> float:
        """What the checks took."""
        return sum(rule.seconds for rule in self.rules)


def verdict(plugin: Plugin, options: Mapping[str, Any], source: Path | None = None) -> Verdict:
    """Check a plugin as :mod:`harness.testing` does in an author's tests; what it raises is a rule that is broken.

    Args:
        plugin: loaded, or failed to.
        options: as a benchmark file would give them.
        source: for a data set, what a user would give as ``path:``.
    """
    if plugin.registration is None:
        return Verdict([Rule("it loads", 0.0, plugin.reason or plugin.status)], [])
    notes: list[str] = []
    with heard() as rules:
        try:
            _check(plugin.registration, options, source, notes)
        except Exception as error:  # noqa: BLE001  # a plugin may raise anything
            if all(rule.broken is None for rule in rules):
                rules.append(Rule("it can be built with these options", 0.0, str(error) or type(error).__name__))
    return Verdict(rules, notes)


def _check(registration: Any, options: Mapping[str, Any], source: Path | None, notes: list[str]) -> None:
    match registration:
        case MethodRegistration():
            from harness.testing.methods import check_method  # it needs torch, which the others do without

            if registration.trains == "reward_model":
                notes.append("it trains a reward model: the checks of a method that trains a policy hold for it too")
            check_method(registration, options)
        case RewardRegistration():
            columns = sorted({*registration.reads} - {"references"})
            notes += [f"the column {name!r} was filled with {FILLED!r}" for name in columns]
            check_reward(registration, options, {name: [FILLED] * len(COMPLETIONS) for name in columns})
        case MetricRegistration():
            known = {*answers()[0].columns, "references"}
            notes += [f"answers have no column {name!r} here" for name in registration.reads if name not in known]
            check_metric(registration, options)
        case DatasetRegistration():
            from harness.testing.datasets import check_dataset

            if source is None and not registration.generated:
                notes.append("its own default was prepared, which may need the network; --source PATH names files")
            with tempfile.TemporaryDirectory() as folder:
                check_dataset(registration, Path(folder), options, source)
