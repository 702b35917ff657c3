"""Whether hubs and registries can be reached: asked for alone, and briefly."""

from __future__ import annotations

import email.utils
import os
import time
import urllib.error
import urllib.request
from typing import TYPE_CHECKING, Final

from harness.doctor.clock import check_against
from harness.doctor.finding import Finding

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

#: Seconds for each.
TIMEOUT: Final = 3.0


def places(environment: Mapping[str, str] | None = None) -> dict[str, str]:
    """Return the addresses that are asked, by what they are, as the environment may name others."""
    environment = os.environ if environment is None else environment
    return {
        "the hub": environment.get("HF_ENDPOINT", "https://huggingface.co"),
        "GitHub": "https://raw.githubusercontent.com",
        "the package index": environment.get("PIP_INDEX_URL", "https://pypi.org/simple/"),
    }


def check_network(addresses: Mapping[str, str], timeout: float = TIMEOUT) -> Iterator[Finding]:
    """Ask each address for its head; any answer counts, also a refusal."""
    for what, address in addresses.items():
        began = time.perf_counter()
        try:
            date = _asked(address, timeout)
        except (OSError, ValueError) as error:
            reason = getattr(error, "reason", error)
            yield Finding(
                "network", "warns", f"{what} was not reached: {' '.join(str(reason).split())}",
                "models, data and packages that are not on disk cannot be fetched",
                "harness prepare FILE on a machine that reaches it, then HF_HUB_OFFLINE=1 here; or set a proxy",
            )  # fmt: skip
            continue
        yield Finding("network", "fine", f"{what} answers in {1000 * (time.perf_counter() - began):.0f} ms")
        if date is not None:
            yield from check_against(date, time.time())


def _asked(address: str, timeout: float) -> float | None:
    """Return when an answer was sent, in seconds since 1970, where it says so."""
    request = urllib.request.Request(address, method="HEAD")  # noqa: S310  # the user's own addresses
    if request.type not in {"http", "https"}:
        raise ValueError(f"an address of type {request.type}")
    try:
        with urllib.request.urlopen(request, timeout=timeout) as answer:  # noqa: S310  # as above
            headers = answer.headers
    except urllib.error.HTTPError as error:
        headers = error.headers
    said = headers.get("date")
    try:
        return email.utils.parsedate_to_datetime(said).timestamp() if said else None
    except (TypeError, ValueError):
        return None
