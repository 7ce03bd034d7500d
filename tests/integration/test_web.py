"""The dashboard's server, asked as browsers and as others ask: every route, by everybody, with whatever they send."""

from __future__ import annotations

import contextlib
import hashlib
import re
import socket
import ssl
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from msgspec import structs
from starlette.routing import Route

from device import __version__
from device.config import WebConfig
from device.storage.history import HistoryReader
from device.storage.history.tables import database_in
from device.web.api.history import _lines
from device.web.api.table import Dashboard
from device.web.security.own_certificate import fingerprint_of
from tests.dashboards import OPERATOR, VIEWER, Browser, StandIn, dashboard, state_of
from tests.histories import EmptyHistory

SCRIPT = "<script>alert(1)</script>"
OPEN = {("GET", "/"), ("GET", "/favicon.ico"), ("GET", "/assets/{path:path}"), ("GET", "/api/session"), ("POST", "/api/session"), ("POST", "/api/setup")}  # fmt: skip
OPERATORS = {
    ("GET", "/api/sessions"), ("DELETE", "/api/sessions/{id}"), ("GET", "/api/audit"), ("POST", "/api/exports"), ("GET", "/api/exports"),
    ("GET", "/api/exports/{id}"), ("GET", "/api/exports/{id}/file"), ("POST", "/api/requests/{command}"),
    ("PUT", "/api/particles/{id}/label"), ("DELETE", "/api/particles/{id}/label"),
}  # fmt: skip


@pytest.fixture
def served(tmp_path: Path) -> Iterator[tuple[Dashboard, StandIn]]:
    with dashboard(tmp_path / "store", EmptyHistory()) as both:
        yield both


@pytest.fixture
def browser(served: tuple[Dashboard, StandIn]) -> Browser:
    return Browser(served[0].server.port)


def routes(one: Dashboard) -> list[tuple[str, str]]:
    """Method and path, as the router has them."""
    found = [(method, route.path) for route in one.app.routes if isinstance(route, Route) for method in route.methods or ()]
    return sorted(pair for pair in found if pair[0] != "HEAD")


def filled(path: str) -> str:
    return re.sub(r"\{[^}]+\}", "x", path)


def content_of(folder: Path) -> dict[str, str]:
    return {str(path): hashlib.sha256(path.read_bytes()).hexdigest() for path in folder.rglob("*") if path.is_file()}


def test_every_route_says_who_may_and_nobody_else_does(served: tuple[Dashboard, StandIn], browser: Browser) -> None:
    nobody, viewer = Browser(browser.port), Browser(browser.port)
    browser.set_up()
    assert viewer.sign_in("viewer").status == 200
    pairs = routes(served[0])
    assert {pair for pair in pairs if pair not in OPEN} == {
        (way.method, way.path) for way in served[0].endpoints if way.access != "anybody"
    }
    for method, path in pairs:
        if path == "/api/stream" or (method, path) in OPEN or (method, path) == ("DELETE", "/api/session"):
            continue
        assert nobody.ask(method, filled(path), {}).status == 401, (method, path)
        status = viewer.ask(method, filled(path), {}).status
        assert (status == 403) == ((method, path) in OPERATORS), (method, path, status)
        for other in {"POST", "PUT", "PATCH", "DELETE", "OPTIONS"} - {m for m, p in pairs if p == path}:
            assert browser.ask(other, filled(path), {}).status in (404, 405), (other, path)
    assert nobody.ask("GET", "/api/stream").status == 401
    assert nobody.ask("DELETE", "/api/session", {}).status == 401
    assert not served[1].asked, "nobody and a viewer asked for nothing"


def test_no_get_changes_anything(served: tuple[Dashboard, StandIn], browser: Browser, tmp_path: Path) -> None:
    browser.set_up()
    before = content_of(tmp_path)
    for method, path in routes(served[0]):
        if method == "GET" and path != "/api/stream":
            for query in ("", "?command=stop&role=operator&password=x", "?label=x"):
                assert browser.ask("GET", filled(path) + query).status < 500, path
    assert content_of(tmp_path) == before
    assert not served[1].asked


