"""What the formats of transcription share: files with a name, answers that fit the form that is wanted, texts that come piece by piece."""

from __future__ import annotations

import base64
import mimetypes
from typing import TYPE_CHECKING, Any, cast

import msgspec
import orjson

from hub.chat import Usage
from hub.errors import BadRequest, UpstreamFailed
from hub.media.order import Made
from hub.money.units import Units
from hub.outbound.base import Payload
from hub.sse import SseParser

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence

    from hub.media.order import Line
    from hub.media.transcripts import ListenJob, Transcript
    from hub.outbound.base import Incoming
    from hub.uploads import Upload

DELTA, SEGMENT, DONE = "transcript.text.delta", "transcript.text.segment", "transcript.text.done"
#: The first bytes of sound files, and what such files are called.
_SIGNS = (
    (b"RIFF", "wav"),
    (b"ID3", "mp3"),
    (b"\xff\xfb", "mp3"),
    (b"\xff\xf3", "mp3"),
    (b"\xff\xf2", "mp3"),
    (b"fLaC", "flac"),
    (b"OggS", "ogg"),
    (b"\x1aE\xdf\xa3", "webm"),
)
#: Endings that the standard library's table lacks, or has another word for.
_ENDINGS = {
    "audio/mpeg": ".mp3",
    "audio/mp4": ".m4a",
    "audio/x-m4a": ".m4a",
    "audio/wav": ".wav",
    "audio/webm": ".webm",
    "audio/ogg": ".ogg",
}


class Counted(msgspec.Struct):
    """OpenAI's ``usage`` of a transcription: of tokens, or of seconds."""

    type: str = ""
    seconds: float | None = None
    input_tokens: int | None = None
    output_tokens: int | None = None

    @property
    def usage(self) -> Usage | None:
        """Its tokens; None where it counts seconds."""
        found = Usage(input=max(0, self.input_tokens or 0), output=max(0, self.output_tokens or 0))
        return found if found.total else None


def filename(file: Upload) -> str:
    """The name of a file with an ending that says what it is: providers go by that."""
    if "." in file.name:
        return file.name
    kind = file.content_type.partition(";")[0].strip().lower()
    ending = _ENDINGS.get(kind) or mimetypes.guess_extension(kind) if kind.startswith(("audio/", "video/")) else ""
    if not ending:
        ending = next((f".{name}" for sign, name in _SIGNS if file.data.startswith(sign)), ".mp3")
    return f"{file.name or 'audio'}{ending}"


def kind_of(file: Upload) -> str:
    """The content type of a file: the client's word where it is one for sound, else what its name says."""
    kind = file.content_type.partition(";")[0].strip().lower()
    if kind.startswith(("audio/", "video/")):
        return kind
    return mimetypes.guess_type(filename(file))[0] or "application/octet-stream"


class Inlined(Payload):
    """A JSON body with a file in it as base64 where :attr:`HERE` stands, made a piece at a time."""

    #: No JSON of ours holds such a text.
    HERE = "\u0001file\u0001"

    def __init__(self, body: object, file: Upload) -> None:
        mark = orjson.dumps(self.HERE)
        self._head, _, self._tail = orjson.dumps(body).partition(mark[1:-1])
        self._file = file

    def __len__(self) -> int:
        return len(self._head) + (len(self._file) + 2) // 3 * 4 + len(self._tail)

    async def __aiter__(self) -> AsyncIterator[bytes]:
        yield self._head
        rest = b""
        async for piece in self._file:
            whole = rest + piece
            cut = len(whole) - len(whole) % 3
            yield base64.b64encode(whole[:cut])
            rest = whole[cut:]
        yield base64.b64encode(rest) + self._tail


def scalars(extra: Mapping[str, Any], known: Iterable[str]) -> dict[str, str]:
    """A client's fields that a format carries, as forms and queries write them; lists and the like are left out."""
    found = {name: extra[name] for name in known if isinstance(extra.get(name), (str, int, float))}
    return {name: value if isinstance(value, str) else orjson.dumps(value).decode() for name, value in found.items()}


