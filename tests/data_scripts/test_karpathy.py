"""Flickr30K and COCO from their files to their splits, and one clear sentence for every fault."""

import dataclasses
import io
import json
import shutil
import zipfile
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import torch
from local_server import Quiet, serving

from data_scripts import coco, flickr30k, karpathy, stand_ins
from data_scripts.__main__ import main
from data_scripts.fetch import DataError, Source
from data_scripts.stand_ins import captioned as captioned_stand_ins
from geomreg_mini.benchmarks import captioned
from geomreg_mini.data import load

Image = pytest.importorskip("PIL.Image")
pytest.importorskip("open_clip")
SCRIPTS = {"flickr30k": flickr30k, "coco": coco}
SMALL = {"published": False, "image_size": 16, "workers": 1, "progress": False}


@pytest.fixture(scope="module")
def prepared(tmp_path_factory) -> Path:
    """A data folder with stand-ins of both, prepared by the real scripts."""
    root = tmp_path_factory.mktemp("data")
    for name in SCRIPTS:
        stand_ins.prepare(name, root)
    return root


@pytest.fixture(autouse=True)
def data_folder(prepared, monkeypatch) -> Path:
    monkeypatch.setenv("GEOMREG_DATA", str(prepared))
    monkeypatch.delenv("GEOMREG_MIRROR", raising=False)
    return prepared


@pytest.fixture
def source(prepared, tmp_path) -> Path:
    """A mirror folder of stand-ins that a test may damage."""
    original = prepared / "stand_ins" / f"source-v{stand_ins.VERSION}"
    return Path(shutil.copytree(original, tmp_path / "source"))


@pytest.fixture
def as_published(monkeypatch):
    """Stand-ins in the place of what is published, so that the command takes them."""
    for script in SCRIPTS.values():
        lists = {part: (source, None) for part, (source, _) in script.BENCHMARK.lists.items()}
        relaxed = dataclasses.replace(script.BENCHMARK, counts=captioned_stand_ins.COUNTS, lists=lists)
        monkeypatch.setattr(script, "BENCHMARK", relaxed)


def failing(capfd, root: Path, *arguments) -> str:
    """The one sentence of a command that fails and leaves nothing in ``root`` but what it will continue."""
    assert main([*map(str, arguments), "--root", str(root)]) == 1
    out, err = capfd.readouterr()
    message = err.strip().split("\n")[-1]
    assert out == "" and message.endswith(".") and "Traceback" not in err
    assert not [path for path in root.rglob("*") if path.is_file() and path.parent.name[0] != "."]
    return message


def rewritten(source: Path, name: str, part: str, change) -> None:
    """The list of a part with its entries as ``change`` leaves them."""
    path = source / SCRIPTS[name].BENCHMARK.lists[part][0].mirror_path
    entries = json.loads(path.read_text())
    path.write_text(json.dumps(change(entries)))


# lists ------------------------------------------------------------------------------------------------------


def many(counts, short=None) -> dict[str, str]:
    """Lists of Flickr30K's form with as many images, and one image ``short`` of a caption or absent."""
    texts, number = {}, 0
    for part, count in counts.items():
        entries = []
        for _ in range(count):
            name, number = f"flickr30k-images/{number}.jpg", number + 1
            said = ["a"] * (4 if short == "caption" and number == 7 else 5)
            if part == "train":
                entries += [{"image": name, "caption": text, "image_id": number} for text in said]
            else:
                entries.append({"image": name, "caption": said})
        texts[part] = json.dumps(entries[5:] if short == "image" and part == "train" else entries)
    return texts


