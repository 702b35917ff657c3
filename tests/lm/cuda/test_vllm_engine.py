"""Sampling by vLLM, with a stand-in that has its interface and samples from transformers' model."""

from __future__ import annotations

import importlib.util
import sys
from functools import partial
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, cast

import pytest
import torch
from lm.cuda import vllm_stand_in
from lm.ragged import some_prompts
from training.runs import Evolution, go, plan
from training.test_services import services

from harness.errors import InputError, MachineError
from harness.execution.preflight import preflight
from harness.lm.cuda.vllm_engine import VllmEngine
from harness.lm.decode.noise import Noise
from harness.lm.decode.sampling import SamplingParams, sample
from harness.lm.score.logprobs import score
from harness.models.engines import check_vllm
from harness.spec.recipe import MethodSampling, Recipe
from harness.spec.stages.train import TrainConfig
from harness.testing.bench import Twins
from harness.testing.tiny import tiny_batch, tiny_policy
from harness.text.stops import Stops
from harness.training.drawing import agreement, engine_of, merged
from harness.training.record import Settings

if TYPE_CHECKING:
    from pathlib import Path

    from harness.lm.model.policy import Policy

IDS = ["a", "b", "c"]


@pytest.fixture(autouse=True)
def vllm(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "vllm", vllm_stand_in)
    monkeypatch.setenv("VLLM_ENABLE_V1_MULTIPROCESSING", "1")
    vllm_stand_in.BUILT.clear()


def single() -> Policy:
    """Return the tiny policy in float32."""
    policy = tiny_policy(dropout=0.0)
    untyped: Any = policy.model
    untyped.float()
    policy.dtype = "float32"
    return policy


def engine(policy: Policy) -> VllmEngine:
    return VllmEngine(policy, longest=60, where="method 'm'")


def test_greedy_answers_and_log_probs_are_ours() -> None:
    policy, params = single(), SamplingParams((0.0, 1.0, 0.6), 7)
    prompts = some_prompts(policy, [5, 1, 3], padding=9)
    found = engine(policy).sample(prompts, IDS, params, Noise(0, "t"))
    mine = sample(policy, prompts, IDS, SamplingParams((0.0,), 7), Noise(0, "t")).completions
    for row in range(3):
        size = int(mine.lengths[row, 0])
        assert found.completions.ids[row, 0, :size].tolist() == mine.ids[row, 0, :size].tolist()
    assert found.completions.lengths[:, :1].tolist() == mine.lengths.tolist()
    assert found.completions.finished[:, :1].tolist() == mine.finished.tolist()
    ours = score(policy, prompts, found.completions, dropout=False).values.detach().double()
    torch.testing.assert_close(found.logprobs, ours, rtol=0, atol=1e-5)
    assert len({tuple(row) for row in found.completions.ids.flatten(0, 1).tolist()}) > 5


def test_an_answer_depends_on_its_coordinates_alone() -> None:
    policy, params = single(), SamplingParams((1.0, 1.0), 7)
    prompts, draws = some_prompts(policy, [5, 1, 3]), engine(policy)
    whole = draws.sample(prompts, IDS, params, Noise(0, "t")).completions
    alone = draws.sample(prompts[[2]], ["c"], params, Noise(0, "t")).completions
    size = alone.ids.shape[2]
    assert torch.equal(whole.ids[2, :, :size], alone.ids[0])
    assert not torch.equal(whole.ids[:, 0], whole.ids[:, 1])  # candidates have noise of their own
    other = draws.sample(prompts, IDS, params, Noise(1, "t")).completions
    assert whole.ids.tolist() != other.ids.tolist()


