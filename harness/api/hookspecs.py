"""The four hooks a plugin may implement. Each returns registrations: nothing heavy is imported or built there."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pluggy

if TYPE_CHECKING:
    from collections.abc import Iterable

    from harness.api.registration import (
        DatasetRegistration,
        MethodRegistration,
        MetricRegistration,
        RewardRegistration,
    )

#: The project name of every marker, and the entry-point group that distributions use.
PROJECT = "harness"

hookspec = pluggy.HookspecMarker(PROJECT)
hookimpl = pluggy.HookimplMarker(PROJECT)


@hookspec
def harness_register_methods() -> Iterable[MethodRegistration]:
    """Offer post-fine-tuning methods.

    Example::

        @hookimpl
        def harness_register_methods():
            return [MethodRegistration(name="kto", summary="…", options=KTOOptions, build="my_kto.method:KTO")]
    """
    raise NotImplementedError  # pluggy calls implementations only; the body is never run


@hookspec
def harness_register_rewards() -> Iterable[RewardRegistration]:
    """Offer reward functions with TRL's signature."""
    raise NotImplementedError


@hookspec
def harness_register_datasets() -> Iterable[DatasetRegistration]:
    """Offer data sets of demonstrations or preferences."""
    raise NotImplementedError


@hookspec
def harness_register_metrics() -> Iterable[MetricRegistration]:
    """Offer metrics over generated answers."""
    raise NotImplementedError
