// SPDX-License-Identifier: BSD-3-Clause
// weights·D and weights·Dᵀ in O(C) a row, for kinds of matrices whose entries follow from a few numbers
// a class; and the decision that costs least, made from a product while that is in the cache.
//
// Everything is made of sums over the classes before and after each class, taken from both ends: the
// mass outside a class is what lies before it plus what lies after it, never the total minus its own
// mass, which would lose every digit where one class holds nearly all of it. Within a pack sums are
// taken in log2(lanes) steps; from pack to pack they are carried in double precision, so that the
// error does not grow with the number of classes.
#pragma once

#include "memory.hpp"
#include "pack.hpp"
#include "task.h"

enum { LOSSMATRIX_ZERO_ONE, LOSSMATRIX_ORDINAL, LOSSMATRIX_TREE, LOSSMATRIX_SPARSE };

// A matrix as its product reads it; engines/cpu/products.py mirrors it field by field. Numbers are of
// the type of the weights unless they say so.
struct Product {
    int32_t kind;
    int32_t type;  // 0 float32, 1 float64
    int64_t classes;
    const int32_t* order;  // the classes as they follow each other on the line or in the tree, or null
    // ordinal: the power, 1 or 2, and the C + 1 gaps x_j − x_{j−1} between positions, 0 at both ends
    int64_t power;
    const void* gaps;
    // tree: the inner nodes from the root down, their parents, and where the classes below them begin
    // and end in the order; the parent of each class of the order; and of both by how much they cost
    // less than their parent
    int64_t nodes;
    const int32_t *parent, *begin, *end, *parent_of_class;
    const void *rise, *rise_of_class;
    // sparse: the cost of a mistake, and exceptions: weight `from` adds `change` (double) to cost `to`
    double usual;
    int64_t exceptions;
    const double* change;
    const int32_t *from, *to;
};

