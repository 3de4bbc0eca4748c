"""Inside GDB: gdb-pt-dump's dump of the guest's table and the plugin's, each into its file."""

import gdb
import os
import statistics
import time

LATER = 5


def _seconds(command, path):
    """How long the command takes that writes a new file."""
    if os.path.exists(path):
        os.unlink(path)
    start = time.perf_counter()
    gdb.execute(command, to_string=True)
    return time.perf_counter() - start


def measure(directory):
    """Writes the seconds of gdb-pt-dump, of the plugin's first dump, and of its later ones."""
    root = int(gdb.parse_and_eval("root"))
    theirs, ours = directory + "/theirs", directory + "/ours"
    # Physical addresses in the output as well, which is what the plugin's lines have.
    peer = "pt -phys_verbose -satp 0x%x -o %s" % (8 << 60 | root >> 12, theirs)
    mine = "iommu dump -root 0x%x -mode sv39 -o %s" % (root, ours)
    first = _seconds(mine, ours)
    seconds = _seconds(peer, theirs)
    later = statistics.median(_seconds(mine, ours) for _ in range(LATER))
    with open(directory + "/figures", "w", encoding="utf-8") as output:
        output.write("%f %f %f" % (seconds, first, later))
