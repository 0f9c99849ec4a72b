"""Detection files: what was found is what is read, and a killed run goes on."""

from pathlib import Path

import numpy as np
import pytest
import torch

from lvm_training.inference.detections import Detections, DetectionsError, Header, detect_set, detections_path
from lvm_training.inference.mask_views import seen_in_views, view_disagreement
from lvm_training.objects.instances import Instances
from lvm_training.params import ParamsError
from lvm_training.stamps.render import render_set
from lvm_training.stamps.rendering import Rendering
from lvm_training.stamps.stampset import StampSet, StampWriter

SIZE = 16


class Bright:
    """Finds the pixels brighter than the mean, the brighter half of them again as an arc; nothing on empty stamps."""

    digest = "0123456789ab"
    rendering = Rendering(size=SIZE, field=SIZE * 0.262)

    def __init__(self, stop_after: int | None = None) -> None:
        self.seen, self._stop = 0, stop_after

    def predict(self, images: torch.Tensor) -> list[Instances]:
        if self._stop is not None and self.seen >= self._stop:
            raise KeyboardInterrupt
        self.seen += len(images)
        return [self._one(picture.mean(0).numpy()) for picture in images]

    def _one(self, grey: np.ndarray) -> Instances:  # type: ignore[type-arg]
        masks = np.stack([grey > grey.mean() + 1e-3, grey > np.quantile(grey, 0.9) + 1e-3])
        kept = masks.any(axis=(1, 2))
        found = Instances.of_masks([n for n, k in zip(("galaxy", "arc"), kept, strict=True) if k], masks[kept])
        scores = np.array([0.25 + float(grey.max()) / 2, 0.125 + float(grey.max()) / 2])[kept]
        return Instances(found.classes, found.boxes + 0.25, found.masks, scores)


class Lopsided(Bright):
    """Overlooks what lies in the lowest rows of a picture."""

    def _one(self, grey: np.ndarray) -> Instances:  # type: ignore[type-arg]
        return super()._one(np.where(np.arange(SIZE)[:, None] < SIZE - 5, grey, grey.min()))


@pytest.fixture
def stamps(tmp_path: Path) -> StampSet:
    rng = np.random.default_rng(0)
    writer = StampWriter(tmp_path / "sky.h5", (SIZE, SIZE))
    pixels = rng.gamma(1, 0.2, (11, 3, SIZE, SIZE)).astype(np.float32)
    pixels[4] = 0
    writer.append(pixels, {"number": np.arange(11)})
    return StampSet(writer.finish())


def same(first: Instances, second: Instances) -> bool:
    np.testing.assert_allclose(first.boxes, second.boxes, atol=0.005)
    np.testing.assert_allclose(first.scores, second.scores, atol=5e-6)
    return first.classes == second.classes and bool((first.masks == second.masks).all())


def test_what_was_found_is_read(stamps: StampSet, tmp_path: Path) -> None:
    calls: list[tuple[int, int]] = []
    found = detect_set(stamps, Bright(), tmp_path / "new", batch=4, progress=lambda *done: calls.append(done))
    assert calls == [(4, 11), (8, 11), (11, 11)] and len(found) == 11
    expected = Bright().predict(render_set(stamps, slice(None), Bright.rendering))
    assert all(same(found.objects(row), one) for row, one in enumerate(expected))
    assert len(found.objects(4)) == 0 and found.objects(4).shape == (SIZE, SIZE)
    best = [max((s for c, s in zip(o.classes, o.scores, strict=True) if c == "arc"), default=0) for o in expected]
    np.testing.assert_allclose(found.best_scores("arc"), best, atol=5e-6)
    # a second call reads the file
    asked = Bright()
    detect_set(stamps, asked, tmp_path / "new")
    assert asked.seen == 0


def test_a_killed_run_goes_on(stamps: StampSet, tmp_path: Path) -> None:
    whole = detect_set(stamps, Bright(), tmp_path / "whole", batch=3)
    with pytest.raises(KeyboardInterrupt):
        detect_set(stamps, Bright(stop_after=6), tmp_path, batch=3)
    path = detections_path(stamps, Bright(), tmp_path)
    partial = path.with_name(path.name + ".partial")
    # the last line was being written
    partial.write_bytes(partial.read_bytes()[:-7])
    again = Bright()
    found = detect_set(stamps, again, tmp_path, batch=3)
    assert again.seen == 11 - 5 and not partial.exists()
    assert path.read_bytes() == detections_path(stamps, again, tmp_path / "whole").read_bytes()
    assert all(same(found.objects(row), whole.objects(row)) for row in range(11))


