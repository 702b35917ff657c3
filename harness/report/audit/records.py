"""Records of a run, each against its own digest and against those that it follows from."""

from __future__ import annotations

import math
from collections import defaultdict
from typing import TYPE_CHECKING, Any, Final

from harness.errors import HarnessError
from harness.report.audit.places import Cell, cells, row_name, stages
from harness.report.score_records import read_scores
from harness.spec.results.generate import Answer, GenerateSummary
from harness.spec.results.provenance import DataProvenance
from harness.spec.results.rows import DataRow
from harness.spec.results.score import AnswerValues
from harness.spec.results.train import TrainSummary
from harness.spec.stages.kinds import parse_config
from harness.spec.stages.score import ScoreConfig
from harness.store.combined import combined
from harness.store.damage import Damage
from harness.store.identity import digest, rows_digest
from harness.store.records import CONFIG

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from harness.report.audit.findings import Audit
    from harness.spec.results.run import RunManifest, RunRow
    from harness.store.records import Record
    from harness.store.stages import Store

#: Two sums of the same numbers differ by less than this share.
ROUNDING: Final = 1e-9
#: Sums over weights by this share, where they were added in another order.
_SUMS: Final = 1e-5
#: How many values of one file are named; the rest is counted.
_NAMED: Final = 3

Records = dict[tuple[str, str], "Record"]


def check_records(store: Store, manifest: RunManifest, audit: Audit) -> Records:
    """Check that every stage is there as it was written; return those that are."""
    found: Records = {}
    for (kind, stage), where in stages(manifest).items():
        try:
            seen = store.described(kind, stage)
        except HarnessError as error:
            audit.add("unread", where, error.what)
            continue
        if seen is None:
            audit.add("missing", where, f"the record {kind}/{stage[:12]} is not there")
            continue
        damages = [seen] if isinstance(seen, Damage) else list(seen.damages())
        for damage in damages:
            audit.add("damaged", where, f"{kind}/{stage[:12]}: {damage.file} {damage.details}")
        audit.records += 1
        if not isinstance(seen, Damage):
            found[kind, stage] = seen
    return found


def check_origins(manifest: RunManifest, records: Records, audit: Audit) -> None:
    """Check that each row's records are of this run: its data, its checkpoints, what its tables say they asked."""
    content = _check_data(manifest, records, audit)
    template = manifest.config.template.model_dump(mode="json")
    options = {metric.use: metric.options for metric in manifest.metrics}
    _check_training(manifest, records, audit)
    for cell in cells(manifest):
        answers = records.get(("generate", cell.stages.generate or ""))
        if answers is None:
            continue
        config = _config(answers, str(cell), audit)
        if config.get("kind") == "generate":
            wanted = {"seed": cell.seed, "decoding": manifest.decodings[cell.decoding].model_dump(mode="json")}
            given = {"seed": config.get("seed"), "decoding": config.get("decoding")}
            if (asking := config.get("asking", {}).get("template")) != template:
                wanted, given = {**wanted, "template": template}, {**given, "template": asking}
            _same(wanted, given, f"{cell}, answers", audit)
            if cell.checkpoint is not None:
                parents = {"checkpoint": cell.checkpoint, "rows": content.get(cell.dataset)}
                _derives(answers, config, parents, f"{cell}, answers", audit)
        for metric, stage in cell.stages.scores.items():
            record = records.get(("score", stage or ""))
            if record is not None:
                _check_score(record, cell, metric, options.get(metric, {}), content, audit)


def _check_score(
    record: Record, cell: Cell, metric: str, options: Mapping[str, Any], content: Mapping[str, str | None], audit: Audit
) -> None:
    where = f"{cell}, {metric}"
    config = _config(record, where, audit)
    used = config.get("metric", {})
    wanted = {"metric": metric, **{name: options.get(name) for name in used.get("options", {}) if name in options}}
    given = {"metric": used.get("name"), **{n: v for n, v in used.get("options", {}).items() if n in options}}
    _same(wanted, given, where, audit)
    judged = any(name in options for name in ("against", "opponents"))
    if config.get("kind") == ScoreConfig.model_fields["kind"].default and not judged:
        _derives(record, config, {"samples": cell.stages.generate, "rows": content.get(cell.dataset)}, where, audit)


