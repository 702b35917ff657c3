from __future__ import annotations

import json
import os
import shutil
import sys
from typing import TYPE_CHECKING, Any

import huggingface_hub.constants
import pytest
import torch
from execution import warm
from lm.fake_hub import COMMIT, Hub
from lm.families import FAMILIES
from safetensors.torch import load_file, save_file

from harness.errors import InputError, MachineError
from harness.lm.model.initialise import initialise
from harness.lm.model.policy import Policy
from harness.models.folders import weights_digest
from harness.models.resolve import resolve
from harness.spec.model import Model
from harness.text.bpe import train_bpe

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from harness.text.tokenise import Tokeniser

TEXTS = ["the cat and the dog", "naïve café 😀", "the bird in the old garden", "a </s> <|endoftext|> b"] * 5


# --- tokenizers


def test_training_a_tokenizer_is_deterministic_and_blind_to_order(tmp_path: Path) -> None:
    first = train_bpe(TEXTS, 300, tmp_path / "a")
    second = train_bpe(reversed(TEXTS), 300, tmp_path / "b")
    assert first.digest == second.digest
    assert (tmp_path / "a" / "tokenizer.json").read_bytes() == (tmp_path / "b" / "tokenizer.json").read_bytes()
    assert (tmp_path / "a" / "tokenizer_config.json").read_bytes() == (
        tmp_path / "b" / "tokenizer_config.json"
    ).read_bytes()


def test_a_trained_tokenizer_does_not_depend_on_its_threads(tmp_path: Path) -> None:
    script = "import sys; from harness.text.bpe import train_bpe; train_bpe(open(sys.argv[2]), 300, sys.argv[1])"
    (tmp_path / "texts").write_text("\n".join(TEXTS), encoding="utf-8")
    command = [sys.executable, "-c", script, str(tmp_path / "one"), str(tmp_path / "texts")]
    done = warm.ended(command, env={**os.environ, "RAYON_NUM_THREADS": "1"}, timeout=300)
    assert done.returncode == 0, done.stderr
    train_bpe([line + "\n" for line in TEXTS[:-1]] + TEXTS[-1:], 300, tmp_path / "many")
    assert (tmp_path / "one" / "tokenizer.json").read_bytes() == (tmp_path / "many" / "tokenizer.json").read_bytes()


def test_a_trained_tokenizer_reads_and_writes_every_text(tmp_path: Path) -> None:
    tokeniser = train_bpe(TEXTS, 290, tmp_path)
    assert (tokeniser.eos_id, tokeniser.bos_id, tokeniser.size, tokeniser.absent) == (0, None, 290, ())
    for text in (*TEXTS, "日本語 \x00 never seen \u202e", "}{"):
        ids = tokeniser.completion(text)
        assert 0 not in ids
        assert tokeniser.decode(ids) == text.strip()
    assert len(tokeniser.completion("the old garden")) < len("the old garden")


def test_few_texts_give_fewer_entries(tmp_path: Path) -> None:
    assert train_bpe(["abab abab"], 5000, tmp_path).size < 270


def test_a_vocabulary_without_room(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="got 256; expected at least 257"):
        train_bpe(TEXTS, 256, tmp_path)


@pytest.mark.parametrize("texts", [[], [""]])
def test_no_text_to_train_on(tmp_path: Path, texts: list[str]) -> None:
    with pytest.raises(InputError, match="no text"):
        train_bpe(texts, 300, tmp_path)


# --- random weights


@pytest.mark.parametrize("family", FAMILIES)
def test_weights_depend_on_the_seed_alone(family: str, tokeniser: Tokeniser, tmp_path: Path) -> None:
    spec = Model(name=family, config=FAMILIES[family])
    threads = torch.get_num_threads()
    try:
        torch.set_num_threads(1)
        initialise(spec, tokeniser, 5, tmp_path / "a")
        torch.set_num_threads(2)
        with torch.random.fork_rng():
            torch.rand(7)
            before = torch.get_rng_state()
            initialise(spec, tokeniser, 5, tmp_path / "b")
            assert torch.equal(torch.get_rng_state(), before)
    finally:
        torch.set_num_threads(threads)
    initialise(spec, tokeniser, 6, tmp_path / "c")
    digests = [weights_digest(tmp_path / name) for name in "abc"]
    assert digests[0] == digests[1] != digests[2]


