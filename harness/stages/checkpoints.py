"""``prepare``: the untrained checkpoint, from random weights, from a folder or from the hub."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness.errors import StageError
from harness.spec.benchmark import Model, Template
from harness.stages.models import content_digest
from harness.stages.rows import read
from harness.store.environment import fingerprint

if TYPE_CHECKING:
    from harness.plugins import Registry
    from harness.stages.order import Order, Tell
    from harness.store import Record, Store

CHECKPOINT = "checkpoint"
MODEL = "model.json"


def run(order: Order, store: Store, registry: Registry, tell: Tell) -> Record:  # noqa: ARG001  # the common signature
    """Train a tokenizer, draw random weights, or find a model that exists."""
    known = {"tokenizer": _tokenizer, "new-model": _new_model, "model": _existing, "classifier": _classifier}
    make = known[order.config["what"]]
    tell(0, 0, "file", "")
    with store.draft(order.kind, order.id) as draft:
        described = make(order, store, draft.folder / CHECKPOINT)
        draft.write_json(MODEL, described)
        environment = fingerprint(threads=order.runtime["threads"], device="cpu", ranks=1)
        return draft.commit(config=order.config, environment=environment, label=order.label)


def locate(order: Order, store: Store, parent: str) -> Path:
    """Return the folder with a parent's weights: its own, or the outside one that it found.

    Raises:
        StageError: an outside folder is gone, or is not what it was.
    """
    wanted = order.parents[parent]
    record = store.open(wanted.kind, wanted.id)
    if record.holds(CHECKPOINT):
        return record.path(CHECKPOINT)
    found = record.json(MODEL)
    path = order.runtime["sources"].get(found["content"], found["path"])  # it may lie elsewhere than it did
    if path is None:
        from harness.lm.model.sources import resolve

        return resolve(Model(name=found["name"], revision=found["revision"]), {}).folder
    folder = Path(path).expanduser()
    if not folder.is_dir() or content_digest(folder) != found["content"]:
        raise StageError(
            "the model that was prepared is not there any more, or has changed",
            where=str(folder),
            hint=f"put it back, or say where it lies with -o sources.{found['name']}=PATH",
        )
    return folder


def _tokenizer(order: Order, store: Store, folder: Path) -> dict[str, Any]:
    """Train a byte-level BPE on the prompts of the training rows and their completions, or else chosen answers."""
    from harness.lm.model.sources import train_bpe
    from harness.lm.text.templates import render

    template = Template(**order.config["template"])
    rows = store.open("prepare", order.parents["rows"].id)
    texts = (text for e in read(rows) for text in (render(template, e.fields), e.completion or e.chosen or ""))
    train_bpe(texts, order.config["vocab_size"], folder)
    return {"trained": "on the training rows"}


def _new_model(order: Order, store: Store, folder: Path) -> dict[str, Any]:
    """Draw random weights from the seed."""
    from harness.lm.model.sources import initialise
    from harness.lm.text.tokenise import Tokeniser

    tokeniser = Tokeniser.load(store.open("prepare", order.parents["tokenizer"].id).path(CHECKPOINT))
    spec = Model(name=order.label, config=order.config["config"], **order.config["model"])
    initialise(spec, tokeniser, order.config["seed"], folder)
    return {"trained": "not at all", "positions": _tried(folder, spec)}


def _classifier(order: Order, store: Store, folder: Path) -> dict[str, Any]:  # noqa: ARG001  # the common signature
    """Find a reward model on the hub or in a folder, and load it once to see that it gives one number."""
    from harness.lm.model.sources import resolve
    from harness.lm.score.reward_model import RewardModel

    config, name, path = order.config, order.runtime["name"], order.runtime["path"]
    settings = {"dtype": config["dtype"], "attention": config["attention"]}
    spec = Model(name=name, path=path, revision=config.get("revision"), **settings)
    found = resolve(spec, {})
    RewardModel.classifier(found.folder, spec=spec, max_prompt=None)
    return {"name": name, "path": path, "revision": found.revision, "content": content_digest(found.folder)}


def _existing(order: Order, store: Store, folder: Path) -> dict[str, Any]:  # noqa: ARG001  # the common signature
    """Find a model on the hub or in a folder, and load it once to see that it is usable."""
    from harness.lm.model.sources import resolve

    name, path = order.runtime["name"], order.runtime["path"]
    spec = Model(name=name, path=path, revision=order.config.get("revision"), **order.config["model"])
    found = resolve(spec, {})
    return {
        "name": name,
        "path": path,
        "revision": found.revision,
        "content": content_digest(found.folder),
        "positions": _tried(found.folder, spec),
    }


def _tried(folder: Path, spec: Model) -> int | None:
    """Load a model and try what training and sampling will ask of it; return its context in tokens, None for no limit.

    Raises:
        InputError: it is not fit for them.
    """
    from harness.lm.model.policy import Policy
    from harness.lm.model.suitability import check_suitable

    policy = Policy.load(folder, spec=spec)
    check_suitable(policy, where=f"model {spec.name}")
    return policy.positions_limit
