from __future__ import annotations

import pytest
import torch

from harness.api import Completions, Prompts
from harness.lm.score.packing import Packed, pack, pad

PROMPTS = Prompts(torch.tensor([[5, 6, 7], [8, -9, -9]]), torch.tensor([3, 1]), ("", ""))
COMPLETIONS = Completions(
    torch.tensor([
        [[11, 12, 13, -1], [21, -1, -1, -1], [-1, -1, -1, -1]],
        [[31, 32, -1, -1], [41, 42, 43, 44], [51, 52, -1, -1]],
    ]),
    torch.tensor([[3, 1, 0], [2, 4, 2]]),
    torch.zeros(2, 3, dtype=torch.bool),
)  # fmt: skip


def looks_at(packed: Packed, row: int, column: int) -> list[int]:
    assert packed.mask is not None
    mask = packed.mask[row, 0, column]
    assert bool(((mask == 0) | (mask == torch.finfo(mask.dtype).min)).all())
    return [int(i) for i in (mask == 0).nonzero()[:, 0]]


def test_a_row_holds_the_prompt_once_and_all_but_the_last_token_of_each_completion() -> None:
    packed = pack(PROMPTS, COMPLETIONS, torch.float32)
    assert packed.input_ids.tolist() == [[5, 6, 7, 11, 12, 0], [8, 31, 41, 42, 43, 51]]
    assert packed.position_ids.tolist() == [[0, 1, 2, 3, 4, 0], [0, 1, 1, 2, 3, 1]]
    assert packed.shape == (2, 3, 4)


def test_a_token_is_predicted_by_the_one_before_it() -> None:
    packed = pack(PROMPTS, COMPLETIONS, torch.float32)
    assert packed.targets.tolist() == [11, 12, 13, 21, 31, 32, 41, 42, 43, 44, 51, 52]
    flat = packed.input_ids.flatten()
    assert flat[packed.sources].tolist() == [7, 11, 12, 7, 8, 31, 8, 41, 42, 43, 8, 51]
    assert COMPLETIONS.ids.flatten()[packed.places].tolist() == packed.targets.tolist()
    assert COMPLETIONS.mask.flatten().nonzero()[:, 0].tolist() == packed.places.tolist()


def test_each_token_looks_at_the_prompt_and_its_own_completion() -> None:
    packed = pack(PROMPTS, COMPLETIONS, torch.float64)
    assert packed.mask is not None
    assert packed.mask.shape == (2, 1, 6, 6)
    assert packed.mask.dtype == torch.float64
    assert [looks_at(packed, 0, i) for i in range(5)] == [[0], [0, 1], [0, 1, 2], [0, 1, 2, 3], [0, 1, 2, 3, 4]]
    assert [looks_at(packed, 1, i) for i in range(6)] == [[0], [0, 1], [0, 2], [0, 2, 3], [0, 2, 3, 4], [0, 5]]
    assert looks_at(packed, 0, 5)  # padding looks at something: an empty softmax is NaN


def test_one_completion_a_prompt_needs_no_mask() -> None:
    index = torch.tensor([[0], [1]])
    packed = pack(PROMPTS, COMPLETIONS.pick(index), torch.float32)
    assert packed.mask is None
    assert packed.input_ids.tolist() == [[5, 6, 7, 11, 12], [8, 41, 42, 43, 0]]
    # a position that did not grow by one would pass for the start of another sequence
    assert packed.position_ids.tolist() == [[0, 1, 2, 3, 4]] * 2
    # neither do several, where one alone is longer than a token
    several = Completions(COMPLETIONS.ids, torch.tensor([[3, 1, 0], [1, 4, 0]]), COMPLETIONS.finished)
    assert pack(PROMPTS, several, torch.float32).mask is None


def test_padded_rows() -> None:
    packed = pad(PROMPTS, COMPLETIONS)
    assert packed.input_ids.tolist() == [
        [5, 6, 7, 11, 12], [5, 6, 7, 0, 0], [5, 6, 7, 0, 0], [8, 31, 0, 0, 0], [8, 41, 42, 43, 0], [8, 51, 0, 0, 0],
    ]  # fmt: skip
    assert packed.position_ids.tolist() == [[0, 1, 2, 3, 4]] * 6
    assert packed.mask is None
    tree = pack(PROMPTS, COMPLETIONS, torch.float32)
    assert torch.equal(packed.targets, tree.targets)
    assert torch.equal(packed.places, tree.places)
    flat = packed.input_ids.flatten()
    assert torch.equal(flat[packed.sources], tree.input_ids.flatten()[tree.sources])


@pytest.mark.parametrize("form", ["tree", "padded"])
def test_nothing_to_score(form: str) -> None:
    none = Completions(COMPLETIONS.ids, torch.zeros(2, 3, dtype=torch.int64), COMPLETIONS.finished)
    packed = pack(PROMPTS, none, torch.float32) if form == "tree" else pad(PROMPTS, none)
    assert packed.sources.numel() == packed.targets.numel() == packed.places.numel() == 0
    assert packed.input_ids.shape[1] == 3


def test_inputs_that_cannot_be_scored() -> None:
    with pytest.raises(ValueError, match="predicts nothing"):
        pack(Prompts(PROMPTS.ids, torch.tensor([3, 0]), ("", "")), COMPLETIONS, torch.float32)
    with pytest.raises(ValueError, match="as many groups"):
        pad(PROMPTS[[0]], COMPLETIONS)
