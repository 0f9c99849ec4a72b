"""Stage `simulate_lenses`: simulated lenses and look-alikes become build/lenses/, stamps and truth."""

from rich.progress import Progress

from lvm_training.objects.lens_sets import write_lenses
from lvm_training.params import load_params
from lvm_training.stages.paths import LENS_FILE, LENS_TRUTH


def main() -> None:
    """Draw the three splits of the active profile."""
    with Progress() as bar:
        task = bar.add_task("stamps", total=None)
        write_lenses(
            LENS_FILE,
            LENS_TRUTH,
            load_params().lenses,
            progress=lambda done, total: bar.update(task, completed=done, total=total),
        )


if __name__ == "__main__":
    main()
