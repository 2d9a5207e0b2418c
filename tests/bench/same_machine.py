#!/usr/bin/env python3
"""How well one calibration of this machine predicts what it has not measured, and how well it repeats.

    same_machine.py --vitsim build/test/vitsim [--budget 2min] [--device cpu] [--keep FOLDER]

`vitsim calibrate` measures two model sizes at two micro-batches, twice; the two profiles are
compared with the spread that they state. From both together `vitsim validate` predicts, and then runs
for real, micro-batches between the two (interpolated), and sizes, resolutions and patches that were
not measured. Exits 1 above 3 % mean for interpolated batches, above 8 % for other sizes, or where a
figure of the two profiles differs by more than its spread allows. Where the machine's own speed has
changed by more than 8 % from before the runs to after them nothing is judged (exit 77).
"""

import argparse
import json
import math
import os
import pathlib
import subprocess
import sys
import tempfile

BOUNDS = {"interpolated": 0.03, "other size": 0.08}
MEASURED = ["vit-ti-16", "vit-s-16"]
MOST_DRIFT = 0.08  # two runs of one configuration differ by 3 or 4 % anyway
SKIP = 77
# Of the difference of two normal figures, nineteen of twenty lie within so many of its deviations.
MOST_DEVIATIONS = 1.96 * math.sqrt(2)


def plan(device):
    """Micro-batches to calibrate, and cases: what kind, model, image size, micro-batch."""
    if device == "cuda":
        batches, between, largest = [32, 128], [48, 64, 96], "vit-l-16"
    else:
        batches, between, largest = [2, 8], [3, 4, 6], "vit-b-16"
    middle = between[1]
    wide = {"layers": 8, "width": 512, "heads": 8, "mlp": 2048, "patch": 16}
    cases = [("interpolated", model, 224, batch) for model in MEASURED for batch in between]
    cases += [("other size", model, 224, middle) for model in ("vit-b-16", "vit-b-32", wide)]
    cases += [("other size", "vit-s-16", 160, batches[1]), ("other size", "vit-ti-16", 288, middle)]
    if largest != "vit-b-16":
        cases.append(("other size", largest, 224, batches[0]))
    return batches, cases


def experiment(model, image_size, batch):
    return {
        "cluster": {"nodes": [{"name": "here", "gpus": ["this-machine"]}]},
        "training": {
            "model": model,
            "image_size": image_size,
            "dataset": {"name": "synthetic", "samples": 100_000},
            "micro_batch_per_gpu": batch,
        },
    }


class Machine:
    def __init__(self, options, folder):
        self.options = options
        self.folder = folder

    def vitsim(self, *words, accept=(0,)):
        done = subprocess.run([self.options.vitsim, *map(str, words)], cwd=self.folder, text=True,
                              stdout=subprocess.PIPE)
        if done.returncode not in accept:
            sys.exit(f"vitsim {' '.join(map(str, words))}: exit code {done.returncode}\n{done.stdout}")
        return done.stdout

    def calibrate(self, batches, out):
        if not (self.folder / out).exists():
            print(self.vitsim("calibrate", "--budget", self.options.budget, "--device", self.options.device, "--name",
                              "this-machine", "--model", ",".join(MEASURED), "--micro-batch",
                              ",".join(map(str, batches)), "--measurement", f"{out}.json", "--out", out))
        return json.loads((self.folder / out / "this-machine.json").read_text(encoding="utf-8"))

    def step(self, name, model, batch):
        """Median seconds of a step of a real run."""
        (self.folder / f"{name}.json").write_text(json.dumps(experiment(model, 224, batch)), encoding="utf-8")
        if not (self.folder / "runs" / name).exists():
            self.vitsim("train", f"{name}.json", "--steps", self.options.steps, "--out", f"runs/{name}")
        report = json.loads((self.folder / "runs" / name / "report.json").read_text(encoding="utf-8"))
        return report["measurement"]["step_s"]["p50"]

    def step_errors(self, number, model, image_size, batch):
        """Seconds of a step, predicted and measured."""
        name = f"case-{number}"
        (self.folder / f"{name}.json").write_text(json.dumps(experiment(model, image_size, batch)), encoding="utf-8")
        self.vitsim("validate", f"{name}.json", "--profiles", "profiles", "--steps", self.options.steps, "--json",
                    f"{name}-result.json", "--out", f"runs/{name}", accept=(0, 1))
        result = json.loads((self.folder / f"{name}-result.json").read_text(encoding="utf-8"))
        figure = next(row for row in result["comparison"]["figures"] if row["name"] == "step")
        return figure["a_s"], figure["b_s"]


def points(profile):
    return {(step["model"], point["micro_batch"]): point["forward_s"] + point["backward_s"]
            for step in profile["steps"] for point in step["points"]}


def main():
    parser = argparse.ArgumentParser(description="Calibrates this machine, predicts what was left out, runs it.")
    parser.add_argument("--vitsim", required=True, type=os.path.abspath)
    parser.add_argument("--budget", default="2min")
    parser.add_argument("--device", default="cpu", choices=("cpu", "cuda"))
    parser.add_argument("--steps", type=int, default=15)
    parser.add_argument("--keep", type=pathlib.Path, help="folder for all files; calibrations in it are used again")
    options = parser.parse_args()
    good = True
    with tempfile.TemporaryDirectory() as temporary:
        folder = (options.keep or pathlib.Path(temporary)).absolute()
        folder.mkdir(parents=True, exist_ok=True)
        machine = Machine(options, folder)
        batches, cases = plan(options.device)
        first = machine.calibrate(batches, "profiles-1")
        again = machine.calibrate(batches, "profiles-2")
        sigma = max(first["spread"]["run_sigma"], again["spread"]["run_sigma"])
        deviations = [math.log(points(again)[key] / seconds) / sigma
                      for key, seconds in points(first).items() if key in points(again)]
        worst = max(map(abs, deviations))
        good = good and worst <= MOST_DEVIATIONS
        print(f"measured twice: {len(deviations)} points differ by at most {100 * worst * sigma:.2f} %, {worst:.2f} of the "
              f"stated spread of {100 * sigma:.2f} % between runs")
        machine.vitsim("calibrate", "fit", "profiles-1.json", "profiles-2.json", "--out", "profiles")
        before = machine.step("before", MEASURED[-1], batches[0])
        errors = {}
        print("| what | model | image | micro-batch | predicted | measured | error |\n|---|---|---|---|---|---|---|")
        for number, (kind, model, image_size, batch) in enumerate(cases):
            predicted, measured = machine.step_errors(number, model, image_size, batch)
            errors.setdefault(kind, []).append(predicted / measured - 1)
            called = model if isinstance(model, str) else f"{model['layers']} layers of {model['width']}"
            print(f"| {kind} | {called} | {image_size} | {batch} | {1e3 * predicted:.1f} ms | {1e3 * measured:.1f} ms | "
                  f"{100 * errors[kind][-1]:+.1f} % |", flush=True)
        for kind, values in errors.items():
            mean = sum(map(abs, values)) / len(values)
            good = good and mean <= BOUNDS[kind]
            print(f"{kind}: mean absolute error {100 * mean:.2f} % of {len(values)}, at most {100 * BOUNDS[kind]:g} % wanted")

        drift = machine.step("after", MEASURED[-1], batches[0]) / before - 1
        print(f"drift of the machine's speed: {100 * drift:+.1f} %")
        if abs(drift) > MOST_DRIFT:
            print("skipped: the machine's speed changed meanwhile: the errors above say nothing", file=sys.stderr)
            return SKIP
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
