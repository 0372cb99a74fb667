"""Multipart forms, in and out: what was sent is what arrives, however it is cut, and nothing stays on disk (SEC-42)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import httpx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hub.errors import BadRequest, TooLarge
from hub.outbound.multipart import Multipart
from hub.uploads import PIECE, Spool, Upload
from transports._forms import _boundary, _Reader  # pyright: ignore[reportPrivateUsage] - the reader without a socket

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.anyio

_NAMES = st.text(st.characters(codec="utf-8", exclude_characters="\r\n\0[]"), min_size=1, max_size=20)
_TEXTS = st.text(st.characters(codec="utf-8"), max_size=200)


async def _body(payload: Multipart) -> bytes:
    body = b"".join([piece async for piece in payload])
    assert len(body) == len(payload)
    return body


async def _read(body: bytes, content_type: str, folder: Path, step: int = 65536) -> tuple[dict[str, Any], _Reader]:
    reader = _Reader(_boundary(content_type), Spool(folder))
    try:
        for start in range(0, len(body), step):
            await reader.feed(body[start : start + step])
        return reader.finish(), reader
    except BaseException:
        await reader.close()
        raise


@given(fields=st.dictionaries(_NAMES, _TEXTS, max_size=4), content=st.binary(max_size=300), name=_NAMES, step=st.integers(1, 90))
@settings(deadline=None, max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
async def test_a_form_that_we_send_is_one_that_we_read(
    fields: dict[str, str], content: bytes, name: str, step: int, tmp_path: Path
) -> None:
    """Names, texts and bytes survive, cut anywhere. A quote in a name is escaped as browsers escape it."""
    fields.pop("file", None)
    sent = Multipart(fields.items(), [("file", name, "image/png", content)])
    found, reader = await _read(await _body(sent), sent.content_type, tmp_path, step)
    upload = found.pop("file")
    assert {key.replace("%22", '"'): value for key, value in found.items()} == {
        key.replace("%22", '"'): text for key, text in fields.items()
    }
    assert (await upload.read(), upload.content_type, upload.size) == (content, "image/png", len(content))
    await reader.close()


async def test_large_files_are_on_disk_only_while_the_request_lasts(tmp_path: Path) -> None:
    """A file of several pieces beside small ones; it can be read twice, and is gone afterwards (SEC-42)."""
    large = bytes(range(256)) * (PIECE // 256 * 3 + 7)
    request = httpx.Request(
        "POST",
        "http://h/",
        data={"model": "m"},
        files=[("image[]", ("a.png", large, "image/png")), ("image[]", ("b.png", b"small", "image/png"))],
    )
    found, reader = await _read(request.read(), request.headers["content-type"], tmp_path)
    first, second = found["image"]
    assert found["model"] == "m"
    assert first.path
    assert not second.path
    assert [await first.read(), await first.read(), await second.read()] == [large, large, b"small"]
    assert list(tmp_path.iterdir())
    await reader.close()
    assert not list(tmp_path.iterdir())


async def test_lists_and_mappings(tmp_path: Path) -> None:
    """Repeated names, ``name[]`` and ``name[key]``, as clients of OpenAI's write them."""
    sent = Multipart(
        [("tag", "a"), ("tag", "b"), ("times[]", "word"), ("expires[anchor]", "created_at"), ("expires[seconds]", "3600"), ("n", "2")]
    )
    found, _ = await _read(await _body(sent), sent.content_type, tmp_path)
    assert found == {"tag": ["a", "b"], "times": ["word"], "expires": {"anchor": "created_at", "seconds": "3600"}, "n": "2"}


@pytest.mark.parametrize(
    ("body", "content_type", "words"),
    [
        (b"--b\r\n", "multipart/form-data", "boundary"),
        (b"", "multipart/form-data; boundary=b", "cut off"),
        (b"nonsense", "multipart/form-data; boundary=b", "cannot be read"),
        (b'--b\r\nContent-Disposition: form-data; name="a"\r\n\r\nhalf', "multipart/form-data; boundary=b", "cut off"),
        (b"--b\r\nContent-Type: text/plain\r\n\r\nx\r\n--b--\r\n", "multipart/form-data; boundary=b", "Content-Disposition"),
        (b'--b\r\nContent-Disposition: form-data; name="a"\r\n\r\n\xff\r\n--b--\r\n', "multipart/form-data; boundary=b", "UTF-8"),
        (b"--b\r\nX: " + b"x" * 9000 + b"\r\n\r\n", "multipart/form-data; boundary=b", "cannot be read"),
    ],
)
async def test_what_is_no_form_is_refused(body: bytes, content_type: str, words: str, tmp_path: Path) -> None:
    """Each with a reason."""
    with pytest.raises(BadRequest, match=words):
        await _read(body, content_type, tmp_path)


async def test_a_form_is_bounded_and_leaves_nothing(tmp_path: Path) -> None:
    """Too many parts, too much text, and a large file that is cut off (REL-08, SEC-42)."""
    many = Multipart([(f"f{at}", "x") for at in range(300)])
    with pytest.raises(BadRequest, match="256 parts"):
        await _read(await _body(many), many.content_type, tmp_path)
    wordy = Multipart([("prompt", "x" * 5_000_000)])
    with pytest.raises(TooLarge):
        await _read(await _body(wordy), wordy.content_type, tmp_path)
    file = Multipart([], [("file", "f", "", b"x" * 3_000_000)])
    with pytest.raises(BadRequest, match="cut off"):
        await _read((await _body(file))[:-40], file.content_type, tmp_path)
    assert not list(tmp_path.iterdir())


async def test_a_form_sends_files_from_disk(tmp_path: Path) -> None:
    """An upload on disk is a part like any other, and can be sent again."""
    path = tmp_path / "one"
    path.write_bytes(b"y" * (PIECE + 5))
    sent = Multipart([], [("file", 'a"b.wav', "audio/wav", Upload("a.wav", "audio/wav", PIECE + 5, path=str(path)))])
    assert await _body(sent) == await _body(sent)
