"""Run by `capture` in a GDB that is connected to the stopped guest: writes values.txt, memory.txt and capable.txt."""

import gdb

EXPRESSIONS = """
(unsigned long)prb
sizeof(struct prb_desc)
sizeof(struct printk_info)
kernel_map.virt_addr
kernel_map.size
kernel_map.va_kernel_pa_offset
kernel_map.va_pa_offset
""".split("\n")[1:-1]

OFFSETS = {
    "struct printk_ringbuffer": [
        "desc_ring.count_bits", "desc_ring.descs", "desc_ring.infos", "desc_ring.head_id", "desc_ring.tail_id",
        "text_data_ring.size_bits", "text_data_ring.data", "text_data_ring.head_lpos", "text_data_ring.tail_lpos",
    ],
    "struct prb_desc": ["state_var", "text_blk_lpos.begin", "text_blk_lpos.next"],
    "struct printk_info": ["seq", "ts_nsec", "text_len", "facility"],
}
EXPRESSIONS += [
    f"(unsigned long)&(({structure} *)0)->{member}" for structure, members in OFFSETS.items() for member in members
]

# The ring and its three arrays, whole: where they start and how many bytes they have.
REGIONS = {
    "prb": "sizeof(*prb)",
    "prb->desc_ring.descs": "sizeof(struct prb_desc) << prb->desc_ring.count_bits",
    "prb->desc_ring.infos": "sizeof(struct printk_info) << prb->desc_ring.count_bits",
    "prb->text_data_ring.data": "1UL << prb->text_data_ring.size_bits",
}
ROW = 64


def number(expression):
    return int(gdb.parse_and_eval(f"(unsigned long)({expression})"))


def physical(address):
    """Where QEMU's own walk of the CPU's page table finds a kernel address."""
    return int(gdb.execute(f"monitor gva2gpa {address:#x}", to_string=True).split()[-1], 16)


def write_values(file, expressions):
    for expression in expressions:
        file.write(f"{expression} = {number(expression):#x}\n")


def write_rows(file, rows):
    for address, row in sorted(rows.items()):
        file.write(f"{address:#x} {row.hex()}\n")


with open("values.txt", "w") as file:
    write_values(file, EXPRESSIONS)

rows = {}
for start, size in ((number(start), number(size)) for start, size in REGIONS.items()):
    for page in range(start & ~0xfff, start + size, 4096):
        base = physical(page)
        content = gdb.selected_inferior().read_memory(page, 4096).tobytes()
        for offset in range(0, 4096, ROW):
            row = content[offset : offset + ROW]
            if page + offset + ROW > start and page + offset < start + size and any(row):
                rows[base + offset] = row
with open("memory.txt", "w") as file:
    write_rows(file, rows)

# The driver's `.capable`, its code and the option that it reads, by kernel address.
CAPABLE = "(unsigned long)xt_iommu_ops.capable"
OPTION = "(unsigned long)&cache_coherency"
function = gdb.block_for_pc(number(CAPABLE))
while not function.function:
    function = function.superblock
rows = {}
for start, end in ((function.start, function.end), (number(OPTION), number(OPTION) + 1)):
    for address in range(start & ~(ROW - 1), end, ROW):
        rows[address] = gdb.selected_inferior().read_memory(address, ROW).tobytes()
with open("capable.txt", "w") as file:
    gp = "(unsigned long)&'__global_pointer$'"
    write_values(file, [CAPABLE, OPTION, gp, "(unsigned long)IOMMU_CAP_CACHE_COHERENCY"])
    write_rows(file, rows)
