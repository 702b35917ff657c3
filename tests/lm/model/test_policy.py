from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, cast

import pytest
import torch
from lm.families import FAMILIES
from safetensors.torch import load_file, save_file
from torch import nn

from harness.errors import InputError
from harness.lm.model.policy import Policy, positions_limit
from harness.models.folders import weights_digest
from harness.spec.model import Model

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from harness.api import Policy as ApiPolicy


SPEC = Model(name="tiny")
IDS = torch.tensor([[5, 17, 40, 9, 33, 21, 8, 30]])


def logits(policy: Policy, *, train: bool = False) -> torch.Tensor:
    policy.model.train(train)
    with torch.no_grad(), policy.autocast():
        out = policy.model(input_ids=IDS, position_ids=torch.arange(8)[None])
    policy.model.train(False)
    return cast("torch.Tensor", out.logits)


@pytest.fixture
def folder(make_policy: Callable[..., Policy], tmp_path: Path) -> Path:
    make_policy().save(tmp_path / "model")
    return tmp_path / "model"


def edit(path: Path, **changes: Any) -> None:
    path.write_text(json.dumps({**json.loads(path.read_text("utf-8")), **changes}), "utf-8")


@pytest.mark.parametrize("family", FAMILIES)
def test_attributes(make_policy: Callable[..., Policy], family: str) -> None:
    policy = make_policy(family, vocab_size=336)
    as_api: ApiPolicy = policy
    assert as_api.vocab_size == policy.tokeniser.size == 320
    assert policy.eos_id == 0
    assert policy.positions_limit == 96
    assert policy.parameter_count == sum({id(p): p.numel() for p in policy.model.parameters()}.values())
    assert not policy.model.training
    assert policy.model.config.use_cache is False
    assert {p.dtype for p in policy.model.parameters()} == {torch.float64}


@pytest.mark.parametrize("family", FAMILIES)
def test_saving_and_loading_keep_every_bit(make_policy: Callable[..., Policy], family: str, tmp_path: Path) -> None:
    policy = make_policy(family)
    policy.save(tmp_path / "a")
    again = Policy.load(tmp_path / "a", spec=Model(name="x", dtype="float64"))
    again.save(tmp_path / "b")
    before, after = policy.model.state_dict(), again.model.state_dict()
    assert before.keys() == after.keys()
    assert all(torch.equal(weight, after[name]) for name, weight in before.items())
    # a product rounds by where in memory its operands begin, too
    torch.testing.assert_close(logits(policy), logits(again), rtol=0, atol=1e-12)
    assert weights_digest(tmp_path / "a") == weights_digest(tmp_path / "b")
    assert again.tokeniser.digest == policy.tokeniser.digest
    assert again.tokeniser.bos_id == policy.tokeniser.bos_id
    assert json.loads((tmp_path / "a" / "config.json").read_text("utf-8"))["use_cache"] is True
    assert policy.model.config.use_cache is False


def test_opt_350m_has_its_odd_shape(make_policy: Callable[..., Policy]) -> None:
    policy = make_policy("opt-350m")
    decoder = policy.model.model.decoder
    assert decoder.project_in is not None
    assert decoder.project_out is not None
    assert decoder.final_layer_norm is None
    assert policy.tokeniser.prompt("a")[0] == policy.eos_id == policy.tokeniser.bos_id


