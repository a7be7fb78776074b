"""X-Fi's encoders: pickled networks whose trained layers reach ours in order, and nothing else does."""

import numpy as np
import pytest
import torch
from torch import nn

from data_scripts import drive, x_fi
from data_scripts.__main__ import main
from data_scripts.fetch import DataError
from experiments.recipes import RECIPES, deviations
from geomreg_mini.benchmarks.subset_models import TokenEncoder

WIDTH = 2  # instead of 64
SHAPES = {"mmWave": (17, 32, 32), "WiFi": (270, 64), "RFID": (23, 64)}


class BasicBlock(nn.Module):
    """As X-Fi's networks write it."""

    def __init__(self, source, target, stride, dims):
        super().__init__()
        conv, norm = (nn.Conv1d, nn.BatchNorm1d) if dims == 1 else (nn.Conv2d, nn.BatchNorm2d)
        self.conv1 = conv(source, target, 3, stride, 1, bias=False)
        self.bn1 = norm(target)
        self.relu = nn.ReLU()
        self.conv2 = conv(target, target, 3, 1, 1, bias=False)
        self.bn2 = norm(target)
        self.downsample = None
        if stride != 1 or source != target:
            self.downsample = nn.Sequential(conv(source, target, 1, stride, bias=False), norm(target))

    def forward(self, x):
        around = x if self.downsample is None else self.downsample(x)
        return self.relu(self.bn2(self.conv2(self.relu(self.bn1(self.conv1(x))))) + around)


class ResNet(nn.Module):
    """X-Fi's ResNet-18 of a modality: those of WiFi and radar define layers that ``forward`` never runs."""

    def __init__(self, modality):
        super().__init__()
        channels, dims = SHAPES[modality][0], len(SHAPES[modality]) - 1
        conv, norm = (nn.Conv1d, nn.BatchNorm1d) if dims == 1 else (nn.Conv2d, nn.BatchNorm2d)
        stages = [WIDTH * n for n in ((2, 2, 4, 8) if dims == 1 else (1, 2, 4, 8))]
        self.conv1, self.bn1 = conv(channels, stages[0], 7, 2, 3, bias=False), norm(stages[0])
        if modality == "WiFi":
            self.conv2, self.bn2 = conv(stages[0], stages[0], 7, 2, 3, bias=False), norm(stages[0])
            self.conv3, self.bn3 = conv(stages[0], stages[0], 7, 2, 3, bias=False), norm(stages[0])
        self.relu = nn.ReLU()
        self.maxpool = (nn.MaxPool1d if dims == 1 else nn.MaxPool2d)(3, 2, 1)
        source = stages[0]
        for number, target in enumerate(stages, 1):
            blocks = (
                BasicBlock(source, target, 1 if number == 1 else 2, dims),
                BasicBlock(target, target, 1, dims),
            )
            setattr(self, f"layer{number}", nn.Sequential(*blocks))
            source = target
        if modality == "WiFi":
            self.conv4 = conv(source, source, 3, 2, 1, bias=False)
        last = {"softmax": nn.Softmax(dim=1), "avg_pool": nn.Identity(), "fc": nn.Linear(source, 55)}
        order = {"mmWave": ("softmax", "avg_pool", "fc"), "WiFi": ("avg_pool", "fc")}
        for name in order.get(modality, ("avg_pool", "fc", "softmax")):
            self.add_module(name, last[name])

    def forward(self, x):
        x = self.maxpool(self.relu(self.bn1(self.conv1(x))))
        return self.layer4(self.layer3(self.layer2(self.layer1(x))))


@pytest.fixture(scope="module")
def published(tmp_path_factory):
    """The folder as people have it, and the networks in it, with running statistics."""
    folder = tmp_path_factory.mktemp("x_fi") / "XRF55_HAR"
    networks = {}
    for seed, (modality, name) in enumerate(x_fi.FILES.items()):
        torch.manual_seed(seed)
        network = ResNet(modality).train()
        with torch.no_grad():
            network(torch.randn(8, *SHAPES[modality]))
        path = folder / "backbone_models" / modality / name
        path.parent.mkdir(parents=True)
        torch.save(network, path)
        networks[modality] = network.eval()
    return folder.parent, networks


def encoder(modality):
    return TokenEncoder(SHAPES[modality], 16, 4, WIDTH).eval()


@pytest.mark.parametrize("modality", x_fi.FILES)
@pytest.mark.parametrize("prepared", [True, False])
def test_an_encoder_computes_what_its_network_does(published, tmp_path, monkeypatch, modality, prepared):
    folder, networks = published
    monkeypatch.setenv("GEOMREG_DATA", str(tmp_path))
    if prepared:
        assert main(["x_fi", "--from", str(folder)]) == 0
    own, x = encoder(modality), torch.randn(3, *SHAPES[modality])
    x_fi.load_into(own.backbone, modality, None if prepared else folder)
    with torch.no_grad():
        torch.testing.assert_close(own.backbone(x), networks[modality](x))
    cut = nn.Sequential(*list(networks[modality].children())[: -2 if modality != "RFID" else -3])
    with torch.no_grad():
        same = cut(x).shape == networks[modality](x).shape and torch.allclose(cut(x), networks[modality](x))
    assert same == (modality == "RFID"), "X-Fi's own cut runs other layers for WiFi and radar"


