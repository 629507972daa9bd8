/* The family with the vectors of vectors/avx2.h. */
#include "float32.h"

#if defined(__AVX2__)
#include "vectors/avx2.h"

#include "vector.h"

#endif
