"""Attention of the fast way: what every layer of a model calls, and who sees whom.

transformers lets a model use any function as its attention, by name. The one registered here, :data:`NAME`, hands
queries, keys and values to a *layout*: packed trees while scoring (:class:`harness.lm.score.trees.Forest`), or rows
that share a prompt while decoding (:class:`harness.lm.decode.prefix.SharedPrefix`). Both come to :func:`product`, the
only place where queries meet keys. On the general way, a model keeps its own attention.
"""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Protocol

import torch
from torch.nn.functional import dropout as drop
from torch.nn.functional import scaled_dot_product_attention as attention
from transformers import AttentionInterface

if TYPE_CHECKING:
    from torch import Tensor, nn

#: The name under which transformers knows :func:`_attend`.
NAME: Final = "harness"
#: The keyword of a model's forward by which :func:`_attend` gets its :class:`Layout`.
KEYWORD: Final = "harness_layout"
#: Keywords that travel through a model's layers and say nothing about who sees whom.
_HARMLESS: Final = frozenset({"position_ids", "cache_position", "position_embeddings", "use_cache", "return_dict"})


class SpecialAttentionError(Exception):
    """A layer asks for something that :func:`product` does not do."""


@dataclass(frozen=True)
class Settings:
    """What a layer says about its attention."""

    scaling: float
    """What products of queries and keys are multiplied by."""
    dropout: float = 0.0
    window: int | None = None
    """A token sees so many tokens, itself and those right before it; None for all before it."""
    softcap: float | None = None
    """Scores s become softcap * tanh(s / softcap) (Gemma 2, https://arxiv.org/abs/2408.00118)."""


class Layout(Protocol):
    """Says who sees whom among the tokens of a forward."""

    def attend(self, layer: int, query: Tensor, key: Tensor, value: Tensor, settings: Settings) -> Tensor:
        """Return (R, L, H, E) of queries (R, H, L, D), keys (R, G, L, D) and values (R, G, L, E); G divides H."""
        ...


def product(
    query: Tensor, key: Tensor, value: Tensor, settings: Settings, *, mask: Tensor | None = None, causal: bool = False
) -> Tensor:
    """Return softmax(query @ key.T * scaling + mask) @ value.

    Args:
        query: (R, H, M, D).
        key: (R, G, N, D), G dividing H.
        value: (R, G, N, E).
        settings: of the layer; its window is the business of ``mask``.
        mask: additive, broadcast to (R, H, M, N).
        causal: instead of a mask: query i sees keys 0 to i.

    Returns:
        (R, H, M, E).
    """
    if query.shape[1] != key.shape[1]:
        key, value = (each.repeat_interleave(query.shape[1] // each.shape[1], 1) for each in (key, value))
    if settings.softcap is None:
        device = query.device.type
        exact = device == "cpu" and query.requires_grad and torch.is_autocast_enabled(device)
        if exact:  # the way back through short rows takes bfloat16 five times as long
            query, key, value, mask = query.float(), key.float(), value.float(), None if mask is None else mask.float()
        with torch.autocast(device, enabled=False) if exact else nullcontext():
            return attention(query, key, value, mask, settings.dropout, causal, scale=settings.scaling)
    scores = torch.tanh(query @ key.transpose(2, 3) * settings.scaling / settings.softcap) * settings.softcap
    if causal:
        mask = additive(torch.ones(scores.shape[2:], dtype=torch.bool, device=scores.device).triu_(1), scores)
    scores = scores if mask is None else scores + mask
    weights = scores.softmax(-1, dtype=torch.promote_types(scores.dtype, torch.float32)).to(value.dtype)
    return drop(weights, settings.dropout) @ value if settings.dropout else weights @ value


def additive(hidden: Tensor, like: Tensor) -> Tensor:
    """Return a mask in the type of ``like``: its least number where ``hidden`` (bool) is true, 0 elsewhere."""
    least = torch.finfo(like.dtype).min
    return torch.zeros_like(hidden, dtype=like.dtype, device=like.device).masked_fill_(hidden, least)


def _attend(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    dropout: float = 0.0,
    scaling: float | None = None,
    sliding_window: int | None = None,
    softcap: float | None = None,
    **options: Any,
) -> tuple[Tensor, None]:
    """Attention as transformers calls it: (R, H, L, D) to (R, L, H, E), and no weights.

    Raises:
        SpecialAttentionError: the layer masks or asks in a way of its own.
    """
    layout: Layout | None = options.pop(KEYWORD, None)
    if layout is None:
        raise SpecialAttentionError("its layers do not hand on the arguments of its forward")
    if attention_mask is not None:
        raise SpecialAttentionError("it masks in a way of its own")
    if options.pop("is_causal", True) is False:
        raise SpecialAttentionError("its attention is not causal")
    for name, given in options.items():
        if name not in _HARMLESS and not name.startswith("output_") and given is not None and given is not False:
            raise SpecialAttentionError(f"its attention has {name!r}")
    settings = Settings(query.shape[-1] ** -0.5 if scaling is None else scaling, dropout, sliding_window, softcap)
    layer: Any = module.layer_idx
    return layout.attend(layer, query, key, value, settings), None


AttentionInterface.register(NAME, _attend)
