// Loops of the search that are compiled for several instruction sets, the best of which is taken when the program
// starts. No operation is reassociated or contracted, so all of them give the same bits.
#pragma once

#if defined(__x86_64__) && defined(__GNUC__) && !defined(__clang__) && !defined(__SANITIZE_ADDRESS__) && \
    !defined(__SANITIZE_THREAD__)
#define TARE_CLONES __attribute__((target_clones("avx512f", "avx2", "default")))
#else
#define TARE_CLONES
#endif
