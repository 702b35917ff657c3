from __future__ import annotations

import gc
import weakref
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from harness.errors import MachineError
from harness.in_parts import UNLIMITED, Batcher, cut, decoding_batcher, decoding_costs, out_of_memory


@given(st.lists(st.integers(1, 300), min_size=1, max_size=40), st.integers(1, 2000))
def test_parts_hold_every_row_once_and_fit(costs: list[int], budget: int) -> None:
    made = cut(costs, budget)
    assert sorted(row for part in made for row in part) == list(range(len(costs)))
    for part in made:
        assert part == sorted(part)
        assert len(part) == 1 or len(part) * max(costs[row] for row in part) <= budget
    if len(costs) * max(costs) <= budget:
        assert made == [list(range(len(costs)))]


def test_long_rows_do_not_make_short_ones_wait() -> None:
    assert cut([10, 100, 10, 100, 10, 10], 200) == [[1, 3], [0, 2, 4, 5]]


def test_no_rows_make_no_parts() -> None:
    assert cut([], 10) == []


def test_what_counts_as_out_of_memory() -> None:
    assert out_of_memory(torch.OutOfMemoryError("CUDA out of memory"))
    assert out_of_memory(MemoryError())
    assert not out_of_memory(RuntimeError("shapes do not match"))
    with pytest.raises(RuntimeError) as caught:
        torch.empty(1 << 60, dtype=torch.uint8)
    assert out_of_memory(caught.value)


class Scarce:
    """Work whose memory suffices for so many tokens, padding included."""

    def __init__(self, costs: list[int], limit: int) -> None:
        self.costs, self.limit = costs, limit
        self.done: list[int] = []
        self.failed: list[list[int]] = []

    def __call__(self, part: list[int]) -> list[int]:
        if len(part) * max(self.costs[row] for row in part) > self.limit:
            self.failed.append(part)
            raise MemoryError
        self.done += part
        return [row * row for row in part]


@settings(max_examples=20, deadline=None)  # each failure has the collector look for memory
@given(st.lists(st.integers(1, 300), max_size=40), st.integers(1, 20_000), st.integers(300, 2000))
def test_every_row_is_worked_on_once_whatever_memory_holds(costs: list[int], budget: int, limit: int) -> None:
    batcher, work = Batcher(budget, doing="testing"), Scarce(costs, limit)
    assert batcher.run(costs, work) == [row * row for row in range(len(costs))]
    assert sorted(work.done) == list(range(len(costs)))
    assert batcher.halvings == len(work.failed)
    learnt = batcher.budget
    assert batcher.run(costs, work) == [row * row for row in range(len(costs))]
    if work.failed:
        assert learnt <= budget
        assert len(work.failed) == batcher.halvings
    again = Scarce(costs, max(limit, learnt))
    batcher.run(costs, again)
    assert not again.failed  # what was learnt stays


def test_halves_of_what_was_tried() -> None:
    batcher, work = Batcher(doing="testing"), Scarce([10] * 8, 25)
    assert batcher.budget == UNLIMITED
    batcher.run([10] * 8, work)
    assert [len(part) for part in work.failed] == [8, 4]
    assert batcher.budget == 20


@pytest.mark.parametrize("costs", [[30], [10, 30, 10]])
def test_a_row_that_does_not_fit_by_itself(costs: list[int]) -> None:
    batcher = Batcher(doing="scoring", hint="write less")
    with pytest.raises(MachineError) as error:
        batcher.run(costs, Scarce(costs, 25))
    assert "out of memory while scoring, with one row at a time, got '30 tokens'" in str(error.value)
    assert "write less" in str(error.value)


