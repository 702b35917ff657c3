"""Models of other kinds: taken as they are, taken one prompt at a time, or refused before anything is trained."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
import torch
from lm.architectures import FAST, GENERAL, make
from lm.ragged import alone, some_completions, some_prompts

from harness.errors import InputError
from harness.lm.decode.choose import decoder
from harness.lm.decode.copied import Apart, Copied
from harness.lm.decode.noise import Noise
from harness.lm.decode.sampling import SamplingParams, sample
from harness.lm.model.initialise import initialise
from harness.lm.model.policy import Policy
from harness.lm.score.logprobs import score
from harness.lm.way import way_of
from harness.spec.model import Model
from harness.stages.suitability import check_suitable

if TYPE_CHECKING:
    from pathlib import Path

    from harness.text.tokenise import Tokeniser

_SHAPE = {"hidden_size": 32, "num_hidden_layers": 2}
_ATTENTION = {**_SHAPE, "num_attention_heads": 2, "intermediate_size": 48}


def build(kind: str, settings: dict[str, Any], tokeniser: Tokeniser) -> Policy:
    """Make a policy around a fresh model, by transformers alone."""
    from transformers import AutoConfig, AutoModelForCausalLM

    ids = {"vocab_size": 330, "bos_token_id": 0, "eos_token_id": 0, "pad_token_id": 1}
    build_model: Any = AutoModelForCausalLM.from_config
    with torch.random.fork_rng():
        torch.set_rng_state(torch.Generator().manual_seed(3).get_state())
        model = build_model(AutoConfig.for_model(kind, **ids, **settings))
    return Policy(model, tokeniser, dtype="float64")


@pytest.mark.parametrize("attention", ["sdpa", "eager"])
def test_a_model_whose_state_is_in_no_cache_is_refused_before_weights_are_drawn(
    tokeniser: Tokeniser, tmp_path: Path, attention: Any
) -> None:
    spec = Model(name="m", config={"model_type": "rwkv", **_SHAPE, "attention_hidden_size": 32}, attention=attention)
    with pytest.raises(InputError, match="the state that this model keeps of a text is in no cache of transf") as error:
        initialise(spec, tokeniser, 0, tmp_path / "m")
    assert "got 'rwkv';" in str(error.value)
    assert not (tmp_path / "m").exists()


def test_so_it_is_in_a_folder(tokeniser: Tokeniser, tmp_path: Path) -> None:
    build("rwkv", {**_SHAPE, "attention_hidden_size": 32}, tokeniser).save(tmp_path)
    with pytest.raises(InputError, match=r"model m .*is in no cache of transformers.*rwkv"):
        Policy.load(tmp_path, spec=Model(name="m", attention="eager"))


def test_one_that_keeps_it_in_its_layers_is_refused_before_training(tokeniser: Tokeniser) -> None:
    policy = build("recurrent_gemma", {**_ATTENTION, "num_hidden_layers": 3, "lru_width": 32}, tokeniser)
    with pytest.raises(InputError, match="decoding with kept keys and values does not give what a forward over the"):
        check_suitable(policy, where="m")


@pytest.mark.parametrize("kind", [*GENERAL, "mistral-window", "gemma2", "qwen3-moe"])
def test_models_of_other_families_are_taken(tokeniser: Tokeniser, kind: str) -> None:
    check_suitable(make(kind, tokeniser), where="m")


@pytest.mark.parametrize("family", ["gpt2", "opt-350m", "neox"])
def test_supported_families_are_taken(make_policy: Any, family: str) -> None:
    check_suitable(make_policy(family), where="m")


def test_a_model_that_counts_padding_is_decoded_one_prompt_at_a_time(
    tokeniser: Tokeniser, caplog: pytest.LogCaptureFixture
) -> None:
    policy = make("bart", tokeniser, factor=2.0)
    check_suitable(policy, where="m")
    assert "bart takes the slower, general way" in caplog.text
    assert "prompts decoded one at a time, for padding is text to the model" in str(way_of(policy))
    prompts = some_prompts(policy, [9, 2, 5])
    with torch.inference_mode():
        assert isinstance(decoder(policy, prompts.ids, prompts.lengths, repeats=2, room=4), Apart)
        wrong = Copied(policy, prompts.ids, prompts.lengths, 1).logits
    answers = some_completions(policy, [[4, 2], [1, 4], [3, 3]])
    with torch.inference_mode():
        right = torch.stack([alone(policy, prompts, answers, b, 0)[0] for b in range(3)])
    assert not torch.allclose(wrong[1], right[1], rtol=0, atol=1e-3)  # the padding is what this is about
    found = sample(policy, prompts, list("abc"), SamplingParams((1.0, 0.7), 6, with_logprobs=True), Noise(0, "t"))
    assert found.logprobs is not None
    again = score(policy, prompts, found.completions, dropout=False)
    torch.testing.assert_close(found.logprobs, again.values.detach(), rtol=0, atol=1e-9)
    each = [sample(policy, prompts[[b]], ["abc"[b]], SamplingParams((1.0, 0.7), 6), Noise(0, "t")) for b in range(3)]
    for b, one in enumerate(each):
        lengths = found.completions.lengths[b].tolist()
        assert one.completions.lengths[0].tolist() == lengths
        for k, length in enumerate(lengths):
            assert one.completions.ids[0, k, :length].tolist() == found.completions.ids[b, k, :length].tolist()


def test_rows_that_leave_and_rows_that_inherit_are_those_of_their_prompt(tokeniser: Tokeniser) -> None:
    policy = make("bart", tokeniser, factor=2.0)
    prompts = some_prompts(policy, [5, 3, 7])
    tokens = torch.randint(1, policy.vocab_size, (3, 6), generator=torch.Generator().manual_seed(1))
    with torch.inference_mode():
        rows = Apart(policy, prompts.ids, prompts.lengths, 2, 4)
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
    policy = make("phi3-long", tokeniser, factor=1.0)
    assert policy.positions_limit == 48
    assert "rows of more than 48 tokens are refused: beyond that its rotary factors (LongRoPE)" in caplog.text
    check_suitable(policy, where="m")
    prompts = some_prompts(policy, [43, 3])
    with pytest.raises(InputError, match="more than the model's context of 48"):
        sample(policy, prompts, ["a", "b"], SamplingParams((1.0,), 6), Noise(0, "t"))
    found = sample(policy, prompts, ["a", "b"], SamplingParams((1.0,), 5, with_logprobs=True), Noise(0, "t"))
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
    settings = FAST[kind] if kind in FAST else GENERAL[kind][1]
    spec = Model(name="m", config=settings)
    with pytest.raises(InputError) as error:
        initialise(spec, tokeniser, 0, tmp_path)
    assert f"model m, config: {kind} models have no sdpa attention, got 'sdpa'; expected eager" in str(error.value)
    assert "`attention:` stands beside" in str(error.value)
    assert "attn_implementation" not in str(error.value)
    initialise(spec.model_copy(update={"attention": "eager"}), tokeniser, 0, tmp_path)
    with pytest.raises(InputError, match="have no sdpa attention"):
        Policy.load(tmp_path, spec=Model(name="m"))
    check_suitable(Policy.load(tmp_path, spec=Model(name="m", attention="eager")), where="m")
