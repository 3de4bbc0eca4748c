/* SPDX-License-Identifier: GPL-2.0-only */
/* The driver's environment in the bare-metal guest. */
#ifndef XUANTIE_IOMMU_ENVIRONMENT_H
#define XUANTIE_IOMMU_ENVIRONMENT_H

#include "kernel.h"
#include "iommu.h"

#endif
