"""Sampling by vLLM (Kwon et al. 2023, https://arxiv.org/abs/2309.06180) in this process, beside the trained model.

Weights are handed over before every draw, on the device, and the engine sleeps in between: its weights and its cache
give their memory back to training. What it draws is a function of weights, prompt and coordinates of the noise as
well, each answer having a seed of its own; but its random numbers are not those of :mod:`harness.lm.decode.noise`,
and its kernels round otherwise. Written against the interface of vLLM 0.33; the package is imported when the first
answer is drawn.
"""

from __future__ import annotations

import os
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import torch

from harness.api import Completions, Prompts
from harness.errors import HarnessError, InputError, MachineError, first_line
from harness.in_parts import out_of_memory, random_state
from harness.lm.decode.decoder import check_prompts
from harness.lm.decode.noise import row_keys
from harness.text.stops import end_at_texts, is_stop

if TYPE_CHECKING:
    from collections.abc import Sequence

    from harness.lm.decode.noise import Noise
    from harness.lm.decode.sampling import SamplingParams
    from harness.lm.model.policy import Policy

#: Share of a device's memory that the engine takes while it is awake.
MEMORY: Final = 0.3
#: What the engine frees while it sleeps: weights and keys and values, for both come anew.
_ASLEEP: Final = 2


@dataclass(frozen=True)
class Answers:
    """What the engine drew."""

    completions: Completions
    """(B, K, T)."""
    logprobs: torch.Tensor
    """(B, K, T) float64: of each token at temperature 1, as the engine has it; 0 outside the completion."""


