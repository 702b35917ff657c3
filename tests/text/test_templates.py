from __future__ import annotations

import pytest

from harness.errors import InputError
from harness.spec.model import Template
from harness.text.templates import parse, render, template_digest

DOLLY = Template(
    text="Instruction: {instruction}\nInput: {context}\nResponse:",
    text_without_context="Instruction: {instruction}\nResponse:",
)


def test_fields_are_put_in() -> None:
    assert render(DOLLY, {"instruction": "Sum up.", "context": "A b c."}) == (
        "Instruction: Sum up.\nInput: A b c.\nResponse:"
    )


@pytest.mark.parametrize("fields", [{"context": ""}, {"context": " \n"}, {}])
def test_without_context_the_other_text_is_taken(fields: dict[str, str]) -> None:
    assert render(DOLLY, {"instruction": "Hi", **fields}) == "Instruction: Hi\nResponse:"


def test_a_missing_context_is_an_error_where_there_is_one_text_only() -> None:
    template = Template(text="{instruction} {context}")
    assert render(template, {"instruction": "a", "context": ""}) == "a "
    with pytest.raises(InputError, match="does not have: context"):
        render(template, {"instruction": "a"})


def test_the_truncate_field_decides() -> None:
    template = Template(text="{document} TL;DR:", text_without_context="nothing", truncate="document")
    assert render(template, {"document": "d", "context": ""}) == "d TL;DR:"
    assert render(template, {"document": "", "context": "c"}) == "nothing"


def test_an_unknown_field_names_the_available_ones() -> None:
    with pytest.raises(InputError) as caught:
        render(Template(text="{instuction}"), {"instruction": "a", "context": "b"}, where="dolly/test, row 3")
    text = str(caught.value)
    assert text.startswith("dolly/test, row 3: ")
    assert "context, instruction" in text
    assert "did you mean 'instruction'?" in text


@pytest.mark.parametrize(
    "text",
    ["{a.b}", "{0}", "{}", "{a!r}", "{a:>10}", "{a[0]}", "{ a }", "open {", "close }", "{a{b}}", "{a-b}", "{{a}"],
)
def test_only_plain_names_are_placeholders(text: str) -> None:
    with pytest.raises(InputError, match="broken placeholder"):
        render(Template(text=text), {"a": "x", "b": "y"})


def test_doubled_braces_are_braces() -> None:
    assert render(Template(text='{{"q": "{a}"}}'), {"a": "x"}) == '{"q": "x"}'


@pytest.mark.parametrize("value", ["{a}", "{b}", "{{", "}", "{0.__class__}", "%s $a \\1"])
def test_values_are_left_alone(value: str) -> None:
    assert render(Template(text="<{a}>"), {"a": value, "b": "no"}) == f"<{value}>"


def test_the_digest_covers_all_that_shapes_a_prompt() -> None:
    variants = [
        Template(text="{a}"),
        Template(text="{a} "),
        Template(text="{a}", text_without_context="x"),
        Template(text="{a}", text_without_context=""),
        Template(text="{a}", truncate="a"),
    ]
    digests = {template_digest(template) for template in variants}
    assert len(digests) == len(variants)
    assert all(len(digest) == 64 for digest in digests)


def test_the_digest_is_the_same_on_every_machine() -> None:
    template = Template(text="{a}", text_without_context="b", truncate="c")
    assert template_digest(template) == "5e895a885a1f48b50c225e1c372e385c1185cf34875b6cf024e6c4c532d619ee"


def test_parse_keeps_the_order() -> None:
    assert [tuple(piece) for piece in parse("a{b}c")] == [("a", False), ("b", True), ("c", False)]