@pytest.mark.parametrize("short", [None, "caption", "image"])
def test_lists_need_the_published_numbers_of_images_and_five_captions_each(tmp_path, short):
    assert flickr30k.BENCHMARK.counts == {"train": 29000, "val": 1014, "test": 1000}
    assert coco.BENCHMARK.counts == {"train": 113_287, "val": 5000, "test": 5000}
    (tmp_path / "flickr30k").mkdir()
    for part, text in many(flickr30k.BENCHMARK.counts, short).items():
        (tmp_path / f"flickr30k/flickr30k_{part}.json").write_text(text)
    arguments = (flickr30k.BENCHMARK, tmp_path)
    if short is None:
        rows, sums = karpathy.read_list(*arguments)
        assert Counter(row.part for row in rows) == flickr30k.BENCHMARK.counts
        assert all(row.captions == ("a",) * 5 for row in rows)
        assert len(sums) == 3 and all(len(digest) == 64 for digest in sums.values())
    else:
        said = "29000 images, 1 of them" if short == "caption" else "28999 images, 0 of them"
        with pytest.raises(
            DataError, match=f"{said} with fewer than 5 captions; the published one has 29000"
        ):
            karpathy.read_list(*arguments)


def test_a_list_of_coco_with_another_checksum_is_refused(source, capfd, tmp_path):
    said = failing(capfd, tmp_path / "data", "coco", "--mirror", source)
    assert "checksum of coco/coco_karpathy_train.json differs: expected md5 aa31ac474cf6250ebb81d183" in said


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda entries: {"images": entries}, "(images)"),
        (lambda entries: [{**entries[0], "caption": []}, *entries[1:]], '"caption": []'),
        (lambda entries: [*entries, {"image": entries[0]["image"]}], "entry that is not an image"),
        (lambda entries: [{**entries[0], "image": "../../secret.jpg"}], "../../secret.jpg"),
        (lambda entries: [{**entries[0], "image": "train2014/../x.jpg"}], "train2014/../x.jpg"),
        (lambda entries: [{**entries[0], "caption": [1, 2]}], "[1, 2]"),
        (lambda entries: "no list", "entry that is not an image"),
    ],
)
def test_a_list_of_another_form_is_named_with_its_entry(source, as_published, capfd, tmp_path, change, said):
    rewritten(source, "coco", "val", change)
    message = failing(capfd, tmp_path / "data", "coco", "--mirror", source)
    assert (
        "The list coco_karpathy_val.json has an entry that is not an image of train2014 or val2014" in message
    )
    assert said in message and "get it again" in message


def test_a_list_that_is_no_json_or_missing_or_shares_an_image_is_named(source, as_published, capfd, tmp_path):
    arguments = (capfd, tmp_path / "data", "flickr30k", "--mirror", source)
    rewritten(source, "flickr30k", "test", lambda entries: [*entries[:-1], first_of(source, "val")])
    assert "is in the lists of val and test" in failing(*arguments)
    path = source / "flickr30k" / "flickr30k_val.json"
    path.write_bytes(path.read_bytes()[:-20])
    assert "flickr30k_val.json has an entry" in failing(*arguments)
    path.unlink()
    assert "has no file flickr30k/flickr30k_val.json" in failing(*arguments)


def first_of(source, part):
    return json.loads((source / f"flickr30k/flickr30k_{part}.json").read_text())[0]


# images -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("mode", ["RGB", "L", "CMYK"])
@pytest.mark.parametrize("size", [(500, 333), (61, 97), (224, 224), (31, 200)])
def test_an_image_is_resized_and_cropped_and_scaled_exactly_as_clips_own_preprocessing_does(mode, size):
    import open_clip

    rng = np.random.default_rng(0)
    coarse = rng.integers(0, 255, (9, 11, len(Image.new(mode, (1, 1)).getbands())), dtype=np.uint8)
    content = io.BytesIO()
    Image.fromarray(coarse.squeeze(), mode).resize(size).save(content, "JPEG")
    for side in (224, 48):
        wanted = open_clip.image_transform(side, is_train=False, mean=captioned.MEAN, std=captioned.STD)(
            Image.open(io.BytesIO(content.getvalue()))
        )
        pixels = karpathy.picture(content.getvalue(), side)
        split = captioned.CaptionedSplit({}, torch.zeros(1))
        found = split.prepare({"image": torch.from_numpy(pixels.copy())[None]})["image"][0]
        torch.testing.assert_close(found, wanted, rtol=0, atol=1e-5)
    assert captioned.MEAN == open_clip.OPENAI_DATASET_MEAN and captioned.STD == open_clip.OPENAI_DATASET_STD


