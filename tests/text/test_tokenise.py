from __future__ import annotations

import gzip
import json
import shutil
from typing import TYPE_CHECKING, Any

import pytest
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
from transformers import AutoTokenizer, PreTrainedTokenizerFast

from harness.errors import InputError
from harness.text.tokenise import Tokeniser

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

HOSTILE = [
    "plain text",
    "</s> in front",
    "behind <|endoftext|>",
    "in <s>the</s> middle <pad> and <unk> <mask> <|padding|> [INST]",
    "<|endoftext|><|endoftext|></s></s>",
    "naïve café 😀😀 e\u0301 \u200b 日本語",
    "  spaces   and\ttabs\r\n\n\n",
    "",
]


@pytest.fixture(scope="module")
def llama_like(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tokenizer that puts <s> before a text, has an EOS of its own and pads with a third token."""
    tokenizer = Tokenizer(models.BPE(byte_fallback=False, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    tokenizer.decoder = decoders.Metaspace()
    trainer = trainers.BpeTrainer(
        vocab_size=200, special_tokens=["<unk>", "<s>", "</s>", "<pad>"], show_progress=False,
        initial_alphabet=[chr(code) for code in range(32, 127)],
    )  # fmt: skip
    tokenizer.train_from_iterator(["plain text in front of the middle, behind the spaces"] * 3, trainer)
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<s> $A", pair="<s> $A <s> $B", special_tokens=[("<s>", 1)]
    )
    return _save(tokenizer, tmp_path_factory.mktemp("llama"), bos_token="<s>", eos_token="</s>", pad_token="<pad>")


@pytest.fixture(scope="module")
def eos_adding(bpe_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tokenizer that also puts EOS behind a text, which no prompt may end with; and pads and truncates by itself."""
    tokenizer = Tokenizer.from_file(str(bpe_folder / "tokenizer.json"))
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<|endoftext|> $A <|endoftext|>", special_tokens=[("<|endoftext|>", 0)]
    )
    tokenizer.enable_padding(length=50)
    tokenizer.enable_truncation(5)
    folder = tmp_path_factory.mktemp("eos-adding")
    return _save(tokenizer, folder, bos_token="<|endoftext|>", eos_token="<|endoftext|>", pad_token="<|endoftext|>")


def _save(tokenizer: Tokenizer, folder: Path, **names: str) -> Path:
    fast: Any = PreTrainedTokenizerFast
    fast(tokenizer_object=tokenizer, **names).save_pretrained(folder)
    return folder


@pytest.fixture(params=["bpe", "bpe-bos", "llama", "eos-adding"])
def local(
    request: pytest.FixtureRequest, tokeniser: Tokeniser, bos_tokeniser: Tokeniser, llama_like: Path, eos_adding: Path
) -> Tokeniser:
    return {
        "bpe": tokeniser,
        "bpe-bos": bos_tokeniser,
        "llama": Tokeniser.load(llama_like),
        "eos-adding": Tokeniser.load(eos_adding),
    }[request.param]


def check_bos(tokeniser: Tokeniser, texts: list[str]) -> None:
    for text, ids in zip(texts, tokeniser.prompts(texts), strict=True):
        completion = tokeniser.completion(text)
        assert ids == ([] if tokeniser.bos_id is None else [tokeniser.bos_id]) + completion
        special = {tokeniser.eos_id} | ({tokeniser.bos_id} if tokeniser.bos_id is not None else set())
        assert not special & set(completion), text
        assert tokeniser.eos_id not in ids[1:]


def test_bos_stands_once_and_in_front(local: Tokeniser) -> None:
    check_bos(local, HOSTILE)


def test_conventions(tokeniser: Tokeniser, bos_tokeniser: Tokeniser, llama_like: Path, eos_adding: Path) -> None:
    llama = Tokeniser.load(llama_like)
    eos = Tokeniser.load(eos_adding)
    assert [t.bos_id for t in (tokeniser, bos_tokeniser, llama, eos)] == [None, 0, 1, 0]
    assert [t.eos_id for t in (tokeniser, bos_tokeniser, llama, eos)] == [0, 0, 2, 0]


def test_one_text_and_many_give_the_same_ids(local: Tokeniser) -> None:
    assert local.prompts(HOSTILE) == [local.prompt(text) for text in HOSTILE]
    assert local.completions(HOSTILE) == [local.completion(text) for text in HOSTILE]


