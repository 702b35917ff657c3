from __future__ import annotations

import random

import pytest

from harness.errors import InputError
from harness.training.order import Order

IDS = [f"row-{number}" for number in range(23)]


def named(order: Order, ids: list[str], step: int) -> list[str]:
    return [ids[place] for place in order.batch(step)]


def test_an_epoch_shows_each_row_at_most_once_and_leaves_out_less_than_a_batch() -> None:
    order = Order(IDS, seed=0, batch_size=4)
    assert order.steps_per_epoch == 5
    left_out = set()
    for epoch in range(8):
        seen = [place for step in range(5 * epoch, 5 * epoch + 5) for place in order.batch(step)]
        assert len(seen) == 20
        assert len(set(seen)) == 20
        left_out |= set(range(23)) - set(seen)
    assert len(left_out) > 10  # not always the same


def test_any_step_can_be_asked_for_first() -> None:
    forwards, backwards = Order(IDS, seed=3, batch_size=4), Order(IDS, seed=3, batch_size=4)
    steps = [forwards.batch(step) for step in range(20)]
    assert [backwards.batch(step) for step in reversed(range(20))] == steps[::-1]


def test_order_does_not_depend_on_how_rows_are_stored() -> None:
    shuffled = random.Random(0).sample(IDS, len(IDS))
    one, other = Order(IDS, seed=1, batch_size=4), Order(shuffled, seed=1, batch_size=4)
    assert [named(one, IDS, s) for s in range(12)] == [named(other, shuffled, s) for s in range(12)]


def test_epochs_and_seeds_differ() -> None:
    def whole(seed: int, epoch: int) -> list[int]:
        order = Order(IDS, seed=seed, batch_size=23)
        return list(order.batch(epoch))

    assert len({tuple(whole(seed, epoch)) for seed in range(3) for epoch in range(3)}) == 9


def test_chosen_rows_are_fixed_by_seed_and_purpose() -> None:
    order = Order(IDS, seed=1, batch_size=4)
    assert order.chosen("probe", 8) == Order(IDS, seed=1, batch_size=6).chosen("probe", 8)
    assert len(set(order.chosen("probe", 8))) == 8
    assert order.chosen("probe", 8) != order.chosen("else", 8)
    assert len(order.chosen("probe", 100)) == 23


def test_fewer_rows_than_a_batch() -> None:
    with pytest.raises(InputError, match="fewer training rows than one batch, got 23; expected at least"):
        Order(IDS, seed=0, batch_size=24)
