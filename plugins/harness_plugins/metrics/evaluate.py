"""Any module of Hugging Face's ``evaluate`` as a metric: one on the hub by name, or one on disk by path.

A module is code that runs here with the user's rights, as an installed plugin does. The sha256 of a local module's
source is in the resolved options, so that a changed module is scored anew; a hub module's is in the signature.
"""

from __future__ import annotations

import ast
import hashlib
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field, ValidationInfo, field_validator

from harness.api import Column, MetricRegistration, Options, hookimpl

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping


class EvaluateOptions(Options):
    """Which module, what to give it and which of its results to keep."""

    module: str
    """A name on the hub (``exact_match``, ``user/my_metric``), or the path of a local module: its file ``x.py`` or a
    folder ``x`` with ``x.py`` in it, relative to the working directory."""
    keys: tuple[str, ...] = Field(min_length=1)
    """Keys of the module's result; each becomes a column. A list gives a value an answer, a number one for the list."""
    kwargs: dict[str, Any] = Field(default_factory=dict)
    """Further arguments of the module's ``compute``."""
    config_name: str | None = None
    """The module's configuration, where it has several."""
    revision: str | None = None
    """Commit, tag or branch of a hub module; the release that belongs to the installed ``evaluate`` where None."""
    references: Literal["auto", "all", "first"] = "auto"
    """Give the module a list of references an answer or the first one only; ``auto`` does what the module can take."""
    per_answer: bool = True
    """Also compute a number on each answer alone, where the module gives one for the list: what paired tests need, and
    right for numbers that are means over answers. ``false`` for a module that is only defined over a list: its column
    is then missing and the number over the list is alone."""
    higher_is_better: bool | None = None
    """None: the tables rank nothing by it."""
    scale: float = 1.0
    """Tables show the value times this."""
    digits: int = Field(2, ge=0, le=10)
    """Decimals that tables show."""
    role: Literal["score", "fluency", "other"] = "score"
    """The table its columns belong to."""
    sha256: str | None = None
    """Of a local module's source; filled in where None, checked where given."""

    @field_validator("sha256")
    @classmethod
    def _of_the_source(cls, value: str | None, info: ValidationInfo) -> str | None:
        module = info.data.get("module")
        if module is None:  # it was refused already
            return value
        digest = local_digest(module)
        if digest is not None and info.data.get("revision") is not None:
            raise ValueError(f"`revision` is for modules on the hub, and {module} is a local one")
        if value is not None and value != digest:
            raise ValueError(f"{module} has sha256 {digest}" if digest else f"{module} is not a local module")
        return digest


def local_file(module: str) -> Path | None:
    """Return the source file of a local module, None for a name on the hub.

    Raises:
        ValueError: It is written like a path, and no module is there.
    """
    path = Path(module).expanduser()
    file = path if path.suffix == ".py" else path / f"{path.name}.py"
    if file.is_file():
        return file
    if path.suffix == ".py" or module.startswith((".", "/", "~")) or module.count("/") > 1 or path.is_dir():
        raise ValueError(f"there is no evaluate module at {module} (looked for {file})")
    return None


def local_digest(module: str) -> str | None:
    """Return the sha256 of a local module and the neighbours it imports by ``from .name``; None for one on the hub."""
    file = local_file(module)
    if file is None:
        return None
    total = hashlib.sha256()
    for source in [file, *_neighbours(file)]:
        total.update(f"{source.name}\0{hashlib.sha256(source.read_bytes()).hexdigest()}\n".encode())
    return total.hexdigest()


def _neighbours(file: Path) -> list[Path]:
    try:
        tree = ast.parse(file.read_bytes(), str(file))
    except SyntaxError as error:
        raise ValueError(f"the module {file} is not Python: {error}") from error
    names = {
        node.module.partition(".")[0]
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom) and node.level == 1 and node.module
    }
    return [path for name in sorted(names) if (path := file.with_name(f"{name}.py")).is_file()]


def _columns(options: EvaluateOptions) -> Mapping[str, Any]:
    stem = Path(options.module).stem
    columns = tuple(
        Column(
            key,
            stem if key == stem else f"{stem} {key}",
            higher_is_better=options.higher_is_better,
            scale=options.scale,
            digits=options.digits,
        )
        for key in options.keys
    )
    return {"columns": columns, "corpus": () if options.per_answer else columns, "role": options.role}


@hookimpl
def harness_register_metrics() -> Iterable[MetricRegistration]:
    """Offer ``evaluate``."""
    return [
        MetricRegistration(
            name="evaluate",
            summary="any module of Hugging Face's evaluate, by name on the hub or by path",
            build="harness_plugins.metrics.evaluate_module:EvaluateModule",
            options=EvaluateOptions,
            source="https://huggingface.co/docs/evaluate",
            may_read=("references",),
            columns=(Column("value", "value"),),
            by_options=_columns,
        )
    ]