def test_a_write_needs_session_token_and_a_page_of_this_place(served: tuple[Dashboard, StandIn], browser: Browser) -> None:
    browser.set_up()
    start = "/api/requests/start"
    refused = [
        browser.ask("POST", start, {}, x_holonode_csrf=None),
        browser.ask("POST", start, {}, x_holonode_csrf="0" * 32),
        browser.ask("POST", start, {}, origin=None),
        browser.ask("POST", start, {}, origin="null"),
        browser.ask("POST", start, {}, origin="http://evil.example"),
        browser.ask("POST", start, {}, origin=f"http://127.0.0.1:{browser.port + 1}"),
        browser.ask("POST", start, {}, origin=f"https://127.0.0.1:{browser.port}"),
        browser.ask("POST", start, {}, sec_fetch_site="same-site"),
        browser.ask("POST", start, {}, host="evil.example", origin="http://evil.example"),
        browser.ask("GET", "/api/state", sec_fetch_site="cross-site"),
        browser.ask("GET", "/api/state", host=f"evil.example:{browser.port}"),
        browser.ask("GET", "/", host="evil.example"),
    ]
    assert [one.status for one in refused] == [403] * len(refused)
    assert browser.ask("POST", start, {}, cookie=None).status == 401
    assert not served[1].asked
    assert browser.ask("POST", start, {}).json["status"] == "ok"
    assert served[1].asked[0].by.startswith("operator ")
    assert browser.ask("GET", "/", host=f"LOCALHOST:{browser.port}").status == 200


def test_the_first_visit_on_this_machine_sets_the_passwords_and_reads_until_then(browser: Browser) -> None:
    # Through a proxy that nobody named it is not this machine: refused, for want of TLS.
    assert browser.ask("GET", "/api/state", x_forwarded_for="203.0.113.9").status == 403
    assert browser.ask("GET", "/api/state").status == 200
    assert browser.ask("GET", "/api/audit").status == 401
    assert browser.ask("POST", "/api/requests/stop", {}).status == 401
    assert browser.ask("POST", "/api/session", {"role": "operator", "password": ""}).status == 401
    short = browser.ask("POST", "/api/setup", {"operator_password": "short"})
    assert (short.status, short.error["where"], short.error["expected"]) == (422, "operator_password", "10 to 256 characters")
    same = browser.ask("POST", "/api/setup", {"operator_password": OPERATOR, "viewer_password": OPERATOR})
    assert same.error["where"] == "viewer_password"
    browser.set_up()
    assert browser.ask("GET", "/api/session").json["user"] == {"role": "operator"}
    other = Browser(browser.port)
    assert other.ask("GET", "/api/state").status == 401, "no longer without a session"
    assert other.ask("POST", "/api/setup", {"operator_password": "somebody else's"}).status == 409


def test_a_code_from_the_box_sets_the_passwords_once_and_ends_every_session(
    served: tuple[Dashboard, StandIn], browser: Browser
) -> None:
    browser.set_up()
    code = served[0].access.new_code()
    other = Browser(browser.port)
    wrong = other.ask("POST", "/api/setup", {"operator_password": "a password of mine", "code": "AAAAA-AAAAA"})
    assert wrong.status == 403
    assert browser.ask("GET", "/api/audit").status == 200
    said = {"operator_password": "a password of mine", "code": code.lower().replace("-", " ")}
    assert other.ask("POST", "/api/setup", said | {"operator_password": "short"}).status == 422
    done = other.ask("POST", "/api/setup", said)
    assert done.status == 200, "a password that was refused costs no code"
    assert "HttpOnly; SameSite=Strict" in done.headers["set-cookie"]
    assert browser.ask("GET", "/api/audit").status == 401, "who had a session has none"
    assert Browser(browser.port).ask("POST", "/api/setup", said).status == 403, "once"


