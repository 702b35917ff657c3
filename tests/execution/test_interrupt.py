"""Signals to a run: which of them end it."""

from __future__ import annotations

import signal

import pytest

from harness.execution.interrupt import Interrupted, interruptible
from harness.training.stop import END, KEEP


def test_a_schedulers_first_warning_asks_to_keep_and_ends_nothing() -> None:
    before = signal.getsignal(KEEP)
    try:
        with interruptible() as asked:
            assert not asked()
            signal.raise_signal(KEEP)
            assert asked()
            assert not asked()  # once for each signal
    finally:
        signal.signal(KEEP, before)


@pytest.mark.parametrize("number", END, ids=lambda number: signal.Signals(number).name)
def test_every_other_one_ends_the_run_and_is_named_by_its_exit_code(number: int) -> None:
    before = {each: signal.getsignal(each) for each in (*END, KEEP)}
    try:
        with pytest.raises(Interrupted) as ended, interruptible():
            signal.raise_signal(number)
    finally:
        for each, handler in before.items():
            signal.signal(each, handler)
    assert ended.value.exit_code == 128 + number
