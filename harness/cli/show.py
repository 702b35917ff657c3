"""``harness show``: what a run would read, before it reads it."""

from __future__ import annotations

import itertools
import json
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from harness.cli.options import Asked, benchmark_options
from harness.errors import HarnessError, InputError, InputErrors, suggest

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from harness.api import DatasetRegistration, Example
    from harness.plan import Stage
    from harness.plugins.registry import Registry
    from harness.spec.benchmark import Benchmark, DataUse
    from harness.spec.model import Model
    from harness.stages.preview import Preview, Rows
    from harness.store.stages import Store
    from harness.text.encode import EncodingParams

#: What benchmark files are called; anything else is data.
_BENCHMARKS = {".yaml", ".yml"}
#: Characters of a text that a first look at a file of data shows.
_LONGEST = 200
#: Rows of a split that a first look counts.
_MOST = 100_000


@click.group("show")
def command() -> None:
    """Show what a run would read, before it reads it."""


@command.command("data", short_help="Show the first rows of a benchmark's data as they will be tokenised.")
@benchmark_options
@click.option("--use", "use_name", default="train", show_default=True, metavar="USE",
              help="Which data: train, validation, or a label of evaluate.")  # fmt: skip
@click.option("--model", "model_name", metavar="LABEL", help="Whose tokenizer; the file's first model by default.")
@click.option("-n", "count", type=click.IntRange(min=1), default=3, show_default=True, metavar="N",
              help="How many rows.")  # fmt: skip
@click.option("--tokens", is_flag=True, help="Part the tokens by bars.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON, with the ids of all tokens shown.")
def data(
    asked: Asked,
    use_name: str,
    model_name: str | None,
    count: int,
    tokens: bool,
    as_json: bool,
) -> None:
    """Show the first rows of the data of the benchmark FILE as they will be tokenised, and do nothing else.

    Of each row its segments, which of them supervised training learns, and what is cut or why it is left out; then how
    many rows there are, which were left out, and how long they are. Special tokens stand between « and »: text that
    merely reads like one does not. Of a model nothing but the tokenizer is read; that of a new model is trained first.

    FILE may be the name of a benchmark that ships, or data of your own, such as a .csv: the columns that it has, what
    its rows would be, and the lines of a benchmark file that read it.
    """
    from harness.benchmark.shipped import shipped_files

    ships = asked.file.name in shipped_files() and not asked.file.exists()
    if asked.file.suffix not in _BENCHMARKS and not ships:
        _first_look(asked.application.registry, asked.file, count, as_json=as_json)
        return
    benchmark, registry = asked.load()
    from harness.stages.preview import preview, tokeniser_of
    from harness.store.stages import Store

    use, training = _chosen_use(benchmark, use_name)
    model = _chosen_model(benchmark, model_name)
    store = Store(asked.results)
    rows = _rows(benchmark, registry, store, use)
    train = rows
    if model.config is not None and use != benchmark.train:
        train = _rows(benchmark, registry, store, benchmark.train)
    tokeniser = tokeniser_of(model, benchmark.template, train.examples)
    where = f"{use.dataset}/{use.split}"
    params = _params(benchmark, use, training=training)
    seen = preview(rows.examples, tokeniser, benchmark.template, params, count=count, parted=tokens, where=where)
    if as_json:
        head = {"use": use_name, "data": where, "kind": use.kind, "model": model.shown, "notes": list(rows.notes)}
        click.echo(json.dumps({**head, **seen.to_json()}, indent=1))
        return
    new = model.config is not None
    click.echo(f"{use_name}: {where}{f' ({use.path})' if use.path else ''}, {_kind(use.kind)}, as {model.shown} reads"
               f" it{', whose tokenizer is trained on the training rows' if new else ''}")  # fmt: skip
    for line in _lines(seen, rows.notes, training=training, between="|" if tokens else ""):
        click.echo(line)


