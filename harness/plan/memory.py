"""How much memory a stage needs at its peak, from sizes that need no loading, and what would make it less.

Counted are the numbers that training and decoding are known to hold; what a token leaves behind for the backward pass
was counted in transformers' decoders and compared with processes that were measured (docs/own-model.md). A critic that
a method adds is not known here, and not counted. All of it is of one process: where several divide the weights of what
they train, each has its part, and what it gathers while it computes.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from harness.plan.reckoning import candidates_of
from harness.plan.shapes import Shapes
from harness.spec.recipe import AdapterSettings
from harness.spec.stages.generate import GenerateConfig
from harness.spec.stages.reference import ReferenceConfig
from harness.spec.stages.score import ModelScoreConfig
from harness.spec.stages.train import TrainConfig

if TYPE_CHECKING:
    from harness.models.shape import Shape
    from harness.plan.graph import Plan, Stage
    from harness.plugins.registry import Registry
    from harness.spec.stages.base import Loading

#: Bytes of a process with torch and transformers before it holds a model, on a CPU.
PROCESS = 550_000_000
#: Tokens of one forward where nothing says it: what a CPU takes, and the least that a GPU does.
TOKENS = {"cpu": 1024, "cuda": 2048}
#: Numbers of keys and values at which answers are drawn for fewer prompts at a time.
CACHE = 1 << 27
#: Numbers of a softmax that are kept for the backward pass, at most.
SOFTMAX = {"cpu": 1 << 26, "cuda": 1 << 28}

#: The parts of a peak, in the order in which they are told.
PARTS = (
    "process", "weights", "gathered", "gradients", "moments", "reference", "reward model", "activations", "decoding",
)  # fmt: skip


@dataclass(frozen=True)
class Memory:
    """The bytes of a stage at its peak, by what holds them, and what would make them fewer."""

    parts: dict[str, int]
    helps: tuple[str, ...]
    """Settings that would, the one that saves most first."""

    @property
    def total(self) -> int:
        """All of it."""
        return sum(self.parts.values())

    def __str__(self) -> str:
        """Return it in words."""
        listed = ", ".join(f"{name} {megabytes(size)}" for name, size in self.parts.items() if size >= 500_000)
        return f"{megabytes(self.total)} ({listed})"


def megabytes(size: float) -> str:
    """Return a number of bytes in the unit that fits."""
    return f"{size / 1e9:.1f} GB" if size >= 1e9 else f"{size / 1e6:.0f} MB"


class MemoryEstimate:
    """The memory of the stages of one plan."""

    def __init__(self, plan: Plan, registry: Registry, device: str, *, processes: int = 1) -> None:
        """Remember the shapes of models, which many stages share.

        Args:
            plan: whose stages are asked about.
            registry: says what methods need.
            device: what stages run on: cpu or cuda.
            processes: of each training stage.
        """
        self._processes = processes
        self._plan = plan
        self._registry = registry
        self._kind = "cpu" if device == "cpu" else "cuda"
        self._shapes = Shapes()

    def of(self, stage: Stage) -> Memory | None:
        """Return what a stage needs; None where it runs no model, or one that is not on this machine yet."""
        shape = self._shapes.of(stage)
        if shape is None:
            return None
        if isinstance(stage.config, TrainConfig):
            now = self._training(stage, stage.config, shape)
            return Memory(now, self._helps(stage, stage.config, shape, now))
        parts = self._reading(stage, shape)
        return None if parts is None else Memory(parts, ())

    def _training(
        self, stage: Stage, config: TrainConfig, shape: Shape, *, recompute: bool = False, divided: bool = False
    ) -> dict[str, int]:
        parts = self._whole(stage, config, shape, recompute=recompute)
        if self._processes == 1 or not (divided or stage.runtime.shard):
            return parts
        each, adapter = _bytes(config.loading), config.recipe.adapter
        for name in ("weights", "gradients", "moments", "reference"):
            parts[name] = parts.get(name, 0) // self._processes
        # what is no layer, and a layer, with the gradients of what is trained of them before they are summed
        gathered = shape.parameters - shape.in_layers + shape.in_layers // max(1, shape.layers)
        parts["gathered"] = each * gathered * (1 if adapter is not None else 2)
        if "decoding" in parts:  # over weights that come and go, none is laid out anew
            parts["decoding"] -= _laid_out(shape, config.loading, self._kind)
        return self._ordered(parts)

    def _whole(self, stage: Stage, config: TrainConfig, shape: Shape, *, recompute: bool) -> dict[str, int]:
        adapter, each = config.recipe.adapter, _bytes(config.loading)
        added = shape.adapter(adapter) if adapter is not None else 0
        trained = added or shape.parameters
        start = added if "start" in stage.parents and stage.parents["start"].kind == "train" else 0
        second = "reference" in self._needs(config) and "reference_logprobs" not in stage.parents
        judge = self._shapes.of(stage.parents["reward_model"]) if "reward_model" in stage.parents else None
        recompute = recompute or stage.runtime.gradient_checkpointing
        activations = _activations(shape, config, self._kind, stage.runtime.tokens_per_micro_batch, recompute=recompute)
        gradients, decoding = each * trained, 0
        if config.sampling is not None:
            gradients *= 3  # on diagnosed steps one more for each share of the loss
            each_prompt = config.recipe.max_prompt_length + candidates_of(config) * config.longest_answer
            decoding = _decoding(shape, config.loading, self._kind, config.recipe.batch_size * each_prompt)
        parts = {
            "weights": each * (shape.parameters + added),
            "moments": 2 * each * trained,
            "reference": each * (start if adapter is not None else shape.parameters if second else 0),
            "reward model": 4 * judge.parameters if judge is not None else 0,
        }
        # gradients are cleared before answers are drawn
        parts |= (
            {"gradients": gradients, "activations": activations}
            if gradients + activations >= decoding
            else {"decoding": decoding}
        )
        return self._ordered(parts)

    def _reading(self, stage: Stage, shape: Shape) -> dict[str, int] | None:
        config = stage.config
        if isinstance(config, GenerateConfig):
            loading = config.asking.loading
            length = config.asking.max_prompt_length + config.decoding.max_new_tokens
            rows = self._plan.row_counts.get(stage.parents["rows"].key, 64) if "rows" in stage.parents else 64
            most = CACHE // max(1, 2 * shape.width * shape.layers)
            held = min(rows * config.decoding.draws * length, most)
            parts = {"decoding": _decoding(shape, loading, self._kind, held)}
        elif isinstance(config, (ReferenceConfig, ModelScoreConfig)):
            loading = config.loading if isinstance(config, ReferenceConfig) else config.asking.loading
            tokens = TOKENS[self._kind]
            layer = tokens * (6 * shape.width + 3 * shape.inner)
            parts = {"activations": _bytes(loading) * layer + 4 * min(SOFTMAX[self._kind], tokens * shape.vocabulary)}
        else:
            return None
        others = sum(name.startswith("model:") for name in stage.parents)  # two models are compared at a time
        return self._ordered({"weights": _bytes(loading) * shape.parameters * (1 + min(1, others)), **parts})

    def _helps(self, stage: Stage, config: TrainConfig, shape: Shape, now: dict[str, int]) -> tuple[str, ...]:
        """Return the settings that save a tenth or more, with what would be left."""
        whole = sum(now.values())
        tried = []
        if config.recipe.adapter is None:
            recipe = config.recipe.model_copy(update={"adapter": AdapterSettings()})
            other = config.model_copy(update={"recipe": recipe})
            tried.append(("recipe.adapter (LoRA)", self._training(stage, other, shape)))
        if not stage.runtime.gradient_checkpointing:
            tried.append(("recipe.gradient_checkpointing", self._training(stage, config, shape, recompute=True)))
        if self._processes > 1 and not stage.runtime.shard:
            tried.append(("execution.shard", self._training(stage, config, shape, divided=True)))
        if config.loading.dtype != "bfloat16" and self._kind == "cuda":  # a CPU casts, and keeps what it cast
            loading = config.loading.model_copy(update={"dtype": "bfloat16"})
            other = config.model_copy(update={"loading": loading})
            tried.append(("dtype: bfloat16", self._training(stage, other, shape)))
        sums = sorted((sum(parts.values()), name) for name, parts in tried)
        return tuple(f"{name}: {megabytes(left)}" for left, name in sums if left <= 0.9 * whole)

    def _needs(self, config: TrainConfig) -> frozenset[str]:
        registration: Any = self._registry.resolved("method", config.method.name, config.method.options)
        return frozenset(registration.needs)

    def _ordered(self, parts: dict[str, int]) -> dict[str, int]:
        whole = {**parts, "process": PROCESS if self._kind == "cpu" else 0}
        return {name: whole[name] for name in PARTS if whole.get(name)}


def _activations(shape: Shape, config: TrainConfig, kind: str, budget: int | None, *, recompute: bool) -> int:
    """Return the bytes that the forward of one micro-batch leaves for its backward."""
    recipe = config.recipe
    answers = 1 + candidates_of(config)
    longest = recipe.max_prompt_length + answers * config.longest_answer
    tokens = max(budget or TOKENS[kind], min(longest, 2 * TOKENS[kind]))
    each = 2 if config.loading.dtype == "bfloat16" else _bytes(config.loading)
    # norms, what goes into each matrix, queries, keys, values, and what attention gives
    layer = tokens * (5 * shape.width + 2 * (shape.queries + shape.keys) + (4 if shape.gated else 3) * shape.inner)
    if recipe.adapter is not None:  # measured: a quarter more is held, for a second way beside each layer
        layer = layer * 5 // 4 + tokens * 7 * recipe.adapter.rank
    if config.loading.attention == "eager":
        heads = max(1, shape.queries // 64)
        layer += 2 * heads * min(tokens, longest) ** 2
    held = layer + shape.layers * tokens * shape.width if recompute else shape.layers * layer
    scored = int(tokens * min(1.0, answers * config.longest_answer / max(1, longest)))
    return each * held + 4 * min(SOFTMAX[kind], scored * shape.vocabulary)


def _decoding(shape: Shape, loading: Loading, kind: str, tokens: int) -> int:
    """Return the bytes of keys and values, and of the weights in the order in which they are multiplied on a CPU."""
    each = 2 if loading.dtype == "bfloat16" else _bytes(loading)
    return _laid_out(shape, loading, kind) + each * tokens * shape.layers * 2 * shape.keys


def _laid_out(shape: Shape, loading: Loading, kind: str) -> int:
    """Return the bytes of the weights in the order in which they are multiplied on a CPU."""
    if kind != "cpu" or loading.dtype == "float64":
        return 0
    return 4 * (shape.in_layers + shape.vocabulary * shape.width)


def _bytes(loading: Loading) -> int:
    return 8 if loading.dtype == "float64" else 4  # bfloat16 computes from float32 weights
