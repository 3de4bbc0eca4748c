/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What xmmuv1 reads in memory and what it makes of it, as plain C without QEMU, so that the same
 * code runs inside the device model and in test/.
 *
 * Glossary:
 *   IOVA     the address that a device puts on the bus
 *   rsid     PCI requester id, bus << 8 | devfn
 *   DTE      device table entry, 8 bytes, one per rsid; points at a TD
 *   TD       translation descriptor, three 8-byte words; word 0 points at the stage one root
 *   level    0 = leaf table, counts up to the root
 *   cause    the fault code in IOMMUCAUSE; it stays latched until a write to RESUME
 *
 * The device deviates from RISC-V's page tables in ways that software can see.  Q2, Q3, Q4 and Q7
 * below are such deviations, reproduced on purpose: a debugger that cross-checks a driver with this
 * device has to know them.  README.md lists all of them.
 */
#ifndef HW_RISCV_XMMUV1_WALK_H
#define HW_RISCV_XMMUV1_WALK_H

#include <stdbool.h>
#include <stdint.h>

/* IOMMUCAUSE bits 15:0.  The walk below produces 1 and 13 to 17. */
enum XMMUv1Fault {
    DTE_RESERVED_NOZERO         = 1,
    DTE_F_ONE_S1MODE_ZERO       = 2,
    DTE_S_ONE_S2MODE_ZERO       = 3,
    S1_PTE_NO_EXEC              = 12,
    S1_PTE_NO_READ              = 13,
    S1_PTE_RESERVED             = 14,
    S1_PTE_NO_RW                = 15,
    S1_PTE_INVALID              = 16,
    S1_PTE_MISALIGN_PPN         = 17,
    S1_PTE_USER_FOR_PRIV        = 18,
    S1_PTE_NO_USER_FOR_UNPRIV   = 19,
    S1_PMP_ACCESS               = 20,
    S2_PTE_NO_EXEC              = 21,
    S2_PTE_NO_READ              = 22,
    S2_PTE_RESERVED             = 23,
    S2_PTE_NO_RW                = 24,
    S2_PTE_INVALID              = 25,
    S2_PTE_MISALIGN_PPN         = 26,
    S2_PTE_NO_USER              = 27,
};

/* DTE: bits 63:3 address of the TD, bit 2 first stage on, bit 1 second stage on, bit 0 valid. */
#define XMMU_DTE_V              (1ULL << 0)
#define XMMU_DTE_S              (1ULL << 1)
#define XMMU_DTE_F              (1ULL << 2)
#define XMMU_DTE_LOW_BITS       7ULL
#define XMMU_DTE_TD(dte)        ((dte) & ~XMMU_DTE_LOW_BITS)

/* TD word 0: MODE 63:60, numbered as satp.MODE; ASID 59:44, which nothing here uses; PPN 43:0. */
#define XMMU_TD_MODE(td0)       ((unsigned)((td0) >> 60))
#define XMMU_TD_PPN(td0)        ((td0) & ((1ULL << 44) - 1))

enum {
    XMMU_MODE_BARE = 0,
    XMMU_MODE_SV32 = 1,
    XMMU_MODE_SV39 = 8,
    XMMU_MODE_SV48 = 9,
    XMMU_MODE_SV57 = 10,
};

/* Page table entry: PPN in bits 53:10.  Bits 63:54 and U, G, A, D are ignored. */
#define XMMU_PTE_V              (1ULL << 0)
#define XMMU_PTE_R              (1ULL << 1)
#define XMMU_PTE_W              (1ULL << 2)
#define XMMU_PTE_X              (1ULL << 3)
#define XMMU_PTE_PPN(pte)       (((pte) >> 10) & ((1ULL << 44) - 1))

#define XMMU_PAGE_SHIFT         12
#define XMMU_PAGE_OFFSET        ((1ULL << XMMU_PAGE_SHIFT) - 1)

/* The 8 bytes at a guest-physical address, little endian, aligned or not; 0 where nothing answers. */
typedef uint64_t XMMUReadWord(void *opaque, uint64_t address);

typedef enum XMMUv1Outcome {
    XMMU_WALK_FAILED,
    XMMU_WALK_TRANSLATED,
    /* A TD mode that the device does not know.  The device model stops QEMU. */
    XMMU_WALK_UNKNOWN_MODE,
} XMMUv1Outcome;

/*
 * The entry of one rsid in the device table at dtbase: a linear table when rsiddiv is 0, otherwise
 * two levels with rsiddiv bits of the rsid as the index of the second.
 *
 * A first-level entry is the bare address of a second-level table.  Low bits in it latch a cause,
 * but the walk goes on, and with those bits still in the address.  An entry of zero is an address
 * like any other: the second-level table is then read at physical address 0.
 */
