"""Models that stay loaded between stages: the same numbers, bit for bit, as one that is loaded again."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
import torch
from stages.orders import order

from harness.api import Prompts
from harness.lm.decode.sampling import Drawn, sample
from harness.lm.model.policy import Policy
from harness.lm.text.tokenise import Tokeniser
from harness.stages import setup
from harness.stages.setup import borrow_policy, lend_policy, load_policy, make_room
from harness.store import Store
from harness.testing.tiny import tiny_policy

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from harness.stages import Order
    from harness.store import Record

CONFIG: dict[str, Any] = {"model": {"dtype": "float32", "attention": "sdpa"}}


@pytest.fixture(autouse=True)
def nothing_kept() -> Iterator[None]:
    make_room()
    yield
    make_room()


def written(store: Store, order: Order, policy: Policy) -> Record:
    """Store a policy as the training stage of ``order`` would."""
    with store.draft(order.kind, order.id) as draft:
        policy.save(draft.folder / "checkpoint")
        return draft.commit(config=CONFIG, environment={}, label=order.label)


def some(store: Store, number: int) -> tuple[Order, Policy]:
    trained = order(store.root, "train", {**CONFIG, "number": number})
    tiny = tiny_policy()
    policy = Policy(tiny.model, tiny.tokeniser, dtype="float32")
    with torch.no_grad():
        for parameter in policy.model.parameters():
            parameter.add_(0.05 * torch.randn(parameter.shape, generator=torch.Generator().manual_seed(number)))
    return trained, policy


def reader(store: Store, record: Record) -> Order:
    return order(store.root, "generate", CONFIG, checkpoint=record)


def draw(policy: Policy) -> Drawn:
    prompts = Prompts(torch.tensor([[5, 9, 2], [7, 3, 0]]), torch.tensor([3, 2]), ("", ""))
    return sample(policy, prompts, ["a", "b"], temperatures=[1.0, 2.0], seed=0, purpose="t", step=0,
                  max_new_tokens=6, logprobs=True)  # fmt: skip


def test_a_model_is_loaded_once_for_stages_that_follow_one_another(tmp_path: Path) -> None:
    store = Store(tmp_path)
    records = [written(store, *some(store, number)) for number in range(setup._KEPT + 1)]
    first = borrow_policy(reader(store, records[0]), store, "checkpoint")
    assert borrow_policy(reader(store, records[0]), store, "checkpoint") is first
    for record in records[1:]:
        borrow_policy(reader(store, record), store, "checkpoint")
    assert len(setup._kept) == setup._KEPT
    assert borrow_policy(reader(store, records[0]), store, "checkpoint") is not first  # it had to go
    # other settings are another model
    other = {"model": {**CONFIG["model"], "dtype": "float64"}}
    wide = borrow_policy(order(store.root, "generate", other, checkpoint=records[0]), store, "checkpoint")
    assert wide.dtype == "float64"


def test_what_was_just_trained_says_what_its_checkpoint_says(tmp_path: Path) -> None:
    store = Store(tmp_path)
    trained, policy = some(store, 3)
    record = written(store, trained, policy)
    lend_policy(trained, policy)
    asked = reader(store, record)
    lent = borrow_policy(asked, store, "checkpoint")
    assert lent is policy
    loaded = load_policy(asked, store, "checkpoint")
    assert loaded is not policy
    one, other = draw(lent), draw(loaded)
    assert torch.equal(one.completions.ids, other.completions.ids)
    assert torch.equal(one.entropy, other.entropy)
    assert one.logprobs is not None
    assert other.logprobs is not None
    assert torch.equal(one.logprobs, other.logprobs)
    assert isinstance(lent.tokeniser, Tokeniser)
    make_room()
    assert borrow_policy(asked, store, "checkpoint") is not policy
