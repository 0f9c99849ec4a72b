"""What is to be fitted again, as a file in a clone: all that a kind's `fit` reads, without the database."""

import json
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path

import yaml
from pydantic import BaseModel, ConfigDict

from backend_ml.learning.learned_from import Recipe
from backend_ml.store.records import Campaign
from lvm_training.files import write_atomically
from lvm_training.stamps.rendering import Rendering

# the code that makes a head of labels and features; what is fetched and served beside it makes no difference
CODE = (
    "backend_ml/kinds",
    "backend_ml/networks",
    "backend_ml/label_studio",
    "backend_ml/plugins",
    "backend_ml/rebuilding",
    "lvm_training/detection",
    "lvm_training/galaxy_zoo",
    "lvm_training/heads",
    "lvm_training/lenses",
    "lvm_training/parameters",
    "lvm_training/pool",
    "lvm_training/restoration",
    "lvm_training/simulated",
    "lvm_training/tables",
    "models/parameters-nano",
)
RUNNER = "backend_ml/rebuilding/run.py"


class Work(BaseModel):
    """A head, a detector or a decoder to fit again. All paths are relative to the clone's root, or absolute.

    Attributes
    ----------
    recipe : Recipe
    labels : Path
        Frozen labels.
    served : Path
        The head as it is in the database; of a detector or decoder its digest.
    features, stamps : dict
        Files of each stamp set, by name; features that are gone are embedded anew from the stamps.
    store : Path
        Where the encoder, simulated stamps and the model that a fit goes on from are.
    rendering : Rendering
        How the campaign's pictures are made.
    head, comparison : Path
        What is to be written: the head, or the digest of what is then in the store, and how it compares.
    """

    # the clone's code may be older than the one that writes this
    model_config = ConfigDict(frozen=True, extra="ignore")

    recipe: Recipe
    labels: Path
    served: Path
    features: Mapping[str, Path]
    stamps: Mapping[str, Path]
    store: Path
    rendering: Rendering
    head: Path
    comparison: Path

    @property
    def campaign(self) -> Campaign:
        """The campaign as it was, as far as a fit knows it."""
        recipe = self.recipe
        return Campaign(
            id=0,
            name="rebuilt",
            project=None,
            kind=recipe.kind,
            classes=recipe.classes,
            stamp_set=recipe.stamp_set,
            encoder=recipe.encoder,
            rendering=self.rendering,
            policy="",
            audit_fraction=0.0,
            seed=recipe.seed,
            overlap=1,
            consensus=recipe.consensus,
            state="closed",
            reconciled_at=None,
            created_at=datetime.now(UTC),
            simulated=recipe.simulated,
            simulated_stamps=recipe.simulated_stamps,
            renamed=recipe.renamed,
            columns=recipe.columns,
            label_config=recipe.label_config,
        )

    def write(self, root: Path, folder: Path) -> None:
        """Write it into a folder of a clone, with a dvc.yaml that runs it."""
        work = folder / "work.json"
        text = json.dumps(self.model_dump(mode="json"), indent=2, ensure_ascii=False) + "\n"
        write_atomically(root / work, lambda partial: partial.write_text(text, encoding="utf-8"))
        inputs = [work, self.labels, self.served, *self.features.values()]
        stage = {
            "desc": "Fit a served head again, and compare the two",
            "cmd": f"python -m backend_ml.rebuilding.run {work}",
            "wdir": "/".join([".."] * len(folder.parts)),
            # an older clone has not all of it
            "deps": [*map(str, inputs), *(path for path in CODE if (root / path).exists())],
            "outs": [str(self.head)],
            "metrics": [{str(self.comparison): {"cache": False}}],
        }
        pipeline = yaml.safe_dump({"stages": {"fit": stage}}, sort_keys=False, allow_unicode=True)
        write_atomically(root / folder / "dvc.yaml", lambda partial: partial.write_text(pipeline, encoding="utf-8"))
