from __future__ import annotations

import dataclasses
import math
import os
import random
import signal
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch
from training.runs import Evolution, Plain, Supervised, Uneven, farthest, go, plan, same_bits, tiny_rows

from harness.errors import DivergedError, InputError, MachineError, PluginError, StageError
from harness.execution.tiny import TINY, tiny_policy
from harness.in_parts import Batcher
from harness.lm.model.policy import Policy
from harness.spec.model import Model
from harness.spec.schedule import Position
from harness.training import updates
from harness.training.assignment import Judges, RunContext
from harness.training.distributed import Ranks
from harness.training.loop import Segment
from harness.training.optimiser import Optimiser
from harness.training.rewards import CombinedReward, Part
from harness.training.stop import Stopped, stop_on_signals

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from torch import Tensor

    from harness.api import Batch, Run

METHODS = {"evolution": Evolution, "supervised": Supervised}


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """Both methods trained in one go, with whole batches."""
    return {name: go(plan(name), make(), tmp_path_factory.mktemp(name)) for name, make in METHODS.items()}


@pytest.mark.parametrize("name", METHODS)
@pytest.mark.parametrize("tokens", [1, 90])
def test_micro_batches_change_nothing(whole: dict[str, Any], tmp_path: Path, name: str, tokens: int) -> None:
    """One row a forward, and parts of unequal size, against whole batches: S1, S2."""
    result = go(plan(name, tokens_per_micro_batch=tokens), METHODS[name](), tmp_path)
    counts = [row["micro_batches"] for row in result.log]
    assert all(count == 4 for count in counts) if tokens == 1 else max(counts) > 1
    assert farthest(result.weights, whole[name].weights) < 1e-9
    for mine, other in zip(result.log, whole[name].log, strict=True):
        assert mine["micro_batches"] > other["micro_batches"] or tokens > 1
        for key in other.keys() - {"seconds", "micro_batches"}:
            close(mine[key], other[key])


def close(mine: Any, other: Any) -> None:
    """Compare rows of a log, numbers with a tolerance."""
    if isinstance(other, dict):
        assert mine.keys() == other.keys()
        for key, value in other.items():
            close(mine[key], value)
    else:
        assert mine == (other if isinstance(other, str) else pytest.approx(other, rel=1e-8))


@pytest.mark.parametrize("dropout", [0.0, 0.3])
def test_branching_off_a_checkpoint_is_training_in_one_go(tmp_path: Path, dropout: float) -> None:
    """Epochs 0 and 1 by the supervised method, 2 by the other: in one process, and over a stored checkpoint."""
    policy = tiny_policy(dropout=dropout)
    scratch = go(plan("sft", last=2, dropout=dropout), Supervised(), tmp_path / "scratch-start", policy=policy)
    shared = tmp_path / "shared"
    go(plan("sft", last=2, dropout=dropout), Supervised(), shared)
    straight = go(
        plan("evolution", first=2, dropout=dropout, previous=scratch.folder), Evolution(), tmp_path / "a", policy=policy
    )
    loaded = Policy.load(shared / "checkpoint", spec=TINY, dropout=dropout)
    branched = go(
        plan("evolution", first=2, dropout=dropout, previous=shared), Evolution(), tmp_path / "b", policy=loaded
    )
    assert same_bits(straight.weights, branched.weights)
    assert straight.summary["weights_sha256"] == branched.summary["weights_sha256"]
    one, other = ((tmp_path / name / "optimizer.safetensors").read_bytes() for name in "ab")
    assert one == other
    assert strip(straight.log) == strip(branched.log)


@pytest.mark.parametrize("dropout", [0.0, 0.3])
@pytest.mark.parametrize("name", METHODS)
def test_a_schedule_may_be_cut_anywhere(tmp_path: Path, name: str, dropout: float) -> None:
    """Three segments of one method, cut inside an epoch, with its moments stored between them."""
    through = go(plan(name, dropout=dropout), METHODS[name](), tmp_path / "through")
    previous = None
    start: Any = tiny_policy(dropout=dropout)
    seen: list[Any] = []
    for number, (first, last) in enumerate([(0, 1), (1, 5), (5, 6)]):
        folder = tmp_path / str(number)
        cut = dataclasses.replace(
            plan(name, dropout=dropout, previous=previous), first=Position(steps=first), last=Position(steps=last)
        )
        made = go(cut, METHODS[name](), folder, policy=start)
        seen += made.log
        previous = folder
        start = Policy.load(folder / "checkpoint", spec=TINY, dropout=dropout)
    assert same_bits(made.weights, through.weights)
    assert [row["step"] for row in seen] == [row["step"] for row in through.log]
    for mine, other in zip(seen, through.log, strict=True):
        assert mine["loss"] == other["loss"]
        assert mine["grad_norm"] == other["grad_norm"]


