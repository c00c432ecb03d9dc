"""Every accepted body means the same to every strict client; every refusal says why."""

from __future__ import annotations

import msgspec
import pytest

from pushd.core.jsoncheck import check_json, check_unique_keys, strict_decode
from pushd.errors import BadRequest

DEEP = 100_000

GOOD = [
    b"0",
    b"-0",
    b"-0.0",
    b"1e308",
    b"-1.7976931348623157e308",
    b"1e-999",
    b"0e999999",
    b"0." + b"1" * 4000,
    b"9007199254740991",
    b"-9007199254740991",
    b"9007199254740993.0",  # a float from the start: rounded alike everywhere
    b"true",
    b"null",
    b'""',
    b' \t\r\n{"a" : [1, 2.5, null] }\n',
    b'{"text":"hello"}',
    b'{"a:b":"c:d",":":":","u":"http://x:1/"}',
    b'{"a":{"a":{"a":1}},"b":[{"a":1},{"a":1}]}',
    b'{"a":1,"A":1,"":1}',
    b'{"\\u003a":":","x":"\\u003A"}',
    b'{"prototype":1,"constructor":1,"x":"__proto__"}',
    b'"\\u0000"',
    b'"\\ud83d\\ude00"',
    '"😀é\u2028\ufeff"'.encode(),
    b'"\x7f"',
    b"[" * 32 + b"]" * 32,
    b'{"a":' * 32 + b"1" + b"}" * 32,
    b'"' + b"[" * 1000 + b'"',
    b"[" + b",".join([b"[1]"] * 5000) + b"]",
]

# (body, a word of the reason)
BAD = [
    (b"", "no JSON"),
    (b" \n", "no JSON"),
    (b"NaN", "NaN"),
    (b"[1,NaN]", "byte 3"),
    (b"[-NaN]", "NaN"),
    (b"Infinity", "Infinity"),
    (b'{"a":-Infinity}', "Infinity"),
    (b"[nan]", "well-formed"),
    (b"1e999", "too large"),
    (b"[-1e999]", "too large"),
    (b"1" * 5000, "send it as a string"),
    (b"-" + b"1" * 5000, "send it as a string"),
    (b"1" * 400, "send it as a string"),
    (b'{"id":9007199254740992}', "9007199254740992"),
    (b"-9007199254740992", "send it as a string"),
    (b"[[9007199254740993]]", "send it as a string"),
    (b"9223372036854775808", "send it as a string"),
    (b"18446744073709551616", "send it as a string"),
    (b"[" * 33 + b"]" * 33, "deeper than 32"),
    (b'{"a":' * 33 + b"1" + b"}" * 33, "deeper than 32"),
    (b'[{"a":' * 17 + b"1" + b"}]" * 17, "deeper than 32"),
    (b"[" * DEEP, "deeper than 32"),
    (b"[" * DEEP + b"]" * DEEP, "deeper than 32"),
    (b'{"a":' * DEEP, "deeper than 32"),
    (b'{"a":' * DEEP + b"1" + b"}" * DEEP, "deeper than 32"),
    (b'{"a":' + b"[" * 500 + b"]" * 500 + b',"a":1}', "twice"),
    (b'{"a":1,"a":1}', 'key "a" comes twice'),
    (b'[{"b":{"a":1,"x":0,"a":2}}]', 'key "a" comes twice'),
    (b'{"a":1,"\\u0061":2}', 'key "a" comes twice'),
    (b'{"":1,"":2}', 'key "" comes twice'),
    (b'{"a":":","a":1}', "twice"),
    (b'{"a":1,"a":"\\u003a"}', "twice"),  # the decoded colon makes up for the lost one
    (b'{"a":1,"a":"\\u003A"}', "twice"),
    (b'{"a":{"b":1},"a":{"b":1}}', "twice"),
    (b'{"' + b"k" * 5000 + b'":1,"' + b"k" * 5000 + b'":2}', "twice"),
    (b'{"__proto__":1}', "__proto__"),
    (b'[{"a":{"\\u005f_proto__":{}}}]', "__proto__"),
    (b'"\\ud800"', "surrogate"),
    (b'["\\udc00 x"]', "surrogate"),
    (b'"\\ud800\\u0041"', "surrogate"),
    (b'{"\\ud800":1}', "surrogate"),
    (b'"\xed\xa0\x80"', "not UTF-8 at byte 1"),
    (b'"ab\xc0\x80"', "not UTF-8 at byte 3"),
    (b'{"\xff":1}', "not UTF-8 at byte 2"),
    (b'"\xf4\x90\x80\x80"', "not UTF-8"),
    (b'"\xe2\x82"', "not UTF-8"),
    (b'{"a":1,"a":"\xff"}', "not UTF-8"),
    (b'{"a":"\xff","a":1}', "not UTF-8"),
    (b"\xef\xbb\xbf{}", "byte order mark"),
    ("{}".encode("utf-16"), "UTF-16"),
    ("{}".encode("utf-16-le"), "UTF-16"),
    ("{}".encode("utf-16-be"), "UTF-16"),
    ("{}".encode("utf-32"), "UTF-16"),
    (b'"a\0"', "byte 2"),
    (b'"a\nb"', "byte 2"),
    (b"{}\0", "trailing"),
    (b"{} {}", "trailing"),
    (b"1 x", "trailing"),
    (b'{"a":1,}', "trailing comma"),
    (b"[1,]", "trailing comma"),
    (b"{'a':1}", "well-formed"),
    (b"{a:1}", "well-formed"),
    (b'{"a" 1}', "well-formed"),
    (b'{"a":1', "truncated"),
    (b'"a', "truncated"),
    (b"tru", "truncated"),
    (b"undefined", "well-formed"),
    (b"01", "number"),
    (b"1.", "number"),
    (b".5", "byte 0"),
    (b"+1", "byte 0"),
    (b"0x10", "trailing"),
    (b'"\\x41"', "escape"),
    (b"[1]// comment", "trailing"),
    (b"\x0b1", "byte 0"),
    (b"\xc2\xa01", "byte 0"),
]


