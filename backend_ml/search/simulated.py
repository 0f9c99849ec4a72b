"""Searches that begin without an example: what the simulator draws, how good that is, and how far its drawing is."""

from typing import Any

from backend_ml.campaign import defer
from backend_ml.kinds.simulated import is_drawn
from backend_ml.settings import Settings
from backend_ml.store.database import Connection, query
from backend_ml.store.encoders import stored_card, stored_encoder
from backend_ml.store.records import Campaign, CampaignError
from lvm_training.errors import GalaxyLoopError
from lvm_training.heads.preference import YES
from lvm_training.pool.features import Features
from lvm_training.scenes.simulated_classes import CONCEPTS, find_concept
from lvm_training.simulated.wanted import measured_words


class NotDrawnError(GalaxyLoopError):
    """A round of a search whose simulated galaxies are not drawn yet."""

    code = "not_drawn"


def offered(settings: Settings) -> list[dict[str, str]]:
    """What a search may begin with: names of concepts and what they are; nothing where simulation is switched off."""
    return [{"name": name, "words": one.words} for name, one in CONCEPTS.items() if settings.simulated_stamps]


def measurements(settings: Settings, pool: Features) -> dict[str, str]:
    """By concept, how well simulated stamps told it on real pictures with the encoder of a pool."""
    weights = _weights(settings, pool.encoder)
    return {name: measured_words(weights, name) for name in CONCEPTS}


def columns(settings: Settings, concept: str) -> dict[str, Any]:
    """What a campaign's row says of a search that begins with a concept, or with examples alone where it is empty.

    Raises
    ------
    ConceptError
        If the simulator draws nothing of that name.
    CampaignError
        If simulation is switched off.
    """
    if not concept:
        return {}
    find_concept(concept)
    if not settings.simulated_stamps:
        raise CampaignError(
            "Simulated galaxies are switched off here: GALAXYLOOP_SIMULATED_STAMPS is 0.", "Begin with examples."
        )
    return {"simulated": {YES: concept}, "simulated_stamps": settings.simulated_stamps}


def check_drawable(settings: Settings, encoder: str) -> None:
    """Refuse what is not drawn and no worker could draw.

    Raises
    ------
    CheckpointError, QueryError
        If the store does not have the encoder.
    """
    if not is_drawn(settings.store_folder, encoder, settings.simulated_stamps):
        stored_encoder(settings.store_folder, encoder)


def waiting(settings: Settings, search: Campaign) -> bool:
    """Whether a search begins with simulated galaxies that are not there yet."""
    drawn = is_drawn(settings.store_folder, search.encoder, search.simulated_stamps)
    return bool(search.simulated) and not drawn


def have_drawn(settings: Settings, connection: Connection, search: Campaign) -> None:
    """Let a worker draw the simulated galaxies that a search begins with, if they are not there."""
    if waiting(settings, search):
        defer.defer_simulation(connection, search)


def check_drawn(settings: Settings, search: Campaign) -> None:
    """Refuse a round before its simulated galaxies are there.

    Raises
    ------
    NotDrawnError
        If they are not.
    """
    if waiting(settings, search):
        raise NotDrawnError(
            "The simulated galaxies are not drawn yet.", "A worker takes a minute or two for it: `galaxyloop worker`."
        )


def described(settings: Settings, connection: Connection, search: Campaign) -> dict[str, Any] | None:
    """What a search began with in place of examples, and how far it is; None if with examples alone.

    `progress` is done and total while they are drawn, and None while no worker has begun; `problem` why it failed.
    """
    concept = search.simulated.get(YES)
    if concept is None:
        return None
    known = {
        "concept": concept,
        "words": find_concept(concept).words,
        "measured": measured_words(_weights(settings, search.encoder), concept),
        "drawn": not waiting(settings, search),
    }
    if known["drawn"]:
        return {**known, "progress": None, "problem": None}
    running = query(connection, "present_drawing", encoder=search.encoder)
    notices = query(connection, "notices", campaign=search.id)
    problems = [row["text"] for row in notices if row["source"] == "simulate"]
    progress = {name: running[0][name] for name in ("done", "total")} if running else None
    return {**known, "progress": progress, "problem": problems[0] if problems else None}


def _weights(settings: Settings, encoder: str) -> str:
    """What the card of an encoder in the store names its weights; empty if it is not there."""
    card = stored_card(settings.store_folder, encoder)
    return "" if card is None else card.encoder
