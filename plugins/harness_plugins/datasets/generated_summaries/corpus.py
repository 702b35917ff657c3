"""The generated summaries: which texts there are, which split each belongs to, and in what order."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from harness.api import Example, InputError, Provenance
from harness_plugins.datasets.generated_instructions.draw import Draw, mix, seed_of
from harness_plugins.datasets.generated_instructions.world import world
from harness_plugins.datasets.generated_summaries.events import CONTENTS, news

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from harness_plugins.datasets.generated_summaries import GeneratedSummariesOptions

#: Changes whenever a row changes; a golden hash holds it.
VERSION: Final = 1
NAME: Final = "generated-summaries"

#: Of six contents (event, person, town) one goes to the test, one to validation, four to training.
PARTS: Final = 6
SPLITS: Final = ("train", "validation", "test")
#: How often each content is told, each time with other things, other sentences and another day.
TELLINGS: Final = 6


class GeneratedSummaries:
    """Rows made on the spot: nothing is read from outside, ``prepare`` has nothing to fetch."""

    def __init__(self, options: GeneratedSummariesOptions) -> None:
        """Keep the options."""
        self.seed = options.seed

    def identity(self, source: Path | None) -> Mapping[str, Any]:
        """Return the generator's version and seed; InputError where a ``path`` is given."""
        self._no_source(source)
        return {"generator": NAME, "version": VERSION, "seed": self.seed}

    def prepare(self, source: Path | None, folder: Path) -> Provenance:  # noqa: ARG002  # the protocol's argument: rows are made in load
        """Say where the rows come from; nothing is written."""
        self._no_source(source)
        return Provenance("generated", notes=(f"made by seeded code, version {VERSION}, seed {self.seed}",))

    def load(self, folder: Path, split: str) -> Iterator[Example]:  # noqa: ARG002  # the protocol's argument: rows are made here
        """Yield the rows of a split, the contents in turn, so that the first N are a fair choice of all."""
        if split not in SPLITS:
            raise InputError("no such split", where=NAME, got=split, expected=", ".join(SPLITS))
        return self._rows(split)

    def _no_source(self, source: Path | None) -> None:
        if source is not None:
            raise InputError(
                "this data set is made by code and reads no file", where=NAME, got=str(source),
                hint="leave out `path`, or use the data set `files` for a file of your own",
            )  # fmt: skip

    def _rows(self, split: str) -> Iterator[Example]:
        facts = world(self.seed)
        start = seed_of(NAME, self.seed)
        ranks = {content: mix(start ^ (content + 1)) for content in range(CONTENTS)}
        mine = [content for content in range(CONTENTS) if _part(ranks[content]) == split]
        seen: set[str] = set()
        for telling in range(TELLINGS):
            for content in sorted(mine, key=lambda content: mix(ranks[content] ^ telling)):
                draw = Draw(seed_of(NAME, self.seed, content, telling))
                event = news(facts, content, draw)
                if event.document in seen:
                    continue
                seen.add(event.document)
                summary, second = event.summary(draw), event.summary(draw)
                yield Example(
                    id=f"summary-{content}-{telling}",
                    fields={"document": event.document},
                    completion=summary,
                    references=(summary,),
                    columns={"event": event.event, "second_reference": second},
                )


def _part(rank: int) -> str:
    return ("test", "validation", "train")[min(rank % PARTS, 2)]
