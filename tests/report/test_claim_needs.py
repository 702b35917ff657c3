"""Nothing is claimed where anything that the claim is about has no value, and the reason names it."""

from __future__ import annotations

import copy
import json
import os
import shutil
from dataclasses import replace
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import pytest
from report.synthetic import METRICS, ROUGE_L, Place, Run, step

from harness.report.claims import Claim, Finding, verdict
from harness.report.claims.needs import Value, needs_of, without
from harness.report.results import Scored, load_results, read_manifest
from harness.store.files import dump, replace_text, seal
from harness.store.stages import Store

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from pathlib import Path

    from harness.report.results import Results
    from harness.spec.results.run import RunRow

BOTH = ("rouge.rougeL", "gleu.gleu")
ABOVE = Claim("c", "A is above B and C", "Table 9", ("small",), "above", "eso", ("sft", "drl"), BOTH)
EQUAL = replace(ABOVE, name="e", kind="equal", others=("sft",), margin=1.0)
TREND = Claim("k", "more helps", "", ("small",), "trend", "eso", (), BOTH, option="k")
PEAK = replace(TREND, name="p", kind="peak", at=8.0)
HELD = Claim("m", "one model each", "", ("small",), "held", held={"eso": 1, "drl": 1})
ORDER = Claim("t", "in this order", "", ("small",), "order", order=("drl", "eso"))
CLAIMS = (ABOVE, EQUAL, TREND, PEAK, HELD, ORDER)

KINDS = [claim.kind for claim in CLAIMS]

SEEDS, MODELS, DATASETS = (0, 1, 2), ("small", "large"), ("in-data", "other")
ROWS = ("base", "sft", "eso[4]", "eso[6]", "eso[8]", "drl")
LEVELS = {"base": 0.01, "sft": 0.1, "drl": 0.2, "eso[4]": 0.4, "eso[6]": 0.5, "eso[8]": 0.6}
#: The rows that each claim is about, told here once more and not computed.
NAMED = {
    "c": ("eso[4]", "sft", "drl"), "e": ("eso[4]", "sft"), "k": ("eso[4]", "eso[6]", "eso[8]"),
    "p": ("eso[4]", "eso[6]", "eso[8]"), "m": ("eso[4]", "drl"), "t": ("drl", "eso[4]"),
}  # fmt: skip


def value(place: Place) -> float:
    generator = np.random.default_rng([place.seed, place.example, *map(ord, place.row + place.column)])
    return LEVELS[place.row] + float(0.01 * generator.normal())


def log(row: str, seed: int) -> list[dict[str, Any]]:
    laps = (2.0 if row.startswith("eso") else 1.0) + 0.1 * np.random.default_rng(seed).random(20)
    return [{**step(row), "seconds": {"sampling": lap / 2, "other": lap / 2}} for lap in laps]


def options(row: str) -> dict[str, Any]:
    return {"k": int(row[4]), "coef": 0.2} if "[" in row else {}


GLEU = {**METRICS[0], "use": "gleu", "columns": [{**ROUGE_L, "name": "gleu", "label": "GLEU"}]}


def complete(root: Path) -> Run:
    """Return a run in which every claim here is supported."""
    return Run(
        root, seeds=SEEDS, models=MODELS, rows=ROWS, datasets={"in-data": "in-data", "other": "cross"},
        metrics=[METRICS[0], GLEU], value=value, log=log, options=options,
    )  # fmt: skip


