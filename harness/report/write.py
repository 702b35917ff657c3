"""All tables of a run: built from the store, written beside its manifest, returned as text."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from harness.errors import InputError, StorageError
from harness.report import captions
from harness.report.brief import sentences
from harness.report.by_prompt import scores_csv
from harness.report.calculated import NAME, Calculated
from harness.report.cases import case_files, case_studies
from harness.report.checks.checked import checked
from harness.report.columns import ComparedColumns
from harness.report.export import csv_text, json_text
from harness.report.kinds import tables_of
from harness.report.latex import latex
from harness.report.markdown import markdown
from harness.report.page.browser import FOLDER, answer_files
from harness.report.page.cite import citation
from harness.report.page.index import write_index
from harness.report.page.leaderboard import CASES, FORMS, MANIFEST, NOTHING, SCORES, Beside, File, page
from harness.report.pictures.every import picture_files, pictures_of
from harness.report.pictures.svg import STYLE
from harness.report.results import Results, load_results
from harness.report.run_setup import model_text, setup_block
from harness.report.supervision import supervision_lines
from harness.report.terms import term_lines
from harness.report.tuning import trial_lines
from harness.report.written import Leaderboard, Written
from harness.spec.results.train import TrainSummary
from harness.store.files import seal

if TYPE_CHECKING:
    from pathlib import Path

    from harness.report.checks.checked import Checked
    from harness.spec.results.run import RunData, RunFailure, RunManifest
    from harness.spec.results.train import RowsUsed


def make_tables(root: Path, folder: Path, *, manifest: RunManifest | None = None, partial: bool = False) -> Written:
    """Make every form of a run's leaderboard, from the store below ``root``, and write nothing.

    Args:
        root: the results.
        folder: those of the run.
        manifest: the run's, where it is not to be read from the folder.
        partial: make tables of what is there, though some of what the manifest names is not.

    Raises:
        InputError: what the manifest names is not all in the store.
        StageError: rows that must not be compared, or a damaged file.
    """
    results = load_results(root, folder, manifest=manifest, partial=partial)
    if not partial:
        refuse_missing(results, root, folder)
    studies = case_studies(results) if "cases" in results.manifest.tables else None
    calculated = Calculated(folder)
    document = build(results, calculated)
    answers = answer_files(results, document.title)
    scores = scores_csv(results)
    files = document_files(document, beside_of(results, cases=studies is not None, answers=bool(answers)))
    if not partial:  # what only some tables ask for
        refuse_missing(results, root, folder)
    kept = calculated.text()
    cases = {} if studies is None else case_files(studies)
    files[SCORES.name] = scores
    return Written(answers | cases | files | ({} if kept is None else {NAME: kept}), document, results, folder)


def beside_of(results: Results, *, cases: bool, answers: bool) -> Beside:
    """Return what the page of a run leads to."""
    pages = [CASES] * cases + [File(f"{FOLDER}/index.html", "Every prompt's answers")] * answers
    return Beside(pages, (*FORMS, SCORES, MANIFEST), citation(results.manifest, sealed(results.manifest)))


def sealed(manifest: RunManifest) -> str:
    """Return the sha256 that a manifest is written with."""
    return str(seal(manifest.to_json())["sha256"])


def write_if_allowed(tables: Written) -> StorageError | None:
    """Write tables; return what the system said where nothing may be written there."""
    try:
        tables.write()
        write_index(tables.folder.parent.parent)
    except StorageError as error:
        if not error.read_only:
            raise
        return error
    return None


def write_tables(root: Path, folder: Path, *, partial: bool = False) -> str:
    """Write what :func:`make_tables` makes into a run's ``folder``; return the Markdown."""
    tables = make_tables(root, folder, partial=partial)
    tables.write()
    return tables.text


def refuse_missing(results: Results, root: Path, folder: Path) -> None:
    """Refuse results of which the store has not all: their tables would say less than those that may be there.

    What failed in the run is not part of that: the manifest has no stage for it.
    """
    missing, asked = len(results.shelf.missing), len(results.shelf.asked)
    if missing:
        raise InputError(
            f"{missing} of the {asked} stages behind these numbers are not in the store; the tables stay as they are",
            where=str(folder),
            expected=f"the store of the run in {root / 'store'}",
            hint="harness report --partial makes tables of what is there; harness run makes what is missing",
        )


def document_files(document: Leaderboard, beside: Beside = NOTHING) -> dict[str, str]:
    """Return every form of a leaderboard by its name; ``beside`` is what its page leads to."""
    text = markdown(document.title, document.notes, document.tables, document.ending, document.setup)
    return {
        **picture_files(document.pictures),
        "leaderboard.html": page(
            document.title,
            document.notes,
            document.tables,
            document.ending,
            verdict=document.verdict,
            setup=document.setup,
            pictures=document.pictures,
            picture_style=STYLE,
            beside=beside,
        ),
        "leaderboard.csv": csv_text(document.tables),
        "leaderboard.json": json_text(document.head, document.tables),
        "leaderboard.tex": latex(document.tables, prefix=f"{document.head['benchmark']}-{document.head['profile']}"),
        "leaderboard.md": text,
    }


