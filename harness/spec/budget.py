"""What a method's own training may spend, and at which shares of it the row is evaluated."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal, Self, TypeAlias

from pydantic import Field, PositiveFloat, PositiveInt, model_validator

from harness.spec.section import RESULT, Section, mark

if TYPE_CHECKING:
    from collections.abc import Iterator

#: What a budget is counted in.
BudgetUnit: TypeAlias = Literal["sampled_tokens", "trained_tokens", "seconds", "steps"]


class Budget(Section):
    """The amount of something after which a method's own training ends."""

    unit: BudgetUnit = mark(RESULT)
    """``sampled_tokens`` that the method draws, ``trained_tokens`` whose log-probs its losses are made of, ``seconds``
    of training (no two runs of which end at the same step), or ``steps``."""
    amount: PositiveFloat = mark(RESULT, allow_inf_nan=False)
    checkpoints: tuple[Annotated[float, Field(gt=0, le=1, allow_inf_nan=False)], ...] = mark(RESULT, ())
    """Shares of the amount after which the row is evaluated too; the whole always is."""
    steps: tuple[PositiveInt, ...] = mark(RESULT, ())
    """Own steps after which the row is evaluated too: what compares rows after equally many steps."""

    @model_validator(mode="after")
    def _whole(self) -> Self:
        if self.unit != "seconds" and self.amount != int(self.amount):
            message = f"{self.unit} come whole"
            raise ValueError(message)
        if self.unit == "steps" and any(step > self.amount for step in self.steps):
            message = f"steps must be within the amount of {self.amount:g} steps"
            raise ValueError(message)
        for name in ("checkpoints", "steps"):
            values = getattr(self, name)
            if len(set(values)) < len(values):
                message = f"{name} has an entry twice"
                raise ValueError(message)
        return self

    @property
    def points(self) -> Iterator[BudgetPoint]:
        """What is evaluated beside the end: shares first, each kind in its order."""
        for share in sorted(set(self.checkpoints) - {1.0}):
            yield BudgetPoint(share=share)
        for step in sorted(self.steps):
            yield BudgetPoint(step=step)


class BudgetPoint(Section):
    """One place within a method's own training."""

    share: float | None = mark(RESULT, None)
    step: int | None = mark(RESULT, None)

    @property
    def name(self) -> str:
        """What tables call it, and the folder of its checkpoint."""
        return f"{100 * self.share:g} %" if self.share is not None else f"step {self.step}"

    @property
    def folder(self) -> str:
        """The name of its checkpoint's folder."""
        return f"share-{self.share:g}" if self.share is not None else f"step-{self.step}"
