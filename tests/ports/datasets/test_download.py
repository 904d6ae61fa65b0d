"""Downloads from a server on the loopback that can break off, change its file, know no ranges, or lie."""

from __future__ import annotations

import contextlib
import hashlib
import re
import signal
import subprocess
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import SimpleNamespace

import numpy as np
import pytest
from helpers.paths import REPO

from ports.datasets import download
from ports.datasets.download import DownloadError, fetch
from ports.datasets.offer import Archive, Offer

CONTENT = np.random.default_rng(7).integers(0, 256, 3_000_000, dtype=np.uint8).tobytes()
MD5 = hashlib.md5(CONTENT, usedforsecurity=False).hexdigest()


class Host:
    """What the server has and how it behaves; `seen` are the Range headers of the requests, "" for none."""

    def __init__(self) -> None:
        self.content, self.etag, self.ranges = CONTENT, '"one"', True
        self.breaks_after: int | None = None
        self.status, self.pause, self.says_length = 200, 0.0, True
        self.seen: list[str] = []


@pytest.fixture
def host(monkeypatch):
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    state = Host()

    class Handler(BaseHTTPRequestHandler):
        def log_message(self, *args):
            pass

        def do_GET(self):
            state.seen.append(self.headers.get("Range", ""))
            if state.status != 200:
                self.send_error(state.status)
                return
            wanted = re.match(r"bytes=(\d+)-", self.headers.get("Range", ""))
            same = self.headers.get("If-Range") in (None, state.etag)
            start = int(wanted[1]) if wanted and same and state.ranges else 0
            if start >= len(state.content):
                self.send_response(416)
                self.send_header("Content-Range", f"bytes */{len(state.content)}")
                self.send_header("Content-Length", "0")
                self.end_headers()
                return
            self.send_response(206 if start else 200)
            if state.etag:
                self.send_header("ETag", state.etag)
            if start:
                self.send_header("Content-Range", f"bytes {start}-{len(state.content) - 1}/{len(state.content)}")
            if state.says_length:
                self.send_header("Content-Length", str(len(state.content) - start))
            self.end_headers()
            end = len(state.content) if state.breaks_after is None else start + state.breaks_after
            with contextlib.suppress(ConnectionError):
                for at in range(start, min(end, len(state.content)), 100_000):
                    self.wfile.write(state.content[at : min(at + 100_000, end)])
                    time.sleep(state.pause)

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    state.url = f"http://127.0.0.1:{server.server_port}/birds.tgz"
    yield state
    server.shutdown()
    server.server_close()
    thread.join()


def archive(host, **facts) -> Archive:
    return Archive("birds.tgz", url=host.url, **facts)


def names(folder) -> list[str]:
    """What a download left; nothing where not even the folder is there."""
    return sorted(path.name for path in folder.iterdir()) if folder.is_dir() else []


def test_a_whole_file_comes_once(host, tmp_path):
    folder = tmp_path / "new" / "folder"
    file = fetch(archive(host, size=len(CONTENT), md5=MD5), folder, progress=False)
    assert file.read_bytes() == CONTENT and names(folder) == ["birds.tgz"]
    assert fetch(archive(host, md5=MD5), folder, progress=False) == file and host.seen == [""]


def test_a_broken_connection_is_gone_on_with(host, tmp_path):
    host.breaks_after = 1_234_567
    with pytest.raises(
        DownloadError, match=r"ended after 1,234,567 bytes of 3,000,000; they are kept, the same command"
    ):
        fetch(archive(host, md5=MD5), tmp_path, progress=False)
    assert names(tmp_path) == ["birds.tgz.part", "birds.tgz.part.json"]
    host.breaks_after = 1_000_000
    with pytest.raises(DownloadError, match="ended after 2,234,567 bytes"):
        fetch(archive(host, md5=MD5), tmp_path, progress=False)
    host.breaks_after = None
    assert fetch(archive(host, md5=MD5), tmp_path, progress=False).read_bytes() == CONTENT
    assert host.seen == ["", "bytes=1234567-", "bytes=2234567-"] and names(tmp_path) == ["birds.tgz"]


