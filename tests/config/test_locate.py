"""On which line does each key stand? Against texts that `tomllib` accepts, however they are laid out."""

import tomllib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from roamd.config.locate import line_of, locate

LAID_OUT = '''\
# a comment with = and [brackets]
top = 1

[link]   # why
listen = "a # no comment"
  advertise = """
multi [ line
= "quoted" \\""" still
"""
list = [
  "a", # ]
  { x = 1 }, [2,
  3],
]
after = 1
literal = \'\'\'
[no.table]
key = 1\'\'\'
last.dotted."quoted key" = 'x'

[[webhooks]]
url = "1"
[[webhooks]]

url = "2"
["odd name"]
'key' = 2024-01-01T00:00:00Z'''


def test_every_key_is_found_on_its_line() -> None:
    lines = locate(LAID_OUT)
    assert tomllib.loads(LAID_OUT)
    assert lines == {
        ("top",): 2,
        ("link",): 4,
        ("link", "listen"): 5,
        ("link", "advertise"): 6,
        ("link", "list"): 10,
        ("link", "after"): 15,
        ("link", "literal"): 16,
        ("link", "last", "dotted", "quoted key"): 19,
        ("webhooks", "0"): 21,
        ("webhooks", "0", "url"): 22,
        ("webhooks", "1"): 23,
        ("webhooks", "1", "url"): 25,
        ("odd name",): 26,
        ("odd name", "key"): 27,
    }


@pytest.mark.parametrize("ending", ["\n", "\r\n"])
def test_line_endings_do_not_matter(ending: str) -> None:
    assert locate(ending.join(["a = 1", "", "[b]", "c = 2"]))["b", "c"] == 4


def test_a_key_without_a_line_has_that_of_what_holds_it() -> None:
    lines = locate("x = 1\n[backend]\nsub = { url = 1 }\n")
    assert line_of(lines, ("backend", "sub", "url")) == 3
    assert line_of(lines, ("backend", "other")) == 2
    assert line_of(lines, ("nowhere",)) == 1


@given(st.lists(st.text(st.characters(codec="utf-8", exclude_categories=["Cs", "Cc"]), max_size=12), max_size=6))
def test_any_text_as_a_value_is_stepped_over(values: list[str]) -> None:
    escaped = [value.replace("\\", "\\\\").replace('"', '\\"') for value in values]
    text = "".join(f'key{index} = "{value}"\n' for index, value in enumerate(escaped))
    assert len(tomllib.loads(text)) == len(values)
    assert locate(text) == {(f"key{index}",): index + 1 for index in range(len(values))}