def test_each_architecture_draws_its_own_way(make_policy: Callable[..., Policy]) -> None:
    def weights(policy: Policy) -> dict[str, torch.Tensor]:
        return {name: tensor.detach() for name, tensor in policy.model.named_parameters()}

    wide = weights(make_policy("gpt2", dtype="float32", n_embd=128, initializer_range=0.02))
    assert abs(float(wide["transformer.wte.weight"].std()) - 0.02) < 0.001
    assert wide["transformer.wte.weight"][0].any()  # EOS, which is also pad, is a token like others
    shrunk = wide["transformer.h.0.attn.c_proj.weight"]  # by sqrt(2 x layers)
    assert abs(float(shrunk.std()) - 0.02 / 2) < 0.001
    opt = weights(make_policy("opt", init_std=0.3))["model.decoder.embed_tokens.weight"]
    assert abs(float(opt.std()) - 0.3) < 0.02
    assert opt[0].any()
    assert (
        abs(float(weights(make_policy("neox", initializer_range=0.5))["gpt_neox.embed_in.weight"].std()) - 0.5) < 0.03
    )


def test_a_float64_load_has_the_float32_weights(tokeniser: Tokeniser, tmp_path: Path) -> None:
    for dtype in ("float32", "float64", "bfloat16"):
        spec = Model(name="x", config=FAMILIES["gpt2"], dtype=dtype)
        initialise(spec, tokeniser, 1, tmp_path / dtype)
    assert len({weights_digest(tmp_path / dtype) for dtype in ("float32", "float64", "bfloat16")}) == 1


def test_the_model_is_as_wide_as_its_tokenizer_or_as_asked(tokeniser: Tokeniser, tmp_path: Path) -> None:
    for extra, expected in (({}, tokeniser.size), ({"vocab_size": 352}, 352)):
        initialise(Model(name="x", config={**FAMILIES["neox"], **extra}), tokeniser, 1, tmp_path)
        config = json.loads((tmp_path / "config.json").read_text("utf-8"))
        assert config["vocab_size"] == expected
        assert (config["eos_token_id"], config["pad_token_id"]) == (0, None)


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"n_layer": 1}, "no model_type; expected gpt2"),
        ({"model_type": "gtp2"}, "not a causal language model of transformers, got 'gtp2'.*did you mean 'gpt2'"),
        ({"model_type": "t5"}, "not a causal language model"),
        ({"model_type": "gpt2", "n_layers": 2}, "gpt2 has no setting n_layers; did you mean 'n_layer'"),
        ({"model_type": "gpt2", "rotary_pct": 0.5}, "gpt2 has no setting rotary_pct"),
        ({"model_type": "gpt2", "id2label": {}}, "gpt2 has no setting id2label"),
        ({"model_type": "gpt2", "auto_map": {}}, "gpt2 has no setting auto_map"),
        ({"model_type": "gpt2", "n_layer": "two"}, "not a valid configuration.*n_layer"),
        ({"model_type": "gpt2", "n_embd": 30, "n_head": 4}, "cannot be built"),
        ({"model_type": "gpt2", "n_layer": 0}, "the model has no layers, got 0"),
        ({"model_type": "gpt2", "n_layer": -1}, "the model has no layers, got -1"),
        ({"model_type": "gpt2", "initializer_range": float("inf")}, "weights that are not finite, got .*weight"),
        ({"model_type": "gpt2", "attn_pdrop": 0.1}, "attn_pdrop is set by recipe.dropout"),
        ({"model_type": "opt", "layerdrop": 0.1}, "layerdrop is set by recipe.dropout"),
        ({"model_type": "gpt2", "eos_token_id": 5}, "eos_token_id is set by the tokenizer"),
        ({"model_type": "gpt2", "dtype": "float16"}, "dtype is set by the model's own dtype"),
        ({"model_type": "gpt2", "vocab_size": 100}, "got 100; expected at least 320"),
        (None, "no model_type"),
    ],
)
def test_wrong_configurations(
    tokeniser: Tokeniser, tmp_path: Path, config: dict[str, Any] | None, message: str
) -> None:
    with pytest.raises(InputError, match=message) as caught:
        initialise(Model(name="mine", config=config), tokeniser, 0, tmp_path)
    assert str(caught.value).startswith("model mine, config: ")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["hidden_size", "num_hidden_layers", "num_attention_heads", "max_position_embeddings"])
