"""Results in the envelope of lm-evaluation-harness: one JSON file a row, for what reads those.

A task is a data set under a decoding, ``DATASET@DECODING``. Values are as the metric gives them, without the scale of
tables; a standard error is over prompts, of means over seeds and draws, as that harness has it, and does not know how
seeds differ. What its envelope has no name for stands under ``harness``.
"""

from __future__ import annotations

import datetime as dt
import math
import re
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from harness.report.differences import own_interval
from harness.report.groups import groups_of, read_groups
from harness.report.statistics import mean
from harness.spec.results.environment import MadeUnder
from harness.store.files import dump, replace_text

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from harness.report.results import CellData, ResultRow, Results
    from harness.report.statistics import Array
    from harness.spec.results.run import RunMetric

FOLDER: Final = "lm-eval"
#: The name of its filter that leaves answers as they are.
_FILTER: Final = "none"


def write_rows(results: Results, folder: Path) -> list[Path]:
    """Write ``lm-eval/MODEL-ROW.json`` below a run's folder for each row that has scores; return the files."""
    written = []
    for row in results.rows:
        value = envelope(results, row)
        if value["results"]:
            path = folder / FOLDER / f"{file_name(row.model)}-{file_name(row.label)}.json"
            replace_text(path, dump(value))
            written.append(path)
    return written


def file_name(text: str) -> str:
    """Return a text as a part of a file's name."""
    return re.sub(r"[^\w.=+-]+", "_", text).strip("._") or "_"


def envelope(results: Results, row: ResultRow) -> dict[str, Any]:
    """Return one row's results as that harness writes a run's; what it would not know is left out or null."""
    value: dict[str, Any] = {
        "results": {}, "group_subtasks": {}, "configs": {}, "versions": {}, "n-shot": {}, "higher_is_better": {},
        "n-samples": {},
    }  # fmt: skip
    for (dataset, decoding), cell in row.cells.items():
        task = f"{dataset}@{decoding}"
        groups = groups_of(results, dataset, cell.ids, read_groups(results, dataset))
        numbers, better, beside = _numbers(results, cell, groups)
        if not numbers:
            continue
        value["results"][task] = {"name": task, "alias": task, "sample_len": len(cell.ids), **numbers}
        value["group_subtasks"][task] = []
        value["configs"][task] = _config(results, row, dataset, decoding, list(better))
        value["versions"][task] = results.manifest.harness
        value["n-shot"][task] = 0
        value["higher_is_better"][task] = better
        data = next(d for d in results.manifest.datasets if d.label == dataset and d.role != "train")
        value["n-samples"][task] = {"original": data.rows, "effective": len(cell.ids)}
        value.setdefault("harness", {"tasks": {}})["tasks"][task] = beside
    return value | _about(results, row, value.pop("harness", {"tasks": {}}))


def _numbers(
    results: Results, cell: CellData, groups: Sequence[str] | None
) -> tuple[dict[str, Any], dict[str, bool | None], dict[str, Any]]:
    """Return values with their standard errors, which way is better, and what the envelope has no name for."""
    numbers: dict[str, Any] = {}
    better: dict[str, bool | None] = {}
    beside: dict[str, Any] = {}
    for metric in (m for m in results.manifest.metrics if cell.scores.get(m.use)):
        for name, values, higher in _columns(results, cell, metric):
            centre = mean(values)
            if centre is None:
                continue
            numbers[f"{name},{_FILTER}"] = centre
            numbers[f"{name}_stderr,{_FILTER}"] = _error(values) if values.ndim > 1 else "N/A"
            better[name] = higher
            beside[name] = {
                "by_seed": [mean(row) for row in np.atleast_2d(values)] if values.ndim > 1 else list(values)
            }
            told = own_interval(values, groups=groups) if values.ndim > 1 else None
            if told is not None and told[0].known:
                beside[name] |= {"low": told[0].low, "high": told[0].high}
    return numbers, better, beside


def _columns(results: Results, cell: CellData, metric: RunMetric) -> Iterator[tuple[str, Array, bool | None]]:
    """Yield each column of a metric with its values: (S, N), or (S,) for a number of all answers at once."""
    seeds = [seed for seed in results.seeds if seed in cell.scores[metric.use]]
    for column in metric.columns:
        values = cell.matrix(metric.use, column.name, seeds)
        if values is not None:
            yield f"{metric.use}.{column.name}", values, column.higher_is_better
    for column in metric.corpus:
        numbers = cell.corpus(metric.use, column.name)
        if numbers.size:
            yield f"{metric.use}.corpus.{column.name}", numbers, column.higher_is_better


