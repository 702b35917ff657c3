"""Finding a Ray cluster, and keeping this process its own while it is connected."""

from __future__ import annotations

import contextlib
import logging
import os
import signal
import socket
import threading
from typing import TYPE_CHECKING, Any

from harness.errors import InputError, MachineError, first_line
from harness.training.stop import END, KEEP

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

#: Seconds that a cluster has to answer.
_ANSWER = 10.0


def connected(address: str | None) -> Any:
    """Connect to a cluster and return the module ``ray``.

    Raises:
        MachineError: Ray is not installed, or there is no such cluster.
        InputError: an address of another kind.
    """
    address = address or os.environ.get("RAY_ADDRESS") or "auto"
    if address.startswith("ray://"):
        hint = "start harness run on a node of the cluster, with --address auto"
        raise InputError("Ray's client cannot carry stages", where="--address", got=address, hint=hint)
    host, colon, port = address.rpartition(":")
    if address != "auto" and not (colon and host and port.isdigit()):
        raise InputError("is no address of a Ray cluster", where="--address", got=address, expected="auto or HOST:PORT")
    try:
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
        import ray
    except ImportError:
        hint = "pip install 'posttune-harness[ray]'"
        raise MachineError("Ray is not installed", where="--executor ray", hint=hint) from None
    none = MachineError("there is no Ray cluster", where="--address", got=address, hint="ray start --head begins one")
    if address != "auto":
        try:  # Ray itself waits for minutes
            socket.create_connection((host, int(port)), timeout=_ANSWER).close()
        except (OSError, OverflowError) as error:
            none.hint = f"{error}; ray start --head begins one"
            raise none from None
    try:
        with _own_signals():
            ray.init(address=address, log_to_driver=False, logging_level=logging.CRITICAL, configure_logging=True)
    except ConnectionError:
        raise none from None
    except (RuntimeError, OSError, ValueError) as error:  # another release, a broken session
        what = f"cannot use this Ray cluster: {first_line(error)}"
        raise MachineError(what, where="--address", got=address) from None
    return ray


@contextlib.contextmanager
def _own_signals() -> Iterator[None]:
    """Keep this process's ways of being ended, which Ray would replace."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    numbers: Iterable[signal.Signals] = (*END, KEEP)
    before = {number: signal.getsignal(number) for number in numbers}
    try:
        yield
    finally:
        for number, handler in before.items():
            if handler is not None:
                signal.signal(number, handler)
