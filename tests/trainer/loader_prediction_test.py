#!/usr/bin/env python3
"""Predicts runs that wait for their images, and trains them.

    loader_prediction_test.py [--images FOLDER] [--keep FOLDER]

`vitsim calibrate` measures this machine around a cluster file whose training reads an image folder.
Then runs with 1, 2 and 4 loader workers are predicted and trained: a small model, whose step takes
less than reading and decoding its images. Everything is trained twice, by turns, and again where two
times differ by more than 6 %, until two agree; the machine is calibrated before and after that. Passes
if every prediction is within 10 % of the run. Exits with 77 where no two times agree, and where the
bounds are missed on a machine whose two calibrations predict steps that differ by more than 6 %, or
whose runs of one thing differ by more than 12 %.

The folder is made here, of PNG files; --images takes one of your own.
"""

import argparse
import itertools
import json
import os
import pathlib
import random
import struct
import subprocess
import sys
import tempfile
import zlib

from training import ENVIRONMENT, VITSIM

BOUND = 0.10
ALIKE = 0.06
TURNS = 4
WORKERS = (1, 2, 4)
SIDE = 320  # pixels of a file; the model sees 64
IMAGES = 1024
DIFFERENT = 64  # files; the others are links to them
SKIP = 77


def png(side, seed):
    """A PNG file of soft noise, which compresses about as well as a photograph."""
    dice = random.Random(seed)
    rows = bytearray()
    for y in range(side):
        base = dice.randrange(160)
        rows.append(1)  # filter "sub": each byte is the difference to the pixel on its left
        rows += bytes([base, base // 2, 255 - base])
        rows += bytes(dice.choices((0, 1, 2, 253, 254, 255, 4, 250), k=3 * (side - 1)))

    def chunk(name, content):
        return (struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content)))
    return (b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0)) +
            chunk(b"IDAT", zlib.compress(bytes(rows), 6)) + chunk(b"IEND", b""))


def make_images(folder):
    for number in range(IMAGES):
        file = folder / f"class-{number % 4}" / f"{number}.png"
        file.parent.mkdir(parents=True, exist_ok=True)
        if number < DIFFERENT:
            file.write_bytes(png(SIDE, number))
        else:
            os.link(folder / f"class-{number % DIFFERENT % 4}" / f"{number % DIFFERENT}.png", file)


def experiment(images):
    return {
        "cluster": {"nodes": [{"name": "here", "gpus": ["this-machine"]}]},
        "training": {
            "model": {"layers": 2, "width": 96, "heads": 2, "mlp": 384, "patch": 16},
            "image_size": 64,
            "classes": 4,
            "dataset": {"name": "image-folder", "path": str(images), "samples": IMAGES},
            "micro_batch_per_gpu": 8,
            "epochs": 100,
        },
    }


class Machine:
    def __init__(self, folder, file):
        self.folder = folder
        self.file = file

    def vitsim(self, *words, profiles="profiles-before"):
        done = subprocess.run([VITSIM, *map(str, words)], cwd=self.folder, text=True, stdout=subprocess.PIPE,
                              env=dict(ENVIRONMENT, VITSIM_PROFILES=str(self.folder / profiles)), check=False)
        if done.returncode != 0:
            sys.exit(f"vitsim {' '.join(map(str, words))}: exit code {done.returncode}\n{done.stdout}")
        return done.stdout

    def step(self, report, kind):
        return json.loads(report.read_text(encoding="utf-8"))[kind]["step_s"]["p50"]

    def calibrate(self, profiles):
        if not (self.folder / profiles).exists():
            self.vitsim("calibrate", self.file, "--budget", "45s", "--parts", "steps,loader", "--out", profiles,
                        "--measurement", f"{profiles}.json", profiles=profiles)

    def predicted(self, workers, profiles):
        report = self.folder / f"predicted-{workers}-{profiles}.json"
        self.vitsim("predict", self.file, "--set", f"training.loader.workers={workers}", "--json", report,
                    profiles=profiles)
        return self.step(report, "prediction")

    def trained(self, workers, turn):
        out = self.folder / f"run-{workers}-{turn}"
        if not out.exists():
            self.vitsim("train", self.file, "--set", f"training.loader.workers={workers}", "--steps", 160, "--out", out)
        return self.step(out / "report.json", "measurement")


def closest(seconds):
    pairs = itertools.combinations(sorted(seconds), 2)
    return min(pairs, key=lambda pair: pair[1] / pair[0])


def main():
    parser = argparse.ArgumentParser(description="Predicts runs that wait for their images, and trains them.")
    parser.add_argument("--images", type=pathlib.Path, help="an image folder of your own")
    parser.add_argument("--keep", type=pathlib.Path, help="folder for all files; what it holds is not measured again")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="vitsim-loader-") as temporary:
        folder = (arguments.keep or pathlib.Path(temporary)).absolute()
        folder.mkdir(parents=True, exist_ok=True)
        images = (arguments.images or folder / "images").absolute()
        if not images.exists():
            make_images(images)
        file = folder / "lab.json"
        file.write_text(json.dumps(experiment(images), indent=1), encoding="utf-8")
        machine = Machine(folder, file)
        machine.calibrate("profiles-before")
        return judge(machine)


def judge(machine):
    times = {workers: [] for workers in WORKERS}
    unsettled = list(WORKERS)
    for turn in range(TURNS):
        for workers in unsettled:
            times[workers].append(machine.trained(workers, turn))
        if turn > 0:
            unsettled = [w for w in unsettled if closest(times[w])[1] / closest(times[w])[0] > 1 + ALIKE]
    if unsettled:
        print(f"skipped: of {unsettled} workers no two times agree: {times}", file=sys.stderr)
        return SKIP
    machine.calibrate("profiles-after")
    predictions = {workers: [machine.predicted(workers, f"profiles-{when}") for when in ("before", "after")]
                   for workers in WORKERS}
    errors = []
    print(f"{'workers':>7}{'predicted':>12}{'measured':>12}{'error':>9}")
    for workers in WORKERS:
        predicted, measured = sum(predictions[workers]) / 2, sum(closest(times[workers])) / 2
        errors.append(predicted / measured - 1)
        print(f"{workers:>7}{1e3 * predicted:>9.1f} ms{1e3 * measured:>9.1f} ms{100 * errors[-1]:>+7.1f} %")
    if max(map(abs, errors)) <= BOUND:
        return 0
    if (any(max(pair) / min(pair) > 1 + ALIKE for pair in predictions.values()) or
            any(max(turns) / min(turns) > 1 + 2 * ALIKE for turns in times.values())):
        print(f"skipped: the machine's speed is not steady: two calibrations predict {predictions}, runs took {times}",
              file=sys.stderr)
        return SKIP
    return 1


if __name__ == "__main__":
    sys.exit(main())
