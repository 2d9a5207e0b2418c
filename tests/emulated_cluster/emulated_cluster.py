#!/usr/bin/env python3
"""A real heterogeneous cluster on one machine, for as long as one command runs.

    emulated_cluster.py --host 50%,1gbit --host 25%,100mbit -- vitsim validate lab.json

Every host is a set of Linux namespaces (network, hostname, shared memory) held open by a sleeping
process. A veth pair joins it to a bridge; a token bucket (tbf) at both ends of the pair shapes what
it sends and what it receives. A CPU cgroup with a CFS quota gives it its share of one core. Open
MPI starts ranks on the hosts through a remote shell of our own, which enters the namespaces, and
reaches them over TCP. The command itself runs on the "head", which is neither shaped nor limited.

Everything but the cgroups lives inside one outer namespace and goes with it, however the command
ends. Without root a user namespace takes its place; there are no CPU quotas then.

What it knows about the kernel and Open MPI:
- A quota is handed out to cores in slices; what a helper thread takes on one core is missing on the
  other, where its host computes. So a host stays on one core where all of them fit.
- A quota is enforced once a period. Short periods (10 ms) keep work of 100 ms steady.
- tbf drops what exceeds its queue: the burst must hold one segment of 64 KiB.
- The default congestion control may be one that paces badly through tbf; a route may choose cubic.
- Open MPI's rendezvous makes the times of two ranks bimodal: whole messages go eagerly.
"""

import argparse
import dataclasses
import json
import os
import pathlib
import shutil
import signal
import subprocess
import sys
import tempfile

SKIP = 77  # ctest's SKIP_RETURN_CODE of these tests
SUBNET = "10.53.7"
MTU = 9000
PERIOD_US = 10_000
FULL_CORE_PERCENT = 90  # of quotas that one core still serves in every period
MOST_CORES = 1.6  # beyond, two cores no longer give every host its share


class Unsupported(Exception):
    """The machine lacks something: the reason."""


@dataclasses.dataclass(frozen=True)
class Host:
    cpu_percent: int | None  # of one core; None: no quota
    megabits: int | None  # of its link, each way; None: not shaped

    @staticmethod
    def parse(text):
        cpu, _, rate = text.partition(",")
        if not cpu.endswith("%") or not rate:
            raise argparse.ArgumentTypeError(f'"{text}": write CPU%,RATE, e.g. 50%,1gbit or 100%,none')
        percent = int(cpu[:-1])
        units = {"gbit": 1000, "mbit": 1}
        for unit, factor in units.items():
            if rate.endswith(unit):
                return Host(None if percent == 100 else percent, round(float(rate[: -len(unit)]) * factor))
        if rate == "none":
            return Host(None if percent == 100 else percent, None)
        raise argparse.ArgumentTypeError(f'"{text}": a rate is e.g. 1gbit, 100mbit or none')

    def __str__(self):
        rate = "none" if self.megabits is None else f"{self.megabits}mbit"
        return f"{self.cpu_percent or 100}%,{rate}"


def quiet(*command):
    """Runs a command that must succeed."""
    result = subprocess.run(command, capture_output=True, text=True)
    if result.returncode != 0:
        raise Unsupported(f"{' '.join(command)}: {result.stderr.strip() or result.returncode}")


def cores_of(hosts, turn):
    """One core for each host, the largest shares first, or None where they do not fit so.

    Another turn gives them other cores: those of a virtual machine need not be equally fast.
    """
    cores = sorted(os.sched_getaffinity(0))
    cores = cores[turn % len(cores):] + cores[:turn % len(cores)]
    load = dict.fromkeys(cores, 0)
    chosen = {}
    for index in sorted(range(len(hosts)), key=lambda i: -(hosts[i].cpu_percent or 100)):
        core = min(cores, key=lambda c: load[c])
        load[core] += hosts[index].cpu_percent or 100
        chosen[index] = core
    fits = max(load.values()) <= FULL_CORE_PERCENT
    return [chosen[index] for index in range(len(hosts))] if fits else None


