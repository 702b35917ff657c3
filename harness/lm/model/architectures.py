"""Which architectures of transformers can be used here, told from a configuration before any weight is read."""

from __future__ import annotations

from inspect import signature
from typing import TYPE_CHECKING, Any, cast

from harness.errors import InputError, first_line

if TYPE_CHECKING:
    from collections.abc import Iterator

    from transformers import PreTrainedConfig


def check_architecture(config: PreTrainedConfig, *, where: str | None) -> None:
    """Raise InputError for models whose rows cannot be picked out of what they keep of a text.

    Attention keeps keys and values of each token, hybrid and state-space models (Mamba, LFM2, Qwen3-Next and others)
    also a state that sums up all that they have read. Decoding in batches needs both in a cache of transformers whose
    rows can be reordered; RecurrentGemma and RWKV keep theirs elsewhere.
    """
    from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING

    mapping: Any = MODEL_FOR_CAUSAL_LM_MAPPING
    stateful = bool(getattr(mapping.get(type(config), None), "_is_stateful", False))
    layers = _cache_layers(config)
    states = [layer for layer in layers or () if hasattr(layer, "recurrent_states")]
    if (stateful and not states) or not all(hasattr(layer, "reorder_cache") for layer in layers or ()):
        kinds = getattr(config, "layer_types", None) or [type(layer).__name__ for layer in layers or ()]
        raise InputError(
            "the state that this model keeps of a text is in no cache of transformers, so it cannot be decoded in "
            f"batches (its layers are of kind {', '.join(sorted(set(map(str, kinds)))) or 'unknown'})",
            where=where,
            got=config.model_type,
            expected="a causal language model that keeps what it has read in transformers' cache",
        )


def special_structure(config: PreTrainedConfig, model: type) -> str:
    """Return what keeps a model from the fast way (see :mod:`harness.lm.way`); empty where nothing of these does.

    Args:
        config: the model's.
        model: the class of the causal language model.
    """
    from transformers.cache_utils import DynamicLayer, DynamicSlidingWindowLayer

    if not getattr(model, "_supports_attention_backend", False):
        return "its attention does not go through transformers' attention interface"
    if getattr(config, "is_encoder_decoder", False):
        return "it has an encoder"
    if "position_ids" not in signature(cast("Any", model).forward).parameters:
        return "its forward has no position_ids"
    text: Any = config.get_text_config(decoder=True)
    layers: Any = _cache_layers(text)
    if not layers:
        return "what its layers keep of a text is not told by its configuration"
    others = sorted(
        {type(layer).__name__ for layer in layers} - {DynamicLayer.__name__, DynamicSlidingWindowLayer.__name__}
    )
    if others:
        return f"its layers keep more than keys and values of their own ({', '.join(others)})"
    if "chunked_attention" in (getattr(text, "layer_types", None) or ()) or getattr(text, "attention_chunk_size", None):
        return "its attention is cut into chunks"
    if any(part.get("rope_type") == "dynamic" for part in _rotary_parts(getattr(text, "rope_parameters", None))):
        return "its rotary factors depend on the longest row of a batch"
    return ""


def attention_windows(config: PreTrainedConfig) -> list[int | None]:
    """Return of each layer how many tokens one sees, itself included; None for all before it."""
    return [
        getattr(layer, "sliding_window", None) for layer in _cache_layers(config.get_text_config(decoder=True)) or ()
    ]


def _cache_layers(config: PreTrainedConfig) -> list[Any] | None:
    """Return the layers of a fresh cache; None for a configuration that none can be built of."""
    from transformers import DynamicCache

    try:
        return list(DynamicCache(config=config).layers)
    except Exception:  # noqa: BLE001  # said by who builds the model
        return None


def not_loaded(error: Exception, what: str, *, kind: str, attention: str, where: str | None) -> InputError:
    """Return what to say where transformers refuses a model, in this project's words where it knows the reason.

    Args:
        error: what transformers raised.
        what: what could not be done, such as ``the model cannot be loaded``.
        kind: the configuration's ``model_type``.
        attention: the setting of the benchmark file.
        where: what to blame.
    """
    said = first_line(error)
    if "attention implementation" in said or "attn_implementation" in said:
        other = "eager" if attention == "sdpa" else "sdpa"
        return InputError(
            f"{kind} models have no {attention} attention",
            where=where,
            got=attention,
            expected=other,
            hint="`attention:` stands beside the model's name in the file",
        )
    return InputError(f"{what}: {said}", where=where)


def rotary_limit(config: PreTrainedConfig) -> int | None:
    """Return how many tokens a row may have before rotary factors depend on the longest row of its batch, if ever.

    LongRoPE (Ding et al. 2024, https://arxiv.org/abs/2402.13753), as transformers has it, takes other factors for the
    whole batch, and for keys that were kept with the former ones, once any row is longer than the original context.
    """
    limits = [
        int(part["original_max_position_embeddings"])
        for part in _rotary_parts(getattr(config, "rope_parameters", None))
        if part.get("rope_type") == "longrope" and part.get("original_max_position_embeddings")
    ]
    return min(limits, default=None)


def _rotary_parts(parameters: Any) -> Iterator[dict[str, Any]]:
    """Yield the settings of each kind of layer: a configuration has one set for all, or one for each."""
    if not isinstance(parameters, dict):
        return
    if "rope_type" in parameters:
        yield parameters
        return
    for part in parameters.values():
        if isinstance(part, dict):
            yield part
