"""DPO and its variants: golden numbers, the papers' formulas in plain Python, and what must hold whatever the batch."""

from __future__ import annotations

import inspect
import math
import threading
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from methods.cases import make, registration
from methods.fake_run import Ranks, TinyModel
from methods.preferences import PairCase, expected, random_pairs
from pydantic import ValidationError

from harness.api import InputError
from harness.spec.recipe import Recipe
from harness_plugins.methods.dpo.losses import pair_losses

if TYPE_CHECKING:
    from methods.fake_run import FakeRun

LOSSES = ("sigmoid", "robust", "hinge", "ipo", "ipo_summed")
VARIANTS: list[dict[str, Any]] = [
    {},
    {"label_smoothing": 0.1},
    {"loss_type": "robust", "label_smoothing": 0.2, "beta": 0.5},
    {"loss_type": "hinge", "beta": 0.3},
    {"loss_type": "ipo"},
    {"loss_type": "ipo_summed", "beta": 0.7},
    {"disable_dropout": False},
]


def label(raw: dict[str, Any]) -> str:
    return "-".join(str(value) for value in raw.values()) or "defaults"


def step(case: PairCase, raw: dict[str, Any], **around: Any) -> tuple[FakeRun, dict[str, float]]:
    method, _ = make("dpo", **raw)
    run = case.run(**around)
    return run, dict(method.step(run, case.batch))


def check_same(run: FakeRun, other: FakeRun) -> None:
    assert run.shares.keys() == other.shares.keys() == {"dpo"}
    assert run.loss == pytest.approx(other.loss, rel=1e-10, abs=1e-12)
    for mine, theirs in zip(run.grads["dpo"], other.grads["dpo"], strict=True):
        torch.testing.assert_close(mine, theirs, rtol=1e-9, atol=1e-11)


# -- golden numbers, made with the functions that the DPO authors and TRL released

POLICY = torch.tensor([[-12.5, -14.0], [-30.0, -28.0], [-8.25, -8.25]], dtype=torch.float64)
REFERENCE = torch.tensor([[-13.0, -13.5], [-29.0, -29.5], [-9.0, -8.0]], dtype=torch.float64)
LENGTHS = torch.tensor([[10, 12], [20, 18], [5, 5]])
DPO_HALF = [0.4740769841801067, 1.501929081345373, 0.4740769841801067]
DPO_TENTH = [0.6443966600735709, 0.8259394198788436, 0.6443966600735709]
GOLDEN: list[tuple[dict[str, Any], list[float]]] = [
    ({"beta": 0.1}, DPO_TENTH),
    ({"beta": 0.5}, DPO_HALF),
    ({"beta": 0.1, "label_smoothing": 0.1}, [0.6543966600735709, 0.8009394198788435, 0.6543966600735709]),
    (
        {"beta": 0.1, "label_smoothing": 0.1, "loss_type": "robust"},
        [0.6318966600735709, 0.8571894198788435, 0.6318966600735709],
    ),
    ({"beta": 0.1, "loss_type": "robust"}, DPO_TENTH),
    ({"beta": 0.1, "loss_type": "hinge"}, [0.9, 1.25, 0.9]),
    ({"beta": 0.1, "loss_type": "ipo_summed"}, [16.0, 56.25, 16.0]),
    ({"beta": 0.1, "loss_type": "ipo"}, [24.09173611111111, 26.351111111111116, 23.04]),
]


@pytest.mark.parametrize(("raw", "wanted"), GOLDEN, ids=[label(raw) for raw, _ in GOLDEN])
def test_golden_numbers(raw: dict[str, Any], wanted: list[float]) -> None:
    ratios = POLICY - REFERENCE
    found = pair_losses(ratios[:, 0], ratios[:, 1], LENGTHS, **raw)
    torch.testing.assert_close(found, torch.tensor(wanted, dtype=torch.float64), rtol=0, atol=1e-13)


# -- the papers' formulas


