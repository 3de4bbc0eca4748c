"""What the measuring scripts share: rows, scratch directories, machines and debuggers that surely end."""

import contextlib
import os
import shutil
import subprocess
import sys
import tempfile
import time

HERE = os.path.dirname(os.path.realpath(__file__))
TOP = os.path.dirname(os.path.dirname(HERE))
PLUGIN = os.path.join(TOP, "gdb-scripts", "iommulens-gdb.py")
CORE = os.path.join(TOP, "gdb-scripts", "iommulens", "_core.abi3.so")
GDB = os.environ.get("GDB", "gdb-multiarch")
GUEST = os.path.join(TOP, "build", "lab", "guest", "guest.elf")
# Processes whose median is a figure.
RUNS = int(os.environ.get("IOMMULENS_BENCH_RUNS", "3"))


def row(goal_id, what, figure, ratio, goal, verdict, note=""):
    """One line of the table."""
    print("\t".join([goal_id, what, figure, ratio, goal, verdict, note]), flush=True)


def verdict(reached):
    """How a row says whether its goal is reached."""
    return "pass" if reached else "short"


def skip_unless(goal_id, what, *needs):
    """Ends the script with a row that says what is missing; each need is (whether it is there, what to do)."""
    for is_there, advice in needs:
        if not is_there:
            row(goal_id, what, "-", "-", "-", "skip", advice)
            sys.exit(0)


def common_needs():
    """What every script here asks for."""
    return [
        (shutil.which(GDB), "%s is not installed (Debian: gdb-multiarch)" % GDB),
        (os.path.exists(CORE), "the plugin is not built: make build"),
    ]


@contextlib.contextmanager
def scratch():
    """A directory of short name, because a Unix socket's path has at most 107 bytes."""
    with tempfile.TemporaryDirectory(prefix="iommulens-", dir="/tmp") as directory:
        yield directory


@contextlib.contextmanager
def machine(command, socket):
    """A QEMU that is ended with the block; the block begins when its gdbstub listens."""
    with tempfile.TemporaryFile() as log:
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd=TOP)
        try:
            deadline = time.monotonic() + 20
            while not os.path.exists(socket):
                if process.poll() is not None or time.monotonic() > deadline:
                    log.seek(0)
                    sys.exit("%s did not start: %s" % (command[0], log.read().decode(errors="replace")))
                time.sleep(0.02)
            yield process.pid
        finally:
            process.kill()
            process.wait(timeout=20)


def on_one_core(command):
    """The command on the last of the cores allowed here, where another process can be kept off it."""
    cores = sorted(os.sched_getaffinity(0))
    return ["taskset", "-c", str(cores[-1])] + command if shutil.which("taskset") else command


def debug(directory, lines, limit, environment=None, command=None):
    """Runs a fresh GDB on a script of `lines`; its output. `command` starts another program that ends in GDB's arguments."""
    script = os.path.join(directory, "script.gdb")
    with open(script, "w", encoding="utf-8") as output:
        output.write("set pagination off\nset confirm off\nset width 0\n" + "\n".join(lines) + "\n")
    process = subprocess.Popen(
        (command or on_one_core([GDB])) + ["-nx", "-batch", "-x", script],
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, cwd=TOP,
        env=dict(os.environ, **(environment or {})), text=True, errors="replace",
    )
    try:
        return process.communicate(timeout=limit)[0]
    except subprocess.TimeoutExpired:
        # TERM, so that a script that has started a machine ends it.
        process.terminate()
        sys.exit("GDB did not end within %d s: %s" % (limit, process.communicate(timeout=20)[0][-2000:]))
