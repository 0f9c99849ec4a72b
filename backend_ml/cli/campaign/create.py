"""`galaxyloop campaign create`: a project of a stamp set, with a first model and a queue."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from backend_ml.cli.campaign.session import Session, session
from backend_ml.cli.encoder import AnyEncoder, chosen
from backend_ml.cli.options import Consensus, Detector, Json, Missing, Name, Seed, Where, choose_rows, declared_missing
from backend_ml.cli.simulated import looked_for, measured_of, simulated_classes
from backend_ml.console import reported, show, tell
from lvm_training.paths import RELEASED_LVM
from lvm_training.progress import progress_bar

if TYPE_CHECKING:
    from backend_ml.campaign.plan import CampaignPlan
    from backend_ml.store.records import Campaign

Kind = Annotated[
    str,
    typer.Option(
        help="morphology, lenses, interest, interest_rating, galaxy_zoo, parameters, restoration, several, "
        "or a package's own."
    ),
]
StartingLabels = Annotated[
    Path | None,
    typer.Option(help="Starting labels: table of stamp_set, stamp_id, label; for galaxy_zoo a vote table."),
]
Policy = Annotated[
    str | None, typer.Option(help="What is worth most: margin, loop, bald, ...; for lenses box-margin, masks, ...")
]
Overlap = Annotated[
    int | None,
    typer.Option(help="Labels, of different people, that each task waits for; 1, for galaxy_zoo 3.", min=1),
]
Simulated = Annotated[
    list[str] | None,
    typer.Option(help="CLASS=CONCEPT: what the simulator draws of a class; repeat. A wrong one lists them."),
]
LikeSimulated = Annotated[
    str | None,
    typer.Option(help="For the kind interest: what the simulator draws, such as ring, in place of examples."),
]
LabelConfig = Annotated[
    Path | None,
    typer.Option(
        help="With --kind several: a label config of your own, an XML file; each tag is answered by its head."
    ),
]
Columns = Annotated[
    str | None,
    typer.Option(help="What the head reads beside the image: columns, and NAME.npy of vectors; with commas."),
]


def create(
    name: Name,
    stamps: Annotated[Path, typer.Option(help="The stamp set to label, or its address in a bucket, s3://...")],
    encoder: AnyEncoder = str(RELEASED_LVM),
    kind: Kind = "morphology",
    detector: Detector = None,
    classes: Annotated[list[str] | None, typer.Option("--class", help="A class; repeat. Else the config's.")] = None,
    where: Where = None,
    limit: Annotated[int | None, typer.Option(help="At most so many tasks, drawn at random.", min=1)] = None,
    labels: StartingLabels = None,
    missing: Missing = None,
    label_set: Annotated[list[Path] | None, typer.Option(help="Another stamp set that they name; repeat.")] = None,
    audit: Annotated[float, typer.Option(help="Share of tasks labelled blind.", min=0, max=1)] = 0.1,
    tasks: Annotated[int | None, typer.Option(help="Import the best so many, and more as they run out.", min=1)] = None,
    refill_below: Annotated[int | None, typer.Option(help="Import more when fewer ranked tasks wait.", min=1)] = None,
    policy: Policy = None,
    overlap: Overlap = None,
    consensus: Consensus = "majority",
    simulated: Simulated = None,
    like_simulated: LikeSimulated = None,
    columns: Columns = None,
    label_config: LabelConfig = None,
    seed: Seed = 0,
    as_json: Json = False,
) -> None:
    """Create a project with pre-annotated tasks in the order in which their labels are worth most."""
    from backend_ml.buckets import fetched
    from backend_ml.campaign.create import CampaignMaker
    from backend_ml.campaign.plan import CampaignPlan
    from backend_ml.kinds.installed import find_kind
    from backend_ml.label_studio.regions.controls import read_config

    with reported():
        own_config = read_config(label_config) if label_config else ""
        stamps, label_set = fetched(stamps), [fetched(one) for one in label_set or ()]
        config = find_kind(kind).label_config(classes or None)
        start = find_kind(kind).starting(labels, stamps, config, declared_missing(missing)) if labels else None
        rows = choose_rows(stamps, where or (), limit, seed)
    tell(start.notes if start else ())
    with session() as s:
        plan = CampaignPlan(
            name,
            stamps,
            chosen(encoder, s.settings),
            rows=rows,
            classes=classes or None,
            kind=kind,
            detector=detector,
            labels=start,
            label_sets=label_set,
            audit_fraction=audit,
            tasks=tasks,
            refill_below=refill_below,
            policy=policy,
            overlap=overlap,
            consensus=consensus,
            simulated=simulated_classes(simulated or []) | looked_for(kind, like_simulated),
            columns=[one.strip() for one in (columns or "").split(",") if one.strip()],
            own_config=own_config,
            seed=seed,
        )
        created = CampaignMaker(s.settings, s.database, s.label_studio, progress_bar).create(plan)
        told = _told(s, plan, created)
        if like_simulated is not None:
            told["like_simulated"] = f"{like_simulated}: {measured_of(plan.encoder, like_simulated)}"
        show(told, as_json=as_json)


def _told(s: Session, plan: "CampaignPlan", created: "Campaign") -> dict[str, str | list[str]]:
    """Where a new campaign is, and how its model sees and answers."""
    from backend_ml.kinds.installed import kind_of
    from backend_ml.pictures.framing import framing_words
    from lvm_training.heads.beside import described
    from lvm_training.stamps.stampset import StampSet

    kind = kind_of(created)
    with StampSet(plan.stamps) as opened:
        framing = framing_words(created.rendering, opened, shows_whole=kind.shows_whole)
        missing_values = described(opened, plan.columns)
    taken = plan.taken
    known: dict[str, str | list[str]] = {
        "campaign": created.name,
        "project": f"{s.settings.label_studio_url}/projects/{created.project_id}",
        "status": f"{s.settings.public_url.rstrip('/')}/status/{created.id}",
        "invitation": s.label_studio.invite_url(),
        "framing": framing,
        "columns": "; ".join(missing_values),
        "answered": ", ".join(taken.names) if taken else "",
        "no_head": list(plan.unserved),
        "remarks": list(taken.remarks if taken else ()),
    }
    return {name: said for name, said in known.items() if said}
