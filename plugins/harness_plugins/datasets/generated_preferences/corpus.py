"""The generated preferences: which dialogues there are, which split each belongs to, and which answer is preferred."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from harness.api import Example, InputError, Provenance
from harness_plugins.datasets.generated_instructions.draw import Draw, mix, seed_of
from harness_plugins.datasets.generated_instructions.family import OPENINGS
from harness_plugins.datasets.generated_instructions.world import World, world
from harness_plugins.datasets.generated_preferences.answers import (
    CLOSEST,
    CORES,
    FACTS,
    GradedAnswer,
    answer,
    fact,
    plain,
)

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from harness_plugins.datasets.generated_preferences import GeneratedPreferencesOptions
    from harness_plugins.datasets.generated_preferences.answers import Fact

#: Changes whenever a row changes; a golden hash holds it.
VERSION: Final = 1
NAME: Final = "generated-preferences"

#: Of a fact's six wordings one goes to the test, one to validation, four to training.
SPLITS: Final = ("train", "validation", "test")
_CORES: Final = {"test": (0,), "validation": (1,), "train": (2, 3, 4, 5)}

_HUMAN: Final = "\n\nHuman: "
_ASSISTANT: Final = "\n\nAssistant:"
#: One dialogue in so many has a question and its answer before the question that is meant.
_TWO_TURNS: Final = 3


class GeneratedPreferences:
    """Rows made on the spot: nothing is read from outside, ``prepare`` has nothing to fetch."""

    def __init__(self, options: GeneratedPreferencesOptions) -> None:
        """Keep the options."""
        self.noise = options.noise
        self.seed = options.seed

    def identity(self, source: Path | None) -> Mapping[str, Any]:
        """Return the generator's version, noise and seed; InputError where a ``path`` is given."""
        self._no_source(source)
        return {"generator": NAME, "version": VERSION, "noise": self.noise, "seed": self.seed}

    def prepare(self, source: Path | None, folder: Path) -> Provenance:  # noqa: ARG002  # the protocol's argument: rows are made in load
        """Say where the rows come from; nothing is written."""
        self._no_source(source)
        notes = (
            f"made by seeded code, version {VERSION}, seed {self.seed}",
            f"{100 * self.noise:g} % of the training preferences are the wrong way round",
        )
        return Provenance("generated", notes=notes)

    def load(self, folder: Path, split: str) -> Iterator[Example]:  # noqa: ARG002  # the protocol's argument: rows are made here
        """Yield the rows of a split, the facts in turn, so that the first N are a fair choice of all."""
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
        places = []
        for number in range(FACTS):
            # which wordings a split has differs from fact to fact
            mine = [
                (mix(start ^ ((number * CORES + core) * len(OPENINGS) + opening)), core, opening)
                for core in ((number + shift) % CORES for shift in _CORES[split])
                for opening in range(len(OPENINGS))
            ]
            places += [(turn, rank, number, core, opening) for turn, (rank, core, opening) in enumerate(sorted(mine))]
        for _, _, number, core, opening in sorted(places):
            yield self._example(facts, split, number, core, opening)

    def _example(self, facts: World, split: str, number: int, core: int, opening: int) -> Example:
        draw = Draw(seed_of(NAME, self.seed, number, core, opening))
        asked = fact(facts, number)
        prompt = _HUMAN + OPENINGS[opening] + asked.topic.cores[core].format_map(asked.slots) + _ASSISTANT
        two = draw.below(_TWO_TURNS) == 0
        if two:
            before = (number + 1 + draw.below(FACTS - 1)) % FACTS
            earlier = fact(facts, before)
            wording = earlier.topic.cores[(before + draw.pick(_CORES[split])) % CORES]
            prompt = f"{_HUMAN}{wording.format_map(earlier.slots)}{_ASSISTANT} {plain(earlier)}{prompt}"
        better, worse = _two(asked, draw)
        swapped = split == "train" and draw.below(10_000) < round(10_000 * self.noise)
        chosen, rejected = (worse, better) if swapped else (better, worse)
        return Example(
            id=f"preference-{number}-{core}-{opening}",
            fields={"prompt": prompt},
            # the prompt ends with a colon: what is trained on parts from it by a blank of its own
            completion=f" {chosen.text}",
            references=(chosen.text,),
            chosen=f" {chosen.text}",
            rejected=f" {rejected.text}",
            columns={
                "turns": 2 if two else 1,
                "utility_chosen": chosen.utility,
                "utility_rejected": rejected.utility,
                "kind_chosen": chosen.kind,
                "kind_rejected": rejected.kind,
            },
        )


def _two(asked: Fact, draw: Draw) -> tuple[GradedAnswer, GradedAnswer]:
    """Draw two answers that differ in utility, the better one first."""
    first = answer(asked, draw)
    while True:
        second = answer(asked, draw)
        if abs(first.utility - second.utility) >= CLOSEST:
            return (first, second) if first.utility > second.utility else (second, first)
