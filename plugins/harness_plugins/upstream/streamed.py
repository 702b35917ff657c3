"""Data sets of the hub, or a folder that holds the files of one, read row by row through the library ``datasets``.

Only the split that is asked for is fetched, and of that no more than is read.
"""

from __future__ import annotations

import logging
import tempfile
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from harness.api import InputError, MachineError, suggest
from harness_plugins.upstream.local import combined, content_sha256, listing

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

_OFFLINE: Final = "fetch it where there is a connection and give its folder: `path:` beside the data set"
_SECONDS: Final = 30


class Pinned(NamedTuple):
    """A data set of the hub at one commit."""

    id: str
    """Owner and name, as the hub has them today."""
    commit: str
    """40 hex digits."""


def pin(name: str, revision: str) -> Pinned:
    """Return the commit that a revision is today.

    Raises:
        InputError: the hub has no such revision.
        MachineError: the hub cannot be reached, or does not show the data set.
    """
    from huggingface_hub import HfApi, errors

    where = f"hub data set {name!r}"
    try:
        with _quiet():
            info = HfApi().dataset_info(name, revision=revision, timeout=_SECONDS)
    except errors.GatedRepoError:
        raise MachineError("the data set is gated: accept its terms and log in (hf auth login)", where=where) from None
    except errors.RevisionNotFoundError:
        raise InputError("the hub has no such revision", where=where, got=revision,
                         expected="a commit, a branch or a tag of the data set") from None  # fmt: skip
    except errors.RepositoryNotFoundError:
        raise MachineError("the hub has no such data set, or does not show it without a log-in (401)", where=where,
                           hint="its id is the owner/name at the end of its page's address") from None  # fmt: skip
    except errors.OfflineModeIsEnabled:
        raise MachineError("HF_HUB_OFFLINE is set, and this data comes from the hub", where=where,
                           hint=_OFFLINE) from None  # fmt: skip
    except Exception as error:  # noqa: BLE001  # the HTTP client below the hub's library changes with its version
        raise MachineError(f"the hub cannot be reached, or does not answer as it should: {_first(error)}", where=where,
                           hint=_OFFLINE) from None  # fmt: skip
    if not info.sha:
        raise MachineError("the hub does not say which commit this is", where=where)
    return Pinned(info.id, info.sha)


def folder_sha256(folder: Path) -> str:
    """Return one sha256 for all files of a folder, by their names in it; hidden ones do not count.

    Raises:
        InputError: a file cannot be read.
    """
    files = {path.relative_to(folder).as_posix(): path for path in sorted(folder.rglob("*")) if path.is_file()}
    return combined({name: content_sha256(path) for name, path in files.items() if not _is_hidden(name)})


def _is_hidden(name: str) -> bool:
    return any(part.startswith(".") for part in name.split("/"))


def split_names(source: Pinned | Path, config: str | None) -> tuple[str, ...]:
    """Return the splits that a data set has.

    Raises:
        InputError: no such configuration, or nothing that is a data set.
        MachineError: the hub does not answer.
    """
    with _opened(source, config) as splits:
        return tuple(splits)


def stream(source: Pinned | Path, config: str | None, split: str) -> Iterator[dict[str, Any]]:
    """Yield the rows of a split as Python values; images and sounds stay bytes.

    Raises:
        InputError: no such configuration or split, or a file that cannot be read.
        MachineError: the hub does not answer.
    """
    where = called(source)
    with _opened(source, config) as splits:
        if split not in splits:
            raise InputError("no such split", where=where, got=split, expected=f"one of {', '.join(splits)}",
                             did_you_mean=suggest(split, splits))  # fmt: skip
        rows = splits[split]
        if rows.features is not None:
            rows = rows.decode(False)
        number = 0
        try:
            for number, row in enumerate(rows, start=1):  # noqa: B007  # which row was the last
                yield row
        except Exception as error:  # noqa: BLE001  # whatever the readers below `datasets` say
            behind = f" behind row {number}" if number else ""
            raise _unread(error, f"{where}, split {split}", source, behind) from None


