"""A request whose caller only the application knows: it waits as a record, then it is served."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pushd.core.permissions import Identity
from pushd.errors import PushdError
from pushd.front.request import Request
from pushd.hook import Question

if TYPE_CHECKING:
    from pushd.front.connection import HttpConnection


class Asking:
    """Between the two dispatches of one request. A client that leaves takes nobody's answer."""

    __slots__ = ("_connection", "_question", "_request")

    def __init__(self, connection: HttpConnection, request: Request, question: Question) -> None:
        """Raises Overloaded when too many bodies are held already."""
        connection.hub.bodies.take(len(request.body))
        self._connection = connection
        self._request = request
        self._question = question
        connection.waiting = self
        question.wait(self._told)

    def cancel(self) -> None:
        """The connection is over."""
        self._question.forget(self._told)
        self._connection.hub.bodies.give(len(self._request.body))

    def _told(self, answer: Identity | PushdError) -> None:
        connection = self._connection
        connection.waiting = None
        connection.hub.bodies.give(len(self._request.body))
        if connection.out.closed:
            return
        caller = connection.caller
        caller.told(answer)
        try:
            connection.serve(self._request)
        finally:
            caller.told(None)
