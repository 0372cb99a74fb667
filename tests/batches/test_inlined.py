"""Kept files named by id in chats and responses reach any provider as what they hold; another key's do not."""

from __future__ import annotations

import base64
from typing import TYPE_CHECKING, Any

import openai
import pytest

from tests.fakes.hub import running_hub
from tests.fakes.upstream import FaultUpstream
from tests.fakes.vendor import connect, good

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.anyio

PDF = b"%PDF-1.4 a document"
PNG = b"\x89PNG a picture"


def url(kind: str, content: bytes) -> str:
    return f"data:{kind};base64,{base64.b64encode(content).decode()}"


async def test_files_by_id(tmp_path: Path) -> None:
    """SEC-04: an id of another key is refused before anything is sent; a provider's own id passes as it came."""
    async with running_hub(tmp_path, max_body_mb=1) as running, FaultUpstream() as upstream:
        upstream.answer(good())
        await connect(running, upstream, data={"format": "openai"})
        options: dict[str, Any] = {"base_url": f"{running.url}/v1", "max_retries": 0}
        async with (
            openai.AsyncOpenAI(api_key=await running.key("chat"), **options) as sdk,
            openai.AsyncOpenAI(api_key=await running.key("chat"), **options) as other,
        ):
            document = (await sdk.files.create(file=("a.pdf", PDF, "application/pdf"), purpose="user_data")).id
            picture = (await sdk.files.create(file=("a.png", PNG, "image/png"), purpose="vision")).id

            def chat(client: openai.AsyncOpenAI, file_id: str) -> Any:
                part: Any = {"type": "file", "file": {"file_id": file_id}}
                return client.chat.completions.create(model="openai/gpt-4o-mini", messages=[{"role": "user", "content": [part]}])

            await chat(sdk, document)
            (sent,) = upstream.requests[-1].json()["messages"][0]["content"]
            assert sent["file"] == {"filename": "a.pdf", "file_data": url("application/pdf", PDF)}
            await chat(sdk, "file-theirs")
            assert upstream.requests[-1].json()["messages"][0]["content"][0]["file"] == {"file_id": "file-theirs"}
            parts: Any = [{"type": "input_file", "file_id": document}, {"type": "input_image", "file_id": picture, "detail": "auto"}]
            await sdk.responses.create(model="openai/gpt-4o-mini", input=[{"role": "user", "content": parts}], store=False)
            first, second = upstream.requests[-1].json()["messages"][0]["content"]
            assert first["file"]["file_data"] == url("application/pdf", PDF)
            assert second["image_url"]["url"] == url("image/png", PNG)
            asked = len(upstream.requests)
            with pytest.raises(openai.BadRequestError) as refused:
                await chat(other, document)
            assert refused.value.code == "file_not_found"
            large = (await sdk.files.create(file=("b", b"x" * 900_000), purpose="user_data")).id
            both: Any = [{"type": "file", "file": {"file_id": large}}] * 2
            with pytest.raises(openai.APIStatusError, match="MAX_BODY_MB") as over:
                await sdk.chat.completions.create(model="openai/gpt-4o-mini", messages=[{"role": "user", "content": both}])
            assert (over.value.status_code, len(upstream.requests)) == (413, asked)
