"""Fixtures with tokenizers: small ones that are trained here, and the real ones of three families."""

from __future__ import annotations

import json
import shutil
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import pytest

from harness.text.bpe import train_bpe
from harness.text.tokenise import Tokeniser

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

TEXTS = [
    "Write one word for each of these: the cat, the dog and the bird in the old garden.",
    "### Instruction:\nName three colours of the rainbow.\n\n### Response:\nred, green and blue",
    "Who was it that wrote the long letter? It was the teacher, and she wrote it in the evening.",
    "In 1947 there were 12 of them; by 1950 there were 30, naïve as café owners are.",
]


@pytest.fixture(scope="session")
def bpe_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a small byte-level BPE: <|endoftext|> is id 0 and begins, ends and pads."""
    folder = tmp_path_factory.mktemp("bpe")
    train_bpe(TEXTS * 3, 320, folder)
    return folder


@pytest.fixture(scope="session")
def tokeniser(bpe_folder: Path) -> Tokeniser:
    return Tokeniser.load(bpe_folder)


@pytest.fixture(scope="session")
def bos_tokeniser(bpe_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Tokeniser:
    """The same, but it puts its EOS token before each text, as OPT's does."""
    folder = tmp_path_factory.mktemp("bpe-bos")
    content = json.loads((bpe_folder / "tokenizer.json").read_text("utf-8"))
    content["post_processor"] = {
        "type": "TemplateProcessing",
        "single": [{"SpecialToken": {"id": "<|endoftext|>", "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}}],
        "pair": [{"Sequence": {"id": "A", "type_id": 0}}, {"Sequence": {"id": "B", "type_id": 1}}],
        "special_tokens": {"<|endoftext|>": {"id": "<|endoftext|>", "ids": [0], "tokens": ["<|endoftext|>"]}},
    }
    (folder / "tokenizer.json").write_text(json.dumps(content), "utf-8")
    shutil.copyfile(bpe_folder / "tokenizer_config.json", folder / "tokenizer_config.json")
    return Tokeniser.load(folder)


@pytest.fixture(scope="session")
def real_tokenisers(real_data: Path, real_model: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Folders with the real tokenizers of GPT-2, OPT and GPT-NeoX, laid out as their hub repositories are."""
    root = tmp_path_factory.mktemp("real-tokenizers")

    def lay(name: str, files: dict[str, str], settings: dict[str, Any], model_type: str) -> Path:
        folder = root / name
        folder.mkdir()
        for source, target in files.items():
            shutil.copyfile(real_data / source, folder / target)
        (folder / "tokenizer_config.json").write_text(json.dumps(settings), "utf-8")
        (folder / "config.json").write_text(json.dumps({"model_type": model_type}), "utf-8")
        return folder

    def added(content: str) -> dict[str, Any]:
        flags = {"lstrip": False, "normalized": True, "rstrip": False, "single_word": False}
        return {"__type": "AddedToken", "content": content, **flags}

    return {
        "gpt2": lay(
            "gpt2",
            {"gpt2-tokenizer/encoder.json": "vocab.json", "gpt2-tokenizer/vocab.bpe": "merges.txt"},
            {"model_max_length": 1024},
            "gpt2",
        ),
        "opt": lay(
            "opt",
            {"opt-tokenizer/gpt2-vocab.json": "vocab.json", "opt-tokenizer/gpt2-merges.txt": "merges.txt"},
            {
                "add_bos_token": True,
                "add_prefix_space": False,
                "bos_token": added("</s>"),
                "eos_token": added("</s>"),
                "errors": "replace",
                "pad_token": added("<pad>"),
                "unk_token": added("</s>"),
            },
            "opt",
        ),
        "neox": lay(
            "neox",
            {"neox-tokenizer/20B_tokenizer.json": "tokenizer.json"},
            {
                "add_prefix_space": False,
                "bos_token": "<|endoftext|>",
                "eos_token": "<|endoftext|>",
                "tokenizer_class": "GPTNeoXTokenizer",
                "unk_token": "<|endoftext|>",
            },
            "gpt_neox",
        ),
        "gpt2-7m": real_model,
    }


@pytest.fixture(scope="session")
def load_real(real_tokenisers: dict[str, Path]) -> Callable[[str], Tokeniser]:
    """Return a function that loads a real tokenizer by name, once: they are large."""
    return lru_cache(lambda name: Tokeniser.load(real_tokenisers[name]))
