"""``harness export``: a trained checkpoint as a folder that others load, with a card."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

import click

from harness.cli.opened import find_run
from harness.cli.options import results_option
from harness.errors import InputError, MachineError, StageError, suggest

if TYPE_CHECKING:
    from harness.lm.model.policy import Policy
    from harness.report.results import ResultRow, Results
    from harness.spec.results.models import PreparedModel
    from harness.store.records import Record


@click.command("export", short_help="Write a trained checkpoint as a Hugging Face folder with a model card.")
@click.argument("run", type=click.Path(path_type=Path))
@click.argument("folder", type=click.Path(path_type=Path))
@click.option("--row", "label", metavar="LABEL", help="Which row of the tables; needed where several were trained.")
@click.option("--seed", type=int, metavar="N", help="Which seed of it; the first by default.")
@click.option("--model", metavar="LABEL", help="Which model, where the run has several.")
@click.option("--merged", is_flag=True, help="Write the whole model where an adapter was trained.")
@results_option
def command(
    run: Path, folder: Path, label: str | None, seed: int | None, model: str | None, results: Path, *, merged: bool
) -> None:
    """Write the checkpoint that a row of RUN ended with into FOLDER, which must not hold anything yet.

    RUN is BENCHMARK/PROFILE below --results, or a folder. FOLDER gets the files as training wrote them (weights,
    configuration, generation settings, tokenizer with its chat template), which transformers loads, and a README.md: a
    model card with the scores and their intervals, the recipe, the data and the versions.

    An adapter is written alone, with the name of its base, where that is a model of the hub or of a folder. Where the
    store alone has what it goes on (another adapter, a new model, or one made of a GGUF file), the whole model is
    written, as with --merged.
    """
    from harness.report.model_card import model_card
    from harness.report.results import load_results
    from harness.scaffold.new_files import make_new_folder, write_new
    from harness.spec.results.adapter import AdapterRecord
    from harness.spec.results.files import CHECKPOINT
    from harness.store.stages import Store

    found = find_run(results, run)
    loaded = load_results(found.parent.parent, found, partial=True)
    row = _row(loaded, label, model)
    number = _seed(row, seed)
    stage = row.described.seeds[number].train[-1]
    record = loaded.shelf.find("train", stage)
    if record is None or not record.holds(CHECKPOINT):
        kept = "this seed failed" if stage is None else "the store does not hold its weights any more"
        hint = None if stage is None else "recipe.keep: final (or all) keeps them; harness run then trains it again"
        raise StageError(f"{row.label} with seed {number} cannot be exported: {kept}", where=str(found), hint=hint)
    base, whole = None, None
    if record.holds(AdapterRecord.file):
        base = None if merged else _base(loaded, record)
        if base is None:
            from harness.stages.trained import trained_policy

            try:
                whole = trained_policy(record, Store(found.parent.parent))
            except StageError as error:
                error.hint = "put it back: the adapter is merged into it"
                raise
    card = model_card(loaded, row, number, base)
    make_new_folder(folder)
    try:
        _write(folder, record.path(CHECKPOINT), base, whole)
    except OSError as error:
        raise MachineError(f"cannot write: {error.strerror or error}", where=str(folder)) from error
    readme = folder / "README.md"
    readme.unlink(missing_ok=True)  # one that training left says less
    write_new(readme, card)
    form = "" if base is None else f"an adapter on {base.name}, "
    form = form if whole is None else "the adapter merged into the whole model, "
    click.echo(f"{folder}: {row.label} ({row.model}), seed {number}, {form}{_size(folder)}; its card is {readme}")


def _base(results: Results, record: Record) -> PreparedModel | None:
    """Return the model that an adapter goes on; None for one that the store alone has."""
    from harness.spec.results.adapter import AdapterRecord
    from harness.spec.results.files import CHECKPOINT
    from harness.spec.results.models import PreparedModel

    named = record.read(AdapterRecord).base
    below = results.find(named.kind, named.id)
    if below is None or not below.holds(PreparedModel.file) or below.holds(CHECKPOINT):
        return None
    return below.read(PreparedModel)


def _write(folder: Path, checkpoint: Path, base: PreparedModel | None, whole: Policy | None) -> None:
    from harness.models.adapter import ADAPTER_CONFIG
    from harness.scaffold.new_files import write_new

    if whole is not None:
        whole.save(folder)
        return
    shutil.copytree(checkpoint, folder, dirs_exist_ok=True)
    if base is not None:
        told = folder / ADAPTER_CONFIG
        place = {"base_model_name_or_path": base.hub_name or base.path, "revision": base.revision}
        content = json.loads(told.read_text(encoding="utf-8")) | place
        told.unlink()
        write_new(told, json.dumps(content, indent=2, sort_keys=True) + "\n")


def _row(results: Results, label: str | None, model: str | None) -> ResultRow:
    """Return the row that is meant, of those that were trained."""
    models = results.models
    if model is not None and model not in models:
        expected = f"one of {', '.join(models)}"
        raise InputError(
            "there is no such model", where="--model", got=model, expected=expected, did_you_mean=suggest(model, models)
        )
    rows = [row for row in results.rows if row.kind != "base" and model in {None, row.model}]
    labels = list(dict.fromkeys(row.label for row in rows))
    if label is None and len(labels) == 1:
        label = labels[0]
    chosen = [row for row in rows if row.label == label]
    if len(chosen) == 1:
        return chosen[0]
    if chosen:
        what, where, listed = "there are several models: say which", "--model", models
    elif label is None:
        what, where, listed = "several rows were trained: say which", "--row", labels
    else:
        what, where, listed = "no row of this name was trained", "--row", labels
    near = suggest(label, labels) if label and not chosen else None
    got = None if chosen else label
    raise InputError(what, where=where, got=got, expected=f"one of {', '.join(listed)}", did_you_mean=near)


def _seed(row: ResultRow, seed: int | None) -> int:
    seeds = [number for number, part in row.described.seeds.items() if part.train]
    if not seeds:
        raise InputError(f"{row.label} has not been trained", where="--row", got=row.label)
    if seed is not None and seed not in seeds:
        expected = f"one of {', '.join(map(str, seeds))}"
        raise InputError(f"{row.label} was not trained with this seed", where="--seed", got=seed, expected=expected)
    return seeds[0] if seed is None else seed


def _size(folder: Path) -> str:
    whole = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
    return f"{whole / 1e6:.1f} MB"
