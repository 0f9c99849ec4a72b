"""Label configs of people's own in a campaign of several questions: which tags heads answer, and why not the others."""

from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from backend_ml.campaign.plan import CampaignPlan
from backend_ml.campaign.reconcile import check_label_config
from backend_ml.kinds.installed import answered_part, kind_of
from backend_ml.label_studio.labelling import FIELDS, task_data
from backend_ml.label_studio.regions.choices import LabelConfigError
from backend_ml.label_studio.regions.controls import read_config
from backend_ml.label_studio.wire import Annotation
from backend_ml.labels.events import record
from backend_ml.plugins.parts import LensObjects, Objects, find_parts
from backend_ml.plugins.several import Several
from backend_ml.settings import Settings
from backend_ml.signing import Links
from backend_ml.store.campaigns import campaign_of_id
from backend_ml.store.database import Database, query
from backend_ml.store.records import Campaign, CampaignError
from lvm_training.stamps.rendering import Rendering
from tests.backend_ml.lenses import RENDERING, write_detector

IMAGE = '<Image name="pic" value="$image"/>'
FORM = '<Choices name="form" toName="pic"><Choice value="disc"/><Choice value="blob"/></Choices>'
SIZE = '<Number name="half_light_radius" toName="pic"/>'
BOXES = '<RectangleLabels name="things" toName="pic"><Label value="ring"/><Label value="core"/></RectangleLabels>'
LENSES = '<RectangleLabels name="things" toName="pic">{}</RectangleLabels>'.format(
    "".join(f'<Label value="{name}"/>' for name in ("arc", "deflector", "galaxy"))
)


def config(*tags: str, image: str = IMAGE) -> str:
    return f"<View>{image}<View>{''.join(tags)}</View></View>"


def plan(own: str, **options: Any) -> CampaignPlan:
    return CampaignPlan("own", Path("no.h5"), Path("no"), kind="several", own_config=own, **options)


def served(own: str, **options: Any) -> tuple[str, ...]:
    """The control tags that heads answer."""
    asked = plan(own, **options)
    asked.check()
    assert asked.taken is not None
    return asked.taken.names


def parts(own: CampaignPlan) -> Mapping[str, str]:
    """The kind that answers each part."""
    return {part.name: part.kind.name for part in find_parts(own.answered_config())}


def test_each_control_has_the_head_of_its_tag_whatever_it_is_called(tmp_path: Path) -> None:
    own = config(SIZE, BOXES, FORM, '<Rating name="stars" toName="pic"/>')
    detector = write_detector(tmp_path / "rings", classes=("ring", "core"))
    asked = plan(own, detector=detector)
    assert served(own, detector=detector) == ("form", "half_light_radius", "things", "stars")
    assert parts(asked) == {
        "form": "morphology",
        "numbers": "parameters",
        "stars": "interest_rating",
        "objects": "objects",
    }
    assert asked.unserved == () and asked.label_config() == own, "the project has what its leader wrote"
    kind = asked.answering
    assert kind.offered(asked.answered_config()) == ("disc", "blob")
    assert (kind.slow, kind.shows_whole) == (True, False) and not Several().slow
    assert kind.rendering(asked, Rendering()) == RENDERING
    assert "disc" in kind.instruction(asked.answered_config(), {})


def test_what_no_head_serves_is_said_in_a_line_each() -> None:
    own = config(
        FORM,
        SIZE,
        '<Number name="arms" toName="pic"/>',
        '<TextArea name="remark" toName="pic"/>',
        '<TextArea name="model" toName="pic"/>',
        '<Taxonomy name="tree" toName="pic"><Choice value="alone"/></Taxonomy>',
        '<Choices name="many" toName="pic" choice="multiple"><Choice value="a"/><Choice value="b"/></Choices>',
        '<Choices name="each" toName="pic" perRegion="true"><Choice value="a"/><Choice value="b"/></Choices>',
        '<Choices name="twice" toName="pic"><Choice value="a"/><Choice value="a"/></Choices>',
        '<KeyPointLabels name="cores" toName="pic"><Label value="core"/></KeyPointLabels>',
        '<RectangleLabels name="empty" toName="pic"/>',
        '<Rating name="stars" toName="pic"/>',
        '<Rating name="more" toName="pic"/>',
        '<Number name="mag_r" toName="pic" min="few"/>',
        '<Number name="sersic" toName="pic" min="8" max="1"/>',
        '<PolygonLabels name="outline" toName="pic"><Label value="ring"/></PolygonLabels>',
    )
    assert served(own) == ("form", "half_light_radius", "stars")
    lines = {line.split("'")[1]: line for line in plan(own).unserved}
    assert {name: lines[name].split("> ", 1)[1].split(":")[0] for name in lines} == {
        "arms": "is no parameter that a head measures",
        "remark": "is a <TextArea>, which no head answers",
        "tree": "has fewer than two choices",
        "many": "takes several choices, and models answer with one",
        "each": "is asked of parts of a picture",
        "twice": "has a choice twice",
        "cores": "is a <KeyPointLabels>, which no head answers",
        "empty": "has no <Label> to draw with",
        "more": "is not the first rating",
        "mag_r": "has limits that are no numbers",
        "sersic": "has limits between which no number lies",
        "outline": "draws outlines without boxes or masks beside them",
    }


