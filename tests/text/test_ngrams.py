from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from harness_plugins.text.ngrams import ngrams, repeated_share, total_ngrams

if TYPE_CHECKING:
    from collections.abc import Sequence


def test_ngrams_stand_in_order() -> None:
    assert list(ngrams("abcd", 2)) == [("a", "b"), ("b", "c"), ("c", "d")]
    assert list(ngrams("abcd", 4)) == [tuple("abcd")]
    assert list(ngrams("abcd", 5)) == []


@pytest.mark.parametrize("length", range(6))
@pytest.mark.parametrize("order", range(1, 5))
def test_the_total_is_their_number(length: int, order: int) -> None:
    assert total_ngrams(length, order) == len(list(ngrams("abcdef"[:length], order)))


@pytest.mark.parametrize(
    ("tokens", "order", "expected"),
    [
        ("aaaa", 1, 0.75),  # three of four are repeated
        ("abab", 2, 1 / 3),  # ab ba ab
        ("abcd", 2, 0.0),
        ("ab", 3, None),
        ("", 1, None),
    ],
)
def test_repeated_share(tokens: Sequence[str], order: int, expected: float | None) -> None:
    assert repeated_share(tokens, order) == (None if expected is None else pytest.approx(expected, abs=1e-15))
