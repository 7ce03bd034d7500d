"""Connections for the threads that serve: one each, made again when it is lost, which can only read or may also keep alarms."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import TypeVar

import psycopg

from deploy.fleet.database import Connection, connect
from deploy.fleet.schema import check
from device.errors import TransientError

__all__ = ["Pool"]

Answer = TypeVar("Answer")


class Pool:
    """Of one database."""

    def __init__(self, database: str) -> None:
        self._database = database
        self._own = threading.local()

    def ask(self, question: Callable[[Connection], Answer]) -> Answer:
        """What a question answers; TransientError where the database doesn't."""
        connection: Connection | None = getattr(self._own, "connection", None)
        try:
            if connection is None or connection.closed:
                connection = self._own.connection = connect(self._database)
                check(connection)
            return question(connection)
        except psycopg.OperationalError as error:
            if connection is not None:
                connection.close()
            raise TransientError(
                "the fleet's database doesn't answer", got=" ".join(str(error).split()), remedy="It is asked again in a while."
            ) from error
