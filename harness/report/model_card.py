"""The card of an exported checkpoint: what it is, what it scores, how it was trained and on what."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import numpy as np

from harness.report import captions
from harness.report.calculated import Calculated
from harness.report.columns import ColumnKey, ComparedColumns
from harness.report.markdown import escaped
from harness.report.plugins import plugin_lines
from harness.report.run_setup import version_lines
from harness.report.write import closing_notes, opening_notes
from harness.spec.results.train import TrainSummary

if TYPE_CHECKING:
    from collections.abc import Iterator

    from huggingface_hub import EvalResult

    from harness.api.registration import Column
    from harness.report.results import ResultRow, Results
    from harness.report.statistics import Interval
    from harness.spec.results.models import PreparedModel


_USE: Final = """```python
from transformers import AutoModelForCausalLM, AutoTokenizer

folder = "."  # this folder, or its name on the hub
model = AutoModelForCausalLM.from_pretrained(folder)
tokenizer = AutoTokenizer.from_pretrained(folder)
```"""
_USE_ADAPTER: Final = """It is an adapter, which goes on {base}:

```python
from peft import PeftModel
from transformers import AutoModelForCausalLM, AutoTokenizer, GenerationConfig

folder = "."  # this folder, or its name on the hub
base = AutoModelForCausalLM.from_pretrained({place}
base.generation_config = GenerationConfig.from_pretrained(folder)
model = PeftModel.from_pretrained(base, folder)
tokenizer = AutoTokenizer.from_pretrained(folder)
```"""


class Measured(NamedTuple):
    """One number of the checkpoint, and of its row over all seeds."""

    dataset: str
    decoding: str
    metric: str
    described: Column
    value: float
    """Of this seed, in the unit that tables show."""
    interval: Interval | None
    """Of all seeds, as the metric gives it; None for a number that is no mean over answers."""

    @property
    def shown(self) -> str:
        """The value as people read it."""
        return f"{self.value:.{self.described.digits}f}"

    @property
    def label(self) -> str:
        """What the number is."""
        return self.described.label + (f" ({self.described.unit})" if self.described.unit else "")


def model_card(results: Results, row: ResultRow, seed: int, base: PreparedModel | None = None) -> str:
    """Return the ``README.md`` of the checkpoint that a row's training with a seed ended with.

    ``base`` is what it goes on if it is an adapter alone.
    """
    manifest = results.manifest
    measured = list(_measured(results, row, seed))
    parts = [
        _front_matter(results, row, seed, measured, base),
        f"# {escaped(f'{row.label} on {manifest.title or manifest.benchmark}')}",
        _opening(results, row, seed),
        "## Scores",
        *_scores(results, measured, len(row.described.seeds)),
        *(f"Error: {escaped(found.text)}." for found in row.alike),
        "## Training",
        *_training(results, row, seed),
        "## Data and versions",
        "\n".join(f"- {escaped(line)}" for line in _provenance(results)),
        "## Use",
        _USE if base is None else _use_adapter(base),
        "It was trained with prompts of this form:",
        _fenced(manifest.config.template.model_dump(mode="json", exclude_none=True)),
        "The licences of the base model and of the data hold for this checkpoint too.",
    ]
    return "\n\n".join(parts) + "\n"


def _opening(results: Results, row: ResultRow, seed: int) -> str:
    manifest = results.manifest
    method = f"`{row.method}`" if row.method == row.label else f"`{row.method}` (row `{row.label}`)"
    return (
        f"{escaped(row.model)}, trained by {method} with seed {seed} in the benchmark `{manifest.benchmark}`, profile "
        f"`{manifest.profile}`, of posttune-harness {manifest.harness}."
    )


def _measured(results: Results, row: ResultRow, seed: int) -> Iterator[Measured]:
    """Yield every number that tables show of the row, under every decoding."""
    columns = ComparedColumns(results, Calculated())
    for (dataset, decoding), cell in row.cells.items():
        for metric in results.manifest.metrics:
            scored = cell.scores.get(metric.use, {}).get(seed)
            if scored is None:
                continue
            for described in metric.columns:
                numbers = scored.columns.get(described.name)
                if described.shown and numbers is not None and not np.isnan(numbers).all():
                    place = ColumnKey(dataset, decoding, metric.use, described.name)
                    interval = None if columns.faulty(row, place) else columns.own(cell, place, described)
                    value = float(np.nanmean(numbers)) * described.scale
                    yield Measured(dataset, decoding, metric.use, described, value, interval)
            for described in metric.corpus:
                if described.shown and described.name in scored.corpus:
                    value = scored.corpus[described.name] * described.scale
                    yield Measured(dataset, decoding, metric.use, described, value, None)


def _scores(results: Results, measured: list[Measured], count: int) -> Iterator[str]:
    """Yield the table of scores and what it means; ``count`` seeds of the row are there."""
    if not measured:
        yield "Nothing was evaluated."
        return
    whole = "this row" if count == 1 else f"mean of the row's {count} seeds"
    lines = [
        f"| data set | decoding | metric | this checkpoint | {whole}, 95 % confidence interval |",
        "|:--|:--|:--|--:|--:|",
    ]
    for one in measured:
        cells = (one.dataset, one.decoding, one.label, one.shown, _interval(one))
        lines.append(f"| {' | '.join(escaped(cell) for cell in cells)} |")
    yield "\n".join(lines)
    meaning = {1: "The interval is for new prompts.", 2: "With two seeds there is no interval."}
    said = [meaning.get(count, "The interval is for new seeds and new prompts.")]
    if any(one.interval is None for one in measured):
        said.append("A number for all answers of a seed at once has none here.")
    yield " ".join(said)
    lines = captions.decoding_lines(results, list(dict.fromkeys(one.decoding for one in measured)))
    lines += captions.data_lines(results, list(dict.fromkeys(one.dataset for one in measured)))
    yield "\n".join(f"- {escaped(line)}" for line in lines)


def _interval(one: Measured) -> str:
    if one.interval is None:
        return "–"
    scale, digits = one.described.scale, one.described.digits
    text = f"{one.interval.mean * scale:.{digits}f}"
    if one.interval.known:
        text += f" [{one.interval.low * scale:.{digits}f}, {one.interval.high * scale:.{digits}f}]"
    return text


def _training(results: Results, row: ResultRow, seed: int) -> Iterator[str]:
    described, config = row.described, results.manifest.config
    said = [f"Method `{row.method}`, active: {described.active}"]
    if described.shared_terms and row.kind == "method":
        said.append(f"after the shared training by {', '.join(described.shared_terms)}")
    if seed in row.training:
        summary = row.training[seed].read(TrainSummary)
        said.append(f"{summary.steps} steps of its own, {summary.tokens_trained} tokens trained on")
    yield f"{', '.join(said)}."
    settings: dict[str, Any] = {"options": described.options}
    settings["recipe"] = config.recipe.model_dump(mode="json", exclude_none=True) | described.recipe_set
    if config.reward is not None:
        settings["reward"] = config.reward.model_dump(mode="json", exclude_none=True)
    yield _fenced(settings)


def _provenance(results: Results) -> list[str]:
    datasets = {data.dataset: data.licence for data in results.manifest.datasets}
    licences = [f"{name}: licence {licence}" for name, licence in datasets.items()]
    made = [*plugin_lines(results), *version_lines(results)]
    return list(dict.fromkeys([*opening_notes(results), *licences, *closing_notes(results), *made]))


def _use_adapter(base: PreparedModel) -> str:
    if base.hub_name is None:
        name = base.name or "its base"
        return _USE_ADAPTER.format(base=f"a model that was called {name}", place=f'"{name}")  # its folder')
    revision = "" if base.revision is None else f', revision="{base.revision}"'
    return _USE_ADAPTER.format(base=f"`{base.hub_name}`", place=f'"{base.hub_name}"{revision})')


def _fenced(value: Any) -> str:
    return f"```json\n{json.dumps(value, indent=1, ensure_ascii=False)}\n```"


def _front_matter(
    results: Results, row: ResultRow, seed: int, measured: list[Measured], base: PreparedModel | None
) -> str:
    """Return what the hub reads of a card, as YAML between two lines of dashes."""
    from huggingface_hub import ModelCardData

    manifest = results.manifest
    model = next(model for model in manifest.config.models if model.shown == row.model)
    on_hub = model.config is None and model.path is None and model.name not in manifest.config.sources
    origins = [data.provenance.origin for data in manifest.datasets if data.role == "train" and data.provenance]
    data = ModelCardData(
        base_model=base.hub_name if base else model.name if on_hub and "/" in model.name else None,
        datasets=[origin for origin in origins if "/" in origin and " " not in origin] or None,
        library_name="peft" if base else "transformers",
        pipeline_tag="text-generation",
        tags=["posttune-harness", row.method or row.label],
        model_name=f"{row.label}-{manifest.benchmark}-seed-{seed}",
        eval_results=[_result(results, one) for one in measured] or None,
    )
    return f"---\n{data.to_yaml()}\n---"


def _result(results: Results, one: Measured) -> EvalResult:
    from huggingface_hub import EvalResult

    described = next(data for data in results.manifest.datasets if data.label == one.dataset and data.role != "train")
    return EvalResult(
        task_type="text-generation",
        dataset_type=described.dataset,
        dataset_name=one.dataset,
        dataset_split=described.split,
        metric_type=one.metric,
        metric_name=f"{one.label}, {one.decoding}",
        metric_value=round(one.value, 6),
    )
