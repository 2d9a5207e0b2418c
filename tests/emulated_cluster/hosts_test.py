#!/usr/bin/env python3
"""The harness itself: hosts have the CPU share and the link rate that they were given."""

import os
import subprocess
import sys

import emulated_cluster
from emulated_cluster import SKIP, Host, Unsupported

# Burns a core for a second of wall time and tells which share of it was given.
BURN = ("import time; begin = time.time()\n"
        "while time.time() - begin < 1.5: pass\n"
        "print(round(time.process_time() / (time.time() - begin), 3))")

# Host 0 sends 4 MB to host 1, which tells the rate in Mbit/s, from the first byte on.
RECEIVE = ("import socket, time; server = socket.create_server(('', 7000)); peer, _ = server.accept()\n"
           "size = len(peer.recv(1)); begin = time.time()\n"
           "while data := peer.recv(1 << 16): size += len(data)\n"
           "print(round(size * 8e-6 / (time.time() - begin), 1))")
SEND = ("import socket, time\n"
        "for _ in range(50):\n"
        "    try: peer = socket.create_connection(('h1', 7000)); break\n"
        "    except OSError: time.sleep(0.1)\n"
        "peer.sendall(bytes(4_000_000)); peer.close()")


def require(condition, message):
    if not condition:
        sys.exit(f"FAILED: {message}")


def on_head(hosts, script):
    result = emulated_cluster.run(hosts, ["sh", "-c", script], stdout=subprocess.PIPE, text=True)
    require(result.returncode == 0, f"{script}: exit code {result.returncode}")
    return result.stdout.split()


def ranks(*programs):
    """An mpirun of one program per host."""
    return "mpirun " + " : ".join(f"-np 1 --host h{index}:1 {program}" for index, program in enumerate(programs))


def main():
    share = 40 if os.geteuid() == 0 else 100
    hosts = [Host(None if share == 100 else share, 100), Host(None if share == 100 else share, None)]
    try:
        names = on_head(hosts, "hostname; " + ranks("hostname", "hostname"))
    except Unsupported as reason:
        print(f"skipped: {reason}", file=sys.stderr)
        return SKIP
    require(names[0] == "head" and sorted(names[1:]) == ["h0", "h1"], f"hosts are called {names}")
    if share < 100:
        burnt = on_head(hosts, ranks(f'{sys.executable} -c "{BURN}"'))
        require(abs(float(burnt[0]) - share / 100) < 0.06, f"a share of {share} % gave {burnt[0]}")
    # 100 Mbit/s on the wire carry 99 in frames of 9000 bytes; the burst adds some.
    rate = on_head(hosts, ranks(f'{sys.executable} -c "{SEND}"', f'{sys.executable} -c "{RECEIVE}"'))
    require(90 < float(rate[0]) < 115, f"a link of 100 Mbit/s carried {rate[0]}")
    print(f"hosts {names[1:]}, link {rate[0]} Mbit/s")
    return 0


if __name__ == "__main__":
    sys.exit(main())
