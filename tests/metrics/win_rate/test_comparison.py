"""Ties, orders and consistency, by hand and by every combination."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, Any

import pytest
from metrics.win_rate.cases import Services, answers, judged, options, others, sample

from harness_plugins.metrics.win_rate.comparison import Outcome, Pair, orders, settle
from harness_plugins.metrics.win_rate.options import WinRateOptions

if TYPE_CHECKING:
    from collections.abc import Sequence

    from harness.api import Sample
    from harness_plugins.metrics.win_rate.comparison import Choice

ITEM = sample(0, "mine", "yours")

#: Choices with mine first and with yours first, to (win, consistent, share of first places that won).
TABLE: dict[tuple[str | None, str | None], tuple[float | None, float | None, float | None]] = {
    ("first", "second"): (1.0, 1.0, 0.5),
    ("second", "first"): (0.0, 1.0, 0.5),
    ("first", "first"): (0.5, 0.0, 1.0),
    ("second", "second"): (0.5, 0.0, 0.0),
    ("tie", "tie"): (0.5, 1.0, None),
    ("first", "tie"): (0.5, 0.0, 1.0),
    ("tie", "second"): (0.5, 0.0, 0.0),
    ("second", "tie"): (0.5, 0.0, 0.0),
    ("tie", "first"): (0.5, 0.0, 1.0),
    ("first", None): (None, None, 1.0),
    ("second", None): (None, None, 0.0),
    ("tie", None): (None, None, None),
    (None, "first"): (None, None, 1.0),
    (None, "second"): (None, None, 0.0),
    (None, "tie"): (None, None, None),
    (None, None): (None, None, None),
}


@pytest.mark.parametrize("choices", list(itertools.product(("first", "second", "tie", None), repeat=2)))
def test_two_orders(choices: tuple[Choice | None, Choice | None]) -> None:
    ways = orders(ITEM, "mine", "yours", "both")
    outcomes = {way: Outcome(c, None if c else "unparsable") for way, c in zip(ways, choices, strict=True)}
    assert settle("mine", ways, outcomes) == Pair(*TABLE[choices])
    win, consistent, first = TABLE[choices]
    back = orders(ITEM, "yours", "mine", "both")
    assert settle("yours", back, outcomes) == Pair(None if win is None else 1 - win, consistent, first)


@pytest.mark.parametrize("choice", ["first", "second", "tie", None])
def test_one_order(choice: Choice | None) -> None:
    (way,) = orders(ITEM, "mine", "yours", "random")
    found = settle("mine", [way], {way: Outcome(choice)})
    won = {"first": way.first == "mine", "second": way.second == "mine"}
    expected = None if choice is None else 0.5 if choice == "tie" else float(won[choice])
    assert found == Pair(expected, None, {"first": 1.0, "second": 0.0}.get(str(choice)))


def test_the_random_order_is_fair_and_fixed_and_the_same_from_both_sides() -> None:
    first = 0
    for number in range(2000):
        item = sample(number, "", None)
        (way,) = orders(item, f"mine {number}", f"yours {number}", "random")
        assert orders(item, f"yours {number}", f"mine {number}", "random") == [way]
        first += way.first.startswith("mine")
    assert 900 < first < 1100  # 4.5 standard deviations


def offline(**more: Any) -> WinRateOptions:
    return WinRateOptions.model_validate({"judge": "rule", **more})


@pytest.mark.parametrize("judge", ["rule", "reward-model"])
def test_longer(services: Services, judge: str) -> None:
    made = [
        sample(0, "longer one", "short"),
        sample(1, "x", "longer"),
        sample(2, "equal", "fives"),
        sample(3, "", None),
    ]
    result = judged(made, services, WinRateOptions.model_validate({"judge": judge, "null_answer": "12345"}))
    assert result.values["win:chosen"] == [1.0, 0.0, 0.5, None]
    assert result.values["consistent:chosen"] == [1.0, 1.0, 1.0, None]
    assert result.values["null:chosen"] == [0.5, 0.0, 0.5, None]
    assert result.corpus == {"unparsable": 0, "refused": 0, "unanswered": 0, "calls": 0}
    assert "cost" not in result.corpus


def test_shorter_and_rouge(services: Services) -> None:
    made = [sample(0, "the cat sat", "the cat sat down"), sample(1, "a b c", "a b c d e")]
    services.rows = {"b": others(made, "nothing alike")}
    assert judged(made, services, offline(rule="shorter")).values["win:chosen"] == [1.0, 1.0]
    result = judged(made, services, offline(rule="rouge-l", against=["chosen", "b"]))
    assert result.values["win:chosen"] == [0.0, 0.0]  # nothing is closer to the reference than the reference
    assert result.values["win:b"] == [1.0, 1.0]
    assert result.values["null:b"] == [0.5, 0.5]


def test_equal_texts_with_other_references_have_verdicts_of_their_own(services: Services) -> None:
    """Two rows with the same prompt and answers: the rule reads the references, and they say the opposite."""
    texts = {"prompt": "Which?", "columns": {}}
    made = [sample(0, "a cat", "a cat", **texts), sample(1, "a cat", "a dog", **texts)]
    services.rows = {"b": [sample(n, "a dog", None, **texts) for n in range(2)]}
    result = judged(made, services, offline(rule="rouge-l", against=["b"]))
    assert result.values["win:b"] == [1.0, 0.0]
    assert judged(made[::-1], services, offline(rule="rouge-l", against=["b"])).values["win:b"] == [0.0, 1.0]


def test_prompts_that_read_alike_are_scored_by_their_own_fields(services: Services) -> None:
    """A template may render two rows differently whose fields, joined, are the same text."""

    class ByFields(Services):
        def rewards(self, samples: Sequence[Sample], texts: Sequence[str]) -> list[float]:
            return [
                len(text) * (1.0 if "context" in s.columns["fields"] else -1.0)
                for s, text in zip(samples, texts, strict=True)
            ]

    rows: list[dict[str, Any]] = [{"instruction": "a\nb"}, {"instruction": "a", "context": "b"}]
    made = [
        sample(n, "longer one", "short", prompt="a\nb", columns={"fields": fields}) for n, fields in enumerate(rows)
    ]
    chosen = WinRateOptions.model_validate({"judge": "reward-model"})
    assert judged(made, ByFields(services.folder), chosen).values["win:chosen"] == [0.0, 1.0]


def test_a_column_of_the_data_set(services: Services) -> None:
    made = [sample(0, "longer", "r", columns={"human": "short"}), sample(1, "x", "r", columns={})]
    result = judged(made, services, offline(column="human"))
    assert result.values["win:chosen"] == [1.0, None]


def test_answers_do_not_depend_on_their_neighbours(services: Services) -> None:
    made = answers(9)
    whole = judged(made, services, offline()).values["win:chosen"]
    assert [judged([one], services, offline()).values["win:chosen"][0] for one in made] == list(whole)


def test_the_signature_tells_what_makes_verdicts_comparable(services: Services) -> None:
    plain = judged([], services, options()).signature
    assert plain.startswith(
        "win-rate|judge:judge-1|order:both|protocol:1|reading:2|template:own|criterion:is more helpful|ties:no"
    )
    assert judged([], services, options(order="random")).signature != plain
    assert "127.0.0.1" not in plain
