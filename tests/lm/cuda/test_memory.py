"""How many tokens a device has memory for, with a driver that says so."""

from __future__ import annotations

from types import SimpleNamespace
from typing import TYPE_CHECKING

import pytest
import torch
from lm.architectures import make

from harness.in_parts import UNLIMITED
from harness.lm.cuda.memory import decoded_token_bytes, decoding_tokens, trained_token_bytes, training_tokens
from harness.lm.cuda.sizes import CPU_TOKENS, GPU_TOKENS
from harness.lm.switches import DEVICE_LIMITS

if TYPE_CHECKING:
    from harness.lm.model.policy import Policy
    from harness.text.tokenise import Tokeniser

GIBI = 1 << 30


@pytest.fixture
def on_cuda(tokeniser: Tokeniser, monkeypatch: pytest.MonkeyPatch) -> Policy:
    policy = make("qwen3", tokeniser, dtype="bfloat16")
    policy.device = torch.device("cuda")
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda _: (GIBI, 8 * GIBI))
    monkeypatch.setattr(torch.cuda, "memory_reserved", lambda _: 3 * GIBI)
    monkeypatch.setattr(torch.cuda, "memory_allocated", lambda _: 2 * GIBI)
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda _: SimpleNamespace(total_memory=8 * GIBI))
    return policy


def test_a_processor_has_no_limit_but_its_caches(tokeniser: Tokeniser) -> None:
    policy = make("gpt2", tokeniser)
    assert (training_tokens(policy), decoding_tokens(policy)) == (CPU_TOKENS, UNLIMITED)


def test_limits_are_shares_of_what_the_device_has(on_cuda: Policy, monkeypatch: pytest.MonkeyPatch) -> None:
    assert decoded_token_bytes(on_cuda) == 2 * 2 * 2 * 2 * 8  # keys and values, bytes, layers, heads, numbers of one
    assert decoding_tokens(on_cuda) == 2 * GIBI // 128
    assert trained_token_bytes(on_cuda) == 2 * 2 * 32 * 40 + 12 * on_cuda.vocab_size
    assert training_tokens(on_cuda) == min(GPU_TOKENS[1], GIBI // trained_token_bytes(on_cuda))
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda _: (0, 8 * GIBI))
    monkeypatch.setattr(torch.cuda, "memory_reserved", lambda _: 2 * GIBI + 1000)
    assert training_tokens(on_cuda) == GPU_TOKENS[0]  # less would not be worth its calls


def test_a_switch_asks_no_device(on_cuda: Policy, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(DEVICE_LIMITS.variable, "off")
    assert (training_tokens(on_cuda), decoding_tokens(on_cuda)) == (GPU_TOKENS[1], UNLIMITED)
