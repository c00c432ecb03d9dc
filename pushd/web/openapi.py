"""The description of the HTTP side (OpenAPI 3.1), made from the table of operations."""

from __future__ import annotations

from http import HTTPStatus
from typing import Any

import msgspec

from pushd import __version__
from pushd.web.operation import JSON, Answer, Operation, Param, Schema
from pushd.web.shapes.problem import Problem
from pushd.web.table import OPERATIONS, TAGS, full_path
from pushd.web.webhooks import types as webhook_types
from pushd.web.webhooks import webhooks

REF = "#/components/schemas/{name}"
PROBLEM = "application/problem+json"

ABOUT = """\
A durable push server: publish, log, hint, pull. Times are in milliseconds since 1970. Receivers \
ignore members that they do not know. Lists answer `items` and `next`: send `next` back as a \
parameter for the page that follows, until it is null. Every refusal is a problem object \
(RFC 9457) with a stable `code`."""


def openapi(prefix: str = "") -> dict[str, Any]:
    """``prefix``: the setting path_prefix."""
    types = _types()
    schemas, components = msgspec.json.schema_components(types, ref_template=REF)
    by_type = dict(zip(map(id, types), schemas, strict=True))
    paths: dict[str, dict[str, Any]] = {}
    for operation in OPERATIONS:
        item = paths.setdefault(full_path(operation, prefix), {})
        item[operation.method.lower()] = _operation(operation, by_type)
    return {
        "openapi": "3.1.0",
        "info": {"title": "pushd", "version": __version__, "description": ABOUT},
        "servers": [{"url": "/"}],
        "tags": [{"name": tag} for tag in (*TAGS, "Webhooks")],
        "paths": paths,
        "webhooks": webhooks(by_type),
        "components": {"schemas": components, "securitySchemes": _SECURITY},
    }


_SECURITY = {
    "key": {"type": "http", "scheme": "bearer", "description": "The API key of a service."},
    "token": {
        "type": "http",
        "scheme": "bearer",
        "bearerFormat": "JWT",
        "description": "The token of a user, signed by your application.",
    },
}


def _types() -> list[Any]:
    types: list[Any] = [Problem]
    for operation in OPERATIONS:
        types += [answer.type for answer in operation.answers if answer.type is not None]
        if operation.body is not None:
            types.append(operation.body.type)
    return types + webhook_types()


def _operation(operation: Operation, by_type: dict[int, Schema]) -> dict[str, Any]:
    described: dict[str, Any] = {
        "operationId": operation.name,
        "tags": [operation.tag],
        "summary": operation.summary,
    }
    if about := _about(operation):
        described["description"] = about
    described["security"] = _security(operation)
    if operation.params:
        described["parameters"] = [_parameter(operation, each) for each in operation.params]
    if operation.body is not None:
        content: dict[str, Any] = {}
        for media in operation.body.media:
            schema = by_type[id(operation.body.type)] if media == JSON else {"type": "string"}
            content[media] = {"schema": schema}
        content[JSON]["example"] = msgspec.json.decode(operation.body.example)
        described["requestBody"] = {"required": True, "content": content}
    answers = {str(each.status): _answer(each, by_type) for each in operation.answers}
    problem = {PROBLEM: {"schema": by_type[id(Problem)]}}
    for status in operation.statuses:
        answers[str(status)] = {"description": HTTPStatus(status).phrase, "content": problem}
    described["responses"] = answers
    return described


def _about(operation: Operation) -> str:
    about = [operation.help] if operation.help else []
    if operation.who == "service":
        about.append(f"Needs a key with scope {' or '.join(operation.scopes)}.")
        if operation.whole:
            about.append("Keys that are limited to patterns are refused.")
    if operation.who == "user":
        about.append("Needs the token of a user.")
    return " ".join(about)


def _security(operation: Operation) -> list[dict[str, list[str]]]:
    if operation.who == "open":
        return []
    if operation.who == "local":
        return [{}, {"key": []}]
    key, token = {"key": list[str]()}, {"token": list[str]()}
    return {"service": [key], "user": [token]}.get(operation.who, [key, token])


def _parameter(operation: Operation, param: Param) -> dict[str, Any]:
    place = "path" if param.name in operation.path_names else "query"
    described: dict[str, Any] = {
        "name": param.name,
        "in": place,
        "description": param.help,
        "required": param.required,
        "schema": param.schema,
    }
    if param.example:
        number = param.schema.get("type") in ("integer", "number")
        described["example"] = int(param.example) if number else param.example
    return described


def _answer(answer: Answer, by_type: dict[int, Schema]) -> dict[str, Any]:
    described: dict[str, Any] = {"description": answer.help}
    if answer.type is not None:
        described["content"] = {answer.media: {"schema": by_type[id(answer.type)]}}
    return described
