"""The compiled kernels: built by the machine's C compiler when they are first wanted, and kept in the user's cache.

A wheel would have to run on the oldest processor that it is meant for; what is compiled where it runs uses all of it.
Without a compiler, with one that knows no OpenMP, or where torch brings none, everything works with torch's kernels.
"""

from __future__ import annotations

import ctypes
import functools
import hashlib
import logging
import os
import platform
import shlex
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, cast

import torch

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from torch import Tensor

log = logging.getLogger(__name__)

#: Set to ``torch``, this variable does without kernels of our own.
SWITCH: Final = "HARNESS_KERNELS"

#: Keys that are kept in one tile: a multiple of every width of a product's tile in ``kernels.c``.
TILE: Final = 48

_SOURCE = Path(__file__).with_name("kernels.c")
#: Warnings are for who changes the source (compile it with -Wall -Wextra), not for who runs it.
_FLAGS = ("-std=gnu11", "-O3", "-fno-math-errno", "-fno-trapping-math", "-fopenmp", "-fPIC", "-w", f"-DTILE={TILE}")
#: How a compiler is told to use all that this processor has; the first that it takes.
_TUNED = (("-march=native",), ("-mcpu=native",), ())
_TYPES: Final[Mapping[torch.dtype, tuple[Any, tuple[str, ...]]]] = {
    torch.float32: (ctypes.c_float, ()),
    torch.float64: (ctypes.c_double, ("-DDOUBLE",)),
}
_SECONDS = 120
#: The sha256 of what was loaded for each type.
_digests: dict[torch.dtype, str] = {}


class States(ctypes.Structure):
    """Queries, keys or values (N, H, D), as the kernels take them: where, and the numbers from one to the next."""

    _fields_ = (("at", ctypes.c_void_p), ("row", ctypes.c_int64), ("head", ctypes.c_int64))

    @classmethod
    def of(cls, rows: Tensor) -> States:
        """Describe ``rows`` (N, H, D), whose D numbers lie side by side; it must outlive what is returned."""
        return cls(rows.data_ptr(), rows.stride(0), rows.stride(1))


