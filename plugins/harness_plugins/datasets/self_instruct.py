"""Self-Instruct's 252 user-oriented instructions, written by experts; for evaluation only."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from harness.api import DatasetRegistration, Example, InputError, Options, Provenance, hookimpl
from harness_plugins.upstream.lines import present, read_lines, text
from harness_plugins.upstream.local import content_sha256, find, unpack
from harness_plugins.upstream.remote import GitHubFile, fetch, identity

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping
    from pathlib import Path

_FILE: Final = "user_oriented_instructions.jsonl"
_UPSTREAM: Final = GitHubFile(
    "yizhongw/self-instruct",
    f"human_eval/{_FILE}",
    "81d60a117db495cecedecd9193504fd07c5b5a42f6699ef6b0f9da10fc22f42e",
    commit="0b26ccaa415992100fa32df62d41b994cf928e23",
)


class SelfInstructOptions(Options):
    """Which upstream content."""

    revision: str | None = None
    """Commit of the authors' repository on GitHub; without it the commit whose content is known."""


class SelfInstruct:
    """One split, ``test``. Each row has one instance with a human-written answer; 44 have no input."""

    def __init__(self, options: SelfInstructOptions) -> None:
        """Keep the options."""
        self._revision = options.revision

    def identity(self, source: Path | None) -> Mapping[str, Any]:
        """Return the content's sha256, or the revision asked for."""
        if source is not None:
            return {"sha256": content_sha256(find(source, [_FILE], dataset="self-instruct"))}
        return identity(_UPSTREAM, self._revision)

    def prepare(self, source: Path | None, folder: Path) -> Provenance:
        """Put the plain file into ``folder``."""
        if source is None:
            return fetch(_UPSTREAM, self._revision, folder / _FILE, dataset="self-instruct")
        path = find(source, [_FILE], dataset="self-instruct")
        return Provenance(origin="file", sha256=unpack(path, folder / _FILE))

    def load(self, folder: Path, split: str) -> Iterator[Example]:
        """Yield the rows in the file's order."""
        if split != "test":
            raise InputError("self-instruct has one split", got=split, expected="test")
        lines: dict[str, int] = {}
        for number, where, row in read_lines(folder / _FILE):
            name = text(row, "id", where)
            if lines.setdefault(name, number) != number:
                raise InputError(f"the id of line {lines[name]} again", where=where, got=name)
            instances = present(row, "instances", where)
            if not isinstance(instances, list) or len(instances) != 1 or not isinstance(instances[0], dict):
                raise InputError("the field 'instances' is not a list of one object", where=where)
            output = text(instances[0], "output", where).strip()
            yield Example(
                id=name,
                fields={
                    "instruction": text(row, "instruction", where).strip(),
                    "context": text(instances[0], "input", where, empty=True).strip(),
                },
                completion=output,
                references=(output,),
                columns={"category": text(row, "motivation_app", where)},
            )


@hookimpl
def harness_register_datasets() -> Iterable[DatasetRegistration]:
    """Offer ``self-instruct``."""
    return [
        DatasetRegistration(
            name="self-instruct",
            summary="252 user-oriented instructions of Self-Instruct, for evaluation only",
            build="harness_plugins.datasets.self_instruct:SelfInstruct",
            options=SelfInstructOptions,
            source="https://github.com/yizhongw/self-instruct",
            splits=("test",),
            licence="Apache-2.0",
            revision=_UPSTREAM.commit,
        )
    ]
