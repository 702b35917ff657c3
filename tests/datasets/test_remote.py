"""Downloads, from a real HTTP server that plays the hub and GitHub: what arrives, and everything that may not."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import huggingface_hub.constants
import pytest
from hub.server import COMMIT, FakeHub

from harness.api import InputError, MachineError, Provenance
from harness_plugins.datasets import dolly, self_instruct, vicuna
from harness_plugins.upstream.lines import read_lines
from harness_plugins.upstream.remote import GitHubFile, HubFile, fetch, identity

if TYPE_CHECKING:
    from pathlib import Path

CONTENT = b'{"a": 1}\n{"a": 2}\n'
SHA256 = hashlib.sha256(CONTENT).hexdigest()
ON_HUB = HubFile("org/data", "folder/rows.jsonl", SHA256)
ON_GITHUB = GitHubFile("org/data", "folder/rows.jsonl", SHA256, commit=COMMIT)
OTHER = "f" * 40
BOTH = pytest.mark.parametrize("file", [ON_HUB, ON_GITHUB], ids=["hub", "github"])


@pytest.fixture
def filled(hub: FakeHub) -> FakeHub:
    hub.files["org/data", "folder/rows.jsonl"] = CONTENT
    return hub


def fetched(file: HubFile | GitHubFile, folder: Path, revision: str | None = None) -> Provenance:
    return fetch(file, revision, folder / "rows.jsonl", dataset="rows")


@BOTH
def test_a_file_is_fetched_and_its_commit_recorded(file: Any, filled: FakeHub, tmp_path: Path) -> None:
    found = fetched(file, tmp_path)
    assert found.origin == ("org/data" if file is ON_HUB else "github.com/org/data")
    assert (found.revision, found.sha256) == (COMMIT, SHA256)
    assert (tmp_path / "rows.jsonl").read_bytes() == CONTENT
    assert not (tmp_path / "rows.jsonl.download").exists()
    assert [line.where for line in read_lines(tmp_path / "rows.jsonl")] == [
        "org/data/folder/rows.jsonl:1", "org/data/folder/rows.jsonl:2",
    ]  # fmt: skip


def test_gzip_is_unpacked(filled: FakeHub, tmp_path: Path) -> None:
    import gzip

    filled.files["org/data", "folder/rows.jsonl"] = gzip.compress(CONTENT)
    assert fetched(ON_HUB, tmp_path).sha256 == SHA256


@BOTH
def test_identity_needs_no_network(file: Any, hub: FakeHub) -> None:
    assert identity(file, None) == {"sha256": SHA256}
    assert identity(file, OTHER) == {"repository": "org/data", "file": "folder/rows.jsonl", "revision": OTHER}
    assert hub.requests == []


@BOTH
def test_other_content_is_refused_unless_a_revision_is_named(file: Any, filled: FakeHub, tmp_path: Path) -> None:
    filled.files["org/data", "folder/rows.jsonl"] = CONTENT + b'{"a": 3}\n'
    with pytest.raises(
        InputError, match=r"rows.jsonl is not the one that is known.*(?s:.*)name a `revision:`"
    ) as caught:
        fetched(file, tmp_path)
    assert SHA256 in str(caught.value)
    found = fetched(file, tmp_path, COMMIT)
    assert found.revision == COMMIT
    assert found.sha256 == hashlib.sha256(CONTENT + b'{"a": 3}\n').hexdigest()


def test_a_branch_is_resolved_to_its_commit(filled: FakeHub, tmp_path: Path) -> None:
    assert fetched(ON_HUB, tmp_path, "main").revision == COMMIT


def test_a_revision_on_github_is_a_whole_commit(filled: FakeHub, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"whole commit.*'main'"):
        fetched(ON_GITHUB, tmp_path, "main")
    assert filled.requests == []


@BOTH
def test_a_revision_that_is_not_there(file: Any, filled: FakeHub, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=f"no such revision|no folder/rows.jsonl at this commit.*{OTHER}"):
        fetched(file, tmp_path, OTHER)


def test_a_file_that_is_not_in_the_revision(filled: FakeHub, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"no such file.*other\.jsonl"):
        fetched(HubFile("org/data", "other.jsonl", SHA256), tmp_path, COMMIT)


def offline_is_named(error: MachineError) -> bool:
    return error.exit_code == 3 and "`path:`" in str(error) and "-o sources.rows=PATH" in str(error)


@BOTH
@pytest.mark.parametrize(
    ("status", "code", "says"),
    [
        (401, "", "401|no such data set"),
        (401, "RepoNotFound", "401|no such data set"),
        (403, "GatedRepo", "403|gated"),
        (404, "RepoNotFound", "404|no such data set"),
        (407, "", "407"),
        (429, "", "429"),
        (500, "", "500"),
        (503, "", "503"),
    ],
)
def test_a_server_that_refuses(
    file: Any, status: int, code: str, says: str, filled: FakeHub, tmp_path: Path
) -> None:  # fmt: skip
    filled.status, filled.code = status, code
    with pytest.raises(MachineError, match=says) as caught:
        fetched(file, tmp_path)
    assert offline_is_named(caught.value)


@BOTH
@pytest.mark.parametrize("fault", ["page", "page for the file", "truncated"])
def test_an_answer_that_is_not_the_file(file: Any, fault: Any, filled: FakeHub, tmp_path: Path) -> None:
    filled.fault = fault
    with pytest.raises(MachineError) as caught:
        fetched(file, tmp_path)
    assert offline_is_named(caught.value)


def test_a_page_as_long_as_the_file(filled: FakeHub, tmp_path: Path) -> None:
    page = b"\n<html><body>log in</body></html>"
    filled.files["org/data", "folder/rows.jsonl"] = page
    with pytest.raises(MachineError, match=r"a web page came(?s:.*)the hub's cache has it as .*; delete that"):
        fetched(ON_HUB, tmp_path)
    with pytest.raises(MachineError, match="a web page came"):
        fetched(ON_HUB, tmp_path, COMMIT)


@BOTH
def test_nobody_listens(file: Any, filled: FakeHub, tmp_path: Path) -> None:
    filled.__exit__(None, None, None)
    with pytest.raises(MachineError, match=r"cannot be reached.*: .*refused") as caught:
        fetched(file, tmp_path)
    assert offline_is_named(caught.value)
    filled.__enter__()  # for the fixture to leave


def test_the_cache_serves_when_nobody_listens(filled: FakeHub, tmp_path: Path) -> None:
    fetched(ON_HUB, tmp_path)
    filled.status = 503
    (tmp_path / "rows.jsonl").unlink()
    assert fetched(ON_HUB, tmp_path) == Provenance("org/data", COMMIT, SHA256)


@BOTH
def test_offline_mode_asks_nobody(
    file: Any, filled: FakeHub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:  # fmt: skip
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(MachineError) as caught:
        fetched(file, tmp_path)
    assert offline_is_named(caught.value)
    assert filled.requests == []


# --- the data sets themselves


def test_dolly_comes_from_the_hub(hub: FakeHub, tmp_path: Path, real_data: Path) -> None:
    import gzip

    packed = (real_data / "dolly" / "databricks-dolly-15k.jsonl.gz").read_bytes()
    hub.files["databricks/databricks-dolly-15k", "databricks-dolly-15k.jsonl"] = gzip.decompress(packed)
    data = dolly.Dolly(dolly.DollyOptions())
    found = data.prepare(None, tmp_path)
    assert (found.origin, found.revision) == ("databricks/databricks-dolly-15k", COMMIT)
    assert data.identity(None) == {"sha256": found.sha256} == data.identity(real_data / "dolly")
    assert len(list(data.load(tmp_path, "test"))) == 1000


def test_self_instruct_comes_from_the_authors_repository(hub: FakeHub, tmp_path: Path, real_data: Path) -> None:
    source = real_data / "self-instruct" / "user_oriented_instructions.jsonl"
    known = self_instruct._UPSTREAM
    hub.files["yizhongw/self-instruct", known.name] = source.read_bytes()
    data = self_instruct.SelfInstruct(self_instruct.SelfInstructOptions())
    with pytest.raises(MachineError, match="404"):  # the server has another commit than the known one
        data.prepare(None, tmp_path)
    assert hub.requests == [f"GET yizhongw/self-instruct/{known.commit}/human_eval/user_oriented_instructions.jsonl"]
    hub.commit = known.commit
    found = data.prepare(None, tmp_path)
    assert (found.origin, found.revision, found.sha256) == (
        "github.com/yizhongw/self-instruct", known.commit, known.sha256,
    )  # fmt: skip
    assert len(list(data.load(tmp_path, "test"))) == 252


@pytest.mark.parametrize("reference", ["gpt35", "gpt4", "bard", "vicuna-13b"])
def test_vicuna_comes_from_github(reference: Any, hub: FakeHub, tmp_path: Path, real_data: Path) -> None:
    source = real_data / "vicuna"
    hub.files["artidoro/qlora", "eval/prompts/vicuna_questions.jsonl"] = (source / "question.jsonl").read_bytes()
    answers = f"answer_{reference}.jsonl"
    hub.files["artidoro/qlora", f"eval/generations/vicuna/{answers}"] = (source / answers).read_bytes()
    data = vicuna.Vicuna(vicuna.VicunaOptions(reference=reference))
    hub.commit = vicuna._COMMIT
    found = data.prepare(None, tmp_path)
    assert (found.origin, found.revision) == ("github.com/artidoro/qlora", vicuna._COMMIT)
    assert data.identity(None) == data.identity(source)  # the sha256 that a download must have is the file's
    assert found.sha256 == data.prepare(source, tmp_path).sha256
    assert len(list(data.load(tmp_path, "test"))) == 80


def test_through_the_environment_in_a_fresh_process(filled: FakeHub, tmp_path: Path) -> None:
    """As a user has it: HF_ENDPOINT and HF_HOME, nothing patched, nothing on the error stream."""
    filled.files["databricks/databricks-dolly-15k", "databricks-dolly-15k.jsonl"] = CONTENT
    script = (
        "import sys, json, pathlib, dataclasses\n"
        "from harness_plugins.datasets.dolly import Dolly, DollyOptions\n"
        "found = Dolly(DollyOptions(revision='main')).prepare(None, pathlib.Path(sys.argv[1]))\n"
        "print(json.dumps(dataclasses.asdict(found)))\n"
    )
    environment = {**os.environ, "HF_ENDPOINT": filled.url, "HF_HOME": str(tmp_path / "home"), "HF_HUB_OFFLINE": "0"}
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", script, str(tmp_path)],
        env=environment, capture_output=True, text=True, check=True, timeout=60,
    )  # fmt: skip
    assert done.stderr == ""
    found = json.loads(done.stdout)
    assert (found["revision"], found["sha256"]) == (COMMIT, SHA256)
    assert "another file than databricks-dolly-15k as of May 2023" in found["notes"]
