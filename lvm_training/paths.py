"""Where the stages read and write, relative to the repository root; dvc.yaml names the same."""

from pathlib import Path

STAMP_SET = "morphology"
CARD = "card.json"  # in the folder of every checkpoint, ours or another's
KIND = "kind"  # the key that cards of ours do not have

RELEASE = Path("data/release")
LABELS = RELEASE / "labels.csv"
FROZEN_LABELS = RELEASE / "labels"
STAMPS = Path("build/stamps")
STAMP_FILE = STAMPS / f"{STAMP_SET}.h5"


def _released(name: str) -> Path:
    """A checkpoint in the repository: the present folder, or else the one that this package stands in."""
    here, installed = Path("models", name), Path(__file__).parents[1] / "models" / name
    return installed if installed.is_dir() and not here.is_dir() else here


RELEASED_LVM = _released("lvm-nano-2")  # what everything starts from unless told otherwise
EARLIER_LVM = _released("lvm-nano")  # stays: campaigns go on with the encoder they began with
RELEASED_DETECTOR = _released("detector-nano")
RELEASED_PARAMETERS = _released("parameters-nano")
NANO_BUILD = Path("build/nano")
PRETRAINED = Path("build/pretrained")
LVM_FOLDER = Path("build/lvm")
FEATURES = Path("build/features")
FEATURE_FILE = FEATURES / f"{STAMP_SET}.npy"
INDEX = Path("build/index")
LENSES = Path("build/lenses")
LENS_FILE = LENSES / "lenses.h5"
LENS_TRUTH = LENSES / "lenses.json"
DETECTOR = Path("build/detector")
HEAD = Path("build/heads/morphology.safetensors")
ORIENTED_FILE = FEATURES / f"{STAMP_SET}-oriented.npy"
PARAMETERS_FOLDER = Path("build/parameters")
FINETUNED = Path("build/finetuned")

PRETRAIN_METRICS = Path("build/metrics/pretrain.json")
PRETRAIN_CURVE = Path("build/plots/pretrain.csv")
MULTITASK_METRICS = Path("build/metrics/multitask.json")
MULTITASK_SHARES = Path("build/plots/multitask_shares.csv")
MULTITASK_SCORES = Path("build/plots/multitask_scores.csv")
INDEX_METRICS = Path("build/metrics/index.json")
EVALUATE_METRICS = Path("build/metrics/evaluate.json")
FEW_SHOT = Path("build/plots/few_shot.csv")
FEW_SHOT_FIGURE = Path("build/plots/few_shot.png")
RESTORATION = Path("build/plots/restoration.csv")
RESTORATION_FIGURE = Path("build/plots/restoration.png")
RECONSTRUCTION_FIGURE = Path("build/plots/reconstruction.png")
MORPHOLOGY_METRICS = Path("build/metrics/morphology.json")
MORPHOLOGY_CONFUSION = Path("build/plots/morphology_confusion.csv")
MORPHOLOGY_CALIBRATION = Path("build/plots/morphology_calibration.csv")
FINETUNE_METRICS = Path("build/metrics/finetune.json")
FINETUNE_CURVE = Path("build/plots/finetune.csv")
PARAMETERS_METRICS = Path("build/metrics/parameters.json")
PARAMETERS_MEASURED = Path("build/plots/parameters.csv")
PARAMETERS_FIGURE = Path("build/plots/parameters.png")
DETECTOR_METRICS = Path("build/metrics/detector.json")
DETECTOR_CURVE = Path("build/plots/detector.csv")
DETECTION_METRICS = Path("build/metrics/detection.json")
DETECTION_FIGURE = Path("build/plots/detection.png")
DETECTION_CURVE = Path("build/plots/detection_completeness.csv")

# what depends on the real pictures that a machine has is no output of the pipeline
MIRROR = Path("build/mirror.json")
MIRROR_FIGURE = Path("build/mirror.png")
