"""Reads an investigation while others write: what was there stays, what is added has no gaps.

usage: reads.py PROGRAM INVESTIGATION SECONDS commands|calls

With `calls` this process holds the file open and reads its calls, with `commands` the command line PROGRAM is run.
"""

import collections
import subprocess
import sys
import time

program, investigation, seconds, kind = sys.argv[1:]
end = time.monotonic() + float(seconds)
if kind == "calls":
    sys.path.insert(0, "gdb-scripts")
    import iommulens

    opened = iommulens.Investigation(investigation)


def run(*command):
    return subprocess.run([program, *command], check=True, stdout=subprocess.PIPE, text=True).stdout


before = []
rounds = 0
while time.monotonic() < end:
    if kind == "calls":
        now = [(call["kind"], call["number"], call["iova"]) for call in opened.calls()]
        counts = collections.Counter()
        for name, number, _ in now:
            counts[name] += 1
            assert number == counts[name], "%s %d is the %dth" % (name, number, counts[name])
        assert now[: len(before)] == before, "calls were changed or lost"
    else:
        shown = [line for line in run("show", investigation).splitlines() if line.startswith("map #")]
        now = [line.split()[1] for line in shown]
        assert now == ["#%d" % (number + 1) for number in range(len(now))], "calls are missing"
        assert len(now) >= len(before), "calls were lost"
        assert run("timeline", investigation, "--last", "20").count("\n") >= min(20, len(now))
    before = now
    rounds += 1
print("read", rounds, "times,", len(before), "calls")
