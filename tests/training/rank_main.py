"""One rank of a data-parallel run: does every scenario, and writes what came of it. Started twice by the test."""

from __future__ import annotations

import json
import math
import os
import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from training.runs import Evolution, Supervised, Uneven, go, plan

from harness.errors import HarnessError, MachineError
from harness.testing.tiny import tiny_policy
from harness.training.distributed import Ranks, join, stop_together
from harness.training.rewards import CombinedReward, Part
from harness_plugins.methods.bradley_terry import BradleyTerryOptions
from harness_plugins.methods.bradley_terry.method import BradleyTerry
from harness_plugins.methods.ppo import PPOOptions
from harness_plugins.methods.ppo.method import PPO

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from harness.api import Batch, Run


def reward_model() -> BradleyTerry:
    """A reward model with both terms of its loss."""
    return BradleyTerry(BradleyTerryOptions(margin=0.3, center_rewards_coefficient=0.2))


#: Settings of the runs that are compared with one process: whole parts, and one row a part.
EQUAL: dict[str, tuple[Callable[[], Any], dict[str, Any]]] = {
    "evolution": (Evolution, {"last": 2}),
    "evolution-single-rows": (Evolution, {"last": 1, "tokens_per_micro_batch": 1}),
    "supervised": (Supervised, {"last": 2}),
    "five-a-step": (Evolution, {"batch_size": 5}),
    # with one row a rank, ranks have different shares in some steps, and one share alone in others
    "uneven": (Uneven, {"last": 2, "batch_size": 2, "diagnose_every": 1}),
    "bradley-terry": (reward_model, {"batch_size": 5, "tokens_per_micro_batch": 60}),
    # whitening, mini-batches of which a rank may have no row, several updates a step, a critic of its own
    "ppo": (lambda: PPO(PPOOptions(num_mini_batches=3, num_ppo_epochs=2, whiten_rewards=True)), {"last": 2}),
}


class Shuffled(Evolution):
    """Takes the batch in shuffled parts, one update each: a rank's share of a part may be empty."""

    def step(self, run: Run, batch: Batch) -> Mapping[str, float]:
        parts = list(run.shuffle({"batch": batch}, 3, "minibatch"))
        self.seen += [part["batch"].ids for part in parts]
        last: Mapping[str, float] = {}
        for part in parts:
            tokens = run.total(part["batch"].demonstrations.lengths.sum())

            def loss(batch: Any, tokens: torch.Tensor = tokens) -> dict[str, torch.Tensor]:
                return {"sft": -run.logprobs(batch, batch.demonstrations).sum().sum() / tokens}

            last = run.update(loss, **part)
        return last


def main(out: Path) -> None:
    torch.set_num_threads(1)
    tiny_policy()  # made before there are ranks, of which transformers would let the first alone write a checkpoint
    ranks = join(int(os.environ["WORLD_SIZE"]), torch.device("cpu"))
    assert (ranks.world, ranks.rank) == (2, int(os.environ["RANK"]))
    assert torch.distributed.get_backend() == "gloo"

    def tell(name: str, **content: Any) -> None:
        (out / f"{name}-{ranks.rank}.json").write_text(json.dumps(content))

    def folder(name: str) -> Path:
        return out / name / str(ranks.rank)

    for name, (make, settings) in EQUAL.items():
        method = make()
        result = go(plan(name, **settings), method, folder(name), ranks=ranks)
        weights = {key: value.tolist() for key, value in result.weights.items()}
        log = result.log if ranks.first else []
        seen = getattr(method, "seen", [])
        tell(name, weights=weights, log=log, summary=result.summary, seen=seen, texts=getattr(method, "texts", []))

    shuffled = Shuffled()
    result = go(plan("shuffled", last=1), shuffled, folder("shuffled"), ranks=ranks)
    tell("shuffled", weights={k: v.tolist() for k, v in result.weights.items()}, seen=shuffled.seen)

    def failing(name: str, **settings: Any) -> None:
        """Record how a run ended, and that nobody moved or wrote anything."""
        policy, fresh = tiny_policy(), tiny_policy()
        settings.setdefault("method", Evolution())
        try:
            go(plan(last=1), folder=folder(name), ranks=ranks, policy=policy, **settings)
        except HarnessError as error:
            pairs = zip(policy.model.parameters(), fresh.model.parameters(), strict=True)
            same = all(one.equal(other) for one, other in pairs)
            files = len(list(folder(name).iterdir()))
            tell(name, kind=type(error).__name__, text=str(error), same=same, files=files)

    def bad(value: float | None, *, raising: bool = False) -> CombinedReward:
        def reward(*, completions: list[str], **_: Any) -> list[float | None]:
            if ranks.rank == 1 and raising:
                raise KeyError("oops")
            return [value if ranks.rank == 1 and n == 1 else 0.1 * n for n in range(len(completions))]

        return CombinedReward([Part("bad", reward)])

    failing("nan-reward", reward=bad(math.nan))
    failing("raising-reward", reward=bad(None, raising=True))
    failing("nan-loss", method=Spoilt(ranks, "loss"))
    failing("nan-gradient", method=Spoilt(ranks, "gradient"))
    failing("hopeless", method=Hungry(ranks, 0))
    failing("unequal", method=Drifting(ranks))
    failing("stopped", stop=lambda: signal.SIGTERM if ranks.rank == 1 else 0)
    failing("different-noise", method=Noisy(ranks))

    hungry = Hungry(ranks, 1)
    result = go(plan("hungry", last=2), hungry, folder("hungry"), ranks=ranks)
    tell("hungry", weights={k: v.tolist() for k, v in result.weights.items()}, summary=result.summary, seen=hungry.seen)
    check_collectives(ranks)
    tell("end")


