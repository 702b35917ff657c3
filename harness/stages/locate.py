"""Where the weights lie that a stage reads."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from harness.errors import StageError
from harness.models.resolve import resolve
from harness.spec.model import Model
from harness.spec.results.adapter import AdapterRecord
from harness.spec.results.files import CHECKPOINT, POINTS
from harness.spec.results.models import PreparedModel
from harness.stages.model_files import content_digest

if TYPE_CHECKING:
    from harness.spec.budget import BudgetPoint
    from harness.spec.recipe import AdapterSettings
    from harness.spec.stages.base import StageConfig
    from harness.stages.request import StageRequest
    from harness.store.records import Record
    from harness.store.stages import Store


@dataclass(frozen=True)
class Weights:
    """What a stage's model is loaded from."""

    folder: Path
    """A model folder."""
    adapters: tuple[tuple[Path, AdapterSettings], ...] = ()
    """Adapters on it, in the order in which they were trained, each on the model with the earlier ones merged."""


def locate(request: StageRequest[StageConfig], store: Store, parent: str, at: BudgetPoint | None = None) -> Weights:
    """Return where a parent's weights lie: in its own folder, in the outside one that it found, or in several.

    With ``at``, those at a point of its budget.

    Raises:
        StageError: an outside folder is gone, or is not what it was.
    """
    return _weights(request, store, store.open(request.parents[parent].kind, request.parents[parent].id), at)


def _weights(
    request: StageRequest[StageConfig], store: Store, record: Record, at: BudgetPoint | None = None
) -> Weights:
    trained = CHECKPOINT if at is None else f"{POINTS}/{at.folder}"
    if record.holds(AdapterRecord.file):
        own = record.read(AdapterRecord)
        below = _weights(request, store, store.open(own.base.kind, own.base.id))
        return Weights(below.folder, (*below.adapters, (record.path(trained), own.settings)))
    return Weights(_folder(request, record) if at is None else record.path(trained))


def _folder(request: StageRequest[StageConfig], record: Record) -> Path:
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