static inline uint64_t xmmuv1_device_table_entry(XMMUReadWord *read_word, void *opaque,
                                                 uint64_t dtbase, unsigned rsiddiv, uint32_t rsid,
                                                 enum XMMUv1Fault *cause)
{
    uint64_t table = dtbase;
    uint64_t index = rsid;

    if (rsiddiv != 0) {
        table = read_word(opaque, dtbase + (uint64_t)(rsid >> rsiddiv) * 8);
        index = rsid & ((1U << rsiddiv) - 1);
        if (table & XMMU_DTE_LOW_BITS) {
            *cause = DTE_RESERVED_NOZERO;
        }
    }
    return read_word(opaque, table + index * 8);
}

/* Why a leaf does not allow the access, in the device's order; 0 when it does. */
static inline enum XMMUv1Fault xmmuv1_leaf_fault(uint64_t pte, uint64_t superpage_mask,
                                                 bool reads, bool writes)
{
    if ((pte & XMMU_PTE_W) && !(pte & XMMU_PTE_R)) {
        return S1_PTE_RESERVED;
    }
    if (XMMU_PTE_PPN(pte) & superpage_mask) {
        return S1_PTE_MISALIGN_PPN;
    }
    if (reads && !(pte & XMMU_PTE_R)) {
        return S1_PTE_NO_READ;
    }
    if (writes && !(pte & XMMU_PTE_W)) {
        return S1_PTE_NO_RW;
    }
    return 0;
}

/*
 * Stage one for one access.  *cause is the latched cause, before and after.  *physical is written
 * when a leaf is found.  XMMU_WALK_TRANSLATED and a cause may come out together (Q3).
 */
static inline XMMUv1Outcome xmmuv1_stage_one(XMMUReadWord *read_word, void *opaque, uint64_t td0,
                                             uint64_t iova, bool reads, bool writes,
                                             enum XMMUv1Fault *cause, uint64_t *physical)
{
    unsigned levels, index_bits, stride;
    uint64_t table = XMMU_TD_PPN(td0) << XMMU_PAGE_SHIFT;
    XMMUv1Outcome outcome = XMMU_WALK_FAILED;

    switch (XMMU_TD_MODE(td0)) {
    case XMMU_MODE_BARE:
        /* Q7: bare mode passes every address but 0, which fails and latches no cause. */
        if (iova == 0) {
            return XMMU_WALK_FAILED;
        }
        *physical = iova;
        return XMMU_WALK_TRANSLATED;
    case XMMU_MODE_SV32:
        /* Indices and stride of 4-byte entries, but 8 bytes are read and decoded as below. */
        levels = 2;
        index_bits = 10;
        stride = 4;
        break;
    case XMMU_MODE_SV39:
        levels = 3;
        index_bits = 9;
        stride = 8;
        break;
    case XMMU_MODE_SV48:
        levels = 4;
        index_bits = 9;
        stride = 8;
        break;
    case XMMU_MODE_SV57:
        levels = 5;
        index_bits = 9;
        stride = 8;
        break;
    default:
        return XMMU_WALK_UNKNOWN_MODE;
    }

    /* IOVA bits above the root's index are ignored; nothing checks that they extend the sign. */
    for (unsigned level = levels; level-- > 0;) {
        uint64_t page_number = iova >> XMMU_PAGE_SHIFT;
        uint64_t index = (page_number >> (level * index_bits)) & ((1ULL << index_bits) - 1);
        uint64_t superpage_mask = (1ULL << (level * index_bits)) - 1;
        uint64_t pte = read_word(opaque, table + index * stride);
        enum XMMUv1Fault fault;

        if (!(pte & XMMU_PTE_V)) {
            *cause = S1_PTE_INVALID;
        } else if (!(pte & (XMMU_PTE_R | XMMU_PTE_W | XMMU_PTE_X))) {
            /* A pointer in the last level ends the walk without a leaf and without a cause. */
            table = XMMU_PTE_PPN(pte) << XMMU_PAGE_SHIFT;
        } else if ((fault = xmmuv1_leaf_fault(pte, superpage_mask, reads, writes)) != 0) {
            *cause = fault;
        } else {
            *physical = (XMMU_PTE_PPN(pte) | (page_number & superpage_mask)) << XMMU_PAGE_SHIFT |
                        (iova & XMMU_PAGE_OFFSET);
            outcome = XMMU_WALK_TRANSLATED;
            /*
             * Q3: a leaf does not end the loop.  The next round reads the same table with the next
             * lower index, and may find another leaf, which replaces this one, or latch a cause,
             * which leaves this one standing.
             */
        }

        /*
         * Q2: a latched cause ends the walk here, after its first level, even when it was latched
         * by an earlier access.  One fault therefore fails every later access through more than
         * one level, mapped or not, until somebody writes RESUME.
         * Q4: a leaf in the root has been accepted by now, so it still translates.
         */
        if (*cause != 0) {
            break;
        }
    }
    return outcome;
}

#endif /* HW_RISCV_XMMUV1_WALK_H */
