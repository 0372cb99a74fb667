"""RFC 8785: the examples of the standard, and numbers as ECMAScript writes them."""

from __future__ import annotations

import struct

import pytest

from hub.canonical import canonical


def test_the_example_of_the_standard() -> None:
    """RFC 8785, 3.2.2 and 3.2.3."""
    value = {
        "numbers": [333333333.33333329, 1e30, 4.50, 2e-3, 0.000000000000000000000000001],
        "string": '\u20ac$\u000f\nA\'B"\\\\"/',
        "literals": [None, True, False],
    }
    expected = (
        '{"literals":[null,true,false],"numbers":[333333333.3333333,1e+30,4.5,0.002,1e-27],"string":"\u20ac$\\u000f\\nA\'B\\"\\\\\\\\\\"/"}'
    )
    assert canonical(value).decode() == expected


def test_names_go_by_their_utf_16_units() -> None:
    """RFC 8785, 3.2.3: an emoji stands before a letter of the private area, unlike in the order of code points."""
    names = ["\u20ac", "\r", "\ufb33", "1", "\U0001f600", "\u0080", "\u00f6"]
    order = ["\r", "1", "\u0080", "\u00f6", "\u20ac", "\U0001f600", "\ufb33"]
    assert canonical(dict.fromkeys(names, 0)) == canonical(dict.fromkeys(order, 0))
    found = canonical(dict.fromkeys(names, 0)).decode()
    assert [found.index(f'"{name}"' if name != "\r" else '"\\r"') for name in order] == sorted(
        found.index(f'"{name}"' if name != "\r" else '"\\r"') for name in order
    )


@pytest.mark.parametrize(
    ("bits", "text"),
    [
        ("0000000000000000", "0"),
        ("8000000000000000", "0"),
        ("0000000000000001", "5e-324"),
        ("7fefffffffffffff", "1.7976931348623157e+308"),
        ("4340000000000000", "9007199254740992"),
        ("4430000000000000", "295147905179352830000"),
        ("44b52d02c7e14af5", "9.999999999999997e+22"),
        ("44b52d02c7e14af6", "1e+23"),
        ("444b1ae4d6e2ef4e", "999999999999999700000"),
        ("444b1ae4d6e2ef50", "1e+21"),
        ("3eb0c6f7a0b5ed8c", "9.999999999999997e-7"),
        ("3eb0c6f7a0b5ed8d", "0.000001"),
        ("41b3de4355555555", "333333333.3333333"),
        ("becbf647612f3696", "-0.0000033333333333333333"),
    ],
)
def test_numbers(bits: str, text: str) -> None:
    """RFC 8785, appendix B."""
    assert canonical(struct.unpack(">d", bytes.fromhex(bits))[0]).decode() == text


@pytest.mark.parametrize("value", [float("nan"), float("inf"), 2**53, "\ud800"])
def test_what_has_no_canonical_form(value: object) -> None:
    with pytest.raises(ValueError, match=r"it holds|surrogates"):
        canonical(value)


def test_depth_is_bounded() -> None:
    """SEC-63: no card makes the hub run out of stack."""
    value: object = 1
    for _ in range(5000):
        value = [value]
    with pytest.raises(ValueError, match="nested"):
        canonical(value)