def build(results: Results, calculated: Calculated | None = None) -> Leaderboard:
    """Build the tables that the benchmark asks for and those that every run shows, and what is said around them."""
    manifest = results.manifest
    columns = ComparedColumns(results, calculated or Calculated())
    tables = tables_of(columns)
    found = checked(columns)
    notes, ending = [*opening_notes(results), *_found(found)], closing_notes(results)
    names = ("benchmark", "title", "profile", "harness", "template_sha256")
    head: dict[str, Any] = {name: getattr(manifest, name) for name in names}
    head["failures"] = [_failure(failure) for failure in manifest.failures]
    head["checks"] = found._asdict()
    setup, verdict = setup_block(results), sentences(columns)
    head |= {"verdict": verdict, "seeds": results.seeds, "signatures": results.signatures}
    head |= {"notes": [*notes, *ending], "setup": setup}
    pictures = tuple(pictures_of(columns))
    return Leaderboard(_title(manifest), notes, tables, ending, head, verdict, *found, setup, pictures)


def _title(manifest: RunManifest) -> str:
    """Return the title with the profile, and how many settings differ from it: no table without them looks the same."""
    changed = len(manifest.config.overrides)
    said = f", {changed} override{'s' if changed > 1 else ''}" if changed else ""
    return f"{manifest.title or manifest.benchmark} ({manifest.profile}{said})"


def _found(found: Checked) -> list[str]:
    return [*(f"Error: {text}." for text in found.errors), *found.findings]


def opening_notes(results: Results) -> list[str]:
    """Say in a few lines what was compared, and what is missing."""
    manifest = results.manifest
    models = ", ".join(
        "; ".join([model_text(model, manifest.config.sources), *manifest.model_notes.get(model.shown, ())])
        for model in manifest.config.models
    )
    train = next(data for data in manifest.datasets if data.role == "train")
    seeds = f"seed{'s' if len(results.seeds) > 1 else ''} {', '.join(str(seed) for seed in results.seeds)}"
    used = _rows_used(results)
    data = captions.data_set(train, manifest.config.train.options)
    trained = any(row.training for row in results.rows)
    how = f"trained on {data}{used}" if trained else "nothing was trained"
    notes = [f"{models}; {how}; {seeds}.", *supervision_lines(results)]
    if manifest.config.overrides:
        notes.append(f"Set otherwise than in the file: {', '.join(manifest.config.overrides)}.")
    generated = sorted({data.dataset for data in manifest.datasets if data.generated})
    if generated:
        notes.append(
            f"The data ({', '.join(generated)}) are generated by code: the numbers compare methods with each other on "
            "this task and with nothing else."
        )
    first = [failure for failure in manifest.failures if not failure.because_of]
    notes += [f"Failed: {failure.stage}{_message(failure)}" for failure in first]
    return notes


def _rows_used(results: Results) -> str:
    """Say how many training rows were left out for their length, model by model where that differs."""
    counts: dict[str, RowsUsed] = {}
    for row in results.rows:
        for record in row.training.values():
            summary = record.read(TrainSummary)
            used, taught = summary.rows, summary.trained_on
            if taught is not None:  # rows that are short enough and taught nothing are told of elsewhere
                used = used.model_copy(update={"used": sum(dict(taught).values())})
            if taught is not None or row.model not in counts:
                counts[row.model] = used
    said = [
        f"{rows.used}{f' for {model}' if len(counts) > 1 else ''}"
        for model, rows in counts.items()
        if rows.dropped_overlong
    ]
    return f" (of which {', '.join(said)} used: the others are longer than the recipe's limits)" if said else ""


def _failure(failure: RunFailure) -> dict[str, Any]:
    """Return a failure as ``leaderboard.json`` has it: without a message where that was left out."""
    plain = failure.model_dump(mode="json")
    return plain if failure.message is not None else {name: part for name, part in plain.items() if name != "message"}


def _message(failure: RunFailure) -> str:
    return f": {failure.message}" if failure.message else ""


def closing_notes(results: Results) -> list[str]:
    """Say what exactly was run: how often each method was tried, data, metrics, the way through each model."""
    manifest = results.manifest
    lines = [f"Warning, of {', '.join(rows)}: {text}" for text, rows in results.warnings.items()]
    lines += [*trial_lines(results), *([] if manifest.config.tune else term_lines(results))]
    for data in manifest.datasets:
        name = "training rows" if data.role == "train" else data.label
        lines.append(f"{name}: {_provenance(data)}")
    for model, signatures in results.signatures.items():
        who = f" ({model})" if len(results.signatures) > 1 else ""
        lines += [f"{metric}{who}: {signature}" for metric, signature in signatures.items()]
    return [*lines, *_ways(results)]


def _ways(results: Results) -> list[str]:
    """Say which way each model took while it was trained and while it answered."""
    by_model: dict[str, dict[str, None]] = {}
    for row in results.rows:
        ways = [record.read(TrainSummary).way for record in row.training.values()]
        ways += [summary.way for cell in row.cells.values() for summary in cell.summaries.values()]
        by_model.setdefault(row.model, {}).update(dict.fromkeys(filter(None, ways)))
    return [f"{model}, {' and '.join(ways)}." for model, ways in by_model.items() if ways]


def _provenance(data: RunData) -> str:
    source = data.provenance
    origin = source.origin if source else "not prepared"
    if source and source.revision:
        origin += f" at {source.revision}"
    if data.sha256:
        origin += f", rows with sha256 {data.sha256[:16]}"
    return "; ".join([origin, *(source.notes if source else ())]) + "."
