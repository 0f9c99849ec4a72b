"""Ids in paths: every number that its column can hold leads to its route, everything else nowhere."""

import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient
from hypothesis import given, settings
from hypothesis import strategies as st

from backend_ml.serving.admission import ID, ROW, IdConvertor, RowConvertor
from backend_ml.store.storable import INT4, INT8

app = FastAPI()


@app.get(f"/stamps/{{campaign:{ID}}}/{{row:{ROW}}}")
def stamp(campaign: int, row: int) -> list[int]:
    """What was read from the path."""
    return [campaign, row]


CLIENT = TestClient(app)


@settings(deadline=None, max_examples=60)
@given(st.integers(0, 10**11), st.integers(0, 10**20))
def test_numbers_of_a_bearable_length_are_read_and_others_found_nowhere(campaign: int, row: int) -> None:
    answer = CLIENT.get(f"/stamps/{campaign}/{row}")
    if len(str(campaign)) <= 9 and len(str(row)) <= 18:
        assert answer.json() == [campaign, row] and campaign <= INT4 and row <= INT8
    else:
        assert answer.status_code == 404


@pytest.mark.parametrize("odd", ["", "-1", "+1", "1.0", "1e3", "0x1", " 1", "٣", "²", "9" * 5000, "1%00", "NaN", "1/2"])
def test_what_is_no_number_is_found_nowhere(odd: str) -> None:
    assert CLIENT.get(f"/stamps/{odd}/0").status_code == 404
    assert CLIENT.get(f"/stamps/0/{odd}").status_code == 404


def test_paths_are_written_as_they_are_read() -> None:
    assert app.url_path_for("stamp", campaign=7, row=10**17) == f"/stamps/7/{10**17}"
    for convertor in (IdConvertor(), RowConvertor()):
        assert convertor.convert(convertor.to_string(12)) == 12
    assert CLIENT.get("/stamps/007/0").json() == [7, 0]
