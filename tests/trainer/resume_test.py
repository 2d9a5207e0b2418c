"""A run that stopped and went on ends with the bits of one that never stopped, and a checkpoint
survives kill -9.

For one way to synchronise gradients (argument 1). Stopped by --steps in the middle of an epoch and
killed at several moments; then the same checkpoint goes on with another number of ranks.
"""

import csv
import json
import math
import os
import signal
import subprocess
import sys
import time

from training import ENVIRONMENT, TRAINER, Workplace, experiment, ranks_of, require

SYNC = sys.argv[1]


def content(ranks, **more):
    return experiment(6, ranks, **{"epochs": 3, "gradient_sync": SYNC, "evaluate": True, "checkpoint": {"every": 4},
                                   "schedule": {"type": "cosine", "warmup_steps": 3}, **more})


def weights(place, name):
    folder = place.path / name / "checkpoint"
    step = folder / (folder / "latest").read_text().strip()
    return [(step / file).read_bytes() for file in sorted(os.listdir(step)) if file.endswith(".safetensors")]


def epochs(place, name):
    lines = (place.path / name / "epochs.csv").read_text().splitlines()[1:]
    # Epoch, loss, top-1, top-5: all but durations and memory.
    return [[line.split(",")[i] for i in (0, 3, 4, 5)] for line in lines]


