"""Reference log-probs that were computed beforehand: read instead of a model, and only for what they were made of."""

from __future__ import annotations

import math
import signal
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from training.runs import Plain, go, plan, same_bits, tiny_rows

from harness.errors import StageError
from harness.lm.score.logprobs import score
from harness.spec.results.files import LOGPROBS
from harness.spec.results.train import ReferenceCost
from harness.testing.tiny import tiny_policy
from harness.text.encode import collate
from harness.training.assignment import Judges, RunContext
from harness.training.distributed import Ranks
from harness.training.loop import Segment
from harness.training.reference import Precomputed, StoredLogProbs, answer_key, row_keys, save
from harness.training.stop import Stopped
from harness.training.weights import module_digest

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from torch import Tensor

    from harness.api import Batch, Run
    from harness.lm.model.policy import Policy

ROWS = tiny_rows(tiny_policy())


def reading(stored: Precomputed) -> Segment:
    judges = Judges(precomputed=stored)
    return Segment(plan(), tiny_policy(), ROWS, Plain(), context=RunContext(log=print), judges=judges)


def answers(batch: Batch) -> Any:
    assert batch.pairs is not None
    return batch.pairs.chosen.join(batch.pairs.rejected)


class Preferring(Plain):
    """DPO in a few lines, from the services alone; ``found`` is what the reference said in each step."""

    def __init__(self) -> None:
        self.found: list[Tensor] = []

    def step(self, run: Run, batch: Batch) -> Mapping[str, float]:
        reference = run.reference_logprobs(batch, answers(batch)).sum()
        self.found.append(reference)
        examples = run.total(len(batch))

        def loss(batch: Batch, reference: Tensor) -> dict[str, Tensor]:
            ratios = run.logprobs(batch, answers(batch), dropout=False).sum() - reference
            return {"dpo": -torch.nn.functional.logsigmoid(0.5 * (ratios[:, 0] - ratios[:, 1])).sum() / examples}

        return run.update(loss, batch=batch, reference=reference)


@pytest.fixture(scope="module")
def stored(tmp_path_factory: pytest.TempPathFactory) -> Precomputed:
    """Return what a stage would have stored, each row scored by itself."""
    path = tmp_path_factory.mktemp("stored") / LOGPROBS
    return precomputed(path, tiny_policy())


def precomputed(path: Path, policy: Policy) -> Precomputed:
    known = {}
    for row in ROWS:
        batch = collate([row])
        with torch.no_grad():
            values = score(policy, batch.prompts, answers(batch), dropout=False).values[0]
        for k, answer in enumerate((row.chosen, row.rejected)):
            assert answer is not None
            known[answer_key(row.prompt, answer.ids)] = values[k, : len(answer.ids)]
    save(known, path)
    return Precomputed(path, module_digest(policy.model), ReferenceCost(pairs=len(ROWS), tokens=1, seconds=2.5))


def never() -> Policy:
    raise AssertionError("the reference model was loaded")


def trained(folder: Path, *, dropout: float = 0.0, **settings: Any) -> Any:
    method = Preferring()
    what = plan("dpo", dropout=dropout, batch_size=settings.pop("batch_size", 4))
    result = go(what, method, folder, **settings)
    return result, method


def test_stored_values_are_the_live_ones(stored: Precomputed, tmp_path: Path) -> None:
    live, asked = trained(tmp_path / "live")
    read, found = trained(tmp_path / "read", precomputed=stored, load_reference=never)
    for one, other in zip(asked.found, found.found, strict=True):
        torch.testing.assert_close(other, one, rtol=0, atol=1e-9)
    assert live.log[0]["loss"]["dpo"] == pytest.approx(math.log(2), abs=1e-12)
    for one, other in zip(live.log, read.log, strict=True):
        assert other["loss"]["dpo"] == pytest.approx(one["loss"]["dpo"], abs=1e-9)
    assert max(float((live.weights[n] - w).abs().max()) for n, w in read.weights.items()) < 1e-8


def test_what_is_held_and_what_was_computed_beforehand_is_told(stored: Precomputed, tmp_path: Path) -> None:
    live, _ = trained(tmp_path / "live")
    read, _ = trained(tmp_path / "read", precomputed=stored, load_reference=never)
    assert [model["role"] for model in live.summary["models_held"]] == ["policy", "reference"]
    assert "reference_logprobs" not in live.summary
    assert [model["role"] for model in read.summary["models_held"]] == ["policy"]
    assert read.summary["reference_logprobs"] == {"pairs": 8, "tokens": 1, "seconds": 2.5}


def test_dropout_reaches_neither_side(stored: Precomputed, tmp_path: Path) -> None:
    read, _ = trained(tmp_path, dropout=0.1, precomputed=stored, load_reference=never)
    assert read.log[0]["loss"]["dpo"] == pytest.approx(math.log(2), abs=1e-12)


