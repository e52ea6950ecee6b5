// SPDX-License-Identifier: BSD-3-Clause
// The loops over rows. They know no loss: a formula F, printed from its Python methods, is put in.
//
// With the top class m at the origin, e_j = exp(z_j − z_m) and rest = Σ_{j≠m} e_j, all four of p, q,
// log p and log q follow to full precision: p_j = e_j / (1 + rest), and for the top class
// q_m = rest / (1 + rest), log q_m = log rest − log(1 + rest). The gradient is assembled as
//     g_m = h_m − p_m R,   g_k = pull_k − p_k R − h_m s_k,   R = Σ_{j≠m} pull_j,   s_k = e_k / rest
// where h is the slope of a term along log(p/q) and pull = h / q. Truth and top class are taken out
// of the loops and done once, so the loops have no branches.
#pragma once

#include "pack.hpp"
#include "task.h"

#include <type_traits>

#ifdef __linux__
#include <sys/mman.h>
#endif

namespace LOSSMATRIX_ISA {

// what a formula sees of one class: its costs, p, 1 − p and their logarithms
template <class V> struct Cell {
    V c[LOSSMATRIX_STREAMS];
    V p, q, lp, lq;
};

// below this, 1/rest and e/rest lose digits and the row is done from its second largest logit
template <class T> constexpr T FAR = T(1e-30);
template <> constexpr double FAR<double> = 1e-290;

// --- a row whose classes lie one after the other -------------------------------------------------

struct Yes { static constexpr bool value = true; };
struct No { static constexpr bool value = false; };

template <class T> INLINE Pack<T> load(const T* from, int64_t count, T fill) {
    if (count >= Pack<T>::lanes) return Pack<T>::load(from);
    alignas(LOSSMATRIX_BYTES) T buffer[Pack<T>::lanes];
    for (int l = 0; l < Pack<T>::lanes; ++l) buffer[l] = l < count ? from[l] : fill;
    return Pack<T>::load(buffer);
}
template <class T> INLINE void store(T* to, int64_t count, Pack<T> x) {
    if (count >= Pack<T>::lanes) return x.store(to);
    for (int l = 0; l < count; ++l) to[l] = x.v[l];
}

// Calls body(j, u, count, special) for packs at j, with accumulator u and `count` valid lanes;
// `special` is Yes where the pack may hold class a or b.
template <class T, class Body> INLINE void sweep(int64_t n, int64_t a, int64_t b, Body body) {
    constexpr int64_t W = Pack<T>::lanes;
    int64_t j = 0;
    for (; j + 4 * W <= n; j += 4 * W) {
        bool special = uint64_t(a - j) < uint64_t(4 * W) || uint64_t(b - j) < uint64_t(4 * W);
        if (__builtin_expect(special, 0)) {
            for (int u = 0; u < 4; ++u) body(j + u * W, u, W, Yes());
        } else {
            body(j, 0, W, No());
            body(j + W, 1, W, No());
            body(j + 2 * W, 2, W, No());
            body(j + 3 * W, 3, W, No());
        }
    }
    for (; j < n; j += W) body(j, 0, n - j < W ? n - j : W, Yes());
}

// 0 in the lanes of classes a and b and beyond the row, 1 elsewhere
template <class T>
INLINE typename Pack<T>::Mask lanes_but(int64_t j, int64_t count, int64_t a, int64_t b) {
    typename Pack<T>::Mask mask;
    for (int l = 0; l < Pack<T>::lanes; ++l)
        mask[l] = l < count && j + l != a && j + l != b ? -1 : 0;
    return mask;
}

template <class F, class V, class T>
INLINE Cell<V> make_cell(V p, V lp, const V* costs) {
    Cell<V> k;
    for (int i = 0; i < F::streams; ++i) k.c[i] = costs[i];
    k.p = p;
    k.q = V(T(1)) - p;
    k.lp = lp;
    k.lq = log1p(-p);
    return k;
}

template <class T> struct Accumulators {
    Pack<T> each[4];
    INLINE Accumulators() { for (auto& a : each) a = Pack<T>(T(0)); }
    INLINE T total() const { return sum<T>((each[0] + each[1]) + (each[2] + each[3])); }
};

// The loss of one row; writes scale · gradient to g (or adds it) unless g is null. `e` is scratch
// for n numbers and may be g itself.
template <class F, class T>
static T row(const T* z, const T* const* c, int64_t n, int64_t y, const T* a, T scale, T* g, T* e,
             T* tilted) {
    using P = Pack<T>;
    if (F::tilted) {  // w = (z − max z) + margin takes the place of z
        Accumulators<T> m;
        for (auto& x : m.each) x = P(z[0]);
        sweep<T>(n, -1, -1, [&](int64_t j, int u, int64_t count, auto) {
            P x = load<T>(z + j, count, z[0]);
            m.each[u] = select<T>(x > m.each[u], x, m.each[u]);
        });
        T origin = m.each[0].v[0];
        for (auto& x : m.each) origin = largest<T>(x) > origin ? largest<T>(x) : origin;
        sweep<T>(n, -1, -1, [&](int64_t j, int, int64_t count, auto) {
            P costs[LOSSMATRIX_STREAMS];
            for (int i = 0; i < F::streams; ++i) costs[i] = load<T>(c[i] + j, count, T(0));
            P x = load<T>(z + j, count, T(0)) - P(origin);
            store<T>(tilted + j, count, x + F::template margin<P, T>(costs, a));
        });
        T costs[LOSSMATRIX_STREAMS];
        for (int i = 0; i < F::streams; ++i) costs[i] = c[i][y];
        tilted[y] = (z[y] - origin) + F::template margin_truth<T, T>(costs, a);
        z = tilted;
    }

    Accumulators<T> m;
    for (auto& x : m.each) x = P(z[0]);
    sweep<T>(n, -1, -1, [&](int64_t j, int u, int64_t count, auto) {
        P x = load<T>(z + j, count, z[0]);
        m.each[u] = select<T>(x > m.each[u], x, m.each[u]);
    });
    T origin = m.each[0].v[0];
    for (auto& x : m.each) origin = largest<T>(x) > origin ? largest<T>(x) : origin;
    int64_t top = 0;
    while (top < n - 1 && z[top] != origin) ++top;

    Accumulators<T> others;
    sweep<T>(n, top, top, [&](int64_t j, int u, int64_t count, auto special) {
        P x = exp(load<T>(z + j, count, -INF) - P(origin));
        store<T>(e + j, count, x);
        if (special.value) x = select<T>(lanes_but<T>(j, count, top, top), x, P(T(0)));
        others.each[u] = others.each[u] + x;
    });
    T rest = others.total();
    bool far = rest < FAR<T>;
    T inv = T(1) / (T(1) + rest), l1p = log1p(rest);

    // log rest, and s_k = exp(z_k − second) / rest_of_second, where rest itself underflows
    T second = -INF, rest_of_second = 0, log_rest;
    if (far) {
        for (int64_t j = 0; j < n; ++j) if (j != top && z[j] > second) second = z[j];
        for (int64_t j = 0; j < n; ++j)
            if (j != top && second > -INF) rest_of_second += exp(z[j] - second);
        log_rest = second > -INF ? (second - origin) + log(rest_of_second) : T(-INF);
    } else {
        log_rest = log(rest);
    }

    auto cells = [&](int64_t j, int64_t count) {
        P costs[LOSSMATRIX_STREAMS];
        for (int i = 0; i < F::streams; ++i) costs[i] = load<T>(c[i] + j, count, T(0));
        P p = load<T>(e + j, count, T(0)) * P(inv);
        P lp = (load<T>(z + j, count, T(0)) - P(origin)) - P(l1p);
        return make_cell<F, P, T>(p, lp, costs);
    };
    auto cell = [&](int64_t j) {
        T costs[LOSSMATRIX_STREAMS];
        for (int i = 0; i < F::streams; ++i) costs[i] = c[i][j];
        Cell<T> k = make_cell<F, T, T>(e[j] * inv, (z[j] - origin) - l1p, costs);
        if (j == top) {
            k.q = far ? exp(log_rest - l1p) : rest * inv;
            k.lp = -l1p;
            k.lq = log_rest - l1p;
        }
        return k;
    };

    T totals[F::totals], f[F::totals], sums[F::totals + 1];
    P broadcast[F::totals];
    Accumulators<T> bulk[F::totals + 1];
    if (F::linear) {
        for (int i = 0; i < F::totals; ++i) totals[i] = 0;
        F::template partials<T, T>(totals, a, f);
        for (int i = 0; i < F::totals; ++i) broadcast[i] = P(f[i]);
    }
    sweep<T>(n, y, top, [&](int64_t j, int u, int64_t count, auto special) {
        Cell<P> k = cells(j, count);
        P out[F::totals + 1];
        F::template terms<P, T>(k, a, out);
        out[F::totals] = F::linear ? F::template pull<P, T>(k, a, broadcast) : P(T(0));
        for (int i = 0; i <= F::totals; ++i) {
            if (special.value) out[i] = select<T>(lanes_but<T>(j, count, y, top), out[i], P(T(0)));
            bulk[i].each[u] = bulk[i].each[u] + out[i];
        }
    });
    for (int i = 0; i <= F::totals; ++i) sums[i] = bulk[i].total();

    Cell<T> at_top = cell(top), at_truth = cell(y);
    auto add_terms = [&](const Cell<T>& k, bool truth) {
        T out[F::totals];
        if (truth) F::template terms_truth<T, T>(k, a, out);
        else F::template terms<T, T>(k, a, out);
        for (int i = 0; i < F::totals; ++i) sums[i] += out[i];
    };
    add_terms(at_top, top == y);
    if (y != top) add_terms(at_truth, true);
    for (int i = 0; i < F::totals; ++i) totals[i] = sums[i];
    T loss = F::template loss<T, T>(totals, a);
    if (!g) return loss;

    if (!F::linear) {
        F::template partials<T, T>(totals, a, f);
        for (int i = 0; i < F::totals; ++i) broadcast[i] = P(f[i]);
        Accumulators<T> pulls;
        sweep<T>(n, y, top, [&](int64_t j, int u, int64_t count, auto special) {
            P pull = F::template pull<P, T>(cells(j, count), a, broadcast);
            if (special.value) pull = select<T>(lanes_but<T>(j, count, y, top), pull, P(T(0)));
            pulls.each[u] = pulls.each[u] + pull;
        });
        sums[F::totals] = pulls.total();
    }
    T h = y == top ? F::template slope_truth<T, T>(at_top, a, f)
                   : F::template slope<T, T>(at_top, a, f);
    T pull_truth = y == top ? T(0) : F::template pull_truth<T, T>(at_truth, a, f);
    T R = sums[F::totals] + pull_truth;
    T s_truth = far ? (second > -INF ? exp(z[y] - second) / rest_of_second : T(0)) : e[y] / rest;
    T g_top = (h - at_top.p * R) * scale;
    T g_truth = (pull_truth - at_truth.p * R - h * s_truth) * scale;
    if (far) {
        for (int64_t j = 0; j < n; ++j) {
            if (j == top || j == y) continue;
            T s = second > -INF ? exp(z[j] - second) / rest_of_second : T(0);
            Cell<T> k = cell(j);
            g[j] = (F::template pull<T, T>(k, a, f) - k.p * R - h * s) * scale;
        }
    } else {
        T slope = R * inv + h / rest;  // p_k R + h s_k = e_k · slope
        sweep<T>(n, -1, -1, [&](int64_t j, int, int64_t count, auto) {
            P pull = F::template pull<P, T>(cells(j, count), a, broadcast);
            P x = load<T>(e + j, count, T(0));
            store<T>(g + j, count, (pull - x * P(slope)) * P(scale));
        });
    }
    g[y] = g_truth;
    g[top] = g_top;
    return loss;
}

// --- many rows side by side, one in each lane ----------------------------------------------------

// Sums are taken in runs of this many classes, so that rounding grows with their root.
constexpr int64_t RUN = 16;

// The losses of W = Pack<T>::lanes rows. z and g are tiles: class j of lane l is z[j · width + l];
// so are the costs, of width W, one stream after the other. `e` is scratch of n · W numbers. Lanes
// whose top class leads too far are left to row(): bit l of the result.
template <class F, class T>
static unsigned lanes_of_rows(const T* z, int64_t width, int64_t n, const int64_t* y,
                              const T* c, const T* a, const T* scale, T* g, T* losses, T* e) {
    using P = Pack<T>;
    constexpr int W = P::lanes;
    auto at = [&](int64_t j) { return P::load(z + j * width); };
    T truth_index[W];
    for (int l = 0; l < W; ++l) truth_index[l] = T(y[l]);
    P truth = P::load(truth_index);

    P origin = at(0), top(T(0));
    for (int64_t j = 1; j < n; ++j) {
        P x = at(j);
        auto above = x > origin;
        origin = select<T>(above, x, origin);
        top = select<T>(above, P(T(j)), top);
    }
    P rest(T(0));
    for (int64_t first = 0; first < n; first += RUN) {
        P run(T(0));
        for (int64_t j = first; j < n && j < first + RUN; ++j) {
            P x = exp(at(j) - origin);
            x.store(e + j * W);
            run = run + select<T>(top == P(T(j)), P(T(0)), x);
        }
        rest = rest + run;
    }
    unsigned far = 0;
    for (int l = 0; l < W; ++l) far |= unsigned(rest.v[l] < FAR<T>) << l;
    P inv = P(T(1)) / (P(T(1)) + rest), l1p = log1p(rest), log_rest = log(rest);

    P totals[F::totals], f[F::totals], R(T(0));
    for (int i = 0; i < F::totals; ++i) totals[i] = P(T(0));
    if (F::linear) F::template partials<P, T>(totals, a, f);
    for (int64_t first = 0; first < n; first += RUN) {
        P run[F::totals + 1];
        for (auto& x : run) x = P(T(0));
        for (int64_t j = first; j < n && j < first + RUN; ++j) {
            P costs[LOSSMATRIX_STREAMS];
            for (int i = 0; i < F::streams; ++i) costs[i] = P::load(c + (i * n + j) * W);
            Cell<P> k = make_cell<F, P, T>(P::load(e + j * W) * inv, (at(j) - origin) - l1p, costs);
            P out[F::totals + 1];
            F::template terms<P, T>(k, a, out);
            out[F::totals] = F::linear ? F::template pull<P, T>(k, a, f) : P(T(0));
            auto set_apart = (truth == P(T(j))) | (top == P(T(j)));
            for (int i = 0; i <= F::totals; ++i)
                run[i] = run[i] + select<T>(set_apart, P(T(0)), out[i]);
        }
        for (int i = 0; i < F::totals; ++i) totals[i] = totals[i] + run[i];
        R = R + run[F::totals];
    }

    // the truth and the top class, once for all lanes
    int64_t top_index[W];
    for (int l = 0; l < W; ++l) top_index[l] = int64_t(top.v[l]);
    P x, v, truth_costs[LOSSMATRIX_STREAMS], top_costs[LOSSMATRIX_STREAMS];
    for (int l = 0; l < W; ++l) {
        x.v[l] = e[y[l] * W + l];
        v.v[l] = z[y[l] * width + l];
        for (int i = 0; i < F::streams; ++i) {
            truth_costs[i].v[l] = c[(i * n + y[l]) * W + l];
            top_costs[i].v[l] = c[(i * n + top_index[l]) * W + l];
        }
    }
    Cell<P> at_truth = make_cell<F, P, T>(x * inv, (v - origin) - l1p, truth_costs);
    Cell<P> at_top = make_cell<F, P, T>(inv, -l1p, top_costs);
    at_top.q = rest * inv;
    at_top.lq = log_rest - l1p;
    auto both = truth == top;
    P out[F::totals], other[F::totals];
    F::template terms<P, T>(at_top, a, out);
    F::template terms_truth<P, T>(at_top, a, other);
    for (int i = 0; i < F::totals; ++i) totals[i] = totals[i] + select<T>(both, other[i], out[i]);
    F::template terms_truth<P, T>(at_truth, a, out);
    for (int i = 0; i < F::totals; ++i)
        totals[i] = totals[i] + select<T>(both, P(T(0)), out[i]);
    F::template loss<P, T>(totals, a).store(losses);
    if (!g) return far;

    if (!F::linear) {
        F::template partials<P, T>(totals, a, f);
        for (int64_t first = 0; first < n; first += RUN) {
            P run(T(0));
            for (int64_t j = first; j < n && j < first + RUN; ++j) {
                P costs[LOSSMATRIX_STREAMS];
                for (int i = 0; i < F::streams; ++i) costs[i] = P::load(c + (i * n + j) * W);
                P p = P::load(e + j * W) * inv;
                Cell<P> k = make_cell<F, P, T>(p, (at(j) - origin) - l1p, costs);
                auto set_apart = (truth == P(T(j))) | (top == P(T(j)));
                P pull = F::template pull<P, T>(k, a, f);
                run = run + select<T>(set_apart, P(T(0)), pull);
            }
            R = R + run;
        }
    }
    P h = select<T>(both, F::template slope_truth<P, T>(at_top, a, f),
                    F::template slope<P, T>(at_top, a, f));
    P pull_truth = select<T>(both, P(T(0)), F::template pull_truth<P, T>(at_truth, a, f));
    R = R + pull_truth;
    P weight = P::load(scale);
    P slope = R * inv + h / rest;  // p_k R + h s_k = e_k · slope
    for (int64_t j = 0; j < n; ++j) {
        P costs[LOSSMATRIX_STREAMS];
        for (int i = 0; i < F::streams; ++i) costs[i] = P::load(c + (i * n + j) * W);
        P x = P::load(e + j * W);
        Cell<P> k = make_cell<F, P, T>(x * inv, (at(j) - origin) - l1p, costs);
        P pull = F::template pull<P, T>(k, a, f);
        pull = select<T>(truth == P(T(j)), pull_truth, pull);
        P gradient = select<T>(top == P(T(j)), h - at_top.p * R, pull - x * slope);
        (gradient * weight).store(g + j * width);
    }
    return far;
}

// Turns a square of W rows into W columns: log2(W) rounds of pairwise interleaving.
template <int round, class T> INLINE void turn(Pack<T>* a, Pack<T>* b) {
    constexpr int W = Pack<T>::lanes;
#pragma GCC unroll 16
    for (int l = 0; l < W / 2; ++l) {
        b[2 * l] = interleave_low(a[l], a[l + W / 2]);
        b[2 * l + 1] = interleave_high(a[l], a[l + W / 2]);
    }
    if constexpr (round < W / 2) return turn<2 * round, T>(b, a);
}
template <class T> INLINE Pack<T>* turned(Pack<T>* square, Pack<T>* other) {
    turn<1, T>(square, other);
    constexpr int W = Pack<T>::lanes;  // where an even number of rounds ends
    return W == 4 || W == 16 ? square : other;
}

// W rows of n numbers, the l-th at from[l], laid side by side: column j of lane l is to[j · W + l].
template <class T> INLINE void turn_in(const T* const* from, int64_t n, T* to) {
    constexpr int64_t W = Pack<T>::lanes;
    Pack<T> square[W], other[W];
    int64_t j = 0;
    for (; j + W <= n; j += W) {
#pragma GCC unroll 16
        for (int l = 0; l < W; ++l) square[l] = Pack<T>::load(from[l] + j);
        Pack<T>* columns = turned<T>(square, other);
#pragma GCC unroll 16
        for (int i = 0; i < W; ++i) columns[i].store(to + (j + i) * W);
    }
    for (; j < n; ++j)
        for (int l = 0; l < W; ++l) to[j * W + l] = from[l][j];
}

template <class T> INLINE void turn_out(const T* from, int64_t n, T* const* to, int64_t rows) {
    constexpr int64_t W = Pack<T>::lanes;
    Pack<T> square[W], other[W];
    int64_t j = 0;
    for (; j + W <= n; j += W) {
#pragma GCC unroll 16
        for (int i = 0; i < W; ++i) square[i] = Pack<T>::load(from + (j + i) * W);
        Pack<T>* columns = turned<T>(square, other);
        for (int64_t l = 0; l < rows; ++l) columns[l].store(to[l] + j);
    }
    for (int64_t l = 0; l < rows; ++l)
        for (int64_t i = j; i < n; ++i) to[l][i] = from[i * W + l];
}

// --- reading and writing the tensors' own types --------------------------------------------------

struct Float32 { float x; };
struct Float64 { double x; };
struct BFloat16 { uint16_t x; };
struct Float16 { _Float16 x; };

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
INLINE void write(Float16& a, float x) { a.x = _Float16(x); }

// How numbers of one tensor type are read into and written from numbers of the computation.
template <class T> struct Access {
    int64_t size;  // bytes of an element
    bool same;     // the tensor's type is T itself
    void (*read)(const char* from, int64_t stride, int64_t count, T* to);
    void (*write)(const T* from, int64_t count, char* to, int64_t stride, bool accumulate);
};

template <class S, class T>
static void read_all(const char* from, int64_t stride, int64_t count, T* to) {
    const S* x = reinterpret_cast<const S*>(from);
    if (stride == 1) for (int64_t j = 0; j < count; ++j) to[j] = read(x[j]);
    else for (int64_t j = 0; j < count; ++j) to[j] = read(x[j * stride]);
}
template <class S, class T>
static void write_all(const T* from, int64_t count, char* to, int64_t stride, bool accumulate) {
    S* x = reinterpret_cast<S*>(to);
    if (accumulate) for (int64_t j = 0; j < count; ++j) write(x[j * stride], T(read(x[j * stride])) + from[j]);
    else if (stride == 1) for (int64_t j = 0; j < count; ++j) write(x[j], from[j]);
    else for (int64_t j = 0; j < count; ++j) write(x[j * stride], from[j]);
}
template <class S, class T> static Access<T> access() {
    return {sizeof(S), sizeof(S) == sizeof(T), &read_all<S, T>, &write_all<S, T>};
}

INLINE int64_t target_at(const Task& t, int64_t b, int64_t p) {
    int64_t i = b * t.target_stride[0] + p * t.target_stride[1];
    if (t.target_type == 0) return static_cast<const int64_t*>(t.target)[i];
    if (t.target_type == 1) return static_cast<const int32_t*>(t.target)[i];
    return static_cast<const uint8_t*>(t.target)[i];
}

// --- the drivers: blocks of rows, shared among threads -------------------------------------------

template <class T> struct Scratch {  // aligned numbers, freed at the end of the block
    T* data;
    explicit Scratch(int64_t count) {
        data = static_cast<T*>(__builtin_malloc(size_t(count) * sizeof(T) + 64));
    }
    ~Scratch() { __builtin_free(data); }
    Scratch(const Scratch&) = delete;
};

template <class F, class T> struct Run {
    static constexpr int W = Pack<T>::lanes;
    Task& t;
    Access<T> tensor;
    T parameters[LOSSMATRIX_PARAMETERS];
    T scale;  // of the gradient: 1, or 1 / denominator of the mean
    int64_t rows, per_block;
    double* partial;

    Run(Task& task, Access<T> type) : t(task), tensor(type) {
        for (int i = 0; i < LOSSMATRIX_PARAMETERS; ++i) parameters[i] = T(t.parameters[i]);
    }

    INLINE T weight_of(int64_t y, int64_t r) const {
        T w = t.weight ? static_cast<const T*>(t.weight)[y] : T(1);
        return t.sample_weight ? w * static_cast<const T*>(t.sample_weight)[r] : w;
    }
    INLINE const T* costs_of(int i, int64_t y, int64_t r) const {
        return static_cast<const T*>(t.costs[i]) + (t.per_sample[i] ? r : y) * t.costs_stride[i];
    }
    INLINE void finish(int64_t r, T loss, double& total) const {
        if (T* losses = static_cast<T*>(t.losses))
            losses[r] = t.accumulate ? losses[r] + loss : loss;
        total += double(loss);
    }
    INLINE char* gradient_at(int64_t b, int64_t p) const {
        int64_t offset = b * t.gradient_stride[0] + p * t.gradient_stride[2];
        return static_cast<char*>(t.gradient) + offset * tensor.size;
    }
    INLINE const char* logits_at(int64_t b, int64_t p) const {
        int64_t offset = b * t.logits_stride[0] + p * t.logits_stride[2];
        return static_cast<const char*>(t.logits) + offset * tensor.size;
    }

    // one row at a time
    void by_row(int64_t begin, int64_t end, double& total) const {
        int64_t n = t.classes, sc = t.logits_stride[1], gc = t.gradient_stride[1];
        bool direct = sc == 1 && tensor.same;
        bool in_place = t.gradient && gc == 1 && tensor.same && !t.accumulate;
        Scratch<T> logits(direct ? 0 : n), gradient(in_place ? 0 : n), tilted(F::tilted ? n : 0);
        for (int64_t r = begin; r < end; ++r) {
            int64_t b = r / t.positions, p = r % t.positions, y = target_at(t, b, p);
            char* to = t.gradient ? gradient_at(b, p) : nullptr;
            T* e = in_place ? reinterpret_cast<T*>(to) : gradient.data;
            T loss(0);
            if (y == t.ignore_index) {
                for (int64_t j = 0; to && j < n; ++j) e[j] = T(0);
            } else {
                const T* z = reinterpret_cast<const T*>(logits_at(b, p));
                if (!direct) {
                    tensor.read(logits_at(b, p), sc, n, logits.data);
                    z = logits.data;
                }
                const T* c[LOSSMATRIX_STREAMS] = {};
                for (int i = 0; i < F::streams; ++i) c[i] = costs_of(i, y, r);
                T w = weight_of(y, r);
                T* g = to ? e : nullptr;
                loss = w * row<F, T>(z, c, n, y, parameters, w * scale, g, e, tilted.data);
            }
            if (to && !in_place) tensor.write(e, n, to, gc, t.accumulate);
            finish(r, loss, total);
        }
    }

    // `width` rows at a time, laid side by side
    void by_tile(int64_t begin, int64_t end, double& total) const {
        int64_t n = t.classes, sc = t.logits_stride[1], gc = t.gradient_stride[1];
        int64_t width = tile_width();
        constexpr int streams = F::streams > 0 ? F::streams : 1;
        Scratch<T> tile(n * width), slopes(t.gradient ? n * width : 0), e(n * W);
        Scratch<T> costs(streams * n * W), losses(width), scales(width), columns((2 + streams) * n);
        Scratch<T> rows_of(W * n);  // where the tensor is of another type
        Scratch<int64_t> truth(width);
        for (int64_t r0 = begin; r0 < end; r0 += width) {
            int64_t count = end - r0 < width ? end - r0 : width;
            int64_t b0 = r0 / t.positions, p0 = r0 % t.positions;
            auto place = [&](int64_t l, int64_t& b, int64_t& p) {
                b = b0, p = p0 + l;
                if (t.positions == 1) b += p, p = 0;  // divisions are slow
                else if (p >= t.positions) b += p / t.positions, p %= t.positions;
            };
            for (int64_t l = 0; l < width; ++l) {
                int64_t b, p;
                place(l < count ? l : 0, b, p);
                int64_t y = target_at(t, b, p);
                bool counts = l < count && y != t.ignore_index;
                truth.data[l] = counts ? y : 0;
                scales.data[l] = counts ? weight_of(y, r0 + l) : T(0);
            }
            bool side_by_side = t.positions > 1 && p0 + count <= t.positions;
            if (side_by_side && t.logits_stride[2] == 1) {
                const char* from = logits_at(b0, p0);
                for (int64_t j = 0; j < n; ++j) {
                    T* to = tile.data + j * width;
                    tensor.read(from + j * sc * tensor.size, 1, count, to);
                    for (int64_t l = count; l < width; ++l) to[l] = T(0);
                }
            } else if (width == W) {
                const T* from[W];
                for (int64_t l = 0; l < W; ++l) {
                    int64_t b, p;
                    place(l < count ? l : 0, b, p);
                    from[l] = reinterpret_cast<const T*>(logits_at(b, p));
                    if (tensor.same && sc == 1) continue;
                    tensor.read(logits_at(b, p), sc, n, rows_of.data + l * n);
                    from[l] = rows_of.data + l * n;
                }
                turn_in<T>(from, n, tile.data);
                const char* next = logits_at(b0, p0) + n * W * tensor.size;
                for (int64_t byte = 0; byte < n * W * tensor.size; byte += 64)
                    __builtin_prefetch(next + byte);
            } else {
                for (int64_t l = 0; l < width; ++l) {
                    int64_t b, p;
                    place(l < count ? l : 0, b, p);
                    tensor.read(logits_at(b, p), sc, n, rows_of.data);
                    for (int64_t j = 0; j < n; ++j) tile.data[j * width + l] = rows_of.data[j];
                }
            }
            for (int64_t l0 = 0; l0 < count; l0 += W)
                pack_of_rows(tile.data + l0, t.gradient ? slopes.data + l0 : nullptr, width,
                             r0 + l0, count - l0 < W ? count - l0 : W, truth.data + l0,
                             scales.data + l0, losses.data + l0, e.data, costs.data, columns.data);
            for (int64_t l = 0; l < count; ++l) {
                T w = scales.data[l];
                finish(r0 + l, w == 0 ? T(0) : losses.data[l] * w, total);
            }
            if (!t.gradient) continue;
            for (int64_t l = 0; l < count; ++l)  // rows without weight may hold NaN
                if (scales.data[l] == 0)
                    for (int64_t j = 0; j < n; ++j) slopes.data[j * width + l] = 0;
            if (side_by_side && t.gradient_stride[2] == 1) {
                char* to = gradient_at(b0, p0);
                for (int64_t j = 0; j < n; ++j)
                    tensor.write(slopes.data + j * width, count, to + j * gc * tensor.size, 1,
                                 t.accumulate);
            } else if (width == W) {
                bool direct = tensor.same && gc == 1 && !t.accumulate;
                T* to[W];
                for (int64_t l = 0; l < count; ++l) {
                    int64_t b, p;
                    place(l, b, p);
                    to[l] = direct ? reinterpret_cast<T*>(gradient_at(b, p)) : rows_of.data + l * n;
                }
                turn_out<T>(slopes.data, n, to, count);
                for (int64_t l = 0; !direct && l < count; ++l) {
                    int64_t b, p;
                    place(l, b, p);
                    tensor.write(to[l], n, gradient_at(b, p), gc, t.accumulate);
                }
            } else {
                for (int64_t l = 0; l < count; ++l) {
                    int64_t b, p;
                    place(l, b, p);
                    for (int64_t j = 0; j < n; ++j) rows_of.data[j] = slopes.data[j * width + l];
                    tensor.write(rows_of.data, n, gradient_at(b, p), gc, t.accumulate);
                }
            }
        }
    }

    // W rows of a tile; `costs` is scratch of streams · n · W numbers, `columns` of (2 + streams) · n
    INLINE void pack_of_rows(T* z, T* g, int64_t width, int64_t r, int64_t count, const int64_t* y,
                             const T* weight, T* losses, T* e, T* costs, T* columns) const {
        using P = Pack<T>;
        int64_t n = t.classes;
        T scales[W];
        for (int l = 0; l < W; ++l) scales[l] = weight[l] * scale;
        for (int i = 0; i < F::streams; ++i) {
            const T* from[W];
            for (int l = 0; l < W; ++l) from[l] = costs_of(i, y[l], r + (l < count ? l : 0));
            turn_in<T>(from, n, costs + i * n * W);
        }
        if (F::tilted) {
            P origin = P::load(z);
            for (int64_t j = 1; j < n; ++j) {
                P x = P::load(z + j * width);
                origin = select<T>(x > origin, x, origin);
            }
            T truth_index[W];
            for (int l = 0; l < W; ++l) truth_index[l] = T(y[l]);
            P truth = P::load(truth_index);
            for (int64_t j = 0; j < n; ++j) {
                P c[LOSSMATRIX_STREAMS];
                for (int i = 0; i < F::streams; ++i) c[i] = P::load(costs + (i * n + j) * W);
                P margin = select<T>(truth == P(T(j)),
                                     F::template margin_truth<P, T>(c, parameters),
                                     F::template margin<P, T>(c, parameters));
                ((P::load(z + j * width) - origin) + margin).store(z + j * width);
            }
        }
        unsigned far = lanes_of_rows<Plain, T>(z, width, n, y, costs, parameters, scales, g, losses,
                                               e);
        for (int l = 0; far && l < count; ++l) {
            if (!(far >> l & 1) || weight[l] == 0) continue;
            T *logits = columns, *slopes = columns + n;
            const T* c[LOSSMATRIX_STREAMS] = {};
            for (int64_t j = 0; j < n; ++j) logits[j] = z[j * width + l];
            for (int i = 0; i < F::streams; ++i) {
                T* column = columns + (2 + i) * n;
                for (int64_t j = 0; j < n; ++j) column[j] = costs[(i * n + j) * W + l];
                c[i] = column;
            }
            losses[l] = row<Plain, T>(logits, c, n, y[l], parameters, scales[l],
                                      g ? slopes : nullptr, slopes, nullptr);
            if (g) for (int64_t j = 0; j < n; ++j) g[j * width + l] = slopes[j];
        }
    }

    // the formula after its margin has been added to the logits
    struct Untilted : F { static constexpr bool tilted = false; };
    using Plain = std::conditional_t<F::tilted, Untilted, F>;

    // Rows side by side pay off while turning them costs less than the ends of a row alone.
    bool tiled() const {
        return t.classes < 256 || (t.logits_stride[1] != 1 && t.classes <= 2048);
    }
    // Positions that lie side by side are read a few hundred at a time, one plane after the other.
    int64_t tile_width() const {
        if (t.positions == 1 || t.logits_stride[2] != 1) return W;
        int64_t width = 8192 / (t.classes > 0 ? t.classes : 1) / W * W;
        return width < W ? W : width > 256 ? 256 : width;
    }

    static void blocks(int64_t begin, int64_t end, void* context) {
        const Run& run = *static_cast<const Run*>(context);
        for (int64_t block = begin; block < end; ++block) {
            int64_t first = block * run.per_block, last = first + run.per_block;
            if (last > run.rows) last = run.rows;
            double total = 0;
            if (run.tiled()) run.by_tile(first, last, total);
            else run.by_row(first, last, total);
            run.partial[block] = total;
        }
    }

    // Targets that are no class are reported before anything is written.
    double denominator() {
        double sum = 0;
        int64_t counted = 0;
        bool plain = t.target_type == 0 && t.target_stride[0] == 1 && t.positions == 1 && !t.weight;
        if (plain) {  // the common case, without branches
            const int64_t* y = static_cast<const int64_t*>(t.target);
            int64_t outside = 0;
            for (int64_t b = 0; b < t.batch; ++b) {
                int64_t counts = y[b] != t.ignore_index;
                counted += counts;
                outside += counts & int64_t(uint64_t(y[b]) >= uint64_t(t.classes));
            }
            if (!outside) return double(counted);
            counted = 0;
        }
        for (int64_t b = 0; b < t.batch; ++b)
            for (int64_t p = 0; p < t.positions; ++p) {
                int64_t y = target_at(t, b, p);
                if (y == t.ignore_index) continue;
                if (uint64_t(y) >= uint64_t(t.classes)) {
                    t.outside = y;
                    t.is_outside = 1;
                    return 0;
                }
                ++counted;
                if (t.weight) sum += double(static_cast<const T*>(t.weight)[y]);
            }
        return t.weight ? sum : double(counted);
    }

    // A fresh gradient of many megabytes costs more in page faults than in arithmetic.
    void ask_for_huge_pages() const {
#ifdef MADV_HUGEPAGE
        int64_t bytes = t.batch * t.classes * t.positions * tensor.size;
        if (!t.gradient || bytes < (4 << 20) || !t.gradient_dense) return;
        uintptr_t first = (reinterpret_cast<uintptr_t>(t.gradient) + 4095) & ~uintptr_t(4095);
        uintptr_t last = (reinterpret_cast<uintptr_t>(t.gradient) + bytes) & ~uintptr_t(4095);
        madvise(reinterpret_cast<void*>(first), last - first, MADV_HUGEPAGE);
#endif
    }

    void all() {
        ask_for_huge_pages();
        rows = t.batch * t.positions;
        t.total = 0;
        t.is_outside = 0;
        double count = denominator();
        if (t.is_outside) return;
        if (t.denominator != 0) count = t.denominator;
        scale = t.mean ? T(1.0 / count) : T(1);
        per_block = 32768 / (t.classes > 0 ? t.classes : 1);
        int64_t width = tiled() ? tile_width() : 1;
        per_block = per_block / width * width;
        if (per_block < width) per_block = width;
        int64_t count_blocks = (rows + per_block - 1) / per_block;
        Scratch<double> partials(count_blocks);
        partial = partials.data;
        if (t.threads > 1 && t.parallel_for && count_blocks > 1)
            t.parallel_for(0, count_blocks, 1, &Run::blocks, this);
        else
            blocks(0, count_blocks, this);
        for (int64_t block = 0; block < count_blocks; ++block) t.total += partial[block];
        if (t.mean) t.total /= count;
    }
};

// Double precision is the C library's, number by number: wide packs would gain nothing, so only the
// baseline has it.
template <class F> void run(Task* task) {
    switch (task->type) {
        case 0: return Run<F, float>(*task, access<Float32, float>()).all();
        case 2: return Run<F, float>(*task, access<BFloat16, float>()).all();
        case 3: return Run<F, float>(*task, access<Float16, float>()).all();
#if LOSSMATRIX_BYTES == 16
        case 1: return Run<F, double>(*task, access<Float64, double>()).all();
#endif
    }
}

}  // namespace LOSSMATRIX_ISA
