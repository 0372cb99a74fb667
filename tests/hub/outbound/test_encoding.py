"""Content decoding: whatever the cuts, bounded, and strict about its end (REL-03, REL-08)."""

from __future__ import annotations

import gzip
import itertools
import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hub.outbound.base import Fault, OutboundError
from hub.outbound.encoding import Decoder, content_encoding

TEXT = b" ".join(b"%d" % (number * 7919) for number in range(200))


def decode(encoding: bytes, *pieces: bytes, limit: int = 1 << 24) -> bytes:
    decoder = Decoder(encoding, limit)
    out = b""
    for piece in pieces:
        decoder.feed(piece)
        while data := decoder.take():
            out += data
    decoder.finish()
    return out


def raw_deflate(data: bytes) -> bytes:
    packer = zlib.compressobj(wbits=-15)
    return packer.compress(data) + packer.flush()


def fault(encoding: bytes, *pieces: bytes, limit: int = 1 << 24) -> Fault:
    with pytest.raises(OutboundError) as caught:
        decode(encoding, *pieces, limit=limit)
    assert caught.value.started
    return caught.value.fault


KINDS = ["gzip", "x-gzip", "deflate", "raw", "members"]


@given(st.binary(max_size=2000), st.lists(st.integers(0, 2100), max_size=6), st.sampled_from(KINDS))
def test_any_cut(body: bytes, cuts: list[int], kind: str) -> None:
    packed = {
        "gzip": gzip.compress(body),
        "x-gzip": gzip.compress(body),
        "deflate": zlib.compress(body),
        "raw": raw_deflate(body),
        "members": gzip.compress(body[:10]) + gzip.compress(body[10:]) + b"\0\0",
    }[kind]
    encoding = {"raw": b"deflate", "members": b"gzip"}.get(kind, kind.encode())
    edges = [0, *sorted(min(cut, len(packed)) for cut in cuts), len(packed)]
    assert decode(encoding, *(packed[a:b] for a, b in itertools.pairwise(edges))) == body


@pytest.mark.parametrize("keep", [1, 5, 12, 30, -1, -4])
def test_truncated(keep: int) -> None:
    assert fault(b"gzip", gzip.compress(TEXT)[:keep]) is Fault.BAD_ENCODING
    assert fault(b"deflate", zlib.compress(TEXT)[:keep]) is Fault.BAD_ENCODING


def test_corrupt() -> None:
    assert fault(b"gzip", b"this is not gzip at all") is Fault.BAD_ENCODING
    assert fault(b"deflate", b"\xff\xff\xff\xff") is Fault.BAD_ENCODING
    assert fault(b"gzip", gzip.compress(b"x") + b"trailing") is Fault.BAD_ENCODING
    assert fault(b"deflate", zlib.compress(b"x") + b"trailing") is Fault.BAD_ENCODING
    checksum = bytearray(gzip.compress(b"hello"))
    checksum[-6] ^= 1
    assert fault(b"gzip", bytes(checksum)) is Fault.BAD_ENCODING


def test_bomb_is_stopped_at_its_limit() -> None:
    """REL-08: 64 MiB of zeros in 64 KiB."""
    bomb = gzip.compress(bytes(1 << 26), compresslevel=9)
    assert fault(b"gzip", bomb, limit=1 << 20) is Fault.TOO_LARGE


def test_chain_of_empty_members_is_stopped() -> None:
    assert fault(b"gzip", gzip.compress(b"") * 3000) is Fault.BAD_ENCODING


@pytest.mark.parametrize("encoding", [b"br", b"zstd", b"gzip,gzip", b"compress"])
def test_unknown(encoding: bytes) -> None:
    assert fault(encoding, b"x") is Fault.BAD_ENCODING
    assert decode(encoding) == b""


def test_names() -> None:
    assert content_encoding([(b"content-encoding", b" GZIP ")]) == b"gzip"
    assert content_encoding([(b"content-encoding", b"identity"), (b"a", b"b")]) == b""
    assert content_encoding([(b"content-encoding", b"gzip"), (b"content-encoding", b"br")]) == b"gzip,br"
