"""What methods ask of a run beside samples, rewards and updates: logged means, limits, neighbours, distributions."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
import torch
from training.runs import Evolution, Plain, go, plan
from training.test_services import services

from harness.api import Completions
from harness.errors import PluginError
from harness.lm.model import backbone
from harness.lm.score.logprobs import score_logits
from harness.testing.bench import Twins
from harness.testing.tiny import tiny_batch, tiny_policy
from harness.training.distributed import Ranks
from harness.training.global_rows import gathered, rolled

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from torch import Tensor

    from harness.api import Batch, Run
    from harness.training.services import Services


@pytest.fixture
def run() -> Services:
    return services()


@pytest.fixture
def batch() -> Batch:
    return tiny_batch(tiny_policy())


class Logging(Evolution):
    """Logs, inside its loss and beside it, means whose parts differ in size."""

    def step(self, run: Run, batch: Batch) -> Mapping[str, float]:
        lengths = batch.demonstrations.lengths
        run.log("outside", (lengths * lengths).sum(), lengths)

        def loss(batch: Batch) -> dict[str, Tensor]:
            logp = run.logprobs(batch, batch.demonstrations)
            run.log("logp a token", logp.values, logp.mask)
            run.log("never", 0.0, 0)
            return {"sft": -logp.sum().sum() / 100}

        run.update(loss, batch=batch)
        return run.update(loss, batch=batch)


def test_a_logged_mean_is_that_of_the_whole_batch(tmp_path: Path) -> None:
    whole = go(plan("logs", last=1), Logging(), tmp_path / "a")
    cut = go(plan("logs", last=1, tokens_per_micro_batch=1), Logging(), tmp_path / "b")
    assert [row["micro_batches"] for row in cut.log] == [8, 8]
    assert [row["micro_batches"] for row in whole.log] == [2, 2]
    for mine, theirs in zip(whole.log, cut.log, strict=True):
        assert mine["method"].keys() == {"logp a token", "outside"}  # a name without a denominator has no mean
        for name, value in mine["method"].items():
            assert theirs["method"][name] == pytest.approx(value, rel=1e-9)
    lengths = tiny_batch(tiny_policy()).demonstrations.lengths
    assert min(lengths) < whole.log[0]["method"]["outside"] < max(lengths)


def test_two_ranks_log_what_one_with_all_rows_does(tmp_path: Path) -> None:
    class Doubled(Logging):
        def step(self, run: Run, batch: Batch) -> Mapping[str, float]:
            return super().step(run, batch[[*range(len(batch)), *range(len(batch))]])

    one = go(plan("logs", last=1), Doubled(), tmp_path / "a")
    two = go(plan("logs", last=1), Logging(), tmp_path / "b", ranks=Twins())
    for mine, theirs in zip(one.log, two.log, strict=True):
        assert theirs["method"] == pytest.approx(mine["method"], rel=1e-9)


def test_a_part_that_runs_out_of_memory_is_logged_once(tmp_path: Path) -> None:
    class Hungry(Logging):
        """Its first attempts log, and then memory runs out."""

        def step(self, run: Run, batch: Batch) -> Mapping[str, float]:
            def loss(batch: Batch) -> dict[str, Tensor]:
                run.log("rows", len(batch), 1)
                if len(batch) > 1:
                    raise torch.OutOfMemoryError("no more")
                logp = run.logprobs(batch, batch.demonstrations)
                run.log("tokens", logp.mask.sum(), 1)
                return {"sft": -logp.sum().sum() / 100}

            return run.update(loss, batch=batch)

    result = go(plan("logs", last=1), Hungry(), tmp_path)
    assert all(row["method"]["rows"] == 1.0 for row in result.log)  # only the attempt that was whole counts
    assert result.summary["micro_batches"]["halvings"] > 0


def test_a_number_is_logged_in_one_way_only(tmp_path: Path) -> None:
    class Twice(Logging):
        def step(self, run: Run, batch: Batch) -> Mapping[str, float]:
            return {**super().step(run, batch), "outside": 1.0}

    with pytest.raises(PluginError, match=r"step\(\) returned 'outside', which was logged through run.log\(\) too"):
        go(plan("logs", last=1), Twice(), tmp_path)


@pytest.mark.parametrize(("name", "value"), [("", 1.0), ("x", "1"), ("x", None)])
def test_what_cannot_be_logged(run: Services, name: str, value: Any) -> None:
    with pytest.raises(PluginError, match=r"run.log\(\) was given"):
        run.log(name, value, 1)


def test_limits_and_tokenizer(run: Services) -> None:
    assert (run.limits.prompt, run.limits.completion, run.limits.demonstration) == (32, 16, 16)
    assert run.limits.context == run.policy.positions_limit
    ids = run.tokenizer.encode("two words")
    assert run.tokenizer.decode([*ids, run.tokenizer.eos_id]) == "two words"
    assert run.tokenizer.vocab_size == run.policy.vocab_size


def test_the_tokenizer_names_what_ends_an_answer() -> None:
    policy = tiny_policy()
    policy.end_at(policy.stops.first(7))
    assert services(policy=policy).tokenizer.eos_id == policy.eos_id == 7
    longer = services(plan(generate_length=5))
    assert (longer.limits.completion, longer.limits.demonstration) == (5, 16)


def test_completions_of_ragged_lengths_go_together(run: Services) -> None:
    eos = run.policy.eos_id
    one = Completions.of([[[1, 2, eos]], [[3]]], eos_id=eos)
    other = Completions.of([[[4], []], [[5, 6, 7, eos], [eos]]], eos_id=eos)
    wide = Completions.cat([one, other])
    assert wide.lengths.tolist() == [[3, 1, 0], [1, 4, 1]]
    assert wide.finished.tolist() == [[True, False, False], [False, True, True]]
    assert wide.ids[1, 1, :4].tolist() == [5, 6, 7, eos]
    assert one.join(other).ids.equal(wide.ids)
    tall = Completions.cat([one, Completions.of([[[8, 9]]], eos_id=eos)], along="prompts")
    assert tall.lengths.tolist() == [[3], [1], [2]]
    assert tall.ids.tolist() == [[[1, 2, eos]], [[3, 0, 0]], [[8, 9, 0]]]
    assert Completions.of([], eos_id=eos).ids.shape == (0, 0, 0)


def test_entropy_on_request(run: Services, batch: Batch) -> None:
    assert run.logprobs(batch, batch.demonstrations, dropout=False).entropy is None
    scored = run.logprobs(batch, batch.demonstrations, dropout=False, entropy=True, hidden=True)
    assert scored.entropy is not None
    assert scored.hidden is not None
    assert scored.hidden.dim() == 4
    expected = torch.zeros_like(scored.entropy)
    for chunk in run.logits(batch, batch.demonstrations):
        logp = chunk.values.log_softmax(-1)
        finite = logp.exp() * logp.masked_fill(logp.isinf(), 0.0)
        expected[chunk.rows[:, 0], chunk.rows[:, 1], chunk.rows[:, 2]] = -finite.sum(-1)
    torch.testing.assert_close(scored.entropy, expected, rtol=0, atol=1e-9)


@pytest.mark.parametrize("split", [True, False])
def test_distributions_of_both_models_side_by_side(
    run: Services, batch: Batch, monkeypatch: pytest.MonkeyPatch, *, split: bool
) -> None:
    """The exact divergence to the reference, chunk by chunk, with the gradient of the policy's side."""
    if not split:
        monkeypatch.setattr(backbone, "_try_split", lambda _model: None)
    other = tiny_policy(1)
    policy_logits = torch.cat([c.values for c in score_logits(tiny_policy(), batch.prompts, batch.demonstrations,
                                                              dropout=False)])  # fmt: skip
    reference = torch.cat([c.values for c in score_logits(other, batch.prompts, batch.demonstrations, dropout=False)])
    logp, logq = policy_logits.detach().log_softmax(-1), reference.detach().log_softmax(-1)
    expected = float((logp.exp() * (logp - logq)).nan_to_num().sum())
    seen: list[int] = []

    def loss(batch: Batch) -> dict[str, Tensor]:
        total = torch.zeros((), dtype=torch.float64)
        for chunk in run.logits(batch, batch.demonstrations, reference=True):
            assert chunk.reference is not None
            assert chunk.reference.shape == chunk.values.shape
            assert not chunk.reference.requires_grad
            assert chunk.values.requires_grad
            logp, logq = chunk.values.log_softmax(-1), chunk.reference.log_softmax(-1)
            total = total + (logp.exp() * (logp - logq)).nan_to_num().sum()
            seen.append(len(chunk.rows))
        return {"kl": total}

    said = run.update(loss, batch=batch)
    assert said["kl"] == pytest.approx(expected, rel=1e-9)
    assert said["grad_norm"] > 0
    assert sum(seen) == int(batch.demonstrations.lengths.sum())
    alone = torch.cat([chunk.values for chunk in run.reference_logits(batch, batch.demonstrations)])
    assert sorted(alone.sum(-1).tolist()) == pytest.approx(sorted(reference.detach().sum(-1).tolist()), rel=1e-9)
    assert list(run.reference_logits(batch[[]], batch.demonstrations[[]])) == []


