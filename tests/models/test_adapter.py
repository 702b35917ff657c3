"""Adapters on models: what is trained, what is computed, what is written, and what is refused."""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING, Any

import pytest
import torch
from lm.architectures import make
from lm.families import FAMILIES
from peft import PeftModel
from torch import nn

from harness.api import Prompts
from harness.errors import InputError
from harness.lm.decode.noise import Noise
from harness.lm.decode.sampling import SamplingParams, sample
from harness.lm.model import packed_linear
from harness.lm.model.initialise import initialise
from harness.lm.model.packed_linear import packed
from harness.lm.model.policy import Policy
from harness.lm.way import way_of
from harness.models.adapter import Adapter, check_installed, merge_folder
from harness.spec.model import Model
from harness.spec.recipe import AdapterSettings

if TYPE_CHECKING:
    from pathlib import Path

    from harness.text.tokenise import Tokeniser

LLAMA: dict[str, Any] = {
    "model_type": "llama", "num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2,
    "hidden_size": 32, "intermediate_size": 48, "max_position_embeddings": 96,
}  # fmt: skip
#: PEFT calls transformers by old names.
pytestmark = pytest.mark.filterwarnings("ignore::FutureWarning")

SHAPES = {**{name: FAMILIES[name] for name in ("gpt2", "opt", "neox")}, "llama": LLAMA}
SETTINGS = AdapterSettings(rank=4, alpha=8.0)
IDS = torch.arange(3, 18).view(3, 5)


def policy_of(name: str, tokeniser: Tokeniser, folder: Path, **loading: Any) -> Policy:
    spec = Model(name=name, config=SHAPES[name], **{"dtype": "float32", **loading})
    if not folder.exists():
        initialise(spec, tokeniser, 0, folder)
    return Policy.load(folder, spec=spec)


def adapt(policy: Policy, settings: AdapterSettings = SETTINGS, *, size: float = 0.3) -> Adapter:
    """Put an adapter on a policy, whose second factor is not zero, as after training."""
    policy.adapter = Adapter.new(policy.model, settings, seed=0)
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for name, parameter in policy.model.named_parameters():
            if "lora_B" in name:
                parameter.copy_(size * torch.randn(parameter.shape, generator=generator, dtype=parameter.dtype))
    return policy.adapter


def logits(policy: Policy) -> torch.Tensor:
    with torch.inference_mode():
        said: torch.Tensor = policy.model(input_ids=IDS, use_cache=False).logits
        return said.clone()


def linears(policy: Policy) -> set[str]:
    return {name for name, part in policy.model.named_modules() if type(part) in packed_linear_kinds()}


def packed_linear_kinds() -> set[type]:
    from transformers.pytorch_utils import Conv1D

    return {nn.Linear, Conv1D}


@pytest.mark.parametrize("name", SHAPES)
def test_a_new_adapter_changes_nothing_and_is_all_that_is_trained(
    name: str, tokeniser: Tokeniser, tmp_path: Path
) -> None:
    policy = policy_of(name, tokeniser, tmp_path / "model")
    before, layers = logits(policy), linears(policy)
    model: Any = policy.model
    head = {n for n, part in model.named_modules() if part is model.get_output_embeddings()}
    Adapter.new(policy.model, SETTINGS, seed=3)
    assert torch.equal(logits(policy), before)
    trained = {n for n, p in policy.model.named_parameters() if p.requires_grad}
    assert trained == {f"{n}.lora_{part}.default.weight" for n in layers - head for part in "AB"}


def test_the_seed_alone_draws_an_adapter(tokeniser: Tokeniser, tmp_path: Path) -> None:
    def drawn(seed: int) -> torch.Tensor:
        policy = policy_of("gpt2", tokeniser, tmp_path / "model")
        state = torch.random.get_rng_state()
        Adapter.new(policy.model, SETTINGS, seed=seed)
        assert torch.equal(torch.random.get_rng_state(), state)
        return torch.cat([p.detach().reshape(-1) for n, p in policy.model.named_parameters() if "lora_A" in n])

    one = drawn(0)
    torch.rand(3)
    assert torch.equal(drawn(0), one)
    assert not torch.equal(drawn(1), one)


