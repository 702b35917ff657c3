"""What is timed: real prompts and a model of about five million random weights, for all sides alike."""

from __future__ import annotations

import gzip
import json
import os
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

from harness.api import Example
from harness.lm.model.initialise import initialise
from harness.lm.model.policy import Policy
from harness.models.gguf import dequantise
from harness.spec.model import Model, Template
from harness.text.bpe import train_bpe
from harness.text.encode import EncodingParams, encode
from harness.text.tokenise import Tokeniser

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from harness.text.encode import EncodedRow

DType: TypeAlias = Literal["float32", "bfloat16"]

#: Eight layers of width 192 over 8,192 tokens: 5.3 million parameters.
SHAPE: dict[str, Any] = {"model_type": "gpt2", "n_layer": 8, "n_embd": 192, "n_head": 6, "n_positions": 1024}
VOCABULARY = 8192
NEW_TOKENS = 64
CANDIDATES = 4
TEMPLATE = Template(text="{prompt}\n\nAnswer:", truncate="prompt")


@dataclass(frozen=True)
class Task:
    """Prompts of one data set, with their demonstrations."""

    name: str
    rows: tuple[EncodedRow, ...]
    batch_size: int

    @property
    def prompt_tokens(self) -> float:
        """Mean tokens a prompt."""
        return sum(len(row.prompt) for row in self.rows) / len(self.rows)


def data_folder() -> Path:
    """Return the folder with the real data sets, or end with a message."""
    beside = Path(__file__).resolve().parents[2].parent / "shared" / "data"
    folder = Path(os.environ.get("HARNESS_TEST_DATA", beside))
    if not (folder / "dolly").is_dir():
        raise SystemExit(f"no real data in {folder}: set HARNESS_TEST_DATA to the folder that holds dolly/ and xsum/")
    return folder


def _lines(path: Path) -> Iterator[dict[str, Any]]:
    with gzip.open(path, "rt", encoding="utf-8") as lines:
        for line in lines:
            yield json.loads(line)


def dolly() -> list[Example]:
    """Return Dolly's rows as instruction and material."""
    rows = _lines(data_folder() / "dolly" / "databricks-dolly-15k.jsonl.gz")
    return [
        Example(
            id=str(number),
            fields={"prompt": "\n\n".join(filter(None, (row["instruction"], row["context"])))},
            completion=" " + row["response"].strip(),
        )
        for number, row in enumerate(rows)
    ]


def xsum() -> list[Example]:
    """Return articles with their summaries."""
    return [
        Example(id=str(number), fields={"prompt": row["document"]}, completion=" " + row["summary"].strip())
        for number, row in enumerate(_lines(data_folder() / "xsum" / "train.jsonl.gz"))
        if row["document"] and row["summary"]
    ]


def hh() -> list[Example]:
    """Return the pairs of the upstream's test file of helpful-base, each reply behind the last "Assistant:"."""
    found = []
    for number, row in enumerate(_lines(data_folder() / "hh-rlhf" / "helpful-base" / "test.jsonl.gz")):
        prompt, _, chosen = row["chosen"].rpartition("Assistant:")
        other, _, rejected = row["rejected"].rpartition("Assistant:")
        if prompt == other and chosen.strip() and rejected.strip() and chosen != rejected:
            found.append(
                Example(id=str(number), fields={"prompt": f"{prompt}Assistant:"}, chosen=chosen, rejected=rejected)
            )
    return found


def make_tokeniser(folder: Path) -> Tokeniser:
    """Train a tokenizer on a part of both data sets."""
    texts = (text for e in [*dolly()[:4000], *xsum()[:400]] for text in (e.fields["prompt"], e.completion or ""))
    return train_bpe(texts, VOCABULARY, folder)


def make_model(folder: Path, tokeniser: Tokeniser, shape: Mapping[str, Any] = SHAPE, *, seed: int = 0) -> Path:
    """Draw random weights of a shape, and return the model's folder."""
    initialise(Model(name="timed", config=dict(shape)), tokeniser, seed, folder)
    return folder


def from_gguf(file: Path, folder: Path) -> Path:
    """Write the dequantised weights of a GGUF file and its tokenizer as transformers' own; needs the extra gguf."""
    dequantise(file, folder, where=str(file))
    return folder


def load(folder: Path, *, dtype: DType = "float32", device: str = "cpu") -> Policy:
    """Load the model as the harness does."""
    return Policy.load(folder, spec=Model(name="timed", dtype=dtype), device=device)


def tasks(folder: Path, *, count: int = 256) -> dict[str, Task]:
    """Return Dolly prompts as they come (up to 256 tokens), and XSum prompts of 400 to 440 tokens."""
    tokeniser = Tokeniser.load(folder)
    short = _rows(dolly(), tokeniser, count, most=256)
    long = _rows(xsum(), tokeniser, count, most=440, least=400)
    pairs = encode(
        hh(),
        tokeniser,
        Template(text="{prompt}", truncate="prompt"),
        EncodingParams(max_prompt=256, max_completion=128, training=True),
    ).rows
    return {"dolly": Task("Dolly", short, 8), "xsum": Task("XSum", long, 4), "hh": Task("HH", pairs[:count], 8)}


def exact_rows(folder: Path, tokens: int, *, count: int = 64) -> tuple[EncodedRow, ...]:
    """Return XSum prompts of exactly so many tokens, longer articles cut to that, without their demonstrations."""
    found = encode(
        xsum(),
        Tokeniser.load(folder),
        TEMPLATE,
        EncodingParams(max_prompt=tokens, max_completion=NEW_TOKENS, training=False),
    ).rows
    return tuple(replace(row, completion=None) for row in found if len(row.prompt) == tokens)[:count]


def _rows(
    examples: Sequence[Example], tokeniser: Tokeniser, count: int, *, most: int, least: int = 1
) -> tuple[EncodedRow, ...]:
    rows = encode(
        examples[: 20 * count],
        tokeniser,
        TEMPLATE,
        EncodingParams(
            max_prompt=most, max_completion=NEW_TOKENS, training=False, overlong="cut" if least > 1 else "drop"
        ),
    ).rows
    fitting = [row for row in rows if len(row.prompt) >= least and row.completion and row.completion.finished]
    return tuple(fitting[:count])
