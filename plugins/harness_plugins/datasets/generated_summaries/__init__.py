"""Short news of an invented world, each with a summary of one sentence, made by seeded code.

It needs no download and holds nothing of any published data set. A summary takes who, what and where from the text and
leaves the rest; some of its words stand nowhere in the text (a kind in place of a thing, a craft in place of a name).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pydantic import NonNegativeInt

from harness.api import DatasetRegistration, Options, hookimpl

if TYPE_CHECKING:
    from collections.abc import Iterable


class GeneratedSummariesOptions(Options):
    """Options of the generated summaries."""

    seed: NonNegativeInt = 0
    """Settles the invented facts, the rows and their order; data sets of one benchmark share it."""


@hookimpl
def harness_register_datasets() -> Iterable[DatasetRegistration]:
    """Offer the generated summaries."""
    return [
        DatasetRegistration(
            name="generated-summaries",
            summary="short news of an invented world with summaries of one sentence, made by seeded code",
            options=GeneratedSummariesOptions,
            build="harness_plugins.datasets.generated_summaries.corpus:GeneratedSummaries",
            licence="Apache-2.0",
            generated=True,
        )
    ]
