"""Records on disk: identity, layout, atomic commit, integrity."""

from harness.store.drafts import Draft
from harness.store.records import CorruptError, Record
from harness.store.stages import Store

__all__ = ["CorruptError", "Draft", "Record", "Store"]
