"""Git LFS files by HTTP: pointers out of an archive, downloads that go on where they broke off."""

import hashlib
import io
import json
import tarfile

import pytest
from local_server import Quiet, serving

from data_scripts import lfs
from data_scripts.fetch import DataError
from data_scripts.lfs import Pointer, download_objects, pointers


def pointer_text(content: bytes) -> bytes:
    digest = hashlib.sha256(content).hexdigest()
    return f"version https://git-lfs.github.com/spec/v1\noid sha256:{digest}\nsize {len(content)}\n".encode()


def pointer(content: bytes) -> Pointer:
    return Pointer(hashlib.sha256(content).hexdigest(), len(content))


@pytest.fixture
def server(monkeypatch):
    """An LFS server of ``server.contents`` (by sha256).

    It wants the header that it gave, breaks off once in ``server.breaks``, sends other bytes for those in
    ``server.wrong``, and answers ``server.refuses`` to batch requests where that is set.
    """

    class Handler(Quiet):
        def do_POST(self):
            assert self.path == "/repository.git/info/lfs/objects/batch"
            if server.refuses:
                return self.send_error(server.refuses)
            asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            assert asked["operation"] == "download" and len(asked["objects"]) <= lfs.BATCH
            objects = []
            for item in asked["objects"]:
                if item["oid"] in server.contents:
                    action = {"href": f"{server.address}/{item['oid']}", "header": {"X-Key": "given"}}
                    objects.append({**item, "actions": {"download": action}})
                else:
                    objects.append({**item, "error": {"code": 404, "message": "no"}})
            answer = json.dumps({"transfer": "basic", "objects": objects}).encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(answer)))
            self.end_headers()
            self.wfile.write(answer)

        def do_GET(self):
            oid, asked = self.path[1:], self.headers.get("Range")
            server.gets.append((oid, asked))
            if self.headers.get("X-Key") != "given":
                return self.send_error(403)
            content = server.contents[oid]
            start = int(asked.removeprefix("bytes=").rstrip("-")) if asked and server.resumes else 0
            self.send_response(206 if start else 200)
            self.send_header("Content-Length", str(len(content) - start))
            self.end_headers()
            if oid in server.breaks:
                server.breaks.remove(oid)
                self.wfile.write(content[start : len(content) // 2])
                self.wfile.flush()
                self.connection.shutdown(2)
            else:
                self.wfile.write(bytes(len(content) - start) if oid in server.wrong else content[start:])

    with serving(Handler, monkeypatch) as server:
        server.contents, server.breaks, server.wrong, server.gets = {}, set(), set(), []
        server.refuses, server.resumes = None, True
        server.lfs = f"{server.address}/repository.git/info/lfs"
        yield server


def stored(server, count: int = 3, size: int = 100_000) -> dict[str, bytes]:
    files = {f"AudioWAV/{i}.wav": bytes([i]) * (size + i) for i in range(count)}
    server.contents |= {pointer(content).sha256: content for content in files.values()}
    return files


def get(files, folder, servers):
    download_objects({n: pointer(c) for n, c in files.items()}, folder, servers, workers=3, progress=False)


def found(folder) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def test_pointers_are_read_out_of_an_archive_below_its_own_folder(tmp_path):
    members = {"repo-1/AudioWAV/a.wav": b"sound", "repo-1/README.md": b"text", "repo-1/../b.wav": b"outside"}
    path = tmp_path / "a.tar.gz"
    with tarfile.open(path, "w:gz") as tar:
        for name, content in members.items():
            text = pointer_text(content) if name.endswith("wav") else content
            entry = tarfile.TarInfo(name)
            entry.size = len(text)
            tar.addfile(entry, io.BytesIO(text))
    wav = str.endswith
    assert pointers(path, lambda name: wav(name, "wav")) == {"AudioWAV/a.wav": pointer(b"sound")}
    with pytest.raises(DataError, match="damaged"):
        pointers(path, lambda name: name == "README.md")  # no pointer
    path.write_bytes(path.read_bytes()[:-50])
    with pytest.raises(DataError, match="cut short"):
        pointers(path, lambda name: False)


def test_files_come_verified_under_their_names_and_are_not_asked_for_twice(server, tmp_path):
    files = stored(server, 2 * lfs.BATCH + 5, 10)
    get(files, tmp_path, [server.lfs])
    assert found(tmp_path) == files
    server.gets.clear()
    get(files, tmp_path, [server.lfs])
    assert server.gets == []


def test_a_file_that_broke_off_goes_on_where_it_stopped(server, tmp_path):
    files = stored(server)
    broken = pointer(files["AudioWAV/1.wav"]).sha256
    server.breaks.add(broken)
    get(files, tmp_path, [server.lfs])
    assert found(tmp_path) == files
    first, second = (asked for oid, asked in server.gets if oid == broken)
    assert first is None and 0 < int(second.removeprefix("bytes=").rstrip("-")) <= 50_000


def test_a_download_that_was_interrupted_resumes_in_the_next_run(server, tmp_path):
    files = stored(server)
    part = tmp_path / "AudioWAV" / "2.wav.part"
    part.parent.mkdir()
    part.write_bytes(files["AudioWAV/2.wav"][:30_000])
    get(files, tmp_path, [server.lfs])
    assert found(tmp_path) == files and not part.exists()
    assert (pointer(files["AudioWAV/2.wav"]).sha256, "bytes=30000-") in server.gets


def test_a_host_that_cannot_go_on_sends_the_file_anew(server, tmp_path):
    files, server.resumes = stored(server), False
    (tmp_path / "AudioWAV").mkdir()
    (tmp_path / "AudioWAV" / "0.wav.part").write_bytes(b"begun")
    get(files, tmp_path, [server.lfs])
    assert found(tmp_path) == files


def test_wrong_bytes_never_get_the_name_and_the_error_says_which(server, tmp_path):
    files = stored(server)
    server.wrong.add(pointer(files["AudioWAV/1.wav"]).sha256)
    with pytest.raises(
        DataError, match=r"^Could not download 1 of 3 files \(AudioWAV/1.wav .*checksum differs\)"
    ):
        get(files, tmp_path, [server.lfs])
    assert found(tmp_path) == {name: c for name, c in files.items() if name != "AudioWAV/1.wav"}


def test_the_second_server_gives_what_the_first_refuses_or_lacks(server, tmp_path):
    files = stored(server)
    closed = "http://127.0.0.1:9/closed"
    get(files, tmp_path, [closed, server.lfs])
    assert found(tmp_path) == files


@pytest.mark.parametrize("how", ["refuses", "lacks", "closed"])
def test_a_server_that_gives_nothing_is_an_error_of_one_sentence(server, tmp_path, how):
    files = stored(server)
    server.refuses = 403 if how == "refuses" else None
    if how == "lacks":
        server.contents.clear()
    said = {"refuses": "status 403", "lacks": "does not have AudioWAV/", "closed": "ConnectionError"}[how]
    with pytest.raises(DataError, match=rf"^[^\n]*{said}[^\n]*--from\.$"):
        get(files, tmp_path, ["http://127.0.0.1:9" if how == "closed" else server.lfs])
    assert found(tmp_path) == {}
