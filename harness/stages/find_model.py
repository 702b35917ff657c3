"""Finding a model that exists, in a folder or on the hub."""

from __future__ import annotations

from typing import TYPE_CHECKING

from harness.models.resolve import resolve
from harness.spec.results.models import PreparedModel
from harness.spec.stages.existing_model import HubSource
from harness.stages.model_files import content_digest

if TYPE_CHECKING:
    from harness.models.resolve import Resolved
    from harness.spec.model import Model
    from harness.spec.runtime import Runtime
    from harness.spec.stages.base import Loading
    from harness.spec.stages.existing_model import ModelSource


def find(source: ModelSource, loading: Loading, runtime: Runtime) -> tuple[Model, Resolved]:
    """Return the model to load, and where it lies; one of the hub is fetched."""
    revision = source.revision if isinstance(source, HubSource) else None
    spec = loading.model(runtime.name or "", path=runtime.path, revision=revision)
    return spec, resolve(spec, {})


def prepared(located: Resolved, runtime: Runtime) -> PreparedModel:
    """Return what the stage says of the model that was found."""
    return PreparedModel(
        name=runtime.name,
        path=runtime.path,
        revision=located.revision,
        content=content_digest(located.folder),
    )
