"""Records on disk: identity, layout, atomic commit, integrity."""

from harness.store.records import CorruptError, Draft, Record, Store

__all__ = ["CorruptError", "Draft", "Record", "Store"]
