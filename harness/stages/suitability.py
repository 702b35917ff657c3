"""Whether a model does what training and sampling rely on, tried on a few tokens before anything is trained.

No list of architectures answers that: transformers has hundreds, and each places tokens, masks and keeps what it has
read in its own way.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch

from harness.errors import InputError, first_line
from harness.in_parts import out_of_memory
from harness.lm.decode.choose import decoder
from harness.lm.decode.decoder import FIRST_IDS, probe
from harness.lm.model import backbone

if TYPE_CHECKING:
    from torch import Tensor

    from harness.lm.decode.decoder import Decoder
    from harness.lm.model.policy import Policy

_TOKENS = 7


def check_suitable(policy: Policy, *, where: str) -> None:
    """Raise InputError unless what the model says of a row follows from the row alone, however it is asked.

    Tried are: what it says of a token does not depend on later ones, nor on padding at the right end (scoring); and a
    continuation behind kept keys and values, in company and after other rows have left, gets the logits of the whole
    sequence (decoding). Each is tried on the toys that :mod:`harness.lm.way` tries.
    """
    exact = policy.without_autocast()
    reasons = {
        "what it says of a token depends on the tokens behind it": _causal,
        "decoding with kept keys and values does not give what a forward over the whole sequence gives": _continues,
    }
    with torch.inference_mode(), backbone.evaluating(policy.model):
        for reason, holds in reasons.items():
            try:
                fine = any(holds(exact, first) for first in FIRST_IDS)
            except Exception as error:  # whatever a foreign model does not support
                if out_of_memory(error):
                    raise  # no property of the model
                said = f"{type(error).__name__}: {first_line(error)}"
                raise InputError(
                    f"the model cannot be used here: it fails on a few tokens with {said}",
                    where=where,
                    got=policy.model.config.model_type,
                ) from error
            if not fine:
                raise InputError(
                    f"the model cannot be used here: {reason}",
                    where=where,
                    got=policy.model.config.model_type,
                    expected="a causal language model",
                )


def _causal(policy: Policy, first: int) -> bool:
    """Try two rows with a common beginning, and the beginning alone with and without padding."""
    ids = torch.arange(first, first + _TOKENS, device=policy.device)[None] % policy.vocab_size
    start = ids[:, : _TOKENS - 3]
    other = torch.cat((start, ids[:, :3]), 1)
    mask = torch.ones_like(ids)
    mask[:, start.shape[1] :] = 0
    expected = _logits(policy, start, torch.ones_like(start))
    return all(
        backbone.alike(policy.model, _logits(policy, rows, seen)[:, : start.shape[1]], expected)
        for rows, seen in ((ids, torch.ones_like(ids)), (other, torch.ones_like(ids)), (ids, mask))
    )


def _continues(policy: Policy, first: int) -> bool:
    def make(policy: Policy, prompts: Tensor, lengths: Tensor, repeats: int, room: int) -> Decoder:
        return decoder(policy, prompts, lengths, repeats=repeats, room=room)

    return probe(policy, make, first=first)


def _logits(policy: Policy, ids: Tensor, mask: Tensor) -> Tensor:
    positions = torch.arange(ids.shape[1], device=ids.device)[None]
    inputs: dict[str, Any] = {"input_ids": ids, "position_ids": positions, "attention_mask": mask}
    states, logits, _ = backbone.forward(policy.model, **inputs, use_cache=False)
    return policy.restrict(backbone.head(policy.model)(states) if logits is None else logits)