def test_images_on_request_are_not_downloaded_and_the_sentence_says_where_to_ask(capfd, tmp_path):
    said = failing(capfd, tmp_path / "data", "flickr30k")
    assert "https://forms.illinois.edu/sec/229675" in said and "--from" in said
    assert "research and education only" in said and "CC BY 3.0" in said


def test_both_forms_of_a_folder_serve_and_give_the_same(source, tmp_path):
    whole = flickr30k.prepare(tmp_path / "a", source, folder=source / "flickr30k", **SMALL)
    inner = flickr30k.prepare(
        tmp_path / "b", source, folder=source / "flickr30k" / "flickr30k-images", **SMALL
    )
    assert whole.fingerprint == inner.fingerprint and np.array_equal(whole.images, inner.images)
    zipped = coco.prepare(tmp_path / "c", source, folder=source / "coco", **SMALL)
    for name in coco.ARCHIVES:
        with zipfile.ZipFile(source / "coco" / f"{name}.zip") as archive:
            archive.extractall(tmp_path / "unpacked")
    unpacked = coco.prepare(tmp_path / "d", source, folder=tmp_path / "unpacked", **SMALL)
    assert zipped.fingerprint == unpacked.fingerprint and np.array_equal(zipped.images, unpacked.images)


def own_list(source: Path, name: str) -> dict:
    """The published lists as Karpathy's own: one list of all images, in another order of the parts."""
    images: dict[str, dict] = {}
    for part in ("test", "train", "val"):
        entries = json.loads((source / SCRIPTS[name].BENCHMARK.lists[part][0].mirror_path).read_text())
        for entry in entries:
            folder, _, file = entry["image"].rpartition("/")
            split = "restval" if part == "train" and folder == "val2014" else part
            image = images.setdefault(entry["image"], {"filename": file, "split": split, "sentences": []})
            if name == "coco":  # Flickr30K's images have no such field
                image["filepath"] = folder
            said = [entry["caption"]] if part == "train" else entry["caption"]
            image["sentences"] += [{"raw": text, "tokens": text.split()} for text in said]
    return {"images": list(images.values()), "dataset": name}


def as_kaggle(source: Path, name: str, folder: Path) -> None:
    """The images nested as in Kaggle's archive, or unpacked below another folder, and Karpathy's list."""
    if name == "flickr30k":
        shutil.copytree(source / name / "flickr30k-images", folder / "flickr30k_images" / "flickr30k_images")
    else:
        for archive in coco.ARCHIVES:
            with zipfile.ZipFile(source / name / f"{archive}.zip") as file:
                file.extractall(folder / "images")
    (folder / SCRIPTS[name].BENCHMARK.own_list).write_text(json.dumps(own_list(source, name)))


@pytest.mark.parametrize("name", SCRIPTS)
def test_nested_images_and_karpathys_own_list_become_the_same_arrays(source, tmp_path, capfd, name):
    as_kaggle(source, name, tmp_path / "own")
    official = SCRIPTS[name].prepare(tmp_path / "a", source, **SMALL)
    own = SCRIPTS[name].prepare(tmp_path / "b", folder=tmp_path / "own", **SMALL)
    where = {"flickr30k": "flickr30k_images/flickr30k_images", "coco": "images/train2014 and images/val2014"}
    said = f"found images in {where[name]} with Karpathy's {SCRIPTS[name].BENCHMARK.own_list} in"
    assert said in capfd.readouterr().err
    assert np.array_equal(official.images, own.images) and official.fingerprint == own.fingerprint
    assert (official.names, official.captions, official.parts) == (own.names, own.captions, own.parts)
    assert list(own.lists) == [SCRIPTS[name].BENCHMARK.own_list]


