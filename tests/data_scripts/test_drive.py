"""Google Drive by gdown, against a server that answers as Drive does: files, confirmations and refusals."""

import re
import sys

import pytest
import requests
from local_server import Quiet, serving

from data_scripts import avmnist, drive
from data_scripts.__main__ import main
from data_scripts.fetch import DataError

gdown = pytest.importorskip("gdown")
CONTENT = bytes(range(256)) * 12_000
QUOTA = (
    '<html><p class="uc-error-subcaption">Too many users have viewed or downloaded this file recently.</p>'
)
CONFIRM = (  # all on one line
    '<html><form id="download-form" action="https://drive.usercontent.google.com/download"><input '
    'type="hidden" name="id" value="abc"><input type="hidden" name="confirm" value="t"></form></html>'
)
PRIVATE = "<html><title>Sign in</title>You need access</html>"


class Drive(Quiet):
    """Serves ``content``, after the ``pages`` that it is told to send, and breaks off after ``cut`` bytes."""

    content, pages, status, cut, asked = CONTENT, [], 200, None, []

    def do_GET(self):
        type(self).asked.append((self.path, self.headers.get("Range")))
        if type(self).pages:
            return self.send(type(self).pages.pop(0).encode(), "text/html; charset=utf-8")
        if self.status != 200:
            return self.send(b"gone", "text/plain", self.status)
        start = re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range") or "")
        first = int(start[1]) if start else 0
        self.send(self.content[first:], "application/octet-stream", 206 if start else 200, first)

    def send(self, body, kind, status=200, first=0):
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        if kind == "application/octet-stream":
            self.send_header("Content-Disposition", 'attachment; filename="file.bin"')
            self.send_header("Content-Range", f"bytes {first}-{len(self.content) - 1}/{len(self.content)}")
        self.end_headers()
        cut, type(self).cut = type(self).cut, None
        self.wfile.write(body[:cut] if kind == "application/octet-stream" else body)
        if cut:
            self.close_connection = True


@pytest.fixture
def google(monkeypatch):
    """The server in the place of every host that gdown asks."""
    handler = type("Handler", (Drive,), {"pages": [], "asked": []})
    send = requests.adapters.HTTPAdapter.send
    with serving(handler, monkeypatch) as server:

        def rerouted(self, request, **options):
            request.url = re.sub(r"https://[a-z.]*google\.com", server.address, request.url)
            return send(self, request, **options)

        monkeypatch.setattr(requests.adapters.HTTPAdapter, "send", rerouted)
        yield handler


def refused(tmp_path) -> str:
    with pytest.raises(DataError) as error:
        drive.download("abc", tmp_path / "file.bin", progress=False)
    text = str(error.value)
    assert "\n" not in text and text.count(". ") == 0 and text.endswith(".") and "file/d/abc" in text
    assert error.value.__cause__ is None and not (tmp_path / "file.bin").exists()
    return text


def test_a_file_is_downloaded_by_its_id(google, tmp_path):
    path = drive.download("abc", tmp_path / "new" / "file.bin", progress=False)
    assert path.read_bytes() == CONTENT and "id=abc" in google.asked[0][0]


def test_a_confirmation_page_is_passed(google, tmp_path):
    google.pages.append(CONFIRM)
    assert drive.download("abc", tmp_path / "file.bin", progress=False).read_bytes() == CONTENT
    assert "confirm=t" in google.asked[-1][0]


def test_a_download_that_breaks_off_is_continued(google, tmp_path):
    google.cut = 1_300_000
    (tmp_path / "file.bin12345678.part").touch()  # of a try that got nothing
    (tmp_path / "file.bin87654321.part").touch()
    with pytest.raises(DataError, match="it broke off.*; run the command again to resume"):
        drive.download("abc", tmp_path / "file.bin", progress=False)
    assert drive.download("abc", tmp_path / "file.bin", progress=False).read_bytes() == CONTENT
    assert [p.name for p in tmp_path.iterdir()] == ["file.bin"]
    begun = [wanted for _, wanted in google.asked if wanted]
    assert begun and 0 < int(re.findall(r"\d+", begun[-1])[0]) <= 1_300_000


@pytest.mark.parametrize(
    ("page", "said"),
    [
        (QUOTA, "refuses it for a day, because its quota is used up"),
        (PRIVATE, "gives no link to it: its quota is used up, or it was moved or is no longer public"),
    ],
)
def test_a_refusal_is_one_sentence(google, tmp_path, page, said):
    google.pages.append(page)
    assert said in refused(tmp_path)


def test_a_file_that_was_moved_is_refused(google, tmp_path):
    google.status = 404
    assert "it was moved or is no longer public" in refused(tmp_path)


def test_a_page_under_the_name_of_the_file_is_not_kept(google, tmp_path):
    google.content = b"\n<!DOCTYPE html><html>Virus scan warning</html>"
    assert "sends a page instead of the file" in refused(tmp_path)


def test_no_connection_is_named(monkeypatch, tmp_path):
    def unreachable(*arguments, **options):
        raise requests.ConnectionError("no route")

    monkeypatch.setattr(requests.adapters.HTTPAdapter, "send", unreachable)
    assert "connection to Google Drive failed" in refused(tmp_path)


def test_without_gdown_the_extra_is_named(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "gdown", None)
    with pytest.raises(DataError, match="install the extra `benchmarks`"):
        drive.listing("abc")


def test_a_folder_that_shows_nothing_is_refused(google):
    google.pages.append("<html>no folder</html>")
    with pytest.raises(DataError, match=r"^Google Drive [^\n]*drive/folders/abc[^\n]*\.$"):
        drive.listing("abc")


def test_the_command_says_why_drive_refuses(google, tmp_path, capsys, monkeypatch):
    monkeypatch.delenv("GEOMREG_MIRROR", raising=False)
    monkeypatch.setattr(avmnist, "DISK", 1e6)
    google.pages.append(QUOTA)
    assert main(["avmnist", "--root", str(tmp_path)]) == 1
    error = capsys.readouterr().err
    assert error.startswith("avmnist: Google Drive refuses it for a day") and error.count("\n") == 1
