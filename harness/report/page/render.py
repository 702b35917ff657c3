"""Templates of pages: no text in them becomes markup, and no script runs but those that a page names by digest."""

from __future__ import annotations

import base64
import functools
import hashlib
from importlib import resources
from typing import Any, Final

import jinja2
from markupsafe import Markup

from harness.report.grid import visible

#: Script of every page; the answers have one of their own beside it.
_SCRIPTS: Final = ("page.js", "answers.js")


def render(name: str, **values: Any) -> str:
    """Return a page from a template of this package; every text in it is escaped."""
    return _environment().get_template(name).render(values)


@functools.cache
def _environment() -> jinja2.Environment:
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("harness.report", "templates"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        finalize=lambda value: visible_lines(value) if isinstance(value, str) else value,
        trim_blocks=False,
        keep_trailing_newline=True,
    )
    scripts = {name: _template(name) for name in _SCRIPTS}
    # no text of a run is in them
    environment.globals["scripts"] = {name: Markup(text) for name, text in scripts.items()}  # noqa: S704  # see above
    environment.globals["digests"] = {name: _digest(text) for name, text in scripts.items()}
    environment.globals["style"] = Markup(_template("page.css"))  # noqa: S704  # likewise
    return environment


def visible_lines(text: str) -> str:
    """Return text whose control and direction characters are shown as escapes, line ends aside."""
    return text if isinstance(text, Markup) else "\n".join(map(visible, text.split("\n")))


def _template(name: str) -> str:
    return resources.files("harness.report").joinpath("templates", name).read_text(encoding="utf-8")


def _digest(text: str) -> str:
    return f"sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}"
