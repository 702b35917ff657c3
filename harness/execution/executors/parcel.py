"""Stages as bytes, for nodes that share no folder: packed where they lie, unpacked where they are needed."""

from __future__ import annotations

import io
import shutil
import tarfile
import uuid
from typing import TYPE_CHECKING

from harness.spec.stages.train import TrainConfig

if TYPE_CHECKING:
    from pathlib import Path

    from harness.plan import Stage
    from harness.store.stages import Store


def packed(folder: Path) -> bytes:
    """Return everything below a folder."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        archive.add(folder, arcname=".")
    return buffer.getvalue()


def unpack(parcel: bytes, folder: Path) -> None:
    """Put what :func:`packed` returned below a folder, which appears as a whole; another process may be first."""
    if folder.is_dir():
        return
    draft = folder.with_name(f".{folder.name}.{uuid.uuid4().hex[:8]}")
    draft.mkdir(parents=True)
    try:
        extract(parcel, draft)
        draft.rename(folder)
    except OSError:
        if not folder.is_dir():
            raise
    finally:
        shutil.rmtree(draft, ignore_errors=True)


def extract(parcel: bytes, folder: Path) -> None:
    """Put what :func:`packed` returned into a folder that is there."""
    with tarfile.open(fileobj=io.BytesIO(parcel)) as archive:
        archive.extractall(folder, filter="data")


def receive(parcel: bytes, kind: str, stage_id: str, store: Store, *, replace: bool) -> None:
    """Put a stage that was made elsewhere into the store, as if it had been made here."""
    with store.draft(kind, stage_id) as draft:
        extract(parcel, draft.folder)
        store.receive(draft, replace=replace)


def read_by(stage: Stage) -> dict[tuple[str, str], Stage]:
    """Return the stages that one reads, by kind and id: its parents, and the weights that their adapters go on."""
    found: dict[tuple[str, str], Stage] = {}
    waiting = list(stage.parents.values())
    while waiting:
        parent = waiting.pop()
        assert parent.id is not None, "a stage is made when its parents are"
        found[parent.kind, parent.id] = parent
        if isinstance(parent.config, TrainConfig) and parent.config.recipe.adapter is not None:
            waiting.append(parent.parents["start"])
    return found
