"""Cutting a split from another by what its rows say, so that it depends on no order and no random numbers."""

from __future__ import annotations

import hashlib

from harness_plugins.upstream.lines import fold


def one_in(value: str, parts: int) -> bool:
    """Say whether a text is among the one in ``parts`` that its hash picks; case and white space do not matter."""
    digest = hashlib.sha256(fold(value).encode()).digest()
    return int.from_bytes(digest[:8], "big") % parts == 0
