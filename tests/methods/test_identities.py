"""What must hold for a method whatever the batch: order, padding, cuts, ranks, equal and missing rewards."""

from __future__ import annotations

import random
import threading
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
import torch
from methods.cases import Case, assert_equal, make, random_case, shares_and_gradients, token_logps
from methods.fake_run import EOS, FakeRun, Ranks, TinyModel, completions

if TYPE_CHECKING:
    from torch import Tensor

METHODS = ("eso", "unlikelihood", "drl", "rrhf")
#: Options under which the identities are tried too, beside the defaults.
VARIANTS: list[tuple[str, dict[str, Any]]] = [
    ("sft", {}),
    ("sft", {"sft_reduction": "seq_mean"}),
    ("eso", {}),
    (
        "eso",
        {"k_reduction": "mean", "length_norm": True, "sft_reduction": "seq_sum", "compat.include_eos_in_logp": False},
    ),
    ("eso", {"reward_threshold": 0.3, "compat.empty_completion": "drop"}),
    ("eso", {"is_correction": "truncated", "temperatures": [0.5, 1.0, 1.5]}),
    ("unlikelihood", {}),
    ("unlikelihood", {"loss": "logp_down", "length_norm": True}),
    ("drl", {"n_samples": 3}),
    ("drl", {"n_samples": 3, "baseline": "mean", "mix": "gamma", "coef": 0.4}),
    ("rrhf", {}),
    ("rrhf", {"pair_reduction": "mean", "ft_target": "best_candidate", "sft_reduction": "seq_mean"}),
    ("rrhf", {"compat.rank_padded_bug": True, "ft_target": "best_candidate", "compat.ft_padded_bug": True}),
    ("rrhf", {"rank_demonstration": True}),
]
#: Options that depend on the order of candidates or rows, and must not on anything else.
ORDERED: list[tuple[str, dict[str, Any]]] = [
    ("sft", {"compat.token_mean_micro": True, "compat.micro_batch_size": 2}),
    ("eso", {"compat.official_gate": True, "reward_threshold": 0.3, "compat.micro_batch_size": 2}),
    ("unlikelihood", {"compat.ties": "first"}),
    ("rrhf", {"compat.pair_set": "upper_triangle"}),
]
SEEDS = range(4)


def labels(variants: list[tuple[str, dict[str, Any]]]) -> list[str]:
    return ["-".join([name, *raw]) for name, raw in variants]


def result(case: Case, name: str, raw: dict[str, Any], **settings: Any) -> FakeRun:
    method, options = make(name, **raw)
    run = case.run(name, options, **settings)
    method.step(run, case.batch)
    return run


def reordered(case: Case, rows: list[int], columns: list[int]) -> Case:
    def pick(values: list[Any]) -> list[Any]:
        return [values[b] for b in rows]

    return replace(
        case,
        prompts=pick(case.prompts),
        demonstrations=pick(case.demonstrations),
        candidates=[[case.candidates[b][j] for j in columns] for b in rows],
        rewards=[[case.rewards[b][j] for j in columns] for b in rows],
        greedy=pick(case.greedy),
        greedy_rewards=pick(case.greedy_rewards),
        demonstration_rewards=pick(case.demonstration_rewards),
    )


def largest(slopes: list[Tensor]) -> float:
    return max(float(slope.abs().max()) for slope in slopes)


@pytest.mark.parametrize(("name", "raw"), VARIANTS, ids=labels(VARIANTS))
@pytest.mark.parametrize("seed", SEEDS)
def test_order_of_candidates_has_no_say(name: str, raw: dict[str, Any], seed: int) -> None:
    case = random_case(seed, count=3)
    columns = random.Random(seed).sample(range(3), 3)
    if raw.get("ft_target") == "best_candidate":  # of several best candidates it is the first
        case = replace(
            case,
            rewards=[
                [None if r is None else b + j / 7 for j, r in enumerate(row)] for b, row in enumerate(case.rewards)
            ],
        )
    raw_there = dict(raw)
    if "temperatures" in raw:
        raw_there["temperatures"] = [raw["temperatures"][j] for j in columns]
    here = result(case, name, raw)
    there = result(reordered(case, list(range(len(case.prompts))), columns), name, raw_there)
    assert_equal(there, *shares_and_gradients(here))


@pytest.mark.parametrize(("name", "raw"), VARIANTS, ids=labels(VARIANTS))
@pytest.mark.parametrize("seed", SEEDS)
def test_order_of_prompts_has_no_say(name: str, raw: dict[str, Any], seed: int) -> None:
    case = random_case(seed, size=5, count=3)
    here = result(case, name, raw)
    there = result(reordered(case, [3, 0, 4, 2, 1], [0, 1, 2]), name, raw)
    assert_equal(there, *shares_and_gradients(here))


