"""A causal LM in two parts: the backbone, which gives hidden states, and the head, which makes logits of them.

Apart, the head runs only where logits are wanted: the last position while sampling, the scored ones while training.
Whether a model is nothing but ``head(backbone(ids))`` is tried, not believed: some scale or cap their logits.
"""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, cast
from weakref import WeakKeyDictionary

import torch

if TYPE_CHECKING:
    from collections.abc import Iterator

    from torch import Tensor, nn

#: What was found out about each model.
_parts: WeakKeyDictionary[nn.Module, tuple[nn.Module, nn.Module] | None] = WeakKeyDictionary()


@contextmanager
def evaluating(model: nn.Module) -> Iterator[None]:
    """Switch every module of ``model`` to evaluation mode, and those that trained back afterwards."""
    trained = [module for module in model.modules() if module.training]
    model.eval()
    try:
        yield
    finally:
        for module in trained:
            module.training = True


def split(model: nn.Module) -> tuple[nn.Module, nn.Module] | None:
    """Return (backbone, head) of a transformers causal LM, or None where its logits need more than these two."""
    if model not in _parts:
        _parts[model] = _try_split(model)
    return _parts[model]


def forward(model: nn.Module, **inputs: Any) -> tuple[Tensor, Tensor | None, Any]:
    """Run ``model`` without its head, where that can be had.

    Returns:
        hidden states (B, L, D) of the last layer, after its final norm and projection; logits (B, L, V), or None
        where :func:`head` makes them of the hidden states; the cache.
    """
    parts = split(model)
    if parts is not None:
        output = parts[0](**inputs)
        return output.last_hidden_state, None, output.past_key_values
    output = model(**inputs, output_hidden_states=True)
    return output.hidden_states[-1], output.logits, output.past_key_values


def head(model: nn.Module, hidden: Tensor) -> Tensor:
    """Return the logits (…, V) of hidden states (…, D) that :func:`forward` gave without logits."""
    parts = split(model)
    assert parts is not None
    return cast("Tensor", parts[1](hidden))


def _try_split(model: nn.Module) -> tuple[nn.Module, nn.Module] | None:
    inner = cast("Any", model.get_base_model() if hasattr(model, "get_base_model") else model)  # adapters wrap a model
    backbone, output = getattr(inner, "base_model", None), inner.get_output_embeddings()
    if backbone is None or backbone is inner or output is None:
        return None
    weight = next(model.parameters())
    ids = torch.arange(6, device=weight.device).view(2, 3)
    positions = torch.arange(3, device=weight.device).expand(2, 3)
    with torch.no_grad(), evaluating(model):
        whole = model(input_ids=ids, position_ids=positions, use_cache=False).logits
        apart = output(backbone(input_ids=ids, position_ids=positions, use_cache=False).last_hidden_state)
    return (backbone, output) if torch.equal(whole, apart) else None
