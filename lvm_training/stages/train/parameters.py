"""Stage `train_parameters`: oriented features and the truth of drawn galaxies become build/parameters/."""

import os
from pathlib import Path

import numpy as np
import torch

from lvm_training.backbones.backbone import encoder_digest
from lvm_training.evaluation.parameters import parameter_metrics
from lvm_training.model.encoder import Encoder
from lvm_training.parameters.head import ParameterHead
from lvm_training.parameters.measure import split_features
from lvm_training.parameters.oriented import OrientedEncoder
from lvm_training.parameters.released import ParametersCard, save_parameters
from lvm_training.parameters.truth import SIMULATED, truth_of
from lvm_training.params import Params, load_params
from lvm_training.paths import LVM_FOLDER, ORIENTED_FILE, PARAMETERS_FOLDER, STAMP_FILE
from lvm_training.pool.embedding import embed_to
from lvm_training.progress import progress_bar
from lvm_training.revision import training_revision
from lvm_training.stamps.stampset import StampSet


def run_training(stamp_file: Path, lvm: Path, features_file: Path, folder: Path, params: Params) -> None:
    """Fit a head of parameters on a simulated set without its test split, and measure it on that.

    A killed run goes on where embedding stopped.
    """
    torch.set_num_threads(len(os.sched_getaffinity(0)))
    encoder = OrientedEncoder(Encoder.load(lvm))
    with StampSet(stamp_file) as stamps:
        with progress_bar("Stamps") as progress:
            features = embed_to(features_file, stamps, encoder, batch=params.embed.batch, progress=progress)
        truth, digest = truth_of(stamps, SIMULATED), stamps.digest
        tested = stamps.column("split") == "test"
    inputs, oriented = split_features(features.rows(np.arange(len(tested))))
    seed, known = params.parameters.seed, truth.values
    head = ParameterHead.fit(inputs[~tested], known[~tested], names=truth.names, seed=seed, oriented=oriented[~tested])
    found = head.predict(inputs[tested], oriented[tested])
    card = ParametersCard(
        parameters=truth.names,
        encoder=encoder_digest(encoder.backbone, encoder.rendering),
        data=digest,
        code=training_revision(),
        stamps=int((~tested).sum()),
        params=params.parameters.model_dump(),
        metrics=parameter_metrics(known[tested], found.values, found.errors, truth.names),
    )
    save_parameters(folder, head, card)


def main() -> None:
    """Fit the pipeline's head of parameters."""
    run_training(STAMP_FILE, LVM_FOLDER, ORIENTED_FILE, PARAMETERS_FOLDER, load_params())


if __name__ == "__main__":
    main()
