"""Stamps from a cutout service, whole, each once, whatever the service does."""

import csv
import errno
import random
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lvm_training.errors import OutputError, StampError, SurveyError
from lvm_training.stamps.stampset import StampSet
from lvm_training.surveys.cutout import Reader
from lvm_training.surveys.description import find_survey, read_survey
from lvm_training.surveys.fetching import FetchReport, fetch
from lvm_training.surveys.order import Order
from lvm_training.surveys.service import NoStamp, user_agent
from lvm_training.surveys.skipped import skipped_path
from lvm_training.surveys.targets import read_targets
from tests.lvm_training.surveys.imitation import Imitation, cutout, sky

NAMES = [f"g{row}" for row in range(8)]


def place(row: int) -> tuple[float, float]:
    """The position of a row of the catalogue."""
    return 10.0 + row, -4.0 + row


def run(service: Imitation, catalogue: Path, *, retry: bool = False, asked: Any = None, **changed: str) -> FetchReport:
    """Fetch the catalogue into out.h5 beside it, by a description with some lines changed."""
    order = Order.of(read_survey(service.description(catalogue.parent, **changed)), **(asked or {}))
    return fetch(read_targets(catalogue, order.survey), order, catalogue.parent / "out.h5", retry=retry)


def listed(out: Path) -> dict[str, tuple[str, str]]:
    """Kind and reason of each stamp that could not be had."""
    with skipped_path(out).open(newline="") as stream:
        return {row["file"]: (row["kind"], row["reason"]) for row in csv.DictReader(stream)}


def check_whole(out: Path, names: list[str]) -> None:
    """Each of these stamps is there once, with its own pixels."""
    with StampSet(out) as stamps:
        files = stamps.column("file").tolist()
        assert sorted(files) == sorted(names)
        for row, name in enumerate(files):
            expected = np.stack([sky(*place(int(name[1:])), band) for band in "grz"])
            np.testing.assert_array_equal(stamps.pixels([row])[0], expected)


def test_stamps_come_with_their_columns_and_where_they_are_from(service: Imitation, catalogue: Path) -> None:
    report = run(service, catalogue)
    assert (report.stamps, report.fetched, report.left, report.skipped) == (8, 8, {}, None)
    assert (report.requests, len(service.asked)) == (8, 8) and report.received > 8 * 3 * 16 * 16 * 4
    assert service.agents == {user_agent()} and user_agent().startswith("galaxyloop/")
    check_whole(report.out, NAMES)
    with StampSet(report.out) as stamps:
        assert (stamps.rendering, stamps.origin, stamps.pixel_scale) == ("nanomaggies", "lower", 0.262)
        rows = {name: row for row, name in enumerate(stamps.column("name").tolist())}
        ids = stamps.column("objid")
        assert [int(ids[rows[name]]) for name in NAMES] == [9007199254740993 + row for row in range(8)]
        assert [stamps.column("z")[rows[name]] for name in NAMES] == pytest.approx([0.1 * row for row in range(8)])
        assert set(stamps.column("covered").tolist()) == {1.0} and set(stamps.column("bands").tolist()) == {"grz"}
        about = stamps.about("survey")
    assert (about["survey"], about["layer"], about["bands"]) == ("imitation", "one", {"g": "g", "r": "r", "z": "z"})
    assert (about["stamps"], about["partly_covered"], about["left"]) == (8, 0, {})
    assert about["citation"] == "Nobody et al." and about["finished"] and about["service"].startswith(service.url)
    assert about["catalogue"]["rows"] == 8 and about["catalogue"]["file"] == "galaxies.csv"
    assert not list(catalogue.parent.glob("*.partial")) and not list(catalogue.parent.glob("*.csv.*"))


@pytest.mark.parametrize(
    "faults",
    [
        ["429"],
        ["500", "503"],
        ["truncated"],
        ["short"],
        ["reset"],
        ["html", "empty"],
        ["redirect"],
    ],
    ids=",".join,
)
def test_what_passes_is_asked_for_again(service: Imitation, catalogue: Path, faults: list[str]) -> None:
    service.fail(*place(3), *faults)
    report = run(service, catalogue)
    assert report.stamps == 8 and not report.left
    assert len(service.asked) == 8 + len(faults)
    check_whole(report.out, NAMES)


