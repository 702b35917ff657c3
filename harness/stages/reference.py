"""``precompute``: log-probs of the preferred and the rejected answers under the model at which a method starts.

They are the same whatever the method, its options and its schedule, so rows that start at one checkpoint and read the
data alike share one such stage, and train without a second model in memory.
"""

from __future__ import annotations

import functools
import time
from typing import TYPE_CHECKING, Any

import torch

from harness.errors import InputError, StageError
from harness.lm.score.logprobs import ScoringModule, score
from harness.lm.text.encode import collate
from harness.stages.setup import borrow_policy, encode_rows, environment, open_parts, peak_memory
from harness.training.budget import CPU_TOKENS
from harness.training.budget import parts as cut
from harness.training.checkpoint import writing
from harness.training.reference import FILE, answer_key, save
from harness.training.summary import module_digest

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from torch import Tensor

    from harness.lm.model.policy import Policy
    from harness.lm.text.encode import Encoded, EncodedRow
    from harness.plugins import Registry
    from harness.stages.order import Order, Tell
    from harness.store import Record, Store

SUMMARY = "summary.json"

#: Tokens of one forward on a GPU. Fixed, not found from the memory that is free: a sum's last bit depends on the batch,
#: and the stage must give the same bits whenever it is made.
_GPU_TOKENS = 16384


def run(order: Order, store: Store, registry: Registry, tell: Tell) -> Record:  # noqa: ARG001  # the common signature
    """Score every pair of the training rows without dropout, and store a value a token."""
    where, recipe = environment(order), order.config["recipe"]
    policy = borrow_policy(order, store, "start")
    encoded = encode_rows(
        order,
        store,
        policy,
        max_prompt=recipe["max_prompt_length"],
        max_completion=recipe["max_completion_length"],
        training=True,
        train_eos=recipe["train_eos"],
    )
    pairs = [row for row in encoded.rows if row.chosen is not None and row.rejected is not None]
    if not pairs:
        raise InputError("no training row has a chosen and a rejected answer", where=order.label)
    digest = module_digest(policy.model)
    parts = open_parts(order, store, where)
    began = time.perf_counter()
    known: dict[bytes, Tensor] = {}
    done = 0
    for rows in _batches(pairs, policy):
        kept = parts.keep([row.id for row in rows], functools.partial(_plain, policy, rows))
        known.update(_tensors(kept))
        done += len(rows)
        rate = sum(map(len, known.values())) / (time.perf_counter() - began + parts.seconds)
        tell(done, len(pairs), "pair", f"{rate:.0f} tokens/s")
    seconds = time.perf_counter() - began + parts.seconds
    if module_digest(policy.model) != digest:
        raise StageError("the weights of the reference model were changed", where=order.label)
    with store.draft(order.kind, order.id) as draft:
        with writing(draft.folder):
            save(dict(sorted(known.items())), draft.folder / FILE)
        draft.write_json(SUMMARY, _summary(known, pairs, encoded, seconds, digest, order))
        record = draft.commit(config=order.config, environment=where, label=order.label, measured=[SUMMARY])
    parts.discard()
    return record


def _batches(pairs: Sequence[EncodedRow], policy: Policy) -> Iterator[list[EncodedRow]]:
    """Cut the rows into batches of like length."""
    costs = [len(row.prompt) + sum(len(answer.ids) for answer in (row.chosen, row.rejected) if answer) for row in pairs]
    budget = CPU_TOKENS if policy.device.type == "cpu" else _GPU_TOKENS
    return ([pairs[place] for place in places] for places in cut(costs, budget))


def _plain(policy: Policy, rows: list[EncodedRow]) -> list[list[Any]]:
    """Return each answer's key, type and values as plain JSON; as float64 the values of every type are exact."""
    found = _values(policy, rows).items()
    return [[key.hex(), str(value.dtype).removeprefix("torch."), value.double().tolist()] for key, value in found]


def _tensors(plain: list[list[Any]]) -> dict[bytes, Tensor]:
    return {
        bytes.fromhex(key): torch.tensor(values, dtype=torch.float64).to(getattr(torch, dtype))
        for key, dtype, values in plain
    }


def _values(policy: Policy, rows: list[EncodedRow]) -> dict[bytes, Tensor]:
    batch = collate(rows, policy.device)
    assert batch.pairs is not None
    with torch.no_grad():
        answers = batch.pairs.chosen.join(batch.pairs.rejected)
        found = score(policy, batch.prompts, answers, dropout=False, module=ScoringModule(policy)).values.cpu()
    return {
        answer_key(row.prompt, answer.ids): found[place, k, : len(answer.ids)].clone()
        for place, row in enumerate(rows)
        for k, answer in enumerate((row.chosen, row.rejected))
        if answer is not None
    }


def _summary(
    known: dict[bytes, Tensor],
    pairs: Sequence[EncodedRow],
    encoded: Encoded,
    seconds: float,
    digest: str,
    order: Order,
) -> dict[str, Any]:
    tokens = sum(len(value) for value in known.values())
    return {
        "pairs": len(pairs),
        "answers": len(known),
        "tokens": tokens,
        "seconds": seconds,
        "tokens_per_second": tokens / seconds if seconds else 0.0,
        "weights_sha256": digest,
        "rows": {"dropped_overlong": encoded.counts["dropped"], "without_pair": len(encoded) - len(pairs)},
        "peak_memory_bytes": peak_memory(order.runtime["device"]),
        "concurrent": order.runtime["concurrent"],
    }