def test_karpathys_archive_serves_if_the_host_of_the_published_lists_is_gone(
    source, tmp_path, monkeypatch, as_published
):
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as archive:
        archive.writestr("caption_datasets/dataset_flickr30k.json", json.dumps(own_list(source, "flickr30k")))
    with serving(Host, monkeypatch) as server:
        server.content, server.asked, server.breaks = {"/lists.zip": content.getvalue()}, [], None
        monkeypatch.setattr(karpathy, "OWN_LISTS", Source(f"{server.address}/lists.zip", "lists.zip"))
        gone = {part: (Source(f"{server.address}/{part}", part), None) for part in karpathy.PARTS}
        of = dataclasses.replace(flickr30k.BENCHMARK, lists=gone)
        rows, sums = karpathy.read_list(of, progress=False)
    assert Counter(row.part for row in rows) == captioned_stand_ins.COUNTS
    assert list(sums) == ["dataset_flickr30k.json"]


def test_the_check_counts_the_images_of_a_folder_per_split(source, tmp_path, capfd, as_published):
    as_kaggle(source, "flickr30k", tmp_path / "own")
    images = tmp_path / "own" / "flickr30k_images" / "flickr30k_images"
    (images / "1000000.jpg").unlink()  # of training
    for i in range(1000460, 1000560):  # all of testing
        (images / f"{i}.jpg").unlink()
    assert main(["flickr30k", "--check", "--from", str(tmp_path / "own"), "--tolerate", "1"]) == 1
    said = capfd.readouterr()
    assert [line.split(" images")[0] for line in said.out.splitlines()] == [
        "flickr30k: train: 399 of 400", "flickr30k: val: 60 of 60", "flickr30k: test: 0 of 100",
    ]  # fmt: skip
    assert "None of the 100 test images can be used" in said.err
    assert main(["flickr30k", "--check"]) == 1
    assert "fill in the form" in capfd.readouterr().err


POINTER = b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n"


@pytest.mark.parametrize("name", SCRIPTS)
def test_pointers_and_pages_are_no_images_of_a_folder_or_an_archive(
    source, tmp_path, capfd, as_published, name
):
    contents = {POINTER: "is a Git LFS pointer (run `git lfs pull`)", b"<html>": "is a text", b"": "is empty"}
    if name == "flickr30k":
        images = source / name / "flickr30k-images"
        for path, content in zip(sorted(images.iterdir()), contents, strict=False):
            path.write_bytes(content)
    else:
        path = source / name / "train2014.zip"
        with zipfile.ZipFile(path) as archive:
            members = {n: archive.read(n) for n in archive.namelist()}
        members |= zip(list(members), contents, strict=False)
        with zipfile.ZipFile(path, "w") as archive:
            for member, content in members.items():
                archive.writestr(member, content)
    for more in ("--check",), ("--image-size", "16"):
        assert (
            main(
                [name, *more, "--from", str(source / name), "--root", str(tmp_path), "--mirror", str(source)]
            )
            == 1
        )
        said = capfd.readouterr()
        assert "3 or more of 400 train images cannot be used" in said.err
        assert all(what in said.err for what in contents.values())
        assert said.out == "" or f"{name}: train: 397 of 400 images are in" in said.out


def test_a_folder_that_is_missing_or_lacks_a_part_is_named(source, as_published, capfd, tmp_path):
    arguments = (capfd, tmp_path / "data")
    said = failing(*arguments, "flickr30k", "--mirror", source, "--from", tmp_path / "none")
    assert f"There is no folder {tmp_path / 'none'}" in said and "--from" in said
    (source / "coco" / "val2014.zip").unlink()
    said = failing(*arguments, "coco", "--mirror", source, "--from", source / "coco")
    assert "train2014 and val2014, unpacked or as the official zip files" in said and "--from" in said


def test_an_archive_that_is_cut_short_is_named(source, as_published, capfd, tmp_path):
    path = source / "coco" / "val2014.zip"
    path.write_bytes(path.read_bytes()[:-100])
    said = failing(capfd, tmp_path / "data", "coco", "--mirror", source)
    assert f"The archive {path} is damaged or cut short" in said


