"""Whether the fast way decodes over static caches: on CUDA, unless a switch or a trial speaks against it."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING
from weakref import WeakKeyDictionary

import torch

from harness.errors import first_line
from harness.in_parts import out_of_memory
from harness.lm.cuda.static import StaticPrefix
from harness.lm.decode.decoder import FIRST_IDS, probe
from harness.lm.decode.prefix import SharedPrefix
from harness.lm.model import backbone
from harness.lm.switches import GRAPHS, STATIC

if TYPE_CHECKING:
    from torch import Tensor, nn

    from harness.lm.model.policy import Policy

log = logging.getLogger(__name__)

_reasons: WeakKeyDictionary[nn.Module, str] = WeakKeyDictionary()


def shared_decoder(policy: Policy, prompts: Tensor, lengths: Tensor, repeats: int, room: int) -> SharedPrefix:
    """Prefill on the fast way; the arguments are those of :func:`harness.lm.decode.choose.decoder`."""
    wanted = STATIC.on or (policy.device.type == "cuda" and not GRAPHS.on)
    divided = any(hasattr(weight, "full_tensor") for weight in policy.model.parameters())  # each rank has a part
    if wanted and not divided and not why_not(policy):
        try:
            return StaticPrefix(policy, prompts, lengths, repeats, room)
        except Exception as error:
            if out_of_memory(error):
                raise
            _note(policy, first_line(error))
    return SharedPrefix(policy, prompts, lengths, repeats, room)


def why_not(policy: Policy) -> str:
    """Return why a model is not decoded over static caches, empty if it is: what a toy shows, captured where it can be.

    A model whose layers wait for the device (a router that counts the tokens of each expert) cannot be captured; one
    that counts positions by its cache, and not by what it is told, gives other logits.
    """
    if policy.model not in _reasons:
        _note(policy, "")
        with torch.no_grad(), backbone.evaluating(policy.model):
            exact = policy.without_autocast()
            try:
                same = any(probe(exact, StaticPrefix, first=first) for first in FIRST_IDS)
                reason = "" if same else "static caches gave it other logits than whole rows"
            except Exception as error:
                if out_of_memory(error):
                    del _reasons[policy.model]
                    raise  # no property of the model
                reason = first_line(error)
        if reason:
            _note(policy, reason)
    return _reasons[policy.model]


def _note(policy: Policy, reason: str) -> None:
    _reasons[policy.model] = reason
    if reason:
        kind = getattr(backbone.config_of(policy.model), "model_type", type(policy.model).__name__)
        log.warning("%s is decoded without CUDA graphs: %s", kind, reason)
