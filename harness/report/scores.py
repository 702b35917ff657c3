"""The tables about answers: scores, cross-dataset, fluency and decoding."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from harness.report.statistics import SEEDS_FOR_CLAIMS, Comparison, compare, interval, mean, seeds_interval
from harness.report.table import Heading, Table, TableCell, TableRow
from harness.report.training import is_inactive

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from harness.report.results import ResultRow, Results


def scores_table(results: Results) -> Table:
    """In-data scores under the first decoding."""
    caption = [_what(results, results.datasets("in-data"))]
    return _answers(results, "scores", "Scores", results.datasets("in-data"), "score", caption)


def cross_table(results: Results) -> Table:
    """The same on data sets that nothing was trained on."""
    caption = [_what(results, results.datasets("cross"))]
    return _answers(
        results, "cross-dataset", "Cross-dataset generalisation", results.datasets("cross"), "score", caption
    )


def fluency_table(results: Results) -> Table:
    """Fluency of the answers on every data set."""
    datasets = [*results.datasets("in-data"), *results.datasets("cross")]
    caption = [_what(results, datasets)]
    if any("perplexity" in column["name"] for metric in results.metrics("fluency") for column in metric["columns"]):
        scorer = results.manifest["scorer"]
        named = (
            f"the supervised checkpoint of seed {results.seeds[0]} of the same model" if scorer == "start" else scorer
        )
        caption.append(f"Perplexity and its logarithm are measured under one fixed model: {named}.")
        if scorer == "start":
            caption.append(
                "A low perplexity says that answers are probable to the model that every row started from, not that "
                "they are good; a row that sharpens its own distribution lowers it."
            )
    return _answers(results, "fluency", "Fluency", datasets, "fluency", caption)


def decoding_table(results: Results) -> Table:
    """Every row under every decoding, with the entropy of its distribution."""
    metric = results.metrics("score")[0]
    datasets = results.datasets("in-data") or results.datasets("cross")
    headings, columns = [], {}
    for dataset in datasets[:1]:
        for decoding in results.decodings:
            for column in metric["columns"]:
                if column["name"] != metric["headline"]:
                    continue
                place = f"{metric['use']}.{column['name']}"
                heading = _heading(column, f"{dataset} {decoding}", f"{dataset}/{decoding}/{place}")
                headings.append(heading)
                columns[heading.name] = (dataset, decoding, place)
            headings.append(Heading(f"{dataset}/{decoding}/entropy", "entropy", f"{dataset} {decoding}", digits=2))
    comparisons = {name: _compare(results, place, _better(headings, name)) for name, place in columns.items()}
    rows = []
    for row in results.rows:
        cells = {name: _cell(row, place, comparisons[name]) for name, place in columns.items()}
        for dataset in datasets[:1]:
            for decoding in results.decodings:
                cell = row.cells.get((dataset, decoding))
                entropies = [s["entropy"] for s in cell.summaries] if cell else []
                value = float(np.mean(entropies)) if entropies else None
                cells[f"{dataset}/{decoding}/entropy"] = TableCell(value, status="" if entropies else "failed")
        rows.append(TableRow(row.label, row.model, cells, _marks(row)))
    caption = [
        (
            "The same checkpoints under every decoding; draws are averaged within a prompt. Entropy: mean nats a "
            "token of the model's whole distribution at temperature 1 along its own answers."
        ),
        *_claims(results, comparisons),
        *_sharpening(results, columns, comparisons),
    ]
    return Table("decoding", "Decoding", tuple(headings), tuple(rows), tuple(caption))


def _answers(results: Results, name: str, title: str, datasets: Sequence[str], role: str, caption: list[str]) -> Table:
    decoding = results.decodings[0]
    headings: list[Heading] = []
    columns: dict[str, tuple[str, str, str]] = {}
    corpus: dict[str, tuple[str, str, str]] = {}
    for dataset in datasets:
        for metric in results.metrics(role):
            for target, listed in ((columns, metric["columns"]), (corpus, metric["corpus"])):
                for column in listed:
                    kind = "corpus " if target is corpus else ""
                    heading = _heading(column, dataset, f"{dataset}/{kind}{metric['use']}.{column['name']}")
                    headings.append(heading)
                    target[heading.name] = (dataset, decoding, f"{metric['use']}.{column['name']}")
        rates = role == "score"
        headings += [
            Heading(f"{dataset}/n", "n", dataset, 0),
            Heading(f"{dataset}/length", "tokens", dataset, 1),
            Heading(f"{dataset}/truncated", "cut %", dataset, 1, 100.0, shown=rates),
            Heading(f"{dataset}/empty", "empty %", dataset, 1, 100.0, shown=rates),
        ]
    comparisons = {key: _compare(results, place, _better(headings, key)) for key, place in columns.items()}
    rows = []
    for row in results.rows:
        cells = {key: _cell(row, place, comparisons[key]) for key, place in columns.items()}
        cells |= {key: _corpus_cell(row, place) for key, place in corpus.items()}
        for dataset in datasets:
            cells |= _beside(row, dataset, decoding)
        cells["seeds"] = TableCell(float(len(_seeds(row, datasets, decoding))))
        rows.append(TableRow(row.label, row.model, cells, _marks(row)))
    headings.append(Heading("seeds", "seeds", "", 0))
    caption += _claims(results, comparisons)
    if corpus:
        caption.append("Corpus numbers (no mean over answers) have a t interval over seeds and enter no test.")
    caption += _cuts(results, datasets, decoding)
    caption += _missing(headings, rows)
    return Table(name, title, tuple(headings), tuple(rows), tuple(caption), divided=True)


def _missing(headings: Sequence[Heading], rows: Sequence[TableRow]) -> list[str]:
    """Say where answers have no value (too short for an n-gram, empty): they are counted, never scored as 0."""
    said = []
    for heading in headings:
        counts = [row.cells[heading.name].missing for row in rows if heading.name in row.cells]
        if any(counts):
            said.append(f"{heading.group} {heading.label.partition(' (')[0]} up to {max(counts)}".strip())
    return [f"Answers without a value, over all seeds and draws: {'; '.join(said)}."] if said else []


def _heading(column: Mapping[str, Any], group: str, name: str) -> Heading:
    unit = f" ({column['unit']})" if column["unit"] else ""
    return Heading(
        name,
        column["label"] + unit,
        group,
        column["digits"],
        column["scale"],
        column["higher_is_better"],
        column["shown"],
    )


def _better(headings: Sequence[Heading], name: str) -> int:
    heading = next(heading for heading in headings if heading.name == name)
    return -1 if heading.higher_is_better is False else 1


def _compare(results: Results, place: tuple[str, str, str], better: int) -> dict[str, Comparison]:
    """Compare the rows of each model among themselves, on the seeds that all of them have."""
    found = {}
    for model in dict.fromkeys(row.model for row in results.rows):
        cells = {row.label: row.cells.get(place[:2]) for row in results.rows if row.model == model}
        complete = {label: cell for label, cell in cells.items() if cell and place[2] in cell.values}
        shared = set.intersection(*(set(cell.seeds) for cell in complete.values())) if complete else set()
        matrices = {
            label: cell.values[place[2]][[cell.seeds.index(seed) for seed in sorted(shared)]]
            for label, cell in complete.items()
        }
        usable = {label: values for label, values in matrices.items() if values.size and not np.isnan(values).all()}
        found[model] = compare(usable, better=better) if shared else compare({})
    return found


def _cell(row: ResultRow, place: tuple[str, str, str], comparisons: Mapping[str, Comparison]) -> TableCell:
    cell = row.cells.get(place[:2])
    if cell is None or not cell.seeds:
        return TableCell(status="failed")
    values = cell.values.get(place[2])
    found = interval(values) if values is not None else None
    if found is None:
        return TableCell(status="no value", missing=cell.missing.get(place[2], 0))
    letters = comparisons[row.model].letters.get(row.label, "")
    return TableCell(found.mean, found, letters, cell.missing.get(place[2], 0))


def _corpus_cell(row: ResultRow, place: tuple[str, str, str]) -> TableCell:
    cell = row.cells.get(place[:2])
    if cell is None or not cell.seeds:
        return TableCell(status="failed")
    found = seeds_interval(cell.corpus[place[2]]) if place[2] in cell.corpus else None
    return TableCell(found.mean, found) if found else TableCell(status="no value")


def _beside(row: ResultRow, dataset: str, decoding: str) -> dict[str, TableCell]:
    """What stands beside every score: how many prompts, how long the answers are, how many are cut or empty."""
    cell = row.cells.get((dataset, decoding))
    if cell is None or not cell.seeds:
        return {f"{dataset}/{name}": TableCell(status="failed") for name in ("n", "length", "truncated", "empty")}
    answers = sum(s["n"] * s["draws"] for s in cell.summaries)
    return {
        f"{dataset}/n": TableCell(float(len(cell.ids))),
        f"{dataset}/length": TableCell(sum(s["tokens"] for s in cell.summaries) / max(answers, 1)),
        f"{dataset}/truncated": TableCell(cell.rate("truncated")),
        f"{dataset}/empty": TableCell(cell.rate("empty")),
    }


def _seeds(row: ResultRow, datasets: Sequence[str], decoding: str) -> set[int]:
    cells = [row.cells.get((dataset, decoding)) for dataset in datasets]
    return set.intersection(*(set(cell.seeds) if cell else set() for cell in cells)) if cells else set()


def _marks(row: ResultRow) -> tuple[str, ...]:
    marks = ["inactive"] if is_inactive(row) else []
    if row.failures:
        marks.append(f"failed for seed {', '.join(str(seed) for seed in sorted(row.failures))}")
    return tuple(marks)


def _what(results: Results, datasets: Sequence[str]) -> str:
    """Say which data, decoding and intervals a table shows."""
    decoding = results.decodings[0]
    settings = results.manifest["decodings"][decoding]
    described = {data["label"]: data for data in results.manifest["datasets"] if data["role"] != "train"}
    named = ", ".join(
        f"{label} ({described[label]['dataset']}/{described[label]['split']}"
        + (", generated by code" if described[label]["generated"] else "")
        + ")"
        for label in datasets
    )
    how = "greedy" if settings["temperature"] == 0 else f"temperature {settings['temperature']:g}"
    if settings["top_k"]:
        how += f", top-k {settings['top_k']}"
    if settings["top_p"] < 1:
        how += f", top-p {settings['top_p']:g}"
    draws = settings["draws"] if settings["temperature"] else 1
    return (
        f"Data: {named}. Decoding {decoding}: {how}, {draws} answer{'s' if draws > 1 else ''} a prompt, at most "
        f"{settings['max_new_tokens']} tokens. Mean ± half of the 95 % interval from a bootstrap that resamples seeds "
        "and prompts independently."
    )


def _claims(results: Results, comparisons: Mapping[str, Mapping[str, Comparison]]) -> list[str]:
    """Say what the letters mean and how large a difference could have been found, or that nothing is claimed."""
    single = [comparison for by_model in comparisons.values() for comparison in by_model.values()]
    if not any(comparison.claims for comparison in single):
        count = len(results.seeds)
        return [
            (
                f"No claim: {count} seed{'s' if count > 1 else ''}; a difference between rows is claimed with "
                f"{SEEDS_FOR_CLAIMS} or more."
            )
        ]
    sizes = []
    for name, by_model in comparisons.items():
        found = [comparison.detectable for comparison in by_model.values() if comparison.detectable]
        if found:
            scale = _scale(results, name)
            sizes.append(f"{name} {max(found) * scale:.2g}")
    return [
        (
            "Rows that share a letter are tied: they differ only if a permutation test over prompts and a t-test over "
            "seeds, both paired, reject at 5 % after Holm's correction."
        ),
        "Differences that would have been found four times in five: " + "; ".join(sizes) + ".",
    ]


def _scale(results: Results, name: str) -> float:
    metric, _, column = name.rsplit("/", 1)[-1].partition(".")
    for described in results.manifest["metrics"]:
        for known in described["columns"]:
            if described["use"] == metric and known["name"] == column:
                return float(known["scale"])
    return 1.0


def _cuts(results: Results, datasets: Sequence[str], decoding: str) -> list[str]:
    """Say how many prompts were cut to fit, once for each data set."""
    said = []
    for dataset in datasets:
        cells = [row.cells.get((dataset, decoding)) for row in results.rows]
        first = next((cell for cell in cells if cell and cell.summaries), None)
        if first is None:
            continue
        cut, dropped = first.summaries[0]["prompts_cut"], first.summaries[0]["prompts_dropped"]
        if cut:
            said.append(f"{dataset}: {cut} of {len(first.ids)} prompts were cut from the left of their context to fit.")
        if dropped:
            said.append(f"{dataset}: {dropped} prompts that were too long were left out, for all rows alike.")
    return said


def _sharpening(
    results: Results,
    columns: Mapping[str, tuple[str, str, str]],
    comparisons: Mapping[str, Mapping[str, Comparison]],
) -> list[str]:
    """Name the rows that stand above the supervised row at temperature 1 and nowhere else."""
    warm = {
        name
        for name, settings in results.manifest["decodings"].items()
        if settings["temperature"] == 1 and not settings["top_k"] and settings["top_p"] == 1
    }
    said = []
    for row in results.rows:
        start = next((r for r in results.rows if r.kind == "start" and r.model == row.model), None)
        if row.kind != "method" or start is None:
            continue
        ahead: dict[str, set[str]] = {}
        for name, (dataset, decoding, column) in columns.items():
            ours, theirs = row.cells.get((dataset, decoding)), start.cells.get((dataset, decoding))
            if not ours or not theirs or column not in ours.values or column not in theirs.values:
                continue
            comparison = comparisons[name][row.model]
            higher = (mean(ours.values[column]) or 0.0) > (mean(theirs.values[column]) or 0.0)
            if higher and (comparison.above(row.label, start.label) or not comparison.claims):
                ahead.setdefault(column, set()).add(decoding)
        alone = sorted(column for column, decodings in ahead.items() if decodings and decodings <= warm)
        if alone:
            how = "" if any(c.claims for by in comparisons.values() for c in by.values()) else " by its mean (no claim)"
            said.append(
                f"{row.label} stands above {start.label} in {', '.join(alone)} at temperature 1 alone{how}: a sharper "
                "distribution explains that without a better model."
            )
    return said
