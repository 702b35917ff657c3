from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import pytest

from harness.benchmark.problems import Problems
from harness.benchmark.source import MAX_BYTES, Node, read_file, read_text
from harness.errors import InputError

if TYPE_CHECKING:
    from pathlib import Path


def read(text: str) -> Node:
    problems = Problems()
    node = read_text(text, "f", problems)
    problems.stop("f")
    return node


def refused(text: str) -> str:
    with pytest.raises(InputError) as caught:
        read(text)
    return str(caught.value)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1e-5", 1e-5),
        ("1", 1),
        ("-0", 0),
        ("010", 10),
        ("0o17", 15),
        ("0x1F", 31),
        ("+.5", 0.5),
        ("1.", 1.0),
        ("no", "no"),
        ("on", "on"),
        ("y", "y"),
        ("true", True),
        ("False", False),
        ("null", None),
        ("~", None),
        ("", None),
        ("2024-01-01", "2024-01-01"),
        ("1:30", "1:30"),
        ("1_000", "1_000"),
        ("'5'", "5"),
        ('"a\\tb"', "a\tb"),
        ("9223372036854775807", 2**63 - 1),
    ],
)
def test_scalars_are_those_of_yaml_1_2(text: str, value: Any) -> None:
    found = read(f"a: {text}").items["a"].value
    assert found == value
    assert type(found) is type(value)


def test_every_key_and_value_has_its_place() -> None:
    root = read("a: 1\nb:\n  - x\n  - {c: 2}\n")
    b = root.items["b"]
    assert str(root.items["a"].place) == "f:1:4"
    assert str(root.items["a"].key) == "f:1:1"
    assert str(b.key) == "f:2:1"
    assert [str(node.place) for node in b.elements] == ["f:3:5", "f:4:5"]
    assert str(b.elements[1].items["c"].key) == "f:4:6"
    assert str(b.elements[1].items["c"].place) == "f:4:9"


def test_blocks_and_aliases_are_read() -> None:
    text = "t: |\n  one\n  two\nu: &x [1, {a: b}]\nv: *x\n"
    assert read(text).plain() == {"t": "one\ntwo\n", "u": [1, {"a": "b"}], "v": [1, {"a": "b"}]}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: 1\nb: 2\na: 3", 'f:3:1: key "a" is here a second time (first in line 1)'),
        ("a: .nan", "f:1:4: .nan is not a number that a benchmark can use"),
        ("a: [1, -.inf]", "f:1:8: -.inf is not a number that a benchmark can use"),
        ("a: 1e999", "f:1:4: number 1e999 is too large"),
        ("a: 9223372036854775808", "f:1:4: number 9223372036854775808 is too large"),
        ("a: " + "9" * 5000, "is too large"),
        ("1: a", 'f:1:1: a key must be text, got 1; expected quotes around it: "1"'),
        ("null: a", "f:1:1: a key must be text, got null"),
        ("? [a, b]\n: c", "f:1:3: a key must be text, not a list, a mapping or an alias"),
        ("a: !!python/object:os.system {}", "f:1:4: tag tag:yaml.org,2002:python/object:os.system is not read"),
        ("a: !!str 5", "f:1:4: tag tag:yaml.org,2002:str is not read"),
        ("<<: {a: 1}", "f:1:1: merge keys (<<) are not read"),
        ("a: *x", "f:1:4: alias *x has no anchor before it"),
        ("a: &x [*x]", "f:1:8: alias *x is inside its own anchor"),
        ("a: 1\n--- \nb: 2", "f:2:1: starts a second document"),
        ("%YAML 1.1\n---\na: 1", "is written for another YAML version"),
        ("a:\n\tb: 1", "f:2:1: is not YAML"),
        ("a: [1", "f:1:6: is not YAML"),
        ("a: b: c", "f:1:5: is not YAML: mapping values are not allowed here"),
        ("a: 'x", "is not YAML"),
        ("a: \x07", "f:1:4: character U+0007 is not allowed in YAML"),
        ("a: 1\nb: \u2028", "f:2:4: character U+2028 is not allowed in YAML"),
        ('a: "\\0"', "f:1:4: holds the control character U+0000"),
        ('a: "\\ud800"', "U+D800"),
        ("[" * 100 + "]" * 100, "f:1:34: is nested more than 32 deep"),
        ("x" * 30_000, "f:1:1: line is longer than 20,000 characters"),
    ],
)
def test_what_is_refused(text: str, message: str) -> None:
    assert message in refused(text)


