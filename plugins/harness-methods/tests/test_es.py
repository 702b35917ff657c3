"""Evolution strategies over weights, against the papers' formulas."""

from __future__ import annotations

import math
import random
import threading
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch
from methods.fake_run import Ranks
from methods.noise_run import Member, NoiseRun, normal, prompts, scripted
from pydantic import ValidationError
from scipy.stats import rankdata
from training.runs import curve, go, plan

from harness.spec.recipe import Recipe
from harness.spec.schedule import Position
from harness.testing import check_method, tiny_policy
from harness.training.perturbation import Noise
from harness_methods.es import ESOptions, EvolutionStrategy, harness_register_methods, utilities

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from torch import Tensor

(REGISTRATION,) = harness_register_methods()
SHAPINGS = ("none", "centred", "centred_ranks", "standardised")
FOUR = ((0.5, -1.0), (1.0, 0.25), (-0.5, 2.0), (-1.0, -0.5))


def method(**options: Any) -> EvolutionStrategy:
    return EvolutionStrategy(ESOptions(**options))


def tabled(
    table: Sequence[Sequence[float | None]], noise: Any, *, antithetic: bool = False, learning_rate: float = 1.0
) -> NoiseRun:
    """Return a run that rewards member n's answer to prompt b with ``table[n][b]``."""

    def judge(member: Member, name: str) -> float | None:
        return table[run.number(member, antithetic=antithetic)][int(name.removeprefix("row-"))]

    run = NoiseRun(judge, noise, torch.zeros(2, dtype=torch.float64), learning_rate)
    return run


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"shaping": "none", "divide_by_sigma": True}, (0.0625, 0.34375)),
        ({"shaping": "centred", "divide_by_sigma": True}, (0.0625, 0.15625)),
        ({"shaping": "standardised"}, (0.008839, 0.022097)),
        ({"shaping": "centred_ranks", "ties": "average", "divide_by_sigma": True}, (0.03125, 0.078125)),
    ],
)
def test_golden_steps(options: dict[str, Any], expected: tuple[float, float]) -> None:
    run = tabled([[1.0], [3.0], [2.0], [2.0]], scripted(*FOUR), learning_rate=0.05)
    said = run.take(method(population=4, sigma=0.1, **options), prompts(1))
    assert run.weights.tolist() == pytest.approx(expected, abs=5e-7)
    assert said == {"members": 4.0, "fitness": 2.0, "fitness_sd": pytest.approx(math.sqrt(0.5))}


def test_golden_gradient_of_openes() -> None:
    run = tabled([[3.0], [1.0], [2.0], [2.5]], scripted(*FOUR[:2]), antithetic=True)
    run.take(method(population=4, sigma=0.02, antithetic=True, shaping="centred_ranks", ties="order"), prompts(1))
    assert run.weights.tolist() == pytest.approx((0.041667, -0.270833), abs=5e-7)


@pytest.mark.parametrize("shaping", SHAPINGS)
def test_equal_rewards_give_exact_zeros(shaping: Any) -> None:
    """The mean of three times 0.1 is not 0.1, and raw rewards would make a step of noise alone."""
    assert utilities([0.1] * 3, ESOptions(shaping=shaping)) == [0.0] * 3


def oracle(
    table: Sequence[Sequence[float | None]], noise: Sequence[Any], options: ESOptions
) -> tuple[np.ndarray[Any, Any], bool]:
    """Return what is added to the weights at a learning rate of 1, member by member as the formulas are printed."""
    members = [np.array(e) * s for e in noise for s in ((1, -1) if options.antithetic else (1,))]
    pairs = [
        (np.mean([value for value in row if value is not None]), e)
        for row, e in zip(table, members, strict=True)
        if any(value is not None for value in row)
    ]
    step = np.zeros(2)
    if not pairs:
        return step, False
    fitness = np.array([value for value, _ in pairs])
    if np.ptp(fitness) < 1e-12:
        return step, False
    count = len(pairs)
    u = {
        "none": fitness,
        "centred": fitness - fitness.mean(),
        "standardised": (fitness - fitness.mean()) / (fitness.std() + 1e-8),
        "centred_ranks": (rankdata(fitness, "average" if options.ties == "average" else "ordinal") - 1)
        / max(1, count - 1) - 0.5,
    }[options.shaping]  # fmt: skip
    for weight, (_, e) in zip(u, pairs, strict=True):
        step += weight * e / (count * (options.sigma if options.divide_by_sigma else 1))
    return step, True


