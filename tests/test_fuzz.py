"""Every reader of other people's files, held to thousands of damaged and malicious ones.

Whatever comes, a reader gives what its caller can use or refuses in one sentence, and touches nothing else.
"""

import dataclasses
import gzip
import io
import json
import tarfile
import wave
import zipfile

import numpy as np
import pytest
from hostile import EXAMPLES, bytes_like, confined, fuzz, json_like, json_values, mutated, names, refusal
from hypothesis import strategies as st

from data_scripts import (
    clip_cache,
    coco,
    crema_d,
    digits,
    fetch,
    flickr30k,
    karpathy,
    kinetics_sounds,
    lfs,
)
from data_scripts.clips import ClipError, Preprocessing, read_frames, read_sound_track, read_wav, spectrogram
from data_scripts.fetch import DataError, Source

pytestmark = [
    pytest.mark.parametrize("examples", EXAMPLES),
    pytest.mark.filterwarnings("ignore:Duplicate name"),  # of members, some of which are on purpose
]
SMALL = Preprocessing(sample_rate=8000, seconds=0.5, window=64, hop=32, frames=2, frame_size=8)
# what a data set's own mirror folder holds, in the form of the source
CSV = "".join(f"1001_{s}_{e}_XX,{e}\r\n" for s in ("IEO", "TIE") for e in crema_d.EMOTIONS).encode()
LIST = b"".join(b"abcdefghi%02d_0000%02d_0000%02d,10,%d\r\n" % (i, i, i + 10, i % 31) for i in range(40))
NOTES = b"label,youtube_id,time_start,time_end,split\n" + b"".join(
    b'"a, b %d",abcdefghi%02d,%d,%d,train\n' % (i % 31, i, i, i + 10) for i in range(40)
)


@pytest.fixture
def folder(tmp_path):
    """The only folder that may be written to, with others beside it that must not be."""
    (tmp_path / "outside").mkdir()
    (tmp_path / "inside").mkdir()
    return tmp_path / "inside"


# lists of clips ---------------------------------------------------------------------------------------------


def test_split_files(examples, folder, record_property):
    (folder / "crema_d").mkdir()
    train, test = (folder / source.mirror_path for source, _ in crema_d.SPLITS.values())
    test.write_bytes(CSV)
    clips = folder / "clips"

    def check(content):
        train.write_bytes(content)
        with confined(folder):
            found = []
            refusal(lambda: found.extend(crema_d.rows(folder, published=False)), DataError)
            assert all(e in crema_d.EMOTIONS and part in ("train", "test") for _, e, part in found)
            for file, (name, _) in crema_d.wanted(found).items():
                assert (clips / file).resolve().parent.parent == clips.resolve() and name in file

    fuzz(bytes_like(CSV), examples, check, record_property)


def test_lists_of_clips(examples, folder, record_property):
    (folder / "kinetics_sounds").mkdir()
    train, test = (folder / source.mirror_path for source, _ in kinetics_sounds.LISTS.values())
    test.write_bytes(LIST)

    def check(content):
        train.write_bytes(content)
        with confined(folder):
            found = []
            refusal(lambda: found.extend(kinetics_sounds.read_list(folder, published=False)), DataError)
            for name, label, _ in found:
                assert kinetics_sounds.CLIP_NAME.fullmatch(f"{name}_000000.mp4") and 0 <= label < 1000
            kinetics_sounds.class_names(found, {})

    fuzz(bytes_like(LIST), examples, check, record_property)


def test_annotations(examples, folder, record_property):
    splits = kinetics_sounds.SPLITS["lists"]
    train, test = (folder / kinetics_sounds.ANNOTATIONS[split].mirror_path for split in splits.values())
    train.parent.mkdir(parents=True)
    test.write_bytes(NOTES)

    def check(content):
        train.write_bytes(content)
        with confined(folder):
            found = {}
            refusal(lambda: found.update(kinetics_sounds.annotations(splits, folder)), DataError)
            for clip, (name, part) in found.items():
                assert isinstance(clip, str) and isinstance(name, str) and part in ("train", "test")

    fuzz(bytes_like(NOTES), examples, check, record_property)


# sound and picture ------------------------------------------------------------------------------------------


