// SPDX-License-Identifier: BSD-3-Clause
// The loops over rows. They know no loss: a formula F, printed from its Python methods, is put in.
//
// With the top class m and the second largest logit z_s, let e_j = exp(z_j − z_s) ≤ 1 for j ≠ m, rest
// their sum, and odds = exp(z_s − z_m) · rest the odds against the top class. Then
//     p_m = 1 / (1 + odds)        q_m = odds / (1 + odds)
//     p_j = e_j · share           share = exp(z_s − z_m) / (1 + odds)
// to full precision at any gap: rest is at least 1, so where the odds themselves underflow their
// logarithm (z_s − z_m) + log rest does not. With h the slope of a term along log(p/q), grad_term = h/q
// and R = Σ_{j≠m} grad_term_j, the gradient is
//     g_m = h_m − p_m R           g_j = grad_term_j − e_j · steepness,   steepness = share · R + h_m / rest
// Truth and top class are taken out of the loops and done once, so the loops have no branches.
#pragma once

#include "elements.hpp"
#include "memory.hpp"
#include "pack.hpp"
#include "task.h"

#include <type_traits>

namespace LOSSMATRIX_ISA {

// what a formula sees of one cell
template <class V> struct Cell {
    V c[LOSSMATRIX_STREAMS], tc[LOSSMATRIX_STREAMS];  // its costs, and those of the top class
    V p, q, lp, lq;                                    // p, 1 − p and their logarithms
    V t, err;                                          // the probability t that it is the truth, p − t
    V x;         // the excess of its risk over its cost, Σ_i (p_i − t_i) D_ij
    V r;         // what ∂ℓ/∂p gains as p changes the risks
    V risk, lz;  // of decisions: the risk, and the log-sum of the row's logits
    V g;         // of decisions: the gradient along the logit
};

// What a printed formula need not say: sums that are the loss, the truth a class like any other, no
// margin, no terms.
template <class F> struct Defaults {
    static constexpr bool has_margin = false, one_visit = false, expensive_grad = false, zero_at_p0 = false,
                          only_target = false, soft = false, shares = false, decisions = false, risk = false,
                          excess = false, top_costs = false;
#define ZERO(name, ...)                                                  \
    template <class V, class T> static INLINE V name(__VA_ARGS__) { return V(T(0)); }
    ZERO(margin, const Cell<V>&, const T*)
    ZERO(grad_term, const Cell<V>&, const T*, const V*)
    ZERO(slope, const Cell<V>&, const T*, const V*)
    ZERO(risk_grad, const Cell<V>&, const T*, const V*)
#undef ZERO
#define AS_ANY_OTHER(name, ...)                                          \
    template <class V, class T> static INLINE V name##_truth(const Cell<V>& k, __VA_ARGS__)
    AS_ANY_OTHER(margin, const T* a) { return F::template margin<V, T>(k, a); }
    AS_ANY_OTHER(grad_term, const T* a, const V* f) { return F::template grad_term<V, T>(k, a, f); }
    AS_ANY_OTHER(slope, const T* a, const V* f) { return F::template slope<V, T>(k, a, f); }
    AS_ANY_OTHER(risk_grad, const T* a, const V* f) { return F::template risk_grad<V, T>(k, a, f); }
#undef AS_ANY_OTHER
    template <class V, class T> static INLINE void terms(const Cell<V>&, const T*, V* out) {
        for (int i = 0; i < F::totals; ++i) out[i] = V(T(0));
    }
    template <class V, class T> static INLINE void terms_truth(const Cell<V>& k, const T* a, V* out) {
        F::template terms<V, T>(k, a, out);
    }
    template <class V, class T> static INLINE V row_factor(const V*) { return V(T(1)); }
    template <class V, class T> static INLINE V loss(const V* t, const T*) { return t[0]; }
    template <class V, class T> static INLINE void partials(const V*, const T*, V* out) {
        out[0] = V(T(1));
    }
};

// a formula over decisions that is not there
struct NoDecisions : Defaults<NoDecisions> { static constexpr int totals = 1, streams = 0; };

// whether a class index is the truth, which has words of its own
template <class F> constexpr bool hard = !F::soft && !F::decisions;
// Whether h/q is kept from the visit that adds it up: where it takes a division or a function. In
// tiles it replaces the costs of the first stream.
template <class F> constexpr bool keeps_grad_term = F::expensive_grad && F::streams > 0 && !F::decisions;

// --- what the top class fixes, for W rows at once -------------------------------------------------

template <class T> struct SoftmaxStats {
    using P = Pack<T>;
    P origin, shift, rest, share, l1p, p, q, lq;  // z_m, the origin of e; of the top class p, q, log q
    SoftmaxStats() = default;
    INLINE SoftmaxStats(P top, P second, P sum) : origin(top), shift(shifted_by(second)), rest(sum) {
        // an infinite top is a logit that has overflowed, and makes NaN of all, as in PyTorch
        P gap = second - top + (top - top), far = exp_nonpositive(gap), odds = far * rest;
        P inverse = P(T(1)) / (P(T(1)) + odds);
        p = inverse;
        q = odds * inverse;
        share = far * inverse;
        l1p = log1p(odds, inverse);
        P even = log1m(select<T>(p > P(T(0.5)), P(T(0.5)), p));
        lq = select<T>(p > P(T(0.5)), gap + log(rest) - l1p, even);
    }
    // an origin for exponents: the second logit, or 0 where all others are masked
    static INLINE P shifted_by(P second) { return select<T>(second == P(-INF), P(T(0)), second); }
    INLINE P steepness(P R, P h) const {
        auto alone = rest == P(T(0));
        return share * R + select<T>(alone, P(T(0)), h / select<T>(alone, P(T(1)), rest));
    }
};

// What a row knows of one class besides its logit.
template <class F, class V> struct Words { V c[LOSSMATRIX_STREAMS], t, x, r; };

// A class with p ≤ ½, which all but the top class are.
template <class F, class V, class T>
INLINE Cell<V> make_cell(V p, V lp, const Words<F, V>& words, const V* top_costs, V lz) {
    Cell<V> k;
    for (int i = 0; i < F::streams; ++i) k.c[i] = words.c[i];
    if (F::top_costs) for (int i = 0; i < F::streams; ++i) k.tc[i] = top_costs[i];
    k.p = p;
    k.q = V(T(1)) - p;
    k.lp = lp;
    k.lq = log1m(p);
    if (F::soft) k.t = words.t, k.err = k.p * (V(T(1)) - k.t) - k.q * k.t;
    if (F::excess) k.x = words.x;
    if (F::risk) k.r = words.r;
    if (F::decisions) k.lz = lz, k.risk = words.c[0] + words.x;
    return k;
}

// The two classes of a row that are no part of its loops, for W rows at once.
template <class F, class T> struct TopAndTarget {
    using P = Pack<T>;
    typename P::Mask both;  // the truth is the top class
    Cell<P> truth, top;

    // e, x: exp(z − z_s) and z − z_m of the truth
    INLINE TopAndTarget(const SoftmaxStats<T>& m, P e, P x, const Words<F, P>& of_truth,
                        const Words<F, P>& of_top, typename P::Mask same)
        : both(same),
          truth(make_cell<F, P, T>(e * m.share, x - m.l1p, of_truth, of_top.c, m.origin + m.l1p)),
          top(make_cell<F, P, T>(m.p, -m.l1p, of_top, of_top.c, m.origin + m.l1p)) {
        top.q = m.q;
        top.lq = m.lq;
        if (F::soft) top.err = top.p * (P(T(1)) - top.t) - top.q * top.t;
    }
    INLINE void add_terms(const T* a, P* totals) const {
        P at_top[F::totals], top_is_truth[F::totals], at_truth[F::totals];
        F::template terms<P, T>(top, a, at_top);
        if (hard<F>) {
            F::template terms_truth<P, T>(top, a, top_is_truth);
            F::template terms_truth<P, T>(truth, a, at_truth);
        }
        for (int i = 0; i < F::totals; ++i)
            totals[i] = totals[i] + (!hard<F> ? at_top[i] : select<T>(both, top_is_truth[i],
                                                                      at_top[i] + at_truth[i]));
    }
    INLINE P slope(const T* a, const P* f) const {
        P plain = F::template slope<P, T>(top, a, f);
        return !hard<F> ? plain : select<T>(both, F::template slope_truth<P, T>(top, a, f), plain);
    }
    INLINE P grad_term(const T* a, const P* f) const {
        if (!hard<F>) return P(T(0));
        return select<T>(both, P(T(0)), F::template grad_term_truth<P, T>(truth, a, f));
    }
    // of decisions: the gradient along the risk
    INLINE P along_risk(P gradient, const T* a, const P* f) const {
        if (!F::decisions) return gradient;
        Cell<P> k = top;
        k.g = gradient;
        return F::template risk_grad<P, T>(k, a, f);
    }
};

// --- a row whose classes lie one after the other --------------------------------------------------

struct Yes { static constexpr bool value = true; };
struct No { static constexpr bool value = false; };

// Calls body(j, u, count, special) for packs at j, with accumulator u and `count` valid lanes;
// `special` is Yes where the pack may hold class a or b.
template <class T, class Body> INLINE void for_each_pack(int64_t n, int64_t a, int64_t b, Body body) {
    constexpr int64_t W = Pack<T>::lanes;
    auto special = [&](int64_t j, int64_t width) {
        return uint64_t(a - j) < uint64_t(width) || uint64_t(b - j) < uint64_t(width);
    };
    int64_t j = 0;
    for (; j + 4 * W <= n; j += 4 * W) {
        if (__builtin_expect(special(j, 4 * W), 0)) {
            for (int u = 0; u < 4; ++u) body(j + u * W, u, W, Yes());
        } else {
            body(j, 0, W, No());
            body(j + W, 1, W, No());
            body(j + 2 * W, 2, W, No());
            body(j + 3 * W, 3, W, No());
        }
    }
    for (; j + W <= n; j += W) {
        if (special(j, W)) body(j, 0, W, Yes());
        else body(j, 0, W, No());
    }
    if (j < n) body(j, 0, n - j, Yes());
}

// 0 in the lanes of classes a and b and beyond the row, −1 elsewhere
template <class T>
INLINE typename Pack<T>::Mask lanes_but(int64_t j, int64_t count, int64_t a, int64_t b) {
    using Integer = typename Pack<T>::Integer;
    constexpr int64_t W = Pack<T>::lanes;
    auto lane = [&](int64_t k) { return Integer(uint64_t(k - j) < uint64_t(W) ? k - j : -1); };
    auto numbers = lane_numbers<T>();
    return (numbers < Integer(count)) & (numbers != lane(a)) & (numbers != lane(b));
}

template <class T> struct Accumulators {
    Pack<T> each[4];
    INLINE Accumulators() { for (auto& a : each) a = Pack<T>(T(0)); }
    INLINE Pack<T> total() const { return (each[0] + each[1]) + (each[2] + each[3]); }
};

// The two largest of some logits, lane by lane.
template <class T> struct TopTwo {
    Pack<T> top, second;
    INLINE void add(Pack<T> x) {
        auto higher = x > top;
        second = maximum(second, select<T>(higher, top, x));
        top = select<T>(higher, x, top);
    }
    INLINE void add(const TopTwo& other) {
        second = maximum(second, other.second);
        add(other.top);
    }
};
template <class T> INLINE TopTwo<T> top_two(const T* z, int64_t n) {
    using P = Pack<T>;
    TopTwo<T> m[4];
    for (auto& x : m) x = {P(-INF), P(-INF)};
    for_each_pack<T>(n, -1, -1, [&](int64_t j, int u, int64_t count, auto) {
        m[u].add(P::load(z + j, count, -INF));
    });
    m[0].add(m[1]);
    m[2].add(m[3]);
    m[0].add(m[2]);
    return m[0];
}

// the first class with the logit x; 0 where there is none, as in a row with NaN
template <class T> INLINE int64_t first(const T* z, int64_t n, T x) {
    using P = Pack<T>;
    for (int64_t j = 0; j < n; j += P::lanes) {
        unsigned found = bits<T>(P::load(z + j, n - j, z[0]) == P(x));
        if (found && j + __builtin_ctz(found) < n) return j + __builtin_ctz(found);
    }
    return 0;
}

// Up to W rows whose classes lie one after the other. Each has scratch that starts at the beginning of
// a cache line: e for exp(z − z_s), and grad_term where that is kept. The gradient goes to g, which may
// be e.
template <class T> struct RowBlock {
    static constexpr int W = Pack<T>::lanes;
    int count;
    // Memory that is wanted soon, class j at j · size bytes: logits of later rows, and the gradient.
    int64_t size;
    const char *next[W], *gradient[W];
    const T* z[W];
    const T *c[LOSSMATRIX_STREAMS][W], *t[W], *x[W], *r[W];
    int64_t y[W];
    T scale[W], losses[W];
    T *e[W], *grad_term[W], *g[W];
};

// The losses of some rows, and scale · gradient. What is done once for a row is done for all rows
// together, one in each lane, so that no row waits for its own sums.
template <class F, class T>
static void rows_of_classes(int64_t n, RowBlock<T>& rows, const T* a, bool gradient) {
    using P = Pack<T>;
    constexpr int W = P::lanes;
    auto plus = [](P x, P y) { return x + y; };
    auto larger = [](P x, P y) { return maximum(x, y); };
    P folds[F::totals + 2][W];
    for (int l = rows.count; l < W; ++l) for (auto& fold : folds) fold[l] = P(T(0));

    T origin[W], shift[W], share[W], l1p[W], e_top[W] = {};
    int64_t top[W];
    TopTwo<T> two[W];
    for (int l = 0; l < rows.count; ++l) {
        two[l] = top_two(rows.z[l], n);
        folds[0][l] = two[l].top;
    }
    P origins = folded_each<T>(folds[0], larger);
    origins.store(origin);
    for (int l = 0; l < rows.count; ++l) {  // the second of the lane that has the top, the top of others
        unsigned lanes = bits<T>(two[l].top == P(origin[l]));
        auto leads = lane_numbers<T>() == typename P::Mask{} + typename P::Integer(__builtin_ctz(lanes | 1u << (W - 1)));
        folds[0][l] = select<T>(leads, two[l].second, two[l].top);
    }
    P seconds = folded_each<T>(folds[0], larger);
    seconds = select<T>(origins == origins, seconds, origins);  // NaN stays NaN
    SoftmaxStats<T>::shifted_by(seconds).store(shift);
    for (int l = 0; l < rows.count; ++l) {
        const T* z = rows.z[l];
        P from(shift[l]);
        top[l] = first(z, n, origin[l]);
        Accumulators<T> others;
        // The top class counts as one more that is as large as the second: a branch that is taken at
        // random takes longer than a few classes. With the second the sum is at least 2.
        for_each_pack<T>(n, -1, -1, [&](int64_t j, int u, int64_t count, auto) {
            P x = P::load(z + j, count, -INF) - from;
            P e = exp_nonpositive(select<T>(x > P(T(0)), P(T(0)), x));
            e.store(rows.e[l] + j, count);
            __builtin_prefetch(rows.gradient[l] + j * rows.size, 1);  // while there is much to compute
            __builtin_prefetch(rows.next[l] + j * rows.size);
            for (int i = 0; i < F::streams; ++i) __builtin_prefetch(rows.c[i][l] + j);
            others.each[u] = others.each[u] + e;
        });
        folds[0][l] = others.total();
        e_top[l] = rows.e[l][top[l]];
        rows.e[l][top[l]] = T(0);
    }
    SoftmaxStats<T> m(origins, seconds, folded_each<T>(folds[0], plus) - P::load(e_top));
    m.share.store(share);
    m.l1p.store(l1p);

    // what is alike for all classes of r has no gradient, and nothing shall cancel with it
    T r_top[W] = {};
    if (F::risk) for (int l = 0; l < rows.count; ++l) r_top[l] = rows.r[l][top[l]];
    auto words = [&](int l, int64_t j, int64_t count) {
        Words<F, P> w;
        for (int i = 0; i < F::streams; ++i) w.c[i] = P::load(rows.c[i][l] + j, count, T(0));
        if (F::soft) w.t = P::load(rows.t[l] + j, count, T(0));
        if (F::excess) w.x = P::load(rows.x[l] + j, count, T(0));
        if (F::risk) w.r = P::load(rows.r[l] + j, count, T(0)) - P(r_top[l]);
        return w;
    };
    // lane l of the words of one class of every row
    struct Gathered {
        alignas(64) T c[LOSSMATRIX_STREAMS][W] = {}, t[W] = {}, x[W] = {}, r[W] = {};
        INLINE void take(const RowBlock<T>& rows, int l, int64_t j, int64_t top) {
            for (int i = 0; i < F::streams; ++i) c[i][l] = rows.c[i][l][j];
            if (F::soft) t[l] = rows.t[l][j];
            if (F::excess) x[l] = rows.x[l][j];
            if (F::risk) r[l] = rows.r[l][j] - rows.r[l][top];
        }
        INLINE Words<F, P> words() const {
            Words<F, P> w;
            for (int i = 0; i < F::streams; ++i) w.c[i] = P::load(c[i]);
            w.t = P::load(t), w.x = P::load(x), w.r = P::load(r);
            return w;
        }
    } of_truth, of_top;
    T e_truth[W] = {}, x_truth[W] = {};
    typename P::Integer same[W] = {};
    for (int l = 0; l < rows.count; ++l) {
        of_top.take(rows, l, top[l], top[l]);
        if (!hard<F>) continue;
        int64_t y = rows.y[l];
        of_truth.take(rows, l, y, top[l]);
        e_truth[l] = rows.e[l][y];
        x_truth[l] = rows.z[l][y] - origin[l];
        same[l] = -(y == top[l]);
        // What is 0 with p needs no mask: a branch that is taken at random takes longer than a few
        // classes. The top class has e = 0 already.
        if (F::zero_at_p0) rows.e[l][y] = T(0);
    }
    auto cells = [&](int l, int64_t j, int64_t count) {
        P p = P::load(rows.e[l] + j, count, T(0)) * P(share[l]);
        P lp = (P::load(rows.z[l] + j, count, T(0)) - P(origin[l])) - P(l1p[l]);
        P top_costs[LOSSMATRIX_STREAMS];
        if (F::top_costs) for (int i = 0; i < F::streams; ++i) top_costs[i] = P(of_top.c[i][l]);
        return make_cell<F, P, T>(p, lp, words(l, j, count), top_costs, P(origin[l] + l1p[l]));
    };

    P totals[F::totals], f[F::totals];
    for (int l = 0; l < rows.count; ++l) {
        Accumulators<T> bulk[F::totals + 1];
        int64_t y = F::zero_at_p0 || !hard<F> ? -1 : rows.y[l], m = F::zero_at_p0 ? -1 : top[l];
        if (!F::only_target) for_each_pack<T>(n, y, m, [&](int64_t j, int u, int64_t count, auto special) {
            Cell<P> k = cells(l, j, count);
            P out[F::totals + 1];
            F::template terms<P, T>(k, a, out);
            out[F::totals] = F::one_visit ? F::template grad_term<P, T>(k, a, f) : P(T(0));
            if (F::one_visit && keeps_grad_term<F>) out[F::totals].store(rows.grad_term[l] + j, count);
            for (int i = 0; i <= F::totals; ++i) {
                if (special.value && !F::zero_at_p0)
                    out[i] = select<T>(lanes_but<T>(j, count, y, m), out[i], P(T(0)));
                bulk[i].each[u] = bulk[i].each[u] + out[i];
            }
        });
        for (int i = 0; i <= F::totals; ++i) folds[i][l] = bulk[i].total();
    }
    for (int i = 0; i < F::totals; ++i) totals[i] = folded_each<T>(folds[i], plus);

    typename P::Mask both;
    std::memcpy(&both, same, sizeof both);
    P e_of_truth = P::load(e_truth);
    TopAndTarget<F, T> apart(m, e_of_truth, P::load(x_truth), of_truth.words(), of_top.words(), both);
    apart.add_terms(a, totals);
    F::template loss<P, T>(totals, a).store(rows.losses);
    if (!gradient) return;

    F::template partials<P, T>(totals, a, f);
    T partial[F::totals][W], steepness[W], truths[W], tops[W];
    for (int i = 0; i < F::totals; ++i) f[i].store(partial[i]);
    if (!F::one_visit) {
        for (int l = 0; l < rows.count; ++l) {
            P mine[F::totals];
            for (int i = 0; i < F::totals; ++i) mine[i] = P(partial[i][l]);
            Accumulators<T> sum;
            int64_t y = F::zero_at_p0 || !hard<F> ? -1 : rows.y[l], m = F::zero_at_p0 ? -1 : top[l];
            for_each_pack<T>(n, y, m, [&](int64_t j, int u, int64_t count, auto special) {
                P x = F::template grad_term<P, T>(cells(l, j, count), a, mine);
                if (keeps_grad_term<F>) x.store(rows.grad_term[l] + j, count);
                if (special.value && !F::zero_at_p0)
                    x = select<T>(lanes_but<T>(j, count, y, m), x, P(T(0)));
                sum.each[u] = sum.each[u] + x;
            });
            folds[F::totals][l] = sum.total();
        }
    }
    P h = apart.slope(a, f), grad_truth = apart.grad_term(a, f);
    P row_factor = F::template row_factor<P, T>(f);
    P R = folded_each<T>(folds[F::totals], plus) * row_factor + grad_truth;
    P steep = m.steepness(R, h);
    steep.store(steepness);
    (grad_truth - e_of_truth * steep).store(truths);
    apart.along_risk(h - m.p * R, a, f).store(tops);
    for (int l = 0; l < rows.count; ++l) {
        T* g = rows.g[l];
        P mine[F::totals], slope(steepness[l]), scale(rows.scale[l]);
        for (int i = 0; i < F::totals; ++i) mine[i] = P(partial[i][l]);
        for_each_pack<T>(n, -1, -1, [&](int64_t j, int, int64_t count, auto) {
            P x = keeps_grad_term<F> ? P::load(rows.grad_term[l] + j, count, T(0))
                                     : F::template grad_term<P, T>(cells(l, j, count), a, mine);
            x = x * F::template row_factor<P, T>(mine) - P::load(rows.e[l] + j, count, T(0)) * slope;
            if (F::decisions) {
                Cell<P> k = cells(l, j, count);
                k.g = x;
                x = F::template risk_grad<P, T>(k, a, mine);
            }
            (x * scale).store(g + j, count);
        });
        if (hard<F>) g[rows.y[l]] = truths[l] * rows.scale[l];
        g[top[l]] = tops[l] * rows.scale[l];
    }
}

// --- many rows side by side, one in each lane -----------------------------------------------------

// Sums are taken in runs of this many classes, so that rounding grows with their root.
constexpr int64_t RUN = 16;

// W = Pack<T>::lanes rows: class j of lane l is z[j · width + l], the gradient g likewise, and all else
// [j · W + l]. Costs, one stream after the other, are overwritten where h/q is kept; `e` is scratch of
// n · W numbers and may be g.
template <class T> struct Lanes {
    int64_t n, width;
    const T* z;
    T *c, *t, *x, *r, *g, *e, *losses;
    typename Pack<T>::Mask truth;
    Pack<T> scale;
    const T* a;
    const T* pairs = nullptr;  // of two classes, each `width` apart: what ``SoftmaxOfTwo`` keeps
};

template <class T> INLINE typename Pack<T>::Mask is(typename Pack<T>::Mask number, int64_t j) {
    return number == typename Pack<T>::Mask{} + typename Pack<T>::Integer(j);
}

// The top class of W rows, and e of the others.
template <class T> INLINE SoftmaxStats<T> softmax_of_lanes(const Lanes<T>& rows, typename Pack<T>::Mask& top) {
    using P = Pack<T>;
    constexpr int W = P::lanes;
    auto at = [&](int64_t j) { return P::load(rows.z + j * rows.width); };
    TopTwo<T> two = {at(0), P(-INF)};
    top = typename P::Mask{};  // the first of the largest
    for (int64_t j = 1; j < rows.n; ++j) {
        P x = at(j);
        top = x > two.top ? typename P::Mask{} + typename P::Integer(j) : top;
        two.add(x);
    }
    P shift = SoftmaxStats<T>::shifted_by(two.second), rest = P(T(0));
    for (int64_t begin = 0; begin < rows.n; begin += RUN) {
        P run(T(0));
        for (int64_t j = begin; j < rows.n && j < begin + RUN; ++j) {
            P e = select<T>(is<T>(top, j), P(T(0)), exp_nonpositive(at(j) - shift));
            e.store(rows.e + j * W);
            run = run + e;
        }
        rest = rest + run;
    }
    return SoftmaxStats<T>(two.top, two.second, rest);
}

// The losses and the gradient of W rows whose `e` is there.
template <class F, class T>
INLINE void lanes_of_rows(const Lanes<T>& rows, const SoftmaxStats<T>& m, typename Pack<T>::Mask top) {
    using P = Pack<T>;
    constexpr int W = P::lanes;
    int64_t n = rows.n;
    const T* a = rows.a;
    auto at = [&](int64_t j) { return P::load(rows.z + j * rows.width); };
    auto words = [&](int64_t j) {
        Words<F, P> w;
        for (int i = 0; i < F::streams; ++i) w.c[i] = P::load(rows.c + (i * n + j) * W);
        if (F::soft) w.t = P::load(rows.t + j * W);
        if (F::excess) w.x = P::load(rows.x + j * W);
        if (F::risk) w.r = P::load(rows.r + j * W);
        return w;
    };
    // lane l of a tile at the class index[l], and back
    auto at_each = [&](const T* tile, int64_t step, typename P::Mask index) {
        P to;
        for (int l = 0; l < W; ++l) to.v[l] = tile[index[l] * step + l];
        return to;
    };
    auto to_each = [&](P from, T* tile, int64_t step, typename P::Mask index) {
        for (int l = 0; l < W; ++l) tile[index[l] * step + l] = from.v[l];
    };
    auto words_at = [&](typename P::Mask index) {
        Words<F, P> w;
        for (int i = 0; i < F::streams; ++i) w.c[i] = at_each(rows.c + i * n * W, W, index);
        if (F::soft) w.t = at_each(rows.t, W, index);
        if (F::excess) w.x = at_each(rows.x, W, index);
        if (F::risk) w.r = at_each(rows.r, W, index);
        return w;
    };
    const Words<F, P> of_top = words_at(top);
    Words<F, P> of_truth = {};
    P e_truth(T(0)), x_truth(T(0));
    if (hard<F>) {
        of_truth = words_at(rows.truth);
        e_truth = at_each(rows.e, W, rows.truth);
        x_truth = at_each(rows.z, rows.width, rows.truth) - m.origin;
        // what is 0 with p needs no mask; the top class has e = 0 already
        if (F::zero_at_p0) to_each(P(T(0)), rows.e, W, rows.truth);
    }
    auto cell = [&](int64_t j, const Words<F, P>& w) {
        P p = P::load(rows.e + j * W) * m.share, lp = (at(j) - m.origin) - m.l1p;
        return make_cell<F, P, T>(p, lp, w, of_top.c, m.origin + m.l1p);
    };
    auto unless_apart = [&](int64_t j, P x) {
        if (F::zero_at_p0) return x;
        auto apart = is<T>(top, j);
        if (hard<F>) apart = apart | is<T>(rows.truth, j);
        return select<T>(apart, P(T(0)), x);
    };

    P totals[F::totals], f[F::totals], R(T(0));
    for (int i = 0; i < F::totals; ++i) totals[i] = P(T(0));
    for (int64_t begin = 0; begin < n && !F::only_target; begin += RUN) {
        P run[F::totals + 1];
        for (auto& x : run) x = P(T(0));
        for (int64_t j = begin; j < n && j < begin + RUN; ++j) {
            Cell<P> k = cell(j, words(j));
            P out[F::totals + 1];
            F::template terms<P, T>(k, a, out);
            out[F::totals] = F::one_visit ? F::template grad_term<P, T>(k, a, f) : P(T(0));
            if (F::one_visit && keeps_grad_term<F>) out[F::totals].store(rows.c + j * W);
            for (int i = 0; i <= F::totals; ++i) run[i] = run[i] + unless_apart(j, out[i]);
        }
        for (int i = 0; i < F::totals; ++i) totals[i] = totals[i] + run[i];
        R = R + run[F::totals];
    }
    TopAndTarget<F, T> apart(m, e_truth, x_truth, of_truth, of_top, rows.truth == top);
    apart.add_terms(a, totals);
    F::template loss<P, T>(totals, a).store(rows.losses);
    if (!rows.g) return;

    F::template partials<P, T>(totals, a, f);
    for (int64_t begin = 0; begin < n && !F::one_visit; begin += RUN) {
        P run(T(0));
        for (int64_t j = begin; j < n && j < begin + RUN; ++j) {
            P x = F::template grad_term<P, T>(cell(j, words(j)), a, f);
            if (keeps_grad_term<F>) x.store(rows.c + j * W);
            run = run + unless_apart(j, x);
        }
        R = R + run;
    }
    P row_factor = F::template row_factor<P, T>(f);
    P h = apart.slope(a, f), grad_truth = apart.grad_term(a, f);
    R = R * row_factor + grad_truth;
    P steep = m.steepness(R, h);
    for (int64_t j = 0; j < n; ++j) {
        P x = keeps_grad_term<F> ? P::load(rows.c + j * W)
                                 : F::template grad_term<P, T>(cell(j, words(j)), a, f);
        x = x * row_factor - P::load(rows.e + j * W) * steep;
        if (F::decisions) {
            Cell<P> k = cell(j, words(j));
            k.g = x;
            x = F::template risk_grad<P, T>(k, a, f);
        }
        (x * rows.scale).store(rows.g + j * rows.width);
    }
    if (hard<F>) to_each((grad_truth - e_truth * steep) * rows.scale, rows.g, rows.width, rows.truth);
    to_each(apart.along_risk(h - m.p * R, a, f) * rows.scale, rows.g, rows.width, top);
}

// The softmax of W pairs of logits, whichever is ahead. Each number waits for the one before it, so that
// two packs at a time take hardly longer than one.
template <class T> struct SoftmaxOfTwo {
    using P = Pack<T>;
    P far, inverse, l1p;  // exp(−|u|), 1 / (1 + far) and log(1 + far)

    INLINE explicit SoftmaxOfTwo(P gap) {
        far = exp_nonpositive(gap);
        inverse = P(T(1)) / (P(T(1)) + far);
        l1p = log1p(far, inverse);
    }
    INLINE SoftmaxOfTwo(const T* kept, int64_t width)
        : far(P::load(kept)), inverse(P::load(kept + width)), l1p(P::load(kept + 2 * width)) {}
    INLINE void keep(T* to, int64_t width) const {
        far.store(to), inverse.store(to + width), l1p.store(to + 2 * width);
    }
    // an infinite top is a logit that has overflowed, and makes NaN of all, as in PyTorch
    static INLINE P lead(P z, P other) {
        P top = maximum(other, z);
        return (z - other) + (top - top);
    }
    static INLINE P gap(P u) { return select<T>(u > P(T(0)), -u, u); }
    static INLINE void keep_all(const T* z, int64_t width, int64_t count, T* to) {
        constexpr int W = P::lanes;
        for (int64_t l = 0; l < count; l += 2 * W) {
            P first = lead(P::load(z + width + l), P::load(z + l));
            P second = lead(P::load(z + width + l + W), P::load(z + l + W));
            SoftmaxOfTwo one(gap(first)), other(gap(second));
            one.keep(to + l, width), other.keep(to + l + W, width);
        }
    }
};

// W rows of two classes, a against b: the truth against the other class, or class 1 against class 0.
//
// With u = z_a − z_b, far = exp(−|u|) and l1p = log(1 + far) the one ahead has p = 1 / (1 + far) and
// log p = −l1p, the other p = far / (1 + far) and log p = −|u| − l1p; and each one's p is the other's q.
// As log(p/q) is u for a and −u for b, the gradient along z_a is h_a − h_b, and along z_b its negative.
template <class F, class T> struct TwoClasses {
    using P = Pack<T>;
    static constexpr int W = P::lanes;
    const Lanes<T>& rows;
    typename P::Mask swapped;  // a is class 0
    Cell<P> a, b;

    INLINE explicit TwoClasses(const Lanes<T>& from) : rows(from), swapped{} {
        if (hard<F>) swapped = is<T>(rows.truth, 0);
        P z0 = P::load(rows.z), z1 = P::load(rows.z + rows.width), top = maximum(z0, z1);
        P u = SoftmaxOfTwo<T>::lead(select<T>(swapped, z0, z1), select<T>(swapped, z1, z0));
        auto ahead = u > P(T(0));
        P gap = SoftmaxOfTwo<T>::gap(u);
        SoftmaxOfTwo<T> m = rows.pairs ? SoftmaxOfTwo<T>(rows.pairs, rows.width) : SoftmaxOfTwo<T>(gap);
        P inverse = m.inverse, behind = m.far * inverse, l1p = m.l1p;
        a.p = b.q = select<T>(ahead, inverse, behind);
        a.q = b.p = select<T>(ahead, behind, inverse);
        a.lp = b.lq = select<T>(ahead, -l1p, gap - l1p);
        a.lq = b.lp = select<T>(ahead, gap - l1p, -l1p);
        a.lz = b.lz = top + l1p;
        for (int i = 0; i < F::streams; ++i) {
            read(rows.c + 2 * i * W, a.c[i], b.c[i]);
            a.tc[i] = b.tc[i] = select<T>(ahead, a.c[i], b.c[i]);
        }
        if (!F::soft) return;
        read(rows.t, a.t, b.t);
        a.err = a.p * (P(T(1)) - a.t) - a.q * a.t;
        b.err = b.p * (P(T(1)) - b.t) - b.q * b.t;
    }
    INLINE void read(const T* tile, P& of_a, P& of_b) const {
        P zero = P::load(tile), one = P::load(tile + W);
        of_a = select<T>(swapped, zero, one);
        of_b = select<T>(swapped, one, zero);
    }
    INLINE P p(int64_t j) const { return j ? select<T>(swapped, b.p, a.p) : select<T>(swapped, a.p, b.p); }

    // the losses and the gradient
    INLINE void finish() {
        if (F::excess) read(rows.x, a.x, b.x);
        if (F::risk) read(rows.r, a.r, b.r);
        if (F::decisions) a.risk = a.c[0] + a.x, b.risk = b.c[0] + b.x;
        P totals[F::totals], others[F::totals], f[F::totals];
        if (hard<F>) F::template terms_truth<P, T>(a, rows.a, totals);
        else F::template terms<P, T>(a, rows.a, totals);
        if (!F::only_target) F::template terms<P, T>(b, rows.a, others);
        for (int i = 0; i < F::totals && !F::only_target; ++i) totals[i] = totals[i] + others[i];
        F::template loss<P, T>(totals, rows.a).store(rows.losses);
        if (!rows.g) return;
        F::template partials<P, T>(totals, rows.a, f);
        P along = hard<F> ? F::template slope_truth<P, T>(a, rows.a, f) : F::template slope<P, T>(a, rows.a, f);
        if (!F::only_target) along = along - F::template slope<P, T>(b, rows.a, f);
        a.g = select<T>(swapped, -along, along);
        b.g = -a.g;
        P one = a.g, zero = b.g;
        if (F::decisions) {
            one = F::template risk_grad<P, T>(a, rows.a, f);
            zero = F::template risk_grad<P, T>(b, rows.a, f);
        }
        (zero * rows.scale).store(rows.g);
        (one * rows.scale).store(rows.g + rows.width);
    }
};

// The losses and the gradient of W rows. `risks` fills x and r of them, given the softmax and a class
// whose r is taken off: what is alike for all has no gradient, and nothing shall cancel with it.
template <class F, class T, class Risks>
static __attribute__((noinline)) void visit_two(const Lanes<T>& rows, Risks risks) {
    using P = Pack<T>;
    TwoClasses<F, T> two(rows);
    risks(typename P::Mask{}, [&](int64_t j, P& p, P& q) { p = two.p(j), q = two.p(1 - j); });
    two.finish();
}
template <class F, class T, class Risks> INLINE void visit_lanes(const Lanes<T>& rows, Risks risks) {
    using P = Pack<T>;
    if (rows.n == 2) return visit_two<F, T>(rows, risks);
    typename P::Mask top;
    SoftmaxStats<T> m = softmax_of_lanes(rows, top);
    risks(top, [&](int64_t j, P& p, P& q) __attribute__((always_inline)) {
        auto is_top = is<T>(top, j);
        p = select<T>(is_top, m.p, P::load(rows.e + j * P::lanes) * m.share);
        q = select<T>(is_top, m.q, P(T(1)) - p);
    });
    lanes_of_rows<F, T>(rows, m, top);
}

// Σ_j in_j D[j, k] for k < K: tiles of W rows, D[j, k] at D[j · along + k · across]; or in every lane
// an `own` D, a tile.
template <bool own, int block, class T>
INLINE void columns_of_product(const T* in, int64_t n, const T* D, int64_t along, int64_t across, T* out) {
    using P = Pack<T>;
    constexpr int W = P::lanes;
    P sum[block];  // in registers: what follows is unrolled
#pragma GCC unroll 12
    for (int u = 0; u < block; ++u) sum[u] = P(T(0));
    for (int64_t j = 0; j < n; ++j) {
        P weight = P::load(in + j * W);
#pragma GCC unroll 12
        for (int u = 0; u < block; ++u) {
            const T* entry = D + (j * along + u * across) * (own ? W : 1);
            sum[u] = sum[u] + weight * (own ? P::load(entry) : P(*entry));
        }
    }
#pragma GCC unroll 12
    for (int u = 0; u < block; ++u) sum[u].store(out + u * W);
}
template <bool own, class T>
static void product_of_lanes(const T* in, int64_t n, const T* D, int64_t along, int64_t across, int64_t K,
                             T* out) {
    constexpr int W = Pack<T>::lanes;
    int64_t k = 0, step = across * (own ? W : 1);
    for (; k + 12 <= K; k += 12) columns_of_product<own, 12, T>(in, n, D + k * step, along, across, out + k * W);
    for (; k + 6 <= K; k += 6) columns_of_product<own, 6, T>(in, n, D + k * step, along, across, out + k * W);
    for (; k + 2 <= K; k += 2) columns_of_product<own, 2, T>(in, n, D + k * step, along, across, out + k * W);
    for (; k < K; ++k) columns_of_product<own, 1, T>(in, n, D + k * step, along, across, out + k * W);
}

// What decisions are expected to cost in W rows, and what that adds to ∂ℓ/∂p: fills x and r of the rows.
// `times` multiplies with D (n, K), or with its transpose; d are the costs of the K decisions, and
// `scratch` has room for 3 K tiles.
template <class F, class G, class T, class Softmax, class Product>
INLINE void risk_of_lanes(const Lanes<T>& rows, Softmax softmax, Product times, int64_t K, T* d,
                          const T* a, T* scratch, T* losses) {
    using P = Pack<T>;
    constexpr int W = P::lanes;
    int64_t n = rows.n;
    for (int64_t j = 0; j < n; ++j) {  // the error p − t, of which nothing cancels
        P p, q;
        softmax(j, p, q);
        P error = p;
        if (F::soft) {
            P t = P::load(rows.t + j * W);
            error = p * (P(T(1)) - t) - q * t;
        } else {
            error = select<T>(is<T>(rows.truth, j), -q, p);
        }
        error.store(rows.r + j * W);
    }
    times(rows.r, No(), rows.x);
    T* along_risk = scratch;
    if constexpr (G::decisions) {
        T *w = scratch + K * W, *e = w + K * W;
        for (int64_t k = 0; k < K; ++k) {
            Cell<P> cell;
            cell.c[0] = P::load(d + k * W);
            cell.x = P::load(rows.x + k * W);
            G::template margin<P, T>(cell, a).store(w + k * W);
        }
        Lanes<T> decisions = {K, W, w, d, nullptr, rows.x, nullptr, along_risk, e, losses,
                              typename P::Mask{}, P(T(1)), a};
        visit_lanes<G, T>(decisions, [](auto...) {});
    } else {
        P(T(0)).store(losses);
        P f[F::totals], none[F::totals] = {};
        F::template partials<P, T>(none, rows.a, f);  // such formulas are linear in their sums
        for (int64_t j = 0; j < n; ++j) {
            Cell<P> k;
            softmax(j, k.p, k.q);
            for (int i = 0; i < F::streams; ++i) k.c[i] = P::load(rows.c + (i * n + j) * W);
            if (F::soft) k.t = P::load(rows.t + j * W), k.err = k.p * (P(T(1)) - k.t) - k.q * k.t;
            k.x = P::load(rows.x + j * W);
            P x = F::template risk_grad<P, T>(k, rows.a, f);
            if (hard<F>)
                x = select<T>(is<T>(rows.truth, j), F::template risk_grad_truth<P, T>(k, rows.a, f), x);
            x.store(along_risk + j * W);
        }
    }
    if (!rows.g) return;
    times(along_risk, Yes(), rows.r);
}

// Turns a square of W rows into W columns: log2(W) rounds of pairwise interleaving.
template <int round, class T> INLINE void transpose(Pack<T>* a, Pack<T>* b) {
    constexpr int W = Pack<T>::lanes;
#pragma GCC unroll 16
    for (int l = 0; l < W / 2; ++l) {
        b[2 * l] = interleave_low(a[l], a[l + W / 2]);
        b[2 * l + 1] = interleave_high(a[l], a[l + W / 2]);
    }
    if constexpr (round < W / 2) return transpose<2 * round, T>(b, a);
}
template <class T> INLINE Pack<T>* transposed(Pack<T>* square, Pack<T>* other) {
    transpose<1, T>(square, other);
    constexpr int W = Pack<T>::lanes;  // where an even number of rounds ends
    return W == 4 || W == 16 ? square : other;
}

// The last classes, at most `most`; what the others would need is left out by the compiler.
template <int most, class T>
INLINE void transpose_some(const T* const* from, int64_t j, int64_t n, T* to) {
    constexpr int64_t W = Pack<T>::lanes;
    Pack<T> square[W], other[W];
#pragma GCC unroll 16
    for (int l = 0; l < W; ++l) square[l] = Pack<T>::load(from[l] + j, n - j, T(0));
    Pack<T>* columns = transposed<T>(square, other);
#pragma GCC unroll 16
    for (int i = 0; i < most; ++i) columns[i].store(to + (j + i) * W);
}

// W rows of n numbers, the l-th at from[l], laid side by side: column j of lane l is to[j · W + l].
// `to` has room for a whole number of squares.
template <class T> INLINE void transpose_in(const T* const* from, int64_t n, T* to) {
    constexpr int64_t W = Pack<T>::lanes;
    Pack<T> square[W], other[W];
    int64_t j = 0;
    for (; j + W <= n; j += W) {
#pragma GCC unroll 16
        for (int l = 0; l < W; ++l) square[l] = Pack<T>::load(from[l] + j);
        Pack<T>* columns = transposed<T>(square, other);
#pragma GCC unroll 16
        for (int i = 0; i < W; ++i) columns[i].store(to + (j + i) * W);
    }
    if (j < n) n - j <= W / 4 ? transpose_some<W / 4>(from, j, n, to)
             : n - j <= W / 2 ? transpose_some<W / 2>(from, j, n, to) : transpose_some<W>(from, j, n, to);
}

// … and back; `from` has room for a whole number of squares.
template <class T> INLINE void transpose_out(const T* from, int64_t n, T* const* to, int64_t rows) {
    constexpr int64_t W = Pack<T>::lanes;
    Pack<T> square[W], other[W];
    for (int64_t j = 0; j < n; j += W) {
#pragma GCC unroll 16
        for (int i = 0; i < W; ++i) square[i] = Pack<T>::load(from + (j + i) * W);
        Pack<T>* columns = transposed<T>(square, other);
        for (int64_t l = 0; l < rows; ++l) columns[l].store(to[l] + j, n - j);
    }
}

INLINE int64_t target_at(const Task& t, int64_t b, int64_t p) {
    int64_t i = b * t.target_stride[0] + p * t.target_stride[1];
    if (t.target_type == 0) return static_cast<const int64_t*>(t.target)[i];
    if (t.target_type == 1) return static_cast<const int32_t*>(t.target)[i];
    return static_cast<const uint8_t*>(t.target)[i];
}

// The costs of one truth that no table holds, into n numbers.
static void make_costs(const CostProgram& program, int64_t n, int64_t y, void* to) {
    if (program.base) make_costs(*program.base, n, y, to);
    program.make_row(&program, y, n, to);
}

// --- the drivers: blocks of rows, shared among threads -------------------------------------------

// The costs that a risk is made of, and what a formula over decisions is told.
template <class F, class G, class T> struct Run {
    static constexpr int W = Pack<T>::lanes;
    using Integer = typename Pack<T>::Integer;
    using P = Pack<T>;
    // the formula after its margin has been added to the logits
    struct Shifted : F { static constexpr bool has_margin = false; };
    using Plain = std::conditional_t<F::has_margin, Shifted, F>;

    Task t;
    Task& out;
    Access<T> tensor, probs;
    T parameters[LOSSMATRIX_PARAMETERS], decision_parameters[LOSSMATRIX_PARAMETERS];
    T scale;  // of the gradient: 1, or 1 / denominator of the mean
    int64_t rows, per_block;
    double* partial;
    const T* columns[LOSSMATRIX_STREAMS];

    Run(Task& task, Access<T> type) : t(task), out(task), tensor(type), probs(type) {
        for (int i = 0; i < LOSSMATRIX_PARAMETERS; ++i) {
            parameters[i] = T(t.parameters[i]);
            decision_parameters[i] = T(t.decision_parameters[i]);
        }
        if (F::soft && t.probs) probs = access_of<T>(t.probs_type);
    }

    // --- what belongs to a row, or a class ------------------------------------------------------

    static INLINE const T* numbers(const void* from) { return static_cast<const T*>(from); }
    INLINE T keep_of(int64_t j) const { return t.keep ? numbers(t.keep)[j] : T(1); }
    INLINE T base_of(int64_t j) const { return t.base ? numbers(t.base)[j] : T(0); }
    INLINE T weight_of(int64_t y, int64_t r) const {
        T w = t.weight && !F::soft ? numbers(t.weight)[y] : T(1);
        return t.sample_weight ? w * numbers(t.sample_weight)[r] : w;
    }
    INLINE const T* costs_of(int i, int64_t y, int64_t r) const {
        return numbers(t.costs[i]) + (t.per_sample[i] ? r : row_of(y, r)) * t.costs_stride[i];
    }
    INLINE int64_t label_of(int64_t r) const { return t.labels ? r % t.labels : 0; }
    INLINE int64_t row_of(int64_t y, int64_t r) const { return label_of(r) * t.classes + y; }
    INLINE void write_loss(int64_t r, T loss) const {
        T* losses = static_cast<T*>(t.losses);
        if (losses) losses[r] = t.accumulate ? losses[r] + loss : loss;
    }
    struct Place { int64_t batch, position; };
    INLINE Place place_of(int64_t r) const {
        return t.batch == 1 ? Place{0, r} : Place{r / t.positions, r % t.positions};
    }
    // whether a row begins where the one before it ends
    bool without_gaps(const int64_t* stride) const { return t.batch == 1 && stride[2] == t.classes; }
    INLINE char* gradient_at(int64_t b, int64_t p) const {
        int64_t offset = b * t.gradient_stride[0] + p * t.gradient_stride[2];
        return static_cast<char*>(t.gradient) + offset * tensor.size;
    }
    INLINE const char* logits_at(int64_t b, int64_t p) const {
        int64_t offset = b * t.logits_stride[0] + p * t.logits_stride[2];
        return static_cast<const char*>(t.logits) + offset * tensor.size;
    }
    INLINE const char* probs_at(int64_t b, int64_t p) const {
        int64_t offset = b * t.probs_stride[0] + p * t.probs_stride[2];
        return static_cast<const char*>(t.probs) + offset * probs.size;
    }

    // --- rows whose classes lie one after the other, some at a time -----------------------------

    INLINE double by_row(int64_t begin, int64_t end) const {
        double total = 0;
        int64_t n = t.classes, sc = t.logits_stride[1], gc = t.gradient_stride[1];
        bool direct = sc == 1 && tensor.same, block = sc == 1 && without_gaps(t.logits_stride);
        bool in_place = t.gradient && gc == 1 && tensor.same && !t.accumulate;
        bool block_of_slopes = gc == 1 && without_gaps(t.gradient_stride);
        int64_t together = rows_together(), room = (n + W - 1) / W * W;
        Scratch<T> logits(direct ? 0 : together * n), shifted(F::has_margin ? together * n : 0);
        Scratch<T> e(together * room), grad_term(keeps_grad_term<F> ? together * room : 0);
        Scratch<T> made(makes_costs() ? F::streams * together * n : 0);
        Scratch<T> target(F::soft ? together * n : 0);
        RowBlock<T> rows;
        rows.size = tensor.size;
        int64_t number[W];
        T weight[W];
        for (int64_t first = begin, last; first < end; first = last) {
            last = end - first < together ? end : first + together;
            if (!direct && block)
                tensor.read(logits_at(0, first), 1, n * (last - first), logits.data);
            unsigned ignored = 0;
            rows.count = 0;
            for (int64_t r = first; r < last; ++r) {
                Place at = place_of(r);
                int64_t y = truth_of(at.batch, at.position), k = r - first;
                if (has_truth() && y == t.ignore_index) {
                    ignored |= 1u << k;
                    write_loss(r, T(0));
                    continue;
                }
                int l = rows.count++;
                const char* from = logits_at(at.batch, at.position);
                char* to = t.gradient ? gradient_at(at.batch, at.position) : nullptr;
                number[l] = r;
                rows.y[l] = y;
                rows.z[l] = direct ? reinterpret_cast<const T*>(from) : logits.data + k * n;
                if (!direct && !block) tensor.read(from, sc, n, logits.data + k * n);
                rows.e[l] = e.data + k * room;
                rows.grad_term[l] = grad_term.data + k * room;
                // Slopes without gaps, where e lies with gaps: never ahead of what they are made from.
                rows.g[l] = in_place ? reinterpret_cast<T*>(to) : e.data + k * n;
                rows.next[l] = from + together * t.logits_stride[2] * tensor.size;
                rows.gradient[l] = to ? to : reinterpret_cast<char*>(rows.e[l]);
                weight[l] = weight_of(y, r);
                if (F::soft) {
                    weight[l] *= target_row(at, y, target.data + k * n);
                    rows.t[l] = target.data + k * n;
                }
                if (weight[l] == 0) {  // such a row may hold NaN
                    ignored |= 1u << k;
                    write_loss(r, T(0));
                    --rows.count;
                    continue;
                }
                for (int i = 0; i < F::streams; ++i)
                    rows.c[i][l] = cost_row(i, y, r, made.data + (i * together + k) * n);
                if (F::excess) rows.x[l] = numbers(t.excess) + r * n;
                if (F::risk) rows.r[l] = numbers(t.risk_grad) + r * n;
                rows.scale[l] = weight[l] * scale;
                if (F::has_margin) add_margin(rows, l, shifted.data + k * n, n, parameters);
            }
            rows_of_classes<Plain, T>(n, rows, parameters, t.gradient);
            for (int l = 0; l < rows.count; ++l) {
                T loss = weight[l] * rows.losses[l];
                write_loss(number[l], loss);
                total += double(loss);
            }
            if (!t.gradient) continue;
            for (int64_t r = first; r < last; ++r) {
                bool counts = !(ignored >> (r - first) & 1);
                if (counts && (in_place || block_of_slopes)) continue;
                Place at = place_of(r);
                char* to = gradient_at(at.batch, at.position);
                T* g = in_place ? reinterpret_cast<T*>(to) : e.data + (r - first) * n;
                if (!counts) for (int64_t j = 0; j < n; ++j) g[j] = T(0);
                if (!in_place && !block_of_slopes) tensor.write(g, n, to, gc, t.accumulate);
            }
            if (!in_place && block_of_slopes)
                tensor.write(e.data, n * (last - first), gradient_at(0, first), 1, t.accumulate);
        }
        return total;
    }

    // Probabilities t_j = probability · keep_j + base_j, or keep_y at the truth in place of the first.
    // Some formulas are given shares of 1; the answer is what their loss is multiplied by.
    T target_row(Place at, int64_t y, T* to) const {
        int64_t n = t.classes;
        if (t.probs) {
            probs.read(probs_at(at.batch, at.position), t.probs_stride[1], n, to);
            if (t.keep) for (int64_t j = 0; j < n; ++j) to[j] *= numbers(t.keep)[j];
            if (t.base) for (int64_t j = 0; j < n; ++j) to[j] += numbers(t.base)[j];
        } else {
            for (int64_t j = 0; j < n; ++j) to[j] = base_of(j);
            to[y] += keep_of(y);
        }
        if (!F::shares) return T(1);
        T sum(0);
        for (int64_t j = 0; j < n; ++j) sum += to[j];
        for (int64_t j = 0; sum != 0 && j < n; ++j) to[j] /= sum;
        return sum;
    }

    // The costs of a truth, or of a sample; with smoothing those of all truths joined in.
    const T* cost_row(int i, int64_t y, int64_t r, T* made) const {
        int64_t n = t.classes;
        if (t.rule[i]) make_costs(*t.rule[i], n, y, made);
        const T* row = t.rule[i] ? made : costs_of(i, y, r);
        if (!F::soft || !t.smooth_costs[i]) return row;
        const T* smooth = numbers(t.smooth_costs[i]);
        T keep = keep_of(y), sum = T(1);
        if (F::shares) {
            sum = keep;
            for (int64_t j = 0; j < n; ++j) sum += base_of(j);
            sum = sum == 0 ? T(1) : sum;
        }
        for (int64_t j = 0; j < n; ++j) made[j] = (keep * row[j] + smooth[j]) / sum;
        return made;
    }

    // w = (z − max z) + margin takes the place of z
    static void add_margin(RowBlock<T>& rows, int l, T* shifted, int64_t n, const T* a) {
        const T* z = rows.z[l];
        T origin = largest(top_two(z, n).top);
        for_each_pack<T>(n, -1, -1, [&](int64_t j, int, int64_t count, auto) {
            Cell<P> k;
            for (int i = 0; i < F::streams; ++i) k.c[i] = P::load(rows.c[i][l] + j, count, T(0));
            if (F::excess) k.x = P::load(rows.x[l] + j, count, T(0));
            P x = P::load(z + j, count, T(0)) - P(origin);
            (x + F::template margin<P, T>(k, a)).store(shifted + j, count);
        });
        if (hard<F>) {
            Cell<T> k;
            for (int i = 0; i < F::streams; ++i) k.c[i] = rows.c[i][l][rows.y[l]];
            shifted[rows.y[l]] = (z[rows.y[l]] - origin) + F::template margin_truth<T, T>(k, a);
        }
        rows.z[l] = shifted;
    }

    // --- `width` rows at a time, laid side by side ------------------------------------------------

    // Tiles of W rows besides the logits, each [class · W + lane].
    struct Tiles {
        Scratch<T> e, costs, target, excess, risk, decision_costs, scratch, own;
        Tiles(int64_t n, int64_t K, bool fused, bool labels)
            : e(squares(n) * W), costs((F::streams * n + W) * W + (F::streams ? squares(n) * W : 0)),
              target(F::soft ? squares(n) * W : 0),
              excess(F::excess || G::decisions ? squares(n > K ? n : K) * W : 0),
              risk(F::risk ? squares(n) * W : 0), decision_costs(G::decisions ? squares(K) * W : 0),
              scratch(fused ? 3 * (n > K ? n : K) * W : 0), own(labels ? squares(n * (n > K ? n : K)) * W : 0) {}
        static int64_t squares(int64_t n) { return (n + W - 1) / W * W; }
    };

    INLINE double by_tile(int64_t begin, int64_t end) const {
        int64_t n = t.classes, sc = t.logits_stride[1], gc = t.gradient_stride[1];
        int64_t zs = t.logits_stride[2], gs = t.gradient_stride[2], width = tile_width();
        Scratch<T> tile(Tiles::squares(n) * width);
        Tiles tiles(n, t.decisions, fused(), t.labels);
        Scratch<T> wide(width > W && t.gradient ? n * width : 0);
        Scratch<T> wide_target(F::soft && t.probs ? Tiles::squares(n) * width : 0);
        T* slopes = !t.gradient ? nullptr : width > W ? wide.data : tiles.e.data;
        Scratch<T> losses(width), weight(width), rows_of(W * n);
        Scratch<Integer> truth(width);
        bool two_classes = n == 2 && width > W && !F::has_margin;
        Scratch<T> pairs(two_classes ? 3 * width : 0);
        // Rows of few classes in one block: where each number of the block is among the columns.
        Scratch<Integer> place(n <= W / 2 ? n * W : 0);
        for (int64_t k = 0; n <= W / 2 && k < n * W; ++k) place.data[k] = Integer(k % n * W + k / n);
        double totals[W] = {};
        for (int64_t r0 = begin, count; r0 < end; r0 += count) {  // a tile stays in its image
            int64_t b = r0 / t.positions, p = r0 % t.positions;
            count = t.positions - p < end - r0 ? t.positions - p : end - r0;
            if (count > width) count = width;
            read_truths(b, p, count, truth.data, weight.data);
            if (t.weight || t.sample_weight)
                for (int64_t l = 0; l < count; ++l)
                    if (weight.data[l] != 0) weight.data[l] = weight_of(truth.data[l], r0 + l);
            if (t.one_logit) {
                read_column(tensor, logits_at(b, p), zs, count, width, tile.data + width);
                for (int64_t l = 0; l < width; ++l) tile.data[l] = T(0);
            } else {
                read_tile(tensor, logits_at(b, p), sc, zs, count, width, rows_of.data, tile.data);
            }
            if (F::soft && t.probs && t.one_share) {
                T* share = wide_target.data;
                read_column(probs, probs_at(b, p), t.probs_stride[2], count, width, share + width);
                for (int64_t l = 0; l < width; ++l) share[l] = T(1) - share[width + l];
            } else if (F::soft && t.probs) {
                read_tile(probs, probs_at(b, p), t.probs_stride[1], t.probs_stride[2], count, width,
                          rows_of.data, wide_target.data);
            }
            if (two_classes) SoftmaxOfTwo<T>::keep_all(tile.data, width, count, pairs.data);
            for (int64_t l = 0; l < count; l += W)
                pack_of_rows(tile.data + l, slopes ? slopes + l : nullptr, width, r0 + l,
                             count - l < W ? count - l : W, truth.data + l, weight.data + l,
                             losses.data + l, wide_target.data + l,
                             two_classes ? pairs.data + l : nullptr, tiles);
            for (int64_t l0 = 0; l0 < count; l0 += W)
                for (int64_t l = l0; l < l0 + W; ++l) {  // rows without weight may hold NaN
                    losses.data[l] = weight.data[l] == 0 ? T(0) : losses.data[l] * weight.data[l];
                    totals[l - l0] += double(losses.data[l]);
                }
            if (t.losses) for (int64_t l = 0; l < count; ++l) write_loss(r0 + l, losses.data[l]);
            if (!slopes) continue;
            Integer left_out = 0;
            for (int64_t l = 0; l < count; ++l) left_out |= Integer(weight.data[l] == 0);
            for (int64_t l = 0; left_out && l < count; ++l)
                if (weight.data[l] == 0)
                    for (int64_t j = 0; j < n; ++j) slopes[j * width + l] = 0;
            char* to = gradient_at(b, p);
            if (t.one_logit) {
                tensor.write(slopes + width, count, to, gs, t.accumulate);
            } else if (gs == 1 || width > W) {
                for (int64_t j = 0; j < n; ++j)
                    tensor.write(slopes + j * width, count, to + j * gc * tensor.size, gs,
                                 t.accumulate);
            } else {
                rows_of_columns(slopes, count, place.data, rows_of.data, to);
            }
        }
        double total = 0;
        for (double each : totals) total += each;
        return total;
    }

    // `count` numbers of a tensor as a column of a tile
    INLINE void read_column(const Access<T>& from_tensor, const char* from, int64_t zs, int64_t count,
                            int64_t width, T* to) const {
        from_tensor.read(from, zs, count, to);
        for (int64_t l = count; l < width; ++l) to[l] = T(0);
    }

    // `count` rows of a tensor as columns of a tile; `rows` is scratch of n · W numbers
    INLINE void read_tile(const Access<T>& from_tensor, const char* from, int64_t sc, int64_t zs,
                          int64_t count, int64_t width, T* rows, T* tile) const {
        int64_t n = t.classes;
        if (zs == 1 || width > W) {
            for (int64_t j = 0; j < n; ++j)
                read_column(from_tensor, from + j * sc * from_tensor.size, zs, count, width,
                            tile + j * width);
        } else {
            columns_of_rows(from_tensor, from, sc, zs, count, rows, tile);
        }
    }

    // A tile of W columns from its first `count` rows.
    INLINE void columns_of_rows(const Access<T>& from_tensor, const char* from, int64_t sc, int64_t zs,
                                int64_t count, T* rows, T* tile) const {
        int64_t n = t.classes;
        bool direct = from_tensor.same && sc == 1, block = sc == 1 && zs == n;
        if (!direct && block) from_tensor.read(from, 1, n * count, rows);
        if (block && n <= W / 2 && count == W) {
            const T* all = direct ? reinterpret_cast<const T*>(from) : rows;
            auto of_class = lane_numbers<T>() * Integer(n);
            for (int64_t j = 0; j < n; ++j)
                permute<T>(all, n, of_class + Integer(j)).store(tile + j * W);
            return;
        }
        const T* row[W];
        for (int64_t l = 0; l < W; ++l) {  // lanes beyond the last row repeat the first
            int64_t here = l < count ? l : 0;
            const char* start = from + here * zs * from_tensor.size;
            row[l] = direct ? reinterpret_cast<const T*>(start) : rows + here * n;
            if (!direct && !block) from_tensor.read(start, sc, n, rows + here * n);
        }
        transpose_in<T>(row, n, tile);
    }

    // … and back, into the gradient. Memory that is written row by row in turns waits for every line of
    // the cache; one block is written at its full speed.
    INLINE void rows_of_columns(const T* tile, int64_t count, const Integer* place, T* rows,
                                char* to) const {
        int64_t n = t.classes, gc = t.gradient_stride[1], gs = t.gradient_stride[2];
        bool block = gc == 1 && gs == n, direct = block && tensor.same && !t.accumulate;
        if (block && n <= W / 2 && count == W) {
            T* all = direct ? reinterpret_cast<T*>(to) : rows;
            for (int64_t k = 0; k < n; ++k) {
                typename Pack<T>::Mask places;
                std::memcpy(&places, place + k * W, sizeof places);
                permute<T>(tile, n, places).store(all + k * W);
            }
            if (!direct) tensor.write(all, n * W, to, 1, t.accumulate);
            return;
        }
        T* row[W];
        for (int64_t l = 0; l < count; ++l) row[l] = rows + l * n;
        transpose_out<T>(tile, n, row, count);
        if (block) tensor.write(rows, n * count, to, 1, t.accumulate);
        else for (int64_t l = 0; l < count; ++l)
            tensor.write(row[l], n, to + l * gs * tensor.size, gc, t.accumulate);
    }

    // whether targets are class indices, be they smoothed
    INLINE bool has_truth() const {
        return hard<F> || (F::soft && !t.probs) || (F::decisions && t.target);
    }
    INLINE int64_t truth_of(int64_t b, int64_t p) const {
        return has_truth() ? target_at(t, b, p) : 0;
    }

    // The truths of some rows and whether they count; rows that do not have truth 0.
    INLINE void read_truths(int64_t b, int64_t p, int64_t count, Integer* truth, T* counts) const {
        int64_t step = t.target_stride[1], first = b * t.target_stride[0] + p * step;
        auto all = [&](auto target, int64_t stride) {
            for (int64_t l = 0; l < count; ++l) {
                int64_t y = int64_t(target[first + l * stride]);
                truth[l] = y == t.ignore_index ? Integer(0) : Integer(y);
                counts[l] = T(y != t.ignore_index);
            }
        };
        if (!has_truth()) for (int64_t l = 0; l < count; ++l) truth[l] = 0, counts[l] = T(1);
        else if (t.target_type == 0 && step == 1) all(static_cast<const int64_t*>(t.target), 1);
        else if (t.target_type == 0) all(static_cast<const int64_t*>(t.target), step);
        else if (t.target_type == 1) all(static_cast<const int32_t*>(t.target), step);
        else all(static_cast<const uint8_t*>(t.target), step);
        for (int64_t l = count; l % W; ++l) truth[l] = 0, counts[l] = T(0);
    }

    // W rows of a tile
    INLINE void pack_of_rows(T* z, T* g, int64_t width, int64_t r, int64_t count, const Integer* y,
                             T* weight, T* losses, const T* probabilities, const T* pairs,
                             Tiles& tiles) const {
        using Mask = typename P::Mask;
        int64_t n = t.classes, K = t.decisions;
        Mask truth;
        std::memcpy(&truth, y, sizeof truth);
        P share(T(1));  // what shares of 1 were made of
        if (F::soft) {
            share = target_tile(truth, y, probabilities, width, tiles.target.data);
            if (F::shares) (P::load(weight) * share).store(weight);
        }
        for (int i = 0; i < F::streams; ++i)
            fill(i, truth, y, r, count, share, tiles.target.data, tiles.own.data,
                 tiles.costs.data + i * n * W);
        if (F::has_margin) {
            if (F::excess) fill_rows(numbers(t.excess), n, r, count, tiles.excess.data);
            P origin = P::load(z);
            for (int64_t j = 1; j < n; ++j) origin = maximum(P::load(z + j * width), origin);
            for (int64_t j = 0; j < n; ++j) {
                Cell<P> k;
                for (int i = 0; i < F::streams; ++i)
                    k.c[i] = P::load(tiles.costs.data + (i * n + j) * W);
                if (F::excess) k.x = P::load(tiles.excess.data + j * W);
                P margin = F::template margin<P, T>(k, parameters);
                if (hard<F>)
                    margin = select<T>(is<T>(truth, j), F::template margin_truth<P, T>(k, parameters),
                                       margin);
                ((P::load(z + j * width) - origin) + margin).store(z + j * width);
            }
        }
        Lanes<T> rows = {n, width, z, tiles.costs.data, tiles.target.data, tiles.excess.data,
                         tiles.risk.data, g, tiles.e.data, losses, truth, P::load(weight) * P(scale),
                         parameters, pairs};
        T of_decisions[W] = {};
        visit_lanes<Plain, T>(rows, [&](Mask from, auto softmax) __attribute__((always_inline)) {
            if constexpr (F::risk) {
                if (fused()) {
                    const T* D = t.labels ? tiles.own.data : numbers(t.risk_costs);
                    int64_t stride = t.labels ? K : t.risk_stride;
                    if (t.labels) fill_own(numbers(t.risk_costs), n * K, r, count, tiles.own.data);
                    auto times = [&](const T* in, auto transposed, T* to) {
                        if (transposed.value) product(in, K, D, 1, stride, n, to);
                        else product(in, n, D, stride, 1, K, to);
                    };
                    if (G::decisions) decision_costs(times, truth, y, r, count, share, tiles);
                    risk_of_lanes<F, G, T>(rows, softmax, times, K, tiles.decision_costs.data,
                                           decision_parameters, tiles.scratch.data, of_decisions);
                } else {
                    if (F::excess) fill_rows(numbers(t.excess), n, r, count, tiles.excess.data);
                    fill_rows(numbers(t.risk_grad), n, r, count, tiles.risk.data);
                }
                P alike(T(0));
                for (int64_t j = 0; j < n; ++j)
                    alike = select<T>(is<T>(from, j), P::load(rows.r + j * W), alike);
                for (int64_t j = 0; j < n; ++j) (P::load(rows.r + j * W) - alike).store(rows.r + j * W);
            }
        });
        if (G::decisions) (P::load(losses) + P::load(of_decisions)).store(losses);
    }

    // Probabilities of W rows, as ``target_row`` has them; the answer is what shares were made of.
    INLINE P target_tile(typename P::Mask truth, const Integer* y, const T* probabilities, int64_t width,
                         T* to) const {
        int64_t n = t.classes;
        P kept = P(T(1)), sum(T(0));
        if (!t.probs) {
            T keep[W];
            for (int l = 0; l < W; ++l) keep[l] = keep_of(y[l]);
            kept = P::load(keep);
        }
        for (int64_t j = 0; j < n; ++j) {
            P x = t.probs ? P::load(probabilities + j * width) * P(keep_of(j))
                          : select<T>(is<T>(truth, j), kept, P(T(0)));
            x = x + P(base_of(j));
            x.store(to + j * W);
            sum = sum + x;
        }
        if (!F::shares) return P(T(1));
        P divisor = select<T>(sum == P(T(0)), P(T(1)), sum);
        for (int64_t j = 0; j < n; ++j) (P::load(to + j * W) / divisor).store(to + j * W);
        return sum;
    }

    INLINE void product(const T* in, int64_t n, const T* D, int64_t along, int64_t across, int64_t K,
                        T* to) const {
        if (t.labels) product_of_lanes<true, T>(in, n, D, along, across, K, to);
        else product_of_lanes<false, T>(in, n, D, along, across, K, to);
    }
    // The matrix of the label of each of W rows, side by side.
    INLINE void fill_own(const T* all, int64_t size, int64_t r, int64_t count, T* to) const {
        const T* from[W];
        for (int l = 0; l < W; ++l) from[l] = all + label_of(r + (l < count ? l : 0)) * size;
        transpose_in<T>(from, size, to);
    }

    // The costs of W rows side by side, from stream i: of the truths, of the samples, or expected of the
    // probabilities.
    INLINE void fill(int i, typename P::Mask truth, const Integer* y, int64_t r, int64_t count, P share,
                     const T* target, T* own, T* costs) const {
        int64_t n = t.classes;
        if (F::soft && t.probs && !t.per_sample[i]) {
            if (t.labels) fill_own(numbers(t.costs[i]), n * t.costs_stride[i], r, count, own);
            const T* D = t.labels ? own : numbers(t.costs[i]);
            return product(target, n, D, t.costs_stride[i], 1, n, costs);
        }
        if (const T* column = columns[i]) {
            for (int64_t j = 0; j < n; ++j, column += 2 * W)
                permute<T>(column, n <= W ? 1 : 2, truth).store(costs + j * W);
        } else {
            const T* from[W];
            for (int l = 0; l < W; ++l) from[l] = costs_of(i, y[l], r + (l < count ? l : 0));
            transpose_in<T>(from, n, costs);
        }
        if (F::soft && t.smooth_costs[i]) smooth(numbers(t.smooth_costs[i]), n, y, share, costs);
    }
    INLINE void smooth(const T* all, int64_t n, const Integer* y, P share, T* costs) const {
        T keep[W];
        for (int l = 0; l < W; ++l) keep[l] = keep_of(y[l]);
        P kept = P::load(keep), divisor = select<T>(share == P(T(0)), P(T(1)), share);
        for (int64_t j = 0; j < n; ++j)
            ((kept * P::load(costs + j * W) + P(all[j])) / divisor).store(costs + j * W);
    }
    // rows of samples, (rows, n) without gaps
    INLINE void fill_rows(const T* all, int64_t n, int64_t r, int64_t count, T* to) const {
        const T* from[W];
        for (int l = 0; l < W; ++l) from[l] = all + (r + (l < count ? l : 0)) * n;
        transpose_in<T>(from, n, to);
    }
    // what every decision costs; `times` multiplies with D
    template <class Product>
    INLINE void decision_costs(Product times, typename P::Mask truth, const Integer* y, int64_t r,
                               int64_t count, P share, Tiles& tiles) const {
        int64_t K = t.decisions;
        T* to = tiles.decision_costs.data;
        if (F::soft && t.probs) return times(tiles.target.data, No(), to);
        const T* from[W];
        for (int l = 0; l < W; ++l)
            from[l] = numbers(t.risk_costs) + row_of(y[l], r + (l < count ? l : 0)) * t.risk_stride;
        transpose_in<T>(from, K, to);
        if (F::soft) smooth(numbers(t.smooth_risk_costs), K, y, share, to);
    }

    // Few classes: each decision's costs, by truth, fit into two packs.
    void transpose_costs(T* to) {
        for (int i = 0; i < F::streams; ++i) {
            columns[i] = nullptr;
            if (t.classes > 2 * W || t.per_sample[i] || t.rule[i] || t.labels || !has_truth()) continue;
            columns[i] = to;
            for (int64_t j = 0; j < t.classes; ++j, to += 2 * W)
                for (int64_t y = 0; y < t.classes; ++y) to[y] = costs_of(i, y, 0)[j];
        }
    }

    // --- which way rows are visited, and how many at a time ---------------------------------------

    // whether risks are made in the same visit
    INLINE bool fused() const { return F::risk && t.risk_costs; }
    // whether rows of costs have to be written down before they are read
    bool makes_costs() const {
        bool any = false;
        for (int i = 0; i < F::streams; ++i) any |= t.rule[i] || t.smooth_costs[i];
        return any;
    }
    // As many rows as the nearest cache holds with their costs and gradients.
    int64_t rows_together() const {
        int64_t fitting = 2700 / (t.classes > 0 ? t.classes : 1);
        return fitting < 1 ? 1 : fitting > W ? W : fitting;
    }
    // Positions that lie side by side are read a hundred at a time, one plane after the other.
    int64_t tile_width() const {
        if (t.logits_stride[2] != 1) return W;
        int64_t width = 8192 / (t.classes > 0 ? t.classes : 1) / W * W;
        return width < W ? W : width > 128 ? 128 : width;
    }

    static void blocks(int64_t begin, int64_t end, void* context) {
        const Run run = *static_cast<const Run*>(context);  // a copy that no store can change
        for (int64_t block = begin; block < end; ++block) {
            int64_t first = block * run.per_block, last = first + run.per_block;
            if (last > run.rows) last = run.rows;
#if LOSSMATRIX_LAYOUTS == 1
            run.partial[block] = run.by_row(first, last);
#elif LOSSMATRIX_LAYOUTS == 2
            run.partial[block] = run.by_tile(first, last);
#else
            run.partial[block] = run.t.tiled ? run.by_tile(first, last) : run.by_row(first, last);
#endif
        }
    }

    // Positions that go on where the batch does, and a batch without positions, are one long line.
    void collapse_dims() {
        auto join = [&](int64_t* outer, int64_t inner) { return *outer == inner * t.positions; };
        bool single = t.positions == 1;
        bool joined = join(t.logits_stride, t.logits_stride[2]) &&
                      (!has_truth() || join(t.target_stride, t.target_stride[1])) &&
                      (!F::soft || !t.probs || join(t.probs_stride, t.probs_stride[2])) &&
                      (!t.gradient || join(t.gradient_stride, t.gradient_stride[2]));
        if (!single && !joined) return;
        if (single) {
            t.logits_stride[2] = t.logits_stride[0];
            t.gradient_stride[2] = t.gradient_stride[0];
            t.target_stride[1] = t.target_stride[0];
            t.probs_stride[2] = t.probs_stride[0];
        }
        t.positions *= t.batch;
        t.batch = 1;
    }

    // Targets that are no class are reported before anything is written.
    double denominator() {
        if (!has_truth()) return double(rows);
        double sum = 0;
        int64_t counted = 0;
        bool plain = t.target_type == 0 && t.target_stride[1] == 1 && t.batch == 1 && !t.weight;
        if (plain) {  // the common case, without branches
            const int64_t* y = static_cast<const int64_t*>(t.target);
            int64_t outside = 0;
            for (int64_t p = 0; p < t.positions; ++p) {
                int64_t counts = y[p] != t.ignore_index;
                counted += counts;
                outside += counts & int64_t(uint64_t(y[p]) >= uint64_t(t.classes));
            }
            if (!outside) return double(counted);
            counted = 0;
        }
        for (int64_t b = 0; b < t.batch; ++b)
            for (int64_t p = 0; p < t.positions; ++p) {
                int64_t y = target_at(t, b, p);
                if (y == t.ignore_index) continue;
                if (uint64_t(y) >= uint64_t(t.classes)) {
                    out.outside = y;
                    out.is_outside = 1;
                    return 0;
                }
                ++counted;
                if (t.weight) sum += double(numbers(t.weight)[y]);
            }
        return t.weight ? sum : double(counted);
    }

    void all() {
        int64_t bytes = t.batch * (t.one_logit ? 1 : t.classes) * t.positions * tensor.size;
        if (t.gradient_dense) ask_for_huge_pages(t.gradient, bytes);
        rows = t.batch * t.positions;
        collapse_dims();
        out.total = 0;
        out.is_outside = 0;
        double count = denominator();
        if (out.is_outside) return;
        if (t.denominator != 0) count = t.denominator;
        scale = t.mean ? T(1.0 / count) : T(1);
        Scratch<T> laid(F::streams && t.classes <= 2 * W ? F::streams * t.classes * 2 * W : 0);
        transpose_costs(laid.data);
        // Blocks of equal size, some 32,768 numbers each, in a number that threads can share evenly.
        int64_t width = t.tiled ? tile_width() : 1, shares = (rows * t.classes + 32767) / 32768;
        if (shares > 1) shares = (shares + 7) / 8 * 8;
        per_block = shares > 0 ? (rows + shares - 1) / shares : 1;
        per_block = (per_block + width - 1) / width * width;
        int64_t count_blocks = (rows + per_block - 1) / per_block;
        Scratch<double> partials(count_blocks);
        partial = partials.data;
        if (t.threads > 1 && t.parallel_for && count_blocks > 1)
            t.parallel_for(0, count_blocks, 1, &Run::blocks, this);
        else
            blocks(0, count_blocks, this);
        for (int64_t block = 0; block < count_blocks; ++block) out.total += partial[block];
        if (t.mean) out.total /= count;
    }
};

// Double precision is the C library's, number by number: wide packs would gain nothing, so only the
// baseline has it.
template <class F, class G = NoDecisions> void run(Task* task) {
    switch (task->type) {
#ifndef LOSSMATRIX_DOUBLE
        case 0: return Run<F, G, float>(*task, access<Float32, float>()).all();
        case 2: return Run<F, G, float>(*task, access<BFloat16, float>()).all();
        case 3: return Run<F, G, float>(*task, access<Float16, float>()).all();
#endif
#if LOSSMATRIX_BYTES == 16
        case 1: return Run<F, G, double>(*task, access<Float64, double>()).all();
#endif
    }
}

}  // namespace LOSSMATRIX_ISA
