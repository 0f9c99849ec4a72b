"""The kinds that are installed: found by entry point, ours among them, and imported when first asked for."""

from functools import cache
from importlib.metadata import EntryPoint, entry_points
from typing import Any

from backend_ml.kinds.beside import load_version
from backend_ml.kinds.checked import CheckedModel, check_offered
from backend_ml.kinds.kind import Kind, KindError, blamed
from backend_ml.kinds.models import Stores
from backend_ml.kinds.results import ConfigKind
from backend_ml.label_studio.regions.choices import LabelConfigError
from backend_ml.store.records import Campaign, ModelVersion

GROUP = "galaxyloop.kinds"
OURS = "galaxyloop"  # the distribution whose kinds no other may replace


def names() -> tuple[str, ...]:
    """Names of all kinds that some package offers, usable or not."""
    return tuple(sorted({point.name for point in entry_points(group=GROUP)}))


@cache
def find_kind(name: str) -> Kind[Any, Any]:
    """The kind of that name. One of ours stays itself whatever else is installed.

    Raises
    ------
    KindError
        If there is none, its package cannot be imported or does not fit, or several packages offer it.
    """
    points = _offering(name)
    ours = [point for point in points if _package(point) == OURS]
    if len(points) > 1 and not ours:
        raise _twice(name, points)
    return _loaded((ours or points)[0])


def kind_of(campaign: Campaign) -> Kind[Any, Any]:
    """What a campaign is answered with.

    Raises
    ------
    KindError
        As `find_kind`.
    """
    return serving_kind(campaign.kind, campaign.label_config, adopted=campaign.adopted)


def known_kind(campaign: Campaign) -> Kind[Any, Any] | None:
    """What a campaign is answered with; None where the package of its kind is gone or broken."""
    try:
        return kind_of(campaign)
    except KindError:
        return None


def serving_kind(name: str, label_config: str, *, adopted: bool) -> Kind[Any, Any]:
    """The kind of that name as it answers a label config that it took (`ConfigKind`); "" leaves it its own.

    Raises
    ------
    KindError
        As `find_kind`.
    """
    kind = find_kind(name)
    return kind.serving(label_config, adopted=adopted) if label_config and isinstance(kind, ConfigKind) else kind


def check_kind(name: str) -> Kind[Any, Any]:
    """The kind of that name for a new campaign, for which nothing may be in doubt.

    Raises
    ------
    KindError
        As `find_kind`; also if another package offers one of our names, or its label config is not what it answers.
    LabelConfigError
        If its label config cannot be answered.
    """
    kind, points = find_kind(name), _offering(name)
    if len(points) > 1:
        raise _twice(name, points)
    with blamed(kind, "reading its label config"):
        check_offered(kind, kind.label_config())
    return kind


def offered(campaign: Campaign, label_config: str) -> tuple[str, ...]:
    """The classes that a campaign's kind reads from a label config.

    Raises
    ------
    LabelConfigError
        If it cannot be answered.
    KindError
        As `find_kind`, or if the kind fails.
    """
    kind = kind_of(campaign)
    with blamed(kind, "reading its label config"):
        return kind.offered(answered_part(campaign, label_config))


def answered_part(campaign: Campaign, label_config: str) -> str:
    """The part of a project's present label config that its campaign answers: all, or of one that was adopted a part.

    Raises
    ------
    LabelConfigError
        If it no longer has the question that the campaign answers.
    """
    if not campaign.label_config:
        return label_config
    return kind_of(campaign).part(label_config, campaign.label_config)


def config_of(campaign: Campaign) -> str:
    """The label config that a campaign was made with."""
    return campaign.label_config or kind_of(campaign).label_config(campaign.classes)


def control_of(campaign: Campaign) -> str:
    """The one control tag whose choices are a campaign's labels; "" where those of any are.

    So it is where the package of its kind is gone: what people say is taken in all the same.
    """
    try:
        return kind_of(campaign).control(campaign.classes)
    except (KindError, LabelConfigError):
        return ""


def load_model(version: ModelVersion, stores: Stores) -> CheckedModel | None:
    """A version as something that answers, held to its campaign's classes and label config; None for a cold start.

    It reads the features of its own encoder, whichever the campaign's is by now.

    Raises
    ------
    CheckpointError
        If its weights are not there, or not whole.
    KindError
        As `find_kind`, or if the kind cannot load it.
    """
    if not version.answers:
        return None
    kind = kind_of(stores.campaign)
    with blamed(kind, f"loading {version.version}"):
        model, beside = load_version(kind, version, stores.of(version.encoder))
        return CheckedModel(model, kind, stores.campaign.classes, beside=beside is not None)


def _offering(name: str) -> tuple[EntryPoint, ...]:
    points = tuple(entry_points(group=GROUP, name=name))
    if not points:
        raise KindError(
            f"There is no kind of campaign {name!r} here.",
            f"There are: {', '.join(names())}. Install the package of another for backend, worker and command line.",
        )
    return points


def _loaded(point: EntryPoint) -> Kind[Any, Any]:
    where = f"The kind {point.name!r} of {_package(point)}"
    try:
        found = point.load()
        kind = found()
    except Exception as error:
        said = " ".join(str(error).split())[:200]
        raise KindError(
            f"{where} cannot be used: {point.value} fails to load ({type(error).__name__}: {said}).",
            "Mend or uninstall the package.",
        ) from error
    if not isinstance(kind, Kind) or kind.name != point.name:
        raise KindError(
            f"{where} cannot be used: {point.value} is no class derived from Kind whose `name` is {point.name!r}.",
            "Mend or uninstall the package.",
        )
    return kind


def _twice(name: str, points: tuple[EntryPoint, ...]) -> KindError:
    offers = " and ".join(sorted(f"{_package(point)} ({point.value})" for point in points))
    return KindError(f"The kind {name!r} is offered twice, by {offers}.", "Uninstall one, or give it another name.")


def _package(point: EntryPoint) -> str:
    return point.dist.name if point.dist is not None else "an unknown package"
