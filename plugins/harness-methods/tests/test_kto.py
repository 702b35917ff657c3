"""KTO: golden numbers, an oracle on ragged batches, and what must hold at the reference, for z = 0 and for labels."""

from __future__ import annotations

import random
from dataclasses import replace
from typing import Any

import pytest
import torch
from kto_oracle import labelled, oracle
from methods.fake_run import EOS
from preference_run import World, assert_alike, assert_step, golden, make, random_world, registration, step
from pydantic import ValidationError

from harness.api import InputError

CHOICES: dict[str, list[Any]] = {
    "beta": [0.1, 0.5],
    "desirable_weight": [1.0, 1.5],
    "undesirable_weight": [1.0, 0.5, 0.0],
    "labels": ["data", "pairs", "threshold", "group_mean"],
    "loss": ["kto", "kto", "apo_zero_unpaired", "kto_pair"],
    "kl_shift": [1, -1],
    "kl_divisor": ["m", "nonzero", "printed"],
    "threshold": [0.25, 0.5],
    "disable_dropout": [True, False],
}


@pytest.mark.parametrize("block", range(10))
def test_loss_gradient_and_log_equal_the_oracle(block: int) -> None:
    for seed in range(20 * block, 20 * (block + 1)):
        draw = random.Random(seed)
        world = random_world(seed)
        raw = {name: draw.choice(values) for name, values in CHOICES.items()}
        if raw["loss"] == "kto_pair":
            raw["labels"] = "pairs"
        raw["n_samples"] = len(world.answers[0])
        assert_step("kto", raw, world, oracle, part=draw.choice([None, 1, 2]))


def golden_case(desirable: list[tuple[int, int]], undesirable: list[tuple[int, int]], terms: list[float]) -> Any:
    """Return golden answers as rows of one answer each, with the log-ratios of what they are mismatched with."""
    places = [*desirable, *undesirable]
    world, given = golden(
        [(prompt, (j,)) for prompt, j in places], labels=[True] * len(desirable) + [False] * len(undesirable)
    )
    world.prompts = [[1 + b] for b in range(len(places))]  # no two alike
    for b, term in enumerate(terms):
        key = (f"row-{b}", tuple(world.answers[(b + 1) % len(places)][0]))
        given[0][key] = [term] + [0.0] * (len(key[1]) - 1)
        given[1][key] = [0.0] * len(key[1])
    return world, given


EQUAL = ([(0, 0), (1, 1)], [(0, 1), (1, 2)])
UNEQUAL = ([(0, 0), (1, 1), (0, 2)], [(0, 1)])
TERMS = [0.8, -0.2, 0.3, 0.5]


@pytest.mark.parametrize(
    ("raw", "sides", "terms", "z", "wanted"),
    [
        ({}, EQUAL, TERMS, 0.35, 0.499688),
        ({"undesirable_weight": 1.5}, EQUAL, TERMS, 0.35, 0.623439),
        ({}, EQUAL, [-0.8, 0.2, -0.3, -0.5], 0.0, 0.499687),
        ({"beta": 0.5}, EQUAL, TERMS, 0.35, 0.498532),
        ({}, UNEQUAL, TERMS, 0.35, 0.500938),
        ({"kl_divisor": "printed"}, UNEQUAL, [0.8, -0.2, 0.3, 9.0], 0.225, None),
        ({"kl_divisor": "nonzero"}, UNEQUAL, [0.8, -0.2, 0.0, 0.3], 0.3, None),
    ],
)
def test_golden_numbers(raw: dict[str, Any], sides: Any, terms: list[float], z: float, wanted: float | None) -> None:
    desirable, undesirable = sides
    world, given = golden_case(desirable, undesirable, terms)
    run, said = step("kto", raw, world, given=given)
    assert said["kl"] == pytest.approx(z, abs=1e-12)
    if wanted is not None:
        assert run.loss == pytest.approx(wanted, abs=6e-7)


def test_golden_number_of_pairs() -> None:
    world, given = golden([(0, (0, 1)), (1, (1, 2))])
    run, _ = step("kto", {"labels": "pairs", "loss": "kto_pair"}, world, given=given)
    assert run.loss == pytest.approx(0.499375, abs=6e-7)


