"""A rank that dies, stops, hangs or meets a NaN ends the job within seconds with one message that
names rank, host, step and phase; exit 3; no process stays behind. Bad input is told once, exit 2."""

import os
import signal
import socket
import time

from training import Workplace, experiment, ranks_of, require

HOST = socket.gethostname()


def alive(pid):
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    with open(f"/proc/{pid}/stat") as file:
        return file.read().rsplit(")", 1)[1].split()[0] != "Z"


def wait_for_training(place, name, process):
    """Until a step has been made: the first checkpoint appears."""
    deadline = time.time() + 60
    while not (place.path / name / "checkpoint" / "latest").exists():
        require(time.time() < deadline and process.poll() is None, f"{name}: never trained")
        time.sleep(0.02)


def long_run(**more):
    return experiment(6, 2, epochs=100000, checkpoint={"every": 5}, **more)


def disturb(place, name, sign, *arguments, seconds):
    process = place.start(long_run(), name, *arguments, launch=False)
    wait_for_training(place, name, process)
    time.sleep(0.5)
    pids = ranks_of(process.pid)
    require(len(pids) == 2, f"{name}: ranks {pids}")
    began = time.time()
    os.kill(pids[1], sign)
    out, error = process.communicate(timeout=60)
    took = time.time() - began
    require(took < seconds, f"{name}: took {took} s")
    time.sleep(0.5)
    require(not any(alive(pid) for pid in pids), f"{name}: processes stay behind")
    messages = [line for line in error.splitlines() if "vitsim: error:" in line]
    require(len(messages) == 1, f"{name}: {len(messages)} messages\n{error}")
    require(f"rank 1 ({HOST}), step " in messages[0], messages[0])
    print(name, f"{took:.1f} s:", messages[0], "| exit", process.returncode)
    return messages[0], process.returncode


with Workplace() as place:
    message, code = disturb(place, "killed", signal.SIGKILL, seconds=5)
    require("the process died" in message, message)
    require(code == 3, f"exit code {code}")

    # A stopped process sends nothing at all; no progress for two seconds comes first.
    message, code = disturb(place, "stopped", signal.SIGSTOP, "--hang-timeout", "2", seconds=8)
    require("hangs" in message and code == 3, f"{message}, exit code {code}")

    # A learning rate beyond reason: the loss is not finite after a step or two.
    _, error = place.run(experiment(6, 2, epochs=50, optimizer={"type": "sgd", "lr": 1e6}), "nan", expect=3)
    require(error.count("vitsim: error:") == 1 and "step " in error and f"({HOST})" in error, error)
    require("NaN" in error or "infinite" in error, error)
    require("optimizer" in error or "forward" in error, error)

    # No space, or no permission, for a checkpoint: nothing half-written stays. /proc cannot be written.
    full = experiment(6, 2, epochs=2, checkpoint={"every": 2, "path": "/proc/self/checkpoint"})
    _, error = place.run(full, "full", expect=3)
    require(error.count("vitsim: error:") == 1 and "/proc/self/checkpoint" in error, error)

    # Bad input: told once, exit 2, no run directory.
    def refused(name, content, *words, ranks=2, arguments=()):
        _, error = place.run(content, name, *arguments, ranks=ranks, expect=2)
        for word in words:
            require(word in error, f"{name}: {error}")
        messages = [line for line in error.splitlines() if "vitsim: error:" in line]
        require(messages and len(set(messages)) == len(messages), f"{name}: said more than once: {error}")
        require(not (place.path / name).exists(), f"{name}: a run directory was made")

    refused("ranks", experiment(6, 3), "the cluster has 3 ranks, but 2 processes were started")
    refused("list", experiment([6, 6, 6], 2), "micro_batch_per_gpu")
    refused("key", experiment(6, 2, batch=6), "batch")
    refused("data", experiment(6, 2, dataset={"name": "cifar10", "path": str(place.path)}), "cifar")
    refused("word", experiment(6, 2, dataset={"name": "spam", "samples": 10}), "spam")
    refused("tf32", experiment(6, 2, precision="tf32"), "tf32")
    refused("tree", experiment(6, 2, all_reduce="tree"), "tree")
