// SPDX-License-Identifier: BSD-3-Clause
// Memory for the duration of a call, and large pages for results of many megabytes.
#pragma once

#include <cstdint>

#ifdef __linux__
#include <sys/mman.h>
#endif

#ifndef LOSSMATRIX_ISA
#define LOSSMATRIX_ISA lossmatrix_baseline
#endif

namespace LOSSMATRIX_ISA {

template <class T> struct Scratch {  // numbers from the beginning of a cache line, freed at the end
    void* memory;
    T* data;
    explicit Scratch(int64_t count) : memory(__builtin_malloc(size_t(count) * sizeof(T) + 128)) {
        data = reinterpret_cast<T*>((reinterpret_cast<uintptr_t>(memory) + 63) & ~uintptr_t(63));
    }
    ~Scratch() { __builtin_free(memory); }
    Scratch(const Scratch&) = delete;
};

// A fresh result of many megabytes costs more in page faults than in arithmetic.
inline void ask_for_huge_pages([[maybe_unused]] void* result, [[maybe_unused]] int64_t bytes) {
#ifdef MADV_HUGEPAGE
    if (!result || bytes < (4 << 20)) return;
    uintptr_t first = (reinterpret_cast<uintptr_t>(result) + 4095) & ~uintptr_t(4095);
    uintptr_t last = (reinterpret_cast<uintptr_t>(result) + bytes) & ~uintptr_t(4095);
    madvise(reinterpret_cast<void*>(first), last - first, MADV_HUGEPAGE);
#endif
}

}  // namespace LOSSMATRIX_ISA
