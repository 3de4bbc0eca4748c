// libFuzzer as a library ("Using libFuzzer as a library" in https://llvm.org/docs/LibFuzzer.html): its own header for this
// function is not part of the toolchain.
#include <stddef.h>
#include <stdint.h>

int LLVMFuzzerRunDriver(int *argc, char ***argv, int (*test)(const uint8_t *data, size_t size));
