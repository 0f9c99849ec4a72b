"""Where the stages read and write, relative to the repository root; dvc.yaml names the same."""

from pathlib import Path

STAMP_SET = "morphology"

RELEASE = Path("data/release")
LABELS = RELEASE / "labels.csv"
STAMPS = Path("build/stamps")
STAMP_FILE = STAMPS / f"{STAMP_SET}.h5"
RESUME = Path("build/resume")

LVM_FOLDER = Path("build/lvm")
FEATURES = Path("build/features")
FEATURE_FILE = FEATURES / f"{STAMP_SET}.npy"
HEAD = Path("build/heads/morphology.safetensors")

PRETRAIN_METRICS = Path("build/metrics/pretrain.json")
PRETRAIN_CURVE = Path("build/plots/pretrain.csv")
MORPHOLOGY_METRICS = Path("build/metrics/morphology.json")
MORPHOLOGY_CONFUSION = Path("build/plots/morphology_confusion.csv")
MORPHOLOGY_CALIBRATION = Path("build/plots/morphology_calibration.csv")
