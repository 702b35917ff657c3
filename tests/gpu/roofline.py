"""What the device's own rates leave for a step: its products at the rate of large ones, its bytes at that of a copy."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch

if TYPE_CHECKING:
    from gpu.setting import Setting

    from harness.lm.model.policy import Policy

#: Dense bfloat16 operations a second that vendors state, by a part of the device's name.
STATED = {"H200": 989e12, "H100": 989e12, "A100": 312e12, "A800": 312e12}


@dataclass(frozen=True)
class Rates:
    """Measured on the device."""

    operations: float
    """A second, of a square product in bfloat16."""
    bytes: float
    """A second, read and written, of a copy."""
    stated: float | None
    """Operations a second by the vendor's sheet."""


def rates(setting: Setting) -> Rates:
    """Measure both: the best of a few."""
    size, numbers = (128, 1 << 20) if setting.toy else (8192, 1 << 28)
    one = torch.ones(size, size, dtype=torch.bfloat16, device=setting.device)
    source = torch.ones(numbers, dtype=torch.float32, device=setting.device)
    target = torch.empty_like(source)
    product = _best(setting, lambda: torch.mm(one, one))
    copy = _best(setting, lambda: target.copy_(source))
    name = "" if setting.toy else torch.cuda.get_device_name(setting.device)
    stated = next((rate for part, rate in STATED.items() if part in name), None)
    return Rates(2 * size**3 / product, 8 * numbers / copy, stated)


def _best(setting: Setting, call: Any) -> float:
    best = float("inf")
    for _ in range(6):
        setting.wait()
        began = time.perf_counter()
        call()
        setting.wait()
        best = min(best, time.perf_counter() - began)
    return best


@dataclass(frozen=True)
class Work:
    """What a model's work comes to; N parameters that multiply, the head's included."""

    parameters: int
    trained: int
    layers: int
    width: int
    """Of all heads of queries together."""
    kept: int
    """Numbers of keys and values of a token, in all layers."""

    @classmethod
    def of(cls, policy: Policy) -> Work:
        """Count a policy's."""
        config: Any = policy.model.config
        names = dict(policy.model.named_parameters())
        untyped: Any = policy.model
        head = untyped.get_output_embeddings().weight
        inside = sum(
            p.numel()
            for name, p in names.items()
            if p.dim() == 2 and "emb" not in name and "wpe" not in name and "wte" not in name and p is not head
        )
        heads = config.num_attention_heads
        each = getattr(config, "head_dim", None) or config.hidden_size // heads
        kept = 2 * config.num_hidden_layers * (getattr(config, "num_key_value_heads", None) or heads) * each
        trained = sum(p.numel() for p in names.values())
        return cls(inside + head.numel(), trained, config.num_hidden_layers, heads * each, kept)

    def forward(self, tokens: int, pairs: float) -> float:
        """Return operations: two for each weight and token, and four for each pair of tokens that meet."""
        return 2 * self.parameters * tokens + 4 * self.layers * self.width * pairs

    def decoding(self, rates: Rates, prompts: list[int], group: int, new: int) -> float:
        """Return the seconds of reading prompts, and of every weight, key and value once a step, in two bytes each."""
        read = self.forward(sum(prompts), sum(size**2 / 2 for size in prompts)) / rates.operations
        kept = sum(size + group * new / 2 for size in prompts) * self.kept
        return float(read + new * 2 * (self.parameters + kept) / rates.bytes)

    def training(self, rates: Rates, tokens: int, pairs: float) -> float:
        """Return the seconds of a forward and backward, and of an Adam step: seven float32 numbers a parameter."""
        return float(3 * self.forward(tokens, pairs) / rates.operations + 28 * self.trained / rates.bytes)
