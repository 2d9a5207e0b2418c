#!/usr/bin/env python3
"""Calibrates emulated hosts alone and in pairs, then predicts them together and runs them.

    predict_and_run.py [--full] [--keep FOLDER]

1. Every kind of host trains alone, at micro-batches of 8 and 16: its compute.
2. Two hosts of a kind train together: what its link and its CPU deliver in an AllReduce.
3. Hosts of different kinds train together, which no calibration has seen: `vitsim validate`
   predicts the step, runs it on the emulated hosts, repeats what other load disturbed, and compares.

A calibration that other load disturbed is repeated too, and at the end the first host is measured
again: where the machine itself has become faster or slower meanwhile, nothing is judged. Both is
decided without looking at the errors.

Passes if the mean absolute error of the step time, the worst error and the rank named slowest are
within bounds; of two hosts with the same share and micro-batch either is right ("kind"). Exits with 77 where the machine cannot emulate hosts, or is never quiet.
"""

import argparse
import json
import os
import pathlib
import resource
import shutil
import subprocess
import sys
import tempfile
import time

import emulated_cluster
from emulated_cluster import SKIP, Host, Unsupported

VITSIM = os.environ["VITSIM"]
MEAN_BOUND = 0.05
WORST_BOUND = 0.12
BATCHES = (8, 16)
MOST_FOREIGN_CORES = 0.1
MOST_DRIFT = 0.08  # two runs of one configuration differ by 3 or 4 % anyway
REPEATS = 3
CALIBRATION_STEPS = 20
STEPS = 25

# name, hosts, micro-batch by rank, gradient synchronisation
QUICK = [
    ("two", ["50%,1gbit", "30%,300mbit"], [8, 8], "deepspeed-zero-0"),
    ("two-uneven", ["50%,1gbit", "30%,300mbit"], [16, 8], "ddp"),
    ("three", ["50%,1gbit", "40%,1gbit", "30%,300mbit"], [8, 8, 8], "ddp"),
    ("three-uneven", ["50%,1gbit", "40%,1gbit", "30%,300mbit"], [14, 10, 8], "deepspeed-zero-0"),
]
FULL = QUICK + [
    ("two-slow-link", ["50%,1gbit", "30%,100mbit"], [8, 8], "deepspeed-zero-0"),
    ("four", ["50%,1gbit", "40%,1gbit", "30%,300mbit", "30%,100mbit"], [12, 10, 8, 8], "deepspeed-zero-0"),
    ("five", ["30%,1gbit", "30%,300mbit", "30%,1gbit", "30%,300mbit", "30%,1gbit"], [8, 8, 10, 8, 12], "ddp"),
]


def gpu_name(host):
    return f"cpu-{host.cpu_percent}"


def link_name(host):
    return f"lan-{host.cpu_percent}-{host.megabits}-ethernet"


def experiment(hosts, batch, sync):
    """A cluster file's content: a ViT whose step takes some 100 ms on a share of a core."""
    nodes = [{"name": f"h{index}", "host": f"h{index}", "gpus": [gpu_name(host)],
              "nic": {"profile": link_name(host)}} for index, host in enumerate(hosts)]
    cluster = {"nodes": nodes}
    if len(set(hosts)) == 1:
        for node in nodes:
            del node["nic"]
        cluster["network"] = {"profile": link_name(hosts[0])}
    return {
        "cluster": cluster,
        "training": {
            "model": {"layers": 6, "width": 192, "heads": 3, "mlp": 768, "patch": 8},
            "image_size": 64,
            "classes": 100,
            "dataset": {"name": "synthetic", "samples": 100_000},
            "micro_batch_per_gpu": batch,
            "gradient_sync": sync,
        },
    }


def unused_seconds():
    """CPU seconds that no process had (idle, interrupts), and those of ourselves.

    The kernel clocks idle time, but samples busy time at its ticks, at which quotas end: what is not
    idle is busy.
    """
    with open("/proc/stat", encoding="ascii") as file:
        fields = [int(word) for word in file.readline().split()[1:9]]
    unused = sum(fields[3:7]) / os.sysconf("SC_CLK_TCK")
    return unused, sum(sum(resource.getrusage(who)[:2]) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))


def foreign_cores(work):
    """Cores that others used while `work` was done, the hypervisor's theft included."""
    begin = time.monotonic()
    unused, own = unused_seconds()
    work()
    unused_then, own_then = unused_seconds()
    seconds = time.monotonic() - begin
    return max(0.0, os.cpu_count() - (unused_then - unused + own_then - own) / seconds)


def step_seconds(folder):
    return json.loads((folder / "report.json").read_text(encoding="utf-8"))["measurement"]["step_s"]["p50"]


