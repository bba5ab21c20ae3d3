"""A Hugging Face hub of our own on the loopback: HEAD and GET of /REPO/resolve/REVISION/FILE, with ranges.

It sends no Xet headers, so huggingface_hub downloads over plain HTTP.
"""

from __future__ import annotations

import hashlib
import re
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

REPOSITORY = "tiny/encoder"
REVISION = "0123456789abcdef0123456789abcdef01234567"

_LARGE = {"model.safetensors", "tokenizer.json"}  # kept by their SHA-256, as Git LFS does


@dataclass
class Hub:
    """What is served, and what was asked for.

    Attributes:
        files: content by path.
        requests: method, path and Range header ('' if none) of each request.
        sent: bytes of content sent so far, by path.
        break_after: bytes of a file after which its next download breaks, by path.
        hold_after: bytes of a file after which its next download waits for `go_on`, by path.
        ranges: whether it heeds a Range header.
        status: answered to everything instead of content.
    """

    files: dict[str, bytes]
    requests: list[tuple[str, str, str]] = field(default_factory=list)
    sent: Counter[str] = field(default_factory=Counter)
    break_after: dict[str, int] = field(default_factory=dict)
    hold_after: dict[str, int] = field(default_factory=dict)
    go_on: threading.Event = field(default_factory=threading.Event)
    ranges: bool = True
    status: int | None = None
    url: str = ""

    def etag(self, path: str) -> str:
        content = self.files[path]
        if path in _LARGE:
            return hashlib.sha256(content).hexdigest()
        return hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()

    def asked(self, path: str, method: str = "GET") -> list[str]:
        """The Range header of each request for a file."""
        return [wanted for asked, of, wanted in self.requests if (asked, of) == (method, path)]


def _handler(hub: Hub) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_HEAD(self) -> None:
            self._answer(body=False)

        def do_GET(self) -> None:
            self._answer(body=True)

        def _answer(self, *, body: bool) -> None:
            prefix = f"/{REPOSITORY}/resolve/{REVISION}/"
            path = self.path.removeprefix(prefix)
            wanted = self.headers.get("Range", "")
            hub.requests.append((self.command, path, wanted))
            if hub.status is not None or not self.path.startswith(prefix) or path not in hub.files:
                self.send_response(hub.status or 404)
                if hub.status is None:
                    self.send_header("X-Error-Code", "EntryNotFound")
                self.send_header("X-Repo-Commit", REVISION)
                self.send_header("Content-Length", "0")
                self.end_headers()
                return
            content = hub.files[path]
            start = 0
            if hub.ranges and (match := re.fullmatch(r"bytes=(\d+)-", wanted)):
                start = int(match[1])
                self.send_response(206)
                self.send_header("Content-Range", f"bytes {start}-{len(content) - 1}/{len(content)}")
            else:
                self.send_response(200)
            self.send_header("Accept-Ranges", "bytes")
            self.send_header("ETag", f'"{hub.etag(path)}"')
            self.send_header("X-Repo-Commit", REVISION)
            self.send_header("Content-Length", str(len(content) - start))
            self.end_headers()
            if not body:
                return
            if path in hub.break_after:
                self._send(path, content[start : hub.break_after.pop(path)])
                self.close_connection = True
                return
            held = hub.hold_after.pop(path, None)
            if held is not None:
                self._send(path, content[start:held])
                hub.go_on.wait(60)
                start = held
            with suppress(ConnectionError):  # whoever asked may have been killed
                self._send(path, content[start:])

        def _send(self, path: str, raw: bytes) -> None:
            self.wfile.write(raw)
            self.wfile.flush()
            hub.sent[path] += len(raw)

        def log_message(self, *_: object) -> None:
            pass

    return Handler


@contextmanager
def serve(files: dict[str, bytes]) -> Iterator[Hub]:
    """A hub that serves `files` until the end of the `with`."""
    hub = Hub(dict(files))
    server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(hub))
    hub.url = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    try:
        yield hub
    finally:
        hub.go_on.set()
        server.shutdown()
        thread.join()
        server.server_close()


_PULL = """
import sys; from pathlib import Path
from huggingface_hub import constants
from azpg_runtime.models import ModelStore; from azpg_runtime.models.catalog import HubSource
from azpg_runtime.models.pull import pull
from tests.unit import hub, tiny
constants.DOWNLOAD_CHUNK_SIZE = 1000
pull("tiny", ModelStore(Path(sys.argv[1])), catalog=tiny.catalog(HubSource(hub.REPOSITORY, hub.REVISION)))
"""


def pull_half(hub: Hub, store: Path, home: Path) -> subprocess.Popen[bytes]:
    """A pull of the tiny model in a process of its own that has half of the weights and waits for `hub.go_on`."""
    size = len(hub.files["model.safetensors"])
    hub.hold_after["model.safetensors"] = size // 2
    environment = {"PYTHONPATH": ":".join(sys.path), "HF_ENDPOINT": hub.url, "HF_HOME": str(home)}
    process = subprocess.Popen([sys.executable, "-c", _PULL, str(store)], env=environment)
    for _ in range(3000):
        if any(part.stat().st_size > size / 3 for part in store.glob("partial/*/parts/model.safetensors/*")):
            return process
        hub.go_on.wait(0.01)  # time.sleep does nothing in some tests
    process.kill()
    process.wait()
    raise TimeoutError
