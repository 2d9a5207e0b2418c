"""Bad input under two ranks: each problem is told once, by rank 0 alone, exit 2 and no run directory;
where it shows only later, exit 2 or 3 and nothing half-written."""

import gzip
import json
import resource
import struct
import subprocess
import zlib

from training import ENVIRONMENT, TRAINER, Workplace, errors_of, experiment, ranks_of, require, wait_for_training


def png(path, colour):
    """A PNG of 8 x 8 pixels of one colour."""
    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
    rows = b"".join(b"\0" + bytes(colour) * 8 for _ in range(8))
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", struct.pack(">IIBBBBB", 8, 8, 8, 2, 0, 0, 0))
                     + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b""))


def image_folder(place, count=24):
    """Two classes; images 3 and 10 of the sorted list are no images."""
    for index in range(count):
        folder = place.path / "images" / "train" / f"class-{2 * index // count}"
        folder.mkdir(parents=True, exist_ok=True)
        png(folder / f"{index:02}.png", (10 * index, 200 - 5 * index, 60))
    for broken in ("class-0/03.png", "class-0/10.png"):
        (place.path / "images" / "train" / broken).write_bytes(b"no image")


def cifar(place, name, records, label=0):
    """A CIFAR-10 folder whose five training files have `records` records."""
    folder = place.path / name / "cifar-10-batches-bin"
    folder.mkdir(parents=True)
    for number in range(1, 6):
        (folder / f"data_batch_{number}.bin").write_bytes((bytes([label]) + bytes(3072)) * records)
    return {"name": "cifar10", "path": str(place.path / name)}


with Workplace() as place:
    def refused(name, content, *words, ranks=2, arguments=()):
        _, error = place.run(content, name, *arguments, ranks=ranks, expect=2)
        messages = errors_of(error)
        for word in words:
            require(word in error, f"{name}: {error}")
        require(messages and len(set(messages)) == len(messages), f"{name}: said more than once: {error}")
        require(not (place.path / name).exists(), f"{name}: a run directory was made")

    refused("ranks", experiment(6, 3), "the cluster has 3 ranks, but 2 processes were started")
    refused("list", experiment([6, 6, 6], 2), "micro_batch_per_gpu")
    refused("key", experiment(6, 2, batch=6), "batch")
    refused("absent", experiment(6, 2, dataset={"name": "cifar10", "path": str(place.path)}), "cifar")
    refused("tf32", experiment(6, 2, precision="tf32"), "tf32")
    refused("tree", experiment(6, 2, all_reduce="tree"), "tree")
    refused("cuda", experiment(6, 2), "--device cuda", arguments=["--device", "cuda"])
    refused("option", experiment(6, 2), "--loader-workers", arguments=["--loader-workers", "0"])
    ten = {"classes": 10}
    refused("short", experiment(6, 2, dataset=cifar(place, "short-data", 9), **ten), "data_batch_1.bin", "data_batch_5.bin")
    archive = place.path / "cifar-10-binary.tar.gz"
    archive.write_bytes(gzip.compress(b"spam"))
    refused("archive", experiment(6, 2, dataset={"name": "cifar10", "path": str(archive)}, **ten), "md5")
    (place.path / "file").write_text("no directory")
    _, error = place.run(experiment(6, 2), "file", expect=2)
    require(len(errors_of(error)) == 1 and "cannot be made a run directory" in error, error)

    # Only rank 1 sees a mistake: rank 0 tells it all the same.
    good, bad = place.path / "good.json", place.path / "bad.json"
    good.write_text(json.dumps(experiment(6, 2)))
    bad.write_text(json.dumps(experiment(6, 2, dataset={"name": "spam", "samples": 10})))
    train = ["-np", "1", TRAINER, "train"]
    done = subprocess.run(["mpirun", "--tag-output", "--oversubscribe", *train, str(good), ":", *train, str(bad)],
                          text=True, capture_output=True, env=ENVIRONMENT, cwd=place.path, timeout=60)
    messages = errors_of(done.stderr)
    require(done.returncode == 2 and len(messages) == 1 and "rank 1 (" in messages[0], f"rank 1 alone: {done.stderr}")

    # Two images of 24 cannot be read. Each rank decodes half of them; the count is that of both.
    image_folder(place)
    images = {"name": "image-folder", "path": str(place.path / "images")}
    refused("none-left", experiment(6, 2, dataset={**images, "fraction": 0.04}), "0.04 of 24 samples is none")
    out, error = place.run(experiment(6, 2, dataset=images, epochs=2), "replaced", "--loader-workers", "1")
    require("2 images could not be read" in out, out)
    for name in ("03.png", "10.png"):
        require(sum(name in line for line in out.splitlines()) == 1, f"{name} told once: {out}")
    warnings = json.loads((place.path / "replaced" / "report.json").read_text())["measurement"]["warnings"]
    require(any("2 images" in warning for warning in warnings), str(warnings))
    _, error = place.run(experiment(6, 2, dataset=images), "stopped", "--stop-on-unreadable", expect=2)
    messages = errors_of(error)
    require(len(messages) == 1 and "class-0/" in messages[0] and "data_load" in messages[0], error)

    # No space left in the middle of a run: the checkpoint before stays whole, nothing half-written is
    # beside it. A limit on the size of files fails as a full disk does, in the middle of a write.
    process = place.start(experiment(6, 2, epochs=100000, checkpoint={"every": 5}), "space")
    wait_for_training(place, "space", process)
    resource.prlimit(ranks_of(process.pid)[0], resource.RLIMIT_FSIZE, (200_000, 200_000))
    out, error = process.communicate(timeout=60)
    messages = errors_of(error)
    require(process.returncode == 3 and len(messages) == 1, f"no space: exit code {process.returncode}: {error}")
    require("checkpoint: " in messages[0] and "cannot be written" in messages[0], messages[0])
    folder = place.path / "space" / "checkpoint"
    latest = (folder / "latest").read_text().strip()
    require({path.name for path in folder.iterdir()} == {"latest", latest}, f"half a checkpoint: {list(folder.iterdir())}")
    sizes = json.loads((folder / latest / "manifest.json").read_text())["files"]
    require(all((folder / latest / name).stat().st_size == size for name, size in sizes.items()), "a file is cut")
    # /proc cannot be written at all.
    full = experiment(6, 2, epochs=2, checkpoint={"every": 2, "path": "/proc/self/checkpoint"})
    _, error = place.run(full, "full", expect=3)
    require(len(errors_of(error)) == 1 and "/proc/self/checkpoint" in error, error)
