"""Where things are measured, in which sizes, and what is left of the time."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from perf.workload import TEMPLATE, Task

from harness.api import Example
from harness.lm.model.initialise import initialise
from harness.spec.model import Model
from harness.text.bpe import END_OF_TEXT
from harness.text.encode import Answer, EncodedRow, EncodingParams, encode
from harness.text.tokenise import Tokeniser

if TYPE_CHECKING:
    from pathlib import Path

_LLAMA = {"model_type": "llama", "tie_word_embeddings": True}
_QWEN3 = {"model_type": "qwen3", "tie_word_embeddings": True}


@dataclass(frozen=True)
class Sizes:
    """What is measured: on a GPU the sizes that are spoken of, on a processor toys of the same kinds."""

    paper: dict[str, Any]
    """GPT-2 medium."""
    paper_ids: int
    smol: dict[str, Any]
    """SmolLM2-135M, random weights."""
    smol_ids: int
    qwen: dict[str, Any]
    """Qwen3-0.6B, random weights."""
    qwen_ids: int
    batch: int
    """Prompts of a step of the paper's case."""
    prompt: int
    """Most tokens of one."""
    new: int
    """Tokens of an answer."""
    drawn: tuple[int, int, int]
    """Prompts, answers of each, and tokens of each answer, for output tokens a second."""
    packed: int
    """Tokens of one packed forward and backward."""


LARGE = Sizes(
    paper={"model_type": "gpt2", "n_layer": 24, "n_embd": 1024, "n_head": 16, "n_positions": 1024},
    paper_ids=50257,
    smol={
        **_LLAMA, "hidden_size": 576, "intermediate_size": 1536, "num_hidden_layers": 30, "num_attention_heads": 9,
        "num_key_value_heads": 3, "max_position_embeddings": 2048,
    },
    smol_ids=49152,
    qwen={
        **_QWEN3, "hidden_size": 1024, "intermediate_size": 3072, "num_hidden_layers": 28, "num_attention_heads": 16,
        "num_key_value_heads": 8, "head_dim": 128, "max_position_embeddings": 4096,
    },
    qwen_ids=151669,
    batch=16, prompt=512, new=128, drawn=(64, 4, 256), packed=16384,
)  # fmt: skip
TOY = Sizes(
    paper={"model_type": "gpt2", "n_layer": 2, "n_embd": 32, "n_head": 2, "n_positions": 96},
    paper_ids=300,
    smol={
        **_LLAMA, "hidden_size": 48, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 3,
        "num_key_value_heads": 1, "max_position_embeddings": 256,
    },
    smol_ids=300,
    qwen={
        **_QWEN3, "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4,
        "num_key_value_heads": 2, "head_dim": 8, "max_position_embeddings": 256,
    },
    qwen_ids=320,
    batch=4, prompt=24, new=8, drawn=(4, 2, 8), packed=256,
)  # fmt: skip


@dataclass
class Setting:
    """What all checks and measurements share."""

    device: str
    folder: Path
    minutes: float
    model: Path | None = None
    """A pretrained model for the on-policy step; random weights of SmolLM2-135M's shape unless given."""
    began: float = field(default_factory=time.monotonic)

    @property
    def toy(self) -> bool:
        """Whether this is no GPU."""
        return self.device == "cpu"

    @property
    def sizes(self) -> Sizes:
        """What is measured."""
        return TOY if self.toy else LARGE

    def left(self) -> float:
        """Return the seconds that are left."""
        return 60 * self.minutes - (time.monotonic() - self.began)

    def wait(self) -> None:
        """Wait until the device has done what it was given."""
        if not self.toy:
            torch.cuda.synchronize()

    def build(self, name: str) -> Path:
        """Return the folder of the ``paper``, ``smol`` or ``qwen`` model, made when it is first asked for."""
        folder = self.folder / name
        if not folder.exists():
            tokeniser = make_tokeniser(self.folder / f"{name}-tokenizer", getattr(self.sizes, f"{name}_ids"))
            initialise(Model(name=name, config=getattr(self.sizes, name)), tokeniser, 0, folder)
        return folder


def make_tokeniser(folder: Path, size: int) -> Tokeniser:
    """Write a tokenizer of so many tokens: the bytes, and words that no text becomes but that can be read."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    words = [END_OF_TEXT, *sorted(pre_tokenizers.ByteLevel.alphabet())]
    words += [f"Ġw{number}" for number in range(size - len(words))]
    tokenizer = Tokenizer(models.BPE(vocab={word: place for place, word in enumerate(words)}, merges=[]))
    tokenizer.add_special_tokens([END_OF_TEXT])
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    names = {"bos_token": END_OF_TEXT, "eos_token": END_OF_TEXT, "pad_token": END_OF_TEXT}
    fast: Any = PreTrainedTokenizerFast
    fast(tokenizer_object=tokenizer, **names).save_pretrained(folder)
    return Tokeniser.load(folder)


def some_rows(sizes: Sizes, ids: int, count: int) -> tuple[EncodedRow, ...]:
    """Return rows of random tokens: prompts of up to the longest, answers that fill their limit, pairs of such."""
    draws = np.random.default_rng(0)

    def some(length: int) -> Any:
        return draws.integers(1, ids, length, dtype=np.int32)

    def answer() -> Answer:
        tokens = some(sizes.new)
        tokens[-1] = 0
        return Answer(tokens, finished=True)

    lengths = draws.integers(sizes.prompt // 4, sizes.prompt + 1, count)
    lengths[0] = sizes.prompt
    words = " ".join(f"w{number}" for number in range(sizes.new))
    return tuple(
        EncodedRow(
            id=str(place), prompt=some(length), text="", completion=answer(), chosen=answer(), rejected=answer(),
            columns={"references": (words,)},
        )
        for place, length in enumerate(lengths)
    )  # fmt: skip


def text_rows(model: Path, *, prompt: int, new: int, count: int) -> Task:
    """Return prompts that have a text, of about ``prompt`` tokens, for trainers that tokenise themselves."""
    tokeniser = Tokeniser.load(model)
    draws = np.random.default_rng(0)
    letters = np.array(list("abcdefghijklmnopqrstuvwxyz    "))
    examples = []
    for place in range(count):
        text = "".join(draws.choice(letters, 16 * prompt)).strip()
        size = draws.integers(prompt // 2, prompt - 16)
        while len(tokeniser.prompt(text)) > size:
            text = text[: int(0.9 * len(text))]
        examples.append(Example(id=str(place), fields={"prompt": text}, completion=" " + text[:new]))
    params = EncodingParams(max_prompt=prompt, max_completion=new, training=False, overlong="cut")
    return Task("random letters", encode(examples, tokeniser, TEMPLATE, params).rows, 4)
