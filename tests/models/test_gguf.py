"""GGUF files, written here by the library that defines them: weights, tokenizer, template, stop tokens."""

from __future__ import annotations

import json
import math
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import gguf
import numpy as np
import pytest
import torch
from stages import configs
from stages.requests import request, silent
from transformers import AutoModelForCausalLM, AutoTokenizer

from harness.errors import InputError
from harness.lm.model.policy import Policy
from harness.models.gguf import dequantise, is_gguf
from harness.models.gguf_header import read_header
from harness.models.shape import shape_of
from harness.spec.model import Model, Template
from harness.spec.results.models import PreparedModel
from harness.spec.runtime import Runtime
from harness.spec.stages.existing_model import GgufSource
from harness.stages import existing_model, model_files
from harness.stages.models import model_source
from harness.stages.preview import tokeniser_of
from harness.store.identity import file_digest
from harness.store.stages import Store
from harness.text.tokenise import Tokeniser

if TYPE_CHECKING:
    from numpy.typing import NDArray

WIDTH, INNER, HEADS, LAYERS = 64, 96, 4, 2
TEMPLATE = (
    "{% for message in messages %}<|im_start|>{{ message['role'] }}\n{{ message['content'] }}<|im_end|>\n{% endfor %}"
)
ENDS = ("<|endoftext|>", "<|im_end|>")


def alphabet() -> list[str]:
    from tokenizers import pre_tokenizers

    return sorted(pre_tokenizers.ByteLevel.alphabet())


def weights() -> dict[str, NDArray[np.float32]]:
    """Return a Llama's weights by llama.cpp's names; queries and keys in its order of rotary halves."""
    draw = np.random.default_rng(0)
    size = len(alphabet()) + 4

    def matrix(rows: int, columns: int) -> NDArray[np.float32]:
        return (0.2 * draw.standard_normal((rows, columns))).astype(np.float32)

    named = {"token_embd.weight": matrix(size, WIDTH), "output_norm.weight": np.ones(WIDTH, np.float32)}
    for layer in range(LAYERS):
        place = f"blk.{layer}"
        named |= {f"{place}.{name}.weight": matrix(WIDTH, WIDTH) for name in ("attn_q", "attn_k", "attn_v")}
        named |= {
            f"{place}.attn_output.weight": matrix(WIDTH, WIDTH),
            f"{place}.ffn_gate.weight": matrix(INNER, WIDTH),
            f"{place}.ffn_up.weight": matrix(INNER, WIDTH),
            f"{place}.ffn_down.weight": matrix(WIDTH, INNER),
            f"{place}.attn_norm.weight": np.ones(WIDTH, np.float32),
            f"{place}.ffn_norm.weight": np.ones(WIDTH, np.float32),
        }
    return named


def write(path: Path, kind: gguf.GGMLQuantizationType = gguf.GGMLQuantizationType.Q8_0, *, context: int = 128) -> Path:
    """Write a small Llama whose matrices are quantised, with a tokenizer of bytes and a chat template."""
    tokens = [*alphabet(), "ab", *ENDS, "<|im_start|>"]
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_name("tiny")
    writer.add_context_length(context)
    writer.add_embedding_length(WIDTH)
    writer.add_block_count(LAYERS)
    writer.add_feed_forward_length(INNER)
    writer.add_head_count(HEADS)
    writer.add_head_count_kv(HEADS)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_rope_freq_base(10000.0)
    writer.add_vocab_size(len(tokens))
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("smollm")
    writer.add_token_list(tokens)
    writer.add_token_merges(["a b"])
    writer.add_token_types([gguf.TokenType.NORMAL] * (len(tokens) - 3) + [gguf.TokenType.CONTROL] * 3)
    writer.add_bos_token_id(len(tokens) - 1)
    writer.add_eos_token_id(len(tokens) - 3)
    writer.add_eot_token_id(len(tokens) - 2)
    writer.add_chat_template(TEMPLATE)
    for name, value in weights().items():
        if value.ndim == 2:
            writer.add_tensor(name, gguf.quantize(value, kind), raw_dtype=kind)
        else:
            writer.add_tensor(name, value)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write(tmp_path_factory.mktemp("gguf") / "tiny model.Q8_0.gguf")


