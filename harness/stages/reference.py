"""``precompute``: log-probs of the preferred and the rejected answers under the model at which a method starts.

They are the same whatever the method, its options and its schedule, so rows that start at one checkpoint and read the
data alike share one such stage, and train without a second model in memory.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import torch

from harness import disk
from harness.errors import InputError, StageError
from harness.in_parts import Batcher
from harness.lm.cuda.sizes import FIXED_TOKENS
from harness.lm.score.logprobs import ScoringModule, score
from harness.spec.results.files import LOGPROBS
from harness.spec.results.reference import PairRows, ReferenceSummary
from harness.stages.environment import environment
from harness.stages.setup import borrow_policy, open_parts, peak_memory, prepared_rows
from harness.stages.stored_rows import read
from harness.text.encode import EncodingParams, collate, encode
from harness.training.budget import HINT
from harness.training.checkpoint import writing
from harness.training.reference import answer_key, save
from harness.training.weights import module_digest

if TYPE_CHECKING:
    from collections.abc import Iterable

    from torch import Tensor

    from harness.lm.model.policy import Policy
    from harness.plugins.registry import Registry
    from harness.spec.stages.reference import ReferenceConfig
    from harness.stages.request import StageRequest, Tell
    from harness.store.records import Record
    from harness.store.stages import Store
    from harness.text.encode import EncodedRow


def run(
    request: StageRequest[ReferenceConfig],
    store: Store,
    registry: Registry,  # noqa: ARG001  # the common signature
    tell: Tell,
) -> Record:
    """Score every pair of the training rows without dropout, and store a value a token."""
    where, config = environment(request), request.config
    # an adapter stays by itself: merging rounds, and a first step would not start at what is stored
    policy = borrow_policy(request, store, "start", config.loading, merged=False)
    rows = prepared_rows(request, store)
    encoded = encode(
        read(rows),
        policy.tokeniser,
        config.template,
        EncodingParams.of_training(config.recipe),
        positions=policy.positions_limit,
        where=rows.label,
    )
    pairs = [row for row in encoded.rows if row.chosen is not None and row.rejected is not None]
    if not pairs:
        raise InputError("no training row has a chosen and a rejected answer", where=request.label)
    digest = module_digest(policy.model)
    parts = open_parts(request, store, where)
    began = time.perf_counter()
    values: dict[bytes, Tensor] = {}
    done = 0
    scored = _batcher(policy).kept(
        [_tokens(row) for row in pairs],
        lambda part: _plain(policy, [pairs[place] for place in part]),
        keep=parts.keep,
        key=lambda part: [pairs[place].id for place in part],
    )
    for part, answers in scored:
        values.update(_tensors(answers))
        done += len(part)
        rate = sum(map(len, values.values())) / (time.perf_counter() - began + parts.seconds)
        tell(done, len(pairs), "pair", f"{rate:.0f} tokens/s")
    seconds = time.perf_counter() - began + parts.seconds
    if module_digest(policy.model) != digest:
        raise StageError("the weights of the reference model were changed", where=request.label)
    with store.draft(request.kind, request.id) as draft:
        with writing(draft.folder), disk.by_library(draft.folder):
            save(dict(sorted(values.items())), draft.folder / LOGPROBS)
        draft.write(
            ReferenceSummary(
                pairs=len(pairs),
                answers=len(values),
                tokens=(tokens := sum(map(len, values.values()))),
                seconds=seconds,
                tokens_per_second=tokens / seconds if seconds else 0.0,
                weights_sha256=digest,
                rows=PairRows(dropped_overlong=encoded.counts["dropped"], without_pair=len(encoded) - len(pairs)),
                peak_memory_bytes=peak_memory(request.runtime.device),
                concurrent=request.runtime.concurrent,
            )
        )
        record = store.commit(
            draft, config=config.to_json(), environment=where, label=request.label, measured=[ReferenceSummary.file]
        )
    parts.discard()
    return record


def _batcher(policy: Policy) -> Batcher:
    return Batcher(FIXED_TOKENS[policy.device.type], doing="scoring", hint=HINT)


def _tokens(row: EncodedRow) -> int:
    """Return the tokens of a prompt and of both its answers."""
    return len(row.prompt) + sum(len(answer.ids) for answer in (row.chosen, row.rejected) if answer)


def _plain(policy: Policy, rows: list[EncodedRow]) -> list[list[list[Any]]]:
    """Return each row's answers: key, type and values as plain JSON; as float64 the values of every type are exact."""
    return [
        [[key.hex(), str(value.dtype).removeprefix("torch."), value.double().tolist()] for key, value in values.items()]
        for values in _values(policy, rows)
    ]


def _tensors(plain: Iterable[list[list[Any]]]) -> dict[bytes, Tensor]:
    return {
        bytes.fromhex(key): torch.tensor(values, dtype=torch.float64).to(getattr(torch, dtype))
        for row in plain
        for key, dtype, values in row
    }


def _values(policy: Policy, rows: list[EncodedRow]) -> list[dict[bytes, Tensor]]:
    batch = collate(rows, policy.device)
    assert batch.pairs is not None
    with torch.no_grad():
        answers = batch.pairs.chosen.join(batch.pairs.rejected)
        logprobs = score(policy, batch.prompts, answers, dropout=False, module=ScoringModule(policy)).values.cpu()
    return [
        {
            answer_key(row.prompt, answer.ids): logprobs[place, k, : len(answer.ids)].clone()
            for k, answer in enumerate((row.chosen, row.rejected))
            if answer is not None
        }
        for place, row in enumerate(rows)
    ]
