"""What a claim is about in one run: a closed list, from the claim and the run's file, whether or not it is there.

A verdict about "every row" or "every column" is wrong as soon as one that should be there is left out, so what is
needed is never read off what has been measured.
"""

from __future__ import annotations

import re
from collections import defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from harness.report.absent import NO_VALUE, no_score, no_training
from harness.report.claims.standing import about_tuned, entries, label_of, methods_of
from harness.report.results import FAILED

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from harness.api.registration import Column
    from harness.report.claims.catalogue import Claim
    from harness.report.results import ResultRow, Results
    from harness.spec.results.run import RunManifest

#: So many places without a value are named; of the others a count says enough.
_NAMED: Final = 3

#: What may differ between rows that differ in one option alone: their names, and what follows from that option.
_OWN: Final = ("label", "options", "options_set", "seeds", "tuning")


class Value(NamedTuple):
    """One number that a claim is about: a mean over the prompts of one seed, or what its training recorded."""

    model: str
    row: str
    seed: int
    dataset: str = ""
    """Empty where the training itself is what counts."""
    column: str = ""
    """METRIC.COLUMN."""
    decoding: str = ""
    """Empty for the first of the file's."""


@dataclass(frozen=True)
class Needs:
    """Everything that a claim is about in one run: each row with each seed, on each data set, in each column."""

    models: tuple[str, ...]
    rows: Mapping[str, tuple[str, ...]]
    """The labels of the rows that are needed, by model."""
    seeds: tuple[int, ...]
    datasets: tuple[str, ...] = ()
    columns: tuple[str, ...] = ()
    decoding: str = ""
    """The first of the file's, the one that tables are about; of a claim about sharpening that at temperature 1."""
    greedy: str = ""
    """The other one of a claim about sharpening."""

    def values(self) -> Iterator[Value]:
        """Give every number that is needed."""
        for model in self.models:
            for row in self.rows[model]:
                for seed in self.seeds:
                    if not self.columns:
                        yield Value(model, row, seed)
                    for dataset in self.datasets:
                        for column in self.columns:
                            yield Value(model, row, seed, dataset, column)
                            if self.greedy:
                                yield Value(model, row, seed, dataset, column, self.greedy)


class Member(NamedTuple):
    """One row of a family, with the value of the option that it differs in."""

    value: float
    label: str


def not_run(claim: Claim, manifest: RunManifest) -> str:
    """Return why a run, by its file, has nothing of what a claim is about; empty where it has."""
    named = methods_of(claim, manifest)
    absent = [method for method in named if label_of(method, manifest) is None]
    if named and (len(absent) == len(named) or claim.row in absent):
        return f"the run has no row of {', '.join(absent)}"
    if absent and not claim.row:
        return "the run does not have all of these methods"
    if claim.some and named == [claim.row]:
        return f"the run has no row of {' or '.join(claim.others)}"
    if claim.columns:
        if not (manifest.config.evaluate and manifest.decodings and manifest.metrics):
            return "the run scores no answers"
        if all(described_column(column, manifest) is None for column in claim.columns):
            return f"the run does not measure {' or '.join(claim.columns)}"
    if claim.option and not any(families(claim, manifest, model) for model in _models(manifest)):
        at = f", one of them at {claim.at:g}" if claim.kind == "peak" else ""
        return f"the run has no rows of {claim.row} that differ in {claim.option} alone{at}"
    if claim.kind == "sharpening" and not all(sharpening_decodings(manifest)):
        return "the run does not answer both at temperature 1 and greedily"
    if claim.kind == "spread" and not all(split_models(claim, manifest)):
        return "the run does not have both kinds of models"
    return ""


def _models(manifest: RunManifest) -> tuple[str, ...]:
    return tuple(dict.fromkeys(model.shown for model in manifest.config.models))


def sharpening_decodings(manifest: RunManifest) -> tuple[str, str]:
    """Return the first decoding at temperature 1 from the whole distribution, and the first greedy one; "" for none."""
    drawn = manifest.decodings.items()
    whole = (name for name, how in drawn if how.temperature == 1.0 and not how.top_k and how.top_p == 1.0)
    greedy = (name for name, how in drawn if how.temperature == 0.0)
    return next(whole, ""), next(greedy, "")


def split_models(claim: Claim, manifest: RunManifest) -> tuple[list[str], list[str]]:
    """Return the models that are claimed to spread the rows more, by the claim's patterns for names, and the others."""
    wide: dict[str, bool] = {}
    for model in manifest.config.models:
        folder = (model.path or "").rstrip("/").rpartition("/")[2]
        named = " ".join(filter(None, (model.name, model.label, folder)))
        wide[model.shown] = any(re.search(pattern, named) for pattern in claim.models)
    return [model for model, is_wide in wide.items() if is_wide], [m for m, is_wide in wide.items() if not is_wide]


def needs_of(claim: Claim, manifest: RunManifest) -> Needs:
    """Return what a claim is about in a run, by the run's manifest alone."""
    config = manifest.config
    models = _models(manifest)
    if claim.option:
        labels = [entry.label for entry in entries(manifest) if entry.method == claim.row]
        rows = {model: tuple(dict.fromkeys(_along(claim, manifest, model, labels))) for model in models}
    elif claim.kind == "rank":
        rows = dict.fromkeys(models, tuple(entry.label for entry in entries(manifest)))
    else:
        # a method that the file has no row of is named as such
        tuned = about_tuned(claim, manifest)
        named = [(name, label_of(name, manifest, tuned=tuned)) for name in methods_of(claim, manifest)]
        rows = dict.fromkeys(models, tuple(dict.fromkeys(label or name for name, label in named)))
    first, greedy = next(iter(manifest.decodings), ""), ""
    if claim.kind == "sharpening":
        first, greedy = sharpening_decodings(manifest)
    evaluated = tuple(dict.fromkeys(str(use.label or use.dataset) for use in config.evaluate))
    return Needs(
        models,
        rows,
        tuple(int(seed) for seed in config.seeds),
        evaluated if claim.columns else (),
        claim.columns,
        first if claim.columns else "",
        greedy,
    )