def test_boxes_without_a_detector_are_left_to_people() -> None:
    assert served(config(FORM, BOXES)) == ("form",)
    (line,) = plan(config(FORM, BOXES)).unserved
    assert "no detector of ring, core to begin with" in line and "--detector FOLDER" in line
    assert not plan(config(FORM, BOXES)).answering.slow
    with pytest.raises(LabelConfigError, match=r"No head answers anything.*no detector of ring, core"):
        served(config(BOXES))
    assert served(config(FORM, LENSES)) == ("form", "things")
    assert parts(plan(config(FORM, LENSES)))["objects"] == LensObjects.name


def test_a_detector_of_other_labels_is_refused(tmp_path: Path) -> None:
    detector = write_detector(tmp_path / "arcs", classes=("arc", "deflector"))
    asked = plan(config(FORM, BOXES), detector=detector)
    with pytest.raises(CampaignError, match="The detector finds arc, deflector; the label config has ring, core"):
        asked.answering.rendering(asked, Rendering())
    with pytest.raises(CampaignError, match="no detector where nothing is drawn"):
        plan(config(FORM), detector=detector).check()


@pytest.mark.parametrize(
    ("own", "message"),
    [
        ("<View", "not XML"),
        (config(FORM, image=""), "no <Image>"),
        (config(FORM, FORM), "Two tags are named 'form'"),
        (config(FORM, SIZE.replace("half_light_radius", "form")), "Two tags are named 'form'"),
        (config(FORM, SIZE.replace('toName="pic"', 'toName="sky"')), "is about 'sky', and no tag has that name"),
        (config(FORM, image='<Image name="pic" value="$photo"/>'), r"shows \$photo, which no task"),
        (config(FORM, '<Text name="text" value="$words"/>'), r"shows \$words, which no task"),
        (config('<TextArea name="remark" toName="pic"/>'), "No head answers anything.*'remark'> is a <TextArea>"),
        (config(), "It asks nothing"),
        (config('<RectangleLabels name="b" toName="pic"/>'), "has no <Label> to draw with"),
    ],
)
def test_a_label_config_that_cannot_be_used_is_refused_with_the_reason(own: str, message: str) -> None:
    with pytest.raises(LabelConfigError, match=message):
        plan(own).check()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"kind": "morphology"}, "has the label config of its kind"),
        ({"classes": ("a", "b")}, "said in it"),
        ({"simulated": {"disc": "spiral"}}, "said in it"),
    ],
)
def test_options_that_a_label_config_of_ones_own_leaves_no_room_for(options: dict[str, Any], message: str) -> None:
    with pytest.raises(CampaignError, match=message):
        replace(plan(config(FORM)), **options).check()


def test_a_question_that_is_called_as_a_head_of_many_is_left_to_people() -> None:
    question = FORM.replace('"form"', '"numbers"')
    assert served(config(question)) == ("numbers",), "without numbers it is one as any other"
    assert served(config(question, FORM, SIZE)) == ("form", "half_light_radius")
    (line,) = plan(config(question, FORM, SIZE)).unserved
    assert "give it another name" in line


def test_numbers_alone_are_enough() -> None:
    own = config(SIZE)
    assert served(own) == ("half_light_radius",)
    assert plan(own).answering.offered(plan(own).answered_config()) == ("half_light_radius",)


