"""Measures one and two CPU ranks with a tiny budget, fits that, and predicts and makes the same
training.

Argument 1: the part to test. `alone`: one rank, and a prediction for the model that was measured.
`together`: two ranks, the network between them, and a prediction for both. `validate`: calibrates where
no profile fits, predicts, trains, compares. `bad-input`: what is refused, and how. `death`: a rank that
dies leaves what was measured so far.

A tiny model on a busy machine is noisy: a prediction must be within a factor of 1.6 of what the
trainer then takes, far less than the factor that a wrong phase or a wrong unit would make.
"""

import json
import os
import signal
import statistics
import subprocess
import sys
import time

from training import ENVIRONMENT, TRAINER, VITSIM, Workplace, experiment, ranks_of, require

PART = sys.argv[1]
FACTOR = 1.6


def vitsim(place, *words, expect=0, timeout=200):
    done = subprocess.run([VITSIM, *words], cwd=place.path, text=True, capture_output=True, timeout=timeout,
                          env=dict(ENVIRONMENT, VITSIM_TRAINER=TRAINER))
    require(done.returncode in (expect if isinstance(expect, tuple) else (expect,)),
            f"{words}: exit code {done.returncode}, expected {expect}\n{done.stdout}\n{done.stderr}")
    return done.stdout, done.stderr


def cluster(ranks, micro_batch=8, **training):
    content = experiment(micro_batch, ranks, gradient_sync="deepspeed-zero-0", **training)
    # Enough work that a step takes some tens of milliseconds.
    content["training"]["model"] = {"layers": 4, "width": 192, "heads": 4, "mlp": 768, "patch": 4}
    content["training"]["dataset"]["samples"] = 480
    content["cluster"]["nodes"][0]["gpus"] = ["cpu-test"] * ranks
    content["profiles"] = ["profiles"]
    return content


def measured_step(place, content, name):
    """Median seconds of a full step of a real training, by the first rank's timeline."""
    place.run(content, name, "--steps", "20")
    spans = [json.loads(line) for line in open(place.path / name / "timeline.jsonl")]
    steps = {}
    for span in spans:
        if span["rank"] == 0 and span["step"] >= 3:
            begin, end = steps.get(span["step"], (span["begin_ns"], span["end_ns"]))
            steps[span["step"]] = (min(begin, span["begin_ns"]), max(end, span["end_ns"]))
    return statistics.median(end - begin for begin, end in steps.values()) * 1e-9


def predict(place, content):
    (place.path / "predicted.json").write_text(json.dumps(content))
    vitsim(place, "predict", "predicted.json", "--json", "report.json")
    report = json.loads((place.path / "report.json").read_text())
    require(report["source"] == "predicted", f"source {report['source']}")
    return report["prediction"]


def check_prediction(place, content):
    prediction = predict(place, content)
    predicted = prediction["step_s"]["p50"]
    require(all(basis["kind"] in ("measured", "given") or "link" in str(basis) for basis in prediction["basis"]),
            f"basis {prediction['basis']}")
    # Up to three tries: other programs share this machine.
    for attempt in range(3):
        measured = measured_step(place, content, f"real-{attempt}")
        print(f"step: predicted {predicted:.4f} s, measured {measured:.4f} s")
        if 1 / FACTOR < predicted / measured < FACTOR:
            return
    require(False, f"predicted step {predicted} s, measured {measured} s")


