"""Pictures as clients write them: files of a form, data URLs, addresses, and OpenAI's objects."""

from __future__ import annotations

from typing import Any, cast

from pydantic import TypeAdapter, ValidationError

from hub.errors import BadRequest
from hub.media.pictures import Picture
from hub.uploads import Upload, UploadField

MOST_PICTURES = 16
_FILE: TypeAdapter[Upload] = TypeAdapter(UploadField)


def pictures(value: Any) -> list[Picture]:
    """What a client may write for pictures: files, data URLs, addresses, and OpenAI's ``{image_url}``; one, or a list."""
    given = cast("list[Any]", value if isinstance(value, list) else [] if value is None else [value])
    if len(given) > MOST_PICTURES:
        raise ValueError(f"has {len(given)} pictures; at most {MOST_PICTURES} go into one request")
    return [_picture(one) for one in given]


def _picture(value: Any) -> Picture:
    if isinstance(value, dict):
        named = cast("dict[str, Any]", value)
        value = named.get("image_url") or named.get("url")
        if isinstance(value, dict):
            value = cast("dict[str, Any]", value).get("url")
        if value is None:
            raise ValueError("write {image_url: ...}; files that were uploaded elsewhere cannot be named here")
    if isinstance(value, str) and value.startswith(("http://", "https://")):
        return value
    try:
        return _FILE.validate_python(value)
    except ValidationError as error:
        raise ValueError(str(error.errors()[0]["msg"]).removeprefix("Value error, ")) from None


def fileless(fields: dict[str, Any]) -> dict[str, Any]:
    """A client's other fields. Raises BadRequest for a file under a name that means nothing."""
    for name, value in fields.items():
        if any(isinstance(one, Upload) for one in (cast("list[Any]", value) if isinstance(value, list) else [value])):
            raise BadRequest(f"{name}: no file is known under this name; send image or mask", field=name)
    return fields
