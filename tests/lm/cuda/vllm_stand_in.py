"""What the engine uses of vLLM's interface (0.33), by the same names and arguments, sampling from transformers' model.

It is as strict as vLLM where that matters: weights that are asleep are gone, keys and values too, and of a prefix that
was read with other weights the cache would still have the answers.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from transformers import AutoConfig, AutoModelForCausalLM

from harness.text.tokenise import Tokeniser

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

#: Engines that were built, the last one last.
BUILT: list[LLM] = []


@dataclass(frozen=True)
class SamplingParams:
    n: int = 1
    temperature: float = 1.0
    top_p: float = 1.0
    top_k: int = 0
    seed: int | None = None
    stop: str | list[str] | None = None
    stop_token_ids: list[int] | None = None
    max_tokens: int | None = 16
    min_tokens: int = 0
    logprobs: int | None = None
    detokenize: bool = True
    include_stop_str_in_output: bool = False
    allowed_token_ids: list[int] | None = None


@dataclass
class Logprob:
    logprob: float
    rank: int | None = None
    decoded_token: str | None = None


@dataclass
class CompletionOutput:
    index: int
    token_ids: Sequence[int]
    logprobs: list[dict[int, Logprob]] | None
    finish_reason: str | None = None


@dataclass
class RequestOutput:
    prompt_token_ids: list[int]
    outputs: list[CompletionOutput]


class _Model:
    """The worker's model: weights come by transformers' names."""

    def __init__(self, inner: Any) -> None:
        self.inner = inner

    def load_weights(self, weights: Sequence[tuple[str, torch.Tensor]]) -> set[str]:
        own = dict(self.inner.named_parameters())
        for name, weight in weights:
            own[name].data.copy_(weight)
        return {name for name, _ in weights}


class LLM:
    def __init__(
        self,
        model: str,
        *,
        dtype: str = "auto",
        seed: int = 0,
        gpu_memory_utilization: float = 0.92,
        trust_remote_code: bool = False,
        load_format: str = "auto",
        max_model_len: int | None = None,
        enable_sleep_mode: bool = False,
        enable_prefix_caching: bool | None = None,
        logprobs_mode: str = "raw_logprobs",
    ) -> None:
        assert enable_sleep_mode
        assert not trust_remote_code
        assert (load_format, logprobs_mode) == ("dummy", "raw_logprobs")
        assert max_model_len is not None
        self.max_model_len, self.seed = max_model_len, seed
        self.memory = gpu_memory_utilization
        config = AutoConfig.from_pretrained(model)
        self._tokeniser = Tokeniser.load(Path(model))
        build: Any = AutoModelForCausalLM.from_config
        with torch.random.fork_rng():
            inner = build(config, dtype=getattr(torch, dtype)).eval()
        self._model = _Model(inner)
        torch.rand(3)  # as the engine does with the process's own numbers
        self._asleep: set[str] = set()
        self._read: dict[tuple[int, ...], torch.Tensor] | None = {} if enable_prefix_caching else None
        self.calls: list[str] = []
        BUILT.append(self)

    def apply_model(self, func: Callable[[Any], Any]) -> list[Any]:
        assert "weights" not in self._asleep
        self.calls.append("apply_model")
        return [func(self._model)]

    def sleep(self, level: int = 1, mode: str = "abort") -> None:  # vLLM's
        assert level == 2
        self.calls.append("sleep")
        self._asleep = {"weights", "kv_cache"}
        with torch.no_grad():
            for parameter in self._model.inner.parameters():
                parameter.fill_(0.01)

    def wake_up(self, tags: list[str] | None = None) -> bool:
        self.calls.append(f"wake_up {' '.join(tags or ())}")
        self._asleep -= set(tags or self._asleep)
        return not self._asleep

    def reset_prefix_cache(self, reset_running_requests: bool = False, reset_connector: bool = False) -> bool:  # noqa: FBT001, FBT002  # vLLM's
        self._read = {} if self._read is not None else None
        return True

    def generate(
        self,
        prompts: Sequence[dict[str, list[int]]],
        sampling_params: Sequence[SamplingParams] | None = None,
        *,
        use_tqdm: bool = True,
    ) -> list[RequestOutput]:
        assert not self._asleep
        assert not use_tqdm
        assert sampling_params is not None
        self.calls.append("generate")
        with torch.no_grad():
            return [
                RequestOutput(prompt["prompt_token_ids"], [self._one(prompt["prompt_token_ids"], params)])
                for prompt, params in zip(prompts, sampling_params, strict=True)
            ]

    def _one(self, prompt: list[int], params: SamplingParams) -> CompletionOutput:
        assert params.max_tokens is not None
        assert len(prompt) + params.max_tokens <= self.max_model_len
        generator = torch.Generator().manual_seed(params.seed or 0)
        drawn: list[int] = []
        said: list[dict[int, Logprob]] = []
        stops = list(params.stop_token_ids or ())
        reason = "length"
        for position in range(params.max_tokens):
            raw = self._logits([*prompt, *drawn]).float().log_softmax(-1)
            logits = raw.clone()
            if position < params.min_tokens:
                logits[stops] = -torch.inf
            if params.allowed_token_ids is not None:
                kept = torch.full_like(logits, -torch.inf)
                kept[params.allowed_token_ids] = logits[params.allowed_token_ids]
                logits = kept
            if params.temperature == 0:
                token = int(logits.argmax())
            else:
                weights = (logits / params.temperature).softmax(-1)
                if params.top_k:
                    weights[weights < weights.topk(params.top_k).values[-1]] = 0
                token = int(torch.multinomial(weights, 1, generator=generator))
            drawn.append(token)
            said.append({token: Logprob(float(raw[token]))})
            text = self._tokeniser.decode_exact(drawn) if params.detokenize else ""
            if token in stops or any(stop in text for stop in params.stop or ()):
                reason = "stop"
                break
        return CompletionOutput(0, tuple(drawn), said if params.logprobs is not None else None, reason)

    def _logits(self, ids: list[int]) -> torch.Tensor:
        key = tuple(ids)
        if self._read is not None and key in self._read:
            return self._read[key]
        logits: torch.Tensor = self._model.inner(input_ids=torch.tensor([ids]), use_cache=False).logits[0, -1]
        if self._read is not None:
            self._read[key] = logits
        return logits
