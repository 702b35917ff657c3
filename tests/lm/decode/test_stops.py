"""Several stop tokens, and strings, end an answer however it is decoded."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
import torch
from lm.ragged import sharpen, some_prompts

from harness.lm.cuda.sizes import LOOK_EVERY
from harness.lm.decode.beam import BeamParams, beam
from harness.lm.decode.noise import Noise
from harness.lm.decode.sampling import SamplingParams, sample
from harness.text.stops import Stops, answer_texts

if TYPE_CHECKING:
    from collections.abc import Callable

    from harness.api import Completions, Prompts
    from harness.lm.model.policy import Policy

    Make = Callable[..., Policy]

LIMIT = 24
TEMPERATURES = (0.0, 0.7, 1.0, 1.5)


def drawn(policy: Policy, prompts: Prompts, **options: Any) -> Completions:
    params = SamplingParams(**{"temperatures": TEMPERATURES, "max_new_tokens": LIMIT, **options})
    names = [f"example-{number}" for number in range(len(prompts))]
    return sample(policy, prompts, names, params, Noise(3, "test", 5)).completions


def rows(done: Completions) -> list[list[int]]:
    lengths = done.lengths.flatten().tolist()
    return [row[:length] for row, length in zip(done.ids.flatten(0, 1).tolist(), lengths, strict=True)]


def string_in(policy: Policy, texts: list[list[int]]) -> str:
    """Return two characters that some of the texts have, and not at their beginning."""
    decoded = [policy.tokeniser.decode_exact(text) for text in texts]
    pairs = [text[place : place + 2] for text in decoded for place in range(4, len(text) - 3)]
    pairs = [pair for pair in pairs if pair.isprintable() and pair.isascii()]
    return max(dict.fromkeys(pairs), key=lambda pair: sum(pair in text for text in decoded))


def expected(policy: Policy, row: list[int]) -> list[int]:
    """The shortest beginning of a row that a stop ends, found by trying every one."""
    for end in range(1, len(row) + 1):
        text = policy.tokeniser.decode_exact(row[:end])
        if row[end - 1] in policy.stops.ids or any(stop in text for stop in policy.stops.texts):
            return row[:end]
    return row


@pytest.mark.parametrize("look_every", [1, 5])
@pytest.mark.parametrize("family", ["gpt2", "neox"])
def test_an_answer_ends_at_whichever_stop_comes_first(
    make_policy: Make, monkeypatch: pytest.MonkeyPatch, family: str, look_every: int
) -> None:
    monkeypatch.setitem(LOOK_EVERY, "cpu", look_every)
    policy = sharpen(make_policy(family))
    prompts = some_prompts(policy, [3, 9, 6])
    whole = rows(drawn(policy, prompts))
    token, string = whole[1][6], string_in(policy, whole)
    policy.end_at(policy.stops.also([token], [string]))
    done = drawn(policy, prompts)
    assert rows(done) == [expected(policy, row) for row in whole]
    by_token = [row[-1] in policy.stops.ids for row in rows(done)]
    assert done.finished.flatten().tolist() == [
        token_ended or string in policy.tokeniser.decode_exact(row)
        for row, token_ended in zip(rows(done), by_token, strict=True)
    ]
    ends = [end for _, end in answer_texts(policy.tokeniser, policy.stops, done)]
    assert {policy.tokeniser.name(token), repr(string)} <= set(ends)
    for (text, end), row in zip(answer_texts(policy.tokeniser, policy.stops, done), rows(done), strict=True):
        assert string not in text
        if end == repr(string):
            assert policy.tokeniser.decode_exact(row).lstrip().startswith(text)


@pytest.mark.parametrize("family", ["gpt2", "neox"])
def test_greedy_and_beams_of_one_end_where_transformers_does(make_policy: Make, family: str) -> None:
    policy = sharpen(make_policy(family))
    prompts = some_prompts(policy, [3, 9, 6])
    whole = rows(drawn(policy, prompts, temperatures=(0.0,)))
    policy.end_at(policy.stops.also([whole[1][5], whole[2][7]]))
    texts = rows(drawn(policy, prompts, temperatures=(0.0,)))
    assert len({len(text) for text in texts}) > 1
    for place, text in enumerate(texts):
        ids = prompts.ids[place : place + 1, : prompts.lengths[place]]
        model: Any = policy.model
        # what was said of stops is in the settings for generation
        out = model.generate(ids, attention_mask=torch.ones_like(ids), do_sample=False, max_new_tokens=LIMIT)
        assert out[0, ids.shape[1] :].tolist() == text
    single = beam(policy, prompts, BeamParams(1, 1, 0.0, LIMIT))
    assert rows(single) == texts
    assert single.finished.flatten().tolist() == [text[-1] in policy.stops.ids for text in texts]


def test_beams_end_at_strings(make_policy: Make) -> None:
    policy = sharpen(make_policy())
    prompts = some_prompts(policy, [3, 9, 6])
    plain = rows(drawn(policy, prompts, temperatures=(0.0,)))
    policy.end_at(policy.stops.also([], [string_in(policy, plain)]))
    greedy, single = drawn(policy, prompts, temperatures=(0.0,)), beam(policy, prompts, BeamParams(1, 1, 0.0, LIMIT))
    assert rows(single) == rows(greedy) != plain
    assert single.finished.tolist() == greedy.finished.tolist()
    several = beam(policy, prompts, BeamParams(4, 2, 0.5, LIMIT))
    for row, finished in zip(rows(several), several.finished.flatten().tolist(), strict=True):
        assert expected(policy, row) == row
        ended = row[-1] in policy.stops.ids or policy.stops.end(policy.tokeniser, row) is not None
        assert finished == ended


def test_suppressed_stops_end_nothing(make_policy: Make) -> None:
    policy = sharpen(make_policy())
    prompts = some_prompts(policy, [3, 9])
    whole = rows(drawn(policy, prompts))
    policy.end_at(policy.stops.also([whole[0][2], whole[1][3]], [string_in(policy, whole)]))
    for done in (drawn(policy, prompts, suppress_stops=True), beam(policy, prompts, BeamParams(2, 1, 0.0, 8, True))):
        assert not bool(done.finished.any())
        assert not {token for row in rows(done) for token in row} & set(policy.stops.ids)
        assert len({len(row) for row in rows(done)}) == 1


def test_stops_are_saved_with_the_model(make_policy: Make, tmp_path: Any) -> None:
    from harness.lm.model.policy import Policy
    from harness.spec.model import Model

    policy = make_policy()
    policy.end_at(Stops((5, 0, 9), ("\n\nHuman:",)))
    assert policy.eos_id == 5
    policy.save(tmp_path)
    again = Policy.load(tmp_path, spec=Model(name="m", dtype="float64"))
    assert again.stops == Stops((0, 5, 9), ("\n\nHuman:",))  # which of them ends an answer in training, a template says
    assert again.stops.first(5) == policy.stops