def test_calls_with_the_same_noise_draw_alike(run: Services, batch: Batch) -> None:
    first = run.sample(batch, [1.0, 1.0], noise=3)
    run.sample(batch, [1.0])
    again = run.sample(batch, [1.0, 1.0], noise=3)
    assert first.ids.equal(again.ids)
    other = run.sample(batch, [1.0, 1.0], noise=4)
    assert not (other.ids.shape == first.ids.shape and other.ids.equal(first.ids))
    before = run.record.draws
    run.sample(batch, [1.0], noise=3)
    assert run.record.draws == before  # other calls draw as if there had been none


class Places(Ranks):
    """One of several ranks, all of whose rows are known."""

    def __init__(self, rank: int, everywhere: list[dict[str, Any]]) -> None:
        self.rank, self.world = rank, len(everywhere)
        self._everywhere = everywhere

    def gather(self, value: Any) -> list[Any]:
        return [len(part["name"]) for part in self._everywhere] if isinstance(value, int) else self._everywhere


def test_rows_of_the_global_batch_in_the_place_of_others() -> None:
    sizes, total = (3, 2, 0), 5
    whole = Completions.of([[list(range(1, 2 + n))] for n in range(total)], eos_id=99)
    parts, first = [], 0
    for size in sizes:
        rows = list(range(first, first + size))
        width = max(rows, default=0) + 1
        cut = Completions(whole.ids[rows][:, :, :width], whole.lengths[rows], whole.finished[rows])
        parts.append({"name": tuple(f"row {n}" for n in rows), "x": torch.tensor(rows), "answers": cut})
        first += size
    for shift in (1, -1, 6):
        names, numbers, answers = [], [], []
        for rank, held in enumerate(parts):
            moved = rolled(Places(rank, parts), held, shift)
            names += list(moved["name"])
            numbers += moved["x"].tolist()
            answers += moved["answers"].lengths[:, 0].tolist()
            everything = gathered(Places(rank, parts), held)
            assert everything["x"].tolist() == list(range(total))
            assert everything["answers"].ids.equal(whole.ids)
        expected = [(place + shift) % total for place in range(total)]
        assert numbers == expected
        assert names == [f"row {n}" for n in expected]
        assert answers == [n + 1 for n in expected]