def width(rows: Tensor) -> int:
    """Return how many numbers the D of ``rows`` (N, H, D) take where the kernels keep them: whole vectors."""
    lanes = 64 // rows.element_size()
    return -(-rows.shape[-1] // lanes) * lanes


def tiles(tokens: int) -> int:
    """Return how many tiles so many keys take."""
    return -(-tokens // TILE)


def lean(rows: Tensor) -> Tensor:
    """Return ``rows`` (N, H, D) as it is if the kernels can read it, else a copy."""
    return rows if rows.stride(2) == 1 else rows.contiguous()


def kernels(*tensors: Tensor) -> Any:
    """Return the kernels for tensors of one type on a processor, None where there are none for them.

    Returns:
        A :class:`ctypes.CDLL`: the functions of ``kernels.c``.
    """
    first = tensors[0]
    if any(each.dtype != first.dtype or each.device.type != "cpu" for each in tensors) or first.dtype not in _TYPES:
        return None
    return _load(first.dtype)


def available() -> bool:
    """Tell whether there are kernels for float32."""
    return _load(torch.float32) is not None


@functools.cache
def _load(dtype: torch.dtype) -> ctypes.CDLL | None:
    if os.environ.get(SWITCH, "") == "torch":
        return None
    real, defines = _TYPES[dtype]
    try:
        library, _digests[dtype] = _built(defines)
        return _typed(library, real)
    except (OSError, subprocess.SubprocessError) as error:
        log.info("torch's kernels are used, ours cannot be compiled here: %s", error)
        return None


def digest() -> str:
    """Return the sha256 of the compiled kernels for float32, empty where there are none."""
    return _digests[torch.float32] if available() else ""


def _built(defines: Sequence[str]) -> tuple[ctypes.CDLL, str]:
    """Compile the kernels, unless that was done before, and load them; or raise OSError or SubprocessError.

    What was compiled is named by its sha256, which is checked before it is loaded: a file that has lost its end would
    take the process with it, and one with another bit would compute something else.

    Returns:
        the functions of ``kernels.c``, and the sha256 of the file.
    """
    compiler = (
        shlex.split(os.environ.get("CC", ""))
        or [found for name in ("cc", "gcc", "clang") if (found := shutil.which(name))][:1]
    )
    if not compiler:
        raise FileNotFoundError("no C compiler is found")
    source = _SOURCE.read_bytes()
    known = "\0".join((*compiler, *_FLAGS, *defines, _processor()))
    name = f"kernels-{hashlib.sha256(known.encode() + source).hexdigest()[:32]}"
    with tempfile.TemporaryDirectory(prefix="harness-kernels-") as made:
        folder = _cache() or Path(made)
        library = _whole(folder, name) or _compile(compiler, defines, Path(made), folder, name)
        # OpenMP is torch's: what is not linked is found among the libraries that it has loaded for everyone
        return ctypes.CDLL(str(library)), library.stem.removeprefix(f"{name}-")


def _whole(folder: Path, name: str) -> Path | None:
    """Return the compiled kernels if they are what was compiled; remove them, and say so, if they are not."""
    for library in sorted(folder.glob(f"{name}-*.so")):
        if library.stem == f"{name}-{hashlib.sha256(library.read_bytes()).hexdigest()}":
            return library
        log.warning("the compiled kernels are damaged, and are compiled again: %s", library)
        library.unlink(missing_ok=True)
    return None


def _compile(compiler: Sequence[str], defines: Sequence[str], folder: Path, target: Path, name: str) -> Path:
    made = folder / "kernels.o"
    for place, tuned in enumerate(_TUNED):
        command = [*compiler, *_FLAGS, *tuned, *defines, "-c", str(_SOURCE), "-o", str(made)]
        try:
            _run(command)
            break
        except subprocess.CalledProcessError:
            if place == len(_TUNED) - 1:
                raise
    # beside its place and then into it: another process may be doing the same
    handle, partial = tempfile.mkstemp(dir=target, prefix=name, suffix=".part")
    os.close(handle)
    try:
        _run([*compiler, "-shared", str(made), "-o", partial, "-lm"])
        library = target / f"{name}-{hashlib.sha256(Path(partial).read_bytes()).hexdigest()}.so"
        Path(partial).replace(library)
    finally:
        Path(partial).unlink(missing_ok=True)
    return library


def _run(command: Sequence[str]) -> None:
    subprocess.run(command, check=True, stdin=subprocess.DEVNULL, capture_output=True, timeout=_SECONDS)


def _cache() -> Path | None:
    """Return the folder where compiled kernels are kept, None where none can be."""
    base = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    try:
        folder = Path(base).expanduser() / "posttune-harness"
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    except (OSError, RuntimeError):  # no home
        return None
    # what others may write would be run as this user
    mine = folder.stat().st_uid == os.getuid() and not folder.stat().st_mode & 0o022
    return folder if mine and os.access(folder, os.W_OK) else None


def _processor() -> str:
    """Return what tells processors apart that code compiled for one might not run on: a home is shared by machines."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        lines = []
    said = {line for line in lines if line.startswith(("model name", "flags", "Features", "CPU part"))}
    return "\n".join([platform.machine(), *sorted(said)])


def _typed(library: ctypes.CDLL, real: Any) -> ctypes.CDLL:
    """Say what the functions of ``kernels.c`` take."""
    count, number, at = ctypes.c_int, ctypes.c_long, ctypes.c_void_p
    states = ctypes.POINTER(States)
    shape = [count, count, count, count, real, count]  # threads, heads, groups, size, scale, how many
    for name, takes in {
        "attend": [*shape, at, at, states, states, states, at, at, number],
        "attend_back": [
            *shape, at, at, states, states, states, at, at, number, at, states, states, states,
        ],
        "keep_prompts": [count, count, count, count, at, states, states, at, at],
        "attend_on": [*shape, at, at, at, at, number, number, at, at, states, states, states, at],
        "soften_rows": [count, number, number, at, at, at],
        "gelu": [count, number, at, at],
        "gelu_back": [count, number, at, at, at],
    }.items():  # fmt: skip
        function = cast("Any", getattr(library, name))
        function.argtypes, function.restype = takes, None
    return library
