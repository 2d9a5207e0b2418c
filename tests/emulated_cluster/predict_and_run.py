#!/usr/bin/env python3
"""Calibrates emulated hosts alone and in pairs, then predicts them together and runs them.

    predict_and_run.py [--full | --ways] [--keep FOLDER]

1. Every kind of host trains alone, at micro-batches of 8 and 16: its compute.
2. Two hosts of a kind train together: what its link and its CPU deliver in an AllReduce.
3. Hosts of different kinds train together, which no calibration has seen: `vitsim validate`
   predicts the step, runs it on the emulated hosts, repeats what other load disturbed, and compares.
4. Every kind of host trains alone once more: whether the machine is as fast as it was at first.

A virtual machine's speed moves by a tenth and more for minutes, and its cores differ, with nothing
to be seen in /proc/stat. So everything is measured twice, by turns and on exchanged cores; where
the two differ, again, until two agree, which count. That is decided without looking at the errors;
where none agree, nothing is judged.

Passes if the mean absolute error of the step time and the worst error are within bounds, and every
run's slowest rank is one that the prediction names: those that it expects to be last in 9 of 10
steps, one alone in at least a quarter of the set-ups. Of two hosts with the same share and micro-batch
either is right ("kind"). Out of bounds on a machine that is not as fast at the end as at first, or
whose measurements of one thing differ by more than 12 %, says nothing. Exits with 77 then, and where the machine cannot emulate hosts, or is never quiet or steady.
"""

import argparse
import itertools
import json
import os
import pathlib
import resource
import shutil
import statistics
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
ALIKE = 0.06  # what two measurements of one thing may differ by; 3 or 4 % is usual
MOST_DRIFT = 0.05
MOST_SCATTER = 0.12  # of all measurements of one thing, where more than two were needed
TURNS = 4
REPEATS = 3
CALIBRATION_STEPS = 20
STEPS = 25

# What a way to train means where it is no `gradient_sync`. The median step must show the average of
# local SGD: one after every step.
WAYS = {
    "bf16-hook": {"communication_hook": {"type": "bf16"}},
    "local-sgd": {"local_updates": {"type": "local-sgd", "every": 1}},
}

# name, hosts, micro-batch by rank, way to train
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
# Ways to train that are not used in calibration, on two and three unequal hosts.
OTHER_WAYS = [setup for way in ("fsdp", "deepspeed-zero-1", "deepspeed-zero-2", *WAYS) for setup in (
    (f"two-{way}", ["50%,1gbit", "30%,300mbit"], [16, 8], way),
    (f"three-{way}", ["50%,1gbit", "40%,1gbit", "30%,300mbit"], [14, 10, 8], way))]


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
            **WAYS.get(sync, {"gradient_sync": sync}),
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


def closest(seconds):
    """The two turns whose times are closest to each other, and by how much they differ."""
    pairs = itertools.combinations(sorted(seconds, key=seconds.get), 2)
    return min((((a, b), seconds[b] / seconds[a] - 1) for a, b in pairs), key=lambda pair: pair[1])