def _short(value: object) -> str:
    return ascii(value)[:40]


@pytest.mark.parametrize("body", GOOD, ids=_short)
def test_good(body: bytes) -> None:
    check_json(body)
    check_json(memoryview(body))


@pytest.mark.parametrize(("body", "reason"), BAD, ids=_short)
def test_bad_says_why(body: bytes, reason: str) -> None:
    for form in (body, memoryview(body)):
        with pytest.raises(BadRequest) as caught:
            check_json(form)
        assert reason in caught.value.detail
        assert len(caught.value.detail) < 200


def test_the_depth_is_a_parameter() -> None:
    check_json(b"1", 0)
    check_json(b"[{}]", 2)
    for body, depth in ((b"[]", 0), (b"[{}]", 1)):
        with pytest.raises(BadRequest):
            check_json(body, depth)


def test_duplicates_alone() -> None:
    check_unique_keys(b'{"a":{"a":18446744073709551616}}')  # says nothing about numbers
    for bad in (b'{"a":1,"a":1}', b"{", b"\xff", b"[" * DEEP):
        with pytest.raises(BadRequest):
            check_unique_keys(bad)


class Position(msgspec.Struct):
    seq: int


def test_strict_decode() -> None:
    assert strict_decode(b'{"seq":41,"more":[1]}', Position) == Position(41)
    assert strict_decode(memoryview(b'{"seq":0}'), Position) == Position(0)
    assert strict_decode(b"[1]", list[int]) == [1]


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (b'{"seq":true}', "$.seq"),
        (b'{"seq":1.0}', "$.seq"),
        (b'{"seq":1e3}', "$.seq"),
        (b'{"seq":"1"}', "$.seq"),
        (b'{"seq":null}', "$.seq"),
        (b'{"seq":9007199254740992}', "2^53-1"),
        (b'{"seq":1,"seq":2}', "twice"),
        (b"{}", "seq"),
        (b"[]", "object"),
        (b"41", "object"),
        (b"null", "object"),
        (b'{"seq":1}}', "trailing"),
        (b'{"seq":1,"more":' + b"[" * 32 + b"]" * 32 + b"}", "deeper"),
    ],
    ids=_short,
)
def test_strict_decode_refuses(body: bytes, reason: str) -> None:
    with pytest.raises(BadRequest) as caught:
        strict_decode(body, Position)
    assert reason in caught.value.detail
