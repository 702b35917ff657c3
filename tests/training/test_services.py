from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
import torch
from torch import nn
from training.runs import REWARD, Evolution, Plain, Supervised, go, plan, same_bits, tiny_rows

from harness.errors import InputError, MachineError, PluginError, StageError
from harness.execution.tiny import tried_policy
from harness.lm.score.logprobs import score
from harness.testing.tiny import tiny_batch, tiny_policy
from harness.training.assignment import Judges, RunContext
from harness.training.distributed import Ranks
from harness.training.loop import Segment
from harness.training.memo import Memo
from harness.training.rewards import CombinedReward, Part

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from torch import Tensor

    from harness.api import Batch, Run
    from harness.lm.model.policy import Policy
    from harness.training.services import Services


def services(what: Any = None, policy: Policy | None = None, **rest: Any) -> Services:
    """A run that stands before its first step."""
    policy = policy or tried_policy()
    settings: dict[str, Any] = {"reward": REWARD, "load_reference": lambda: tried_policy(1), **rest}
    segment = Segment(
        what or plan(),
        policy,
        tiny_rows(policy),
        Plain(),
        context=RunContext(log=lambda _row: None),
        judges=Judges(**settings),
    )
    segment.services.progress.move(0)
    return segment.services


@pytest.fixture
def run() -> Services:
    return services()


@pytest.fixture
def batch() -> Batch:
    return tiny_batch(tiny_policy())


def test_the_services_are_a_run(run: Services) -> None:
    as_run: Run = run
    assert as_run.policy.eos_id == 256
    run.progress.move(5)
    assert (as_run.progress.step, as_run.progress.epoch, as_run.progress.total_steps) == (5, 2, 6)
    assert as_run.progress.fraction == pytest.approx(5 / 6)


def test_samples_depend_on_step_and_example_alone(run: Services, batch: Batch) -> None:
    run.progress.move(3)
    whole = run.sample(batch, [0.5, 1.0])
    again = services()
    again.progress.move(3)
    some = again.sample(batch[[6, 2]], [0.5, 1.0])
    for place, row in enumerate((6, 2)):
        for k in range(2):
            length = int(whole.lengths[row, k])
            assert int(some.lengths[place, k]) == length
            assert some.ids[place, k, :length].equal(whole.ids[row, k, :length])
    again.progress.move(4)
    again.record.draws = 0
    other = again.sample(batch[[6, 2]], [0.5, 1.0])
    assert not (other.ids.shape == some.ids.shape and other.ids.equal(some.ids))


def test_a_second_draw_in_one_step_is_another(run: Services, batch: Batch) -> None:
    one, other = run.sample(batch, [1.0]), run.sample(batch, [1.0])
    assert not (one.ids.shape == other.ids.shape and one.ids.equal(other.ids))


def test_greedy_is_the_limit_of_low_temperatures(run: Services, batch: Batch) -> None:
    greedy, cold = run.greedy(batch), run.sample(batch, [1e-6])
    assert greedy.ids.equal(cold.ids)
    assert greedy.lengths.shape == (8, 1)


def test_the_reference_gives_a_prompt_the_same_completions_for_ever(run: Services, batch: Batch) -> None:
    first = run.sample(batch, [0.5, 2.0], by="reference")
    run.progress.move(5)
    later = run.sample(batch[[3, 4]], [0.5, 2.0], by="reference")
    for place, row in enumerate((3, 4)):
        assert later.lengths[place].equal(first.lengths[row])
        assert later.finished[place].equal(first.finished[row])
        width = int(later.lengths[place].max())
        assert later.ids[place, :, :width].equal(first.ids[row, :, :width])
    mine = run.sample(batch, [0.5, 2.0])
    assert not (mine.ids.shape == first.ids.shape and mine.ids.equal(first.ids))
    before = run.record.generated
    run.sample(batch, [0.5, 2.0], by="reference")
    assert run.record.generated == before  # nothing was decoded again
    again = services()
    once_more = again.sample(batch[[4]], [0.5, 2.0], by="reference")
    assert once_more.ids[0].equal(first.ids[4][:, : once_more.ids.shape[2]])


