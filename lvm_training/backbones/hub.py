"""Fetches an encoder from the Hugging Face hub, or from the one that HF_ENDPOINT names; what was fetched stays."""

import os
from pathlib import Path
from typing import Any

from lvm_training.errors import CheckpointError, first_line
from lvm_training.progress import Progress, Steps

CONFIG = "config.json"
WEIGHTS = ("model.safetensors", "pytorch_model.bin")  # the first that a model has
OFFLINE = (
    "Check the network, or fetch the model elsewhere and give the folder with config.json and model.safetensors. Files"
    " that were fetched stay, and the next try goes on behind them."
)


def fetch(model: str, folder: Path, steps: Steps) -> None:
    """Fill a folder with `config.json` and the weights of a model; a fetch that broke off goes on.

    Parameters
    ----------
    model : str
        "owner/name", or "owner/name@revision".
    folder : Path
        Made if it is not there.
    steps : callable
        Shows the bytes of each file.

    Raises
    ------
    CheckpointError
        If the hub cannot be reached, or has no such model or file.
    """
    # a second to import, and only a fetch needs it
    from huggingface_hub.errors import EntryNotFoundError, LocalEntryNotFoundError

    if len(model.partition("@")[0].split("/")) != 2:
        raise CheckpointError(f"{model!r} names no model of the hub.", "Write hf_hub:OWNER/NAME.")
    _file(model, CONFIG, folder, steps)
    for name in WEIGHTS:
        try:
            _file(model, name, folder, steps)
        except CheckpointError as error:
            missing = isinstance(error.__cause__, EntryNotFoundError)
            if not missing or isinstance(error.__cause__, LocalEntryNotFoundError):
                raise
        else:
            return
    raise CheckpointError(
        f"The hub's {model} has none of {', '.join(WEIGHTS)}.", "Choose a model that was uploaded by timm, whole."
    )


def _file(model: str, name: str, folder: Path, steps: Steps) -> None:
    from huggingface_hub import hf_hub_download
    from huggingface_hub.errors import EntryNotFoundError, LocalEntryNotFoundError, RepositoryNotFoundError

    repository, _, revision = model.partition("@")
    try:
        with steps(f"Fetching {model}: {name}") as progress:
            hf_hub_download(
                repository,
                name,
                revision=revision or None,
                local_dir=folder,
                # its client reads the variable when it is imported, which may be long before
                endpoint=os.environ.get("HF_ENDPOINT"),
                tqdm_class=_reporting(progress),
            )
    except RepositoryNotFoundError as error:
        raise CheckpointError(
            f"The hub has no model {model}, or it is not public.", "Look at its address on huggingface.co."
        ) from error
    except LocalEntryNotFoundError as error:
        raise CheckpointError(
            f"The hub cannot be reached for {model}: {first_line(error.__cause__ or error)}.", OFFLINE
        ) from error
    except EntryNotFoundError as error:
        raise CheckpointError(f"The hub's {model} has no {name}.", "Is it a model of timm?") from error
    except Exception as error:  # what its client raises besides is another library's, from version to version
        raise CheckpointError(
            f"{name} of the hub's {model} could not be fetched: {first_line(error)}.", OFFLINE
        ) from error


def _reporting(progress: Progress) -> Any:
    """A class as the hub's client shows progress with, which tells ours."""
    from tqdm.auto import tqdm

    class Reporting(tqdm):  # type: ignore[misc]
        def __init__(self, *values: Any, **named: Any) -> None:
            # its own, such as the group of bars it belongs to, mean nothing to tqdm; disabled, it writes no line
            super().__init__(
                *values, **{key: value for key, value in named.items() if key != "name"} | {"disable": True}
            )
            self._sum, self._whole = int(named.get("initial") or 0), int(named.get("total") or 0)

        def update(self, n: float | None = 1) -> bool | None:
            self._sum += int(n or 0)
            progress(self._sum, max(self._whole, self._sum))
            return None

    return Reporting
