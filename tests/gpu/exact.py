"""Whether every fast way is exact on the device, against the general way or against a processor."""

from __future__ import annotations

import os
import warnings
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any
from unittest.mock import patch

import torch
from gpu.results import Checked
from gpu.setting import make_tokeniser
from lm.architectures import InFloat64, make
from lm.ragged import some_completions, some_prompts

from harness.api import Completions, Prompts
from harness.lm.cuda import binding, choice, flex, fused
from harness.lm.cuda.static import StaticPrefix
from harness.lm.decode.copied import Copied
from harness.lm.decode.noise import Noise, exponentials, row_keys
from harness.lm.decode.sampling import SamplingParams, sample
from harness.lm.score import trees
from harness.lm.score.logprobs import score
from harness.lm.switches import GENERAL_WAY, GRAPHS, STATIC

if TYPE_CHECKING:
    from collections.abc import Iterator

    from gpu.setting import Setting

    from harness.lm.model.policy import Policy

_KINDS = ("gpt2", "llama", "qwen3", "mistral-window", "gemma2")
_LENGTHS = [12, 11, 7, 4, 2, 1]
_STAYING = ([0, 1, 3, 4, 6, 7, 8, 10, 11, 13, 14, 15, 17], [1, 2, 5, 9, 12], [0, 4], [1])
_ADAM = {"betas": (0.9, 0.99), "eps": 1e-8}


def checks(setting: Setting) -> Iterator[Checked]:
    """Yield each, as it is done; one that fails by an exception is said, and the others go on."""
    for name, how, check in (
        ("noise", "random bits of a processor, all equal; exponentials within four last places", noise),
        ("static caches and graphs", f"copied caches, float64, {', '.join(_KINDS)}; largest difference", decoding),
        ("texts", "sampled texts of shrinking caches and of a processor, float64", texts),
        ("trees", "padded rows, float64, log-probs and gradients; largest difference", scoring),
        ("FlexAttention", "dense mask, float32, product and gradients", flexible),
        ("bfloat16 bound once", "autocast's own casts, before and after a step", bound),
        ("fused optimiser", "a loop over parameters: AdamW, Adam, SGD", optimisers),
        ("sampler and scorer", "log-probs of drawn tokens in bfloat16; mean difference at most 0.02 nats", agreement),
        ("no wait a token", "PyTorch's own warnings of synchronisation while 64 tokens are drawn", waits),
    ):
        try:
            passed, found = check(setting)
        except Exception as error:  # noqa: BLE001  # what a device does is what is asked
            passed, found = False, f"{type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''}"
        yield Checked(name, passed, found, how)


def _policy(setting: Setting, kind: str, dtype: str = "float64") -> Policy:
    return make(kind, make_tokeniser(setting.folder / "tiny", 320), dtype=dtype, device=setting.device)


def _moved(policy: Policy, prompts: Prompts) -> Prompts:
    return Prompts(prompts.ids.to(policy.device), prompts.lengths.to(policy.device), prompts.texts)


@contextmanager
def _switched(**values: str) -> Iterator[None]:
    with patch.dict(os.environ, values):
        yield


def noise(setting: Setting) -> tuple[bool, str]:
    """Bits are integers, and the same anywhere; a logarithm may round otherwise."""
    here, there = torch.device("cpu"), torch.device(setting.device)
    found = []
    for device in (here, there):
        keys = row_keys(Noise(3, "t", 5), ["a", "b", "ü"], range(4), device)
        found.append((keys.cpu(), exponentials(keys.view(-1), 2, 40, 500).cpu()))
    same = torch.equal(found[0][0], found[1][0])
    one, other = (each[1].view(torch.int64) for each in found)
    apart = int((one - other).abs().max())
    return same and apart <= 4, f"{apart} last places of {one.numel()} numbers"


def decoding(setting: Setting) -> tuple[bool, str]:
    """Logits of all steps, while rows leave and buckets shrink."""
    largest = 0.0
    for kind in _KINDS:
        policy = _policy(setting, kind)
        given = _moved(policy, some_prompts(policy, _LENGTHS))
        with torch.inference_mode(), InFloat64():
            reason = choice.why_not(policy)
            if reason:
                return False, f"{kind}: {reason}"
            sides = [make_of(policy, given.ids, given.lengths, 3, 10) for make_of in (Copied, StaticPrefix)]
            largest = max(largest, _steps(policy, *sides))
        if not setting.toy and not sides[1]._cache.graphs:
            return False, f"{kind}: nothing was captured"
    return largest <= 1e-9, f"{largest:.1e}"


def _steps(policy: Policy, *sides: Any) -> float:
    generator, count, largest = torch.Generator().manual_seed(5), 3 * len(_LENGTHS), 0.0
    for staying in (*_STAYING, None):
        for _ in range(2):
            tokens = torch.randint(1, policy.vocab_size, (count,), generator=generator).to(policy.device)
            for side in sides:
                side.step(tokens)
            largest = max(largest, float((sides[0].logits - sides[1].logits).abs().max()))
        if staying is not None:
            for side in sides:
                side.select(torch.tensor(staying, device=policy.device))
            count = len(staying)
    return largest


