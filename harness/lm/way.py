"""Which of two ways a model takes, decided by its structure and a probe, never by its name.

The fast way scores packed trees (:mod:`harness.lm.score.packing`) and decodes over one copy of each prompt's keys and
values (:mod:`harness.lm.decode.prefix`); both need :mod:`harness.lm.attention` in place of the model's own. The general
way asks nothing of a model but to be causal: padded rows for scoring, a copy of the cache for every row while decoding
(:mod:`harness.lm.decode.copied`). Log-probabilities, gradients and texts are those of single rows either way.
"""

from __future__ import annotations

import logging
import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Literal
from weakref import WeakKeyDictionary

import torch

from harness.api import Completions, Prompts
from harness.in_parts import out_of_memory
from harness.lm.attention import KEYWORD, NAME, Settings
from harness.lm.decode.copied import Copied
from harness.lm.decode.decoder import probe
from harness.lm.decode.prefix import SharedPrefix
from harness.lm.model import backbone
from harness.lm.model.architectures import attention_windows, special_structure
from harness.lm.score.packing import pack

if TYPE_CHECKING:
    from torch import Tensor, nn

    from harness.lm.attention import Layout
    from harness.lm.model.policy import Policy

log = logging.getLogger(__name__)

#: Set to ``general``, this variable keeps every model from the fast way.
SWITCH: Final = "HARNESS_WAY"
#: Batches that the probe may try: a router that hesitates between two experts can let rounding decide, in one of them.
_TRIES: Final = 3


@dataclass(frozen=True)
class Way:
    """How a model is scored and decoded."""

    name: Literal["fast", "general"]
    reason: str = ""
    """Why it is not the fast one."""
    batched: bool = True
    """Whether prompts are decoded together: not where a model takes padding at the left for text."""

    def __str__(self) -> str:
        """Return it in words."""
        if self.name == "fast":
            return "fast way: packed trees, shared prompts"
        prompts = "copied caches" if self.batched else "prompts decoded one at a time, for padding is text to the model"
        return f"general way: padded rows, {prompts}; {self.reason}"


_ways: WeakKeyDictionary[nn.Module, dict[tuple[str, bool], Way]] = WeakKeyDictionary()


def forced() -> bool:
    """Tell whether :data:`SWITCH` keeps every model from the fast way."""
    return os.environ.get(SWITCH) == "general"


def way_of(policy: Policy) -> Way:
    """Return the way of a policy's model, which is tried when it is first asked for; says in the log if it is slow."""
    model: nn.Module = policy.model
    known = _ways.setdefault(model, {})
    key = (backbone.attention_of(model), forced())
    if key not in known:
        backbone.split(model)  # tries a forward, which must find the model's own attention
        with torch.no_grad(), backbone.evaluating(model):
            known[key] = _choose(policy.without_autocast())
        if known[key].name == "general":
            kind = getattr(backbone.config_of(model), "model_type", type(model).__name__)
            log.warning("%s with %s attention: %s", kind, key[0], known[key])
    return known[key]


def _choose(policy: Policy) -> Way:
    reason = f"{SWITCH}=general asks for it" if forced() else against_fast(policy)
    if not reason:
        return Way("fast")
    try:
        batched = probe(policy, Copied, _uneven(policy))
    except Exception as error:
        if out_of_memory(error):
            raise  # no property of the model
        batched = False  # what it lacks is said by who decodes, if anyone does
    return Way("general", reason, batched=batched)


def against_fast(policy: Policy) -> str:
    """Return why the fast way cannot be taken, empty if it can.

    Args:
        policy: in evaluation mode and without autocast, whose rounding would hide a mistake.
    """
    reason = special_structure(backbone.config_of(policy.model), type(backbone.inner(policy.model)))
    if reason:
        return reason
    for first in range(_TRIES):
        try:
            reason = _try_trees(policy, 3 + 5 * first)
            if not reason and not probe(policy, SharedPrefix, first=2 + 5 * first):
                reason = "rows that share a prompt gave it other logits than rows of their own"
        except Exception as error:  # whatever a model does not support
            if out_of_memory(error):
                raise
            said = next((line.strip() for line in str(error).splitlines() if line.strip()), "")
            return said or type(error).__name__
        if not reason:
            return ""
    return reason


class _Witness:
    """A layout that notes the window of each layer that asks it."""

    def __init__(self, layout: Layout) -> None:
        """Hand everything on to ``layout``."""
        self._layout = layout
        self.windows: dict[int, int | None] = {}
        self.calls = 0

    def attend(self, layer: int, query: Tensor, key: Tensor, value: Tensor, settings: Settings) -> Tensor:
        """Implement :class:`harness.lm.attention.Layout`."""
        self.windows[layer] = settings.window
        self.calls += 1
        return self._layout.attend(layer, query, key, value, settings)


def _try_trees(policy: Policy, first: int) -> str:
    """Try on a toy that trees in one row get the logits of rows of their own."""
    ids = torch.arange(first, first + 16, device=policy.device) % policy.vocab_size
    prompts = Prompts(ids[:6].view(2, 3), torch.tensor([3, 1], device=policy.device), ("", ""))
    lengths = torch.tensor([[3, 2], [1, 3]], device=policy.device)
    completions = Completions(ids[4:].view(2, 2, 3), lengths, lengths < 0)
    packed = pack(prompts, completions)
    assert packed.forest is not None
    witness = _Witness(packed.forest)
    given = {**packed.inputs(), KEYWORD: witness}
    states, logits, _ = backbone.forward(policy.model, attention=NAME, **given, use_cache=False)
    expected = attention_windows(backbone.config_of(policy.model))
    if witness.calls != len(expected) or sorted(witness.windows) != list(range(len(expected))):
        return "not every layer calls transformers' attention interface once"
    if [witness.windows[layer] for layer in range(len(expected))] != expected:
        return "its layers do not tell the interface how far they see"
    rows = []
    for prompt in range(2):
        for candidate in range(2):
            start, size = int(prompts.lengths[prompt]), int(lengths[prompt, candidate])
            row = torch.cat((prompts.ids[prompt, :start], completions.ids[prompt, candidate, :size]))
            whole = policy.model(input_ids=row[None], use_cache=False).logits
            rows.append(policy.restrict(whole[0, start - 1 : -1]))
    found = states.flatten(0, 1)[packed.sources]
    read = backbone.logits(policy, found, None if logits is None else logits.flatten(0, 1)[packed.sources])
    return (
        "" if backbone.alike(read, torch.cat(rows)) else "trees in one row gave it other logits than rows of their own"
    )


def _uneven(policy: Policy) -> tuple[int, int]:
    """Return lengths of two prompts, so far apart that a model which takes padding for text shows it."""
    room = 15 if policy.positions_limit is None else policy.positions_limit
    return max(2, min(13, room - 2)), 1
