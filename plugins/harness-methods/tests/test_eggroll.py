"""EGGROLL against its paper's formulas and its released code's."""

from __future__ import annotations

import math
import random
import threading
from typing import TYPE_CHECKING, Any

import pytest
import torch
from methods.fake_run import Ranks
from methods.noise_run import Member, NoiseRun, normal, prompts, scripted
from pydantic import ValidationError

from harness.spec.recipe import Recipe
from harness.testing import check_method
from harness_methods.eggroll import EGGROLL, EGGROLLOptions, harness_register_methods, scores
from harness_methods.es import ESOptions, EvolutionStrategy

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from torch import Tensor

(REGISTRATION,) = harness_register_methods()

Table = list[list[float | None]]


def method(**options: Any) -> EGGROLL:
    return EGGROLL(EGGROLLOptions(**options))


def tabled(table: Sequence[Sequence[float | None]], noise: Any, options: EGGROLLOptions) -> NoiseRun:
    """Return a run that rewards member n's answer to prompt b with ``table[n][b]``."""

    def judge(member: Member, name: str) -> float | None:
        return table[run.number(member, antithetic=options.antithetic)][int(name.removeprefix("row-"))]

    run = NoiseRun(judge, noise, torch.zeros(2, 2, dtype=torch.float64))
    return run


def product(left: Sequence[float], right: Sequence[float]) -> list[list[float]]:
    return [[a * b for b in right] for a in left]


PAIRS = (product((1, -0.5), (0.2, 1)), product((0.5, 2), (-1, 0.4)))


@pytest.mark.parametrize(
    ("size", "expected"),
    [(4, (1.183148, -1.521191, 0.507064, -0.169021)), (2, (1.352170, -1.352170, 0.338042, -0.338042))],
)
def test_golden_scores_of_the_released_code(size: int, expected: tuple[float, ...]) -> None:
    assert scores([[0.9], [0.1], [0.7], [0.5]], size, "official") == pytest.approx(expected, abs=5e-7)


def test_golden_scores_of_the_paper() -> None:
    members = [[1, 0], [0, 0], [1, 1], [0, 0]]
    expected = (0.258199, -0.774597, 1.290994, -0.774597)
    assert scores(members, 4, "paper") == pytest.approx(expected, abs=5e-7)


@pytest.mark.parametrize("group_size", [0, 2])
def test_golden_step_of_the_released_code(group_size: int) -> None:
    """With a prompt a group; what the pairs' means are cancels in the step."""
    options = EGGROLLOptions(
        population=4, sigma=0.01, antithetic=True, group_size=group_size, score="official", scale="official"
    )
    run = tabled([[s, s] for s in (0.9, 0.1, 0.7, 0.5)], scripted(*PAIRS), options)
    run.take(EGGROLL(options), prompts(2 if group_size else 1))
    expected = torch.tensor([[0.001014, 0.014198], [-0.008113, -0.004057]], dtype=torch.float64)
    torch.testing.assert_close(run.weights, expected, rtol=0, atol=5e-7)
    assert len(run.drawn) == 4


@pytest.mark.parametrize("score", ["paper", "official"])
def test_equal_rewards_give_exact_zeros(score: Any) -> None:
    """The mean of three times 0.1 is not 0.1."""
    assert scores([[0.1]] * 3, 3, score) == [0.0] * 3
    assert scores([[0.1]] * 3 + [[0.7]] * 3, 3, score) == [0.0] * 6


