// SPDX-License-Identifier: GPL-2.0-only
/*
 * The XuanTie IOMMU driver in Linux 6.1: the platform device, what the IOMMU core asks beyond
 * mapping, and the lab's switches.  The mapping code and the tables are xuantie-iommu-map.c and
 * xuantie-iommu-tables.c, which a bare-metal guest shares.
 *
 * Written from a description of the driver's behaviour, faults included.  Each is marked "As the
 * driver:" below; none is to be repaired here.
 */
#include <linux/interrupt.h>
#include <linux/moduleparam.h>
#include <linux/pci.h>
#include <linux/platform_device.h>

#include "xuantie-iommu.h"

#undef MODULE_PARAM_PREFIX
#define MODULE_PARAM_PREFIX "xt_iommu."

bool xt_iommu_huge_page_option;
module_param_named(huge_page, xt_iommu_huge_page_option, bool, 0444);

bool xt_iommu_stale_unmap_option;
module_param_named(stale_unmap, xt_iommu_stale_unmap_option, bool, 0644);

bool xt_iommu_dma_cookie_option;
module_param_named(dma_cookie, xt_iommu_dma_cookie_option, bool, 0444);

static bool cache_coherency = true;
module_param(cache_coherency, bool, 0444);

static bool all_buses;
module_param(all_buses, bool, 0444);

/*
 * root_shift=pgdir or 12 to 63.  Writable at run time, so that a running kernel can be repaired;
 * whoever writes it takes care that nothing is mapped, because unmap looks where the new shift
 * says.
 */
static int set_root_shift(const char *value, const struct kernel_param *param)
{
	unsigned int shift = 0;

	if (!sysfs_streq(value, "pgdir") &&
	    (kstrtouint(value, 10, &shift) || shift < XT_IOMMU_PAGE_SHIFT || shift > 63))
		return -EINVAL;
	WRITE_ONCE(xt_iommu_root_shift_option, shift);
	return 0;
}

static int get_root_shift(char *text, const struct kernel_param *param)
{
	if (xt_iommu_root_shift_option)
		return sysfs_emit(text, "%u\n", xt_iommu_root_shift_option);
	return sysfs_emit(text, "pgdir\n");
}

static const struct kernel_param_ops root_shift_ops = {
	.set = set_root_shift,
	.get = get_root_shift,
};
module_param_cb(root_shift, &root_shift_ops, NULL, 0644);

bool xt_iommu_capable(struct device *dev, enum iommu_cap cap)
{
	switch (cap) {
	case IOMMU_CAP_CACHE_COHERENCY:
		return cache_coherency;
	default:
		return false;
	}
}

/*
 * The core offers every device of every bus that it knows; only PCI functions have a requester id.
 * With all_buses the others are taken as well, all of them under requester id 0, which is the host
 * bridge's: the last attach of the lot owns device table entry 0.
 */
struct iommu_device *xt_iommu_probe_device(struct device *dev)
{
	struct xt_iommu_master *master;

	if (!xt_iommu || !(dev_is_pci(dev) || all_buses))
		return ERR_PTR(-ENODEV);

	master = kzalloc(sizeof(*master), GFP_KERNEL);
	if (!master)
		return ERR_PTR(-ENOMEM);
	master->dev = dev;
	master->iommu = xt_iommu;
	master->rsid = dev_is_pci(dev) ? pci_dev_id(to_pci_dev(dev)) : 0;
	dev_iommu_priv_set(dev, master);
	return &xt_iommu->iommu;
}

/* The architecture does not install DMA operations of the IOMMU layer by itself. */
void xt_iommu_probe_finalize(struct device *dev)
{
	iommu_setup_dma_ops(dev, 0, U64_MAX);
}

struct iommu_group *xt_iommu_device_group(struct device *dev)
{
	return dev_is_pci(dev) ? pci_device_group(dev) : generic_device_group(dev);
}

int xt_iommu_of_xlate(struct device *dev, struct of_phandle_args *args)
{
	return iommu_fwspec_add_ids(dev, args->args, 1);
}

/* As the driver: reads at 0x20, which is the device's IOMMUCAUSE, and never writes RESUME. */
static irqreturn_t xt_iommu_interrupt(int irq, void *data)
{
	struct xt_iommu_device *iommu = data;

	dev_err_ratelimited(iommu->dev, "fault at 0x%llx\n",
			    (u64)readq(iommu->base + XT_IOMMU_FTVAL));
	return IRQ_HANDLED;
}

/*
 * As the driver: asks for the interrupt by a name that the device tree does not carry, so no
 * handler is installed and faults are silent.
 */
static int request_interrupt(struct platform_device *pdev, struct xt_iommu_device *iommu)
{
	int irq = platform_get_irq_byname_optional(pdev, "xmmu");

	if (irq <= 0)
		return 0;
	iommu->num_irq = 1;
	iommu->irq = irq;
	return devm_request_irq(&pdev->dev, irq, xt_iommu_interrupt, 0, "xmmu", iommu);
}

static int xt_iommu_device_probe(struct platform_device *pdev)
{
	struct xt_iommu_device *iommu;
	int error;

	iommu = devm_kzalloc(&pdev->dev, sizeof(*iommu), GFP_KERNEL);
	if (!iommu)
		return -ENOMEM;
	iommu->dev = &pdev->dev;
	iommu->base = devm_platform_ioremap_resource(pdev, 0);
	if (IS_ERR(iommu->base))
		return PTR_ERR(iommu->base);

	error = request_interrupt(pdev, iommu);
	if (error)
		return error;
	error = xt_iommu_init_device_table(iommu);
	if (error)
		return error;
	xt_iommu_enable(iommu);

	platform_set_drvdata(pdev, iommu);
	error = iommu_device_sysfs_add(&iommu->iommu, &pdev->dev, NULL, "xuantie-iommu");
	if (error)
		return error;

	/* Probes every device found so far, and those call back into this driver. */
	xt_iommu = iommu;
	error = iommu_device_register(&iommu->iommu, &xt_iommu_ops, &pdev->dev);
	if (error) {
		xt_iommu = NULL;
		iommu_device_sysfs_remove(&iommu->iommu);
		return error;
	}
	dev_info(&pdev->dev, "enabled, device table at 0x%llx\n", iommu->devtab_cfg.devtab_dma);
	return 0;
}

static const struct of_device_id xt_iommu_of_match[] = {
	{ .compatible = "xuantie-iommu" },
	{ }
};

static struct platform_driver xt_iommu_driver = {
	.driver = {
		.name			= "xuantie-iommu",
		.of_match_table		= xt_iommu_of_match,
		.suppress_bind_attrs	= true,
	},
	.probe = xt_iommu_device_probe,
};
builtin_platform_driver(xt_iommu_driver);
