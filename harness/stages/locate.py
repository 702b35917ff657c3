"""Where the weights lie that a stage reads."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from harness.errors import StageError
from harness.models.resolve import resolve
from harness.spec.model import Model
from harness.spec.results.files import CHECKPOINT, POINTS
from harness.spec.results.models import PreparedModel
from harness.stages.model_files import content_digest

if TYPE_CHECKING:
    from harness.spec.budget import BudgetPoint
    from harness.spec.stages.base import StageConfig
    from harness.stages.request import StageRequest
    from harness.store.stages import Store


def locate(request: StageRequest[StageConfig], store: Store, parent: str, at: BudgetPoint | None = None) -> Path:
    """Return the folder with a parent's weights: its own (at a point of its budget), or the outside one that it found.

    Raises:
        StageError: an outside folder is gone, or is not what it was.
    """
    wanted = request.parents[parent]
    record = store.open(wanted.kind, wanted.id)
    if at is not None:
        return record.path(f"{POINTS}/{at.folder}")
    if record.holds(CHECKPOINT):
        return record.path(CHECKPOINT)
    prepared = record.read(PreparedModel)
    path = request.runtime.sources.get(prepared.content or "", prepared.path)  # it may lie elsewhere than it did
    if path is None:
        return resolve(Model(name=prepared.name or "", revision=prepared.revision), {}).folder
    folder = Path(path).expanduser()
    if not folder.is_dir() or content_digest(folder) != prepared.content:
        raise StageError(
            "the model that was prepared is not there any more, or has changed",
            where=str(folder),
            hint=f"put it back, or say where it lies with -o sources.{prepared.name}=PATH",
        )
    return folder
