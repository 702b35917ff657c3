"""Preferences over answers to questions about an invented world, made by seeded code.

It needs no download and holds nothing of any published data set. A prompt is a dialogue in the form of Anthropic's HH
(one or two questions); which of two answers is preferred follows from a latent utility of what they say and how, so
that a reward model has something to find, and how much it found can be measured.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pydantic import Field, NonNegativeInt

from harness.api import DatasetRegistration, Options, hookimpl

if TYPE_CHECKING:
    from collections.abc import Iterable


class GeneratedPreferencesOptions(Options):
    """Options of the generated preferences."""

    noise: float = Field(0.1, ge=0.0, lt=0.5)
    """Share of the training pairs whose preference is the wrong way round; validation and test have none."""
    seed: NonNegativeInt = 0
    """Settles the invented facts, the rows and their order; data sets of one benchmark share it."""


@hookimpl
def harness_register_datasets() -> Iterable[DatasetRegistration]:
    """Offer the generated preferences."""
    return [
        DatasetRegistration(
            name="generated-preferences",
            summary="preferences over answers about an invented world, from a known utility, made by seeded code",
            options=GeneratedPreferencesOptions,
            build="harness_plugins.datasets.generated_preferences.corpus:GeneratedPreferences",
            provides="preferences",
            licence="Apache-2.0",
            generated=True,
        )
    ]
