"""Which question of somebody's label config is answered, and what is said of the others."""

import pytest

from backend_ml.adoption.questions import find_question
from backend_ml.campaign.reconcile import check_label_config
from backend_ml.kinds.installed import find_kind
from backend_ml.kinds.kind import KindError
from backend_ml.label_studio.regions.choices import LabelConfigError, find_choices
from backend_ml.plugins.parts import find_parts
from backend_ml.store.campaigns import campaign_of_id
from backend_ml.store.database import Database, query
from backend_ml.store.records import Campaign


def config(*tags: str, images: str = '<Image name="i" value="$photo"/>') -> str:
    return f"<View>{images}<View>{''.join(tags)}</View></View>"


def choices(name: str, *values: str, **attributes: str) -> str:
    more = "".join(f' {key}="{value}"' for key, value in attributes.items())
    inner = "".join(f'<Choice value="{value}"/>' for value in values)
    return f'<Choices name="{name}" toName="i"{more}>{inner}</Choices>'


FORM = choices("form", "disc", "blob")


def test_a_plain_question_is_answered() -> None:
    found = find_question(config(FORM))
    assert (found.kind, found.name, found.classes, found.image) == ("morphology", "form", ("disc", "blob"), "photo")
    assert found.remarks == () and find_choices(found.label_config).classes == ("disc", "blob")


NUMBER = '<Number name="mag_r" toName="i"/>'


def test_of_several_questions_all_are_answered_and_one_that_is_named_alone() -> None:
    whole = config(FORM, choices("bar", "yes", "no"), NUMBER, '<TextArea name="remark" toName="i"/>')
    found = find_question(whole)
    assert (found.kind, found.name, found.classes, found.image) == ("several", "form", ("disc", "blob"), "photo")
    assert [part.name for part in find_parts(found.label_config)] == ["form", "bar", "numbers"]
    (said,) = found.remarks
    assert said.startswith("<TextArea name='remark'>") and said.endswith("left to people")
    other = find_question(whole, name="bar")
    assert (other.kind, other.classes) == ("morphology", ("yes", "no")) and 'name="form"' not in other.label_config
    assert "'form' is left to people: it could be answered" in other.remarks[0]
    assert find_question(whole, kind="morphology").name == "form"
    with pytest.raises(LabelConfigError, match="No head answers 'remark'"):
        find_question(whole, kind="several", name="remark")


def test_numbers_and_ratings_alone_are_answered() -> None:
    for tag, classes in {NUMBER: ("mag_r",), '<Rating name="q" toName="i"/>': ("q",)}.items():
        found = find_question(config(tag))
        assert (found.kind, found.classes, found.image) == ("several", classes, "photo")


def test_boxes_of_any_label_are_answered_where_a_detector_is_named() -> None:
    boxes = '<RectangleLabels name="b" toName="i"><Label value="ring"/></RectangleLabels>'
    masks = boxes.replace("RectangleLabels", "BrushLabels").replace('"b"', '"m"')
    assert find_question(config(FORM, boxes)).kind == "morphology"
    assert "no detector of ring" in find_question(config(FORM, boxes), kind="several").remarks[0]
    found = find_question(config(FORM, boxes, masks), detector=True)
    assert found.kind == "several" and found.answering.slow and "learned from" in found.remarks[0]
    assert find_question(config(FORM, masks), detector=True).kind == "morphology", "masks are of pictures of ours"


def test_a_question_that_is_always_asked_comes_first() -> None:
    at_times = choices("arms", "two", "many", visibleWhen="choice-selected", whenTagName="form", whenChoiceValue="disc")
    assert find_question(config(at_times, FORM)).name == "form"
    assert "is asked at times" in find_question(config(at_times, FORM), name="arms").remarks[0]


def test_aliases_nested_choices_and_taxonomies_are_stated_as_results_state_them() -> None:
    nested = (
        '<Choice value="Disc" alias="D"><Choice value="barred"/><Choice value="plain"/></Choice><Choice value="blob"/>'
    )
    for tag in ('Choices name="q" toName="i" allowNested="true"', 'Taxonomy name="q" toName="i"'):
        end = tag.split()[0]
        found = find_question(config(f"<{tag}>{nested}</{end}>"))
        assert found.classes == ("D > barred", "D > plain", "blob")
    assert any("several choices" in one for one in found.remarks)
    assert find_question(config(f'<Choices name="q" toName="i">{nested}</Choices>')).classes == ("D", "blob")