def _along(claim: Claim, manifest: RunManifest, model: str, labels: Sequence[str]) -> Iterator[str]:
    """Give the rows of a model that belong to a family, and those of the file of which the model has none at all."""
    there = {row.label for row in manifest.rows if row.model == model}
    for family in families(claim, manifest, model):
        yield from (label for _, label in family)
    yield from (label for label in labels if label not in there)


def families(claim: Claim, manifest: RunManifest, model: str) -> list[list[Member]]:
    """Return the rows of a claim's method that differ in its option alone, by the option's value, smallest first.

    Of a list its length counts. Options, recipe, reward weights, active epochs, start, preset and what was tuned are
    equal within a family. A row that no other differs from in that option alone is part of none, and for a peak a
    family has a row where the peak is claimed to be.
    """
    by_options: dict[str, list[Member]] = defaultdict(list)
    for row in manifest.rows:
        options = dict(row.options)
        size = _size(options.pop(claim.option, None))
        if row.method == claim.row and row.model == model and size is not None:
            same = row.model_dump(exclude=set(_OWN))
            by_options[repr(_sorted([options, same]))].append(Member(size, row.label))
    kept = [sorted(family) for family in by_options.values() if len({value for value, _ in family}) > 1]
    return [family for family in kept if claim.kind != "peak" or any(value == claim.at for value, _ in family)]


def _size(value: Any) -> float | None:
    if isinstance(value, (list, tuple)):
        return float(len(value))
    return float(value) if isinstance(value, (int, float)) else None


def _sorted(value: Any) -> Any:
    """Return a value whose text does not depend on the order of its mappings."""
    if isinstance(value, dict):
        return sorted((name, _sorted(part)) for name, part in value.items())
    return [_sorted(part) for part in value] if isinstance(value, (list, tuple)) else value


def without(needs: Needs, results: Results) -> str:
    """Name what has no value of all that a claim needs: the first few, and how many more; empty where all is there."""
    unknown = [column for column in needs.columns if described_column(column, results.manifest) is None]
    said = [f"{column} (not measured)" for column in unknown]
    said += [f"rows to compare with {model} (none)" for model in needs.models if not needs.rows[model]]
    lacks = {}
    for value in needs.values():
        if value.column not in unknown and (reason := why_not(value, value.decoding or needs.decoding, results)):
            lacks[value] = reason
    said += _grouped(lacks, needs, results.manifest)
    more = f" and {len(said) - _NAMED} more" if len(said) > _NAMED else ""
    return ", ".join(said[:_NAMED]) + more


def why_not(value: Value, decoding: str, results: Results) -> str:
    """Return why a number is not there; empty where it is."""
    row = find_row(results, value.model, value.row)
    if row is None:
        return "no such row"
    if value.seed in row.failures:
        return FAILED
    if not value.column:
        return no_training(row, value.seed)
    reason = no_score(row, value.seed, value.dataset, decoding, value.column)
    return "no answer has one" if reason == NO_VALUE else reason


def find_row(results: Results, model: str, label: str) -> ResultRow | None:
    """Return a row by its model and label."""
    return next((row for row in results.rows if row.model == model and row.label == label), None)


def described_column(column: str, manifest: RunManifest) -> Column | None:
    """Return what the manifest says of METRIC.COLUMN; None where the run does not measure it."""
    metric, _, name = column.partition(".")
    described_columns = (c for use in manifest.metrics if use.use == metric for c in use.columns)
    return next((described for described in described_columns if described.name == name), None)


def _grouped(lacks: Mapping[Value, str], needs: Needs, manifest: RunManifest) -> list[str]:
    """Say each lack once: a row of which nothing is there without its columns, seeds of one reason together."""
    by_seed: dict[tuple[str, str, int], dict[str, str]] = defaultdict(dict)
    for value, reason in lacks.items():
        where = ""
        if value.column:
            described = described_column(value.column, manifest)
            under = f" under {value.decoding}" if value.decoding else ""
            where = f" on {value.dataset} {described.label if described else value.column}{under}"
        by_seed[value.model, value.row, value.seed][where] = reason
    measured = [column for column in needs.columns if described_column(column, manifest) is not None]
    whole = max(len(needs.datasets) * len(measured) * (2 if needs.greedy else 1), 1)
    seeds: dict[tuple[str, str], list[int]] = defaultdict(list)
    for (model, row, seed), places in by_seed.items():
        who = f"{row} with {model}" if len(needs.models) > 1 else row
        alike = len(places) == whole and len(set(places.values())) == 1
        for where, reason in list(places.items())[: 1 if alike else None]:
            seeds[who if alike else who + where, reason].append(seed)
    return [
        f"{who}{_seeds(missing_seeds) if len(missing_seeds) < len(needs.seeds) else ''} ({reason})"
        for (who, reason), missing_seeds in seeds.items()
    ]


def _seeds(seeds: Sequence[int]) -> str:
    return f", seed{'s' if len(seeds) > 1 else ''} {' and '.join(map(str, seeds))}"
