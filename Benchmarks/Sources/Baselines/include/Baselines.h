// What the dump is measured against: the memory itself, and the C that a capable person writes in an hour.
#ifndef BASELINES_H
#define BASELINES_H
#include <stddef.h>
#include <stdint.h>

// A guest's memory from a guest-physical address on.
struct baseline_memory {
  const uint8_t *bytes;
  uint64_t base;
};

struct baseline_mapping {
  uint64_t iova, target, size;
  uint8_t flags;
};

// Copies the tables' bytes.
void baseline_copy(void *to, const void *from, size_t count);

// The sum of all words below an Sv39 root, in the order in which a walk meets them.
uint64_t baseline_sum(struct baseline_memory memory, uint64_t root);

// The mappings below an Sv39 root, merged, in memory that the caller frees.
struct baseline_mapping *baseline_dump(struct baseline_memory memory, uint64_t root, size_t *count);

// Stores `count` made-up calls in a new SQLite file, with the columns and the durability of an investigation, in one transaction
// or each in its own. Returns 0, or SQLite's error.
int baseline_store(const char *path, int count, int each_alone);
#endif
