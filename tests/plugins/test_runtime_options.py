"""Options that say how, and not what: taken apart and put together again."""

from __future__ import annotations

from harness.api import Options, runtime
from harness.plugins.runtime_options import join_options, split_options


class Inner(Options):
    kept: int = 1
    how: int = runtime(2)


class Outer(Options):
    a: str = "a"
    speed: float = runtime(0.5, gt=0)
    inner: Inner = Inner()
    several: tuple[int, ...] = (1, 2)
    nothing: Inner | None = None


def test_cut_and_joined() -> None:
    options = Outer(inner=Inner(how=7))
    result, how = split_options(options)
    assert result == {"a": "a", "inner": {"kept": 1}, "several": [1, 2], "nothing": None}
    assert how == {"speed": 0.5, "inner": {"how": 7}}
    assert join_options(result, how) == options.model_dump(mode="json")


def test_options_without_any_are_whole() -> None:
    class Plain(Options):
        x: int = 1

    assert split_options(Plain()) == ({"x": 1}, {})
    assert join_options({"x": 1}, {}) == {"x": 1}