def strip(log: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [{name: value for name, value in row.items() if name != "seconds"} for row in log]


def test_training_twice_gives_the_same_and_another_seed_does_not(whole: dict[str, Any], tmp_path: Path) -> None:
    again = go(plan(), Evolution(), tmp_path / "a")
    assert same_bits(again.weights, whole["evolution"].weights)
    assert strip(again.log) == strip(whole["evolution"].log)
    files = [path.relative_to(again.folder) for path in sorted(again.folder.rglob("*")) if path.is_file()]
    assert len(files) > 5
    for name in files:
        assert (again.folder / name).read_bytes() == (whole["evolution"].folder / name).read_bytes()
    other = go(plan(seed=1), Evolution(), tmp_path / "b")
    assert not same_bits(other.weights, again.weights)


def test_the_order_of_stored_rows_does_not_matter(whole: dict[str, Any], tmp_path: Path) -> None:
    policy = tiny_policy()
    rows = list(tiny_rows(policy))
    random.Random(1).shuffle(rows)
    result = go(plan(), Evolution(), tmp_path, policy=policy, rows=rows)
    assert same_bits(result.weights, whole["evolution"].weights)


@pytest.mark.parametrize("name", METHODS)
@pytest.mark.parametrize("optimizer", ["adam", "adamw"])
def test_a_learning_rate_of_zero_keeps_every_bit(tmp_path: Path, name: str, optimizer: str) -> None:
    result = go(plan(name, peak=0.0, optimizer=optimizer), METHODS[name](), tmp_path)
    assert same_bits(result.weights, dict(tiny_policy().model.named_parameters()))
    assert all(row["kl"] == 0.0 for row in result.log if "kl" in row)
    assert result.summary["active"]["sft"]  # the term pulls, only the rate is zero


def test_learning_rates_follow_the_curve(whole: dict[str, Any]) -> None:
    rates = [row["learning_rate"] for row in whole["evolution"].log]
    assert rates == [0.01 * (1 + math.cos(math.pi * step / 6)) / 2 for step in range(6)]
    assert [row["epoch"] for row in whole["evolution"].log] == [0, 0, 1, 1, 2, 2]


def numpy_state() -> str:
    return repr(np.random.get_state())  # noqa: NPY002  # the global state is what is watched


def test_global_generators_are_left_alone(tmp_path: Path) -> None:
    random.seed(5)  # noqa: TID251  # what is tested is that nobody else touches it
    np.random.seed(5)  # noqa: TID251, NPY002  # as above
    torch.manual_seed(5)  # noqa: TID251  # as above
    before = random.getstate(), numpy_state(), torch.get_rng_state()
    go(plan(dropout=0.2), Evolution(), tmp_path)
    assert random.getstate() == before[0]
    assert numpy_state() == before[1]
    assert torch.get_rng_state().equal(before[2])


def test_nothing_outside_reaches_the_result(whole: dict[str, Any], tmp_path: Path) -> None:
    torch.manual_seed(99)  # noqa: TID251  # another state of the world
    torch.rand(7)
    result = go(plan(dropout=0.2), Evolution(), tmp_path / "a")
    torch.manual_seed(3)  # noqa: TID251  # and another
    again = go(plan(dropout=0.2), Evolution(), tmp_path / "b")
    assert same_bits(result.weights, again.weights)
    assert not same_bits(result.weights, whole["evolution"].weights)  # dropout does something


def test_every_row_of_the_log_has_the_common_signal(whole: dict[str, Any]) -> None:
    for result in whole.values():
        for row in result.log:
            assert set(row["loss"]) == set(row["moved"])
            assert row["grad_norm"] > 0
            assert set(row["seconds"]) == {"sampling", "reward", "forward_backward", "optimiser", "other"}
            diagnosed = row["step"] in {0, 2, 4, 5}
            assert ("grad_norms" in row) == ("kl" in row) == ("probe_entropy" in row) == diagnosed
            if diagnosed:
                assert set(row["grad_norms"]) == set(row["loss"])
    row = whole["evolution"].log[0]
    assert len(row["reward"]["by_candidate"]) == 4
    assert row["reward"]["calls"] == row["samples"]["count"] == 16
    assert row["groups"]["count"] == 4
    assert 0 < row["samples"]["entropy"] < math.log(257)
    assert row["tokens"]["generated"] > row["samples"]["mean_length"] * 16 - 1
    assert "reward" not in whole["supervised"].log[0]
    assert whole["supervised"].log[0]["grad_norms"]["sft"] == whole["supervised"].log[0]["grad_norm"]
    assert whole["supervised"].log[0]["kl"] > 0


def test_summary(whole: dict[str, Any]) -> None:
    for result in whole.values():
        summary = result.summary
        assert (summary["steps"], summary["first_step"], summary["last_step"]) == (6, 0, 6)
        assert summary["rows"] == {"used": 8, "dropped_overlong": 0}
        assert (summary["device"], summary["ranks"], summary["concurrent"]) == ("cpu", 1, False)
        for phase, seconds in summary["seconds"].items():
            assert seconds == pytest.approx(sum(row["seconds"][phase] for row in result.log))
        assert summary["tokens_trained"] == sum(row["tokens"]["trained"] for row in result.log)
        assert summary["models_held"] == [{"role": "policy", "parameters": 4328, "bytes": 8 * 4328}]
        assert summary["peak_memory_bytes"] > 0
    assert whole["evolution"].summary["reward_calls"] == 96
    assert whole["supervised"].summary["reward_calls"] == 0
    assert whole["supervised"].summary["seconds"]["sampling"] == 0


def test_a_share_that_never_moves_a_weight_is_said_to_be_inactive(tmp_path: Path) -> None:
    flat = CombinedReward([Part("flat", lambda *, completions, **_: [0.3] * len(completions))])
    result = go(plan(), Evolution(), tmp_path, reward=flat)
    assert result.summary["active"] == {"sft": True, "eso": False}
    assert all(row["groups"]["without_spread"] == 4 for row in result.log)
    assert all(row["grad_norms"]["eso"] == 0 for row in result.log if "grad_norms" in row)
    alone = go(plan("supervised"), Supervised(), tmp_path / "alone")
    assert farthest(result.weights, alone.weights) < 1e-9


def test_separate_norms_are_those_of_each_share_alone(whole: dict[str, Any], tmp_path: Path) -> None:
    class Only(Evolution):
        def step(self, run: Run, batch: Batch) -> Mapping[str, float]:
            update = run.update
            run.update = lambda loss, **rows: update(lambda **part: {"eso": loss(**part)["eso"]}, **rows)  # type: ignore[method-assign]  # one share of the two
            try:
                return super().step(run, batch)
            finally:
                run.update = update  # type: ignore[method-assign]  # as it was

    alone = go(plan(), Only(), tmp_path)
    assert whole["evolution"].log[0]["grad_norms"]["eso"] == pytest.approx(alone.log[0]["grad_norm"], rel=1e-12)


def test_the_norm_without_a_share_is_that_of_all_others_together(tmp_path: Path) -> None:
    def chosen(names: set[str]) -> Evolution:
        class Split(Evolution):
            """Its own term in two shares that nearly cancel, beside one that is only logged."""

            def step(self, run: Run, batch: Batch) -> Mapping[str, float]:
                update = run.update

                def split(part: Mapping[str, Any]) -> dict[str, Any]:
                    shares = {"up": 3.0 * part["eso"], "down": -2.5 * part["eso"], "logged": part["eso"].detach()}
                    return {name: share for name, share in {"sft": part["sft"], **shares}.items() if name in names}

                run.update = lambda loss, **rows: update(lambda **part: split(loss(**part)), **rows)  # type: ignore[method-assign]  # other shares
                try:
                    return super().step(run, batch)
                finally:
                    run.update = update  # type: ignore[method-assign]  # as it was

        return Split()

    whole = go(plan(), chosen({"sft", "up", "down", "logged"}), tmp_path / "whole").log[0]
    own = go(plan(), chosen({"up", "down", "logged"}), tmp_path / "own").log[0]
    assert whole["grad_norms_without"]["sft"] == pytest.approx(own["grad_norm"], rel=1e-9)
    assert whole["grad_norms_without"]["sft"] == pytest.approx(whole["grad_norms"]["up"] / 6, rel=1e-9)
    assert own["grad_norms_without"]["logged"] == pytest.approx(own["grad_norm"], rel=1e-9)
    alone = go(plan(), chosen({"up"}), tmp_path / "alone").log[0]
    assert alone["grad_norms_without"] == {"up": 0.0}


@pytest.mark.parametrize("tokens", [1, 90])
def test_separate_norms_whatever_shares_a_part_has(tmp_path: Path, tokens: int) -> None:
    whole = go(plan(diagnose_every=1), Uneven(), tmp_path / "whole")
    parts = go(plan(diagnose_every=1, tokens_per_micro_batch=tokens), Uneven(), tmp_path / "parts")
    assert any(len(row["grad_norms"]) == 2 for row in whole.log)
    assert max(row["micro_batches"] for row in parts.log) > 1
    for mine, other in zip(parts.log, whole.log, strict=True):
        for key in ("grad_norms", "grad_norms_without"):
            close(mine[key], other[key])


def test_diagnosis_changes_no_weight(whole: dict[str, Any], tmp_path: Path) -> None:
    result = go(plan(diagnose_every=100), Evolution(), tmp_path)
    assert same_bits(result.weights, whole["evolution"].weights)


def test_clipping(tmp_path: Path) -> None:
    class Descent(Supervised):
        def setup(self, run: Run) -> None:
            self.before = [p.detach().clone() for p in run.policy.model.parameters()]

    free = go(plan("s", last=1, of=1, max_grad_norm=0.0), Descent(), tmp_path / "a")
    wide = go(plan("s", last=1, of=1, max_grad_norm=1e9), Descent(), tmp_path / "b")
    tight = go(plan("s", last=1, of=1, max_grad_norm=1e-3), Descent(), tmp_path / "c")
    assert same_bits(free.weights, wide.weights)
    assert not same_bits(free.weights, tight.weights)
    assert free.log[0]["grad_norm"] == tight.log[0]["grad_norm"] > 1e-3  # logged before clipping


def test_the_clipped_gradient_has_the_norm_asked_for(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    norms = []
    plain = Optimiser.step

    def spy(self: Optimiser, rate: float, *, peak: float) -> None:
        grads = [p.grad for p in self.parameters.values() if p.grad is not None]
        norms.append(float(torch.nn.utils.get_total_norm(grads)))
        plain(self, rate, peak=peak)

    monkeypatch.setattr(Optimiser, "step", spy)
    go(plan("s", last=1, max_grad_norm=0.125), Supervised(), tmp_path)
    assert norms == pytest.approx([0.125, 0.125], rel=1e-5)


def test_gradient_checkpointing_changes_nothing(whole: dict[str, Any], tmp_path: Path) -> None:
    counted = []
    policy = tiny_policy()
    body: Any = policy.model
    body.transformer.h[0].mlp.register_forward_hook(lambda *_: counted.append(1))
    result = go(plan("supervised", gradient_checkpointing=True), Supervised(), tmp_path, policy=policy)
    assert farthest(result.weights, whole["supervised"].weights) < 1e-9
    assert len(counted) > 6 + 5  # the forward of each step is run again in its backward (and the probe's are there)
    several = go(plan(gradient_checkpointing=True), Evolution(), tmp_path / "several")  # with separate backwards
    for mine, other in zip(several.log, whole["evolution"].log, strict=True):
        close(mine.get("grad_norms", {}), other.get("grad_norms", {}))
    dropped = go(plan("supervised", dropout=0.3), Supervised(), tmp_path / "a")
    again = go(plan("supervised", dropout=0.3, gradient_checkpointing=True), Supervised(), tmp_path / "b")
    assert farthest(dropped.weights, again.weights) < 1e-12  # what is recomputed drops the same


def test_bfloat16_autocasts_over_float32(tmp_path: Path) -> None:
    go(plan("s", last=1), Supervised(), tmp_path / "start")
    for name in ("bfloat16", "float32"):
        spec = Model(name="t", dtype=name)
        policy = Policy.load(tmp_path / "start" / "checkpoint", spec=spec)
        result = go(plan(), Evolution(), tmp_path / name, policy=policy)
        assert {p.dtype for p in result.weights.values()} == {torch.float32}
        assert result.summary["active"] == {"sft": True, "eso": True}
        assert all(math.isfinite(row["grad_norm"]) for row in result.log)


class Poisoned(Supervised):
    """Spoils the loss, the gradient or the weights of one step."""

    def __init__(self, where: str, at: int = 3, value: float = math.nan) -> None:
        self.where, self.at, self.value = where, at, value
        self.snapshots: list[list[Tensor]] = []

    def step(self, run: Run, batch: Batch) -> Mapping[str, float]:
        self.snapshots.append([p.detach().clone() for p in run.policy.model.parameters()])
        tokens = run.total(batch.demonstrations.lengths.sum())
        bad = run.progress.step == self.at

        def loss(batch: Batch) -> dict[str, Tensor]:
            logp = run.logprobs(batch, batch.demonstrations).sum()
            share = -logp.sum() / tokens
            if bad and self.where == "loss":
                share = share * float("nan")
            if bad and self.where == "infinite":
                share = share + float("inf")
            if bad and self.where == "gradient":
                share = share + (logp.sum() * 0).abs().sqrt()  # the value is finite, its slope is not
            return {"sft": share}

        result = run.update(loss, batch=batch)
        if bad and self.where == "weight":
            with torch.no_grad():
                next(iter(run.policy.model.parameters())).view(-1)[3] = self.value
        return result


@pytest.mark.parametrize(
    ("where", "message"),
    [
        ("loss", r"the loss is not finite at step 3, got \{'sft': 'nan'\}"),
        ("infinite", r"the loss is not finite at step 3, got \{'sft': 'inf'\}"),
        ("gradient", "the gradient is not finite at step 3, got 'nan'"),
    ],
)
def test_divergence_is_refused_before_anything_moves(tmp_path: Path, where: str, message: str) -> None:
    method, policy = Poisoned(where), tiny_policy()
    with pytest.raises(DivergedError, match=message):
        go(plan(), method, tmp_path, policy=policy)
    assert len(method.snapshots) == 4
    assert all(p.equal(old) for p, old in zip(policy.model.parameters(), method.snapshots[3], strict=True))
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(("at", "value"), [(2, math.nan), (5, math.nan), (2, math.inf), (2, -math.inf)])
def test_a_weight_that_is_not_finite_is_never_written(tmp_path: Path, at: int, value: float) -> None:
    with pytest.raises(DivergedError, match=f"wte.weight: a weight is not finite after step {at}"):
        go(plan(), Poisoned("weight", at, value), tmp_path)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_a_reward_that_is_not_finite_ends_the_stage(tmp_path: Path, value: float) -> None:
    calls: list[int] = []

    def spoilt(*, completions: list[str], **_: Any) -> list[float]:
        calls.append(1)
        return [value if len(calls) == 3 and n == 5 else 0.5 for n in range(len(completions))]

    with pytest.raises(StageError, match=r"reward 'spoilt': the reward of example 'row-\d' is not finite"):
        go(plan(), Evolution(), tmp_path, reward=CombinedReward([Part("spoilt", spoilt)]))


def test_missing_rewards_are_counted_and_the_rest_goes_on(tmp_path: Path) -> None:
    def shy(*, completions: list[str], **_: Any) -> list[float | None]:
        return [None if n % 4 == 0 else float(len(text)) for n, text in enumerate(completions)]

    result = go(plan(), Evolution(), tmp_path, reward=CombinedReward([Part("shy", shy)]))
    assert all(row["reward"]["missing"] == 4 for row in result.log)
    assert "by_candidate" not in result.log[0]["reward"]


class NoMemory(torch.autograd.Function):
    """A loss that memory does not suffice to find the gradient of."""

    @staticmethod
    def forward(ctx: Any, value: torch.Tensor) -> torch.Tensor:
        return value.clone()

    @staticmethod
    def backward(ctx: Any, *gradients: torch.Tensor) -> torch.Tensor:
        raise torch.OutOfMemoryError("CUDA out of memory")


class Hungry(Evolution):
    """Runs out of memory while a part has more rows than it can take."""

    def __init__(self, rows: int, at: int = 1, *, backward: bool = False) -> None:
        super().__init__()
        self.rows, self.at, self.backward = rows, at, backward

    def step(self, run: Run, batch: Batch) -> Mapping[str, float]:
        update = run.update

        def tight(loss: Any, **rows: Any) -> Mapping[str, float]:
            def greedy_for_memory(**part: Any) -> Any:
                shares = loss(**part)
                if len(part["batch"]) > self.rows and run.progress.step >= self.at:
                    if self.backward:
                        run_out: Any = NoMemory.apply
                        return {name: run_out(share) for name, share in shares.items()}
                    raise torch.OutOfMemoryError("CUDA out of memory")
                return shares

            return update(greedy_for_memory, **rows)

        run.update = tight  # type: ignore[method-assign]  # what the method calls
        try:
            return super().step(run, batch)
        finally:
            run.update = update  # type: ignore[method-assign]  # as it was


@pytest.mark.parametrize("backward", [False, True])
@pytest.mark.parametrize("dropout", [0.0, 0.3])
def test_running_out_of_memory_halves_the_part_and_keeps_the_step(
    tmp_path: Path, dropout: float, *, backward: bool
) -> None:
    """F24: the same rows, the same number of steps, the same normaliser; only the parts are smaller."""
    calm_method, method = Hungry(99), Hungry(2, backward=backward)
    calm = go(plan(dropout=dropout), calm_method, tmp_path / "calm")
    result = go(plan(dropout=dropout), method, tmp_path / "hungry")
    assert result.summary["micro_batches"]["halvings"] >= 1
    assert result.summary["micro_batches"]["tokens"] < calm.summary["micro_batches"]["tokens"]
    assert result.log[0]["micro_batches"] == 1
    assert min(row["micro_batches"] for row in result.log[1:]) >= 2
    assert len(result.log) == 6
    assert method.seen == calm_method.seen
    assert result.log[0]["loss"] == calm.log[0]["loss"]
    if dropout == 0:  # with dropout other parts draw other masks
        assert farthest(result.weights, calm.weights) < 1e-9
        assert [row["tokens"] for row in result.log] == [row["tokens"] for row in calm.log]  # each counts once


def test_memory_that_the_reference_lacks_inside_a_loss_halves_the_part(tmp_path: Path) -> None:
    """What the loss holds already is as much to blame as what is scored: even one row finds no memory."""
    held: list[int] = []

    class Asking(Supervised):
        def __init__(self, most: int) -> None:
            self.most = most

        def step(self, run: Run, batch: Batch) -> Mapping[str, float]:
            tokens = run.total(batch.demonstrations.lengths.sum())

            def loss(batch: Batch) -> dict[str, Tensor]:
                held[:] = [len(batch)] if len(batch) > self.most else []
                logp = run.logprobs(batch, batch.demonstrations).sum()
                reference = run.reference_logprobs(batch, batch.demonstrations).sum()
                held.clear()
                return {"kl": (logp - reference + 0.1).square().sum() / tokens}

            return run.update(loss, batch=batch)

    def load() -> Policy:
        policy = tiny_policy(1)
        body: Any = policy.model.base_model

        def before(*_: Any) -> None:
            if held:
                raise torch.OutOfMemoryError("CUDA out of memory")

        body.register_forward_pre_hook(before)
        return policy

    calm = go(plan(), Asking(99), tmp_path / "calm", load_reference=load)
    tight = go(plan(), Asking(2), tmp_path / "tight", load_reference=load)
    assert calm.summary["micro_batches"]["halvings"] == 0
    assert tight.summary["micro_batches"]["halvings"] == 1
    assert farthest(calm.weights, tight.weights) < 1e-9
    with pytest.raises(MachineError, match="out of memory while taking step 0, with one row at a time"):
        go(plan(), Asking(0), tmp_path / "hopeless", load_reference=load)


def test_dropout_is_drawn_again_after_running_out_of_memory(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(Batcher, "cut", lambda _self, costs: [[row] for row in range(len(costs))])
    calm = go(plan("s", last=1, dropout=0.3), Supervised(), tmp_path / "a")
    plain = updates.Updater._part
    failed: list[int] = []

    def fail_once(self: Any, loss: Any, rows: Any, attempt: Any) -> None:
        plain(self, loss, rows, attempt)
        if self.step == 1 and attempt.parts == 3 and not failed:
            failed.append(1)
            raise MemoryError

    monkeypatch.setattr(updates.Updater, "_part", fail_once)
    monkeypatch.setattr(Batcher, "halve", lambda _self, _tried, *, hopeless: None)  # the parts stay
    again = go(plan("s", last=1, dropout=0.3), Supervised(), tmp_path / "b")
    assert failed
    assert same_bits(calm.weights, again.weights)


def test_one_row_that_does_not_fit_ends_cleanly(tmp_path: Path) -> None:
    with pytest.raises(MachineError, match="out of memory while taking step 1, with one row at a time"):
        go(plan(), Hungry(0), tmp_path)
    assert not list(tmp_path.iterdir())


def test_memory_that_runs_out_elsewhere_ends_cleanly(tmp_path: Path) -> None:
    class Greedy(Supervised):
        def step(self, run: Run, batch: Batch) -> Mapping[str, float]:
            if run.progress.step == 2:
                torch.empty(1 << 60, dtype=torch.uint8)
            return super().step(run, batch)

    with pytest.raises(MachineError, match="out of memory, and smaller micro-batches do not help here"):
        go(plan(), Greedy(), tmp_path)
    assert not list(tmp_path.iterdir())


class Stop:
    """Asks for an end after some steps."""

    def __init__(self, after: int) -> None:
        self.after = after
        self.asked = 0

    def __call__(self) -> int:
        self.asked += 1
        return signal.SIGTERM if self.asked >= self.after else 0


@pytest.mark.parametrize("name", METHODS)
@pytest.mark.parametrize("after", [1, 3, 5])
def test_a_stopped_segment_goes_on_bit_for_bit(whole: dict[str, Any], tmp_path: Path, name: str, after: int) -> None:
    notes: list[str] = []
    folder = tmp_path / "state"
    with pytest.raises(Stopped, match=f"stopped before step {after} by SIGTERM"):
        go(plan(name, identity="x"), METHODS[name](), tmp_path / "a", unfinished=folder, stop=Stop(after))
    assert not list((tmp_path / "a").iterdir())
    result = go(plan(name, identity="x"), METHODS[name](), tmp_path / "b", unfinished=folder, note=notes.append)
    assert notes == [f"going on at step {after}"]
    assert same_bits(result.weights, whole[name].weights)
    assert strip(result.log) == strip(whole[name].log)  # the whole log, from the first step
    assert result.summary["steps"] == 6
    assert result.summary["tokens_trained"] == whole[name].summary["tokens_trained"]
    assert not folder.exists()


def test_a_killed_segment_goes_on_from_its_last_state(whole: dict[str, Any], tmp_path: Path) -> None:
    class Killed(Evolution):
        def step(self, run: Run, batch: Batch) -> Mapping[str, float]:
            if run.progress.step == 5:
                raise KeyboardInterrupt
            return super().step(run, batch)

    folder = tmp_path / "state"
    with pytest.raises(KeyboardInterrupt):
        go(plan(save_every=2), Killed(), tmp_path / "a", unfinished=folder)
    assert [path.name for path in folder.iterdir()] == ["4"]
    method = Evolution()
    result = go(plan(save_every=2), method, tmp_path / "b", unfinished=folder)
    assert len(method.seen) == 2
    assert same_bits(result.weights, whole["evolution"].weights)


@pytest.mark.parametrize("change", [{"identity": "y"}, {"environment": {"threads": 2}}])
def test_a_state_of_another_stage_or_environment_starts_again(
    whole: dict[str, Any], tmp_path: Path, change: dict[str, Any]
) -> None:
    folder, notes = tmp_path / "state", list[str]()
    with pytest.raises(Stopped):
        go(plan(identity="x"), Evolution(), tmp_path / "a", unfinished=folder, stop=Stop(2))
    method = Evolution()
    result = go(plan(**{"identity": "x", **change}), method, tmp_path / "b", unfinished=folder, note=notes.append)
    assert len(method.seen) == 6
    assert "starting again" in notes[0]
    assert same_bits(result.weights, whole["evolution"].weights)


class Referring(Plain):
    """Asks the reference for samples and log-probs."""

    def step(self, run: Run, batch: Batch) -> Mapping[str, float]:
        samples = run.sample(batch, [1.0, 2.0], by="reference")
        old = run.reference_logprobs(batch, samples)
        examples = run.total(len(batch))

        def loss(batch: Batch, samples: Any, old: Any) -> dict[str, Tensor]:
            return {"pull": (run.logprobs(batch, samples).sum() - old.sum()).square().sum() / examples}

        return run.update(loss, batch=batch, samples=samples, old=old)


def test_what_the_reference_said_survives_a_stop(tmp_path: Path) -> None:
    through = go(plan("r"), Referring(), tmp_path / "a")
    assert through.log[0]["tokens"]["generated"] > 0
    assert through.log[2]["tokens"]["generated"] == 0  # the second epoch finds it all
    with pytest.raises(Stopped):
        go(plan("r"), Referring(), tmp_path / "b", unfinished=tmp_path / "state", stop=Stop(3))
    result = go(plan("r"), Referring(), tmp_path / "b", unfinished=tmp_path / "state")
    assert same_bits(result.weights, through.weights)
    assert strip(result.log) == strip(through.log)
    assert [held["role"] for held in through.summary["models_held"]] == ["policy", "reference"]


def test_signals_set_flags_and_a_second_one_does_no_more() -> None:
    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background job starts deaf to it
    try:
        with stop_on_signals() as stop:
            assert (stop(), stop.asked_to_keep()) == (0, False)
            os.kill(os.getpid(), signal.SIGUSR1)
            assert (stop(), stop.asked_to_keep(), stop.asked_to_keep()) == (0, True, False)
            for number in (signal.SIGUSR2, signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
                os.kill(os.getpid(), number)
                assert stop() == signal.SIGUSR2
        assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    finally:
        signal.signal(signal.SIGINT, before)


@pytest.mark.parametrize("name", METHODS)
def test_keeping_states_changes_neither_weights_nor_log(whole: dict[str, Any], tmp_path: Path, name: str) -> None:
    folder = tmp_path / "state"
    kept: list[list[str]] = []

    def keep() -> bool:
        kept.append(sorted(path.name for path in folder.iterdir()) if folder.is_dir() else [])
        return len(kept) % 2 == 1

    asked = go(plan(name), METHODS[name](), tmp_path / "a", unfinished=folder, keep=keep)
    assert kept == [[], ["1"], ["1"], ["3"], ["3"], ["5"]]
    timed = go(plan(name, save_minutes=1e-9), METHODS[name](), tmp_path / "b", unfinished=folder)
    for result in (asked, timed):
        assert same_bits(result.weights, whole[name].weights)
        assert strip(result.log) == strip(whole[name].log)
    assert not folder.exists()


def test_a_state_is_due_by_time_whatever_the_steps(whole: dict[str, Any], tmp_path: Path) -> None:
    class Killed(Evolution):
        def step(self, run: Run, batch: Batch) -> Mapping[str, float]:
            if run.progress.step == 5:
                raise KeyboardInterrupt
            return super().step(run, batch)

    folder = tmp_path / "state"
    with pytest.raises(KeyboardInterrupt):
        go(plan(save_minutes=1e-9), Killed(), tmp_path / "a", unfinished=folder)
    assert [path.name for path in folder.iterdir()] == ["5"]
    method = Evolution()
    result = go(plan(), method, tmp_path / "b", unfinished=folder)
    assert len(method.seen) == 1
    assert same_bits(result.weights, whole["evolution"].weights)
    assert strip(result.log) == strip(whole["evolution"].log)


def test_progress_is_told_after_each_step(tmp_path: Path) -> None:
    told: list[tuple[int, int]] = []
    go(plan(first=1, last=3), Evolution(), tmp_path, progress=lambda done, total, _rate: told.append((done, total)))
    assert told == [(1, 4), (2, 4), (3, 4), (4, 4)]


def test_what_a_plugin_s_own_method_cannot_do(tmp_path: Path) -> None:
    class Broken(Supervised):
        def step(self, run: Run, batch: Batch) -> Mapping[str, float]:
            return run.update(lambda batch, coef: {}, batch=batch, coef=0.5)  # wrong on purpose

    with pytest.raises(PluginError, match="'coef' has no rows"):
        go(plan(), Broken(), tmp_path)


class Pair(Ranks):
    """One of two ranks; the other one has learnt of more memory."""

    def __init__(self, rank: int) -> None:
        self.rank, self.world = rank, 2

    def gather(self, value: Any) -> list[Any]:
        if isinstance(value, dict) and "scoring" in value:
            return [value, {name: (10 * budget, halvings + 7) for name, (budget, halvings) in value.items()}]
        return [value, value]


@pytest.mark.parametrize("rank", [0, 1])
def test_each_rank_goes_on_with_the_memory_that_it_has_found(tmp_path: Path, rank: int) -> None:
    folder = tmp_path / "state"

    def segment(rank: int) -> Segment:
        policy = tiny_policy()
        context = RunContext(log=lambda _row: None, ranks=Pair(rank), unfinished=folder)
        judge: Any = SimpleNamespace(batcher=Batcher(doing="scoring", hint=""), parameters=list)
        return Segment(plan(), policy, tiny_rows(policy), Plain(), context=context, judges=Judges(reward_model=judge))

    first = segment(0)
    first.begin()
    learnt = {"training": (1000, 1), "scoring": (500, 2), "decoding": (300, 3), "reward model": (200, 4)}
    for name, (budget, halvings) in learnt.items():
        first._batchers()[name].budget, first._batchers()[name].halvings = budget, halvings
    first.step = 2
    first._keep()
    again = segment(rank)
    again.begin()
    assert again.step == 2
    found = {name: (batcher.budget, batcher.halvings) for name, batcher in again._batchers().items()}
    expected = {
        name: (10 * budget, halvings + 7) if rank else (budget, halvings) for name, (budget, halvings) in learnt.items()
    }
    assert {name: found[name] for name in learnt} == expected
    assert again.services.decoding.budget == expected["decoding"][0]


def test_more_ranks_than_prompts(tmp_path: Path) -> None:
    ranks = Ranks()
    ranks.world = 5
    with pytest.raises(InputError, match="more processes than prompts in a step, got 5; expected at most 4"):
        go(plan(), Evolution(), tmp_path, ranks=ranks)
