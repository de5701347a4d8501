"""A Hugging Face Hub for tests: what the library asks when it makes a repository, commits and downloads, over HTTP."""

from __future__ import annotations

import base64
import hashlib
import json
import re
import threading
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


@dataclass
class Repository:
    private: bool = False
    files: dict[str, bytes] = field(default_factory=lambda: {".gitattributes": b""})
    commits: list[str] = field(default_factory=list)

    @property
    def sha(self):
        return hashlib.sha1(repr((self.files, self.commits)).encode()).hexdigest()


class Hub:
    """Repositories by name, and every request that was made. Only `token` may write, or see what is private.

    refuses: a status that each commit is answered with.
    """

    def __init__(self, token="hf_secret"):
        self.token, self.repositories, self.requests, self.refuses = token, {}, [], None
        hub = self

        class Answering(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def log_message(self, *words):
                pass

            def handle_any(self):
                length = int(self.headers.get("Content-Length") or 0)
                if self.headers.get("Transfer-Encoding") == "chunked":
                    body = b""
                    while size := int(self.rfile.readline(), 16):
                        body += self.rfile.read(size)
                        self.rfile.readline()
                    self.rfile.readline()
                else:
                    body = self.rfile.read(length)
                known = self.headers.get("Authorization") == f"Bearer {hub.token}"
                hub.requests.append((self.command, self.path))
                status, headers, content = hub.answer(self.command, self.path.partition("?")[0], body, known)
                self.send_response(status)
                for name, value in {**headers, "Content-Length": str(len(content))}.items():
                    self.send_header(name, value)
                self.end_headers()
                if self.command != "HEAD":
                    self.wfile.write(content)

            do_GET = do_HEAD = do_POST = handle_any

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Answering)
        self.address = f"http://127.0.0.1:{self.server.server_port}"
        threading.Thread(target=self.server.serve_forever, args=(0.01,), daemon=True).start()

    def close(self):
        self.server.shutdown()
        self.server.server_close()

    def answer(self, method, path, body, known):
        """(status, headers, content)"""
        if path == "/api/validate-yaml":
            return as_json({"errors": [], "warnings": []})
        if path == "/api/repos/create":
            if not known:
                return as_json({"error": "Invalid username or password."}, 401)
            told = json.loads(body)
            name = f"{told['organization']}/{told['name']}" if told.get("organization") else told["name"]
            private = bool(told.get("private")) or told.get("visibility") == "private"
            self.repositories[name] = Repository(private)
            return as_json({"url": f"{self.address}/{name}", "name": name, "id": "1"})
        if (found := re.fullmatch(r"(?:/api/models)?/([^/]+/[^/]+)(/.*)?", path)) is None:
            return as_json({"error": "no such page"}, 404)
        name, rest = found[1], found[2] or ""
        repository = self.repositories.get(name)
        if repository is None or (repository.private and not known):
            code = {"X-Error-Code": "RepoNotFound", "X-Error-Message": "Repository not found"}
            return as_json({"error": "Repository not found"}, 404 if known else 401, code)
        if rest.startswith("/resolve/"):
            return self.resolved(repository, rest.split("/", 3)[2:])
        if rest.startswith("/preupload/"):
            files = [each["path"] for each in json.loads(body)["files"]]
            modes = [{"path": each, "uploadMode": "regular", "shouldIgnore": False} for each in files]
            return as_json({"files": modes})
        if rest.startswith("/commit/"):
            return self.committed(name, repository, body, known)
        files = [{"rfilename": each} for each in repository.files]
        return as_json({"id": name, "private": repository.private, "sha": repository.sha, "siblings": files})

    def resolved(self, repository, words):
        revision, file = words
        if revision not in ("main", repository.sha):
            return as_json({"error": "Invalid rev id"}, 404, {"X-Error-Code": "RevisionNotFound"})
        if file not in repository.files:
            return as_json({"error": "no such file"}, 404, {"X-Error-Code": "EntryNotFound"})
        content = repository.files[file]
        etag = hashlib.sha256(content).hexdigest()
        return 200, {"ETag": f'"{etag}"', "X-Repo-Commit": repository.sha}, content

    def committed(self, name, repository, body, known):
        if not known or self.refuses:
            return as_json({"error": "Not allowed"}, self.refuses or 403)
        for line in map(json.loads, body.splitlines()):
            value = line["value"]
            if line["key"] == "header":
                repository.commits.append(value["summary"])
            elif line["key"] == "file":
                repository.files[value["path"]] = base64.b64decode(value["content"])
        address = f"{self.address}/{name}/commit/{repository.sha}"
        return as_json(
            {
                "success": True,
                "commitOid": repository.sha,
                "commitUrl": address,
                "pullRequestUrl": f"{self.address}/{name}/discussions/2",
            }
        )


def as_json(value, status=200, headers=None):
    return status, {"Content-Type": "application/json", **(headers or {})}, json.dumps(value).encode()
