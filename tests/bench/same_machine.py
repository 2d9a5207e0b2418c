#!/usr/bin/env python3
"""How well calibrations of this machine predict what they have not measured, and how well they repeat.

    same_machine.py --vitsim build/test/vitsim [--rounds 6] [--budget 1min] [--device cpu] [--keep FOLDER]

By turns, so that a machine whose speed wanders favours neither: `vitsim calibrate` measures two model
sizes at two micro-batches, and `vitsim validate` runs micro-batches between the two (interpolated) and
sizes, resolutions and patches that were not measured. What all calibrations together predict is then
compared with the median of each case's runs, and each calibration with the next by the spread that they
state. Exits 1 above 3 % mean for interpolated batches, above 8 % for other sizes, or where a figure of
two calibrations differs by more than their spread allows.
"""

import argparse
import dataclasses
import json
import math
import os
import pathlib
import shutil
import statistics
import subprocess
import sys
import tempfile

BOUNDS = {"interpolated": 0.03, "other size": 0.08}
MEASURED = ["vit-ti-16", "vit-s-16"]
# Of the difference of two normal figures, nineteen of twenty lie within so many of its deviations.
MOST_DEVIATIONS = 1.96 * math.sqrt(2)


@dataclasses.dataclass
class Case:
    name: str
    kind: str
    model: object
    image_size: int
    batch: int


def plan(device):
    """Micro-batches to calibrate, and what to predict."""
    batches, between = ([32, 128], [48, 64, 96]) if device == "cuda" else ([2, 8], [3, 4, 6])
    middle = between[1]
    wide = {"layers": 8, "width": 512, "heads": 8, "mlp": 2048, "patch": 16}
    cases = [("interpolated", model, 224, batch) for model in MEASURED for batch in between]
    cases += [("other size", model, 224, middle) for model in ("vit-b-16", "vit-b-32", wide)]
    cases += [("other size", "vit-s-16", 160, batches[1]), ("other size", "vit-ti-16", 288, middle)]
    if device == "cuda":
        cases.append(("other size", "vit-l-16", 224, batches[0]))
    return batches, [Case(f"case-{number}", *case) for number, case in enumerate(cases)]


def experiment(case):
    return {
        "cluster": {"nodes": [{"name": "here", "gpus": ["this-machine"]}]},
        "training": {
            "model": case.model,
            "image_size": case.image_size,
            "dataset": {"name": "synthetic", "samples": 100_000},
            "micro_batch_per_gpu": case.batch,
        },
    }


class Machine:
    def __init__(self, options, folder):
        self.options = options
        self.folder = folder

    def vitsim(self, *words, accept=(0,)):
        done = subprocess.run([self.options.vitsim, *map(str, words)], cwd=self.folder, text=True,
                              stdout=subprocess.PIPE, env=dict(os.environ, VITSIM_PROFILES="profiles"))
        if done.returncode not in accept:
            sys.exit(f"vitsim {' '.join(map(str, words))}: exit code {done.returncode}\n{done.stdout}")
        return done.stdout

    def calibrate(self, batches, out):
        if not (self.folder / out).exists():
            print(self.vitsim("calibrate", "--budget", self.options.budget, "--device", self.options.device, "--name",
                              "this-machine", "--model", ",".join(MEASURED), "--micro-batch",
                              ",".join(map(str, batches)), "--measurement", f"{out}.json", "--out", out))
        return json.loads((self.folder / out / "this-machine.json").read_text(encoding="utf-8"))

    def measured_step(self, case, name, profiles):
        """Median seconds of a step of an undisturbed real run."""
        result = self.folder / f"{name}-result.json"
        if not result.exists():
            self.write(case)
            for unfinished in (self.folder / "runs").glob(f"{name}*"):
                shutil.rmtree(unfinished)
            self.vitsim("validate", f"{case.name}.json", "--profiles", profiles, "--steps", self.options.steps,
                        "--json", result, "--out", f"runs/{name}", accept=(0, 1))
        figures = json.loads(result.read_text(encoding="utf-8"))["comparison"]["figures"]
        return next(row["b_s"] for row in figures if row["name"] == "step")

    def predicted_step(self, case):
        report = self.folder / f"{case.name}-predicted.json"
        self.vitsim("predict", f"{case.name}.json", "--json", report)
        return json.loads(report.read_text(encoding="utf-8"))["prediction"]["step_s"]["p50"]

    def write(self, case):
        (self.folder / f"{case.name}.json").write_text(json.dumps(experiment(case)), encoding="utf-8")


def points(profile):
    return {(step["model"], point["micro_batch"]): point["forward_s"] + point["backward_s"]
            for step in profile["steps"] for point in step["points"]}


def main():
    parser = argparse.ArgumentParser(description="Calibrates this machine, predicts what was left out, runs it.")
    parser.add_argument("--vitsim", required=True, type=os.path.abspath)
    parser.add_argument("--budget", default="1min")
    parser.add_argument("--device", default="cpu", choices=("cpu", "cuda"))
    parser.add_argument("--rounds", type=int, default=6)
    parser.add_argument("--steps", type=int, default=8)
    parser.add_argument("--keep", type=pathlib.Path, help="folder for all files; what it holds is not measured again")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = (options.keep or pathlib.Path(temporary)).absolute()
        (folder / "profiles").mkdir(parents=True, exist_ok=True)
        return 0 if judge(Machine(options, folder)) else 1


def judge(machine):
    batches, cases = plan(machine.options.device)
    calibrations = []
    steps = {case.name: [] for case in cases}
    for turn in range(1, machine.options.rounds + 1):
        calibrations.append(machine.calibrate(batches, f"profiles-{turn}"))
        for case in cases:
            steps[case.name].append(machine.measured_step(case, f"{case.name}-{turn}", f"profiles-{turn}"))
    machine.vitsim("calibrate", "fit", *(f"profiles-{turn}.json" for turn in range(1, machine.options.rounds + 1)),
                   "--out", "profiles")

    good = True
    errors = {}
    print("| what | model | image | micro-batch | predicted | measured | error | runs scatter by |\n|---|---|---|---|---|---|---|---|")
    for case in cases:
        predicted, measured = machine.predicted_step(case), statistics.median(steps[case.name])
        scatter = max(steps[case.name]) / min(steps[case.name]) - 1
        errors.setdefault(case.kind, []).append(predicted / measured - 1)
        called = case.model if isinstance(case.model, str) else f"{case.model['layers']} layers of {case.model['width']}"
        print(f"| {case.kind} | {called} | {case.image_size} | {case.batch} | {1e3 * predicted:.1f} ms | "
              f"{1e3 * measured:.1f} ms | {100 * errors[case.kind][-1]:+.1f} % | {100 * scatter:.1f} % |")
    for kind, values in errors.items():
        mean = sum(map(abs, values)) / len(values)
        good = good and mean <= BOUNDS[kind]
        print(f"{kind}: mean absolute error {100 * mean:.2f} % of {len(values)}, at most {100 * BOUNDS[kind]:g} % wanted")

    for first, again in zip(calibrations, calibrations[1:]):
        sigma = max(first["spread"]["run_sigma"], again["spread"]["run_sigma"])
        differences = [abs(math.log(points(again)[key] / seconds))
                       for key, seconds in points(first).items() if key in points(again)]
        good = good and max(differences) <= MOST_DEVIATIONS * sigma
        print(f"measured twice: {len(differences)} points differ by {100 * statistics.mean(differences):.2f} % on average, at "
              f"most {100 * max(differences):.2f} %; stated spread between runs {100 * sigma:.2f} %")
    return good


if __name__ == "__main__":
    sys.exit(main())