@pytest.mark.parametrize(
    ("tag", "why"),
    [
        (choices("q", "a", "b", choice="multiple"), "takes several choices"),
        (choices("q", "a", "b", perRegion="true"), "is asked of parts of a picture"),
        (choices("q", "a", "b", perItem="true"), "is asked of parts of a picture"),
        (choices("q", value="$options"), "takes its choices from elsewhere"),
        ('<Taxonomy name="q" toName="i" apiUrl="$x"/>', "takes its choices from elsewhere"),
        (choices("q", "a"), "fewer than two"),
        (choices("q", "a", "b", "a"), "a choice twice"),
        (choices("q", "a", "b").replace('toName="i"', 'toName="t"'), "which is no <Image>"),
        ('<TextArea name="q" toName="i"/>', "is a <TextArea>"),
        ('<RectangleLabels name="q" toName="i"><Label value="car"/></RectangleLabels>', "draws car"),
        ('<BrushLabels name="q" toName="i"><Label value="arc"/></BrushLabels>', "models fill in boxes"),
    ],
)
def test_what_cannot_be_answered_is_refused_with_the_reason(tag: str, why: str) -> None:
    with pytest.raises(LabelConfigError, match=why):
        find_question(config(tag))


@pytest.mark.parametrize("image", ['value="$a.b"', 'valueList="$photos"', 'value="http://x/y.png"', ""])
def test_pictures_that_no_single_field_names(image: str) -> None:
    with pytest.raises(LabelConfigError, match="not named by one field"):
        find_question(config(FORM, images=f'<Image name="i" {image}/>'))


def test_of_several_pictures_the_one_that_is_asked_about() -> None:
    two = '<Image name="g" value="$g"/><Image name="i" value="$r"/>'
    found = find_question(config(FORM, images=two))
    assert found.image == "r" and "models look at 'i'" in found.remarks[0]


def test_boxes_of_lenses_are_of_their_kind() -> None:
    labels = "".join(f'<Label value="{name}"/>' for name in ("galaxy", "arc", "deflector"))
    boxes = f'<RectangleLabels name="mine" toName="i">{labels}</RectangleLabels>'
    found = find_question(config(boxes))
    assert (found.kind, found.name, set(found.classes)) == ("lenses", "mine", {"arc", "deflector", "galaxy"})
    assert find_question(config(FORM, boxes), kind="morphology").name == "form"
    assert find_question(config(FORM, boxes), kind="lenses").name == "mine"
    assert find_question(config(FORM, boxes)).kind == "several", "the form is no grade"
    assert find_question(find_kind("lenses").label_config()).kind == "lenses"


def test_searches_need_a_yes_and_a_no() -> None:
    assert find_question(config(choices("q", "yes", "no")), kind="interest").classes == ("no", "yes")
    with pytest.raises(LabelConfigError, match="a search no and yes"):
        find_question(config(FORM), kind="interest")


def test_what_is_not_there_is_named() -> None:
    with pytest.raises(LabelConfigError) as caught:
        find_question(config(FORM), name="bar")
    assert "form" in caught.value.hint
    with pytest.raises(KindError):
        find_question(config(FORM), kind="nothing")
    with pytest.raises(LabelConfigError, match="asks nothing"):
        find_question("<View/>")
    with pytest.raises(LabelConfigError, match="not XML"):
        find_question("<View")


def test_a_class_that_its_owner_adds_is_taken_in_however_many_there_are(database: Database, campaign: Campaign) -> None:
    """Keys of ours are for seven classes, and such a project has its own."""
    names = tuple(f"form {number}" for number in range(9))
    with database.transaction() as connection:
        text = "UPDATE campaign SET label_config = %s, classes = %s"
        connection.execute(text, (config(choices("form", *names)), list(names)))
        found = campaign_of_id(connection, campaign.id)
        assert found is not None and check_label_config(connection, found, config(choices("form", *names, "ring")))
        found = campaign_of_id(connection, campaign.id)
        assert found is not None and found.classes == (*names, "ring")
        assert query(connection, "notices", campaign=campaign.id) == []
        # one that is gone is for its owner to put back
        assert not check_label_config(connection, found, config(choices("form", *names)))
        (notice,) = query(connection, "notices", campaign=campaign.id)
        assert "no longer offers ring" in notice["text"] and "rename-class" not in notice["text"]
