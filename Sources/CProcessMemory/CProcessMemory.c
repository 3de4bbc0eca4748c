#define _GNU_SOURCE
#include "CProcessMemory.h"

#include <errno.h>
#include <sys/ptrace.h>
#include <sys/uio.h>
#include <sys/user.h>

long iommulens_process_vm_readv(int pid, const void *local, unsigned long local_count, const void *remote,
                                unsigned long remote_count) {
  return process_vm_readv(pid, local, local_count, remote, remote_count, 0);
}

int iommulens_thread_registers(int thread, unsigned long long registers[5]) {
#ifdef __x86_64__
  struct user_regs_struct all;
  if (ptrace(PTRACE_GETREGS, thread, 0, &all) != 0) return -1;
  registers[0] = all.rdi;
  registers[1] = all.rsi;
  registers[2] = all.rdx;
  registers[3] = all.rcx;
  registers[4] = all.rax;
  return 0;
#else
  (void)thread;
  (void)registers;
  errno = ENOSYS;
  return -1;
#endif
}