def test_weights_are_handed_over_before_each_draw_and_the_engine_sleeps_behind_it() -> None:
    policy, params = single(), SamplingParams((1.0,), 5)
    prompts, draws = some_prompts(policy, [5, 1, 3]), engine(policy)
    for _ in range(2):
        found = draws.sample(prompts, IDS, params, Noise(0, "t"))
        ours = score(policy, prompts, found.completions, dropout=False).values.detach().double()
        torch.testing.assert_close(found.logprobs, ours, rtol=0, atol=1e-5)
        with torch.no_grad():
            for parameter in policy.model.parameters():
                parameter.mul_(1.5)
    (built,) = vllm_stand_in.BUILT
    draw = ["apply_model", "wake_up kv_cache", "generate", "sleep"]
    assert built.calls == [*draw, "wake_up weights", *draw]
    assert built.max_model_len == min(60, policy.positions_limit or 60)


def test_what_ends_an_answer() -> None:
    policy = single()
    prompts = some_prompts(policy, [5, 1, 3])
    full = engine(policy).sample(prompts, IDS, SamplingParams((1.5, 1.5), 9, suppress_stops=True), Noise(0, "t"))
    assert set(full.completions.lengths.flatten().tolist()) == {9}
    assert not torch.isin(full.completions.ids, torch.tensor(policy.stops.ids)).any()
    free = engine(policy).sample(prompts, IDS, SamplingParams((1.5, 1.5), 9), Noise(0, "t")).completions
    texts = [policy.tokeniser.decode_exact(row[:n]) for row, n in _rows(free)]
    letter = max(texts, key=len)[2]
    policy.stops = Stops(policy.stops.ids, (letter,))
    cut = engine(policy).sample(prompts, IDS, SamplingParams((1.5, 1.5), 9), Noise(0, "t")).completions
    for (row, size), whole in zip(_rows(cut), texts, strict=True):
        text = policy.tokeniser.decode_exact(row[:size])
        assert whole.startswith(text)
        assert (letter in text) is (letter in whole)
        assert letter not in text[:-1]


def _rows(completions: Any) -> list[tuple[list[int], int]]:
    ids, lengths = completions.ids.flatten(0, 1).tolist(), completions.lengths.flatten().tolist()
    return list(zip(ids, lengths, strict=True))


def test_ids_without_a_token_are_never_drawn() -> None:
    policy = single()
    policy.vocab_size = 200  # what the tokenizer has of a wider model
    found = engine(policy).sample(some_prompts(policy, [5, 1, 3]), IDS, SamplingParams((3.0,) * 4, 9), Noise(0, "t"))
    assert 100 < int(found.completions.ids.max()) < 200


def test_random_numbers_of_the_process_stay_as_they_were() -> None:
    policy = single()
    before = torch.get_rng_state()
    engine(policy).sample(some_prompts(policy, [2]), ["a"], SamplingParams((1.0,), 2), Noise(0, "t"))
    assert torch.equal(torch.get_rng_state(), before)


def test_no_prompts_need_no_engine() -> None:
    policy = single()
    found = engine(policy).sample(some_prompts(policy, [2])[[]], [], SamplingParams((1.0, 1.0), 2), Noise(0, "t"))
    assert found.completions.ids.shape == (0, 2, 0)
    assert not vllm_stand_in.BUILT


