"""One rank of a run with divided weights: does every scenario, and writes what came of it. A test starts two."""

from __future__ import annotations

import copy
import json
import os
import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from training.rank_main import Spoilt
from training.runs import Evolution, Plain, go, plan

from harness.errors import HarnessError
from harness.lm.model.policy import Policy
from harness.models.adapter import Adapter
from harness.spec.recipe import AdapterSettings
from harness.testing.tiny import tiny_policy
from harness.training.sharding import join, own, whole
from harness.training.stop import Stopped
from harness_plugins.methods.dpo import DPOOptions
from harness_plugins.methods.dpo.method import DPO
from harness_plugins.methods.eso import ESOOptions
from harness_plugins.methods.eso.method import ESO
from harness_plugins.methods.ppo import PPOOptions
from harness_plugins.methods.ppo.method import PPO

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from harness.api import Batch, Run
    from harness.training.distributed import Ranks

ADAPTER = AdapterSettings(rank=3, alpha=6.0)


def ppo() -> PPO:
    """Return PPO with mini-batches of which a rank may have no row, and several updates a step."""
    return PPO(PPOOptions(num_mini_batches=3, num_ppo_epochs=2, whiten_rewards=True))


#: Settings of the runs that are compared with one process.
EQUAL: dict[str, tuple[Callable[[], Any], dict[str, Any]]] = {
    "eso": (lambda: ESO(ESOOptions()), {"tokens_per_micro_batch": 60}),
    "ppo": (ppo, {}),
    "dpo": (lambda: DPO(DPOOptions()), {"max_grad_norm": 0.5}),
    "dpo-adapter": (lambda: DPO(DPOOptions()), {"adapter": ADAPTER}),
}
#: Those that are compared where there is time.
LONG: dict[str, tuple[Callable[[], Any], dict[str, Any]]] = {
    "eso-adapter": (lambda: ESO(ESOOptions()), {"adapter": ADAPTER}),
    "ppo-adapter": (ppo, {"adapter": ADAPTER}),
    "recomputed": (Evolution, {"gradient_checkpointing": True, "tokens_per_micro_batch": 1}),
}


def small_policy(adapter: AdapterSettings | None = None) -> Policy:
    """Return the tiny policy in float32, with an adapter that is not zero if there are settings for one."""
    made = tiny_policy()
    model: Any = copy.deepcopy(made.model)
    policy = Policy(model.float(), made.tokeniser, dtype="float32")
    if adapter is not None:
        policy.adapter = Adapter.new(policy.model, adapter, seed=0)
        generator = torch.Generator().manual_seed(1)
        with torch.no_grad():
            for name, parameter in policy.model.named_parameters():
                if "lora_B" in name:
                    parameter.copy_(0.2 * torch.randn(parameter.shape, generator=generator))
        policy.adapter.keep_start()
    return policy


def settings_of(name: str) -> dict[str, Any]:
    """Return a plan's settings.

    Some gradients, as of the biases of keys, are zero but for rounding: Adam's epsilon is above that, or it would take
    whole steps by the sign of it.
    """
    return {"last": 1, "of": 1, "peak": 1e-3, "epsilon": 1e-4, "diagnose_every": 1, **(EQUAL | LONG)[name][1]}


def run(name: str, folder: Path, *, ranks: Ranks | None = None, **context: Any) -> Any:
    """Do one of the runs that are compared."""
    what = plan(name, **settings_of(name))
    policy = small_policy(what.recipe.adapter)
    return go(
        what, (EQUAL | LONG)[name][0](), folder, policy=policy, ranks=ranks, load_reference=small_policy, **context
    )


def numbers(result: Any) -> dict[str, Any]:
    """Return the trained weights; all ranks must ask."""
    return {name: whole(weight).tolist() for name, weight in trained(result).items()}


def trained(result: Any) -> dict[str, Any]:
    return {name: weight for name, weight in result.policy.model.named_parameters() if weight.requires_grad}


class OtherModels(Plain):
    """Asks the policy for other things on each rank."""

    def step(self, run: Run, batch: Batch) -> Mapping[str, float]:
        def loss(batch: Batch) -> dict[str, torch.Tensor]:
            if batch.ids[0] == min(batch.ids):
                return {"sft": -run.logprobs(batch, batch.demonstrations).sum().sum()}
            return {"sft": run.final_states(batch, batch.demonstrations).sum()}

        return run.update(loss, batch=batch)


class Noisy(Plain):
    """Changes the weights by noise."""

    def step(self, run: Run, batch: Batch) -> Mapping[str, float]:
        with run.perturbed(1, 0.1):
            run.greedy(batch)
        return {}


class Forgetful(Evolution):
    """Runs the policy's model by itself."""

    def step(self, run: Run, batch: Batch) -> Mapping[str, float]:
        model: Any = run.policy.model
        model(input_ids=batch.prompts.ids)
        return {}


def main(out: Path, names: list[str]) -> None:
    torch.set_num_threads(1)
    tiny_policy()  # made before there are ranks, of which transformers would let the first alone write a checkpoint
    ranks = join(int(os.environ["WORLD_SIZE"]), torch.device("cpu"))

    def tell(name: str, **content: Any) -> None:
        (out / f"{name}-{ranks.rank}.json").write_text(json.dumps(content))

    def folder(name: str) -> Path:
        return out / name / str(ranks.rank)

    for name in names or EQUAL:
        result = run(name, folder(name), ranks=ranks)
        held = sum(own(weight).numel() for weight in trained(result).values())
        of = sum(weight.numel() for weight in trained(result).values())
        tell(name, weights=numbers(result), log=result.log, summary=result.summary, held=held, of=of)

    if names:
        return
    kept = out / "kept"
    stops = iter((signal.SIGTERM, 0))
    try:
        run("ppo", folder("stopped"), ranks=ranks, unfinished=kept, stop=lambda: next(stops))
    except Stopped as stopped:
        tell("stopped", step=str(stopped))
    notes: list[str] = []
    result = run("ppo", folder("resumed"), ranks=ranks, unfinished=kept, note=notes.append)
    tell("resumed", weights=numbers(result), notes=notes)

    def failing(name: str, method: Any, policy: Policy | None = None) -> None:
        try:
            go(plan(), method, folder(name), ranks=ranks, policy=policy or small_policy())
        except HarnessError as error:
            tell(name, kind=type(error).__name__, text=str(error), files=len(list(folder(name).iterdir())))

    failing("nan-loss", Spoilt(ranks, "loss"))
    failing("other-models", OtherModels())
    failing("noise", Noisy())
    failing("by-itself", Forgetful())
    tell("end")
    policy = small_policy()  # last, since the group that weights go through is gone then
    if ranks.rank == 1:
        layer: Any = policy.model.transformer.h[1].mlp  # type: ignore[union-attr, index]  # GPT-2's
        layer.register_forward_hook(_out_of_memory)
    failing("no-memory", Evolution(), policy)


def _out_of_memory(*_: object) -> None:
    if torch.is_grad_enabled():
        raise torch.OutOfMemoryError("CUDA out of memory")


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2:])
