"""`galaxyloop campaign`: its commands, in the order in which they are listed."""

import typer

from backend_ml.cli.campaign.adopt import adopt
from backend_ml.cli.campaign.create import create
from backend_ml.cli.campaign.export import export
from backend_ml.cli.campaign.lead import add, change, close, pause, rename_class, reopen, resume, set_aside
from backend_ml.cli.campaign.status import list_, status
from backend_ml.cli.campaign.upkeep import encoder, sync

app = typer.Typer(help="Campaigns in Label Studio.", no_args_is_help=True)
app.command()(create)
app.command()(adopt)
app.command()(status)
app.command()(encoder)
app.command()(sync)
app.command()(export)
app.command("list")(list_)
app.command()(pause)
app.command()(resume)
app.command()(close)
app.command()(reopen)
app.command()(change)
app.command()(set_aside)
app.command()(rename_class)
app.command()(add)
