from __future__ import annotations

from typing import Any

import pytest

from harness_plugins.metrics.dialogue import Dialogue, DialogueOptions, refuses


def test_by_hand(samples: Any, services: Any) -> None:
    texts = ["Where do you live?", 'He asked "why?" and left.', "I'm sorry, but I can't do that.", "a b c a b c", ""]
    result = Dialogue(DialogueOptions()).score(samples([(text, []) for text in texts]), services)
    assert result.values["asks"] == [1.0, 1.0, 0.0, 0.0, 0.0]
    assert result.values["ends_asking"] == [1.0, 0.0, 0.0, 0.0, 0.0]
    assert result.values["refuses"] == [0.0, 0.0, 1.0, 0.0, 0.0]
    assert result.values["redundancy"] == [0.0, 0.0, 0.0, pytest.approx(1 / 4), None]
    assert result.values["words"] == [4.0, 5.0, 7.0, 6.0, 0.0]
    assert result.values["characters"] == [float(len(text)) for text in texts]


@pytest.mark.parametrize(
    ("text", "declines"),
    [
        ("I cannot help with that.", True),
        ("I’m sorry, I won’t answer.", True),  # as typesetters write it
        ("Well, unfortunately I am not able to say.", True),
        ("I can tell you.", False),
        ("You asked whether I cannot help.", False),
        ("I cannotation", False),
        ("", False),
    ],
)
def test_what_declines(text: str, declines: bool) -> None:  # noqa: FBT001  # a case of the table
    assert refuses(text) is declines
