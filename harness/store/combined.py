"""The id of a stage, from what it was asked and the parents that it was made from."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping


def combined(config: str, parents: Mapping[str, str]) -> str:
    """Return the sha256 of a configuration's digest and of one for each parent; a plan asks for thousands."""
    named = "".join(f"{len(name)}:{name}={value};" for name, value in sorted(parents.items()))
    return hashlib.sha256(f"{config};{named}".encode()).hexdigest()
