/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * QEMU device model of the XuanTie IOMMU: registers, device table, one stage of translation.
 *
 * xmmuv1-walk.h has the walk and the glossary.  The numbers Q1 to Q7 mark behaviour that differs
 * from what a page table walker should do, or from what the Linux driver expects.  Every one of
 * them is there on purpose: IOMMULens exists to see through them, so this model must show them.
 */
#include "qemu/osdep.h"
#include "exec/address-spaces.h"
#include "hw/irq.h"
#include "hw/pci/pci_bus.h"
#include "hw/qdev-properties.h"
#include "hw/riscv/xmmuv1.h"
#include "migration/vmstate.h"
#include "qapi/error.h"
#include "qemu/error-report.h"
#include "qemu/module.h"

/* XMMUReadWord.  Where nothing answers, QEMU reads zero: so does the walk, without an error. */
static uint64_t xmmuv1_read_word(void *opaque, uint64_t address)
{
    uint64_t word = 0;

    address_space_read(&address_space_memory, address, MEMTXATTRS_UNSPECIFIED, &word, sizeof(word));
    return le64_to_cpu(word);
}

/*
 * The first stage for one access.  satp is word 0 of the translation descriptor.  Without success
 * *physical is left alone.
 *
 * The cause is the unit's latch, not a fresh one (Q2): it is not cleared before the walk.
 */
static bool riscv_one_stage(void *opaque, hwaddr *physical, uint64_t satp, dma_addr_t addr,
                            IOMMUAccessFlags flags)
{
    XMMUv1State *s = opaque;

    switch (xmmuv1_stage_one(xmmuv1_read_word, s, satp, addr, flags & IOMMU_RO, flags & IOMMU_WO,
                             &s->fault_cause, physical)) {
    case XMMU_WALK_TRANSLATED:
        return true;
    case XMMU_WALK_FAILED:
        return false;
    case XMMU_WALK_UNKNOWN_MODE:
        break;
    }
    error_report("xmmuv1: translation descriptor with mode %u, which is not bare, Sv32, Sv39, Sv48 "
                 "or Sv57", XMMU_TD_MODE(satp));
    abort();
}

static void xmmuv1_fault(XMMUv1State *s, uint64_t rsid, hwaddr addr)
{
    s->fault_pending = true;
    s->fault_rsid = rsid;
    s->ftval = addr;
    if (s->irq_enable) {
        qemu_irq_raise(s->irq);
    }
}

static IOMMUTLBEntry xmmuv1_translate(IOMMUMemoryRegion *mr, hwaddr addr, IOMMUAccessFlags flag,
                                      int iommu_idx)
{
    XMMUDevice *device = container_of(mr, XMMUDevice, iommu);
    XMMUv1State *s = device->xmmu;
    uint32_t rsid = PCI_BUILD_BDF(pci_bus_num(device->bus), device->devfn);
    uint64_t dte, td0;
    hwaddr physical = addr;
    IOMMUTLBEntry entry = {
        .target_as = &address_space_memory,
        .iova = addr,
        .translated_addr = addr,
        /*
         * Q1: the entry covers one byte, so QEMU asks again for every byte of an access that works.
         * One that fails goes to unassigned memory, in steps of 4 bytes.
         */
        .addr_mask = 0,
        .perm = flag,
    };

    if (!s->enable) {
        return entry;
    }

    dte = xmmuv1_device_table_entry(xmmuv1_read_word, s, s->dtbase, s->rsiddiv, rsid,
                                    &s->fault_cause);
    if (!(dte & XMMU_DTE_V)) {
        /* No domain, no protection: the address passes, and nothing says so. */
        return entry;
    }
    if (dte & XMMU_DTE_S) {
        error_report("xmmuv1: rsid %u asks for second stage translation, which is not implemented",
                     rsid);
        abort();
    }
    if (!(dte & XMMU_DTE_F)) {
        return entry;
    }

    td0 = xmmuv1_read_word(s, XMMU_DTE_TD(dte));
    if (riscv_one_stage(s, &physical, td0, addr, flag)) {
        entry.translated_addr = physical;
    } else {
        entry.perm = IOMMU_NONE;
        xmmuv1_fault(s, rsid, addr);
    }
    return entry;
}