@pytest.fixture(scope="module")
def stored(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder of its results; tests must not write to it."""
    root = tmp_path_factory.mktemp("stored")
    complete(root).write()
    return root


@pytest.fixture
def whole(stored: Path, tmp_path: Path) -> Run:
    """Return the complete run with all of its stages in the store."""
    shutil.copytree(stored / "store", tmp_path / "store", copy_function=os.link)  # no file of a stage is written to
    run = complete(tmp_path)
    run.kept = True
    return run


def found(run: Run, claim: Claim) -> Finding:
    return verdict(claim, read(run))


def read(run: Run) -> Results:
    """Return the results of a run that a test has changed."""
    if (run.value, run.log, run.options) != (value, log, options):  # other stages under the same ids
        shutil.rmtree(run.root / "store")
        run.kept = False
    return load_results(run.root, run.write())


def test_everything_that_is_there_is_enough(whole: Run) -> None:
    results = read(whole)
    assert {claim.kind: verdict(claim, results).word for claim in CLAIMS} == dict.fromkeys(KINDS, "supported")


def test_what_is_needed_is_a_closed_list(whole: Run) -> None:
    folder = whole.write()
    manifest = read_manifest(folder)
    needs = needs_of(ABOVE, manifest)
    assert needs.models == MODELS
    assert needs.rows == dict.fromkeys(MODELS, ("eso[4]", "sft", "drl"))
    assert (needs.seeds, needs.datasets, needs.columns, needs.decoding) == (SEEDS, DATASETS, BOTH, "t1")
    assert len(list(needs.values())) == 2 * 3 * 3 * 2 * 2
    assert next(needs.values()) == Value("small", "eso[4]", 0, "in-data", "rouge.rougeL")
    assert needs_of(TREND, manifest).rows == dict.fromkeys(MODELS, ("eso[4]", "eso[6]", "eso[8]"))
    assert len(list(needs_of(HELD, manifest).values())) == 2 * 2 * 3


class TestARivalWithoutAValue:
    def test_that_failed(self, whole: Run) -> None:
        whole.unfinished = {("drl", "train", str(seed)) for seed in SEEDS}
        finding = found(whole, ABOVE)
        assert (finding.word, finding.because) == (
            "undecided",
            "no claim: no value for drl with small (failed), drl with large (failed)",
        )
        assert {cell.word for cell in finding.cells} == {"undecided"}
        assert len(finding.cells) == 8  # what was measured against the other one stands there all the same

    def test_that_was_not_scored(self, whole: Run) -> None:
        whole.models = ("small",)
        whole.unfinished = {("drl", "gleu", "1")}
        assert found(whole, ABOVE).because == (
            "no claim: no value for drl on in-data GLEU, seed 1 (failed), drl on other GLEU, seed 1 (failed)"
        )

    def test_that_is_missing_for_one_of_two_models(self, whole: Run) -> None:
        def drop(manifest: dict[str, Any]) -> None:
            manifest["rows"] = [r for r in manifest["rows"] if (r["label"], r["model"]) != ("drl", "large")]

        whole.change = drop
        results = read(whole)
        for claim in (ABOVE, HELD, ORDER):
            finding = verdict(claim, results)
            assert (finding.word, finding.because) == (
                "undecided",
                "no claim: no value for drl with large (no such row)",
            )

    def test_that_is_not_stored(self, whole: Run) -> None:
        folder = whole.write()
        results = load_results(whole.root, folder)
        assert verdict(ABOVE, results).word == "supported"
        lost = next(row for row in results.rows if (row.label, row.model) == ("sft", "small"))
        shutil.rmtree(Store(whole.root).folder("generate", generated(lost.described, 2, "other")))
        finding = verdict(ABOVE, load_results(whole.root, folder))
        assert finding.because == "no claim: no value for " + ", ".join(
            f"sft with small on other {label}, seed 2 (not stored)" for label in ("ROUGE-L", "GLEU")
        )

    def test_with_no_number_at_all(self, whole: Run) -> None:
        whole.models = ("small",)
        whole.value = lambda place: None if (place.row, place.seed) == ("drl", 1) else value(place)
        finding = found(whole, ABOVE)
        assert (finding.word, finding.because) == (
            "undecided",
            "no claim: no value for drl, seed 1 (no answer has one)",
        )

    def test_for_some_answers_is_no_rival_without_a_value(self, whole: Run) -> None:
        whole.value = lambda place: None if (place.row, place.example) == ("drl", 1) else value(place)
        assert found(whole, ABOVE).word == "supported"

    def test_between_the_ends_of_an_option(self, whole: Run) -> None:
        whole.unfinished = {("eso[6]", "train", "0")}
        results = read(whole)
        for claim in (TREND, PEAK):
            finding = verdict(claim, results)
            assert finding.word == "undecided"
            assert finding.because.startswith("no claim: no value for eso[6] with small, seed 0 (failed)")

    def test_says_the_first_few_and_counts_the_others(self, whole: Run) -> None:
        whole.unfinished = {(row, "gleu", str(seed)) for row in ("drl", "sft") for seed in (0, 2)}
        assert found(whole, ABOVE).because == (
            "no claim: no value for sft with small on in-data GLEU, seeds 0 and 2 (failed), "
            "sft with small on other GLEU, seeds 0 and 2 (failed), "
            "drl with small on in-data GLEU, seeds 0 and 2 (failed) and 5 more"
        )


def generated(described: RunRow, seed: int, dataset: str) -> str:
    return str(described.seeds[seed].evaluations[dataset]["t1"].generate)


class TestARunWithoutAPart:
    def test_a_column_that_was_not_measured(self, whole: Run) -> None:
        whole.metrics = whole.metrics[:1]
        finding = found(whole, ABOVE)
        assert (finding.word, finding.because) == ("undecided", "no claim: no value for gleu.gleu (not measured)")

    def test_a_data_set_that_a_row_was_not_evaluated_on(self, whole: Run) -> None:
        def drop(manifest: dict[str, Any]) -> None:
            for seed in manifest["rows"][1]["seeds"].values():
                del seed["evaluations"]["other"]

        whole.change = drop
        assert "(not evaluated)" in found(whole, ABOVE).because

    def test_a_seed_that_a_row_lacks(self, whole: Run) -> None:
        whole.change = lambda manifest: manifest["rows"][1]["seeds"].pop("1")
        finding = found(whole, ABOVE)
        assert finding.because == "no claim: no value for sft with small, seed 1 (not run)"

    def test_a_store_without_stages(self, whole: Run) -> None:
        folder = whole.write()
        shutil.rmtree(whole.root / "store")
        results = load_results(whole.root, folder)
        findings = {claim.kind: verdict(claim, results) for claim in CLAIMS}
        assert {kind: finding.word for kind, finding in findings.items()} == dict.fromkeys(KINDS, "undecided")
        assert all("(not stored)" in finding.because for finding in findings.values())

    def test_without_steps_that_were_timed(self, whole: Run) -> None:
        whole.models = ("small",)
        whole.change = lambda manifest: manifest["config"].update(timing={"warmup_steps": 50})
        finding = found(whole, ORDER)
        assert (finding.word, finding.because) == ("undecided", "no claim: no timed steps of drl, eso")

    def test_that_is_not_about_it_at_all_is_not_run(self, whole: Run) -> None:
        whole.rows = ("base", "sft", "drl")
        results = read(whole)
        for claim in (ABOVE, EQUAL, TREND, PEAK):
            assert verdict(claim, results).because == "the run has no row of eso"
        for claim in (HELD, ORDER):
            assert verdict(claim, results).because == "the run does not have all of these methods"
        whole.rows, whole.options = ROWS, lambda row: {"k": 4} if "[" in row else {}
        assert found(whole, TREND).because == "the run has no rows of eso that differ in k alone"


class TestATrend:
    """Rows that differ in that option alone, and a rise that never steps back as far as the tests can tell."""

    def swept(self, run: Run, means: Mapping[str, float], *, spread: float = 0.01) -> Run:
        run.rows, run.models = ("sft", *means), ("small",)
        run.datasets, run.metrics = {"in-data": "in-data"}, METRICS
        run.value = lambda place: means.get(place.row, 0.1) + spread / 0.01 * (value_of(place))
        return run

    CLAIM = replace(TREND, columns=("rouge.rougeL",))

    def test_that_steps_back_is_none(self, whole: Run) -> None:
        finding = found(self.swept(whole, {"eso[2]": 0.4, "eso[4]": 0.2, "eso[8]": 0.5}), self.CLAIM)
        assert finding.word == "contradicted"
        assert finding.because == "the opposite in 1 of 3: in-data ROUGE-L at k 4 against 2"

    def test_may_have_a_step_that_is_not_told_apart(self, whole: Run) -> None:
        means = {"eso[2]": 0.2, "eso[4]": 0.401, "eso[6]": 0.4, "eso[8]": 0.6}
        finding = found(self.swept(whole, means, spread=0.05), self.CLAIM)
        assert finding.word == "supported"
        assert [cell.word for cell in finding.cells] == ["supported", "undecided", "supported", "supported"]

    def test_whose_ends_are_not_told_apart_is_undecided(self, whole: Run) -> None:
        means = {"eso[2]": 0.40, "eso[4]": 0.401, "eso[8]": 0.402}
        assert found(self.swept(whole, means, spread=0.3), self.CLAIM).word == "undecided"

    def test_that_steps_back_by_as_much_as_it_rises_is_none_even_where_no_test_tells(self, whole: Run) -> None:
        self.swept(whole, {})
        whole.rows, whole.examples = ("sft", "eso[2]", "eso[4]", "eso[8]"), 40
        means = {"eso[2]": 0.4, "eso[4]": 0.2, "eso[8]": 0.5}

        def noisy(place: Place) -> float:
            far = 0.25 * (place.seed - 1) if place.row == "eso[4]" else 0.0  # the seeds of the middle row lie far apart
            return means.get(place.row, 0.1) + value_of(place) + far

        whole.value = noisy
        finding = found(whole, self.CLAIM)
        assert {cell.where: cell.word for cell in finding.cells}["in-data ROUGE-L at k 8 against 2"] == "supported"
        assert finding.word == "undecided"
        assert finding.because == "in-data ROUGE-L at k 4 against 2: steps back by as much as the ends rise"

    @pytest.mark.parametrize(
        "other",
        [{"recipe_set": {"learning_rate": 0.1}}, {"reward_weights": {"rouge": 2.0}}, {"active": "all"},
         {"preset": "published"}, {"start": "after"}, {"chosen": {"coef": 0.2}}],
        ids=lambda other: next(iter(other)),
    )  # fmt: skip
    def test_is_over_rows_that_differ_in_nothing_else(self, whole: Run, other: Mapping[str, Any]) -> None:
        means = {"eso[2]": 0.2, "eso[4]": 0.5, "eso[6]": 0.3, "eso[8]": 0.6}
        self.swept(whole, means).described = lambda row: {
            "recipe_set": {},
            **(other if row in ("eso[4]", "eso[8]") else {}),
        }
        results = read(whole)
        steps = {
            "in-data ROUGE-L at k 6 against 2 (eso[2] to eso[6])",
            "in-data ROUGE-L at k 8 against 4 (eso[4] to eso[8])",
        }
        for claim, expected in ((TREND, steps), (PEAK, {"in-data ROUGE-L at 8 against 4"})):
            finding = verdict(replace(claim, columns=("rouge.rougeL",)), results)
            assert finding.word == "supported"
            assert {cell.where for cell in finding.cells} == expected

    def test_of_which_one_model_has_no_two_rows_is_undecided(self, whole: Run) -> None:
        self.swept(whole, {"eso[2]": 0.2, "eso[4]": 0.5}).models = MODELS
        whole.change = lambda manifest: manifest["rows"][-1].update(active="all")
        finding = found(whole, self.CLAIM)
        assert (finding.word, finding.because) == (
            "undecided",
            "no claim: no value for rows to compare with large (none)",
        )


def value_of(place: Place) -> float:
    generator = np.random.default_rng([place.seed, place.example, *map(ord, place.row)])
    return float(0.01 * generator.normal())


class Part(NamedTuple):
    """One number of the whole run."""

    model: str
    row: str
    seed: int
    dataset: str = ""
    metric: str = ""


class Broken(NamedTuple):
    """A whole run with something missing."""

    results: Results
    gone: set[Part]


def parts(**fixed: Any) -> Iterator[Part]:
    """Give every number of a run with these fields."""
    for model in MODELS:
        for row in ROWS:
            for seed in SEEDS:
                places = [("", ""), *((dataset, metric) for dataset in DATASETS for metric in ("rouge", "gleu"))]
                for dataset, metric in places:
                    part = Part(model, row, seed, dataset, metric)
                    if all(getattr(part, name) == wanted for name, wanted in fixed.items()):
                        yield part


def described(manifest: Mapping[str, Any], part: Part) -> dict[str, Any] | None:
    return next((r for r in manifest["rows"] if (r["label"], r["model"]) == (part.row, part.model)), None)


def drop_row(manifest: dict[str, Any], part: Part) -> set[Part]:
    manifest["rows"] = [r for r in manifest["rows"] if (r["label"], r["model"]) != (part.row, part.model)]
    return set(parts(model=part.model, row=part.row))


def fail_training(manifest: dict[str, Any], part: Part) -> set[Part]:
    row = described(manifest, part)
    if row is not None and str(part.seed) in row["seeds"]:
        evaluations = {
            dataset: {"t1": {"generate": None, "scores": {"rouge": None, "gleu": None}}} for dataset in DATASETS
        }
        row["seeds"][str(part.seed)] = {
            "train": [None],
            "evaluations": evaluations,
            "failed": "the loss was not finite",
        }
    return set(parts(model=part.model, row=part.row, seed=part.seed))


def drop_seed(manifest: dict[str, Any], part: Part) -> set[Part]:
    if (row := described(manifest, part)) is not None:
        row["seeds"].pop(str(part.seed), None)
    return set(parts(model=part.model, row=part.row, seed=part.seed))


def drop_dataset(manifest: dict[str, Any], part: Part) -> set[Part]:
    if (row := described(manifest, part)) is not None and str(part.seed) in row["seeds"]:
        row["seeds"][str(part.seed)]["evaluations"].pop(part.dataset, None)
    return set(parts(model=part.model, row=part.row, seed=part.seed, dataset=part.dataset))


def fail_score(manifest: dict[str, Any], part: Part) -> set[Part]:
    if (row := described(manifest, part)) is not None and str(part.seed) in row["seeds"]:
        evaluation = row["seeds"][str(part.seed)]["evaluations"].get(part.dataset)
        if evaluation is not None:
            evaluation["t1"]["scores"][part.metric] = None
    return {part}


def drop_metric(manifest: dict[str, Any], part: Part) -> set[Part]:
    manifest["metrics"] = [metric for metric in manifest["metrics"] if metric["use"] != part.metric]
    return set(parts(metric=part.metric))


BY_MANIFEST: tuple[Callable[[dict[str, Any], Part], set[Part]], ...] = (
    drop_row, fail_training, drop_seed, drop_dataset, fail_score, drop_metric,
)  # fmt: skip
IN_STORE = ("train", "generate", "score", "no numbers")


def stage_of(manifest: Mapping[str, Any], kind: str, part: Part) -> str | None:
    row = described(manifest, part)
    seed = row["seeds"].get(str(part.seed)) if row else None
    if seed is None or kind == "train":
        return seed["train"][-1] if seed and seed["train"] else None
    evaluation = seed["evaluations"].get(part.dataset, {}).get("t1")
    if evaluation is None:
        return None
    return evaluation["generate"] if kind == "generate" else evaluation["scores"].get(part.metric)  # type: ignore[no-any-return]


def broken(root: Path, folder: Path, manifest: dict[str, Any], generator: np.random.Generator) -> Broken:
    """Read the run with one to three parts missing: in the file's rows, in the store, or in the scores themselves."""
    manifest, gone, aside = copy.deepcopy(manifest), set(), []
    manifest.pop("sha256", None)
    everything = [part for part in parts() if part.metric]
    silent = []
    for _ in range(int(generator.integers(1, 4))):
        part = everything[int(generator.integers(len(everything)))]
        how = int(generator.integers(len(BY_MANIFEST) + len(IN_STORE)))
        if how < len(BY_MANIFEST):
            gone |= BY_MANIFEST[how](manifest, part)
            continue
        kind = IN_STORE[how - len(BY_MANIFEST)]
        if kind == "no numbers":
            silent.append(part)
            gone.add(part)
        elif (stage := stage_of(manifest, kind, part)) is not None:
            aside.append((kind, stage))
            same = {"train": ("", ""), "generate": (part.dataset, None), "score": (part.dataset, part.metric)}[kind]
            of_row = parts(model=part.model, row=part.row, seed=part.seed, dataset=same[0])
            gone |= {one for one in of_row if same[1] in (None, one.metric)}
    replace_text(folder / "manifest.json", dump(seal(manifest)))
    moved = []
    for kind, stage in dict.fromkeys(aside):
        path = Store(root).folder(kind, stage)
        moved.append((path.rename(path.with_name(path.name + ".aside")), path))
    try:
        results = load_results(root, folder)
    finally:
        for away, path in moved:
            away.rename(path)
    for part in silent:
        row = next((r for r in results.rows if (r.label, r.model) == (part.row, part.model)), None)
        scores = (
            row.cells[part.dataset, "t1"].scores.get(part.metric) if row and (part.dataset, "t1") in row.cells else None
        )
        if scores and part.seed in scores:
            known = scores[part.seed]
            nothing = {name: np.full_like(numbers, np.nan) for name, numbers in known.columns.items()}
            scores[part.seed] = Scored(nothing, known.corpus, known.missing)
    return Broken(results, gone)


def about(claim: Claim) -> set[Part]:
    """Return what a claim is about, by this file's own list."""
    trained = claim.kind in ("held", "order")
    return {part for row in NAMED[claim.name] for part in parts(row=row) if trained == (not part.metric)}


@pytest.mark.parametrize("times", [16, pytest.param(100, marks=pytest.mark.long)])
def test_no_claim_is_supported_by_a_run_of_which_a_part_is_missing(whole: Run, times: int) -> None:
    folder = whole.write()
    manifest = json.loads((folder / "manifest.json").read_text())
    generator = np.random.default_rng(20261129)
    seen: dict[tuple[str, bool], int] = {}
    for number in range(times):
        results, gone = broken(whole.root, folder, manifest, generator)
        for claim in CLAIMS:
            lacks = bool(gone & about(claim))
            seen[claim.kind, lacks] = seen.get((claim.kind, lacks), 0) + 1
            finding = verdict(claim, results)
            expected = {"undecided"} if lacks else {"supported"}
            if claim.columns and not results.manifest.metrics:
                expected = {"not run"}
            assert finding.word in expected, (number, claim.name, finding.because, sorted(gone & about(claim))[:3])
            if finding.word == "undecided":
                assert "no value for" in finding.because
                assert without(needs_of(claim, results.manifest), results)
    assert all(seen[claim.kind, lacks] >= times // 16 for claim in CLAIMS for lacks in (True, False)), seen