def test_the_common_names_of_gpt2_work_too(tokeniser: Tokeniser, tmp_path: Path, name: str) -> None:
    config = {"model_type": "gpt2", "n_layer": 1, "n_head": 2, "n_embd": 8, "n_positions": 16}
    own = {"hidden_size": "n_embd", "num_hidden_layers": "n_layer", "num_attention_heads": "n_head"}
    value = config.pop(own.get(name, "n_positions"))
    initialise(Model(name="x", config={**config, name: value}), tokeniser, 0, tmp_path)
    assert json.loads((tmp_path / "config.json").read_text("utf-8"))[own.get(name, "n_positions")] == value


# --- where a model lies


@pytest.fixture(scope="module")
def checkpoint(make_policy: Callable[..., Policy], tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("checkpoint")
    make_policy(dtype="float32").save(folder)
    return folder


def test_a_source_comes_before_a_path(checkpoint: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    shutil.copytree(checkpoint, other)
    spec = Model(name="org/gpt2", label="GPT-2", path=str(other))
    assert resolve(spec, {}).folder == other
    assert resolve(spec, {"unrelated": "/nowhere"}).folder == other
    for name in ("org/gpt2", "GPT-2"):
        found = resolve(spec, {name: str(checkpoint)})
        assert (found.folder, found.origin, found.revision) == (checkpoint, "file", None)


@pytest.mark.parametrize("as_source", [True, False])
def test_a_path_that_is_not_there(tmp_path: Path, as_source: bool) -> None:  # noqa: FBT001  # pytest's parameter
    path = str(tmp_path / "none")
    spec = Model(name="mine", path=None if as_source else path)
    with pytest.raises(InputError, match=r"model mine \(.*none\): no such folder"):
        resolve(spec, {"mine": path} if as_source else {})


def test_a_folder_without_weights(checkpoint: Path, tmp_path: Path) -> None:
    shutil.copytree(checkpoint, tmp_path / "bare", ignore=shutil.ignore_patterns("*.safetensors"))
    with pytest.raises(InputError, match="no weights"):
        resolve(Model(name="mine", path=str(tmp_path / "bare")), {})


# --- the hub


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, checkpoint: Path) -> Iterator[Hub]:
    hub = Hub()
    repository = tmp_path / "repository"
    shutil.copytree(checkpoint, repository)
    for name in ("pytorch_model.bin", "modeling_evil.py", "README.md", "training_args.bin"):
        (repository / name).write_text("not wanted", "utf-8")
    hub.repositories["org/tiny"] = repository
    monkeypatch.setattr(huggingface_hub.constants, "ENDPOINT", hub.url)
    monkeypatch.setattr(
        huggingface_hub.constants, "HUGGINGFACE_CO_URL_TEMPLATE", hub.url + "/{repo_id}/resolve/{revision}/{filename}"
    )
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path / "hub-cache"))
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", False)
    yield hub
    hub.stop()


def test_a_model_of_the_hub(hub: Hub, checkpoint: Path) -> None:
    found = resolve(Model(name="org/tiny"), {})
    assert (found.origin, found.revision) == ("hub", COMMIT)
    assert weights_digest(found.folder) == weights_digest(checkpoint)
    assert set(hub.served) == {
        "config.json", "generation_config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json",
    }  # fmt: skip
    assert Policy.load(found.folder, spec=Model(name="org/tiny")).vocab_size == 320


def test_a_pinned_revision(hub: Hub) -> None:
    assert resolve(Model(name="org/tiny", revision=COMMIT), {}).revision == COMMIT


def test_the_cache_serves_when_the_hub_is_gone(hub: Hub) -> None:
    first = resolve(Model(name="org/tiny"), {})
    hub.stop()
    assert resolve(Model(name="org/tiny"), {}) == first


