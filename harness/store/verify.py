"""Every file of every stage against its manifest, for people who ask; nothing is changed."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from harness.errors import MachineError
from harness.store.damage import Damage
from harness.store.manifest import MANIFEST, OtherFormat, files
from harness.store.records import Record

if TYPE_CHECKING:
    from collections.abc import Mapping

    from harness.store.stages import Store


@dataclass
class Verified:
    """What a check of a whole store has found."""

    stages: int = 0
    files: int = 0
    """Those whose content was compared with their sha256, manifests included."""
    other_format: int = 0
    """Stages of another release, which only that release can check."""
    damages: list[Damage] = field(default_factory=list)

    @property
    def spoiled(self) -> frozenset[tuple[str, str]]:
        """Kind and id of the stages that a run would rebuild."""
        return frozenset((damage.kind, damage.id) for damage in self.damages if damage.spoils)


def verify(store: Store, labels: Mapping[tuple[str, str], str]) -> Verified:
    """Check every file of every stage in the store, whatever benchmark it belongs to.

    Args:
        store: what to check.
        labels: by kind and id, what people call a stage whose manifest cannot tell any more.
    """
    checked = Verified()
    for kind in store.kinds():
        for stage_id in store.ids(kind):
            try:
                _check(store, kind, stage_id, labels.get((kind, stage_id)), checked)
            except OtherFormat:
                checked.other_format += 1
            except MachineError as error:
                folder = store.folder(kind, stage_id)
                checked.damages.append(Damage(kind, stage_id, folder, MANIFEST, "unreadable", error.what))
    return checked


def _check(store: Store, kind: str, stage_id: str, label: str | None, checked: Verified) -> None:
    damages: list[Damage] = []
    for _ in range(2):  # one that is just being replaced, or pruned, looks damaged once
        seen = store.described(kind, stage_id)
        if isinstance(seen, Record):
            damages = list(seen.damages())
        elif seen is not None:
            damages = [seen.known_as(label)]
        elif store.folder(kind, stage_id).exists():
            folder = store.folder(kind, stage_id)
            damages = [
                Damage(kind, stage_id, folder, MANIFEST, "unexpected", "is not there, nor a folder for it", label)
            ]
        else:
            return  # removed meanwhile
        if not damages:
            break
    checked.stages += 1
    checked.files += 1 + (len(files(seen.manifest)) if isinstance(seen, Record) else 0)
    checked.damages += damages
