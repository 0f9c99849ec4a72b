"""Figures of an accelerator: pictures per second, share of the machine's arithmetic and memory, embedding and training.

The anchor is the same timm encoder's bare forward pass, in the same run. Utilisation is the model's operations per
second over those of a large matrix product in the same precision, measured here; a training step counts three forward
passes. bf16 where the device is fast in it, with and without `torch.compile`.

    python -m benchmarks.bench_throughput [--presets small,paper] [--batch 256] [--seconds 5] [--compile]
"""

import argparse
import os
import time
from collections.abc import Callable

import torch

from benchmarks.report import Row, save
from lvm_training.model.describe import describe_model
from lvm_training.model.lvm import LVM, find_preset
from lvm_training.model.precision import fast_precision

PRODUCT = 4096

Network = Callable[[torch.Tensor], torch.Tensor]


def rate(step: Callable[[], object], seconds: float, device: torch.device) -> float:
    """Calls of `step` per second, after three that do not count."""

    def wait() -> None:
        if device.type == "cuda":
            torch.cuda.synchronize()

    for _ in range(3):
        step()
    wait()
    started, calls = time.perf_counter(), 0
    while time.perf_counter() - started < seconds:
        step()
        calls += 1
        wait()
    return calls / (time.perf_counter() - started)


def arithmetic(seconds: float, device: torch.device, kind: torch.dtype) -> float:
    """Operations per second of a large matrix product."""
    side = PRODUCT if device.type == "cuda" else PRODUCT // 4
    left, right = (torch.randn(side, side, device=device, dtype=kind) for _ in range(2))
    return 2 * side**3 * rate(lambda: left @ right, seconds, device)


def measure(name: str, batch: int, seconds: float, device: torch.device, *, compiled: bool) -> list[Row]:
    """Rows of one preset: embedding, restoration and training beside the bare encoder."""
    bf16 = fast_precision(device) == "bf16"
    kind = torch.bfloat16 if bf16 else torch.float32
    preset = find_preset(name)
    described, peak = describe_model(preset), arithmetic(min(1.0, seconds), device, kind)
    lvm = LVM(preset).to(device)
    images = torch.rand(batch, 3, preset.size, preset.size, device=device)
    optimizer = torch.optim.AdamW(lvm.parameters(), lr=1e-6)
    calls: list[Network] = [lvm.features, lvm.__call__, lvm.encoder.forward_features]
    features, restore, bare = (torch.compile(call) if compiled else call for call in calls)

    def training() -> None:
        with torch.autocast(device.type, kind, enabled=bf16):
            loss = (restore(images) - images).abs().mean()
        optimizer.zero_grad()
        torch.autograd.backward(loss)
        optimizer.step()

    def inference(call: Network) -> Callable[[], object]:
        def step() -> object:
            with torch.inference_mode(), torch.autocast(device.type, kind, enabled=bf16):
                return call(images)

        return step

    steps = {
        "timm encoder, forward": (inference(bare), described.flops),
        "embedding": (inference(features), described.flops),
        "restoration": (inference(restore), described.flops_restoration),
        "training": (training, 3 * described.flops_restoration),
    }
    rows: list[Row] = []
    for what, (step, flops) in steps.items():
        if device.type == "cuda":
            torch.cuda.reset_peak_memory_stats()
        pictures = batch * rate(step, seconds, device)
        rows.append(
            {
                "preset": name,
                "what": what,
                "precision": str(kind).removeprefix("torch."),
                "compiled": str(compiled),
                "pictures_per_s": pictures,
                "utilisation": pictures * flops / peak,
                "over_timm": pictures / float(rows[0]["pictures_per_s"]) if rows else 1.0,
            }
        )
        if device.type == "cuda":
            rows[-1]["memory_gib"] = torch.cuda.max_memory_allocated() / 2**30
    return rows


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description="Throughput of embedding and training.")
    parser.add_argument("--presets", default="small,paper")
    parser.add_argument("--batch", type=int, default=256)
    parser.add_argument("--seconds", type=float, default=5.0)
    parser.add_argument("--compile", action="store_true", help="also with torch.compile")
    asked = parser.parse_args()
    torch.set_num_threads(len(os.sched_getaffinity(0)))
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    rows: list[Row] = []
    for name in asked.presets.split(","):
        for compiled in (False, True)[: 1 + asked.compile]:
            rows.extend(measure(name, asked.batch, asked.seconds, device, compiled=compiled))
    save("throughput", rows)


if __name__ == "__main__":
    main()
