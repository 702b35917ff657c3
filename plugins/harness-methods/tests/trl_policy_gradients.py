"""What TRL's RLOOTrainer and GRPOTrainer make of given answers. Run as a program: TRL changes the classes of
transformers it meets.

Everything of TRL runs but for what would need a model: answers, rewards and log-probs are those of a
:class:`table_run.World`. One batch of answers is learnt from twice, by plain gradient steps on the table of log-probs,
so that ratios are 1 and then are not.
"""

from __future__ import annotations

import json
import sys
from collections import defaultdict
from types import SimpleNamespace
from typing import Any

import torch
from methods.cases import random_case
from methods.fake_run import EOS
from table_run import World, world_of

RATE = 2.0
SEEDS = range(20)
#: The options of ours, with ``loss_reduction`` as TRL names its losses.
RLOO: list[dict[str, Any]] = [
    {"beta": 0.0},
    {"beta": 0.05, "epsilon": 0.1},
    {"beta": 0.5, "epsilon_high": 0.4, "normalize_advantages": True},
    {"beta": 0.05, "reward_clip_range": (0.1, 0.4), "mask_truncated": True},
]
GRPO: list[dict[str, Any]] = [
    {"loss_reduction": "grpo", "beta": 0.0},
    {"loss_reduction": "grpo", "beta": 0.04, "scale_rewards": "batch"},
    {"loss_reduction": "grpo", "beta": 0.4, "use_bias_correction_kl": True, "mask_truncated": True},
    {"loss_reduction": "grpo", "beta": 0.04, "importance_sampling_level": "sequence", "epsilon": 0.05},
    {"loss_reduction": "dapo", "beta": 0.04, "epsilon_high": 0.28, "use_bias_correction_kl": True},
    {"loss_reduction": "dapo", "beta": 0.0, "mask_truncated": True, "delta": 1.1},
    {"loss_reduction": "dr_grpo", "beta": 0.0, "scale_rewards": "none"},
    {"loss_reduction": "dr_grpo", "beta": 0.4, "mask_truncated": True, "delta": 1.5},
    {"loss_reduction": "luspo", "beta": 0.0, "importance_sampling_level": "sequence"},
    {"loss_reduction": "luspo", "beta": 0.04, "use_bias_correction_kl": True, "importance_sampling_level": "sequence"},
    {"loss_reduction": "bnpo", "beta": 0.04},
]
LONGEST = 6


def world(seed: int) -> World:
    """Return a ragged world without absent answers, which TRL does not know."""
    case = random_case(seed, absent=0, missing=0.5 if seed % 4 == 0 else 0.15)
    if seed % 5 == 0:
        case.rewards[0] = [0.1] * len(case.rewards[0])
    return world_of(case)


def identity(value: Any, **_: Any) -> Any:
    return value