class Laboratory:
    def __init__(self, folder):
        self.folder = folder
        self.disturbed = 0
        self.scatter = 0.0
        self.unlike = 0
        self.environment = dict(os.environ, VITSIM_PROFILES=str(folder / "profiles"))

    def vitsim(self, *arguments):
        """Runs vitsim on this machine; its standard output."""
        return subprocess.run([VITSIM, *map(str, arguments)], env=self.environment, cwd=self.folder, check=True,
                              stdout=subprocess.PIPE, text=True).stdout

    def on_hosts(self, hosts, turn, *command):
        log = self.folder / "log.txt"
        with open(log, "a", encoding="utf-8") as file:
            result = emulated_cluster.run(hosts, [str(word) for word in command], turn=turn, env=self.environment,
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

    def twice(self, work):
        """Measures everything by turns until two times of each agree; the turns and seconds of each.

        `work`: by name, what measures it in a given turn and returns seconds.
        """
        seconds = {name: {} for name in work}
        unsettled = list(work)
        for turn in range(TURNS):
            for name in unsettled:
                seconds[name][turn] = work[name](turn)
            if turn > 0:
                unsettled = [name for name in unsettled if closest(seconds[name])[1] > ALIKE]
                self.unlike += len(unsettled)
        self.scatter = max([self.scatter, *(max(turns.values()) / min(turns.values()) - 1 for turns in seconds.values())])
        if unsettled:
            raise Unsupported("the machine's speed moves too much: of " + ", ".join(
                f"{name} (ms: {' '.join(f'{1e3 * s:.0f}' for s in seconds[name].values())})" for name in unsettled) +
                f" no two times agree within {100 * ALIKE:.0f} %")
        return {name: {turn: seconds[name][turn] for turn in closest(seconds[name])[0]} for name in work}

    def calibrate(self, hosts):
        """Measures every kind of host alone and in pairs, and writes its profiles; seconds per step."""
        work = [([host], batch, "deepspeed-zero-0") for host in cpus(hosts) for batch in BATCHES]
        work += [([host, host], BATCHES[0], sync) for host in hosts for sync in ("deepspeed-zero-0", "ddp")]
        folder = self.folder / "calibration"
        times = self.twice({self.name(*one): self.training(folder, *one) for one in work})
        for name, counted in times.items():
            for run in folder.glob(f"{name}.*"):
                if int(run.suffix[1:]) not in counted:
                    shutil.rmtree(run)
        print(self.vitsim("calibrate", "fit", folder, "--out", self.folder / "profiles"))
        return times

    @staticmethod
    def name(hosts, batch, sync):
        kind = "alone" if len(hosts) == 1 else "pair"
        return f"{kind}-{gpu_name(hosts[0])}-{hosts[0].megabits}-b{batch}-{sync}"

    def training(self, folder, hosts, batch, sync):
        """What trains hosts in a given turn, unless that was done before, and returns seconds per step."""
        name = self.name(hosts, batch, sync)

        def train(turn):
            out = folder / f"{name}.{turn}"
            if not (out / "report.json").exists():
                self.train_undisturbed(out, self.write(name, experiment(hosts, batch, sync)), hosts, turn)
            return step_seconds(out)
        return train

    def train_undisturbed(self, out, file, hosts, turn):
        for _ in range(REPEATS + 1):
            shutil.rmtree(out, ignore_errors=True)
            foreign = foreign_cores(
                lambda: self.on_hosts(hosts, turn, VITSIM, "train", file, "--steps", CALIBRATION_STEPS, "--out", out))
            if foreign <= MOST_FOREIGN_CORES:
                return
            self.disturbed += 1
        shutil.rmtree(out, ignore_errors=True)
        raise Unsupported(f"others use {foreign:.2f} cores of this machine: nothing can be calibrated")

    def drift(self, hosts, first):
        """By how much the machine's speed has changed since the calibrations whose times are `first`."""
        work = {self.name([host], BATCHES[0], "deepspeed-zero-0"): host for host in cpus(hosts)}
        then = self.twice({name: self.training(self.folder / "again", [host], BATCHES[0], "deepspeed-zero-0")
                           for name, host in work.items()})
        return statistics.mean(mean(then[name]) / mean(first[name]) for name in work) - 1

    def validate(self, setups):
        """Predicts and runs every set-up; by name, the results of the runs that count."""
        results = {}
        shutil.rmtree(self.folder / "runs", ignore_errors=True)  # of an earlier time

        def validation(name, hosts, batch, sync):
            hosts = [Host.parse(text) for text in hosts]

            def run(turn):
                file = self.write(name, experiment(hosts, batch, sync))
                result = self.folder / f"{name}.{turn}-result.json"
                self.on_hosts(hosts, turn, VITSIM, "validate", file, "--steps", STEPS, "--json", result, "--out",
                              self.folder / "runs" / f"{name}.{turn}", "--history", self.folder / "history.jsonl",
                              "--trace", self.folder / f"{name}.{turn}-trace.json")
                results[name, turn] = json.loads(result.read_text(encoding="utf-8"))
                return step(results[name, turn])["b_s"]
            return run
        times = self.twice({setup[0]: validation(*setup) for setup in setups})
        return {name: [results[name, turn] for turn in counted] for name, counted in times.items()}


def mean(times):
    return statistics.mean(times.values())


def cpus(hosts):
    """A host of every share of a core."""
    return list({host.cpu_percent: host for host in hosts}.values())


def step(result):
    return next(row for row in result["comparison"]["figures"] if row["name"] == "step")


def kinds(setups):
    """Every kind of host in the set-ups, once."""
    return list(dict.fromkeys(Host.parse(text) for _, hosts, _, _ in setups for text in hosts))


def judge(setups, results):
    print(f"{'set-up':<24}{'way to train':<18}{'predicted':>11}{'measured':>11}{'error':>9}  slowest: named, then measured")
    errors = []
    right = 0
    alone = 0
    for name, _, _, sync in setups:
        counted = results[name]
        predicted = step(counted[0])["a_s"]
        measured = statistics.mean(step(result)["b_s"] for result in counted)
        slowest = [result["comparison"]["slowest_rank"] for result in counted]
        named = slowest[0]["named"]
        errors.append(abs(predicted / measured - 1))
        agree = all(rank["agree"] for rank in slowest)
        right += agree
        alone += agree and len(named) == 1
        verdict = "WRONG" if not agree else "kind" if any(rank["b"] not in named for rank in slowest) else ""
        print(f"{name:<24}{sync:<18}{1e3 * predicted:>8.1f} ms{1e3 * measured:>8.1f} ms"
              f"{100 * (predicted / measured - 1):>+7.1f} %"
              f"  {' or '.join(map(str, named))}: {' and '.join(str(rank['b']) for rank in slowest)} {verdict}".rstrip())
    average = statistics.mean(errors)
    print(f"mean absolute error {100 * average:.2f} %, worst {100 * max(errors):.2f} %, slowest rank named rightly in "
          f"{right} of {len(errors)}: alone in {alone}, as one that it may be in {right - alone}")
    return average <= MEAN_BOUND and max(errors) <= WORST_BOUND and right == len(errors) and 4 * alone >= len(errors)


def main():
    parser = argparse.ArgumentParser(description="Predicts emulated clusters and runs them.")
    parser.add_argument("--full", action="store_true", help="two to five hosts; some ten minutes")
    parser.add_argument("--ways", action="store_true", help="two and three hosts in every other way to train")
    parser.add_argument("--keep", type=pathlib.Path, help="folder for all files (default: a temporary one); "
                        "calibrations that it holds are used again")
    arguments = parser.parse_args()
    emulated_cluster.end_cleanly()
    setups = OTHER_WAYS if arguments.ways else FULL if arguments.full else QUICK
    with tempfile.TemporaryDirectory(prefix="vitsim-laboratory-") as temporary:
        folder = (arguments.keep or pathlib.Path(temporary)).absolute()
        folder.mkdir(parents=True, exist_ok=True)
        laboratory = Laboratory(folder)
        hosts = kinds(setups)
        try:
            first = laboratory.calibrate(hosts)
            results = laboratory.validate(setups)
            drift = laboratory.drift(hosts, first)
        except Unsupported as reason:
            print(f"skipped: {reason}", file=sys.stderr)
            return SKIP
        good = judge(setups, results)
        disturbed = laboratory.disturbed + sum(result["disturbed"] for counted in results.values()
                                               for result in counted)
        print(f"everything measured twice; again because other load disturbed it: {disturbed}, because two times "
              f"differed by more than {100 * ALIKE:.0f} %: {laboratory.unlike}; measurements of one thing differed by up "
              f"to {100 * laboratory.scatter:.0f} %; drift of the machine's speed {100 * drift:+.1f} %")
        if not good and (abs(drift) > MOST_DRIFT or laboratory.scatter > MOST_SCATTER):
            print("skipped: the machine's speed is not steady: the errors above say nothing", file=sys.stderr)
            return SKIP
        return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
