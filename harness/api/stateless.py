"""The parts of a method that keeps nothing between steps."""

from __future__ import annotations

from typing import TYPE_CHECKING

from harness.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from harness.api.protocols import Run
    from harness.api.types import State


class Stateless:
    """Base of a method whose step depends on the batch and the weights alone: only ``step`` is left to write."""

    def setup(self, run: Run) -> None:
        """Prepare nothing."""

    def state_dict(self) -> Mapping[str, State]:
        """Return the empty state."""
        return {}

    def load_state_dict(self, state: Mapping[str, State]) -> None:
        """Take back the empty state.

        Raises:
            InputError: the state holds something, so another method wrote it.
        """
        if state:
            raise InputError("the saved state is another method's", got=sorted(state), expected="an empty state")
