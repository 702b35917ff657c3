"""Records on disk: identity, layout, atomic commit, integrity."""

from harness.store.damage import CorruptError, Damage
from harness.store.drafts import Draft
from harness.store.records import Record
from harness.store.stages import Store

__all__ = ["CorruptError", "Damage", "Draft", "Record", "Store"]
