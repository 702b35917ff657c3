from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
import torch
from lm.families import FAMILIES
from lm.ragged import alone, logprobs_alone, sharpen, some_completions, some_prompts
from torch import nn

from harness.api import Completions
from harness.lm.model import backbone
from harness.lm.score import log_softmax
from harness.lm.score.log_softmax import ScoringParams
from harness.lm.score.logprobs import ScoringModule, prepare, score, score_logits

if TYPE_CHECKING:
    from collections.abc import Callable

    from harness.lm.model.policy import Policy

    Make = Callable[..., Policy]


PROMPT_LENGTHS = [7, 1, 4]
LENGTHS = [[5, 1, 3], [0, 6, 2], [1, 1, 4]]
WEIGHTS = torch.randn(3, 3, 6, generator=torch.Generator().manual_seed(5), dtype=torch.float64)


def gradients(policy: Policy, loss: torch.Tensor) -> dict[str, torch.Tensor]:
    policy.model.zero_grad()
    torch.autograd.backward(loss)
    return {name: p.grad.clone() for name, p in policy.model.named_parameters() if p.grad is not None}


def checkpoint_layers(policy: Policy) -> None:
    model: Any = policy.model
    # the name changed within the releases of transformers that are supported
    enable = getattr(model, "activation_checkpointing_enable", None) or model.gradient_checkpointing_enable
    enable()


def assert_alike(found: dict[str, torch.Tensor], expected: dict[str, torch.Tensor], bound: float) -> None:
    assert found.keys() == expected.keys()
    scale = max(float(gradient.abs().max()) for gradient in expected.values())
    for name, gradient in expected.items():
        difference = float((found[name] - gradient).abs().max())
        assert difference <= bound * scale, name


@pytest.mark.parametrize("attention", ["sdpa", "eager"])
@pytest.mark.parametrize("family", FAMILIES)
def test_values_and_gradients_are_those_of_each_sequence_alone(make_policy: Make, family: str, attention: str) -> None:
    policy = sharpen(make_policy(family, vocab_size=336, attention=attention))
    prompts, completions = some_prompts(policy, PROMPT_LENGTHS), some_completions(policy, LENGTHS)
    assert prepare(policy, prompts, completions).input_ids.shape[0] == 1  # not 9: padded
    exact = attention == "sdpa" or family == "gpt2"  # transformers' eager OPT and NeoX compute softmax in float32
    bound = 1e-9 if exact else 1e-7
    expected = logprobs_alone(policy, prompts, completions, 1.5)
    wanted = gradients(policy, (expected * WEIGHTS).sum())
    for checkpointing in (False, True):
        if checkpointing:
            checkpoint_layers(policy)
        found = score(policy, prompts, completions, ScoringParams(1.5), dropout=True)
        assert found.values.dtype == torch.float64
        torch.testing.assert_close(found.values, expected, rtol=0, atol=bound * 10)
        assert bool((found.values[~completions.mask] == 0).all())
        assert torch.equal(found.mask, completions.mask)
        assert_alike(gradients(policy, (found.values * WEIGHTS).sum()), wanted, bound * 10)
        assert not any(module.training for module in policy.model.modules())


@pytest.mark.parametrize("family", FAMILIES)
def test_neither_padding_nor_company_nor_order_changes_a_value(make_policy: Make, family: str) -> None:
    policy = sharpen(make_policy(family, vocab_size=336))
    prompts, completions = some_prompts(policy, PROMPT_LENGTHS), some_completions(policy, LENGTHS)
    plain = score(policy, prompts, completions, dropout=False)
    wanted = gradients(policy, (plain.values * WEIGHTS).sum())

    garbage = some_prompts(policy, PROMPT_LENGTHS, padding=-(10**9))
    rubbish = some_completions(policy, LENGTHS, padding=10**9, width=9)
    wide = score(policy, garbage, rubbish, dropout=False)
    assert torch.equal(wide.values[..., :6], plain.values)
    assert wide.values.shape[2] == 9
    assert_alike(gradients(policy, (wide.values[..., :6] * WEIGHTS).sum()), wanted, 1e-12)

    order = torch.tensor([[2, 0, 1]] * 3)
    turned = score(policy, prompts[[2, 1, 0]], completions.pick(order)[[2, 1, 0]], dropout=False)
    torch.testing.assert_close(turned.values, plain.values[:, [2, 0, 1]].flip(0), rtol=0, atol=1e-11)
    single = score(policy, prompts[[1]], completions.pick(torch.tensor([[1]] * 3))[[1]], dropout=False)
    torch.testing.assert_close(single.values[0, 0], plain.values[1, 1], rtol=0, atol=1e-11)