def test_rollouts_end_at_strings_which_rewards_do_not_see(batch: Batch) -> None:
    seen: list[str] = []

    def reward(*, completions: list[str], **_: Any) -> list[float | None]:
        seen.extend(completions)
        return [0.0] * len(completions)

    free = services().sample(batch, [1.0, 1.5])
    tokeniser = tiny_policy().tokeniser
    rows = [row[:length] for row, length in zip(free.ids.flatten(0, 1).tolist(), free.lengths.flatten(), strict=True)]
    stop = next(
        char for row in rows for char in tokeniser.decode_exact(row)[1:] if char.isascii() and not char.isspace()
    )
    run = services(reward=CombinedReward([Part("seen", reward)]))
    run.policy.end_at(run.policy.stops.also([], [stop]))
    done = run.sample(batch, [1.0, 1.5])
    run.reward(batch, done)
    assert len(seen) == 16
    for row, length, finished, text in zip(rows, done.lengths.flatten(), done.finished.flatten(), seen, strict=True):
        whole = tokeniser.decode_exact(row)
        assert text == whole.partition(stop)[0].strip()
        assert bool(finished) == (stop in whole or row[-1] == run.policy.eos_id)
        assert int(length) <= len(row)
    assert any(stop in tokeniser.decode_exact(row) for row in rows)


class Tight(nn.Module):
    """Runs out of memory for more than so many tokens at a time."""

    def __init__(self, limit: int) -> None:
        super().__init__()
        self.limit = limit
        self.asked: list[int] = []

    def watch(self, run: Services) -> None:
        def before(_module: Any, _inputs: Any, options: dict[str, Any]) -> None:
            self.asked.append(options["input_ids"].numel())
            if self.asked[-1] > self.limit:
                raise torch.OutOfMemoryError("CUDA out of memory")

        body: Any = run.policy.model.base_model
        body.register_forward_pre_hook(before, with_kwargs=True)


@pytest.mark.parametrize("how", ["sample", "beam"])
def test_decoding_takes_fewer_rows_where_memory_runs_out(batch: Batch, how: str) -> None:
    def call(run: Services) -> Any:
        if how == "sample":
            return run.sample(batch, [0.5, 1.0])
        return run.beam(batch, beams=2, groups=1, diversity_penalty=0.0)

    whole = call(services())
    run, tight = services(), Tight(limit=int(3 * batch.prompts.lengths.max()))
    call(run)  # what is tried of a model once
    tight.watch(run)
    run.record.draws = 0
    assert call(run).ids.equal(whole.ids)
    failed = [tokens for tokens in tight.asked if tokens > tight.limit]
    assert len(failed) >= 1
    assert run.decoding.halvings == len(failed)
    assert run.record.generated == 2 * int(whole.lengths.sum())  # what had to be drawn again counts once
    call(run)
    assert [tokens for tokens in tight.asked if tokens > tight.limit] == failed  # what was learnt stays
    assert run._updater.batcher.halvings == run.scorer.batcher.halvings == 0
    tight.limit = 0
    with pytest.raises(MachineError, match="out of memory while decoding, with one row at a time, got"):
        call(run)


@pytest.mark.parametrize("what", ["logprobs", "final_states", "reference", "logits"])
def test_scoring_takes_fewer_rows_where_memory_runs_out(batch: Batch, what: str) -> None:
    def call(run: Services) -> Tensor:
        if what == "final_states":
            return run.final_states(batch, batch.demonstrations)
        if what == "reference":
            return run.reference_logprobs(batch, batch.demonstrations).values
        if what == "logits":
            values = torch.zeros(*batch.demonstrations.ids.shape, run.policy.vocab_size, dtype=torch.float64)
            for chunk in run.logits(batch, batch.demonstrations):
                assert batch.demonstrations.ids[chunk.rows.unbind(1)].equal(chunk.targets)
                values[chunk.rows.unbind(1)] = chunk.values
            assert values.any(-1).equal(batch.demonstrations.mask)
            return values
        return run.logprobs(batch, batch.demonstrations).values

    model = tiny_policy(dropout=0.0)
    whole = call(services(load_reference=lambda: model))
    run = services(load_reference=lambda: model)
    call(run)
    run.reference.memo = Memo()
    tight = Tight(limit=150)
    if what == "reference":
        run.policy = model
    tight.watch(run)
    torch.testing.assert_close(call(run), whole, rtol=0, atol=1e-12)
    assert run.scorer.batcher.halvings >= 1
    tight.limit = 0
    run.reference.memo = Memo()
    with pytest.raises(MachineError, match="out of memory while scoring, with one row at a time"):
        call(run)


