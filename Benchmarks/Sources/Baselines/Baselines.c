#include "Baselines.h"

#include <stdlib.h>
#include <string.h>

static const uint64_t *table_at(struct baseline_memory memory, uint64_t address) {
  return (const uint64_t *)(memory.bytes + (address - memory.base));
}

static uint64_t child(uint64_t entry) { return entry >> 10 << 12; }

void baseline_copy(void *to, const void *from, size_t count) { memcpy(to, from, count); }

static uint64_t sum(struct baseline_memory memory, uint64_t address, int level) {
  const uint64_t *table = table_at(memory, address);
  uint64_t total = 0;
  for (int index = 0; index < 512; index++) {
    total += table[index];
    if (level > 0 && table[index]) total += sum(memory, child(table[index]), level - 1);
  }
  return total;
}

uint64_t baseline_sum(struct baseline_memory memory, uint64_t root) { return sum(memory, root, 2); }

struct output {
  struct baseline_mapping *mappings;
  size_t count, capacity;
};

static void append(struct output *output, struct baseline_mapping next) {
  if (output->count > 0) {
    struct baseline_mapping *last = &output->mappings[output->count - 1];
    if (last->iova + last->size == next.iova && last->target + last->size == next.target && last->flags == next.flags) {
      last->size += next.size;
      return;
    }
  }
  if (output->count == output->capacity) {
    output->capacity = output->capacity ? output->capacity * 2 : 64;
    output->mappings = realloc(output->mappings, output->capacity * sizeof *output->mappings);
    if (!output->mappings) abort();
  }
  output->mappings[output->count++] = next;
}

static void dump(struct baseline_memory memory, uint64_t address, int level, uint64_t iova, struct output *output) {
  const uint64_t *table = table_at(memory, address);
  for (int index = 0; index < 512; index++) {
    uint64_t entry = table[index];
    uint64_t size = 1ull << (12 + 9 * level);
    uint64_t here = iova + index * size;
    if (!(entry & 1)) continue;
    if (level == 2 && index > 255) here |= ~0ull << 39;
    if (entry & 0xe)
      append(output, (struct baseline_mapping){here, child(entry), size, entry & 0xff});
    else if (level > 0)
      dump(memory, child(entry), level - 1, here, output);
  }
}

struct baseline_mapping *baseline_dump(struct baseline_memory memory, uint64_t root, size_t *count) {
  struct output output = {0};
  dump(memory, root, 2, 0, &output);
  *count = output.count;
  return output.mappings;
}
