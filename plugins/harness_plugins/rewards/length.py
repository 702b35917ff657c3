"""Rewards for how long a completion is: close to a target, or a penalty for what lies beyond it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field, PositiveFloat, PositiveInt, model_validator

from harness.api import Options, RewardRegistration, hookimpl

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from typing import Self

    from harness.api import RewardFunction


class LengthOptions(Options):
    """The wanted length, what it is counted in and how the reward falls off."""

    shape: Literal["around", "at-most", "at-least"] = "around"
    """``around``: 1 at the target, falling to 0 on both sides. ``at-most``: 0 up to the target, falling to -1 beyond it
    (the soft overlong punishment of DAPO, arXiv:2503.14476). ``at-least``: the mirror image of that."""
    target: PositiveInt | Literal["reference"] = Field("reference", union_mode="left_to_right")
    """A number, or ``reference``: the reference whose length is closest."""
    tolerance: PositiveFloat = 0.5
    """How far from the target, as a share of it, the reward reaches its end."""
    unit: Literal["words", "characters", "tokens"] = "words"
    """``words`` are cut at white space; ``tokens`` are the model's own, as ``completion_ids`` holds them."""

    @model_validator(mode="after")
    def _tokens_of_references_are_unknown(self) -> Self:
        if self.unit == "tokens" and self.target == "reference":
            raise ValueError("`unit: tokens` needs a number as `target`: references come to a reward as text")
        return self


def length_reward(options: LengthOptions) -> RewardFunction:
    """Return the reward; with ``target: reference`` it is missing (None) where there is no reference with a length."""
    from harness_plugins.text.references import references_of

    def measure(text: str) -> int:
        return len(text.split()) if options.unit == "words" else len(text)

    def length(
        *,
        prompts: list[str],  # noqa: ARG001  # TRL's signature
        completions: list[str],
        completion_ids: list[list[int]],
        **columns: Any,
    ) -> list[float | None]:
        lengths = list(map(len, completion_ids)) if options.unit == "tokens" else list(map(measure, completions))
        if options.target != "reference":
            return [_shape(options, n, options.target) for n in lengths]
        references = references_of("length", completions, columns)
        targets = [_closest(n, [measure(text) for text in texts]) for n, texts in zip(lengths, references, strict=True)]
        return [_shape(options, n, target) for n, target in zip(lengths, targets, strict=True)]

    return length


def _closest(length: int, candidates: Sequence[int]) -> int | None:
    """Return the candidate next to ``length``, the shorter of two; None where none is above 0."""
    return min((n for n in candidates if n > 0), key=lambda n: (abs(n - length), n), default=None)


def _shape(options: LengthOptions, length: int, target: int | None) -> float | None:
    if target is None:
        return None
    away = (length - target) / (options.tolerance * target)
    if options.shape == "around":
        return max(0.0, 1.0 - abs(away))
    beyond = max(0.0, away if options.shape == "at-most" else -away)
    return -min(1.0, beyond) if beyond else 0.0


def _by_options(options: LengthOptions) -> Mapping[str, Any]:
    return {"reads": ("references",) if options.target == "reference" else ()}


@hookimpl
def harness_register_rewards() -> Iterable[RewardRegistration]:
    """Offer ``length``."""
    return [
        RewardRegistration(
            name="length",
            summary="reward for a length close to a target or to the reference, or penalty for what lies beyond it",
            build="harness_plugins.rewards.length:length_reward",
            options=LengthOptions,
            source="https://arxiv.org/abs/2503.14476",
            range=(-1.0, 1.0),
            reads=("references",),
            by_options=_by_options,
        )
    ]