def test_beams(run: Services, batch: Batch) -> None:
    mine = run.beam(batch, beams=4, groups=2, diversity_penalty=1.0)
    theirs = run.beam(batch, beams=4, groups=2, diversity_penalty=1.0, by="reference")
    assert mine.lengths.shape == theirs.lengths.shape == (8, 4)
    assert not (mine.ids.shape == theirs.ids.shape and mine.ids.equal(theirs.ids))
    assert run.record.signal.sums["samples"] == 64


def test_logprobs_outside_a_loss_have_no_gradient_and_any_budget_gives_the_same(batch: Batch) -> None:
    run = services()
    samples = batch.demonstrations.join(run.sample(batch, [1.0]))
    whole = run.logprobs(batch, samples, hidden=True)
    assert not whole.values.requires_grad
    tight = services(plan(tokens_per_micro_batch=50))
    parts = tight.logprobs(batch, samples, hidden=True)
    torch.testing.assert_close(parts.values, whole.values, rtol=0, atol=1e-12)
    assert whole.hidden is not None
    torch.testing.assert_close(parts.hidden, whole.hidden, rtol=0, atol=1e-12)
    assert parts.mask.equal(samples.mask)


def test_a_batch_without_rows_gives_nothing_of_the_right_shape(run: Services, batch: Batch) -> None:
    """A rank's share of a mini-batch may be empty."""
    samples = batch.demonstrations.join(run.sample(batch, [1.0]))
    none, of_none = batch[[]], samples[[]]
    width = samples.ids.shape[2]
    scored = run.logprobs(none, of_none, hidden=True)
    assert scored.values.shape == (0, 2, width)
    assert scored.values.dtype == run.logprobs(batch, samples).values.dtype
    assert scored.hidden is not None
    assert scored.hidden.shape == (0, 2, width, 8)
    assert run.final_states(none, of_none).shape == (0, 2, 8)
    assert run.final_states(none, of_none).dtype == run.final_states(batch, samples).dtype
    assert run.reference_logprobs(none, of_none).values.shape == (0, 2, width)
    assert list(run.logits(none, of_none)) == []
    for by in ("policy", "reference"):
        assert run.sample(none, [1.0, 0.5, 0.0], by=by).lengths.shape == (0, 3)
        beams = run.beam(none, beams=4, groups=2, diversity_penalty=0.0, by=by)
        assert beams.lengths.shape == (0, 4)
    assert run.greedy(none).lengths.shape == (0, 1)
    assert run.reward(none, of_none).values.shape == (0, 2)


def test_a_loss_may_score_no_rows(run: Services, batch: Batch) -> None:
    shapes: set[tuple[int, ...]] = set()

    def loss(batch: Batch) -> dict[str, Tensor]:
        none, of_none = batch[[]], batch.demonstrations[[]]
        scored = run.logprobs(none, of_none, hidden=True)
        assert scored.hidden is not None
        assert list(run.logits(none, of_none)) == []
        shapes.update({tuple(scored.hidden.shape[:2]), tuple(run.final_states(none, of_none).shape[:2])})
        whole = run.logprobs(batch, batch.demonstrations).values.sum()
        return {"coef": -whole + scored.values.sum() + scored.hidden.sum()}

    run.update(loss, batch=batch)
    assert shapes == {(0, 1)}


def test_what_is_for_all_ranks_is_refused_inside_a_loss(run: Services, batch: Batch) -> None:
    for name, call in {
        "total": lambda: run.total(1.0),
        "shuffle": lambda: list(run.shuffle({"batch": batch}, 2, "x")),
        "apply": lambda: run.apply([(0, 1.0)]),
    }.items():

        def loss(batch: Batch, call: Any = call) -> dict[str, Tensor]:
            call()
            return {}

        with pytest.raises(PluginError, match=rf"method 'evolution': {name}\(\) was called inside a loss"):
            run.update(loss, batch=batch)