def called(source: Pinned | Path) -> str:
    """Return what a message should call a data set."""
    return f"{source.id}@{source.commit[:12]}" if isinstance(source, Pinned) else str(source)


@contextmanager
def _opened(source: Pinned | Path, config: str | None) -> Iterator[dict[str, Any]]:
    """Give the splits of a data set, each to be read row by row."""
    import datasets

    where = called(source)
    with tempfile.TemporaryDirectory() as cache, _quiet():  # an empty cache: what another commit left there is not read
        try:
            # `hf://` so that no folder of that name on this machine is taken for it
            path = f"hf://datasets/{source.id}" if isinstance(source, Pinned) else str(source)
            commit = source.commit if isinstance(source, Pinned) else None
            splits = datasets.load_dataset(path, config, revision=commit, streaming=True, cache_dir=cache)
        except ValueError as error:
            _raise_for_config(error, source, config, where)
            raise _unread(error, where, source) from None
        except Exception as error:  # noqa: BLE001  # whatever the hub's client and the readers say
            raise _unread(error, where, source) from None
        yield dict(splits)


def _raise_for_config(error: ValueError, source: Pinned | Path, config: str | None, where: str) -> None:
    """Raise InputError where what is wrong is the configuration."""
    import datasets

    text = str(error)
    if "BuilderConfig" not in text and "Config name is missing" not in text:
        return
    path = f"hf://datasets/{source.id}" if isinstance(source, Pinned) else str(source)
    commit = source.commit if isinstance(source, Pinned) else None
    try:
        names = [str(name) for name in datasets.get_dataset_config_names(path, revision=commit)]
    except Exception:  # noqa: BLE001  # the message does without
        names = []
    what = "the data set has several configurations, and none is named" if config is None else "no such configuration"
    raise InputError(what, where=where, got=config, expected=f"config: one of {', '.join(names)}" if names else None,
                     did_you_mean=suggest(config or "", names)) from None  # fmt: skip


def _unread(error: Exception, where: str, source: Pinned | Path, behind: str = "") -> InputError | MachineError:
    """Return what to say of data that cannot be read."""
    import datasets

    said = _first(error)
    if isinstance(error, InputError | MachineError):
        return error
    if isinstance(error, datasets.exceptions.DataFilesNotFoundError | datasets.data_files.EmptyDatasetError):
        got = None if isinstance(source, Pinned) else listing(source)
        return InputError("there are no data files that `datasets` can read", where=where, got=got,
                          expected="JSON, JSON Lines, CSV, Parquet or Arrow files")  # fmt: skip
    if isinstance(source, Pinned) and isinstance(error, OSError) and not isinstance(error, FileNotFoundError):
        return MachineError(f"the data cannot be fetched{behind}: {said}", where=where, hint=_OFFLINE)
    return InputError(f"the data cannot be read{behind}: {type(error).__name__}: {said}", where=where)


def _first(error: BaseException) -> str:
    """Return the first line of the deepest cause that says something."""
    causes = [error]
    while (cause := causes[-1].__cause__) is not None and len(causes) < 8:
        causes.append(cause)
    lines = [line for each in reversed(causes) for line in str(each).strip().splitlines()[:1]]
    return lines[0] if lines else type(error).__name__


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep the libraries' bars and warnings to themselves: the harness shows its own progress."""
    from huggingface_hub.utils.tqdm import are_progress_bars_disabled, disable_progress_bars, enable_progress_bars

    loggers = [logging.getLogger(name) for name in ("huggingface_hub", "datasets")]
    levels = [logger.level for logger in loggers]
    shown = not are_progress_bars_disabled()
    disable_progress_bars()
    for logger in loggers:
        logger.setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
        if shown:
            enable_progress_bars()
