"""What transformers gets for a cache where keys and values are kept elsewhere: shrinking caches, or static ones."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from transformers import DynamicCache

if TYPE_CHECKING:
    from torch import Tensor


class NoCache(DynamicCache):
    """Tells transformers how many positions are written, and keeps none."""

    def __init__(self, length: int) -> None:
        super().__init__()
        self._length = length

    def get_seq_length(self, layer_idx: int = 0) -> int:  # noqa: ARG002  # transformers' signature
        """Return how many positions are written."""
        return self._length

    def update(
        self,
        key_states: Tensor,
        value_states: Tensor,
        layer_idx: int,  # noqa: ARG002  # transformers' signature
        *_: Any,
        **__: Any,
    ) -> tuple[Tensor, Tensor]:
        """Return what transformers hands over."""
        return key_states, value_states
