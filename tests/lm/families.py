"""Small members of each model family, the odd ones among them, as arguments of a transformers configuration."""

from __future__ import annotations

from typing import Any

FAMILIES: dict[str, dict[str, Any]] = {
    "gpt2": {"model_type": "gpt2", "n_layer": 2, "n_head": 2, "n_embd": 32, "n_positions": 96},
    "opt": {
        "model_type": "opt", "num_hidden_layers": 2, "num_attention_heads": 2, "hidden_size": 32, "ffn_dim": 64,
        "max_position_embeddings": 96, "word_embed_proj_dim": 32,
    },
    "opt-350m": {  # post-norm, projected embeddings
        "model_type": "opt", "num_hidden_layers": 2, "num_attention_heads": 2, "hidden_size": 32, "ffn_dim": 64,
        "max_position_embeddings": 96, "word_embed_proj_dim": 16, "do_layer_norm_before": False,
    },
    "neox": {
        "model_type": "gpt_neox", "num_hidden_layers": 2, "num_attention_heads": 2, "hidden_size": 32,
        "intermediate_size": 64, "max_position_embeddings": 96, "rotary_pct": 0.25, "use_parallel_residual": True,
    },
    "neox-serial": {
        "model_type": "gpt_neox", "num_hidden_layers": 2, "num_attention_heads": 2, "hidden_size": 32,
        "intermediate_size": 64, "max_position_embeddings": 96, "rotary_pct": 0.25, "use_parallel_residual": False,
    },
}  # fmt: skip
