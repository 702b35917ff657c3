"""Self-Instruct's 252 user-oriented instructions, written by experts; for evaluation only."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from harness.api import DatasetRegistration, Example, InputError, Options, Provenance, hookimpl
from harness_plugins.datasets.upstream import (
    HubFile,
    content_sha256,
    fetch,
    find,
    hub_identity,
    read_lines,
    text,
    unpack,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping
    from pathlib import Path

_FILE: Final = "user_oriented_instructions.jsonl"
_SHA256: Final = "81d60a117db495cecedecd9193504fd07c5b5a42f6699ef6b0f9da10fc22f42e"


class SelfInstructOptions(Options):
    """Which upstream content."""

    repository: str = "yizhongw/self_instruct"
    """Repository on the hub that has the file of the authors' own GitHub repository."""
    file: str = "human_eval/user_oriented_instructions.jsonl"
    """The file's path there."""
    revision: str | None = None
    """Commit of the hub's repository; without it the file's known sha256 is what counts."""


class SelfInstruct:
    """One split, ``test``. Each row has one instance with a human-written answer; 44 have no input."""

    def __init__(self, options: SelfInstructOptions) -> None:
        """Keep the options."""
        self._hub = HubFile(options.repository, options.file, _SHA256)
        self._revision = options.revision

    def identity(self, source: Path | None) -> Mapping[str, Any]:
        """Return the content's sha256, or the revision asked for."""
        if source is not None:
            return {"sha256": content_sha256(find(source, [_FILE], dataset="self-instruct"))}
        return hub_identity(self._hub, self._revision)

    def prepare(self, source: Path | None, folder: Path) -> Provenance:
        """Put the plain file into ``folder``."""
        if source is None:
            return fetch(self._hub, self._revision, folder / _FILE, dataset="self-instruct")
        digest = unpack(find(source, [_FILE], dataset="self-instruct"), folder / _FILE)
        return Provenance(origin="file", sha256=digest)

    def load(self, folder: Path, split: str) -> Iterator[Example]:
        """Yield the rows in the file's order."""
        if split != "test":
            raise InputError("self-instruct has one split", got=split, expected="test")
        for number, row in read_lines(folder / _FILE, _FILE):
            where = f"{_FILE}:{number}"
            instances = row.get("instances")
            if not isinstance(instances, list) or len(instances) != 1 or not isinstance(instances[0], dict):
                raise InputError("the field 'instances' is not a list of one object", where=where)
            output = text(instances[0], "output", where).strip()
            yield Example(
                id=f"self-instruct-{number:03}",
                fields={
                    "instruction": text(row, "instruction", where).strip(),
                    "context": text(instances[0], "input", where, empty=True).strip(),
                },
                completion=output,
                references=(output,),
                columns={"category": str(row.get("motivation_app", ""))},
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
            modules=("harness_plugins.datasets.upstream",),
        )
    ]
