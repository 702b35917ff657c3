"""Memory that is stated before anything is loaded: counted from sizes, and told apart by what holds it."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
from lm.families import FAMILIES
from plan.files import Planner, small

from harness.lm.model.initialise import initialise
from harness.lm.model.policy import Policy
from harness.models.adapter import Adapter
from harness.models.shape import Shape, shape_of, shape_of_config
from harness.plan.memory import PARTS, MemoryEstimate, megabytes
from harness.spec.model import Model
from harness.spec.recipe import AdapterSettings

if TYPE_CHECKING:
    from pathlib import Path

    from harness.plan.memory import Memory
    from harness.text.tokenise import Tokeniser

LLAMA: dict[str, Any] = {
    "model_type": "llama", "num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2,
    "hidden_size": 32, "intermediate_size": 48, "max_position_embeddings": 96,
}  # fmt: skip
SHAPES = {**{name: FAMILIES[name] for name in ("gpt2", "opt", "neox")}, "llama": LLAMA}
#: SmolLM2-135M, as its configuration has it.
SMOL: dict[str, Any] = {
    "model_type": "llama", "hidden_size": 576, "intermediate_size": 1536, "num_attention_heads": 9,
    "num_key_value_heads": 3, "num_hidden_layers": 30, "rms_norm_eps": 1e-5, "tie_word_embeddings": True,
}  # fmt: skip
LARGE = {"name": "new", "config": SMOL, "vocab_size": 49152}


def memories(
    planner: Planner, data: Path, device: str = "cpu", *, processes: int = 1, **changes: Any
) -> dict[str, Memory | None]:
    """Return the memory of each stage, by its label."""
    plan = planner.plan(planner.load(small(data, **{"models": [LARGE], "seeds": [0], **changes})))
    estimate = MemoryEstimate(plan, planner.registry, device, processes=processes)
    return {stage.label: estimate.of(stage) for stage in plan.stages.values()}


def largest(found: dict[str, Memory | None], row: str) -> Memory:
    held = [memory for label, memory in found.items() if memory and f"/{row}/" in label and "epochs" in label]
    return max(held, key=lambda memory: memory.total)


@pytest.mark.parametrize("name", SHAPES)
def test_a_shape_is_that_of_the_model(name: str, tokeniser: Tokeniser, tmp_path: Path) -> None:
    spec = Model(name=name, config=SHAPES[name], dtype="float32", path=str(tmp_path))
    initialise(spec, tokeniser, 0, tmp_path)
    shape = shape_of(spec)
    assert isinstance(shape, Shape)
    policy = Policy.load(tmp_path, spec=spec)
    assert shape.parameters == policy.parameter_count
    assert (shape.layers, shape.width, shape.vocabulary) == (2, 32, tokeniser.size)
    settings = AdapterSettings(rank=4)
    Adapter.new(policy.model, settings, seed=0)
    trained = sum(p.numel() for p in policy.model.parameters() if p.requires_grad)
    fused = 4 * 2 * (3 * 64 - 32 - 3 * 32) if name in {"gpt2", "neox"} else 0  # one layer makes queries, keys, values
    assert shape.adapter(settings) == trained + fused


def test_a_shape_follows_from_a_configuration() -> None:
    shape = shape_of_config({**SMOL, "vocab_size": 49152})
    assert shape.parameters == pytest.approx(134_515_008, rel=1e-3)
    assert shape.adapter(AdapterSettings(rank=16)) == 4_884_480
    assert shape.adapter(AdapterSettings(rank=16, targets=("q_proj",))) == 30 * 16 * 2 * 576


def test_what_is_not_on_this_machine_is_not_guessed(planner: Planner, data: Path) -> None:
    found = memories(planner, data, models=["nobody/has-this"])
    assert set(found.values()) == {None}


def test_full_training_is_weights_gradients_and_moments(planner: Planner, data: Path) -> None:
    sft = largest(memories(planner, data), "sft")
    weights = 4 * 134_500_000
    assert sft.parts["weights"] == pytest.approx(weights, rel=1e-2)
    assert sft.parts["gradients"] == sft.parts["weights"]
    assert sft.parts["moments"] == 2 * sft.parts["weights"]
    assert "reference" not in sft.parts
    assert list(sft.parts) == [name for name in PARTS if name in sft.parts]
    assert sft.total == sum(sft.parts.values())
    assert str(sft).startswith(f"{sft.total / 1e9:.1f} GB (process ")


def test_an_adapter_leaves_little_of_gradients_and_moments(planner: Planner, data: Path) -> None:
    recipe = {**small(data)["recipe"], "adapter": {"rank": 16}}
    full, lora = memories(planner, data), memories(planner, data, recipe=recipe)
    for row in ("sft", "eso"):
        before, after = largest(full, row), largest(lora, row)
        assert after.parts["moments"] < 0.04 * before.parts["moments"]
        assert after.total < 0.75 * before.total
        (told,) = [text for text in before.helps if text.startswith("recipe.adapter (LoRA): ")]
        assert f"{after.total / 1e9:.1f} GB" in told
        assert not any("adapter" in text for text in after.helps)


def test_checkpointing_and_bf16_help_where_activations_are_large(planner: Planner, data: Path) -> None:
    recipe = {**small(data)["recipe"], "tokens_per_micro_batch": 16384}
    usual = largest(memories(planner, data, "cuda", recipe=recipe), "sft")
    helps = {text.partition(":")[0] for text in usual.helps}
    assert {"recipe.gradient_checkpointing", "dtype"} <= helps
    less = largest(memories(planner, data, "cuda", recipe={**recipe, "gradient_checkpointing": True}), "sft")
    assert less.parts["activations"] < 0.6 * usual.parts["activations"]
    bf16 = largest(memories(planner, data, "cuda", recipe=recipe, models=[{**LARGE, "dtype": "bfloat16"}]), "sft")
    assert bf16.parts["weights"] == usual.parts["weights"]
    assert bf16.parts["activations"] < 0.8 * usual.parts["activations"]
    assert "process" not in usual.parts


def test_a_second_model_is_counted_where_there_is_one(planner: Planner, data: Path) -> None:
    methods = ["sft", "ppo"]
    full = largest(memories(planner, data, methods=methods), "ppo")
    assert full.parts["reference"] == full.parts["weights"]
    recipe = {**small(data)["recipe"], "adapter": {"rank": 16}}
    lora = largest(memories(planner, data, methods=methods, recipe=recipe), "ppo")
    assert lora.parts["reference"] < 0.05 * full.parts["reference"]


def test_answers_hold_weights_and_keys_and_values(planner: Planner, data: Path) -> None:
    found = memories(planner, data)
    (answers,) = [memory for label, memory in found.items() if label.endswith("/sft/seed 0/test/t1")]
    assert answers is not None
    assert set(answers.parts) == {"process", "weights", "decoding"}
    longer = memories(planner, data, decoding={"t1": {"max_new_tokens": 400, "draws": 2}})
    (more,) = [memory for label, memory in longer.items() if label.endswith("/sft/seed 0/test/t1")]
    assert more is not None
    assert more.parts["decoding"] > answers.parts["decoding"]
    assert json.loads(json.dumps(more.parts)) == more.parts


@pytest.mark.parametrize("processes", [2, 4])
def test_divided_weights_are_a_part_of_each_process(planner: Planner, data: Path, processes: int) -> None:
    settings: dict[str, Any] = {"methods": ["sft"], "device": "cuda"}
    whole = largest(memories(planner, data, processes=processes, **settings), "sft")
    divided = largest(memories(planner, data, processes=processes, **settings, execution={"shard": True}), "sft")
    for name in ("weights", "gradients", "moments"):
        assert divided.parts[name] == whole.parts[name] // processes
    assert divided.parts["activations"] == whole.parts["activations"]
    layers = 30 * (2 * 576 * (576 + 192) + 3 * 576 * 1536)
    assert divided.parts["gathered"] == pytest.approx(2 * 4 * (49152 * 576 + layers / 30), rel=0.01)
    assert "gathered" not in whole.parts
    assert f"execution.shard: {megabytes(divided.total)}" in whole.helps
    alone = largest(memories(planner, data, **settings, execution={"shard": True}), "sft")
    assert alone.parts == whole.parts  # with nobody to divide them with