@pytest.mark.parametrize("name", SCRIPTS)
@pytest.mark.parametrize("damage", ["unreadable", "missing"])
def test_an_unusable_image_is_reported_up_to_a_share_and_beyond_it_an_error(
    source, as_published, capfd, tmp_path, name, damage
):
    victim = damaged(source, name, damage)
    reason = {"missing": "is missing", "unreadable": "cannot be read as an image"}[damage]
    command = [name, "--mirror", source, "--image-size", 16, "--workers", 1]
    said = failing(capfd, tmp_path / "data", *command)
    assert f"1 or more of 400 train images cannot be used, and 0 may be ({victim}: {reason})" in said
    assert "--tolerate" in said
    assert main([*map(str, command), "--root", str(tmp_path / "data"), "--tolerate", "0.01"]) == 0
    out, _ = capfd.readouterr()
    assert f"{victim}: left out, {reason}" in out and "399 train, 60 val, 100 test images" in out
    cache = karpathy.open_cache(tmp_path / "data" / name / "prepared_16.json")
    assert cache.unusable == {victim: reason} and victim not in cache.names
    assert len(cache.names) == len(cache.captions) == len(cache.parts) == len(cache.images) == 559


def damaged(source: Path, name: str, how: str) -> str:
    """Make the image of one training caption unusable; its name in the lists."""
    if name == "flickr30k":
        victim = json.loads((source / "flickr30k/flickr30k_train.json").read_text())[12]["image"]
        path = source / "flickr30k" / victim
        path.unlink() if how == "missing" else path.write_bytes(path.read_bytes()[:200])
        return victim
    path = source / "coco" / "train2014.zip"
    with zipfile.ZipFile(path) as archive:
        members = {n: archive.read(n) for n in archive.namelist()}
    victim = list(members)[3]
    with zipfile.ZipFile(path, "w") as archive:
        for n, content in members.items():
            if n != victim:
                archive.writestr(n, content)
            elif how == "unreadable":
                archive.writestr(n, b"\0no image")
    return victim


def test_a_flipped_byte_in_an_archive_is_an_unusable_image(source, tmp_path):
    path = source / "coco" / "val2014.zip"
    content = bytearray(path.read_bytes())
    with zipfile.ZipFile(path) as archive:
        member = archive.infolist()[2]
    content[member.header_offset + 300] ^= 1
    path.write_bytes(content)
    with pytest.raises(DataError, match=f"{member.filename}: is damaged in its archive"):
        coco.prepare(tmp_path, source, **SMALL)
    assert not list(tmp_path.glob("coco/*.json"))


def test_without_space_nothing_is_read(source, as_published, capfd, tmp_path, disk):
    disk.free = 100_000
    said = failing(capfd, tmp_path / "data", "flickr30k", "--mirror", source)
    assert "flickr30k needs 0.1 GB in" in said and "0.0 GB are free" in said and "--root" in said


def test_an_earlier_data_set_stays_when_a_new_one_fails_and_goes_when_it_is_whole(source, tmp_path):
    first = flickr30k.prepare(tmp_path, source, **SMALL)
    victim = damaged(source, "flickr30k", "unreadable")
    with pytest.raises(DataError, match=victim):
        flickr30k.prepare(tmp_path, source, **SMALL)
    path = tmp_path / "flickr30k" / "prepared_16.json"
    assert karpathy.open_cache(path).fingerprint == first.fingerprint
    second = flickr30k.prepare(tmp_path, source, tolerate=0.1, **SMALL)
    assert second.fingerprint != first.fingerprint and len(second.images) == 559
    assert len(list(path.parent.iterdir())) == 2  # the JSON and one folder
    found = flickr30k.prepare(tmp_path, image_size=16)  # asks for nothing
    assert found.fingerprint == second.fingerprint
    (path.parent / json.loads(path.read_text())["folder"] / "images.bin").write_bytes(b"short")
    assert karpathy.open_cache(path) is None


# the archives of COCO ---------------------------------------------------------------------------------------


class Host(Quiet):
    """Serves ``content`` of each path, from where it is asked to; breaks off once after ``breaks`` bytes."""

    def do_HEAD(self):
        self.send_response(200)
        self.send_header("Content-Length", str(len(self.server.content[self.path])))
        self.end_headers()

    def do_GET(self):
        if self.path not in self.server.content:
            return self.send_error(404)
        content = self.server.content[self.path]
        start = int(self.headers.get("Range", "bytes=0-")[6:-1])
        self.server.asked.append((self.path, start))
        self.send_response(206 if start else 200)
        self.send_header("Content-Length", str(len(content) - start))
        self.end_headers()
        end, self.server.breaks = self.server.breaks, None
        self.wfile.write(content[start:end])


