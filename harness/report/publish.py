"""Tables for others to read: no absolute path, no host name, no text of a data set."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness.report.calculated import Calculated
from harness.report.cases import case_files, case_studies
from harness.report.page.cite import citation
from harness.report.page.index import write_index
from harness.report.page.leaderboard import CASES, FORMS, MANIFEST, Beside
from harness.report.results import load_results, read_manifest
from harness.report.write import build, document_files, refuse_missing
from harness.report.written import Leaderboard, Written
from harness.store.files import dump, seal

if TYPE_CHECKING:
    from collections.abc import Iterator

    from harness.spec.results.run import RunManifest

#: An absolute path in the middle of a text: of this system, of a home folder, of Windows, or a file's URL.
_PATH = re.compile(
    r"""(?<![\w./\\~-])(?:file:/{2,3}|~[\w.-]*[/\\]|[A-Za-z]:[/\\]|(?<!:)//|/(?!/))[^\s'",:;()\[\]{}<>|]+"""
)


def publish(root: Path, folder: Path, *, partial: bool = False) -> Path:
    """Write a run's tables and manifest below ``published/``; with ``partial`` of what the store has.

    Messages of failures and warnings stay behind, because they may quote a row of the data; so do case studies, unless
    all data are generated. Of a path its last part remains.

    Returns:
        The folder written.
    """
    manifest = read_manifest(folder)
    paths = _known_paths(manifest, root)
    results = load_results(root, folder, partial=partial)
    public = replace(results, manifest=_without_messages(manifest), warnings={})
    document = build(public, Calculated(folder))
    generated = all(data.generated for data in manifest.datasets)
    if not generated:  # names of categories are text of the data
        kept = tuple(picture for picture in document.pictures if picture.name != "categories")
        document = document._replace(pictures=kept)
    told = seal(_clean(_without_messages(manifest).to_json(), paths))
    studies = case_studies(results) if "cases" in manifest.tables else None
    shown = studies is not None and generated
    cited = _clean(citation(manifest, str(told["sha256"])), paths)
    beside = Beside([CASES] * shown, (*FORMS, MANIFEST), cited)
    files = document_files(Leaderboard(*(_clean(part, paths) for part in document)), beside)
    if shown:
        files |= case_files(_clean(studies, paths))
    if not partial:
        refuse_missing(results, root, folder)
    files[manifest.file] = dump(told)
    target = root / "published" / folder.parent.name / folder.name
    Written(files, document, results, target).write()
    write_index(root / "published")
    return target


def public_manifest(manifest: RunManifest, root: Path) -> RunManifest:
    """Return a manifest without messages, of whose paths the last parts remain."""
    paths = _known_paths(manifest, root)
    return type(manifest).model_validate(_clean(_without_messages(manifest).to_json(), paths))


def _known_paths(manifest: RunManifest, root: Path) -> list[str]:
    return sorted({*_paths(manifest.to_json()), str(root.resolve()), str(Path.home())}, key=len, reverse=True)


def _paths(value: Any, key: str = "") -> Iterator[str]:
    """Give every path that the manifest names as one: of data, and of models that are called by theirs."""
    if isinstance(value, dict):
        for name, part in value.items():
            yield from _paths(part, "path" if key == "sources" else name)
    elif isinstance(value, list):
        for part in value:
            yield from _paths(part, key)
    elif isinstance(value, str) and (
        (key == "path" and re.search(r"[/\\]", value)) or (key in {"name", "label", "model"} and _PATH.match(value))
    ):
        yield value


def _without_messages(manifest: RunManifest) -> RunManifest:
    """Leave out messages, which may quote anything."""
    failures = tuple(failure.model_copy(update={"message": None}) for failure in manifest.failures)
    rows = tuple(
        row.model_copy(
            update={
                "seeds": {
                    number: seed.model_copy(update={"failed": "failed" if seed.failed else None})
                    for number, seed in row.seeds.items()
                }
            }
        )
        for row in manifest.rows
    )
    return manifest.model_copy(update={"failures": failures, "rows": rows})


def _clean(value: Any, paths: list[str]) -> Any:
    """Shorten every path to its last part, wherever it is."""
    if isinstance(value, str):
        for path in paths:
            value = value.replace(path, _last(path))
        return _PATH.sub(lambda match: _last(match.group()), value)
    if isinstance(value, dict):
        return {_clean(name, paths): _clean(part, paths) for name, part in value.items()}
    if isinstance(value, (list, tuple)) and not hasattr(value, "_fields"):
        return type(value)(_clean(part, paths) for part in value)
    if hasattr(value, "__dataclass_fields__"):
        return replace(value, **{name: _clean(getattr(value, name), paths) for name in value.__dataclass_fields__})
    return value


def _last(path: str) -> str:
    return re.split(r"[/\\]", path.rstrip("/\\"))[-1]