@pytest.mark.parametrize("parallel", [True, False])
def test_neox_turns_a_quarter_and_has_both_residuals(
    make_policy: Callable[..., Policy],
    parallel: bool,  # noqa: FBT001  # pytest's parameter
) -> None:
    config = make_policy("neox" if parallel else "neox-serial").model.config
    assert config.use_parallel_residual is parallel
    assert config.rope_parameters["partial_rotary_factor"] == 0.25


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("attention", ["sdpa", "eager"])
@pytest.mark.parametrize("probability", [0.0, 0.3])
def test_dropout_is_the_given_one_everywhere(
    make_policy: Callable[..., Policy],
    family: str,
    attention: str,
    probability: float,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Every probability that reaches torch in a training forward, through a module, a function or attention."""
    policy = make_policy(family, attention=attention, dropout=probability)
    expected = logits(make_policy(family, attention=attention))
    found: dict[str, list[float]] = {"dropout": [], "attention": []}
    plain, fused = nn.functional.dropout, nn.functional.scaled_dot_product_attention

    def record(x: torch.Tensor, p: float = 0.5, training: bool = True, inplace: bool = False) -> torch.Tensor:  # noqa: FBT001, FBT002  # torch's signature
        assert training
        found["dropout"].append(p)
        return plain(x, p, training, inplace)

    def record_attention(*args: Any, **kwargs: Any) -> torch.Tensor:
        found["attention"].append(kwargs["dropout_p"])
        return fused(*args, **kwargs)

    with monkeypatch.context() as patch, torch.random.fork_rng():
        patch.setattr(nn.functional, "dropout", record)
        patch.setattr(nn.functional, "scaled_dot_product_attention", record_attention)
        trained = logits(policy, train=True)
    assert len(found["attention"]) == (2 if attention == "sdpa" else 0)  # one a layer
    assert len(found["dropout"]) >= (4 if attention == "sdpa" else 6)
    assert {p for values in found.values() for p in values} == {probability}
    assert torch.equal(trained, expected) is (probability == 0.0)
    assert torch.equal(logits(policy), expected)


@pytest.mark.parametrize("family", FAMILIES)
def test_dropout_of_a_checkpoint_is_overruled(make_policy: Callable[..., Policy], family: str, tmp_path: Path) -> None:
    make_policy(family).save(tmp_path)
    names = [
        name for name in json.loads((tmp_path / "config.json").read_text("utf-8"))
        if ("drop" in name) and not name.startswith(("classifier", "summary"))
    ]  # fmt: skip
    assert names
    edit(tmp_path / "config.json", **dict.fromkeys(names, 0.4))
    policy = Policy.load(tmp_path, spec=SPEC, dropout=0.0)
    assert torch.equal(logits(policy, train=True), logits(policy))
    assert {getattr(policy.model.config, name) for name in names} == {0.0}
    policy = Policy.load(tmp_path, spec=SPEC, dropout=0.2)
    assert {module.p for module in policy.model.modules() if isinstance(module, nn.Dropout)} <= {0.2}
    assert {getattr(policy.model.config, name) for name in names if name != "layerdrop"} == {0.2}
    assert getattr(policy.model.config, "layerdrop", 0.0) == 0.0


def test_bfloat16_is_autocast_over_float32(make_policy: Callable[..., Policy]) -> None:
    half, full = make_policy(dtype="bfloat16"), make_policy(dtype="float32")
    assert {p.dtype for p in half.model.parameters()} == {torch.float32}
    assert logits(half).dtype == torch.bfloat16
    assert logits(full).dtype == torch.float32
    assert torch.allclose(logits(half).float(), logits(full), atol=0.05)
    assert not torch.equal(logits(half).float(), logits(full))


def test_half_precision_weights_are_widened(folder: Path) -> None:
    weights = {name: tensor.half() for name, tensor in load_file(folder / "model.safetensors").items()}
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    edit(folder / "config.json", dtype="float16")
    for dtype, expected in (("float32", torch.float32), ("bfloat16", torch.float32), ("float64", torch.float64)):
        policy = Policy.load(folder, spec=Model(name="x", dtype=cast("Any", dtype)))
        assert {p.dtype for p in policy.model.parameters()} == {expected}


def test_sdpa_and_eager_agree(make_policy: Callable[..., Policy]) -> None:
    for family, tolerance in (("gpt2", 1e-12), ("opt", 1e-6), ("opt-350m", 1e-6), ("neox", 1e-6)):
        sdpa, eager = make_policy(family), make_policy(family, attention="eager")
        assert torch.allclose(logits(sdpa), logits(eager), atol=tolerance)


def test_loading_leaves_the_global_random_state_alone(folder: Path) -> None:
    before = torch.get_rng_state()
    Policy.load(folder, spec=SPEC, dropout=0.1)
    assert torch.equal(torch.get_rng_state(), before)


def test_the_generation_settings_of_a_checkpoint_are_ignored(folder: Path, tmp_path: Path) -> None:
    hostile = {
        "do_sample": True, "temperature": 0.01, "top_k": 1, "top_p": 0.1, "repetition_penalty": 5.0, "num_beams": 7,
        "max_length": 3, "eos_token_id": [7, 8], "bad_words_ids": [[5]], "suppress_tokens": [6],
        "forced_eos_token_id": 9, "no_repeat_ngram_size": 1,
    }  # fmt: skip
    (folder / "generation_config.json").write_text(json.dumps(hostile), "utf-8")
    policy = Policy.load(folder, spec=SPEC)
    settings = policy.model.generation_config.to_diff_dict()
    settings.pop("transformers_version", None)
    assert settings == {"eos_token_id": [0, 7, 8], "pad_token_id": 0}
    policy.save(tmp_path / "saved")
    saved = json.loads((tmp_path / "saved" / "generation_config.json").read_text("utf-8"))
    assert not {"temperature", "top_k", "top_p", "repetition_penalty", "bad_words_ids"} & set(saved)
    assert saved["eos_token_id"] == [0, 7, 8]  # others who load it end where they did
    again = Policy.load(tmp_path / "saved", spec=SPEC)
    assert again.model.generation_config.eos_token_id == [0, 7, 8]
    assert again.eos_id == policy.eos_id == 0


@pytest.mark.parametrize("family", FAMILIES)
def test_the_pad_token_learns(make_policy: Callable[..., Policy], family: str, tmp_path: Path) -> None:
    """Pad may be EOS and BOS, real tokens of a prompt; OPT's embedding would give the pad row no gradient."""
    make_policy(family).save(tmp_path)
    edit(tmp_path / "config.json", pad_token_id=1)
    policy = Policy.load(tmp_path, spec=SPEC)
    out = policy.model(input_ids=torch.tensor([[0, 5, 1, 9]]), position_ids=torch.arange(4)[None]).logits
    out[0, -1, 7].backward()  # reaches row 1 as an input only, tied or not
    gradient = cast("Any", policy.model).get_input_embeddings().weight.grad
    assert gradient is not None
    assert gradient[0].any()
    assert gradient[1].any()
    assert not gradient[2].any()


def test_ids_without_a_token_are_cut_off(make_policy: Callable[..., Policy]) -> None:
    policy = make_policy("neox", vocab_size=384)
    wide = logits(policy)
    assert wide.shape[-1] == 384
    kept = policy.restrict(wide)
    assert kept.shape[-1] == policy.vocab_size == 320
    assert torch.equal(kept, wide[..., :320])
    assert torch.allclose(kept.softmax(-1).sum(-1), torch.ones(1, 8, dtype=torch.float64))


def test_a_hole_among_the_ids_has_no_probability(make_policy: Callable[..., Policy], tmp_path: Path) -> None:
    make_policy(vocab_size=336).save(tmp_path)
    content = json.loads((tmp_path / "tokenizer.json").read_text("utf-8"))
    content["model"]["vocab"]["unreachable"] = 325
    (tmp_path / "tokenizer.json").write_text(json.dumps(content), "utf-8")
    policy = Policy.load(tmp_path, spec=SPEC)
    probabilities = policy.restrict(logits(policy)).softmax(-1)
    assert policy.vocab_size == 326
    assert probabilities.shape[-1] == 326
    assert not probabilities[..., 320:325].any()
    assert probabilities[..., 325].all()
    assert torch.allclose(probabilities.sum(-1), torch.ones(1, 8))


def test_positions(make_policy: Callable[..., Policy]) -> None:
    policy = make_policy()
    policy.check_fits(60, 36)
    with pytest.raises(InputError) as caught:
        policy.check_fits(60, 37, where="dolly/test, row 7")
    text = str(caught.value)
    assert text.startswith("dolly/test, row 7: a prompt of 60 and a completion of 37 tokens make 97")
    assert "context of 96" in text


def test_a_model_without_positions_has_no_limit() -> None:
    from transformers import BloomConfig

    assert positions_limit(BloomConfig(n_layer=1, n_head=1, hidden_size=8)) is None


def test_a_model_narrower_than_its_tokenizer(folder: Path) -> None:
    weights = load_file(folder / "model.safetensors")
    weights["transformer.wte.weight"] = weights["transformer.wte.weight"][:300].clone()
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    edit(folder / "config.json", vocab_size=300)
    with pytest.raises(InputError, match="smaller than the tokenizer's, got 300; expected at least 320"):
        Policy.load(folder, spec=SPEC)


def test_no_weights(folder: Path) -> None:
    (folder / "model.safetensors").unlink()
    with pytest.raises(InputError, match="the model folder has no weights"):
        Policy.load(folder, spec=SPEC)


def test_only_pickled_weights(folder: Path) -> None:
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")
    with pytest.raises(InputError, match=r"pickled.*got 'pytorch_model\.bin'; expected model\.safetensors"):
        Policy.load(folder, spec=SPEC)


def test_no_tokenizer(folder: Path) -> None:
    for name in ("tokenizer.json", "tokenizer_config.json"):
        (folder / name).unlink()
    with pytest.raises(InputError, match="has no tokenizer"):
        Policy.load(folder, spec=SPEC)


def test_no_eos(folder: Path) -> None:
    edit(folder / "tokenizer_config.json", eos_token=None, pad_token=None)
    with pytest.raises(InputError, match="no EOS token"):
        Policy.load(folder, spec=SPEC)


def test_no_folder(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such folder"):
        Policy.load(tmp_path / "none", spec=SPEC)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"auto_map": {"AutoModelForCausalLM": "evil.Model"}, "model_type": "evil"}, "sets auto_map: custom code"),
        ({"auto_map": {"AutoModelForCausalLM": "evil.Model"}, "model_type": None}, "sets auto_map: custom code"),
        ({"quantization_config": {"quant_method": "gptq"}}, "sets quantization_config"),
        ({"transformers_weights": "other.safetensors"}, "sets transformers_weights"),
        ({"_attn_implementation_internal": "evil/kernel"}, "code from the hub"),
        ({"model_type": "no-such-type"}, "cannot be loaded"),
        ({"n_layer": 3}, "weights are missing and would be random"),
        (
            {"n_embd": 16},
            r"other shapes than config\.json says, got 'transformer\.h\.0\.attn\.c_attn\.bias \d+'; expected 48",
        ),
        ({"n_layer": "two"}, "cannot be loaded"),
    ],
)
def test_hostile_and_wrong_configurations(folder: Path, change: dict[str, Any], message: str) -> None:
    edit(folder / "config.json", **change)
    with pytest.raises(InputError, match=message):
        Policy.load(folder, spec=SPEC)