def test_reference_logprobs_are_the_reference_s(run: Services, batch: Batch) -> None:
    expected = score(tiny_policy(1), batch.prompts, batch.demonstrations, dropout=False)
    found = run.reference_logprobs(batch, batch.demonstrations)
    torch.testing.assert_close(found.values, expected.values.detach(), rtol=0, atol=1e-12)
    assert not found.values.requires_grad
    size = len(run.reference.memo)
    some = run.reference_logprobs(batch[[5, 1]], batch.demonstrations[[5, 1]])
    assert some.values.equal(found.values[[5, 1]])
    assert len(run.reference.memo) == size == 8
    samples = run.sample(batch, [1.0])
    run.reference_logprobs(batch, samples)
    assert len(run.reference.memo) == 16


def test_the_reference_is_loaded_once_and_only_if_asked_for(batch: Batch) -> None:
    loaded: list[int] = []

    def load() -> Any:
        loaded.append(1)
        return tiny_policy(1)

    run = services(load_reference=load)
    run.sample(batch, [1.0])
    assert not loaded
    run.reference_logprobs(batch, batch.demonstrations)
    run.sample(batch, [1.0], by="reference")
    assert loaded == [1]
    assert run.reference.loaded is not None
    assert not any(parameter.requires_grad for parameter in run.reference.loaded.model.parameters())
    run.reference.check()
    with torch.no_grad():
        next(run.reference.loaded.model.parameters()).view(-1)[0] += 1e-9
    with pytest.raises(StageError, match="weights of the reference model were changed"):
        run.reference.check()


def test_a_method_without_a_reward_in_the_file(batch: Batch) -> None:
    run = services(reward=None)
    with pytest.raises(
        InputError, match="method 'evolution': the method asks for a reward and the benchmark names none"
    ):
        run.reward(batch, batch.demonstrations)


def test_rewards_see_the_text_and_where_training_stands(batch: Batch) -> None:
    seen: dict[str, Any] = {}

    def spy(**given: Any) -> list[float]:
        seen.update(given)
        return [0.0] * len(given["completions"])

    run = services(reward=CombinedReward([Part("spy", spy)]))
    run.progress.move(3)
    run.reward(batch, batch.demonstrations)
    assert seen["completions"][:3] == ["yes", "no, never", "a"]
    assert [len(ids) for ids in seen["completion_ids"]] == batch.demonstrations.answer_lengths[:, 0].tolist()
    state = seen["trainer_state"]
    assert (state.global_step, state.max_steps, state.epoch, state.num_train_epochs) == (3, 6, 1.5, 3)
    assert run.record.rewarded == 8


def test_shuffle_is_one_permutation_of_the_rows(run: Services, batch: Batch) -> None:
    places = torch.arange(8)
    parts = list(run.shuffle({"batch": batch, "places": places}, 3, "minibatch"))
    assert [len(part["places"]) for part in parts] == [2, 3, 3]
    order = [int(place) for part in parts for place in part["places"]]
    assert sorted(order) == list(range(8))
    assert order != list(range(8))
    assert [name for part in parts for name in part["batch"].ids] == [batch.ids[place] for place in order]
    again = [int(p) for part in run.shuffle({"places": places}, 3, "minibatch") for p in part["places"]]
    assert again == order
    other = [int(p) for part in run.shuffle({"places": places}, 3, "other") for p in part["places"]]
    assert other != order


class Fixed(Ranks):
    """One rank of several, with what the others would say."""

    def __init__(self, rank: int, sizes: list[int]) -> None:
        self.rank, self.world, self.sizes = rank, len(sizes), sizes

    def gather(self, value: Any) -> list[Any]:  # the sizes are known
        return self.sizes