def test_what_takes_too_long_is_asked_for_again(service: Imitation, catalogue: Path) -> None:
    service.fail(*place(3), "slow:2")
    report = run(service, catalogue, timeout="0.5", tries="10")
    assert report.stamps == 8 and service.positions().count(place(3)) > 1
    check_whole(report.out, NAMES)


@pytest.mark.parametrize(
    ("fault", "kind", "reason"),
    [
        ("404", "outside", "HTTP 404"),
        ("zero", "outside", "every pixel is 0"),
        ("noimage", "outside", "holds no image"),
        ("partly:0.25", "partly covered", "25% of the pixels in g"),
        ("noband:2", "partly covered", "0% of the pixels in z"),
        ("418", "failed", "HTTP 418"),
        ("size:8", "failed", "wrong size: 8 x 8 pixels where 16 were asked for"),
        ("size:32", "failed", "wrong size: 32 x 32"),
        ("bands:gri", "failed", "wrong bands: g, r, i where g, r, z"),
        ("bands:griz", "failed", "wrong bands"),
        ("scale:0.524", "failed", "wrong scale: 0.524 arcsec where 0.262"),
        ("elsewhere:0.01", "failed", "wrong position: its centre is 35.99"),
        ("nowhere", "failed", "does not say where it is"),
        ("huge", "failed", "an answer of 1000000000000 bytes"),
        ("endless", "failed", "bytes or more"),
        ("redirect:https://elsewhere.example/cutout", "failed", "redirect to https://elsewhere.example"),
        ("redirect:http://localhost/cutout", "failed", "redirect to http://localhost"),
        ("redirect:ftp://127.0.0.1/cutout", "failed", "redirect to ftp://127.0.0.1"),
    ],
)
def test_what_cannot_be_had_is_listed_and_not_asked_for_again(
    service: Imitation, catalogue: Path, fault: str, kind: str, reason: str
) -> None:
    service.fail(*place(3), fault)
    report = run(service, catalogue)
    assert report.left == {kind: 1} and report.skipped == skipped_path(report.out)
    found = listed(report.out)
    assert list(found) == ["g3"] and found["g3"][0] == kind and reason in found["g3"][1]
    assert len(service.asked) == 8
    check_whole(report.out, [name for name in NAMES if name != "g3"])
    with StampSet(report.out) as stamps:
        assert stamps.about("survey")["left"] == {kind: 1}


def test_a_few_uncovered_pixels_do_no_harm_and_are_counted(service: Imitation, catalogue: Path) -> None:
    service.fail(*place(3), "partly:0.75")
    report = run(service, catalogue)
    with StampSet(report.out) as stamps:
        covered = dict(zip(stamps.column("file"), stamps.column("covered"), strict=True))
        assert stamps.about("survey")["partly_covered"] == report.partly == 1
    assert run(service, catalogue).partly == 1
    assert covered == {name: 0.75 if name == "g3" else 1.0 for name in NAMES}


def test_what_fails_again_and_again_is_listed_with_its_last_reason(service: Imitation, catalogue: Path) -> None:
    service.fail(*place(0), "500", "truncated", "503", "good")
    report = run(service, catalogue)
    assert listed(report.out) == {"g0": ("failed", "HTTP 503")} and len(service.asked) == 7 + 3


def test_a_redirect_without_end_ends(service: Imitation, catalogue: Path) -> None:
    service.fail(*place(3), *["redirect"] * 9)
    report = run(service, catalogue)
    assert "more than 3 redirects" in listed(report.out)["g3"][1]


def test_it_waits_as_long_as_the_service_asks(service: Imitation, catalogue: Path) -> None:
    service.fail(*place(3), "429:1")
    assert run(service, catalogue).stamps == 8
    first, second = (when for when, query in service.asked if float(query["ra"]) == 13)
    assert second - first >= 1


