"""What a stage will cost, before it is done: tokens, seconds and disk, from sizes that need no loading.

The estimate counts steps and tokens, and reckons what they cost at a machine's rates, or knows from earlier runs what
they cost. It weighs stages against each other well enough for a time-left display, and is not a measurement.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from harness.plan.rates import USUAL
from harness.plan.reckoning import (
    FILLED,
    STAGE,
    Size,
    candidates_of,
    forward_seconds,
    generate_seconds,
    load_seconds,
    pair_tokens,
    reference_seconds,
    train_seconds,
    training,
)
from harness.plan.shapes import Shapes, model_of, size_of
from harness.spec.stages.existing_model import AdapterSource, GgufSource, ModelConfig
from harness.spec.stages.generate import GenerateConfig
from harness.spec.stages.new_model import NewModelConfig
from harness.spec.stages.reference import ReferenceConfig
from harness.spec.stages.rows import RowsConfig
from harness.spec.stages.score import Scoring
from harness.spec.stages.train import TrainConfig

if TYPE_CHECKING:
    from harness.plan.graph import Plan, Stage
    from harness.plan.past import Past
    from harness.plan.rates import Rates


class Estimate:
    """Costs of the stages of one plan."""

    def __init__(self, plan: Plan, *, rates: Rates = USUAL, past: Past | None = None) -> None:
        """Remember the shapes of models, which many stages share.

        Args:
            plan: whose stages are asked about.
            rates: of the machine, for as many threads as a stage has.
            past: what stages of earlier runs took, which counts more than what is reckoned.
        """
        self._plan = plan
        self._shapes = Shapes()
        self._rates = rates
        self._past = past

    def tokens(self, stage: Stage) -> int | None:
        """Return how many tokens go through the model; None while the number of rows is unknown."""
        rows, config = self._rows(stage), stage.config
        if rows is None:
            return None
        if isinstance(config, TrainConfig):
            steps, prompts, prompt, answer = training(config, rows)
            answers = 2 if pairs(stage) else 1 + candidates_of(config)
            return int(steps * prompts * (prompt + answer * (answers + candidates_of(config))))
        if isinstance(config, ReferenceConfig):
            return int(rows * pair_tokens(config))
        if isinstance(config, GenerateConfig):
            return int(rows * config.draws * config.decoding.max_new_tokens * 2 * FILLED)
        if isinstance(config, Scoring):
            return int(models_asked(stage) * tokens_read(stage, rows))
        return rows

    def seconds(self, stage: Stage) -> float | None:
        """Return a rough time; None while the number of rows is unknown."""
        rows, config = self._rows(stage), stage.config
        if rows is None:
            return None
        size = self.size(stage)
        pace = 1.0 if self._past is None else self._past.pace(stage)
        if isinstance(config, TrainConfig):
            work = train_seconds(config, rows, size, pairs=pairs(stage), rates=self._rates)
            return load_seconds(size) + pace * work
        if isinstance(config, GenerateConfig):
            return load_seconds(size) + pace * generate_seconds(config, rows, size, self._rates)
        if isinstance(config, ReferenceConfig):
            return load_seconds(size) + pace * reference_seconds(config, rows, size, self._rates)
        answered = stage.parents["samples"].config if isinstance(config, Scoring) else None
        if isinstance(answered, GenerateConfig):
            read = pace * forward_seconds(size, tokens_read(stage, rows), self._rates)
            return STAGE + rows * answered.draws * 2e-4 + models_asked(stage) * (load_seconds(size) + read)
        return load_seconds(size) + rows * 1e-3

    def disk(self, stage: Stage) -> int:
        """Return roughly how many bytes stay on disk."""
        config = stage.config
        if isinstance(config, TrainConfig):
            size, shape = self.size(stage), self._shapes.of(stage)
            adapter = config.recipe.adapter
            points = 0 if config.budget is None else len(list(config.budget.points))
            trained = size.parameters if adapter is None or shape is None else shape.adapter(adapter)
            return (12 + 4 * points) * trained
        made = isinstance(config, ModelConfig) and isinstance(config.source, (GgufSource, AdapterSource))
        if made or isinstance(config, NewModelConfig):
            return self.size(stage).parameters * 4
        if stage.kind == "prepare" and not isinstance(config, RowsConfig):
            return 0
        rows = self._rows(stage) or 0
        if isinstance(config, ReferenceConfig):
            return int(rows * 2 * (4 * FILLED * config.recipe.max_completion_length + 24))
        return rows * (800 if isinstance(config, RowsConfig) else 300)

    def size(self, stage: Stage) -> Size:
        """Return the size of the model that a stage runs; without parameters where it runs none."""
        if model_of(stage) is None:
            return Size(0, 0)
        return size_of(self._shapes.of(stage), stage.config)

    def _rows(self, stage: Stage) -> int | None:
        source = stage.parents.get("rows", stage)
        if not isinstance(source.config, RowsConfig):
            return 0  # a model, which needs no data
        count = self._plan.row_counts.get(source.key)
        return source.config.limit if count is None else count


def pairs(stage: Stage) -> bool:
    """Return whether a stage trains on two answers to a prompt, because it has reference log-probs or no policy."""
    return "reference_logprobs" in stage.parents


def models_asked(stage: Stage) -> int:
    """Return how often a stage that scores has a model read all prompts and answers."""
    # both models read the policy's answers and the other's
    others = 3 * sum(name.startswith("model:") for name in stage.parents)
    return len({"policy", "scorer"} & stage.parents.keys()) + others


def tokens_read(stage: Stage, rows: int) -> float:
    """Return the usual tokens of the prompts and answers that a stage scores."""
    answered = stage.parents["samples"].config
    if not isinstance(answered, GenerateConfig):
        return 0.0
    answer = 2 * FILLED * answered.decoding.max_new_tokens
    return rows * answered.draws * (FILLED * answered.asking.max_prompt_length + answer)
