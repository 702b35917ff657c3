"""Weights that are packed, or cast, once, against the layers as they are."""

from __future__ import annotations

import gc
import weakref
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

import pytest
import torch
from lm.architectures import make
from lm.families import FAMILIES
from torch import nn
from transformers.pytorch_utils import Conv1D

from harness.lm.model import packed_linear
from harness.lm.model.packed_linear import packed
from harness.lm.switches import PLAIN_LINEAR

if TYPE_CHECKING:
    from collections.abc import Callable

    from harness.lm.model.policy import Policy
    from harness.text.tokenise import Tokeniser

    Make = Callable[..., Policy]

KINDS = {nn.Linear, Conv1D}
#: Roundings to bfloat16 fall apart where sums end in another order.
BOUNDS = {"float32": 1e-5, "float64": 0.0, "bfloat16": 2e-2}


@pytest.fixture(autouse=True)
def small_weights_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(PLAIN_LINEAR.variable, raising=False)
    monkeypatch.setattr(packed_linear, "NUMBERS", 1)


def bound(policy: Policy) -> list[nn.Module]:
    return [module for module in policy.model.modules() if "forward" in vars(module)]


def linears(policy: Policy) -> list[Any]:
    return [module for module in policy.model.modules() if type(module) in KINDS]


def logits(policy: Policy, rows: int = 3, length: int = 5) -> torch.Tensor:
    ids = torch.arange(3, 3 + rows * length).view(rows, length)
    with torch.inference_mode(), policy.autocast():
        found: torch.Tensor = policy.model(input_ids=ids, use_cache=False).logits
        return found.clone()


@pytest.mark.parametrize("dtype", ["float32", "float64", "bfloat16"])
@pytest.mark.parametrize("family", FAMILIES)
def test_outcomes_are_the_plain_layers(make_policy: Make, family: str, dtype: str) -> None:
    policy = make_policy(family, dtype=dtype)
    for rows, length in ((1, 1), (3, 5)):
        plain = logits(policy, rows, length)
        with packed(policy, uses=packed_linear.USES):
            assert len(bound(policy)) == (0 if dtype == "float64" else len(linears(policy)))
            found = logits(policy, rows, length)
        assert found.dtype == plain.dtype
        torch.testing.assert_close(found, plain, rtol=BOUNDS[dtype], atol=BOUNDS[dtype])
        assert torch.equal(logits(policy, rows, length), plain)


@pytest.mark.parametrize("multiplies", [True, False])
@pytest.mark.parametrize("numbers", [1, 1 << 60])
@pytest.mark.parametrize("kind", ["linear", "linear without bias", "conv1d"])
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_a_layer_by_itself(
    make_policy: Make, monkeypatch: pytest.MonkeyPatch, dtype: str, kind: str, numbers: int, *, multiplies: bool
) -> None:
    """Packed and not, by a processor that multiplies bfloat16 and by one that does not."""
    if multiplies and numbers == 1 and not packed_linear._multiplies(torch.bfloat16):
        numbers = 1 << 60  # this processor cannot pack it
    monkeypatch.setattr(packed_linear, "NUMBERS", numbers)
    monkeypatch.setattr(packed_linear, "_multiplies", lambda _: multiplies)
    torch.manual_seed(1)  # noqa: TID251  # a layer draws its weights from the global generator
    conv1d: Any = Conv1D
    module: Any = conv1d(40, 24) if kind == "conv1d" else nn.Linear(24, 40, bias=kind == "linear")
    if module.bias is not None:
        nn.init.normal_(module.bias)
    policy = make_policy(dtype=dtype)
    policy.model = module
    for shape in ((24,), (1, 24), (2, 24), (70, 24), (2, 3, 24)):
        inputs = torch.randn(*shape)
        with torch.no_grad(), policy.autocast():
            plain = module(inputs)
            with packed(policy, uses=packed_linear.USES):
                found = module(inputs)
        assert (found.dtype, found.shape) == (plain.dtype, plain.shape)
        torch.testing.assert_close(found, plain, rtol=BOUNDS[dtype], atol=BOUNDS[dtype])