namespace LOSSMATRIX_ISA {

// --- running sums, from the first class on (forward) or from the last ----------------------------

// lane l is lane l − by of a pack, or l + by; zeros come in from outside
template <bool forward, int by, class V, int... l>
INLINE V moved(V a, std::integer_sequence<int, l...>) {
    constexpr int lanes = sizeof...(l);
    if constexpr (forward)
        return __builtin_shufflevector(a, V{}, (l >= by ? l - by : lanes)...);
    else
        return __builtin_shufflevector(a, V{}, (l + by < lanes ? l + by : lanes)...);
}
template <bool forward, int by, class T> INLINE Pack<T> moved(Pack<T> a) {
    return moved<forward, by>(a.v, std::make_integer_sequence<int, Pack<T>::lanes>());
}
template <bool forward, int by, class T> INLINE Pack<T> sums_within(Pack<T> a) {
    if constexpr (by >= Pack<T>::lanes) return a;
    else return sums_within<forward, 2 * by, T>(a + moved<forward, by, T>(a));
}

template <bool forward, class T> struct RunningSum {
    using P = Pack<T>;
    double total = 0;
    struct Sums { P without, with; };  // what came before each number, and that with the number
    INLINE Sums add(P x) {
        P inside = sums_within<forward, 1, T>(x), carried{T(total)};
        total += double(inside.v[forward ? P::lanes - 1 : 0]);
        return {carried + moved<forward, 1, T>(inside), carried + inside};
    }
};

// Calls body(j, count) for the packs of a row in their order, `count` of whose lanes are in the row.
template <bool forward, class T, class Body> INLINE void each_pack(int64_t n, Body body) {
    constexpr int64_t W = Pack<T>::lanes;
    int64_t whole = n / W * W;
    if (!forward && whole < n) body(whole, n - whole);
    for (int64_t k = 0; k < whole; k += W) body(forward ? k : whole - W - k, W);
    if (forward && whole < n) body(whole, n - whole);
}

// --- kinds ---------------------------------------------------------------------------------------

// Σ_{i≠j} w_i
template <class T> INLINE void mass_outside(int64_t n, const T* w, T* out) {
    using P = Pack<T>;
    RunningSum<true, T> before;
    each_pack<true, T>(n, [&](int64_t j, int64_t count) {
        before.add(P::load(w + j, count, T(0))).without.store(out + j, count);
    });
    RunningSum<false, T> after;
    each_pack<false, T>(n, [&](int64_t j, int64_t count) {
        P other = after.add(P::load(w + j, count, T(0))).without;
        (P::load(out + j, count, T(0)) + other).store(out + j, count);
    });
}

// Σ_{i<j} w_i (x_j − x_i)^power, or of the i > j. With F = Σ_{i<j} w_i the sum S of power 1 grows by
// gap·F from class to class, and that of power 2 by gap·(S before + S after the step).
template <bool forward, int power, class T>
INLINE void distances(int64_t n, const T* w, const T* gaps, T* out) {
    using P = Pack<T>;
    RunningSum<forward, T> mass, first, second;
    each_pack<forward, T>(n, [&](int64_t j, int64_t count) {
        P gap = P::load(gaps + j + !forward, count, T(0));
        P F = mass.add(P::load(w + j, count, T(0))).without;
        auto S = first.add(gap * F);
        P sum = power == 1 ? S.with : second.add(gap * (S.without + S.with)).with;
        if (!forward) sum = sum + P::load(out + j, count, T(0));
        sum.store(out + j, count);
    });
}

template <class T> INLINE void line(const Product& m, const T* w, T* out) {
    const T* gaps = static_cast<const T*>(m.gaps);
    if (m.power == 1) {
        distances<true, 1, T>(m.classes, w, gaps, out);
        distances<false, 1, T>(m.classes, w, gaps, out);
    } else {
        distances<true, 2, T>(m.classes, w, gaps, out);
        distances<false, 2, T>(m.classes, w, gaps, out);
    }
}

// From the root down, a node adds (cost of its parent − its cost) · (mass outside it): a class j costs
// the cost of a node to the mass that meets it there. `scratch` has room for 2 (C + 1) numbers and one
// a node.
template <class T> INLINE void tree(const Product& m, const T* w, T* out, T* scratch) {
    using P = Pack<T>;
    int64_t n = m.classes;
    T *before = scratch, *after = before + n + 1, *above = after + n + 1;
    RunningSum<true, T> rising;
    each_pack<true, T>(n, [&](int64_t j, int64_t count) {
        rising.add(P::load(w + j, count, T(0))).without.store(before + j, count);
    });
    before[n] = T(rising.total);
    RunningSum<false, T> falling;
    each_pack<false, T>(n, [&](int64_t j, int64_t count) {
        falling.add(P::load(w + j, count, T(0))).with.store(after + j, count);
    });
    after[n] = T(0);
    const T *rise = static_cast<const T*>(m.rise), *own = static_cast<const T*>(m.rise_of_class);
    above[0] = T(0);
    for (int64_t k = 1; k < m.nodes; ++k)
        above[k] = above[m.parent[k]] + rise[k] * (before[m.begin[k]] + after[m.end[k]]);
    for (int64_t j = 0; j < n; ++j)
        out[j] = above[m.parent_of_class[j]] + own[j] * (before[j] + after[j + 1]);
}

// The exceptions are differences from the usual cost, so everything is summed in double precision. A
// forbidden decision counts where its truth has any weight: 0 · ∞ is 0 here.
template <class T> INLINE void sparse(const Product& m, const T* w, T* out, double* scratch) {
    int64_t n = m.classes;
    double *weight = scratch, *sum = scratch + n;
    for (int64_t j = 0; j < n; ++j) weight[j] = double(w[j]);
    mass_outside<double>(n, weight, sum);
    for (int64_t j = 0; j < n; ++j) sum[j] *= m.usual;
    for (int64_t k = 0; k < m.exceptions; ++k)
        sum[m.to[k]] += weigh(weight[m.from[k]], m.change[k]);
    for (int64_t j = 0; j < n; ++j) out[j] = T(sum[j]);
}

// --- rows ----------------------------------------------------------------------------------------

// Numbers of scratch that a row needs.
INLINE int64_t product_scratch(const Product& m) {
    return 6 * (m.classes + 16) + m.nodes;
}

// The product of one row of weights, which are not overwritten.
template <class T> static void product_of_row(const Product& m, const T* w, T* out, T* scratch) {
    int64_t n = m.classes;
    T* costs = out;
    if (m.order) {
        for (int64_t k = 0; k < n; ++k) scratch[k] = w[m.order[k]];
        w = scratch, costs = scratch + n, scratch = costs + n;
    }
    switch (m.kind) {
        case LOSSMATRIX_ORDINAL: line<T>(m, w, costs); break;
        case LOSSMATRIX_TREE: tree<T>(m, w, costs, scratch); break;
        case LOSSMATRIX_SPARSE: sparse<T>(m, w, costs, reinterpret_cast<double*>(scratch)); break;
        default: mass_outside<T>(n, w, costs);
    }
    if (m.order) for (int64_t k = 0; k < n; ++k) out[m.order[k]] = costs[k];
}

// Whether a row is non-negative, without NaN, and sums to 1.
template <class T> INLINE bool is_distribution(int64_t n, const T* p, double tolerance) {
    using P = Pack<T>;
    constexpr int64_t W = P::lanes, RUN_OF_PACKS = 64 * W;
    double total = 0;
    auto fit = P(T(0)) == P(T(0));
    for (int64_t first = 0; first < n; first += RUN_OF_PACKS) {
        P sum(T(0));
        each_pack<true, T>(n - first < RUN_OF_PACKS ? n - first : RUN_OF_PACKS,
                           [&](int64_t j, int64_t count) {
            P x = P::load(p + first + j, count, T(0));
            fit = fit & ((x > P(T(0))) | (x == P(T(0))));
            sum = sum + x;
        });
        total += double(folded<W / 2, T>(sum, [](P a, P b) { return a + b; }));
    }
    return bits<T>(fit) == (1u << W) - 1 && total >= 1 - tolerance && total <= 1 + tolerance;
}

// The softmax of a row; whether it is one: logits that are NaN, or all −∞, or +∞ have none.
template <class T> INLINE bool softmax(int64_t n, const T* z, T* p) {
    using P = Pack<T>;
    constexpr int64_t W = P::lanes, RUN_OF_PACKS = 64 * W;
    P top{T(-INF)};
    each_pack<true, T>(n, [&](int64_t j, int64_t count) {
        top = maximum(P::load(z + j, count, T(-INF)), top);
    });
    P origin{largest(top)};
    double total = 0;
    for (int64_t first = 0; first < n; first += RUN_OF_PACKS) {
        P sum(T(0));
        each_pack<true, T>(n - first < RUN_OF_PACKS ? n - first : RUN_OF_PACKS,
                           [&](int64_t j, int64_t count) {
            P x = exp_nonpositive(P::load(z + first + j, count, T(-INF)) - origin);
            x.store(p + first + j, count);
            sum = sum + x;
        });
        total += double(folded<W / 2, T>(sum, [](P a, P b) { return a + b; }));
    }
    P inverse{T(1 / total)};
    each_pack<true, T>(n, [&](int64_t j, int64_t count) {
        (P::load(p + j, count, T(0)) * inverse).store(p + j, count);
    });
    return total > 0;
}

// The lowest index of the least of some numbers that are not NaN.
template <class T> INLINE int64_t least(int64_t n, const T* costs) {
    using P = Pack<T>;
    using Mask = typename P::Mask;
    constexpr int64_t W = P::lanes;
    P best{T(INF)};
    Mask place = lane_numbers<T>(), at = place;
    each_pack<true, T>(n, [&](int64_t j, int64_t count) {
        P x = P::load(costs + j, count, T(INF));
        Mask less = x < best;
        best = select<T>(less, x, best);
        place = less ? at : place;
        at += typename P::Integer(W);
    });
    int lane = 0;
    for (int l = 1; l < W; ++l) {
        bool earlier = best.v[l] == best.v[lane] && place[l] < place[lane];
        if (best.v[l] < best.v[lane] || earlier) lane = l;
    }
    return int64_t(place[lane]);
}

// --- calls: rows shared among threads ------------------------------------------------------------

struct ProductCall {
    const Product& matrix;
    const void* weights;
    void* out;          // (rows, classes): the products, or null where decisions are wanted …
    int64_t* decision;  // … with their costs, by rows of probabilities, or of logits
    void* cost;
    double tolerance;
    bool logits;
    int32_t refused;

