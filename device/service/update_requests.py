"""The command `update`: looked, fetched and applied in a thread of its own, and answered once that is done."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import msgspec

from device.config import Config
from device.errors import HolonodeError, TransientError
from device.optics.geometry import Geometry
from device.rig.models import model_store
from device.service.request_dispatcher import CompletionCallback

if TYPE_CHECKING:
    from device.messaging.request_messages import Update
    from device.updates.ask import UpdateAsk

__all__ = ["UpdateRequests"]

log = logging.getLogger("holonode.updates")


class UpdateRequests:
    """One at a time."""

    def __init__(self, config: Config, geometry: Callable[[], Geometry], activated: Callable[[], None]) -> None:
        """`activated`: called when models were activated, in the thread that did it; HolonodeError where they can't be used."""
        self._config, self._geometry, self._activated = config, geometry, activated
        self._lock = threading.Lock()

    def begin(self, request: Update, done: CompletionCallback) -> dict[str, Any] | None:
        """None: `done` is called later. InputError where no source is configured, TransientError where one runs already."""
        # A box that is never asked doesn't carry a TUF client in its memory.
        from device.updates.ask import UpdateAsk  # noqa: PLC0415

        ask = UpdateAsk.of(self._config)
        if not self._lock.acquire(blocking=False):
            raise TransientError("another update is under way", remedy="Its answer tells.")
        threading.Thread(target=self._run, args=(ask, request, done), daemon=True, name="update").start()
        return None

    def _run(self, ask: UpdateAsk, request: Update, done: CompletionCallback) -> None:
        data: dict[str, Any] = {}
        failure: HolonodeError | None = None
        try:
            answer = ask.carry_out(request.what, model_store(self._config), self._geometry())
            if request.what == "apply" and answer.models:
                self._activated()
            data = msgspec.to_builtins(answer)
        except HolonodeError as error:
            failure = error
        except Exception as error:
            log.exception("an update ended by an error that nobody foresaw")
            failure = TransientError("the update ended by an error", got=f"{type(error).__name__}: {error}")
        finally:
            self._lock.release()
        done(data, failure)
