"""`galaxyloop campaign status` and `list`: how campaigns stand."""

from backend_ml.cli.campaign.session import annotator_name, transaction
from backend_ml.cli.options import Json, Name
from backend_ml.console import print_json, show_rows, show_told


def status(name: Name, as_json: Json = False) -> None:
    """How a campaign stands: tasks, labels, people, version, queue; what the page /status shows."""
    from backend_ml.campaign.encoders import called, newer
    from backend_ml.campaign.status import find
    from backend_ml.report.next_training import next_training, training_words
    from backend_ml.report.report import as_json as in_json
    from backend_ml.report.report import namer, read_report
    from backend_ml.report.told import campaign_told
    from backend_ml.settings import Settings

    with transaction() as connection:
        found = find(connection, name)
        settings = Settings()
        store = settings.store_folder
        released = newer(connection, found, store)
        hint = released and f"{released}; `galaxyloop campaign encoder '{name}' --use {released}` tries it"
        report, named = read_report(connection, found), namer(connection, found, annotator_name)
        training = next_training(connection, report, settings)
    if as_json:
        found_next = training.as_json() if training else None
        print_json({**in_json(report, named), "newer_encoder": hint, "next_training": found_next})
    else:
        said = training_words(training, name) if training else None
        show_told(campaign_told(report, named, called(found.encoder, store), hint or None, said))


def list_(as_json: Json = False) -> None:
    """All campaigns."""
    from backend_ml.campaign.status import campaign_status
    from backend_ml.status.overview import read_lines
    from backend_ml.store.campaigns import all_campaigns

    with transaction() as connection:
        if as_json:
            print_json([campaign_status(connection, found) for found in all_campaigns(connection)])
            return
        lines = read_lines(connection)
    rows = [
        {
            "name": line.campaign.name,
            "state": line.campaign.state,
            "done": f"{line.done:,} of {line.tasks:,}" if line.tasks else None,
            "labels": line.labels,
            "version": line.version,
        }
        for line in lines
    ]
    show_rows(rows, ["name", "state", "done", "labels", "version"], as_json=False)
