"""Orders cross process boundaries as plain JSON."""

from __future__ import annotations

import json
from pathlib import Path

from harness.stages import Order, Parent


def test_an_order_survives_json() -> None:
    order = Order(
        kind="train",
        id="f" * 64,
        label="é / label",
        config={"a": [1, 2.5, None, True], "b": {"c": "d"}},
        parents={"start": Parent("prepare", "0" * 64)},
        runtime={"threads": 2, "sources": {}},
        results=Path("/somewhere/else"),
        blocked=("one", "two"),
    )
    assert Order.from_json(json.loads(json.dumps(order.to_json()))) == order