with Workplace() as place:
    place.run(content(2), "whole")
    whole = place.losses("whole")
    require(len(whole) == 30, f"{len(whole)} steps")  # 3 epochs of 120 / (2 x 6) steps

    # Stopped after 14 steps, in the second epoch.
    place.run(content(2), "parts", "--steps", "14")
    require(place.losses("parts") == whole[:14], "the first part already differs")
    place.run(content(2), "parts", "--resume", str(place.path / "parts"))
    require(place.losses("parts") == whole, "losses after resuming differ")
    require(weights(place, "parts") == weights(place, "whole"), "weights or optimizer state differ")
    require(epochs(place, "parts") == epochs(place, "whole"), "epochs.csv differs")

    # Only a whole run knows how long it takes; going on after the end leaves what is there.
    def total(name):
        return json.loads((place.path / name / "report.json").read_text())["measurement"]["total_s"]["p50"]
    require(total("whole") > 0 and total("parts") == 0, f"total_s: {total('whole')}, {total('parts')}")
    before = {path: path.read_bytes() for path in (place.path / "whole").rglob("*") if path.is_file()}
    out, _ = place.run(content(2), "whole", "--resume", str(place.path / "whole"))
    require("nothing is left to do: 30 steps are done" in out, out)
    require(before == {path: path.read_bytes() for path in (place.path / "whole").rglob("*") if path.is_file()},
            "a run with nothing to do changed files")

    # Another run may not write where one is, nor put its checkpoints there.
    if SYNC == "ddp":
        run = place.path / "whole"
        files = {path: path.read_bytes() for path in run.rglob("*") if path.is_file()}
        for name, words, more in (
                ("whole", "whole: holds another run", {}),
                ("sharing", "holds another run's checkpoint", {"checkpoint": {"path": str(run / "checkpoint")}})):
            _, error = place.run(content(2, **more), name, expect=2)
            require(words in error and "--resume" in error and error.count("vitsim: error:") == 1, error)
        _, error = place.run(content(2), "whole", "--resume", str(place.path / "parts"), expect=2)
        require("whole: holds another run" in error, error)
        require(files == {path: path.read_bytes() for path in run.rglob("*") if path.is_file()}, "files have changed")
        require(not (place.path / "sharing").exists(), "a refused run made its directory")
        # A run whose checkpoints are elsewhere is resumed by its own name all the same.
        far = content(2, checkpoint={"path": "far/checkpoints"})
        place.run(far, "far-run", "--steps", "14")
        require((place.path / "far" / "checkpoints" / "latest").exists(), "checkpoint.path is not where it is said")
        place.run(far, "far-run", "--resume", str(place.path / "far-run"))
        require(place.losses("far-run") == whole, "losses after resuming from elsewhere differ")

    # Rank 0, which writes, is killed at different moments after a checkpoint; each time the run goes
    # on from what is there.
    many = content(2)
    many["training"]["epochs"] = 20
    place.run(many, "unharmed")
    latest = place.path / "killed" / "checkpoint" / "latest"
    for attempt, delay in enumerate((0, 0.004, 0.011)):
        arguments = ["--resume", str(place.path / "killed")] if attempt else []
        before = latest.read_text() if latest.exists() else ""
        process = place.start(many, "killed", *arguments)
        while process.poll() is None and (not latest.exists() or latest.read_text() == before):
            time.sleep(0.001)
        time.sleep(delay)
        require(process.poll() is None, "killed: the run was over too soon")
        os.kill(ranks_of(process.pid)[0], signal.SIGKILL)
        process.communicate()
    place.run(many, "killed", "--resume", str(place.path / "killed"))
    require(weights(place, "killed") == weights(place, "unharmed"), "weights after kill -9 differ")
    require(place.losses("killed")[-1] == place.losses("unharmed")[-1], "the last loss after kill -9 differs")

    # One rank goes on with the checkpoint of two.
    place.run(content(2), "wider", "--steps", "20")
    alone = content(1)
    alone["training"]["micro_batch_per_gpu"] = 12
    place.run(alone, "wider", "--resume", str(place.path / "wider"))
    losses = place.losses("wider")
    require(len(losses) == 30, f"{len(losses)} steps")
    require(all(abs(a - b) <= 1e-4 for a, b in zip(losses, whole)), "another number of ranks trains something else")

    # Another step size: 4 steps of 12 into the second epoch are 48 samples, 2 steps of 20. The 8 that are
    # trained on again count once: 120 images an epoch.
    place.run(content(2), "coarser", "--steps", "14")
    alone["training"]["micro_batch_per_gpu"] = 20
    place.run(alone, "coarser", "--resume", str(place.path / "coarser"))
    with open(place.path / "coarser" / "epochs.csv") as file:
        images = [float(row["images_per_s"]) * float(row["train_s"]) for row in csv.DictReader(file)]
    require(all(abs(count - 120) < 1e-3 for count in images), f"images of the epochs: {images}")

    # Losses that overflow with fp16's gradients: their steps are skipped, and the run can go on.
    if SYNC == "ddp":
        wild = content(2, precision="amp-fp16", epochs=1, optimizer={"type": "sgd", "lr": 1e6}, schedule={"type": "constant"})
        place.run(wild, "wild", "--steps", "8")
        require(not all(map(math.isfinite, place.losses("wild"))), f"losses are finite: {place.losses('wild')}")
        place.run(wild, "wild", "--resume", str(place.path / "wild"))
        with open(place.path / "wild" / "epochs.csv") as file:
            mean = float(next(csv.DictReader(file))["loss"])
        finite = [loss for loss in place.losses("wild") if math.isfinite(loss)]
        require(abs(mean - sum(finite) / len(finite)) < 1e-6 * abs(mean), f"mean loss {mean} of {finite}")

    # Checkpoints that cannot be used.
    def refused(name, change, words):
        _, error = place.run(content(2, **change), name, "--resume", str(place.path / "whole"), expect=2)
        for word in words:
            require(word in error, f"{name}: {error}")
        require(error.count("vitsim: error:") == 1, f"{name}: said more than once: {error}")

    refused("other-model", {"classes": 5}, ["its model is", "\"classes\":5"])
    refused("other-precision", {"precision": "bf16"}, ["its precision is \"fp32\", the run's is \"bf16\""])
    step = place.path / "whole" / "checkpoint" / (place.path / "whole" / "checkpoint" / "latest").read_text().strip()
    model = step / "model.safetensors"
    intact = model.read_bytes()
    model.write_bytes(intact[:-1])
    refused("cut", {}, ["model.safetensors: is cut: it has"])
    model.write_bytes(intact)
    manifest = json.loads((step / "manifest.json").read_text())
    manifest["schema"] = "vitsim-checkpoint/2"
    (step / "manifest.json").write_text(json.dumps(manifest))
    refused("newer", {}, ["vitsim-checkpoint/2", "newer"])
    (step / "manifest.json").write_text("{")
    refused("damaged", {}, ["manifest.json: is cut"])
    _, error = place.run(content(2), "nothing", "--resume", str(place.path / "absent"), expect=2)
    require("there is no checkpoint" in error, error)

    # Rank 0 alone says where the run goes on: one that works in another folder, and sees no run there,
    # does not leave it waiting.
    (place.path / "elsewhere").mkdir()
    train = [TRAINER, "train", str(place.path / "parts.json"), "--resume", "parts"]
    done = subprocess.run(["mpirun", "--tag-output", "--oversubscribe", "-np", "1", "-wdir", str(place.path), *train, ":",
                           "-np", "1", "-wdir", str(place.path / "elsewhere"), *train],
                          text=True, capture_output=True, env=ENVIRONMENT, timeout=60)
    require(done.returncode == 2 and "rank 1 (" in done.stderr and "there is no checkpoint" in done.stderr, done.stderr)
