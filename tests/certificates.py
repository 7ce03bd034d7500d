"""An authority of the tests' own, and certificates from it."""

from __future__ import annotations

import subprocess
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Authority:
    """Keeps what it makes in a folder."""

    folder: Path

    @classmethod
    def made(cls, folder: Path) -> Authority:
        folder.mkdir(parents=True)
        authority = cls(folder)
        authority._openssl("req", "-x509", *_NEW_KEY, "-keyout", "authority.key", "-out", "authority.crt",
                           "-subj", "/CN=an authority", "-days", "2", "-addext", "basicConstraints=critical,CA:TRUE")  # fmt: skip
        return authority

    @property
    def certificate(self) -> Path:
        return self.folder / "authority.crt"

    def issue(self, name: str, host: str = "127.0.0.1") -> tuple[Path, Path]:
        """(certificate, key) of a server on an address."""
        (self.folder / "extensions").write_text(f"subjectAltName=IP:{host}\n")
        self._openssl("req", *_NEW_KEY, "-keyout", f"{name}.key", "-out", f"{name}.csr", "-subj", f"/CN={name}")
        self._openssl("x509", "-req", "-in", f"{name}.csr", "-CA", "authority.crt", "-CAkey", "authority.key", "-CAcreateserial",
                      "-out", f"{name}.crt", "-days", "2", "-extfile", "extensions")  # fmt: skip
        return self.folder / f"{name}.crt", self.folder / f"{name}.key"

    def _openssl(self, *arguments: str) -> None:
        done = subprocess.run(["openssl", *arguments], cwd=self.folder, check=False, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr


_NEW_KEY = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes")
