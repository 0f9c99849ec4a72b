"""What a server that forks loads first, see `tests.forked`; no fork looks for garbage in it, which would copy it."""

import gc
from importlib import import_module

gc.disable()
import_module("tests.lvm_training.pretraining.training_process")
gc.collect()
gc.freeze()
gc.enable()
