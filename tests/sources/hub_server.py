"""A model hub on this machine, for the part of its protocol that a download uses; it can be cut off in the middle."""

import hashlib
import json
import re
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path


class Hub(ThreadingHTTPServer):
    """Serves the files of `folder` as repository org/name at any commit, from `address`.

    `lose_after`: so many bytes of file contents are sent, then every connection breaks; None: no loss.
    `sent`: bytes of content by file name.
    """

    daemon_threads = True

    def __init__(self, folder):
        super().__init__(("127.0.0.1", 0), Handler)
        self.folder, self.lose_after, self.sent = Path(folder), None, {}
        self.address = f"http://127.0.0.1:{self.server_address[1]}"
        threading.Thread(target=self.serve_forever, daemon=True).start()

    def handle_error(self, request, client_address):
        """A connection that breaks is what is tested; it is not reported."""


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        pass

    def lost(self):
        limit = self.server.lose_after
        return limit is not None and sum(self.server.sent.values()) >= limit

    def do_HEAD(self):
        self.answer(with_content=False)

    def do_GET(self):
        self.answer(with_content=True)

    def answer(self, with_content):
        if self.lost():
            self.close_connection = True
            self.connection.close()
            return
        if "/tree/" in self.path:
            files = sorted(path for path in self.server.folder.iterdir() if path.is_file())
            entries = [
                {
                    "type": "file",
                    "path": p.name,
                    "size": p.stat().st_size,
                    "oid": hashlib.sha1(p.read_bytes()).hexdigest(),
                }
                for p in files
            ]
            self.send(json.dumps(entries).encode(), {"Content-Type": "application/json"}, with_content)
            return
        found = re.search(r"/resolve/([0-9a-f]{40})/([\w.]+)", self.path)
        path = self.server.folder / found[2] if found else None
        if path is None or not path.is_file():
            self.send_response(404)
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        content = path.read_bytes()
        headers = {"ETag": f'"{hashlib.sha1(content).hexdigest()}"', "X-Repo-Commit": found[1]}
        self.send(content, headers, with_content, path.name)

    def send(self, content, headers, with_content, name=None):
        begin = int(m[1]) if (m := re.match(r"bytes=(\d+)-", self.headers.get("Range", ""))) else 0
        self.send_response(206 if begin else 200)
        if begin:
            self.send_header("Content-Range", f"bytes {begin}-{len(content) - 1}/{len(content)}")
        for key, value in (headers | {"Content-Length": str(len(content) - begin)}).items():
            self.send_header(key, value)
        self.end_headers()
        for start in range(begin, len(content) if with_content else 0, 4096):
            if name and self.lost():
                self.close_connection = True
                self.connection.close()
                return
            part = content[start : start + 4096]
            self.wfile.write(part)
            if name:
                self.server.sent[name] = self.server.sent.get(name, 0) + len(part)
