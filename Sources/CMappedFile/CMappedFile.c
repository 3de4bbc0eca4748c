#define _GNU_SOURCE
#include "CMappedFile.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#define PATH_BYTES 256

/// A guarded mapping. Never freed, because the handler may be going through the list: one whose base is 0 is used again.
struct mapping {
  _Atomic(uintptr_t) base;
  _Atomic(unsigned long) length;
  char path[PATH_BYTES];
  struct mapping *next;
};

static _Atomic(struct mapping *) mappings;
static pthread_mutex_t changes = PTHREAD_MUTEX_INITIALIZER;
static struct sigaction before;
static int is_installed;
static atomic_ulong lost_pages;
static uintptr_t page_size;

/// The file of the last loss in this thread, and the copy that is handed out.
static _Thread_local char lost[PATH_BYTES], taken[PATH_BYTES];

static struct mapping *mapping_of(uintptr_t address) {
  for (struct mapping *mapping = atomic_load(&mappings); mapping; mapping = mapping->next) {
    uintptr_t base = atomic_load(&mapping->base);
    if (base && address - base < atomic_load(&mapping->length)) return mapping;
  }
  return NULL;
}

static void hand_on(int number, siginfo_t *information, void *context) {
  if (before.sa_flags & SA_SIGINFO) {
    before.sa_sigaction(number, information, context);
  } else if (before.sa_handler != SIG_DFL && before.sa_handler != SIG_IGN) {
    before.sa_handler(number);
  } else if (before.sa_handler == SIG_DFL || information->si_code > 0) {
    // The access is made again and ends the program as it would have without this handler, even one that ignores the signal; a
    // signal that somebody sent has to be sent again for that.
    signal(number, SIG_DFL);
    if (information->si_code <= 0) raise(number);
  }
}

static void page_is_lost(int number, siginfo_t *information, void *context) {
  int error = errno;
  uintptr_t address = (uintptr_t)information->si_addr;
  // A positive code is the kernel's own; anybody may send a signal that has an address in it.
  struct mapping *mapping = information->si_code > 0 ? mapping_of(address) : NULL;
  void *page = (void *)(address & ~(page_size - 1));
  if (mapping && mmap(page, page_size, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0) != MAP_FAILED) {
    memcpy(lost, mapping->path, PATH_BYTES);
    atomic_fetch_add(&lost_pages, 1);
  } else {
    hand_on(number, information, context);
  }
  errno = error;
}

static int install(void) {
  if (is_installed) return 0;
  page_size = (uintptr_t)sysconf(_SC_PAGESIZE);
  struct sigaction action = {.sa_sigaction = page_is_lost, .sa_flags = SA_SIGINFO | SA_ONSTACK};
  sigemptyset(&action.sa_mask);
  if (sigaction(SIGBUS, &action, &before) != 0) return -1;
  is_installed = 1;
  return 0;
}

int iommulens_guard(const void *base, unsigned long length, const char *path) {
  // A thread's own variables may be allocated at their first use, which must not be in a handler.
  (void)*(volatile char *)lost;
  pthread_mutex_lock(&changes);
  int result = install();
  struct mapping *mapping = atomic_load(&mappings);
  while (mapping && atomic_load(&mapping->base)) mapping = mapping->next;
  if (result == 0 && !mapping) {
    mapping = calloc(1, sizeof *mapping);
    if (mapping) {
      mapping->next = atomic_load(&mappings);
      atomic_store(&mappings, mapping);
    } else {
      result = -1;
    }
  }
  if (result == 0) {
    strncpy(mapping->path, path, PATH_BYTES - 1);
    atomic_store(&mapping->length, length);
    atomic_store(&mapping->base, (uintptr_t)base);
  }
  pthread_mutex_unlock(&changes);
  return result;
}

void iommulens_unguard(const void *base) {
  pthread_mutex_lock(&changes);
  for (struct mapping *mapping = atomic_load(&mappings); mapping; mapping = mapping->next) {
    if (atomic_load(&mapping->base) == (uintptr_t)base) atomic_store(&mapping->base, 0);
  }
  pthread_mutex_unlock(&changes);
}

unsigned long iommulens_lost_pages(void) { return atomic_load(&lost_pages); }

const char *iommulens_take_loss(void) {
  if (!lost[0]) return NULL;
  memcpy(taken, lost, PATH_BYTES);
  lost[0] = 0;
  return taken;
}
