"""Who is told, and how: e-mail, a webhook, MQTT. A channel that fails is tried again, and holds up no other."""

from __future__ import annotations

import hashlib
import hmac
import smtplib
import ssl
import urllib.error
import urllib.request
from collections.abc import Callable
from email.message import EmailMessage
from email.utils import format_datetime
from http.client import HTTPMessage
from pathlib import Path
from typing import IO, Any
from urllib.parse import urlsplit

import msgspec

from deploy.fleet.alarms.book import Letter
from deploy.fleet.alarms.settings import EmailSettings, MqttChannelSettings, WatchSettings, WebhookSettings
from device.errors import InputError, TransientError

__all__ = ["Channel", "channels", "words"]

Channel = Callable[[Letter], None]
"""Tells; TransientError where nobody took it."""

_TIMEOUT_S = 15.0
_LOOPBACK = ("localhost", "127.0.0.1", "::1")


def channels(settings: WatchSettings, publish: Callable[[str, bytes], None]) -> dict[str, Channel]:
    """By name; `publish` puts a message on the broker and raises TransientError where that doesn't take it.

    Files that hold secrets are read now: one that can't be is told at the start.
    """
    found: dict[str, Channel] = {}
    for name, mail in settings.email.items():
        found[f"email.{name}"] = _email(mail, _secret(mail.password_file, f"email.{name}.password_file"))
    for name, hook in settings.webhook.items():
        if hook.url.startswith("http://") and urlsplit(hook.url).hostname not in _LOOPBACK:
            raise InputError("a webhook beyond this machine needs https", where=f"webhook.{name}.url", expected="https://...")
        found[f"webhook.{name}"] = _webhook(hook, _secret(hook.secret_file, f"webhook.{name}.secret_file"))
    if settings.mqtt is not None:
        found["mqtt"] = _mqtt(settings.mqtt, publish)
    return found


def words(letter: Letter) -> str:
    """One line for a person."""
    alarm = letter.alarm
    what = f"{alarm.device_id}: {alarm.message}"
    return f"over: {what}" if letter.transition == "cleared" else f"{alarm.severity}: {what}"


def _body(letter: Letter) -> bytes:
    return msgspec.json.encode({"id": letter.id, "transition": letter.transition, "alarm": letter.alarm})


def _secret(path: str, where: str) -> str:
    if not path:
        return ""
    try:
        return Path(path).expanduser().read_text(encoding="utf-8").strip()
    except OSError as error:
        raise InputError("a file that holds a secret can't be read", where=where, got=error.strerror) from error


def _email(settings: EmailSettings, secret: str) -> Channel:
    def tell(letter: Letter) -> None:
        message = EmailMessage()
        subject = "".join(c if c.isprintable() else " " for c in words(letter))
        message["Subject"] = f"[Holonode] {subject[:150]}"
        message["From"], message["To"] = settings.sender, ", ".join(settings.recipients)
        message["Message-ID"] = f"<{letter.id}@holonode-fleet>"
        at = letter.alarm.cleared_at if letter.transition == "cleared" else letter.alarm.raised_at
        message["Date"] = format_datetime(at or letter.alarm.begun_at)
        message["Auto-Submitted"] = "auto-generated"
        message.set_content(
            f"{words(letter)}\n\nbegan   {letter.alarm.begun_at:%Y-%m-%d %H:%M:%S} UTC\nalarm   {letter.alarm.id}\n"
        )
        try:
            with _connected(settings) as server:
                if settings.username:
                    server.login(settings.username, secret)
                server.send_message(message)
        except (OSError, smtplib.SMTPException, ValueError) as error:
            raise TransientError("the mail server took nothing", where=settings.host, got=_clean(error)) from error

    return tell


def _connected(settings: EmailSettings) -> smtplib.SMTP:
    if settings.security == "tls":
        return smtplib.SMTP_SSL(settings.host, settings.port, timeout=_TIMEOUT_S, context=ssl.create_default_context())
    server = smtplib.SMTP(settings.host, settings.port, timeout=_TIMEOUT_S)
    if settings.security == "starttls":
        server.starttls(context=ssl.create_default_context())
    return server


class _NoRedirects(urllib.request.HTTPRedirectHandler):
    """A body that is signed for one place goes to no other."""

    def redirect_request(
        self, req: urllib.request.Request, fp: IO[bytes], code: int, msg: str, headers: HTTPMessage, newurl: str
    ) -> None:
        """None: the redirection is an error."""
        del req, fp, code, msg, headers, newurl


def _webhook(settings: WebhookSettings, secret: str) -> Channel:
    opener = urllib.request.build_opener(_NoRedirects())

    def tell(letter: Letter) -> None:
        body = _body(letter)
        headers = {"Content-Type": "application/json", "Idempotency-Key": letter.id, "User-Agent": "holonode-fleet"}
        if secret:
            headers["X-Holonode-Signature"] = hmac.new(secret.encode(), body, hashlib.sha256).hexdigest()
        request = urllib.request.Request(settings.url, data=body, headers=headers, method="POST")  # noqa: S310  http or https only
        try:
            with opener.open(request, timeout=_TIMEOUT_S) as answer:
                answer.read(1024)
        except (OSError, urllib.error.URLError, ValueError) as error:
            raise TransientError(
                "the webhook took nothing", where=urlsplit(settings.url).hostname, got=_clean(error)
            ) from error

    return tell


def _mqtt(settings: MqttChannelSettings, publish: Callable[[str, bytes], None]) -> Channel:
    def tell(letter: Letter) -> None:
        publish(f"{settings.topic}/{letter.alarm.device_id}", _body(letter))

    return tell


def _clean(error: Any) -> str:
    return " ".join(str(error).split())[:300]
