"""Connections for the threads that serve: as many as ask at once, made again when they are lost."""

from __future__ import annotations

import contextlib
from collections import deque
from collections.abc import Callable
from typing import TypeVar

import psycopg

from deploy.fleet.database import Connection, connect
from deploy.fleet.schema import check
from device.errors import TransientError

__all__ = ["ConnectionPool"]

Answer = TypeVar("Answer")


class ConnectionPool:
    """Of one database; safe to share between threads."""

    def __init__(self, database: str) -> None:
        self._database = database
        self._idle: deque[Connection] = deque()

    def ask(self, question: Callable[[Connection], Answer]) -> Answer:
        """What a question answers; TransientError where the database doesn't."""
        connection = self._taken()
        try:
            answer = question(connection)
        except psycopg.OperationalError as error:
            connection.close()
            self.close()  # those that wait are of the same server
            raise TransientError(
                "the fleet's database doesn't answer", got=" ".join(str(error).split()), remedy="It is asked again in a while."
            ) from error
        except BaseException:
            connection.close()
            raise
        self._idle.append(connection)
        return answer

    def _taken(self) -> Connection:
        with contextlib.suppress(IndexError):
            return self._idle.popleft()
        connection = connect(self._database)
        try:
            check(connection)
        except BaseException:
            connection.close()
            raise
        return connection

    def close(self) -> None:
        """Those that nobody uses."""
        with contextlib.suppress(IndexError):
            while True:
                self._idle.popleft().close()
