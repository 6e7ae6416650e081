"""A hub on the loopback interface: enough of its HTTP interface for the real huggingface_hub client.

Serves one repository (information, tree, files with ETag, ranges and commit header) and records requests.
"""

from __future__ import annotations

import hashlib
import json
import re
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


class HubServer:
    """repository "owner/name", files by name; branch "main" and tag "v1" mean `commit`.

    requests     (method, path, Range header or None) in order
    cut_after    when set, file bodies stop after so many bytes and the connection closes
    """

    def __init__(self, repository: str, files: dict[str, bytes]) -> None:
        self.repository, self.files = repository, files
        self.commit = hashlib.sha1(repository.encode()).hexdigest()
        self.requests: list[tuple[str, str, str | None]] = []
        self.cut_after: int | None = None
        handler = type("Handler", (_Handler,), {"hub": self})
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()

    def downloads(self) -> list[str]:
        """Names of the files whose contents were asked for."""
        return [
            path.rsplit("/", 1)[1]
            for method, path, _ in self.requests
            if method == "GET" and "/resolve/" in path
        ]


class _Handler(BaseHTTPRequestHandler):
    hub: HubServer
    protocol_version = "HTTP/1.1"

    def log_message(self, *_: Any) -> None:
        """Quiet."""

    def do_HEAD(self) -> None:
        self._answer(body=False)

    def do_GET(self) -> None:
        self._answer(body=True)

    def _answer(self, body: bool) -> None:
        hub, path = self.hub, self.path.split("?")[0]
        hub.requests.append((self.command, path, self.headers.get("Range")))
        revisions = ("main", "v1", hub.commit)
        if match := re.fullmatch(r"/api/models/([\w.-]+/[\w.-]+)(?:/(revision|tree)/([\w.-]+))?", path):
            if match[1] != hub.repository:
                self._fail(404, "RepoNotFound")
            elif match[3] and match[3] not in revisions:
                self._fail(404, "RevisionNotFound")
            else:
                self._json(self._tree() if match[2] == "tree" else self._information(), body)
        elif match := re.fullmatch(r"/([\w.-]+/[\w.-]+)/resolve/([\w.-]+)/(.+)", path):
            if match[1] != hub.repository or match[2] not in revisions:
                self._fail(404, "RepoNotFound")
            elif match[3] not in hub.files:
                self._fail(404, "EntryNotFound")
            else:
                self._file(hub.files[match[3]], body)
        else:
            self._fail(404, "RepoNotFound")

    def _information(self) -> dict[str, Any]:
        siblings = [{"rfilename": name, "size": len(data)} for name, data in self.hub.files.items()]
        return {
            "id": self.hub.repository,
            "modelId": self.hub.repository,
            "sha": self.hub.commit,
            "private": False,
            "siblings": siblings,
            "tags": [],
            "downloads": 0,
            "likes": 0,
        }

    def _tree(self) -> list[dict[str, Any]]:
        return [
            {"type": "file", "path": name, "size": len(data), "oid": hashlib.sha1(data).hexdigest()}
            for name, data in self.hub.files.items()
        ]

    def _json(self, value: Any, body: bool) -> None:
        data = json.dumps(value).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        if body:
            self.wfile.write(data)

    def _fail(self, code: int, name: str) -> None:
        self.send_response(code)
        self.send_header("X-Error-Code", name)
        self.send_header("X-Error-Message", name)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def _file(self, data: bytes, body: bool) -> None:
        first = 0
        if match := re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range") or ""):
            first = int(match[1])
        self.send_response(206 if first else 200)
        self.send_header("ETag", f'"{hashlib.sha1(data).hexdigest()}"')
        self.send_header("X-Repo-Commit", self.hub.commit)
        self.send_header("Accept-Ranges", "bytes")
        if first:
            self.send_header("Content-Range", f"bytes {first}-{len(data) - 1}/{len(data)}")
        self.send_header("Content-Length", str(len(data) - first))
        self.end_headers()
        if not body:
            return
        if self.hub.cut_after is not None and len(data) - first > self.hub.cut_after:
            self.wfile.write(data[first : first + self.hub.cut_after])
            self.wfile.flush()
            self.close_connection = True
            return
        self.wfile.write(data[first:])
