// System calls that Swift's Glibc module does not show: one is declared under _GNU_SOURCE only, the other one takes a structure
// from a header that Swift does not read.
//
// No system header here: this module meets CPython's in one compilation, and Python's headers set feature macros under
// which glibc's types look different.
#ifndef IOMMULENS_CPROCESSMEMORY_H
#define IOMMULENS_CPROCESSMEMORY_H

/// process_vm_readv(2) without flags, over arrays of `struct iovec`: bytes read, which may be fewer than asked for, or -1
/// with errno.
long iommulens_process_vm_readv(int pid, const void *local, unsigned long local_count, const void *remote,
                                unsigned long remote_count);

/// rdi, rsi, rdx, rcx and rax of a stopped thread that the calling thread traces, by ptrace(2): 0, or -1 with errno; always -1
/// where threads have no such registers.
int iommulens_thread_registers(int thread, unsigned long long registers[5]);

#endif
