"""A byte-level BPE tokenizer, trained on the texts that a new model is to read."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

from harness.errors import InputError
from harness.text.tokenise import Tokeniser

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

#: The special token of a new tokenizer: begins, ends and pads; id 0.
END_OF_TEXT = "<|endoftext|>"


def train_bpe(texts: Iterable[str], vocab_size: int, folder: Path | str) -> Tokeniser:
    """Train a byte-level BPE (Sennrich et al. 2016, over bytes as in GPT-2) and write it as a tokenizer folder.

    The result depends on the texts alone, not on their order. The special token ``<|endoftext|>`` is id 0 and serves
    as BOS, EOS and pad, which no text can become. Fewer entries result where the texts do not fill ``vocab_size``.

    Raises:
        InputError: ``vocab_size`` has no room for the 256 bytes and the special token, or there is no text.
    """
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    if vocab_size < 257:
        raise InputError("vocab_size is too small", got=vocab_size, expected="at least 257: 256 bytes and EOS")
    empty = True

    def nonempty() -> Iterator[str]:
        nonlocal empty
        for text in texts:
            empty = empty and not text
            yield text

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.train_from_iterator(
        nonempty(),
        trainers.BpeTrainer(
            vocab_size=vocab_size,
            min_frequency=2,
            special_tokens=[END_OF_TEXT],
            initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
            show_progress=False,
        ),
    )
    if empty:
        raise InputError("there is no text to train a tokenizer on")
    names = {"bos_token": END_OF_TEXT, "eos_token": END_OF_TEXT, "pad_token": END_OF_TEXT}
    cast("Any", PreTrainedTokenizerFast)(tokenizer_object=tokenizer, **names).save_pretrained(folder)
    return Tokeniser.load(folder)