def test_views_add_how_much_masks_disagree_and_nothing_else(stamps: StampSet, tmp_path: Path) -> None:
    plain, seen = (detect_set(stamps, Lopsided(), tmp_path, views=views, batch=4) for views in (1, 4))
    assert [path.name for path in sorted(tmp_path.glob("sky-*.jsonl"))] == [
        f"sky-{stamps.digest}-0123456789ab{end}.jsonl" for end in ("-views4", "")
    ]
    assert seen.header == plain.header.model_copy(update={"views": 4})
    np.testing.assert_array_equal(seen.best_scores("arc"), plain.best_scores("arc"))
    views = seen_in_views(Lopsided().predict, render_set(stamps, slice(None), Bright.rendering), 4)
    for row, each in enumerate(views):
        assert same(seen.objects(row), plain.objects(row))
        for name in ("arc", "galaxy", "deflector"):
            assert seen.disagreement(row, name) == pytest.approx(view_disagreement(each, name), abs=5e-6)
    assert seen.disagreement(0, "arc") > 0.1 and seen.disagreement(4, "arc") == 0, "stamp 4 is empty"
    # Bright sees every view alike
    alike = detect_set(stamps, Bright(), tmp_path / "alike", views=8)
    assert [alike.disagreement(row, "arc") for row in range(11)] == [0.0] * 11
    with pytest.raises(DetectionsError, match="0 to 10"):
        seen.disagreement(11, "arc")
    with pytest.raises(DetectionsError, match="in a single view"):
        plain.disagreement(0, "arc")
    with pytest.raises(ParamsError, match="1 to 8 views, not 9"):
        detect_set(stamps, Lopsided(), tmp_path / "nine", views=9)
    assert not (tmp_path / "nine").exists()


def test_a_single_view_is_written_as_before_there_were_views(stamps: StampSet, tmp_path: Path) -> None:
    detect_set(stamps, Bright(), tmp_path)
    first, *lines = detections_path(stamps, Bright(), tmp_path).read_text().splitlines()
    assert first == (f'{{"name":"sky","stamps":"{stamps.digest}","detector":"0123456789ab","rows":11,"size":{SIZE}}}')
    assert lines[4] == "[]" and all(line.startswith('[{"class": "galaxy", "score": ') for line in lines[:4])


def test_a_killed_run_in_views_goes_on(stamps: StampSet, tmp_path: Path) -> None:
    detect_set(stamps, Lopsided(), tmp_path / "whole", views=3, batch=9)
    with pytest.raises(KeyboardInterrupt):
        # within the second view of the third step
        detect_set(stamps, Lopsided(stop_after=21), tmp_path, views=3, batch=9)
    # a run in other views keeps its own file
    detect_set(stamps, Lopsided(), tmp_path, batch=3)
    path = detections_path(stamps, Lopsided(), tmp_path, 3)
    assert len(path.with_name(path.name + ".partial").read_text().splitlines()) == 1 + 6
    again = Lopsided()
    detect_set(stamps, again, tmp_path, views=3, batch=9)
    assert again.seen == 3 * (11 - 6)
    assert path.read_bytes() == detections_path(stamps, again, tmp_path / "whole", 3).read_bytes()


def test_an_unfinished_file_of_something_else_is_begun_anew(stamps: StampSet, tmp_path: Path) -> None:
    path = detections_path(stamps, Bright(), tmp_path)
    path.with_name(path.name + ".partial").write_text('{"name":"other"}\n[]\n[]\n')
    assert len(detect_set(stamps, Bright(), tmp_path)) == 11


def test_what_cannot_be_read_is_refused(stamps: StampSet, tmp_path: Path) -> None:
    found = detect_set(stamps, Bright(), tmp_path)
    path = detections_path(stamps, Bright(), tmp_path)
    for row in (-1, 11):
        with pytest.raises(DetectionsError, match="0 to 10"):
            found.objects(row)
    lines = path.read_text().splitlines(keepends=True)
    path.write_text("".join(lines[:-1]))
    with pytest.raises(DetectionsError, match="10 stamps of 11"):
        Detections.open(path)
    path.write_text("")
    with pytest.raises(DetectionsError, match="no detection file"):
        Detections.open(path)
    with pytest.raises(DetectionsError, match="no complete detections"):
        Detections.open(tmp_path / "none.jsonl")


NOTHING_FILLED = '[{"class": "arc", "score": 0.5, "box": [1, 1, 4, 4], "mask": "1"}]'
DAMAGED = [
    '[{"class": "arc", "sco',
    "null",
    "",
    '{"objects": []}',
    '[{"class": "arc", "score": 0.5}]',
    '[{"score": "x"}]',
]


@pytest.mark.parametrize("line", DAMAGED)
def test_a_damaged_line_is_named(line: str) -> None:
    header = Header(name="sky", stamps="s", detector="d", rows=2, size=SIZE, views=2)
    kept = Detections(header, ['{"objects": [], "disagreement": {}}', line])
    assert len(kept.objects(0)) == 0 and kept.disagreement(0, "arc") == 0
    for read in (lambda: kept.objects(1), lambda: kept.best_scores("arc"), lambda: kept.disagreement(1, "arc")):
        with pytest.raises(DetectionsError, match="sky are damaged at stamp 1") as caught:
            read()
        assert "detect again" in caught.value.hint


def test_lines_that_do_not_hold_together_are_damaged() -> None:
    header = Header(name="sky", stamps="s", detector="d", rows=1, size=SIZE)
    kept = Detections(header, [NOTHING_FILLED])
    assert kept.best_scores("arc").tolist() == [0.5]
    with pytest.raises(DetectionsError, match="stamp 0: Run lengths"):
        kept.objects(0)
    views = Detections(header.model_copy(update={"views": 2}), ["[]"])
    with pytest.raises(DetectionsError, match="stamp 0: it does not say"):
        views.disagreement(0, "arc")
