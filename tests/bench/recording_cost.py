"""What recording phases costs a training: whole runs with and without `--no-timeline`, by turns.

    recording_cost.py --trainer build/test/vitsim-trainer [--ranks 2] [--rounds 5]

Prints the ratio of the median epoch with recording to the median one without; exits 1 above the limit,
1.01. The model is small, so that its steps are short (tens of milliseconds) and recording weighs more
than in any real training. To be run on a quiet machine: the first epoch of each run is left out, and
what the same kind of run scatters by is printed beside.
"""

import argparse
import csv
import json
import os
import pathlib
import shutil
import statistics
import subprocess
import sys
import tempfile


def epochs_of(options, folder, *arguments):
    experiment = {
        "cluster": {"nodes": [{"name": "here", "gpus": ["cpu"] * options.ranks}]},
        "training": {
            "model": {"layers": 4, "width": 192, "heads": 4, "mlp": 768, "patch": 8},
            "image_size": 64,
            "classes": 10,
            "dataset": {"name": "synthetic", "samples": 8 * options.ranks * options.steps},
            "micro_batch_per_gpu": 8,
            "epochs": 1 + options.epochs,
        },
    }
    file = folder / "recording.json"
    file.write_text(json.dumps(experiment))
    environment = dict(os.environ, OMPI_ALLOW_RUN_AS_ROOT="1", OMPI_ALLOW_RUN_AS_ROOT_CONFIRM="1")
    shutil.rmtree(folder / "out", ignore_errors=True)
    subprocess.run(["mpirun", "--quiet", "--oversubscribe", "--bind-to", "none", "-np", str(options.ranks),
                    options.trainer, "train", str(file), "--device", "cpu", "--out", str(folder / "out"), *arguments],
                   env=environment, check=True, stdout=subprocess.DEVNULL)
    with open(folder / "out" / "epochs.csv") as rows:
        return [float(row["train_s"]) for row in csv.DictReader(rows)][1:]


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--trainer", required=True)
    parser.add_argument("--ranks", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--epochs", type=int, default=4, help="counted epochs of a run")
    parser.add_argument("--steps", type=int, default=25, help="steps of an epoch")
    parser.add_argument("--limit", type=float, default=1.01)
    options = parser.parse_args()
    recorded, plain = [], []
    with tempfile.TemporaryDirectory() as folder:
        for round_number in range(options.rounds):
            # The order alternates, so that a machine that warms up favours neither.
            kinds = [(recorded, []), (plain, ["--no-timeline"])]
            for into, arguments in kinds if round_number % 2 == 0 else reversed(kinds):
                into += epochs_of(options, pathlib.Path(folder), *arguments)
    ratio = statistics.median(recorded) / statistics.median(plain)
    scatter = statistics.stdev(plain) / statistics.median(plain)
    print(f"median step {statistics.median(recorded) / options.steps * 1e3:.2f} ms recorded, "
          f"{statistics.median(plain) / options.steps * 1e3:.2f} ms not: ratio {ratio:.4f} "
          f"(epochs scatter by {100 * scatter:.1f} %)")
    if ratio > options.limit:
        sys.exit(f"recording costs more than {100 * (options.limit - 1):.0f} %")


main()