def test_code_in_the_folder_never_runs(folder: Path, tmp_path: Path) -> None:
    witness = tmp_path / "witness"
    code = f"open({str(witness)!r}, 'w').close()\nclass GPT2LMHeadModel: pass\n"
    for name in ("modeling_gpt2.py", "configuration_gpt2.py", "custom_generate.py", "tokenization.py"):
        (folder / name).write_text(code, "utf-8")
    Policy.load(folder, spec=SPEC)
    plain = Policy.load(folder, spec=SPEC)
    code_too = {"AutoConfig": "configuration_gpt2.C", "AutoModelForCausalLM": "modeling_gpt2.GPT2LMHeadModel"}
    edit(folder / "config.json", auto_map=code_too)
    policy = Policy.load(folder, spec=SPEC)  # transformers has code of its own for this kind, and takes that
    assert type(policy.model) is type(plain.model)
    assert type(policy.model).__module__.startswith("transformers.")
    edit(folder / "config.json", model_type="gpt2-of-mine")
    with pytest.raises(InputError, match="sets auto_map"):
        Policy.load(folder, spec=SPEC)
    assert not witness.exists()


@pytest.mark.parametrize("content", ["", "{", "[]"])
def test_a_broken_configuration(folder: Path, content: str) -> None:
    (folder / "config.json").write_text(content, "utf-8")
    with pytest.raises(InputError, match=r"config\.json"):
        Policy.load(folder, spec=SPEC)