def test_the_weights_are_laid_out_and_cast_once(make_policy: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    laid: list[tuple[int, ...]] = []
    real = packed_linear._packed

    def counted(weight: torch.Tensor, bias: torch.Tensor | None) -> Any:
        laid.append(tuple(weight.shape))
        return real(weight, bias)

    monkeypatch.setattr(packed_linear, "_packed", counted)
    policy = make_policy(dtype="float32")
    with packed(policy, uses=packed_linear.USES):
        for _ in range(3):
            logits(policy)
    assert len(laid) == len(linears(policy))
    model: Any = policy.model
    head = model.get_output_embeddings()
    assert tuple(head.weight.shape) in laid


def test_rows_and_numbers_decide(make_policy: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    policy = make_policy(dtype="float32")
    largest = max(module.weight.numel() for module in linears(policy))
    monkeypatch.setattr(packed_linear, "NUMBERS", largest)
    with packed(policy, uses=packed_linear.USES):
        assert bound(policy) == [module for module in linears(policy) if module.weight.numel() == largest]
    monkeypatch.setattr(packed_linear, "NUMBERS", largest + 1)
    with packed(policy, uses=packed_linear.USES):
        assert not bound(policy)
    monkeypatch.setattr(packed_linear, "NUMBERS", 1)
    monkeypatch.setattr(packed_linear, "ROWS", 6)
    few, many = logits(policy, 1, 5), logits(policy, 1, 6)
    with packed(policy, uses=packed_linear.USES):
        assert torch.equal(logits(policy, 1, 5), few)
        torch.testing.assert_close(logits(policy, 1, 6), many, rtol=0, atol=1e-5)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_a_few_uses_are_not_worth_packing(make_policy: Make, monkeypatch: pytest.MonkeyPatch, dtype: str) -> None:
    policy = make_policy(dtype=dtype)
    monkeypatch.setattr(packed_linear, "_packed", lambda *_: 1 / 0)
    plain = logits(policy)
    with packed(policy, uses=packed_linear.USES - 1):
        assert len(bound(policy)) == (len(linears(policy)) if dtype == "bfloat16" else 0)  # they are cast once
        torch.testing.assert_close(logits(policy), plain, rtol=BOUNDS[dtype], atol=BOUNDS[dtype])


def test_the_switch(make_policy: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    policy = make_policy(dtype="float32")
    plain = logits(policy)
    monkeypatch.setenv(PLAIN_LINEAR.variable, "off")
    with packed(policy, uses=packed_linear.USES):
        assert not bound(policy)
        assert torch.equal(logits(policy), plain)


@pytest.mark.parametrize("kind", ["llama", "mixtral", "qwen3-moe"])
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_other_architectures(tokeniser: Tokeniser, kind: str, dtype: str) -> None:
    """Weights of experts are stacked, and no linear layers: they are applied as before."""
    policy = make(kind, tokeniser, dtype)
    plain = logits(policy)
    with packed(policy, uses=packed_linear.USES):
        assert bound(policy) == linears(policy)
        found = logits(policy)
    torch.testing.assert_close(found, plain, rtol=BOUNDS[dtype], atol=BOUNDS[dtype])


@pytest.mark.parametrize("tied", [True, False])
def test_the_head_tied_or_not(make_policy: Make, *, tied: bool) -> None:
    policy = make_policy("neox", dtype="float32", tie_word_embeddings=tied)
    model: Any = policy.model
    assert (model.get_output_embeddings().weight is model.get_input_embeddings().weight) == tied
    plain = logits(policy)
    with packed(policy, uses=packed_linear.USES):
        assert "forward" in vars(model.get_output_embeddings())
        torch.testing.assert_close(logits(policy), plain, rtol=0, atol=1e-5)


def test_layers_that_somebody_else_has_a_hand_in_are_left_alone(make_policy: Make) -> None:
    class Adapted(nn.Linear):
        def forward(self, inputs: torch.Tensor) -> torch.Tensor:
            return super().forward(inputs) + 1

    policy = make_policy("opt", dtype="float32")
    layers = linears(policy)
    heard: list[str] = []
    layers[0].register_forward_hook(lambda *_: heard.append("after"))
    layers[1].register_forward_pre_hook(lambda *_: heard.append("before"))
    layers[2].__class__ = Adapted
    nn.utils.parametrizations.weight_norm(layers[3])
    other: Any = layers[4].forward

    def doubled(inputs: torch.Tensor) -> torch.Tensor:
        twice: torch.Tensor = 2 * other(inputs)
        return twice

    layers[4].forward = doubled
    plain = logits(policy)
    heard.clear()
    with packed(policy, uses=packed_linear.USES):
        changed = [module for module in layers if vars(module).get("forward") not in {None, doubled}]
        assert changed == layers[5:]
        found = logits(policy)
    torch.testing.assert_close(found, plain, rtol=0, atol=1e-5)
    assert set(heard) == {"before", "after"}
    assert layers[4].forward is doubled


def test_a_hook_that_comes_later_is_heard(make_policy: Make) -> None:
    policy = make_policy(dtype="float32")
    heard: list[int] = []
    with packed(policy, uses=packed_linear.USES):
        linears(policy)[0].register_forward_hook(lambda *_: heard.append(1))
        logits(policy)
    assert heard == [1]


def test_contexts_may_be_nested(make_policy: Make) -> None:
    policy = make_policy(dtype="float32")
    with ExitStack() as stack:
        stack.enter_context(packed(policy, uses=packed_linear.USES))
        outer = [vars(module)["forward"] for module in bound(policy)]
        with packed(policy, uses=packed_linear.USES):
            assert [vars(module)["forward"] for module in bound(policy)] == outer
        assert len(bound(policy)) == len(outer) > 0
    assert not bound(policy)


def test_an_error_leaves_the_model_as_it_was(make_policy: Make) -> None:
    policy = make_policy(dtype="float32")
    seen: list[int] = []

    def fail() -> None:
        with packed(policy, uses=packed_linear.USES):
            seen.append(len(bound(policy)))
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    assert seen[0] > 0
    assert not bound(policy)


@pytest.mark.parametrize("change", ["in place", "another", "another's storage"])
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_a_weight_that_changes_is_taken_as_it_is(make_policy: Make, dtype: str, change: str) -> None:
    policy = make_policy(dtype=dtype)
    layer = linears(policy)[1]
    before = logits(policy)
    with packed(policy, uses=packed_linear.USES):
        logits(policy)
        if change == "in place":
            with torch.no_grad():
                layer.weight.mul_(3)
        elif change == "another":
            layer.weight = nn.Parameter(layer.weight.detach() * 3)
        else:
            layer.weight.data = layer.weight.detach() * 3
        within = logits(policy)
    after = logits(policy)
    with packed(policy, uses=packed_linear.USES):
        again = logits(policy)
    assert not torch.allclose(after, before, atol=1e-3)
    for found in (within, again):
        torch.testing.assert_close(found, after, rtol=BOUNDS[dtype], atol=BOUNDS[dtype])


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_gradients_are_the_plain_layers(make_policy: Make, dtype: str) -> None:
    """Within the context and after it."""
    policy = make_policy(dtype=dtype)
    ids = torch.arange(3, 18).view(3, 5)

    def gradient() -> list[torch.Tensor]:
        policy.model.zero_grad()
        with policy.autocast():
            loss = policy.model(input_ids=ids, use_cache=False).logits.float().square().sum()
        torch.autograd.backward(loss)
        return [p.grad.clone() for p in policy.model.parameters() if p.grad is not None]

    plain = gradient()
    with packed(policy, uses=packed_linear.USES):
        logits(policy)
        within = gradient()
    after = gradient()
    assert len(plain) == len(list(policy.model.parameters()))
    for found in (within, after):
        assert all(torch.equal(one, other) for one, other in zip(found, plain, strict=True))


def test_another_autocast_than_the_policys_is_followed(make_policy: Make) -> None:
    for dtype in ("float32", "bfloat16"):
        policy = make_policy(dtype=dtype)
        other = make_policy(dtype="bfloat16" if dtype == "float32" else "float32")
        other.model = policy.model
        plain = logits(other)
        with packed(policy, uses=packed_linear.USES):
            assert torch.equal(logits(other), plain)


def test_no_copy_is_left(make_policy: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[weakref.ref[Any]] = []
    real = packed_linear._forward

    def watched(module: Any, *, pack: bool) -> Any:
        found = real(module, pack=pack)
        made.append(weakref.ref(found))
        return found

    monkeypatch.setattr(packed_linear, "_forward", watched)
    policy = make_policy(dtype="float32")
    gc.collect()
    gc.disable()
    try:
        with packed(policy, uses=packed_linear.USES):
            logits(policy)
            assert all(one() is not None for one in made)
        assert not any(one() is not None for one in made)  # at once, with no help from the collector
    finally:
        gc.enable()
    assert len(made) == len(linears(policy))


@pytest.mark.parametrize(
    "error", [MemoryError(), RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: 9 bytes")]
)
def test_without_memory_for_copies_nothing_is_packed(
    make_policy: Make, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, error: Exception
) -> None:
    policy = make_policy(dtype="float32")
    plain = logits(policy)
    real, calls = packed_linear._packed, iter(range(1000))

    def scarce(weight: torch.Tensor, bias: torch.Tensor | None) -> Any:
        if next(calls) == 2:
            raise error
        return real(weight, bias)

    monkeypatch.setattr(packed_linear, "_packed", scarce)
    with packed(policy, uses=packed_linear.USES):
        assert not bound(policy)
        assert torch.equal(logits(policy), plain)
    assert "no memory for a copy of the weights" in caplog.text


def test_other_errors_of_packing_are_told(make_policy: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    policy = make_policy(dtype="float32")
    monkeypatch.setattr(packed_linear, "_packed", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError), packed(policy, uses=packed_linear.USES):
        pass
    assert not bound(policy)