def test_what_the_engine_cannot_do_is_one_message(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(InputError, match=r"method 'm': vLLM has no float64, got 'float64'"):
        engine(tiny_policy())
    policy = single()
    monkeypatch.setattr(policy, "adapter", object())
    with pytest.raises(InputError, match=r"recipe\.adapter trains an adapter beside them"):
        engine(policy)
    with pytest.raises(InputError, match=r"vLLM samples beside one process, and the stage has several, got '2 proc"):
        engine_of(single(), Settings.of(plan(engine="vllm"), 60), Twins())
    monkeypatch.setattr(vllm_stand_in.LLM, "generate", lambda *_, **__: (_ for _ in ()).throw(ValueError("no\nmore")))
    with pytest.raises(MachineError, match=r"method 'm': vLLM failed: no$"):
        engine(single()).sample(some_prompts(policy, [2]), ["a"], SamplingParams((1.0,), 2), Noise(0, "t"))


def test_a_training_log_has_the_difference_of_each_step(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    log = go(plan(engine="vllm", last=1), Evolution(), tmp_path / "a", policy=single()).log
    assert len(log) == 2
    for row in log:
        said = row["sampler"]
        assert said["engine"] == "vllm"
        assert said["tokens"] == row["tokens"]["generated"]
        assert 0 < said["largest_difference"] < 1e-4
        assert said["mean_difference"] <= said["largest_difference"]
        assert said["mean_ratio"] == pytest.approx(1, abs=1e-4)
        assert row["samples"]["entropy"] > 0
    assert "sampler" not in go(plan(last=1), Evolution(), tmp_path / "b", policy=single()).log[0]
    monkeypatch.setattr(vllm_stand_in._Model, "load_weights", lambda *_: None)  # weights of yesterday
    stale = go(plan(engine="vllm", last=1), Evolution(), tmp_path / "c", policy=single()).log
    assert all(row["sampler"]["mean_difference"] > 1e-3 for row in stale)


def test_entropies_are_those_of_our_own_sampler() -> None:
    batch = tiny_batch(tiny_policy())
    for run in (services(plan(engine="vllm"), single()), services()):
        done = run.greedy(batch)
        assert done.ids.shape[1] == 1
    one, other = (each(batch) for each in (_entropy("vllm"), _entropy(None)))
    torch.testing.assert_close(one, other, rtol=0, atol=1e-5)


def _entropy(name: str | None) -> Any:
    run = services(plan(engine=name), single())
    params, noise = SamplingParams((0.0,), 6), Noise(0, "t")
    if run.engine is None:
        return lambda batch: sample(run.policy, batch.prompts, batch.ids, params, noise, batcher=run.decoding).entropy
    draw = partial(run.engine.draw, scorer=run.scorer, module=run._scoring, record=run.record)
    return lambda batch: draw(batch, params, noise).entropy


def test_differences_of_several_draws_are_put_together() -> None:
    theirs, ours = torch.tensor([[[-1.0, -2.0, 0.0]]]), torch.tensor([[[-1.5, -1.0, 7.0]]])
    mask = torch.tensor([[[True, True, False]]])
    first = agreement(theirs.double(), ours, mask)
    assert (first.tokens, first.mean_difference, first.largest_difference) == (2, 0.75, 1.0)
    assert first.mean_ratio == pytest.approx((2.718281828**-0.5 + 2.718281828) / 2)
    both = merged(first, agreement(theirs.double(), theirs, mask))
    assert (both.tokens, both.mean_difference, both.largest_difference) == (4, 0.375, 1.0)
    nothing = agreement(theirs.double(), ours, mask & False)
    assert merged(nothing, first) == first == merged(None, first)


def test_where_it_is_not_installed_it_is_said_before_anything_is_made(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "vllm")
    assert importlib.util.find_spec("vllm") is None, "the suite runs where it is not installed"
    with pytest.raises(InputError) as caught:
        check_vllm("here")
    made: Any = TrainConfig.model_construct  # nothing else of it is asked
    config = made(sampling=MethodSampling(engine="vllm"))
    stage: Any = SimpleNamespace(config=config, label="model/eso")
    with pytest.raises(InputError) as early:
        preflight([stage], cast("Any", None))
    assert str(early.value) == str(caught.value).replace("here", "model/eso, recipe.sampling", 1)
    assert "sampling by vLLM needs the package vllm, which is not installed" in str(early.value)
    assert "pip install 'posttune-harness[vllm]'" in str(early.value)
    stage.config = made(sampling=MethodSampling())
    with pytest.raises(AttributeError):  # it goes on, to plugins
        preflight([stage], cast("Any", None))


@pytest.mark.parametrize(("given", "engine"), [(None, None), ({"engine": "own"}, None), ({"engine": "vllm"}, "vllm")])
def test_who_draws_is_part_of_what_a_stage_is_told(given: Any, engine: str | None) -> None:
    found = Recipe(generate_length=3, sampling=given).method_sampling
    assert found == MethodSampling(generate_length=3, engine=engine)