@pytest.mark.parametrize(("name", "raw"), VARIANTS + ORDERED, ids=labels(VARIANTS + ORDERED))
@pytest.mark.parametrize("seed", SEEDS)
def test_padding_has_no_say(name: str, raw: dict[str, Any], seed: int) -> None:
    case = random_case(seed, count=3)
    here = result(case, name, raw)
    there = result(replace(case, width=11), name, raw)
    assert_equal(there, *shares_and_gradients(here))


@pytest.mark.parametrize(("name", "raw"), VARIANTS + ORDERED, ids=labels(VARIANTS + ORDERED))
@pytest.mark.parametrize("part", [1, 2, 3])
def test_cut_into_parts_has_no_say(name: str, raw: dict[str, Any], part: int) -> None:
    case = random_case(11, size=5, count=3)
    assert_equal(result(case, name, raw, part=part), *shares_and_gradients(result(case, name, raw)))


@pytest.mark.parametrize(("name", "raw"), VARIANTS + ORDERED, ids=labels(VARIANTS + ORDERED))
@pytest.mark.parametrize("split", [0, 2, 4])
def test_two_ranks_equal_one(name: str, raw: dict[str, Any], split: int) -> None:
    """Ranks hold 0 + 6, 2 + 4 or 4 + 2 prompts, in parts of 3 and 1; never half of a micro-batch."""
    case = random_case(5, size=6, count=3)
    whole = result(case, name, raw)
    ranks = Ranks(2)
    runs: dict[int, FakeRun] = {}
    logs: dict[int, Any] = {}
    failures: list[BaseException] = []

    def work(rank: int, rows: list[int]) -> None:
        try:
            method, options = make(name, **raw)
            runs[rank] = case.run(name, options, ranks=ranks, rank=rank, part=3 - 2 * rank)
            logs[rank] = method.step(runs[rank], case.batch[rows])
        except BaseException as error:  # noqa: BLE001  # a thread's failure must reach the test, whatever it is
            failures.append(error)
            ranks.barrier.abort()

    threads = [
        threading.Thread(target=work, args=(rank, rows))
        for rank, rows in enumerate([list(range(split)), list(range(split, 6))])
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures, failures
    for run in runs.values():
        assert_equal(run, *shares_and_gradients(whole))
    method, options = make(name, **raw)
    alone = method.step(case.run(name, options), case.batch)
    assert logs[0] == logs[1] == pytest.approx(alone, rel=1e-9)


@pytest.mark.parametrize("name", METHODS)
def test_equal_rewards_move_no_weight(name: str) -> None:
    value = 0.1
    assert (value + value + value) / 3 != value  # what the mean of three rounds to must not become a push
    case = random_case(3, size=4, count=3, missing=0, absent=0)
    case = replace(case, rewards=[[value] * 3 for _ in case.rewards], greedy_rewards=[value] * 4)
    raws: list[dict[str, Any]] = [{}]
    if name == "drl":
        raws = [{"n_samples": 3}, {"n_samples": 3, "baseline": "mean"}]
    for raw in raws:
        run = result(case, name, raw)
        assert run.shares[name] == 0
        assert largest(run.grads[name]) == 0
        assert largest(run.grads["sft"]) > 0


@pytest.mark.parametrize("name", METHODS)
def test_unequal_rewards_move_weights(name: str) -> None:
    case = random_case(3, size=4, count=4, missing=0, absent=0)
    run = result(case, name, {"n_samples": 4} if name == "drl" else {})
    assert largest(run.grads[name]) > 1e-6


def without_missing(case: Case, b: int) -> Case:
    """Return row ``b`` alone, without the candidates that have no reward."""
    kept = [j for j, r in enumerate(case.rewards[b]) if r is not None]
    return reordered(case, [b], kept)


@pytest.mark.parametrize(("name", "raw"), VARIANTS + ORDERED, ids=labels(VARIANTS + ORDERED))
def test_a_missing_reward_equals_a_group_without_that_member(name: str, raw: dict[str, Any]) -> None:
    """Row by row, since a removed member leaves groups of unequal size."""
    compared = 0
    for seed in range(12):
        case = random_case(seed, size=1, count=5, missing=0.35, absent=0)
        smaller = without_missing(case, 0)
        kept = [j for j, r in enumerate(case.rewards[0]) if r is not None]
        if not kept or len(kept) == 5:
            continue
        compared += 1
        there = dict(raw)
        if "temperatures" in raw:
            raw = {**raw, "temperatures": [0.5, 1.0, 1.5, 2.0, 0.7]}
            there["temperatures"] = [raw["temperatures"][j] for j in kept]
            if len(kept) < 2:
                continue
        if "n_samples" in raw:
            there["n_samples"] = max(len(kept), 2)
        assert_equal(result(case, name, raw), *shares_and_gradients(result(smaller, name, there)))
    assert compared >= 5


@pytest.mark.parametrize("name", METHODS)
@pytest.mark.parametrize("present", [0, 1])
def test_a_group_of_fewer_than_two_gives_zero(name: str, present: int) -> None:
    case = random_case(1, size=3, count=3, missing=0, absent=0)
    rewards: list[list[float | None]] = [[None, 0.7 if present else None, None] for _ in range(3)]
    # for DRL the greedy answer is the other member of the group
    case = replace(case, rewards=rewards, greedy_rewards=[None] * 3)
    raws: list[dict[str, Any]] = [{"n_samples": 3}, {"n_samples": 3, "baseline": "mean"}] if name == "drl" else [{}]
    for raw in raws:
        run = result(case, name, raw)
        assert run.shares[name] == 0
        assert largest(run.grads[name]) == 0
        assert largest(run.grads["sft"]) > 0


@pytest.mark.parametrize("name", METHODS)
def test_a_missing_reward_is_not_a_reward_of_zero(name: str) -> None:
    case = random_case(2, size=3, count=4, missing=0, absent=0)
    raw = {"n_samples": 4} if name == "drl" else {}
    missing = replace(case, rewards=[[None, *row[1:]] for row in case.rewards])
    zero = replace(case, rewards=[[0.0, *row[1:]] for row in case.rewards])
    one, other = result(missing, name, raw), result(zero, name, raw)
    assert any(not torch.equal(a, b) for a, b in zip(one.grads[name], other.grads[name], strict=True))


@pytest.mark.parametrize(("name", "raw"), VARIANTS, ids=labels(VARIANTS))
def test_inputs_are_not_changed(name: str, raw: dict[str, Any]) -> None:
    case = random_case(4, size=4, count=3)
    method, options = make(name, **raw)
    run = case.run(name, options)
    batch = case.batch
    method.step(run, batch)
    fresh, samples = case.batch, case.samples
    assert torch.equal(batch.prompts.ids, fresh.prompts.ids)
    assert torch.equal(batch.demonstrations.ids, fresh.demonstrations.ids)
    assert torch.equal(batch.demonstrations.lengths, fresh.demonstrations.lengths)
    for drawn in run.drawn:
        wanted = samples if drawn.ids.shape[1] == 3 else completions([[g] for g in case.greedy])
        assert torch.equal(drawn.ids, wanted.ids)
        assert torch.equal(drawn.lengths, wanted.lengths)
        assert torch.equal(drawn.finished, wanted.finished)


@pytest.mark.parametrize("name", METHODS)
def test_demonstration_and_candidates_go_through_one_forward(name: str) -> None:
    case = random_case(6, size=3, count=4, missing=0, absent=0)
    case = replace(case, rewards=[[0.3, 0.1, 0.2, 0.4]] * 3)
    run = result(case, name, {"n_samples": 4} if name == "drl" else {})
    columns = {scored.ids.shape[1] for scored in run.scored}
    assert len(run.scored) == 2  # the one part, evaluated twice by the fake
    assert columns == {2 if name == "unlikelihood" else 5}


def test_unlikelihood_scores_the_worst_candidate_alone() -> None:
    case = random_case(6, size=3, count=4, missing=0, absent=0)
    case = replace(case, rewards=[[0.3, 0.1, 0.2, 0.4], [0.0, 0.5, 0.5, 0.5], [0.2, 0.2, 0.2, 0.2]])
    run = result(case, "unlikelihood", {"use_sft_term": False})
    scored = run.scored[0]
    assert scored.ids.shape[1] == 1
    assert scored.lengths[:, 0].tolist() == [len(case.candidates[0][1]), len(case.candidates[1][0]), 0]


@pytest.mark.parametrize("name", [*METHODS, "sft"])
def test_a_step_lowers_its_own_loss(name: str) -> None:
    case = random_case(9, size=4, count=4, missing=0, absent=0)
    raw: dict[str, Any] = {"n_samples": 4} if name == "drl" else {}
    if name != "sft":
        raw["use_sft_term"] = False
    model = TinyModel(case.seed)
    before = result(case, name, raw, model=model, learning_rate=1e-3)
    after = result(case, name, raw, model=model)
    assert after.loss < before.loss


@pytest.mark.parametrize("loss", ["welleck", "logp_down"])
def test_unlikelihood_lowers_the_worst_candidates_log_prob(loss: str) -> None:
    case = random_case(9, size=1, count=4, missing=0, absent=0)
    case = replace(case, rewards=[[0.3, 0.1, 0.2, 0.4]])
    model = TinyModel(case.seed)
    method, options = make("unlikelihood", loss=loss, use_sft_term=False)
    logged = [
        dict(method.step(case.run("unlikelihood", options, model=model, learning_rate=0.1), case.batch))["worst_logp"]
        for _ in range(4)
    ]
    assert logged == sorted(logged, reverse=True)
    assert logged[0] > logged[-1]


def test_eos_reaches_the_loss_only_where_it_counts() -> None:
    """With the EOS left out, what the model says of stopping has no slope; an EOS alone gives nothing."""
    case = random_case(2, size=2, count=3, missing=0, absent=0)
    case = replace(case, candidates=[[[EOS], [3, EOS], [4]], [[5, 6, EOS], [EOS], [7]]])
    case = replace(case, rewards=[[0.9, 0.1, 0.2], [0.3, 0.4, 0.5]])
    only_eos = replace(case, candidates=[[[EOS], [EOS], [EOS]], [[EOS], [EOS], [EOS]]])
    silent = result(only_eos, "eso", {"compat.include_eos_in_logp": False, "use_sft_term": False})
    assert largest(silent.grads["eso"]) == 0
    heard = result(case, "eso", {"compat.include_eos_in_logp": True, "use_sft_term": False})
    unheard = result(case, "eso", {"compat.include_eos_in_logp": False, "use_sft_term": False})
    assert any(not torch.equal(a, b) for a, b in zip(heard.grads["eso"], unheard.grads["eso"], strict=True))


def test_what_a_step_logs() -> None:
    """Each number by hand; the fake evaluates every part twice, which must not count twice."""
    case = random_case(8, size=3, count=3, missing=0, absent=0)
    case = replace(
        case,
        rewards=[[0.1, 0.5, 0.9], [0.2, 0.1, None], [0.3, 0.3, 0.3]],
        greedy_rewards=[0.4, 0.0, None],
    )
    model = TinyModel(case.seed)
    with torch.no_grad():
        logps = [[token_logps(model, p, a) for a in row] for p, row in zip(case.prompts, case.candidates, strict=True)]

    def logged(name: str, **raw: Any) -> dict[str, float]:
        method, options = make(name, **raw)
        return dict(method.step(case.run(name, options, part=2), case.batch))

    assert logged("sft") == logged("eso") == {}
    assert logged("eso", reward_threshold=0.2) == {"gate_passed": pytest.approx(2 / 3)}
    worst = logps[0][0] + logps[1][1]
    assert logged("unlikelihood") == {"worst_logp": pytest.approx(float(torch.stack(worst).mean()))}
    # samples minus greedy, averaged within a prompt, then over the two prompts that have a greedy reward
    advantage = ((0.1 + 0.5 + 0.9) / 3 - 0.4 + (0.2 + 0.1) / 2 - 0.0) / 2
    assert logged("drl", n_samples=3) == {"advantage": pytest.approx(advantage)}
    means = [[float(torch.stack(one).mean()) for one in row] for row in logps]
    ranked = [means[0][i] > means[0][j] for i, j in ((0, 1), (0, 2), (1, 2))] + [means[1][1] > means[1][0]]
    assert logged("rrhf") == {"pairs": pytest.approx(4 / 3), "violated": pytest.approx(sum(ranked) / 4)}
    ratios = []
    for b, j in ((0, 0), (0, 1), (0, 2), (1, 0), (1, 1), (2, 0), (2, 1), (2, 2)):
        temperature = (0.5, 1.0, 2.0)[j]
        drawn = token_logps(model, case.prompts[b], case.candidates[b][j], temperature=temperature, dropout=False)
        target = token_logps(model, case.prompts[b], case.candidates[b][j], dropout=False)
        ratios.append(float((torch.stack(target).sum() - torch.stack(drawn).sum()).detach().exp()))
    found = logged("eso", is_correction="exact", temperatures=[0.5, 1.0, 2.0])
    assert found == {"is_weight": pytest.approx(sum(ratios) / len(ratios))}


@pytest.mark.parametrize("name", [*METHODS, "sft"])
def test_state_is_empty_and_refuses_anothers(name: str) -> None:
    method, _ = make(name)
    assert method.state_dict() == {}
    method.load_state_dict({})
    with pytest.raises(Exception, match="another method's"):
        method.load_state_dict({"baseline": 0.5})
