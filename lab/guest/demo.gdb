# What a user types to find out why a device's DMA fails.  Run from the top of the project.
set pagination off
set confirm off
file build/lab/guest/guest.elf
target remote build/demo/guest/gdb.sock
source gdb-scripts/iommulens-gdb.py
iommu open build/demo/investigation.iommulens

# Stop in the call of the field notes, then see what it wrote.
iommu break map -iova 0xfffff000 -limit 1
continue
iommu args
finish
iommu walk 0xfffff000 -device-walk

# Record everything else, then let the tables speak.
iommu record
hbreak lab_workload_done
continue
iommu status
iommu devices
iommu regs
iommu check
iommu diagnose
iommu note Recorded by the demonstration in lab/guest.
iommu export build/demo/findings.md
