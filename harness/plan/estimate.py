"""What a stage will cost, before it is done: tokens, seconds and disk, from sizes that need no loading.

The estimate counts the tokens that go through the model and assumes a speed for the processor; it orders and adds up
stages well enough for a time-left display, and is no measurement.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from harness.plan.graph import Plan, Stage

#: Assumed useful floating-point operations a second of one processor thread in small matrix products.
_SPEED = 1.5e10

#: Seconds that a sampling step costs beside its arithmetic (many small operations), a token of one row.
_DECODE = 2e-4


class Estimate:
    """Costs of the stages of one plan."""

    def __init__(self, plan: Plan) -> None:
        """Look at the plan's rows and models once."""
        self._plan = plan

    def tokens(self, stage: Stage) -> int | None:
        """Return how many tokens go through the model; None while the number of rows is unknown."""
        rows = self._rows(stage)
        if rows is None:
            return None
        config = stage.config
        if stage.kind == "train":
            length = self._typical(config["recipe"]["max_prompt_length"], config["recipe"]["max_completion_length"])
            epochs = config["last"].get("epoch", 1) - config["first"].get("epoch", 0)
            return int(max(epochs, 1) * rows * (length + self._candidates(config) * length))
        if stage.kind == "generate":
            decoding = config["decoding"]
            draws = decoding["draws"] if decoding["temperature"] else 1
            return int(rows * draws * decoding["max_new_tokens"] * 0.6)
        return rows

    def seconds(self, stage: Stage) -> float | None:
        """Return a rough time on one processor thread; None while the number of rows is unknown."""
        tokens = self.tokens(stage)
        if tokens is None:
            return None
        parameters = self._parameters(stage)
        if stage.kind == "train":
            sampled = tokens * _DECODE if self._candidates(stage.config) else 0.0
            return 6.0 * parameters * tokens / _SPEED + sampled
        if stage.kind == "generate":
            return tokens * (_DECODE + 2.0 * parameters / _SPEED)
        return 0.02 + tokens * 1e-4

    def disk(self, stage: Stage) -> int:
        """Return roughly how many bytes stay on disk."""
        if stage.kind == "train":
            return self._parameters(stage) * 12
        rows = self._rows(stage) or 0
        return rows * (800 if stage.kind == "prepare" else 300)

    def _candidates(self, config: Any) -> int:
        options = config.get("options", {})
        temperatures = options.get("temperatures")
        if isinstance(temperatures, (list, tuple)):
            return len(temperatures)
        return 2 if config.get("reward") else 0

    def _rows(self, stage: Stage) -> int | None:
        source = stage.parents.get("rows", stage)
        limit = source.config.get("limit")
        return int(limit) if limit else self._plan.row_counts.get(source.key)

    def _typical(self, prompt: int, completion: int) -> float:
        return 0.35 * (prompt + completion)

    def _parameters(self, stage: Stage) -> int:
        model: Stage | None = stage
        while model is not None and model.kind != "prepare":
            model = model.parents.get("start") or model.parents.get("checkpoint") or model.parents.get("samples")
        if model is None:
            return 0
        config = model.config.get("config")
        if config:
            width = config.get("n_embd") or config.get("hidden_size") or 128
            layers = config.get("n_layer") or config.get("num_hidden_layers") or 4
            vocabulary = model.parents["tokenizer"].config["vocab_size"] if "tokenizer" in model.parents else 2000
            return int(12 * layers * width**2 + vocabulary * width)
        path = model.runtime.get("path")
        if path:
            return sum(p.stat().st_size for p in Path(path).expanduser().glob("*.safetensors")) // 4
        return 350_000_000
