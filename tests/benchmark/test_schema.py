"""Every field of the schema says what it can change, and is described in the documentation."""

from __future__ import annotations

import inspect
import re
from pathlib import Path

import pytest

from harness.api.registration import RESERVED_KEYS
from harness.benchmark.data import DATA_KEYS
from harness.benchmark.head import Head
from harness.benchmark.methods import METHOD_KEYS
from harness.benchmark.resolve import FILE_KEYS
from harness.benchmark.scores import PART_KEYS
from harness.spec import benchmark as schema
from harness.spec.benchmark import Benchmark, DataUse, MethodEntry
from harness.spec.decoding import Decoding
from harness.spec.recipe import Recipe
from harness.spec.reward import RewardUse
from harness.spec.section import DISPLAY, RESULT, RUNTIME, Section

DOCS = Path(__file__).resolve().parents[2] / "docs" / "benchmark-file.md"

CLASSES: list[type] = [value for _, value in inspect.getmembers(schema, inspect.isclass)]
SECTIONS: list[type[Section]] = [
    *(one for one in CLASSES if issubclass(one, Section) and one is not Section),
    Head,
]
FIELDS = [(section, name) for section in SECTIONS for name in section.model_fields]


@pytest.mark.parametrize(("section", "name"), FIELDS, ids=[f"{section.__name__}.{name}" for section, name in FIELDS])
def test_every_field_is_classified(section: type[Section], name: str) -> None:
    assert section.model_fields[name].json_schema_extra in (RESULT, RUNTIME, DISPLAY)


@pytest.mark.parametrize(("section", "name"), FIELDS, ids=[f"{section.__name__}.{name}" for section, name in FIELDS])
def test_every_field_is_documented(section: type[Section], name: str) -> None:
    assert re.search(rf"`{name}`", DOCS.read_text(encoding="utf-8"))


def test_every_key_of_a_file_is_documented() -> None:
    text = DOCS.read_text(encoding="utf-8")
    top = text[text.index("## Top level") : text.index("## Models")]
    assert set(re.findall(r"^\| `([a-z_]+)` \|", top, re.MULTILINE)) == set(FILE_KEYS)


def test_documented_defaults_are_the_real_ones() -> None:
    text = DOCS.read_text(encoding="utf-8")
    for heading, section in (("## Recipe", Recipe), ("## Decoding", Decoding)):
        part = re.split("\n###? ", text[text.index(heading) :])[0]
        rows = dict(re.findall(r"^\| `(\w+)` \|([^|]*)\|", part, re.MULTILINE))
        assert rows.keys() == section.model_fields.keys()
        for name, said in rows.items():
            default = section.model_fields[name].default
            shown = said.strip().strip("`")
            if default is None:
                assert not shown
            elif isinstance(default, bool):
                assert shown == str(default).lower()
            elif isinstance(default, tuple):
                assert shown == str(list(default))
            elif isinstance(default, str):
                assert shown == default
            else:
                assert float(shown) == default


def test_the_file_and_the_resolved_form_have_the_same_keys() -> None:
    # rows from elsewhere stand among the methods of a file
    assert set(FILE_KEYS) - {"profiles"} == set(Benchmark.model_fields) - {"overrides", "elsewhere"}
    assert set(DATA_KEYS) == set(DataUse.model_fields) - {"options", "kind"}
    assert set(METHOD_KEYS) == set(MethodEntry.model_fields) - {"options", "trials"} | {"sweep"}
    assert set(PART_KEYS) == set(RewardUse.model_fields) - {"options"}


def test_no_plugin_option_can_have_the_name_of_a_key() -> None:
    # `dataset` names the plugin itself, and no plugin of another kind has such a key
    assert {*DATA_KEYS, *METHOD_KEYS, *PART_KEYS} - {"dataset"} <= RESERVED_KEYS