def test_anything_else_is_asked_of_the_reference_model_itself(stored: Precomputed) -> None:
    loaded: list[int] = []

    def load() -> Policy:
        loaded.append(1)
        return tiny_policy()

    policy = tiny_policy()
    run = Segment(
        plan(),
        policy,
        ROWS,
        Plain(),
        context=RunContext(log=print),
        judges=Judges(load_reference=load, precomputed=stored),
    ).services
    batch = collate(ROWS[:3])
    assert batch.pairs is not None
    both = run.reference_logprobs(batch, answers(batch))
    backwards = run.reference_logprobs(batch, batch.pairs.rejected.join(batch.pairs.chosen))
    alone = run.reference_logprobs(batch, batch.pairs.rejected)
    torch.testing.assert_close(both.values.flip(1), backwards.values, rtol=0, atol=0)
    torch.testing.assert_close(alone.sum()[:, 0], both.sum()[:, 1], rtol=0, atol=1e-12)
    assert not loaded
    assert run.reference.loaded is None
    run.reference_logprobs(batch, answers(batch), temperature=2.0)
    run.reference_logprobs(batch, batch.demonstrations)
    assert loaded == [1]
    run.reference.check()


def test_a_method_cannot_change_what_is_stored(stored: Precomputed) -> None:
    run = Segment(
        plan(), tiny_policy(), ROWS, Plain(), context=RunContext(log=print), judges=Judges(precomputed=stored)
    ).services
    batch = collate(ROWS[:3])
    before = run.reference_logprobs(batch, answers(batch)).values.clone()
    run.reference_logprobs(batch, answers(batch)).values.zero_()
    assert run.reference_logprobs(batch, answers(batch)).values.equal(before)
    run.reference.check()
    assert run.reference._stored is not None
    next(iter(run.reference._stored._known.values()))[0] += 1e-12
    with pytest.raises(StageError, match="the stored log-probs of the reference model were changed"):
        run.reference.check()


def test_other_weights_than_those_of_the_start_are_refused(stored: Precomputed, tmp_path: Path) -> None:
    with pytest.raises(StageError, match="those of other weights than this stage starts from"):
        trained(tmp_path, precomputed=stored, policy=tiny_policy(1))
    assert list(tmp_path.iterdir()) == []


def test_a_reference_model_that_is_another_is_refused(stored: Precomputed) -> None:
    segment = Segment(
        plan(), tiny_policy(), ROWS, Plain(), context=RunContext(log=print),
        judges=Judges(precomputed=stored, load_reference=lambda: tiny_policy(1)),
    )  # fmt: skip
    batch = collate(ROWS[:2])
    with pytest.raises(StageError, match="is not the one whose log-probs were stored"):
        segment.services.reference_logprobs(batch, batch.demonstrations)


def test_values_of_another_tokenisation_are_never_used(stored: Precomputed, tmp_path: Path) -> None:
    assert len(StoredLogProbs.load(stored.path, ROWS)) == len({key for row in ROWS for key in row_keys(row)})
    longer = collate(ROWS[:1])
    other = replace(ROWS[0], prompt=np.append(ROWS[0].prompt, 3).astype(np.int32))
    with pytest.raises(StageError, match="no reference log-probs are stored for the answers of row row-0"):
        StoredLogProbs.load(stored.path, [other])
    values = StoredLogProbs.load(stored.path, ROWS[1:])
    assert values.find(longer.prompts, answers(longer)) is None
    broken = tmp_path / LOGPROBS
    broken.write_bytes(stored.path.read_bytes()[:-40])
    with pytest.raises(StageError, match="cannot be read"):
        StoredLogProbs.load(broken, ROWS)


def test_an_absent_answer_needs_no_value(stored: Precomputed) -> None:
    values = StoredLogProbs.load(stored.path, ROWS)
    batch = collate(ROWS[:2])
    group = answers(batch)
    group.lengths[1, 0] = 0
    found = values.find(batch.prompts, group)
    assert found is not None
    assert not found[1, 0].any()
    assert found[1, 1].any()


class Half(Ranks):
    """One of two ranks, for asking what it would load."""

    def __init__(self, rank: int) -> None:
        self.rank, self.world = rank, 2


def test_each_rank_loads_its_own_rows(stored: Precomputed) -> None:
    sizes = []
    for rank in (0, 1):
        segment = Segment(
            plan(last=1, of=1), tiny_policy(), ROWS, Plain(),
            context=RunContext(log=print, ranks=Half(rank)), judges=Judges(precomputed=stored),
        )  # fmt: skip
        assert len(segment._own_rows()) == 4
        assert segment.services.reference._stored is not None
        sizes.append(len(segment.services.reference._stored))
    whole = Segment(
        plan(), tiny_policy(), ROWS, Plain(), context=RunContext(log=print), judges=Judges(precomputed=stored)
    )
    assert whole.services.reference._stored is not None
    assert max(sizes) < len(whole.services.reference._stored)


def test_an_unfinished_state_saves_none_of_it_and_goes_on_bit_for_bit(stored: Precomputed, tmp_path: Path) -> None:
    whole, _ = trained(tmp_path / "whole", precomputed=stored, load_reference=never)
    stops = iter([0, signal.SIGTERM])
    kept = tmp_path / "kept"
    with pytest.raises(Stopped):
        trained(
            tmp_path / "stopped", precomputed=stored, load_reference=never, unfinished=kept, stop=lambda: next(stops, 0)
        )
    (memo,) = kept.rglob("memo.safetensors")
    assert load_file(memo) == {}
    resumed, _ = trained(tmp_path / "resumed", precomputed=stored, load_reference=never, unfinished=kept)
    assert same_bits(whole.weights, resumed.weights)
    assert resumed.summary["reference_logprobs"] == whole.summary["reference_logprobs"]
