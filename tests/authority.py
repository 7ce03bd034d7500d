"""An authority, what it signs, and a broker that asks for it: deploy/fleet/mosquitto's own script and files."""

from __future__ import annotations

import shutil
import subprocess
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from device.config import MqttConfig
from tests.brokers import Broker, free_port

MOSQUITTO = Path(__file__).parents[1] / "deploy" / "fleet" / "mosquitto"

_ISSUER = """
[ca]
default_ca = this
[this]
dir = {folder}
database = {folder}/index
serial = {folder}/serial
new_certs_dir = {folder}
certificate = {folder}/authority.crt
private_key = {folder}/authority.key
default_md = sha256
policy = any
x509_extensions = wanted
unique_subject = no
[any]
commonName = supplied
[wanted]
basicConstraints = critical,CA:FALSE
extendedKeyUsage = {usage}
{names}
"""


@dataclass(frozen=True)
class Authority:
    """A folder of certificates."""

    folder: Path

    @classmethod
    def made(cls, folder: Path) -> Authority:
        authority = cls(folder)
        authority.script("authority")
        return authority

    @property
    def file(self) -> Path:
        return self.folder / "authority.crt"

    def script(self, what: str, *names: str) -> subprocess.CompletedProcess[str]:
        command = ["sh", str(MOSQUITTO / "certificates.sh"), what, str(self.folder), *names]
        return subprocess.run(command, check=True, capture_output=True, text=True)

    def broker(self, *names: str) -> tuple[Path, Path]:
        """Certificate and key of a broker by these names."""
        self.script("broker", *names)
        return self.folder / "broker.crt", self.folder / "broker.key"

    def client(self, name: str) -> tuple[Path, Path]:
        """Of a box, or whoever else connects."""
        self.script("client", name)
        return self.folder / f"{name}.crt", self.folder / f"{name}.key"

    def dated(self, name: str, *, starts_in: timedelta, ends_in: timedelta, server: bool = False) -> tuple[Path, Path]:
        """The same for another time; `server`: a broker's by this name."""
        home = self.folder / "dated"
        home.mkdir(exist_ok=True)
        certificate, key, request = (home / f"{name}.{kind}" for kind in ("pem", "key", "request"))
        settings = home / "settings"
        names = f"subjectAltName = DNS:{name}" if server else ""
        usage = "serverAuth" if server else "clientAuth"
        settings.write_text(_ISSUER.format(folder=self.folder, usage=usage, names=names))
        (self.folder / "index").touch()
        (self.folder / "serial").write_text(f"{int(datetime.now(UTC).timestamp() * 1e6):016X}\n")
        _openssl("ecparam", "-name", "prime256v1", "-genkey", "-noout", "-out", key)
        key.chmod(0o600)
        _openssl("req", "-new", "-key", key, "-subj", f"/CN={name}", "-out", request)
        starts, ends = (f"{datetime.now(UTC) + delta:%Y%m%d%H%M%SZ}" for delta in (starts_in, ends_in))
        _openssl(
            "ca", "-batch", "-config", settings, "-startdate", starts, "-enddate", ends, "-in", request, "-out", certificate,
            "-notext",
        )  # fmt: skip
        return certificate, key

    def shown_by(self, port: int, pair: tuple[Path, Path] | None, **more: object) -> MqttConfig:
        """What a box is configured with that shows this pair."""
        certificate, key = pair or ("", "")
        values = {"url": f"mqtts://localhost:{port}", "ca_file": str(self.file), "cert_file": str(certificate)} | more
        return MqttConfig(key_file=str(key), **values)  # type: ignore[arg-type]


def _openssl(*arguments: object) -> None:
    subprocess.run(["openssl", *map(str, arguments)], check=True, capture_output=True)


@dataclass
class FleetBroker(Broker):
    """mosquitto by deploy/fleet/mosquitto's settings and access list; `port` is the one for certificates."""

    @classmethod
    def of(cls, folder: Path, authority: Authority) -> FleetBroker:
        """With an `oracle` beside those of the access list, who may read and write everything."""
        etc = folder / "etc"
        (etc / "certs").mkdir(parents=True)
        for made in (authority.file, authority.folder / "authority.crl", *authority.broker("localhost", "127.0.0.1")):
            shutil.copy(made, etc / "certs")
        for name, text in (
            ("holonode.acl", (MOSQUITTO / "holonode.acl").read_text() + "\nuser oracle\ntopic readwrite #\n"),
            ("holonode.passwords", ""),
        ):
            (etc / name).write_text(text)
            (etc / name).chmod(0o600)
        own = ("user root", "log_type all", "persistence true", f"persistence_location {folder}/")
        return cls(folder, extra=own)

    def lines(self) -> list[str]:
        text = "".join((MOSQUITTO / name).read_text() for name in ("holonode.conf", "holonode-certificates.conf"))
        for place, here in (
            ("listener 8883\n", f"listener {free_port()} 127.0.0.1\n"),
            ("listener 8884\n", f"listener {self.port} 127.0.0.1\n"),
            ("/etc/mosquitto", str(self.folder / "etc")),
        ):
            assert place in text
            text = text.replace(place, here)
        return [*self.extra, *text.splitlines()]

    @property
    def log(self) -> str:
        return (self.folder / "log").read_text()
