"""Every precision, optimizer and way to synchronise gradients trains: the loss falls, all ranks hold
the same bits; and what shards the optimizer computes what the others compute."""

import json
import math

from training import Workplace, experiment, require

STEPS = 30  # 3 epochs of 120 / (2 x 6)


def train(place, name, **settings):
    out, _ = place.run(experiment(6, 2, epochs=3, **settings), name, "--check-replicas")
    require("replicas are equal" in out, f"{name}: {out}")
    losses = place.losses(name)
    require(len(losses) == STEPS, f"{name}: {len(losses)} steps")
    require(losses[-1] < 0.97 * losses[0], f"{name}: loss {losses[0]} -> {losses[-1]}")
    return losses


def largest_difference(a, b):
    return max(abs(x - y) for x, y in zip(a, b))


with Workplace() as place:
    # Arithmetic. bf16 keeps 8 bits of a number, fp16 11; fp32's curve is followed within a few of their
    # last places, accumulated over 30 steps.
    exact = train(place, "fp32", gradient_sync="ddp")
    for precision, tolerance, syncs in (("bf16", 0.05, ["deepspeed-zero-0"]), ("fp16", 0.02, ["ddp", "fsdp"]),
                                        ("amp-bf16", 0.05, ["fsdp"]), ("amp-fp16", 0.02, ["deepspeed-zero-2"])):
        for sync in syncs:
            losses = train(place, f"{precision}-{sync}", precision=precision, gradient_sync=sync)
            # fp16 may skip its first steps while the loss scale comes down from 2^16; after that it is an
            # update behind on every batch.
            skipped = (place.path / f"{precision}-{sync}" / "steps.csv").read_text().count(",1\n")
            difference = largest_difference(losses, exact)
            print(precision, sync, "skipped", skipped, "largest difference to fp32", round(difference, 4))
            require(skipped == 0 or precision.endswith("fp16"), f"{precision}: skipped {skipped}")
            require(difference < (tolerance if skipped == 0 else 0.15), f"{precision} {sync}: differs from fp32 by {difference}")

    # Optimizers and clipping: sharded as unsharded.
    for name, (sync, settings) in {
        "sgd": ("distributed-optimizer", {"optimizer": {"type": "sgd", "lr": 0.05, "momentum": 0.9}}),
        "lamb": ("fsdp", {"optimizer": {"type": "lamb", "lr": 0.01}}),
        "clip": ("deepspeed-zero-1", {"clip_norm": 0.05, "label_smoothing": 0.1,
                                      "schedule": {"type": "linear", "warmup_steps": 2}}),
    }.items():
        whole = train(place, name + "-whole", gradient_sync="deepspeed-zero-0", **settings)
        shards = train(place, name + "-shards", gradient_sync=sync, **settings)
        require(largest_difference(whole, shards) < 1e-4, f"{name}: {largest_difference(whole, shards)}")
    unclipped = train(place, "unclipped", gradient_sync="deepspeed-zero-0", optimizer={"type": "sgd", "lr": 0.05})
    clipped = train(place, "clipped", gradient_sync="deepspeed-zero-0", clip_norm=0.2, optimizer={"type": "sgd", "lr": 0.05})
    require(largest_difference(unclipped, clipped) > 1e-3, "clipping changes nothing")

    # The library's own AllReduce sums as the ring does.
    library = train(place, "library", all_reduce="open-mpi")
    require(largest_difference(exact, library) < 1e-4, "open-mpi differs from ring")

    # What a run leaves behind.
    run = place.path / "fp32"
    for file in ("resolved.json", "epochs.csv", "steps.csv", "timeline.jsonl", "report.json", "trace.json"):
        require((run / file).exists(), f"no {file}")
    spans = [json.loads(line) for line in (run / "timeline.jsonl").read_text().splitlines()]
    require({span["rank"] for span in spans} == {0, 1}, "ranks of the timeline")
    require({span["step"] for span in spans if span.get("warm_up")} == {0, 1, 2}, "warm-up steps")
    for step in range(STEPS):
        phases = {span["phase"] for span in spans if span["step"] == step and span["rank"] == 1}
        wanted = {"data_load", "forward", "backward", "gradient_all_reduce", "optimizer"}
        require(wanted <= phases, f"step {step} has {phases}")
    # DDP sums every gradient once a step: 4 bytes of each of 80,836 parameters.
    summed = sum(span["bytes"] for span in spans if span["step"] == 5 and span["rank"] == 0)
    require(summed == 4 * 80836, f"{summed} bytes summed")
    report = json.loads((run / "report.json").read_text())
    require(report["source"] == "measured" and report["measurement"]["steps_per_epoch"] == 10, str(report)[:300])

    # PyTorch's profiler: Holistic Trace Analysis finds the rank by this very text.
    place.run(experiment(6, 2), "kineto", "--kineto", "--steps", "6")
    for rank in (0, 1):
        text = (place.path / "kineto" / "kineto" / f"rank-{rank}.json").read_text()
        require(f'"rank": {rank}' in text and "ProfilerStep#3" in text and "ProfilerStep#5" in text, "kineto trace")
        json.loads(text)

    out, _ = place.run(experiment(6, 2), "kineto-short", "--kineto", "--steps", "3", "--loader-workers", "9")
    require("warning: --kineto records steps after the first 3: this run has 3" in out, out)
    require("unknown: no full step" in out and "compute:" not in out, out)

    # A DeepSpeed configuration says how to train; what it says and nobody does here is named.
    (place.path / "ds.json").write_text(json.dumps({
        "train_batch_size": 24, "gradient_accumulation_steps": 2, "gradient_clipping": 0.5, "bf16": {"enabled": True},
        "zero_optimization": {"stage": 1},
        "optimizer": {"type": "AdamW", "params": {"lr": 0.003, "weight_decay": 0.1}},
        "scheduler": {"type": "WarmupDecayLR", "params": {"warmup_max_lr": 0.003, "warmup_num_steps": 4, "total_num_steps": 20}},
        "activation_checkpointing": {"partition_activations": True}}))
    content = experiment(6, 2, deepspeed_config="ds.json", epochs=2)
    for key in ("micro_batch_per_gpu", "optimizer"):
        del content["training"][key]
    out, _ = place.run(content, "deepspeed", "--check-replicas")
    require("warning: " in out and "activation_checkpointing" in out, f"an unsupported key goes unnamed: {out}")
    resolved = json.loads((place.path / "deepspeed" / "resolved.json").read_text())["training"]
    # 24 = 6 x 2 accumulated x 2 ranks; 120 samples an epoch are 5 steps.
    require(resolved["micro_batch_per_gpu"] in (6, [6]) and resolved["gradient_accumulation_steps"] == 2
            and resolved["precision"] == "bf16" and resolved["gradient_sync"] == "deepspeed-zero-1"
            and resolved["clip_norm"] == 0.5 and resolved["optimizer"]["weight_decay"] == 0.1, str(resolved))
    rows = (place.path / "deepspeed" / "steps.csv").read_text().splitlines()[1:]
    rates = [float(row.split(",")[3]) for row in rows]
    # WarmupDecayLR: up with log(step + 1) / log(4), then down in a straight line to step 20.
    wanted = [0.003 * (math.log(step + 1) / math.log(4) if step < 4 else (20 - step) / 16) for step in range(10)]
    require(len(rates) == 10 and all(abs(a - b) < 1e-12 for a, b in zip(rates, wanted)), f"learning rates {rates}")

    # `vitsim train` starts its ranks itself.
    process = place.start(experiment(6, 2), "launched", "--no-timeline", launch=False)
    out, error = process.communicate(timeout=120)
    require(process.returncode == 0 and len(place.losses("launched")) == 10, f"vitsim train: {out}\n{error}")
    files = {path.name for path in (place.path / "launched").iterdir()}
    require(files == {"resolved.json", "epochs.csv", "steps.csv", "report.json", "report.html"}, f"--no-timeline: {files}")
