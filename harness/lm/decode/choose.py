"""The decoder of a policy's way."""

from __future__ import annotations

from typing import TYPE_CHECKING

from harness.lm.cuda.choice import shared_decoder
from harness.lm.decode.copied import Apart, Copied
from harness.lm.way import way_of

if TYPE_CHECKING:
    from torch import Tensor

    from harness.lm.decode.decoder import Decoder
    from harness.lm.model.policy import Policy


def decoder(policy: Policy, prompts: Tensor, lengths: Tensor, *, repeats: int, room: int) -> Decoder:
    """Prefill.

    Args:
        policy: the model; in evaluation mode, and gradients are off.
        prompts: (B, P) int64, padded at the right end with anything.
        lengths: (B,) int64, at least 1.
        repeats: rows a prompt.
        room: most tokens that :meth:`Decoder.step` will be given a row.
    """
    way = way_of(policy)
    if way.name == "fast":
        return shared_decoder(policy, prompts, lengths, repeats, room)
    return (Copied if way.batched else Apart)(policy, prompts, lengths, repeats, room)
