from __future__ import annotations

import pytest
import torch

from harness.api import Completions, Prompts
from harness.lm.attention import KEYWORD, NAME
from harness.lm.score.packing import pack, pad
from harness.lm.score.trees import Forest, Tree

PROMPTS = Prompts(torch.tensor([[5, 6, 7], [8, -9, -9]]), torch.tensor([3, 1]), ("", ""))
COMPLETIONS = Completions(
    torch.tensor([
        [[11, 12, 13, -1], [21, -1, -1, -1], [-1, -1, -1, -1]],
        [[31, 32, -1, -1], [41, 42, 43, 44], [51, 52, -1, -1]],
    ]),
    torch.tensor([[3, 1, 0], [2, 4, 2]]),
    torch.zeros(2, 3, dtype=torch.bool),
)  # fmt: skip


def test_a_row_holds_each_prompt_once_and_all_but_the_last_token_of_each_completion() -> None:
    packed = pack(PROMPTS, COMPLETIONS)
    assert packed.input_ids.tolist() == [[5, 6, 7, 11, 12, 8, 31, 41, 42, 43, 51]]
    assert packed.position_ids.tolist() == [[0, 1, 2, 3, 4, 0, 1, 1, 2, 3, 1]]
    assert packed.shape == (2, 3, 4)
    assert packed.forest == Forest((Tree(3, (2,)), Tree(1, (1, 3, 1))))
    assert packed.attention == NAME
    assert packed.inputs()[KEYWORD] is packed.forest


def test_a_token_is_predicted_by_the_one_before_it() -> None:
    packed = pack(PROMPTS, COMPLETIONS)
    assert packed.targets.tolist() == [11, 12, 13, 21, 31, 32, 41, 42, 43, 44, 51, 52]
    flat = packed.input_ids.flatten()
    assert flat[packed.sources].tolist() == [7, 11, 12, 7, 8, 31, 8, 41, 42, 43, 8, 51]
    assert COMPLETIONS.ids.flatten()[packed.places].tolist() == packed.targets.tolist()
    assert COMPLETIONS.mask.flatten().nonzero()[:, 0].tolist() == packed.places.tolist()


def test_scored_tokens_are_placed_where_they_were() -> None:
    packed = pack(PROMPTS, COMPLETIONS)
    assert torch.equal(packed.place(packed.targets), COMPLETIONS.ids.masked_fill(~COMPLETIONS.mask, 0))
    assert packed.place(torch.ones(12, 5)).shape == (2, 3, 4, 5)


def test_padded_rows() -> None:
    packed = pad(PROMPTS, COMPLETIONS)
    assert packed.input_ids.tolist() == [
        [5, 6, 7, 11, 12], [5, 6, 7, 0, 0], [5, 6, 7, 0, 0], [8, 31, 0, 0, 0], [8, 41, 42, 43, 0], [8, 51, 0, 0, 0],
    ]  # fmt: skip
    assert packed.position_ids.tolist() == [[0, 1, 2, 3, 4]] * 6
    assert packed.forest is None
    assert packed.attention is None
    tree = pack(PROMPTS, COMPLETIONS)
    assert torch.equal(packed.targets, tree.targets)
    assert torch.equal(packed.places, tree.places)
    flat = packed.input_ids.flatten()
    assert torch.equal(flat[packed.sources], tree.input_ids.flatten()[tree.sources])


@pytest.mark.parametrize("form", ["tree", "padded"])
def test_nothing_to_score(form: str) -> None:
    none = Completions(COMPLETIONS.ids, torch.zeros(2, 3, dtype=torch.int64), COMPLETIONS.finished)
    packed = pack(PROMPTS, none) if form == "tree" else pad(PROMPTS, none)
    assert packed.sources.numel() == packed.targets.numel() == packed.places.numel() == 0
    assert packed.input_ids.shape[1] == (4 if form == "tree" else 3)


def test_inputs_that_cannot_be_scored() -> None:
    with pytest.raises(ValueError, match="predicts nothing"):
        pack(Prompts(PROMPTS.ids, torch.tensor([3, 0]), ("", "")), COMPLETIONS)
    with pytest.raises(ValueError, match="as many groups"):
        pad(PROMPTS[[0]], COMPLETIONS)