def alone(place):
    content = cluster(1)
    (place.path / "file.json").write_text(json.dumps(content))
    begin = time.monotonic()
    out, error = vitsim(place, "calibrate", "file.json", "--budget", "12s", "--parts", "steps,operators")
    require(time.monotonic() - begin < 12 + 12, f"took {time.monotonic() - begin} s")
    measurement = json.loads((place.path / "measurement.json").read_text())
    require(measurement["device"] == "cpu-test", f"device {measurement['device']}")
    whats = {sample["what"] for sample in measurement["samples"]}
    require({"data_load", "forward", "backward", "optimizer", "step", "memory", "operator"} <= whats, f"{whats}")
    kinds = {(sample["parameters"]["kind"], sample["parameters"].get("pass", "forward"))
             for sample in measurement["samples"] if sample["what"] == "operator"}
    require({("gemm", "forward"), ("gemm", "backward"), ("attention", "backward"), ("gelu", "backward")} <= kinds,
            f"operators {kinds}")
    # A CPU computes within the call and copies nothing to itself.
    require(not any(kind in ("launch", "host_to_device") for kind, _ in kinds), f"operators {kinds}")
    require(measurement["environment"]["loader"] == "2 workers", measurement["environment"]["loader"])
    profile = json.loads((place.path / "profiles" / "cpu-test.json").read_text())
    require(profile["memory"]["constant_bytes"] > 1e7, f"memory {profile['memory']}")
    require("run_sigma" in profile["spread"], f"spread {profile['spread']}")
    require("profiles" in out, out)
    check_prediction(place, content)


def together(place):
    content = cluster(2)
    (place.path / "file.json").write_text(json.dumps(content))
    vitsim(place, "calibrate", "measure", "file.json", "--budget", "30s", "--parts", "network,steps", "--link", "here")
    vitsim(place, "calibrate", "fit", "measurement.json", "--out", "profiles")
    measurement = json.loads((place.path / "measurement.json").read_text())
    sizes = [sample["parameters"]["bytes"] for sample in measurement["samples"] if sample["what"] == "all_reduce"]
    require(sizes and sizes[0] == 4096 and sizes == [4096 * 4**i for i in range(len(sizes))], f"AllReduces of {sizes}")
    pairs = {(sample["parameters"]["from_rank"], sample["parameters"]["to_rank"])
             for sample in measurement["samples"] if sample["what"] == "point_to_point"}
    require(pairs == {(0, 1)}, f"pairs {pairs}")
    states = [sample["parameters"]["state"] for sample in measurement["samples"] if sample["what"] == "overlap"]
    require(sorted(states) == ["alone", "alone", "beside", "beside"], f"{states}")
    profile = json.loads((place.path / "profiles" / "cpu-test.json").read_text())
    require(profile["overlap_slowdown"] >= 1, f"{profile['overlap_slowdown']}")
    content["cluster"]["intra_node"] = {"profile": "here"}
    check_prediction(place, content)


def validate(place):
    (place.path / "file.json").write_text(json.dumps(cluster(1)))
    # Other tests run beside this one: their load does not count here, nor does the verdict.
    words = ["validate", "file.json", "--budget", "10s", "--steps", "15", "--foreign-load", "800%", "--out", "run"]
    out, _ = vitsim(place, *words, "--json", "result.json", "--trace", "side.json", expect=(0, 1))
    require("calibrating first" in out, out)
    result = json.loads((place.path / "result.json").read_text())
    step = next(row for row in result["comparison"]["figures"] if row["name"] == "step")
    require(1 / FACTOR < step["a_s"] / step["b_s"] < FACTOR, f"{step}")
    require(result["runs"] == 1 and result["disturbed"] == 0, f"{result['runs']} runs")
    names = {event["args"].get("name") for event in json.loads((place.path / "side.json").read_text())["traceEvents"]
             if event["ph"] == "M"}
    for track in ("predicted rank 0 (", "measured rank 0 ("):
        require(any(name.startswith(track) for name in names if name), f"{names}")
    # The profile is kept: the second time nothing is measured.
    out, _ = vitsim(place, *words[:-1], "run-again", expect=(0, 1))
    require("calibrating first" not in out, out)
    history = (place.path / "outputs" / "validation_history.jsonl").read_text().splitlines()
    require(len(history) == 2, f"{history}")
    out, _ = vitsim(place, "calibrate", "check", "--history", "outputs/validation_history.jsonl")
    require("%" in out, out)