@pytest.mark.parametrize("name", SHAPES)
def test_merged_and_unmerged_agree(name: str, tokeniser: Tokeniser, tmp_path: Path) -> None:
    policy = policy_of(name, tokeniser, tmp_path / "model")
    plain, layers = logits(policy), linears(policy)
    adapter = adapt(policy, size=0.1)
    apart = logits(policy)
    assert float((apart - plain).abs().max()) > 1e-2
    adapter.merge()
    assert linears(policy) == layers
    assert all(parameter.requires_grad for parameter in policy.model.parameters())
    torch.testing.assert_close(logits(policy).log_softmax(-1), apart.log_softmax(-1), rtol=0, atol=1e-6)


@pytest.mark.parametrize("name", ["gpt2", "llama"])
def test_peft_loads_what_is_saved(name: str, tokeniser: Tokeniser, tmp_path: Path) -> None:
    policy = policy_of(name, tokeniser, tmp_path / "model")
    adapt(policy)
    expected = logits(policy)
    policy.save(tmp_path / "adapter")
    names = {path.name for path in (tmp_path / "adapter").iterdir()}
    assert {"adapter_config.json", "adapter_model.safetensors", "generation_config.json", "tokenizer.json"} <= names
    assert not names & {"model.safetensors", "README.md"}
    told = json.loads((tmp_path / "adapter" / "adapter_config.json").read_text())
    assert (told["r"], told["lora_alpha"], told["base_model_name_or_path"]) == (4, 8.0, None)
    assert told["target_modules"] == sorted(told["target_modules"])
    base = policy_of(name, tokeniser, tmp_path / "model").model
    theirs: Any = PeftModel.from_pretrained(base, tmp_path / "adapter")
    with torch.inference_mode():
        assert torch.equal(theirs(input_ids=IDS, use_cache=False).logits, expected)
    again = policy_of(name, tokeniser, tmp_path / "model")
    again.adapter = Adapter.load(again.model, tmp_path / "adapter", SETTINGS)
    assert torch.equal(logits(again), expected)
    assert {n for n, p in again.model.named_parameters() if p.requires_grad} == {
        n for n, p in policy.model.named_parameters() if p.requires_grad
    }


def test_an_adapter_of_anybodys_is_merged(tokeniser: Tokeniser, tmp_path: Path) -> None:
    """One that PEFT itself wrote, of another kind, with a bias and a whole layer that it trained beside it."""
    import peft

    model = policy_of("llama", tokeniser, tmp_path / "model").model
    config = peft.LoraConfig(
        r=2, use_dora=True, use_rslora=True, target_modules=["q_proj", "down_proj"], modules_to_save=["lm_head"],
        init_lora_weights=False,
    )  # fmt: skip
    theirs: Any = peft.get_peft_model(model, config)
    with torch.inference_mode():
        expected = theirs(input_ids=IDS, use_cache=False).logits.clone()
    theirs.save_pretrained(tmp_path / "theirs")
    policy = policy_of("llama", tokeniser, tmp_path / "model")
    before = logits(policy)
    merge_folder(policy.model, tmp_path / "theirs", where="here")
    torch.testing.assert_close(logits(policy), expected, rtol=1e-5, atol=1e-5)
    assert float((before - expected).abs().max()) > 1e-2
    (tmp_path / "theirs" / "adapter_model.safetensors").write_bytes(b"no")
    with pytest.raises(InputError, match="the adapter cannot be merged into its base"):
        merge_folder(policy_of("llama", tokeniser, tmp_path / "model").model, tmp_path / "theirs", where="here")


@pytest.mark.parametrize("zero", [True, False])
def test_the_start_is_the_model_as_it_was(tokeniser: Tokeniser, tmp_path: Path, *, zero: bool) -> None:
    policy = policy_of("llama", tokeniser, tmp_path / "model")
    adapter = adapt(policy, size=0.0 if zero else 0.3)
    start = logits(policy)
    adapter.keep_start()
    assert torch.equal(logits(policy), start)
    assert len(adapter.start_parameters()) == (0 if zero else 2 * 2 * 7)
    digest = adapter.frozen_digest()
    trained = [p for p in policy.model.parameters() if p.requires_grad]
    with torch.no_grad():
        for parameter in trained:
            parameter.add_(0.1)
    moved = logits(policy)
    assert not torch.equal(moved, start)
    with adapter.at_start():
        assert torch.equal(logits(policy), start)
        assert all(p.requires_grad for p in trained)
    assert torch.equal(logits(policy), moved)
    assert adapter.frozen_digest() == digest
    with torch.no_grad():
        next(p for p in policy.model.parameters() if not p.requires_grad).add_(1)
    assert adapter.frozen_digest() != digest
    policy.save(tmp_path / "saved")  # the trained adapter alone
    assert "start" not in (tmp_path / "saved" / "adapter_config.json").read_text()


