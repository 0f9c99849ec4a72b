"""What the leader changes of a campaign that runs: sections of its page with forms, and where these go.

What is written to Label Studio is written in the name of who asks for it, by their own token.
"""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager

from fastapi import Request, Response
from fastapi.responses import HTMLResponse

from backend_ml.buckets import bring, here
from backend_ml.campaign import lifecycle
from backend_ml.campaign.defer import defer_adding
from backend_ml.kinds.installed import known_kind
from backend_ml.labels.people import People
from backend_ml.leading import classes, people, running
from backend_ml.leading.leader import Leader
from backend_ml.leading.overtaken import OvertakenError
from backend_ml.leading.terms import MOST_LABELS, Seen, change_terms, instruction_state
from backend_ml.serving.errors import STATUS
from backend_ml.sign_in.access import Pages, ThePages
from backend_ml.sign_in.forms import TheForm, TheLeader
from backend_ml.sign_in.frame import PRIVATE, framed, root_of
from backend_ml.sign_in.person import Person
from backend_ml.status.changes import back_to, changeable, changes, found_campaign
from backend_ml.status.html import Html, button, card, hidden_field, joined, link, paragraph, table, text
from backend_ml.status.page import View
from backend_ml.store.database import query
from backend_ml.store.records import Campaign, CampaignError
from lvm_training.stamps.conditions import fitting_rows
from lvm_training.stamps.stampset import StampSet


def lead_sections(view: View, stamp_sets: Iterable[str]) -> list[Html]:
    """The sections with forms; of a closed campaign the one that opens it again, and for who does not lead none."""
    campaign = view.report.campaign
    if not view.leads:
        words = "Whoever signs in with a Label Studio token of their own may change this campaign; you came without."
        return [card("Lead", paragraph(words))]
    if campaign.is_closed:
        words = "It takes no labels and learns nothing; its project and labels are there."
        return [card("Closed", paragraph(words), button("Open again", f"{view.base}/reopen", view.csrf))]
    named = [_classes(view)] if classes.can_rename(campaign) else []
    in_label_studio = [_terms(view), *named, _galaxies(view, stamp_sets)] if campaign.project else []
    return [_running(view), *in_label_studio, _people(view)]


def _running(view: View) -> Html:
    campaign = view.report.campaign
    if campaign.state == "paused":
        words = "It is paused: labels are kept, and nothing is learned, ranked or imported."
        act = button("Resume", f"{view.base}/resume", view.csrf)
    else:
        words = "Paused, it keeps labels, and learns, ranks and imports nothing until it is resumed."
        act = button("Pause", f"{view.base}/pause", view.csrf) if campaign.project else Html("")
    end = "Closing takes in the last labels and disconnects the backend; the campaign can be opened again."
    return card("Pause or end", paragraph(words), act, paragraph(end), button("Close", f"{view.base}/close", view.csrf))


def _terms(view: View) -> Html:
    campaign = view.report.campaign
    was = {
        "policy_was": campaign.policy,
        "overlap_was": str(campaign.overlap),
        "instruction_was": instruction_state(view.report.status["changes"]),
    }
    hidden = joined([view.csrf, *(hidden_field(name, value) for name, value in was.items())])
    fields = [
        _select("Policy", "policy", _policies(campaign), campaign.policy),
        _input("Labels of each galaxy", "overlap", str(campaign.overlap), kind="number", low=1, high=MOST_LABELS),
        Html('<label>Instruction (HTML); empty: as it is<textarea name="instruction" rows="4"></textarea></label>'),
    ]
    return card("Policy, overlap, instruction", _form("Change", f"{view.base}/change", hidden, *fields))


def _classes(view: View) -> Html:
    campaign = view.report.campaign
    fields = [
        _select("Class", "old", campaign.classes, ""),
        _input("New name, or the class that it becomes a part of", "new", ""),
    ]
    was = hidden_field("classes_was", "\n".join(campaign.classes))
    rows = []
    for step in view.report.status["renamed"]:
        hidden = joined([view.csrf, hidden_field("old", step["said"]), hidden_field("new", step["counts_as"])])
        what = "a part of" if step["merged"] else "now called"
        undo = button("Take back", f"{view.base}/undo-rename", hidden)
        rows.append((step["said"], what, step["counts_as"], undo))
    done = table(["Class", "is", "class", ""], rows) if rows else ""
    note = "Labels keep what was said, and count as the new class; it can be taken back."
    return card(
        "Classes",
        _form("Rename or merge", f"{view.base}/rename-class", joined([view.csrf, was]), *fields),
        paragraph(note, "hint"),
        done,
    )


