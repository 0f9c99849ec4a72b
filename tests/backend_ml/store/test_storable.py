"""Text and numbers from outside: what is let through is what PostgreSQL keeps as it is."""

import psycopg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic import TypeAdapter, ValidationError

from backend_ml.store.database import Database
from backend_ml.store.storable import INT4, INT8, Id, Name, Row, Text, is_storable

ANY = st.text(st.characters(codec=None, categories=None), max_size=8)
ODD = st.sampled_from(["", "\0", "a\0b", "\ud800", "\udfff", "\ud83d\ude00", "\ue000", "\uffff", "\U0010ffff", "\x7f"])


def kept(database: Database, text: str) -> bool:
    """Whether PostgreSQL takes the text and gives it back."""
    try:
        with database.transaction() as connection:
            row = connection.execute("SELECT %s::text AS text", (text,)).fetchone()
    except (psycopg.DataError, UnicodeEncodeError):
        return False
    return row is not None and row["text"] == text


@settings(deadline=None, max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(text=ANY | ODD)
def test_a_text_is_storable_if_postgresql_keeps_it(database: Database, text: str) -> None:
    assert is_storable(text) == kept(database, text)


@given(ANY | ODD)
def test_a_text_is_taken_as_it_is_or_refused(text: str) -> None:
    if is_storable(text):
        assert TypeAdapter(Text).validate_python(text) == text
    else:
        with pytest.raises(ValidationError, match=r"NUL or half of a character|valid unicode"):
            TypeAdapter(Text).validate_python(text)


@given(ANY | ODD)
def test_a_name_stays_on_one_line_and_can_be_stored(text: str) -> None:
    try:
        name = TypeAdapter(Name).validate_python(text)
    except ValidationError:
        assert not text.isprintable()
    else:
        assert name == text and len(name.splitlines()) <= 1 and is_storable(name)


@pytest.mark.parametrize(("kind", "most", "column"), [(Id, INT4, "integer"), (Row, INT8, "bigint")])
def test_the_largest_number_is_the_column_s_own(database: Database, kind: object, most: int, column: str) -> None:
    adapter: TypeAdapter[int] = TypeAdapter(kind)
    with database.transaction() as connection:
        row = connection.execute(f"SELECT %s::text::{column} AS kept", (str(most),)).fetchone()
    assert row == {"kept": adapter.validate_python(most)}
    with pytest.raises(psycopg.errors.NumericValueOutOfRange), database.transaction() as connection:
        connection.execute(f"SELECT %s::text::{column}", (str(most + 1),))
    for outside in (-1, most + 1, 10**400):
        with pytest.raises(ValidationError):
            adapter.validate_python(outside)