def oracle(table: Table, noise: Sequence[Any], options: EGGROLLOptions) -> tuple[Tensor, int]:
    """Return what is added to the weights at a learning rate of 1, and how many members had a reward.

    Prompt by prompt and member by member, as the formulas are printed. Prompt b belongs to group b modulo the groups,
    and their ids are in the order of b.
    """
    population, size = options.population, options.group_size or options.population
    seen: dict[tuple[int, int], float] = {}
    for i, row in enumerate(table):
        for b, reward in enumerate(row):
            if reward is not None and b % (population // size) == i // size:
                seen[i, b] = reward
    members = sorted({i for i, _ in seen})

    def mean(values: Sequence[float]) -> float:
        return sum(values) / len(values)

    def variance(values: Sequence[float]) -> float:
        return mean([(value - mean(values)) ** 2 for value in values])

    fitness = {i: mean([seen[key] for key in seen if key[0] == i]) for i in members}
    z = {}
    for i in members:
        if options.score == "official":
            peers = [fitness[j] for j in members if j // size == i // size]
            z[i] = (fitness[i] - mean(peers)) / math.sqrt(variance(list(fitness.values())) + 1e-5)
        else:
            sd = math.sqrt(variance(list(seen.values()))) if len(set(seen.values())) > 1 else 1.0
            answered = [b for j, b in seen if j == i]
            z[i] = mean([(seen[i, b] - mean([seen[j, b] for j in members if (j, b) in seen])) / sd for b in answered])
    step = torch.zeros(2, 2, dtype=torch.float64)
    for i in members:
        e = torch.tensor(noise[i // 2 if options.antithetic else i], dtype=torch.float64)
        e = -e if options.antithetic and i % 2 else e
        step += (
            z[i] * e * (options.sigma / math.sqrt(len(members)) if options.scale == "official" else 1 / len(members))
        )
    return step, len(members)


def test_random_populations_against_the_formulas() -> None:
    draw = random.Random(7)
    kinds = dict.fromkeys(("step", "no step", "absent members", "all absent", "groups without prompts"), 0)
    for _ in range(200):
        antithetic = draw.random() < 0.5
        groups, size, count = draw.randint(1, 3), 2 * draw.randint(1, 2), draw.randint(1, 4)
        options = EGGROLLOptions(
            population=groups * size,
            sigma=draw.choice([0.01, 0.5]),
            antithetic=antithetic,
            group_size=size if groups > 1 or draw.random() < 0.5 else 0,
            score=draw.choice(["paper", "official"]),
            scale=draw.choice(["paper", "official"]),
        )
        values = draw.choice([[0.0, 1.0], [0.3], [draw.uniform(-2, 2) for _ in range(9)]])
        absent = draw.choice([0.0, 0.3, 0.95])
        table: Table = [
            [None if draw.random() < absent else draw.choice(values) for _ in range(count)]
            for _ in range(groups * size)
        ]
        noise = [
            product([draw.gauss(0, 1) for _ in range(2)], [draw.gauss(0, 1) for _ in range(2)])
            for _ in range(groups * size // (2 if antithetic else 1))
        ]
        draw_noise = scripted(*noise)
        run = tabled(table, draw_noise, options)
        # a member of a group without a prompt sees no noise, so seeds must be known in the order of the members
        generator = torch.Generator().manual_seed(0)
        for seed in torch.randint(2**62, (len(noise),), generator=generator).tolist():
            draw_noise(seed, None)
            run.see(seed)
        said = run.take(EGGROLL(options), prompts(count))
        expected, members = oracle(table, noise, options)
        torch.testing.assert_close(run.weights, expected, rtol=1e-9, atol=1e-9)
        assert said["members"] == members
        kinds["step"] += bool(run.applied)
        kinds["no step"] += not run.applied
        kinds["absent members"] += 0 < members < groups * size
        kinds["all absent"] += not members
        kinds["groups without prompts"] += groups > count
    assert min(kinds.values()) >= 5, kinds


def taken(table: Sequence[Sequence[float | None]], **options: Any) -> Tensor:
    settings = EGGROLLOptions(population=4, **options)
    run = tabled(table, scripted(*PAIRS, *(PAIRS[::-1] if not settings.antithetic else ())), settings)
    run.take(EGGROLL(settings), prompts(len(table[0])))
    return run.weights


TABLE: Table = [[0.1, 0.7], [None, 0.4], [0.9, 0.2], [0.3, 0.3]]


@pytest.mark.parametrize("score", ["paper", "official"])
@pytest.mark.parametrize("antithetic", [False, True])
def test_rewards_from_another_zero_and_on_another_scale(score: str, *, antithetic: bool) -> None:
    plain = taken(TABLE, score=score, antithetic=antithetic)
    for a, c in ((1.0, 7.0), (3.0, 0.0)):
        other: Table = [[None if value is None else a * value + c for value in row] for row in TABLE]
        rtol = 1e-3 if score == "official" and a != 1 else 1e-10  # the 1e-5 beside the variance
        torch.testing.assert_close(taken(other, score=score, antithetic=antithetic), plain, rtol=rtol, atol=1e-12)
    assert plain.any()


@pytest.mark.parametrize("score", ["paper", "official"])
def test_pairs_at_the_top_of_an_even_fitness_take_no_step(score: str) -> None:
    run = NoiseRun(
        lambda member, name: -float(member.weights.square().sum()) * (1 + int(name[-1])),
        normal(3, 2),
        torch.zeros(3, 2, dtype=torch.float64),
    )
    said = run.take(method(population=8, sigma=0.1, antithetic=True, score=score), prompts(3))
    assert run.applied == []
    assert said["fitness_sd"] > 0


SLOPE = torch.arange(12, dtype=torch.float64).view(4, 3) / 10 - 0.4


def linear(member: Member, _name: str) -> float:
    """The weights' product with a fixed matrix."""
    return float((member.weights * SLOPE).sum())


def moments(make: Any, steps: int = 200) -> tuple[Tensor, float, float]:
    """Return of steps from 0: their mean, mean square and mean fourth power of an entry."""
    run = NoiseRun(linear, normal(4, 3), torch.zeros(4, 3, dtype=torch.float64))
    taken = []
    for _ in range(steps):
        run.take(make(), prompts(1))
        taken.append(run.weights)
        run.weights = torch.zeros(4, 3, dtype=torch.float64)
    every = torch.stack(taken)
    return every.mean(0), float(every.square().mean()), float(every.pow(4).mean())


def test_noise_of_a_high_rank_is_that_of_an_evolution_strategy() -> None:
    full = moments(lambda: EvolutionStrategy(ESOptions(population=2)))
    low, high = (moments(lambda rank=rank: method(population=2, rank=rank)) for rank in (1, 64))
    for mean, _, _ in (full, low, high):  # of 200 steps: along the gradient, up to noise
        assert float((mean * SLOPE).sum()) > 0.85 * float(mean.norm() * SLOPE.norm())
    assert high[1] == pytest.approx(full[1], rel=0.06)
    assert high[2] == pytest.approx(full[2], rel=0.15)
    assert low[2] > 1.5 * high[2]  # tails


@pytest.mark.parametrize("antithetic", [False, True])
def test_with_one_prompt_and_full_noise_it_is_es_at_scale(*, antithetic: bool) -> None:
    weights = []
    for each in (
        method(population=8, sigma=0.1, antithetic=antithetic),
        EvolutionStrategy(ESOptions(population=8, sigma=0.1, antithetic=antithetic)),
    ):
        run = NoiseRun(linear, lambda seed, _rank: normal(4, 3)(seed, None), torch.zeros(4, 3, dtype=torch.float64))
        run.take(each, prompts(1))
        weights.append(run.weights)
    torch.testing.assert_close(weights[0], weights[1], rtol=1e-6, atol=1e-12)  # the 1e-8 beside the deviation
    assert weights[0].any()


def test_what_is_perturbed_is_what_is_stepped() -> None:
    run = NoiseRun(linear, normal(4, 3), torch.zeros(4, 3, dtype=torch.float64))
    run.take(method(population=4, rank=2, perturb="matrices", temperature=0.5), prompts(2))
    assert run.told == [(2, "matrices")] * 5
    assert run.drawn == [((0.5,), 0)] * 4


def test_a_group_answers_its_share_of_the_prompts() -> None:
    asked: dict[str, set[int]] = {}

    def judge(member: Member, name: str) -> float:
        asked.setdefault(name, set()).add(member.place)
        return float(member.place)

    run = NoiseRun(judge, normal(2, 2), torch.zeros(2, 2, dtype=torch.float64))
    batch = prompts(5)
    run.take(method(population=6, group_size=2), batch[[3, 1, 4, 0, 2]])
    assert [asked[f"row-{b}"] for b in range(5)] == [{0, 1}, {2, 3}, {4, 5}, {0, 1}, {2, 3}]


def hashed(member: Member, name: str) -> float | None:
    """A reward that every rank finds; absent for one answer in five."""
    number = (member.seed % 9973 + 271 * int(name[-1]) + 577 * (member.sign < 0)) % 1000
    return None if number % 5 == 0 else number / 1000


@pytest.mark.parametrize("score", ["paper", "official"])
@pytest.mark.parametrize("group_size", [0, 2])
def test_two_ranks_are_one(score: str, group_size: int) -> None:
    """Also where a rank has none of the prompts of a group."""
    start = torch.ones(3, 2, dtype=torch.float64)
    alone, ranks = NoiseRun(hashed, normal(3, 2), start), Ranks(2)
    both = [NoiseRun(hashed, normal(3, 2), start, ranks=ranks, rank=rank) for rank in range(2)]
    rows = prompts(4)
    for _ in range(2):
        make = [method(population=6, group_size=group_size, score=score, antithetic=True) for _ in range(3)]
        alone.take(make[0], rows)
        threads = [
            threading.Thread(target=run.take, args=(each, part))
            for run, each, part in zip(both, make[1:], (rows[:1], rows[1:]), strict=True)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert len(alone.applied) == 2
    for run in both:
        assert run.applied == alone.applied
        assert run.weights.equal(alone.weights)


@pytest.mark.parametrize(
    "options",
    [
        {"population": 2, "rank": 2},
        pytest.param(
            {
                "population": 4, "antithetic": True, "group_size": 2, "score": "official", "scale": "official",
                "perturb": "matrices", "temperature": 1.0,
            },
            marks=pytest.mark.long,
        ),
    ],
    ids=["paper", "official"],
)  # fmt: skip
def test_the_contract_of_methods(options: Mapping[str, Any]) -> None:
    check_method(REGISTRATION, {"sigma": 0.1, **options})


def test_published_defaults() -> None:
    """Algorithm 1 and section 6.3 of arXiv:2511.16652; the script of ESHyperscale/HyperscaleES."""
    assert REGISTRATION.default_preset == "paper"
    paper, official = REGISTRATION.presets["paper"], REGISTRATION.presets["official"]
    usual = {
        "population": 32, "rank": 1, "sigma": 1e-3, "antithetic": False, "group_size": 0, "score": "paper",
        "scale": "paper", "perturb": "all", "temperature": 0.0,
    }  # fmt: skip
    assert EGGROLLOptions().model_dump() == EGGROLLOptions(**paper.options).model_dump() == usual
    assert EGGROLLOptions(**official.options).model_dump() == {
        **usual, "population": 1024, "antithetic": True, "group_size": 8, "score": "official", "scale": "official",
        "perturb": "matrices",
    }  # fmt: skip
    for preset in (paper, official):
        recipe = Recipe(**preset.recipe)
        assert (recipe.optimizer, recipe.weight_decay, recipe.max_grad_norm) == ("sgd", 0.0, 0.0)
    assert Recipe(**official.recipe).method_learning_rate == 1.0
    assert Recipe(**official.recipe).batch_size == 1024 // 8


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"population": 6, "group_size": 4}, "must be 2 or more and divide population, got 4, 6"),
        ({"population": 6, "group_size": 1}, "must be 2 or more and divide population, got 1, 6"),
        ({"population": 6, "group_size": 3, "antithetic": True}, "population and group_size must be even"),
        ({"population": 5, "antithetic": True}, "population and group_size must be even"),
    ],
)
def test_members_that_make_no_groups(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        EGGROLLOptions(**options)
