"""Tokenizers and chat templates of six families, in the forms that their models have, trained on a few sentences."""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any, cast

from text.tokenisers import TEXTS
from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers

from harness.text.tokenise import Tokeniser

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from transformers import PreTrainedTokenizerFast


@dataclass(frozen=True)
class Family:
    """One family."""

    template: str
    special: tuple[str, ...]
    """Special tokens, in the order of their ids behind the vocabulary."""
    names: Mapping[str, str]
    """What transformers calls some of them."""
    tokenizer: str
    """``bytes``, ``split``, ``spaces``, ``prepend`` or ``metaspace``: see :func:`backend`."""
    end: str
    """What ends an answer."""
    system: bool = True
    """Whether the template takes what the system says."""
    rstrip: bool = False
    """Whether special tokens take white space behind them."""
    generation: bool = True
    """Whether the template marks what the assistant says."""


CHATML = Family(
    "{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\n' }}"
    "{% if message['role'] == 'assistant' %}{% generation %}{{ message['content'] + '<|im_end|>' }}{% endgeneration %}"
    "{% else %}{{ message['content'] + '<|im_end|>' }}{% endif %}{{ '\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}",
    ("<|endoftext|>", "<|im_start|>", "<|im_end|>"),
    {"eos_token": "<|im_end|>", "pad_token": "<|endoftext|>"},
    "bytes",
    "<|im_end|>",
)
LLAMA3 = Family(
    "{{ bos_token }}{% for message in messages %}"
    "{{ '<|start_header_id|>' + message['role'] + '<|end_header_id|>\n\n' }}"
    "{% if message['role'] == 'assistant' %}{% generation %}{{ message['content'] | trim }}{{ '<|eot_id|>' }}"
    "{% endgeneration %}{% else %}{{ message['content'] | trim + '<|eot_id|>' }}{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|start_header_id|>assistant<|end_header_id|>\n\n' }}{% endif %}",
    ("<|begin_of_text|>", "<|end_of_text|>", "<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>"),
    {"bos_token": "<|begin_of_text|>", "eos_token": "<|end_of_text|>"},
    "split",
    "<|eot_id|>",
)
GEMMA = Family(
    "{{ bos_token }}{% for message in messages %}"
    "{% if message['role'] == 'system' %}{{ raise_exception('there is no role for the system') }}{% endif %}"
    "{% if (message['role'] == 'user') != (loop.index0 % 2 == 0) %}{{ raise_exception('roles must alternate') }}"
    "{% endif %}{{ '<start_of_turn>' + ('model' if message['role'] == 'assistant' else 'user') + '\n' }}"
    "{% if message['role'] == 'assistant' %}{% generation %}{{ message['content'] | trim + '<end_of_turn>' }}"
    "{% endgeneration %}{% else %}{{ message['content'] | trim + '<end_of_turn>' }}{% endif %}{{ '\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<start_of_turn>model\n' }}{% endif %}",
    ("<pad>", "<eos>", "<bos>", "<start_of_turn>", "<end_of_turn>"),
    {"bos_token": "<bos>", "eos_token": "<eos>", "pad_token": "<pad>"},
    "spaces",
    "<end_of_turn>",
    system=False,
)
MISTRAL = Family(
    "{{ bos_token }}{% for message in messages %}{% if message['role'] == 'user' %}"
    "{{ '[INST] ' + message['content'] + ' [/INST]' }}{% elif message['role'] == 'assistant' %}"
    "{{ ' ' + message['content'] | trim + eos_token }}"
    "{% else %}{{ raise_exception('only users and assistants speak') }}{% endif %}{% endfor %}",
    ("<s>", "</s>"),
    {"bos_token": "<s>", "eos_token": "</s>"},
    "prepend",
    "</s>",
    system=False,
    generation=False,
)
PHI = Family(
    "{% for message in messages %}{{ '<|' + message['role'] + '|>\n' }}{{ message['content'] + '<|end|>\n' }}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<|assistant|>\n' }}{% else %}{{ eos_token }}{% endif %}",
    ("<s>", "</s>", "<|endoftext|>", "<|assistant|>", "<|system|>", "<|end|>", "<|user|>"),
    {"bos_token": "<s>", "eos_token": "<|endoftext|>", "pad_token": "<|endoftext|>"},
    "prepend",
    "<|end|>",
    rstrip=True,
    generation=False,
)
ZEPHYR = Family(
    "{% for message in messages %}{{ '<|' + message['role'] + '|>\n' }}"
    "{% if message['role'] == 'assistant' %}{% generation %}{{ message['content'] + eos_token }}{% endgeneration %}"
    "{% else %}{{ message['content'] + eos_token }}{% endif %}{{ '\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|assistant|>\n' }}{% endif %}",
    ("<s>", "</s>"),
    {"bos_token": "<s>", "eos_token": "</s>"},
    "metaspace",
    "</s>",
)
FAMILIES = {
    "chatml": CHATML, "llama3": LLAMA3, "gemma": GEMMA, "mistral": MISTRAL, "phi": PHI, "zephyr": ZEPHYR,
}  # fmt: skip

