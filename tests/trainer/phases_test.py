"""The phases of a step add up to its wall time within 2 %, and the report counts the model's arithmetic.

A step lasts from its first span's begin to the next step's first span's begin, so whatever no phase
explains is missed: in the program around the step as well. Spans beside each other, as DDP's sums
beside backward, count once.
"""

import json
import statistics

from training import Workplace, experiment, require

STEPS, BATCH, LAYERS, WIDTH, MLP, PATCH, IMAGE, CLASSES = 16, 8, 4, 192, 768, 8, 64, 4


def covered(spans):
    """Length of the union of (begin, end)."""
    total, until = 0, 0
    for begin, end in sorted(spans):
        total += max(0, end - max(begin, until))
        until = max(until, end)
    return total


def shares(run, rank):
    """By step: the share of its wall time that its phases explain."""
    steps = {}
    for line in (run / "timeline.jsonl").read_text().splitlines():
        span = json.loads(line)
        if span["rank"] == rank and span["phase"] != "epoch_barrier":
            steps.setdefault(span["step"], []).append((span["begin_ns"], span["end_ns"]))
    begins = {step: min(begin for begin, _ in spans) for step, spans in steps.items()}
    # The first three steps are warm-up; the last has no step after it.
    return [covered(steps[step]) / (begins[step + 1] - begins[step]) for step in range(3, STEPS - 1)]


with Workplace() as place:
    for sync in ("ddp", "deepspeed-zero-1", "fsdp"):
        content = experiment(BATCH, 2, gradient_sync=sync, image_size=IMAGE)
        content["training"]["model"] = {"layers": LAYERS, "width": WIDTH, "heads": 4, "mlp": MLP, "patch": PATCH}
        content["training"]["dataset"]["samples"] = 2 * BATCH * STEPS
        place.run(content, sync)
        for rank in (0, 1):
            explained = statistics.median(shares(place.path / sync, rank))
            print(f"{sync} rank {rank}: phases explain {100 * explained:.2f} % of the median step")
            require(0.98 <= explained <= 1, f"{sync}, rank {rank}: phases explain {explained} of a step")
        report = json.loads((place.path / sync / "report.json").read_text())["measurement"]
        other = report["phases"]["other_s"] / report["step_s"]["p50"]
        require(other < 0.02, f"{sync}: {other} of the step is in no phase")

        # Multiply-accumulates of a forward pass: (S-1) C p^2 D for the patches, per layer 4 S D^2 + 2 S^2 D +
        # 2 S D M, and D x classes; two flops each, three times for the step, for the samples of both ranks.
        tokens = (IMAGE // PATCH) ** 2 + 1
        layer = 4 * tokens * WIDTH**2 + 2 * tokens**2 * WIDTH + 2 * tokens * WIDTH * MLP
        forward = (tokens - 1) * 3 * PATCH**2 * WIDTH + LAYERS * layer + WIDTH * CLASSES
        wanted = 3 * 2 * forward * 2 * BATCH / report["step_s"]["p50"]
        require(abs(report["model_flops_per_s"] / wanted - 1) < 1e-9, f"{report['model_flops_per_s']} flop/s, not {wanted}")
        # Nobody knows the peak of a GPU called "cpu".
        require("model_flops_utilisation" not in report, "a share of an unknown peak")
