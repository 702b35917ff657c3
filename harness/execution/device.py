"""Which device the stages run on, found out without importing torch."""

from __future__ import annotations

import ctypes
import ctypes.util
import os

from harness.errors import MachineError


def resolve_device(wanted: str) -> str:
    """Return ``cpu``, ``cuda`` or ``cuda:N``; ``auto`` takes a GPU where the driver reports one.

    Raises:
        MachineError: a GPU that is not there.
    """
    if wanted == "cpu":
        return wanted
    count = _cuda_devices()
    if wanted == "auto":
        return "cuda" if count else "cpu"
    number = int(wanted.partition(":")[2] or 0)
    if number >= count and not _has_rocm():
        raise MachineError(
            "this device is not available",
            where="execution.device",
            got=wanted,
            expected=f"one of cpu, {', '.join(f'cuda:{n}' for n in range(count))}" if count else "cpu: there is no GPU",
        )
    return wanted


def gpus() -> tuple[str, ...]:
    """Return the GPUs that this process sees, by the names that CUDA_VISIBLE_DEVICES has for them."""
    count = _cuda_devices()
    named = [name.strip() for name in os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",") if name.strip()]
    return tuple(named[:count] if named else map(str, range(count)))


def memory_of(place: str) -> int | None:
    """Return the bytes of memory of this machine for ``cpu``, else of one GPU; None where they cannot be told."""
    if place == "cpu":
        try:
            return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
        except (AttributeError, OSError, ValueError):
            return None
    try:
        driver = ctypes.CDLL("libcuda.so.1")
    except OSError:
        return None
    gpu, size = ctypes.c_int(0), ctypes.c_size_t(0)
    number = int(place.partition(":")[2] or 0)
    if (
        driver.cuInit(0)
        or driver.cuDeviceGet(ctypes.byref(gpu), number)
        or driver.cuDeviceTotalMem_v2(ctypes.byref(size), gpu)
    ):
        return None
    return size.value


def _has_rocm() -> bool:
    """Return whether there is AMD's runtime, whose devices PyTorch calls ``cuda`` too; PyTorch itself counts them."""
    return ctypes.util.find_library("amdhip64") is not None


def _cuda_devices() -> int:
    try:
        driver = ctypes.CDLL("libcuda.so.1")
    except OSError:
        return 0
    count = ctypes.c_int(0)
    if driver.cuInit(0) != 0 or driver.cuDeviceGetCount(ctypes.byref(count)) != 0:
        return 0
    return count.value
