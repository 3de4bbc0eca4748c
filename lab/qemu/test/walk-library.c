/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The device's reading of its tables as a shared library, for whoever wants to compare another
 * walk with it: xmmuv1-walk.h has only static inline functions.
 */
#include "walk-library.h"

#include "../xmmuv1-walk.h"

int xmmuv1_walk(uint64_t (*read_word)(void *opaque, uint64_t address), void *opaque, uint64_t td0,
                uint64_t iova, uint32_t flags, uint32_t *cause, uint64_t *physical)
{
    enum XMMUv1Fault latched = *cause;
    uint64_t address = iova;
    XMMUv1Outcome outcome = xmmuv1_stage_one(read_word, opaque, td0, iova, flags & 1, flags & 2,
                                             &latched, &address);

    *cause = latched;
    *physical = address;
    return outcome;
}

uint64_t xmmuv1_dte(uint64_t (*read_word)(void *opaque, uint64_t address), void *opaque,
                    uint64_t dtbase, uint32_t rsiddiv, uint32_t rsid, uint32_t *cause)
{
    enum XMMUv1Fault latched = *cause;
    uint64_t dte = xmmuv1_device_table_entry(read_word, opaque, dtbase, rsiddiv, rsid, &latched);

    *cause = latched;
    return dte;
}

enum XMMUv1Access xmmuv1_access(uint64_t (*read_word)(void *opaque, uint64_t address), void *opaque,
                                uint64_t dtbase, uint32_t rsiddiv, uint32_t rsid, uint64_t iova,
                                uint32_t flags, uint32_t *cause, uint64_t *physical)
{
    uint64_t dte = xmmuv1_dte(read_word, opaque, dtbase, rsiddiv, rsid, cause);

    *physical = iova;
    if (!(dte & XMMU_DTE_V)) {
        return XMMUV1_PASSED;
    }
    if (dte & XMMU_DTE_S) {
        return XMMUV1_SECOND_STAGE;
    }
    if (!(dte & XMMU_DTE_F)) {
        return XMMUV1_PASSED;
    }
    return (enum XMMUv1Access)xmmuv1_walk(read_word, opaque,
                                          read_word(opaque, XMMU_DTE_TD(dte)), iova, flags, cause,
                                          physical);
}
