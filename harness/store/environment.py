"""What can change the last bits of a result: libraries, processor, threads, device and ranks. It names no machine."""

from __future__ import annotations

import functools
import platform
from importlib import metadata
from pathlib import Path
from typing import Any

#: Distributions whose release can change a number.
LIBRARIES = (
    "posttune-harness", "torch", "transformers", "tokenizers", "accelerate", "safetensors", "numpy", "rapidfuzz",
    "sacrebleu", "nltk", "datasets", "peft", "gguf",
)  # fmt: skip


def fingerprint(*, threads: int, device: str, ranks: int) -> dict[str, Any]:
    """Return the environment of a stage; an unfinished stage resumes only under an equal one."""
    return {
        "threads": threads,
        "device": device,
        "ranks": ranks,
        "python": platform.python_version(),
        "system": platform.system(),
        "machine": platform.machine(),
        "processor": _processor(),
        "libraries": dict(_versions()),
    }


@functools.cache
def _versions() -> tuple[tuple[str, str], ...]:
    versions = []
    for name in LIBRARIES:
        try:
            versions.append((name, metadata.version(name)))
        except metadata.PackageNotFoundError:
            versions.append((name, "absent"))
    return tuple(versions)


@functools.cache
def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return platform.processor() or "unknown"
    names = (line.partition(":")[2].strip() for line in lines if line.startswith(("model name", "Model")))
    return next(names, platform.processor() or "unknown")
