"""The generated instruction corpus: which prompts there are, which split each belongs to, and in what order."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from harness.api import Example, InputError, Provenance
from harness_plugins.datasets.generated_instructions.draw import Draw, mix, seed_of
from harness_plugins.datasets.generated_instructions.lists import BRAINSTORMING, CLASSIFICATION, EXTRACTION
from harness_plugins.datasets.generated_instructions.prose import CREATIVE, SUMMARIZATION
from harness_plugins.datasets.generated_instructions.questions import CLOSED, GENERAL, OPEN
from harness_plugins.datasets.generated_instructions.world import World, world

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from harness_plugins.datasets.generated_instructions import GeneratedOptions
    from harness_plugins.datasets.generated_instructions.family import Family, Shift

#: Changes whenever a row changes; a golden hash holds it.
VERSION = 1

CATEGORIES = (OPEN, GENERAL, CLOSED, CLASSIFICATION, EXTRACTION, SUMMARIZATION, BRAINSTORMING, CREATIVE)

#: The categories that need no context: Vicuna's questions have none.
WITHOUT_CONTEXT = (OPEN, GENERAL, CLASSIFICATION, BRAINSTORMING, CREATIVE)

#: What each variant takes, in turn: categories and steps away from the training data.
VARIANTS: Mapping[str, tuple[tuple[tuple[Family, ...], ...], tuple[Shift, ...]]] = {
    "base": (CATEGORIES, ("none",)),
    "self-instruct": (CATEGORIES, ("wording", "composition")),
    "vicuna": (WITHOUT_CONTEXT, ("wording", "composition", "longer answer")),
}

#: Of six wordings of a fact (or of six contents) one goes to the test, one to validation, four to training.
PARTS = 6
SPLITS = ("train", "validation", "test")


class GeneratedInstructions:
    """Rows made on the spot: nothing is read from outside, ``prepare`` has nothing to fetch."""

    def __init__(self, options: GeneratedOptions) -> None:
        """Keep the options."""
        self.variant = options.variant
        self.seed = options.seed

    def identity(self, source: Path | None) -> Mapping[str, Any]:
        """Return the generator's version, variant and seed; InputError where a ``path`` is given."""
        self._no_source(source)
        return {"generator": "generated-instructions", "version": VERSION, "variant": self.variant, "seed": self.seed}

    def prepare(self, source: Path | None, folder: Path) -> Provenance:  # noqa: ARG002  # the protocol's argument: rows are made in load
        """Say where the rows come from; nothing is written."""
        self._no_source(source)
        return Provenance("generated", notes=(f"made by seeded code, version {VERSION}, seed {self.seed}",))

    def load(self, folder: Path, split: str) -> Iterator[Example]:  # noqa: ARG002  # the protocol's argument: rows are made here
        """Yield the rows of a split, the categories in turn; the first N are a fair choice of all."""
        if split not in SPLITS:
            raise InputError("no such split", where="generated-instructions", got=split, expected=", ".join(SPLITS))
        if self.variant != "base" and split != "test":
            raise InputError(
                f"the shifted variant {self.variant!r} is for evaluation only",
                where="generated-instructions", got=split, expected="split: test",
            )  # fmt: skip
        return self._rows(split)

    def _no_source(self, source: Path | None) -> None:
        if source is not None:
            raise InputError(
                "this data set is made by code and reads no file", where="generated-instructions", got=str(source),
                hint="leave out `path`, or use the data set `files` for a file of your own",
            )  # fmt: skip

    def _rows(self, split: str) -> Iterator[Example]:
        facts = world(self.seed)
        categories, shifts = VARIANTS[self.variant]
        families = [
            family for shift in shifts for category in categories for family in category if family.shift == shift
        ]
        turns = [self._family(facts, family, split) for family in families]
        while turns:
            going = []
            for turn in turns:
                row = next(turn, None)
                if row is not None:
                    going.append(turn)
                    yield row
            turns = going

    def _family(self, facts: World, family: Family, split: str) -> Iterator[Example]:
        start = seed_of("order", self.seed, family.category, family.shift)
        for content, core, opening in _order(family, split, start):
            draw = Draw(mix(start + (content * family.cores + core) * family.openings + opening))
            prompt = family.render(facts, content, core, opening, draw)
            completion, second = prompt.answer(draw), prompt.answer(draw)
            columns = {"category": family.category, "second_reference": second}
            if family.shift != "none":
                columns["shift"] = family.shift
            yield Example(
                id=f"{family.category}-{family.shift.replace(' ', '-')}-{content}-{core}-{opening}",
                fields={"instruction": prompt.instruction, "context": prompt.context},
                completion=completion,
                references=(completion,),
                columns=columns,
            )


def _order(family: Family, split: str, start: int) -> list[tuple[int, int, int]]:
    # in passes over the contents, so that a short beginning of the split shows as many facts as it can
    passes: list[tuple[int, int, tuple[int, int, int]]] = []
    for content in range(family.contents):
        places = [
            (mix(start ^ ((content * family.cores + core) * family.openings + opening)), (content, core, opening))
            for core in range(family.cores)
            if family.shift != "none" or _part(family, content, core, start) == split
            for opening in range(family.openings)
        ]
        passes.extend((turn, rank, place) for turn, (rank, place) in enumerate(sorted(places)))
    return [place for _, _, place in sorted(passes)]


def _part(family: Family, content: int, core: int, start: int) -> str:
    by_core = (core - content) % PARTS
    by_content = mix(start + 0x5DEECE66D * (content + 1)) % PARTS
    return ("test", "validation", "train")[min(by_core if family.split_by == "core" else by_content, 2)]
