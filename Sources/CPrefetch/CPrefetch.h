// The one instruction that Swift has no word for. A table's next table lies anywhere in guest memory, so that no processor
// guesses it; asked for while this one is read, it is there when its turn comes.

#ifndef IOMMULENS_CPREFETCH_H
#define IOMMULENS_CPREFETCH_H

// Asks for the cache line at `address`. A hint: it has no result, and no address makes it fail.
static inline void iommulens_prefetch(const void *address) { __builtin_prefetch(address); }

#endif