class Stubs:
    """In the place of generation, rewards and models."""

    aux_loss_enabled = False
    chat_template_kwargs: dict[str, Any] = {}  # noqa: RUF012  # stands for an attribute of a trainer
    environment_factories = environments = tools = pad_to_multiple_of = off_policy_mask_threshold = None
    log_multimodal = use_vllm = vllm_importance_sampling_correction = _entropy_bonus_enabled = False
    num_iterations = 2  # or log-probs at sampling would not be stored
    current_gradient_accumulation_steps = 1
    top_entropy_quantile = 1.0
    importance_sampling_level = "token"
    multi_objective_aggregation = "sum_then_normalize"
    max_completion_length = LONGEST
    scale_rewards = "group"
    loss_type = "grpo"
    normalize_advantages = mask_truncated_completions = False
    reward_clip_range = None
    epsilon_low = 0.2
    eos_token_ids = (EOS,)
    _tokenizer = SimpleNamespace(pad_token_id=99)
    reward_func_names = ("reward",)
    reward_funcs = (None,)
    model = SimpleNamespace(training=True, is_gradient_checkpointing=False)
    ref_model = SimpleNamespace()
    reward_weights = torch.ones(1, dtype=torch.float64)
    accelerator = SimpleNamespace(
        device=torch.device("cpu"), gather=identity, gather_for_metrics=identity, process_index=0, num_processes=1,
        reduce=identity,
    )  # fmt: skip

    def begin(self, world: World, settings: dict[str, Any]) -> None:
        """Take the world and the options, under TRL's names."""
        self._metrics: Any = {"train": defaultdict(list)}
        self._logs: Any = defaultdict(list, rewards=defaultdict(list), extra=defaultdict(list))
        self._pending_extra_logs: Any = {}
        self._pending_metrics: Any = {}
        named = {
            "loss_reduction": "loss_type", "epsilon": "epsilon_low", "mask_truncated": "mask_truncated_completions",
        }  # fmt: skip
        self.args = SimpleNamespace(
            per_device_train_batch_size=64, gradient_checkpointing_kwargs=None, steps_per_generation=1,
            gradient_accumulation_steps=1, delta=settings.get("delta"),
            use_bias_correction_kl=settings.get("use_bias_correction_kl", False),
        )  # fmt: skip
        for name, value in settings.items():
            setattr(self, named.get(name, name), value)
        self.epsilon_high = settings.get("epsilon_high") or self.epsilon_low
        self.num_generations = self.num_generations_eval = len(world.rewards[0])
        self.world = world
        self.table = world.policy.clone().requires_grad_()

    def flat(self, table: torch.Tensor) -> torch.Tensor:
        return table.flatten(0, 1)

    def _generate(self, prompts: list[str]) -> Any:
        lengths = self.world.samples.lengths.flatten().tolist()
        rows = self.world.samples.ids.flatten(0, 1).tolist()
        answers = [row[:length] for row, length in zip(rows, lengths, strict=True)]
        texts = ["" for _ in answers]
        return self.generated([[1] for _ in prompts], answers, texts)

    def generated(self, prompts: Any, answers: Any, texts: Any) -> Any:
        return prompts, answers, texts

    def _calculate_rewards(self, *_: Any) -> torch.Tensor:
        rewards = [float("nan") if r is None else r for group in self.world.rewards for r in group]
        return torch.tensor(rewards, dtype=torch.float64)[:, None]

    def _get_per_token_logps_and_entropies(
        self, model: Any, ids: Any, mask: Any, width: int, *_: Any, **__: Any
    ) -> Any:
        table = self.flat(self.world.reference if model is self.ref_model else self.table)[:, :width]
        return table, torch.zeros_like(table), None

    def learn(self) -> list[dict[str, Any]]:
        """Return loss and gradient of two updates from one batch of answers."""
        rows = [{"prompt": ""} for group in self.world.rewards for _ in group]
        inputs = self._generate_and_score_completions(rows)  # type: ignore[attr-defined]  # TRL's
        updates = []
        for _ in range(2):
            loss = self._compute_loss(self.model, inputs)  # type: ignore[attr-defined]  # TRL's
            (gradient,) = torch.autograd.grad(loss, self.table)
            updates.append({"loss": float(loss.detach()), "gradient": gradient.tolist()})
            self.table = (self.table - RATE * gradient).detach().requires_grad_()
        return updates


def nanstd(values: torch.Tensor, dim: int | None = None) -> torch.Tensor:
    """As TRL's, whose quotient of two counts is float32: its deviations are right to 1e-7 only."""
    count = (~values.isnan()).sum(dim)
    mean = values.nanmean(dim) if dim is None else values.nanmean(dim, keepdim=True)
    squares = (values - mean).square().nansum() if dim is None else (values - mean).square().nansum(dim)
    return (squares / (count - 1).double()).sqrt()


class TooledStubs(Stubs):
    """GRPOTrainer's generation returns more."""

    def generated(self, prompts: Any, answers: Any, texts: Any) -> Any:
        return prompts, answers, None, texts, None, {}, None, []


def main() -> None:
    """Print what TRL makes of each setting and seed, as JSON."""
    import trl
    from trl.trainer import grpo_trainer, rloo_trainer

    grpo_trainer.nanstd = rloo_trainer.nanstd = nanstd
    found: dict[str, Any] = {"version": trl.__version__}
    for name, stubs, trainer, every in (
        ("rloo", Stubs, trl.RLOOTrainer, RLOO),
        ("grpo", TooledStubs, trl.GRPOTrainer, GRPO),
    ):
        kind = type(name, (stubs, trainer), {})
        found[name] = []
        for settings in every:
            found[name].append([])
            for seed in SEEDS:
                made: Any = object.__new__(kind)
                made.begin(world(seed), settings)
                found[name][-1].append(made.learn())
    sys.stdout.write(json.dumps(found))


if __name__ == "__main__":
    main()
