"""Additions made by seeded code, with demonstrations that are right or that leave out the carries."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pydantic import Field

from harness.api import DatasetRegistration, hookimpl
from harness_plugins.datasets.generated_tasks import TaskOptions

if TYPE_CHECKING:
    from collections.abc import Iterable


class AdditionOptions(TaskOptions):
    """Options of the generated additions."""

    digits: int = Field(2, ge=1, le=9)
    """Most digits of a number."""
    padded: bool = False
    """Write zeros in front of the fields ``left`` and ``right`` and of answers, so that all are equally long."""
    questions: int = Field(10_000, ge=100, le=100_000)
    """How many questions there are in all splits together; all there are (100 ** digits) where that is fewer."""


@hookimpl
def harness_register_datasets() -> Iterable[DatasetRegistration]:
    """Offer the generated additions."""
    return [
        DatasetRegistration(
            name="generated-addition",
            summary="additions with right or fallible demonstrations (no carries), made by seeded code",
            options=AdditionOptions,
            build="harness_plugins.datasets.generated_tasks.tasks:Addition",
            licence="Apache-2.0",
            generated=True,
        )
    ]
