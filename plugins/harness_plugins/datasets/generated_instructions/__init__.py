"""A corpus of instructions over an invented world, in Dolly's schema, made by seeded code.

It needs no download and holds nothing of any published data set: eight categories of graded difficulty (recall a fact,
give advice, copy a span, copy a list, give a label, compress, choose three of eight, write verse), several skewed
forms for each answer, and two shifted variants in the shape of Self-Instruct and Vicuna.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from pydantic import NonNegativeInt

from harness.api import DatasetRegistration, Options, hookimpl

if TYPE_CHECKING:
    from collections.abc import Iterable


class GeneratedOptions(Options):
    """Options of the generated instruction corpus."""

    variant: Literal["base", "self-instruct", "vicuna"] = "base"
    """``base`` to train and test on; ``self-instruct`` (other wordings and compositions) and ``vicuna`` (those and
    longer answers, without context) to test on only."""
    seed: NonNegativeInt = 0
    """Settles the invented facts, the rows and their order; data sets of one benchmark share it."""


@hookimpl
def harness_register_datasets() -> Iterable[DatasetRegistration]:
    """Offer the generated corpus."""
    return [
        DatasetRegistration(
            name="generated-instructions",
            summary="instructions over an invented world in Dolly's schema, made by seeded code",
            options=GeneratedOptions,
            build="harness_plugins.datasets.generated_instructions.corpus:GeneratedInstructions",
            licence="Apache-2.0",
            generated=True,
        )
    ]
