"""Downloads from a server on this machine that breaks connections, ignores ranges, or is not there."""

from __future__ import annotations

import hashlib
import http.server
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from mplib.data.sources.fetching import fetch
from mplib.errors import MplibError

CONTENT = bytes(range(256)) * 20_000  # 5 MB
MD5 = hashlib.md5(CONTENT, usedforsecurity=False).hexdigest()


class Server(http.server.ThreadingHTTPServer):
    """Serves CONTENT; sends ``most`` bytes of it over one connection, and then breaks it."""

    most = len(CONTENT)
    ranges = True
    asked: list[str | None]


class Handler(http.server.BaseHTTPRequestHandler):
    server: Server

    def do_GET(self) -> None:
        wanted = self.headers["Range"]
        self.server.asked.append(wanted)
        if self.path != "/file.zip":
            self.send_error(404)
            return
        start = int(wanted.removeprefix("bytes=").removesuffix("-")) if self.server.ranges and wanted else 0
        if start and start >= len(CONTENT):
            self.send_error(416)
            return
        self.send_response(206 if self.server.ranges else 200)
        self.send_header("Content-Length", str(len(CONTENT) - start))
        self.end_headers()
        self.wfile.write(CONTENT[start : start + self.server.most])

    def log_message(self, format: str, *arguments: object) -> None:
        pass


@pytest.fixture
def server() -> Iterator[Server]:
    server = Server(("127.0.0.1", 0), Handler)
    server.asked = []
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


def url(server: Server, name: str = "file.zip") -> str:
    return f"http://127.0.0.1:{server.server_address[1]}/{name}"


def test_downloads_once(server: Server, tmp_path: Path) -> None:
    path = tmp_path / "new" / "file.zip"
    for _ in range(2):
        fetch(url(server), path, MD5, "put it there")
    assert path.read_bytes() == CONTENT
    assert server.asked == ["bytes=0-"]
    assert {p.name for p in path.parent.iterdir()} == {"file.zip", ".file.zip.lock"}


def test_goes_on_where_a_connection_broke(server: Server, tmp_path: Path) -> None:
    server.most = 2_000_000
    fetch(url(server), tmp_path / "file.zip", MD5, "put it there")
    assert (tmp_path / "file.zip").read_bytes() == CONTENT
    assert server.asked == ["bytes=0-", "bytes=2000000-", "bytes=4000000-"]


@pytest.mark.parametrize("have", [1_234_567, len(CONTENT)])
def test_goes_on_where_an_earlier_call_was_stopped(server: Server, tmp_path: Path, have: int) -> None:
    (tmp_path / "file.zip.part").write_bytes(CONTENT[:have])
    fetch(url(server), tmp_path / "file.zip", MD5, "put it there")
    assert (tmp_path / "file.zip").read_bytes() == CONTENT
    assert server.asked == [f"bytes={have}-"]


def test_begins_again_where_the_server_knows_no_ranges(server: Server, tmp_path: Path) -> None:
    server.ranges = False
    (tmp_path / "file.zip.part").write_bytes(b"something")
    fetch(url(server), tmp_path / "file.zip", MD5, "put it there")
    assert (tmp_path / "file.zip").read_bytes() == CONTENT


def test_another_file_is_refused_and_not_kept(server: Server, tmp_path: Path) -> None:
    (tmp_path / "file.zip.part").write_bytes(b"not the beginning of it")
    with pytest.raises(MplibError, match=rf"gave a file with checksum .*, expected {MD5}"):
        fetch(url(server), tmp_path / "file.zip", MD5, "put it there")
    assert not (tmp_path / "file.zip").exists() and not (tmp_path / "file.zip.part").exists()
    fetch(url(server), tmp_path / "file.zip", MD5, "put it there")


def test_a_server_that_sends_nothing_more(server: Server, tmp_path: Path) -> None:
    server.most = 0
    (tmp_path / "file.zip.part").write_bytes(CONTENT[:1000])
    with pytest.raises(MplibError, match="could not be downloaded from .*the same call goes on where this stopped"):
        fetch(url(server), tmp_path / "file.zip", MD5, "put it there")
    assert (tmp_path / "file.zip.part").read_bytes() == CONTENT[:1000]


def test_offline_says_what_to_put_where(server: Server, tmp_path: Path) -> None:
    with pytest.raises(
        MplibError, match=r"file.zip could not .* \(HTTP Error 404: Not Found\), .* or put file.zip there"
    ) as e:
        fetch(url(server, "other.zip"), tmp_path / "file.zip", MD5, "put file.zip there")
    assert "\n" not in str(e.value) and str(tmp_path) in str(e.value)
    with pytest.raises(MplibError, match="refused"):
        fetch("http://127.0.0.1:9/file.zip", tmp_path / "file.zip", MD5, "put file.zip there")
    (tmp_path / "blocked").write_text("")
    with pytest.raises(MplibError, match="could not be downloaded"):
        fetch(url(server), tmp_path / "blocked" / "file.zip", MD5, "put file.zip there")