def test_a_session_can_be_ended_from_another_and_lives_in_the_store(tmp_path: Path) -> None:
    with dashboard(tmp_path / "store", EmptyHistory()) as (served, _):
        first = Browser(served.server.port).set_up()
        second = Browser(served.server.port)
        second.sign_in("operator")
    files = b"".join(path.read_bytes() for path in (tmp_path / "store").glob("web.sqlite*"))
    for secret in (OPERATOR, VIEWER, *first.cookies.values(), *second.cookies.values(), first.csrf):
        assert secret.encode() not in files
    assert (tmp_path / "store" / "web.sqlite").stat().st_mode & 0o077 == 0
    with dashboard(tmp_path / "store", EmptyHistory()) as (served, _):
        first.port = second.port = served.server.port
        listed = first.ask("GET", "/api/sessions").json
        assert [one["current"] for one in listed].count(True) == 1
        stranger = next(one["id"] for one in listed if not one["current"])
        assert first.ask("DELETE", f"/api/sessions/{stranger}").status == 200
        assert first.ask("DELETE", f"/api/sessions/{stranger}").status == 404
        assert second.ask("GET", "/api/state").status == 401
        assert first.ask("DELETE", "/api/session").status == 200
        assert first.ask("GET", "/api/state").status == 401


def test_guesses_are_few(browser: Browser) -> None:
    browser.set_up()
    tries = [Browser(browser.port).sign_in("operator", f"guess number {k}") for k in range(12)]
    assert tries[0].status == 401
    assert tries[-1].status == 429
    assert int(tries[-1].headers["retry-after"]) >= 1
    assert browser.ask("GET", "/api/state").status == 200, "who is signed in goes on"


def test_refused_attempts_are_in_the_audit_log_and_cannot_fill_it(browser: Browser) -> None:
    browser.set_up()
    told = [Browser(browser.port).sign_in("operator", f"guess number {k}").status for k in range(6)]
    assert told[:4] == [401] * 4
    lines = [line for line in browser.ask("GET", "/api/audit").json["lines"] if line["phase"] == "refused"]
    assert [(line["command"], line["request"], line["by"]) for line in lines] == [("sign_in", {"attempts": 1}, "127.0.0.1")] * 4
    assert "guess" not in str(lines)


