// The system's zlib, for what a kernel keeps compressed.
#ifndef IOMMULENS_CZLIB_SHIM_H
#define IOMMULENS_CZLIB_SHIM_H

#if __has_include(<zlib.h>)
#include <zlib.h>
#else
#error "zlib.h was not found: install Debian's zlib1g-dev (apt-get install zlib1g-dev)"
#endif

#endif