@pytest.mark.parametrize("raw", [{}, {"labels": "pairs"}, {"labels": "pairs", "loss": "kto_pair"}])
def test_at_the_reference_a_row_loses_half_its_weight(raw: dict[str, Any]) -> None:
    """And its gradient is minus or plus a quarter of beta times its weight, times that of its log-prob."""
    world = replace(random_world(5, size=4, count=2), reference_seed=5)
    weights = {True: 1.2, False: 0.7}
    run, said = step("kto", {"desirable_weight": 1.2, "undesirable_weight": 0.7, "beta": 0.3, **raw}, world)
    _, options = make("kto", raw)
    rows = [(b, k, label) for b, group in enumerate(labelled(world, options)) for k, label in enumerate(group)]
    rows = [row for row in rows if row[2] is not None]
    assert said["kl"] == 0.0
    assert run.loss == pytest.approx(sum(weights[bool(label)] / 2 for *_, label in rows) / len(rows), abs=1e-14)
    other = world.run()
    slopes = torch.zeros(len(world.prompts), 2, dtype=torch.float64)
    for b, k, label in rows:
        slopes[b, k] = (-1 if label else 1) * 0.3 * weights[bool(label)] / 4 / len(rows)
    answers = world.run().samples
    other.update(
        lambda batch, answers, slopes: {"x": (slopes * other.logprobs(batch, answers, dropout=False).sum()).sum()},
        batch=world.batch, answers=answers, slopes=slopes,
    )  # fmt: skip
    for mine, theirs in zip(run.gradient(), other.gradient(), strict=True):
        torch.testing.assert_close(mine, theirs, rtol=1e-9, atol=1e-12)


def test_without_a_reference_point_it_is_apo_zero() -> None:
    for seed in range(40):
        world = random_world(seed, size=4)
        kto, said = step("kto", {}, world)
        if said["kl"] == 0.0:
            assert_alike(step("kto", {"loss": "apo_zero_unpaired"}, world)[0], kto)
            return
    pytest.fail("no world has z = 0")


def test_labels_and_weights_swapped_mirror_the_log_ratios() -> None:
    """With h in the place of 2 z - h the loss is the same: here for z = 0, with the models in each other's place."""
    world = random_world(3, size=4)
    mirrored = replace(
        world, labels=[not x for x in world.labels], seed=world.reference_seed, reference_seed=world.seed
    )
    raw = {"loss": "apo_zero_unpaired", "desirable_weight": 1.3, "undesirable_weight": 0.6}
    swapped = {**raw, "desirable_weight": 0.6, "undesirable_weight": 1.3}
    assert step("kto", raw, world)[0].loss == pytest.approx(step("kto", swapped, mirrored)[0].loss, abs=1e-14)


@pytest.mark.parametrize("label", [True, False])
def test_one_class_alone_is_its_own_mean(label: bool) -> None:  # noqa: FBT001  # pytest
    world = replace(random_world(8, size=3), labels=[label] * 3)
    run, said = step("kto", {}, world)
    assert 0 < run.loss < 1
    assert ("rewards/chosen" in said, "rewards/rejected" in said) == (label, not label)


def test_a_batch_of_one_row_or_one_prompt_has_no_reference_point() -> None:
    world = random_world(9, size=3)
    world.prompts = [world.prompts[0]] * 3
    for case in (world, random_world(9, size=1)):
        run, said = step("kto", {}, case)
        assert said["kl"] == 0.0
        assert_alike(run, step("kto", {"loss": "apo_zero_unpaired"}, case)[0])


def test_neighbours_with_the_same_prompt_are_stepped_over() -> None:
    """Rows 0 and 1 are of one prompt: both are mismatched with row 2, by either shift."""
    world = World([[1], [1], [2]], [[[3, EOS]], [[4, EOS]], [[5, EOS]]], [[0.0]] * 3, [True, False, True], seed=2)
    asked = []
    for shift in (1, -1):
        method, _ = make("kto", {"kl_shift": shift})
        run = world.run()
        method.step(run, world.batch)
        asked.append(run.scored[0].ids[:, 0, 0].tolist())
    assert asked == [[5, 5, 3], [5, 5, 4]]


def test_needs_follow_where_labels_come_from() -> None:
    offered = registration("kto")
    needs = {name: offered.resolved(make("kto", {"labels": name})[1]).needs for name in CHOICES["labels"]}
    assert needs == {
        "data": {"labels", "reference"},
        "pairs": {"preferences", "reference"},
        "threshold": {"reward", "reference"},
        "group_mean": {"reward", "reference"},
    }


def test_rows_of_another_kind_are_refused() -> None:
    world = random_world(1)
    for raw, batch in (
        ({}, replace(world.batch, labels=None)),
        ({"labels": "pairs"}, replace(world.batch, pairs=None)),
    ):
        with pytest.raises(InputError, match=r"the training rows have no (labels|pairs)"):
            make("kto", raw)[0].step(world.run(), batch)
    with pytest.raises(ValidationError, match="loss kto_pair is for labels: pairs"):
        make("kto", {"loss": "kto_pair"})