def test_padding_and_truncation_of_the_tokenizer_are_ignored(eos_adding: Path, bos_tokeniser: Tokeniser) -> None:
    text = "Write one word for each of these: the cat, the dog and the bird"
    assert Tokeniser.load(eos_adding).prompt(text) == bos_tokeniser.prompt(text)
    assert len(bos_tokeniser.prompt(text)) > 5


@pytest.mark.parametrize("text", [text for text in HOSTILE if text])
def test_decode_gives_the_text_back(tokeniser: Tokeniser, bos_tokeniser: Tokeniser, text: str) -> None:
    for each in (tokeniser, bos_tokeniser):
        assert each.decode([*each.prompt(text), each.eos_id]) == text.strip()


def test_decode_of_nothing(local: Tokeniser) -> None:
    assert local.decode([]) == ""
    assert local.decode([local.eos_id]) == ""
    assert local.decode_batch([]) == []
    assert local.decode_batch([local.completion("plain"), [local.eos_id]]) == ["plain", ""]


def test_special_names_are_text(tokeniser: Tokeniser) -> None:
    ids = tokeniser.completion("a<|endoftext|>b")
    assert 0 not in ids
    assert tokeniser.decode(ids) == "a<|endoftext|>b"
    assert tokeniser.special_tokens == ("<|endoftext|>",)


def test_the_digest_survives_saving_and_tells_tokenizers_apart(
    local: Tokeniser, tokeniser: Tokeniser, llama_like: Path, bos_tokeniser: Tokeniser, tmp_path: Path
) -> None:
    local.save(tmp_path / "one")
    again = Tokeniser.load(tmp_path / "one")
    again.save(tmp_path / "two")
    assert local.digest == again.digest == Tokeniser.load(tmp_path / "two").digest
    assert again.prompts(HOSTILE) == local.prompts(HOSTILE)
    assert len({tokeniser.digest, bos_tokeniser.digest, Tokeniser.load(llama_like).digest}) == 3


def test_the_digest_sees_each_merge_and_the_eos(bpe_folder: Path, tmp_path: Path, tokeniser: Tokeniser) -> None:
    content = json.loads((bpe_folder / "tokenizer.json").read_text("utf-8"))
    content["model"]["merges"] = content["model"]["merges"][:-1]
    shutil.copytree(bpe_folder, tmp_path / "merges")
    (tmp_path / "merges" / "tokenizer.json").write_text(json.dumps(content), "utf-8")
    assert Tokeniser.load(tmp_path / "merges").digest != tokeniser.digest
    shutil.copytree(bpe_folder, tmp_path / "eos")
    settings = json.loads((bpe_folder / "tokenizer_config.json").read_text("utf-8"))
    (tmp_path / "eos" / "tokenizer_config.json").write_text(json.dumps({**settings, "eos_token": "!"}), "utf-8")
    assert Tokeniser.load(tmp_path / "eos").digest != tokeniser.digest


def test_holes_among_the_ids_are_known(bpe_folder: Path, tmp_path: Path) -> None:
    content = json.loads((bpe_folder / "tokenizer.json").read_text("utf-8"))
    size = len(content["model"]["vocab"])
    content["model"]["vocab"]["unreachable"] = size + 1
    shutil.copytree(bpe_folder, tmp_path / "holes")
    (tmp_path / "holes" / "tokenizer.json").write_text(json.dumps(content), "utf-8")
    tokeniser = Tokeniser.load(tmp_path / "holes")
    assert tokeniser.size == size + 2
    assert tokeniser.absent == (size,)


@pytest.mark.parametrize("text", [text for text in HOSTILE if text])
def test_cut_left_takes_off_at_least_the_tokens_and_keeps_the_end(tokeniser: Tokeniser, text: str) -> None:
    ids = tokeniser.completion(text)
    assert tokeniser.cut_left(text, 0) == text
    for count in range(1, len(ids) + 2):
        rest = tokeniser.cut_left(text, count)
        assert text.endswith(rest)
        assert len(rest) < len(text)
        # what is taken off is no more than those tokens and the rest of the character they end in
        assert len(tokeniser.completion(text[: len(text) - len(rest)])) <= count + 4
    assert tokeniser.cut_left(text, len(ids)) == ""


