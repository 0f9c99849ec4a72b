"""What people read of an error."""

from pydantic import BaseModel, Field, ValidationError, model_validator

from lvm_training.errors import GalaxyLoopError, problems


class Inner(BaseModel):
    size: int = Field(ge=1)


class Outer(BaseModel):
    inner: list[Inner]
    name: str

    @model_validator(mode="after")
    def _named(self) -> "Outer":
        if self.name == "nobody":
            raise ValueError("somebody must be named")
        return self


def found(values: object) -> list[str]:
    try:
        Outer.model_validate(values)
    except ValidationError as error:
        return problems(error)
    return []


def test_each_problem_names_its_place() -> None:
    said = found({"inner": [{"size": 1}, {"size": 0}]})
    assert [line.split(": ")[0] for line in said] == ["inner.1.size", "name"]
    assert "greater than or equal to 1" in said[0] and "pydantic" not in "".join(said)


def test_a_problem_of_the_whole_has_no_place() -> None:
    assert found({"inner": [], "name": "nobody"}) == ["Value error, somebody must be named"]
    assert found({"inner": [], "name": "somebody"}) == []


def test_an_error_reads_as_message_and_hint() -> None:
    assert str(GalaxyLoopError("It is wrong.", "Do this.")) == "It is wrong. Do this."
    assert str(GalaxyLoopError("It is wrong.")) == "It is wrong."