static AddressSpace *xmmuv1_find_address_space(PCIBus *bus, void *opaque, int devfn)
{
    XMMUv1State *s = opaque;
    XMMUDevice **devices = g_hash_table_lookup(s->buses, bus);
    XMMUDevice *device;

    if (!devices) {
        devices = g_new0(XMMUDevice *, PCI_DEVFN_MAX);
        g_hash_table_insert(s->buses, bus, devices);
    }
    device = devices[devfn];
    if (!device) {
        g_autofree char *name = g_strdup_printf("xmmuv1-iommu-memory-region-%d-%u", devfn,
                                                s->device_count++);

        device = devices[devfn] = g_new0(XMMUDevice, 1);
        device->xmmu = s;
        device->bus = bus;
        device->devfn = devfn;
        memory_region_init_iommu(&device->iommu, sizeof(device->iommu),
                                 TYPE_XMMUV1_IOMMU_MEMORY_REGION, OBJECT(s), name, 1ULL << 48);
        address_space_init(&device->as, MEMORY_REGION(&device->iommu), name);
    }
    return &device->as;
}

/*
 * Only 8-byte accesses reach a register.  Smaller reads give 0 and smaller writes are dropped, both
 * without an error.  An 8-byte access to an offset that does not answer is a bus error.
 */
static MemTxResult xmmuv1_read(void *opaque, hwaddr offset, uint64_t *data, unsigned size,
                               MemTxAttrs attrs)
{
    XMMUv1State *s = opaque;

    *data = 0;
    if (size != 8) {
        return MEMTX_OK;
    }
    switch (offset & XMMUV1_MMIO_ALIAS_MASK) {
    case XMMU_IOMMUCAP:
        *data = s->stage_two;
        return MEMTX_OK;
    case XMMU_RSIDDIV:
        *data = s->rsiddiv;
        return MEMTX_OK;
    case XMMU_DTBASE:
        *data = s->dtbase;
        return MEMTX_OK;
    case XMMU_IOMMUCAUSE:
        *data = (s->fault_pending ? XMMU_CAUSE_V : 0) |
                s->fault_rsid << XMMU_CAUSE_RSID_SHIFT | s->fault_cause;
        return MEMTX_OK;
    case XMMU_FTVAL:
        *data = s->ftval;
        return MEMTX_OK;
    case XMMU_IOMMUINTNO:
        *data = s->irq_num;
        return MEMTX_OK;
    case XMMU_IOMMUCAPEN:
        *data = s->enable;
        return MEMTX_OK;
    case XMMU_IOMMUINTEN:
        *data = s->irq_enable;
        return MEMTX_OK;
    default:
        return MEMTX_ERROR;
    }
}

static MemTxResult xmmuv1_write(void *opaque, hwaddr offset, uint64_t data, unsigned size,
                                MemTxAttrs attrs)
{
    XMMUv1State *s = opaque;

    if (size != 8) {
        return MEMTX_OK;
    }
    switch (offset & XMMUV1_MMIO_ALIAS_MASK) {
    case XMMU_DTBASE:
        s->dtbase = data;
        return MEMTX_OK;
    case XMMU_IOMMUCAPEN:
        s->enable = data & 1;
        return MEMTX_OK;
    case XMMU_IOMMUINTEN:
        s->irq_enable = data & 1;
        return MEMTX_OK;
    case XMMU_INVLTLB:
        /* Nothing is cached: every access walks the tables. */
        return MEMTX_OK;
    case XMMU_RESUME:
        /* Q2: the only way to clear a fault, and the Linux driver never takes it.  FTVAL stays. */
        s->fault_pending = false;
        s->fault_rsid = 0;
        s->fault_cause = 0;
        qemu_irq_lower(s->irq);
        return MEMTX_OK;
    default:
        return MEMTX_ERROR;
    }
}