@settings(max_examples=60, deadline=None, derandomize=True, database=None)
@given(
    st.sampled_from(LOSSES), st.sampled_from([0.05, 0.1, 0.5, 2.0]), st.sampled_from([0.0, 0.1, 0.4]), st.booleans(),
    st.integers(0, 10**6), st.sampled_from([None, 1, 2]),
)  # fmt: skip
def test_loss_gradient_and_log_equal_the_oracle(
    loss_type: str, beta: float, smoothing: float, dropout_off: bool, seed: int, part: int | None  # noqa: FBT001  # hypothesis
) -> None:  # fmt: skip
    smoothing = smoothing if loss_type in {"sigmoid", "robust"} else 0.0
    raw = {"loss_type": loss_type, "beta": beta, "label_smoothing": smoothing, "disable_dropout": dropout_off}
    case = random_pairs(seed)
    _, options = make("dpo", **raw)
    run, said = step(case, raw, part=part)
    value, gradient, logged = expected(case, options)
    assert run.loss == pytest.approx(value, rel=1e-9, abs=1e-9)
    for found, wanted in zip(run.grads["dpo"], gradient, strict=True):
        torch.testing.assert_close(found, wanted, rtol=1e-9, atol=1e-9)
    assert said == {name: pytest.approx(number, rel=1e-9, abs=1e-9) for name, number in logged.items()}


@pytest.mark.parametrize("raw", VARIANTS, ids=label)
def test_the_gradient_is_that_of_finite_differences(raw: dict[str, Any]) -> None:
    case = random_pairs(3, size=4)
    run, _ = step(case, raw)
    generator = torch.Generator().manual_seed(0)
    directions = [torch.randn(p.shape, generator=generator, dtype=p.dtype) for p in run.model.parameters()]
    sides = []
    for sign in (1.0, -1.0):
        moved = TinyModel(case.seed)
        with torch.no_grad():
            for parameter, direction in zip(moved.parameters(), directions, strict=True):
                parameter.add_(direction, alpha=sign * 1e-6)
        sides.append(step(case, raw, model=moved)[0].loss)
    slope = sum(float((g * d).sum()) for g, d in zip(run.grads["dpo"], directions, strict=True))
    assert (sides[0] - sides[1]) / 2e-6 == pytest.approx(slope, rel=1e-5, abs=1e-7)


# -- identities


@pytest.mark.parametrize("raw", [{}, {"label_smoothing": 0.3}, {"loss_type": "robust", "label_smoothing": 0.3}])
def test_at_the_reference_the_loss_is_ln_2_and_the_gradient_half_of_beta(raw: dict[str, Any]) -> None:
    case = replace(random_pairs(5, size=4), reference_seed=5)
    run, said = step(case, raw)  # the fake model's dropout is on wherever it is not turned off
    assert run.loss == pytest.approx(math.log(2), abs=1e-13)
    assert {name: said[name] for name in said if name.startswith("rewards")} == dict.fromkeys(
        ("rewards/chosen", "rewards/rejected", "rewards/margins", "rewards/accuracies"), 0.0
    )
    raised, _ = step(case, {"loss_type": "hinge", "beta": 1e-3})  # below its corner: minus beta times the margin
    certain = 1 - 2 * raw.get("label_smoothing", 0.0)
    weight = 1 / (2 * certain) if "loss_type" in raw else certain / 2
    for mine, plain in zip(run.grads["dpo"], raised.grads["dpo"], strict=True):
        torch.testing.assert_close(mine, weight * 0.1 * plain / 1e-3, rtol=1e-9, atol=1e-12)


def test_with_dropout_in_the_policy_it_is_not() -> None:
    case = replace(random_pairs(5, size=4), reference_seed=5)
    run, _ = step(case, {"disable_dropout": False})
    assert abs(run.loss - math.log(2)) > 1e-4


@pytest.mark.parametrize("raw", [{}, {"loss_type": "robust", "label_smoothing": 0.3}])
def test_identical_answers_give_ln_2_and_no_gradient(raw: dict[str, Any]) -> None:
    case = random_pairs(6, size=3)
    run, _ = step(replace(case, rejected=case.chosen), raw)
    assert run.loss == pytest.approx(math.log(2), abs=1e-13)
    assert max(float(slope.abs().max()) for slope in run.grads["dpo"]) < 1e-15