def wav(rate: int = 8000, seconds: float = 0.1, channels: int = 1, width: int = 2) -> bytes:
    file = io.BytesIO()
    with wave.open(file, "wb") as out:
        out.setnchannels(channels)
        out.setsampwidth(width)
        out.setframerate(rate)
        out.writeframes(bytes(range(1, 201)) * int(rate * seconds * channels * width // 200))
    return file.getvalue()


def float_wav() -> bytes:
    soundfile = pytest.importorskip("soundfile")
    file = io.BytesIO()
    soundfile.write(file, np.sin(np.arange(400)), 8000, subtype="FLOAT", format="WAV")
    return file.getvalue()


def test_sounds_of_clips(examples, folder, record_property):
    pytest.importorskip("soxr")
    path = folder / "sound.wav"

    def check(content):
        path.write_bytes(content)
        with confined(folder):
            sounds = []
            refusal(lambda: sounds.append(read_wav(path, SMALL)), ClipError)
            for samples in sounds:
                assert np.isfinite(spectrogram(samples, SMALL)).all()

    fuzz(bytes_like(wav()) | bytes_like(float_wav()), examples, check, record_property)


def test_recordings_of_digits(examples, folder, record_property):
    def check(content):
        with confined(folder):
            sounds = []
            refusal(lambda: sounds.append(digits.read_wav("0_jackson_0.wav", content)), DataError)
            for samples in sounds:
                assert np.isfinite(digits.spectrogram(samples)).all()

    fuzz(bytes_like(wav()), examples, check, record_property)


@pytest.mark.parametrize(("form", "codec"), [("flv", "flv"), ("mp4", "mpeg4")])
def test_videos_of_clips(examples, form, codec, folder, record_property):
    pytest.importorskip("av")
    from data_scripts import stand_ins

    path = folder / f"clip.{form}"
    rng = np.random.default_rng(0)
    sound = stand_ins._tone(0, 6, 0.5, 16000, rng) if form == "mp4" else None
    stand_ins._write_video(path, form, codec, stand_ins._pictures(0, 6, 0.5, rng), sound)
    whole = path.read_bytes()
    read_frames(path, SMALL)

    def check(content):
        path.write_bytes(content)
        with confined(folder):
            found = []
            refusal(lambda: found.append(read_frames(path, SMALL)), ClipError)
            for frames, aspect in found:
                assert frames.shape[1:] == (8, 8, 3) and 1 <= len(frames) <= 2 and 0 < aspect < float("inf")
            refusal(lambda: found.append(read_sound_track(path, SMALL)), ClipError)
            if found and isinstance(found[-1], np.ndarray):
                assert np.isfinite(spectrogram(found[-1], SMALL)).all()

    fuzz(bytes_like(whole), examples, check, record_property)


# archives ---------------------------------------------------------------------------------------------------


def zipped(members) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members:
            archive.writestr(name, content)
    return file.getvalue()


def tarred(members, links=()) -> bytes:
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w:gz") as archive:
        for name, content in members:
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            archive.addfile(entry, io.BytesIO(content))
        for name, kind, target in links:
            entry = tarfile.TarInfo(name)
            entry.type, entry.linkname = kind, target
            archive.addfile(entry)
    return file.getvalue()


def test_zip_archives(examples, folder, record_property):
    path = folder / "archive.zip"
    whole = zipped([(f"set/recordings/{i}_a_0.wav", wav()) for i in range(3)])

    def check(content):
        path.write_bytes(content)
        with confined(folder):
            found = {}
            refusal(lambda: found.update(fetch.read_zip(path, lambda name: name.endswith(".wav"))), DataError)
            assert all(isinstance(content, bytes) for content in found.values())

    evil = st.lists(st.tuples(names, st.binary(max_size=20)), max_size=4).filter(writable).map(zipped)
    fuzz(bytes_like(whole) | evil, examples, check, record_property)


def writable(members) -> bool:
    """Whether Python's own writers take these names: lone surrogates and the like they do not."""
    try:
        zipped(members)
        tarred(members)
    except (ValueError, IndexError):
        return False
    return True


@pytest.mark.parametrize("shape", [(8,), (4, 3, 2)])
def test_idx_files(examples, shape, folder, record_property):
    header = bytes([0, 0, 8, len(shape)]) + np.array(shape, ">u4").tobytes()
    whole = header + bytes(range(np.prod(shape)))
    assert digits.read_idx("of images", whole, len(shape)).shape == shape

    def check(content):
        arrays = []
        refusal(lambda: arrays.append(digits.read_idx("of images", content, len(shape))), DataError)
        assert all(array.ndim == len(shape) and array.dtype == np.uint8 for array in arrays)

    fuzz(bytes_like(whole), examples, check, record_property)


def test_gzip_files(examples, folder, record_property):
    path = folder / "file.gz"

    def check(content):
        path.write_bytes(content)
        with confined(folder):
            refusal(lambda: fetch.read_gzip(path), DataError)

    fuzz(bytes_like(gzip.compress(bytes(range(256)) * 4)), examples, check, record_property)


KEPT = "abcdefghijk_000001"
LINKS = [(f"x/{KEPT}_000011.mp4", kind, "/etc/passwd") for kind in (tarfile.SYMTYPE, tarfile.LNKTYPE)]


def test_streamed_archives_of_clips(examples, folder, monkeypatch, record_property):
    import requests

    monkeypatch.setattr(kinetics_sounds.clip_cache, "confirm_download", lambda *arguments: None)
    monkeypatch.setattr(kinetics_sounds, "remote_size", lambda url: 1)
    served = {}

    class Answer:
        def __init__(self, url, **options):
            self.raw = io.BytesIO(served["content"])

        def __enter__(self):
            return self

        def __exit__(self, *error):
            return None

        def raise_for_status(self):
            return None

    monkeypatch.setattr(requests, "get", Answer)
    clips = folder / "clips"

    def check(content):
        served["content"] = content
        for path in [*clips.glob("*"), *folder.glob("archives-*.txt")]:
            path.unlink(missing_ok=True)
        with confined(folder):
            options = {"workers": 1, "yes": True, "progress": False}
            refusal(lambda: kinetics_sounds.stream(["http://x"], {KEPT}, clips, folder, **options), DataError)
        for path in clips.iterdir():
            assert path.name.startswith(KEPT) and path.is_file() and not path.is_symlink()

    inner = st.one_of(names, st.sampled_from(["a/", "../", "/"]).map(lambda f: f"{f}{KEPT}_000011.mp4"))
    members = st.lists(st.tuples(inner, st.binary(max_size=20)), max_size=4).filter(writable)
    evil = st.tuples(members, st.lists(st.sampled_from(LINKS))).map(lambda parts: tarred(*parts))
    whole = tarred([("train/" + KEPT + "_000011.mp4", b"clip" * 200), ("train/other.mp4", b"x" * 3000)])
    raw = gzip.decompress(whole)
    fuzz(bytes_like(whole) | mutated(raw).map(gzip.compress) | evil, examples, check, record_property)


# Git LFS ----------------------------------------------------------------------------------------------------

POINTER = b"version https://git-lfs.github.com/spec/v1\noid sha256:" + b"ab" * 32 + b"\nsize 12345\n"


def test_pointers(examples, folder, record_property):
    path = folder / "archive.tar.gz"

    def check(content):
        path.write_bytes(content)
        with confined(folder):
            found = {}
            refusal(lambda: found.update(lfs.pointers(path, lambda name: True)), DataError)
            for name, pointer in found.items():
                inside = (folder / name).resolve()
                assert inside.is_relative_to(folder) and pointer.size >= 0 and len(pointer.sha256) == 64
                assert set(pointer.sha256) <= set("0123456789abcdef")

    named = st.tuples(names.map(lambda name: f"CREMA-D/{name}"), bytes_like(POINTER))
    evil = st.lists(named, max_size=4).filter(writable).map(tarred)
    whole = tarred([(f"CREMA-D/AudioWAV/{i}.wav", POINTER) for i in range(3)])
    raw = gzip.decompress(whole)
    fuzz(bytes_like(whole) | mutated(raw).map(gzip.compress) | evil, examples, check, record_property)


def test_answers_of_a_server(examples, folder, monkeypatch, record_property):
    import requests
    import urllib3

    content = b"sound"
    digest = fetch.hashlib.sha256(content).hexdigest()
    action = {"href": "http://127.0.0.1:9/x", "header": {"Authorization": "y"}}
    good = {"objects": [{"oid": digest, "size": 5, "actions": {"download": action}}]}
    given = {}

    def sent(body):
        answer = requests.Response()
        answer.status_code = 200
        answer.raw = urllib3.HTTPResponse(io.BytesIO(body), status=200, preload_content=False)
        return answer

    def get(url, *, headers, **options):
        requests.Request("GET", url, headers).prepare()  # refuses what requests.get would refuse
        return sent(given["body"])

    monkeypatch.setattr(requests, "get", get)
    monkeypatch.setattr(requests, "post", lambda *a, **k: sent(json.dumps(given["answer"]).encode()))

    def check(value):
        given["answer"], given["body"] = value
        (folder / "a.wav").unlink(missing_ok=True)
        files = {"a.wav": lfs.Pointer(digest, 5)}
        with confined(folder):
            options = {"workers": 1, "progress": False}
            said = refusal(lambda: lfs.download_objects(files, folder, ["http://x"], **options), DataError)
        there = (folder / "a.wav").is_file()
        assert there == (said is None) and (not there or (folder / "a.wav").read_bytes() == content)

    bodies = st.sampled_from([content, b"soun", b"other", content * 2, b""])
    fuzz(st.tuples(json_like(good) | json_values(), bodies), examples, check, record_property)


# arrays -----------------------------------------------------------------------------------------------------


def npz(**arrays) -> bytes:
    file = io.BytesIO()
    np.savez(file, **arrays)
    return file.getvalue()


def npy(array) -> bytes:
    file = io.BytesIO()
    np.save(file, array)
    return file.getvalue()


class Attack:
    """An object whose unpickling would leave a trace."""

    def __reduce__(self):
        return exec, ("import builtins; builtins.attacked = True",)


def test_prepared_arrays(examples, folder, record_property):
    import builtins

    path = folder / "prepared.npz"
    whole = npz(labels=np.arange(5, dtype=np.uint8), fingerprint=np.array("0" * 64))
    pickled = npz(labels=np.array([Attack()], dtype=object))
    single = npy(np.arange(6.0).reshape(2, 3))
    # a header of the array that was changed, in an archive whose checksums are right
    headers = mutated(single).map(lambda content: zipped([("labels.npy", content)]))

    def check(content):
        path.write_bytes(content)
        with confined(folder):
            arrays = fetch.load_arrays(path)
        assert arrays is None or all(isinstance(a, np.ndarray) and a.dtype != object for a in arrays.values())
        assert not hasattr(builtins, "attacked")

    values = bytes_like(whole) | bytes_like(pickled) | bytes_like(single) | headers
    fuzz(values, examples, check, record_property)


PARTS = ("train", "train", "test")


def cache_of_clips(folder):
    """A small cache of clips, as stored."""

    def read(clip, preprocessing):
        return np.ones(100, np.float32), np.zeros((2, 8, 8, 3), np.uint8), 1.0

    source = folder / "clip.mp4"
    source.write_bytes(b"\0")
    clips = [clip_cache.Clip(str(i), (source,), i % 2, part, "g") for i, part in enumerate(PARTS)]
    path = folder / "data" / "prepared.json"
    options = {"class_names": ("a", "b"), "source": folder, "tolerated": 0.0, "workers": 1, "progress": False}
    clip_cache.prepare(path, clips, read, SMALL, **options)
    return path


def test_descriptions_of_prepared_clips(examples, folder, record_property):
    path = cache_of_clips(folder)
    whole = path.read_bytes()
    values = json_like(json.loads(whole)).map(lambda value: json.dumps(value).encode())

    def check(content):
        path.write_bytes(content)
        with confined(folder):
            cache = clip_cache.open_cache(path)
        if cache is None:
            return
        n = len(cache.labels)  # whatever is opened can be used to its last clip
        assert len(cache.names) == len(cache.parts) == len(cache.groups) == len(cache.aspects) == n
        assert cache.spectrograms.shape[0] == n and np.isfinite(cache.spectrograms.astype(float)).all()
        for start, end in zip(cache.first, cache.first[1:], strict=False):
            assert cache.frames[start:end].shape[0] == end - start > 0
        assert (cache.labels >= 0).all() and (cache.labels < len(cache.class_names)).all()

    fuzz(bytes_like(whole) | values | values, examples, check, record_property)


# images with captions ---------------------------------------------------------------------------------------

CAPTIONS = [{"image": f"train2014/{i}.jpg", "caption": ["A.", "B é."]} for i in range(3)]
OWN_LIST = {
    "images": [
        {"filename": f"{i}.jpg", "split": part, "sentences": [{"raw": "A."}, {"raw": "B é."}]}
        for i, part in enumerate(karpathy.PARTS)
    ]
}


def jpeg(form: str = "JPEG", size=(24, 16)) -> bytes:
    from PIL import Image

    file, rng = io.BytesIO(), np.random.default_rng(0)
    Image.fromarray(rng.integers(0, 255, (*size, 3), np.uint8)).save(file, form)
    return file.getvalue()


def test_lists_of_captions(examples, folder, record_property):
    lists = {part: (Source(f"http://x/{part}", f"{part}.json"), None) for part in ("train", "val")}
    of = dataclasses.replace(coco.BENCHMARK, lists=lists)
    (folder / "val.json").write_text(json.dumps([{"image": "val2014/1.jpg", "caption": "A."}]))
    images = karpathy.Folder(folder / "images")

    def check(content):
        (folder / "train.json").write_bytes(content)
        with confined(folder):
            found = []
            options = {"published": False, "progress": False}
            refusal(lambda: found.extend(karpathy.read_list(of, folder, **options)[0]), DataError)
            for row in found:
                assert (
                    row.name.partition("/")[0] in of.images and row.captions and images.size(row.name) == -1
                )
                assert all(isinstance(text, str) for text in row.captions)

    values = json_like(CAPTIONS).map(lambda value: json.dumps(value).encode())
    fuzz(bytes_like(json.dumps(CAPTIONS).encode()) | values, examples, check, record_property)


def test_karpathys_own_lists(examples, folder, record_property):
    def check(content):
        (folder / "dataset_flickr30k.json").write_bytes(content)
        with confined(folder):
            found = []
            options = {"folders": [folder], "published": False}
            refusal(lambda: found.extend(karpathy.read_list(flickr30k.BENCHMARK, **options)[0]), DataError)
            for row in found:
                assert (
                    row.name.startswith("flickr30k-images/") and row.captions and row.part in karpathy.PARTS
                )
                assert all(isinstance(text, str) for text in row.captions)

    values = json_like(OWN_LIST).map(lambda value: json.dumps(value).encode())
    fuzz(bytes_like(json.dumps(OWN_LIST).encode()) | values, examples, check, record_property)


def test_frames_of_clips(examples, folder, record_property):
    pytest.importorskip("av")
    (folder / "clip").mkdir()

    def check(content):
        (folder / "clip" / "00000.jpg").write_bytes(content)
        with confined(folder):
            found = []
            refusal(lambda: found.append(read_frames(folder / "clip", SMALL)), ClipError)
            for frames, aspect in found:
                assert frames.shape == (1, 8, 8, 3) and 0 < aspect < float("inf")

    fuzz(bytes_like(jpeg()) | bytes_like(jpeg("PNG")), examples, check, record_property)


def test_images(examples, folder, record_property):
    pytest.importorskip("PIL")

    def check(content):
        with confined(folder):
            found = []
            refusal(lambda: found.append(karpathy.picture(content, 8)), karpathy.PictureError)
            assert all(image.shape == (8, 8, 3) and image.dtype == np.uint8 for image in found)

    wholes = [jpeg(), jpeg("PNG"), jpeg("GIF"), jpeg("TIFF"), jpeg("EPS")]
    fuzz(st.one_of([bytes_like(whole) for whole in wholes]), examples, check, record_property)


def test_archives_of_images(examples, folder, record_property):
    path = folder / "train2014.zip"
    whole = zipped([(f"train2014/{i}.jpg", jpeg()) for i in range(3)])

    def check(content):
        path.write_bytes(content)
        with confined(folder):
            archives = []
            refusal(lambda: archives.append(karpathy.Archive(path)), DataError)
            for archive in archives:
                for name in list(archive.sizes)[:5]:
                    refusal(lambda name=name: archives[0].read(name), karpathy.PictureError)
                assert archive.size("train2014/none.jpg") == -1

    fuzz(bytes_like(whole), examples, check, record_property)


def test_descriptions_of_prepared_images(examples, folder, record_property):
    home = folder / "images"
    home.mkdir()
    for i in range(3):
        (home / f"{i}.jpg").write_bytes(jpeg())
    (home / "dataset_flickr30k.json").write_text(json.dumps(OWN_LIST))
    options = {"image_size": 8, "tolerate": 0, "workers": 1, "progress": False, "published": False}
    flickr30k.prepare(folder / "data", folder=home, **options)
    path = folder / "data" / "flickr30k" / "prepared_8.json"
    whole = path.read_bytes()

    def check(content):
        path.write_bytes(content)
        with confined(folder):
            cache = karpathy.open_cache(path)
        if cache is not None:
            n = len(cache.names)
            assert cache.images.shape[0] == len(cache.captions) == len(cache.parts) == n
            assert set(cache.parts) <= set(karpathy.PARTS) and cache.images[-1].mean() >= 0

    values = json_like(json.loads(whole)).map(lambda value: json.dumps(value).encode())
    fuzz(bytes_like(whole) | values | values, examples, check, record_property)
