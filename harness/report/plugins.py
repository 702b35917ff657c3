"""Which distributions the plugins behind the numbers come from, and in which version."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from harness.report.results import Results
    from harness.spec.results.run import Maker

#: The distribution that is named once, and not plugin by plugin.
_OWN: Final = "posttune-harness"


def plugin_lines(results: Results) -> list[str]:
    """Name every plugin of another distribution with its version, and the harness's own distribution once."""
    plugins = results.manifest.plugins
    guests: dict[str, list[str]] = {}
    for plugin in plugins:
        if plugin.distribution != _OWN:
            guests.setdefault(provider_text(plugin), []).append(_use(plugin))
    own = dict.fromkeys(provider_text(plugin) for plugin in plugins if plugin.distribution == _OWN)
    lines = [f"Plugins of {provider}: {', '.join(uses)}." for provider, uses in sorted(guests.items())]
    if own:
        lines.append(f"{'All other plugins' if guests else 'Plugins'}: {' and '.join(own)}.")
    return lines


def makers(results: Results, row: str, method: str | None) -> str | None:
    """Return who made the method of a row, where that is not the harness itself."""
    names = [
        provider_text(plugin)
        for plugin in results.manifest.plugins
        if plugin.kind == "method" and plugin.name == method and plugin.distribution != _OWN and row in plugin.rows
    ]
    return " and ".join(names) or None


def provider_text(plugin: Maker) -> str:
    """Return distribution and version, or file and digest; and whether the source was somebody's working copy."""
    if plugin.sha256 is not None:
        return f"{plugin.distribution}, sha256 {plugin.sha256[:16]}"
    version = plugin.version or "without a version"
    return f"{plugin.distribution} {version}" + (", an editable install" if plugin.editable else "")


def _use(plugin: Maker) -> str:
    listed = ", ".join(plugin.rows)
    return f"{plugin.kind} {plugin.name}" + (f" ({listed})" if listed and listed != plugin.name else "")
