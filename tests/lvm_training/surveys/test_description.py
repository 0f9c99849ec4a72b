"""Descriptions of surveys: ours are right, and a wrong one is named with its field."""

from pathlib import Path

import pytest

from lvm_training.errors import SurveyError
from lvm_training.surveys.description import PLACES, find_survey, known_surveys, read_survey
from lvm_training.surveys.order import Order
from tests.lvm_training.surveys.imitation import DESCRIPTION

URL = "https://sky.example/cutout?ra={ra}&dec={dec}&layer={layer}&pixscale={scale}&bands={bands}&size={size}"
GOOD = DESCRIPTION.format(url="https://sky.example").replace("/fits-cutout", "/cutout")


def test_ours_can_all_be_asked_but_the_examples() -> None:
    assert {"legacy-surveys", "sdss", "ps1", "hsc", "lsst-like", "euclid-like"} <= set(known_surveys())
    for name in known_surveys():
        survey = find_survey(name)
        assert survey.name == name and survey.title and survey.citation and survey.footprint.note
        assert survey.service.url.startswith("https://")
        if survey.example:
            with pytest.raises(SurveyError, match=f"{name} is an example") as caught:
                Order.of(survey)
            assert "url" in caught.value.hint
        else:
            order = Order.of(survey)
            assert all("{" not in url for url, _ in order.addresses(150.1, 2.2))
            width = order.size * order.scale
            assert 35 < width < 45, "about the 40 arcsec of the model's stamps"


def test_the_viewer_is_asked_as_it_wants() -> None:
    ((url, bands),) = Order.of(find_survey("legacy-surveys"), size=256).addresses(150.1, -2.25)
    assert url == (
        "https://www.legacysurvey.org/viewer/fits-cutout?ra=150.1000000&dec=-2.2500000&layer=ls-dr10"
        "&pixscale=0.262&bands=grz&size=256"
    )
    assert bands == ("g", "r", "z")


def test_hyper_suprime_cam_is_asked_for_each_band_in_arcsec() -> None:
    asked = Order.of(find_survey("hsc"), size=100).addresses(360.0, 2.0)
    assert [bands for _, bands in asked] == [("HSC-G",), ("HSC-R",), ("HSC-Z",)]
    assert all("sw=8.7360asec&sh=8.7360asec" in url and "ra=0.0000000" in url for url, _ in asked)


@pytest.mark.parametrize(
    ("line", "instead", "field"),
    [
        ("size = 64", 'size = "many"', "limits.size"),
        ("size = 64", "size = 64\nsnail = 1", "limits.snail"),
        ("size = 64", "", "limits.size"),
        ("size = 64", "size = 1000000", "limits.size"),
        ("size = 64", "size = 10", "pixels.size"),
        ("rate = 1000.0", "rate = 5000.0", "rate: 5000 is above most_rate"),
        ("rate = 1000.0", "rate = 0", "limits.rate"),
        ("rate = 1000.0", "rate = inf", "limits.rate"),
        ("tries = 3", "tries = 0", "limits.tries"),
        ("scale = 0.262", "scale = -1", "pixels.scale"),
        ('planes = ["g", "r", "z"]', 'planes = ["g", "r", "K"]', "'K' is none of the known bands"),
        ('planes = ["g", "r", "z"]', 'planes = ["g", "r"]', "bands.planes"),
        ('layers = ["one", "two"]', "", "service.layers"),
        ('title = "An imitation"', "", "title"),
        ('note = "This machine."', "declination = [-100.0, 0.0]", "footprint.declination"),
        ('note = "This machine."', "probe = [400.0, 0.0]", "footprint.probe"),
        ("https://", "http://", "service.url: Value error, it must begin with https://"),
        ("https://", "file://", "service.url"),
        ("https://", "https://ada:hush@", "service.url: Value error, it holds a user name or password"),
        ("https://sky.example", "https://{layer}", "service.url"),
        ("{layer}", "{lair}", "service.url: Value error, {lair} is none of"),
        ("{layer}", "{layer.__class__}", "service.url"),
        ("ra={ra}", "ra=1", "service.url: Value error, {ra} is missing"),
        ("{ra}", "{ra", "service.url"),
        ("{ra}", "{ra:>9}", "{ra} stands alone"),
        ("{ra}", "{ra!r}", "{ra} stands alone"),
        ("[limits]", "[limits", "no TOML"),
    ],
)
def test_a_wrong_field_is_named(tmp_path: Path, line: str, instead: str, field: str) -> None:
    path = tmp_path / "mine.toml"
    path.write_text(GOOD)
    assert find_survey(str(path)).name == "mine"
    assert line in GOOD
    path.write_text(GOOD.replace(line, instead, 1))
    with pytest.raises(SurveyError) as caught:
        find_survey(str(path))
    assert caught.value.message.startswith("mine.toml") and field in caught.value.message
    assert "hush" not in str(caught.value)


def test_a_file_that_is_none_is_named(tmp_path: Path) -> None:
    with pytest.raises(SurveyError, match="There is no survey 'sloan'") as caught:
        find_survey("sloan")
    assert "legacy-surveys" in caught.value.hint
    with pytest.raises(SurveyError, match=r"none\.toml cannot be read"):
        read_survey(tmp_path / "none.toml")
    (tmp_path / "latin.toml").write_bytes(b'title = "\xe9"')
    with pytest.raises(SurveyError, match=r"latin\.toml cannot be read"):
        read_survey(tmp_path / "latin.toml")


def test_the_description_that_the_docs_show_is_right(tmp_path: Path) -> None:
    page = (Path(__file__).parents[3] / "docs" / "howto" / "survey-cutouts.md").read_text()
    path = tmp_path / "my-survey.toml"
    path.write_text(page.partition("```toml\n")[2].partition("```")[0])
    survey = read_survey(path)
    assert len(Order.of(survey).addresses(60.0, -30.0)) == 3
    parts = (survey.service, survey.pixels, survey.bands, survey.limits, survey.footprint)
    assert all(part.model_fields_set == set(type(part).model_fields) for part in parts), "the page shows every field"
    assert not [place for place in PLACES if f"{{{place}}}" not in page]
