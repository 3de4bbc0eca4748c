// One system call that Swift's Glibc module does not show: glibc declares it under _GNU_SOURCE only.
//
// No system header here: this module meets CPython's in one compilation, and Python's headers set feature macros under
// which glibc's types look different.
#ifndef IOMMULENS_CPROCESSMEMORY_H
#define IOMMULENS_CPROCESSMEMORY_H

/// process_vm_readv(2) without flags, over arrays of `struct iovec`: bytes read, which may be fewer than asked for, or -1
/// with errno.
long iommulens_process_vm_readv(int pid, const void *local, unsigned long local_count, const void *remote,
                                unsigned long remote_count);

#endif
