// SPDX-License-Identifier: GPL-2.0-only
/*
 * The machine as the guest pretends it to be: an IOMMU and three PCI functions.
 *
 * There is no IOMMU.  Stock QEMU has no xmmuv1, so a block of ordinary RAM with the register
 * file's size plays its registers: what the driver writes can be read back at the right offsets,
 * and that is all.  No address is ever translated, no fault is ever raised, and where the device
 * would refuse an access (ERSIDDIV, INVLTLB, RESUME) this block answers with 0.
 */
#include "xuantie-iommu.h"

#define REGISTER_BLOCK		0x80400000UL
#define REGISTER_BLOCK_SIZE	0x20000UL

/* The device's own value on `virt`. */
#define RESET_RSIDDIV		8UL

static u64 mask_32_bits = 0xffffffffUL;

static struct device iommu_platform_device = { .kobj = { .name = "80400000.iommu" } };

struct pci_dev lab_nic = {
	.bus_number = 0, .devfn = 1 << 3, .vendor = 0x8086, .device = 0x10d3,
	.dev = { .kobj = { .name = "0000:00:01.0" }, .dma_mask = &mask_32_bits },
};

struct pci_dev lab_assigned = {
	.bus_number = 0, .devfn = 2 << 3, .vendor = 0x8086, .device = 0x10d3,
	.dev = { .kobj = { .name = "0000:00:02.0" }, .dma_mask = &mask_32_bits },
};

struct pci_dev lab_unattached = {
	.bus_number = 0, .devfn = 3 << 3, .vendor = 0x1af4, .device = 0x1041,
	.dev = { .kobj = { .name = "0000:00:03.0" }, .dma_mask = &mask_32_bits },
};

/* What the hardware would hold after reset. */
void lab_device_reset(void)
{
	void *registers = memset(phys_to_virt(REGISTER_BLOCK), 0, REGISTER_BLOCK_SIZE);

	writeq(RESET_RSIDDIV, registers + XT_IOMMU_RSIDDIV);
}

lab_frame int xt_iommu_device_probe(struct device *dev)
{
	int error;

	xt_iommu = kzalloc(sizeof(*xt_iommu), GFP_KERNEL);
	if (!xt_iommu)
		return -ENOMEM;
	xt_iommu->dev = dev;
	xt_iommu->base = phys_to_virt(REGISTER_BLOCK);
	error = xt_iommu_init_device_table(xt_iommu);
	if (error)
		return error;
	xt_iommu_enable(xt_iommu);
	return iommu_device_register(&xt_iommu->iommu, &xt_iommu_ops, dev);
}

#ifdef XT_IOMMU_LEGACY_SIGNATURE
bool xt_iommu_capable(enum iommu_cap cap)
#else
bool xt_iommu_capable(struct device *dev, enum iommu_cap cap)
#endif
{
	return cap == IOMMU_CAP_CACHE_COHERENCY;
}

/* args[0] is the requester id, as the device tree's iommu-map gives it. */
int xt_iommu_of_xlate(struct device *dev, struct of_phandle_args *args)
{
	struct xt_iommu_master *master = kzalloc(sizeof(*master), GFP_KERNEL);

	dev->iommu = kzalloc(sizeof(*dev->iommu), GFP_KERNEL);
	if (!master || !dev->iommu)
		return -ENOMEM;
	master->dev = dev;
	master->rsid = args->args[0];
	INIT_LIST_HEAD(&master->domain_head);
	dev->iommu->priv = master;
	return 0;
}

struct iommu_device *xt_iommu_probe_device(struct device *dev)
{
	struct xt_iommu_master *master = dev->iommu->priv;

	master->iommu = xt_iommu;
	return &xt_iommu->iommu;
}

/* Every function is a group of its own. */
struct iommu_group *xt_iommu_device_group(struct device *dev)
{
	static int next_id;
	struct iommu_group *group = kzalloc(sizeof(*group), GFP_KERNEL);

	if (group)
		group->id = next_id++;
	return group;
}

static void probe_function(struct pci_dev *pdev)
{
	struct of_phandle_args args = {
		.args_count = 1,
		.args = { (u32)pdev->bus_number << 8 | pdev->devfn },
	};

	if (xt_iommu_ops.of_xlate(&pdev->dev, &args) || iommu_probe_device(&pdev->dev)) {
		lab_print("iommulens guest: %s: probe failed; stopping\n", pdev->dev.kobj.name);
		lab_stop();
	}
}

/* 0000:00:03.0 is left alone: its device table entry stays 0, which the device takes for bypass. */
void lab_probe_devices(void)
{
	lab_device_reset();
	if (xt_iommu_device_probe(&iommu_platform_device)) {
		lab_print("iommulens guest: xt_iommu: probe failed; stopping\n");
		lab_stop();
	}
	probe_function(&lab_nic);
	probe_function(&lab_assigned);
}
