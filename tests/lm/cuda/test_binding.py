"""bfloat16 bound once: products, places and contents."""

from __future__ import annotations

import gc
from typing import TYPE_CHECKING

import pytest
import torch
from lm.architectures import make
from lm.ragged import some_prompts

from harness.lm.cuda import binding
from harness.lm.decode.noise import Noise
from harness.lm.decode.sampling import SamplingParams, sample
from harness.lm.model.packed_linear import packed

if TYPE_CHECKING:
    from harness.lm.model.policy import Policy
    from harness.text.tokenise import Tokeniser


@pytest.fixture
def bound(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(binding, "DEVICES", {"cpu"})


def test_the_trial_passes_and_finds_weights_of_yesterday(monkeypatch: pytest.MonkeyPatch) -> None:
    assert binding.why_not(torch.device("cpu")) == ""
    copy = binding._copy
    first: dict[int, torch.Tensor] = {}

    def once(weight: torch.Tensor, dtype: torch.dtype, *, turned: bool) -> torch.Tensor:
        return first.setdefault(id(weight), copy(weight, dtype, turned=turned).clone())

    monkeypatch.setattr(binding, "_copy", once)
    assert binding.why_not(torch.device("cpu")) == "bound weights gave other products than autocast's"


def drawn(policy: Policy) -> torch.Tensor:
    params = SamplingParams((1.0, 0.5), 6, with_logprobs=True)
    found = sample(policy, some_prompts(policy, [5, 2]), ["a", "b"], params, Noise(0, "t")).logprobs
    assert found is not None
    return found[:, :, 0]


@pytest.mark.parametrize("kind", ["gpt2", "llama"])
@pytest.mark.usefixtures("bound")
def test_copies_keep_their_places_and_follow_the_weights(
    tokeniser: Tokeniser, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    policy = make(kind, tokeniser, dtype="bfloat16", factor=2.0)
    found = []
    for _ in range(2):
        with packed(policy, uses=1):
            reads = {
                name: vars(module)["forward"].reads
                for name, module in policy.model.named_modules()
                if isinstance(vars(module).get("forward"), binding.BoundLinear)
            }
        assert len(reads) > 4
        found.append((reads, drawn(policy)))
        with torch.no_grad():
            for parameter in policy.model.parameters():
                parameter.mul_(1.2)
    assert found[0][0] == found[1][0]
    assert not torch.allclose(found[0][1], found[1][1], atol=1e-3)
    monkeypatch.setattr(binding, "DEVICES", set())
    with torch.no_grad():
        for parameter in policy.model.parameters():
            parameter.div_(1.2)
    torch.testing.assert_close(drawn(policy), found[1][1], rtol=0, atol=0.02)


@pytest.mark.usefixtures("bound")
def test_training_computes_by_the_weights_themselves(tokeniser: Tokeniser) -> None:
    policy = make("llama", tokeniser, dtype="bfloat16")
    with packed(policy, uses=1), policy.autocast():
        loss = policy.model(input_ids=torch.tensor([[1, 2, 3]])).logits.float().sum()
    loss.backward()
    assert all(parameter.grad is not None for parameter in policy.model.parameters())


@pytest.mark.usefixtures("bound")
def test_copies_go_with_their_weights(tokeniser: Tokeniser) -> None:
    gc.collect()
    before = len(binding._copies)
    policy = make("llama", tokeniser, dtype="bfloat16")
    with packed(policy, uses=1):
        assert len(binding._copies) > before
    del policy
    gc.collect()
    assert len(binding._copies) == before
