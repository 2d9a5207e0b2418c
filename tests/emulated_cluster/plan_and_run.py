#!/usr/bin/env python3
"""Trains what `vitsim plan` says beside equal micro-batches, on emulated hosts of unequal speed.

    plan_and_run.py [--keep FOLDER]

Hosts are calibrated alone and in pairs, as predict_and_run.py does. Then the plan of each set-up
deals the same global batch among the same hosts, balanced, and both are trained by turns. Passes if
every measured speed-up is within 5 points of the predicted one, and none is below 1. Exits with 77
where the machine cannot emulate hosts or is never quiet or steady.
"""

import argparse
import json
import pathlib
import sys
import tempfile

import emulated_cluster
from emulated_cluster import SKIP, Host, Unsupported
from predict_and_run import Laboratory, experiment, mean, step_seconds

WITHIN = 0.05

# name, hosts, micro-batch by rank as it stands, gradient synchronisation
SETUPS = [
    ("two", ["50%,1gbit", "30%,300mbit"], [12, 12], "deepspeed-zero-0"),
    ("three", ["50%,1gbit", "40%,1gbit", "30%,300mbit"], [12, 12, 12], "ddp"),
    ("four", ["50%,1gbit", "40%,1gbit", "30%,300mbit", "30%,300mbit"], [12, 12, 12, 12], "deepspeed-zero-0"),
]
# Everything but the micro-batches stays.
KEEP = ("cluster.nodes,training.gradient_sync,training.gradient_accumulation_steps,training.zero,training.fsdp,"
        "training.parallelism,training.recompute,training.all_reduce")


def plan(laboratory, name, hosts, batch, sync):
    """The balanced micro-batches and the speed-up that they are predicted to bring."""
    file = laboratory.write(f"plan-{name}", experiment(hosts, batch, sync))
    balanced = json.loads(laboratory.vitsim("plan", file, "--keep", KEEP, "--json", "-"))["balanced"]
    assert sum(balanced["micro_batches"]) == sum(batch), balanced
    return balanced["micro_batches"], 1 / (1 - balanced["gain_share"])


def training(laboratory, name, hosts, batch, sync):
    """What trains a set-up in a given turn and returns seconds per step."""
    def train(turn):
        out = laboratory.folder / "runs" / f"{name}.{turn}"
        laboratory.train_undisturbed(out, laboratory.write(name, experiment(hosts, batch, sync)), hosts, turn)
        return step_seconds(out)
    return train


def main():
    parser = argparse.ArgumentParser(description="Trains planned beside equal micro-batches.")
    parser.add_argument("--keep", type=pathlib.Path, help="folder for all files (default: a temporary one); "
                        "calibrations that it holds are used again")
    arguments = parser.parse_args()
    emulated_cluster.end_cleanly()
    with tempfile.TemporaryDirectory(prefix="vitsim-laboratory-") as temporary:
        folder = (arguments.keep or pathlib.Path(temporary)).absolute()
        folder.mkdir(parents=True, exist_ok=True)
        laboratory = Laboratory(folder)
        all_hosts = {name: [Host.parse(text) for text in hosts] for name, hosts, _, _ in SETUPS}
        try:
            laboratory.calibrate(list(dict.fromkeys(host for hosts in all_hosts.values() for host in hosts)))
            plans = {name: plan(laboratory, name, all_hosts[name], batch, sync) for name, _, batch, sync in SETUPS}
            work = {}
            for name, _, batch, sync in SETUPS:
                hosts = all_hosts[name]
                work[f"{name}-equal"] = training(laboratory, f"{name}-equal", hosts, batch, sync)
                work[f"{name}-planned"] = training(laboratory, f"{name}-planned", hosts, plans[name][0], sync)
            times = laboratory.twice(work)
        except Unsupported as reason:
            print(f"skipped: {reason}", file=sys.stderr)
            return SKIP
    good = True
    print(f"{'set-up':<10}{'equal':>10}{'planned':>10}{'measured':>10}{'predicted':>11}  micro-batches")
    for name, _, batch, _ in SETUPS:
        batches, predicted = plans[name]
        equal, planned = mean(times[f"{name}-equal"]), mean(times[f"{name}-planned"])
        measured = equal / planned
        right = abs(measured - predicted) <= WITHIN and measured >= 1
        good = good and right
        print(f"{name:<10}{1e3 * equal:>7.1f} ms{1e3 * planned:>7.1f} ms{measured:>10.3f}{predicted:>11.3f}"
              f"  {batch} -> {batches}{'' if right else '  WRONG'}")
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