static const MemoryRegionOps xmmuv1_ops = {
    .read_with_attrs = xmmuv1_read,
    .write_with_attrs = xmmuv1_write,
    .endianness = DEVICE_LITTLE_ENDIAN,
    .valid = {
        .min_access_size = 1,
        .max_access_size = 8,
    },
    .impl = {
        .min_access_size = 1,
        .max_access_size = 8,
    },
};

static void xmmuv1_reset(DeviceState *dev)
{
    XMMUv1State *s = RISCV_XMMUV1(dev);

    s->dtbase = 0;
    s->ftval = 0;
    s->enable = false;
    s->irq_enable = false;
    s->fault_pending = false;
    s->fault_rsid = 0;
    s->fault_cause = 0;
    qemu_irq_lower(s->irq);
}

static void xmmuv1_realize(DeviceState *dev, Error **errp)
{
    XMMUv1State *s = RISCV_XMMUV1(dev);

    if (!s->primary_bus) {
        error_setg(errp, "%s: property 'primary-bus' is not set", TYPE_RISCV_XMMUV1);
        return;
    }
    if (s->rsiddiv > 15) {
        error_setg(errp, "%s: property 'rsiddiv' is %" PRIu64 ", at most 15 of a requester id's 16 "
                   "bits can index the second level", TYPE_RISCV_XMMUV1, s->rsiddiv);
        return;
    }

    s->buses = g_hash_table_new(NULL, NULL);
    memory_region_init_io(&s->iomem, OBJECT(s), &xmmuv1_ops, s, TYPE_RISCV_XMMUV1,
                          XMMUV1_MMIO_SIZE);
    sysbus_init_mmio(SYS_BUS_DEVICE(dev), &s->iomem);
    sysbus_init_irq(SYS_BUS_DEVICE(dev), &s->irq);
    pci_setup_iommu(s->primary_bus, xmmuv1_find_address_space, s);
}

static const VMStateDescription vmstate_xmmuv1 = {
    .name = TYPE_RISCV_XMMUV1,
    .version_id = 1,
    .minimum_version_id = 1,
    .fields = (VMStateField[]) {
        VMSTATE_UINT64(dtbase, XMMUv1State),
        VMSTATE_UINT64(ftval, XMMUv1State),
        VMSTATE_BOOL(enable, XMMUv1State),
        VMSTATE_BOOL(irq_enable, XMMUv1State),
        VMSTATE_BOOL(fault_pending, XMMUv1State),
        VMSTATE_UINT64(fault_rsid, XMMUv1State),
        VMSTATE_UINT32(fault_cause, XMMUv1State),
        VMSTATE_END_OF_LIST()
    }
};

static Property xmmuv1_properties[] = {
    DEFINE_PROP_UINT64("rsiddiv", XMMUv1State, rsiddiv, 8),
    DEFINE_PROP_UINT64("irq", XMMUv1State, irq_num, 0),
    DEFINE_PROP_LINK("primary-bus", XMMUv1State, primary_bus, TYPE_PCI_BUS, PCIBus *),
    DEFINE_PROP_END_OF_LIST(),
};

static void xmmuv1_class_init(ObjectClass *klass, void *data)
{
    DeviceClass *dc = DEVICE_CLASS(klass);

    dc->desc = "XuanTie IOMMU";
    dc->realize = xmmuv1_realize;
    dc->reset = xmmuv1_reset;
    dc->vmsd = &vmstate_xmmuv1;
    device_class_set_props(dc, xmmuv1_properties);
}

static void xmmuv1_iommu_memory_region_class_init(ObjectClass *klass, void *data)
{
    IOMMU_MEMORY_REGION_CLASS(klass)->translate = xmmuv1_translate;
}

static const TypeInfo xmmuv1_types[] = {
    {
        .name = TYPE_RISCV_XMMUV1,
        .parent = TYPE_SYS_BUS_DEVICE,
        .instance_size = sizeof(XMMUv1State),
        .class_init = xmmuv1_class_init,
    },
    {
        .name = TYPE_XMMUV1_IOMMU_MEMORY_REGION,
        .parent = TYPE_IOMMU_MEMORY_REGION,
        .class_init = xmmuv1_iommu_memory_region_class_init,
    },
};

DEFINE_TYPES(xmmuv1_types)