def test_other_errors_are_not_for_the_batcher() -> None:
    batcher = Batcher(doing="testing")
    with pytest.raises(ZeroDivisionError):
        batcher.run([1, 2], lambda part: [1 // 0 for _ in part])
    with pytest.raises(ValueError, match="zip"):
        batcher.run([1, 2], lambda _: [1])
    assert batcher.halvings == 0


def test_failed_work_holds_no_memory_when_it_is_tried_again() -> None:
    held: list[weakref.ref[Any]] = []

    def work(part: list[int]) -> list[int]:
        if held:
            assert held[-1]() is None
        large = torch.zeros(100)
        held.append(weakref.ref(large))
        if len(part) > 1:
            raise MemoryError
        return part

    gc.disable()
    try:
        assert Batcher(doing="testing").run([1, 1, 1, 1], work) == [0, 1, 2, 3]
    finally:
        gc.enable()


def test_what_is_tried_again_draws_where_the_failed_attempt_began() -> None:
    """Draws are those of someone who knew from the start what memory holds."""

    def drawn(budget: int, most: int) -> list[list[float]]:
        def work(part: list[int]) -> list[list[float]]:
            rows: list[list[float]] = torch.rand(len(part), 3).tolist()
            if len(part) > most:
                raise MemoryError
            return rows

        with torch.random.fork_rng():
            torch.manual_seed(3)  # noqa: TID251  # the global generator is what is watched
            return Batcher(budget, doing="testing").run([1] * 8, work)

    assert drawn(8, 2) == drawn(2, 2)


def test_work_inside_work_that_finds_no_memory_for_one_row_makes_the_outer_parts_smaller() -> None:
    outer, inner = Batcher(doing="training"), Batcher(doing="scoring")
    held: list[int] = []

    def score(part: list[int]) -> list[int]:
        if len(held) > 2:
            raise MemoryError
        return part

    def train(part: list[int]) -> list[int]:
        held[:] = part
        return inner.run([1] * len(part), score)

    assert outer.run([1] * 8, train) == [0, 1, 0, 1, 0, 1, 0, 1]
    assert (outer.halvings, outer.budget) == (2, 2)
    assert (inner.halvings, inner.budget) == (0, UNLIMITED)  # it was not to blame


def test_parts_are_given_as_they_are_done() -> None:
    done: list[list[int]] = []

    def work(part: list[int]) -> int:
        done.append(part)
        return len(part)

    parts = Batcher(20, doing="testing").parts([10] * 5, work)
    assert next(parts) == ([0, 1], 2)
    assert done == [[0, 1]]
    assert list(parts) == [([2, 3], 2), ([4], 1)]
    assert list(Batcher(doing="testing").parts([], len)) == []


def test_gradients_of_parts_are_those_of_the_whole() -> None:
    """Of work that runs out of memory at its first call, and in the backward of its second."""
    torch.manual_seed(0)  # noqa: TID251  # a layer draws its weights from the global generator
    layer = nn.Linear(3, 1).double()
    inputs = torch.randn(6, 3, dtype=torch.float64)
    torch.autograd.backward(layer(inputs).square().sum() / 6)
    whole = [p.grad.clone() for p in layer.parameters() if p.grad is not None]
    layer.zero_grad()
    calls = iter(range(100))
    gradients: list[torch.Tensor] = [torch.zeros_like(p) for p in layer.parameters()]

    def work(part: list[int]) -> list[None]:
        if (number := next(calls)) == 0:
            raise torch.OutOfMemoryError("CUDA out of memory")
        loss = layer(inputs[part]).square().sum() / 6
        if number == 1:
            loss.register_hook(lambda _: (_ for _ in ()).throw(MemoryError()))
        slopes = torch.autograd.grad(loss, list(layer.parameters()))
        gradients[:] = [total + slope for total, slope in zip(gradients, slopes, strict=True)]
        return [None] * len(part)

    batcher = Batcher(6, doing="testing")
    batcher.run([1] * 6, work)
    assert (next(calls), batcher.halvings) == (8, 2)
    for found, expected in zip(gradients, whole, strict=True):
        torch.testing.assert_close(found, expected)


def test_what_decoding_may_come_to_hold() -> None:
    assert decoding_costs([3, 5], 4, 10) == [52, 60]
    assert decoding_batcher(7).budget == 7
    assert decoding_batcher().budget == UNLIMITED
