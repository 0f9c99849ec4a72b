"""`galaxyloop campaign adopt`: a project that is in Label Studio becomes a campaign."""

from typing import Annotated

import typer

from backend_ml.cli.campaign.session import session
from backend_ml.cli.encoder import AnyEncoder, chosen
from backend_ml.cli.options import Consensus, Detector, Json, Seed
from backend_ml.console import reported, show
from lvm_training.paths import RELEASED_LVM
from lvm_training.progress import progress_bar


def adopt(
    project: Annotated[str, typer.Argument(help="The project in Label Studio: its number, or its address.")],
    name: Annotated[str | None, typer.Option(help="Of the campaign; else the project's title.")] = None,
    kind: Annotated[str | None, typer.Option(help="morphology, lenses, interest, several; else what fits.")] = None,
    control: Annotated[
        str | None, typer.Option(help="The `name` of the one tag to answer; else all that heads can.")
    ] = None,
    allow_host: Annotated[
        list[str] | None, typer.Option(help="Pictures may come from this host too, HOST or HOST:PORT; repeat.")
    ] = None,
    encoder: AnyEncoder = str(RELEASED_LVM),
    detector: Detector = None,
    audit: Annotated[float, typer.Option(help="Share of unlabelled tasks labelled blind.", min=0, max=1)] = 0.1,
    policy: Annotated[str | None, typer.Option(help="What is worth most, as in `campaign create`.")] = None,
    consensus: Consensus = "majority",
    fit: Annotated[str | None, typer.Option(help="Pictures of other sizes: crop, shrink or pad.")] = None,
    pixel_scale: Annotated[float | None, typer.Option(help="Arcsec per pixel, where files do not say.")] = None,
    seed: Seed = 0,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would be done, and change nothing.")] = False,
    as_json: Json = False,
) -> None:
    """Make a campaign of a project that is there, with the labels it has; or take tasks in that people imported.

    Label config, data, annotations and others' predictions stay as they are.
    """
    from backend_ml.adoption.adopt import Adopter
    from backend_ml.adoption.plan import AdoptionPlan, project_number

    with reported():
        number = project_number(project)
    with session() as s:
        plan = AdoptionPlan(
            number,
            chosen(encoder, s.settings),
            name=name,
            kind=kind,
            control=control,
            allowed=allow_host or (),
            detector=detector,
            audit_fraction=audit,
            policy=policy,
            consensus=consensus,
            fit=fit,
            pixel_scale=pixel_scale,
            seed=seed,
        )
        adopter = Adopter(s.settings, s.database, s.label_studio, progress_bar)
        show(adopter.look(plan).as_json() if dry_run else adopter.adopt(plan), as_json=as_json)
