"""Searches without an example: yes and no of simulated stamps, the prior they make, portraits, and the table."""

import json
from importlib.resources import files
from pathlib import Path

import numpy as np
import pytest
import torch

from lvm_training.backbones.sources import Wanted, write_backbone
from lvm_training.heads.preference import NO, YES, PreferenceHead
from lvm_training.heads.prior import AlignedPrior
from lvm_training.paths import CARD, EARLIER_LVM, RELEASED_DETECTOR, RELEASED_LVM
from lvm_training.progress import progress_bar
from lvm_training.scenes.simulated_classes import CONCEPTS, ConceptError, Drawn
from lvm_training.simulated.drawing import draw_stamps
from lvm_training.simulated.portraits import portrait
from lvm_training.simulated.simulated_set import SimulatedSet
from lvm_training.simulated.wanted import (
    TABLE,
    UNMEASURED,
    Measured,
    measured,
    measured_words,
    wanted_labels,
    wanted_prior,
)
from lvm_training.stamps.rendering import Rendering


@pytest.fixture(scope="module")
def drawn() -> Drawn:
    """What is drawn where one stamp of each kind is asked for."""
    return draw_stamps(1, Rendering(size=8)).drawn


@pytest.mark.parametrize("concept", CONCEPTS)
def test_what_shows_a_concept_is_a_yes_and_what_nobody_would_call_so_a_no(drawn: Drawn, concept: str) -> None:
    labels = wanted_labels(drawn, concept)
    shown, near = CONCEPTS[concept].shown(drawn), CONCEPTS[concept].near(drawn)
    for label, yes, maybe in zip(labels, shown, near, strict=True):
        assert label == (YES if yes else "" if maybe else NO)
    assert NO in labels


def test_what_is_not_drawn_is_refused_with_what_there_is(drawn: Drawn) -> None:
    for ask in (lambda: wanted_labels(drawn, "quasar"), lambda: portrait("quasar", 8)):
        with pytest.raises(ConceptError) as refused:
            ask()
        assert "quasar" in refused.value.message and all(name in refused.value.hint for name in CONCEPTS)


def test_a_prior_finds_in_a_shifted_pool_what_was_drawn(drawn: Drawn) -> None:
    rng = np.random.default_rng(3)
    shown = wanted_labels(drawn, "ring") == YES
    axis = rng.normal(size=12)
    features = rng.normal(size=(len(shown), 12)) + 3 * np.outer(shown, axis)
    prior = wanted_prior(SimulatedSet(features.astype(np.float32), drawn, "e"), "ring")
    truth = rng.random(500) < 0.1
    # another survey: other units and another zero in every feature
    units, zero = rng.uniform(0.3, 3, 12), rng.normal(size=12)
    pool = ((rng.normal(size=(500, 12)) + 3 * np.outer(truth, axis)) * units + zero).astype(np.float32)
    spread = np.asarray(pool.std(axis=0), np.float64)
    aligned = AlignedPrior(prior, pool.mean(axis=0, dtype=np.float64), spread)
    head = PreferenceHead.fit(np.empty((0, 0), np.float32), [], seed=0, background=pool, prior=aligned)
    likely = head.predict(pool)[:, 1]
    best = np.argsort(-likely)[: truth.sum()]
    assert truth[best].mean() > 0.9


@pytest.mark.parametrize("concept", CONCEPTS)
def test_portraits_show_a_galaxy_in_the_middle_and_are_the_same_each_time(concept: str) -> None:
    one = portrait(concept, 48)
    assert one.shape == (3, 48, 48) and one.min() >= 0 and one.max() <= 1
    assert torch.equal(one, portrait(concept, 48))
    assert one[:, 18:30, 18:30].mean() > 1.5 * one[:, :6].mean()


def test_the_table_names_concepts_of_released_encoders(tmp_path: Path) -> None:
    table = json.loads(files("lvm_training.simulated").joinpath(TABLE).read_text())
    released = {json.loads((folder / CARD).read_text())["encoder"] for folder in (RELEASED_LVM, EARLIER_LVM)}
    detector = write_backbone(Wanted(str(RELEASED_DETECTOR)), tmp_path / "made", tmp_path / "downloads", progress_bar)
    assert table and set(table) <= {*released, detector.encoder}
    for weights, concepts in table.items():
        assert set(concepts) <= set(CONCEPTS)
        assert measured(weights), "what is drawn has changed: run benchmarks/bench_like_simulated.py"
        for concept, known in measured(weights).items():
            assert 0 < known.wanted < known.pictures and 0 <= known.auc <= 1
            assert measured_words(weights, concept) == known.words


def test_words_say_what_was_measured_and_when_nothing_was() -> None:
    known = Measured(auc=0.643, pictures=1400, wanted=78, source="s", population=1)
    assert known.words == "AUC .64 on 1,400 real pictures"
    assert measured_words("f" * 12, "ring") == UNMEASURED == measured_words("", "ring")
