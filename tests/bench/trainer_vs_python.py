"""One step of ViT-B/16 in vitsim-trainer against the same step in Python's PyTorch 2.11.

Both train the same model on random images on this machine's CPU, fp32, AdamW (Python's default, not
fused: what a script gets by writing torch.optim.AdamW). Runs alternate, so that a disturbance hits
both; each run makes a few steps, the first are warm-up, the rest count. Prints the ratio of the
medians; exits 1 above the limit.

    trainer_vs_python.py --trainer build/test/vitsim-trainer --python VENV/bin/python [--ranks 2]

With --ranks 2 Python trains under its DistributedDataParallel (gloo), vitsim under ddp (MPI).
trainer_vs_python.sh makes the virtual environment, which nothing else in the project needs.
"""

import argparse
import json
import os
import pathlib
import shutil
import statistics
import subprocess
import sys
import tempfile

WARM_UP = 2

PYTHON_STEP = r"""
import os, sys, time
import torch, torchvision
import torch.distributed as dist

rank, ranks, batch, steps, warm_up, variant, image = int(sys.argv[1]), *map(int, sys.argv[2:6]), sys.argv[6], int(sys.argv[7])
torch.manual_seed(1)
model = torchvision.models.VisionTransformer(**eval(variant), image_size=image)
if ranks > 1:
    dist.init_process_group("gloo", rank=rank, world_size=ranks)
    model = torch.nn.parallel.DistributedDataParallel(model)
optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4)
images = torch.randn(batch, 3, image, image)
labels = torch.arange(batch)
for step in range(steps):
    begin = time.perf_counter()
    loss = torch.nn.functional.cross_entropy(model(images), labels)
    loss.backward()
    optimizer.step()
    optimizer.zero_grad()
    loss.item()
    if step >= warm_up and rank == 0:
        print(time.perf_counter() - begin, flush=True)
if ranks > 1:
    dist.destroy_process_group()
"""


def python_steps(options, threads):
    environment = dict(os.environ, OMP_NUM_THREADS=str(threads), MASTER_ADDR="127.0.0.1", MASTER_PORT=str(options.port))
    variant = repr(dict(patch_size=options.patch, num_layers=options.layers, num_heads=options.heads,
                        hidden_dim=options.width, mlp_dim=4 * options.width, num_classes=1000))
    processes = [
        subprocess.Popen([options.python, "-c", PYTHON_STEP, str(rank), str(options.ranks), str(options.batch),
                          str(WARM_UP + options.steps), str(WARM_UP), variant, str(options.image)],
                         env=environment, stdout=subprocess.PIPE, text=True)
        for rank in range(options.ranks)
    ]
    outputs = [process.communicate()[0] for process in processes]
    if any(process.returncode for process in processes):
        sys.exit("the Python step failed")
    return [float(line) for line in outputs[0].split()]


def vitsim_steps(options, threads, folder):
    # The trainer calls its first three steps warm-up.
    steps = options.steps + 3
    experiment = {
        "cluster": {"nodes": [{"name": "here", "gpus": ["cpu"] * options.ranks}]},
        "training": {
            "model": {"layers": options.layers, "width": options.width, "heads": options.heads,
                      "mlp": 4 * options.width, "patch": options.patch},
            "image_size": options.image,
            "dataset": {"name": "synthetic", "samples": options.batch * options.ranks * steps},
            "micro_batch_per_gpu": options.batch,
            "gradient_sync": "ddp",
        },
    }
    file = folder / "step.json"
    file.write_text(json.dumps(experiment))
    launcher = ["mpirun", "--quiet", "--oversubscribe", "--bind-to", "none", "-np", str(options.ranks)]
    environment = dict(os.environ, OMP_NUM_THREADS=str(threads), OMPI_ALLOW_RUN_AS_ROOT="1",
                       OMPI_ALLOW_RUN_AS_ROOT_CONFIRM="1")
    shutil.rmtree(folder / "out", ignore_errors=True)
    subprocess.run([*(launcher if options.ranks > 1 else []), options.trainer, "train", str(file), "--device", "cpu",
                    "--out", str(folder / "out")], env=environment, check=True, stdout=subprocess.DEVNULL)
    spans = [json.loads(line) for line in (folder / "out" / "timeline.jsonl").read_text().splitlines()]
    result = []
    for step in range(3, steps):
        of_step = [span for span in spans if span["step"] == step and span["rank"] == 0 and span["phase"] in
                   ("data_load", "forward", "backward", "gradient_all_reduce", "optimizer")]
        # Python's images lie ready in memory, so the wait for data does not count on either side.
        load = sum(span["end_ns"] - span["begin_ns"] for span in of_step if span["phase"] == "data_load")
        begin = min(span["begin_ns"] for span in of_step)
        result.append((max(span["end_ns"] for span in of_step) - begin - load) * 1e-9)
    return result


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--trainer", required=True)
    parser.add_argument("--python", required=True)
    parser.add_argument("--ranks", type=int, default=1)
    parser.add_argument("--batch", type=int, default=4)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=4, help="counted steps of a run")
    parser.add_argument("--limit", type=float, default=1.03)
    parser.add_argument("--layers", type=int, default=12)
    parser.add_argument("--width", type=int, default=768)
    parser.add_argument("--heads", type=int, default=12)
    parser.add_argument("--patch", type=int, default=16)
    parser.add_argument("--image", type=int, default=224)
    parser.add_argument("--port", type=int, default=29511)
    options = parser.parse_args()
    threads = max(1, os.cpu_count() // options.ranks)

    python, vitsim = [], []
    with tempfile.TemporaryDirectory() as folder:
        for round_number in range(options.rounds):
            python += python_steps(options, threads)
            vitsim += vitsim_steps(options, threads, pathlib.Path(folder))
            print(f"round {round_number + 1}: python {statistics.median(python):.4f} s, "
                  f"vitsim {statistics.median(vitsim):.4f} s", flush=True)
    ratio = statistics.median(vitsim) / statistics.median(python)
    print(f"ratio of medians {ratio:.4f} ({len(vitsim)} and {len(python)} steps, {options.ranks} rank(s), "
          f"{threads} thread(s) a rank)")
    if ratio > options.limit:
        sys.exit(f"slower than Python: {ratio:.4f} > {options.limit}")


main()
