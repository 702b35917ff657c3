"""Steps of this harness, taken by the training loop itself."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

import torch
from perf.workload import NEW_TOKENS, load

from harness.lm.score.logprobs import score
from harness.plugins.loader import load_registry
from harness.spec.recipe import MethodSampling, StepSettings
from harness.spec.results.train import ReferenceCost
from harness.spec.reward import Reward, RewardUse
from harness.spec.schedule import Curve, Position
from harness.text.encode import collate
from harness.training.assignment import Judges, RunContext, TrainingPlan
from harness.training.loop import Segment
from harness.training.reference import Precomputed, answer_key, save
from harness.training.rewards import CombinedReward
from harness.training.weights import module_digest

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from perf.workload import DType, Task

_EPOCHS = 1000


class Steps:
    """One method on one task; :meth:`take` is one optimiser step with everything that belongs to it."""

    def __init__(
        self,
        folder: Path,
        task: Task,
        method: str,
        *,
        warm: bool = True,
        dtype: DType = "float32",
        same_length: bool = False,
        device: str = "cpu",
        new_tokens: int = NEW_TOKENS,
        engine: Literal["vllm"] | None = None,
        **options: Any,
    ) -> None:
        """Set the loop up as a training stage does, and unless ``warm`` is false take the first step.

        With ``same_length`` an answer that is drawn goes on to the limit, of ``new_tokens``; ``engine`` draws it.
        """
        registry = load_registry()
        registration: Any = registry.get("method", method)
        preset = registration.presets[registration.default_preset].options if registration.default_preset else {}
        settings = registry.options("method", method, {**preset, **options}).model_dump(mode="json")
        recipe = StepSettings(
            batch_size=task.batch_size,
            max_prompt_length=512,
            max_completion_length=new_tokens,
            diagnose_every=10_000,
        )
        first, last = Position(epochs=0), Position(epochs=_EPOCHS)
        curve = Curve(kind="constant", peak=1e-4, floor=0.0, warmup_steps=0, first=first, last=last)
        plan = TrainingPlan(
            method=method,
            recipe=recipe,
            seed=0,
            first=first,
            last=last,
            curve=curve,
            sampling=MethodSampling(suppress_stops=same_length, engine=engine),
        )
        part = RewardUse(use="rouge", options=registry.options("reward", "rouge", {}).model_dump(mode="json"))
        self.segment = Segment(
            plan,
            load(folder, dtype=dtype, device=device),
            task.rows,
            registry.build("method", method, settings),
            context=RunContext(log=lambda _row: None),
            judges=Judges(
                reward=CombinedReward.build(Reward(parts=(part,)), registry),
                load_reference=lambda: load(folder, dtype=dtype, device=device),
                precomputed=_reference(folder, task, dtype, device) if "preferences" in registration.needs else None,
            ),
        )
        self.segment.begin()
        if warm:
            self.take()  # the first step is a diagnosed one, and loads what is loaded once

    def take(self) -> None:
        """Take one step."""
        self.segment._take_step()  # what is timed is the loop's own step


def _reference(folder: Path, task: Task, dtype: DType, device: str) -> Precomputed:
    """Compute the reference model's log-probs beforehand, as a stage does."""
    policy = load(folder, dtype=dtype, device=device)
    known = {}
    for row in task.rows:
        batch = collate([row], policy.device)
        assert batch.pairs is not None
        with torch.no_grad():
            found = score(policy, batch.prompts, batch.pairs.chosen.join(batch.pairs.rejected), dropout=False).values
        for place, answer in enumerate((row.chosen, row.rejected)):
            assert answer is not None
            known[answer_key(row.prompt, answer.ids)] = found[0, place, : len(answer.ids)].cpu()
    path = folder.parent / "reference.safetensors"
    save(dict(sorted(known.items())), path)
    return Precomputed(path, module_digest(policy.model), ReferenceCost(pairs=len(task.rows), tokens=0, seconds=0.0))


def our_step(folder: Path, task: Task, method: str, **options: Any) -> Callable[[], None]:
    """Return what takes a step of ours."""
    return Steps(folder, task, method, **options).take