def _check_data(manifest: RunManifest, records: Records, audit: Audit) -> dict[str, str | None]:
    """Return the digest of each test set's rows, after deriving it again."""
    content: dict[str, str | None] = {}
    for data in manifest.datasets:
        where = f"data {data.label}, {data.role}"
        if data.role != "train":
            content[data.label] = data.sha256
        record = records.get(("prepare", data.stage or ""))
        if record is None:
            continue
        if record.holds(DataProvenance.file):
            told = record.read(DataProvenance).content
            if told != data.sha256:
                audit.add("foreign", where, f"its rows are {told[:12]}, the run's {str(data.sha256)[:12]}")
        if record.manifest.get("redacted"):
            audit.skipped.append(f"{where}: the rows' digest, since texts were taken out")
        elif record.holds(DataRow.file):
            # a row that was forged can hold NaN or an infinity, which no digest takes
            derived = _guarded(lambda r=record: rows_digest(r.jsonl(DataRow.file)), where, audit)
            if derived is not None and derived != data.sha256:
                audit.add("differs", where, f"sha256 of the rows {str(data.sha256)[:12]}, derived {derived[:12]}")
    return content


def _check_training(manifest: RunManifest, records: Records, audit: Audit) -> None:
    """Check each training stage; a row's later ones also by the data and the stage that they go on from."""
    data = next(d.sha256 for d in manifest.datasets if d.role == "train")
    template = manifest.config.template.model_dump(mode="json")
    starts: dict[tuple[str, int], tuple[str, tuple[float, ...]]] = {}
    for row in manifest.rows:
        for seed, part in row.seeds.items():
            for number, stage in enumerate(part.train):
                record = records.get(("train", stage or ""))
                if record is None:
                    continue
                where = f"{row_name(row)}, seed {seed}, training stage {number + 1}"
                config = _config(record, where, audit)
                given = {"seed": config.get("seed"), "template": config.get("template")}
                _same({"seed": seed, "template": template}, given, where, audit)
                method = config.get("method", {}).get("name")
                if number == len(part.train) - 1 and method not in {row.method, *row.shared_terms}:
                    audit.add("foreign", where, f"it was trained by {method}, and the row is of {row.method}")
                told = _guarded(lambda r=record: r.read(TrainSummary), where, audit)
                if told is None or row.kind == "elsewhere":
                    continue
                if number:
                    parents = _parents(manifest, row, config, told, {"rows": data, "start": part.train[number - 1]})
                    _derives(record, config, parents, where, audit)
                elif told.start_sums is not None:
                    first, sums = starts.setdefault((row.model, seed), (row_name(row), told.start_sums))
                    if len(sums) != len(told.start_sums) or not all(map(_near, sums, told.start_sums)):
                        audit.add("foreign", where, f"it began from other weights than {first}")


def _parents(
    manifest: RunManifest, row: RunRow, config: Mapping[str, Any], told: TrainSummary, known: dict[str, str | None]
) -> dict[str, str | None]:
    """Return what a training stage was made from; None for what the manifest does not tell."""
    if config.get("reward_model") is not None:
        ids = manifest.reward_models.get(row.model)
        known |= {"reward_model": ids.train if ids else None, "reward_statistics": ids.statistics if ids else None}
    return known | ({"reference": None} if told.reference_logprobs is not None else {})


def _config(record: Record, where: str, audit: Audit) -> dict[str, Any]:
    try:
        config: dict[str, Any] = record.json(CONFIG)
        parse_config(config)
    except (HarnessError, ValueError) as error:
        audit.add("unread", where, f"{CONFIG} cannot be read: {str(error).splitlines()[0]}")
        return {}
    return config


def _same(wanted: Mapping[str, Any], given: Mapping[str, Any], where: str, audit: Audit) -> None:
    for name, value in wanted.items():
        if given.get(name) != value:
            audit.add("foreign", where, f"its {name} is {given.get(name)!r}, the run's {value!r}")


def _derives(
    record: Record, config: Mapping[str, Any], parents: Mapping[str, str | None], where: str, audit: Audit
) -> None:
    """Check that a stage's id follows from what it was asked and made from."""
    if not config or any(value is None for value in parents.values()):
        return
    audit.origins += 1
    if combined(digest(config), {name: str(value) for name, value in parents.items()}) != record.id:
        made_from = " and ".join(parents)
        audit.add(
            "foreign", where, f"the record {record.kind}/{record.id[:12]} was not made from this run's {made_from}"
        )


