"""Training an adapter in the place of the weights: every method, cut, kept, over ranks, and against a reference."""

from __future__ import annotations

import math
import signal
from typing import TYPE_CHECKING, Any

import pytest
import torch
from methods.cases import make
from safetensors.torch import load_file
from training.runs import Evolution, Plain, Supervised, farthest, go, plan, same_bits, tiny_rows
from training.test_reference import answers, never

from harness.errors import InputError
from harness.lm.score.logprobs import score
from harness.models.adapter import Adapter
from harness.spec.recipe import AdapterSettings
from harness.testing.bench import Twins
from harness.testing.tiny import tiny_policy
from harness.text.encode import collate
from harness.training.critic import Critic
from harness.training.stop import Stopped

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from torch import Tensor

    from harness.api import Batch, Run
    from harness.lm.model.policy import Policy

SETTINGS = AdapterSettings(rank=2, alpha=4.0)


def adapted(settings: AdapterSettings = SETTINGS, *, size: float = 0.2, dropout: float = 0.0) -> Policy:
    """Return the tiny policy with an adapter, which is not zero unless ``size`` is."""
    policy = tiny_policy(dropout=dropout)
    policy.adapter = Adapter.new(policy.model, settings, seed=0)
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for name, parameter in policy.model.named_parameters():
            if "lora_B" in name:
                parameter.copy_(size * torch.randn(parameter.shape, generator=generator, dtype=parameter.dtype))
    policy.adapter.keep_start()
    return policy


def trained(method: Any, folder: Path, *, policy: Policy | None = None, **settings: Any) -> Any:
    named = {name: settings.pop(name) for name in ("ranks", "unfinished", "stop", "load_reference") if name in settings}
    what = plan(settings.pop("name", "under-test"), **{"adapter": SETTINGS, "last": 1, "of": 1, **settings})
    policy = policy or adapted(what.recipe.adapter or SETTINGS, dropout=what.recipe.dropout)
    return go(what, method, folder, policy=policy, **{"load_reference": never, **named})


