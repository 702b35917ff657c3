"""All faults, by name."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from seeded.earlier import EARLIER
from seeded.field import FIELD

if TYPE_CHECKING:
    from collections.abc import Mapping

    from seeded.fault import Seed

FAULTS: Final = (*FIELD, *EARLIER)
SEEDS: Final[Mapping[str, Seed]] = {name: seed for fault in FAULTS for name, seed in fault.seeded.items()}
