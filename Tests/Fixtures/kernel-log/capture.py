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
(unsigned long)xt_iommu->irq
(unsigned long)xt_iommu->dev
(unsigned long)&xt_iommu_interrupt
(unsigned long)&kernel_config_data
(unsigned long)&kernel_config_data_end
""".split("\n")[1:-1]

OFFSETS = {
    "struct printk_ringbuffer": [
        "desc_ring.count_bits", "desc_ring.descs", "desc_ring.infos", "desc_ring.head_id", "desc_ring.tail_id",
        "text_data_ring.size_bits", "text_data_ring.data", "text_data_ring.head_lpos", "text_data_ring.tail_lpos",
    ],
    "struct prb_desc": ["state_var", "text_blk_lpos.begin", "text_blk_lpos.next"],
    "struct printk_info": ["seq", "ts_nsec", "text_len", "facility"],
    "struct xt_iommu_device": ["base"],
}
# Members that a reader of structures asks for: offset and size.
MEMBERS = {
    "struct device": ["of_node"],
    "struct device_node": ["full_name", "properties"],
    "struct property": ["name", "length", "value", "next"],
}
EXPRESSIONS += [
    f"(unsigned long)&(({structure} *)0)->{member}" for structure, members in (OFFSETS | MEMBERS).items() for member in members
]
EXPRESSIONS += [
    f"sizeof((({structure} *)0)->{member})" for structure, members in MEMBERS.items() for member in members
]

# Where they start and how many bytes they have: the ring and its three arrays, whole; the configuration with its marks;
# the IOMMU and its node in the device tree.
REGIONS = {
    "prb": "sizeof(*prb)",
    "prb->desc_ring.descs": "sizeof(struct prb_desc) << prb->desc_ring.count_bits",
    "prb->desc_ring.infos": "sizeof(struct printk_info) << prb->desc_ring.count_bits",
    "prb->text_data_ring.data": "1UL << prb->text_data_ring.size_bits",
    "(unsigned long)&kernel_config_data - 8":
        "16 + (unsigned long)&kernel_config_data_end - (unsigned long)&kernel_config_data",
    "xt_iommu->dev": "sizeof(struct device)",
    "xt_iommu->dev->of_node": "sizeof(struct device_node)",
    "xt_iommu->dev->of_node->full_name": "32",
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


def bounds(expression):
    """The first address of the function that `expression` lies in, and the one behind its last."""
    function = gdb.block_for_pc(number(expression))
    while not function.function:
        function = function.superblock
    return function.start, function.end


regions = [(number(start), number(size)) for start, size in REGIONS.items()]
property = gdb.parse_and_eval("xt_iommu->dev->of_node->properties")
while int(property):
    regions += [(int(property), property.dereference().type.sizeof), (int(property["name"]), 32)]
    regions += [(int(property["value"]), int(property["length"]))]
    property = property["next"]
start, end = bounds("(unsigned long)&xt_iommu_interrupt")
regions += [(start, end - start)]

rows = {}
# Pages beyond the kernel's linear map and its image: the device tree as the firmware left it.
translated = {}
linear, image = number("kernel_map.va_pa_offset"), number("kernel_map.virt_addr")
for start, size in regions:
    for page in range(start & ~0xfff, start + size, 4096):
        base = physical(page)
        if page < image and base != (page - linear) % 2**64:
            translated[page] = base
        content = gdb.selected_inferior().read_memory(page, 4096).tobytes()
        for offset in range(0, 4096, ROW):
            row = content[offset : offset + ROW]
            if page + offset + ROW > start and page + offset < start + size and any(row):
                rows[base + offset] = row
with open("values.txt", "w") as file:
    write_values(file, EXPRESSIONS)
    for page, base in sorted(translated.items()):
        file.write(f"gva2gpa {page:#x} = {base:#x}\n")
with open("memory.txt", "w") as file:
    write_rows(file, rows)

# The driver's `.capable`, its code and the option that it reads, by kernel address.
CAPABLE = "(unsigned long)xt_iommu_ops.capable"
OPTION = "(unsigned long)&cache_coherency"
rows = {}
for start, end in (bounds(CAPABLE), (number(OPTION), number(OPTION) + 1)):
    for address in range(start & ~(ROW - 1), end, ROW):
        rows[address] = gdb.selected_inferior().read_memory(address, ROW).tobytes()
with open("capable.txt", "w") as file:
    gp = "(unsigned long)&'__global_pointer$'"
    write_values(file, [CAPABLE, OPTION, gp, "(unsigned long)IOMMU_CAP_CACHE_COHERENCY"])
    write_rows(file, rows)
