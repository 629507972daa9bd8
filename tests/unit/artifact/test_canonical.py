import enum
import json
import tracemalloc

import numpy as np
import pytest

from lutkan.artifact import limits
from lutkan.artifact.canonical import (
    canonical_json,
    first_difference,
    parse_bounded,
    require_canonical,
    shorten,
)
from lutkan.errors import ArtifactError


class Colour(str, enum.Enum):
    RED = "red"


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ({"b": 1, "a": [], "A": {}}, b'{"A":{},"a":[],"b":1}'),
        ((1, (2, 3)), b"[1,[2,3]]"),
        ([True, False, None], b"[true,false,null]"),
        ([1, 1.0, -0.0, 1e16, 5e-324, 0.1], b"[1,1.0,-0.0,1e+16,5e-324,0.1]"),
        ([-(2**63), 2**63 - 1], b"[-9223372036854775808,9223372036854775807]"),
        ('é"\\\n\x7f😀', rb'"\u00e9\"\\\n\u007f\ud83d\ude00"'),
        ({Colour.RED: Colour.RED}, b'{"red":"red"}'),
        (np.float64(0.5), b"0.5"),
    ],
)
def test_spelling(value, text):
    assert canonical_json(value) == text
    parsed = parse_bounded(text, "text")
    require_canonical(text, parsed, "text")
    assert json.dumps(parsed) == json.dumps(json.loads(text))


def nested(depth):
    value = 0
    for _ in range(depth):
        value = [value]
    return value


def cyclic():
    value = []
    value.append(value)
    return value


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ({"a": [{"b": float("nan")}]}, r"manifest\['a'\]\[0\]\['b'\] = nan"),
        ({"a": float("-inf")}, "-inf"),
        ({"a": 2**63}, "integer of 64 bits"),
        ({"a": -(10**5000)}, "integer of"),
        ({1: 2}, "key 1 of type int"),
        ({10**5000: 2}, "a int too long to print of type int"),
        ({None: 2}, "key None"),
        ({"a": np.float32(1)}, "of type float32"),
        ({"a": np.zeros(2)}, "of type ndarray"),
        ({"a": {1, 2}}, "of type set"),
        ({"a": b"bytes"}, "of type bytes"),
        ({"a": "x\ud800"}, r"lone surrogate U\+D800 at character 1"),
        ({"\udfff": 1}, r"lone surrogate U\+DFFF"),
        (cyclic(), "nested 33 deep"),
        ([0] * limits.MAX_JSON_NODES, "too many values"),
    ],
)
def test_refused_values(value, message):
    with pytest.raises(ArtifactError, match=message):
        canonical_json(value)


def test_limits_are_the_same_for_writing_and_reading():
    deepest = nested(limits.MAX_JSON_DEPTH)
    assert parse_bounded(canonical_json(deepest), "text") == deepest
    with pytest.raises(ArtifactError, match="nested 33 deep"):
        canonical_json(nested(limits.MAX_JSON_DEPTH + 1))
    with pytest.raises(ArtifactError, match="nested 33 deep"):
        parse_bounded(json.dumps(nested(limits.MAX_JSON_DEPTH + 1)).encode(), "text")
    for most in ([0] * (limits.MAX_JSON_NODES - 1), [[]] * (limits.MAX_JSON_NODES - 1)):
        text = canonical_json(most)
        value = parse_bounded(text, "text")
        assert value == most
        require_canonical(text, value, "text")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (b"", "not JSON"),
        (b"{", "not JSON"),
        (b"]", "not JSON"),
        (b"[1]]", "not JSON"),
        (b'"abc', "not JSON"),
        (b'"abc\\', "not JSON"),
        (b"\\[", "not JSON"),
        (b"[1,]", "not JSON"),
        (b"nan", "not JSON"),
        (b"[01]", "not JSON"),
        (b"NaN", "the number NaN"),
        (b"[-Infinity]", "the number -Infinity"),
        (b"1e999", "the number '1e999'"),
        (b"-1e400", "the number '-1e400'"),
        (b"0." + b"1" * 5000, "the number"),
        (b"1e" + b"9" * 5000, "the number"),
        (b"1" * 5000, "integer of 5000 characters"),
        (b"-" + b"9" * 100_000, "integer of 100001 characters"),
        (b'{"a":1,"b":2,"a":1}', "the key 'a' twice"),
        (b'{"":{"":1,"":1}}', "the key '' twice"),
        (b'"\xc3\xa9"', "byte 0xc3 at byte 1"),
        (b'{"a":\n1}', "byte 0x0a at byte 5"),
        (b'"\x7f"', "byte 0x7f"),
        (b"\xef\xbb\xbf{}", "byte 0xef at byte 0"),
        ("{}".encode("utf-16"), "byte 0xff at byte 0"),
        (b"\x00" * 100, "byte 0x00 at byte 0"),
        (b"[" * 100_000, "nested 100000 deep"),
        (b'{"a":' * 5000, "nested 5000 deep"),
        (b'["\\\\",' + b"[" * 50, "nested 51 deep"),
        (b"[" + b"0," * 400_000 + b"0]", "more than 200000 values"),
        (b"[]" * 400_001, "more than 200000 values"),
    ],
)
def test_refused_text(text, message):
    with pytest.raises(ArtifactError, match=message):
        parse_bounded(text, "text")


