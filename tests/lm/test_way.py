"""Both ways of every architecture against plain forwards of transformers, one row at a time."""

from __future__ import annotations

import logging
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
import torch
from lm.architectures import FAST, GENERAL, InFloat64, make
from lm.ragged import logprobs_alone, often_ending, some_completions, some_prompts

from harness.lm import way
from harness.lm.decode.choose import decoder
from harness.lm.decode.copied import Apart, Copied
from harness.lm.decode.noise import Noise
from harness.lm.decode.prefix import SharedPrefix
from harness.lm.decode.sampling import SamplingParams, sample
from harness.lm.score import trees
from harness.lm.score.log_softmax import ScoringParams
from harness.lm.score.logprobs import prepare, score
from harness.lm.score.trees import Forest
from harness.lm.switches import GENERAL_WAY
from harness.lm.way import structural_way, way_of
from harness.stages.suitability import check_suitable

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from harness.api import Prompts
    from harness.lm.model.policy import Policy
    from harness.text.tokenise import Tokeniser

PROMPT_LENGTHS = [7, 1, 4]
LENGTHS = [[5, 1, 3], [0, 6, 2], [1, 1, 4]]
WEIGHTS = torch.randn(3, 3, 6, generator=torch.Generator().manual_seed(5), dtype=torch.float64)


@pytest.fixture(autouse=True)
def in_float64() -> Iterator[None]:
    with InFloat64():
        yield


def gradients(policy: Policy, loss: torch.Tensor) -> dict[str, torch.Tensor]:
    policy.model.zero_grad()
    torch.autograd.backward(loss)
    return {name: p.grad.clone() for name, p in policy.model.named_parameters() if p.grad is not None}


def assert_scores_are_those_of_rows_alone(policy: Policy, rows: int) -> None:
    prompts, completions = some_prompts(policy, PROMPT_LENGTHS), some_completions(policy, LENGTHS)
    assert prepare(policy, prompts, completions).input_ids.shape[0] == rows
    found = score(policy, prompts, completions, ScoringParams(1.5), dropout=True)
    mine = gradients(policy, (found.values * WEIGHTS).sum())
    expected = logprobs_alone(policy, prompts, completions, 1.5)
    torch.testing.assert_close(found.values, expected, rtol=0, atol=1e-9)
    theirs = gradients(policy, (expected * WEIGHTS).sum())
    # experts that no token came to have a gradient of 0 on one side and none on the other
    scale = max(float(gradient.abs().max()) for gradient in theirs.values())
    for name in mine.keys() | theirs.keys():
        one, other = (each.get(name, torch.zeros(())) for each in (mine, theirs))
        assert float((one - other).abs().max()) <= 1e-9 * scale, name


def greedy_alone(policy: Policy, prompts: Prompts, limit: int) -> list[list[int]]:
    texts = []
    with torch.inference_mode():
        for prompt, length in zip(prompts.ids, prompts.lengths.tolist(), strict=True):
            ids = prompt[:length].tolist()
            for _ in range(limit):
                whole = policy.model(input_ids=torch.tensor([ids]), use_cache=False).logits[0, -1]
                ids.append(int(policy.restrict(whole).argmax()))
                if ids[-1] == policy.eos_id:
                    break
            texts.append(ids[length:])
    return texts


def drawn(policy: Policy, prompts: Prompts, ids: str, heat: Sequence[float] = (1.0, 0.7, 1.3)) -> list[list[int]]:
    found = sample(policy, prompts, list(ids), SamplingParams(tuple(heat), 9), Noise(0, "t")).completions
    lengths = found.lengths.flatten().tolist()
    return [row[:n] for row, n in zip(found.ids.flatten(0, 1).tolist(), lengths, strict=True)]


