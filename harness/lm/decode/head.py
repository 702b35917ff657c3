"""The head of a model that stands still for a while: logits of many small batches of hidden states."""

from __future__ import annotations

from typing import TYPE_CHECKING

from harness.lm import onednn
from harness.lm.model import backbone

if TYPE_CHECKING:
    from torch import Tensor

    from harness.lm.model.policy import Policy


class Head:
    """Logits over the ids that have a token."""

    def __init__(self, policy: Policy) -> None:
        """Take the head's weight as it is now."""
        self._policy = policy
        weight = backbone.head_weight(policy.model)
        mine = None if weight is None else weight[: policy.vocab_size]
        if mine is None or onednn.least_rows(mine, policy) is None:
            self._packed = None
        else:
            self._packed = onednn.pack(mine)

    def __call__(self, hidden: Tensor, logits: Tensor | None) -> Tensor:
        """Return logits (N, V) of hidden states (N, D), or the model's own ``logits`` where it makes them itself."""
        if self._packed is not None:
            return self._policy.restrict(onednn.product(hidden, self._packed, None))
        with self._policy.autocast():
            return self._policy.restrict(backbone.head(self._policy.model)(hidden) if logits is None else logits)