def check_values(manifest: RunManifest, records: Records, audit: Audit) -> None:
    """Take every mean and every count again from the values of single answers."""
    for cell in cells(manifest):
        answers = records.get(("generate", cell.stages.generate or ""))
        asked = _guarded(lambda record=answers, at=cell: _check_answers(record, at, audit), f"{cell}, answers", audit)
        for metric, stage in cell.stages.scores.items():
            record = records.get(("score", stage or ""))
            if record is not None:
                where = f"{cell}, {metric}"
                _guarded(lambda r=record, a=asked, w=where: _check_means(r, a, w, audit), where, audit)


def _guarded(check: Any, where: str, audit: Audit) -> Any:
    """Call a check; what it cannot read is a finding."""
    try:
        return check()
    except (HarnessError, ValueError, KeyError) as error:
        audit.add("unread", where, str(error).splitlines()[0])
        return None


def _check_answers(record: Record | None, cell: Cell, audit: Audit) -> set[tuple[str, int]] | None:
    """Return which draws of which prompts were answered, after counting the answers again; None where unknown."""
    if record is None or not record.holds(Answer.file):
        return None
    where, told = f"{cell}, answers", record.read(GenerateSummary)
    listed = list(record.lines(Answer))
    counted = {
        "n": len({answer.id for answer in listed}),
        "tokens": sum(answer.tokens for answer in listed),
        "truncated": sum(not answer.finished for answer in listed),
    }
    for name, value in counted.items():
        if getattr(told, name) != value:
            audit.add("differs", where, f"{name} {getattr(told, name)}, derived {value}")
    return {(answer.id, answer.draw) for answer in listed}


def _check_means(record: Record, asked: set[tuple[str, int]] | None, where: str, audit: Audit) -> None:
    means, summary = read_scores(record)
    draws: dict[str, dict[str, list[float]]] = defaultdict(lambda: defaultdict(list))
    seen: set[tuple[str, int]] = set()
    for line in record.lines(AnswerValues):
        seen.add((line.id, line.draw))
        for column, value in line.values.items():
            draws[column][line.id].append(value)
            audit.scores += 1
    if asked is not None and seen != asked:
        gone, more = len(asked - seen), len(seen - asked)
        audit.add("differs", where, f"{gone} answers have no values, and {more} values are of no answer")
    for column, listed in means.columns.items():
        _check_column(means.ids, listed, draws[column], f"{where}.{column}", audit)
        every = [value for values in draws[column].values() for value in values]
        told, derived = summary.columns[column], math.fsum(every) / len(every) if every else None
        if (told.present, told.missing) != (len(every), len(seen) - len(every)):
            counts = f"{told.present} values and {told.missing} missing"
            audit.add("differs", f"{where}.{column}", f"{counts}, derived {len(every)} and {len(seen) - len(every)}")
        elif not _close(told.mean, derived):
            audit.add("differs", f"{where}.{column}", f"mean {told.mean!r}, derived {derived!r}")


def _check_column(
    ids: Sequence[str], listed: Sequence[float | None], draws: Mapping[str, Sequence[float]], where: str, audit: Audit
) -> None:
    wrong = list(_wrong(ids, listed, draws))
    for name, told, derived in wrong[:_NAMED]:
        audit.add("differs", f"{where} of prompt {name!r}", f"mean over draws {told!r}, derived {derived!r}")
    if len(wrong) > _NAMED:
        audit.add("differs", where, f"{len(wrong) - _NAMED} more prompts have other means")


def _wrong(
    ids: Sequence[str], listed: Sequence[float | None], draws: Mapping[str, Sequence[float]]
) -> Iterator[tuple[str, float | None, float | None]]:
    for name, told in zip(ids, listed, strict=True):
        values = draws.get(name, ())
        derived = math.fsum(values) / len(values) if values else None
        if not _close(told, derived):
            yield name, told, derived


def _near(first: float, second: float) -> bool:
    """Return whether two sums over weights are of the same weights, whatever the order of adding."""
    return math.isclose(first, second, rel_tol=_SUMS, abs_tol=_SUMS)


def _close(told: float | None, derived: float | None) -> bool:
    if told is None or derived is None:
        return told is derived
    return math.isclose(told, derived, rel_tol=ROUNDING, abs_tol=ROUNDING)