#: How Llama 3 cuts a text before its merges.
_SPLIT = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+"
    r"|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
_BYTES = [f"<0x{number:02X}>" for number in range(256)]


def backend(kind: str) -> Tokenizer:
    """Return a BPE: over bytes (``bytes``, ``split``), or over characters with bytes to fall back on."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    over_bytes = kind in {"bytes", "split"}
    tokenizer = Tokenizer(
        models.BPE(ignore_merges=kind == "split")
        if over_bytes
        else models.BPE(byte_fallback=True, unk_token="<unk>", fuse_unk=True)
    )
    if kind == "bytes":
        tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    elif kind == "split":
        tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
            [
                pre_tokenizers.Split(Regex(_SPLIT), behavior="isolated"),
                pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
            ]
        )
    elif kind == "spaces":
        tokenizer.normalizer = normalizers.Replace(" ", "▁")
        tokenizer.pre_tokenizer = pre_tokenizers.Split(" ", behavior="merged_with_previous")
    elif kind == "prepend":
        tokenizer.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    else:
        tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="first", split=False)
    space: Any = decoders.Replace("▁", " ")
    tokenizer.decoder = (
        decoders.ByteLevel() if over_bytes else decoders.Sequence([space, decoders.ByteFallback(), decoders.Fuse()])
    )
    trainer = trainers.BpeTrainer(
        vocab_size=420 if over_bytes else 700,
        special_tokens=[] if over_bytes else ["<unk>", *_BYTES],
        initial_alphabet=alphabet if over_bytes else [],
        show_progress=False,
    )
    # SentencePiece reads lines, so that no token reaches across the end of one
    texts = TEXTS if over_bytes else [line for text in TEXTS for line in text.split("\n")]
    tokenizer.train_from_iterator(texts * 3, trainer)
    content = json.loads(tokenizer.to_str())
    content["added_tokens"] = [token for token in content["added_tokens"] if token["content"] not in _BYTES]
    return Tokenizer.from_str(json.dumps(content))


@lru_cache
def wrapped(name: str) -> PreTrainedTokenizerFast:
    """Return a family's tokenizer with its chat template."""
    from transformers import PreTrainedTokenizerFast

    family = FAMILIES[name]
    tokenizer = backend(family.tokenizer)
    tokenizer.add_special_tokens(
        [AddedToken(token, special=True, normalized=False, rstrip=family.rstrip) for token in family.special]
    )
    made: Any = cast("Any", PreTrainedTokenizerFast)(tokenizer_object=tokenizer, **family.names)
    made.chat_template = family.template
    return cast("PreTrainedTokenizerFast", made)


@lru_cache
def tokeniser_of(name: str) -> Tokeniser:
    """Return a family's tokenizer as models here have it."""
    return Tokeniser(wrapped(name))


def apply(name: str, said: Sequence[Mapping[str, str]], **settings: Any) -> Any:
    """Call transformers' own ``apply_chat_template``."""
    settings = {"tokenize": True, "return_dict": False, **settings}
    return cast("Any", wrapped(name)).apply_chat_template(list(said), **settings)


def ids_of(name: str, *tokens: str) -> list[int]:
    """Return the ids of some tokens."""
    ids: Any = wrapped(name).convert_tokens_to_ids(list(tokens))
    return list(ids)
