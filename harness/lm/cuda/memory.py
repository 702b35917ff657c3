"""How many tokens a device has memory for: estimates. What they get wrong, halving where memory runs out puts right.

``HARNESS_DEVICE_LIMITS=off`` asks no device: the upper bounds hold until memory runs out.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch

from harness.in_parts import UNLIMITED
from harness.lm.cuda.sizes import CPU_TOKENS, GPU_TOKENS
from harness.lm.switches import DEVICE_LIMITS

if TYPE_CHECKING:
    from harness.lm.model.policy import Policy

#: Bytes that a token leaves in one layer for the backward, in units of hidden size: attention and MLP with their norms.
ACTIVATIONS_PER_LAYER = 40
#: Shares of memory: of what is free for activations, of all for keys and values, which stay allocated while training.
TRAINING_SHARE, DECODING_SHARE = 2, 4


def free_bytes(device: torch.device) -> int:
    """Return what can still be allocated on a GPU: what the driver has, and what PyTorch holds and does not use."""
    free, _ = torch.cuda.mem_get_info(device)
    return int(free + torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device))


def training_tokens(policy: Policy) -> int:
    """Return how many tokens one forward and backward may hold on the policy's device."""
    if policy.device.type != "cuda":
        return CPU_TOKENS
    low, high = GPU_TOKENS
    if DEVICE_LIMITS.on:
        return high
    return max(low, min(high, free_bytes(policy.device) // TRAINING_SHARE // trained_token_bytes(policy)))


def decoding_tokens(policy: Policy) -> int:
    """Return how many tokens may be decoded together, as :func:`harness.in_parts.decoding_costs` counts them.

    Of all memory, not of what is free: an answer's last bits depend on the company that it is drawn in, which must be
    the same after an interruption.
    """
    if policy.device.type != "cuda" or DEVICE_LIMITS.on:
        return UNLIMITED
    total = torch.cuda.get_device_properties(policy.device).total_memory
    return max(1, total // DECODING_SHARE // decoded_token_bytes(policy))


def trained_token_bytes(policy: Policy) -> int:
    """Return the bytes that a token takes until the backward: of activations, and of logits in float32."""
    layers, width, *_ = _sizes(policy)
    return _bytes(policy) * layers * width * ACTIVATIONS_PER_LAYER + 12 * policy.vocab_size


def decoded_token_bytes(policy: Policy) -> int:
    """Return the bytes of a token's keys and values in all layers."""
    return _bytes(policy) * decoded_token_numbers(policy)


def decoded_token_numbers(policy: Policy) -> int:
    """Return how many numbers a token's keys and values in all layers are."""
    layers, _, heads, each = _sizes(policy)
    return 2 * layers * heads * each


def _sizes(policy: Policy) -> tuple[int, int, int, int]:
    """Return layers, hidden size, heads of keys, and the size of one."""
    given: Any = policy.model.config
    config = given.get_text_config(decoder=True)
    layers = getattr(config, "num_hidden_layers", None) or 12
    width = getattr(config, "hidden_size", None) or 768
    heads = getattr(config, "num_attention_heads", None) or 12
    each = getattr(config, "head_dim", None) or width // heads
    return layers, width, getattr(config, "num_key_value_heads", None) or heads, each


def _bytes(policy: Policy) -> int:
    return {"float64": 8, "float32": 4, "bfloat16": 2}[policy.dtype]
