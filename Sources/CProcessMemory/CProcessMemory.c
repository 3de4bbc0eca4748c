#define _GNU_SOURCE
#include "CProcessMemory.h"

#include <sys/uio.h>

long iommulens_process_vm_readv(int pid, const void *local, unsigned long local_count, const void *remote,
                                unsigned long remote_count) {
  return process_vm_readv(pid, local, local_count, remote, remote_count, 0);
}
