"""Decoding on the general way, without the trial that keeps a model away from it where it would be wrong."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from lm.ragged import some_prompts

from harness.lm.decode.copied import Copied
from harness.lm.switches import GENERAL_WAY
from harness.lm.way import way_of

if TYPE_CHECKING:
    from collections.abc import Callable

    import pytest


def test_rows_of_unequal_prompts_get_the_logits_of_rows_alone(make_policy: Callable[..., Any]) -> None:
    """Positions are learnt here, so that a wrong one shows; padding stands at the left, where nobody looks."""
    policy = make_policy("gpt2")
    lengths = [7, 1, 4]
    prompts = some_prompts(policy, lengths)
    generated = torch.tensor([[3, 9], [11, 2], [5, 5]])
    with torch.inference_mode():
        rows = Copied(policy, prompts.ids, prompts.lengths, repeats=1)
        for step in range(3):
            for row, length in enumerate(lengths):
                whole = torch.cat((prompts.ids[row, :length], generated[row, :step]))[None]
                alone = policy.restrict(policy.model(input_ids=whole, use_cache=False).logits[0, -1])
                torch.testing.assert_close(rows.logits[row], alone, rtol=0, atol=1e-9)
            if step < 2:
                rows.step(generated[:, step])


def test_a_model_that_minds_the_mask_decodes_rows_together(
    make_policy: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(GENERAL_WAY.variable, GENERAL_WAY.value)
    assert way_of(make_policy("gpt2")).batched
