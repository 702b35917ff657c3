"""The state of an unfinished segment, so that a long stage goes on where it was interrupted.

Each state is a folder of its own, named by the step that comes next. Its manifest, which has every file's sha256 and
its own, is written last: a folder without one, or with a file that differs, does not exist. A state is used only by the
same stage in the same environment; anything else starts the segment again, which gives the same result, only later.
"""

from __future__ import annotations

import contextlib
import json
import uuid
from typing import TYPE_CHECKING, Any

from harness import disk
from harness.errors import MachineError
from harness.spec.results.files import POINTS
from harness.spec.results.train import TrainStep
from harness.store.files import machine_errors, read_jsonl, write_json, write_jsonl
from harness.store.identity import digest, file_digest

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping
    from pathlib import Path

MANIFEST = "manifest.json"


class Unfinished:
    """The states of one segment below a folder; at most the last one stays."""

    def __init__(self, folder: Path, identity: Mapping[str, Any]) -> None:
        """Use ``folder``, which is made when there is something to keep.

        Args:
            folder: for this segment alone.
            identity: plain JSON that must be equal for a state to be used: the stage's id, the environment, the ranks.
        """
        self._folder = folder
        self._identity = json.loads(json.dumps(identity))

    def save(
        self,
        step: int,
        rows: Iterable[TrainStep],
        extra: Mapping[str, Any],
        write: Callable[[Path], None],
    ) -> None:
        """Keep the state before ``step``: the log so far, ``extra``, and what ``write`` puts into a folder."""
        with machine_errors(self._folder):
            disk.make_folders(self._folder)
            draft = self._folder / f".{step}.{uuid.uuid4().hex}"
            disk.make_folder(draft)
        try:
            write(draft)
            write_jsonl(draft / TrainStep.file, (row.to_json() for row in rows))
            with machine_errors(draft):
                names = sorted(path.name for path in draft.iterdir())
                for name in names:
                    disk.sync(draft / name)
                manifest = {
                    "identity": self._identity,
                    "extra": dict(extra),
                    "files": {name: file_digest(draft / name) for name in names},
                }
                write_json(draft / MANIFEST, {**manifest, "sha256": digest(manifest)})
                disk.sync(draft / MANIFEST)
                disk.sync(draft)
                place = self._folder / str(step)
                disk.remove_tree(place)
                disk.rename(draft, place)
                disk.sync(self._folder)
        except BaseException as error:
            overtaken = not draft.exists() or _whole(self._folder / str(step)) is not None
            disk.remove_tree(draft)
            if isinstance(error, MachineError) and overtaken:
                return  # another run does the same stage: it keeps the same states, and has cleared this one away
            raise
        self._forget(but=place.name)

    def find(self) -> tuple[int, Path, dict[str, Any]] | None:
        """Return the last state that is whole and fits: the next step, its folder and ``extra``."""
        if not self._folder.is_dir():
            return None
        for step in sorted((int(p.name) for p in self._folder.iterdir() if p.name.isdigit()), reverse=True):
            place = self._folder / str(step)
            manifest = _whole(place)
            if manifest is not None and manifest["identity"] == self._identity:
                return step, place, manifest["extra"]
        return None

    @property
    def left(self) -> bool:
        """Whether there is anything of a state, whole or not."""
        return self._folder.is_dir() and any(path.name != POINTS for path in self._folder.iterdir())

    def discard(self) -> None:
        """Remove all states, and all at once: one must not outlive the points that lie before it."""
        aside = self._folder.with_name(f"{self._folder.name}.{uuid.uuid4().hex}")
        with contextlib.suppress(OSError):  # there is nothing, or another run has just done it
            disk.rename(self._folder, aside)
        disk.remove_tree(aside)

    def _forget(self, *, but: str) -> None:
        for path in self._folder.iterdir():
            if path.name not in {but, POINTS}:
                disk.remove_tree(path)


def logged(place: Path) -> list[TrainStep]:
    """Return the log of a state."""
    return [TrainStep.model_validate(row) for row in read_jsonl(place / TrainStep.file)]


def _whole(place: Path) -> dict[str, Any] | None:
    try:
        manifest: dict[str, Any] = json.loads((place / MANIFEST).read_text(encoding="utf-8"))
        said = manifest.pop("sha256")
        whole = said == digest(manifest) and all(
            file_digest(place / name) == expected for name, expected in manifest["files"].items()
        )
    except (OSError, ValueError, KeyError, AttributeError):
        return None
    return manifest if whole else None
