"""What a stage will cost, before it is done: tokens, seconds and disk, from sizes that need no loading.

The estimate counts steps and tokens and assumes what each costs on one processor thread; it weighs stages against each
other well enough for a time-left display, and is no measurement.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness.training.schedule import position_step

if TYPE_CHECKING:
    from collections.abc import Mapping

    from harness.plan.graph import Plan, Stage

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
        """Remember the sizes of models, which many stages share."""
        self._plan = plan
        self._sizes: dict[str, Size] = {}

    def tokens(self, stage: Stage) -> int | None:
        """Return how many tokens go through the model; None while the number of rows is unknown."""
        rows = self._rows(stage)
        if rows is None:
            return None
        config = stage.config
        if stage.kind == "train":
            steps, prompts, prompt, answer = self._training(stage, rows)
            return int(steps * prompts * (prompt + answer * (_trained_answers(stage) + _candidates(config))))
        if _of_pairs(stage):
            return int(rows * self._pair(stage))
        if stage.kind == "generate":
            return int(self._answers(stage, rows) * self._decoding(stage)["max_new_tokens"] * 2 * _FILLED)
        return rows

    def seconds(self, stage: Stage) -> float | None:
        """Return a rough time on one processor thread; None while the number of rows is unknown."""
        rows = self._rows(stage)
        if rows is None:
            return None
        size = self._size(stage)
        if stage.kind == "train":
            steps, prompts, prompt, answer = self._training(stage, rows)
            candidates = _candidates(stage.config)
            trained = prompts * (prompt + answer * _trained_answers(stage))
            step = _STEP * size.layers + 6.0 * size.parameters * trained / _SPEED
            sampled = prompts * candidates * answer
            positions = 2 * answer if candidates else 0.0
            return _load(size) + steps * (step + _decode(size, positions, sampled))
        if stage.kind == "generate":
            answers, longest = self._answers(stage, rows), int(self._decoding(stage)["max_new_tokens"])
            batches = max(1.0, answers / 512)
            return _load(size) + _decode(size, batches * longest, answers * longest * 2 * _FILLED)
        if _of_pairs(stage):
            return _load(size) + 2.0 * size.parameters * rows * self._pair(stage) / _SPEED
        if stage.kind == "score":
            samples = self._answers(stage.parents["samples"], rows)
            length = 2 * _FILLED * float(self._decoding(stage.parents["samples"])["max_new_tokens"])
            asked = len({"policy", "scorer"} & stage.parents.keys())
            return _STAGE + samples * 2e-4 + asked * (_load(size) + 2.0 * size.parameters * samples * length / _SPEED)
        return _load(size) + rows * 1e-3

    def disk(self, stage: Stage) -> int:
        """Return roughly how many bytes stay on disk."""
        if stage.kind == "train":
            return self._size(stage).parameters * 12
        if stage.kind == "prepare" and stage.config["what"] != "rows":
            return self._size(stage).parameters * 4 if stage.config["what"] == "new-model" else 0
        rows = self._rows(stage) or 0
        if _of_pairs(stage):
            return int(rows * 2 * (4 * _FILLED * stage.config["recipe"]["max_completion_length"] + 24))
        return rows * (800 if stage.kind == "prepare" else 300)

    def _training(self, stage: Stage, rows: int) -> tuple[float, int, float, float]:
        """Return steps, prompts a step, and the usual length of prompts and answers in tokens."""
        recipe: Mapping[str, Any] = stage.config["recipe"]
        prompts = int(recipe["batch_size"])
        each = max(1, rows // prompts)
        first, last = (position_step(stage.config[name], each) for name in ("first", "last"))
        longest = recipe.get("generate_length") or recipe["max_completion_length"]
        return max(0, last - first), prompts, _FILLED * recipe["max_prompt_length"], _FILLED * longest

    def _pair(self, stage: Stage) -> float:
        """Return the usual tokens of a prompt with two answers."""
        recipe = stage.config["recipe"]
        return float(_FILLED * (recipe["max_prompt_length"] + 2 * recipe["max_completion_length"]))

    def _decoding(self, stage: Stage) -> Mapping[str, Any]:
        decoding: Mapping[str, Any] = stage.config["decoding"]
        return decoding

    def _answers(self, stage: Stage, rows: int) -> int:
        decoding = self._decoding(stage)
        return rows * int(decoding["draws"] if decoding["temperature"] else 1)

    def _rows(self, stage: Stage) -> int | None:
        source = stage.parents.get("rows", stage)
        if source.config.get("what", "rows") != "rows":
            return 0  # a model, which needs no data
        limit = source.config.get("limit")
        known = self._plan.row_counts.get(source.key)
        return known if known is not None or limit is None else int(limit)

    def _size(self, stage: Stage) -> Size:
        model: Stage | None = stage
        while model is not None and (model.kind != "prepare" or model.config["what"] == "rows"):
            parents = model.parents
            model = (
                parents.get("start")
                or parents.get("checkpoint")
                or parents.get("samples")
                or parents.get("reward_model")
            )
        if model is None or model.config["what"] == "tokenizer":
            return Size(0, 0)
        if model.key not in self._sizes:
            self._sizes[model.key] = _size(model)
        return self._sizes[model.key]


def _load(size: Size) -> float:
    """Return the seconds that a stage with a model takes beside its work."""
    return _STAGE + (_MODEL + _PARAMETER * size.parameters if size.parameters else 0.0)


def _decode(size: Size, positions: float, tokens: float) -> float:
    """Return the seconds of decoding some tokens at some positions."""
    return positions * _POSITION * size.layers + tokens * (_TOKEN + 2.0 * size.parameters / _SPEED)


def _candidates(config: Mapping[str, Any]) -> int:
    """Return how many answers a method samples for a prompt, as far as its options tell."""
    options = config.get("options", {})
    temperatures = options.get("temperatures")
    if isinstance(temperatures, (list, tuple)):
        return len(temperatures)
    return 2 if config.get("reward") else 0


def _trained_answers(stage: Stage) -> int:
    """Return how many answers of a prompt are trained on: the demonstration and the candidates, or a pair."""
    return 2 if "reference_logprobs" in stage.parents else 1 + _candidates(stage.config)


def _of_pairs(stage: Stage) -> bool:
    return stage.kind == "precompute" and stage.config["what"] == "reference-logprobs"


def _size(model: Stage) -> Size:
    config = model.config.get("config")
    if config:
        width = _setting(config, "n_embd", "hidden_size") or 768
        layers = _setting(config, "n_layer", "num_hidden_layers") or 12
        vocabulary = model.parents["tokenizer"].config["vocab_size"]
        return Size(12 * layers * width**2 + vocabulary * width, layers)
    path = model.runtime.get("path")
    if path:
        weights = sum(p.stat().st_size for p in Path(path).expanduser().glob("*.safetensors")) // 4
        return Size(weights, max(2, round(weights ** (1 / 3) / 40)))
    return Size(*_UNKNOWN)


def _setting(config: Mapping[str, Any], *names: str) -> int | None:
    """Return the first of these settings that is a size; whoever builds the model says what is wrong with another."""
    return next((n for name in names if type(n := config.get(name)) is int and n > 0), None)
