from __future__ import annotations

from typing import Any

from harness.api import NoOptions
from harness_plugins.metrics.length import Length


def test_by_hand(samples: Any, services: Any) -> None:
    made = [
        *samples([("one two three", ["a b", "a b c d e"]), ("one two", ["a", "a b c"])], tokens=9),
        *samples([("", ["a b c"]), ("x", []), ("x", ["", " "])], tokens=1, finished=False),
    ]
    result = Length(NoOptions()).score(made, services)
    assert result.values["tokens"] == [9, 9, 1, 1, 1]
    assert result.values["words"] == [3, 2, 0, 1, 1]
    assert result.values["ratio"] == [3 / 2, 2 / 1, 0.0, None, None]  # the closest, of two equally close the shorter
    assert result.values["truncated"] == [0, 0, 1, 1, 1]
    assert result.values["empty"] == [0, 0, 1, 0, 0]
    assert result.corpus == {"ratio": (3 + 2 + 0) / (2 + 1 + 3)}


def test_no_reference_at_all(samples: Any, services: Any) -> None:
    result = Length(NoOptions()).score(samples([("a", [])]), services)
    assert result.values["ratio"] == [None]
    assert result.corpus == {}