def test_tabs_are_explained() -> None:
    assert "indented with spaces, never with tabs" in refused("a:\n  b: 1\n\tc: 2")


def test_single_mistakes_are_noted_together() -> None:
    text = refused("a: .nan\nb: 1\nb: 2\nc: !x 1\n2: d\n")
    assert [line.split(" ")[0] for line in text.splitlines() if line.startswith("f:")] == [
        "f:1:4:", "f:3:1:", "f:4:4:", "f:5:1:",
    ]  # fmt: skip


def test_an_alias_counts_for_all_it_stands_for() -> None:
    levels = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    levels += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 9)]
    assert "is one value too many: more than 20,000" in refused("\n".join(levels))


def test_a_million_aliases_are_refused_while_reading() -> None:
    text = "a: &a 1\nb:\n" + "- *a\n" * 180_000
    assert len(text) < MAX_BYTES
    assert refused(text).startswith("f:19996:3: is one value too many")


def file(tmp_path: Path, raw: bytes) -> str:
    path = tmp_path / "x.yaml"
    path.write_bytes(raw)
    with pytest.raises(InputError) as caught:
        read_file(path, Problems())
    return str(caught.value).replace(f"{tmp_path}/", "")


def test_bytes_that_are_no_text(tmp_path: Path) -> None:
    assert file(tmp_path, "a: 1\nü: \xff".encode("latin-1")) == "x.yaml:2:1: is not UTF-8 text: byte 0xfc"
    assert file(tmp_path, "ab: é".encode() + b"\xff") == "x.yaml:1:6: is not UTF-8 text: byte 0xff"
    assert file(tmp_path, "a: 1".encode("utf-16")) == "x.yaml:1:1: is UTF-16 text; save the file as UTF-8"
    assert "is larger than 1,000,000 bytes" in file(tmp_path, b"# " + b"x" * MAX_BYTES)


def test_a_byte_order_mark_means_nothing(tmp_path: Path) -> None:
    path = tmp_path / "x.yaml"
    path.write_bytes(b"\xef\xbb\xbfa: 1\r\nb: 2\r\n")
    root = read_file(path, Problems())
    assert root.plain() == {"a": 1, "b": 2}
    assert (root.items["b"].place.line, root.items["b"].place.column) == (2, 4)


def test_what_is_no_file(tmp_path: Path) -> None:
    def message(name: str) -> str:
        with pytest.raises(InputError) as caught:
            read_file(tmp_path / name, Problems())
        return str(caught.value).replace(f"{tmp_path}/", "")

    (tmp_path / "dolly.yaml").write_text("a: 1")
    (tmp_path / "loop").symlink_to("loop")
    os.mkfifo(tmp_path / "pipe")
    assert message("doly.yaml") == "doly.yaml: no such file; did you mean 'dolly.yaml'?"
    assert message("").endswith("is not a file")
    assert message("pipe") == "pipe: is not a file"
    assert message("loop") == "loop: no such file"
    assert message("x" * 300).endswith("File name too long")
    assert "\\u000a" in message("a\nb")
    assert message("a\0b") == "a\\u0000b: no such file"


def test_an_unreadable_file_says_why(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "x.yaml"
    path.write_text("a: 1")

    def denied(*_: Any, **__: Any) -> Any:  # root, who often runs tests, is denied nothing
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(type(path), "open", denied)
    with pytest.raises(InputError, match="cannot be read: Permission denied"):
        read_file(path, Problems())