def bad_input(place):
    (place.path / "file.json").write_text(json.dumps(cluster(1)))
    cases = [
        (["--budget", "20"], 2, "append one"),
        (["--budget", "0s"], 2, "more than nothing"),
        (["--precision", "fp31"], 2, 'did you mean "fp32"'),
        (["--model", "vit-b-61"], 2, 'did you mean "vit-b-16"'),
        (["--micro-batch", "0"], 2, "micro-batch"),
        (["--name", "a,b"], 2, "2 names for 1 ranks"),
        (["--parts", "everything"], 2, "parts"),
        (["--set", "training.epochs=3"], 2, "needs a FILE"),
        (["missing.json"], 2, "missing.json"),
        (["file.json", "--precision", "tf32"], 2, "does not support"),
        (["--out", "no/such/folder/m.json", "--budget", "5s"], (2, 3), "no/such/folder"),
    ]
    for words, code, message in cases:
        done = subprocess.run([VITSIM, "calibrate", "measure", *words], cwd=place.path, text=True,
                              capture_output=True, timeout=60, env=dict(ENVIRONMENT, VITSIM_TRAINER=TRAINER))
        codes = code if isinstance(code, tuple) else (code,)
        require(done.returncode in codes, f"{words}: exit code {done.returncode}\n{done.stdout}\n{done.stderr}")
        require(message in done.stderr, f"{words}: {done.stderr}")
    # A data set that cannot be read is named; everything but its loading is measured.
    lost = cluster(1)
    lost["training"]["dataset"] = {"name": "image-folder", "path": "no/such/images", "samples": 480}
    (place.path / "lost.json").write_text(json.dumps(lost))
    _, error = vitsim(place, "calibrate", "measure", "lost.json", "--budget", "5s", "--parts", "loader,steps")
    require("no/such/images" in error and "synthetic images" in error, error)
    whats = {sample["what"] for sample in json.loads((place.path / "measurement.json").read_text())["samples"]}
    require("step" in whats and "load_image" not in whats, f"{whats}")
    unreachable = cluster(1)
    unreachable["cluster"]["nodes"][0]["host"] = "no-such-host.invalid"
    (place.path / "unreachable.json").write_text(json.dumps(unreachable))
    _, error = vitsim(place, "calibrate", "unreachable.json", "--budget", "5s", expect=3, timeout=60)
    require("could not start the ranks" in error, error)
    done = subprocess.run([VITSIM, "calibrate", "measure"], cwd=place.path, text=True, capture_output=True, timeout=60,
                          env=dict(ENVIRONMENT, VITSIM_TRAINER=str(place.path / "nowhere")))
    require(done.returncode == 2 and "VITSIM_TRAINER" in done.stderr, f"{done.returncode} {done.stderr}")


def death(place):
    (place.path / "file.json").write_text(json.dumps(cluster(2)))
    process = subprocess.Popen([VITSIM, "calibrate", "measure", "file.json", "--budget", "60s"], cwd=place.path,
                               text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                               env=dict(ENVIRONMENT, VITSIM_TRAINER=TRAINER))
    # Once the network was measured and kept, steps are next: kill one rank then.
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        try:
            if "all_reduce" in (place.path / "measurement.json").read_text():
                break
        except OSError:
            pass
        time.sleep(0.1)
    ranks = ranks_of(process.pid)
    require(len(ranks) == 2, f"ranks {ranks}")
    os.kill(ranks[1], signal.SIGKILL)
    _, error = process.communicate(timeout=30)
    require(process.returncode == 3, f"exit code {process.returncode}\n{error}")
    require("measurement.json" in error, error)
    kept = json.loads((place.path / "measurement.json").read_text())
    require(any(sample["what"] == "all_reduce" for sample in kept["samples"]), "nothing was kept")


with Workplace() as workplace:
    {"alone": alone, "together": together, "validate": validate, "bad-input": bad_input, "death": death}[PART](workplace)
