"""Whether rows of several runs can stand in one table: every field in which they were not given the same."""

from __future__ import annotations

import itertools
import math
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from harness.spec.results.train import TrainSummary

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from harness.report.results import ResultRow, Results
    from harness.spec.results.run import RunManifest, RunMetric

#: Sums over weights differ by this share where they were added in another order.
_ROUNDING: Final = 1e-5
_LONG: Final = 80


class Part(NamedTuple):
    """One of the runs that are merged."""

    name: str
    results: Results

    @property
    def manifest(self) -> RunManifest:
        """The run's."""
        return self.results.manifest


class Mismatch(NamedTuple):
    """A field in which two runs differ that one table needs to be the same."""

    field: str
    """``data``, ``template``, ``decoding``, ``prompt``, ``code``, ``metric`` or ``model``."""
    which: str
    first: str
    """The run, with what it has."""
    second: str

    def __str__(self) -> str:
        which = f" {self.which}" if self.which else ""
        return f"{self.field}{which}: {self.first}; {self.second}"


def mismatches(parts: Sequence[Part]) -> list[Mismatch]:
    """Return every field in which runs differ, each run against those before it."""
    found: dict[Mismatch, None] = {}
    for first, second in itertools.combinations(parts, 2):
        settings = list(_settings(first, second))
        models = _models(first, second, asked_alike=not settings)
        found |= dict.fromkeys([*settings, *_metrics(first, second), *models])
    return list(found)


def _settings(first: Part, second: Part) -> Iterator[Mismatch]:
    yield from _parts(
        "template", "", _json(first.manifest.config.template), _json(second.manifest.config.template), first, second
    )
    known = {
        (data.label if data.role != "train" else "", data.role == "train"): data for data in first.manifest.datasets
    }
    for data in second.manifest.datasets:
        other = known.get((data.label if data.role != "train" else "", data.role == "train"))
        if other is not None and other.sha256 != data.sha256:
            which = "trained on" if data.role == "train" else data.label
            told = [f"{d.dataset} {d.split}, {d.rows} rows, sha256 {str(d.sha256)[:12]}" for d in (other, data)]
            yield _mismatch("data", which, told[0], told[1], first, second)
    for name, decoding in second.manifest.decodings.items():
        if name in first.manifest.decodings:
            ours, theirs = _json(first.manifest.decodings[name]), _json(decoding)
            yield from _parts("decoding", name, ours, theirs, first, second)
    asked = _asked(second)
    for place, ours in _asked(first).items():
        if place in asked:
            theirs = asked[place]
            where = f"of {place[0]}, {place[1]} under {place[2]}"
            yield from _parts("prompt", where, ours["asking"], theirs["asking"], first, second)
            if ours["code"] != theirs["code"]:
                yield _mismatch("code", "that answered", ours["code"][:12], theirs["code"][:12], first, second)


def _asked(part: Part) -> dict[tuple[str, str, str], dict[str, Any]]:
    """Return how each model was asked in each place."""
    asked: dict[tuple[str, str, str], dict[str, Any]] = {}
    for row in part.results.rows:
        for (dataset, decoding), cell in row.cells.items():
            for settings in cell.settings[:1]:
                value = _json(settings)
                value["asking"] = {name: v for name, v in value["asking"].items() if name != "template"}
                asked.setdefault((row.model, dataset, decoding), value)
    return asked


def _metrics(first: Part, second: Part) -> Iterator[Mismatch]:
    known = {metric.use: metric for metric in first.manifest.metrics}
    for metric in second.manifest.metrics:
        other = known.get(metric.use)
        if other is None:
            continue
        yield from _parts("metric", metric.use, other.options, metric.options, first, second)
        for model in first.results.models:
            signs = [part.results.signatures.get(model, {}).get(metric.use) for part in (first, second)]
            if None not in signs and signs[0] != signs[1]:
                yield _mismatch("metric", f"{metric.use} signature", str(signs[0]), str(signs[1]), first, second)
        yield from _asked_of(metric, first, second)


def _asked_of(metric: RunMetric, first: Part, second: Part) -> Iterator[Mismatch]:
    """Yield where a metric asked another model: its scorer, its reward model, an opponent of its answers."""
    for model in (m for m in first.results.models if m in second.results.models):
        told: list[tuple[str, Sequence[str]]] = []
        if "scorer" in metric.needs:
            told.append(("scorer", [_scorer(part, model) for part in (first, second)]))
        if "reward_model" in metric.needs:
            ids = [part.manifest.reward_models.get(model) for part in (first, second)]
            told.append(("reward model", [str(one.statistics)[:12] if one else "none" for one in ids]))
        against = metric.options.get("against")
        for label in against if isinstance(against, list) else ():
            rows = [_row(part, str(label), model) for part in (first, second)]
            if rows[0] and rows[1]:
                told.append((f"opponent {label}", [_stages(row) for row in rows]))
        for what, (ours, theirs) in told:
            if ours != theirs:
                yield _mismatch("metric", f"{metric.use} {what} of {model}", ours, theirs, first, second)