class CpuGroups:
    """One CPU cgroup per host, version 1 or 2."""

    V1 = pathlib.Path("/sys/fs/cgroup/cpu")
    V2 = pathlib.Path("/sys/fs/cgroup")

    def __init__(self, hosts):
        self.version = 1 if (self.V1 / "cpu.cfs_quota_us").exists() or (self.V1 / "cgroup.procs").exists() else 2
        root = self.V1 if self.version == 1 else self.V2
        self.path = root / f"vitsim-emulated.{os.getpid()}"
        try:
            if self.version == 2:
                (root / "cgroup.subtree_control").write_text("+cpu")
            self.path.mkdir()
            if self.version == 2:
                (self.path / "cgroup.subtree_control").write_text("+cpu")
            for index, host in enumerate(hosts):
                group = self.path / f"h{index}"
                group.mkdir()
                if host.cpu_percent is None:
                    continue
                quota = PERIOD_US * host.cpu_percent // 100
                if self.version == 1:
                    (group / "cpu.cfs_period_us").write_text(str(PERIOD_US))
                    (group / "cpu.cfs_quota_us").write_text(str(quota))
                else:
                    (group / "cpu.max").write_text(f"{quota} {PERIOD_US}")
        except OSError as error:
            self.remove()
            raise Unsupported(f"CPU quotas: {error}") from error

    def remove(self):
        for _ in range(20):
            for folder in [*self.path.glob("h*"), self.path]:
                try:
                    folder.rmdir()
                except OSError:
                    pass
            if not self.path.exists():
                return
            signal.sigtimedwait([], 0.1)  # the kernel needs a moment to empty a group