def _chosen_use(benchmark: Benchmark, name: str) -> tuple[DataUse, bool]:
    """Return a use of data by its name, and whether it is trained on."""
    uses = {str(use.label): use for use in benchmark.evaluate}
    if benchmark.validation is not None:
        uses["validation"] = benchmark.validation
    uses["train"] = benchmark.train
    if name not in uses:
        raise InputError("the benchmark has no such data", where="--use", got=name,
                         expected=f"one of {', '.join(uses)}", did_you_mean=suggest(name, uses))  # fmt: skip
    return uses[name], name == "train"


def _chosen_model(benchmark: Benchmark, name: str | None) -> Model:
    models = {model.shown: model for model in benchmark.models}
    if name is None:
        return benchmark.models[0]
    if name not in models:
        raise InputError("the benchmark has no such model", where="--model", got=name,
                         expected=f"one of {', '.join(models)}", did_you_mean=suggest(name, models))  # fmt: skip
    return models[name]


def _rows(benchmark: Benchmark, registry: Registry, store: Store, use: DataUse) -> Rows:
    """Return the rows of a use: those of the store where it has them."""
    from harness.plan import data_stage
    from harness.spec.stages.rows import RowsConfig
    from harness.stages.preview import read_rows

    stage: Stage = data_stage(benchmark, registry, store, use)
    assert isinstance(stage.config, RowsConfig)
    record = store.open(stage.kind, stage.id) if stage.done and stage.id is not None else None
    return read_rows(stage.config, stage.runtime.path, stage.label, record, registry)


def _params(benchmark: Benchmark, use: DataUse, *, training: bool) -> EncodingParams:
    """Return how long rows may be: as they are trained on, or as they are answered under the first decoding."""
    from harness.text.encode import EncodingParams

    recipe = benchmark.recipe
    decoding = next(iter(benchmark.decoding.values()), None)
    if training or decoding is None:
        return EncodingParams(max_prompt=recipe.max_prompt_length, max_completion=recipe.max_completion_length,
                              training=training, train_eos=recipe.train_eos)  # fmt: skip
    return EncodingParams(max_prompt=recipe.max_prompt_length, max_completion=decoding.max_new_tokens, training=False,
                          overlong=use.overlong)  # fmt: skip


def _kind(kind: str | None) -> str:
    return (kind or "rows").replace("_", " ")


def _lines(seen: Preview, notes: Sequence[str], *, training: bool, between: str) -> Iterator[str]:
    """Yield what is said of rows that are tokenised."""
    from tabulate import tabulate

    for number, row in enumerate(seen.shown, start=1):
        yield ""
        yield f"row {number} of {seen.rows}, id {row.id}: {row.fate}"
        for segment in row.segments:
            yield f"  {segment.name}, {len(segment.ids)} tokens, {segment.role}"
            yield from _indented(segment.pieces, between)
    yield ""
    yield _counted(seen, training=training)
    yield from (f"note: {note}" for note in notes)
    yield ""
    columns = list(next(iter(seen.lengths.values())))
    table = [[name, *(sizes[column] for column in columns)] for name, sizes in seen.lengths.items()]
    yield tabulate(table, headers=["tokens", *columns])


def _counted(seen: Preview, *, training: bool) -> str:
    """Say how many rows are used, and what becomes of the others."""
    left = {name.removeprefix("dropped_"): number for name, number in seen.counts.items() if number}
    told = [f"{left[name]} for their {name}" for name in ("prompt", "completion", "chosen", "rejected") if name in left]
    told += [f"{left['empty']} for an answer without a token"] if "empty" in left else []
    parts = [f"{seen.rows} rows, {seen.used} {'trained on' if training else 'used'}"]
    if seen.used < seen.rows:
        parts.append(": ".join([f"{seen.rows - seen.used} left out", *([", ".join(told)] if told else [])]))
    if "cut" in left:
        parts.append(f"{left['cut']} prompts cut on the left")
    return "; ".join(parts)