class VllmEngine:
    """One engine for one policy; built when it is first asked."""

    def __init__(self, policy: Policy, *, longest: int, where: str) -> None:
        """Take the policy whose weights are handed over.

        Args:
            policy: the model; its type of numbers is the engine's.
            longest: most tokens that prompt and answer may have together.
            where: what to blame in messages.

        Raises:
            InputError: an adapter, or float64: the engine takes neither.
        """
        self._policy, self._longest, self._where = policy, longest, where
        self._engine: Any = None
        if policy.adapter is not None:
            what = "vLLM is handed all weights, and recipe.adapter trains an adapter beside them"
            raise InputError(what, where=where, expected="no adapter, or no sampling: {engine: vllm}")
        if policy.dtype == "float64":
            raise InputError("vLLM has no float64", where=where, got=policy.dtype, expected="bfloat16 or float32")

    def sample(self, prompts: Prompts, ids: Sequence[str], params: SamplingParams, noise: Noise) -> Answers:
        """Draw one completion a temperature for each prompt; see :func:`harness.lm.decode.sampling.sample`.

        Raises:
            InputError: a setting out of range, an empty prompt, or a prompt that leaves too little context.
            MachineError: the engine cannot be built, or fails.
        """
        params.check()
        check_prompts(self._policy, prompts, params.max_new_tokens, ids)
        if not len(prompts):
            return self._placed([], 0, params)
        lengths = prompts.lengths.tolist()
        rows = [row[:length] for row, length in zip(prompts.ids.tolist(), lengths, strict=True)]
        candidates = range(len(params.temperatures)) if noise.candidates is None else noise.candidates
        keys = row_keys(noise, ids, candidates, torch.device("cpu")).tolist()
        rewind = random_state()  # the engine draws from torch's own generators where it is built
        try:
            outputs = self._generate(rows, keys, params)
        except HarnessError:
            raise
        except Exception as error:
            if out_of_memory(error):
                raise
            raise MachineError(f"vLLM failed: {first_line(error)}", where=self._where) from error
        finally:
            rewind()
        return self._placed([output.outputs[0] for output in outputs], len(rows), params)

    def _generate(self, rows: list[list[int]], keys: list[list[int]], params: SamplingParams) -> list[Any]:
        if self._engine is None:
            self._engine = self._build()
        else:
            self._engine.wake_up(tags=["weights"])
        weights = [(name, parameter.detach()) for name, parameter in self._policy.model.named_parameters()]

        def load(model: Any) -> None:
            model.load_weights(weights)

        try:
            with torch.no_grad():
                self._engine.apply_model(load)
            self._engine.wake_up(tags=["kv_cache"])
            self._engine.reset_prefix_cache()  # of other weights
            asked = [{"prompt_token_ids": row} for row in rows for _ in params.temperatures]
            each = [
                self._settings(params, temperature, key)
                for group in keys
                for temperature, key in zip(params.temperatures, group, strict=True)
            ]
            outputs: list[Any] = self._engine.generate(asked, each, use_tqdm=False)
        finally:
            self._engine.sleep(level=_ASLEEP)
        return outputs

    def _settings(self, params: SamplingParams, temperature: float, key: int) -> Any:
        from vllm import SamplingParams as VllmParams

        policy, free = self._policy, not params.suppress_stops
        texts = list(policy.stops.texts) if free else []
        untyped: Any = policy.model
        width = untyped.get_output_embeddings().weight.shape[0]
        absent = set(policy.tokeniser.absent)
        whole = width == policy.vocab_size and not absent
        return VllmParams(
            n=1,
            temperature=temperature,
            top_k=params.top_k,
            top_p=params.top_p,
            seed=key & ((1 << 63) - 1),
            max_tokens=params.max_new_tokens,
            # until so many tokens are drawn, none of the stop tokens is
            min_tokens=0 if free else params.max_new_tokens,
            stop_token_ids=list(policy.stops.ids),
            stop=texts or None,
            include_stop_str_in_output=True,
            detokenize=bool(texts),
            logprobs=0,  # of the token that was drawn alone
            # ids without a token are never drawn
            allowed_token_ids=None if whole else [i for i in range(policy.vocab_size) if i not in absent],
        )

    def _build(self) -> Any:
        policy = self._policy
        # in this process, so that weights are handed over where they lie
        os.environ["VLLM_ENABLE_V1_MULTIPROCESSING"] = "0"
        from vllm import LLM

        with tempfile.TemporaryDirectory() as place:
            folder = Path(place)
            policy.model.config.save_pretrained(folder)
            policy.tokeniser.save(folder)
            return LLM(
                model=str(folder),
                dtype=policy.dtype,
                load_format="dummy",  # weights come before the first draw, as before all others
                max_model_len=min(self._longest, policy.positions_limit or self._longest),
                gpu_memory_utilization=MEMORY,
                enable_sleep_mode=True,
                enable_prefix_caching=True,  # candidates of a prompt read it once
                logprobs_mode="raw_logprobs",
                seed=0,
                trust_remote_code=False,
            )

    def _placed(self, outputs: list[Any], batch: int, params: SamplingParams) -> Answers:
        """Return answers as tensors; where strings end them, it is decided as everywhere else."""
        policy, group = self._policy, len(params.temperatures)
        sizes = [len(output.token_ids) for output in outputs]
        width = max(sizes, default=0)
        ids = torch.zeros(len(outputs), width, dtype=torch.int64)
        logprobs = torch.zeros(len(outputs), width, dtype=torch.float64)
        for row, output in enumerate(outputs):
            tokens = list(output.token_ids)
            ids[row, : len(tokens)] = torch.tensor(tokens, dtype=torch.int64)
            said = [place[token].logprob for place, token in zip(output.logprobs, tokens, strict=True)]
            logprobs[row, : len(tokens)] = torch.tensor(said, dtype=torch.float64)
        lengths = torch.tensor(sizes, dtype=torch.int64)
        last = ids.gather(1, (lengths - 1).clamp(min=0)[:, None])[:, 0] if width else ids.new_zeros(len(outputs))
        finished = is_stop(policy.stops, last) & (lengths > 0)
        if policy.stops.texts and not params.suppress_stops:
            lengths, finished = end_at_texts(policy.stops, policy.tokeniser, ids, lengths, finished)
        width = int(lengths.max()) if len(lengths) else 0
        behind = torch.arange(width) >= lengths[:, None]
        ids, logprobs = (each[:, :width].masked_fill(behind, 0).to(policy.device) for each in (ids, logprobs))
        lengths, finished = lengths.to(policy.device), finished.to(policy.device)
        return Answers(
            Completions(ids.view(batch, group, width), lengths.view(batch, group), finished.view(batch, group)),
            logprobs.view(batch, group, width),
        )
