"""What is measured, in the order of what is wanted most."""

from __future__ import annotations

import importlib.util
import statistics
import time
from typing import TYPE_CHECKING, Any
from unittest.mock import patch

import torch
from gpu.results import Measured
from gpu.roofline import Work
from gpu.setting import some_rows, text_rows
from perf.ours import Steps, our_step
from perf.pace import Side, in_turns
from perf.workload import CANDIDATES, Task, load

from harness.in_parts import free_memory
from harness.lm.decode.noise import Noise
from harness.lm.decode.sampling import SamplingParams, sample
from harness.lm.score import trees
from harness.lm.score.logprobs import score
from harness.text.encode import collate

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from gpu.roofline import Rates
    from gpu.setting import Setting

    from harness.api import Batch, Completions
    from harness.lm.model.policy import Policy

#: The methods of the paper's timing table and those beside them: what makes k = 4 of them, answers that are drawn for a
#: prompt, answers that are trained on, and passes over these.
METHODS: Mapping[str, tuple[dict[str, Any], int, int, int]] = {
    "eso": ({}, 4, 5, 1),
    "sft": ({}, 0, 1, 1),
    "unlikelihood": ({}, 4, 5, 1),
    "drl": ({}, 1, 2, 1),
    "rrhf": ({}, 4, 5, 1),
    "rloo": ({"num_generations": 4}, 4, 4, 1),
    "ppo": ({}, 1, 1, 4),
    "dpo": ({}, 0, 2, 1),
}
_AIMS = {"eso": "at most 0.4 s (A800, published: 3.2 s)"}
#: Steps that are timed, at most; fewer where the time is short, and none below so many seconds.
_ROUNDS, _LEAST = 5, 5.0
#: Share of what is left that one method may take.
_SHARE = 0.12


def paper(setting: Setting, rates: Rates) -> Iterator[Measured]:
    """A step of every method in the paper's timing case, with answers that never end."""
    sizes = setting.sizes
    model = setting.build("paper")
    task = Task("random tokens", some_rows(sizes, sizes.paper_ids, 2 * sizes.batch), sizes.batch)
    work = Work.of(load(model, dtype="bfloat16"))
    for method, (options, group, answers, passes) in METHODS.items():
        name = f"paper's case, {method}"
        if setting.left() < _LEAST:
            yield Measured(name, None, "s", "no time was left")
            continue
        until = time.monotonic() + _SHARE * setting.left()
        steps = Steps(
            model,
            task,
            method,
            dtype="bfloat16",
            same_length=True,
            device=setting.device,
            new_tokens=sizes.new,
            **options,
        )
        seconds: list[float] = []
        while len(seconds) < _ROUNDS and (len(seconds) < 2 or time.monotonic() < until):
            steps.take()
            seconds.append(steps.segment.log[-1].total_seconds)
        last = steps.segment.log[-1]
        phases = ", ".join(f"{phase} {value:.3f}" for phase, value in last.seconds.items() if value > 0.0005)
        prompts = [len(row.prompt) for row in task.rows[: sizes.batch]]
        by = (
            f"{len(seconds)} steps of the training loop, the first not counted: batch {sizes.batch}, prompts to "
            f"{sizes.prompt}, {sizes.new} new tokens, k = {group}, bfloat16; last: {phases} s"
        )
        bound = passes * _trained(work, rates, prompts, answers, sizes.new)
        bound += work.decoding(rates, prompts, group, sizes.new) if group else 0.0
        yield Measured.of(name, seconds, "s", by, roofline=bound, aim=_AIMS.get(method, ""))
        del steps
        free_memory()


def _trained(work: Work, rates: Rates, prompts: list[int], answers: int, new: int) -> float:
    tokens = sum(prompts) + len(prompts) * answers * new
    pairs = sum(size**2 / 2 + answers * new * (size + new / 2) for size in prompts)
    return work.training(rates, tokens, pairs)


def on_policy(setting: Setting, rates: Rates) -> Iterator[Measured]:  # as all cases
    """SmolLM2-135M's on-policy step against TRL's GRPO, with and without vLLM, in turns."""
    from perf.trl_trainers import THEIRS, Match, grpo

    sizes = setting.sizes
    model = setting.model or setting.build("smol")
    new = sizes.new
    task = text_rows(model, prompt=4 * sizes.prompt if setting.toy else sizes.prompt, new=new, count=16)
    rounds = 3 if setting.toy else 5
    flat = {"use_sft_term": False, "temperatures": [1.0] * CANDIDATES, "same_length": True, "new_tokens": new}
    dtype = "float32" if setting.toy else "bfloat16"
    ours = Side.of(our_step, model, task, "eso", device=setting.device, dtype=dtype, **flat)
    match: dict[str, Any] = {"same_length": True, "device": setting.device, "new_tokens": new}
    trl = importlib.util.find_spec("trl") is not None
    vllm = importlib.util.find_spec("vllm") is not None and not setting.toy
    says = f"{task.batch_size} prompts, k = {CANDIDATES}, {new} new tokens, {dtype}, {model.name}"
    for name, there, with_vllm in (("TRL", trl, False), ("TRL and vLLM", trl and vllm, True)):
        title = f"on-policy step, {name} against ours{' with vLLM' if with_vllm else ''}"
        if not there:
            missing = "TRL" if not trl else "vLLM"
            yield Measured(title, None, "times", f"{missing} is not installed here, or needs a GPU")
            continue
        if setting.left() < (20 if setting.toy else 60):
            yield Measured(title, None, "times", "no time was left")
            continue
        mine = ours
        if with_vllm:
            mine = Side.of(our_step, model, task, "eso", device=setting.device, dtype=dtype, engine="vllm", **flat)
        theirs = Side(grpo, (Match(setting.folder, model, task, 2 + rounds, vllm=with_vllm, **match),))
        seconds = in_turns({"ours": mine, THEIRS: theirs}, rounds=rounds, threads=2, warm_up=2)
        low, high = seconds.ratios(THEIRS, "ours")
        ratio = seconds.ratio(THEIRS, "ours")
        by = f"{rounds} rounds in turns, each in its process: {seconds.median('ours'):.3g} s and {seconds.median(THEIRS):.3g} s; {says}"  # noqa: E501
        yield Measured(title, ratio, "times", by, low, high, rounds)