def random_case(draw: random.Random) -> tuple[ESOptions, list[list[float | None]], list[list[float]], int]:
    antithetic = draw.random() < 0.5
    population = 2 * draw.randint(1, 5)
    size = draw.randint(1, 4)
    options = ESOptions(
        population=population,
        sigma=draw.choice([0.01, 0.1, 1.0]),
        antithetic=antithetic,
        shaping=draw.choice(SHAPINGS),
        ties=draw.choice(["average", "order"]),
        divide_by_sigma=draw.random() < 0.5,
    )
    values = draw.choice([[0.0, 0.5, 1.0], [0.3], [draw.uniform(-2, 2) for _ in range(9)]])
    absent = draw.choice([0.0, 0.3, 0.95])
    table = [[None if draw.random() < absent else draw.choice(values) for _ in range(size)] for _ in range(population)]
    noise = [[draw.gauss(0, 1), draw.gauss(0, 1)] for _ in range(population // (2 if antithetic else 1))]
    return options, table, noise, size


def test_random_populations_against_the_formulas() -> None:
    draw = random.Random(5)
    kinds: dict[str, int] = {}
    for _ in range(200):
        options, table, noise, size = random_case(draw)
        run = tabled(table, scripted(*noise), antithetic=options.antithetic)
        said = run.take(EvolutionStrategy(options), prompts(size))
        expected, moved = oracle(table, noise, options)
        np.testing.assert_allclose(run.weights.numpy(), expected, rtol=1e-9, atol=1e-9)
        assert moved or not run.applied
        present = [row for row in table if any(value is not None for value in row)]
        assert said["members"] == len(present)
        for kind, there in (("step", moved), ("all absent", not present), ("some", 0 < len(present) < len(table))):
            kinds[kind] = kinds.get(kind, 0) + there
        kinds["equal"] = kinds.get("equal", 0) + (bool(present) and not moved)
    assert min(kinds.values()) >= 5, kinds


def bowl(member: Member, name: str) -> float:
    """Even about 0, and another for each prompt."""
    return -float(member.weights.square().sum()) * (1 + int(name[-1]))


@pytest.mark.parametrize("shaping", SHAPINGS)
def test_pairs_at_the_top_of_an_even_fitness_take_no_step(shaping: str) -> None:
    run = NoiseRun(bowl, normal(3, 2), torch.zeros(3, 2, dtype=torch.float64))
    said = run.take(method(population=8, sigma=0.1, antithetic=True, shaping=shaping), prompts(3))
    assert run.applied == []
    assert said["fitness_sd"] > 0


def test_ranks_in_the_order_of_drawing_pull_there() -> None:
    run = NoiseRun(bowl, normal(3, 2), torch.zeros(3, 2, dtype=torch.float64))
    run.take(method(population=8, sigma=0.1, antithetic=True, shaping="centred_ranks", ties="order"), prompts(3))
    assert len(run.applied) == 1


def slopes(table: Sequence[Sequence[float | None]], **options: Any) -> Tensor:
    """Return what is added to the weights at a learning rate of 1."""
    run = tabled(table, scripted(*FOUR), antithetic=options.get("antithetic", False))
    run.take(method(population=4, **options), prompts(len(table[0])))
    return run.weights


#: With a tie that no sum rounds away.
TABLE: list[list[float | None]] = [[0.125, 0.75], [None, 0.4375], [0.875, 0.25], [0.25, 0.25]]


def changed(a: float, c: float) -> list[list[float | None]]:
    return [[None if value is None else a * value + c for value in row] for row in TABLE]


def test_es_at_scale_is_salimans_on_z_with_a_rate_of_alpha_sigma() -> None:
    sigma = 0.03
    torch.testing.assert_close(
        slopes(TABLE, sigma=sigma), sigma * slopes(TABLE, sigma=sigma, divide_by_sigma=True), rtol=0, atol=1e-12
    )
    values = [float(np.mean([value for value in row if value is not None])) for row in TABLE]
    z = utilities(values, ESOptions())
    salimans = slopes([[value] for value in z], sigma=sigma, shaping="none", divide_by_sigma=True)
    torch.testing.assert_close(slopes(TABLE, sigma=sigma), sigma * salimans, rtol=0, atol=1e-12)


@pytest.mark.parametrize(
    "options",
    [
        {"shaping": "centred"},
        {"shaping": "centred_ranks"},
        {"shaping": "standardised"},
        {"shaping": "none", "antithetic": True},
    ],
)
def test_a_constant_added_to_all_rewards_changes_nothing(options: dict[str, Any]) -> None:
    torch.testing.assert_close(slopes(changed(1, 7), **options), slopes(TABLE, **options), rtol=0, atol=1e-12)


@pytest.mark.parametrize(
    ("shaping", "factor"), [("none", 3.0), ("centred", 3.0), ("centred_ranks", 1.0), ("standardised", 1.0)]
)
def test_rewards_on_another_scale(shaping: str, factor: float) -> None:
    scaled = slopes(changed(3, 0), shaping=shaping)
    rtol = 1e-6 if shaping == "standardised" else 1e-12  # the 1e-8 beside the deviation
    torch.testing.assert_close(scaled, factor * slopes(TABLE, shaping=shaping), rtol=rtol, atol=0)


@pytest.mark.parametrize(("temperature", "drawn"), [(0.0, ((), None)), (0.7, ((0.7,), 0))])
def test_all_members_share_prompts_and_random_numbers(temperature: float, drawn: Any) -> None:
    run = tabled([[0.0]] * 6, normal(2))
    run.take(method(population=6, temperature=temperature), prompts(1))
    assert run.drawn == [drawn] * 6
    assert set(run.told) == {(None, "all")}


def test_each_step_has_other_noise() -> None:
    run = NoiseRun(bowl, normal(2), torch.ones(2, dtype=torch.float64))
    for _ in range(2):
        run.take(method(population=4), prompts(2))
    first, second = run.applied
    assert len(first) == len(second) == 4
    assert not set(first) & set(second)


def hashed(member: Member, name: str) -> float | None:
    """A reward that every rank finds; absent for one answer in five."""
    number = (member.seed % 9973 + 271 * int(name[-1]) + 577 * (member.sign < 0)) % 1000
    return None if number % 5 == 0 else number / 1000


def two_ranks(make: Any, judge: Any, shape: tuple[int, ...], size: int, cut: int) -> tuple[NoiseRun, list[NoiseRun]]:
    """Return a run of one process and those of two which share its rows."""
    start = torch.ones(shape, dtype=torch.float64)
    alone = NoiseRun(judge, normal(*shape), start)
    ranks = Ranks(2)
    both = [NoiseRun(judge, normal(*shape), start, ranks=ranks, rank=rank) for rank in range(2)]
    rows = prompts(size)
    parts = (rows[:cut], rows[cut:])
    for _ in range(2):
        alone.take(make(), rows)
        threads = [
            threading.Thread(target=run.take, args=(make(), part)) for run, part in zip(both, parts, strict=True)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    return alone, both


@pytest.mark.parametrize("shaping", SHAPINGS)
def test_two_ranks_are_one(shaping: str) -> None:
    alone, both = two_ranks(lambda: method(population=6, shaping=shaping, antithetic=True), hashed, (2, 3), 5, 2)
    assert len(alone.applied) == 2
    for run in both:
        assert run.applied == alone.applied
        assert run.weights.equal(alone.weights)


def test_a_real_step_is_the_formula(tmp_path: Path) -> None:
    """On the services of a run, under plain gradient descent: theta + alpha / N sum z e, weight by weight."""
    asked: list[tuple[int, float]] = []
    fitness: list[float] = []

    class Watched(EvolutionStrategy):
        def _fitness(self, run: Any, batch: Any, seed: int, sign: float) -> float | None:
            value = super()._fitness(run, batch, seed, sign)
            assert value is not None
            asked.append((seed, sign))
            fitness.append(value)
            return value

    start = {name: weight.detach().clone() for name, weight in tiny_policy().model.named_parameters()}
    settings: dict[str, Any] = {"optimizer": "sgd", "weight_decay": 0.0, "max_grad_norm": 0.0, "batch_size": 8}
    constant = curve(Position(epochs=1), 0.25).model_copy(update={"kind": "constant"})
    what = plan("parameter-es", last=1, of=1, curve=constant, **settings)
    result = go(what, Watched(ESOptions(population=4, sigma=0.3)), tmp_path)
    assert len(result.log) * 4 == len(asked)
    named = dict(start)
    for first in range(0, len(asked), 4):
        z = np.array(fitness[first : first + 4])
        z = (z - z.mean()) / (z.std() + 1e-8)
        assert z.any()
        for weight, (seed, sign) in zip(z.tolist(), asked[first : first + 4], strict=True):
            noise = [torch.zeros_like(value) for value in named.values()]
            Noise((0, seed)).add([torch.nn.Parameter(value) for value in named.values()], noise, 1.0)
            named = {
                name: value + 0.25 / 4 * weight * sign * e
                for (name, value), e in zip(named.items(), noise, strict=True)
            }
    for name, value in result.weights.items():
        torch.testing.assert_close(value, named[name], rtol=0, atol=1e-9)


@pytest.mark.parametrize(
    "options",
    [
        {"population": 2},
        pytest.param(
            {"population": 2, "antithetic": True, "shaping": "centred_ranks", "temperature": 1.0},
            marks=pytest.mark.long,
        ),
    ],
    ids=["es-at-scale", "openes"],
)
def test_the_contract_of_methods(options: Mapping[str, Any]) -> None:
    check_method(REGISTRATION, {"sigma": 0.1, **options})


def test_published_defaults() -> None:
    """arXiv:2509.24372 and its code; OpenAI's code for arXiv:1703.03864, configurations/humanoid.json."""
    assert REGISTRATION.default_preset == "es-at-scale"
    scale, salimans, openes = (REGISTRATION.presets[name] for name in ("es-at-scale", "salimans", "openes"))
    usual = {
        "population": 30, "sigma": 1e-3, "antithetic": False, "shaping": "standardised", "ties": "average",
        "divide_by_sigma": False, "temperature": 0.0,
    }  # fmt: skip
    assert ESOptions().model_dump() == ESOptions(**scale.options).model_dump() == usual
    assert ESOptions(**salimans.options).model_dump() == {**usual, "shaping": "none", "divide_by_sigma": True}
    pairs = {"sigma": 0.02, "antithetic": True, "shaping": "centred_ranks", "ties": "order"}
    assert ESOptions(**openes.options).model_dump() == {**usual, **pairs}
    assert scale.recipe["method_learning_rate"] == 5e-4
    for preset in (scale, salimans):
        recipe = Recipe(**preset.recipe)
        assert (recipe.optimizer, recipe.weight_decay, recipe.max_grad_norm) == ("sgd", 0.0, 0.0)
    recipe = Recipe(**openes.recipe)
    assert (recipe.optimizer, recipe.method_learning_rate, recipe.weight_decay) == ("adam", 0.01, 0.005)
    assert (recipe.betas, recipe.epsilon, recipe.max_grad_norm) == ((0.9, 0.999), 1e-8, 0.0)


def test_an_odd_number_of_members_makes_no_pairs() -> None:
    with pytest.raises(ValidationError, match="population must be even, got 5"):
        ESOptions(population=5, antithetic=True)
    with pytest.raises(ValidationError, match="greater than or equal to 2"):
        ESOptions(population=1)