def _galaxies(view: View, stamp_sets: Iterable[str]) -> Html:
    fields = [
        _select("Stamp set", "stamp_set", sorted(stamp_sets), ""),
        _input("Only those where (mag_r<18; half_light_radius>2)", "where", ""),
    ]
    note = (
        "They are embedded and ranked with the rest, each galaxy once, and as large a share is labelled blind. A set"
        " that is not in the list yet: galaxyloop campaign add."
    )
    return card("Add galaxies", _form("Add", f"{view.base}/add", view.csrf, *fields), paragraph(note, "hint"))


def _people(view: View) -> Html:
    aside = view.report.status["people_aside"]
    rows = []
    for row in aside:
        hidden = _who(view, row["person"], row["annotator"])
        rows.append((row["person"], "set aside", button("Take back", f"{view.base}/take-back", hidden)))
    out = {row["annotator"] for row in aside if row["annotator"] is not None} | {row["person"] for row in aside}
    for one in view.report.workers:
        if one.person not in out:
            number = one.person if isinstance(one.person, int) else None
            hidden = _who(view, str(one.person), number)
            rows.append((view.named(one.person), "counts", button("Set aside", f"{view.base}/set-aside", hidden)))
    if not rows:
        return Html("")
    note = "Labels that are set aside count for nothing, neither in learning nor in exports; none is deleted."
    return card("Whose labels count", table(["Who", "", ""], rows), paragraph(note, "hint"))


def _who(view: View, person: str, annotator: int | None) -> Html:
    """Fields that say who is meant, also where somebody calls themselves as another one."""
    field = hidden_field("person", person) if annotator is None else hidden_field("annotator", str(annotator))
    return joined([view.csrf, field])


def _form(words: str, address: str, hidden: Html, *fields: Html) -> Html:
    return Html(
        f'<form class="change" method="post" action="{text(address)}">{hidden}{joined(fields)}'
        f"<button>{text(words)}</button></form>"
    )


def _policies(campaign: Campaign) -> tuple[str, ...]:
    """What the campaign's kind can be ranked by; its own alone where the package of the kind is gone."""
    kind = known_kind(campaign)
    return (campaign.policy,) if kind is None else kind.policies


def _select(words: str, name: str, offered: Iterable[str], chosen: str) -> Html:
    options = "".join(
        f'<option value="{text(one)}"{" selected" if one == chosen else ""}>{text(one)}</option>' for one in offered
    )
    return Html(f'<label>{text(words)}<select name="{text(name)}">{options}</select></label>')


def _input(
    words: str, name: str, value: str, *, kind: str = "text", low: int | None = None, high: int | None = None
) -> Html:
    limits = "" if low is None else f' min="{low}" max="{high}"'
    return Html(f'<label>{text(words)}<input type="{kind}" name="{text(name)}" value="{text(value)}"{limits}></label>')


@contextmanager
def _leading(pages: Pages, campaign_id: int, person: Person) -> Iterator[tuple[Leader, Campaign]]:
    """Someone as who changes a campaign, with Label Studio as they see it."""
    with pages.database.transaction() as connection:
        found = found_campaign(connection, campaign_id)
    with person.label_studio(pages.settings) as label_studio:
        yield Leader(pages.settings, pages.database, label_studio, person.name), found


@changes.post("/pause")
def pause(campaign_id: int, request: Request, pages: ThePages, person: TheLeader) -> Response:
    """Let nothing be learned, ranked or imported until somebody resumes."""
    with pages.database.transaction() as connection:
        running.pause(connection, changeable(connection, campaign_id), person.name)
    return back_to(request)


@changes.post("/resume")
def resume(campaign_id: int, request: Request, pages: ThePages, person: TheLeader) -> Response:
    """Let a paused campaign go on."""
    with pages.database.transaction() as connection:
        running.resume(connection, changeable(connection, campaign_id), person.name)
    return back_to(request)


@changes.post("/close")
def close(campaign_id: int, request: Request, pages: ThePages, person: TheLeader) -> Response:
    """Take in the last labels and disconnect the backend."""
    with pages.database.transaction() as connection:
        found = changeable(connection, campaign_id)
    if found.project is None:
        raise CampaignError(
            f"{found.name!r} is a search that is not in Label Studio.", "End it with `galaxyloop campaign close`."
        )
    with _leading(pages, campaign_id, person) as (leader, found):
        lifecycle.close(pages.settings, pages.database, leader.label_studio, found, person.name)
    return back_to(request)


@changes.post("/reopen")
def reopen(campaign_id: int, request: Request, pages: ThePages, person: TheLeader) -> Response:
    """Connect a closed campaign to Label Studio again."""
    with _leading(pages, campaign_id, person) as (leader, found):
        running.reopen(leader, found)
    return back_to(request)