def check_collectives(ranks: Ranks) -> None:
    mine = torch.tensor([1.0, 2.0]) * (ranks.rank + 1)
    assert ranks.sum(mine).tolist() == [3.0, 6.0]
    assert mine.tolist() == [ranks.rank + 1.0, 2 * (ranks.rank + 1.0)]
    assert ranks.sum(torch.tensor(ranks.rank + 1)).item() == 3
    assert ranks.gather({"a": ranks.rank}) == [{"a": 0}, {"a": 1}]
    assert ranks.worst(ranks.rank * 2) == 2
    assert [ranks.part(5).start, ranks.part(5).stop] == ([0, 2] if ranks.rank == 0 else [2, 5])
    parameters = [torch.nn.Parameter(torch.zeros(2, dtype=t)) for t in (torch.float32, torch.float64, torch.float32)]
    parameters[0].grad = torch.ones(2) * (ranks.rank + 1)
    if ranks.rank == 1:
        parameters[1].grad = torch.ones(2, dtype=torch.float64)
    ranks.sum_gradients(parameters)
    assert [None if p.grad is None else p.grad.tolist() for p in parameters] == [[3.0, 3.0], [1.0, 1.0], None]


class Spoilt(Evolution):
    """A loss or a gradient that is not finite, on rank 1 alone."""

    def __init__(self, ranks: Ranks, where: str) -> None:
        super().__init__()
        self.ranks, self.where = ranks, where

    def step(self, run: Run, batch: Batch) -> Mapping[str, float]:
        tokens = run.total(batch.demonstrations.lengths.sum())

        def loss(batch: Any) -> dict[str, torch.Tensor]:
            logp = run.logprobs(batch, batch.demonstrations).sum()
            share = -logp.sum() / tokens
            if self.ranks.rank == 1:
                share = share * math.nan if self.where == "loss" else share + (logp.sum() * 0).abs().sqrt()
            return {"sft": share}

        return run.update(loss, batch=batch)


class Hungry(Evolution):
    """Rank 1 runs out of memory for more than so many rows."""

    def __init__(self, ranks: Ranks, rows: int) -> None:
        super().__init__()
        self.ranks, self.rows = ranks, rows

    def step(self, run: Run, batch: Batch) -> Mapping[str, float]:
        update: Any = run.update

        def tight(loss: Any, **rows: Any) -> Any:
            def counted(**part: Any) -> Any:
                shares = loss(**part)
                if self.ranks.rank == 1 and len(part["batch"]) > self.rows:
                    raise torch.OutOfMemoryError("CUDA out of memory")
                return shares

            return update(counted, **rows)

        holder: Any = run
        holder.update = tight
        try:
            return super().step(run, batch)
        finally:
            holder.update = update


class Drifting(Evolution):
    """Changes a weight on one rank behind everybody's back, in the last step."""

    def __init__(self, ranks: Ranks) -> None:
        super().__init__()
        self.ranks = ranks

    def step(self, run: Run, batch: Batch) -> Mapping[str, float]:
        said = super().step(run, batch)
        if run.progress.step == 1 and self.ranks.rank == 1:
            with torch.no_grad():
                next(iter(run.policy.model.parameters())).view(-1)[0] += 1e-12
        return said


class Noisy(Evolution):
    """Applies other noise on each rank."""

    def __init__(self, ranks: Ranks) -> None:
        super().__init__()
        self.ranks = ranks

    def step(self, run: Run, batch: Batch) -> Mapping[str, float]:
        assert len(batch)
        return run.apply([(1, 0.5 + self.ranks.rank)])


def dying() -> None:
    """End rank 1 without a word, and say what the other one hears."""
    ranks = join(2, torch.device("cpu"))
    ranks.worst(0)
    if ranks.rank == 1:
        os._exit(9)
    try:
        with stop_together(ranks):
            ranks.gather(1)
    except MachineError as error:
        print(error, flush=True)
        os._exit(3)


if __name__ == "__main__":
    if sys.argv[2:] == ["dying"]:
        dying()
    else:
        main(Path(sys.argv[1]))
