from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
import torch
from torch import nn

from harness.errors import PluginError
from harness.training.shares import Outputs

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import Tensor


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        source = torch.Generator().manual_seed(0)
        self.body = nn.Parameter(torch.randn(3, 4, generator=source, dtype=torch.float64))
        self.head = nn.Parameter(torch.randn(4, generator=source, dtype=torch.float64))
        self.idle = nn.Parameter(torch.ones(2, dtype=torch.float64))
        self.x = torch.randn(5, 3, generator=source, dtype=torch.float64)

    def hidden(self) -> Tensor:
        return torch.tanh(self.x @ self.body)


Loss = "Callable[[Net, Tensor], dict[str, Any]]"


def settle(loss: Callable[[Net, Tensor], dict[str, Any]]) -> tuple[Net, Outputs, dict[str, Any]]:
    net = Net()
    outputs = Outputs()
    given = outputs.hand_out(net.hidden())
    return net, outputs, dict(outputs.settle(loss(net, given)))


def plain(loss: Callable[[Net, Tensor], dict[str, Any]]) -> Net:
    net = Net()
    sum(loss(net, net.hidden()).values()).backward()
    return net


def two_shares(net: Net, hidden: Tensor) -> dict[str, Any]:
    middle = hidden.square().sum(1)  # a part of the graph that both have in common
    return {"a": middle.sum() / 3, "b": -(middle * torch.arange(5.0)).mean() + hidden.sum()}


def with_head(net: Net, hidden: Tensor) -> dict[str, Any]:
    return {"a": hidden.sum(), "value": (hidden @ net.head).square().mean(), "norm": net.head.square().sum()}


def own_forward(net: Net, hidden: Tensor) -> dict[str, Any]:  # it makes its own
    return {"a": net.hidden().sum() + net.body.sum()}


@pytest.mark.parametrize("loss", [two_shares, with_head, own_forward])
def test_gradients_are_those_of_one_plain_backward(loss: Callable[[Net, Tensor], dict[str, Any]]) -> None:
    net, outputs, settled = settle(loss)
    separate = [outputs.gradient(name, list(net.parameters())) for name in settled]
    assert all(parameter.grad is None for parameter in net.parameters())  # looking changes nothing
    outputs.backward(list(net.parameters()))
    expected = plain(loss)
    for place, (mine, other) in enumerate(zip(net.parameters(), expected.parameters(), strict=True)):
        assert (mine.grad is None) == (other.grad is None)
        if mine.grad is None or other.grad is None:
            continue
        torch.testing.assert_close(mine.grad, other.grad, rtol=0, atol=1e-14)
        parts = [gradient[place] for gradient in separate]
        total = sum((part for part in parts if part is not None), torch.zeros_like(mine))
        torch.testing.assert_close(total, other.grad, rtol=0, atol=1e-14)


def test_a_second_part_adds_to_the_first() -> None:
    net = Net()
    for _ in range(2):
        outputs = Outputs()
        outputs.settle(with_head(net, outputs.hand_out(net.hidden())))
        outputs.backward(list(net.parameters()))
    expected = plain(with_head)
    for mine, other in zip(net.parameters(), expected.parameters(), strict=True):
        if other.grad is not None:
            torch.testing.assert_close(mine.grad, 2 * other.grad, rtol=0, atol=1e-13)


def test_moved_is_exact() -> None:
    def loss(net: Net, hidden: Tensor) -> dict[str, Any]:
        return {
            "yes": 1e-300 * hidden.sum(),
            "no": (hidden * torch.zeros(5, 4)).sum(),
            "cancelled": (hidden - hidden).sum(),
            "constant": torch.tensor(3.0),
            "plain": 2.0,
            "elsewhere": net.head.sum(),
            "not there": 0 * net.head.sum(),
        }

    _, _, settled = settle(loss)
    assert {name: share.moved for name, share in settled.items()} == {
        "yes": True, "no": False, "cancelled": False, "constant": False, "plain": False, "elsewhere": True,
        "not there": False,
    }  # fmt: skip
    assert settled["constant"].value == 3.0
    assert settled["plain"].value == 2.0


def test_not_a_number_moves() -> None:
    _, _, settled = settle(lambda _net, hidden: {"a": hidden.sum() * float("nan")})
    assert settled["a"].moved


def test_several_outputs_and_one_without_gradient() -> None:
    net, outputs = Net(), Outputs()
    hidden = net.hidden()
    one, other = outputs.hand_out(hidden), outputs.hand_out(hidden.square())
    fixed = torch.ones(2)
    assert outputs.hand_out(fixed) is fixed
    outputs.settle({"a": (one * other).sum()})
    outputs.backward(list(net.parameters()))
    expected = Net()
    whole = expected.hidden()
    torch.autograd.backward((whole * whole.square()).sum())
    torch.testing.assert_close(net.body.grad, expected.body.grad, rtol=0, atol=1e-14)


@pytest.mark.parametrize("share", [torch.zeros(2), "0.5", None])
def test_a_share_must_be_a_number(share: Any) -> None:
    with pytest.raises(PluginError, match="share 'a' that is not a number"):
        settle(lambda _net, _hidden: {"a": share})