def test_a_wait_beyond_all_patience_stops_the_work(service: Imitation, catalogue: Path) -> None:
    service.fail(*place(7), "503:7200")
    with pytest.raises(SurveyError, match=r"127.0.0.1 asks for a pause of 120 minutes") as caught:
        run(service, catalogue)
    assert "kept" in caught.value.hint
    assert run(service, catalogue).stamps == 8


def test_the_rate_is_kept(service: Imitation, catalogue: Path) -> None:
    report = run(service, catalogue, asked={"rate": 20})
    assert report.seconds >= 7 / 20


def test_a_service_that_fails_stops_the_work_and_nothing_is_held_against_the_stamps(
    service: Imitation, catalogue: Path
) -> None:
    for row in range(3, 8):
        service.fail(*place(row), *["500"] * 3)
    with pytest.raises(SurveyError, match=r"127.0.0.1 fails: \d stamps in a row, the last by HTTP 500") as caught:
        run(service, catalogue, connections="1")
    assert "3 stamps are kept" in caught.value.hint
    assert not skipped_path(catalogue.parent / "out.h5").exists()
    asked = len(service.asked)
    service.faults.clear()
    report = run(service, catalogue)
    assert (report.stamps, report.fetched) == (8, 5) and len(service.asked) == asked + 5
    check_whole(report.out, NAMES)


def test_where_the_service_is_well_elsewhere_it_is_the_positions_that_fail(service: Imitation, catalogue: Path) -> None:
    for row in range(1, 8):
        service.fail(*place(row), *["500"] * 3)
    report = run(service, catalogue, note='""\nprobe = [200.0, 2.0]')
    assert report.left == {"failed": 7} and (200.0, 2.0) in service.positions()
    check_whole(report.out, ["g0"])


def test_a_service_that_is_not_there_is_named(tmp_path: Path, catalogue: Path) -> None:
    gone = Imitation.__new__(Imitation)
    gone.url = "http://127.0.0.1:9"
    with pytest.raises(SurveyError, match=r"127.0.0.1 fails: 4 stamps in a row, the last by no answer: connect error"):
        run(gone, catalogue)
    assert [path.name for path in tmp_path.iterdir() if "out" in path.name] == []


def test_a_service_that_wants_an_account_is_not_asked_twice(service: Imitation, catalogue: Path) -> None:
    service.always = "401"
    with pytest.raises(SurveyError, match=r"asks who is there \(HTTP 401\)") as caught:
        run(service, catalogue)
    assert "~/.netrc" in caught.value.hint and len(service.asked) <= 3


