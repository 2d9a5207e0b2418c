"""Runs the commands that stand in documents and compares what comes with what is printed there.

    commands_test.py DOCUMENT...           compares
    commands_test.py --write DOCUMENT...   writes what comes into the documents

A block marked `console` holds commands behind "$ " and their output; a line "..." stands for any lines.
Commands of one document run one after the other in a folder of their own, where `configs` and `docs` are
the project's. A block marked `json NAME` is a file of that name. Blocks marked `console trainer` train
for real: they run where $VITSIM_TRAINER names the trainer, and their output is compared without numbers.
"""

import os
import pathlib
import re
import subprocess
import sys
import tempfile

SOURCE = pathlib.Path(__file__).parent.parent.parent
VITSIM = pathlib.Path(os.environ["VITSIM"]).resolve()
TRAINER = os.environ.get("VITSIM_TRAINER")
BLOCK = re.compile(r"^```(console trainer|console|json [\w.-]+)\n(.*?)^```\n", re.M | re.S)


def run(command, folder):
    environment = dict(
        os.environ, PATH=f"{VITSIM.parent}:{os.environ['PATH']}", LC_ALL="C.UTF-8", NO_COLOR="1",
        OMPI_ALLOW_RUN_AS_ROOT="1", OMPI_ALLOW_RUN_AS_ROOT_CONFIRM="1", OMP_NUM_THREADS="1")
    result = subprocess.run(
        command, shell=True, cwd=folder, env=environment, capture_output=True, text=True, timeout=280,
        stdin=subprocess.DEVNULL)
    return result.stdout + result.stderr


def commands_of(text):
    """Of each command: how it is written, itself, the lines printed below it. A backslash continues it."""
    found = []
    lines = iter(text.splitlines())
    for line in lines:
        if line.startswith("$ "):
            written, command = [line], line[2:]
            while command.endswith("\\"):
                written.append(next(lines))
                command = command[:-1] + written[-1].strip()
            found.append((written, command, []))
        elif found:
            found[-1][2].append(line)
    return found


def is_like(printed, came):
    """Whether the lines are the same, with "..." for any number of lines, or the rest of one."""
    def pattern_of(line):
        return re.escape(line[:-3]) + ".*" if line.endswith("...") else re.escape(line)

    parts, part = [], []
    for line in printed:
        if line.strip() == "...":
            parts.append(part)
            part = []
        else:
            part.append(line.rstrip())
    parts.append(part)
    pattern = r"(?:.*\n)*?".join("".join(pattern_of(line) + "\n" for line in each) for each in parts)
    return re.fullmatch(pattern, "".join(line.rstrip() + "\n" for line in came)) is not None


def without_numbers(lines):
    """Words alone: figures of real runs differ, and the width of their columns with them."""
    return [" ".join(re.sub(r"[-+]?\d[\d.,]*(?: (?:us|ms|s|min|h|%|[KMG]i?B|images/s))*", "N", line).split())
            for line in lines]


def check(document, write):
    failures, skipped = [], 0
    with tempfile.TemporaryDirectory(prefix="vitsim-docs-") as name:
        folder = pathlib.Path(name)
        for part in ("configs", "docs"):
            (folder / part).symlink_to(SOURCE / part)

        def block(found):
            nonlocal skipped
            kind, text = found.groups()
            if kind.startswith("json "):
                (folder / kind[5:]).write_text(text)
                return found.group(0)
            if kind == "console trainer" and not TRAINER:
                skipped += 1
                return found.group(0)
            fresh = ""
            for written, command, printed in commands_of(text):
                came = run(command, folder).rstrip().splitlines()
                same = (is_like(without_numbers(printed), without_numbers(came))
                        if kind == "console trainer" else is_like(printed, came))
                if not same and not write:
                    failures.append("\n".join([f"{document}: $ {command}", "printed:", *printed, "came:", *came, ""]))
                shown = printed if same else came
                fresh += "".join(f"{line}\n" for line in [*written, *shown])
            return f"```{kind}\n{fresh}```\n" if write else found.group(0)

        old = document.read_text()
        new = BLOCK.sub(block, old)
        if write and new != old:
            document.write_text(new)
    return failures, skipped


def main():
    words = sys.argv[1:]
    write = words[:1] == ["--write"]
    failures, skipped = [], 0
    for document in words[1 if write else 0:]:
        found, left_out = check(pathlib.Path(document), write)
        failures += found
        skipped += left_out
    print("\n".join(failures) or "every command prints what its document says")
    if skipped:
        print(f"{skipped} blocks that train were left out: VITSIM_TRAINER names no trainer")
    return 1 if failures else 0


sys.exit(main())
