"""Imports one small or large text after the other, and says so when each is in the file.

usage: imports.py PROGRAM INVESTIGATION SECONDS lines|calls FOLDER

With `lines` this process imports a line of a log at a time, with `calls` the command line PROGRAM a table of 400 calls.
"""

import os
import subprocess
import sys
import time

program, investigation, seconds, kind, folder = sys.argv[1:]
end = time.monotonic() + float(seconds)
if kind == "lines":
    sys.path.insert(0, "gdb-scripts")
    import iommulens

number = 0
while time.monotonic() < end:
    text = "%s/%s-%d.txt" % (folder, kind, number)
    with open(text, "w") as file:
        if kind == "lines":
            file.write("[    %d.000000] NETDEV WATCHDOG: eth0 (e1000e): transmit queue 0 timed out\n" % (number + 1))
        else:
            file.write("seq,function,iova,paddr,pgsize,pgcount,prot,gfp,domain\n")
            for row in range(number * 400, number * 400 + 400):
                file.write("%d,xt_iommu_map,0x%x,0x80000000,4096,1,7,0xa20,0xff60000000978ef8\n" % (row, row << 12))
    if kind == "lines":
        with iommulens.Investigation(investigation) as opened:
            opened.import_texts([text])
    else:
        subprocess.run([program, "import", text, "-o", investigation], check=True, stdout=subprocess.DEVNULL)
    os.remove(text)
    print("stored", text, flush=True)
    number += 1
