"""A language model of five thousand parameters in float64, and rows to train it on; nothing is downloaded."""

from __future__ import annotations

import copy
import functools
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from harness.api import Example
from harness.lm import way
from harness.lm.model.initialise import initialise
from harness.lm.model.policy import Policy
from harness.spec.model import Model, Template
from harness.spec.recipe import MethodSampling, StepSettings
from harness.spec.schedule import Curve, Position
from harness.text.bpe import END_OF_TEXT
from harness.text.encode import EncodingParams, collate, encode
from harness.text.tokenise import Tokeniser
from harness.training.assignment import TrainingPlan

if TYPE_CHECKING:
    from collections.abc import Sequence

    from harness.api import Batch
    from harness.text.encode import EncodedRow

#: A GPT-2 with weights large enough that it has opinions.
TINY = Model(
    name="tiny",
    dtype="float64",
    config={
        "model_type": "gpt2",
        "n_embd": 8,
        "n_head": 2,
        "n_layer": 2,
        "n_positions": 64,
        "initializer_range": 0.6,
    },
)

TEMPLATE = Template(text="{instruction}:", truncate="instruction")

#: Longest prompt and completion of :func:`tiny_batch`, in tokens.
MAX_PROMPT, MAX_COMPLETION = 32, 16


def tiny_tokeniser() -> Tokeniser:
    """Return a tokenizer with one token a byte, and ``<|endoftext|>`` (id 256) to end an answer."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocabulary = {symbol: number for number, symbol in enumerate([*alphabet, END_OF_TEXT])}
    tokenizer = Tokenizer(models.BPE(vocab=vocabulary, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    names = {"eos_token": END_OF_TEXT, "pad_token": END_OF_TEXT}
    return Tokeniser(cast("Any", PreTrainedTokenizerFast)(tokenizer_object=tokenizer, **names))


def tiny_policy(seed: int = 0, *, dropout: float = 0.0) -> Policy:
    """Return a policy whose weights are a function of ``seed``; about half of what it samples ends by itself."""
    shared = _made(seed)
    return Policy(copy.deepcopy(shared.model), shared.tokeniser, dtype="float64", dropout=dropout)


def tried_policy(seed: int = 0, *, dropout: float = 0.0) -> Policy:
    """Return a :func:`tiny_policy` that takes the way that was found for the first such one: it is not tried again."""
    policy = tiny_policy(seed, dropout=dropout)
    ways = way._ways  # noqa: SLF001  # a copy has the structure of what it is copied from, which others need not have
    ways[policy.model] = ways.setdefault(_made(seed).model, {})
    return policy


@functools.cache
def _made(seed: int) -> Policy:
    import torch

    with tempfile.TemporaryDirectory() as folder:
        initialise(TINY, tiny_tokeniser(), seed, folder)
        policy = Policy.load(Path(folder), spec=TINY)
    body = cast("Any", policy.model).transformer
    with torch.no_grad():
        body.ln_f.bias.add_(2 * body.wte.weight[policy.eos_id])  # of 257 random tokens EOS would hardly ever be drawn
    return policy


def tiny_examples(*, labelled: bool = False) -> list[Example]:
    """Return eight rows of unequal lengths with everything a method may ask for: answers and pairs, or labels.

    ``labelled`` rows are unpaired preferences: a third of their completions are desirable, and none has a pair.
    """
    answers = ["yes", "no, never", "a", "perhaps later", "b c d", "why?", "é", "good night"]
    return [
        Example(
            id=f"row-{number}",
            fields={"instruction": "say it" + " again" * (number % 4)},
            completion=answer,
            references=(answer, answer.upper()),
            chosen=None if labelled else answer + "!",
            rejected=None if labelled else answer[::-1],
            label=number % 3 == 0 if labelled else None,
            columns={"category": "even" if number % 2 == 0 else "odd"},
        )
        for number, answer in enumerate(answers)
    ]


def tiny_batch(policy: Policy, examples: Sequence[Example] | None = None, *, labelled: bool = False) -> Batch:
    """Return rows, those of :func:`tiny_examples` by default, as a training run would hand them to a method."""
    return collate(tiny_rows(policy, examples, labelled=labelled), policy.device)


def tiny_rows(
    policy: Policy, examples: Sequence[Example] | None = None, *, labelled: bool = False
) -> Sequence[EncodedRow]:
    """Return rows, those of :func:`tiny_examples` by default, as tokens."""
    encoded = encode(
        tiny_examples(labelled=labelled) if examples is None else examples,
        policy.tokeniser,
        TEMPLATE,
        EncodingParams(max_prompt=MAX_PROMPT, max_completion=MAX_COMPLETION, training=True),
        positions=policy.positions_limit,
    )
    return encoded.rows


def tiny_plan(
    *, steps: int, learning_rate: float = 0.01, tokens: int = 1_000_000, dropout: float = 0.0
) -> TrainingPlan:
    """Return a plan of a few steps of four rows each at a constant learning rate.

    ``tokens`` is the most that a micro-batch holds; 1 gives each row its own.
    """
    return TrainingPlan(
        method="under-test",
        recipe=StepSettings(
            batch_size=4,
            max_prompt_length=MAX_PROMPT,
            max_completion_length=MAX_COMPLETION,
            diagnose_every=2,
            dropout=dropout,
            # with the usual 1e-8 a step has the same size whatever the gradient's scale, which would hide a wrong
            # denominator, and rounding errors of weights without a gradient would become steps; so would clipping hide
            epsilon=1.0,
            max_grad_norm=0.0,
        ),
        sampling=MethodSampling(generate_length=8),
        tokens_per_micro_batch=tokens,
        seed=0,
        first=Position(steps=0),
        last=Position(steps=steps),
        curve=Curve(
            kind="constant",
            peak=learning_rate,
            floor=0.0,
            warmup_steps=0,
            first=Position(steps=0),
            last=Position(steps=steps),
        ),
    )


def probe_reward(completion_ids: Sequence[Sequence[int]], **_: Any) -> list[float | None]:
    """Reward in [0, 1] that depends on every token and tells almost any two answers apart."""
    return [sum((place + 1) * token for place, token in enumerate(ids)) % 101 / 100 for ids in completion_ids]
