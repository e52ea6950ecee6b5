// SPDX-License-Identifier: BSD-3-Clause
// Rows of costs where no table holds them: the words that printed formulas of matrices use, and the
// kinds whose rows are no formula of single entries.
#pragma once

#include "pack.hpp"
#include "task.h"

#define ALWAYS_INLINE __attribute__((always_inline))

namespace LOSSMATRIX_ISA {

// --- words ---------------------------------------------------------------------------------------

// Calls body(first, count) for the packs of a row, of which only the last may have fewer lanes.
template <class T, class Body> INLINE void each_pack(int64_t n, Body body) {
    constexpr int64_t W = Pack<T>::lanes;
    int64_t first = 0;
    for (; first + W <= n; first += W) body(first, W);
    if (first < n) body(first, n - first);
}

template <class T> INLINE void filled(T* to, int64_t n, T value) {
    each_pack<T>(n, [&](int64_t first, int64_t count) ALWAYS_INLINE {
        Pack<T>(value).store(to + first, count);
    });
}

template <class T> INLINE Pack<T> numbers_of_lanes() {
    Pack<T> numbers;
    for (int l = 0; l < Pack<T>::lanes; ++l) numbers.v[l] = T(l);
    return numbers;
}

// `count` entries of a table; whole numbers become numbers of the computation
template <class T> INLINE Pack<T> entries(const T* from, int64_t count) {
    return Pack<T>::load(from, count, T(0));
}
template <class T> INLINE Pack<T> entries(const int64_t* from, int64_t count) {
    Pack<T> found(T(0));
    for (int64_t l = 0; l < Pack<T>::lanes; ++l) if (l < count) found.v[l] = T(from[l]);
    return found;
}
template <class T, class S> INLINE Pack<T> gathered(const S* from, Pack<T> index, int64_t count) {
    Pack<T> found(T(0));
    for (int64_t l = 0; l < Pack<T>::lanes; ++l)
        if (l < count) found.v[l] = T(from[int64_t(index.v[l])]);
    return found;
}

template <class T> INLINE Pack<T> abs(Pack<T> x) {
    typename Pack<T>::Mask bits;
    std::memcpy(&bits, &x.v, sizeof bits);
    bits &= ~(typename Pack<T>::Integer(1) << (8 * sizeof(T) - 1));
    std::memcpy(&x.v, &bits, sizeof bits);
    return x;
}
template <class T> INLINE Pack<T> minimum(Pack<T> a, Pack<T> b) { return select<T>(a < b, a, b); }
template <class T>
INLINE Pack<T> where(typename Pack<T>::Mask condition, Pack<T> a, Pack<T> b) {
    return select<T>(condition, a, b);
}

// base^exponent in double precision, to 1e-10: exact to the rounding of a float. log b = e ln 2 + log m
// with m in [√½, √2), log m = 2 artanh s, s = (m − 1)/(m + 1); then exp x = 2^n exp r, |r| ≤ ln 2 / 2.
// Branches would keep it from being done for many lanes at once.
INLINE float raised(float base, double exponent) {
    double b = base;  // subnormal numbers are normal ones there
    uint64_t bits;
    std::memcpy(&bits, &b, 8);
    uint64_t biased = (bits - 0x3fe6a09e667f3bcdu + (uint64_t(1024) << 52)) >> 52;  // e + 1024
    uint64_t mantissa = bits - ((biased - 1024) << 52), shifted = biased | 0x4330000000000000u;
    double m, e;
    std::memcpy(&m, &mantissa, 8);
    std::memcpy(&e, &shifted, 8);
    e -= 4503599627370496.0 + 1024;  // 2^52: a whole number in the low bits of a double
    double s = (m - 1) / (m + 1), s2 = s * s, y = 1.0 / 15;
    y = y * s2 + 1.0 / 13;
    y = y * s2 + 1.0 / 11;
    y = y * s2 + 1.0 / 9;
    y = y * s2 + 1.0 / 7;
    y = y * s2 + 1.0 / 5;
    y = y * s2 + 1.0 / 3;
    double log = e * 0.6931471805599453 + 2 * (s + s * s2 * y), x = exponent * log;
    x = x < -200 ? -200 : x;  // beyond the floats on either side
    x = x > 200 ? 200 : x;
    double whole = x * 1.4426950408889634 + 6755399441055744.0;  // 1.5 · 2^52 rounds it
    uint64_t n;
    std::memcpy(&n, &whole, 8);
    double r = x - (whole - 6755399441055744.0) * 0.6931471805599453;
    double z = 1.0 / 40320;
    z = z * r + 1.0 / 5040;
    z = z * r + 1.0 / 720;
    z = z * r + 1.0 / 120;
    z = z * r + 1.0 / 24;
    z = z * r + 1.0 / 6;
    z = z * r + 0.5;
    z = z * r + 1;
    z = z * r + 1;
    uint64_t factor = (n << 52) + 0x3ff0000000000000u;
    double power_of_two;
    std::memcpy(&power_of_two, &factor, 8);
    float result = float(z * power_of_two);
    result = base == 0 ? 0.0f : result;
    return base == base ? result : base;
}
INLINE double raised(double base, double exponent) {
    return base == 0 ? 0 : __builtin_pow(base, exponent);
}
template <class T> INLINE Pack<T> power(Pack<T> base, double exponent) {
    alignas(LOSSMATRIX_BYTES) T x[Pack<T>::lanes];
    base.store(x);
    for (int l = 0; l < Pack<T>::lanes; ++l) x[l] = raised(x[l], exponent);
    return Pack<T>::load(x);
}

// --- kinds made by hand --------------------------------------------------------------------------

// From the leaf up: what a node holds beyond the one below it. Tables: costs of the nodes, their
// parents, where the leaves below them begin and end, the node of each class, and the classes depth
// first, or null where that is their order.
struct costs_tree {
    template <class T>
    static void make(const CostProgram& program, int64_t truth, int64_t n, T* row) {
        const T* cost = static_cast<const T*>(program.table[0]);
        auto index = [&](int k) { return static_cast<const int64_t*>(program.table[k]); };
        const int64_t *parent = index(1), *begin = index(2), *end = index(3), *order = index(5);
        auto fill = [&](int64_t first, int64_t last, T value) {
            if (order) for (int64_t k = first; k < last; ++k) row[order[k]] = value;
            else filled(row + first, last - first, value);
        };
        int64_t node = index(4)[truth], from = begin[node], to = from;
        for (;; node = parent[node]) {
            fill(begin[node], from, cost[node]);
            fill(to, end[node], cost[node]);
            from = begin[node], to = end[node];
            if (from == 0 && to == n) return;
        }
    }
};

// One cost for every mistake, and exceptions. Tables: their costs, where those of each truth begin,
// and their decisions.
struct costs_sparse {
    template <class T>
    static void make(const CostProgram& program, int64_t truth, int64_t n, T* row) {
        const T* cost = static_cast<const T*>(program.table[0]);
        const int64_t* begin = static_cast<const int64_t*>(program.table[1]);
        const int64_t* decision = static_cast<const int64_t*>(program.table[2]);
        filled(row, n, T(program.number[0]));
        row[truth] = T(0);
        for (int64_t k = begin[truth]; k < begin[truth + 1]; ++k) row[decision[k]] = cost[k];
    }
};

// softmax(−row / T), T the number, of the row that is there.
struct costs_soft_targets {
    template <class T> static void make(const CostProgram& program, int64_t, int64_t n, T* row) {
        using V = Pack<T>;
        const T temperature = T(program.number[0]);
        V low(row[0]), sum(T(0));
        each_pack<T>(n, [&](int64_t first, int64_t count) ALWAYS_INLINE {
            low = minimum(V::load(row + first, count, row[0]), low);
        });
        auto least = [](V a, V b) { return minimum(a, b); };
        auto plus = [](V a, V b) { return a + b; };
        const V lowest(folded<V::lanes / 2, T>(low, least));
        for (int64_t begin = 0; begin < n; begin += 512) {  // rounding grows with the root of a run
            V run(T(0));
            each_pack<T>(n - begin < 512 ? n - begin : 512, [&](int64_t k, int64_t count) ALWAYS_INLINE {
                V cost = V::load(row + begin + k, count, T(INF));
                V x = exp_nonpositive((lowest - cost) / V(temperature));
                x.store(row + begin + k, count);
                run = run + x;
            });
            sum = sum + run;
        }
        const V share(T(1) / folded<V::lanes / 2, T>(sum, plus));
        each_pack<T>(n, [&](int64_t first, int64_t count) ALWAYS_INLINE {
            (V::load(row + first, count, T(0)) * share).store(row + first, count);
        });
    }
};

// As with the kernels, only the baseline has double precision.
template <class Costs>
INLINE void make_row(const CostProgram* program, int64_t truth, int64_t n, void* row) {
    if (program->type == 0)
        return Costs::template make<float>(*program, truth, n, static_cast<float*>(row));
#if LOSSMATRIX_BYTES == 16
    Costs::template make<double>(*program, truth, n, static_cast<double*>(row));
#endif
}

}  // namespace LOSSMATRIX_ISA
