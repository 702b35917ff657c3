"""What a stage's work takes, reckoned from sizes: floating-point operations, bytes and what comes on top."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from harness.plan.rates import USUAL

if TYPE_CHECKING:
    from harness.plan.rates import Rates
    from harness.spec.budget import Budget
    from harness.spec.stages.generate import GenerateConfig
    from harness.spec.stages.reference import ReferenceConfig
    from harness.spec.stages.train import TrainConfig

#: Seconds that a layer costs beside its arithmetic: in a forward with its backward, and in decoding one position.
_STEP, _POSITION = 4e-3, 6e-4

#: Seconds of choosing one token: sorting out finished rows, and noise for each entry of the vocabulary.
_TOKEN, _ENTRY = 1e-4, 2e-8

#: Seconds that a stage takes beside its work: reading rows and writing a result; loading a model, and each parameter.
STAGE, _MODEL, _PARAMETER = 0.1, 0.2, 8e-9

#: Bytes that a step moves for a parameter that is trained: weight, gradient and two moments, read and written, and
#: once more where the gradient is clipped and looked at. And what perturbing a weight costs, which is drawing noise.
_UPDATED, _PERTURBED = 48.0, 2e-8

#: Bytes of a weight that is read.
_WEIGHT = 4.0

#: Share of the longest prompt and the longest answer that is filled as a rule.
FILLED = 0.35

#: Most answers that are drawn side by side.
_BATCH: Final = 512

#: Options that say how many answers a method samples for a prompt.
_COUNTS: Final = ("num_generations", "n_samples")


@dataclass(frozen=True)
class Size:
    """What is known of a model."""

    parameters: int
    layers: int
    vocabulary: int = 0
    trained: int | None = None
    """Parameters that are trained, where not all are."""


def training(config: TrainConfig, rows: int) -> tuple[float, int, float, float]:
    """Return steps, prompts a step, and the usual length of prompts and answers in tokens."""
    recipe = config.recipe
    each = max(1, rows // recipe.batch_size)
    steps: float = config.last.step(each) - config.first.step(each)
    longest = (config.sampling and config.sampling.generate_length) or recipe.max_completion_length
    if config.budget is not None:
        steps = _budgeted_steps(config, config.budget, recipe.batch_size * FILLED * longest)
    return max(0, steps), recipe.batch_size, FILLED * recipe.max_prompt_length, FILLED * longest


def train_seconds(config: TrainConfig, rows: int, size: Size, *, pairs: bool = False, rates: Rates = USUAL) -> float:
    """Return the seconds of all steps of a training stage.

    Args:
        config: of the stage.
        rows: of its data, as many as there are before any is left out.
        size: of the model.
        pairs: whether two answers of a prompt are trained on.
        rates: of the machine, for as many threads as the stage has.
    """
    steps, prompts, prompt, answer = training(config, rows)
    members, candidates = perturbed(config), candidates_of(config)
    sampled = prompts * candidates * answer
    read = forward_seconds(size, prompts * prompt, rates) if candidates else 0.0
    if members:  # one model after the other reads the prompts and answers, and no gradient is taken
        positions = 2 * answer * members
        moved = members * 2 * size.parameters * _PERTURBED
        return steps * (members * read + decode_seconds(size, positions, sampled, rates) + moved)
    trained = prompts * (prompt + answer * (2 if pairs else 1 + candidates))
    updated = _UPDATED * (size.parameters if size.trained is None else size.trained) / rates.bytes
    step = _STEP * size.layers + 6.0 * size.parameters * trained / rates.operations + updated
    return steps * (step + read + decode_seconds(size, 2 * answer if candidates else 0.0, sampled, rates))


def generate_seconds(config: GenerateConfig, rows: int, size: Size, rates: Rates = USUAL) -> float:
    """Return the seconds of answering all prompts."""
    answers, longest = rows * config.draws, config.decoding.max_new_tokens
    batches = max(1.0, answers / _BATCH)
    read = forward_seconds(size, rows * FILLED * config.asking.max_prompt_length, rates)
    return read + decode_seconds(size, batches * longest, answers * longest * 2 * FILLED, rates)


def reference_seconds(config: ReferenceConfig, rows: int, size: Size, rates: Rates = USUAL) -> float:
    """Return the seconds of one forward over all pairs."""
    return forward_seconds(size, rows * pair_tokens(config), rates)


def forward_seconds(size: Size, tokens: float, rates: Rates = USUAL) -> float:
    """Return the seconds of a forward over so many tokens."""
    return 2.0 * size.parameters * tokens / rates.operations


def decode_seconds(size: Size, positions: float, tokens: float, rates: Rates = USUAL) -> float:
    """Return the seconds of decoding some tokens at some positions: each position reads every weight once."""
    position = _POSITION * size.layers + _WEIGHT * size.parameters / rates.bytes
    return positions * position + tokens * (
        _TOKEN + _ENTRY * size.vocabulary + 2.0 * size.parameters / rates.operations
    )


def load_seconds(size: Size) -> float:
    """Return the seconds that a stage with a model takes beside its work."""
    return STAGE + (_MODEL + _PARAMETER * size.parameters if size.parameters else 0.0)


def pair_tokens(config: ReferenceConfig) -> float:
    """Return the usual tokens of a prompt with two answers."""
    return float(FILLED * (config.recipe.max_prompt_length + 2 * config.recipe.max_completion_length))


def candidates_of(config: TrainConfig) -> int:
    """Return how many answers a method samples for a prompt, as far as its options tell."""
    options = config.method.options
    temperatures = options.get("temperatures")
    if isinstance(temperatures, (list, tuple)):
        return len(temperatures)
    counts = [count for name in _COUNTS if isinstance(count := options.get(name), int)]
    if counts:
        return max(2, *counts)  # one alone is held against a greedy one
    return perturbed(config) or (2 if config.reward is not None else 0)


def perturbed(config: TrainConfig) -> int:
    """Return how many perturbed models a step of a method has that searches among weights; 0 for any other."""
    population = config.method.options.get("population")
    return population if isinstance(population, int) else 0


def _budgeted_steps(config: TrainConfig, budget: Budget, answers: float) -> float:
    """Return about how many steps a budget lasts where the answers to all prompts of a step have so many tokens."""
    candidates = candidates_of(config)
    each = {"sampled_tokens": candidates * answers, "trained_tokens": (1 + candidates) * answers}
    return budget.amount / max(1.0, each.get(budget.unit, 1.0))