def test_no_tokenizer(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="has no tokenizer"):
        Tokeniser.load(tmp_path)


def test_no_eos(bpe_folder: Path, tmp_path: Path) -> None:
    shutil.copyfile(bpe_folder / "tokenizer.json", tmp_path / "tokenizer.json")
    (tmp_path / "tokenizer_config.json").write_text('{"tokenizer_class": "PreTrainedTokenizerFast"}', "utf-8")
    with pytest.raises(InputError, match="no EOS token"):
        Tokeniser.load(tmp_path)


def test_an_eos_that_only_the_class_knows(bpe_folder: Path, tmp_path: Path) -> None:
    """transformers appends the default EOS of a class to a vocabulary without it: an id no model has seen."""
    content = json.loads((bpe_folder / "tokenizer.json").read_text("utf-8"))
    content["added_tokens"] = []
    content["model"]["vocab"] = {("~~" if k == "<|endoftext|>" else k): v for k, v in content["model"]["vocab"].items()}
    (tmp_path / "tokenizer.json").write_text(json.dumps(content), "utf-8")
    (tmp_path / "tokenizer_config.json").write_text('{"tokenizer_class": "GPT2Tokenizer"}', "utf-8")
    with pytest.raises(InputError, match="its vocabulary lacks the one it names"):
        Tokeniser.load(tmp_path)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("tokenizer.json", "{", "cannot be loaded"),
        ("tokenizer_config.json", "{", "cannot be read"),
        ("tokenizer_config.json", "[]", "not a JSON object"),
        ("tokenizer_config.json", '{"auto_map": {"AutoTokenizer": ["evil.Tokenizer", null]}}', "never run"),
    ],
)
def test_broken_and_hostile_folders(bpe_folder: Path, tmp_path: Path, name: str, content: str, message: str) -> None:
    shutil.copytree(bpe_folder, tmp_path / "broken")
    (tmp_path / "broken" / name).write_text(content, "utf-8")
    with pytest.raises(InputError, match=message):
        Tokeniser.load(tmp_path / "broken")


# GPT-2's, OPT's and GPT-NeoX's own tokenizers, and the one of the small GPT-2, on 500 real prompts


@pytest.fixture(scope="module")
def real_prompts(real_data: Path) -> list[str]:
    with gzip.open(real_data / "dolly" / "databricks-dolly-15k.jsonl.gz", "rt", encoding="utf-8") as stream:
        rows = [json.loads(next(stream)) for _ in range(500)]
    return [f"{row['instruction']}\n{row['context']}\nResponse:" for row in rows]


@pytest.mark.parametrize(
    ("name", "bos", "eos", "size"),
    [("gpt2", None, 50256, 50257), ("opt", 2, 2, 50265), ("neox", None, 0, 50277), ("gpt2-7m", None, 0, 8192)],
)
def test_real_bos_and_round_trip(
    real_tokenisers: dict[str, Path],
    load_real: Callable[[str], Tokeniser],
    real_prompts: list[str],
    name: str,
    bos: int | None,
    eos: int,
    size: int,
) -> None:
    tokeniser = load_real(name)
    assert (tokeniser.bos_id, tokeniser.eos_id, tokeniser.size, tokeniser.absent) == (bos, eos, size, ())
    check_bos(tokeniser, [*real_prompts, *HOSTILE])
    ids = tokeniser.prompts(real_prompts)
    # and they are what transformers gives for a text without special names in it
    reference = AutoTokenizer.from_pretrained(real_tokenisers[name])(real_prompts)["input_ids"]
    assert ids == reference
    if name == "opt":
        assert tokeniser.prompt("Hello") == [2, 31414]
    if name != "neox":  # which normalises
        assert tokeniser.decode_batch(ids) == [text.strip() for text in real_prompts]


@pytest.mark.parametrize("name", ["opt", "gpt2-7m"])  # one rebuilt from vocab.json and merges.txt, one read as it is
def test_real_digest_is_stable(load_real: Callable[[str], Tokeniser], name: str, tmp_path: Path) -> None:
    tokeniser = load_real(name)
    tokeniser.save(tmp_path)
    assert Tokeniser.load(tmp_path).digest == tokeniser.digest
