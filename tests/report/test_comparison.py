"""Letters say which rows differ, whatever they were compared by."""

from __future__ import annotations

import itertools

from hypothesis import given, settings
from hypothesis import strategies as st

from harness.report.statistics import Pair, letter_groups


@st.composite
def relations(draw: st.DrawFn) -> tuple[list[str], set[Pair]]:
    order = [chr(ord("A") + index) for index in range(draw(st.integers(1, 8)))]
    pairs = list(itertools.combinations(order, 2))
    chosen = draw(st.sets(st.sampled_from(pairs))) if pairs else set()
    flipped = draw(st.booleans())
    return order, {(b, a) if flipped else (a, b) for a, b in chosen}


@settings(max_examples=100)
@given(relations())
def test_rows_share_a_letter_if_and_only_if_they_do_not_differ(relation: tuple[list[str], set[Pair]]) -> None:
    order, different = relation
    letters = letter_groups(order, different)
    apart = {frozenset(pair) for pair in different}
    for first, second in itertools.combinations(order, 2):
        assert (set(letters[first]).isdisjoint(letters[second])) == (frozenset((first, second)) in apart)
    assert all(letters[row] for row in order)
    assert "a" in letters[order[0]]
    used = sorted(set("".join(letters.values())))
    assert used == [chr(ord("a") + index) for index in range(len(used))]


def test_letters_read_from_the_best_on() -> None:
    order = ["best", "next", "third", "last"]
    different = {("best", "third"), ("best", "last"), ("next", "last")}
    assert letter_groups(order, different) == {"best": "a", "next": "ab", "third": "bc", "last": "c"}
    assert letter_groups(order, set()) == dict.fromkeys(order, "a")
    assert letter_groups(order, set(itertools.combinations(order, 2))) == dict(zip(order, "abcd", strict=True))


def test_there_are_letters_for_any_number_of_groups() -> None:
    order = [str(number) for number in range(60)]
    letters = letter_groups(order, set(itertools.combinations(order, 2)))
    assert len(set(letters.values())) == 60
    assert (letters["0"], letters["25"], letters["26"], letters["59"]) == ("a", "z", "a1", "h2")