def test_shuffle_is_the_same_for_any_number_of_ranks(run: Services) -> None:
    whole = [part["x"].tolist() for part in run.shuffle({"x": torch.arange(8)}, 3, "p")]
    shares = []
    for rank, rows in enumerate((torch.arange(3), torch.arange(3, 8))):
        run._ranks = Fixed(rank, [3, 5])
        shares.append([part["x"].tolist() for part in run.shuffle({"x": rows}, 3, "p")])
    together = [one + other for one, other in zip(*shares, strict=True)]
    assert [sorted(part) for part in together] == [sorted(part) for part in whole]


def test_generators_are_fixed_by_seed_purpose_and_step(run: Services) -> None:
    def draw(purpose: str, step: int) -> float:
        run.progress.move(step)
        return float(torch.rand((), generator=run.generator(purpose)))

    assert draw("a", 1) == draw("a", 1)
    assert len({draw("a", 1), draw("b", 1), draw("a", 2)}) == 3


def test_total_outside_is_a_sum_and_inside_a_loss_a_mistake(run: Services, batch: Batch) -> None:
    assert run.total(torch.tensor(5)).dtype == torch.int64
    assert float(run.total(2.5)) == 2.5
    source = torch.ones(2, requires_grad=True)
    assert not run.total(source.sum()).requires_grad
    with pytest.raises(PluginError, match=r"total\(\) was called inside a loss"):
        run.update(lambda batch: {"a": run.total(len(batch))}, batch=batch)
    with pytest.raises(PluginError, match=r"update\(\) was called inside a loss"):
        run.update(lambda batch: run.update(lambda batch: {}, batch=batch), batch=batch)  # type: ignore[arg-type,return-value]  # wrong on purpose


def test_a_loss_must_name_its_shares(run: Services, batch: Batch) -> None:
    with pytest.raises(PluginError, match="the loss gave no named shares, got 'Tensor'"):
        run.update(lambda batch: torch.zeros(()), batch=batch)  # type: ignore[arg-type,return-value]  # wrong on purpose


class Valued(Plain):
    """A value head on the hidden states, with a rate of its own, beside a supervised term."""

    def setup(self, run: Run) -> None:
        head = nn.Linear(8, 1)
        run.add_module("value", head, learning_rate=0.5)
        self.head = head

    def step(self, run: Run, batch: Batch) -> Mapping[str, float]:
        tokens = run.total(batch.demonstrations.lengths.sum())

        def loss(batch: Batch) -> dict[str, Tensor]:
            logp = run.logprobs(batch, batch.demonstrations, hidden=True)
            values = torch.where(logp.mask, self.head(logp.hidden)[..., 0], 0.0)
            return {"sft": -logp.sum().sum() / tokens, "value": (values - 1).square()[logp.mask].sum() / tokens}

        return run.update(loss, batch=batch)


def test_an_added_module_is_trained_saved_and_taken_up_again(tmp_path: Path) -> None:
    whole = go(plan("valued"), Valued(), tmp_path / "whole")
    assert whole.summary["active"] == {"sft": True, "value": True}
    assert [model["role"] for model in whole.summary["models_held"]] == ["policy", "module value"]
    assert whole.log[-1]["loss"]["value"] < whole.log[0]["loss"]["value"]
    first = go(plan("valued", last=1), Valued(), tmp_path / "first")
    then = go(plan("valued", first=1, previous=first.folder), Valued(), tmp_path / "then", policy=first.policy)
    assert same_bits(whole.weights, then.weights)
    one, other = ((tmp_path / name / "modules.safetensors").read_bytes() for name in ("whole", "then"))
    assert one == other


def test_a_module_may_be_added_once(run: Services) -> None:
    run.add_module("value", nn.Linear(8, 1))
    assert next(run.modules["value"].parameters()).dtype == torch.float64
    with pytest.raises(PluginError, match="a module called 'value' was added before"):
        run.add_module("value", nn.Linear(8, 1))


class ByLogits(Plain):
    """The supervised loss again, from whole distributions."""

    def step(self, run: Run, batch: Batch) -> Mapping[str, float]:
        tokens = run.total(batch.demonstrations.lengths.sum())

        def loss(batch: Batch) -> dict[str, Tensor]:
            total = torch.zeros((), dtype=torch.float64)
            for chunk in run.logits(batch, batch.demonstrations):
                logp = chunk.values.log_softmax(-1)
                total = total - logp.gather(1, chunk.targets[:, None]).sum()
            return {"sft": total / tokens}

        return run.update(loss, batch=batch)