class Laboratory:
    def __init__(self, folder):
        self.folder = folder
        self.repeated = 0
        self.first = None  # calibration: name, hosts, micro-batch, synchronisation
        self.environment = dict(os.environ, VITSIM_PROFILES=str(folder / "profiles"))

    def vitsim(self, *arguments):
        """Runs vitsim on this machine; its standard output."""
        return subprocess.run([VITSIM, *map(str, arguments)], env=self.environment, cwd=self.folder, check=True,
                              stdout=subprocess.PIPE, text=True).stdout

    def on_hosts(self, hosts, *command):
        log = self.folder / "log.txt"
        with open(log, "a", encoding="utf-8") as file:
            result = emulated_cluster.run(hosts, [str(word) for word in command], env=self.environment,
                                          cwd=self.folder, stdout=file, stderr=subprocess.STDOUT)
        if result.returncode not in (0, 1):
            tail = log.read_text(encoding="utf-8").splitlines()[-30:]
            print("\n".join(tail), file=sys.stderr)
            if any("were disturbed" in line for line in tail):
                raise Unsupported("the machine is never quiet enough")
            sys.exit(f"{' '.join(map(str, command))}: exit code {result.returncode}")

    def write(self, name, content):
        file = self.folder / f"{name}.json"
        file.write_text(json.dumps(content, indent=1), encoding="utf-8")
        return file

    def calibrate(self, hosts):
        """Measures a kind of host alone and in a pair, and writes its profiles."""
        for cpu in {host.cpu_percent: host for host in hosts}.values():
            for batch in BATCHES:
                self.train([cpu], batch, "deepspeed-zero-0")
        for host in hosts:
            for sync in ("deepspeed-zero-0", "ddp"):
                self.train([host, host], BATCHES[0], sync)
        print(self.vitsim("calibrate", "fit", self.folder / "calibration", "--out", self.folder / "profiles"))

    def train(self, hosts, batch, sync):
        kind = "alone" if len(hosts) == 1 else "pair"
        name = f"{kind}-{gpu_name(hosts[0])}-{hosts[0].megabits}-b{batch}-{sync}"
        self.first = self.first or (name, hosts, batch, sync)
        if not (self.folder / "calibration" / name / "report.json").exists():
            self.train_undisturbed(self.folder / "calibration" / name, name, hosts, batch, sync)

    def train_undisturbed(self, out, name, hosts, batch, sync):
        file = self.write(name, experiment(hosts, batch, sync))
        for _ in range(REPEATS + 1):
            shutil.rmtree(out, ignore_errors=True)
            foreign = foreign_cores(
                lambda: self.on_hosts(hosts, VITSIM, "train", file, "--steps", CALIBRATION_STEPS, "--out", out))
            if foreign <= MOST_FOREIGN_CORES:
                return
            self.repeated += 1
        shutil.rmtree(out, ignore_errors=True)
        raise Unsupported(f"others use {foreign:.2f} cores of this machine: nothing can be calibrated")

    def drift(self):
        """By how much the machine's speed has changed since the first calibration."""
        name, hosts, batch, sync = self.first
        again = self.folder / "again" / name
        self.train_undisturbed(again, name, hosts, batch, sync)
        return step_seconds(again) / step_seconds(self.folder / "calibration" / name) - 1

    def validate(self, name, hosts, batch, sync):
        file = self.write(name, experiment(hosts, batch, sync))
        result = self.folder / f"{name}-result.json"
        self.on_hosts(hosts, VITSIM, "validate", file, "--steps", STEPS, "--json", result, "--out",
                      self.folder / "runs" / name, "--history", self.folder / "history.jsonl", "--trace",
                      self.folder / f"{name}-trace.json")
        return json.loads(result.read_text(encoding="utf-8"))


def kinds(setups):
    """Every kind of host in the set-ups, once."""
    return list(dict.fromkeys(Host.parse(text) for _, hosts, _, _ in setups for text in hosts))


def judge(results):
    print(f"{'set-up':<18}{'sync':<18}{'predicted':>11}{'measured':>11}{'error':>9}  slowest   runs  disturbed")
    errors = []
    named = 0
    for name, sync, result in results:
        figure = next(row for row in result["comparison"]["figures"] if row["name"] == "step")
        error = figure["a_s"] / figure["b_s"] - 1
        slowest = result["comparison"]["slowest_rank"]
        right = slowest["agree"]
        errors.append(abs(error))
        named += right
        print(f"{name:<18}{sync:<18}{1e3 * figure['a_s']:>8.1f} ms{1e3 * figure['b_s']:>8.1f} ms{100 * error:>+7.1f} %"
              f"  {slowest['a']} of {slowest['b']} {'' if slowest['a'] == slowest['b'] else 'kind' if right else 'WRONG':<5}{result['runs']:>3}{result['disturbed']:>8}")
    mean = sum(errors) / len(errors)
    print(f"mean absolute error {100 * mean:.2f} %, worst {100 * max(errors):.2f} %, slowest rank named rightly in "
          f"{named} of {len(errors)}")
    return mean <= MEAN_BOUND and max(errors) <= WORST_BOUND and named == len(errors)


def main():
    parser = argparse.ArgumentParser(description="Predicts emulated clusters and runs them.")
    parser.add_argument("--full", action="store_true", help="two to five hosts; some ten minutes")
    parser.add_argument("--keep", type=pathlib.Path, help="folder for all files (default: a temporary one); "
                        "calibrations that it holds are used again")
    arguments = parser.parse_args()
    emulated_cluster.end_cleanly()
    setups = FULL if arguments.full else QUICK
    with tempfile.TemporaryDirectory(prefix="vitsim-laboratory-") as temporary:
        folder = (arguments.keep or pathlib.Path(temporary)).absolute()
        folder.mkdir(parents=True, exist_ok=True)
        laboratory = Laboratory(folder)
        try:
            laboratory.calibrate(kinds(setups))
            results = [(name, sync, laboratory.validate(name, [Host.parse(text) for text in hosts], batch, sync))
                       for name, hosts, batch, sync in setups]
            drift = laboratory.drift()
        except Unsupported as reason:
            print(f"skipped: {reason}", file=sys.stderr)
            return SKIP
        good = judge(results)
        print(f"calibrations repeated because of other load: {laboratory.repeated}; drift of the machine's speed "
              f"{100 * drift:+.1f} %")
        if abs(drift) > MOST_DRIFT:
            print("skipped: the machine's speed changed meanwhile: the errors above say nothing", file=sys.stderr)
            return SKIP
        return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
