"""Any task of reasoning-gym (Apache-2.0), generated here by its package, the extra ``reasoning``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pydantic import Field, NonNegativeInt, PositiveInt, ValidationInfo, field_validator

from harness.api import DatasetRegistration, InputError, Options, hookimpl

if TYPE_CHECKING:
    from collections.abc import Iterable


class ReasoningGymOptions(Options):
    """Which task, how difficult, and how many rows."""

    task: str = Field(min_length=1)
    """Name of a task of reasoning-gym, such as ``count_bits`` or ``chain_sum``."""
    difficulty: dict[str, Any] = Field(default_factory=dict)
    """Settings of the task, such as ``{max_n: 255}``; its own defaults hold for the others."""
    seed: NonNegativeInt = Field(0, le=100_000)
    """Settles the rows: the package is asked with 10,000 times this, since its item i of seed s is item 0 of s + i."""
    train: PositiveInt = Field(2_000, le=10_000)
    """Most training rows."""
    validation: PositiveInt = Field(200, le=10_000)
    """Most validation rows."""
    test: PositiveInt = Field(400, le=10_000)
    """Most test rows."""

    @field_validator("difficulty")
    @classmethod
    def _fits_the_task(cls, difficulty: dict[str, Any], info: ValidationInfo) -> dict[str, Any]:
        from harness_plugins.datasets.reasoning_gym.package import check_settings, installed

        task = info.data.get("task")
        if task is not None and installed():  # a run says where it is missing, and a file can be read without it
            try:
                check_settings(task, difficulty)
            except InputError as error:
                raise ValueError(str(error)) from error
        return difficulty

    @field_validator("task")
    @classmethod
    def _there(cls, task: str) -> str:
        from harness_plugins.datasets.reasoning_gym.package import check_task, installed

        if installed():
            try:
                check_task(task)
            except InputError as error:
                raise ValueError(str(error)) from error
        return task


def _preflight(options: ReasoningGymOptions) -> None:  # noqa: ARG001  # the protocol's
    """Refuse to run without the package."""
    from harness_plugins.datasets.reasoning_gym.package import check_installed

    check_installed()


@hookimpl
def harness_register_datasets() -> Iterable[DatasetRegistration]:
    """Offer ``reasoning-gym``."""
    return [
        DatasetRegistration(
            name="reasoning-gym",
            summary="a task of reasoning-gym at a chosen difficulty, with the task's own scorer (extra reasoning)",
            options=ReasoningGymOptions,
            build="harness_plugins.datasets.reasoning_gym.rows:ReasoningGym",
            source="https://github.com/open-thought/reasoning-gym",
            licence="Apache-2.0",
            generated=True,
            preflight=_preflight,
        )
    ]
