"""The comparisons on a real pretrained model: what its size leaves of an advantage is what users get."""

from __future__ import annotations

import os
import statistics
import time
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Any
from unittest.mock import patch

import torch
from perf.evaluations import our_answers, plain_answers
from perf.flops import matrix_peak
from perf.ours import our_step
from perf.pace import Side, interleave
from perf.setting import TRL_WARM_UP, says
from perf.table import Measured
from perf.trl_trainers import THEIRS, Match, grpo
from perf.workload import CANDIDATES, NEW_TOKENS, load, tasks
from torch import nn
from transformers.pytorch_utils import Conv1D

from harness.lm.decode.choose import decoder
from harness.lm.model.backbone import evaluating
from harness.lm.model.packed_linear import packed as packed_weights
from harness.lm.switches import GENERAL_WAY, PLAIN_LINEAR
from harness.text.encode import collate

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from perf.setting import Setting
    from perf.workload import Task

#: Prompts of an on-policy step, and of an evaluation.
_PROMPTS, _EVALUATED = 4, 32
#: Decoding steps of one timed round.
_STEPS = 32
#: A round of long steps takes a minute: at most so many.
_ROUNDS = 5
#: Of a decoding step, the share of its products: 45 ms where these take 35.
_SHARE = 35 / 45


def _model(setting: Setting) -> tuple[Path, Task]:
    if setting.real is None:
        raise SystemExit("this comparison needs a pretrained model: --model PATH")
    return setting.real, replace(tasks(setting.real, count=_EVALUATED)["dolly"], batch_size=_PROMPTS)


