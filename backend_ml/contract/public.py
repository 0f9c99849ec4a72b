"""What needs no credentials: that the process runs, and the pictures, whose links are signed."""

from collections.abc import Callable
from typing import Annotated

from fastapi import APIRouter, Cookie, Depends, Response
from pydantic import BaseModel, Field

from backend_ml.contract.backend import TheBackend
from backend_ml.serving.admission import ID, ROW
from backend_ml.sign_in.access import ThePages
from backend_ml.sign_in.sessions import COOKIE, SignInError
from backend_ml.store.database import DatabaseError
from backend_ml.store.storable import Id, Text

Key = Annotated[str, Field(max_length=64)]
ClassName = Annotated[Text, Field(max_length=200)]
public = APIRouter()


class Livez(BaseModel):
    """Answer of `/livez`: that the process runs, and whether it has its database; anybody may read it."""

    status: str = "ok"
    database: bool


@public.get("/livez")
def livez(backend: TheBackend) -> Livez:
    """That the process runs; needs no credentials."""
    try:
        backend.database.rows("last_event", campaign=0)
        reachable = True
    except DatabaseError:
        reachable = False
    return Livez(database=reachable)


async def looker(pages: ThePages, cookie: Annotated[str | None, Cookie(alias=COOKIE)] = None) -> Callable[[], bool]:
    """Tells, where that matters, whether who looks at a picture is signed in."""

    def signed_in() -> bool:
        try:
            pages.sessions.read(cookie)
        except SignInError:
            return False
        return True

    return signed_in


TheLooker = Annotated[Callable[[], bool], Depends(looker)]


@public.get(f"/stamps/{{stamp_set}}/{{stamp_id:{ROW}}}.jpg")
def stamp(stamp_set: str, stamp_id: int, campaign: Id, backend: TheBackend, key: Key, looks: TheLooker) -> Response:
    """The picture of a stamp that annotators see."""
    found = backend.pictures.file(stamp_set, stamp_id, campaign, key, looks)
    return Response(found, media_type="image/jpeg", headers={"Cache-Control": "private, max-age=86400"})


@public.get(f"/stamps/{{stamp_set}}/{{stamp_id:{ROW}}}.png")
def stamp_as_png(
    stamp_set: str, stamp_id: int, campaign: Id, backend: TheBackend, key: Key, looks: TheLooker
) -> Response:
    """The same as PNG: tasks that were imported by earlier versions name it."""
    found = backend.pictures.file(stamp_set, stamp_id, campaign, key, looks, "png")
    return Response(found, media_type="image/png", headers={"Cache-Control": "private, max-age=86400"})


@public.get(f"/restored/{{stamp_set}}/{{stamp_id:{ROW}}}.jpg")
def restored(stamp_set: str, stamp_id: int, campaign: Id, backend: TheBackend, key: Key, looks: TheLooker) -> Response:
    """A stamp as the campaign's version restores it."""
    # another version may serve soon
    found = backend.restored.file("restored", stamp_set, stamp_id, campaign, key, looks)
    return Response(found, media_type="image/jpeg", headers={"Cache-Control": "private, max-age=60"})


@public.get(f"/residual/{{stamp_set}}/{{stamp_id:{ROW}}}.jpg")
def residual(stamp_set: str, stamp_id: int, campaign: Id, backend: TheBackend, key: Key, looks: TheLooker) -> Response:
    """What restoration took away of a stamp."""
    found = backend.restored.file("residual", stamp_set, stamp_id, campaign, key, looks)
    return Response(found, media_type="image/jpeg", headers={"Cache-Control": "private, max-age=60"})


@public.get(f"/examples/{{campaign:{ID}}}/{{number:{ID}}}.jpg")
def example(campaign: int, number: int, name: ClassName, backend: TheBackend, key: Key) -> Response:
    """An example of a class, for the instruction."""
    found = backend.shown.example(campaign, name, number, key)
    return Response(found, media_type="image/jpeg", headers={"Cache-Control": "private, max-age=600"})


@public.get(f"/progress/{{campaign:{ID}}}.svg")
def progress(campaign: int, backend: TheBackend, key: Key) -> Response:
    """How many of a campaign's tasks are labelled."""
    svg = backend.shown.progress(campaign, key)
    return Response(svg, media_type="image/svg+xml", headers={"Cache-Control": "no-store"})
