/* The family with the vectors of vectors/avx2.h. */
#include "training.h"

#if defined(__AVX2__)
#include "vectors/avx2.h"

#include "vector.h"

#endif
