"""Data sets of given examples, and prepared rows of them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from stages import configs
from stages.requests import request, silent

from harness.api import Example, Provenance
from harness.stages import rows
from harness.store.stages import Store

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from harness.store.records import Record


class Given:
    """A data set of given examples, which leaves its downloads lying about."""

    def __init__(self, examples: list[Example]) -> None:
        self.examples = examples

    def prepare(self, source: Path | None, folder: Path) -> Provenance:
        (folder / "download.bin").write_bytes(b"x" * 100)
        return Provenance(origin="file", notes=("given",))

    def load(self, folder: Path, split: str) -> Iterator[Example]:
        assert (folder / "download.bin").is_file()
        assert split == "train"
        yield from self.examples


class Plugins:
    def __init__(self, dataset: Given) -> None:
        self.dataset = dataset

    def build(self, kind: str, name: str, options: Any) -> Given:
        assert (kind, name, options) == ("dataset", "given", {})
        return self.dataset


def prepared(root: Path, examples: list[Example], **changes: Any) -> Record:
    """Return the record of the stage that prepares these examples."""
    plugins: Any = Plugins(Given(examples))
    return rows.run(request(root, configs.rows_config("given", **changes)), Store(root), plugins, silent)


def example(name: str, prompt: str, **more: Any) -> Example:
    return Example(id=name, fields={"instruction": prompt, "context": ""}, completion=f"{prompt}!", **more)
