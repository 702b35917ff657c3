"""What makes two rows unlike: a field in which they were not given the same, so that they differ by that too."""

from __future__ import annotations

import itertools
import math
from typing import TYPE_CHECKING, Any, Final, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping

    from harness.report.comparison.sides import Side
    from harness.spec.results.run import RunData, RunManifest
    from harness.spec.stages.generate import GenerateConfig

#: What one may compare over, if one says so: the difference is then of the rows and of this.
PASSABLE: Final = ("budget", "device", "model", "training-data")

#: The parts of a recipe that say how much training a row was given.
_BUDGET: Final = ("budget", "epochs", "method_epochs", "max_steps", "batch_size", "max_completion_length")
#: Sums over weights differ by this share where the order of adding does.
_ROUNDING: Final = 1e-5


class Unlike(NamedTuple):
    """A field in which two rows differ."""

    field: str
    """``data``, ``decoding``, ``metric``, ``template``, ``prompt``, or one of :data:`PASSABLE`."""
    where: str
    """Which of them: the data set, the decoding, the metric with its option."""
    first: Any
    second: Any

    def __str__(self) -> str:
        place = f" {self.where}" if self.where else ""
        return f"{self.field}{place}: {_short(self.first)} against {_short(self.second)}"


class Places(NamedTuple):
    """What is compared: names that both runs have, or those that were asked for."""

    datasets: tuple[str, ...]
    decodings: tuple[str, ...]
    metrics: tuple[str, ...]


def unlike(first: Side, second: Side, places: Places) -> list[Unlike]:
    """Return every field in which two rows cannot be compared, or only over it."""
    found = [*_of_runs(first.results.manifest, second.results.manifest, places), *_metrics(first, second, places)]
    return list(dict.fromkeys([*found, *_asked(first, second, places), *_given(first, second)]))


def _of_runs(first: RunManifest, second: RunManifest, places: Places) -> Iterator[Unlike]:
    """Yield how data and decodings of one name differ between two runs."""
    for label in places.datasets:
        ours, theirs = data_of(first, label), data_of(second, label)
        if ours.sha256 != theirs.sha256:
            yield Unlike("data", label, _rows(ours), _rows(theirs))
    for name in places.decodings:
        yield from _parts("decoding", name, _json(first.decodings[name]), _json(second.decodings[name]))
    yield from _parts("template", "", _json(first.config.template), _json(second.config.template))


def _metrics(first: Side, second: Side, places: Places) -> Iterator[Unlike]:
    for name in places.metrics:
        ours, theirs = ({m.use: m for m in side.results.manifest.metrics}[name] for side in (first, second))
        yield from _parts("metric", name, ours.options, theirs.options)
        said = [side.results.signatures.get(side.row.model, {}).get(name) for side in (first, second)]
        if ours.options == theirs.options and None not in said and said[0] != said[1]:
            yield Unlike("metric", f"{name} signature", *said)


def _asked(first: Side, second: Side, places: Places) -> Iterator[Unlike]:
    """Yield how the two rows' models were asked otherwise."""
    for place in itertools.product(places.datasets, places.decodings):
        configs = [_asking(side, place) for side in (first, second)]
        if None not in configs:
            ours, theirs = (_json(config.asking) for config in configs if config)
            for asking in (ours, theirs):
                asking.pop("template")
                asking |= {"dtype": asking["loading"]["dtype"], "stop": asking.pop("loading")["stop"]}
            yield from _parts("prompt", "", ours, theirs)


def _asking(side: Side, place: tuple[str, str]) -> GenerateConfig | None:
    cell = side.row.cells.get(place)
    return next(iter(cell.settings), None) if cell else None