BAD: list[tuple[str, str, Any, int]] = [
    ("GET", "/api/history/series?since=2026-05-02T00:00:00Z&until=2026-05-01T00:00:00Z", None, 422),
    ("GET", "/api/history/series?since=1976-05-02T00:00:00Z&until=2026-05-01T00:00:00Z", None, 422),
    ("GET", "/api/history/series?since=yesterday", None, 422),
    ("GET", "/api/history/series?since=2026-05-02T00:00:00", None, 422),
    ("GET", "/api/history/series?until=0001-01-01T00:00:00Z", None, 422),
    ("GET", "/api/history/series?points=0", None, 422),
    ("GET", "/api/history/series?points=1e9", None, 422),
    ("GET", "/api/history/series?points=NaN", None, 422),
    ("GET", "/api/history/series?labels=" + "a" * 65, None, 422),
    ("GET", "/api/history/series?labels=" + ",".join("a" * 300), None, 422),
    ("GET", "/api/history/series?unit=gallons", None, 422),
    ("GET", "/api/history/series?nonsense=1", None, 422),
    ("GET", "/api/history/sizes?label=" + "x" * 65, None, 422),
    ("GET", "/api/history/gaps?longer_than_s=-1", None, 422),
    ("GET", "/api/history/events?limit=1000000", None, 422),
    ("GET", "/api/history/particles?sort=colour", None, 422),
    ("GET", "/api/history/particles?min_score=2", None, 422),
    ("GET", "/api/history/download", None, 422),
    ("GET", "/api/history/download?what=everything", None, 422),
    ("GET", "/api/history/download?what=series&format=exe", None, 422),
    ("GET", "/api/particles?reason=boredom", None, 422),
    ("GET", "/api/particles?limit=-1", None, 422),
    ("GET", "/api/particles/..%2f..%2fsecret.png", None, 404),
    ("GET", "/api/particles/" + "0" * 26 + ".png", None, 404),
    ("GET", "/api/particles/" + "0" * 26 + ".png?channel=x", None, 422),
    ("PUT", "/api/particles/" + "0" * 26 + "/label", {"label": "birch"}, 404),
    ("PUT", "/api/particles/" + "0" * 26 + "/label", {"label": ""}, 422),
    ("PUT", "/api/particles/" + "0" * 26 + "/label", {"label": SCRIPT * 100}, 422),
    ("PUT", "/api/particles/0/label", {"label": "birch"}, 404),
    ("DELETE", "/api/particles/%00/label", None, 404),
    ("GET", "/api/look", None, 404),
    ("GET", "/api/look/1/hologram.jpg", None, 404),
    ("GET", "/api/look/1/secret.jpg", None, 404),
    ("POST", "/api/requests/explode", {}, 404),
    ("GET", "/api/models/bioaerosol/9.9.9/card", None, 404),
    ("GET", "/api/models/..%2f..%2fLICENSE/1.0.0/card", None, 404),
    ("GET", "/api/audit?limit=0", None, 422),
    ("GET", "/api/audit?before=" + "9" * 41, None, 422),
    ("GET", "/api/log?limit=x", None, 422),
    ("POST", "/api/exports", {"format": "exe"}, 422),
    ("POST", "/api/exports", {"format": "csv", "since": "never"}, 422),
    ("POST", "/api/exports", {"format": "csv", "since": "2026-05-02", "until": "2026-05-01"}, 422),
    ("POST", "/api/exports", {}, 422),
    ("POST", "/api/exports", b"\xff\xfe", 422),
    ("POST", "/api/exports", b"[" * 20_000, 422),
    ("POST", "/api/exports", b'"' + b"x" * 70_000 + b'"', 413),
    ("GET", "/api/exports/none", None, 404),
    ("GET", "/api/exports/none/file", None, 404),
    ("GET", "/api/exports/support-00000000000000000000000000/file", None, 404),
    ("DELETE", "/api/sessions/none", None, 404),
    ("POST", "/api/session", {"role": "root", "password": "x"}, 422),
    ("POST", "/api/session", {"role": "operator", "password": "x" * 60_000}, 422),
    ("POST", "/api/session", b"", 422),
    ("POST", "/api/setup", [1], 422),
    ("GET", "/assets/../../../config.py", None, 404),
    ("GET", "/assets/%2e%2e/api/table.py", None, 404),
    ("GET", "/api", None, 404),
]  # fmt: skip


def test_bad_input_is_one_clear_error(browser: Browser) -> None:
    browser.set_up()
    for method, path, body, status in BAD:
        reply = browser.ask(method, path, body)
        assert reply.status == status, (method, path[:120], reply.status, reply.body[:300])
        assert reply.error["message"], (method, path)
        assert len(reply.body) < 8000, "what was wrong doesn't come back whole"
        assert reply.headers["content-type"] == "application/json"


@pytest.mark.parametrize("content", [None, b"not SQLite" * 1000])
def test_a_history_that_is_lost_or_damaged_is_told(tmp_path: Path, content: bytes | None) -> None:
    folder = tmp_path / "store"
    if content is not None:
        database_in(folder).parent.mkdir(parents=True)
        database_in(folder).write_bytes(content)
    with dashboard(folder, HistoryReader(folder)) as (served, _):
        browser = Browser(served.server.port)
        status = browser.ask("GET", "/api/history/status")
        assert (status.status, status.json["there"]) == (200, False)
        for path in ("series", "sizes", "gaps", "events", "particles", "download?what=series", "download?what=particles"):
            reply = browser.ask("GET", f"/api/history/{path}")
            assert (reply.status, reply.error["message"]) == (503, "the history can't be read"), path
            assert reply.headers["retry-after"]
        assert browser.ask("GET", "/api/state").status == 200


def test_a_spreadsheet_takes_no_label_for_a_formula() -> None:
    assert b"".join(_lines(iter([["=cmd|x", "-1", -1, "birch, young"]]))) == b"'=cmd|x,'-1,-1,\"birch, young\"\r\n"