def test_an_unreachable_hub_names_the_alternatives(hub: Hub) -> None:
    hub.stop()
    with pytest.raises(MachineError) as caught:
        resolve(Model(name="org/tiny"), {})
    text = str(caught.value)
    assert text.startswith("model org/tiny: the model could not be fetched from the hub")
    assert "-o sources.org/tiny=PATH" in text
    assert "`path:`" in text
    assert caught.value.exit_code == 3


def test_offline_mode_names_the_alternatives(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(MachineError, match="-o sources"):
        resolve(Model(name="org/tiny"), {})


def test_a_hub_that_is_down(hub: Hub) -> None:
    hub.status = 403
    with pytest.raises(MachineError, match="could not be fetched"):
        resolve(Model(name="org/tiny"), {})


def test_an_unknown_model(hub: Hub) -> None:
    with pytest.raises(InputError, match="model org/none: the hub has no such model"):
        resolve(Model(name="org/none"), {})


def test_a_name_the_hub_cannot_have(hub: Hub) -> None:
    with pytest.raises(InputError, match="the hub has no such model"):
        resolve(Model(name="my model!"), {})


def test_an_unknown_revision(hub: Hub) -> None:
    with pytest.raises(InputError, match="no such revision, got 'nope'"):
        resolve(Model(name="org/tiny", revision="nope"), {})


def test_a_model_with_pickled_weights_only(hub: Hub) -> None:
    (hub.repositories["org/tiny"] / "model.safetensors").unlink()
    with pytest.raises(InputError, match="no weights") as caught:
        resolve(Model(name="org/tiny"), {})
    assert "only safetensors are fetched" in str(caught.value)
    assert "pytorch_model.bin" not in hub.served


def sharded(hub: Hub, *names: str) -> None:
    """Cut the repository's weights into files of these names, and write their index."""
    repository = hub.repositories["org/tiny"]
    whole = repository / "model.safetensors"
    weights = load_file(whole)
    whole.unlink()
    index: dict[str, str] = {}
    for place, file in enumerate(names):
        part = {name: weights[name] for name in sorted(weights)[place :: len(names)]}
        save_file(part, repository / file, metadata={"format": "pt"})
        index |= dict.fromkeys(part, file)
    (repository / "model.safetensors.index.json").write_text(json.dumps({"metadata": {}, "weight_map": index}), "utf-8")


@pytest.mark.parametrize(
    "names",
    [
        ("model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"),
        ("model.safetensors-00001-of-00002.safetensors", "model.safetensors-00002-of-00002.safetensors"),
        ("first.safetensors", "second.safetensors"),
    ],
)
def test_shards_have_the_names_that_the_index_gives(hub: Hub, checkpoint: Path, names: tuple[str, ...]) -> None:
    sharded(hub, *names)
    (hub.repositories["org/tiny"] / "consolidated.safetensors").write_text("not wanted", "utf-8")
    found = resolve(Model(name="org/tiny"), {})
    assert set(names) <= set(hub.served)
    assert "consolidated.safetensors" not in hub.served
    assert weights_digest(found.folder) == weights_digest(checkpoint)
    assert Policy.load(found.folder, spec=Model(name="org/tiny")).vocab_size == 320
    hub.stop()
    assert resolve(Model(name="org/tiny"), {}) == found


def test_a_shard_that_is_not_there(hub: Hub) -> None:
    sharded(hub, "a.safetensors", "b.safetensors")
    (hub.repositories["org/tiny"] / "b.safetensors").unlink()
    with pytest.raises(InputError, match=r"the index names a file that is not in the folder, got 'b\.safetensors'"):
        resolve(Model(name="org/tiny"), {})


@pytest.mark.parametrize("name", ["../a.safetensors", "pytorch_model.bin"])
def test_an_index_that_names_other_files(hub: Hub, name: str) -> None:
    repository = hub.repositories["org/tiny"]
    (repository / "model.safetensors").unlink()
    (repository / "model.safetensors.index.json").write_text(json.dumps({"weight_map": {"w": name}}), "utf-8")
    with pytest.raises(InputError, match="the index names a file that is no"):
        resolve(Model(name="org/tiny"), {})
    assert "pytorch_model.bin" not in hub.served