def _indented(pieces: Sequence[tuple[str, bool]], between: str) -> Iterator[str]:
    text = between.join(f"«{text}»" if special else text for text, special in pieces)
    yield from (f"    {line}" for line in text.split("\n"))


def _first_look(registry: Registry, path: Path, count: int, *, as_json: bool) -> None:
    """Say what a file of the user's holds, and how a benchmark file would read it."""
    if not path.exists():
        raise InputError("no such file or folder", where=str(path), expected="a benchmark file, or data of your own")
    registration, options = _sketch(registry, path)
    dataset = registry.build("dataset", registration.name, options)
    checked = registry.options("dataset", registration.name, options)
    splits = registration.splits_in(checked, path)
    kind = registration.kind(checked, path, splits[0])
    notes: list[str] = []
    counts: dict[str, int] = {}
    shown: list[Example] = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        dataset.prepare(path, folder)
        for split in splits:
            rows = iter(dataset.load(folder, split))
            first = list(itertools.islice(rows, count))
            shown = shown or first
            counts[split] = len(first) + sum(1 for _ in itertools.islice(rows, _MOST))
            notes += getattr(dataset, "notes", lambda *_: ())(folder, split)
    entry = {"dataset": registration.name, "path": str(path), **options}
    test = "test" if "test" in splits else splits[-1]
    lines = {"train": entry, "evaluate": [{**entry, "split": test}]}
    if as_json:
        rows_ = [_described(example) for example in shown]
        click.echo(json.dumps({"kind": kind, "splits": counts, "notes": notes, "use": lines, "first": rows_}, indent=1))
        return
    told = [f"{'more than ' if number > _MOST else ''}{number} in {split}" for split, number in counts.items()]
    click.echo(f"{path}: {_kind(kind)}; rows: {', '.join(told)}")
    for number, example in enumerate(shown, start=1):
        click.echo(f"\nrow {number}, id {example.id}")
        for part, text in _described(example).items():
            click.echo(f"  {part}: {_short(text)}")
    click.echo("")
    for note in dict.fromkeys(notes):
        click.echo(f"note: {note}")
    click.echo("\nIn a benchmark file:\n")
    click.echo(_yaml(lines))


def _sketch(registry: Registry, path: Path) -> tuple[DatasetRegistration, dict[str, Any]]:
    """Return the data set that can read a path, and the options to do so."""
    from harness.api import DatasetRegistration

    mistakes: list[HarnessError] = []
    for row in registry.plugins:
        registration = row.registration
        if not isinstance(registration, DatasetRegistration) or registration.sketch is None:
            continue
        try:
            return registration, dict(registration.sketch(path))
        except HarnessError as error:
            mistakes.append(error)
    raise InputErrors(mistakes) if mistakes else InputError("no data set reads files", where=str(path))


def _described(example: Example) -> dict[str, Any]:
    """Return what a row has, by the names that templates, methods and metrics know it by."""
    fields = {name: text for name, text in example.fields.items() if text and name != "instruction"}
    answers = {name: getattr(example, name) for name in ("completion", "chosen", "rejected", "label")}
    columns: Mapping[str, Any] = {f"column {name}": value for name, value in example.columns.items()}
    return {**(fields or dict(example.fields)), **{k: v for k, v in answers.items() if v is not None}, **columns}


def _short(value: Any) -> str:
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    text = text.replace("\n", "\\n")
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}… ({len(text)} characters)"


def _yaml(value: Any) -> str:
    """Return plain values as a benchmark file has them: a key a line, the rest within braces."""
    import io

    from ruamel.yaml import YAML

    out = io.StringIO()
    writer: Any = YAML(typ="safe", pure=True)
    writer.default_flow_style = None
    writer.width = 10_000
    writer.sort_base_mapping_type_on_output = False
    writer.representer.ignore_aliases = lambda *_: True
    writer.dump(value, out)
    return out.getvalue().rstrip()