def texts(setting: Setting) -> tuple[bool, str]:
    """The same draws by graphs, by shrinking caches and by a processor."""
    found = []
    devices = (setting.device, setting.device, "cpu")
    for device, switches in zip(devices, ({STATIC.variable: "static"}, {GRAPHS.variable: "off"}, {}), strict=True):
        policy = make("qwen3", make_tokeniser(setting.folder / "tiny", 320), device=device)
        prompts = _moved(policy, some_prompts(policy, [7, 1, 4]))
        with _switched(**switches):
            drawn = sample(policy, prompts, ["a", "b", "c"], SamplingParams((1.0, 0.7, 0.0), 24), Noise(0, "t"))
        found.append(drawn.completions.ids.cpu())
    same = all(torch.equal(found[0], other) for other in found[1:])
    return same, f"{found[0].numel()} tokens"


def scoring(setting: Setting) -> tuple[bool, str]:
    """Packed trees against padded rows."""
    largest = 0.0
    for kind in _KINDS:
        found: list[list[torch.Tensor]] = []
        for value in ("", "general"):
            policy = _policy(setting, kind)
            prompts = _moved(policy, some_prompts(policy, [7, 1, 4]))
            done = some_completions(policy, [[5, 1, 3], [0, 6, 2], [1, 1, 4]])
            done = Completions(*(each.to(policy.device) for each in (done.ids, done.lengths, done.finished)))
            with _switched(**{GENERAL_WAY.variable: value}), InFloat64():
                values = score(policy, prompts, done, dropout=False).values
                torch.autograd.backward(values.square().sum())
            slopes = [p.grad for p in policy.model.parameters() if p.grad is not None]
            found.append([values.detach(), *slopes])
        scale = max(float(each.abs().max()) for each in found[1])
        gaps = (float((a - b).abs().max()) / scale for a, b in zip(*found, strict=True))
        largest = max(largest, *gaps)
    return largest <= 1e-9, f"{largest:.1e} of the largest number"


def flexible(setting: Setting) -> tuple[bool, str]:
    """The trial that decides, and on a GPU a whole model through it."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        reason = flex.why_not(torch.device(setting.device))
        if reason or setting.toy:
            return not reason, reason or "the product alone: a processor has no backward of it"
        gaps = []
        for kind in ("llama", "gemma2"):
            policy = _policy(setting, kind, "float32")
            prompts = _moved(policy, some_prompts(policy, [40, 7, 30]))
            done = some_completions(policy, [[20, 1, 3], [0, 6, 2], [30, 1, 4]])
            done = Completions(*(each.to(policy.device) for each in (done.ids, done.lengths, done.finished)))
            values = []
            for numbers in (0, 1 << 60):
                with patch.object(trees, "FLEX_FROM", numbers):
                    values.append(score(policy, prompts, done, dropout=False).values.detach())
            gaps.append(float((values[0] - values[1]).abs().max()))
    return max(gaps) <= 5e-3, f"{max(gaps):.1e} nats, float32"


def bound(setting: Setting) -> tuple[bool, str]:
    """The trial that decides."""
    reason = binding.why_not(torch.device(setting.device))
    return not reason, reason or "the same"


def optimisers(setting: Setting) -> tuple[bool, str]:
    """The trial that decides."""
    device = torch.device(setting.device)
    kinds: tuple[tuple[Any, dict[str, Any]], ...] = (
        (torch.optim.AdamW, _ADAM), (torch.optim.Adam, _ADAM), (torch.optim.SGD, {}),
    )  # fmt: skip
    reasons = [fused.why_not(kind, device, options) for kind, options in kinds]
    return not any(reasons), "; ".join(filter(None, reasons)) or "the same"


def agreement(setting: Setting) -> tuple[bool, str]:
    """What is drawn is scored by the same rounding of the same weights."""
    policy = _policy(setting, "qwen3", "bfloat16")
    prompts = _moved(policy, some_prompts(policy, [30, 12, 5]))
    params = SamplingParams((1.0, 0.8), 24, with_logprobs=True)
    drawn = sample(policy, prompts, ["a", "b", "c"], params, Noise(0, "t"))
    with torch.no_grad():
        ours = score(policy, prompts, drawn.completions, dropout=False).values.double()
    assert drawn.logprobs is not None
    far = (ours - drawn.logprobs)[drawn.completions.mask].abs()
    return float(far.mean()) <= 0.02, f"mean {float(far.mean()):.1e}, largest {float(far.max()):.1e} nats a token"


def waits(setting: Setting) -> tuple[bool | None, str]:
    """The host waits when it looks which rows have ended, and not for a token."""
    if setting.toy:
        return None, "a processor waits for nobody"
    policy = _policy(setting, "gpt2", "bfloat16")
    prompts = _moved(policy, some_prompts(policy, [12, 5]))
    counts = []
    for tokens in (1, 65):
        params = SamplingParams((1.0, 0.5), tokens, suppress_stops=True)
        sample(policy, prompts, ["a", "b"], params, Noise(0, "t"))  # whatever is made once
        with warnings.catch_warnings(record=True) as said:
            warnings.simplefilter("always")
            torch.cuda.set_sync_debug_mode("warn")
            try:
                sample(policy, prompts, ["a", "b"], params, Noise(0, "t"))
            finally:
                torch.cuda.set_sync_debug_mode("default")
        counts.append(sum("synchroniz" in str(each.message) for each in said))
    looks = 64 // 8
    more = counts[1] - counts[0]
    return more <= looks + 2, f"{more} waits in 64 tokens, {looks} looks"