def test_inputs_are_left_as_they_are(make_policy: Make) -> None:
    policy = make_policy()
    prompts, completions = some_prompts(policy, PROMPT_LENGTHS), some_completions(policy, LENGTHS)
    copies = [tensor.clone() for tensor in (prompts.ids, prompts.lengths, completions.ids, completions.lengths)]
    torch.autograd.backward(score(policy, prompts, completions, dropout=True).sum().sum())
    now = (prompts.ids, prompts.lengths, completions.ids, completions.lengths)
    assert all(torch.equal(a, b) for a, b in zip(now, copies, strict=True))


@pytest.mark.parametrize("family", ["gpt2", "opt-350m", "neox"])
def test_hidden_states_and_entropy(make_policy: Make, family: str) -> None:
    policy = sharpen(make_policy(family, vocab_size=336))
    prompts, completions = some_prompts(policy, PROMPT_LENGTHS), some_completions(policy, LENGTHS)
    found = score(policy, prompts, completions, ScoringParams(0.7, hidden=True, entropy=True), dropout=False)
    assert found.hidden is not None
    assert found.entropy is not None
    assert not found.entropy.requires_grad
    # the head makes of a hidden state the logits that predict the token
    logits = policy.restrict(backbone.head(policy.model)(found.hidden)) / 0.7
    values = logits.log_softmax(-1).gather(-1, completions.ids[..., None])[..., 0]
    torch.testing.assert_close(values.masked_fill(~completions.mask, 0), found.values, rtol=0, atol=1e-11)
    entropy = -(logits.softmax(-1) * logits.log_softmax(-1)).sum(-1).masked_fill(~completions.mask, 0)
    torch.testing.assert_close(entropy, found.entropy, rtol=0, atol=1e-11)
    assert bool((found.hidden[~completions.mask] == 0).all())


