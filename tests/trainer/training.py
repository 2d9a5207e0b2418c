"""Starts the trainer for the tests beside this file."""

import csv
import json
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile
import time

TRAINER = os.environ["VITSIM_TRAINER"]
VITSIM = os.environ["VITSIM"]

# Containers run as root, and two ranks may have to share one core.
ENVIRONMENT = dict(
    os.environ,
    OMPI_ALLOW_RUN_AS_ROOT="1",
    OMPI_ALLOW_RUN_AS_ROOT_CONFIRM="1",
    OMP_NUM_THREADS="1",
)


def experiment(micro_batch, ranks, **training):
    """A cluster file's content: a small ViT on the synthetic set."""
    return {
        "cluster": {"nodes": [{"name": "here", "gpus": ["cpu"] * ranks}]},
        "training": {
            "model": {"layers": 2, "width": 64, "heads": 2, "mlp": 128, "patch": 8},
            "image_size": 32,
            "classes": 4,
            "dataset": {"name": "synthetic", "samples": 120},
            "micro_batch_per_gpu": micro_batch,
            "optimizer": {"type": "adamw", "lr": 1e-3},
            **training,
        },
    }


class Workplace:
    """A temporary folder with the files of one test."""

    def __init__(self):
        self.path = pathlib.Path(tempfile.mkdtemp(prefix="vitsim-trainer-"))

    def __enter__(self):
        return self

    def __exit__(self, *_):
        shutil.rmtree(self.path, ignore_errors=True)

    def command(self, content, name, *arguments, ranks=None, launch=True):
        file = self.path / f"{name}.json"
        file.write_text(json.dumps(content))
        ranks = ranks or len(content["cluster"]["nodes"][0]["gpus"])
        train = ["train", str(file), "--out", str(self.path / name), *arguments]
        if not launch:
            return [VITSIM, *train]
        return ["mpirun", "--tag-output", "--oversubscribe", "--bind-to", "none", "-np", str(ranks), TRAINER, *train]

    def start(self, content, name, *arguments, ranks=None, launch=True, preexec=None, **environment):
        """Under mpirun, or without `launch` by `vitsim train`, which starts mpirun itself."""
        return subprocess.Popen(self.command(content, name, *arguments, ranks=ranks, launch=launch), text=True,
                                stdout=subprocess.PIPE, stderr=subprocess.PIPE, preexec_fn=preexec,
                                env=dict(ENVIRONMENT, **environment))

    def run(self, content, name, *arguments, ranks=None, expect=0, **environment):
        """Trains; returns (standard output, standard error)."""
        process = self.start(content, name, *arguments, ranks=ranks, **environment)
        out, error = process.communicate(timeout=120)
        if process.returncode != expect:
            sys.exit(f"{name}: exit code {process.returncode}, expected {expect}\n{out}\n{error}")
        return out, error

    def losses(self, name):
        with open(self.path / name / "steps.csv") as file:
            return [float(row["loss"]) for row in csv.DictReader(file)]


def errors_of(error):
    """The program's error messages in a job's standard error; all must be rank 0's."""
    lines = [line for line in error.splitlines() if "vitsim: error:" in line]
    require(all(line.startswith("[1,0]<stderr>:") for line in lines), f"another rank than 0 speaks: {error}")
    return lines


def ranks_of(process):
    """Process ids of the ranks below this process, in the order of their start."""
    parents, names = {}, {}
    for folder in pathlib.Path("/proc").glob("[0-9]*"):
        try:
            name, rest = (folder / "stat").read_text().split("(", 1)[1].rsplit(")", 1)
        except OSError:
            continue  # it has just ended
        parents[int(folder.name)], names[int(folder.name)] = int(rest.split()[1]), name
    below = {process}
    for _ in range(3):  # vitsim, mpirun, rank
        below |= {pid for pid, parent in parents.items() if parent in below}
    return sorted(pid for pid in below if names.get(pid, "").startswith("vitsim-trainer"))


def wait_for_training(place, name, process):
    """Until a step has been made: the first checkpoint appears."""
    deadline = time.time() + 60
    while not (place.path / name / "checkpoint" / "latest").exists():
        require(time.time() < deadline and process.poll() is None, f"{name}: never trained")
        time.sleep(0.02)


def require(condition, message):
    if not condition:
        sys.exit(f"FAILED: {message}")
