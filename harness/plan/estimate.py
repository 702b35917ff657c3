"""What a stage will cost, before it is done: tokens, seconds and disk, from sizes that need no loading.

The estimate counts steps and tokens and assumes what each costs on one processor thread; it weighs stages against each
other well enough for a time-left display, and is not a measurement.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from harness.plan.shapes import Shapes, model_of
from harness.spec.stages.existing_model import AdapterSource, GgufSource, ModelConfig
from harness.spec.stages.generate import GenerateConfig
from harness.spec.stages.new_model import NewModelConfig
from harness.spec.stages.reference import ReferenceConfig
from harness.spec.stages.rows import RowsConfig
from harness.spec.stages.score import Scoring
from harness.spec.stages.train import TrainConfig

if TYPE_CHECKING:
    from harness.plan.graph import Plan, Stage
    from harness.spec.budget import Budget

#: Floating-point operations a second of one thread, in matrix products of the sizes that small models have.
_SPEED = 4e10

#: Seconds that a layer costs beside its arithmetic: in a forward with its backward, and in decoding one position.
_STEP, _POSITION = 4e-3, 6e-4

#: Seconds of choosing one token: noise, sorting out finished rows.
_TOKEN = 1e-4

#: Seconds that a stage takes beside its work: reading rows and writing a result; loading a model, and each parameter.
_STAGE, _MODEL, _PARAMETER = 0.1, 0.2, 8e-9

#: Share of the longest prompt and the longest answer that is filled as a rule.
_FILLED = 0.35

#: Parameters and layers assumed of a model that is not here yet.
_UNKNOWN = (350_000_000, 24)


@dataclass(frozen=True)
class Size:
    """What is known of a model."""

    parameters: int
    layers: int


class Estimate:
    """Costs of the stages of one plan."""

    def __init__(self, plan: Plan) -> None:
        """Remember the shapes of models, which many stages share."""
        self._plan = plan
        self._shapes = Shapes()

    def tokens(self, stage: Stage) -> int | None:
        """Return how many tokens go through the model; None while the number of rows is unknown."""
        rows, config = self._rows(stage), stage.config
        if rows is None:
            return None
        if isinstance(config, TrainConfig):
            steps, prompts, prompt, answer = _training(config, rows)
            return int(steps * prompts * (prompt + answer * (_trained_answers(stage) + candidates_of(config))))
        if isinstance(config, ReferenceConfig):
            return int(rows * _pair(config))
        if isinstance(config, GenerateConfig):
            return int(rows * config.draws * config.decoding.max_new_tokens * 2 * _FILLED)
        return rows

    def seconds(self, stage: Stage) -> float | None:
        """Return a rough time on one processor thread; None while the number of rows is unknown."""
        rows, config = self._rows(stage), stage.config
        if rows is None:
            return None
        size = self._size(stage)
        if isinstance(config, TrainConfig):
            steps, prompts, prompt, answer = _training(config, rows)
            candidates = candidates_of(config)
            trained = prompts * (prompt + answer * _trained_answers(stage))
            step = _STEP * size.layers + 6.0 * size.parameters * trained / _SPEED
            sampled = prompts * candidates * answer
            positions = 2 * answer if candidates else 0.0
            return _load(size) + steps * (step + _decode(size, positions, sampled))
        if isinstance(config, GenerateConfig):
            answers, longest = rows * config.draws, config.decoding.max_new_tokens
            batches = max(1.0, answers / 512)
            return _load(size) + _decode(size, batches * longest, answers * longest * 2 * _FILLED)
        if isinstance(config, ReferenceConfig):
            return _load(size) + 2.0 * size.parameters * rows * _pair(config) / _SPEED
        answered = stage.parents["samples"].config if isinstance(config, Scoring) else None
        if isinstance(answered, GenerateConfig):
            samples = rows * answered.draws
            length = 2 * _FILLED * float(answered.decoding.max_new_tokens)
            asked = len({"policy", "scorer"} & stage.parents.keys())
            # both models read the policy's answers and the other's
            asked += 3 * sum(name.startswith("model:") for name in stage.parents)
            return _STAGE + samples * 2e-4 + asked * (_load(size) + 2.0 * size.parameters * samples * length / _SPEED)
        return _load(size) + rows * 1e-3

    def disk(self, stage: Stage) -> int:
        """Return roughly how many bytes stay on disk."""
        config = stage.config
        if isinstance(config, TrainConfig):
            size, shape = self._size(stage), self._shapes.of(stage)
            adapter = config.recipe.adapter
            return 12 * (size.parameters if adapter is None or shape is None else shape.adapter(adapter))
        made = isinstance(config, ModelConfig) and isinstance(config.source, (GgufSource, AdapterSource))
        if made or isinstance(config, NewModelConfig):
            return self._size(stage).parameters * 4
        if stage.kind == "prepare" and not isinstance(config, RowsConfig):
            return 0
        rows = self._rows(stage) or 0
        if isinstance(config, ReferenceConfig):
            return int(rows * 2 * (4 * _FILLED * config.recipe.max_completion_length + 24))
        return rows * (800 if isinstance(config, RowsConfig) else 300)

    def _rows(self, stage: Stage) -> int | None:
        source = stage.parents.get("rows", stage)
        if not isinstance(source.config, RowsConfig):
            return 0  # a model, which needs no data
        count = self._plan.row_counts.get(source.key)
        return source.config.limit if count is None else count

    def _size(self, stage: Stage) -> Size:
        if model_of(stage) is None:
            return Size(0, 0)
        shape = self._shapes.of(stage)
        return Size(*_UNKNOWN) if shape is None else Size(shape.parameters, shape.layers)


def _training(config: TrainConfig, rows: int) -> tuple[float, int, float, float]:
    """Return steps, prompts a step, and the usual length of prompts and answers in tokens."""
    recipe = config.recipe
    each = max(1, rows // recipe.batch_size)
    steps: float = config.last.step(each) - config.first.step(each)
    longest = (config.sampling and config.sampling.generate_length) or recipe.max_completion_length
    if config.budget is not None:
        steps = _budgeted_steps(config, config.budget, recipe.batch_size * _FILLED * longest)
    return max(0, steps), recipe.batch_size, _FILLED * recipe.max_prompt_length, _FILLED * longest


def _budgeted_steps(config: TrainConfig, budget: Budget, answers: float) -> float:
    """Return about how many steps a budget lasts where the answers to all prompts of a step have so many tokens."""
    candidates = candidates_of(config)
    each = {"sampled_tokens": candidates * answers, "trained_tokens": (1 + candidates) * answers}
    return budget.amount / max(1.0, each.get(budget.unit, 1.0))


def _pair(config: ReferenceConfig) -> float:
    """Return the usual tokens of a prompt with two answers."""
    return float(_FILLED * (config.recipe.max_prompt_length + 2 * config.recipe.max_completion_length))


def _load(size: Size) -> float:
    """Return the seconds that a stage with a model takes beside its work."""
    return _STAGE + (_MODEL + _PARAMETER * size.parameters if size.parameters else 0.0)


def _decode(size: Size, positions: float, tokens: float) -> float:
    """Return the seconds of decoding some tokens at some positions."""
    return positions * _POSITION * size.layers + tokens * (_TOKEN + 2.0 * size.parameters / _SPEED)


def candidates_of(config: TrainConfig) -> int:
    """Return how many answers a method samples for a prompt, as far as its options tell."""
    temperatures = config.method.options.get("temperatures")
    if isinstance(temperatures, (list, tuple)):
        return len(temperatures)
    return 2 if config.reward is not None else 0


def _trained_answers(stage: Stage) -> int:
    """Return how many answers of a prompt are trained on: the demonstration and the candidates, or a pair."""
    if "reference_logprobs" in stage.parents or not isinstance(stage.config, TrainConfig):
        return 2
    return 1 + candidates_of(stage.config)
