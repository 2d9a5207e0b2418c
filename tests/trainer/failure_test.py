"""A rank that dies, stops, hangs or meets a NaN ends the job within seconds with one message that
names rank, host, step and phase; exit 3; no process stays behind."""

import os
import resource
import signal
import socket
import time

from training import Workplace, errors_of, experiment, ranks_of, require, wait_for_training

HOST = socket.gethostname()


def alive(pid):
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    with open(f"/proc/{pid}/stat") as file:
        return file.read().rsplit(")", 1)[1].split()[0] != "Z"


def long_run(**more):
    return experiment(6, 2, epochs=100000, checkpoint={"every": 5}, **more)


def disturb(place, name, sign, *arguments, seconds, rank=1):
    process = place.start(long_run(), name, *arguments, launch=False)
    wait_for_training(place, name, process)
    time.sleep(0.5)
    pids = ranks_of(process.pid)
    require(len(pids) == 2, f"{name}: ranks {pids}")
    began = time.time()
    os.kill(pids[rank], sign)
    out, error = process.communicate(timeout=60)
    took = time.time() - began
    require(took < seconds, f"{name}: took {took} s")
    time.sleep(0.5)
    require(not any(alive(pid) for pid in pids), f"{name}: processes stay behind")
    messages = [line for line in error.splitlines() if "vitsim: error:" in line]
    require(len(messages) == 1, f"{name}: {len(messages)} messages\n{error}")
    require(f"rank {rank} ({HOST}), step " in messages[0], messages[0])
    print(name, f"{took:.1f} s:", messages[0], "| exit", process.returncode)
    return messages[0], process.returncode


with Workplace() as place:
    message, code = disturb(place, "killed", signal.SIGKILL, seconds=5)
    require("the process died" in message, message)
    require(code == 3, f"exit code {code}")

    # Nobody but rank 1 can tell of rank 0.
    message, code = disturb(place, "killed-first", signal.SIGKILL, seconds=5, rank=0)
    require("the process died" in message and code == 3, f"{message}, exit code {code}")

    # A stopped process sends nothing at all; no progress for two seconds comes first.
    message, code = disturb(place, "stopped", signal.SIGSTOP, "--hang-timeout", "2", seconds=8)
    require("hangs" in message and code == 3, f"{message}, exit code {code}")

    # A learning rate beyond reason: the loss is not finite after a step or two.
    _, error = place.run(experiment(6, 2, epochs=50, optimizer={"type": "sgd", "lr": 1e6}), "nan", expect=3)
    require(len(errors_of(error)) == 1 and "step " in error and f"({HOST})" in error, error)
    require("NaN" in error or "infinite" in error, error)
    require("optimizer" in error or "forward" in error, error)

    # Memory runs out on one rank: once the first file is written, just before the first step, it gets
    # no more. A step needs a lot: each product of 16 x 1025 tokens x 512 floats is 34 MB.
    large = long_run()
    large["training"].update(image_size=512, micro_batch_per_gpu=16,
                             model={"layers": 2, "width": 64, "heads": 2, "mlp": 512, "patch": 16})
    process = place.start(large, "memory")
    while not (place.path / "memory" / "resolved.json").exists():
        require(process.poll() is None, "memory: never began")
        time.sleep(0.002)
    pids = ranks_of(process.pid)
    with open(f"/proc/{pids[1]}/statm") as file:
        used = int(file.read().split()[0]) * resource.getpagesize()
    resource.prlimit(pids[1], resource.RLIMIT_AS, (used, used))
    began = time.time()
    out, error = process.communicate(timeout=60)
    messages = errors_of(error)
    require(process.returncode == 3 and len(messages) == 1, f"memory: exit code {process.returncode}: {error}")
    require(f"rank 1 ({HOST}), step " in messages[0] and "out of memory" in messages[0], messages[0])
    require(time.time() - began < 10, f"memory: took {time.time() - began} s")
    require(not any(alive(pid) for pid in pids), "memory: processes stay behind")
    print(messages[0])