@pytest.mark.parametrize("raw", VARIANTS, ids=label)
def test_swapping_the_answers_mirrors_the_rewards(raw: dict[str, Any]) -> None:
    case = random_pairs(17, size=5)
    assert all(chosen != rejected for chosen, rejected in zip(case.chosen, case.rejected, strict=True))  # no ties
    swapped = replace(case, chosen=case.rejected, rejected=case.chosen)
    (_, said), (_, mirrored) = step(case, raw), step(swapped, raw)
    assert mirrored["rewards/margins"] == pytest.approx(-said["rewards/margins"], abs=1e-12)
    assert mirrored["rewards/accuracies"] == pytest.approx(1 - said["rewards/accuracies"], abs=1e-12)
    for one, other in (("rewards/chosen", "rewards/rejected"), ("logps/chosen", "logps/rejected")):
        assert mirrored[one] == pytest.approx(said[other], abs=1e-12)


def test_swapping_the_answers_is_smoothing_by_the_complement() -> None:
    """Loss(swapped, e) is Loss(e) with 1 - e in its place: -log s(z) - (-log s(-z)) = -z."""
    case = random_pairs(9, size=1)
    swapped = replace(case, chosen=case.rejected, rejected=case.chosen)
    (plain, said), (other, _) = step(case, {}), step(swapped, {})
    assert other.loss - plain.loss == pytest.approx(said["rewards/margins"], abs=1e-12)
    (smooth, _), (there, _) = step(case, {"label_smoothing": 0.2}), step(swapped, {"label_smoothing": 0.2})
    assert smooth.loss == pytest.approx(0.8 * plain.loss + 0.2 * other.loss, abs=1e-12)
    assert there.loss == pytest.approx(0.2 * plain.loss + 0.8 * other.loss, abs=1e-12)


def test_sums_and_means_of_ipo_differ_unless_every_answer_is_one_token() -> None:
    case = random_pairs(10, size=4)
    assert step(case, {"loss_type": "ipo"})[0].loss != pytest.approx(step(case, {"loss_type": "ipo_summed"})[0].loss)
    short = replace(case, chosen=[[3]] * 4, rejected=[[0]] * 4)
    check_same(step(short, {"loss_type": "ipo"})[0], step(short, {"loss_type": "ipo_summed"})[0])


@pytest.mark.parametrize("raw", VARIANTS, ids=label)
def test_padding_order_and_cuts_have_no_say(raw: dict[str, Any]) -> None:
    case = random_pairs(11, size=5)
    whole, said = step(case, raw)
    order = [3, 0, 4, 2, 1]

    def pick(values: list[list[int]]) -> list[list[int]]:
        return [values[b] for b in order]

    turned = replace(case, prompts=pick(case.prompts), chosen=pick(case.chosen), rejected=pick(case.rejected))
    for other, around in [(replace(case, width=12), {}), (turned, {}), (case, {"part": 1}), (case, {"part": 2})]:
        run, logged = step(other, raw, **around)
        check_same(run, whole)
        assert logged == {name: pytest.approx(value, rel=1e-10, abs=1e-12) for name, value in said.items()}