@pytest.fixture
def host(source, monkeypatch):
    """COCO's host with the stand-ins' archives."""
    with serving(Host, monkeypatch) as server:
        server.content, server.asked, server.breaks = {}, [], None
        for name in coco.ARCHIVES:
            path = source / "coco" / f"{name}.zip"
            server.content[f"/{name}.zip"] = path.read_bytes()
            url, md5 = f"{server.address}/{name}.zip", karpathy.file_digest(path, "md5")
            monkeypatch.setitem(coco.ARCHIVES, name, (url, md5))
            path.unlink()
        yield server


def test_a_download_says_its_size_and_starts_only_with_a_yes(host, source, as_published, capfd, tmp_path):
    assert main(["coco", "--root", str(tmp_path / "data"), "--mirror", str(source)]) == 1
    said, error = capfd.readouterr().err.strip().split("\n")
    assert "downloads 0.0 GB and stores up to" in said and "Licence: annotations CC BY 4.0" in said
    assert "--yes" in error and host.asked == [] and not list(tmp_path.glob("data/**/*.zip"))


def test_a_download_that_breaks_off_goes_on_where_it_was(host, source, tmp_path):
    host.breaks = 40_000
    cache = coco.prepare(tmp_path, source, yes=True, **SMALL)
    assert [path for path, _ in host.asked] == ["/train2014.zip", "/train2014.zip", "/val2014.zip"]
    assert host.asked[0][1] == 0 and 0 < host.asked[1][1] <= 40_000 and host.asked[2][1] == 0
    assert len(cache.images) == 560
    again = coco.prepare(tmp_path, source, yes=False, tolerate=0.5, **SMALL)  # nothing left to download
    assert again.fingerprint == cache.fingerprint and len(host.asked) == 3


def test_an_archive_with_another_checksum_is_never_used(host, source, monkeypatch, tmp_path):
    url, _ = coco.ARCHIVES["train2014"]
    monkeypatch.setitem(coco.ARCHIVES, "train2014", (url, "0" * 32))
    with pytest.raises(DataError, match=r"Could not download .*train2014.zip \(the checksum differs\)"):
        coco.prepare(tmp_path, source, yes=True, **SMALL)
    assert not list(tmp_path.rglob("*.zip*"))


def test_a_host_that_does_not_answer_is_named_before_anything_is_asked(
    source, as_published, monkeypatch, tmp_path
):
    for name in coco.ARCHIVES:
        (source / "coco" / f"{name}.zip").unlink()
        monkeypatch.setitem(coco.ARCHIVES, name, (f"http://127.0.0.1:9/{name}.zip", ""))
    with pytest.raises(DataError, match="Could not reach http://127.0.0.1:9/train2014.zip"):
        coco.prepare(tmp_path, source)


# the data sets ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", SCRIPTS)
def test_splits_are_disjoint_and_complete_and_say_what_they_are(name):
    data = load(name, source="stand_in")
    assert (data.name, data.modalities, data.note) == (name, ("image", "caption"), stand_ins.NOTE)
    assert data.shapes == {"image": (3, 32, 32), "caption": (77,)} and len(data.fingerprint) == 64
    sizes = [len(data.train), len(data.validation), len(data.test)]
    assert sizes == list(captioned_stand_ins.COUNTS.values())
    rows = torch.cat([split.factors["image"] for split in (data.train, data.validation, data.test)])
    assert sorted(rows.tolist()) == list(range(560))
    assert load(name, source="stand_in", seed=3).fingerprint == data.fingerprint
    assert load(name, source="stand_in", image_size=48).fingerprint != data.fingerprint
    assert data.test.folds == (5 if name == "coco" else 0) and data.validation.folds == 0


