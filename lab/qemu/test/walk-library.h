/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef XMMUV1_WALK_LIBRARY_H
#define XMMUV1_WALK_LIBRARY_H

#include <stdint.h>

/*
 * One stage one walk.  read_word answers the 8 bytes at a guest-physical address, 0 where there is
 * nothing.  td0 is word 0 of the translation descriptor; flags: bit 0 reads, bit 1 writes; *cause
 * is the latched cause, before and after.  *physical is the IOVA when no leaf was found.
 *
 * Returns 0 failed, 1 translated, 2 unknown mode (the device model aborts QEMU).
 */
int xmmuv1_walk(uint64_t (*read_word)(void *opaque, uint64_t address), void *opaque, uint64_t td0,
                uint64_t iova, uint32_t flags, uint32_t *cause, uint64_t *physical);

/* The device table entry of rsid; rsiddiv 0 is a linear table, at most 15. */
uint64_t xmmuv1_dte(uint64_t (*read_word)(void *opaque, uint64_t address), void *opaque,
                    uint64_t dtbase, uint32_t rsiddiv, uint32_t rsid, uint32_t *cause);

/*
 * One access of rsid through an enabled device: the entry, the descriptor and the walk, put together
 * as xmmuv1_translate() does.
 */
enum XMMUv1Access {
    XMMUV1_FAILED,
    XMMUV1_TRANSLATED,
    XMMUV1_UNKNOWN_MODE,        /* the device model aborts QEMU */
    XMMUV1_PASSED,              /* not valid, or no stage on */
    XMMUV1_SECOND_STAGE,        /* the device model aborts QEMU */
};

enum XMMUv1Access xmmuv1_access(uint64_t (*read_word)(void *opaque, uint64_t address), void *opaque,
                                uint64_t dtbase, uint32_t rsiddiv, uint32_t rsid, uint64_t iova,
                                uint32_t flags, uint32_t *cause, uint64_t *physical);

#endif /* XMMUV1_WALK_LIBRARY_H */
