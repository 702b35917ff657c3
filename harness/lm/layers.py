"""Tokens through the layers of a model, without what transformers does around each of them.

A layer of a small model computes for a few tenths of a millisecond, and as long again goes into what a general forward
has to ask at every layer: caches, masks, which attention, keyword arguments of older versions. Here are the layers of
three families by themselves. They call the model's own modules, so adapters, hooks and autocast work; dropout and
recomputing activations are left to transformers. In the last layer, positions of which nobody wants the outcome give
keys and values alone.

Who walks tries first whether the walk gives what the model gives (see :func:`harness.lm.backbone.able`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Final, Protocol, TypeAlias

if TYPE_CHECKING:
    from torch import Tensor, nn


class Attend(Protocol):
    """Attention of N tokens, or of those M among them whose outcome is wanted."""

    def __call__(self, layer: int, query: Tensor, key: Tensor, value: Tensor, scaling: float) -> Tensor:
        """Take keys and values (N, G, D) of a layer; return what the queries (M, H, D) attend to, (M, H x D)."""
        ...


#: Makes of a module of the model and its input (N, D) the module's outcome.
Apply: TypeAlias = Callable[[Any, "Tensor"], "Tensor"]


class Walk(Protocol):
    """The layers of a family, one after the other."""

    def __call__(
        self,
        body: Any,
        tokens: Tensor,
        positions: Tensor,
        attend: Attend,
        *,
        wanted: Tensor | None = None,
        apply: Apply = ...,
    ) -> Tensor:
        """Return hidden states of the last layer, after its final norm and projection.

        Args:
            body: the backbone.
            tokens: (N,) int64.
            positions: (N,) int64.
            attend: who sees whom.
            wanted: (M,) int64, the tokens whose hidden states are returned; all of them unless given.
            apply: how a module is applied; by calling it unless given.

        Returns:
            (M, D).
        """
        ...


def walk_of(body: nn.Module) -> Walk | None:
    """Return the walk through a backbone, None for one of another family."""
    layers = _LAYERS.get(type(body).__name__)
    if layers is None:
        return None

    def walk(
        body: Any,
        tokens: Tensor,
        positions: Tensor,
        attend: Attend,
        *,
        wanted: Tensor | None = None,
        apply: Apply = _call,
    ) -> Tensor:
        return layers(body, tokens, positions, attend, wanted, apply)

    return walk


def _call(module: Any, inputs: Tensor) -> Tensor:
    found: Tensor = module(inputs)
    return found


def _gpt2(body: Any, tokens: Tensor, positions: Tensor, attend: Attend, wanted: Tensor | None, apply: Apply) -> Tensor:
    hidden = body.wte(tokens) + body.wpe(positions)
    for layer, block in enumerate(body.h):
        attention, mlp = block.attn, block.mlp
        fused = apply(attention.c_attn, apply(block.ln_1, hidden))
        query, key, value = fused.view(len(tokens), 3, attention.num_heads, attention.head_dim).unbind(1)
        if wanted is not None and layer == len(body.h) - 1:
            hidden, query = hidden[wanted], query[wanted]
        hidden = hidden + apply(attention.c_proj, attend(layer, query, key, value, attention.scaling))
        hidden = hidden + apply(mlp.c_proj, apply(mlp.act, apply(mlp.c_fc, apply(block.ln_2, hidden))))
    return apply(body.ln_f, hidden)


def _opt(body: Any, tokens: Tensor, positions: Tensor, attend: Attend, wanted: Tensor | None, apply: Apply) -> Tensor:
    decoder = body.decoder
    hidden = decoder.embed_tokens(tokens)
    if decoder.project_in is not None:
        hidden = decoder.project_in(hidden)
    hidden = hidden + decoder.embed_positions(None, position_ids=positions)
    for layer, block in enumerate(decoder.layers):
        attention, before = block.self_attn, block.do_layer_norm_before
        normed = apply(block.self_attn_layer_norm, hidden) if before else hidden
        shape = (len(tokens), attention.num_heads, attention.head_dim)
        key, value = (apply(project, normed).view(shape) for project in (attention.k_proj, attention.v_proj))
        if wanted is not None and layer == len(decoder.layers) - 1:
            hidden, normed = hidden[wanted], normed[wanted]
        query = apply(attention.q_proj, normed).view(len(normed), *shape[1:])
        hidden = hidden + apply(attention.out_proj, attend(layer, query, key, value, attention.scaling))
        if not before:
            hidden = apply(block.self_attn_layer_norm, hidden)
        normed = apply(block.final_layer_norm, hidden) if before else hidden
        hidden = hidden + apply(block.fc2, apply(block.activation_fn, apply(block.fc1, normed)))
        if not before:
            hidden = apply(block.final_layer_norm, hidden)
    for last in (decoder.final_layer_norm, decoder.project_out):
        hidden = hidden if last is None else apply(last, hidden)
    found: Tensor = hidden
    return found


def _gpt_neox(
    body: Any, tokens: Tensor, positions: Tensor, attend: Attend, wanted: Tensor | None, apply: Apply
) -> Tensor:
    from transformers.models.gpt_neox.modeling_gpt_neox import apply_rotary_pos_emb

    rotate: Any = apply_rotary_pos_emb
    hidden = body.embed_in(tokens)
    angles = [angle[:, 0] for angle in body.rotary_emb(hidden, positions[:, None])]
    for layer, block in enumerate(body.layers):
        attention, mlp = block.attention, block.mlp
        fused = apply(attention.query_key_value, apply(block.input_layernorm, hidden))
        query, key, value = fused.view(len(tokens), -1, 3 * attention.head_size).chunk(3, dim=-1)
        query, key = rotate(query, key, *angles)
        if wanted is not None and layer == len(body.layers) - 1:
            hidden, query = hidden[wanted], query[wanted]
        attended = apply(attention.dense, attend(layer, query, key, value, attention.scaling))
        # one after the other, or both beside each other
        inner = apply(block.post_attention_layernorm, hidden if block.use_parallel_residual else hidden + attended)
        hidden = apply(mlp.dense_4h_to_h, apply(mlp.act, apply(mlp.dense_h_to_4h, inner))) + attended + hidden
    return apply(body.final_layer_norm, hidden)


_LAYERS: Final[Mapping[str, Callable[..., Tensor]]] = {"GPT2Model": _gpt2, "OPTModel": _opt, "GPTNeoXModel": _gpt_neox}
