"""``generate``: the answers of one checkpoint on one data set under one decoding."""

from __future__ import annotations

import functools
import hashlib
import time
from collections import Counter
from copy import copy
from typing import TYPE_CHECKING, Any

from harness.in_parts import decoding_batcher, decoding_costs
from harness.lm.cuda.memory import decoded_token_numbers, decoding_tokens
from harness.lm.decode.noise import Noise, noise_digest
from harness.lm.decode.sampling import SamplingParams, sample
from harness.lm.model.packed_linear import packed
from harness.lm.way import way_of
from harness.spec.results.generate import Answer, GenerateSummary
from harness.stages.environment import environment
from harness.stages.setup import borrow_policy, open_parts, peak_memory, prepared_rows
from harness.stages.stored_rows import read
from harness.text.encode import Encoded, EncodedRow, EncodingParams, collate, encode
from harness.text.formats import format_of
from harness.text.stops import answer_texts

if TYPE_CHECKING:
    from harness.in_parts import Batcher
    from harness.lm.model.policy import Policy
    from harness.plugins.registry import Registry
    from harness.spec.stages.generate import GenerateConfig
    from harness.stages.request import StageRequest, Tell
    from harness.store.parts import Parts
    from harness.store.records import Record
    from harness.store.stages import Store

#: Keys and values that one batch may hold, in numbers; what bounds the memory of decoding.
_CACHE_NUMBERS = 2**27
#: Answers that are drawn together, at most.
_ROWS = 512


def run(
    request: StageRequest[GenerateConfig],
    store: Store,
    registry: Registry,  # noqa: ARG001  # the common signature
    tell: Tell,
) -> Record:
    """Answer every prompt ``draws`` times and store the texts in the order of the rows."""
    config, asking = request.config, request.config.asking
    where = environment(request)
    policy = copy(borrow_policy(request, store, "checkpoint", asking.loading, config.at))
    policy.stops = policy.stops.named(policy.tokeniser, config.decoding.stop)
    limit = config.decoding.max_new_tokens
    rows = prepared_rows(request, store)
    encoded = encode(
        read(rows),
        policy.tokeniser,
        asking.template,
        EncodingParams(
            max_prompt=asking.max_prompt_length, max_completion=limit, training=False, overlong=asking.overlong
        ),
        positions=policy.positions_limit,
        where=rows.label,
    )
    parts = open_parts(request, store, where)
    began = time.perf_counter()
    answers: dict[str, list[dict[str, Any]]] = {}
    total = len(encoded)
    batcher = _batcher(policy)
    cut = batcher.cut(_costs(encoded, config.draws, limit, batcher.budget))
    with packed(policy, uses=limit * len(cut)):
        for part in cut:
            batch = [encoded.rows[place] for place in part]
            ids = [row.id for row in batch]
            # by batches as they are cut, so that each is drawn in the company that it would have in one go
            drawn = parts.keep(ids, functools.partial(_answer, policy, batch, config, batcher))
            answers.update(zip(ids, drawn, strict=True))
            rate = sum(a["tokens"] for group in answers.values() for a in group) / _seconds(parts, began)
            tell(len(answers), total, "prompt", f"{rate:.0f} tokens/s")
    seconds = _seconds(parts, began)
    samples = [Answer(**answer) for row in encoded.rows for answer in answers[row.id]]
    with store.draft(request.kind, request.id) as draft:
        draft.write_lines(Answer, samples)
        draft.write(_summary(samples, encoded, policy, seconds, request))
        record = store.commit(
            draft, config=config.to_json(), environment=where, label=request.label, measured=[GenerateSummary.file]
        )
    parts.discard()
    return record


def _seconds(parts: Parts, began: float) -> float:
    """Return how long the answers took, those that a killed process drew included."""
    return time.perf_counter() - began + parts.seconds


def _batcher(policy: Policy) -> Batcher:
    """Return what cuts the rows so that their keys and values fit in memory; texts do not depend on the cut."""
    return decoding_batcher(max(1, min(_CACHE_NUMBERS // decoded_token_numbers(policy), decoding_tokens(policy))))


def _costs(encoded: Encoded, draws: int, limit: int, budget: int) -> list[int]:
    """Return what each row costs: the tokens that it may come to hold, or so many that few enough rows fit."""
    least = -(-budget * draws // _ROWS)
    return [max(least, cost) for cost in decoding_costs([len(row.prompt) for row in encoded.rows], draws, limit)]


def _answer(
    policy: Policy, rows: list[EncodedRow], config: GenerateConfig, batcher: Batcher
) -> list[list[dict[str, Any]]]:
    """Return the answers to each row, a draw after the other, as plain JSON."""
    decoding, draws = config.decoding, config.draws
    batch = collate(rows, policy.device)
    drawn = sample(
        policy,
        batch.prompts,
        batch.ids,
        SamplingParams(
            (decoding.temperature,) * draws,
            decoding.max_new_tokens,
            top_k=decoding.top_k,
            top_p=decoding.top_p,
        ),
        _noise(config),
        batcher=batcher,
    )
    done = drawn.completions
    lengths = done.answer_lengths.cpu()
    texts = answer_texts(policy.tokeniser, policy.stops, done)
    return [
        [
            {
                "id": row.id,
                "draw": k,
                "text": texts[b * draws + k][0],
                "stop": texts[b * draws + k][1],
                "tokens": int(lengths[b, k]),
                "finished": bool(done.finished[b, k]),
                "cut": row.cut,
                "entropy": float(drawn.entropy[b, k]),
            }
            for k in range(draws)
        ]
        for b, row in enumerate(rows)
    ]


def _noise(config: GenerateConfig) -> Noise:
    return Noise(config.seed, "evaluate")


def _summary(
    samples: list[Answer], encoded: Encoded, policy: Policy, seconds: float, request: StageRequest[GenerateConfig]
) -> GenerateSummary:
    tokens = sum(answer.tokens for answer in samples)
    source = format_of(request.config.asking.template, policy.tokeniser, where=request.label).chat_template
    return GenerateSummary(
        n=len(encoded),
        draws=request.config.draws,
        prompts_cut=encoded.counts.get("cut", 0),
        prompts_dropped=encoded.counts.get("dropped", 0),
        truncated=sum(not answer.finished for answer in samples),
        empty=sum(answer.tokens == 0 for answer in samples),
        tokens=tokens,
        seconds=seconds,
        tokens_per_second=tokens / seconds if seconds else 0.0,
        entropy=sum(answer.entropy or 0.0 for answer in samples) / len(samples),
        peak_memory_bytes=peak_memory(request.runtime.device),
        concurrent=request.runtime.concurrent,
        way=str(way_of(policy)),
        chat_template_sha256=None if source is None else hashlib.sha256(source.encode()).hexdigest(),
        stops=policy.stops.names(policy.tokeniser),
        ended=dict(Counter(answer.stop for answer in samples if answer.stop is not None)),
        noise=noise_digest([_noise(request.config)]) if request.config.decoding.temperature > 0 else None,
    )
