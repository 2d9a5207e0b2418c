"""N ranks train as one process does on the joined batch, in every way that computes the same.

Even and uneven micro-batches, accumulation 1 and 3: every rank ends with the same bits, and each
step's loss is that of one process whose batch is the ranks' batches together, to float tolerance.

Why the batches are the same: with micro-batches of b on each of two ranks, the sampler deals
sample i of the epoch's order to rank i mod 2, so step k holds samples 2bk ... 2b(k+1)-1 of the
order: those of one process with micro-batch 2b. With accumulation a it holds 2ba of them; the
process alone then takes a micro-batches of 2b. Uneven ranks share the same order too: a step holds
the next (b0 + b1)a samples of it.

Uneven ranks train on 121 samples. Without accumulation the last step has one sample, so that rank 1
has none. With three micro-batches it has 121 - 3 x 36 = 13: rank 0's share of 9 makes two
micro-batches of 8 and 1, rank 1's of 4 makes one. Ranks must sum together all the same. Three ranks
of 5, 4 and 3 have 6, 4 and 3 of the 13, and shards that must be padded: 80,836 is no multiple of 3.
"""

from training import Workplace, experiment, require

# One rounding in the order of a sum grows through AdamW's division by sqrt(v). After 20 steps losses
# still agree to about 2e-5.
TOLERANCE = 1e-4

SMALL_BUCKETS = {"reduce_bucket_size": 9000, "allgather_bucket_size": 20000}
WAYS = {
    "ddp": {"gradient_sync": "ddp"},
    "zero-0": {"gradient_sync": "deepspeed-zero-0"},
    "zero-1": {"gradient_sync": "deepspeed-zero-1"},
    "zero-2": {"gradient_sync": "deepspeed-zero-2"},
    "distributed-optimizer": {"gradient_sync": "distributed-optimizer"},
    "fsdp": {"gradient_sync": "fsdp"},
}
VARIANTS = {
    "zero-1-buckets": {"gradient_sync": "deepspeed-zero-1", "zero": {**SMALL_BUCKETS, "overlap_comm": True}},
    "zero-2-buckets": {"gradient_sync": "deepspeed-zero-2", "zero": SMALL_BUCKETS},
    "zero-2-overlap": {"gradient_sync": "deepspeed-zero-2", "zero": {**SMALL_BUCKETS, "overlap_comm": True}},
    "fsdp-keep": {"gradient_sync": "fsdp", "fsdp": {"reshard_after_forward": False}, "recompute": "block"},
    "ddp-recompute": {"gradient_sync": "ddp", "recompute": "block"},
}


def compare(place, name, settings, wanted, tolerance=TOLERANCE, first=2e-6):
    out, _ = place.run(settings, name, "--check-replicas", "--no-timeline")
    require("replicas are equal" in out, f"{name}: {out}")
    losses = place.losses(name)
    require(len(losses) == len(wanted), f"{name}: {len(losses)} and {len(wanted)} steps")
    for step, (a, b) in enumerate(zip(losses, wanted)):
        require(abs(a - b) <= (first if step == 0 else tolerance), f"{name}: step {step}: {a}, not {b}")
    print(name, "largest difference", max(abs(a - b) for a, b in zip(losses, wanted)), losses[0], losses[-1])


with Workplace() as place:
    for uneven in (False, True):
        for accumulation in (1, 3):
            case = f"{'uneven' if uneven else 'even'}-{accumulation}"
            settings = {"gradient_accumulation_steps": accumulation, "epochs": 2,
                        "dataset": {"name": "synthetic", "samples": 121 if uneven else 120}}
            batches = [8, 4] if uneven else 6
            place.run(experiment(12, 1, **settings), case + "-alone", "--no-timeline")
            alone = place.losses(case + "-alone")
            steps = {"even-1": 10, "even-3": 4, "uneven-1": 11, "uneven-3": 4}[case]
            require(len(alone) == 2 * steps, f"{case}: {len(alone)} steps")
            require(alone[-2] < 0.97 * alone[0], f"{case}: loss {alone[0]} -> {alone[-2]} does not fall")
            for name, way in WAYS.items():
                compare(place, f"{case}-{name}", experiment(batches, 2, **settings, **way), alone)
            if case == "uneven-3":
                for name, way in VARIANTS.items():
                    compare(place, f"three-{name}", experiment([5, 4, 3], 3, **settings, **way), alone)

    # In 16 bits the order of sums shows in a weight's last place, 2^-8 of it: losses keep to ddp's
    # within a few of those.
    settings = {"gradient_accumulation_steps": 3, "epochs": 2, "precision": "bf16"}
    for batches in (6, [8, 4]):
        case = f"bf16-{'even' if batches == 6 else 'uneven'}"
        place.run(experiment(batches, 2, **settings), case + "-ddp", "--no-timeline")
        short = place.losses(case + "-ddp")
        for name in ("zero-1", "zero-2", "distributed-optimizer", "fsdp"):
            compare(place, f"{case}-{name}", experiment(batches, 2, **settings, **WAYS[name]), short, 0.02, 0.01)

    # Averaging after every step is data-parallel training where an update is linear in the gradient.
    # Weighted by samples, that holds for uneven micro-batches.
    sgd = {"epochs": 2, "optimizer": {"type": "sgd", "lr": 0.01, "momentum": 0.9}}
    place.run(experiment([8, 4], 2, **sgd), "sgd-ddp", "--no-timeline")
    compare(place, "sgd-local", experiment([8, 4], 2, **sgd, local_updates={"type": "local-sgd", "every": 1}),
            place.losses("sgd-ddp"))
