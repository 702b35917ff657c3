"""How the prompts of an evaluation are cut into batches."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from harness.in_parts import decoding_batcher
from harness.stages.generate import _ROWS, _costs


@given(
    st.lists(st.integers(1, 400), min_size=1, max_size=300),
    st.sampled_from([1, 2, 7, 100, 600]),
    st.integers(1, 100),
    st.integers(1, 200_000),
)
def test_a_batch_has_room_and_few_enough_rows(lengths: list[int], draws: int, limit: int, budget: int) -> None:
    encoded: Any = SimpleNamespace(rows=[SimpleNamespace(prompt=range(length)) for length in lengths])
    parts = decoding_batcher(budget).cut(_costs(encoded, draws, limit, budget))
    assert sorted(row for part in parts for row in part) == list(range(len(lengths)))
    for part in parts:
        longest = max(lengths[row] for row in part) + limit
        assert len(part) == 1 or len(part) * draws * longest <= budget
        assert len(part) == 1 or len(part) * draws <= _ROWS