def test_stopped_after_the_last_byte(host, tmp_path):
    """Killed between the last byte and the new name: the server has nothing more to give."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(download, "_check", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            fetch(archive(host), tmp_path, progress=False)
    assert names(tmp_path) == ["birds.tgz.part", "birds.tgz.part.json"]
    assert fetch(archive(host, md5=MD5), tmp_path, progress=False).read_bytes() == CONTENT
    assert host.seen == ["", "bytes=3000000-"]


@pytest.mark.parametrize("how", ["another version", "no version", "no ranges", "another address"])
def test_what_cannot_be_gone_on_with_begins_anew(how, host, tmp_path):
    """The beginning of one file and the end of another would be neither."""
    if how == "no version":
        host.etag = ""
    host.breaks_after = 1_000_000
    with pytest.raises(DownloadError):
        fetch(archive(host), tmp_path, progress=False)
    host.breaks_after, url = None, host.url
    if how == "another version":
        host.content, host.etag = CONTENT[::-1], '"two"'
    host.ranges = how != "no ranges"
    if how == "another address":
        url += "?download=1"
    file = fetch(Archive("birds.tgz", url=url), tmp_path, progress=False)
    assert file.read_bytes() == host.content and names(tmp_path) == ["birds.tgz"]


def test_a_file_without_a_length_is_held_to_its_size(host, tmp_path):
    host.says_length = False
    assert fetch(archive(host, size=len(CONTENT)), tmp_path / "a", progress=False).read_bytes() == CONTENT
    host.breaks_after = 5
    with pytest.raises(DownloadError, match="5 bytes instead of 3,000,000; it was removed"):
        fetch(archive(host, size=len(CONTENT)), tmp_path / "b", progress=False)
    assert names(tmp_path / "b") == []


@pytest.mark.parametrize(
    ("facts", "message"),
    [
        (
            {"md5": "0" * 32},
            rf"not the file that is known: its md5 is {MD5}, that of birds.tgz is 0{{32}}; it was removed",
        ),
        ({"size": 5}, r"the server has 3,000,000 bytes, birds.tgz has 5"),
    ],
)
def test_another_file_is_refused_and_nothing_stays(facts, message, host, tmp_path):
    with pytest.raises(DownloadError, match=message):
        fetch(archive(host, **facts), tmp_path, progress=False)
    assert names(tmp_path) == []


def test_words_for_what_does_not_come(host, tmp_path, monkeypatch):
    host.status = 404
    tmp_path /= "folder"
    with pytest.raises(DownloadError, match=rf"{host.url}: HTTP 404 Not Found$"):
        fetch(archive(host), tmp_path, progress=False)
    with pytest.raises(DownloadError, match=r"127\.0\.0\.1:9/birds\.tgz: Connection refused$"):
        fetch(Archive("birds.tgz", url="http://127.0.0.1:9/birds.tgz"), tmp_path, progress=False)
    for url in ("file:///etc/passwd", "ftp://127.0.0.1/birds.tgz", ""):
        with pytest.raises(DownloadError, match="is not one of http or https"):
            fetch(Archive("birds.tgz", url=url), tmp_path, progress=False)
    host.status = 200
    monkeypatch.setattr(download.shutil, "disk_usage", lambda _: SimpleNamespace(free=2_999_999))
    with pytest.raises(DownloadError, match="too little space for 3,000,000 bytes"):
        fetch(archive(host), tmp_path, progress=False)
    assert not tmp_path.exists()


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGINT])
def test_a_killed_download_goes_on(how, host, tmp_path):
    host.pause = 0.05  # 1.5 s for the whole file
    code = f"""
import signal
from pathlib import Path
from ports.datasets.download import fetch
from ports.datasets.offer import Archive
signal.signal(signal.SIGINT, signal.default_int_handler)  # who starts tests in the background hands down that it is ignored
fetch(Archive("birds.tgz", url={host.url!r}, md5={MD5!r}), Path({str(tmp_path)!r}))
"""
    running = subprocess.Popen([sys.executable, "-c", code], cwd=REPO, stderr=subprocess.DEVNULL)
    part = tmp_path / "birds.tgz.part"
    deadline = time.monotonic() + 60
    while not (part.is_file() and part.stat().st_size) and time.monotonic() < deadline:
        time.sleep(0.01)
    running.send_signal(how)
    assert running.wait() != 0
    came = part.stat().st_size
    assert 0 < came < len(CONTENT) and not (tmp_path / "birds.tgz").exists()
    host.pause = 0
    assert fetch(archive(host, md5=MD5), tmp_path, progress=False).read_bytes() == CONTENT
    assert host.seen == ["", f"bytes={came}-"] and names(tmp_path) == ["birds.tgz"]


def test_an_offer_in_words():
    offer = Offer(
        "https://birds.example", (Archive("a.zip", "https://birds.example/a.zip", 2_000_000_000), Archive("b.txt"))
    )
    text = "\n".join(offer.lines())
    assert (
        "page    https://birds.example" in text
        and "terms   not known here" in text
        and "size    not known here" in text
    )
    assert "a.zip: https://birds.example/a.zip; size 2,000,000,000 bytes; md5 not known here" in text
    assert "b.txt: behind the page; size not known here" in text and not offer.free
    assert "size    2.00 GB to download" in Offer("p", offer.files[:1]).lines() and Offer("p", offer.files[:1]).free
