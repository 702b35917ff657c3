"""Small models whose attention or head is of another kind than the supported families'."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from lm.ragged import sharpen

from harness.lm.model.policy import Policy

if TYPE_CHECKING:
    from harness.lm.text.tokenise import Tokeniser

_SHAPE = {"vocab_size": 330, "hidden_size": 32, "bos_token_id": 0, "eos_token_id": 0, "pad_token_id": 0}
_LLAMA = {
    **_SHAPE, "num_hidden_layers": 2, "num_attention_heads": 2, "num_key_value_heads": 1, "intermediate_size": 48,
    "max_position_embeddings": 96,
}  # fmt: skip

FOREIGN: dict[str, dict[str, Any]] = {
    "bloom": {**_SHAPE, "n_layer": 2, "n_head": 2},  # ALiBi
    "gpt_neo": {  # every other layer attends locally
        **_SHAPE, "num_layers": 2, "num_heads": 2, "attention_types": [[["global", "local"], 1]], "window_size": 3,
        "max_position_embeddings": 96, "intermediate_size": 48,
    },
    "mistral": {**_LLAMA, "sliding_window": 4},
    "gemma2": {**_LLAMA, "head_dim": 16, "sliding_window": 4, "query_pre_attn_scalar": 16},  # and caps its logits
    "llama": _LLAMA,
    "qwen2": _LLAMA,
}  # fmt: skip


def make_foreign(kind: str, tokeniser: Tokeniser, dtype: Any = "float64") -> Policy:
    """Make a policy around a fresh model of another kind."""
    from transformers import AutoConfig, AutoModelForCausalLM

    build: Any = AutoModelForCausalLM.from_config
    with torch.random.fork_rng():
        torch.set_rng_state(torch.Generator().manual_seed(3).get_state())
        model = build(AutoConfig.for_model(kind, **FOREIGN[kind]))
    return sharpen(Policy(model, tokeniser, dtype=dtype), 4)
