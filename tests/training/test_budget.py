from __future__ import annotations

from typing import Any

import pytest
import torch

from harness.api import Rewards
from harness.errors import PluginError
from harness.testing.tiny import tiny_batch, tiny_policy
from harness.training.budget import count_rows, row_tokens, take, take_all


def test_tokens_of_a_row() -> None:
    batch = tiny_batch(tiny_policy())
    prompts, answers = batch.prompts.lengths, batch.demonstrations.lengths[:, 0]
    assert batch.pairs is not None
    pairs = batch.pairs.chosen.lengths.sum(1) + batch.pairs.rejected.lengths.sum(1)
    samples = batch.demonstrations.join(batch.demonstrations)
    assert row_tokens({"batch": batch}) == (prompts + answers + pairs).tolist()
    assert row_tokens({"p": batch.prompts, "s": samples}) == (prompts + 2 * answers).tolist()
    assert row_tokens({"pairs": batch.pairs}) == pairs.tolist()


def test_the_tokens_of_a_labelled_row_are_those_of_its_completion_desirable_or_not() -> None:
    batch = tiny_batch(tiny_policy(), labelled=True)
    assert batch.completions is not None
    assert row_tokens({"batch": batch}) == (batch.prompts.lengths + batch.completions.lengths.sum(1)).tolist()
    assert row_tokens({"x": torch.zeros(3, 2)}) == [1, 1, 1]


def test_rows_of_every_kind() -> None:
    batch = tiny_batch(tiny_policy())
    rewards = Rewards(torch.arange(16.0).view(8, 2), torch.ones(8, 2, dtype=torch.bool), {"x": torch.zeros(8, 2)})
    rows: dict[str, Any] = {"batch": batch, "rewards": rewards, "tensor": torch.arange(8), "names": tuple("abcdefgh")}
    assert count_rows(rows) == 8
    some = take_all(rows, [6, 1])
    assert some["batch"].ids == (batch.ids[6], batch.ids[1])
    assert some["rewards"].values.tolist() == [[12, 13], [2, 3]]
    assert some["tensor"].tolist() == [6, 1]
    assert some["names"] == ("g", "b")
    assert take([1, 2, 3], [2]) == [3]
    assert take(torch.arange(3), []).shape == (0,)


def test_what_has_no_rows() -> None:
    with pytest.raises(PluginError, match="'coef' has no rows, got 'float'"):
        count_rows({"a": [1, 2], "coef": 0.5})
    with pytest.raises(PluginError, match="different lengths"):
        count_rows({"a": [1, 2], "b": [1]})
    with pytest.raises(PluginError, match="no rows were given"):
        count_rows({})
