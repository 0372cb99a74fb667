"""The public surface as data: every skill with its schemas and scopes, every route. ``python -m tests.surface`` writes the golden file."""

from __future__ import annotations

import json
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from hub.call import Hub
from hub.settings import Settings
from transports._http import all_routes

GOLDEN = Path(__file__).parent / "golden" / "surface.json"


def surface(folder: Path) -> dict[str, Any]:
    """What this checkout offers."""
    hub = Hub(Settings(data_dir=folder))
    skills = {
        skill.name: {
            "summary": skill.summary,
            "scopes": sorted(skill.scopes),
            "cost": skill.cost.value,
            "streams": skill.streams,
            "readOnly": skill.read_only,
            "destructive": skill.destructive,
            "audit": skill.audit.value,
            "mcp": skill.mcp.tool if skill.mcp else None,
            "resources": [shown.uri for shown in skill.resources],
            "names": skill.names.kind if skill.names else None,
            "a2a": skill.a2a.id if skill.a2a else None,
            "rest": [f"{address.method} {address.path}" for address in skill.rest],
            "input": skill.input_schema(),
            "output": skill.output_schema(),
        }
        for skill in hub.skills
    }
    routes = sorted(
        {
            f"{'WebSocket' if route.socket else method} {route.path} {'public' if route.public else 'key'} {route.door.name}"
            for route in all_routes(hub)
            for method in route.methods
        }
    )
    return {"skills": skills, "routes": routes}


def text(found: dict[str, Any]) -> str:
    """The golden file's text."""
    return json.dumps(found, indent=1, sort_keys=True) + "\n"


if __name__ == "__main__":
    with TemporaryDirectory() as name:
        GOLDEN.write_text(text(surface(Path(name))))
