"""`galaxyloop replay` on folders and stamp sets, what it writes, and input that cannot be replayed."""

import csv
import json
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import typer
from PIL import Image
from typer.testing import CliRunner, Result

from backend_ml.cli.stamps import replay
from lvm_training.paths import RELEASED_LVM
from lvm_training.stamps.rendering import Rendering
from lvm_training.stamps.stampset import StampWriter
from tests.tiny_encoder import write_tiny

app = typer.Typer()
app.command("replay")(replay.replay)


@pytest.fixture(scope="module")
def encoder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint with random weights."""
    return write_tiny(tmp_path_factory.mktemp("encoder"), Rendering(size=32, field=32 * 0.262))


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What a replay keeps does not go into the checkout."""
    monkeypatch.chdir(tmp_path)


def blobs(kinds: Sequence[int], seed: int = 0) -> np.ndarray:
    """Pictures (N, 32, 32, 3): red ones of kind 1, blue ones of others."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:32, :32] - 15.5
    pictures = []
    for kind in kinds:
        light = 200 * np.exp(-0.5 * (x**2 + y**2) / rng.uniform(3, 6) ** 2)
        colour = np.array([1.0, 0.6, 0.2]) if kind == 1 else np.array([0.2 + 0.3 * kind, 0.6, 1.0])
        pictures.append(np.clip(light[..., None] * colour + rng.normal(10, 4, (32, 32, 3)), 0, 255))
    return np.stack(pictures).astype(np.uint8)


def folder_of(path: Path, kinds: Sequence[int | str], column: str = "ring") -> Path:
    """A folder of pictures with labels.csv; kind "" is unlabelled."""
    (path / "images").mkdir(parents=True)
    pixels = blobs([int(kind or 0) for kind in kinds])
    rows = []
    for number, (kind, picture) in enumerate(zip(kinds, pixels, strict=True)):
        Image.fromarray(picture).save(path / "images" / f"{number:03}.png")
        rows.append((f"images/{number:03}.png", kind))
    write_labels(path / "labels.csv", ("file", column), rows)
    return path


def write_labels(path: Path, header: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    with path.open("w", newline="") as stream:
        csv.writer(stream).writerows([header, *rows])


def run(*arguments: object) -> Result:
    return CliRunner().invoke(app, [str(one) for one in arguments])


@pytest.fixture
def refused(encoder: Path, capfd: pytest.CaptureFixture[str]) -> Callable[..., str]:
    """Runs a replay that has to fail, and gives what it says in one line."""

    def check(*arguments: object) -> str:
        result = run(*arguments, "--encoder", encoder)
        assert result.exit_code == 1 and "Traceback" not in result.output
        said = result.output + capfd.readouterr().err
        return " ".join(said.split())

    return check


def test_a_folder_of_pictures(encoder: Path, tmp_path: Path) -> None:
    folder = folder_of(tmp_path / "rings", [0, 1] * 30 + [""] * 5)
    out = tmp_path / "new" / "out.json"
    given = ("--column", "ring", "--encoder", encoder, "--views", 1, "--budget", 9, "--batch", 5, "--seeds", 2)
    result = run(folder, *given, "--policies", "random, margin", "--json", out)
    assert result.exit_code == 0, result.output
    assert "random" in result.output and "margin" in result.output
    document = json.loads(out.read_text())
    assert list(document) == ["replay", "random", "margin"]
    assert document["replay"]["images"] == 60 and document["replay"]["unlabelled"] == 5
    assert document["replay"]["pool"] + document["replay"]["test"] == 60
    assert document["replay"]["head"] == "classification"
    for name in ("random", "margin"):
        entry = document[name]
        assert entry["labels"] == [4, 9]
        for measure in ("auc", "ap", "precision_at_100", "r_precision", "recall_at_100", "rank_weighted_score"):
            low, mean, high = (np.array(entry[f"{measure}{end}"]) for end in ("_low", "", "_high"))
            assert len(mean) == 2 and (low <= mean + 1e-12).all() and (mean <= high + 1e-12).all()
            np.testing.assert_allclose(np.mean(entry[f"{measure}_seeds"], axis=0), mean)
        assert entry["auc"][-1] > 0.9 and 4 <= entry["labels_to_auc_0.9"] <= 9
    with Image.open(out.with_suffix(".png")) as plot:
        assert plot.size == (1650, 675)
    again = tmp_path / "again.json"
    assert run(folder, *given, "--policies", "margin", "--json", again).exit_code == 0
    assert json.loads(again.read_text())["margin"] == document["margin"]


def test_a_stamp_set_with_the_column_inside_and_three_classes(encoder: Path, tmp_path: Path) -> None:
    kinds = np.arange(60) % 3
    writer = StampWriter(tmp_path / "sky.h5", (32, 32), rendering="as-delivered", origin="upper")
    pixels = np.ascontiguousarray(blobs(list(kinds)).transpose(0, 3, 1, 2))
    writer.append(pixels, {"kind": [f"kind {kind}" for kind in kinds]})
    writer.finish()
    given = ("--encoder", encoder, "--views", 1, "--budget", 16, "--seeds", 1, "--policies", "random")
    result = run(tmp_path / "sky.h5", "--column", "kind", "--positive", "kind 1", *given, "--json", tmp_path / "a.json")
    assert result.exit_code == 0, result.output
    inside = json.loads((tmp_path / "a.json").read_text())
    assert inside["random"]["labels"] == [6, 16] and inside["replay"]["positive"] == "kind 1"
    labels = tmp_path / "labels.csv"
    write_labels(labels, ("stamp_id", "kind"), [(row, f"kind {kind}") for row, kind in enumerate(kinds)])
    result = run(
        tmp_path / "sky.h5", "--labels", labels, "--column", "kind", "--positive", "kind 1", *given, "--json", "b.json"
    )
    assert result.exit_code == 0, result.output
    assert json.loads(Path("b.json").read_text())["random"] == inside["random"]


def test_an_auc_that_is_not_reached_is_null(encoder: Path, tmp_path: Path) -> None:
    folder = folder_of(tmp_path / "same", [0] * 60)
    coins = np.random.default_rng(0).integers(2, size=60)
    write_labels(
        folder / "labels.csv", ("file", "coin"), [(f"images/{n:03}.png", coin) for n, coin in enumerate(coins)]
    )
    result = run(folder, "--column", "coin", "--encoder", encoder, "--views", 1, "--budget", 10, "--seeds", 1)
    assert result.exit_code == 0 and "–" in result.output
    document = json.loads(Path("build/replay/replay.json").read_text())
    assert document["loop"]["labels_to_auc_0.9"] is None


def test_a_thinned_class_and_one_that_cannot_be(encoder: Path, tmp_path: Path, refused: Callable[..., str]) -> None:
    folder = folder_of(tmp_path / "rings", [0, 0, 1] * 40)
    given = (folder, "--column", "ring", "--budget", 12, "--seeds", 1, "--policies", "loop", "--views", 1)
    result = run(*given, "--prevalence", 0.15, "--encoder", encoder)
    assert result.exit_code == 0, result.output
    document = json.loads(Path("build/replay/replay.json").read_text())
    assert document["loop"]["labels"] == [3, 12] and document["replay"]["prevalence"] == 0.15
    assert document["replay"]["head"] == "preference"
    assert "images in all, or a higher prevalence" in refused(*given, "--prevalence", 0.01)
    assert "or a lower prevalence" in refused(*given, "--prevalence", 0.6)


def test_input_that_cannot_be_replayed(tmp_path: Path, refused: Callable[..., str]) -> None:
    folder = folder_of(tmp_path / "rings", [0, 1] * 20 + [""])
    given = (folder, "--views", 1, "--seeds", 1)
    assert "no column 'spiral'. What to do: It has: ring" in refused(*given, "--column", "spiral")
    assert "budget of 200 labels does not fit" in refused(*given, "--column", "ring")
    said = refused(*given, "--column", "ring", "--policies", "random,luck")
    assert "no policy 'luck'" in said and "k-centre" in said
    labels = folder / "labels.csv"
    labels.write_text(labels.read_text() + "images/900.png,1\nimages/901.png,0\n")
    assert "2 rows of labels.csv name images that are not there, first 'images/900.png'" in refused(
        *given, "--column", "ring"
    )
    rows = [(f"images/{number:03}.png", 1) for number in range(41)]
    write_labels(labels, ("file", "ring"), rows)
    assert "two classes; there is only '1'" in refused(*given, "--column", "ring")
    write_labels(labels, ("file", "ring"), [(name, int(number < 1)) for number, (name, _) in enumerate(rows)])
    assert "none of class 1" in refused(*given, "--column", "ring")
    labels.unlink()
    assert "There are no labels at" in refused(*given, "--column", "ring")
    assert "no encoder" not in refused(tmp_path / "nothing", "--column", "ring")


@pytest.mark.parametrize("word", ["nan", "NA", "N/A", "null", "-", ""])
def test_missing_labels_are_unlabelled_and_counted(encoder: Path, tmp_path: Path, word: str) -> None:
    folder = folder_of(tmp_path / "rings", [0, 1] * 20)
    names = [f"images/{number:03}.png" for number in range(40)]
    rows = [f"{name}, {word if number % 5 == 4 else ('no', 'yes')[number % 2]}" for number, name in enumerate(names)]
    (folder / "labels.csv").write_text("\ufefffile, ring\r\n" + "\r\n".join(rows) + "\r\n,\r\n,\r\n")
    given = (folder, "--column", "ring", "--encoder", encoder, "--views", 1, "--budget", 8, "--seeds", 1)
    result = run(*given, "--policies", "random")
    assert result.exit_code == 0, result.output
    about = json.loads(Path("build/replay/replay.json").read_text())["replay"]
    assert (about["images"], about["unlabelled"], about["positive"] in ("yes", "no")) == (32, 8, True)
    assert "8 images have no label and are left out" in result.stderr
    if word:
        assert f"8 cells {word} are taken as missing" in result.stderr
        declared = run(*given, "--policies", "random", "--missing", "unknown", "--positive", word)
        assert declared.exit_code == 0, declared.output


def test_integers_name_their_classes(encoder: Path, tmp_path: Path, refused: Callable[..., str]) -> None:
    kinds = [20230001, 20230002, 20230003] * 14
    folder = folder_of(tmp_path / "rings", [0, 1, 2] * 14)
    write_labels(
        folder / "labels.csv", ("file", "code"), [(f"images/{n:03}.png", code) for n, code in enumerate(kinds)]
    )
    given = (folder, "--column", "code", "--views", 1, "--budget", 9, "--seeds", 1)
    for positive in ("20230002", "20230002.0"):
        result = run(*given, "--policies", "random", "--encoder", encoder, "--positive", positive)
        assert result.exit_code == 0, result.output
        assert json.loads(Path("build/replay/replay.json").read_text())["replay"]["positive"] == "20230002"
    assert "Classes are: 20230001, 20230002, 20230003" in refused(*given, "--positive", "2")
    writer = StampWriter(tmp_path / "sky.h5", (32, 32), rendering="as-delivered", origin="upper")
    pixels = np.ascontiguousarray(blobs([0, 1, 2] * 14).transpose(0, 3, 1, 2))
    writer.append(pixels, {"code": np.array(kinds, dtype=float), "ring": ["1.0", "0", "nan"] * 14})
    writer.finish()
    assert "Classes are: 20230001, 20230002, 20230003" in refused(tmp_path / "sky.h5", *given[1:], "--positive", "2")
    assert "Classes are: 0, 1" in refused(tmp_path / "sky.h5", "--column", "ring", *given[3:], "--positive", "2")


def test_a_stamp_set_without_the_column(tmp_path: Path, refused: Callable[..., str]) -> None:
    writer = StampWriter(tmp_path / "sky.h5", (32, 32), rendering="as-delivered", origin="upper")
    writer.append(np.ascontiguousarray(blobs([0, 1]).transpose(0, 3, 1, 2)), {"kind": ["a", "b"]})
    writer.finish()
    assert "sky.h5 has no column 'ring'. What to do: It has: kind" in refused(tmp_path / "sky.h5", "--column", "ring")


def test_files_that_cannot_be_read_are_left_out_and_counted(encoder: Path, tmp_path: Path) -> None:
    folder = folder_of(tmp_path / "rings", [0, 1] * 20)
    (folder / "images" / "007.png").write_bytes(b"no picture")
    with Image.open(folder / "images" / "008.png") as image:
        image.resize((48, 48)).save(folder / "images" / "008.png")
    (folder / "masks").mkdir()
    (folder / "masks" / "001.png").write_bytes((folder / "images" / "001.png").read_bytes())
    labels = folder / "labels.csv"
    labels.write_text(labels.read_text().replace("images/", ""))
    result = run(folder, "--column", "ring", "--encoder", encoder, "--views", 1, "--budget", 8, "--seeds", 1)
    assert result.exit_code == 0, result.output
    about = json.loads(Path("build/replay/replay.json").read_text())["replay"]
    assert about["images"] == 39 and about["skipped"] == 2
    assert about["notes"] == ["1 images were cut to their central 32 x 32 pixels; --fit shrink shows them whole"]


def test_the_baseline_is_trained_once_and_remembered(
    encoder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("lvm_training.supervised.training.LEAST_STEPS", 1)
    monkeypatch.setattr("lvm_training.supervised.training.EPOCHS", 1)
    monkeypatch.setattr("lvm_training.supervised.labelled_pictures.SYMMETRIES", 1)
    folder = folder_of(tmp_path / "rings", [0, 1] * 12)
    given = (folder, "--column", "ring", "--encoder", encoder, "--views", 1, "--budget", 6, "--seeds", 1)
    result = run(*given, "--policies", "random", "--baseline", "resnet18")
    assert result.exit_code == 0, result.output
    first = json.loads(Path("build/replay/replay.json").read_text())
    assert list(first) == ["replay", "random", "resnet18"]
    kept = list(Path("build/resume").glob("resnet18-*/*.npy"))
    assert len(kept) == 2
    monkeypatch.setattr("lvm_training.evaluation.baselines.fit_resnet18", partial(pytest.fail, "trained again"))
    assert run(*given, "--policies", "random", "--baseline", "resnet18").exit_code == 0
    assert json.loads(Path("build/replay/replay.json").read_text()) == first


def test_real_rings(real_data: Path, tmp_path: Path) -> None:
    """Simulated twin: `test_a_folder_of_pictures`."""
    released = Path(__file__).parents[4] / RELEASED_LVM
    out = tmp_path / "rings.json"
    given = ("--column", "ring", "--encoder", released, "--views", 1, "--budget", 24, "--seeds", 2)
    result = run(real_data / "rings-decals", *given, "--policies", "random", "--pixel-scale", 0.262, "--json", out)
    assert result.exit_code == 0, result.output
    assert json.loads(out.read_text())["random"]["auc"][-1] > 0.55


def test_a_policy_is_replayed_with_simulated_classes_and_without(
    encoder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, refused: Callable[..., str]
) -> None:
    folder = folder_of(tmp_path / "rings", [0, 1] * 15)
    given = (folder, "--column", "ring", "--views", 1, "--budget", 6, "--seeds", 1, "--policies", "random")
    mapped = ("--simulated", "1=ring", "--simulated", "0=no-ring")
    assert "GALAXYLOOP_SIMULATED_STAMPS is 0" in refused(*given, *mapped)
    monkeypatch.setenv("GALAXYLOOP_SIMULATED_STAMPS", "180")
    assert "no class 2" in refused(*given, "--simulated", "2=ring", "--simulated", "0=no-ring")
    assert "does not draw" in refused(*given, "--simulated", "1=halo", "--simulated", "0=no-ring")
    result = run(*given, *mapped, "--encoder", encoder)
    assert result.exit_code == 0, result.output
    document = json.loads(Path("build/replay/replay.json").read_text())
    assert list(document) == ["replay", "random", "random + simulated"]
    assert document["random + simulated"]["labels"] == document["random"]["labels"]