def _scorer(part: Part, model: str) -> str:
    if part.manifest.scorer != "start":
        return part.manifest.scorer
    start = next((row for row in part.results.rows if row.kind == "start" and row.model == model), None)
    seed = start.described.seeds.get(part.results.seeds[0]) if start else None
    return f"start {str(seed.train[-1])[:12]}" if seed and seed.train else "start"


def _models(first: Part, second: Part, *, asked_alike: bool) -> Iterator[Mismatch]:
    """Yield models of one name that are not the same, by what they are, by their weights, by what they answer."""
    known = {model.shown: model for model in first.manifest.config.models}
    for model in second.manifest.config.models:
        if model.shown not in known:
            continue
        ours, theirs = (
            {n: v for n, v in _json(m).items() if n not in {"path", "label"}} for m in (known[model.shown], model)
        )
        differing = list(_parts("model", model.shown, ours, theirs, first, second))
        yield from differing
        if differing:
            continue
        starts = [_start_sums(part, model.shown) for part in (first, second)]
        for seed in sorted(starts[0].keys() & starts[1].keys()):
            (label, sums), (other, others) = starts[0][seed], starts[1][seed]
            if len(sums) != len(others) or not all(map(_near, sums, others)):
                which = f"{model.shown}, weights at the start of seed {seed}"
                told = (f"{label} began at {sums[0]:.6g}", f"{other} at {others[0]:.6g}")
                yield _mismatch("model", which, *told, first, second)
                break
        else:
            bases = [_row(part, "base", model.shown) for part in (first, second)]
            if asked_alike and bases[0] and bases[1] and _answers_differ(bases[0], bases[1]):
                yield _mismatch("model", f"{model.shown}, answers before training", "its own", "others", first, second)


def _start_sums(part: Part, model: str) -> dict[int, tuple[str, tuple[float, ...]]]:
    found: dict[int, tuple[str, tuple[float, ...]]] = {}
    for row in part.results.rows:
        for number, seed in row.described.seeds.items() if row.model == model and row.trained else ():
            record = part.results.find("train", seed.train[0]) if seed.train else None
            sums = record.read(TrainSummary).start_sums if record is not None else None
            if sums:
                found.setdefault(number, (row.label, sums))
    return found


def _near(first: float, second: float) -> bool:
    return math.isclose(first, second, rel_tol=_ROUNDING, abs_tol=_ROUNDING)


def _answers_differ(first: ResultRow, second: ResultRow) -> bool:
    """Return whether what the untrained model was asked alike was answered by other weights."""
    for seed in first.described.seeds.keys() & second.described.seeds.keys():
        ours, theirs = (row.described.seeds[seed].evaluations for row in (first, second))
        for dataset in ours.keys() & theirs.keys():
            for decoding in ours[dataset].keys() & theirs[dataset].keys():
                stages = {ours[dataset][decoding].generate, theirs[dataset][decoding].generate}
                if len(stages) > 1 and None not in stages:
                    return True
    return False


def _row(part: Part, label: str, model: str) -> ResultRow | None:
    return next((row for row in part.results.rows if row.label == label and row.model == model), None)


def _stages(row: ResultRow | None) -> str:
    seeds = row.described.seeds if row else {}
    return ", ".join(
        f"seed {number} {(seed.train[-1] or '')[:12] if seed.train else ''}" for number, seed in seeds.items()
    )


def _parts(
    field: str, which: str, ours: Mapping[str, Any], theirs: Mapping[str, Any], first: Part, second: Part
) -> Iterator[Mismatch]:
    for name in dict.fromkeys([*ours, *theirs]):
        if ours.get(name) != theirs.get(name):
            yield _mismatch(
                field, f"{which} {name}".strip(), repr(ours.get(name)), repr(theirs.get(name)), first, second
            )


def _mismatch(field: str, which: str, ours: str, theirs: str, first: Part, second: Part) -> Mismatch:
    return Mismatch(field, which, f"{first.name} has {_cut(ours)}", f"{second.name} has {_cut(theirs)}")


def _cut(text: str) -> str:
    return text if len(text) <= _LONG else f"{text[: _LONG - 1]}…"


def _json(value: Any) -> dict[str, Any]:
    return dict(value.model_dump(mode="json"))
