"""Which of two ways a model takes, decided by its structure and a probe, never by its name.

The fast way scores packed trees (:mod:`harness.lm.score.packing`) and decodes over one copy of each prompt's keys and
values (:mod:`harness.lm.decode.prefix`); both need :mod:`harness.lm.attention` in place of the model's own. The general
way asks nothing of a model but to be causal: padded rows for scoring, a copy of the cache for every row while decoding
(:mod:`harness.lm.decode.copied`). Log-probabilities, gradients and texts are those of single rows either way.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING
from weakref import WeakKeyDictionary

import torch

from harness.api import Completions, Prompts
from harness.errors import first_line
from harness.in_parts import out_of_memory
from harness.lm.attention import KEYWORD, NAME
from harness.lm.decode.copied import Copied
from harness.lm.decode.decoder import FIRST_IDS, probe
from harness.lm.decode.prefix import SharedPrefix
from harness.lm.model import backbone
from harness.lm.model.architectures import attention_windows, special_structure
from harness.lm.score.packing import pack
from harness.lm.switches import ASKED_FOR, GENERAL_WAY
from harness.spec.results.models import Way

if TYPE_CHECKING:
    from torch import Tensor, nn

    from harness.lm.attention import Layout, Settings
    from harness.lm.model.policy import Policy

log = logging.getLogger(__name__)

_ways: WeakKeyDictionary[nn.Module, dict[tuple[str, bool], Way]] = WeakKeyDictionary()


def way_of(policy: Policy) -> Way:
    """Return the way that a policy's model takes: that of its structure, unless a switch keeps it from the fast one."""
    return _remembered(policy, forced=GENERAL_WAY.on)


def structural_way(policy: Policy) -> Way:
    """Return the way that the structure of a policy's model and a probe have it take, whatever the switches are."""
    return _remembered(policy, forced=False)


def _remembered(policy: Policy, *, forced: bool) -> Way:
    """Return what was found when the model was first asked for; the log then says if it is the slow way."""
    model: nn.Module = policy.model
    ways = _ways.setdefault(model, {})
    key = (backbone.attention_of(model), forced)
    if key not in ways:
        backbone.split(model)  # tries a forward, which must find the model's own attention
        with torch.no_grad(), backbone.evaluating(model):
            exact = policy.without_autocast()
            reason = ASKED_FOR if forced else against_fast(exact)
            ways[key] = Way(name="general", reason=reason, batched=_batches(exact)) if reason else Way(name="fast")
        if reason and not forced:
            kind = getattr(backbone.config_of(model), "model_type", type(model).__name__)
            log.warning("%s takes the slower, general way: %s", kind, reason)
    return ways[key]


def _batches(policy: Policy) -> bool:
    """Tell whether rows with padding at the left decode as they would alone."""
    try:
        return any(probe(policy, Copied, _uneven(policy), first=first) for first in FIRST_IDS)
    except Exception as error:
        if out_of_memory(error):
            raise  # no property of the model
        return False  # what it lacks is said by who decodes, if anyone does


def against_fast(policy: Policy) -> str:
    """Return why the fast way cannot be taken, empty if it can.

    Args:
        policy: in evaluation mode and without autocast, whose rounding would hide a mistake.
    """
    reason = special_structure(backbone.config_of(policy.model), type(backbone.inner(policy.model)))
    if reason:
        return reason
    for first in FIRST_IDS:
        try:
            reason = _try_trees(policy, first)
            if not reason and not probe(policy, SharedPrefix, first=first):
                reason = "rows that share a prompt gave it other logits than rows of their own"
        except Exception as error:  # whatever a model does not support
            if out_of_memory(error):
                raise
            return first_line(error)
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
    scored = states.flatten(0, 1)[packed.sources]
    read = backbone.logits(policy, scored, None if logits is None else logits.flatten(0, 1)[packed.sources])
    same = backbone.alike(policy.model, read, torch.cat(rows))
    return "" if same else "trees in one row gave it other logits than rows of their own"


def _uneven(policy: Policy) -> tuple[int, int]:
    """Return lengths of two prompts, so far apart that a model which takes padding for text shows it."""
    room = 15 if policy.positions_limit is None else policy.positions_limit
    return max(2, min(13, room - 2)), 1
