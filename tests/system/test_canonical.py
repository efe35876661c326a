"""Canonical JSON is one spelling; the strict reader takes what every parser reads alike."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from buildonce.errors import VerificationError
from buildonce.system import canonical

text = st.text(st.characters(codec="utf-8"))
values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53) + 1, 2**53 - 1) | text,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(text, inner, max_size=4),
    max_leaves=20,
)


@given(values)
def test_what_is_written_is_read_again(value: object) -> None:
    assert canonical.load_canonical(canonical.dump(value), where="x") == value
    assert json.loads(canonical.dump(value)) == value


@given(values)
def test_other_spellings_are_read_but_not_as_canonical(value: object) -> None:
    other = json.dumps(value, indent=1).encode() + b"\n"

    assert canonical.load(other, where="x") == value
    with pytest.raises(VerificationError, match="another spelling"):
        canonical.load_canonical(other, where="x")


def test_the_example_of_rfc_8785_is_spelled_as_it_says() -> None:
    """RFC 8785, 3.2.3: the order of keys, beyond ASCII and beyond 16 bits."""
    keys = ["\u20ac", "\r", "\ufb33", "1", "\U0001f600", "\u0080", "\u00f6"]

    assert list(json.loads(canonical.dump(dict.fromkeys(keys, 0)))) == [
        *("\r", "1", "\u0080", "\u00f6", "\u20ac", "\U0001f600", "\ufb33"),
    ]
    assert canonical.dump('\u20ac$\u000f\nA\'B"\\\\"/') == '"\u20ac$\\u000f\\nA\'B\\"\\\\\\\\\\"/"'.encode()


@pytest.mark.parametrize("value", [1.5, float("nan"), 2**53, {1: 2}, {"a": {1, 2}}, b"x", "\ud800"])
def test_what_has_no_exact_spelling_is_not_written(value: object) -> None:
    with pytest.raises(ValueError):
        canonical.dump(value)


@pytest.mark.parametrize(
    "data",
    [
        b'{"a":1,"a":1}',
        b'{"a":{"b":1,"b":2}}',
        b"NaN",
        b"-Infinity",
        b"1.0",
        b"1e3",
        b"9007199254740992",
        b"-9007199254740992",
        b"1" * 5000,
        b"[" * 100 + b"]" * 100,
        b"[" * 100_000 + b"]" * 100_000,
        b'{"a":' * 100_000,
        b'"\\ud800"'.replace(b"\\ud800", b"\xed\xa0\x80"),
        b"\xef\xbb\xbf{}",
        b"{}{}",
        b"",
        b'"\x00"',
        b"{'a':1}",
        b"[1,]",
    ],
)
def test_what_parsers_disagree_on_is_refused(data: bytes) -> None:
    with pytest.raises(VerificationError, match="not strict JSON") as caught:
        canonical.load(data, where="x.json")

    assert caught.value.problems[0].where == "x.json"


def test_too_much_is_not_parsed() -> None:
    with pytest.raises(VerificationError, match="larger than"):
        canonical.load(b"[]" + b" " * 100, where="x", most=100)


def test_half_a_surrogate_pair_has_no_canonical_spelling() -> None:
    with pytest.raises(VerificationError, match="not canonical"):
        canonical.load_canonical(b'"\\ud800"', where="x")


@given(st.binary(max_size=100) | st.text('[]{}",:0123456789-+.eEntrufalsI\\ ', max_size=60).map(str.encode))
def test_noise_raises_nothing_but_our_error(noise: bytes) -> None:
    try:
        canonical.load(noise, where="x")
    except VerificationError:
        return
    json.loads(noise)


def test_an_error_says_where_the_wrong_value_is() -> None:
    fields = canonical.Fields.of({"a": [{"b": 1}]}, "x.json")

    with pytest.raises(VerificationError, match=r"^a\[0\]\.b has to be a string$"):
        fields.objects("a")[0].text("b")
    with pytest.raises(VerificationError, match=r"^a\[0\]\.c is missing$"):
        fields.objects("a")[0].count("c")
