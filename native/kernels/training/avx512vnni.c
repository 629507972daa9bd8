/* The family with the vectors of vectors/avx512vnni.h. */
#include "training.h"

#if defined(__AVX512F__) && defined(__AVX512DQ__)
#include "vectors/avx512vnni.h"

#include "vector.h"

#endif
