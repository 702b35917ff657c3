"""How long a segment trains: to a step of the schedule, or until a budget is spent; and the learning rate meanwhile."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from harness.errors import InputError
from harness.spec.results.train import BudgetSpent

if TYPE_CHECKING:
    from collections.abc import Sequence

    from harness.spec.budget import Budget, BudgetPoint
    from harness.spec.results.train import TrainStep
    from harness.training.schedule import LearningRate

#: The share of an amount by which a budget may be missed without a word.
CLOSE = 0.02

#: The name of the point at which a budget is spent.
WHOLE = "100 %"


class Extent(Protocol):
    """When a segment ends. Steps are counted over the whole schedule."""

    first: int

    def over(self, step: int) -> bool:
        """Return whether ``step`` is no longer taken."""
        ...

    def total(self, step: int) -> int:
        """Return how many steps the whole schedule has, as far as that can be told before ``step``."""
        ...

    def planned(self, step: int) -> int:
        """Return how many steps the segment has, as far as that can be told before ``step``."""
        ...

    def fraction(self, step: int) -> float:
        """Return which share of the whole schedule lies before ``step``."""
        ...

    def rate(self, step: int) -> tuple[float, float]:
        """Return the learning rate of a step, and the peak of its curve."""
        ...

    def ends_with(self, step: int) -> bool:
        """Return whether ``step`` is the last one, as far as that can be told before it."""
        ...

    def take(self, row: TrainStep) -> Sequence[BudgetPoint]:
        """Take note of a step that was taken; return the points that were reached with it."""
        ...


class Steps:
    """From one step of a schedule to another."""

    def __init__(self, first: int, last: int, curve: LearningRate) -> None:
        """Take the steps from ``first`` on and before ``last``.

        Raises:
            InputError: there are none, or the schedule ends before them.
        """
        if not first < last <= curve.end:
            raise InputError(
                "these steps are not within the schedule",
                got=f"steps {first} to {last}",
                expected=f"a method that becomes active before step {curve.end}, the end of the schedule",
            )
        self.first = first
        self.last = last
        self._curve = curve

    def over(self, step: int) -> bool:
        """Return whether ``step`` is no longer taken."""
        return step >= self.last

    def total(self, step: int) -> int:  # noqa: ARG002  # the common signature
        """Return how many steps the whole schedule has."""
        return self._curve.end

    def planned(self, step: int) -> int:  # noqa: ARG002  # as above
        """Return how many steps the segment has."""
        return self.last - self.first

    def fraction(self, step: int) -> float:
        """Return which share of the whole schedule lies before ``step``."""
        return step / max(1, self._curve.end)

    def rate(self, step: int) -> tuple[float, float]:
        """Return the learning rate of a step, and the peak of its curve."""
        return self._curve.rate(step), self._curve.at(step).peak

    def ends_with(self, step: int) -> bool:
        """Return whether ``step`` is the last one."""
        return step == self.last - 1

    def take(self, row: TrainStep) -> Sequence[BudgetPoint]:  # noqa: ARG002  # the common signature
        """Take note of nothing: the steps are known beforehand."""
        return ()


class Spending:
    """Until so much is spent: to the step whose end comes nearest to the amount, by what steps cost on average.

    It depends on the log alone, so that a run which goes on from a state counts what lies before it alike. For seconds
    that is the log of the first rank.
    """

    def __init__(self, budget: Budget, first: int, curve: LearningRate, *, patience: int, where: str) -> None:
        """Begin before the step ``first``.

        Args:
            budget: what may be spent.
            first: the first step.
            curve: the learning rate, from the beginning of the budget to its end.
            patience: steps running of which one at least must spend something.
            where: names the method in messages.
        """
        self.first = first
        self._budget = budget
        self._curve = curve
        self._patience = patience
        self._where = where
        self._open = list(budget.points)
        self._idle = 0
        self.now = BudgetSpent(name=WHOLE, steps=0, spent=0.0, sampled=0, trained=0, seconds=0.0)
        self.reached: list[BudgetSpent] = []

    def over(self, step: int) -> bool:  # noqa: ARG002  # the common signature
        """Return whether the amount is spent, or as good as that."""
        return self._near(self._budget.amount)

    def total(self, step: int) -> int:
        """Return how many steps the whole schedule will have, if they go on costing as much."""
        if self._budget.unit == "steps":
            return self.first + int(self._budget.amount)
        share = self.fraction(step)
        return max(step + 1, self.first + round(self.now.steps / share)) if share else step + 1

    def planned(self, step: int) -> int:
        """Return how many steps the segment will have, if they go on costing as much."""
        return self.total(step) - self.first

    def fraction(self, step: int) -> float:  # noqa: ARG002  # the common signature
        """Return which share of the amount is spent."""
        return min(1.0, self.now.spent / self._budget.amount)

    def rate(self, step: int) -> tuple[float, float]:
        """Return the learning rate of a step, and the peak of its curve."""
        return self._curve.rate_by_share(self.fraction(step), step - self.first), self._curve.peak

    def ends_with(self, step: int) -> bool:  # noqa: ARG002  # the common signature
        """Return whether the amount is spent after one more step."""
        each = self.now.spent / self.now.steps if self.now.steps else 0.0
        return self._near(self._budget.amount - each)

    def take(self, row: TrainStep) -> Sequence[BudgetPoint]:
        """Take note of a step that was taken; return the points that were reached with it.

        Raises:
            InputError: steps spend nothing, so that the budget would never end.
        """
        spent = {
            "sampled_tokens": row.tokens.generated,
            "trained_tokens": row.tokens.trained,
            "seconds": row.total_seconds,
            "steps": 1,
        }[self._budget.unit]
        before = self.now
        self.now = BudgetSpent(
            name=WHOLE,
            steps=before.steps + 1,
            spent=before.spent + spent,
            sampled=before.sampled + row.tokens.generated,
            trained=before.trained + row.tokens.trained,
            seconds=before.seconds + row.total_seconds,
        )
        self._idle = 0 if spent else self._idle + 1
        if self._idle >= self._patience:
            raise InputError(
                f"{self._idle} steps running spent no {self._budget.unit}: the budget would never end",
                where=self._where,
                expected="a budget in another unit for this row (recipe: {budget: …} in its entry)",
            )
        points = [point for point in self._open if self._at(point)]
        self._open = [point for point in self._open if point not in points]
        self.reached += [self.now.model_copy(update={"name": point.name}) for point in points]
        return points

    @property
    def spent(self) -> tuple[BudgetSpent, ...]:
        """How far training had come at its end, and at each point."""
        return (self.now, *self.reached)

    def rest(self) -> list[BudgetPoint]:
        """Return the points that were never reached, and count the end in their place."""
        left, self._open = self._open, []
        self.reached += [self.now.model_copy(update={"name": point.name, "reached": False}) for point in left]
        return left

    def _at(self, point: BudgetPoint) -> bool:
        if point.step is not None:
            return self.now.steps >= point.step
        return self._near((point.share or 0.0) * self._budget.amount)

    def _near(self, target: float) -> bool:
        """Return whether another step would end farther from the target than the last one did."""
        if not self.now.steps:
            return False
        return self.now.spent + self.now.spent / self.now.steps / 2 >= target


def missed(budget: Budget, end: BudgetSpent) -> str:
    """Say where training ended farther from its budget than a comparison at equal budgets should have it."""
    off = end.spent / budget.amount - 1
    if abs(off) <= CLOSE:
        return ""
    each = end.spent / end.steps
    return (
        f"training ended {100 * abs(off):.1f} % {'above' if off > 0 else 'below'} its budget of "
        f"{budget.amount:,.12g} {budget.unit}: a single step spends "
        + (f"{each:,.0f}" if each >= 100 else f"{each:.3g}")
    )
