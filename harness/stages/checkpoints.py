"""``prepare``: the untrained checkpoint, from random weights, from a folder or from the hub."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

from harness.errors import StageError
from harness.spec.model import Model
from harness.spec.results.files import CHECKPOINT
from harness.spec.results.prepare import PreparedModel, Way
from harness.spec.stages.prepare import ClassifierConfig, HubSource, NewModelConfig, TokenizerConfig
from harness.stages.models import content_digest
from harness.stages.rows import read
from harness.store.environment import fingerprint

if TYPE_CHECKING:
    from harness.plugins.registry import Registry
    from harness.spec.runtime import Runtime
    from harness.spec.stages.base import StageConfig
    from harness.spec.stages.prepare import ModelConfig
    from harness.stages.request import StageRequest, Tell
    from harness.store.records import Record
    from harness.store.stages import Store

AnyModelConfig: TypeAlias = "TokenizerConfig | NewModelConfig | ModelConfig | ClassifierConfig"


def run(
    request: StageRequest[AnyModelConfig],
    store: Store,
    registry: Registry,  # noqa: ARG001  # the common signature
    tell: Tell,
) -> Record:
    """Train a tokenizer, draw random weights, or find a model that exists."""
    tell(0, 0, "file", "")
    with store.draft(request.kind, request.id) as draft:
        draft.write(_prepare(request, store, draft.folder / CHECKPOINT))
        environment = fingerprint(threads=request.runtime.threads, device="cpu", ranks=1)
        config = request.config.to_json()
        return store.commit(draft, config=config, environment=environment, label=request.label)


def _prepare(request: StageRequest[AnyModelConfig], store: Store, folder: Path) -> PreparedModel:
    config = request.config
    if isinstance(config, TokenizerConfig):
        return _tokenizer(config, store.open("prepare", request.parents["rows"].id), folder)
    if isinstance(config, NewModelConfig):
        tokenizer = store.open("prepare", request.parents["tokenizer"].id).path(CHECKPOINT)
        return _new_model(config, request.label, tokenizer, folder)
    return _existing(config, request.runtime)


def locate(request: StageRequest[StageConfig], store: Store, parent: str) -> Path:
    """Return the folder with a parent's weights: its own, or the outside one that it found.

    Raises:
        StageError: an outside folder is gone, or is not what it was.
    """
    wanted = request.parents[parent]
    record = store.open(wanted.kind, wanted.id)
    if record.holds(CHECKPOINT):
        return record.path(CHECKPOINT)
    found = record.read(PreparedModel)
    path = request.runtime.sources.get(found.content or "", found.path)  # it may lie elsewhere than it did
    if path is None:
        from harness.models.resolve import resolve

        return resolve(Model(name=found.name or "", revision=found.revision), {}).folder
    folder = Path(path).expanduser()
    if not folder.is_dir() or content_digest(folder) != found.content:
        raise StageError(
            "the model that was prepared is not there any more, or has changed",
            where=str(folder),
            hint=f"put it back, or say where it lies with -o sources.{found.name}=PATH",
        )
    return folder


def _tokenizer(config: TokenizerConfig, rows: Record, folder: Path) -> PreparedModel:
    """Train a byte-level BPE on the prompts of the training rows and their completions, or else chosen answers."""
    from harness.text.bpe import train_bpe
    from harness.text.templates import render

    texts = (text for e in read(rows) for text in (render(config.template, e.fields), e.completion or e.chosen or ""))
    train_bpe(texts, config.vocab_size, folder)
    return PreparedModel(trained="on the training rows")


def _new_model(config: NewModelConfig, label: str, tokenizer: Path, folder: Path) -> PreparedModel:
    """Draw random weights from the seed."""
    from harness.lm.model.initialise import initialise
    from harness.text.tokenise import Tokeniser

    spec = config.loading.model(label, config=config.architecture)
    initialise(spec, Tokeniser.load(tokenizer), config.seed, folder)
    positions, way = _tried(folder, spec)
    return PreparedModel(trained="not at all", positions=positions, way=way)


def _existing(config: ModelConfig | ClassifierConfig, runtime: Runtime) -> PreparedModel:
    """Find a model on the hub or in a folder, and load it once to see that it is usable."""
    from harness.models.resolve import resolve

    revision = config.source.revision if isinstance(config.source, HubSource) else None
    spec = config.loading.model(runtime.name or "", path=runtime.path, revision=revision)
    found = resolve(spec, {})
    positions: int | None = None
    way: Way | None = None
    if isinstance(config, ClassifierConfig):
        from harness.lm.score.reward_model import RewardModel

        RewardModel.classifier(found.folder, spec=spec, max_prompt=None)  # it gives one number
    else:
        positions, way = _tried(found.folder, spec)
    return PreparedModel(
        name=runtime.name,
        path=runtime.path,
        revision=found.revision,
        content=content_digest(found.folder),
        positions=positions,
        way=way,
    )


def _tried(folder: Path, spec: Model) -> tuple[int | None, Way]:
    """Load a model and try what training and sampling will ask of it.

    Returns:
        its context in tokens, None for no limit; the way that its structure has it take.

    Raises:
        InputError: it is not fit for them.
    """
    from harness.lm.model.policy import Policy
    from harness.lm.model.suitability import check_suitable
    from harness.lm.way import structural_way

    policy = Policy.load(folder, spec=spec)
    check_suitable(policy, where=f"model {spec.name}")
    return policy.positions_limit, structural_way(policy)