def test_logits_come_in_chunks(make_policy: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    policy = sharpen(make_policy(vocab_size=336))
    prompts, completions = some_prompts(policy, PROMPT_LENGTHS), some_completions(policy, LENGTHS)
    expected = score(policy, prompts, completions, dropout=True).values
    wanted = gradients(policy, (expected * WEIGHTS).sum())
    monkeypatch.setattr(log_softmax, "_ROWS", 4)
    chunks = list(score_logits(policy, prompts, completions, dropout=True))
    assert [len(chunk.values) for chunk in chunks] == [4, 4, 4, 4, 4, 3]
    loss = torch.zeros((), dtype=torch.float64)
    for chunk in chunks:
        assert chunk.values.shape[1] == policy.vocab_size
        b, k, t = chunk.rows.unbind(1)
        assert torch.equal(completions.ids[b, k, t], chunk.targets)
        loss = loss + (chunk.values.log_softmax(-1).gather(1, chunk.targets[:, None])[:, 0] * WEIGHTS[b, k, t]).sum()
    assert_alike(gradients(policy, loss), wanted, 1e-11)
    first = chunks[0]
    torch.testing.assert_close(first.values, alone(policy, prompts, completions, 0, 0)[:4], rtol=0, atol=1e-11)


@pytest.mark.parametrize("kept", [True, False])
@pytest.mark.parametrize("temperature", [1.0, 0.5])
def test_chunks_and_what_is_kept_change_nothing(
    make_policy: Make, monkeypatch: pytest.MonkeyPatch, *, kept: bool, temperature: float
) -> None:
    policy = sharpen(make_policy(vocab_size=336))
    prompts, completions = some_prompts(policy, PROMPT_LENGTHS), some_completions(policy, LENGTHS)
    expected = logprobs_alone(policy, prompts, completions, temperature)
    wanted = gradients(policy, (expected * WEIGHTS).sum())
    monkeypatch.setattr(log_softmax, "_ROWS", 5)
    monkeypatch.setattr(log_softmax, "KEPT", {"cpu": 10**9 if kept else 0})
    found = score(policy, prompts, completions, ScoringParams(temperature, entropy=True), dropout=False)
    torch.testing.assert_close(found.values, expected, rtol=0, atol=1e-11)
    once = torch.autograd.grad((found.values * WEIGHTS).sum(), list(policy.model.parameters()), retain_graph=True)
    assert_alike(gradients(policy, (found.values * WEIGHTS).sum()), wanted, 1e-11)
    for gradient, parameter in zip(once, policy.model.parameters(), strict=True):
        assert parameter.grad is not None
        assert torch.equal(gradient, parameter.grad)  # a graph may be walked back twice


def test_the_type_of_the_log_softmax(make_policy: Make) -> None:
    policy = sharpen(make_policy(dtype="float32"))
    prompts, completions = some_prompts(policy, PROMPT_LENGTHS), some_completions(policy, LENGTHS)
    plain = score(policy, prompts, completions, dropout=False)
    assert plain.values.dtype == torch.float32
    double = score(policy, prompts, completions, ScoringParams(dtype=torch.float64), dropout=False)
    assert double.values.dtype == torch.float64
    torch.testing.assert_close(plain.values.double(), double.values, rtol=0, atol=1e-5)
    half = score(policy, prompts, completions, ScoringParams(dtype=torch.bfloat16), dropout=False)
    assert half.values.dtype == torch.bfloat16
    difference = (half.values.double() - double.values).abs().max()
    assert 1e-4 < float(difference.detach()) < 0.5
    torch.autograd.backward(half.values.sum())


def test_bfloat16_autocast(make_policy: Make) -> None:
    exact = sharpen(make_policy(vocab_size=336, dtype="float32"))
    rough = sharpen(make_policy(vocab_size=336, dtype="bfloat16"))
    prompts, completions = some_prompts(exact, PROMPT_LENGTHS), some_completions(exact, LENGTHS)
    a = score(exact, prompts, completions, dropout=False)
    b = score(rough, prompts, completions, ScoringParams(entropy=True), dropout=False)
    assert b.values.dtype == torch.float32
    assert 1e-4 < float((a.values - b.values).detach().abs().max()) < 0.5
    weights = WEIGHTS.float()
    fine, coarse = gradients(exact, (a.values * weights).sum()), gradients(rough, (b.values * weights).sum())
    assert all(gradient.dtype == torch.float32 for gradient in coarse.values())
    for name, gradient in fine.items():
        assert float((coarse[name] - gradient).norm() / gradient.norm()) < 0.1, name


@pytest.mark.parametrize("family", FAMILIES)
def test_dropout_is_on_only_where_asked_for(make_policy: Make, family: str) -> None:
    policy = make_policy(family, dropout=0.3)
    prompts, completions = some_prompts(policy, PROMPT_LENGTHS), some_completions(policy, LENGTHS)
    expected = logprobs_alone(policy, prompts, completions)
    for checkpointing in (False, True):
        if checkpointing:
            checkpoint_layers(policy)
        off = score(policy, prompts, completions, dropout=False)
        torch.testing.assert_close(off.values, expected, rtol=0, atol=1e-10)
        on = [score(policy, prompts, completions, dropout=True).values for _ in range(2)]
        assert not torch.equal(on[0], on[1])
        assert not torch.equal(on[0], off.values)
        assert not any(module.training for module in policy.model.modules())


@pytest.mark.parametrize("dropout", [True, False])
@pytest.mark.parametrize("family", FAMILIES)
def test_checkpointed_layers_run_again_as_they_ran(make_policy: Make, family: str, *, dropout: bool) -> None:
    """The backward pass comes after every mode was put back: dropout must be as it was in the forward pass."""
    policy = make_policy(family, dropout=0.3)
    prompts, completions = some_prompts(policy, PROMPT_LENGTHS), some_completions(policy, LENGTHS)

    def once() -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
        with torch.random.fork_rng():
            torch.set_rng_state(torch.Generator().manual_seed(11).get_state())
            values = score(policy, prompts, completions, dropout=dropout).values
            return values.detach(), gradients(policy, (values * WEIGHTS).sum())

    values, wanted = once()
    checkpoint_layers(policy)
    runs = []
    layers = [module for name, module in policy.model.named_modules() if name.endswith((".h.0", ".layers.0"))]
    norm = next(module for module in layers[0].modules() if isinstance(module, nn.LayerNorm))
    norm.register_forward_hook(lambda *_: runs.append(1))
    again, found = once()
    assert len(runs) == 2  # forward, and again for the backward pass
    torch.testing.assert_close(again, values, rtol=0, atol=0)
    assert_alike(found, wanted, 1e-12)


def test_modes_are_put_back_one_by_one(make_policy: Make) -> None:
    policy = make_policy()
    policy.model.train()
    frozen = next(module for module in policy.model.modules() if isinstance(module, nn.LayerNorm))
    frozen.eval()
    before = [module.training for module in policy.model.modules()]
    prompts, completions = some_prompts(policy, PROMPT_LENGTHS), some_completions(policy, LENGTHS)
    for dropout in (True, False):
        score(policy, prompts, completions, dropout=dropout)
        assert [module.training for module in policy.model.modules()] == before


def test_absent_completions_and_ids_without_a_token(make_policy: Make) -> None:
    policy = sharpen(make_policy(vocab_size=400))
    prompts = some_prompts(policy, [3, 2])
    none = some_completions(policy, [[2, 0], [0, 3]])
    none = Completions(none.ids, torch.zeros_like(none.lengths), torch.zeros_like(none.finished))
    found = score(policy, prompts, none, ScoringParams(hidden=True, entropy=True), dropout=False)
    assert found.values.shape == (2, 2, 3)
    assert bool((found.values == 0).all())
    torch.autograd.backward(found.values.sum())
    some = some_completions(policy, [[2, 0], [0, 3]])
    # probabilities are over the ids that have a token: they sum to 1 over these
    (chunk,) = score_logits(policy, prompts, some, dropout=False)
    assert chunk.values.shape[1] == policy.vocab_size == 320
    assert policy.model.config.vocab_size == 400
    logp = chunk.values.log_softmax(-1).gather(1, chunk.targets[:, None])[:, 0]
    torch.testing.assert_close(score(policy, prompts, some, dropout=False).values[some.mask], logp)


def test_a_wrapped_module_is_what_is_called(make_policy: Make) -> None:
    policy = make_policy()
    prompts, completions = some_prompts(policy, PROMPT_LENGTHS), some_completions(policy, LENGTHS)
    scoring = ScoringModule(policy)
    assert {id(p) for p in scoring.parameters()} == {id(p) for p in policy.model.parameters()}
    calls = []

    def wrapped(*args: Any, **kwargs: Any) -> dict[str, torch.Tensor]:
        calls.append(kwargs)
        return dict(scoring(*args, **kwargs))

    found = score(policy, prompts, completions, dropout=True, module=wrapped)
    assert torch.equal(found.values, score(policy, prompts, completions, dropout=True).values)
    list(score_logits(policy, prompts, completions, dropout=True, module=wrapped))
    assert [call.get("output") for call in calls] == [None, "logits"]