@pytest.fixture(scope="module")
def folder(file: Path) -> Path:
    made = file.parent / "made"
    assert dequantise(file, made, where="here") == "dequantised from Q8_0"
    return made


def test_the_folder_is_transformers_own_and_computes_what_the_file_says(file: Path, folder: Path) -> None:
    model: Any = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    theirs: Any = AutoModelForCausalLM.from_pretrained(file.parent, gguf_file=file.name, dtype=torch.float32)
    ids = torch.arange(5, 25)[None]
    with torch.no_grad():
        assert torch.equal(model(ids).logits, theirs(ids).logits)
    embedded = gguf.dequantize(
        gguf.quantize(weights()["token_embd.weight"], gguf.GGMLQuantizationType.Q8_0), gguf.GGMLQuantizationType.Q8_0
    )
    assert torch.equal(model.get_input_embeddings().weight, torch.tensor(embedded))
    config = json.loads((folder / "config.json").read_text())
    assert "quantization_config" not in config
    assert (config["architectures"], config["tie_word_embeddings"]) == (["LlamaForCausalLM"], True)


def test_tokenizer_template_and_every_stop_token_come_along(folder: Path) -> None:
    tokenizer: Any = AutoTokenizer.from_pretrained(folder)
    ids = tokenizer("ab <|im_end|>", add_special_tokens=False)["input_ids"]
    assert tokenizer.convert_ids_to_tokens(ids)[0] == "ab"
    assert ids[-1] == tokenizer.convert_tokens_to_ids("<|im_end|>")
    said = tokenizer.apply_chat_template([{"role": "user", "content": "hi"}], tokenize=False)
    assert said == "<|im_start|>user\nhi<|im_end|>\n"
    told = json.loads((folder / "generation_config.json").read_text())
    assert told["eos_token_id"] == [tokenizer.convert_tokens_to_ids(name) for name in ENDS]
    policy = Policy.load(folder, spec=Model(name="m"))
    assert policy.eos_id == told["eos_token_id"][0]
    kept: Any = policy.model.generation_config
    assert kept.eos_token_id == told["eos_token_id"]


def test_the_stage_keeps_the_folder_and_says_what_it_was(file: Path, tmp_path: Path) -> None:
    store = Store(tmp_path)
    spec = Model(name="m", path=str(file))
    source = model_source(spec, spec.path)
    assert isinstance(source, GgufSource)
    asked = request(tmp_path, configs.model_config(source=source))
    asked = type(asked)(**{**vars(asked), "runtime": Runtime(path=str(file), name="m")})
    record = existing_model.run(asked, store, None, silent)  # type: ignore[arg-type]  # no plugin is asked
    said = record.read(PreparedModel)
    assert (said.notes, said.content, said.positions) == (("dequantised from Q8_0",), source.sha256, 128)
    assert record.path("checkpoint/model.safetensors").is_file()
    assert {path.name for path in record.folder.iterdir()} <= {
        "checkpoint", "model.json", "config.json", "environment.json", "manifest.json",
    }  # fmt: skip
    other = write(tmp_path / "x.gguf", gguf.GGMLQuantizationType.Q4_0)
    assert model_source(spec, str(other)) != source
    moved = file.with_name("elsewhere.gguf")
    moved.write_bytes(file.read_bytes())
    assert model_source(spec, str(moved)) == source


def test_it_is_read_once_however_many_rows_of_a_plan_start_from_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    read: list[Path] = []

    def counted(path: Path) -> str:
        read.append(path)
        return file_digest(path)

    monkeypatch.setattr(model_files, "file_digest", counted)
    path = write(tmp_path / "counted.gguf")
    spec = Model(name="m", path=str(path))
    assert model_source(spec, spec.path) == model_source(spec, spec.path)
    assert read == [path]