def _given(first: Side, second: Side) -> Iterator[Unlike]:
    """Yield what the rows were given otherwise: a model, data to train on, a budget, a device."""
    models = [_model(side) for side in (first, second)]
    same = models[0] == models[1]
    yield from _parts("model", "", *models)
    sums = [side.start_sums() for side in (first, second)]
    for seed in sorted(sums[0].keys() & sums[1].keys()) if same else ():
        began, other = sums[0][seed], sums[1][seed]
        if len(began) != len(other) or any(
            not math.isclose(a, b, rel_tol=_ROUNDING, abs_tol=_ROUNDING) for a, b in zip(began, other, strict=True)
        ):
            yield Unlike("model", f"weights at the start of seed {seed}", began[0], other[0])
            break
    recipes = [side.recipe() for side in (first, second)]
    if None not in recipes:
        trained = [
            _rows(next(d for d in side.results.manifest.datasets if d.role == "train")) for side in (first, second)
        ]
        if trained[0] != trained[1]:
            yield Unlike("training-data", "", *trained)
        budgets: list[dict[str, Any]] = [{name: _json(recipe)[name] for name in _BUDGET} for recipe in recipes]
        for given, side in zip(budgets, (first, second), strict=True):
            described = side.row.described
            given |= {"active": described.active or "last", "trials": described.trials, "at": described.at}
        yield from _parts("budget", "", budgets[0], budgets[1])
    devices = [
        ", ".join(sorted({str(made["device"]).partition(":")[0] for made in side.environments() if "device" in made}))
        for side in (first, second)
    ]
    if all(devices) and devices[0] != devices[1]:
        yield Unlike("device", "", *devices)


def notes(first: Side, second: Side) -> list[str]:
    """Return what else is not the same on both sides, which no comparison is refused for."""
    said = []
    for side in (first, second):
        if side.row.kind == "elsewhere":
            said.append(f"{side.name} was trained elsewhere: what it was given is not known")
        elif side.recipe() is None:
            said.append(f"{side.name} was not trained: it had no budget")
    for what, ours, theirs in _made(first, second):
        if ours and theirs and ours != theirs:
            said.append(f"{what}: {', '.join(sorted(ours))} against {', '.join(sorted(theirs))}")
    return said


def _made(first: Side, second: Side) -> Iterator[tuple[str, set[str], set[str]]]:
    """Yield what the sides were made with: release, source, libraries, machine."""
    sides = (first, second)
    ours, theirs = ({side.results.manifest.harness} for side in sides)
    yield "release of the harness", ours, theirs
    for trained, what in ((True, "source that trained"), (False, "source that answered")):
        codes = [{str(r.json("config.json").get("code", ""))[:12] for r in s.records(trained=trained)} for s in sides]
        yield what, codes[0], codes[1]
    made = [[_flat(environment) for environment in side.environments()] for side in sides]
    names = dict.fromkeys(name for listed in made for flat in listed for name in flat)
    for name in names:
        if name != "device":
            values = [{flat.get(name, "absent") for flat in listed} for listed in made]
            yield name, values[0], values[1]


def _flat(environment: Mapping[str, Any]) -> dict[str, str]:
    libraries = environment.get("libraries", {})
    return {name: str(part) for name, part in {**environment, **libraries}.items() if name != "libraries"}


def data_of(manifest: RunManifest, label: str) -> RunData:
    """Return the evaluation set of a label."""
    return next(data for data in manifest.datasets if data.label == label and data.role != "train")


def _rows(data: RunData) -> str:
    known = f"sha256 {data.sha256[:12]}" if data.sha256 else "not prepared"
    return f"{data.dataset} {data.split}, {data.rows} rows, {known}"


def _model(side: Side) -> dict[str, Any]:
    found = next((m for m in side.results.manifest.config.models if m.shown == side.row.model), None)
    known = {} if found is None else _json(found)
    return {name: part for name, part in known.items() if name not in {"path", "label"}}


def _parts(field: str, where: str, first: Mapping[str, Any], second: Mapping[str, Any]) -> Iterator[Unlike]:
    """Yield each key with another value."""
    for key in dict.fromkeys([*first, *second]):
        if first.get(key) != second.get(key):
            yield Unlike(field, f"{where} {key}".strip(), first.get(key), second.get(key))


def refused(found: Collection[Unlike], anyway: Collection[str]) -> list[Unlike]:
    """Return what the user has not said to compare over."""
    return [one for one in found if one.field not in anyway]


def _json(value: Any) -> dict[str, Any]:
    return dict(value.model_dump(mode="json"))


def _short(value: Any) -> str:
    text = value if isinstance(value, str) else repr(value)
    return text if len(text) <= _LONG else f"{text[: _LONG - 1]}…"


_LONG: Final = 80