def test_names_of_64_kb_are_refused_before_anything_is_done(browser: Browser) -> None:
    for path, headers in ((f"/api/particles?label={'x' * 65_536}", {}), ("/api/state", {"x_name": "y" * 65_536})):
        with socket.create_connection(("127.0.0.1", browser.port), timeout=60) as line:
            extra = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
            line.sendall(f"GET {path} HTTP/1.1\r\nhost: 127.0.0.1\r\n{extra}\r\n".encode())
            assert re.search(rb" 4(00|13) ", line.recv(64))


def test_hostile_text_stays_text(served: tuple[Dashboard, StandIn], browser: Browser) -> None:
    served[1].state = state_of(SCRIPT, doing_words=SCRIPT, link=SCRIPT)
    reply = browser.ask("GET", "/api/state")
    assert reply.json["doing_words"] == SCRIPT
    assert reply.headers["content-type"] == "application/json"
    assert reply.headers["x-content-type-options"] == "nosniff"
    gone = browser.ask("GET", f"/api/exports/{SCRIPT.replace('/', '')}")
    assert gone.headers["content-type"] == "application/json"
    kind, state = next(browser.stream())
    assert (kind, state["doing_words"]) == ("state", SCRIPT)


def test_pages_come_with_a_strict_policy_and_are_kept_by_their_content(browser: Browser) -> None:
    page = browser.ask("GET", "/")
    policy = page.headers["content-security-policy"]
    assert "unsafe" not in policy
    assert "require-trusted-types-for 'script'" in policy
    assert page.headers["cache-control"] == "no-cache"
    text = page.body.decode()
    assert not re.search(r"<script(?![^>]*\bsrc=)|<style|\son\w+=|javascript:|\sstyle=", text)
    names = re.findall(r'(?:src|href)="(/assets/[^"]+)"', text)
    assert names
    for name in names:
        asset = browser.ask("GET", name, accept_encoding="gzip")
        assert asset.status == 200, name
        assert "immutable" in asset.headers["cache-control"]
    for path in ("/", "/nothing", "/api/audit", "/assets/none"):
        assert browser.ask("GET", path).headers["content-security-policy"] == policy


def test_a_stranger_learns_no_version(browser: Browser) -> None:
    browser.set_up()
    stranger = Browser(browser.port)
    told = [stranger.ask("GET", path) for path in ("/", "/api/session", "/api/state", "/metrics", "/nothing")]
    for answer in told:
        assert not {"server", "x-powered-by", "via"} & {name.lower() for name in answer.headers}
    assert __version__ not in told[1].body.decode() + told[2].body.decode() + told[3].body.decode()
    assert set(told[1].json) == {
        "set_up", "user", "csrf", "place", "device_id", "code_command", "may_set_up", "may_read", "viewer_password",
    }  # fmt: skip


def test_the_manual_is_the_readme_of_the_package_and_how_a_box_is_built(browser: Browser) -> None:
    text = browser.ask("GET", "/api/manual").json["text"]
    assert text.startswith("# Holonode")
    assert "## The field week" in text
    for title in ("Building a box", "Parts, by kind of box", "Assembly, with a check after each step"):
        assert f"\n## {title}\n" in text
    assert not re.search(r"^# ", text.partition("\n")[2], re.MULTILINE), "one text has one title"


def test_who_watches_hears_the_newest_and_hears_no_more_once_the_session_ends(
    served: tuple[Dashboard, StandIn], browser: Browser
) -> None:
    browser.set_up()
    stream = browser.stream()
    assert next(stream)[1]["doing"] == "waiting"
    served[1].state = structs.replace(served[1].state, doing="sampling")
    told = next(told for _, told in stream if told.get("doing") == "sampling")
    assert "info" not in told, "what didn't change is not told again"
    assert browser.ask("DELETE", "/api/session").status == 200
    served[1].state = state_of("box", doing="paused")
    assert not list(stream), "it ended"


def test_half_open_connections_make_room_for_whoever_asks(served: tuple[Dashboard, StandIn], browser: Browser) -> None:
    lines = [socket.create_connection(("127.0.0.1", browser.port), timeout=60) for _ in range(300)]
    try:
        for line in lines[::2]:
            line.sendall(b"GET / HTTP/1.1\r\nhost: ")
        assert browser.ask("GET", "/api/state").status == 200
        assert served[0].server.connections <= 256
    finally:
        for line in lines:
            line.close()


