"""A server of this machine that answers the requests which huggingface_hub sends to the hub, from folders."""

import hashlib
import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

import pytest
from huggingface_hub import constants

LARGE = (".safetensors", ".bin", ".ckpt", ".h5", ".msgpack")  # kept as Git LFS objects, whose SHA-256 the hub states


@dataclass
class Repository:
    """A repository of a model; a revision's commit derives from its files."""

    revisions: dict[str, Path]  # main, another branch or refs/pr/1 → the folder with its files
    licence: str | None = None
    lies: dict[str, str] = field(default_factory=dict)  # file → the digest that is stated instead of the true one

    def folder(self, revision: str) -> Path | None:
        commits = {self.commit(name): folder for name, folder in self.revisions.items()}
        return self.revisions.get(revision) or commits.get(revision)

    def commit(self, revision: str) -> str:
        folder = self.revisions[revision]
        return hashlib.sha1("".join(f"{name}{digest(folder / name)}" for name in names(folder)).encode()).hexdigest()

    def state(self, folder: Path, name: str) -> dict[str, Any]:
        """What the hub says of a file."""
        path = folder / name
        size, oid, stated = path.stat().st_size, git_digest(path), self.lies.get(name)
        if path.suffix not in LARGE:
            return {"size": size, "oid": stated or oid}
        return {"size": size, "oid": oid, "lfs": {"oid": stated or digest(path), "size": size, "pointerSize": 134}}


def names(folder: Path) -> list[str]:
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())


def digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def git_digest(path: Path) -> str:
    return hashlib.sha1(b"blob %d\0" % path.stat().st_size + path.read_bytes()).hexdigest()


class Hub(ThreadingHTTPServer):
    """Serves repositories by their ids, and notes which files were sent."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.repositories: dict[str, Repository] = {}
        self.sent: list[str] = []

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Hub

    def log_message(self, *_: object) -> None:
        """Say nothing."""

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_GET(self) -> None:
        url = urlsplit(self.path)
        parts = [unquote(part) for part in url.path.strip("/").split("/")]
        if parts[:2] == ["api", "models"]:
            self._answer_api(parts[2:], parse_qs(url.query))
        elif len(parts) > 4 and parts[2] == "resolve":
            self._send_file("/".join(parts[:2]), parts[3], "/".join(parts[4:]))
        else:
            self._fail("EntryNotFound")

    def _answer_api(self, parts: list[str], query: dict[str, list[str]]) -> None:
        if not parts:
            wanted = query["search"][0]
            self._send([{"id": name, "modelId": name} for name in self.server.repositories if wanted in name])
            return
        name, what, revision = "/".join(parts[:2]), (*parts[2:3], "")[0], "/".join(parts[3:]) or "main"
        repository = self.server.repositories.get(name)
        if repository is None:
            self._fail("RepoNotFound")
        elif what == "refs":
            self._send(_refs(repository))
        elif (folder := repository.folder(revision)) is None:
            self._fail("RevisionNotFound")
        elif what == "tree":
            self._send([{"type": "file", "path": each} | repository.state(folder, each) for each in names(folder)])
        else:
            self._send(_info(name, repository, folder))

    def _send_file(self, name: str, revision: str, file: str) -> None:
        repository = self.server.repositories.get(name)
        if repository is None:
            self._fail("RepoNotFound")
            return
        folder = repository.folder(revision)
        if folder is None or not (folder / file).is_file():
            self._fail("EntryNotFound")
            return
        content = (folder / file).read_bytes()
        state = repository.state(folder, file)
        etag = state["lfs"]["oid"] if "lfs" in state else state["oid"]
        self._send(content, {"ETag": f'"{etag}"', "X-Repo-Commit": _commit_of(repository, folder)})
        if self.command == "GET":
            self.server.sent.append(file)

    def _fail(self, code: str) -> None:
        self._send({"error": code}, {"X-Error-Code": code, "X-Error-Message": code}, status=404)

    def _send(self, content: Any, headers: dict[str, str] | None = None, status: int = 200) -> None:
        body = content if isinstance(content, bytes) else json.dumps(content).encode()
        self.send_response(status)
        for key, value in {"Content-Length": str(len(body)), **(headers or {})}.items():
            self.send_header(key, value)
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(body)


def _commit_of(repository: Repository, folder: Path) -> str:
    return next(repository.commit(name) for name, each in repository.revisions.items() if each == folder)


def _info(name: str, repository: Repository, folder: Path) -> dict[str, Any]:
    siblings = []
    for each in names(folder):
        state = repository.state(folder, each)
        lfs = {"lfs": {"sha256": state["lfs"]["oid"], **state["lfs"]}} if "lfs" in state else {}
        siblings.append({"rfilename": each, "size": state["size"], "blobId": state["oid"], **lfs})
    card = {"cardData": {"license": repository.licence}} if repository.licence else {}
    return {"id": name, "modelId": name, "sha": _commit_of(repository, folder), "siblings": siblings, "tags": [], **card}


def _refs(repository: Repository) -> dict[str, Any]:
    def entry(name: str, ref: str) -> dict[str, str]:
        return {"name": name, "ref": ref, "targetCommit": repository.commit(name)}

    proposals = [name for name in repository.revisions if name.startswith("refs/pr/")]
    branches = [entry(name, f"refs/heads/{name}") for name in repository.revisions if name not in proposals]
    return {"branches": branches, "converts": [], "tags": [], "pullRequests": [entry(name, name) for name in proposals]}


@contextmanager
def hub(cache: Path) -> Iterator[Hub]:
    """Serve no repository yet, at a port of this machine to which huggingface_hub turns, with its cache in a folder."""
    template = "/{repo_id}/resolve/{revision}/{filename}"
    with Hub() as server, pytest.MonkeyPatch.context() as patch:
        patch.setattr(constants, "ENDPOINT", server.address)
        patch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", server.address + template)
        patch.setattr(constants, "HF_HUB_CACHE", str(cache))
        thread = Thread(target=server.serve_forever, daemon=True)
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()