@pytest.mark.parametrize("raw", VARIANTS, ids=label)
@pytest.mark.parametrize("split", [0, 2, 5])
def test_two_ranks_equal_one(raw: dict[str, Any], split: int) -> None:
    case = random_pairs(12, size=6)
    whole, said = step(case, raw)
    ranks = Ranks(2)
    runs: dict[int, FakeRun] = {}
    logs: dict[int, Any] = {}
    failures: list[BaseException] = []

    def work(rank: int, rows: list[int]) -> None:
        try:
            method, _ = make("dpo", **raw)
            runs[rank] = case.run(ranks=ranks, rank=rank, part=2 - rank)
            logs[rank] = dict(method.step(runs[rank], case.batch[rows]))
        except BaseException as error:  # noqa: BLE001  # a thread's failure must reach the test, whatever it is
            failures.append(error)
            ranks.barrier.abort()

    rows = list(range(6))
    threads = [threading.Thread(target=work, args=(r, part)) for r, part in enumerate((rows[:split], rows[split:]))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures
    for rank in (0, 1):
        check_same(runs[rank], whole)
        assert logs[rank] == {name: pytest.approx(value, rel=1e-10, abs=1e-12) for name, value in said.items()}


@pytest.mark.parametrize("raw", VARIANTS, ids=label)
def test_steps_widen_the_margin_and_leave_the_reference_alone(raw: dict[str, Any]) -> None:
    case = random_pairs(13, size=4)
    method, _ = make("dpo", **raw)
    run = case.run(learning_rate=0.02)
    before = [p.detach().clone() for p in run.reference.parameters()]
    margins = [dict(method.step(run, case.batch))["rewards/margins"] for _ in range(6)]
    assert margins[-1] > margins[0]
    assert all(torch.equal(p, old) for p, old in zip(run.reference.parameters(), before, strict=True))


def test_one_forward_for_both_answers() -> None:
    run, _ = step(random_pairs(14, size=3), {})
    assert [scored.ids.shape[1] for scored in run.scored] == [2, 2]  # the one part, twice by the fake


def test_pairs_of_the_same_prompt_are_pairs_of_their_own() -> None:
    case = random_pairs(15, size=2)
    together = replace(case, prompts=[case.prompts[0]] * 2)
    alone = [PairCase(together.prompts[:1], [c], [r], case.seed, case.reference_seed)
             for c, r in zip(case.chosen, case.rejected, strict=True)]  # fmt: skip
    assert step(together, {})[0].loss == pytest.approx(sum(step(one, {})[0].loss for one in alone) / 2, rel=1e-12)


# -- what is refused, and what is offered


def test_a_row_without_a_pair_is_refused_by_name() -> None:
    case = random_pairs(16, size=3)
    method, _ = make("dpo")
    for batch in (replace(case.batch, pairs=None), replace(case, rejected=[case.rejected[0], [], [4]]).batch):
        with pytest.raises(InputError, match=r"a training row has no pair of answers, got 'row row-[01]'"):
            method.step(case.run(), batch)


@pytest.mark.parametrize(
    ("raw", "words"),
    [
        ({"beta": 0.0}, "greater than 0"),
        ({"beta": math.inf}, "finite"),
        ({"label_smoothing": 0.5}, "less than 0.5"),
        ({"loss_type": "ipo", "label_smoothing": 0.1}, "label_smoothing is for loss_type sigmoid or robust"),
        ({"loss_type": "hinge", "label_smoothing": 0.1}, "label_smoothing is for loss_type sigmoid or robust"),
        ({"loss_type": "dpo"}, "sigmoid"),
        ({"loss": "sigmoid"}, "Extra inputs"),
    ],
)
def test_options_that_make_no_sense(raw: dict[str, Any], words: str) -> None:
    with pytest.raises(ValidationError, match=words):
        make("dpo", **raw)


def test_what_is_registered() -> None:
    offered = registration("dpo")
    assert offered.needs == {"preferences", "reference"}
    assert offered.start == "after"
    assert not offered.supervised
    assert not offered.mixes_supervision
    assert {"paper", "official", "trl"} == set(offered.presets)
    for preset in offered.presets.values():
        assert offered.options(**preset.options) == offered.options()
        recipe = Recipe(**preset.recipe)
        assert (recipe.dropout, recipe.optimizer, recipe.weight_decay) == (0.0, "adamw", 0.0)
        assert preset.summary
    rates = {name: preset.recipe["method_learning_rate"] for name, preset in offered.presets.items()}
    assert rates == {"paper": 1e-6, "official": 5e-7, "trl": 1e-6}
    assert offered.presets["paper"].recipe["batch_size"] == 64
    assert offered.presets["paper"].recipe["method_warmup_steps"] == 150
    assert "RMSprop" in offered.presets["paper"].summary
    for option, field in offered.options.model_fields.items():
        assert field.description, option
    text = inspect.getdoc(type(make("dpo")[0])) or ""
    assert "Differs from the paper" in text
    assert "\n1. " in text


def test_its_state_is_empty() -> None:
    method, _ = make("dpo")
    assert method.state_dict() == {}
    with pytest.raises(InputError, match="another method's"):
        method.load_state_dict({"beta": 0.5})
