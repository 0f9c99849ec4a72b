"""Ids in paths: what is no number of a bearable length matches no route, so it costs neither thought nor database.

Starlette's own `int` takes any number of digits, and Python refuses to read more than 4,300.
"""

from starlette.convertors import Convertor, register_url_convertor

ID, ROW = "id", "row"
"""What routes write after the colon for ids of four bytes (campaigns, pictures) and for rows of stamp sets."""


class IdConvertor(Convertor[int]):
    """Whole numbers from 0, of so many digits at most that four bytes hold them."""

    regex = "[0-9]{1,9}"

    def convert(self, value: str) -> int:
        """As routes get it."""
        return int(value)

    def to_string(self, value: int) -> str:
        """As it stands in a path."""
        return str(value)


class RowConvertor(IdConvertor):
    """As `IdConvertor`, of eight bytes."""

    regex = "[0-9]{1,18}"


register_url_convertor(ID, IdConvertor())
register_url_convertor(ROW, RowConvertor())