def unheard(job: ListenJob, *, temperature: bool = False, prompt: bool = False) -> list[str]:
    """The names of a job's wishes that a format carries only where it says so."""
    lost = [("prompt", job.prompt, prompt), ("temperature", job.temperature is not None, temperature)]
    return [name for name, wished, carried in lost if wished and not carried]


def require(job: ListenJob, who: str, *, timed: bool = True, speakers: bool = False, english: bool = False) -> None:
    """Raise BadRequest for what a model cannot do, before anything is sent to it."""
    if job.english and not english:
        raise BadRequest(f"{who} does not translate; transcribe instead, or choose another model", field="model")
    if job.speakers and not speakers:
        raise BadRequest(
            f"response_format: {who} does not tell speakers apart, so there is no diarized_json from it", field="response_format"
        )
    if job.timed and not job.speakers and not timed:
        raise BadRequest(
            f"response_format: {who} does not say when something was said, so there is no {job.form} from it; json and text are",
            field="response_format",
        )


def heard(job: ListenJob, found: Transcript, line: Line, *, usage: Usage | None = None, dropped: Sequence[str] = ()) -> Made[Transcript]:
    """What a provider made of a job. Raises BadRequest when it lacks the times that were wanted, which is charged for all the same."""
    units = Units(seconds_in=found.seconds or job.seconds)
    if job.timed and not found.timed:
        line.taken(usage or Usage(), units)
        require(job, f"{line.target.provider.name} with {line.target.model}", timed=False)
    return Made(found, usage=usage, units=units, dropped=list(dropped))


class Telling:
    """An answer that comes in events. ``read`` turns one of the provider's into OpenAI's; what comes of it all is known at the end.

    ``units`` are what is charged for where the last event, of type ``done``, says nothing else.
    """

    def __init__(
        self, incoming: Incoming, read: Callable[[Mapping[str, Any]], Sequence[dict[str, Any]]], units: Units, *, done: str = DONE
    ) -> None:
        self._incoming = incoming
        self._read = read
        self._units = units
        self._end = done
        self._usage: Usage | None = None
        self._done = False

    def tally(self) -> tuple[Usage | None, Units]:
        """What it came to."""
        return self._usage, self._units

    async def pieces(self) -> AsyncIterator[bytes]:
        """The events as they go to the client. Raises UpstreamFailed for a stream that breaks off or is none (REL-01, REL-03)."""
        parser = SseParser()
        try:
            async for piece in self._incoming:
                for event in parser.feed(piece):
                    for one in self._told(event.data):
                        yield one
            for event in parser.end():
                for one in self._told(event.data):
                    yield one
        finally:
            await self._incoming.close()
        if not self._done:
            raise UpstreamFailed("the provider's answer broke off before its end", code="stream_truncated")

    def _told(self, data: bytes) -> list[bytes]:
        if data.strip() == b"[DONE]":
            return []
        try:
            tree: Any = orjson.loads(data)
        except orjson.JSONDecodeError as error:
            raise UpstreamFailed("the provider's events cannot be read", code="malformed_answer") from error
        if not isinstance(tree, dict):
            raise UpstreamFailed("the provider's events cannot be read", code="malformed_answer")
        return [self._counted(one) for one in self._read(cast("dict[str, Any]", tree))]

    def _counted(self, event: dict[str, Any]) -> bytes:
        if event.get("type") == self._end:
            self._done = True
            self._count(event.get("usage"))
        return b"data: " + orjson.dumps(event) + b"\n\n"

    def _count(self, told: object) -> None:
        try:
            counted = msgspec.convert(told or {}, Counted)
        except msgspec.ValidationError:
            return
        self._usage = counted.usage
        if counted.seconds:
            self._units = msgspec.structs.replace(self._units, seconds_in=counted.seconds)
