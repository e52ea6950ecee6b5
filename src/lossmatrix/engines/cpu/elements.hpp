// SPDX-License-Identifier: BSD-3-Clause
// The elements of tensors: read into numbers of the computation, and written from them.
#pragma once

#include "pack.hpp"

#ifdef __SSE2__
#include <immintrin.h>
#endif

namespace LOSSMATRIX_ISA {

#ifdef __aarch64__
using Half = __fp16;  // GCC before 13 has no _Float16 there
#else
using Half = _Float16;
#endif
struct Float32 { float x; };
struct Float64 { double x; };
struct BFloat16 { uint16_t x; };
struct Float16 { Half x; };

// --- one element ---------------------------------------------------------------------------------

INLINE float read(Float32 a) { return a.x; }
INLINE double read(Float64 a) { return a.x; }
INLINE float read(BFloat16 a) {
    uint32_t bits = uint32_t(a.x) << 16;
    float x;
    std::memcpy(&x, &bits, 4);
    return x;
}
INLINE float read(Float16 a) { return float(a.x); }
INLINE void write(Float32& a, float x) { a.x = x; }
INLINE void write(Float64& a, double x) { a.x = x; }
INLINE void write(BFloat16& a, float x) {  // to the nearest, ties to even; NaN stays NaN
    uint32_t bits;
    std::memcpy(&bits, &x, 4);
    uint32_t rounded = (bits + 0x7fff + ((bits >> 16) & 1)) >> 16;
    a.x = x != x ? uint16_t(0x7fc0) : uint16_t(rounded);
}
INLINE void write(Float16& a, float x) { a.x = Half(x); }

// --- a pack of them, as a vector of bits ---------------------------------------------------------

typedef uint16_t Halves __attribute__((vector_size(LOSSMATRIX_BYTES / 2)));

INLINE Pack<float> unpacked(const Float32* from) { return Pack<float>::load(&from->x); }
INLINE Pack<double> unpacked(const Float64* from) { return Pack<double>::load(&from->x); }
INLINE Pack<float> unpacked(const BFloat16* from) {
    Halves halves;
    std::memcpy(&halves, from, sizeof halves);
    auto bits = __builtin_convertvector(halves, Pack<float>::Mask) << 16;
    Pack<float> x;
    std::memcpy(&x.v, &bits, sizeof bits);
    return x;
}
INLINE Pack<float> unpacked(const Float16* from) {
#ifdef __AVX512F__
    return Pack<float>::Vector(_mm512_cvtph_ps(_mm256_loadu_si256((const __m256i*)from)));
#elif defined(__F16C__) && LOSSMATRIX_BYTES == 32
    return Pack<float>::Vector(_mm256_cvtph_ps(_mm_loadu_si128((const __m128i*)from)));
#endif
    Pack<float> x;
    for (int l = 0; l < Pack<float>::lanes; ++l) x.v[l] = read(from[l]);
    return x;
}
INLINE Pack<float>::Vector packed(Float32, Pack<float> x) { return x.v; }
INLINE Pack<double>::Vector packed(Float64, Pack<double> x) { return x.v; }
template <int... l>
INLINE Halves upper_halves(Pack<float>::Mask bits, std::integer_sequence<int, l...>) {
#ifdef __AVX512BW__  // one permutation
    typedef uint16_t Whole __attribute__((vector_size(LOSSMATRIX_BYTES)));
    return __builtin_shufflevector(Whole(bits), Whole(bits), (2 * l + 1)...);
#else
    return __builtin_convertvector(bits >> 16, Halves);
#endif
}
INLINE Halves packed(BFloat16, Pack<float> x) {  // arithmetic leaves NaN with its upper half
    Pack<float>::Mask bits;
    std::memcpy(&bits, &x.v, sizeof bits);
    auto rounded = bits + ((x == x) & (0x7fff + ((bits >> 16) & 1)));
    return upper_halves(rounded, std::make_integer_sequence<int, Pack<float>::lanes>());
}
INLINE Halves packed(Float16, Pack<float> x) {
#ifdef __AVX512F__
    return Halves(_mm512_cvtps_ph(x.v, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC));
#elif defined(__F16C__) && LOSSMATRIX_BYTES == 32
    return Halves(_mm256_cvtps_ph(x.v, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC));
#endif
    Halves halves;
    for (int l = 0; l < Pack<float>::lanes; ++l) {
        Float16 half;
        write(half, x.v[l]);
        std::memcpy(reinterpret_cast<char*>(&halves) + 2 * l, &half, 2);
    }
    return halves;
}

// --- many ----------------------------------------------------------------------------------------

// How elements of one type are read into and written from numbers of the computation.
template <class T> struct Access {
    int64_t size;  // bytes of an element
    bool same;     // its type is T itself
    void (*read)(const char* from, int64_t stride, int64_t count, T* to);
    void (*write)(const T* from, int64_t count, char* to, int64_t stride, bool accumulate);
};

template <class S, class T>
static void read_all(const char* from, int64_t stride, int64_t count, T* to) {
    const S* x = reinterpret_cast<const S*>(from);
    int64_t j = 0;
    if (stride == 1)
        for (; j + Pack<T>::lanes <= count; j += Pack<T>::lanes) unpacked(x + j).store(to + j);
    for (; j < count; ++j) to[j] = read(x[j * stride]);
}

template <class S, class T>
static void write_all(const T* from, int64_t count, char* to, int64_t stride, bool accumulate) {
    S* x = reinterpret_cast<S*>(to);
    int64_t j = 0;
    if (accumulate)
        for (; j < count; ++j) write(x[j * stride], T(read(x[j * stride])) + from[j]);
    else if (stride == 1)
        for (; j + Pack<T>::lanes <= count; j += Pack<T>::lanes) {
            auto bits = packed(S(), Pack<T>::load(from + j));
            std::memcpy(x + j, &bits, sizeof bits);
        }
    for (; j < count; ++j) write(x[j * stride], from[j]);
}

template <class S, class T> static Access<T> access() {
    return {sizeof(S), sizeof(S) == sizeof(T), &read_all<S, T>, &write_all<S, T>};
}

// … by number, as in task.h
template <class T> INLINE Access<T> access_of(int32_t type) {
    if constexpr (sizeof(T) == 8) return access<Float64, T>();
    else return type == 2 ? access<BFloat16, T>() : type == 3 ? access<Float16, T>() : access<Float32, T>();
}

}  // namespace LOSSMATRIX_ISA