def _error(values: Array) -> float | str:
    """Return the standard error of the mean over prompts; as that harness says it where there is none."""
    present = values[:, ~np.isnan(values).all(0)]
    by_prompt = np.nanmean(present, 0)
    return float(by_prompt.std(ddof=1) / math.sqrt(by_prompt.size)) if by_prompt.size > 1 else "N/A"


def _config(results: Results, row: ResultRow, dataset: str, decoding: str, metrics: list[str]) -> dict[str, Any]:
    manifest = results.manifest
    data = next(d for d in manifest.datasets if d.label == dataset and d.role != "train")
    settings = manifest.decodings[decoding]
    template, better = manifest.config.template, {f"{m.use}.{c.name}": c for m in manifest.metrics for c in m.columns}
    return {
        "task": f"{dataset}@{decoding}", "dataset_path": data.dataset, "dataset_name": data.label,
        "test_split": data.split, "doc_to_text": template.text, "output_type": "generate_until",
        "num_fewshot": 0, "repeats": settings.draws,
        "metric_list": [
            {"metric": name, "aggregation": "mean", "higher_is_better": better[name].higher_is_better}
            for name in metrics if name in better
        ],
        "generation_kwargs": {
            "do_sample": settings.temperature > 0, "temperature": settings.temperature, "top_k": settings.top_k,
            "top_p": settings.top_p, "max_gen_toks": settings.max_new_tokens, "until": list(settings.stop),
        },
        "metadata": {
            "version": manifest.harness, "rows_sha256": data.sha256, "template_sha256": manifest.template_sha256,
            "method": row.method,
        },
    }  # fmt: skip


def _about(results: Results, row: ResultRow, beside: dict[str, Any]) -> dict[str, Any]:
    """Return what the envelope says of the whole run."""
    manifest = results.manifest
    model = next((m for m in manifest.config.models if m.shown == row.model), None)
    records = [record for stage in _stages(row) if (record := results.find("generate", stage)) is not None]
    environment = records[0].read(MadeUnder).to_json() if records else {}
    libraries = environment.get("libraries", {})
    made = [
        dt.datetime.fromisoformat(str(r.manifest["created"])).timestamp() for r in records if "created" in r.manifest
    ]
    settings = next((s for cell in row.cells.values() for s in cell.settings), None)
    seed = min(row.described.seeds, default=None)
    name = f"{row.model}/{row.label}"
    return {
        "config": {
            "model": "hf", "model_args": f"pretrained={model.name if model else row.model},method={row.method}",
            "model_dtype": model.dtype if model else None, "model_revision": model.revision if model else None,
            "batch_size": None, "device": environment.get("device"), "limit": None, "bootstrap_iters": 0,
            "gen_kwargs": None, "random_seed": seed, "numpy_seed": seed, "torch_seed": seed, "fewshot_seed": None,
        },
        "git_hash": None,
        "date": max(made, default=None),
        "pretty_env_info": ", ".join(f"{n} {v}" for n, v in {**environment, **libraries}.items() if n != "libraries"),
        "transformers_version": libraries.get("transformers"),
        "lm_eval_version": None,
        "upper_git_hash": None,
        "task_hashes": {
            f"{d}@{decoding}": next(x.sha256 for x in manifest.datasets if x.label == d and x.role != "train")
            for d, decoding in row.cells
        },
        "model_source": "hf",
        "model_name": name,
        "model_name_sanitized": file_name(name),
        "system_instruction": manifest.config.template.system,
        "chat_template": None,
        "fewshot_as_multiturn": False,
        "total_evaluation_time_seconds": str(sum(cell.total(lambda s: s.seconds) for cell in row.cells.values())),
        "harness": {
            "name": "posttune-harness", "version": manifest.harness, "benchmark": manifest.benchmark,
            "profile": manifest.profile, "row": row.label, "kind": row.kind, "method": row.method,
            "options": row.described.options, "recipe_set": row.described.recipe_set,
            "seeds": sorted(row.described.seeds), "code": settings.code if settings else None, **beside,
        },
    }  # fmt: skip


def _stages(row: ResultRow) -> Iterator[str | None]:
    for seed in row.described.seeds.values():
        for decodings in seed.evaluations.values():
            for cell in decodings.values():
                yield cell.generate
