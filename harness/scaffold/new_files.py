"""Files that are written once: nothing of the user's is overwritten."""

from __future__ import annotations

from typing import TYPE_CHECKING

from harness.errors import InputError, MachineError

if TYPE_CHECKING:
    from pathlib import Path


def write_new(path: Path, text: str, *, hint: str | None = None) -> None:
    """Write a text file where none is.

    Raises:
        InputError: there is one, which ``hint`` may say how to avoid.
        MachineError: it cannot be written.
    """
    try:
        with path.open("x", encoding="utf-8") as file:
            file.write(text)
    except FileExistsError:
        what = "there is a file already, and nothing is overwritten"
        raise InputError(what, where=str(path), hint=hint) from None
    except OSError as error:
        raise MachineError(f"cannot write: {error.strerror or error}", where=str(path)) from error


def make_new_folder(path: Path) -> None:
    """Make a folder where nothing, or an empty folder, is.

    Raises:
        InputError: there is something already.
        MachineError: it cannot be made.
    """
    try:
        path.mkdir(parents=True, exist_ok=True)
        occupied = any(path.iterdir())
    except (FileExistsError, NotADirectoryError):
        occupied = True
    except OSError as error:
        raise MachineError(f"cannot be made: {error.strerror or error}", where=str(path)) from error
    if occupied:
        what = "there is something already, and nothing is overwritten"
        raise InputError(what, where=str(path), expected="a folder that is empty or not there yet")