def test_asking_the_start_inside_a_graph_leaves_the_gradient_alone(tokeniser: Tokeniser, tmp_path: Path) -> None:
    policy = policy_of("gpt2", tokeniser, tmp_path / "model")
    adapter = adapt(policy)
    adapter.keep_start()
    trained = [p for p in policy.model.parameters() if p.requires_grad]

    def slopes(*, asked: bool) -> list[torch.Tensor]:
        total = policy.model(input_ids=IDS, use_cache=False).logits.square().sum()
        if asked:
            with adapter.at_start(), torch.no_grad():
                policy.model(input_ids=IDS, use_cache=False)
        return list(torch.autograd.grad(total, trained))

    for one, other in zip(slopes(asked=False), slopes(asked=True), strict=True):
        assert torch.equal(one, other)


@pytest.mark.parametrize("name", ["gpt2", "llama"])
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_sampling_takes_the_fast_way_and_packs_the_layers_below(
    name: str, dtype: str, tokeniser: Tokeniser, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(packed_linear, "NUMBERS", 500)
    monkeypatch.delenv("HARNESS_WAY", raising=False)
    monkeypatch.delenv("HARNESS_PACKED_LINEAR", raising=False)
    policy = policy_of(name, tokeniser, tmp_path / "model", dtype=dtype)
    adapt(policy)
    assert way_of(policy).name == "fast"
    with packed(policy, uses=packed_linear.USES):
        bound = {n for n, part in policy.model.named_modules() if "forward" in vars(part)}
    assert {n for n, _ in policy.model.named_modules() if n.endswith("base_layer")} <= bound
    prompts = Prompts(torch.tensor([[5, 9, 2], [7, 3, 0]]), torch.tensor([3, 2]), ("", ""))
    if dtype == "float32":
        drawn = sample(policy, prompts, ["a", "b"], SamplingParams((0.0,), 6), Noise(0, "t")).completions
        for row, length in enumerate((3, 2)):
            ids = prompts.ids[row, :length].tolist()
            for place in range(int(drawn.lengths[row, 0])):
                with torch.inference_mode():
                    said = policy.model(input_ids=torch.tensor([ids]), use_cache=False).logits[0, -1]
                ids.append(int(policy.restrict(said).argmax()))
                assert ids[-1] == int(drawn.ids[row, 0, place])


def test_names_of_targets_are_checked(tokeniser: Tokeniser, tmp_path: Path) -> None:
    policy = policy_of("llama", tokeniser, tmp_path / "model")
    with pytest.raises(InputError, match=r"names no linear layer of this model.*'qproj'.*q_proj") as caught:
        Adapter.new(policy.model, AdapterSettings(targets=("v_proj", "qproj")), seed=0, where="here")
    assert caught.value.did_you_mean == "q_proj"
    assert "lm_head" not in str(caught.value.expected)
    Adapter.new(policy.model, AdapterSettings(targets=("v_proj", "q_proj")), seed=0)
    trained = {n.split(".")[-4] for n, p in policy.model.named_parameters() if p.requires_grad}
    assert trained == {"v_proj", "q_proj"}


def test_without_peft_the_command_that_installs_it_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    check_installed()
    monkeypatch.setitem(sys.modules, "peft", None)
    with pytest.raises(InputError, match="peft, which is not installed") as caught:
        check_installed("methods.eso, recipe.adapter")
    assert caught.value.hint == "pip install 'posttune-harness[lora]'"


@pytest.mark.parametrize("kind", ["mistral", "qwen2", "phi3", "gemma2", "gptj"])
def test_other_families_too(kind: str, tokeniser: Tokeniser) -> None:
    policy = make(kind, tokeniser)
    adapter = adapt(policy)
    apart = logits(policy)
    adapter.merge()
    torch.testing.assert_close(logits(policy), apart, rtol=0, atol=1e-6)  # norms are in float32