def test_losses_from_logits_and_from_logprobs_agree(tmp_path: Path) -> None:
    one = go(plan("s"), Supervised(), tmp_path / "a")
    other = go(plan("s"), ByLogits(), tmp_path / "b")
    for mine, theirs in zip(one.log, other.log, strict=True):
        assert mine["loss"]["sft"] == pytest.approx(theirs["loss"]["sft"], rel=1e-10)
        assert mine["grad_norm"] == pytest.approx(theirs["grad_norm"], rel=1e-9)
        assert mine["tokens"] == theirs["tokens"]
    assert other.summary["active"] == {"sft": True}


class Noisy(Plain):
    """Parameter-space evolution strategy: antithetic pairs, greedy answers, no backward."""

    def __init__(self, sigma: float = 0.05) -> None:
        self.sigma = sigma

    def step(self, run: Run, batch: Batch) -> Mapping[str, float]:
        before = [p.detach().clone() for p in run.policy.model.parameters()]
        scores = []
        for number in range(2):
            seed = 100 * run.progress.step + number
            for sign in (1.0, -1.0):
                with run.perturbed(seed, sign * self.sigma):
                    value = run.total(run.reward(batch, run.greedy(batch)).mean().sum())
                scores.append((seed, sign, float(value)))
        assert all(p.equal(old) for p, old in zip(run.policy.model.parameters(), before, strict=True))
        return run.apply([(seed, -sign * value / 4) for seed, sign, value in scores])


def test_a_method_without_any_backward(tmp_path: Path) -> None:
    result = go(plan("noisy", last=1), Noisy(), tmp_path)
    assert result.summary["active"] == {"noisy": True}
    assert not same_bits(result.weights, dict(tiny_policy().model.named_parameters()))
    assert all(row["grad_norm"] > 0 for row in result.log)
    assert result.summary["tokens_trained"] == 0
    still = go(plan("noisy", last=1), Noisy(0.0), tmp_path / "still")
    assert still.summary["active"] == {"noisy": False}


def test_a_method_that_fails_names_itself_in_its_log(tmp_path: Path) -> None:
    class Talks(Supervised):
        def step(self, run: Run, batch: Batch) -> Mapping[str, float]:
            return {**super().step(run, batch), "text": "hello", "x": 1.0}  # type: ignore[dict-item]  # wrong on purpose

    with pytest.raises(PluginError, match=r"method 's': step\(\) returned something that is not a number under 'text'"):
        go(plan("s"), Talks(), tmp_path)


def test_what_a_method_logs(tmp_path: Path) -> None:
    class Logs(Supervised):
        def step(self, run: Run, batch: Batch) -> Mapping[str, float]:
            return {**super().step(run, batch), "kl": torch.tensor(0.5), "ratio": float("inf"), "n": 3}  # type: ignore[dict-item]  # numbers all

    row = go(plan("s", last=1, of=1), Logs(), tmp_path).log[0]
    assert row["method"] == {"kl": 0.5, "n": 3.0}
    assert row["not_finite"] == ["ratio"]


def test_evolution_sees_each_row_once_an_epoch(tmp_path: Path) -> None:
    method = Evolution()
    go(plan(), method, tmp_path)
    names = [name for names in method.seen for name in names]
    assert len(names) == 24
    assert all(sorted(names[8 * e : 8 * e + 8]) == [f"row-{n}" for n in range(8)] for e in range(3))


def test_a_frozen_parameter_stays_as_it_is(tmp_path: Path) -> None:
    policy = tiny_policy()
    model: Any = policy.model
    model.transformer.wpe.weight.requires_grad_(requires_grad=False)
    before = model.transformer.wpe.weight.clone()
    result = go(plan(), Evolution(), tmp_path, policy=policy)
    assert model.transformer.wpe.weight.equal(before)
    assert result.summary["active"] == {"sft": True, "eso": True}