def _step(setting: Setting) -> tuple[Path, Task]:
    """Return prompts that are the same in every step, so that rounds differ by the machine alone."""
    model, task = _model(setting)
    by_length = sorted(task.rows, key=lambda row: len(row.prompt))
    rows = tuple(by_length[len(by_length) * (2 * place + 1) // (2 * _PROMPTS)] for place in range(_PROMPTS))
    return model, replace(task, rows=rows)


def _flat() -> dict[str, Any]:
    return {"use_sft_term": False, "temperatures": [1.0] * CANDIDATES, "same_length": True}


def grpo_step(setting: Setting) -> list[Measured]:
    """An on-policy step against TRL's GRPO."""
    model, task = _step(setting)
    rounds = min(_ROUNDS, setting.rounds)
    sides = {
        "ours": Side.of(our_step, model, task, "eso", **_flat()),
        THEIRS: Side(grpo, (Match(setting.folder, model, task, TRL_WARM_UP + rounds, same_length=True),)),
    }
    seconds = setting.in_turns(sides, rounds=rounds, warm_up=TRL_WARM_UP)
    return [Measured.of("real model, on-policy step", says(task), seconds, other=THEIRS, aim=5.0)]


def ways(setting: Setting) -> list[Measured]:
    """An on-policy step on the fast way against the general one, and with weights packed against not."""
    model, task = _step(setting)
    ours = Side.of(our_step, model, task, "eso", **_flat())
    sides = {
        "ours": ours,
        "general": replace(ours, environment={GENERAL_WAY.variable: GENERAL_WAY.value}),
        "not packed": replace(ours, environment={PLAIN_LINEAR.variable: PLAIN_LINEAR.value}),
    }
    seconds = setting.in_turns(sides, rounds=min(_ROUNDS, setting.rounds))
    return [
        Measured.of(f"real model, on-policy step, {name}", says(task), seconds, other=other, aim=None)
        for name, other in (("fast way against general", "general"), ("packed weights against not", "not packed"))
    ]


def evaluation(setting: Setting) -> list[Measured]:
    """One draw for Dolly prompts against ``generate`` over length-sorted batches, at its best batch size."""
    model, task = _model(setting)
    sizes = (8, 16, 32)
    sides = {"ours": Side.of(our_answers, model, task)}
    sides |= {f"generate {size}": Side.of(plain_answers, model, task, size) for size in sizes}
    seconds = setting.in_turns(sides, rounds=min(_ROUNDS, setting.rounds))
    best = min((f"generate {size}" for size in sizes), key=seconds.median)
    prompts = f"{len(task.rows)} Dolly prompts of {task.prompt_tokens:.0f} tokens, {NEW_TOKENS} new tokens"
    what = f"{prompts}, best batch size of {sizes}: {best}"
    return [Measured.of("real model, evaluation generation", what, seconds, other=best, aim=2.5)]


def bfloat16(setting: Setting) -> list[Measured]:
    """An on-policy step under bfloat16 against float32."""
    model, task = _step(setting)
    sides = {name: Side.of(our_step, model, task, "eso", dtype=name, **_flat()) for name in ("bfloat16", "float32")}
    seconds = setting.in_turns(sides, rounds=min(_ROUNDS, setting.rounds))
    multiplies = torch.ops.mkldnn._is_mkldnn_bf16_supported()  # torch has no public question for it
    note = f"the processor {'multiplies' if multiplies else 'does not multiply'} bfloat16"
    name = "real model, on-policy step, bfloat16 against float32"
    aim = 1.5 if multiplies else None
    return [Measured.of(name, says(task), seconds, other="float32", ours="bfloat16", aim=aim, note=note)]


def decoding(setting: Setting) -> list[Measured]:
    """One step of decoding, of all candidates of a few prompts, beside the products that it cannot do without."""
    model, task = _model(setting)
    rows = _PROMPTS * CANDIDATES
    packed, plain = Decoding(model, task), Decoding(model, task, packed=False)
    sides = {"ours": packed.steps, "not packed": plain.steps, "products": packed.products}
    seconds = interleave(sides, rounds=setting.rounds)
    ours, other, products = (seconds.median(name) * 1e3 for name in sides)
    low, high = seconds.ratios("products", "ours")
    ratio = seconds.ratio("products", "ours")
    peak = 2 * rows * sum(layer.weight.numel() for layer in packed.layers) / matrix_peak() * 1e3
    what = f"{rows} rows; other: the products of a step alone, with the same packed weights; ratio: their share"
    note = f"weights not packed: {other:.1f} ms; products at the rate of a large square one: {peak:.1f} ms"
    name, count = "real model, decoding a step", setting.rounds
    return [Measured(name, what, ours, products, ratio, low, high, count, _SHARE, unit="ms", note=note)]


class Decoding:
    """Rows that are decoded; prompts are read and weights are packed before anything is timed."""

    def __init__(self, folder: Path, task: Task, *, packed: bool = True) -> None:
        """Load the model; weights are packed unless ``packed`` is false."""
        self._switches = {} if packed else {PLAIN_LINEAR.variable: PLAIN_LINEAR.value}
        self._policy = load(folder)
        self._prompts = collate(task.rows[:_PROMPTS]).prompts
        draws = torch.Generator().manual_seed(0)
        self._tokens = torch.randint(5, 5000, (_STEPS, _PROMPTS * CANDIDATES), generator=draws)

    @property
    def layers(self) -> list[Any]:
        """What multiplies, the head included."""
        return [module for module in self._policy.model.modules() if isinstance(module, (nn.Linear, Conv1D))]

    def steps(self) -> float:
        """Decode some tokens of each row, and return the median of their seconds."""
        with self._ready():
            ids, lengths = self._prompts.ids, self._prompts.lengths
            rows = decoder(self._policy, ids, lengths, repeats=CANDIDATES, room=_STEPS)
            return _median(rows.step, self._tokens)

    def products(self) -> float:
        """Apply every linear layer to as many rows, one after the other, as often; return the median of the seconds."""
        layers = self.layers
        draws = torch.Generator().manual_seed(0)
        width = len(self._tokens[0])
        inputs = {size: torch.randn(width, size, generator=draws) for size in set(map(_width, layers))}
        with self._ready():
            return _median(lambda _: [layer(inputs[_width(layer)]) for layer in layers], self._tokens)

    @contextmanager
    def _ready(self) -> Iterator[None]:
        with (
            patch.dict(os.environ, self._switches),
            torch.inference_mode(),
            evaluating(self._policy.model),
            packed_weights(self._policy, uses=NEW_TOKENS),
        ):
            yield


def _width(layer: nn.Module) -> int:
    weight: Any = layer.weight
    return int(weight.shape[0 if isinstance(layer, Conv1D) else 1])


def _median(call: Callable[[torch.Tensor], object], tokens: torch.Tensor) -> float:
    seconds = []
    for each in tokens:
        began = time.perf_counter()
        call(each)
        seconds.append(time.perf_counter() - began)
    return statistics.median(seconds)
