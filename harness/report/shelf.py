"""The stages behind a run, as far as the store has them."""

from __future__ import annotations

import collections
from typing import TYPE_CHECKING

from pydantic import ValidationError

from harness.spec.results.base import ResultLine
from harness.spec.results.kinds import RESULTS
from harness.spec.stages.kinds import parse_config
from harness.store.damage import CorruptError, Damage
from harness.store.manifest import OtherFormat
from harness.store.records import CONFIG, RAN

if TYPE_CHECKING:
    from harness.store.records import Record
    from harness.store.stages import Store


class Shelf:
    """The stages that a run's manifest names, as far as the store has them; it notes what it does not have."""

    def __init__(self, store: Store, *, partial: bool = False) -> None:
        """Read from ``store``.

        With ``partial``, a stage that is damaged, or that another release has written, counts as one that is not there.
        """
        self._store = store
        self._partial = partial
        self.asked: set[tuple[str, str]] = set()
        """Kind and id of every stage that was looked for."""
        self.missing: set[tuple[str, str]] = set()
        """Those that are not there."""
        self.damaged: dict[tuple[str, str], Damage] = {}
        """Those that are there, and not what was written."""
        self.other_format: dict[tuple[str, str], str] = {}
        """Those that another release has written, with what shows it."""
        self.ran: dict[tuple[str, str], dict[str, str]] = {}
        """Who ran those that a cluster made, and on which machine."""

    def find(self, kind: str, stage: str | None) -> Record | None:
        """Return a finished stage that the manifest names; None where there is none, or it is not stored any more.

        Raises:
            CorruptError: it is damaged, and not everything is wanted that is there.
            OtherFormat: likewise, another release has written it.
        """
        if stage is None:
            return None
        self.asked.add((kind, stage))
        try:
            record = self._store.look(kind, stage)
            if self._partial and record is not None and not isinstance(record, Damage):
                record = _unread(record) or record
        except OtherFormat as error:
            if not self._partial:
                raise
            self.other_format[kind, stage] = error.what
            return None
        if record is None:
            self.missing.add((kind, stage))
        elif isinstance(record, Damage):
            if not self._partial:
                raise CorruptError(record)
            self.damaged[kind, stage] = record
            return None
        elif record.holds(RAN):
            self.ran[kind, stage] = record.ran
        return record


def _unread(record: Record) -> Damage | None:
    """Return what is wrong with a file of a stage that tables may be made from: it is better known before.

    Raises:
        OtherFormat: one has another form than this release writes.
    """
    names = [name for name in record.manifest["files"] if name.endswith((".json", ".jsonl")) and record.holds(name)]
    try:
        for name in names:
            record.path(name)
        try:
            config = parse_config(record.json(CONFIG))
        except ValidationError as error:
            raise record.other_form(CONFIG, error) from None
        for kind in RESULTS[config.kind]:
            if not record.holds(kind.file):
                continue
            if issubclass(kind, ResultLine):
                collections.deque(record.lines(kind), maxlen=0)
            else:
                record.read(kind)
    except CorruptError as error:
        return error.damage
    return None
