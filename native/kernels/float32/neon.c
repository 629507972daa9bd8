/* The family with the vectors of vectors/neon.h. */
#include "float32.h"

#if defined(__ARM_NEON) && defined(__aarch64__)
#include "vectors/neon.h"

#include "vector.h"

#endif
