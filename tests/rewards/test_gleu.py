from __future__ import annotations

import pytest
from nltk.translate.gleu_score import sentence_gleu

from harness.api import InputError, NoOptions
from harness_plugins.rewards.gleu import gleu_reward
from harness_plugins.text.tokenise13a import tokenise_13a


def test_equals_nltks_sentence_gleu() -> None:
    completions = ["The cat sat, on the mat.", "", "no match", "one reference"]
    references = [("The cat is on the mat.", "The cat sat."), ("x",), ("other words",), ()]
    expected = [
        sentence_gleu([tokenise_13a(text) for text in known], tokenise_13a(answer)) if known else None
        for answer, known in zip(completions, references, strict=True)
    ]
    got = gleu_reward(NoOptions())(
        prompts=[""] * 4, completions=completions, completion_ids=[[]] * 4, references=references
    )
    assert got == expected
    assert got[0] is not None
    assert 0 < got[0] < 1


def test_needs_references() -> None:
    with pytest.raises(InputError, match="reward 'gleu': the column 'references' is missing"):
        gleu_reward(NoOptions())(prompts=[""], completions=["a"], completion_ids=[[]])
