"""The notes say which distributions the plugins behind the numbers come from."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from harness.report.plugins import makers, plugin_lines
from harness.spec.results.run import Maker


def plugin(kind: str, name: str, distribution: str, version: str, *rows: str, editable: bool = False) -> Maker:
    told: Any = {"kind": kind, "name": name, "distribution": distribution, "version": version}
    return Maker(**told, editable=editable, rows=rows)


def results(*plugins: Maker) -> Any:
    return SimpleNamespace(manifest=SimpleNamespace(plugins=plugins))


OWN = [
    plugin("method", "sft", "posttune-harness", "0.1.0", "sft"),
    plugin("metric", "rouge", "posttune-harness", "0.1.0"),
]


def test_the_harness_itself_is_named_once() -> None:
    assert plugin_lines(results(*OWN)) == ["Plugins: posttune-harness 0.1.0."]
    assert plugin_lines(results()) == []  # of a run that did not say


def test_others_are_named_with_their_rows() -> None:
    found = results(
        plugin("method", "mine", "my-method", "0.3.1", "a", "b"), plugin("reward", "r", "my-method", "0.3.1"), *OWN
    )
    assert plugin_lines(found) == [
        "Plugins of my-method 0.3.1: method mine (a, b), reward r.",
        "All other plugins: posttune-harness 0.1.0.",
    ]
    assert makers(found, "b", "mine") == "my-method 0.3.1"
    assert makers(found, "c", "mine") is None
    assert makers(found, "sft", "sft") is None


def test_what_says_little_is_said() -> None:
    found = results(
        plugin("method", "mine", "my-method", "", "a"),
        plugin("method", "mine", "my-method", "0.4", "b", editable=True),
        plugin("method", "mine", "my-method", "0.4", "a"),
    )
    assert plugin_lines(found) == [
        "Plugins of my-method 0.4: method mine (a).",
        "Plugins of my-method 0.4, an editable install: method mine (b).",
        "Plugins of my-method without a version: method mine (a).",
    ]
    assert makers(found, "a", "mine") == "my-method without a version and my-method 0.4"
