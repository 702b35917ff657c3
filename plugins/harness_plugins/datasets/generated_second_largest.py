"""The second largest of four numbers, made by seeded code, with demonstrations that are right or name the largest."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pydantic import Field

from harness.api import DatasetRegistration, hookimpl
from harness_plugins.datasets.generated_tasks import TaskOptions

if TYPE_CHECKING:
    from collections.abc import Iterable


class SecondLargestOptions(TaskOptions):
    """Options of the generated comparisons of four numbers."""

    digits: int = Field(3, ge=2, le=9)
    """Digits of every number."""
    questions: int = Field(5_000, ge=100, le=50_000)
    """How many questions there are in all splits together."""


@hookimpl
def harness_register_datasets() -> Iterable[DatasetRegistration]:
    """Offer the generated comparisons."""
    return [
        DatasetRegistration(
            name="generated-second-largest",
            summary="the second largest of four numbers, right or fallible (the largest), made by seeded code",
            options=SecondLargestOptions,
            build="harness_plugins.datasets.generated_tasks.tasks:SecondLargest",
            licence="Apache-2.0",
            generated=True,
        )
    ]