def test_the_first_question_is_one_that_is_always_asked() -> None:
    at_times = FORM.replace('name="form"', 'name="arms" visibleWhen="choice-selected" whenTagName="form"')
    assert served(config(at_times, FORM)) == ("form", "arms")
    taken = plan(config(at_times, FORM)).taken
    assert taken is not None and "asked at times" in taken.remarks[0]


def test_pictures_of_one_field_are_looked_at() -> None:
    two = f'{IMAGE}<Image name="other" value="$name"/>'
    own = config(FORM, SIZE.replace('toName="pic"', 'toName="other"'), image=two)
    assert served(own) == ("form",)
    assert plan(own).unserved == ("<Number name='half_light_radius'> is about 'other', and models look at $image",)


def test_files_that_hold_no_label_config_are_named(tmp_path: Path) -> None:
    (tmp_path / "bytes.xml").write_bytes(b"\xff\xfe\xfa")
    (tmp_path / "empty.xml").write_text("\n")
    (tmp_path / "windows.xml").write_text(config(FORM), encoding="utf-8-sig")
    for name, why in {"none.xml": "No such file", "bytes.xml": "no UTF-8", "empty.xml": "is empty"}.items():
        with pytest.raises(LabelConfigError, match=f"{name}.*{why}"):
            read_config(tmp_path / name)
    assert read_config(tmp_path / "windows.xml") == config(FORM)


def test_tasks_have_the_fields_that_label_configs_may_show() -> None:
    settings = Settings(secret="s")  # type: ignore[arg-type]
    assert set(task_data("sky", 3, {}, Links(1, 0), settings)) == set(FIELDS)


def own_campaign(database: Database, campaign: Campaign, *, adopted: bool = False, tags: str = FORM + SIZE) -> Campaign:
    """The campaign as one of several questions with a label config that somebody wrote."""
    taken = Several().taken(config(tags), detector=True, adopted=adopted)
    with database.transaction() as connection:
        text = "UPDATE campaign SET kind = 'several', label_config = %s, adopted = %s, classes = %s WHERE id = %s"
        connection.execute(text, [taken.label_config, adopted, ["disc", "blob"], campaign.id])
        found = campaign_of_id(connection, campaign.id)
    assert found is not None
    return found


def test_only_what_was_taken_is_answered_later(database: Database, campaign: Campaign) -> None:
    found = own_campaign(database, campaign)
    before = FORM.replace('"form"', '"bar"').replace("disc", "yes").replace("blob", "no")
    shown = answered_part(found, config(before, SIZE, FORM))
    assert [part.name for part in find_parts(shown)] == ["form", "numbers"]
    assert kind_of(found).offered(shown) == ("disc", "blob")
    with pytest.raises(LabelConfigError, match="no 'form' any more"):
        answered_part(found, config(before, SIZE))


def test_masks_are_filled_in_on_pictures_of_ours_alone(database: Database, campaign: Campaign) -> None:
    masks = BOXES.replace("RectangleLabels", "BrushLabels").replace("things", "masks")
    for adopted in (False, True):
        found = own_campaign(database, campaign, adopted=adopted, tags=FORM + BOXES + masks)
        assert "masks" in found.label_config, "they are learned from"
        assert ("masks" in answered_part(found, config(FORM, BOXES, masks))) != adopted
        assert isinstance(find_parts(found.label_config)[-1].kind, Objects)


def test_a_class_that_is_added_to_the_project_is_learned(database: Database, campaign: Campaign) -> None:
    found = own_campaign(database, campaign)
    grown = FORM.replace("</Choices>", '<Choice value="ring"/></Choices>')
    with database.transaction() as connection:
        assert check_label_config(connection, found, config(grown, SIZE))
        assert query(connection, "notices", campaign=campaign.id) == []
        now = campaign_of_id(connection, campaign.id)
        assert now is not None and now.classes == ("disc", "blob", "ring")
        value = {"from_name": "form", "to_name": "pic", "type": "choices", "value": {"choices": ["ring"]}}
        at = datetime(2026, 1, 1, tzinfo=UTC)
        given = Annotation(id=1, task=101, result=[value], completed_by=1, updated_at=at)
        assert record(connection, now, given, "webhook")
        learned = kind_of(now).read(connection, now).training
    assert learned.parts["form"].label == ["ring"]
