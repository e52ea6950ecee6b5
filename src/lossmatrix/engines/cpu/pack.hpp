// SPDX-License-Identifier: BSD-3-Clause
// A pack of lanes that behaves like one number, and the functions a formula may call on it.
//
// Written with compiler vectors (GCC, Clang): the same source becomes SSE2, AVX2, AVX-512 or NEON
// code, depending on the flags of the file that includes it. Everything lives in the namespace
// LOSSMATRIX_ISA, because two instruction sets in one library must not share a symbol.
#pragma once

#include <cmath>
#include <cstdint>
#include <cstring>
#include <utility>

#ifdef __AVX2__
#include <immintrin.h>
#endif

#ifndef LOSSMATRIX_ISA
#define LOSSMATRIX_ISA lossmatrix_baseline
#endif
#ifndef LOSSMATRIX_BYTES  // width of a pack
#define LOSSMATRIX_BYTES 16
#endif

#define INLINE inline __attribute__((always_inline))

namespace LOSSMATRIX_ISA {

// The compiler wants the vector types spelled with plain element types.
template <class T> struct Vectors;
#define VECTORS(T, I)                                                                        \
    template <> struct Vectors<T> {                                                          \
        using Integer = I;                                                                   \
        typedef T Vector __attribute__((vector_size(LOSSMATRIX_BYTES)));                     \
        typedef I Mask __attribute__((vector_size(LOSSMATRIX_BYTES)));                       \
        typedef T Unaligned __attribute__((vector_size(LOSSMATRIX_BYTES), aligned(sizeof(T)), may_alias)); \
    };
VECTORS(float, int32_t)
VECTORS(double, int64_t)
#undef VECTORS

template <class T> struct Pack {
    static constexpr int lanes = LOSSMATRIX_BYTES / sizeof(T);
    using Number = T;
    using Integer = typename Vectors<T>::Integer;
    using Vector = typename Vectors<T>::Vector;
    using Mask = typename Vectors<T>::Mask;
    using Unaligned = typename Vectors<T>::Unaligned;
    Vector v;

    Pack() = default;
    INLINE Pack(Vector x) : v(x) {}
    INLINE Pack(T x) : v(x - Vector{}) {}
    static INLINE Pack load(const T* from) { return Vector(*reinterpret_cast<const Unaligned*>(from)); }
    INLINE void store(T* to) const { *reinterpret_cast<Unaligned*>(to) = v; }
    // the first `count` lanes; the others are `fill` and their memory is not touched
    static INLINE Pack load(const T* from, int64_t count, T fill) {
        if (count >= lanes) return load(from);
        alignas(LOSSMATRIX_BYTES) T buffer[lanes];
        for (int l = 0; l < lanes; ++l) buffer[l] = l < count ? from[l] : fill;
        return load(buffer);
    }
    INLINE void store(T* to, int64_t count) const {
        if (count >= lanes) return store(to);
        for (int l = 0; l < count; ++l) to[l] = v[l];
    }
    friend INLINE Pack operator+(Pack a, Pack b) { return a.v + b.v; }
    friend INLINE Pack operator-(Pack a, Pack b) { return a.v - b.v; }
    friend INLINE Pack operator*(Pack a, Pack b) { return a.v * b.v; }
    friend INLINE Pack operator/(Pack a, Pack b) { return a.v / b.v; }
    friend INLINE Pack operator-(Pack a) { return -a.v; }
    friend INLINE Mask operator<(Pack a, Pack b) { return a.v < b.v; }
    friend INLINE Mask operator>(Pack a, Pack b) { return a.v > b.v; }
    friend INLINE Mask operator==(Pack a, Pack b) { return a.v == b.v; }
};

template <class T> INLINE Pack<T> select(typename Pack<T>::Mask mask, Pack<T> a, Pack<T> b) {
    return typename Pack<T>::Vector(mask ? a.v : b.v);
}
template <class T> INLINE T select(bool mask, T a, T b) { return mask ? a : b; }

#ifdef __AVX512F__
template <> INLINE Pack<float> Pack<float>::load(const float* from, int64_t count, float fill) {
    if (count >= 16) return load(from);
    return Vector(_mm512_mask_loadu_ps(_mm512_set1_ps(fill), (1u << count) - 1, from));
}
template <> INLINE void Pack<float>::store(float* to, int64_t count) const {
    if (count >= 16) return store(to);
    _mm512_mask_storeu_ps(to, (1u << count) - 1, v);
}
#elif defined(__AVX2__)
template <> INLINE Pack<float> Pack<float>::load(const float* from, int64_t count, float fill) {
    if (count >= 8) return load(from);
    Mask inside = Mask{0, 1, 2, 3, 4, 5, 6, 7} < int32_t(count);
    Vector some = _mm256_maskload_ps(from, __m256i(inside));
    return fill == 0 ? some : Vector(inside ? some : fill - Vector{});
}
template <> INLINE void Pack<float>::store(float* to, int64_t count) const {
    if (count >= 8) return store(to);
    __m128 rest = _mm256_castps256_ps128(v);  // by halves: a masked store takes longer
    if (count & 4) _mm_storeu_ps(to, rest), to += 4, rest = _mm256_extractf128_ps(v, 1);
    if (count & 2) _mm_storel_pi(reinterpret_cast<__m64*>(to), rest), to += 2, rest = _mm_movehl_ps(rest, rest);
    if (count & 1) _mm_store_ss(to, rest);
}
#endif

// a0 b0 a1 b1 …: of the first halves of two packs, and of the second halves
template <int half, class V, int... i>
INLINE V interleaved(V a, V b, std::integer_sequence<int, i...>) {
    constexpr int lanes = sizeof...(i);
    return __builtin_shufflevector(a, b, (i / 2 + half * lanes / 2 + (i % 2) * lanes)...);
}
template <class T> INLINE Pack<T> interleave_low(Pack<T> a, Pack<T> b) {
    return interleaved<0>(a.v, b.v, std::make_integer_sequence<int, Pack<T>::lanes>());
}
template <class T> INLINE Pack<T> interleave_high(Pack<T> a, Pack<T> b) {
    return interleaved<1>(a.v, b.v, std::make_integer_sequence<int, Pack<T>::lanes>());
}

// Lanes are folded together in halves, so that sums round as often as their logarithm.
template <int by, class V, int... i>
INLINE V rotated(V a, std::integer_sequence<int, i...>) {
    return __builtin_shufflevector(a, a, ((i + by) % int(sizeof...(i)))...);
}
template <int by, class T, class Fold> INLINE T folded(Pack<T> a, Fold fold) {
    if constexpr (by == 0) return a.v[0];
    else {
        Pack<T> other = rotated<by>(a.v, std::make_integer_sequence<int, Pack<T>::lanes>());
        return folded<by / 2, T>(fold(a, other), fold);
    }
}
// Folds each of W packs to one number: lane l of the result is that of pack l, which is overwritten.
template <int half, class T, class Fold> INLINE Pack<T> folded_each(Pack<T>* a, Fold fold) {
    if constexpr (half == 0) return a[0];
    else {
#pragma GCC unroll 16
        for (int l = 0; l < half; ++l)
            a[l] = fold(interleave_low(a[l], a[l + half]), interleave_high(a[l], a[l + half]));
        return folded_each<half / 2, T>(a, fold);
    }
}
template <class T, class Fold> INLINE Pack<T> folded_each(Pack<T>* a, Fold fold) {
    return folded_each<Pack<T>::lanes / 2, T>(a, fold);
}
template <class T> INLINE Pack<T> maximum(Pack<T> a, Pack<T> b) { return select<T>(a > b, a, b); }
template <class T> INLINE T largest(Pack<T> a) {
    return folded<Pack<T>::lanes / 2, T>(a, [](Pack<T> x, Pack<T> y) { return maximum(x, y); });
}
// bit l: whether lane l is set
template <class T> INLINE unsigned bits(typename Pack<T>::Mask mask) {
    unsigned found = 0;
    for (int l = 0; l < Pack<T>::lanes; ++l) found |= unsigned(mask[l] != 0) << l;
    return found;
}
#ifdef __AVX512F__
template <> INLINE unsigned bits<float>(Pack<float>::Mask mask) {
    return _mm512_movepi32_mask(__m512i(mask));
}
#elif defined(__AVX2__)
template <> INLINE unsigned bits<float>(Pack<float>::Mask mask) {
    return unsigned(_mm256_movemask_ps(__m256(mask)));
}
#endif
// lane l of the result is number places[l] of one pack, or of two
template <class T> INLINE Pack<T> permute(Pack<T> from, typename Pack<T>::Mask places) {
    Pack<T> to;
    for (int l = 0; l < Pack<T>::lanes; ++l) to.v[l] = from.v[places[l] & (Pack<T>::lanes - 1)];
    return to;
}
#ifdef __AVX512F__
template <> INLINE Pack<float> permute(Pack<float> from, Pack<float>::Mask places) {
    return Pack<float>::Vector(_mm512_permutexvar_ps(__m512i(places), from.v));
}
#elif defined(__AVX2__)
template <> INLINE Pack<float> permute(Pack<float> from, Pack<float>::Mask places) {
    return Pack<float>::Vector(_mm256_permutevar8x32_ps(from.v, __m256i(places)));
}
#endif
template <class T> INLINE Pack<T> permute(Pack<T> low, Pack<T> high, typename Pack<T>::Mask places) {
    using Integer = typename Pack<T>::Integer;
    auto upper = (places & Integer(Pack<T>::lanes)) != typename Pack<T>::Mask{};
    return select<T>(upper, permute<T>(high, places), permute<T>(low, places));
}
#ifdef __AVX512F__
template <> INLINE Pack<float> permute(Pack<float> low, Pack<float> high, Pack<float>::Mask places) {
    return Pack<float>::Vector(_mm512_permutex2var_ps(low.v, __m512i(places), high.v));
}
#endif
// … or of `count` packs that follow each other in memory
template <class T>
INLINE Pack<T> permute(const T* from, int64_t count, typename Pack<T>::Mask places) {
    using P = Pack<T>;
    using Integer = typename P::Integer;
    constexpr int64_t W = P::lanes;
    auto pair = [&](int64_t q) {
        P low = P::load(from + q * W);
        return q + 1 < count ? permute<T>(low, P::load(from + (q + 1) * W), places)
                             : permute<T>(low, places);
    };
    P to = pair(0);
    for (int64_t q = 2; q < count; q += 2)
        to = select<T>(places >= typename P::Mask{} + Integer(q * W), pair(q), to);
    return to;
}
// 0, 1, 2 …
template <class T> INLINE typename Pack<T>::Mask lane_numbers() {
    typename Pack<T>::Mask numbers;
    for (int l = 0; l < Pack<T>::lanes; ++l) numbers[l] = l;
    return numbers;
}

constexpr float INF = __builtin_inff();

// --- float: polynomials, a few units in the last place -------------------------------------------

// x = n ln 2 + r with n = round(x / ln 2) and |r| ≤ ln 2 / 2. ln 2 is subtracted in two parts, so that
// r keeps its digits; n is in the low bits of a shifted number.
struct Reduced {
    Pack<float> r;
    Pack<float>::Mask n;
    INLINE explicit Reduced(Pack<float> x) {
        using P = Pack<float>;
        const P shifter(12582912.0f);  // 1.5 · 2^23: adding it rounds to a whole number
        P shifted = x * P(1.44269504088896341f) + shifter;
        P whole = shifted - shifter;
        r = x - whole * P(0.693145751953125f) - whole * P(1.42860682030941723e-6f);
        std::memcpy(&n, &shifted.v, sizeof n);
    }
};

// exp(x) = 2^n exp(r), where the Taylor polynomial of degree 7 is exact to 1e-8. Results below 2^-126
// are 0, those above the largest float are ∞, NaN stays NaN.
INLINE Pack<float> exp(Pack<float> x) {
    using P = Pack<float>;
    const Reduced reduced(x);
    const P r = reduced.r;
    P y(1.9841270e-4f);
    y = y * r + P(1.3888889e-3f);
    y = y * r + P(8.3333333e-3f);
    y = y * r + P(4.1666667e-2f);
    y = y * r + P(1.6666667e-1f);
    y = y * r + P(0.5f);
    y = y * r + P(1.0f);
    y = y * r + P(1.0f);
    // n is added to the exponent field: 2^n itself would overflow at n = 128, where y is below 1.
    P::Mask scaled;
    std::memcpy(&scaled, &y.v, sizeof scaled);
    scaled = scaled + (reduced.n << 23);
    std::memcpy(&y.v, &scaled, sizeof scaled);
    y = select<float>(x < P(-87.33654f), P(0.0f), y);
    y = select<float>(x > P(88.72283f), P(INF), y);
    return select<float>(x == x, y, x);
}

// exp(x) for x ≤ 0: one factor 2^n is enough, as results below 2^-126 are 0. The polynomial of degree
// 6 is fitted for the least relative error on |r| ≤ ln 2 / 2, which is 4e-9.
INLINE Pack<float> exp_nonpositive(Pack<float> x) {
    using P = Pack<float>;
    const Reduced reduced(x);
    const P r = reduced.r;
    P y(1.38145394e-3f);
    y = y * r + P(8.36874545e-3f);
    y = y * r + P(4.16683890e-2f);
    y = y * r + P(1.66665211e-1f);
    y = y * r + P(4.99999940e-1f);
    y = y * r + P(1.0f);
    y = y * r + P(1.0f);
    P::Mask bits = (reduced.n << 23) + 0x3f800000;
    P factor;
    std::memcpy(&factor.v, &bits, sizeof bits);
    return select<float>(x < P(-87.33654f), P(0.0f), y * factor);
}

// log(x) = e ln 2 + log(m), m in [√½, √2): with s = (m − 1)/(m + 1), log m = 2 artanh s. For normal x.
INLINE Pack<float> log_of_normal(Pack<float> x) {
    using P = Pack<float>;
    P::Mask bits;
    std::memcpy(&bits, &x.v, sizeof bits);
    P::Mask exponent = (bits - 0x3f3504f3) >> 23;
    P::Mask mantissa = bits - (exponent << 23);
    P m, e;
    std::memcpy(&m.v, &mantissa, sizeof mantissa);
    e.v = __builtin_convertvector(exponent, P::Vector);
    P f = m - P(1.0f);
    P s = f / (f + P(2.0f));
    P s2 = s * s;
    P t(0.24279078f);  // 2/9 with the tail of the series folded in
    t = t * s2 + P(0.28498787f);
    t = t * s2 + P(0.40000972f);
    t = t * s2 + P(0.66666667f);
    return f - s * (f - s2 * t) + e * P(1.42860682030941723e-6f) + e * P(0.693145751953125f);
}
INLINE Pack<float> log(Pack<float> x) {
    using P = Pack<float>;
    P::Mask tiny = x < P(1.17549435e-38f);
    P y = log_of_normal(select<float>(tiny, x * P(8388608.0f), x));
    y = select<float>(tiny, y - P(15.9423852f), y);  // 23 ln 2
    y = select<float>(x == P(0.0f), P(-INF), y);
    y = select<float>(x == P(INF), x, y);
    P nan = x - x;  // NaN for infinities and NaN
    y = select<float>(x < P(0.0f), P(INF) - P(INF) + nan, y);
    return select<float>(x == x, y, x);
}

// --- double, and single numbers: the C library ---------------------------------------------------

#define LIBRARY(name)                                                                \
    INLINE Pack<double> name(Pack<double> x) {                                       \
        Pack<double> y;                                                              \
        for (int l = 0; l < Pack<double>::lanes; ++l) y.v[l] = __builtin_##name(x.v[l]); \
        return y;                                                                    \
    }                                                                                \
    INLINE double name(double x) { return __builtin_##name(x); }                     \
    INLINE float name(float x) { return __builtin_##name##f(x); }
LIBRARY(exp)
LIBRARY(log)
LIBRARY(log1p)
LIBRARY(expm1)
#undef LIBRARY
INLINE Pack<double> exp_nonpositive(Pack<double> x) { return exp(x); }

// log(1 + x): the rounding error of u = 1 + x is put back to first order.
INLINE Pack<float> log1p(Pack<float> x) {
    using P = Pack<float>;
    P u = P(1.0f) + x;
    P y = log(u) + (x - (u - P(1.0f))) / u;
    return select<float>((u == P(0.0f)), P(-INF), select<float>(u == P(INF), u, y));
}

// The same for finite x ≥ 0 where 1 / (1 + x) is known.
INLINE Pack<float> log1p(Pack<float> x, Pack<float> inverse) {
    using P = Pack<float>;
    P u = P(1.0f) + x;
    return log_of_normal(u) + (x - (u - P(1.0f))) * inverse;
}
INLINE Pack<double> log1p(Pack<double> x, Pack<double>) { return log1p(x); }

// log(1 − p) for p in [0, ½]: −p times a polynomial of degree 9, fitted for the least relative error,
// which is 4e-9. It has no division, and p is at most ½ for every class but the top one.
INLINE Pack<float> log1m(Pack<float> p) {
    using P = Pack<float>;
    P y(1.775632696f);
    y = y * p + P(-2.552615859f);
    y = y * p + P(2.046740461f);
    y = y * p + P(-0.6334800159f);
    y = y * p + P(0.3533569136f);
    y = y * p + P(0.1732924215f);
    y = y * p + P(0.2521618617f);
    y = y * p + P(0.3332453881f);
    y = y * p + P(0.5000013772f);
    y = y * p + P(0.9999999965f);
    return -p * y;
}
INLINE Pack<double> log1m(Pack<double> p) { return log1p(-p); }
INLINE double log1m(double p) { return log1p(-p); }

// exp(x) − 1 where exp(x) is known: near 0 the series, elsewhere the difference.
INLINE Pack<float> expm1(Pack<float> x, Pack<float> raised) {
    using P = Pack<float>;
    P y(1.9841270e-4f);
    y = y * x + P(1.3888889e-3f);
    y = y * x + P(8.3333333e-3f);
    y = y * x + P(4.1666667e-2f);
    y = y * x + P(1.6666667e-1f);
    y = y * x + P(0.5f);
    P near = x + x * x * y;
    P::Mask is_near = (x < P(0.34657359f)) & (x > P(-0.34657359f));
    return select<float>(is_near, near, raised - P(1.0f));
}
INLINE Pack<float> expm1(Pack<float> x) { return expm1(x, exp(x)); }
INLINE Pack<double> expm1(Pack<double> x, Pack<double>) { return expm1(x); }

template <class V> INLINE V group(V x) { return x; }

// weight · (exp(x) − 1); where x is large the weight joins the exponent, so that nothing overflows
template <class T> INLINE Pack<T> growth(Pack<T> weight, Pack<T> log_weight, Pack<T> x) {
    auto large = x > Pack<T>(T(1));
    Pack<T> raised = exp(select<T>(large, log_weight + x, x));
    Pack<T> direct = weight * expm1(select<T>(large, Pack<T>(T(0)), x), raised);
    return select<T>(large, raised - weight, direct);
}

// weight · value, where weight 0 beats an infinite value
template <class T> INLINE Pack<T> weigh(Pack<T> weight, Pack<T> value) {
    return select<T>(weight == Pack<T>(T(0)), Pack<T>(T(0)), weight * value);
}
INLINE float weigh(float weight, float value) { return weight == 0 ? 0 : weight * value; }
INLINE double weigh(double weight, double value) { return weight == 0 ? 0 : weight * value; }

// base^exponent for base ≥ 0. Unless the exponent is 0 it is 0 below the smallest normal number, of
// which a negative power overflows.
INLINE double power(double base, double exponent) {
    return exponent == 0 ? 1 : __builtin_fabs(base) < 2.2250738585072014e-308 ? 0 : __builtin_pow(base, exponent);
}
INLINE float power(float base, float exponent) {
    return exponent == 0 ? 1 : __builtin_fabsf(base) < 1.17549435e-38f ? 0 : __builtin_powf(base, exponent);
}
template <class T> INLINE Pack<T> power(Pack<T> base, Pack<T> exponent) {
    T first = exponent.v[0];
    if ((first == 1 || first == 2) && !bits<T>((exponent == Pack<T>(first)) == typename Pack<T>::Mask{}))
        return first == 1 ? base : base * base;  // rounded once, as by the C library
    Pack<T> y;
    for (int l = 0; l < Pack<T>::lanes; ++l) y.v[l] = power(base.v[l], exponent.v[l]);
    return y;
}

}  // namespace LOSSMATRIX_ISA