@changes.post("/change")
def change(campaign_id: int, request: Request, form: TheForm, pages: ThePages, person: TheLeader) -> Response:
    """Give a campaign another policy, overlap or instruction: what was changed in the form since the page showed it."""
    seen = Seen(form.get("policy_was"), _number(form.get("overlap_was")), form.get("instruction_was"))
    try:
        with _leading(pages, campaign_id, person) as (leader, found):
            change_terms(
                leader,
                found,
                policy=_changed(form, "policy"),
                overlap=_number(_changed(form, "overlap")),
                instruction=form.get("instruction", "").strip() or None,
                seen=seen,
            )
    except OvertakenError as error:
        return _overtaken(campaign_id, request, pages, person, error)
    return back_to(request)


@changes.post("/rename-class")
def rename_class(campaign_id: int, request: Request, form: TheForm, pages: ThePages, person: TheLeader) -> Response:
    """Give a class another name, or make it a part of another."""
    seen = form["classes_was"].splitlines() if "classes_was" in form else None
    try:
        with _leading(pages, campaign_id, person) as (leader, found):
            classes.rename_class(leader, found, form.get("old", ""), form.get("new", "").strip(), seen)
    except OvertakenError as error:
        return _overtaken(campaign_id, request, pages, person, error)
    return back_to(request)


@changes.post("/undo-rename")
def undo_rename(campaign_id: int, request: Request, form: TheForm, pages: ThePages, person: TheLeader) -> Response:
    """Take back that a class was renamed or merged."""
    with _leading(pages, campaign_id, person) as (leader, found):
        classes.undo_rename(leader, found, form.get("old", ""), form.get("new", ""))
    return back_to(request)


@changes.post("/set-aside")
def set_aside(campaign_id: int, request: Request, form: TheForm, pages: ThePages, person: TheLeader) -> Response:
    """Let one person's labels not count."""
    return _count(campaign_id, request, form, pages, person, back=False)


@changes.post("/take-back")
def take_back(campaign_id: int, request: Request, form: TheForm, pages: ThePages, person: TheLeader) -> Response:
    """Let one person's labels count again."""
    return _count(campaign_id, request, form, pages, person, back=True)


def _count(
    campaign_id: int, request: Request, form: dict[str, str], pages: Pages, person: Person, *, back: bool
) -> Response:
    known: People = request.app.state.people
    with pages.database.transaction() as connection:
        found = changeable(connection, campaign_id)
        who, annotator = form.get("person", ""), _number(form.get("annotator"))
        people.set_aside(
            connection, found, who, person.name, known, back=back, annotator=annotator, on_page=annotator is None
        )
    return back_to(request)


@changes.post("/add")
def add(campaign_id: int, request: Request, form: TheForm, pages: ThePages, person: TheLeader) -> Response:
    """Have a worker add galaxies of a registered stamp set, by its own token: embedding takes a while."""
    where = [one.strip() for one in form.get("where", "").split(";") if one.strip()]
    with pages.database.transaction() as connection:
        found = changeable(connection, campaign_id)
        paths = {row["name"]: here(row["path"]) for row in query(connection, "stamp_sets")}
        if form.get("stamp_set") not in paths:
            raise CampaignError(f"There is no stamp set {form.get('stamp_set', '')!r} here.", "Choose one of the list.")
        with StampSet(bring(paths[form["stamp_set"]])) as stamps:
            fitting_rows(stamps, where)
        defer_adding(connection, found, form["stamp_set"], where, person.name)
    return back_to(request)


def _overtaken(campaign_id: int, request: Request, pages: Pages, person: Person, error: OvertakenError) -> Response:
    """What this leader asks for beside what somebody else made of it, so that nothing that was written is lost."""
    both = table(["", "you asked for", "it is now"], error.found)
    back = link("The campaign's page", f"{root_of(request)}/status/{campaign_id}")
    body = card("Somebody else was faster", paragraph(error.message), both, paragraph(error.hint), paragraph(back))
    page = framed(body, request, title="This did not work", sessions=pages.sessions, person=person)
    return HTMLResponse(page, STATUS[error.code], PRIVATE)


def _changed(form: dict[str, str], name: str) -> str | None:
    """What a field says, unless the page showed the same: somebody else may have changed that meanwhile."""
    value = form.get(name)
    return None if value == form.get(f"{name}_was") else value


def _number(value: str | None) -> int | None:
    """A whole number of a form; None for an empty field.

    Raises
    ------
    CampaignError
        If it is none.
    """
    if not value:
        return None
    if not (value.isascii() and value.isdigit() and len(value) <= 9):
        raise CampaignError(f"{value[:20]!r} is no whole number.", "Write one such as 2.")
    return int(value)
