"""One position through the layers of a model, without what transformers does around each of them.

While it decodes, a layer of a small model computes for a few tenths of a millisecond, and as long again goes into what
a general forward has to ask at every layer: caches, masks, which attention, keyword arguments of older versions. Here
are the layers of three families by themselves. They call the model's own modules, so adapters, hooks and autocast work.
Who walks tries first whether the walk gives what the model gives (see :func:`harness.lm.shared_prefix.probe`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Final, Protocol, TypeAlias

if TYPE_CHECKING:
    from torch import Tensor, nn


class Attend(Protocol):
    """Attention of one new position of N rows."""

    def __call__(self, layer: int, query: Tensor, key: Tensor, value: Tensor, scaling: float) -> Tensor:
        """Keep keys and values (N, G, D) of a layer; return what the queries (N, H, D) attend to, (N, H x D)."""
        ...


#: Called with the backbone, token ids (N,) and positions (N,); returns hidden states (N, D) of the last layer.
Walk: TypeAlias = Callable[[Any, "Tensor", "Tensor", Attend], "Tensor"]


def walk_of(body: nn.Module) -> Walk | None:
    """Return the walk through a backbone, None for one of another family."""
    return _WALKS.get(type(body).__name__)


def _gpt2(body: Any, tokens: Tensor, positions: Tensor, attend: Attend) -> Tensor:
    hidden = body.wte(tokens) + body.wpe(positions)
    for layer, block in enumerate(body.h):
        attention = block.attn
        fused = attention.c_attn(block.ln_1(hidden))
        query, key, value = fused.view(len(tokens), 3, attention.num_heads, attention.head_dim).unbind(1)
        hidden = hidden + attention.c_proj(attend(layer, query, key, value, attention.scaling))
        mlp = block.mlp
        hidden = hidden + mlp.c_proj(mlp.act(mlp.c_fc(block.ln_2(hidden))))
    normed: Tensor = body.ln_f(hidden)
    return normed


def _opt(body: Any, tokens: Tensor, positions: Tensor, attend: Attend) -> Tensor:
    decoder = body.decoder
    hidden = decoder.embed_tokens(tokens)
    if decoder.project_in is not None:
        hidden = decoder.project_in(hidden)
    hidden = hidden + decoder.embed_positions(None, position_ids=positions)
    for layer, block in enumerate(decoder.layers):
        attention, before = block.self_attn, block.do_layer_norm_before
        normed = block.self_attn_layer_norm(hidden) if before else hidden
        shape = (len(tokens), attention.num_heads, attention.head_dim)
        query, key, value = (
            project(normed).view(shape) for project in (attention.q_proj, attention.k_proj, attention.v_proj)
        )
        hidden = hidden + attention.out_proj(attend(layer, query, key, value, attention.scaling))
        if not before:
            hidden = block.self_attn_layer_norm(hidden)
        normed = block.final_layer_norm(hidden) if before else hidden
        hidden = hidden + block.fc2(block.activation_fn(block.fc1(normed)))
        if not before:
            hidden = block.final_layer_norm(hidden)
    for last in (decoder.final_layer_norm, decoder.project_out):
        hidden = hidden if last is None else last(hidden)
    found: Tensor = hidden
    return found


def _gpt_neox(body: Any, tokens: Tensor, positions: Tensor, attend: Attend) -> Tensor:
    from transformers.models.gpt_neox.modeling_gpt_neox import apply_rotary_pos_emb

    rotate: Any = apply_rotary_pos_emb
    hidden = body.embed_in(tokens)
    angles = [angle[:, 0] for angle in body.rotary_emb(hidden, positions[:, None])]
    for layer, block in enumerate(body.layers):
        attention = block.attention
        fused = attention.query_key_value(block.input_layernorm(hidden))
        query, key, value = fused.view(len(tokens), -1, 3 * attention.head_size).chunk(3, dim=-1)
        query, key = rotate(query, key, *angles)
        attended = attention.dense(attend(layer, query, key, value, attention.scaling))
        if block.use_parallel_residual:
            hidden = block.mlp(block.post_attention_layernorm(hidden)) + attended + hidden
        else:
            attended = attended + hidden
            hidden = block.mlp(block.post_attention_layernorm(attended)) + attended
    normed: Tensor = body.final_layer_norm(hidden)
    return normed


_WALKS: Final[Mapping[str, Walk]] = {"GPT2Model": _gpt2, "OPTModel": _opt, "GPTNeoXModel": _gpt_neox}
