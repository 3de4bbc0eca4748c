/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The XuanTie IOMMU of the virt machine, as its register and table behaviour is known from the
 * outside.  Fields and type names are what a debugger attached to QEMU reads.
 */
#ifndef HW_RISCV_XMMUV1_H
#define HW_RISCV_XMMUV1_H

#include "exec/memory.h"
#include "hw/pci/pci.h"
#include "hw/riscv/xmmuv1-walk.h"
#include "hw/sysbus.h"
#include "qom/object.h"

#define TYPE_RISCV_XMMUV1               "riscv-xmmuv1"
#define TYPE_XMMUV1_IOMMU_MEMORY_REGION "riscv-xmmuv1-iommu-memory-region"

typedef struct XMMUv1State XMMUv1State;
DECLARE_INSTANCE_CHECKER(XMMUv1State, RISCV_XMMUV1, TYPE_RISCV_XMMUV1)

#define XMMUV1_MMIO_SIZE        0x20000
/* The registers repeat every 64 KiB. */
#define XMMUV1_MMIO_ALIAS_MASK  0xffff

/*
 * Registers: byte offsets, 64 bits wide.  The Linux driver calls 0x20 FTVAL (quirk Q6): there it
 * finds IOMMUCAUSE, and it never looks at 0x28.
 */
#define XMMU_IOMMUCAP           0x0000  /* bit 0: second stage present */
#define XMMU_RSIDDIV            0x0008
#define XMMU_ERSIDDIV           0x0010  /* every access is an error */
#define XMMU_DTBASE             0x0018
#define XMMU_IOMMUCAUSE         0x0020
#define XMMU_FTVAL              0x0028
#define XMMU_IOMMUINTNO         0x0030
#define XMMU_IOMMUCAPEN         0x1000  /* bit 0: translate */
#define XMMU_IOMMUINTEN         0x1008  /* bit 0: raise the interrupt on a fault */
#define XMMU_INVLTLB            0x1010  /* write only */
#define XMMU_RESUME             0x1018  /* write only */

/* IOMMUCAUSE */
#define XMMU_CAUSE_V            (1ULL << 63)
#define XMMU_CAUSE_RSID_SHIFT   16      /* bits 31:16 */

/* One PCI function behind the unit: its own address space over its own IOMMU memory region. */
typedef struct XMMUDevice {
    XMMUv1State *xmmu;
    PCIBus *bus;
    int devfn;
    IOMMUMemoryRegion iommu;
    AddressSpace as;
} XMMUDevice;

struct XMMUv1State {
    SysBusDevice parent_obj;

    MemoryRegion iomem;
    qemu_irq irq;
    PCIBus *primary_bus;
    /* PCIBus * -> XMMUDevice *[PCI_DEVFN_MAX]; bus numbers change while the guest runs. */
    GHashTable *buses;
    unsigned device_count;

    uint64_t dtbase;
    uint64_t rsiddiv;
    uint64_t ftval;
    bool enable;
    bool irq_enable;
    bool stage_two;
    uint64_t irq_num;
    bool fault_pending;
    uint64_t fault_rsid;
    enum XMMUv1Fault fault_cause;
};

#endif /* HW_RISCV_XMMUV1_H */
