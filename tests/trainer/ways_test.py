"""Ways to train that compute something else than data-parallel training learn as well; what each way
sends, what it and recomputation hold in memory, and what is refused.
"""

import json

from training import Workplace, errors_of, experiment, require

LAYERS, WIDTH, MLP, PATCH, IMAGE, CLASSES = 2, 64, 128, 8, 32, 4


def spans_of_step(place, name, step, rank=0):
    lines = (place.path / name / "timeline.jsonl").read_text().splitlines()
    return [span for span in map(json.loads, lines) if span["step"] == step and span["rank"] == rank]


def collectives(place, name, step=4):
    """(calls, bytes) by phase."""
    result = {}
    for span in spans_of_step(place, name, step):
        if span.get("bytes", 0) > 0:
            calls, total = result.get(span["phase"], (0, 0))
            result[span["phase"]] = (calls + 1, total + span["bytes"])
    return result


def peak(place, name):
    """Peak memory of the rank that used most, in bytes."""
    header, *rows = (place.path / name / "epochs.csv").read_text().splitlines()
    return int(rows[-1].split(",")[header.split(",").index("peak_memory_bytes")])


with Workplace() as place:
    def learn(name, ranks=2, **settings):
        out, _ = place.run(experiment(6, ranks, epochs=4, **settings), name, "--check-replicas")
        require("replicas are equal" in out, f"{name}: {out}")
        losses = place.losses(name)
        require(len(losses) == 40, f"{name}: {len(losses)} steps")
        return losses

    # The learnable set: by how much the mean loss of the last epoch lies below the first step's.
    # bf16 on the wire keeps 8 bits of a gradient: next to nothing. PowerSGD sends a matrix of rank 2
    # and makes up for the rest one step later; local SGD averages every 4 steps: both must reach
    # 85 % of what ddp learns in the same 40 steps.
    exact = learn("ddp")
    gained = exact[0] - sum(exact[-10:]) / 10
    require(gained > 0.3, f"ddp learns {gained}: too little to compare with")
    for name, settings, share in (
            ("bf16-hook", {"communication_hook": {"type": "bf16"}}, 0.98),
            ("fp16-hook", {"communication_hook": {"type": "fp16"}}, 0.98),
            ("powersgd", {"communication_hook": {"type": "powersgd", "rank": 2, "start_step": 3}}, 0.85),
            ("local-sgd", {"local_updates": {"type": "local-sgd", "every": 4}}, 0.85)):
        losses = learn(name, **settings)
        of_ddp = (losses[0] - sum(losses[-10:]) / 10) / gained
        print(f"{name}: learns {of_ddp:.3f} of what ddp learns ({losses[0]:.4f} -> {losses[-1]:.4f})")
        require(of_ddp > share, f"{name}: learns {of_ddp} of what ddp learns")
    require(max(abs(a - b) for a, b in zip(exact, place.losses("bf16-hook"))) > 1e-7, "the bf16 hook rounds nothing")

    # What a step sends. Parameters by hand: a block has two norms, 4 x (W^2 + W) of attention less one
    # bias each already counted, and the MLP.
    block = 4 * WIDTH + 4 * WIDTH**2 + 4 * WIDTH + 2 * WIDTH * MLP + MLP + WIDTH
    tokens = (IMAGE // PATCH) ** 2 + 1
    root = WIDTH + tokens * WIDTH + 3 * PATCH**2 * WIDTH + WIDTH + 2 * WIDTH + WIDTH * CLASSES + CLASSES
    count = LAYERS * block + root
    require(count == 80836, f"{count} parameters")
    sums, gathers = "gradient_all_reduce", "parameter_all_gather"
    require(collectives(place, "bf16-hook")[sums][1] == 2 * count, f"bf16 hook: {collectives(place, 'bf16-hook')}")
    # A matrix of R rows and C columns is sent as 2 (R + C) numbers where four times that is less than it
    # has; of the patch embedding, 64 x 192, in- and out-projection and both matrices of the MLP it is,
    # of positions and head it is not. Three sums for each of DDP's buckets.
    def factors(rows, columns):
        return 2 * (rows + columns) if 4 * (rows + columns) < rows * columns else rows * columns
    matrices = [(WIDTH, 3 * PATCH**2), (1, tokens * WIDTH), (CLASSES, WIDTH)]
    matrices += LAYERS * [(3 * WIDTH, WIDTH), (WIDTH, WIDTH), (MLP, WIDTH), (WIDTH, MLP)]
    sent = count - sum(r * c for r, c in matrices) + sum(factors(r, c) for r, c in matrices)
    require(collectives(place, "powersgd")[sums][1] == 4 * sent, f"powersgd: {collectives(place, 'powersgd')}, not {sent}")
    require(collectives(place, "powersgd", step=2)[sums][1] == 4 * count, "powersgd compresses before its first step")
    local = [collectives(place, "local-sgd", step) for step in range(8)]
    require(all(len(sent) == (step % 4 == 3) for step, sent in enumerate(local)), f"local-sgd sends {local}")
    require(local[3][sums] == (1, 4 * count), f"local-sgd averages {local[3]}")

    # Of the sharded ways, in two micro-batches. fsdp: every unit gathered in forward, every block again
    # in backward, every unit scattered, in each of them. Sizes are even, so nothing is padded.
    once = 4 * count
    for sync, wanted in {
            "deepspeed-zero-1": {sums: (1, once), gathers: (1, once)},
            "deepspeed-zero-2": {sums: (2, 2 * once), gathers: (1, once)},
            "distributed-optimizer": {sums: (1, once), gathers: (1, once)},
            "fsdp": {sums: (2 * (LAYERS + 1), 2 * once),
                     gathers: (2 * (2 * LAYERS + 1), 2 * (once + 4 * LAYERS * block))}}.items():
        place.run(experiment(6, 2, gradient_sync=sync, gradient_accumulation_steps=2), sync)
        require(collectives(place, sync) == wanted, f"{sync}: {collectives(place, sync)}, not {wanted}")
        out, _ = place.run(experiment(6, 2, gradient_sync=sync, precision="amp-fp16", clip_norm=0.5), sync + "-scaled",
                           "--check-replicas")
        require("replicas are equal" in out and "Peak memory: " in out, out)

    # Memory by arithmetic, in bytes, of two ranks in fp32 with AdamW. P parameters, a block of B. The
    # ring sums into room for half of what it sends. What the process itself holds is the same for all,
    # so differences to ddp are compared. What is freed stays in the process's heap, whose gaps can eat
    # up to two fifths of what is saved.
    large = {"model": {"layers": 6, "width": 384, "heads": 6, "mlp": 1536, "patch": 8},
             "dataset": {"name": "synthetic", "samples": 24}}
    block = 12 * 384**2 + 13 * 384
    total = 6 * block + 384 * (1 + 17 + 3 * 64 + 1 + 2 + 4) + 4
    ddp_bucket = 26 * 2**20
    ledgers = {
        # Weights, gradients, two moments, and buckets of all gradients.
        "ddp": ({}, (4 + 4 + 8 + 4) * total + ddp_bucket / 2),
        # Weights; halves of the summed gradients and moments; a bucket of a million elements.
        "zero-2": ({"gradient_sync": "deepspeed-zero-2", "zero": {"reduce_bucket_size": 1_000_000}},
                   (4 + 2 + 4) * total + 1.5 * 4e6),
        # Halves of everything; two whole blocks; gradients of one as they are made and in a row, and in
        # a row those of the one before, which are being scattered.
        "fsdp": ({"gradient_sync": "fsdp"}, (2 + 2 + 4) * total + (2 + 1 + 1 + 1 + 0.5) * 4 * block)}
    peaks = {}
    for name, (settings, ledger) in ledgers.items():
        out, _ = place.run(experiment(2, 2, **large, **settings), "large-" + name)
        require("Peak memory: " in out, out)
        peaks[name] = peak(place, "large-" + name)
        saved, wanted = peaks["ddp"] - peaks[name], ledgers["ddp"][1] - ledger
        print(f"{name}: peak {peaks[name] / 1e6:.1f} MB, ledger {ledger / 1e6:.1f} MB")
        require(0.6 * wanted <= saved <= 1.1 * wanted, f"{name}: saves {saved} bytes of ddp's, not {wanted}")

    # Recomputation, in fp32. For each token a block keeps its input, two norms, q, k, v, what attention
    # gives, its projection's sum, and the MLP's hidden layer before and after GELU: 8 D + 2 x 4 D
    # numbers. Of all blocks but the one that backward is in, the input alone is left.
    tokens, width, blocks, batch = (64 // 4) ** 2 + 1, 128, 8, 8
    long = {"model": {"layers": blocks, "width": width, "heads": 2, "mlp": 4 * width, "patch": 4},
            "image_size": 64, "dataset": {"name": "synthetic", "samples": 4 * batch}}
    for name, settings in (("kept", {}), ("recomputed", {"recompute": "block"})):
        place.run(experiment(batch, 2, **long, **settings), name)
    saved, wanted = peak(place, "kept") - peak(place, "recomputed"), (blocks - 1) * batch * tokens * 15 * width * 4
    print(f"recomputation saves {saved / 1e6:.1f} MB, by arithmetic {wanted / 1e6:.1f} MB")
    require(0.6 * wanted <= saved <= 1.2 * wanted, f"recomputation saves {saved} bytes, not {wanted}")

    # What is predicted and not trained is refused in one sentence, before anything is written.
    for name, settings, words in (
            ("zero-3", {"gradient_sync": "deepspeed-zero-3"}, "gradient_sync deepspeed-zero-3"),
            ("tensor", {"parallelism": {"tensor": 2}}, "parallelism.tensor"),
            ("diloco", {"local_updates": {"type": "diloco", "every": 2}}, "local_updates.type diloco"),
            ("attention", {"recompute": "attention"}, "recompute attention")):
        _, error = place.run(experiment(6, 2, **settings), name, expect=2)
        messages = errors_of(error)
        require(len(messages) == 1 and f"{words} can be predicted, not trained: " in messages[0], error)
        require(not (place.path / name).exists(), f"{name}: a run directory was made")
