"""Models of other kinds: taken as they are, taken one prompt at a time, or refused before anything is trained."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
import torch
from lm.foreign import FOREIGN, make_foreign
from lm.ragged import alone, sharpen, some_completions, some_prompts

from harness.errors import InputError
from harness.lm.decode.decoder import _Apart, _Copied, decoder
from harness.lm.decode.sampling import sample
from harness.lm.model.policy import Policy
from harness.lm.model.sources import initialise
from harness.lm.model.suitability import check_suitable
from harness.lm.score.logprobs import score
from harness.spec.model import Model

if TYPE_CHECKING:
    from pathlib import Path

    from harness.lm.text.tokenise import Tokeniser

_SHAPE = {"hidden_size": 32, "num_hidden_layers": 2}
_ATTENTION = {**_SHAPE, "num_attention_heads": 2, "intermediate_size": 48}

STATEFUL: dict[str, dict[str, Any]] = {
    "lfm2": {**_ATTENTION, "num_key_value_heads": 1, "layer_types": ["conv", "full_attention"]},
    "mamba": {**_SHAPE, "state_size": 4},
    "mamba2": {**_SHAPE, "state_size": 4, "num_heads": 4, "head_dim": 16, "n_groups": 1},
    "qwen3_next": {
        **_ATTENTION, "num_key_value_heads": 1, "head_dim": 16, "layer_types": ["linear_attention", "full_attention"],
        "linear_num_value_heads": 2, "linear_num_key_heads": 2, "linear_key_head_dim": 8, "linear_value_head_dim": 8,
        "num_experts": 2, "num_experts_per_tok": 1, "moe_intermediate_size": 16, "shared_expert_intermediate_size": 16,
    },
    "recurrent_gemma": {**_ATTENTION, "num_hidden_layers": 3, "lru_width": 32},
    "rwkv": {**_SHAPE, "attention_hidden_size": 32},
}  # fmt: skip

BART: dict[str, Any] = {
    "d_model": 32, "decoder_layers": 2, "decoder_attention_heads": 2, "decoder_ffn_dim": 48,
    "max_position_embeddings": 96, "init_std": 0.1,
}  # fmt: skip

PHI: dict[str, Any] = {
    **_ATTENTION, "num_key_value_heads": 1, "max_position_embeddings": 96, "original_max_position_embeddings": 16,
    "rope_parameters": {
        "rope_type": "longrope", "rope_theta": 10000.0, "short_factor": [1.0] * 8, "long_factor": [4.0] * 8,
        "factor": 6.0, "original_max_position_embeddings": 16,
    },
}  # fmt: skip


def build(kind: str, settings: dict[str, Any], tokeniser: Tokeniser, **more: Any) -> Policy:
    """Make a policy around a fresh model, by transformers alone."""
    from transformers import AutoConfig, AutoModelForCausalLM

    ids = {"vocab_size": 330, "bos_token_id": 0, "eos_token_id": 0, "pad_token_id": 1}
    make: Any = AutoModelForCausalLM.from_config
    with torch.random.fork_rng():
        torch.set_rng_state(torch.Generator().manual_seed(3).get_state())
        model = make(AutoConfig.for_model(kind, **ids, **settings), **more)
    return Policy(model, tokeniser, dtype="float64")


@pytest.mark.parametrize("attention", ["sdpa", "eager"])
@pytest.mark.parametrize("kind", STATEFUL)
def test_models_that_keep_a_state_are_refused_before_weights_are_drawn(
    tokeniser: Tokeniser, tmp_path: Path, kind: str, attention: Any
) -> None:
    spec = Model(name="m", config={"model_type": kind, **STATEFUL[kind]}, attention=attention)
    with pytest.raises(InputError, match="hybrid and state-space models cannot be decoded in batches") as error:
        initialise(spec, tokeniser, 0, tmp_path / "m")
    assert "its layers are of kind" in str(error.value)
    assert f"got '{kind}';" in str(error.value)
    assert not (tmp_path / "m").exists()


@pytest.mark.parametrize("kind", ["lfm2", "mamba"])
def test_so_they_are_in_a_folder(tokeniser: Tokeniser, tmp_path: Path, kind: str) -> None:
    policy = build(kind, STATEFUL[kind], tokeniser)
    policy.save(tmp_path)
    with pytest.raises(InputError, match=f"model m .*hybrid and state-space models .*{kind}"):
        Policy.load(tmp_path, spec=Model(name="m", attention="eager"))


@pytest.mark.parametrize("kind", FOREIGN)
def test_models_of_other_families_are_taken(tokeniser: Tokeniser, kind: str) -> None:
    # eager softmaxes are computed in float32, where float64's least number is minus infinity, and padding NaN
    check_suitable(make_foreign(kind, tokeniser, "float32" if kind in {"bloom", "gemma2"} else "float64"), where="m")


@pytest.mark.parametrize("family", ["gpt2", "opt-350m", "neox"])
def test_supported_families_are_taken(make_policy: Any, family: str) -> None:
    check_suitable(make_policy(family), where="m")


def test_a_model_that_counts_padding_is_decoded_one_prompt_at_a_time(
    tokeniser: Tokeniser, caplog: pytest.LogCaptureFixture
) -> None:
    policy = sharpen(build("bart", BART, tokeniser), 2)
    check_suitable(policy, where="m")
    assert "bart with sdpa attention: no left padding; prompts are decoded one at a time" in caplog.text
    prompts = some_prompts(policy, [9, 2, 5])
    with torch.inference_mode():
        assert isinstance(decoder(policy, prompts.ids, prompts.lengths, repeats=2, room=4), _Apart)
        wrong = _Copied(policy, prompts.ids, prompts.lengths, 1).logits
    answers = some_completions(policy, [[4, 2], [1, 4], [3, 3]])
    with torch.inference_mode():
        right = torch.stack([alone(policy, prompts, answers, b, 0)[0] for b in range(3)])
    assert not torch.allclose(wrong[1], right[1], rtol=0, atol=1e-3)  # the padding is what this is about
    found = sample(
        policy, prompts, list("abc"), temperatures=[1.0, 0.7], seed=0, purpose="t", step=0, max_new_tokens=6,
        logprobs=True,
    )  # fmt: skip
    assert found.logprobs is not None
    again = score(policy, prompts, found.completions, dropout=False)
    torch.testing.assert_close(found.logprobs, again.values.detach(), rtol=0, atol=1e-9)
    each = [
        sample(policy, prompts[[b]], ["abc"[b]], temperatures=[1.0, 0.7], seed=0, purpose="t", step=0, max_new_tokens=6)
        for b in range(3)
    ]
    for b, one in enumerate(each):
        lengths = found.completions.lengths[b].tolist()
        assert one.completions.lengths[0].tolist() == lengths
        for k, length in enumerate(lengths):
            assert one.completions.ids[0, k, :length].tolist() == found.completions.ids[b, k, :length].tolist()


def test_rows_that_leave_and_rows_that_inherit_are_those_of_their_prompt(tokeniser: Tokeniser) -> None:
    policy = sharpen(build("bart", BART, tokeniser), 2)
    prompts = some_prompts(policy, [5, 3, 7])
    tokens = torch.randint(1, policy.vocab_size, (3, 6), generator=torch.Generator().manual_seed(1))
    with torch.inference_mode():
        rows = _Apart(policy, prompts.ids, prompts.lengths, 2, 4)
        rows.step(tokens[0])
        rows.inherit(torch.tensor([1, 1, 2, 2, 5, 4]))
        rows.step(tokens[1])
        rows.select(torch.tensor([1, 4, 5]))  # the second prompt has none left
        rows.step(tokens[2, :3])
        told = [(0, [tokens[0, 1], tokens[1, 1]]), (2, [tokens[0, 5], tokens[1, 4]]), (2, [tokens[0, 4], tokens[1, 5]])]
        for place, (prompt, read) in enumerate(told):
            ids = torch.cat((prompts.ids[prompt, : prompts.lengths[prompt]], torch.stack([*read, tokens[2, place]])))
            expected = policy.restrict(policy.model(input_ids=ids[None], use_cache=False).logits[0, -1])
            torch.testing.assert_close(rows.logits[place], expected, rtol=0, atol=1e-9)
        rows.select(torch.tensor([], dtype=torch.int64))
    assert rows.logits.shape == (0, policy.vocab_size)


def test_a_context_ends_where_rotary_factors_depend_on_other_rows(
    tokeniser: Tokeniser, caplog: pytest.LogCaptureFixture
) -> None:
    policy = build("phi3", PHI, tokeniser)
    assert policy.positions_limit == 16
    assert "rows of more than 16 tokens are refused: beyond that its rotary factors (LongRoPE)" in caplog.text
    check_suitable(policy, where="m")
    prompts = some_prompts(policy, [11, 3])
    with pytest.raises(InputError, match="more than the model's context of 16"):
        sample(policy, prompts, ["a", "b"], temperatures=[1.0], seed=0, purpose="t", step=0, max_new_tokens=6)
    found = sample(
        policy, prompts, ["a", "b"], temperatures=[1.0], seed=0, purpose="t", step=0, max_new_tokens=5, logprobs=True
    )
    assert found.logprobs is not None
    again = score(policy, prompts, found.completions, dropout=False)
    torch.testing.assert_close(found.logprobs, again.values.detach(), rtol=0, atol=1e-6)


def test_a_model_that_looks_ahead_is_refused(tokeniser: Tokeniser) -> None:
    settings = {**_ATTENTION, "max_position_embeddings": 96, "initializer_range": 0.2}
    check_suitable(build("bert", {**settings, "is_decoder": True}, tokeniser), where="m")
    with pytest.raises(InputError, match=r"m: .*what it says of a token depends on the tokens behind it, got 'bert'"):
        check_suitable(build("bert", settings, tokeniser), where="m")


def test_a_model_that_fails_is_refused(make_policy: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    policy = make_policy()

    def fails(*_: Any, **__: Any) -> None:
        raise RuntimeError("no such kernel\nand more")

    monkeypatch.setattr(policy.model.base_model, "forward", fails)
    with pytest.raises(InputError, match="it fails on a few tokens with RuntimeError: no such kernel, got 'gpt2'"):
        check_suitable(policy, where="m")


@pytest.mark.parametrize("kind", ["gemma2", "bloom", "gpt_neo"])
def test_attention_that_an_architecture_lacks_is_said_in_the_files_words(
    tokeniser: Tokeniser, tmp_path: Path, kind: str
) -> None:
    settings = {name: value for name, value in FOREIGN[kind].items() if not name.endswith("_token_id")}
    spec = Model(name="m", config={"model_type": kind, **settings})
    with pytest.raises(InputError) as error:
        initialise(spec, tokeniser, 0, tmp_path)
    assert f"model m, config: {kind} models have no sdpa attention, got 'sdpa'; expected eager" in str(error.value)
    assert "`attention:` stands beside" in str(error.value)
    assert "attn_implementation" not in str(error.value)
    initialise(spec.model_copy(update={"attention": "eager"}), tokeniser, 0, tmp_path)
    with pytest.raises(InputError, match="have no sdpa attention"):
        Policy.load(tmp_path, spec=Model(name="m"))
    check_suitable(Policy.load(tmp_path, spec=Model(name="m", attention="eager")), where="m")
