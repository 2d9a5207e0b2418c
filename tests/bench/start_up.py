"""How long the CLI takes from process start to exit, on one core: start_up.py VITSIM [RUNS]

Prints the median and the slowest of so many runs beside what was promised; exits with 1 where a
median breaks its promise. Run it on a quiet machine.
"""

import os
import statistics
import subprocess
import sys
import time

# (arguments, most seconds for the median)
CASES = [
    (["--help"], 0.010),
    (["predict", "configs/cluster/tesla-5gpu.json", "--replicates", "200", "--threads", "1"], 0.100),
    (["scale", "configs/cluster/tesla-5gpu.json", "--gpus", "1,2,3,4,5", "--threads", "1"], None),
]


def seconds(command):
    begin = time.perf_counter()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - begin


def main():
    vitsim = os.path.abspath(sys.argv[1])
    runs = int(sys.argv[2]) if len(sys.argv) > 2 else 21
    os.chdir(os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", ".."))
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    broken = False
    for arguments, most in CASES:
        command = [vitsim, *arguments]
        output = subprocess.run(command, check=True, capture_output=True, text=True).stdout
        assert output.startswith(("vitsim ", "vit-b-16", "Strong scaling")), output
        times = [seconds(command) for _ in range(runs)]
        median = statistics.median(times)
        late = most is not None and median > most
        broken |= late
        promise = f"at most {most * 1e3:.0f} ms" if most else ""
        print(
            f"{' '.join(arguments):<82}{median * 1e3:7.1f} ms, slowest {max(times) * 1e3:6.1f} ms  "
            f"{promise}{'  BROKEN' if late else ''}"
        )
    return 1 if broken else 0


if __name__ == "__main__":
    sys.exit(main())
