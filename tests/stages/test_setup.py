"""Models that stay loaded between stages: the same numbers, bit for bit, as one that is loaded again."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import torch
from stages import configs
from stages.requests import request

from harness.api import Prompts
from harness.lm.decode.noise import Noise
from harness.lm.decode.sampling import Drawn, SamplingParams, sample
from harness.lm.model.policy import Policy
from harness.lm.switches import GENERAL_WAY, PLAIN_LINEAR
from harness.stages import setup
from harness.stages.environment import environment
from harness.stages.setup import borrow_policy, lend_policy, load_policy, make_room
from harness.store.stages import Store
from harness.testing.tiny import tiny_policy
from harness.text.tokenise import Tokeniser

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from harness.spec.stages.generate import GenerateConfig
    from harness.spec.stages.train import TrainConfig
    from harness.stages.request import StageRequest
    from harness.store.records import Record

AS = configs.loading()


@pytest.fixture(autouse=True)
def nothing_kept() -> Iterator[None]:
    make_room()
    yield
    make_room()


def written(store: Store, trained: StageRequest[TrainConfig], policy: Policy) -> Record:
    """Store a policy as the training stage ``trained`` would."""
    with store.draft(trained.kind, trained.id) as draft:
        policy.save(draft.folder / "checkpoint")
        return store.commit(draft, config=trained.config.to_json(), environment={}, label=trained.label)


def some(store: Store, number: int) -> tuple[StageRequest[TrainConfig], Policy]:
    trained = request(store.root, configs.train_config(seed=number))
    tiny = tiny_policy()
    policy = Policy(tiny.model, tiny.tokeniser, dtype="float32")
    with torch.no_grad():
        for parameter in policy.model.parameters():
            parameter.add_(0.05 * torch.randn(parameter.shape, generator=torch.Generator().manual_seed(number)))
    return trained, policy


def reader(store: Store, record: Record) -> StageRequest[GenerateConfig]:
    return request(store.root, configs.generate_config(), checkpoint=record)


def draw(policy: Policy) -> Drawn:
    prompts = Prompts(torch.tensor([[5, 9, 2], [7, 3, 0]]), torch.tensor([3, 2]), ("", ""))
    return sample(policy, prompts, ["a", "b"], SamplingParams((1.0, 2.0), 6, with_logprobs=True), Noise(0, "t"))


def test_a_model_is_loaded_once_for_stages_that_follow_one_another(tmp_path: Path) -> None:
    store = Store(tmp_path)
    records = [written(store, *some(store, number)) for number in range(setup._KEPT + 1)]
    first = borrow_policy(reader(store, records[0]), store, "checkpoint", AS)
    assert borrow_policy(reader(store, records[0]), store, "checkpoint", AS) is first
    for record in records[1:]:
        borrow_policy(reader(store, record), store, "checkpoint", AS)
    assert len(setup._kept) == setup._KEPT
    assert borrow_policy(reader(store, records[0]), store, "checkpoint", AS) is not first  # it had to go
    # other settings are another model
    wide = borrow_policy(reader(store, records[0]), store, "checkpoint", configs.loading(dtype="float64"))
    assert wide.dtype == "float64"


def test_what_was_just_trained_says_what_its_checkpoint_says(tmp_path: Path) -> None:
    store = Store(tmp_path)
    trained, policy = some(store, 3)
    record = written(store, trained, policy)
    lend_policy(trained, policy, AS)
    asked = reader(store, record)
    lent = borrow_policy(asked, store, "checkpoint", AS)
    assert lent is policy
    loaded = load_policy(asked, store, "checkpoint", AS)
    assert loaded is not policy
    one, other = draw(lent), draw(loaded)
    assert torch.equal(one.completions.ids, other.completions.ids)
    assert torch.equal(one.entropy, other.entropy)
    assert one.logprobs is not None
    assert other.logprobs is not None
    assert torch.equal(one.logprobs, other.logprobs)
    assert isinstance(lent.tokeniser, Tokeniser)
    make_room()
    assert borrow_policy(asked, store, "checkpoint", AS) is not policy


def test_a_way_that_is_forced_stands_in_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What a killed stage finished on one way is not gone on with on the other."""
    store = Store(tmp_path)
    asked = reader(store, written(store, *some(store, 0)))
    monkeypatch.delenv(GENERAL_WAY.variable, raising=False)
    free = environment(asked)
    monkeypatch.setenv(GENERAL_WAY.variable, "general")
    assert environment(asked) == {**free, "way": "general"}
    assert "way" not in free


def test_weights_that_are_not_packed_stand_in_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = Store(tmp_path)
    asked = reader(store, written(store, *some(store, 0)))
    monkeypatch.delenv(PLAIN_LINEAR.variable, raising=False)
    usual = environment(asked)
    monkeypatch.setenv(PLAIN_LINEAR.variable, "off")
    assert environment(asked) == {**usual, "packed_linear": "off"}