def test_a_batch_is_small_on_its_way_and_has_the_stated_form_when_it_is_prepared():
    data = load("flickr30k", source="stand_in", image_size=40)
    batch = data.train.augmented().batch(torch.tensor([7, 0, 9]))
    images, tokens = batch["inputs"]["image"], batch["inputs"]["caption"]
    assert images.dtype == torch.uint8 and images.shape == (3, 40, 40, 3)
    assert tokens.dtype == torch.int64 and (tokens[:, 0] == 49406).all()
    given = data.train.prepare(batch["inputs"])
    assert given["image"].dtype == torch.float32 and given["image"].shape == (3, *data.shapes["image"])
    assert torch.equal(given["caption"], tokens) and batch["label"].tolist() == [0, 0, 0]


def test_training_draws_one_caption_of_each_image_and_evaluation_takes_the_first():
    data = load("coco", source="stand_in")
    row = next(i for i, own in enumerate(data.train.cache.captions) if len(own) == 6)
    index = torch.full((300,), row)
    wanted = captioned.tokens(list(data.train.cache.captions[row]))
    first = data.train.batch(index)["inputs"]["caption"]
    assert (first == wanted[0, : first.shape[1]]).all()
    torch.manual_seed(0)
    drawn = data.train.augmented().batch(index)["inputs"]["caption"]
    which = (drawn[:, None] == wanted).all(dim=2).float()
    assert (which.sum(dim=1) == 1).all() and (which.mean(dim=0) > 0.1).all()
    torch.manual_seed(0)
    assert torch.equal(data.train.augmented().batch(index)["inputs"]["caption"], drawn)


def test_all_captions_are_every_images_in_order():
    data = load("coco", source="stand_in")
    part = data.test.subset(torch.tensor([5, 2]))
    every = part.all_captions()
    captions = data.test.cache.captions
    rows = data.test.factors["image"][[5, 2]].tolist()
    assert every.texts == (*captions[rows[0]], *captions[rows[1]])
    assert every.factors["image"].tolist() == [0] * len(captions[rows[0]]) + [1] * len(captions[rows[1]])
    assert len(every) == len(every.texts) and part.folds == 0


def test_only_padding_is_left_out_of_tokens_and_long_captions_end_with_the_end():
    import open_clip

    texts = ["a cat", "two dogs " * 60]
    assert torch.equal(captioned.tokens(texts), open_clip.tokenize(texts, 77))
    assert captioned.tokens(texts[:1]).tolist() == [[49406, 320, 2368, 49407]]
    assert captioned.tokens(texts)[1, -1] == 49407


def test_stand_ins_say_what_they_show():
    data = load("flickr30k", source="stand_in")
    colors = {name: np.array(rgb) for name, rgb in captioned_stand_ins.COLORS.items()}
    for row in range(60):
        words = data.train.cache.captions[row][0].split()
        pixels = data.train.cache.images[row].astype(int)
        for color, columns in ((words[1], slice(6, 10)), (words[8], slice(22, 26))):
            seen = pixels[15:18, columns].reshape(-1, 3).mean(axis=0)
            assert min(colors, key=lambda name: np.abs(colors[name] - seen).sum()) == color
        assert words[-2] in captioned_stand_ins.GROUNDS


def test_bad_options_are_named_in_one_sentence():
    for options, said in [({"source": "here"}, "'here'"), ({"image_size": 1.5}, "image_size=1.5")]:
        with pytest.raises(ValueError, match=said):
            load("coco", **{"source": "stand_in", **options})
    with pytest.raises(DataError, match=r"`image_size` must be in \[8, 1024\] pixels, got 4"):
        load("coco", image_size=4)
    for size, command in [(None, "flickr30k`"), (336, "flickr30k --image-size 336`")]:
        with pytest.raises(DataError, match=rf"^[^\n]*`python -m data_scripts {command}[^\n]*\.$"):
            load("flickr30k", image_size=size)


def test_one_command_prepares_stand_ins_and_a_second_one_finds_them(prepared, capfd):
    assert main(["coco", "--root", str(prepared), "--stand-ins"]) == 0
    out, err = capfd.readouterr()
    assert "400 train, 60 val, 100 test images with 2812 captions" in out and "decoding" not in err
    assert out.count("has sha256") == 3