def output_tokens(setting: Setting, rates: Rates) -> Iterator[Measured]:
    """Output tokens a second of a 0.6B Qwen3 shape."""
    prompts, group, new = setting.sizes.drawn
    policy = load(setting.build("qwen"), dtype="bfloat16", device=setting.device)
    rows = some_rows(setting.sizes, setting.sizes.qwen_ids, prompts)
    batch = collate(rows, policy.device)
    params = SamplingParams((1.0,) * group, new, suppress_stops=True)
    speeds: list[float] = []
    for place in range(1 + _ROUNDS):
        if speeds and setting.left() < _LEAST:
            break
        setting.wait()
        began = time.perf_counter()
        sample(policy, batch.prompts, batch.ids, params, Noise(place, "t"))
        setting.wait()
        if place:  # the first captures
            speeds.append(prompts * group * new / (time.perf_counter() - began))
    bound = prompts * group * new / Work.of(policy).decoding(rates, [len(row.prompt) for row in rows], group, new)
    by = f"{prompts} prompts, {group} answers of {new} tokens each, bfloat16, prefill included"
    yield Measured.of("output tokens a second, 0.6B", speeds, "tokens/s", by, roofline=bound, aim="at least 20,000")


def utilisation(setting: Setting, rates: Rates) -> Iterator[Measured]:
    """Model FLOPs utilisation of a forward and backward over 16k packed tokens of a 0.6B Qwen3 shape."""
    sizes = setting.sizes
    policy = load(setting.build("qwen"), dtype="bfloat16", device=setting.device)
    each = sizes.prompt + CANDIDATES * sizes.new
    count = max(1, sizes.packed // each)
    rows = [row for row in some_rows(sizes, sizes.qwen_ids, 40 * count) if len(row.prompt) >= 0.9 * sizes.prompt][
        :count
    ]
    batch = collate(rows, policy.device)
    done = batch.demonstrations
    for _ in range(CANDIDATES - 1):
        done = done.join(batch.demonstrations)
    lengths = batch.prompts.lengths.tolist()
    tokens = sum(lengths) + len(rows) * CANDIDATES * (sizes.new - 1)
    pairs = sum(size**2 / 2 + CANDIDATES * sizes.new * (size + sizes.new / 2) for size in lengths)
    operations = 3 * Work.of(policy).forward(tokens, pairs)
    forms = {"dense mask": 1 << 60} if setting.toy else {"dense mask": 1 << 60, "FlexAttention": 0}
    for form, numbers in forms.items():
        with patch.object(trees, "FLEX_FROM", numbers):
            seconds = _packed_seconds(setting, policy, batch, done)
        yield from _shares(rates, form, tokens, operations, seconds)


def _packed_seconds(setting: Setting, policy: Policy, batch: Batch, done: Completions) -> list[float]:
    """Return the seconds of some forwards and backwards; the first two compile, and find their memory."""
    seconds: list[float] = []
    for place in range(2 + _ROUNDS):
        if seconds and setting.left() < _LEAST:
            break
        setting.wait()
        began = time.perf_counter()
        torch.autograd.backward(score(policy, batch.prompts, done, dropout=False).values.mean())
        setting.wait()
        policy.model.zero_grad()
        if place > 1:
            seconds.append(time.perf_counter() - began)
    return seconds


def _shares(rates: Rates, form: str, tokens: int, operations: float, seconds: list[float]) -> Iterator[Measured]:
    by = f"{tokens} packed tokens, {form}: {statistics.median(seconds):.3f} s; operations of products, attention's where tokens meet"  # noqa: E501
    for name, peak in (("measured", rates.operations), ("stated", rates.stated)):
        if peak is None:
            continue
        shares = [100 * operations / each / peak for each in seconds]
        aim = "at least 30 %" if name == "stated" else ""
        yield Measured.of(f"MFU, 0.6B, {form}, of the {name} rate", shares, "%", by, roofline=100.0, aim=aim)


CASES: Mapping[str, Callable[[Setting, Rates], Iterator[Measured]]] = {
    "paper": paper,
    "on-policy": on_policy,
    "output-tokens": output_tokens,
    "mfu": utilisation,
}
