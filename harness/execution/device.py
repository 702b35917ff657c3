"""Which device the stages run on, found out without importing torch."""

from __future__ import annotations

import ctypes


def resolve_device(wanted: str) -> str:
    """Return ``cpu``, ``cuda`` or ``cuda:N``; ``auto`` takes a GPU where the driver reports one."""
    if wanted != "auto":
        return wanted
    return "cuda" if _cuda_devices() else "cpu"


def _cuda_devices() -> int:
    try:
        driver = ctypes.CDLL("libcuda.so.1")
    except OSError:
        return 0
    count = ctypes.c_int(0)
    if driver.cuInit(0) != 0 or driver.cuDeviceGetCount(ctypes.byref(count)) != 0:
        return 0
    return count.value