@pytest.mark.parametrize("kind", FAST)
def test_the_fast_way_of_a_model(
    tokeniser: Tokeniser, kind: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    policy = make(kind, tokeniser)
    with caplog.at_level(logging.WARNING, logger="harness.lm"):
        assert way_of(policy).name == "fast"
    assert not [record for record in caplog.records if "way" in record.getMessage()]
    assert_scores_are_those_of_rows_alone(policy, 1)
    prompts = some_prompts(policy, PROMPT_LENGTHS)
    with torch.inference_mode():
        assert isinstance(decoder(policy, prompts.ids, prompts.lengths, repeats=2, room=4), SharedPrefix)
    often_ending(policy)
    assert drawn(policy, prompts, "abc", [0.0]) == greedy_alone(policy, prompts, 9)
    texts = drawn(policy, prompts, "abc")
    assert len(set(map(len, texts))) > 2  # so rows left at different times
    monkeypatch.setenv(GENERAL_WAY.variable, "general")
    assert str(way_of(policy)).endswith("HARNESS_WAY=general asks for it")
    assert structural_way(policy).name == "fast"
    assert drawn(policy, prompts, "abc") == texts


#: What takes the fast way and was asked to take the general one; of each kind of attention and of experts one member.
ASKED = [
    pytest.param(kind, marks=() if kind in {"gpt2", "opt-350m", "llama", "gemma2", "qwen3-moe"} else pytest.mark.long)
    for kind in FAST
]


@pytest.mark.parametrize("kind", [*ASKED, *GENERAL])
def test_the_general_way_of_a_model(tokeniser: Tokeniser, kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    if kind in FAST:
        monkeypatch.setenv(GENERAL_WAY.variable, "general")
    policy = make(kind, tokeniser, factor=2.0 if kind == "bart" else 4.0)
    found = way_of(policy)
    assert found.name == "general"
    assert ("HARNESS_WAY=general" if kind in FAST else GENERAL[kind][0]) in found.reason
    assert_scores_are_those_of_rows_alone(policy, 9)
    prompts = some_prompts(policy, PROMPT_LENGTHS)
    with torch.inference_mode():
        rows = decoder(policy, prompts.ids, prompts.lengths, repeats=2, room=4)
    assert isinstance(rows, Copied if found.batched else Apart)
    often_ending(policy)
    assert drawn(policy, prompts, "abc", [0.0]) == greedy_alone(policy, prompts, 9)
    texts = drawn(policy, prompts, "abc")
    assert len(set(map(len, texts))) > 2  # so rows left at different times
    assert texts == [text for place, name in enumerate("abc") for text in drawn(policy, prompts[[place]], name)]


@pytest.mark.parametrize("kind", ["gpt2", "mistral-window", "gemma2", "qwen3-moe"])
def test_trees_side_by_side_as_on_a_gpu(tokeniser: Tokeniser, kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trees, "PIECEWISE", set())
    policy = make(kind, tokeniser)
    assert way_of(policy).name == "fast"
    assert_scores_are_those_of_rows_alone(policy, 1)


@pytest.mark.parametrize("kind", ["gpt2", "llama", "gemma2"])
def test_eager_attention_takes_the_fast_way_too(tokeniser: Tokeniser, kind: str) -> None:
    policy = make(kind, tokeniser)
    policy.model.set_attn_implementation("eager")
    assert way_of(policy).name == "fast"
    assert_scores_are_those_of_rows_alone(policy, 1)
    assert policy.model.config._attn_implementation == "eager"  # put back after each forward


def test_a_layer_that_sees_otherwise_than_it_tells_takes_the_general_way(tokeniser: Tokeniser) -> None:
    """As wide as the window is, no toy would show that layers do not keep to it."""
    policy = make("qwen2-window", tokeniser)
    policy.model.config.sliding_window = 50
    layers: Any = policy.model.base_model.layers
    layers[1].self_attn.sliding_window = None
    assert way_of(policy).reason == "its layers do not tell the interface how far they see"


@pytest.mark.parametrize(
    ("broken", "reason"),
    [
        ("scaling", "trees in one row gave it other logits than rows of their own"),
        ("layer_idx", "not every layer calls transformers' attention interface once"),
        ("raises", "no such kernel"),
    ],
)
def test_what_the_probe_finds_is_the_reason(
    tokeniser: Tokeniser, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, broken: str, reason: str
) -> None:
    policy = make("llama", tokeniser)
    attend: Any = Forest.attend

    def otherwise(self: Forest, layer: int, *states: Any) -> Any:
        if broken == "raises":
            raise RuntimeError("no such kernel\nand more")
        return attend(self, layer, *states[:3], replace(states[3], scaling=0.1) if broken == "scaling" else states[3])

    monkeypatch.setattr(Forest, "attend", otherwise)
    if broken == "layer_idx":
        layers: Any = policy.model.base_model.layers
        layers[1].self_attn.layer_idx = 0
    with caplog.at_level(logging.WARNING, logger="harness.lm"):
        for _ in range(2):
            found = way_of(policy)
    assert (found.name, found.reason, found.batched) == ("general", reason, broken != "layer_idx")
    assert str(found).endswith(f"; {reason}")
    (line,) = [record.getMessage() for record in caplog.records]
    assert line == f"llama takes the slower, general way: {reason}"


@pytest.mark.parametrize("kind", ["gpt2", "opt", "opt-350m", "llama", "qwen2", "gptj", "mixtral"])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_fresh_weights_that_hardly_attend_hide_no_wrong_attention(
    tokeniser: Tokeniser, monkeypatch: pytest.MonkeyPatch, kind: str, dtype: str
) -> None:
    """Their logits are small, and what attention adds to them is smaller."""
    attend: Any = Forest.attend

    def otherwise(self: Forest, layer: int, *states: Any) -> Any:
        return attend(self, layer, *states[:3], replace(states[3], scaling=0.1 * states[3].scaling))

    right = make(kind, tokeniser, dtype=dtype, factor=1.0)
    assert way_of(right).name == "fast"
    check_suitable(right, where="m")
    monkeypatch.setattr(Forest, "attend", otherwise)
    assert way_of(make(kind, tokeniser, dtype=dtype, factor=1.0)).name == "general"


@pytest.mark.parametrize("kind", FAST)
@pytest.mark.parametrize("factor", [1.0, 4.0])
def test_rounding_to_float32_changes_no_way(tokeniser: Tokeniser, kind: str, factor: float) -> None:
    policy = make(kind, tokeniser, dtype="float32", factor=factor)
    assert way_of(policy).name == "fast"
    check_suitable(policy, where="m")


@pytest.mark.parametrize("tries", [1, 2, 3])
def test_a_router_that_lets_rounding_decide_does_not_fool_the_probe(
    tokeniser: Tokeniser, monkeypatch: pytest.MonkeyPatch, tries: int
) -> None:
    """Where two experts are as good for a token, forwards of other sizes may choose another one of them."""
    policy = make("qwen3-moe", tokeniser)
    body: Any = policy.model.base_model
    hesitant = body.layers[0].mlp.gate
    forward, try_trees = hesitant.forward, way._try_trees
    calls: list[int] = []

    def hesitates(states: torch.Tensor) -> Any:
        logits, weights, experts = forward(states)
        together = len(states) > 8  # the trees of the probe, but no row of its own
        return logits, weights, experts.flip(-1) if together and len(calls) <= tries else experts

    def counted(policy: Policy, first: int) -> str:
        calls.append(first)
        return try_trees(policy, first)

    monkeypatch.setattr(hesitant, "forward", hesitates)
    monkeypatch.setattr(way, "_try_trees", counted)
    assert way_of(policy).name == ("fast" if tries < 3 else "general")
    assert len(calls) == min(3, tries + 1)
    assert len(set(calls)) == len(calls)  # other tokens at each try


@pytest.mark.parametrize("asked_for", [None, "general"])
def test_tokens_of_one_toy_that_let_rounding_decide_fool_no_trial(
    tokeniser: Tokeniser, monkeypatch: pytest.MonkeyPatch, asked_for: str | None
) -> None:
    """Whether a model is causal, decodes what it says of whole rows, and with padding at the left: all are tried so."""
    if asked_for:
        monkeypatch.setenv(GENERAL_WAY.variable, asked_for)
    policy = make("qwen3-moe", tokeniser)
    body: Any = policy.model.base_model
    hesitant = body.layers[0].mlp.gate
    forward = hesitant.forward
    hesitated: list[bool] = []

    def reads(_: Any, inputs: tuple[torch.Tensor, ...]) -> None:
        hesitated.append(inputs[0].numel() > 4 and 3 in inputs[0])

    def hesitates(states: torch.Tensor) -> Any:
        logits, weights, experts = forward(states)
        return logits, weights, experts.flip(-1) if hesitated[-1] else experts

    body.embed_tokens.register_forward_pre_hook(reads)
    monkeypatch.setattr(hesitant, "forward", hesitates)
    check_suitable(policy, where="m")
    found = way_of(policy)
    assert (found.name, found.batched) == (asked_for or "fast", True)
    assert any(hesitated)


def test_ids_without_a_token_change_no_way(tokeniser: Tokeniser) -> None:
    """Their logits are minus infinity whoever computes them."""
    for kind in ("gpt2", "llama"):
        policy = make(kind, tokeniser)
        policy._absent = torch.zeros(policy.vocab_size, dtype=torch.bool)
        policy._absent[5:9] = True  # among the ids that are tried
        assert way_of(policy).name == "fast"
        check_suitable(policy, where="m")


def test_memory_that_runs_out_says_nothing_of_a_model(tokeniser: Tokeniser, monkeypatch: pytest.MonkeyPatch) -> None:
    policy = make("llama", tokeniser)
    with monkeypatch.context() as patch:
        patch.setattr(way, "pack", lambda *_: (_ for _ in ()).throw(torch.OutOfMemoryError("full")))
        with pytest.raises(torch.OutOfMemoryError):
            way_of(policy)
    assert way_of(policy).name == "fast"
