"""The OpenAPI 3.1 description of the admin API, made from the table of its operations."""

import re
from typing import Any

import msgspec

from orrery.protocols.admin import wire
from orrery.protocols.admin.operations import OPERATIONS, PREFIX, Operation

REFERENCE = "#/components/schemas/{name}"


def description(version: str) -> dict[str, Any]:
    """``version`` is that of the release."""
    kinds = [kind for one in OPERATIONS for kind in (one.takes, one.gives) if kind is not None]
    kinds.append(wire.Problem)
    schemas, components = msgspec.json.schema_components(kinds, ref_template=REFERENCE)
    schema_of = {repr(kind): schema for kind, schema in zip(kinds, schemas, strict=True)}
    paths: dict[str, dict[str, Any]] = {}
    for operation in OPERATIONS:
        described = _operation(operation, schema_of)
        paths.setdefault(PREFIX + operation.path, {})[operation.method.lower()] = described
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Orrery admin API",
            "version": version,
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "paths": paths,
        "security": [{"bearer": []}, {"basic": []}],
        "components": {
            "schemas": components,
            "securitySchemes": {
                "bearer": {"type": "http", "scheme": "bearer"},
                "basic": {"type": "http", "scheme": "basic"},
            },
        },
    }


def _operation(operation: Operation, schema_of: dict[str, Any]) -> dict[str, Any]:
    problem = _content("application/json", schema_of[repr(wire.Problem)])
    described: dict[str, Any] = {
        "operationId": operation.name,
        "summary": operation.summary,
        "parameters": _parameters(operation),
        "responses": {
            str(operation.status): {
                "description": "done",
                **_content(operation.content_type, schema_of[repr(operation.gives)]),
            },
            "default": {"description": "not done", **problem},
        },
    }
    if operation.takes is not None:
        body = _content("application/json", schema_of[repr(operation.takes)])
        described["requestBody"] = {"required": True, **body}
    return described


def _parameters(operation: Operation) -> list[dict[str, Any]]:
    text = {"type": "string"}
    in_path = [
        {"name": name, "in": "path", "required": True, "schema": text}
        for name in re.findall(r"\{(\w+)\}", operation.path)
    ]
    in_query = [{"name": name, "in": "query", "schema": text} for name in operation.query]
    return in_path + in_query


def _content(content_type: str, schema: object) -> dict[str, Any]:
    return {"content": {content_type: {"schema": schema}}}
