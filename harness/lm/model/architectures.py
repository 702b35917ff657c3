"""Which architectures of transformers can be used here, told from a configuration before any weight is read."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from harness.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from transformers import PreTrainedConfig


def check_architecture(config: PreTrainedConfig, *, where: str | None) -> None:
    """Raise InputError for hybrid and state-space models (Mamba, LFM2, Qwen3-Next and others).

    They keep a state that sums up all that they have read, where attention keeps keys and values of each token. Rows
    of such a cache can be neither picked nor padded, which decoding in batches takes.
    """
    from transformers import DynamicCache
    from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING

    mapping: Any = MODEL_FOR_CAUSAL_LM_MAPPING
    stateful = bool(getattr(mapping.get(type(config), None), "_is_stateful", False))
    try:
        layers: Any = DynamicCache(config=config).layers
    except Exception:  # noqa: BLE001  # a configuration that cannot be built, which is said by who tries
        layers = []
    kinds = getattr(config, "layer_types", None) or [type(layer).__name__ for layer in layers]
    if stateful or not all(hasattr(layer, "batch_select_indices") for layer in layers):
        raise InputError(
            "hybrid and state-space models cannot be decoded in batches, and are not supported "
            f"(its layers are of kind {', '.join(sorted(set(map(str, kinds))))})",
            where=where,
            got=config.model_type,
            expected="a causal language model whose every layer attends to kept keys and values",
        )


def not_loaded(error: Exception, what: str, *, kind: str, attention: str, where: str | None) -> InputError:
    """Return what to say where transformers refuses a model, in this project's words where it knows the reason.

    Args:
        error: what transformers raised.
        what: what could not be done, such as ``the model cannot be loaded``.
        kind: the configuration's ``model_type``.
        attention: the setting of the benchmark file.
        where: what to blame.
    """
    said = next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)
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
    found = [
        int(part["original_max_position_embeddings"])
        for part in _rotary_parts(getattr(config, "rope_parameters", None))
        if part.get("rope_type") == "longrope" and part.get("original_max_position_embeddings")
    ]
    return min(found, default=None)


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
