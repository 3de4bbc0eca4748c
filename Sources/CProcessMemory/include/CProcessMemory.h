// One system call that Swift's Glibc module does not show: glibc declares it under _GNU_SOURCE only.
#ifndef IOMMULENS_CPROCESSMEMORY_H
#define IOMMULENS_CPROCESSMEMORY_H

#include <sys/types.h>
#include <sys/uio.h>

/// process_vm_readv(2) without flags: bytes read, which may be fewer than asked for, or -1 with errno.
ssize_t iommulens_process_vm_readv(pid_t pid, const struct iovec *local, unsigned long local_count,
                                   const struct iovec *remote, unsigned long remote_count);

#endif