def test_brackets_and_commas_within_strings_do_not_count():
    value = ["[" * 100_000, ',"' * 400_000, "\\" * 33 + "[[", {'{"\\': '\\"[' * 40}]
    assert parse_bounded(canonical_json(value), "text") == value


def test_strings_across_scan_blocks():
    for length in range((1 << 16) - 4, (1 << 16) + 4):
        value = ["x" * length, "[" * 40, [1]]
        assert parse_bounded(canonical_json(value), "text") == value
        with pytest.raises(ArtifactError, match="nested 41 deep"):
            parse_bounded(canonical_json(["x" * length])[:-1] + b"," + b"[" * 40, "text")


@pytest.mark.parametrize(
    "text",
    [
        b' {"a":1}',
        b'{"a": 1}',
        b'{"b":1,"a":2}',
        b"[1.00]",
        b"[1e5]",
        b"[-0]",
        b"[1E+16]",
        b"[0.1000000000000000055]",
        b'["\\u0041"]',
        b'["\\/"]',
        b'["\\u00E9"]',
        b'["\\u000a"]',
        b'["\\ud83d\\uDE00"]',
    ],
)
def test_other_spellings_are_refused(text):
    value = parse_bounded(text, "text")
    with pytest.raises(ArtifactError, match="where the canonical spelling has"):
        require_canonical(text, value, "text")


def test_lone_surrogates_in_text_are_refused():
    text = b'{"a":"\\ud800"}'
    with pytest.raises(ArtifactError, match=r"manifest\['a'\] has the lone surrogate U\+D800"):
        require_canonical(text, parse_bounded(text, "text"), "text")


@pytest.mark.parametrize(
    "bomb",
    [
        b"[" * 4_000_000,
        b'"' + b'\\"' * 2_000_000,
        b'"' * 4_000_000,
        b'\\"' * 2_000_000,
        b"9" * 4_000_000,
        b"[" + b"{}," * 1_300_000,
        b'["' + b"\\u0041" * 600_000 + b'"]',
    ],
    ids=["deep", "open string", "quotes", "escapes", "digits", "values", "unicode"],
)
def test_bombs_take_bounded_memory(bomb):
    tracemalloc.start()
    try:
        with pytest.raises(ArtifactError):
            require_canonical(bomb, parse_bounded(bomb, "text"), "text")
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 4 * len(bomb) + 5e6


def test_first_difference():
    assert first_difference(b"abc", b"abd") == 2
    assert first_difference(b"xbc", b"abd") == 0
    assert first_difference(b"ab", b"abd") == 2
    assert first_difference(b"", b"a") == 0
    a = bytes(1000)
    for i in range(0, 1000, 37):
        b = bytearray(a)
        b[i] = b[-1] = 1
        assert first_difference(a, bytes(b)) == i


def test_shorten_is_ascii_and_short():
    assert shorten("é\n") == r"'\xe9\n'"
    assert len(shorten("é" * 1000)) <= 80