def test_a_network_of_another_size_is_refused(published, tmp_path):
    other = TokenEncoder(SHAPES["WiFi"], 16, 4, 2 * WIDTH)
    with pytest.raises(DataError, match="does not fit the encoder of WiFi: it has 0.weight of shape"):
        x_fi.load_into(other.backbone, "WiFi", published[0])
    with pytest.raises(DataError, match="does not fit the encoder of RFID"):
        x_fi.load_into(encoder("mmWave").backbone, "RFID", published[0])


def test_what_is_missing_is_named(published, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("GEOMREG_DATA", str(tmp_path))
    with pytest.raises(DataError, match="not prepared in .*; run `python -m data_scripts x_fi`"):
        x_fi.load_into(encoder("WiFi").backbone, "WiFi")
    assert main(["x_fi", "--from", str(tmp_path)]) == 1
    assert (
        "in no known layout; name one with mmwave_ResNet18.pt and wifi_ResNet18.pt" in capsys.readouterr().err
    )
    for modality, name in x_fi.FILES.items():
        torch.save(nn.Linear(2, 2) if modality == "RFID" else ResNet(modality), tmp_path / name)
    assert main(["x_fi", "--from", str(tmp_path)]) == 1
    assert "rfid_ResNet18.pt does not hold an encoder of X-Fi" in capsys.readouterr().err


def test_the_check_names_each_encoder_and_where_it_is(published, tmp_path, monkeypatch, capsys):
    folder, _ = published
    monkeypatch.delenv("GEOMREG_MIRROR", raising=False)
    paths = {m: folder / "XRF55_HAR" / "backbone_models" / m / name for m, name in x_fi.FILES.items()}
    assert main(["x_fi", "--check", "--from", str(folder)]) == 0
    said = capsys.readouterr()
    assert said.out.splitlines() == [f"x_fi: {m}: 1 of 1 encoders is {path}" for m, path in paths.items()]
    assert f"x_fi: found X-Fi's encoders XRF55_HAR/backbone_models/mmWave/{x_fi.FILES['mmWave']}" in said.err
    listed = {f"a/{name}": m for m, name in x_fi.FILES.items()}
    monkeypatch.setattr(drive, "listing", lambda known: listed)
    monkeypatch.setattr(drive, "download", lambda *arguments, **options: pytest.fail("downloaded"))
    assert main(["x_fi", "--check"]) == 0
    place = f"a/rfid_ResNet18.pt in https://drive.google.com/drive/folders/{x_fi.FOLDER}"
    assert f"x_fi: RFID: 1 of 1 encoders is {place}" in capsys.readouterr().out
    del listed["a/rfid_ResNet18.pt"]
    assert main(["x_fi", "--check"]) == 1
    assert "X-Fi's folder on Google Drive lacks one of " in capsys.readouterr().err
    for name in x_fi.FILES.values():
        (tmp_path / name).write_text("version https://git-lfs.github.com/spec/v1\n")
    assert main(["x_fi", "--check", "--from", str(tmp_path)]) == 1
    said = capsys.readouterr()
    assert said.out == "" and "mmwave_ResNet18.pt is a Git LFS pointer (run `git lfs pull`)" in said.err


def test_the_files_are_found_in_the_folder_of_drive_by_name(published, tmp_path, monkeypatch):
    folder, _ = published
    places = {p.relative_to(folder).as_posix(): str(p) for p in folder.rglob("*.pt")}
    monkeypatch.setattr(drive, "listing", lambda known: {"MMFi_HAR/rfid_ResNet18.pt": "no", **places})

    def copied(file, path, *, progress):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(open(file, "rb").read())

    monkeypatch.setattr(drive, "download", copied)
    monkeypatch.delenv("GEOMREG_MIRROR", raising=False)
    path = x_fi.prepare(tmp_path, progress=False)
    assert [p.name for p in path.parent.iterdir()] == [path.name], "the downloads are removed"
    with np.load(path) as arrays:
        assert arrays["RFID/conv1.weight"].shape == (4, 23, 7) and "WiFi/conv2.weight" not in arrays


def test_the_recipe_fixes_these_encoders_and_says_how_they_are_run():
    config = RECIPES["xrf55_x_fi"].config
    assert config.encoder_options == {"pretrained": "x_fi"} and config.paradigm_options["freeze"]
    assert "The encoders are X-Fi's own, fixed." in deviations(config)


@pytest.mark.parametrize("name", [name for name in RECIPES if name.startswith("xrf55")])
def test_every_recipe_says_what_x_fis_cut_changes_in_wifi_and_in_radar(name):
    said = " ".join(deviations(RECIPES[name].config))
    assert "five layers" in said and "Softmax" in said and "83.9 %" in said
