"""Files on the hub and on GitHub: fetched once, checked, and told apart from what a proxy says in their place."""

from __future__ import annotations

import logging
import re
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn, cast
from urllib.error import HTTPError
from urllib.parse import quote

from harness.api import InputError, MachineError, Provenance
from harness_plugins.upstream.local import unpack

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

#: Where GitHub serves the files of a commit.
GITHUB = "https://raw.githubusercontent.com"
_SECONDS = 30
_COMMIT = re.compile(r"[0-9a-f]{40}")


@dataclass(frozen=True)
class HubFile:
    """A file of a data set on the hub."""

    repository: str
    name: str
    sha256: str | None = None
    """Of the known content, which a download without a revision is checked against; None where it is always asked for
    by a revision."""


@dataclass(frozen=True)
class GitHubFile:
    """A file of a repository on GitHub, at a commit that is known."""

    repository: str
    name: str
    sha256: str
    """Of the content at that commit."""
    commit: str


def identity(file: HubFile | GitHubFile, revision: str | None) -> Mapping[str, Any]:
    """Return what fixes the content of a file: the sha256 that it must have, or the revision that was asked for."""
    if revision is None:
        return {"sha256": file.sha256}
    return {"repository": file.repository, "file": file.name, "revision": revision}


def fetch(file: HubFile | GitHubFile, revision: str | None, target: Path, *, dataset: str) -> Provenance:
    """Download one file and check it.

    With a ``revision`` the content is whatever that is; without one it must have the known sha256.

    Raises:
        InputError: no such revision, or content that is not what is known of it.
        MachineError: the machine gets no answer, or none that is the file.
    """
    help_ = (
        f"without a connection, give the upstream's own file: `path:` beside the data set, or -o sources.{dataset}=PATH"
    )
    if isinstance(file, HubFile):
        where = f"data set {dataset!r}, hub {file.repository}"
        downloaded, commit = _from_hub(file, revision, where, help_)
        digest = unpack(downloaded, target, f"{file.repository}/{file.name}")
        kept = f"\n  the hub's cache has it as {downloaded}; delete that to fetch it again"
        name = file.repository
    else:
        where = f"data set {dataset!r}, GitHub {file.repository}"
        commit = revision or file.commit
        download = target.with_name(f"{target.name}.download")
        download.write_bytes(_from_github(file, commit, where, help_, named=revision is not None))
        digest = unpack(download, target, f"{file.repository}/{file.name}")
        download.unlink()
        kept, name = "", f"github.com/{file.repository}"
    if target.read_bytes()[:512].lstrip().lower().startswith((b"<!doctype", b"<html", b"<head")):
        raise MachineError("a web page came in place of the file: a proxy or a log-in?", where=where, hint=help_ + kept)
    if revision is None and digest != file.sha256:
        raise InputError(
            f"the downloaded {file.name} is not the one that is known", where=where, got=f"sha256 {digest}",
            expected=f"sha256 {file.sha256}", hint="name a `revision:` to read what is there" + kept,
        )  # fmt: skip
    return Provenance(origin=name, revision=commit, sha256=digest)


def _from_hub(file: HubFile, revision: str | None, where: str, help_: str) -> tuple[Path, str | None]:
    """Return the file in the hub's cache and the commit that the revision resolved to."""
    from huggingface_hub import errors, hf_hub_download
    from huggingface_hub.utils.tqdm import tqdm

    class Silent(tqdm):
        """The harness shows its own progress."""

        def __init__(self, *args: Any, **kwargs: Any) -> None:
            cast("Any", super()).__init__(*args, **{**kwargs, "disable": True})

    try:
        with _quiet("huggingface_hub"):
            found = hf_hub_download(
                file.repository, file.name, repo_type="dataset", revision=revision, tqdm_class=Silent
            )
    except errors.GatedRepoError:
        raise MachineError("the data set is gated: accept its terms and log in", where=where, hint=help_) from None
    except errors.RevisionNotFoundError:
        raise InputError("the hub has no such revision", where=where, got=revision) from None
    except errors.RepositoryNotFoundError:
        raise MachineError(
            "the hub has no such data set, or does not show it without a log-in (401)", where=where, hint=help_
        ) from None
    except errors.RemoteEntryNotFoundError:
        raise InputError("the data set has no such file", where=where, got=f"{file.name} at {revision}") from None
    except Exception as error:  # noqa: BLE001  # the HTTP client below the hub's library changes with its version
        _no_answer("the hub", error, where, help_)
    # the cache keeps a file under snapshots/COMMIT/
    commit = next((part for part in Path(found).parts[::-1] if _COMMIT.fullmatch(part)), None)
    return Path(found), commit


def _from_github(file: GitHubFile, commit: str, where: str, help_: str, *, named: bool) -> bytes:
    """Return the content of a file at a commit."""
    from http.client import HTTPException  # with ssl below it, which takes as long to import as a data set to plan
    from urllib.request import Request, urlopen

    from huggingface_hub import constants

    if not _COMMIT.fullmatch(commit):
        raise InputError("a revision on GitHub is a whole commit", where=where, got=commit, expected="40 digits 0-9a-f")
    if constants.HF_HUB_OFFLINE:
        raise MachineError("HF_HUB_OFFLINE is set, and this file would come from GitHub", where=where, hint=help_)
    url = f"{GITHUB}/{file.repository}/{commit}/{quote(file.name)}"
    try:
        with urlopen(Request(url), timeout=_SECONDS) as response:  # noqa: S310  # the address starts with GITHUB
            content: bytes = response.read()
    except HTTPError as error:
        error.close()
        if error.code == 404 and named:
            raise InputError(f"no {file.name} at this commit", where=where, got=commit) from None
        _no_answer("GitHub", error, where, help_)
    except (OSError, HTTPException, ValueError) as error:
        _no_answer("GitHub", error, where, help_)
    return content


def _no_answer(who: str, error: Exception, where: str, help_: str) -> NoReturn:
    cause = error.__cause__ or getattr(error, "reason", None) or error
    lines = str(cause).strip().splitlines() or [type(error).__name__]
    if isinstance(error, HTTPError):
        lines = [f"HTTP {error.code} {error.reason}"]
    raise MachineError(
        f"{who} cannot be reached, or does not answer as it should: {lines[0]}", where=where, hint=help_
    ) from None


@contextmanager
def _quiet(name: str) -> Iterator[None]:
    """Keep a library's warnings to itself: it tries again by itself, and what is left in the end is our message."""
    logger = logging.getLogger(name)
    kept = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(kept)
