"""Logits by oneDNN's product against the model's own head."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
import torch

from harness.lm.decode.head import Head

if TYPE_CHECKING:
    from collections.abc import Callable

    from harness.lm.model.policy import Policy


@pytest.mark.parametrize("dtype", ["float32", "float64", "bfloat16"])
@pytest.mark.parametrize("rows", [1, 5, 64])
def test_logits_are_the_heads(
    make_policy: Callable[..., Policy], onednn_from: Callable[..., None], dtype: str, rows: int
) -> None:
    onednn_from(0)  # the head of a toy is too small
    policy = make_policy(dtype=dtype, vocab_size=336)  # wider than the tokenizer
    model: Any = policy.model
    weight = model.get_output_embeddings().weight
    hidden = torch.randn(rows, weight.shape[1], generator=torch.Generator().manual_seed(1), dtype=weight.dtype)
    with torch.inference_mode():
        found = Head(policy)(hidden, None)
    assert found.shape == (rows, policy.vocab_size)
    exact = hidden.double() @ weight.double().t()[:, : policy.vocab_size]
    bound = {"float32": 1e-5, "float64": 1e-12, "bfloat16": 5e-2}[dtype]
    torch.testing.assert_close(found.double(), exact, rtol=0, atol=bound)


def test_a_model_that_makes_its_logits_itself_keeps_them(make_policy: Callable[..., Policy]) -> None:
    policy = make_policy(vocab_size=336)
    logits = torch.randn(3, 336, dtype=torch.float64)
    assert torch.equal(Head(policy)(torch.zeros(3, 32, dtype=torch.float64), logits), logits[:, : policy.vocab_size])
