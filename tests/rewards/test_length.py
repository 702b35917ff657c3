from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.api import InputError
from harness_plugins.rewards.length import LengthOptions, length_reward


def call(options: dict[str, Any], lengths: list[int], **columns: Any) -> list[float | None]:
    """Call the reward with completions of so many words, twice as many tokens."""
    return length_reward(LengthOptions(**options))(
        prompts=[""] * len(lengths),
        completions=[" ".join("w" * n) for n in lengths],
        completion_ids=[[7] * (2 * n) for n in lengths],
        **columns,
    )


def test_around() -> None:
    options = {"shape": "around", "target": 10, "tolerance": 0.5}
    assert call(options, [10, 5, 15, 0, 30, 8]) == [1.0, 0.0, 0.0, 0.0, 0.0, pytest.approx(0.6)]


def test_at_most_is_the_soft_overlong_punishment() -> None:
    # DAPO's: 0 up to max - cache, then (max - cache - length) / cache, -1 beyond max; here max 15, cache 5
    def published(length: int, longest: int = 15, cache: int = 5) -> float:
        if length <= longest - cache:
            return 0.0
        return (longest - cache - length) / cache if length <= longest else -1.0

    lengths = list(range(25))
    got = call({"shape": "at-most", "target": 10, "tolerance": 0.5}, lengths)
    assert got == pytest.approx([published(n) for n in lengths])


def test_at_least_is_its_mirror_image() -> None:
    assert call({"shape": "at-least", "target": 10, "tolerance": 0.5}, [0, 5, 8, 10, 99]) == [
        -1.0,
        -1.0,
        pytest.approx(-0.4),
        0.0,
        0.0,
    ]


def test_units() -> None:
    at = {"shape": "around", "target": 6}
    assert call({**at, "unit": "words"}, [6]) == [1.0]
    assert call({**at, "unit": "tokens"}, [3]) == [1.0]
    assert call({**at, "target": 11, "unit": "characters"}, [6]) == [1.0]  # six letters, five spaces


def test_the_closest_reference_is_the_target() -> None:
    references = [("w w w w", " ".join("w" * 10)), ("", "  "), (), ("w w", "w w w w")]
    assert call({}, [9, 4, 4, 3], references=references) == [pytest.approx(0.8), None, None, 0.0]


@given(
    st.sampled_from(["around", "at-most", "at-least"]),
    st.integers(1, 50),
    st.floats(0.01, 5),
    st.lists(st.integers(0, 100), min_size=1),
)
def test_stays_in_range_and_ends_where_tolerance_says(
    shape: str, target: int, tolerance: float, lengths: list[int]
) -> None:
    values = [v for v in call({"shape": shape, "target": target, "tolerance": tolerance}, lengths) if v is not None]
    assert len(values) == len(lengths)
    assert all((0 <= v <= 1) if shape == "around" else (-1 <= v <= 0) for v in values)
    best = 1.0 if shape == "around" else 0.0
    assert call({"shape": shape, "target": target, "tolerance": tolerance}, [target]) == [best]


def test_tokens_of_references_are_unknown() -> None:
    with pytest.raises(ValueError, match="`unit: tokens` needs a number as `target`"):
        LengthOptions(unit="tokens")


def test_reference_as_target_needs_the_column() -> None:
    with pytest.raises(InputError, match="reward 'length': the column 'references' is missing"):
        call({}, [3])
    assert call({"target": 3}, [3]) == [1.0]
