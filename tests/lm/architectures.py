"""Small random models of many architectures, as arguments of a transformers configuration, and how to make one."""

from __future__ import annotations

import copy
import functools
from typing import TYPE_CHECKING, Any

import torch
from lm.families import FAMILIES
from lm.ragged import sharpen
from torch.overrides import TorchFunctionMode

from harness.lm.model.policy import Policy

if TYPE_CHECKING:
    from harness.text.tokenise import Tokeniser

_IDS = {"vocab_size": 336, "bos_token_id": 0, "eos_token_id": 0, "pad_token_id": 0}
#: Two heads share each key.
_GROUPED = {
    "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2,
    "intermediate_size": 48, "max_position_embeddings": 96,
}  # fmt: skip
_EXPERTS = {"num_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 16}
_GEMMA = {**_GROUPED, "head_dim": 16, "query_pre_attn_scalar": 16}
_LONG_ROPE = {
    "rope_type": "longrope", "rope_theta": 10000.0, "short_factor": [1.0] * 4, "long_factor": [4.0] * 4, "factor": 6.0,
    "original_max_position_embeddings": 48,
}  # fmt: skip

#: Take the fast way.
FAST: dict[str, dict[str, Any]] = {
    **FAMILIES,
    "llama": {"model_type": "llama", **_GROUPED},
    "llama-tied": {"model_type": "llama", **_GROUPED, "tie_word_embeddings": True, "attention_bias": True},
    "qwen2": {"model_type": "qwen2", **_GROUPED},
    "qwen2-window": {
        "model_type": "qwen2", **_GROUPED, "use_sliding_window": True, "sliding_window": 5, "max_window_layers": 1,
    },
    "qwen3": {"model_type": "qwen3", **_GROUPED, "head_dim": 8},
    "mistral": {"model_type": "mistral", **_GROUPED, "sliding_window": None},
    "mistral-window": {"model_type": "mistral", **_GROUPED, "sliding_window": 4},
    "phi3": {"model_type": "phi3", **_GROUPED},
    "phi3-long": {
        "model_type": "phi3", **_GROUPED, "rope_parameters": _LONG_ROPE, "original_max_position_embeddings": 48,
    },
    "olmo2": {"model_type": "olmo2", **_GROUPED},
    "smollm3": {"model_type": "smollm3", **_GROUPED, "no_rope_layers": [1, 0]},
    "gptj": {
        "model_type": "gptj", "n_layer": 2, "n_head": 2, "n_embd": 32, "n_positions": 96, "rotary_dim": 8,
        "tie_word_embeddings": False,
    },
    "mixtral": {
        "model_type": "mixtral", **_GROUPED, "num_local_experts": 4, "num_experts_per_tok": 2, "sliding_window": None,
    },
    "qwen3-moe": {"model_type": "qwen3_moe", **_GROUPED, **_EXPERTS, "head_dim": 8},
    "gemma2": {"model_type": "gemma2", **_GEMMA, "sliding_window": 4, "attn_logit_softcapping": 1.5},
    "gemma3": {
        "model_type": "gemma3_text", **_GEMMA, "sliding_window": 4,
        "layer_types": ["sliding_attention", "full_attention"],
    },
}  # fmt: skip

#: Take the general way, and why.
GENERAL: dict[str, tuple[str, dict[str, Any]]] = {
    "bloom": ("attention interface", {"model_type": "bloom", "hidden_size": 32, "n_layer": 2, "n_head": 2}),  # ALiBi
    "falcon": (
        "attention interface",
        {
            "model_type": "falcon", "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2,
            "alibi": False, "attn_implementation": "eager",
        },
    ),
    "gpt_neo": (  # every other layer attends locally
        "attention interface",
        {
            "model_type": "gpt_neo", "hidden_size": 32, "num_layers": 2, "num_heads": 2, "window_size": 3,
            "attention_types": [[["global", "local"], 1]], "max_position_embeddings": 96, "intermediate_size": 48,
        },
    ),
    "gpt_oss": (  # an attention sink for each head
        "'s_aux'",
        {
            "model_type": "gpt_oss", **_GROUPED, "head_dim": 8, "num_local_experts": 4, "num_experts_per_tok": 2,
            "sliding_window": 4,
        },
    ),
    "llama-dynamic": (
        "longest row of a batch",
        {
            "model_type": "llama", **_GROUPED,
            "rope_parameters": {"rope_type": "dynamic", "rope_theta": 10000.0, "factor": 2.0},
        },
    ),
    "bart": (  # counts padding at the left as positions
        "attention interface",
        {
            "model_type": "bart", "d_model": 32, "decoder_layers": 2, "decoder_attention_heads": 2,
            "decoder_ffn_dim": 48, "max_position_embeddings": 96, "init_std": 0.1,
        },
    ),
    "lfm2": (
        "LinearAttentionLayer",
        {"model_type": "lfm2", **_GROUPED, "layer_types": ["conv", "full_attention"]},
    ),
    "mamba": (
        "attention interface",
        {"model_type": "mamba", "hidden_size": 32, "num_hidden_layers": 2, "state_size": 4},
    ),
    "mamba2": (
        "attention interface",
        {
            "model_type": "mamba2", "hidden_size": 32, "num_hidden_layers": 2, "state_size": 4, "num_heads": 4,
            "head_dim": 16, "n_groups": 1,
        },
    ),
    "jamba": (
        "attention interface",
        {
            "model_type": "jamba", **_GROUPED, "num_experts": 2, "attn_layer_period": 2, "attn_layer_offset": 1,
            "use_mamba_kernels": False, "mamba_d_state": 4, "mamba_dt_rank": 4,
        },
    ),
    "qwen3_next": (
        "attention interface",
        {
            "model_type": "qwen3_next", **_GROUPED, "head_dim": 16,
            "layer_types": ["linear_attention", "full_attention"], "linear_num_value_heads": 2,
            "linear_num_key_heads": 2, "linear_key_head_dim": 8, "linear_value_head_dim": 8, "num_experts": 2,
            "num_experts_per_tok": 1, "moe_intermediate_size": 16, "shared_expert_intermediate_size": 16,
        },
    ),
}  # fmt: skip


@functools.cache
def _made(kind: str) -> torch.nn.Module:
    from transformers import AutoConfig, AutoModelForCausalLM

    settings = {**_IDS, **(FAST[kind] if kind in FAST else GENERAL[kind][1])}
    build: Any = AutoModelForCausalLM.from_config
    with torch.random.fork_rng():
        torch.set_rng_state(torch.Generator().manual_seed(3).get_state())
        model: torch.nn.Module = build(AutoConfig.for_model(settings.pop("model_type"), **settings))
        return model


def make(kind: str, tokeniser: Tokeniser, dtype: Any = "float64", factor: float = 4.0, **options: Any) -> Policy:
    """Make a policy around a fresh model, whose weights are large enough that it has opinions."""
    return sharpen(Policy(copy.deepcopy(_made(kind)), tokeniser, dtype=dtype, **options), factor)


class InFloat64(TorchFunctionMode):
    """Keeps float64 where transformers goes down to float32: in norms, in softmaxes, in routers.

    Rounding to float32 turns a difference in the last bit of two float64 numbers into one of 1e-8.
    """

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = dict(kwargs or {})
        first = args[0] if args else None
        if isinstance(first, torch.Tensor) and first.dtype == torch.float64:
            if func is torch.Tensor.float:
                return first
            if func is torch.Tensor.to and (torch.float32 in args or kwargs.get("dtype") is torch.float32):
                return first
            if kwargs.get("dtype") is torch.float32:
                kwargs["dtype"] = torch.float64
        return func(*args, **kwargs)
