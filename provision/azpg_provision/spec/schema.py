"""The JSON Schema of azpg.yaml, for editors: docs/schemas/spec.json."""

from __future__ import annotations

from typing import Any

from azpg_provision.spec.model import Spec


def schema() -> dict[str, Any]:
    """The schema; a test holds the file against it."""
    found = Spec.model_json_schema(by_alias=True, mode="validation")
    _trim(found)
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **found, "title": "azpg.yaml"}


def _trim(part: Any) -> None:
    """Drops the titles that pydantic makes of the names of fields."""
    if isinstance(part, dict):
        if isinstance(part.get("title"), str):
            del part["title"]
        for one in part.values():
            _trim(one)
    elif isinstance(part, list):
        for one in part:
            _trim(one)


if __name__ == "__main__":
    import json
    import sys

    sys.stdout.write(json.dumps(schema(), indent=2, ensure_ascii=False) + "\n")