def test_its_tokenizer_is_read_alone(file: Path, folder: Path) -> None:
    asked = Model(name="m", path=str(file))
    found = tokeniser_of(asked, Template(text="{instruction}"), [])
    whole = Tokeniser.load(folder)
    assert (found.digest, found.chat_template) == (whole.digest, TEMPLATE)
    cut = file.with_name("cut.gguf")
    cut.write_bytes(file.read_bytes()[:2000])
    with pytest.raises(InputError, match=r"model m .*cut.gguf.*: the GGUF file cannot be read"):
        tokeniser_of(Model(name="m", path=str(cut)), Template(text="{instruction}"), [])


def test_its_shape_is_read_from_its_head(file: Path, folder: Path) -> None:
    shape = shape_of(Model(name="m", path=str(file)))
    assert shape == shape_of(Model(name="m", path=str(folder)))
    assert shape is not None
    model: Any = AutoModelForCausalLM.from_pretrained(folder)
    assert shape.parameters == sum(p.numel() for p in model.parameters())
    assert (shape.layers, shape.width, shape.inner, shape.vocabulary) == (LAYERS, WIDTH, INNER, len(alphabet()) + 4)


def test_its_head_is_what_the_package_reads(file: Path) -> None:
    reader = gguf.GGUFReader(file)
    told, numbers = read_header(file)
    assert numbers == sum(math.prod(int(size) for size in tensor.shape) for tensor in reader.tensors)
    plain = {name: field for name, field in reader.fields.items() if gguf.GGUFValueType.ARRAY not in field.types}
    assert told == {name: field.contents() for name, field in plain.items() if not name.startswith("GGUF.")}


@pytest.mark.parametrize("kept", [3, 8, 30, 200, 900])
def test_a_head_that_ends_early_has_no_shape(file: Path, tmp_path: Path, kept: int) -> None:
    short = tmp_path / "short.gguf"
    short.write_bytes(file.read_bytes()[:kept])
    with pytest.raises(ValueError, match=r"ends early|no GGUF file"):
        read_header(short)
    assert shape_of(Model(name="short", path=str(short))) is None


def test_a_broken_file_and_a_missing_package(file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cut = tmp_path / "cut.gguf"
    cut.write_bytes(file.read_bytes()[:2000])
    assert is_gguf(cut)
    assert not is_gguf(tmp_path)
    with pytest.raises(InputError, match="here: the GGUF file cannot be read"):
        dequantise(cut, tmp_path / "out", where="here")
    text = tmp_path / "text.gguf"
    text.write_text("no model")
    with pytest.raises(InputError, match="no such model folder"):
        model_source(Model(name="m"), str(text))
    monkeypatch.setitem(sys.modules, "gguf", None)
    with pytest.raises(InputError, match="gguf, which is not installed") as caught:
        model_source(Model(name="m"), str(file))
    assert caught.value.hint == "pip install 'posttune-harness[gguf]'"


def test_the_real_one(tmp_path: Path) -> None:
    """SmolLM2's weights as transformers reads them, its ChatML template and its stop token."""
    found = sorted(Path(os.environ.get("HARNESS_TEST_MODELS", "none")).rglob("SmolLM2-135M-Instruct*.gguf"))
    if not found:
        pytest.skip("no SmolLM2-135M-Instruct in GGUF below HARNESS_TEST_MODELS")
    assert dequantise(found[0], tmp_path, where="here") == "dequantised from Q4_1 and Q8_0"  # embeddings are finer
    policy = Policy.load(tmp_path, spec=Model(name="smol"))
    assert policy.parameter_count == 134_515_008
    tokenizer: Any = AutoTokenizer.from_pretrained(tmp_path)
    assert tokenizer.convert_ids_to_tokens(policy.eos_id) == "<|im_end|>"
    asked = [{"role": "user", "content": "What is the capital of France?"}]
    assert tokenizer.apply_chat_template(asked, tokenize=False).endswith(f"{asked[0]['content']}<|im_end|>\n")
    prompt = tokenizer.apply_chat_template(asked, add_generation_prompt=True, return_tensors="pt", return_dict=True)
    model: Any = policy.model
    with torch.inference_mode():
        answer = model.generate(**prompt, max_new_tokens=12, do_sample=False)[0, prompt["input_ids"].shape[1] :]
    assert "Paris" in tokenizer.decode(answer)
