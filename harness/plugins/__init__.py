"""Discovery, validation and listing of plugins, over pluggy. There is no global registry: who needs one loads one."""

from harness.plugins.closure import source_digest
from harness.plugins.loader import load_registry
from harness.plugins.registry import Plugin, Registry

__all__ = ["Plugin", "Registry", "load_registry", "source_digest"]
