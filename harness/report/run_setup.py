"""The block that says what a run was: what another one must have alike to be compared with it, or to repeat it."""

from __future__ import annotations

import collections
import shlex
from typing import TYPE_CHECKING, Any, Final

from harness.report import captions
from harness.report.plugins import plugin_lines
from harness.spec.results.train import TrainSummary

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from harness.report.results import Results
    from harness.spec.model import Model
    from harness.spec.recipe import Recipe

#: Keys of the recipe that are told as the budget, or change no result.
_TOLD: Final = {
    "budget", "epochs", "method_epochs", "max_steps", "batch_size", "diagnose_every", "gradient_checkpointing",
    "tokens_per_micro_batch", "keep",
}  # fmt: skip

#: What a kind of stage does, in a sentence.
_KINDS: Final = {"train": "to train", "generate": "to answer"}


def setup_block(results: Results) -> dict[str, str]:
    """Return what a run was, by the name of each part, in the order in which it is read."""
    manifest = results.manifest
    config = manifest.config
    told = {
        "Model": "; ".join(model_text(model, config.sources) + _parameters(model, results) for model in config.models),
        "Data": "; ".join(_data(results)),
        "Budget": _budget(config.recipe, results),
        "Recipe": captions.settings_text(config.recipe.model_dump(mode="json", exclude=_TOLD)),
        "Decoding": " ".join(captions.decoding_lines(results, results.decodings)),
        "Seeds": ", ".join(map(str, results.seeds)),
        "Command": command(results),
        "Overrides": ", ".join(config.overrides) or "none",
        "Date": _dates(results),
        "Versions": " ".join(version_lines(results)),
        "Ran on": machines(results.shelf.ran.values()),
        "Distributions": " ".join(plugin_lines(results)),
    }
    return {name: text for name, text in told.items() if text}


def machines(ran: Iterable[Mapping[str, str]]) -> str:
    """Say on which machines of a cluster stages ran, and how many on each."""
    counted = collections.Counter((one["executor"], one["host"]) for one in ran)
    said: dict[str, list[str]] = {}
    for (executor, host), stages in sorted(counted.items()):
        said.setdefault(executor, []).append(f"{host} ({stages} stage{'s' if stages > 1 else ''})")
    return "; ".join(f"{executor}: {', '.join(hosts)}" for executor, hosts in said.items())


def command(results: Results) -> str:
    """Return the command that makes the run again, where data and models lie where the file says."""
    manifest = results.manifest
    words = ["harness", "run", manifest.benchmark, "--profile", manifest.profile]
    for override in manifest.config.overrides:
        words += ["-o", override]
    for file in dict.fromkeys(plugin.distribution for plugin in manifest.plugins if plugin.sha256 is not None):
        words += ["--plugin", file]
    return shlex.join(words)


def model_text(model: Model, sources: Mapping[str, str]) -> str:
    """Name a model, by what it was really made from."""
    label = model.shown
    if model.config:
        return f"{label} (new, random weights)"
    path = model.path or sources.get(model.name)
    folder = path.rstrip("/").rpartition("/")[2] if path else ""
    named = folder or model.name
    revision = f" at {model.revision}" if model.revision and not folder else ""
    return f"{label} ({named}{revision})" if named != label or revision else label


def _parameters(model: Model, results: Results) -> str:
    """Say how large a model is, where a row of it was trained."""
    size = parameters(results, model.shown)
    return f", {size / 1e6:.1f}M parameters" if size else ""


def parameters(results: Results, model: str) -> int:
    """Return the parameters of a model; 0 where none of its rows was trained."""
    held = (
        part.parameters
        for row in results.rows
        if row.model == model
        for record in row.training.values()
        for part in record.read(TrainSummary).models_held
        if part.role == "policy"
    )
    return next(held, 0)


def _data(results: Results) -> Iterator[str]:
    config = results.manifest.config
    options = {use.label or use.dataset: use.options for use in config.evaluate}
    for data in results.manifest.datasets:
        trained = data.role == "train"
        text = captions.data_set(data, config.train.options if trained else options.get(data.label, {}))
        rows = f", sha256 {data.sha256[:16]}" if data.sha256 else ""
        yield f"{'trained on' if trained else 'tested on'} {text}{rows}"


def _budget(recipe: Recipe, results: Results) -> str:
    if not any(row.training for row in results.rows):
        return ""
    batch = f"{recipe.batch_size} prompts a step"
    if recipe.budget is not None:
        spent = f"{recipe.budget.amount:,.12g} {recipe.budget.unit.replace('_', ' ')}"
        return f"{recipe.epochs} shared epochs, then {spent} for each method; {batch}"
    most = f", at most {recipe.max_steps} steps of them" if recipe.max_steps else ""
    steps = {record.read(TrainSummary).last_step for row in results.rows for record in row.training.values()}
    last = f"{min(steps)}" if len(steps) == 1 else f"{min(steps)} to {max(steps)}"
    active = f"the last {recipe.method_epochs} with the method's own term{most}"
    return f"{recipe.epochs} epochs, {active}; {batch}, {last} steps in all"


def _dates(results: Results) -> str:
    """Return the days, in UTC, on which the first and the last of the stages were made."""
    days = sorted({made[:10] for made in results.created})
    return " to ".join(dict.fromkeys((days[0], days[-1]))) if days else ""


def version_lines(results: Results) -> list[str]:
    """Say what the stages were made with, and where that was not the same for all."""
    if not results.environments:
        return [f"posttune-harness {results.manifest.harness}."]
    kinds = {kind: [_flat(environment) for environment in listed] for kind, listed in results.environments.items()}
    names = dict.fromkeys(name for listed in kinds.values() for flat in listed for name in flat)
    same, mixed = [], []
    for name in names:
        values = {
            kind: list(dict.fromkeys(flat.get(name, "absent") for flat in listed)) for kind, listed in kinds.items()
        }
        distinct = list(dict.fromkeys(value for versions in values.values() for value in versions))
        if any(len(versions) > 1 for versions in values.values()):
            mixed.append(f"{name} {' and '.join(distinct)}")
        elif len(distinct) == 1:
            same.append(f"{name} {distinct[0]}")
        else:  # all rows alike, though training and answering are not
            same.append(
                f"{name} {' and '.join(f'{versions[0]} {_KINDS.get(kind, kind)}' for kind, versions in values.items())}"
            )
    lines = [f"Made with {', '.join(same)}."] if same else []
    if mixed:
        lines.append(f"Not all stages were made alike: {'; '.join(mixed)}. A part of any difference may be this one's.")
    return lines


def _flat(environment: Mapping[str, Any]) -> dict[str, str]:
    libraries = environment.get("libraries", {})
    others = {name: str(value) for name, value in environment.items() if name != "libraries"}
    return {**others, **{name: version for name, version in libraries.items() if version != "absent"}}
