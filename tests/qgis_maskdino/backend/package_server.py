"""A package index on this machine, with small wheels under large names; and a proxy that wants another password."""

from __future__ import annotations

import base64
import hashlib
import threading
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from http.server import BaseHTTPRequestHandler, SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path


def write_index(folder: Path, packages: dict[str, list[str]]) -> None:
    """Write a simple index with a wheel a version.

    Args:
        folder: where it goes.
        packages: versions by name; a package is a module that knows its version.
    """
    for name, versions in packages.items():
        (folder / name).mkdir(parents=True)
        wheels = [_write_wheel(folder / name, name, version) for version in versions]
        (folder / name / "index.html").write_text("".join(f'<a href="{wheel}">{wheel}</a>\n' for wheel in wheels))


def _write_wheel(folder: Path, name: str, version: str) -> str:
    wheel = f"{name}-{version}-py3-none-any.whl"
    info = f"{name}-{version}.dist-info"
    files = {
        f"{name}/__init__.py": f"__version__ = {version!r}\n",
        f"{info}/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n",
        f"{info}/WHEEL": "Wheel-Version: 1.0\nGenerator: tests\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    record = "".join(f"{path},sha256={_digest(text)},{len(text)}\n" for path, text in files.items())
    with zipfile.ZipFile(folder / wheel, "w") as archive:
        for path, text in {**files, f"{info}/RECORD": f"{record}{info}/RECORD,,\n"}.items():
            archive.writestr(path, text)
    return wheel


@contextmanager
def serving(handler) -> Iterator[str]:
    """Serve on a free port of this machine; yield host and port."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()


class _Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *arguments: object) -> None:
        """Say nothing."""


def serving_index(folder: Path):
    """Serve an index of ``write_index``; yield host and port."""
    return serving(partial(_Quiet, directory=str(folder)))


class RefusingProxy(BaseHTTPRequestHandler):
    """A proxy that refuses everybody's password, and remembers what it was given."""

    given: list[str] = []  # noqa: RUF012 - one list for the handlers of all requests is what is wanted

    def do_CONNECT(self) -> None:
        """Refuse."""
        credentials = self.headers.get("Proxy-Authorization", "").removeprefix("Basic ")
        self.given.append(base64.b64decode(credentials).decode())
        self.send_response(407, "Proxy Authentication Required")
        self.send_header("Content-Length", "0")
        self.end_headers()

    do_GET = do_CONNECT

    def log_message(self, *arguments: object) -> None:
        """Say nothing."""


def _digest(text: str) -> str:
    return base64.urlsafe_b64encode(hashlib.sha256(text.encode()).digest()).rstrip(b"=").decode()
