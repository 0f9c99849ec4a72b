"""`python -m backend_ml` is the `galaxyloop` command line."""

from backend_ml.cli.main import app

app(prog_name="galaxyloop")
