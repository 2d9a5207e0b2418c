"""Packs the program, installs the package in a clean root, runs the example there, and removes it.

    package_test.py BUILD_FOLDER CPACK
"""

import json
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile

SKIPPED = 77
BUILD = pathlib.Path(sys.argv[1]).resolve()
CPACK = sys.argv[2]


def run(*words, **more):
    result = subprocess.run([str(word) for word in words], capture_output=True, text=True, **more)
    assert result.returncode == 0, f"{words}: exit code {result.returncode}\n{result.stdout}{result.stderr}"
    return result.stdout


def files_of(root):
    """Files and links below the folder, dpkg's own records left out."""
    own = root / "var/lib/dpkg"
    return [path for path in root.rglob("*") if not path.is_dir() and own not in path.parents]


def install(package, root):
    """With dpkg where this is root, else by unpacking; returns what removes it again."""
    if os.geteuid() != 0:
        run("dpkg-deb", "-x", package, root)
        return lambda: shutil.rmtree(root / "usr")
    records = root / "var/lib/dpkg"
    (records / "info").mkdir(parents=True)
    (records / "updates").mkdir()
    (records / "status").touch()
    dpkg = ("dpkg", f"--root={root}", "--force-depends", "--no-triggers")
    # The libraries that it depends on are this machine's.
    run(*dpkg, "-i", package)
    return lambda: run(*dpkg, "-r", "vitsim")


def main():
    for tool in ("dpkg-deb", "dpkg-shlibdeps"):
        if shutil.which(tool) is None:
            print(f"skipped: there is no {tool} here")
            return SKIPPED
    with tempfile.TemporaryDirectory(prefix="vitsim-package-") as name:
        folder = pathlib.Path(name)
        run(CPACK, "-G", "DEB", "--config", BUILD / "CPackConfig.cmake", "-B", folder / "built",
            "-D", f"CPACK_OUTPUT_FILE_PREFIX={folder / 'built'}", cwd=BUILD)
        packages = list(folder.glob("built/*.deb"))
        assert len(packages) == 1, packages
        fields = run("dpkg-deb", "-f", packages[0])
        assert "Package: vitsim\n" in fields, fields
        depends = next(line for line in fields.splitlines() if line.startswith("Depends:"))
        for library in ("libc6", "libfmt", "libtbb"):
            assert library in depends, depends
        for library in ("libtorch", "libopenmpi", "cuda"):
            assert library not in depends, depends

        root = folder / "root"
        root.mkdir()
        remove = install(packages[0], root)
        share = root / "usr/share"
        for file in ("bash-completion/completions/vitsim", "zsh/vendor-completions/_vitsim",
                     "fish/vendor_completions.d/vitsim.fish", "man/man1/vitsim.1",
                     "man/man1/vitsim-calibrate-fit.1", "doc/vitsim/copyright", "doc/vitsim/CHANGELOG.md",
                     "vitsim/configs/schemas/cluster.schema.json"):
            assert (share / file).stat().st_size > 0, file
        licences = (share / "doc/vitsim/copyright").read_text()
        for work in ("Chart.js", "CLI11", "Eigen", "JSON for Modern C++"):
            assert work in licences, work

        program = root / "usr/bin/vitsim"
        example = share / "vitsim/configs/cluster/tesla-5gpu.json"
        environment = {"PATH": "/usr/bin:/bin", "HOME": name}
        # Its data is the package's: the version names what it found.
        assert run(program, "--version", env=environment).startswith("vitsim ")
        text = run(program, "predict", example, env=environment, cwd=folder)
        assert "90% prediction interval" in text, text
        run(program, "predict", example, "--html", "report.html", "--json", "report.json",
            env=environment, cwd=folder)
        assert (folder / "report.html").read_text().startswith("<!DOCTYPE html>")
        assert json.loads((folder / "report.json").read_text())["schema"] == "vitsim-report/1"

        remove()
        left = files_of(root)
        assert not left, left
    print(f"{packages[0].name}: installed, run and removed")
    return 0


sys.exit(main())
