"""Trains a small ViT with vitsim-trainer and with Python's PyTorch on the same learnable images, from
the same seed, and compares accuracy epoch by epoch; exits 1 where the final top-1 differ by more than
half a point.

    accuracy_twin.py --vitsim build/test/vitsim --out outputs/accuracy   (Python with torch, torchvision)

The images: ten classes, each a grating of its own direction and colour under noise and a random
blob, as 32 x 32 PNG files. Both sides start from torchvision's initialisation and see the images in
the order of DistributedSampler, so their curves differ by rounding alone. Each side writes epochs.csv
in the form of a run directory; the table on standard output is kept in docs/accuracy.md.
"""

import argparse
import csv
import json
import math
import pathlib
import shutil
import subprocess
import sys
import time

import numpy
import torch
import torchvision
from PIL import Image

CLASSES, TRAIN, TEST, SIZE = 10, 3000, 1000, 32
LAYERS, WIDTH, HEADS, PATCH = 4, 64, 4, 4
BATCH, RANKS, EPOCHS, LR, WARM_UP, SEED = 25, 2, 12, 1e-3, 60, 3


def make_images(folder):
    random = numpy.random.default_rng(7)
    y, x = numpy.mgrid[0:SIZE, 0:SIZE] / SIZE
    colours = random.uniform(0.2, 1.0, (CLASSES, 3))
    for split, count in (("train", TRAIN), ("test", TEST)):
        for index in range(count):
            label = index % CLASSES
            place = folder / split / f"class-{label}"
            place.mkdir(parents=True, exist_ok=True)
            angle = math.pi * label / CLASSES + random.normal(0, 0.09)
            wave = numpy.sin(2 * math.pi * (random.uniform(2.5, 5) * (x * math.cos(angle) + y * math.sin(angle)) + random.uniform()))
            colour = 0.6 * colours[label] + 0.4 * random.uniform(0.2, 1.0, 3)
            picture = 0.5 + 0.22 * wave[..., None] * colour + random.normal(0, 0.2, (SIZE, SIZE, 3))
            cx, cy, radius = random.uniform(0, 1, 2).tolist() + [random.uniform(0.1, 0.3)]
            picture[(x - cx) ** 2 + (y - cy) ** 2 < radius**2] = random.uniform(0, 1, 3)
            Image.fromarray((picture.clip(0, 1) * 255).astype(numpy.uint8)).save(place / f"{index:05}.png")


def python_twin(images, out):
    transform = torchvision.transforms.Compose([
        torchvision.transforms.ToTensor(),
        torchvision.transforms.Normalize((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
    ])

    def load(split):
        folder = torchvision.datasets.ImageFolder(images / split, transform)
        return torch.stack([image for image, _ in folder]), torch.tensor(folder.targets)

    train, labels = load("train")
    test, test_labels = load("test")
    torch.manual_seed(SEED)
    model = torchvision.models.VisionTransformer(SIZE, PATCH, LAYERS, HEADS, WIDTH, 4 * WIDTH, num_classes=CLASSES)
    optimizer = torch.optim.AdamW(model.parameters(), lr=LR, weight_decay=0.05)
    joined = BATCH * RANKS
    total = EPOCHS * math.ceil(TRAIN / joined)

    def rate(step):
        if step < WARM_UP:
            return step / WARM_UP
        return (1 + math.cos(math.pi * (step - WARM_UP) / (total - WARM_UP))) / 2

    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, rate)
    rows = []
    for epoch in range(EPOCHS):
        begin = time.perf_counter()
        # DistributedSampler over RANKS, all ranks' micro-batches of a step together.
        order = torch.randperm(TRAIN, generator=torch.Generator().manual_seed(SEED + epoch))
        losses = 0.0
        for start in range(0, TRAIN, joined):
            chosen = order[start:start + joined]
            loss = torch.nn.functional.cross_entropy(model(train[chosen]), labels[chosen])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
            losses += loss.item() * len(chosen)
        train_s = time.perf_counter() - begin
        with torch.no_grad():
            best = torch.cat([model(part) for part in test.split(100)]).topk(5, 1).indices
        hits = best == test_labels[:, None]
        rows.append({"epoch": epoch, "train_s": train_s, "evaluate_s": "", "loss": losses / TRAIN,
                     "top1": hits[:, 0].double().mean().item(), "top5": hits.any(1).double().mean().item(),
                     "images_per_s": TRAIN / train_s, "peak_memory_bytes": ""})
    out.mkdir(parents=True, exist_ok=True)
    with open(out / "epochs.csv", "w", newline="") as file:
        writer = csv.DictWriter(file, rows[0].keys())
        writer.writeheader()
        writer.writerows(rows)


def vitsim_twin(vitsim, images, out):
    file = out.parent / "twin.json"
    file.write_text(json.dumps({
        "cluster": {"nodes": [{"name": "here", "gpus": ["cpu"] * RANKS}]},
        "training": {
            "model": {"layers": LAYERS, "width": WIDTH, "heads": HEADS, "mlp": 4 * WIDTH, "patch": PATCH},
            "image_size": SIZE, "classes": CLASSES,
            "dataset": {"name": "image-folder", "path": str(images.resolve()), "samples": TRAIN},
            "micro_batch_per_gpu": BATCH, "epochs": EPOCHS, "seed": SEED, "evaluate": True,
            "optimizer": {"type": "adamw", "lr": LR, "weight_decay": 0.05},
            "schedule": {"type": "cosine", "warmup_steps": WARM_UP},
        },
    }))
    shutil.rmtree(out, ignore_errors=True)
    subprocess.run([vitsim, "train", str(file), "--device", "cpu", "--out", str(out)], check=True,
                   stdout=subprocess.DEVNULL)


def read(out):
    with open(out / "epochs.csv") as file:
        return [(float(row["loss"]), 100 * float(row["top1"])) for row in csv.DictReader(file)]


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--vitsim", required=True)
    parser.add_argument("--out", required=True, type=pathlib.Path)
    options = parser.parse_args()
    images = options.out / "images"
    if not images.exists():
        make_images(images)
    vitsim_twin(options.vitsim, images, options.out / "vitsim")
    python_twin(images, options.out / "python")
    vitsim, python = read(options.out / "vitsim"), read(options.out / "python")
    print("| epoch | vitsim loss | Python loss | vitsim top-1 % | Python top-1 % |\n|---|---|---|---|---|")
    for epoch, ((loss, top1), (other_loss, other_top1)) in enumerate(zip(vitsim, python)):
        print(f"| {epoch + 1} | {loss:.4f} | {other_loss:.4f} | {top1:.1f} | {other_top1:.1f} |")
    difference = abs(vitsim[-1][1] - python[-1][1])
    if difference > 0.5:
        sys.exit(f"final top-1 differ by {difference:.2f} points")


main()
