from __future__ import annotations

from types import SimpleNamespace
from typing import TYPE_CHECKING

import pytest
import torch
from text.chat_families import ids_of, tokeniser_of

from harness.api import Completions
from harness.text.stops import Stops, answer_texts

if TYPE_CHECKING:
    from harness.text.tokenise import Tokeniser


def test_stops_come_from_the_tokenizer_the_generation_config_and_the_file() -> None:
    tokens = tokeniser_of("llama3")
    end, turn, start = ids_of("llama3", "<|end_of_text|>", "<|eot_id|>", "<|begin_of_text|>")
    assert Stops.of(tokens, None) == Stops((end,))
    assert Stops.of(tokens, SimpleNamespace(eos_token_id=[turn, end, 10**6, True, None])) == Stops((end, turn))
    given = SimpleNamespace(eos_token_id=turn, stop_strings="\nHuman:")
    assert Stops.of(tokens, given) == Stops((end, turn), ("\nHuman:",))
    named = Stops.of(tokens, given).named(tokens, ["<|begin_of_text|>", "###", "<|eot_id|>"])
    assert named == Stops((end, turn, start), ("\nHuman:", "###"))
    assert named.first(turn).ids == (turn, end, start)
    assert named.names(tokens) == ("<|end_of_text|>", "<|eot_id|>", "<|begin_of_text|>", "'\\nHuman:'", "'###'")


@pytest.mark.parametrize("text", ["So it is.\n\nHuman: and", "\n\nHuman:", "naïve 語\n\nHuman:\n\nHuman:", "a"])
def test_an_answer_ends_with_the_token_that_completes_the_string(tokeniser: Tokeniser, text: str) -> None:
    stops, ids = Stops((0,), ("\n\nHuman:", "###")), tokeniser.completion(text)
    end = stops.end(tokeniser, ids)
    if "Human" not in text:
        assert end is None
        assert stops.answer(tokeniser, ids) == (text, None)
        return
    assert end is not None
    assert "\n\nHuman:" in tokeniser.decode_exact(ids[:end])
    assert "\n\nHuman:" not in tokeniser.decode_exact(ids[: end - 1])
    assert stops.answer(tokeniser, ids[:end]) == (text.partition("\n\nHuman:")[0], repr("\n\nHuman:"))


def test_the_text_of_an_answer_has_no_stop_in_it(tokeniser: Tokeniser) -> None:
    blank = tokeniser.completion("\n")[0]
    rows = [
        [*tokeniser.completion(" the cat"), 0],
        [*tokeniser.completion("the dog "), blank],
        tokeniser.completion("b"),
    ]
    width = max(map(len, rows))
    ids = torch.tensor([[row + [0] * (width - len(row)) for row in rows]])
    done = Completions(ids, torch.tensor([[len(row) for row in rows]]), torch.tensor([[True, True, False]]))
    texts = [("the cat", "<|endoftext|>"), ("the dog", tokeniser.name(blank)), ("b", None)]
    assert answer_texts(tokeniser, Stops((0, blank)), done) == texts
    assert answer_texts(tokeniser, Stops((0, blank), ("###",)), done) == texts
