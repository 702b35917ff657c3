"""What a training records of its course tells it from another's, and finds what a seed does not reach."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
import torch
from report.synthetic import Run
from training.runs import Evolution, Supervised, go, plan

from harness.api import Completions
from harness.report.results import load_results
from harness.report.write import build
from harness.spec.results.train import TrainStep
from harness.training import order
from harness.training.record import Settings, StepRecord
from harness.training.seeds import mix
from harness.training.weights import SUMS, sums

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from training.runs import Result

SEEDS = (0, 1, 2)


def digests(result: Result, name: str) -> list[str | None]:
    return [step["digests"].get(name) for step in result.log]


@pytest.fixture(scope="module")
def by_seed(tmp_path_factory: pytest.TempPathFactory) -> Mapping[int, Result]:
    folder = tmp_path_factory.mktemp("seeds")
    return {seed: go(plan(seed=seed), Evolution(), folder / str(seed)) for seed in SEEDS}


@pytest.mark.parametrize("name", ["rows", "samples", "noise"])
def test_every_step_of_every_seed_is_told_apart(by_seed: Mapping[int, Result], name: str) -> None:
    found = [each for result in by_seed.values() for each in digests(result, name)]
    assert None not in found
    assert len(set(found)) == len(found)


def test_the_same_training_is_the_same_whatever_the_micro_batches(
    by_seed: Mapping[int, Result], tmp_path: Path
) -> None:
    again = go(plan(tokens_per_micro_batch=60), Evolution(), tmp_path)
    assert again.summary["micro_batches"]["total"] > by_seed[0].summary["micro_batches"]["total"]
    assert [step["digests"] for step in again.log] == [step["digests"] for step in by_seed[0].log]
    assert again.summary["start_sums"] == by_seed[0].summary["start_sums"]


def test_what_draws_nothing_has_an_order_alone(tmp_path: Path) -> None:
    result = go(plan("supervised"), Supervised(), tmp_path)
    assert all(step["digests"].keys() == {"rows"} for step in result.log)


class Greedy(Evolution):
    """The same without chance."""

    temperatures = (0.0,) * 4


def test_greedy_answers_are_samples_without_random_numbers(tmp_path: Path) -> None:
    result = go(plan(), Greedy(), tmp_path)
    assert all(step["digests"].keys() == {"rows", "samples"} for step in result.log)


def test_padding_and_the_order_of_the_rows_count_for_nothing() -> None:
    answers = [[[5, 6], [7]], [[8, 9, 10], []]]

    def noted(ids: list[str], completions: Completions) -> int:
        record = StepRecord()
        record.drew(ids, completions)
        return record.drawn[0]

    whole = Completions.of(answers, eos_id=0)
    wide = replace(whole, ids=torch.nn.functional.pad(whole.ids, (0, 3), value=99))
    one = noted(["a", "b"], whole)
    assert noted(["a", "b"], wide) == one
    assert noted(["b", "a"], whole[[1, 0]]) == one
    assert (noted(["a"], whole[[0]]) + noted(["b"], whole[[1]])) % 2**64 == one  # as two ranks have them
    assert noted(["a", "c"], whole) != one
    assert noted(["a", "b"], Completions.of([[[5, 6], [7]], [[8, 9], [10]]], eos_id=0)) != one


def test_sums_of_weights_are_linear_and_about_as_long(by_seed: Mapping[int, Result]) -> None:
    generator = torch.Generator().manual_seed(0)
    start = [torch.nn.Parameter(torch.randn(size, generator=generator, dtype=torch.float64)) for size in (7, 640, 1)]
    moved = [torch.nn.Parameter(weight + torch.randn(weight.shape, generator=generator)) for weight in start]
    difference = [torch.nn.Parameter(end.detach() - begin.detach()) for end, begin in zip(moved, start, strict=True)]
    apart = [end - begin for end, begin in zip(sums(moved), sums(start), strict=True)]
    assert apart == pytest.approx(sums(difference))
    numbers = [weight.detach().tolist() for weight in difference]
    expected = [sum(sum(weight[place::SUMS]) for weight in numbers) for place in range(SUMS)]
    assert apart == pytest.approx(expected)
    length = math.sqrt(sum(float(weight.detach().square().sum()) for weight in difference))
    assert 0.5 < math.hypot(*apart) / length < 2
    ends = {tuple(result.summary["weights_sums"]) for result in by_seed.values()}
    assert len(ends) == len(SEEDS)
    assert len({tuple(result.summary["start_sums"]) for result in by_seed.values()}) == 1  # of the same model


def errors(results: Mapping[int, Result], folder: Path) -> list[str]:
    """Return the errors in the tables of a run whose row eso was trained so."""
    steps = {seed: [TrainStep.model_validate(line).to_json() for line in each.log] for seed, each in results.items()}

    def log(row: str, seed: int) -> list[dict[str, Any]]:
        return steps[seed] if row == "eso" else [{}]

    def trained(row: str, seed: int) -> dict[str, Any]:
        names = ("weights_sha256", "weights_sums", "start_sums")
        return {name: results[seed].summary[name] for name in names} if row == "eso" else {}

    run = Run(folder, seeds=tuple(results), log=log, trained=trained)
    return build(load_results(run.root, run.write())).errors


def test_ordinary_seeds_are_no_error(by_seed: Mapping[int, Result], tmp_path: Path) -> None:
    assert errors(by_seed, tmp_path) == []


def test_a_seed_that_never_reaches_the_sampler_is_an_error(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    settings = Settings.of
    monkeypatch.setattr(Settings, "of", lambda what, positions: replace(settings(what, positions), seed=0))
    results = {seed: go(plan(seed=seed), Evolution(), tmp_path / str(seed)) for seed in SEEDS}
    assert len({tuple(digests(result, "rows")) for result in results.values()}) == 3  # so the samples differ, too
    (said,) = errors(results, tmp_path / "results")
    assert said == (
        "eso: seeds 0, 1 and 2 are no repetitions of each other: they have the same random numbers to sample with in "
        "training"
    )


def test_a_seed_that_never_reaches_the_order_is_an_error(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(order, "mix", lambda what, purpose, _seed, name: mix(what, purpose, name))
    results = {seed: go(plan(seed=seed), Evolution(), tmp_path / str(seed)) for seed in (0, 1)}
    (said,) = errors(results, tmp_path / "results")
    assert said.endswith("they have the same order of training rows")


def test_a_seed_that_reaches_nothing_has_everything_in_common(tmp_path: Path) -> None:
    results = {seed: go(plan(seed=0), Evolution(), tmp_path / str(seed)) for seed in (0, 1)}
    (said,) = errors(results, tmp_path / "results")
    assert said.endswith(
        "they have the same order of training rows, the same random numbers to sample with in training, the same "
        "samples in training and the same weights"
    )
