// Reading a mapped file that somebody may cut shorter meanwhile: the signal that this raises has to be answered in C, where it
// is known what may be done inside a signal's handler.
#ifndef IOMMULENS_CMAPPEDFILE_H
#define IOMMULENS_CMAPPEDFILE_H

/// Guards the `length` bytes from `base` on, which map the file `path` read-only: where the file ends before them, an access
/// finds zeros in place of SIGBUS, and the loss is counted. Takes over SIGBUS at the first call, and hands on what is not its
/// own. 0, or -1 with errno, and then nothing is guarded.
int iommulens_guard(const void *base, unsigned long length, const char *path);

/// Ends what iommulens_guard() began; to be called before the pages are unmapped.
void iommulens_unguard(const void *base);

/// How many pages were lost so far, of all mappings and in all threads.
unsigned long iommulens_lost_pages(void);

/// The file in which this thread met a lost page since the last call, at most 255 bytes of its path; NULL for none. Good until
/// the thread calls again.
const char *iommulens_take_loss(void);

#endif
