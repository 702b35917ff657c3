"""Switches in the environment, each of which turns an optimisation off (one: on): to compare results with and without.

docs/results-format.md lists them for users. No torch is imported here: ``plan`` asks, too.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Final

from harness.errors import InputError
from harness.spec.results.models import Way


@dataclass(frozen=True)
class Switch:
    """An environment variable that is unset or empty, or has the one value that says something."""

    variable: str
    value: str
    recorded_as: str
    """Its name in a stage's ``environment.json``, which has it only where it is on."""

    @property
    def on(self) -> bool:
        """Whether the variable has the value.

        Raises:
            InputError: it has another one.
        """
        given = os.environ.get(self.variable, "")
        if given not in {"", self.value}:
            where, expected = f"environment variable {self.variable}", f"{self.value!r}, or no value"
            raise InputError("no such setting of this switch", where=where, got=given, expected=expected)
        return given == self.value


#: Keeps every model from the fast way (:mod:`harness.lm.way`).
GENERAL_WAY: Final = Switch("HARNESS_WAY", "general", "way")
#: Leaves every linear layer as it is (:mod:`harness.lm.model.packed_linear`).
PLAIN_LINEAR: Final = Switch("HARNESS_PACKED_LINEAR", "off", "packed_linear")
#: Of :mod:`harness.lm.cuda`, which has the general way of each: no graphs, static caches on any device,
#: a dense mask for large forests, one parameter after the other, and devices that are not asked for their memory.
GRAPHS, STATIC = Switch("HARNESS_GRAPHS", "off", "graphs"), Switch("HARNESS_DECODING", "static", "decoding")
FLEX, FUSED = Switch("HARNESS_FLEX", "off", "flex"), Switch("HARNESS_FUSED", "off", "fused")
DEVICE_LIMITS: Final = Switch("HARNESS_DEVICE_LIMITS", "off", "device_limits")
SWITCHES: Final = (GENERAL_WAY, PLAIN_LINEAR, GRAPHS, STATIC, FLEX, FUSED, DEVICE_LIMITS)
#: Why a model takes the general way where that switch is on.
ASKED_FOR: Final = f"{GENERAL_WAY.variable}={GENERAL_WAY.value} asks for it"


def switched() -> dict[str, str]:
    """Return the switches that are on, as ``environment.json`` has them; InputError for a value that none has."""
    return {switch.recorded_as: switch.value for switch in SWITCHES if switch.on}


def in_force(way: Way) -> Way:
    """Return the way that a model takes whose structure has it take ``way``."""
    return Way(name="general", reason=ASKED_FOR, batched=way.batched) if GENERAL_WAY.on else way
