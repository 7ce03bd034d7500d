"""What MQTT may ask, asked here: one dispatcher, one audit log, the same answers."""

from __future__ import annotations

import asyncio

from device.messaging.request_messages import REQUESTS, Answer, IncomingRequest
from device.web.api.box import DashboardContext
from device.web.serving.answers import RefusedError
from device.web.serving.routes import Endpoint, HttpRequest

__all__ = ["CommandEndpoints"]

_MARGIN_S = 30.0
"""Beyond what a command may wait for a sample to end."""
_MOST_WAITING = 16


class CommandEndpoints:
    """The route."""

    def __init__(self, box: DashboardContext) -> None:
        self._box, self._waiting = box, 0

    def endpoints(self) -> list[Endpoint]:
        """Of commands."""
        return [Endpoint("POST", "/api/requests/{command}", "operator", self._ask)]

    async def _ask(self, request: HttpRequest) -> Answer:
        command = request.path["command"]
        if command not in REQUESTS:
            raise RefusedError(404, "there is no such command", expected=" | ".join(REQUESTS), got=command[:64])
        if self._waiting >= _MOST_WAITING:
            raise RefusedError(
                503, "too many commands wait", remedy="Nothing was done. Send it again in a while.", retry_s=10.0
            )
        loop = asyncio.get_running_loop()
        answered: asyncio.Future[Answer] = loop.create_future()

        def take(answer: Answer) -> None:
            loop.call_soon_threadsafe(lambda: answered.done() or answered.set_result(answer))

        message = IncomingRequest(command, request.content, door="web", by=request.by, answer_to=take)
        self._waiting += 1
        try:
            self._box.receive(message)
            return await asyncio.wait_for(answered, self._box.file.commands.max_age_s + _MARGIN_S)
        except TimeoutError as error:
            raise RefusedError(503, "no answer yet", where=command, remedy="The audit log tells what came of it.") from error
        finally:
            self._waiting -= 1