def make_host(index, host, folder):
    """Namespaces, link and shaping of one host; returns the process that holds them open."""
    name = f"h{index}"
    holder = subprocess.Popen(
        ["unshare", "--net", "--uts", "--ipc", "--mount", "sh", "-c",
         f"hostname {name} && mount -t tmpfs none /dev/shm && echo ready && exec sleep infinity"],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    if holder.stdout.readline().strip() != "ready":
        raise Unsupported(f"namespaces: {holder.stderr.read().strip()}")
    (folder / f"{name}.pid").write_text(str(holder.pid))
    inside = ["nsenter", "-t", str(holder.pid), "-n"]
    quiet("ip", "link", "add", f"port{index}", "mtu", str(MTU), "type", "veth",
          "peer", "name", "nic", "mtu", str(MTU), "netns", str(holder.pid))
    quiet("ip", "link", "set", f"port{index}", "master", "switch", "up")
    quiet(*inside, "ip", "address", "add", f"{SUBNET}.{index + 1}/24", "dev", "nic")
    quiet(*inside, "ip", "link", "set", "lo", "up")
    quiet(*inside, "ip", "link", "set", "nic", "up")
    quiet(*inside, "ip", "route", "replace", f"{SUBNET}.0/24", "dev", "nic", "proto", "kernel", "scope", "link",
          "src", f"{SUBNET}.{index + 1}", "congctl", "cubic")
    # A connection that was idle keeps its window, and learns nothing from earlier ones.
    for setting in ("tcp_slow_start_after_idle=0", "tcp_no_metrics_save=1"):
        quiet(*inside, "sysctl", "-qw", f"net.ipv4.{setting}")
    if host.megabits is not None:
        burst = max(65536, host.megabits * 125)  # bytes: 1 ms at full rate
        shaping = ["root", "tbf", "rate", f"{host.megabits}mbit", "burst", str(burst), "latency", "20ms"]
        quiet(*inside, "tc", "qdisc", "add", "dev", "nic", *shaping)
        quiet("tc", "qdisc", "add", "dev", f"port{index}", *shaping)
    return holder


def run_inside(specification, command):
    """Process 1 of the outer namespace: builds the cluster and runs the command on its head."""
    hosts = [Host.parse(text) for text in specification["hosts"]]
    folder = pathlib.Path(specification["folder"])
    quiet("mount", "-t", "tmpfs", "none", "/dev/shm")
    quiet("hostname", "head")
    quiet("ip", "link", "set", "lo", "up")
    quiet("ip", "link", "add", "switch", "mtu", str(MTU), "type", "bridge")
    quiet("ip", "address", "add", f"{SUBNET}.100/24", "dev", "switch")
    quiet("ip", "link", "set", "switch", "up")
    names = [f"127.0.0.1 localhost\n{SUBNET}.100 head\n"]
    names += [f"{SUBNET}.{index + 1} h{index}\n" for index in range(len(hosts))]
    (folder / "hosts").write_text("".join(names))
    quiet("mount", "--bind", str(folder / "hosts"), "/etc/hosts")
    holders = [make_host(index, host, folder) for index, host in enumerate(hosts)]
    shell = folder / "enter"
    group = specification["groups"]
    cores = cores_of(hosts, specification["turn"])
    pins = "".join(f"h{index}) core={core};; " for index, core in enumerate(cores or []))
    shell.write_text("#!/bin/sh\nhost=$1; shift\n" +
                     (f"case $host in {pins}esac; taskset -cp $core $$ >/dev/null\n" if cores else "") +
                     (f"echo 0 >{group}/$host/cgroup.procs || exit 1\n" if group else "") +
                     f'exec nsenter -t "$(cat {folder}/$host.pid)" -n -u -i -m sh -c "$*"\n')
    shell.chmod(0o755)
    eager = str(32 << 20)
    environment = dict(
        os.environ,
        OMP_NUM_THREADS="1",
        OMPI_ALLOW_RUN_AS_ROOT="1",
        OMPI_ALLOW_RUN_AS_ROOT_CONFIRM="1",
        OMPI_MCA_plm="rsh",
        OMPI_MCA_plm_rsh_agent=str(shell),
        OMPI_MCA_plm_rsh_no_tree_spawn="1",
        OMPI_MCA_orte_leave_session_attached="1",  # daemons stay children: their CPU time is ours
        OMPI_MCA_orte_keep_fqdn_hostnames="1",
        OMPI_MCA_orte_tmpdir_base="/dev/shm",
        OMPI_MCA_oob_tcp_if_include=f"{SUBNET}.0/24",
        OMPI_MCA_btl_tcp_if_include=f"{SUBNET}.0/24",
        OMPI_MCA_pml="ob1",
        OMPI_MCA_btl="tcp,self",
        OMPI_MCA_osc="pt2pt",
        OMPI_MCA_btl_tcp_eager_limit=eager,
        OMPI_MCA_btl_tcp_rndv_eager_limit=eager,
        OMPI_MCA_btl_tcp_max_send_size=eager,
        OMPI_MCA_hwloc_base_binding_policy="none",
        OMPI_MCA_rmaps_base_oversubscribe="1",
    )
    code = subprocess.run(command, env=environment).returncode
    for holder in holders:
        holder.kill()
    return code


def end_cleanly():
    """Lets SIGTERM end this program as an error does, so that nothing of a cluster is left."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))


def run(hosts, command, turn=0, **options):
    """Runs a command on the head of a cluster of `hosts` (named h0, h1, ...); a CompletedProcess.

    The hosts change cores with `turn`.
    Raises Unsupported where the machine cannot emulate them.
    """
    for program in ("ip", "tc", "unshare", "nsenter", "mpirun"):
        if shutil.which(program) is None:
            raise Unsupported(f"{program} is not installed")
    limited = any(host.cpu_percent is not None for host in hosts)
    if limited and os.geteuid() != 0:
        raise Unsupported("CPU quotas need root")
    if sum(host.cpu_percent or 100 for host in hosts) > 100 * MOST_CORES and limited:
        raise ValueError(f"CPU shares add up to more than {MOST_CORES} cores")
    groups = CpuGroups(hosts) if limited else None
    try:
        with tempfile.TemporaryDirectory(prefix="vitsim-emulated-") as folder:
            specification = {"hosts": [str(host) for host in hosts], "folder": folder, "turn": turn,
                             "groups": str(groups.path) if groups else None}
            # mpirun's own temporary files and names follow the outer namespace.
            outer = ["unshare", "--net", "--mount", "--uts", "--ipc", "--pid", "--fork", "--kill-child",
                     "--mount-proc"]
            if os.geteuid() != 0:
                outer += ["--user", "--map-root-user"]
            outer += [sys.executable, str(pathlib.Path(__file__).resolve()), "--inside", json.dumps(specification),
                      "--", *command]
            result = subprocess.run(outer, **options)
    finally:
        if groups:
            groups.remove()
    if result.returncode == SKIP:
        raise Unsupported("the kernel cannot emulate hosts (see above)")
    return result


def main():
    parser = argparse.ArgumentParser(description="Runs a command on an emulated cluster of unequal hosts.")
    parser.add_argument("--host", type=Host.parse, action="append", default=[], metavar="CPU%,RATE",
                        help="share of a core and rate of the link, e.g. 50%%,1gbit; hosts are h0, h1, ...")
    parser.add_argument("--inside", help=argparse.SUPPRESS)
    parser.add_argument("command", nargs="+", help="what to run on the head")
    arguments = parser.parse_args()
    end_cleanly()
    try:
        if arguments.inside:
            return run_inside(json.loads(arguments.inside), arguments.command)
        return run(arguments.host, arguments.command).returncode
    except Unsupported as reason:
        print(f"emulated cluster: skipped: {reason}", file=sys.stderr)
        return SKIP


if __name__ == "__main__":
    sys.exit(main())
