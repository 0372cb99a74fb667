"""Two marketplaces of skills and the repositories that their texts are in, as one server that answers, or lies."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

from tests.fakes.upstream import Behaviour, Received, answer_bytes, json_answer

COMMIT = "1234567890abcdef1234567890abcdef12345678"
TEXT = b"---\nname: pdf\ndescription: Reads PDFs.\n---\nRead the file page by page.\n"
KEY = "smp-key-of-the-owner"


#: The settings that lead to it, and where below its address.
BASES = {"skillsmp_url": "/smp", "skillssh_url": "/ssh", "skills_raw_url": "/raw", "github_api_url": "/api"}


def git_blob(data: bytes) -> str:
    """Git's id of a file's content."""
    return hashlib.sha1(b"blob %d\x00" % len(data) + data, usedforsecurity=False).hexdigest()


@dataclass
class Web:
    """Two marketplaces and a host of repositories. ``lies`` by the start of a path stand for the truth."""

    files: dict[str, bytes] = field(default_factory=lambda: {"acme/tools/skills/pdf/SKILL.md": TEXT})
    lies: dict[str, Behaviour] = field(default_factory=dict[str, Any])
    heard: list[Received] = field(default_factory=list[Received])

    def answer(self, request: Received) -> Behaviour:
        self.heard.append(request)
        parts = urlsplit(request.target)
        path, query = unquote(parts.path), parse_qs(parts.query)
        for start, lie in self.lies.items():
            if path.startswith(start):
                return lie
        if path == "/smp/api/v1/skills/search":
            if request.headers.get("authorization") != f"Bearer {KEY}":
                return json_answer({"error": "who are you"}, status=401)
            return json_answer({"success": True, "data": {"skills": [{"id": "a", "name": query["q"][0], "description": "d"}, "noise"]}})
        if path == "/ssh/api/search":
            found = [
                {"id": f"acme/tools/{n}", "skillId": "pdf", "name": f"pdf {n}", "installs": 7, "source": "acme/tools"} for n in range(30)
            ]
            return json_answer({"skills": found, "count": 30, "query": query["q"][0], "limit": query["limit"][0]})
        if path == "/api/repos/acme/tools/commits/HEAD":
            return json_answer({"sha": COMMIT, "commit": {"message": "x"}})
        if path.startswith("/api/repos/acme/tools/contents/") and query.get("ref") == [COMMIT]:
            data = self.files.get(f"acme/tools/{path.removeprefix('/api/repos/acme/tools/contents/')}")
            return json_answer({"type": "file", "size": len(data), "sha": git_blob(data)} if data else {}, status=200 if data else 404)
        data = self.files.get(path.removeprefix("/raw/").replace(f"/{COMMIT}/", "/", 1))
        return answer_bytes(data, headers=[("content-type", "text/plain")]) if data else json_answer({"message": "Not Found"}, status=404)
