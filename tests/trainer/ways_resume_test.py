"""Runs that were stopped in the middle of an epoch go on with the same bits, in every way to train
that keeps state of its own kind; where state is whole, also in another way and with another number of
ranks.
"""

import os

from training import Workplace, experiment, require

WAYS = {
    "zero-2": {"gradient_sync": "deepspeed-zero-2", "precision": "bf16"},
    "fsdp": {"gradient_sync": "fsdp", "recompute": "block"},
    "powersgd": {"communication_hook": {"type": "powersgd", "rank": 1, "start_step": 2}},
    "local-sgd": {"local_updates": {"type": "local-sgd", "every": 4}, "precision": "bf16"},
}


def content(ranks, micro_batch=6, **settings):
    return experiment(micro_batch, ranks, **{"epochs": 2, "evaluate": True, "checkpoint": {"every": 5}, **settings})


def files(place, name):
    folder = place.path / name / "checkpoint"
    step = folder / (folder / "latest").read_text().strip()
    return {file: (step / file).read_bytes() for file in sorted(os.listdir(step)) if file.endswith(".safetensors")}


with Workplace() as place:
    for name, way in WAYS.items():
        place.run(content(2, **way), name, "--check-replicas")
        whole = place.losses(name)
        require(len(whole) == 20, f"{name}: {len(whole)} steps")
        # Stopped after 14 steps, in the second epoch, two steps after an average of local SGD.
        place.run(content(2, **way), name + "-parts", "--steps", "14", "--check-replicas")
        place.run(content(2, **way), name + "-parts", "--resume", str(place.path / (name + "-parts")))
        require(place.losses(name + "-parts") == whole, f"{name}: losses after resuming differ")
        require(files(place, name + "-parts") == files(place, name), f"{name}: weights or state differ")

    # Shards of two ranks go on as one rank's whole state, and as shards of another kind.
    place.run(content(2, **WAYS["fsdp"]), "fsdp-14", "--steps", "14")
    for name, settings in (("alone", content(1, 12)), ("as-zero-1", content(2, gradient_sync="deepspeed-zero-1"))):
        place.run(settings, name, "--resume", str(place.path / "fsdp-14"))
        losses, whole = place.losses(name), place.losses("fsdp")
        require(len(losses) == 20, f"{name}: {len(losses)} steps")
        require(all(abs(a - b) <= 1e-4 for a, b in zip(losses, whole)), f"{name}: trains something else")

    # State that no other rank has needs as many ranks, and the same way to train.
    for name, settings, words in (
            ("fewer", content(1, 12, **WAYS["local-sgd"]), "go on with"),
            ("other", content(2, precision="bf16"), "go on with the same training section")):
        _, error = place.run(settings, name, "--resume", str(place.path / "local-sgd-parts"), expect=2)
        require(words in error and "state of its own" in error, f"{name}: {error}")
        require(error.count("vitsim: error:") == 1, f"{name}: said more than once: {error}")
