"""A model hub on this machine, for the parts of its protocol that downloads and plain uploads use.

It can be cut off in the middle, and refuse.
"""

import base64
import hashlib
import json
import re
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path


class Hub(ThreadingHTTPServer):
    """Serves the files of `folder` as repository org/name at any commit, from `address`; a branch is at `head`.

    `lose_after`: so many bytes of file contents are sent, then every connection breaks; None: no loss.
    `sent`: bytes of content by file name. What is uploaded is written to `folder`, and makes a new `head`.
    `token`: who writes must have it. `refuse`: (status, error code, message) of every answer, or None.
    `asked`: method and path of each request. `large`: files of another protocol, by their sha256, until committed.
    """

    daemon_threads = True

    def __init__(self, folder):
        super().__init__(("127.0.0.1", 0), Handler)
        self.folder, self.lose_after, self.sent = Path(folder), None, {}
        self.head, self.token, self.refuse, self.asked, self.large = "0" * 40, "writer", None, [], {}
        self.address = f"http://127.0.0.1:{self.server_address[1]}"
        threading.Thread(target=self.serve_forever, args=(0.02,), daemon=True).start()

    def handle_error(self, request, client_address):
        """A connection that breaks is what is tested; it is not reported."""


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def log_message(self, *_):
        pass

    def lost(self):
        limit = self.server.lose_after
        return limit is not None and sum(self.server.sent.values()) >= limit

    def do_HEAD(self):
        self.answer(with_content=False)

    def do_GET(self):
        self.answer(with_content=True)

    def do_POST(self):
        content = self.content()
        if self.refused():
            return
        if self.headers.get("Authorization") != f"Bearer {self.server.token}":
            self.refused((403, "", "you do not have the right to write here"))
        elif self.path == "/api/validate-yaml":
            self.told({"errors": [], "warnings": []})
        elif self.path == "/api/repos/create":
            asked = json.loads(content)
            self.told({"url": f"{self.server.address}/{asked['organization']}/{asked['name']}"})
        elif "/preupload/" in self.path:
            files = json.loads(content)["files"]
            modes = {file["path"]: "lfs" if file["path"].endswith(".safetensors") else "regular" for file in files}
            self.told({"files": [{"path": p, "uploadMode": m, "shouldIgnore": False} for p, m in modes.items()]})
        elif self.path.endswith(".git/info/lfs/objects/batch"):
            objects = [
                {**o, "actions": {"upload": {"href": f"{self.server.address}/large/{o['oid']}"}}}
                for o in json.loads(content)["objects"]
            ]
            self.told({"transfer": "basic", "objects": objects})
        elif "/commit/" in self.path:
            for line in map(json.loads, content.splitlines()):
                value = line["value"]
                if line["key"] == "file":
                    (self.server.folder / value["path"]).write_bytes(base64.b64decode(value["content"]))
                elif line["key"] == "lfsFile":
                    (self.server.folder / value["path"]).write_bytes(self.server.large.pop(value["oid"]))
            self.server.head = hashlib.sha1(content).hexdigest()
            repository = self.path.split("/api/models/")[1].split("/commit/")[0]
            address = f"{self.server.address}/{repository}/commit/{self.server.head}"
            self.told({"commitUrl": address, "commitOid": self.server.head})
        else:
            self.refused((404, "", "not here"))

    def do_PUT(self):
        content = self.content()
        if not self.refused():
            self.server.large[hashlib.sha256(content).hexdigest()] = content
            self.told({})

    def content(self):
        """The body of the request, in one piece or in several."""
        if self.headers.get("Transfer-Encoding") != "chunked":
            return self.rfile.read(int(self.headers.get("Content-Length", 0)))
        parts = []
        while size := int(self.rfile.readline(), 16):
            parts.append(self.rfile.read(size))
            self.rfile.readline()
        self.rfile.readline()
        return b"".join(parts)

    def told(self, value, with_content=True):
        self.send(json.dumps(value).encode(), {"Content-Type": "application/json"}, with_content)

    def refused(self, how=None):
        """Whether the request was answered by a refusal, as the hub was told to, or `how`."""
        how = how or self.server.refuse
        if how:
            status, code, message = how
            self.send_response(status)
            for name, value in (("X-Error-Code", code), ("X-Error-Message", message), ("Content-Length", "0")):
                self.send_header(name, value)
            self.end_headers()
        return bool(how)

    def answer(self, with_content):
        self.server.asked.append((self.command, self.path))
        if self.lost():
            self.close_connection = True
            self.connection.close()
            return
        if self.refused():
            return
        if found := re.search(r"/api/models/([^/]+/[^/]+)/revision/([^/?]+)", self.path):
            if found[2] != "main":
                self.refused((404, "RevisionNotFound", f"no {found[2]}"))
                return
            self.told({"id": found[1], "sha": self.server.head, "siblings": []}, with_content)
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
