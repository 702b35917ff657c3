"""The head of a model that stands still for a while: logits of many small batches of hidden states."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

import torch

from harness.lm import backbone

if TYPE_CHECKING:
    from torch import Tensor

    from harness.lm.policy import Policy


class Head:
    """Logits over the ids that have a token.

    On a CPU the product of a few rows with a vocabulary is where BLAS does worst: a third of a decoding step. oneDNN,
    given the weight in its own order, takes half to a quarter of the time, so the weight is put in that order once.
    """

    def __init__(self, policy: Policy) -> None:
        """Take the head's weight as it is now."""
        self._policy = policy
        self._packed: Tensor | None = None
        weight = backbone.head_weight(policy.model)
        if weight is not None and _packs(weight, policy):
            self._packed = _onednn()._reorder_linear_weight(weight.detach()[: policy.vocab_size])  # noqa: SLF001  # what torch.compile calls

    def __call__(self, hidden: Tensor, logits: Tensor | None) -> Tensor:
        """Return logits (N, V) of hidden states (N, D), or the model's own ``logits`` where it makes them itself."""
        if self._packed is not None:
            product = _onednn()._linear_pointwise  # noqa: SLF001  # as above
            return self._policy.restrict(product(hidden, self._packed, None, "none", [], ""))
        with self._policy.autocast():
            return self._policy.restrict(backbone.head(self._policy.model)(hidden) if logits is None else logits)


def _packs(weight: Tensor, policy: Policy) -> bool:
    return (
        weight.device.type == "cpu"
        and weight.dtype == torch.float32
        and policy.dtype == "float32"
        and cast("Any", torch.backends.mkldnn).is_available()
        and hasattr(_onednn(), "_reorder_linear_weight")
        and hasattr(_onednn(), "_linear_pointwise")
    )


def _onednn() -> Any:
    return cast("Any", torch.ops.mkldnn)
