# What a user types to find out why DMA fails. Run by `make demo` from the top of the project.
set pagination off
set confirm off
file build/lab/guest/guest.elf
target remote build/demo/guest/gdb.sock
source gdb-scripts/iommulens-gdb.py
iommu open build/demo/investigation.iommulens

# Stop in the call of the field notes, then look at what it wrote.
iommu break map -iova 0xfffff000 -limit 1
continue
finish
iommu walk 0xfffff000 -device-walk

# Record everything else, then let the tool explain it.
iommu record
hbreak lab_workload_done
continue
iommu status
iommu check
iommu diagnose
iommu export build/demo/findings.md