def test_a_torn_weights_file(folder: Path) -> None:
    path = folder / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-1000])
    with pytest.raises(InputError, match="cannot be loaded"):
        Policy.load(folder, spec=SPEC)


def test_an_adapter_is_not_a_model(folder: Path) -> None:
    (folder / "adapter_config.json").write_text("{}", "utf-8")
    with pytest.raises(InputError, match="adapter"):
        Policy.load(folder, spec=SPEC)


def test_weights_that_nothing_uses_are_mentioned(folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    weights = load_file(folder / "model.safetensors")
    save_file({**weights, "score.weight": torch.ones(3)}, folder / "model.safetensors", metadata={"format": "pt"})
    Policy.load(folder, spec=SPEC)
    assert "1 weights are not used, score.weight among them" in caplog.text


def test_the_real_model(real_model: Path, tmp_path: Path) -> None:
    policy = Policy.load(real_model, spec=Model(name="gpt2-7m"))
    assert policy.parameter_count == 8192 * 256 + 1024 * 256 + 6 * (12 * 256**2 + 13 * 256) + 2 * 256
    assert policy.positions_limit == 1024
    assert policy.vocab_size == 8192
    ids = torch.tensor([policy.tokeniser.prompt("The capital of France is the city of Paris, which")])
    with torch.no_grad():
        out = policy.model(input_ids=ids, position_ids=torch.arange(ids.shape[1])[None]).logits
    nll = nn.functional.cross_entropy(out[0, :-1], ids[0, 1:])
    assert 2.0 < float(nll) < 6.5  # chance is 9.0
    policy.save(tmp_path)
    assert weights_digest(tmp_path) == weights_digest(real_model)


def test_the_activation_of_gpt2_is_one_kernel_and_the_same_function(make_policy: Callable[..., Policy]) -> None:
    from transformers.activations import NewGELUActivation

    policy = make_policy("gpt2")
    fused = [module for module in policy.model.modules() if isinstance(module, nn.GELU)]
    assert len(fused) == 2
    assert not any(isinstance(module, NewGELUActivation) for module in policy.model.modules())
    assert policy.model.config.activation_function == "gelu_new"
    x = torch.linspace(-9, 9, 4001, dtype=torch.float64)
    torch.testing.assert_close(fused[0](x), NewGELUActivation()(x), rtol=0, atol=1e-14)