    template <class T> void rows(int64_t begin, int64_t end) {
        const Product m = matrix;  // a copy that no store can change
        int64_t n = m.classes;
        Scratch<T> scratch(product_scratch(m)), costs(out ? 0 : n), probs(logits ? n : 0);
        for (int64_t r = begin; r < end; ++r) {
            const T* w = static_cast<const T*>(weights) + r * n;
            if (out) {
                product_of_row<T>(m, w, static_cast<T*>(out) + r * n, scratch.data);
                continue;
            }
            if (!(logits ? softmax<T>(n, w, probs.data) : is_distribution<T>(n, w, tolerance)))
                return __atomic_store_n(&refused, 1, __ATOMIC_RELAXED);
            product_of_row<T>(m, logits ? probs.data : w, costs.data, scratch.data);
            decision[r] = least<T>(n, costs.data);
            static_cast<T*>(cost)[r] = costs.data[decision[r]];
        }
    }
    static void body(int64_t begin, int64_t end, void* context) {
        ProductCall& call = *static_cast<ProductCall*>(context);
        if (call.matrix.type == 0) call.rows<float>(begin, end);
        else call.rows<double>(begin, end);
    }
    void run(int64_t count, int32_t threads, ParallelFor parallel_for) {
        int64_t grain = 32768 / (matrix.classes > 0 ? matrix.classes : 1);
        if (grain < 1) grain = 1;
        if (out) ask_for_huge_pages(out, count * matrix.classes * (matrix.type == 0 ? 4 : 8));
        if (threads > 1 && parallel_for && count > grain)
            parallel_for(0, count, grain, &ProductCall::body, this);
        else
            body(0, count, this);
    }
};

}  // namespace LOSSMATRIX_ISA

// What Python calls, for one instruction set. `multiply` writes the products of (rows, classes) weights;
// `least_cost` decides by rows of probabilities or logits, and answers whether all rows were such.
#define LOSSMATRIX_PRODUCTS(multiply, least_cost)                                                    \
    extern "C" __attribute__((visibility("default"))) void multiply(                                 \
        const Product* matrix, const void* weights, void* out, int64_t rows, int32_t threads,        \
        ParallelFor parallel_for) {                                                                  \
        LOSSMATRIX_ISA::ProductCall call{*matrix, weights, out, nullptr, nullptr, 0, false, 0};      \
        call.run(rows, threads, parallel_for);                                                       \
    }                                                                                                \
    extern "C" __attribute__((visibility("default"))) int32_t least_cost(                            \
        const Product* matrix, const void* given, int32_t logits, int64_t* decision, void* cost,     \
        double tolerance, int64_t rows, int32_t threads, ParallelFor parallel_for) {                 \
        LOSSMATRIX_ISA::ProductCall call{*matrix,   given,       nullptr, decision, cost,            \
                                         tolerance, logits != 0, 0};                                 \
        call.run(rows, threads, parallel_for);                                                       \
        return !call.refused;                                                                        \
    }
