"""Tokens through the layers of a model, without what transformers does around each of them.

A layer of a small model computes for a few tenths of a millisecond, and as long again goes into what a general forward
has to ask at every layer: caches, masks, which attention, keyword arguments of older versions. Here are the layers of
three families by themselves. They call the model's own modules, so adapters, hooks and autocast work; dropout and
recomputing activations are left to transformers. In the last layer, positions of which nobody wants the outcome give
keys and values alone.

Who walks tries first whether the walk gives what the model gives (see :func:`harness.lm.model.backbone.able`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Final, Protocol, TypeAlias, cast

if TYPE_CHECKING:
    from torch import Tensor, nn


class Attend(Protocol):
    """Attention of N tokens, or of those M among them whose outcome is wanted."""

    def __call__(self, layer: int, query: Tensor, key: Tensor, value: Tensor, scaling: float) -> Tensor:
        """Take keys and values (N, G, D) of a layer; return what the queries (M, H, D) attend to, (M, H x D)."""
        ...


#: Makes of (N, in) what a module of the model, or several, make of it.
Apply: TypeAlias = Callable[["Tensor"], "Tensor"]


class Bind(Protocol):
    """How a walk applies the modules that it meets."""

    def __call__(self, module: Any, then: Any = None) -> Apply:
        """Return what applies ``module``, and ``then`` (its activation) to the outcome."""
        ...


class Walk(Protocol):
    """The layers of a model, one after the other."""

    def __call__(self, tokens: Tensor, positions: Tensor, attend: Attend, *, wanted: Tensor | None = None) -> Tensor:
        """Return hidden states of the last layer, after its final norm and projection.

        Args:
            tokens: (N,) int64.
            positions: (N,) int64.
            attend: who sees whom.
            wanted: (M,) int64, the tokens whose hidden states are returned; all of them unless given.

        Returns:
            (M, D).
        """
        ...


def as_they_are(module: Any, then: Any = None) -> Apply:
    """Implement :class:`Bind` by the modules' own calls."""
    if then is None:
        return cast("Apply", module)
    return lambda inputs: then(module(inputs))


def walk_of(body: nn.Module, bind: Bind = as_they_are) -> Walk | None:
    """Return the walk through a backbone as it stands, None for one of another family."""
    family = _FAMILIES.get(type(body).__name__)
    return None if family is None else family(body, bind)


def _gpt2(body: Any, bind: Bind) -> Walk:
    blocks = [
        (
            bind(block.ln_1),
            bind(block.attn.c_attn),
            (3, block.attn.num_heads, block.attn.head_dim),
            block.attn.scaling,
            bind(block.attn.c_proj),
            bind(block.ln_2),
            bind(block.mlp.c_fc, block.mlp.act),
            bind(block.mlp.c_proj),
        )
        for block in body.h
    ]
    embed, place, last = bind(body.wte), bind(body.wpe), bind(body.ln_f)

    def walk(tokens: Tensor, positions: Tensor, attend: Attend, *, wanted: Tensor | None = None) -> Tensor:
        hidden = embed(tokens) + place(positions)
        for layer, (norm, fused, shape, scaling, project, inner_norm, up, down) in enumerate(blocks):
            query, key, value = fused(norm(hidden)).view(-1, *shape).unbind(1)
            if wanted is not None and layer == len(blocks) - 1:
                hidden, query = hidden[wanted], query[wanted]
            hidden = hidden + project(attend(layer, query, key, value, scaling))
            hidden = hidden + down(up(inner_norm(hidden)))
        return last(hidden)

    return walk


def _opt(body: Any, bind: Bind) -> Walk:
    decoder = body.decoder
    blocks = [
        (
            block.do_layer_norm_before,
            bind(block.self_attn_layer_norm),
            [bind(project) for project in (block.self_attn.q_proj, block.self_attn.k_proj, block.self_attn.v_proj)],
            (block.self_attn.num_heads, block.self_attn.head_dim),
            block.self_attn.scaling,
            bind(block.self_attn.out_proj),
            bind(block.final_layer_norm),
            bind(block.fc1, block.activation_fn),
            bind(block.fc2),
        )
        for block in decoder.layers
    ]
    embed = bind(decoder.embed_tokens)
    first = None if decoder.project_in is None else bind(decoder.project_in)
    last = [bind(module) for module in (decoder.final_layer_norm, decoder.project_out) if module is not None]

    def walk(tokens: Tensor, positions: Tensor, attend: Attend, *, wanted: Tensor | None = None) -> Tensor:
        hidden = embed(tokens)
        if first is not None:
            hidden = first(hidden)
        hidden = hidden + decoder.embed_positions(None, position_ids=positions)
        for layer, (before, norm, projects, shape, scaling, project, inner_norm, up, down) in enumerate(blocks):
            normed = norm(hidden) if before else hidden
            key, value = (each(normed).view(-1, *shape) for each in projects[1:])
            if wanted is not None and layer == len(blocks) - 1:
                hidden, normed = hidden[wanted], normed[wanted]
            query = projects[0](normed).view(-1, *shape)
            hidden = hidden + project(attend(layer, query, key, value, scaling))
            if not before:
                hidden = norm(hidden)
            hidden = hidden + down(up(inner_norm(hidden) if before else hidden))
            if not before:
                hidden = inner_norm(hidden)
        for module in last:
            hidden = module(hidden)
        return hidden

    return walk


def _gpt_neox(body: Any, bind: Bind) -> Walk:
    from transformers.models.gpt_neox.modeling_gpt_neox import apply_rotary_pos_emb

    rotate: Any = apply_rotary_pos_emb
    blocks = [
        (
            block.use_parallel_residual,
            bind(block.input_layernorm),
            bind(block.attention.query_key_value),
            3 * block.attention.head_size,
            block.attention.scaling,
            bind(block.attention.dense),
            bind(block.post_attention_layernorm),
            bind(block.mlp.dense_h_to_4h, block.mlp.act),
            bind(block.mlp.dense_4h_to_h),
        )
        for block in body.layers
    ]
    embed, last = bind(body.embed_in), bind(body.final_layer_norm)

    def walk(tokens: Tensor, positions: Tensor, attend: Attend, *, wanted: Tensor | None = None) -> Tensor:
        hidden = embed(tokens)
        angles = [angle[:, 0] for angle in body.rotary_emb(hidden, positions[:, None])]
        for layer, (beside, norm, fused, size, scaling, project, inner_norm, up, down) in enumerate(blocks):
            query, key, value = fused(norm(hidden)).view(len(tokens), -1, size).chunk(3, dim=-1)
            query, key = rotate(query, key, *angles)
            if wanted is not None and layer == len(blocks) - 1:
                hidden, query = hidden[wanted], query[wanted]
            attended = project(attend(layer, query, key, value, scaling))
            # one after the other, or both beside each other
            hidden = down(up(inner_norm(hidden if beside else hidden + attended))) + attended + hidden
        return last(hidden)

    return walk


_FAMILIES: Final[Mapping[str, Callable[[Any, Bind], Walk]]] = {
    "GPT2Model": _gpt2,
    "OPTModel": _opt,
    "GPTNeoXModel": _gpt_neox,
}