def test_an_account_comes_from_netrc(
    service: Imitation, catalogue: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    layers = '["one"]\naccount = "netrc"'
    with pytest.raises(SurveyError, match=r"needs an account, and there is no ~/.netrc"):
        run(service, catalogue, layers=layers)
    netrc = tmp_path / ".netrc"
    netrc.write_text("machine 127.0.0.1 login ada password\n  hush extra")
    netrc.chmod(0o600)
    with pytest.raises(SurveyError, match=r"~/.netrc cannot be read") as caught:
        run(service, catalogue, layers=layers)
    assert "hush" not in str(caught.value) and not service.asked
    netrc.write_text("machine 127.0.0.1 login ada password hush\n")
    report = run(service, catalogue, layers=layers)
    assert report.stamps == 8 and service.accounts == {"Basic YWRhOmh1c2g="}
    with StampSet(report.out) as stamps:
        assert "hush" not in str(stamps.about("survey"))


def test_the_proxy_of_the_environment_is_used_and_its_password_not_told(
    service: Imitation, catalogue: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://ada:hush@127.0.0.1:9")
    with pytest.raises(SurveyError, match="4 stamps in a row, the last by no answer") as caught:
        run(service, catalogue)
    assert "hush" not in str(caught.value) and not service.asked
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    assert run(service, catalogue).stamps == 8


@pytest.mark.parametrize("proxy", ["snail://ada:hush@127.0.0.1:9", "socks5://ada:hush@127.0.0.1:9"])
def test_a_proxy_that_is_none_is_said_without_its_password(
    service: Imitation, catalogue: Path, monkeypatch: pytest.MonkeyPatch, proxy: str
) -> None:
    monkeypatch.setenv("HTTP_PROXY", proxy)
    with pytest.raises(SurveyError, match="proxy or the certificates") as caught:
        run(service, catalogue)
    assert "hush" not in str(caught.value) and caught.value.__suppress_context__


def test_a_set_that_is_whole_is_left_as_it_is(service: Imitation, catalogue: Path) -> None:
    service.fail(*place(3), "404")
    first = run(service, catalogue)
    made = first.out.read_bytes()
    again = run(service, catalogue)
    assert (again.stamps, again.fetched, again.left, again.skipped) == (7, 0, {"outside": 1}, first.skipped)
    assert first.out.read_bytes() == made and len(service.asked) == 8


def test_retry_asks_for_the_rest_alone(service: Imitation, catalogue: Path) -> None:
    service.fail(*place(3), "404", "418")
    service.fail(*place(5), "zero")
    assert run(service, catalogue).left == {"outside": 2}
    again = run(service, catalogue, retry=True)
    assert (again.stamps, again.fetched, again.left) == (7, 1, {"failed": 1})
    assert listed(again.out) == {"g3": ("failed", "HTTP 418")}
    last = run(service, catalogue, retry=True)
    assert (last.stamps, last.fetched, last.left, last.skipped) == (8, 1, {}, None)
    assert not skipped_path(last.out).exists() and service.positions()[10:] == [place(3)]
    check_whole(last.out, NAMES)


def test_a_retry_that_finds_nothing_new_keeps_what_is_there(service: Imitation, catalogue: Path) -> None:
    service.fail(*place(3), "404")
    run(service, catalogue)
    service.always = "500"
    report = run(service, catalogue, retry=True)
    assert (report.stamps, report.left) == (7, {"failed": 1})
    check_whole(report.out, [name for name in NAMES if name != "g3"])


def test_another_set_is_not_overwritten(service: Imitation, catalogue: Path) -> None:
    run(service, catalogue)
    for asked in ({"layer": "two"}, {"size": 32}, {"bands": "riz"}, {"scale": 0.3}):
        with pytest.raises(SurveyError, match="exists already, and is another set"):
            run(service, catalogue, asked=asked)
    catalogue.write_text(catalogue.read_text().replace("g7,17", "g7,18"))
    with pytest.raises(SurveyError, match="exists already"):
        run(service, catalogue, retry=True)
    assert len(service.asked) == 8
    out = catalogue.parent / "out.h5"
    out.write_text("my notes")
    with pytest.raises(StampError, match="not a readable HDF5 file"):
        run(service, catalogue)
    assert out.read_text() == "my notes"


def test_a_list_of_somebody_else_is_not_overwritten(service: Imitation, catalogue: Path) -> None:
    path = skipped_path(catalogue.parent / "out.h5")
    path.write_text("my,notes\n1,2\n")
    with pytest.raises(OutputError, match="this command did not make it"):
        run(service, catalogue)
    assert path.read_text() == "my,notes\n1,2\n" and not service.asked
    assert not list(catalogue.parent.glob("*.partial"))


def test_a_list_of_an_earlier_set_says_nothing(service: Imitation, catalogue: Path) -> None:
    out = catalogue.parent / "out.h5"
    skipped_path(out).write_text("file,ra,dec,kind,reason\ng3,13.0,-1.0,outside,gone\n")
    out.with_name("out.h5.partial").touch()
    report = run(service, catalogue)
    assert (report.stamps, report.left) == (8, {}) and not skipped_path(out).exists()


def test_a_torn_list_goes_on_behind_its_last_whole_line(service: Imitation, catalogue: Path) -> None:
    service.fail(*place(0), "404")
    for row in range(4, 8):
        service.fail(*place(row), *["500"] * 3)
    with pytest.raises(SurveyError, match="fails"):
        run(service, catalogue, connections="1")
    path = skipped_path(catalogue.parent / "out.h5")
    with path.open("a") as stream:
        stream.write("g2,12.0,-2.0,fai")
    report = run(service, catalogue)
    assert report.stamps == 7 and list(listed(report.out)) == ["g0"]
    assert service.positions().count(place(0)) == 1


def test_a_place_that_cannot_be_written_is_found_before_work(service: Imitation, catalogue: Path) -> None:
    (catalogue.parent / "file").write_text("")
    order = Order.of(read_survey(service.description(catalogue.parent)))
    with pytest.raises(SurveyError, match="cannot be written"):
        fetch(read_targets(catalogue, order.survey), order, catalogue.parent / "file" / "out.h5")
    assert not service.asked


def test_a_disk_that_is_too_small_is_found_before_work(
    service: Imitation, catalogue: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("shutil.disk_usage", lambda path: type("Usage", (), {"free": 10})())
    with pytest.raises(SurveyError, match="8 stamps need"):
        run(service, catalogue)
    assert not service.asked


def test_a_disk_that_fills_up_stops_the_work_and_the_next_run_goes_on(
    service: Imitation, catalogue: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*arguments: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patched, pytest.raises(StampError, match="No space left on device") as caught:
        patched.setattr("lvm_training.stamps.journal.os.fsync", full)
        run(service, catalogue)
    assert "goes on" in caught.value.hint
    assert run(service, catalogue).stamps == 8
    check_whole(catalogue.parent / "out.h5", NAMES)


def test_nothing_at_all_makes_no_set(service: Imitation, catalogue: Path) -> None:
    service.always = "zero"
    with pytest.raises(SurveyError, match="None of 8 stamps could be had; g"):
        run(service, catalogue)
    out = catalogue.parent / "out.h5"
    assert not out.exists() and len(listed(out)) == 8
    service.always = ""
    assert run(service, catalogue).stamps == 8 and not skipped_path(out).exists()


def test_a_row_without_position_is_listed(service: Imitation, catalogue: Path) -> None:
    catalogue.write_text(catalogue.read_text() + "lost,,3,0,1\n")
    report = run(service, catalogue)
    assert report.stamps == 8 and report.left == {"no position": 1}
    assert listed(report.out) == {"lost": ("no position", "ra or dec is missing")}


def test_other_scales_keep_the_light(service: Imitation, catalogue: Path) -> None:
    report = run(service, catalogue, asked={"scale": 0.524})
    with StampSet(report.out) as stamps:
        row = stamps.column("file").tolist().index("g2")
        assert stamps.pixel_scale == 0.524 and stamps.about("survey")["interpolated"]
        np.testing.assert_allclose(stamps.pixels([row])[0, 1], 4 * sky(*place(2), "r"), rtol=1e-6)


@pytest.mark.parametrize(
    ("unit", "worth"),
    [
        ("MJy/sr", 1e12 / 3.631 * (0.524 / 206264.806) ** 2),  # of these pixels, by the header
        ("nmgy/arcsec2", 0.524**2),
        ("nanomaggy", 4.0),  # of one of the survey's own pixels
        ("", 4.0),
    ],
)
def test_values_per_solid_angle_count_the_area_of_a_pixel_once(tmp_path: Path, unit: str, worth: float) -> None:
    query = {"ra": "10", "dec": "3", "size": "16", "bands": "grz", "pixscale": "0.524"}
    reader = Reader(Order.of(find_survey("legacy-surveys"), size=16, scale=0.524), tmp_path)
    found = reader.read(cutout(query, unit=unit), 10.0, 3.0, ("g", "r", "z"))
    np.testing.assert_allclose(found[1], worth * sky(10.0, 3.0, "r"), rtol=1e-4)


@pytest.mark.parametrize("named", ["g,r,z", "g r z", "g.MP9401,r.MP9601,z.MP9801", "HSC-G;HSC-R;HSC-Z"])
def test_bands_go_by_the_names_that_an_import_knows(tmp_path: Path, named: str) -> None:
    query = {"ra": "10", "dec": "3", "size": "16", "bands": "grz", "pixscale": "0.262"}
    reader = Reader(Order.of(find_survey("legacy-surveys"), size=16), tmp_path)
    read = partial(reader.read, ra=10.0, dec=3.0)
    assert read(cutout(query, named=named), bands=("g", "r", "z")).shape == (3, 16, 16)
    with pytest.raises(NoStamp, match="wrong bands: g, r, z where g, r, i were asked for"):
        read(cutout(query, named=named), bands=("g", "r", "i"))
    filters = cutout({"ra": "10", "dec": "3", "size": "16", "band": "r", "pixscale": "0.262"}, named="HSC-R2")
    assert read(filters, bands=("r",)).shape == (1, 16, 16)
    with pytest.raises(NoStamp, match="wrong bands: r where g"):
        read(filters, bands=("g",))


def test_other_bands_and_zero_points(service: Imitation, catalogue: Path) -> None:
    report = run(service, catalogue, asked={"bands": "riz"}, zero_point="25.0")
    with StampSet(report.out) as stamps:
        row = stamps.column("file").tolist().index("g2")
        assert stamps.about("survey")["bands"] == {"g": "r", "r": "i", "z": "z"}
        expected = np.stack([sky(*place(2), band) for band in "riz"]) / 10
        np.testing.assert_allclose(stamps.pixels([row])[0], expected, rtol=1e-6)


def test_a_service_of_single_bands_is_asked_for_each(service: Imitation, catalogue: Path) -> None:
    url = f'"{service.url}/x?ra={{ra}}&dec={{dec}}&pixscale={{scale}}&band={{band}}&size={{size}}"'
    service.fail(*place(3), "good", "500", "zero", "good")
    service.fail(*place(5), "bands:i")
    report = run(service, catalogue, url=url)
    assert report.left == {"failed": 1, "partly covered": 1}
    found = listed(report.out)
    assert "0% of the pixels in r" in found["g3"][1] and "wrong bands: i where g" in found["g5"][1]
    check_whole(report.out, [name for name in NAMES if name not in ("g3", "g5")])


def test_pictures_become_a_set_as_delivered(service: Imitation, catalogue: Path) -> None:
    service.always = "picture"
    report = run(service, catalogue, layers='["one"]\nanswers = "picture"')
    with StampSet(report.out) as stamps:
        assert (stamps.rendering, stamps.origin) == ("as-delivered", "upper")
        row = stamps.column("file").tolist().index("g2")
        expected = np.stack([sky(*place(2), band) * 255 for band in "zrg"]).astype(np.uint8)
        np.testing.assert_array_equal(stamps.pixels([row])[0], expected)
        assert "covered" not in stamps.columns
    service.always = "picture:black"
    with pytest.raises(SurveyError, match="every pixel is the same"):
        fetch_pictures = catalogue.with_name("more.csv")
        fetch_pictures.write_text("ra,dec\n1,2\n")
        order = Order.of(read_survey(catalogue.parent / "imitation.toml"))
        fetch(read_targets(fetch_pictures, order.survey), order, catalogue.parent / "black.h5")


def test_progress_counts_every_stamp(service: Imitation, catalogue: Path) -> None:
    service.fail(*place(3), "404")
    seen: list[tuple[int, int]] = []
    order = Order.of(read_survey(service.description(catalogue.parent)))
    fetch(
        read_targets(catalogue, order.survey),
        order,
        catalogue.parent / "out.h5",
        progress=lambda *done: seen.append(done),
    )
    assert seen[0] == (0, 8) and seen[-1] == (8, 8) and [done for done, _ in seen] == sorted(done for done, _ in seen)


@pytest.mark.timeout(120)
def test_rubbish_is_refused_whatever_it_is(tmp_path: Path) -> None:
    order = Order.of(find_survey("legacy-surveys"), size=16)
    reader, rng, refused = Reader(order, tmp_path), random.Random(5), 0
    whole = cutout({"ra": "10", "dec": "3", "size": "16", "bands": "grz", "pixscale": "0.262"})
    for _ in range(150):
        data = bytearray(whole)
        for _ in range(rng.choice((1, 2, 5, 40))):
            data[rng.randrange(2880)] = rng.choice(b"0123456789-.EN 'T=")
        try:
            reader.cutout([reader.read(bytes(data), 10.0, 3.0, ("g", "r", "z"))])
        except NoStamp as error:
            refused += 1
            assert str(error)
    assert 50 < refused < 150
