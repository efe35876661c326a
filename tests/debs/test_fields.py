"""Paragraphs of fields, compared with python-debian, Debian's own reader."""

from __future__ import annotations

from debian.deb822 import Deb822
from hypothesis import given, settings
from hypothesis import strategies as st

from buildonce.debs.fields import paragraphs

_WORD = st.text(st.characters(codec="ascii", categories=("L", "N", "P")), min_size=1, max_size=12)
_NAME = st.from_regex(r"[A-Z][A-Za-z0-9-]{0,10}", fullmatch=True)
_VALUE = st.lists(_WORD, min_size=1, max_size=3).map(" ".join)
_LONGER = st.builds(
    lambda first, rest: "\n".join([first, *(f" {line}" for line in rest)]),
    _VALUE,
    st.lists(_VALUE, max_size=3),
)
_PARAGRAPH = st.dictionaries(_NAME, _LONGER, min_size=1, max_size=5).filter(
    lambda fields: len({name.lower() for name in fields}) == len(fields)
)


@settings(deadline=None)
@given(st.lists(_PARAGRAPH, max_size=4))
def test_reads_as_debian_does(wanted: list[dict[str, str]]) -> None:
    text = "\n".join("".join(f"{name}: {value}\n" for name, value in fields.items()) for fields in wanted)
    assert paragraphs(text) == wanted
    assert [dict(found) for found in Deb822.iter_paragraphs(text.splitlines(), use_apt_pkg=False)] == wanted


def test_comments_and_lines_that_are_no_field_are_left_out() -> None:
    assert paragraphs("# c\nA: 1\n# inside\n more\nnonsense\n\n \n\nB:2\n") == [{"A": "1\n more"}, {"B": "2"}]
    assert paragraphs(" an orphan\n") == []
    assert paragraphs("") == []
