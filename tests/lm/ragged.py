"""Ragged prompts and completions, and what a model says of each sequence when it is alone."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from harness.api import Completions, Prompts

if TYPE_CHECKING:
    from collections.abc import Sequence

    from harness.lm.model.policy import Policy


def sharpen(policy: Policy, factor: float = 6.0) -> Policy:
    """Scale the weights up: fresh ones give nearly flat distributions and hardly attend."""
    with torch.no_grad():
        for parameter in policy.model.parameters():
            if parameter.ndim > 1:
                parameter.mul_(factor)
    return policy


def often_ending(policy: Policy) -> Policy:
    """Raise the logit of EOS, everywhere alike, so that rows leave at all times."""
    restrict = policy.restrict
    bonus = torch.zeros(policy.vocab_size, dtype=torch.float64)
    bonus[policy.eos_id] = 5.0
    policy.restrict = lambda logits: restrict(logits) + bonus.to(logits.dtype)  # type: ignore[method-assign]
    return policy


def some_prompts(policy: Policy, lengths: Sequence[int], *, seed: int = 0, padding: int = 0) -> Prompts:
    """Prompts of the given lengths; ``padding`` stands at the padded places."""
    generator = torch.Generator().manual_seed(seed)
    ids = torch.randint(1, policy.vocab_size, (len(lengths), max(lengths)), generator=generator)
    sizes = torch.tensor(lengths)
    ids.masked_fill_(torch.arange(ids.shape[1]) >= sizes[:, None], padding)
    return Prompts(ids, sizes, tuple("" for _ in lengths))


def some_completions(
    policy: Policy, lengths: Sequence[Sequence[int]], *, seed: int = 1, padding: int = 0, width: int | None = None
) -> Completions:
    """Completions of the given lengths, every other one ending in EOS."""
    generator = torch.Generator().manual_seed(seed)
    sizes = torch.tensor(lengths)
    batch, group = sizes.shape
    widest = int(sizes.max())
    ids = torch.randint(1, policy.vocab_size, (batch, group, widest), generator=generator)
    finished = (torch.arange(batch * group).view(batch, group) % 2 == 0) & (sizes > 0)
    for b, k in finished.nonzero().tolist():
        ids[b, k, sizes[b, k] - 1] = policy.eos_id
    ids = torch.nn.functional.pad(ids, (0, (width or widest) - widest))
    ids.masked_fill_(torch.arange(ids.shape[2]) >= sizes[..., None], padding)
    return Completions(ids, sizes, finished)


def alone(policy: Policy, prompts: Prompts, completions: Completions, b: int, k: int) -> torch.Tensor:
    """Logits (T, V) of each token of one completion, from a forward of that sequence alone, without any padding."""
    start, size = int(prompts.lengths[b]), int(completions.lengths[b, k])
    ids = torch.cat((prompts.ids[b, :start], completions.ids[b, k, :size]))[None]
    logits = policy.model(input_ids=ids, position_ids=torch.arange(ids.shape[1])[None], use_cache=False).logits
    return policy.restrict(logits[0, start - 1 : start - 1 + size])


def logprobs_alone(
    policy: Policy, prompts: Prompts, completions: Completions, temperature: float = 1.0
) -> torch.Tensor:
    """Log-probs (B, K, T), one sequence at a time."""
    batch, group, width = completions.ids.shape
    rows = []
    for b in range(batch):
        for k in range(group):
            logp = (alone(policy, prompts, completions, b, k) / temperature).log_softmax(-1)
            values = logp.gather(1, completions.ids[b, k, : len(logp), None])[:, 0]
            rows.append(torch.nn.functional.pad(values, (0, width - len(values))))
    return torch.stack(rows).view(batch, group, width)
