"""How long gdb-pt-dump decodes an image of Sv39 tables: prints the seconds and the number of mappings.

usage: gdb-pt-dump.py CHECKOUT IMAGE ADDRESS, the image being the guest's memory from ADDRESS, its root table, on.
Nothing of gdb-pt-dump is here; the checkout is the user's. Its reads are answered from memory, so that its decoding alone
counts.
"""

import sys
import time
from types import SimpleNamespace

checkout, image, address = sys.argv[1], sys.argv[2], int(sys.argv[3])
sys.path.insert(0, checkout)

from pt.machine import Machine  # noqa: E402
from pt.pt_riscv64_parse import PT_RiscV64_Backend  # noqa: E402

with open(image, "rb") as file:
    memory = file.read()


class Image(Machine):
    def read_register(self, register_name):
        raise KeyError(register_name)

    def read_physical_memory(self, physical_address, length):
        return memory[physical_address - address : physical_address - address + length]


satp = hex(8 << 60 | address >> 12)
arguments = SimpleNamespace(satp=[satp], phys_verbose=True, save=False)
start = time.process_time()
mappings = PT_RiscV64_Backend(Image()).parse_tables({}, arguments)
print(time.process_time() - start, len(mappings))