def test_rows_are_rolled_on_one_rank_and_refused_inside_a_loss(run: Services, batch: Batch) -> None:
    rows = run.roll({"ids": batch.ids, "answers": batch.demonstrations}, 1)
    assert rows["ids"] == (*batch.ids[1:], batch.ids[0])
    assert rows["answers"].lengths.equal(batch.demonstrations.lengths.roll(-1, 0))

    def loss(batch: Batch) -> dict[str, Tensor]:
        run.roll({"ids": batch.ids}, 1)
        return {}

    with pytest.raises(PluginError, match=r"roll\(\) was called inside a loss"):
        run.update(loss, batch=batch)
    assert run.gather({"ids": batch.ids}) == {"ids": batch.ids}


def test_a_step_of_plain_descent_is_the_rate_times_the_gradient(tmp_path: Path) -> None:
    """What methods of the parameter space are published with: theta + rate / N sum z E, and nothing else."""

    class Steps(Plain):
        def step(self, run: Run, batch: Batch) -> Mapping[str, float]:
            return run.apply([(1, -0.5), (2, 0.25)], rank=1, only="matrices")

    before = dict(tiny_policy().model.named_parameters())
    run = services()
    with run.perturbed(1, 1.0, rank=1, only="matrices"):
        one = {name: p.detach().clone() for name, p in run.policy.model.named_parameters()}
    with run.perturbed(2, 1.0, rank=1, only="matrices"):
        two = {name: p.detach().clone() for name, p in run.policy.model.named_parameters()}
    settings: dict[str, Any] = {"optimizer": "sgd", "max_grad_norm": 0.0, "weight_decay": 0.0, "batch_size": 8}
    result = go(plan("es", last=1, of=1, **settings), Steps(), tmp_path)
    for name, weight in result.weights.items():
        old = before[name].detach()
        expected = old - 1e-2 * (-0.5 * (one[name] - old) + 0.25 * (two[name] - old))
        torch.testing.assert_close(weight, expected, rtol=0, atol=1e-12)