def test_a_refusal_ends_its_connection_whatever_else_was_sent_on_it(browser: Browser) -> None:
    request = f"GET /favicon.ico HTTP/1.1\r\nhost: 127.0.0.1:{browser.port}\r\n\r\n".encode()
    with socket.create_connection(("127.0.0.1", browser.port), timeout=60) as line:
        sender = threading.Thread(target=_send_all, args=(line, request * 3000))
        sender.start()
        answers = b""
        with contextlib.suppress(ConnectionError):
            while data := line.recv(262_144):
                answers += data
        sender.join()
    assert answers.count(b"HTTP/1.1 429") <= 1
    assert answers.count(b"HTTP/1.1 200") < 2500


def _send_all(line: socket.socket, data: bytes) -> None:
    with contextlib.suppress(OSError):
        line.sendall(data)


def test_beyond_this_machine_there_is_tls_with_the_boxs_own_key(tmp_path: Path) -> None:
    with dashboard(tmp_path / "store", EmptyHistory(), WebConfig(port=0, address="0.0.0.0")) as (served, _):
        certificate = tmp_path / "store" / "web" / "certificate.pem"
        assert (tmp_path / "store" / "web" / "key.pem").stat().st_mode & 0o077 == 0
        context = ssl.create_default_context(cafile=str(certificate))
        context.check_hostname = False
        browser = Browser(served.server.port, context=context)
        with context.wrap_socket(socket.create_connection(("127.0.0.1", browser.port), timeout=60)) as line:
            shown = hashlib.sha256(line.getpeercert(binary_form=True) or b"").digest().hex(":").upper()
        assert fingerprint_of(certificate) == shown
        far = {"x_forwarded_for": "203.0.113.9"}
        assert browser.ask("GET", "/api/state", **far).status == 401, "not on this machine: never without a password"
        refused = browser.ask("POST", "/api/setup", {"operator_password": OPERATOR}, **far)
        assert refused.status == 403, "nor the first one without a code"
        code = served.access.new_code()
        done = browser.ask("POST", "/api/setup", {"operator_password": OPERATOR, "code": code}, **far)
        assert done.status == 200
        assert done.headers["set-cookie"].startswith("__Host-")
        assert "; Secure" in done.headers["set-cookie"]
        assert browser.ask("GET", "/api/state", **far).status == 200
        with socket.create_connection(("127.0.0.1", browser.port), timeout=60) as line:
            line.sendall(b"GET / HTTP/1.1\r\nhost: 127.0.0.1\r\n\r\n")
            try:
                plain = line.recv(100)
            except ConnectionResetError:
                plain = b""
            assert b"HTTP" not in plain
    with dashboard(tmp_path / "store", EmptyHistory(), WebConfig(port=0, address="0.0.0.0")):
        assert fingerprint_of(certificate) == shown, "made once"


def test_a_proxys_word_counts_where_it_is_named(tmp_path: Path) -> None:
    web = WebConfig(port=0, trusted_proxies=["127.0.0.1"], hosts=["box.example.org"])
    told = {"x_forwarded_for": "198.51.100.7, 203.0.113.9", "x_forwarded_proto": "https", "host": "box.example.org"}
    with dashboard(tmp_path / "store", EmptyHistory(), web) as (served, _):
        browser = Browser(served.server.port)
        assert browser.ask("GET", "/api/state", **told).status == 401, "beyond the proxy is beyond this machine"
        assert browser.ask("GET", "/api/state", **(told | {"x_forwarded_proto": "http"})).status == 403
        assert browser.ask("GET", "/api/state", **(told | {"host": "evil.example"})).status == 403
        code = served.access.new_code()
        body = {"operator_password": OPERATOR, "code": code}
        assert browser.ask("POST", "/api/setup", body, **told, origin="https://evil.example").status == 403
        done = browser.ask("POST", "/api/setup", body, **told, origin="https://box.example.org")
        assert done.status == 200
        assert [one["address"] for one in browser.ask("GET", "/api/sessions", **told).json] == ["203.0.113.9"]