def own(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {name: weight for name, weight in weights.items() if ".default." in name}


def frozen(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {name: weight.clone() for name, weight in weights.items() if ".default." not in name}


@pytest.mark.parametrize("name", ["sft", "eso", "unlikelihood", "drl", "rrhf", "dpo", "ppo", "bradley_terry"])
def test_every_method_moves_the_adapter_alone(name: str, tmp_path: Path) -> None:
    policy = adapted()
    before = {key: weight.detach().clone() for key, weight in policy.model.named_parameters()}
    method, _ = make(name)
    done = trained(method, tmp_path, policy=policy, name=name, load_reference=tiny_policy)
    assert same_bits(frozen(done.weights), frozen(before))
    assert farthest(own(done.weights), own(before)) > 1e-4
    assert all(math.isfinite(value) for row in done.log for value in row["loss"].values())
    moments = load_file(tmp_path / "optimizer.safetensors")
    of_policy = {key for key in moments if "modules/" not in key}
    assert of_policy
    assert all(".default." in key for key in of_policy)
    written = load_file(tmp_path / "checkpoint" / "adapter_model.safetensors")
    assert sum(map(torch.Tensor.numel, written.values())) == sum(map(torch.Tensor.numel, own(before).values()))
    assert not (tmp_path / "checkpoint" / "model.safetensors").exists()
    held = {model["role"]: model for model in done.summary["models_held"]}
    assert held["policy"]["trained"] == sum(weight.numel() for weight in own(before).values())
    assert held["policy"]["parameters"] == tiny_policy().parameter_count + held["policy"]["trained"]
    assert held["reference adapter"]["parameters"] == held["policy"]["trained"]
    assert "reference" not in held


def test_dpo_from_an_adapter_that_is_not_zero_begins_at_log_2(tmp_path: Path) -> None:
    for number, size in enumerate((0.3, 0.0)):
        policy = adapted(size=size)
        done = trained(make("dpo")[0], tmp_path / str(number), policy=policy, name="dpo", peak=0.05)
        assert done.log[0]["loss"]["dpo"] == pytest.approx(math.log(2), abs=1e-15)
        assert done.log[0]["method"]["rewards/margins"] == 0.0
        assert done.log[-1]["method"]["rewards/margins"] != 0.0


def test_ppo_from_an_adapter_that_is_not_zero_begins_at_kl_0_and_ratio_1(tmp_path: Path) -> None:
    for number, size in enumerate((0.3, 0.0)):
        method, _ = make("ppo", num_mini_batches=1, num_ppo_epochs=1, critic="shared")
        done = trained(method, tmp_path / str(number), policy=adapted(size=size), name="ppo", last=2, of=2)
        first, last = done.log[0]["method"], done.log[-1]["method"]
        assert first["objective/kl"] == 0.0
        assert first["val/ratio"] == pytest.approx(1.0, abs=1e-12)
        assert first["policy/approxkl"] == pytest.approx(0.0, abs=1e-20)
        assert last["objective/kl"] != 0.0


class Asking(Plain):
    """Trains on demonstrations, and keeps what the reference says of the pairs, in and outside the loss."""

    def __init__(self) -> None:
        self.said: list[Tensor] = []
        self.drawn: list[Any] = []

    def step(self, run: Run, batch: Batch) -> Mapping[str, float]:
        self.said.append(run.reference_logprobs(batch, answers(batch)).values)
        self.drawn.append(run.sample(batch, (1.0,), by="reference").ids.tolist())

        def loss(batch: Batch) -> dict[str, Tensor]:
            run.logprobs(batch, batch.demonstrations)
            run.reference_logprobs(batch, batch.demonstrations)
            return {"sft": -run.logprobs(batch, batch.demonstrations).sum().sum()}

        return run.update(loss, batch=batch)


def test_the_reference_is_the_start_and_no_second_model(tmp_path: Path) -> None:
    method = Asking()
    done = trained(method, tmp_path, last=2, of=2)
    start = {name: weight.detach() for name, weight in adapted().model.named_parameters()}
    assert farthest(own(done.weights), own(start)) > 1e-3
    copied = Asking()
    go(plan("under-test", last=2, of=2), copied, tmp_path / "full", policy=tiny_policy(), load_reference=adapted)
    assert method.drawn == copied.drawn
    for said, other in zip(method.said, copied.said, strict=True):
        torch.testing.assert_close(said, other, rtol=0, atol=1e-12)


def test_what_was_there_before_is_kept_apart_from_what_is_trained(tmp_path: Path) -> None:
    class Meddling(Asking):
        def step(self, run: Run, batch: Batch) -> Mapping[str, float]:
            said = super().step(run, batch)
            model: Any = run.policy.model
            with torch.no_grad():
                next(p for p in model.parameters() if not p.requires_grad).add_(1e-3)
            return said

    with pytest.raises(Exception, match="the weights of the reference model were changed"):
        trained(Meddling(), tmp_path)


@pytest.mark.parametrize("dropout", [0.0, 0.3])
def test_a_schedule_may_be_cut_at_an_adapter(tmp_path: Path, dropout: float) -> None:
    """Two epochs by the supervised method, one by the other: in one process, and over a stored adapter."""
    settings = AdapterSettings(rank=2, alpha=4.0, dropout=dropout)
    policy = adapted(settings, size=0.0)
    common: dict[str, Any] = {"adapter": settings, "of": 3}
    scratch = trained(Supervised(), tmp_path / "one", policy=policy, **common, last=2)
    straight = trained(
        Evolution(), tmp_path / "a", policy=policy, **common, first=2, last=3, previous=scratch.folder
    )  # fmt: skip
    shared = trained(Supervised(), tmp_path / "two", policy=adapted(settings, size=0.0), **common, last=2)
    loaded = tiny_policy()
    loaded.adapter = Adapter.load(loaded.model, shared.folder / "checkpoint", settings)
    loaded.adapter.keep_start()
    branched = trained(Evolution(), tmp_path / "b", policy=loaded, **common, first=2, last=3, previous=shared.folder)
    assert same_bits(own(straight.weights), own(branched.weights))
    assert straight.summary["weights_sha256"] == branched.summary["weights_sha256"]
    for name in ("optimizer.safetensors", "checkpoint/adapter_model.safetensors", "checkpoint/adapter_config.json"):
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()


def test_a_run_that_was_stopped_goes_on_to_the_bit(tmp_path: Path) -> None:
    through = trained(make("dpo")[0], tmp_path / "through", name="dpo", last=3, of=3)
    stops = iter([0, 0, signal.SIGTERM])
    with pytest.raises(Stopped):
        trained(
            make("dpo")[0], tmp_path / "cut", name="dpo", last=3, of=3, unfinished=tmp_path / "kept",
            stop=lambda: next(stops, 0),
        )  # fmt: skip
    kept = max((tmp_path / "kept").glob("*/weights.safetensors"), key=lambda path: path.stat().st_mtime_ns)
    assert all(".default." in name for name in load_file(kept))
    done = trained(make("dpo")[0], tmp_path / "cut", name="dpo", last=3, of=3, unfinished=tmp_path / "kept")
    assert same_bits(done.weights, through.weights)
    assert [row["loss"] for row in done.log] == [row["loss"] for row in through.log]


def test_cuts_and_ranks_and_recomputed_activations_change_rounding_alone(tmp_path: Path) -> None:
    whole = trained(Evolution(), tmp_path / "whole")
    single = trained(Evolution(), tmp_path / "single", tokens_per_micro_batch=1)
    again = trained(Evolution(), tmp_path / "again", gradient_checkpointing=True)
    assert single.summary["micro_batches"]["total"] > whole.summary["micro_batches"]["total"]
    assert farthest(single.weights, whole.weights) < 1e-9
    assert farthest(again.weights, whole.weights) < 1e-9
    twice = trained(Supervised(), tmp_path / "twins", ranks=Twins(), batch_size=4, max_grad_norm=0.0)
    once = trained(Supervised(), tmp_path / "once", batch_size=4, max_grad_norm=0.0)
    assert farthest(twice.weights, once.weights) < 1e-9


def test_an_adapters_dropout_is_of_training_alone(tmp_path: Path) -> None:
    settings = AdapterSettings(rank=2, alpha=4.0, dropout=0.5)
    plain, dropped = Asking(), Asking()
    one = trained(plain, tmp_path / "plain")
    other = trained(dropped, tmp_path / "dropped", adapter=settings)
    assert one.log[0]["loss"] != other.log[0]["loss"]
    for said, same in zip(plain.said, dropped.said, strict=True):
        assert torch.equal(said, same)
    again = trained(Asking(), tmp_path / "again", adapter=settings)
    assert same_bits(again.weights, other.weights)
    recomputed = trained(Asking(), tmp_path / "recomputed", adapter=settings, gradient_checkpointing=True)
    assert all(torch.isfinite(weight).all() for weight in recomputed.weights.values())


def test_a_critic_of_its_own_trains_an_adapter_too(tmp_path: Path) -> None:
    class Valued(Plain):
        def setup(self, run: Run) -> None:
            run.add_critic("critic", start="policy")

        def step(self, run: Run, batch: Batch) -> Mapping[str, float]:
            self.run = run

            def loss(batch: Batch) -> dict[str, Tensor]:
                return {"value": (run.critic_values("critic", batch, batch.demonstrations) - 1).square().sum()}

            return run.update(loss, batch=batch)

    method = Valued()
    done = trained(method, tmp_path, load_reference=tiny_policy)
    services: Any = method.run
    critic = services.modules["critic"]
    assert isinstance(critic, Critic)
    moved = {name for name, p in critic.named_parameters() if p.requires_grad}
    assert moved == {name for name, _ in critic.named_parameters() if ".lora_" in name or name.startswith("head.")}
    assert set(load_file(tmp_path / "modules.safetensors")) == {f"critic.{name}" for name in moved}
    start = tiny_policy().model.state_dict()
    for name, weight in critic.backbone.state_dict().items():
        if "base_layer" in name:
            assert torch.equal(weight, start[f"transformer.{name.replace('.base_layer', '')}"])
    saved = load_file(tmp_path / "modules.safetensors")
    assert all(bool(weight.any()) for name, weight in saved.items() if "lora_B" in name or name == "critic.head.weight")
    assert len(done.log) == 2


@pytest.mark.parametrize("call", ["perturbed", "apply"])
def test_noise_on_all_weights_is_refused(tmp_path: Path, call: str) -> None:
    class Noisy(Plain):
        def step(self, run: Run, batch: Batch) -> Mapping[str, float]:
            if call == "apply":
                return run.apply([(0, 1.0)])
            with run.perturbed(0, 0.1):
                return {}

    with pytest.raises(InputError, match=r"changes all weights by noise \(\w+\(\)\), and recipe.adapter") as caught:
        trained(Noisy(), tmp_path)
    assert "adapter: null" in str(caught.value)


def test_scores_with_an_adapter_are_those_of_the_merged_model(tmp_path: Path) -> None:
    policy, merged = adapted(), adapted()
    assert merged.adapter is not None
    merged.adapter.merge()
    batch = collate(list(tiny_rows(policy)))
    with torch.no_grad():
        said, other = (score(each, batch.prompts, answers(batch), dropout=False).values for each in (policy, merged))
    torch.testing.assert_close(said, other, rtol=0, atol=1e-9)
