"""What an operation of the API is: declared once; served, checked and described from that."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, Literal

if TYPE_CHECKING:
    from pushd.web.call import Call

Schema = dict[str, Any]
Handler = Callable[["Call"], Awaitable[Any]]

# Who may call: everybody; whoever asks from this machine, else a key; users and services;
# services only; users only.
Who = Literal["open", "local", "anyone", "service", "user"]

JSON: Final = "application/json"
NDJSON: Final = "application/x-ndjson"


@dataclass(frozen=True, slots=True)
class Param:
    """A parameter in the path or the query. ``parse`` raises BadRequest."""

    name: str
    schema: Schema
    help: str
    parse: Callable[[str], Any] = str
    default: Any = None
    required: bool = False
    example: str = ""


@dataclass(frozen=True, slots=True)
class Answer:
    """One good answer. ``type``: what msgspec can describe, None for no body, str for text."""

    status: int
    help: str
    type: Any = None
    media: str = JSON


@dataclass(frozen=True, slots=True)
class Body:
    """A request body. ``example``: one that works, as JSON text."""

    type: Any
    example: str
    media: tuple[str, ...] = (JSON,)
    help: str = ""


@dataclass(frozen=True, slots=True)
class Operation:
    """``handler`` None: served on the hot loop, or a page; then this only describes it.

    ``scopes``: a service's key needs one of them. ``whole``: a key that is limited to patterns is
    refused, because the operation reaches beyond any channel. ``refusals``: HTTP statuses beside
    those that every operation of its kind can answer.
    """

    name: str
    method: str
    path: str
    tag: str
    summary: str
    answers: tuple[Answer, ...]
    help: str = ""
    who: Who = "service"
    scopes: tuple[str, ...] = ()
    whole: bool = False
    params: tuple[Param, ...] = ()
    body: Body | None = None
    refusals: tuple[int, ...] = ()
    handler: Handler | None = None
    hot: bool = False
    path_names: frozenset[str] = field(init=False)

    def __post_init__(self) -> None:
        parts = self.path.split("/")
        names = frozenset(part[1:-1] for part in parts if part[:1] == "{")
        object.__setattr__(self, "path_names", names)

    @property
    def queries(self) -> list[Param]:
        """Those of the parameters that do not stand in the path."""
        return [param for param in self.params if param.name not in self.path_names]

    @property
    def statuses(self) -> list[int]:
        """Every refusal that it may answer with."""
        found = {400, 503, *self.refusals}
        if self.who != "open":
            found |= {401, 403}
        if self.body is not None:
            found |= {413}
        return sorted(found)
