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

#include "elements.hpp"
#include "memory.hpp"
#include "pack.hpp"
#include "task.h"

#include <type_traits>

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

// Calls body(j, u, count, special) for packs at j, with accumulator u and `count` valid lanes;
// `special` is Yes where the pack may hold class a or b.
template <class T, class Body> INLINE void sweep(int64_t n, int64_t a, int64_t b, Body body) {
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

// A class with p ≤ ½, which all but the top class are.
template <class F, class V, class T>
INLINE Cell<V> make_cell(V p, V lp, const V* costs) {
    Cell<V> k;
    for (int i = 0; i < F::streams; ++i) k.c[i] = costs[i];
    k.p = p;
    k.q = V(T(1)) - p;
    k.lp = lp;
    k.lq = log1m(p);
    return k;
}

template <class T> struct Accumulators {
    Pack<T> each[4];
    INLINE Accumulators() { for (auto& a : each) a = Pack<T>(T(0)); }
    INLINE Pack<T> total() const { return (each[0] + each[1]) + (each[2] + each[3]); }
};

// Whether the pulls of a row are kept from the visit that adds them up: that is so where they are
// known by then and take a division or a function. In tiles they replace the costs of the first stream.
template <class F> constexpr bool keeps_pull = F::linear && F::costly && F::streams > 0;

// What the top class fixes, for W rows at once.
template <class T> struct Top {
    Pack<T> rest, inv, l1p, log_rest;
    INLINE explicit Top(Pack<T> sum)
        : rest(sum), inv(Pack<T>(T(1)) / (Pack<T>(T(1)) + sum)), l1p(log1p(sum, inv)),
          log_rest(log(sum)) {}
    INLINE unsigned far() const { return bits<T>(rest < Pack<T>(FAR<T>)); }
};

// One row whose top class leads so far that `rest` has no digits left: in double precision, class by
// class, with the others measured from the second largest logit. Logits lie `zs`, slopes `gs` numbers
// apart, and the slopes may be where the logits are.
template <class F, class T>
static T far_row(int64_t n, const T* z, int64_t zs, const T* const* c, int64_t y,
                 const T* parameters, T scale, T* g, int64_t gs) {
    double a[LOSSMATRIX_PARAMETERS];
    for (int i = 0; i < LOSSMATRIX_PARAMETERS; ++i) a[i] = double(parameters[i]);
    int64_t top = 0;
    for (int64_t j = 1; j < n; ++j) if (z[j * zs] > z[top * zs]) top = j;
    double origin = z[top * zs], second = -INF, others = 0;
    for (int64_t j = 0; j < n; ++j) if (j != top && z[j * zs] > second) second = z[j * zs];
    bool alone = second == -INF;  // no other class is possible
    for (int64_t j = 0; j < n; ++j) if (j != top && !alone) others += exp(z[j * zs] - second);
    double log_rest = alone ? -INF : (second - origin) + log(others);
    double rest = exp(log_rest), inv = 1 / (1 + rest), l1p = log1p(rest);

    double q_top = exp(log_rest - l1p);
    auto share = [&](int64_t j) { return alone ? 0 : exp(z[j * zs] - second) / others; };
    auto cell = [&](int64_t j, double s) {
        double costs[LOSSMATRIX_STREAMS];
        for (int i = 0; i < F::streams; ++i) costs[i] = double(c[i][j]);
        if (j != top)
            return make_cell<F, double, double>(s * q_top, double(z[j * zs]) - origin - l1p, costs);
        Cell<double> k = make_cell<F, double, double>(inv, -l1p, costs);
        k.q = q_top;
        k.lq = log_rest - l1p;
        return k;
    };
    double totals[F::totals] = {}, f[F::totals], out[F::totals], R = 0;
    for (int64_t j = 0; j < n; ++j) {
        Cell<double> k = cell(j, share(j));
        if (j == y) F::template terms_truth<double, double>(k, a, out);
        else F::template terms<double, double>(k, a, out);
        for (int i = 0; i < F::totals; ++i) totals[i] += out[i];
    }
    T loss = T(F::template loss<double, double>(totals, a));
    if (!g) return loss;
    F::template partials<double, double>(totals, a, f);
    auto pull = [&](int64_t j, const Cell<double>& k) {
        return j == y ? F::template pull_truth<double, double>(k, a, f)
                      : F::template pull<double, double>(k, a, f);
    };
    for (int64_t j = 0; j < n; ++j) if (j != top) R += pull(j, cell(j, share(j)));
    Cell<double> k = cell(top, 0);
    double h = top == y ? F::template slope_truth<double, double>(k, a, f)
                        : F::template slope<double, double>(k, a, f);
    for (int64_t j = 0; j < n; ++j) {
        double s = share(j);
        k = cell(j, s);
        double slope = j == top ? h - k.p * R : pull(j, k) - k.p * R - h * s;
        g[j * gs] = T(slope * double(scale));
    }
    return loss;
}

template <class T> INLINE Pack<T> largest_lanes(const T* z, int64_t n) {
    using P = Pack<T>;
    Accumulators<T> m;
    for (auto& x : m.each) x = P(z[0]);
    sweep<T>(n, -1, -1, [&](int64_t j, int u, int64_t count, auto) {
        m.each[u] = maximum(P::load(z + j, count, z[0]), m.each[u]);
    });
    return maximum(maximum(m.each[0], m.each[1]), maximum(m.each[2], m.each[3]));
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

// The two classes of a row that are no part of its loops, for W rows at once.
template <class F, class T> struct Apart {
    using P = Pack<T>;
    typename P::Mask both;  // the truth is the top class
    Cell<P> truth, top;

    // e, x: exp(z − z_m) and z − z_m of the truth
    INLINE Apart(const Top<T>& m, P e, P x, const P* truth_costs, const P* top_costs,
                 typename P::Mask same)
        : both(same),
          truth(make_cell<F, P, T>(e * m.inv, x - m.l1p, truth_costs)),
          top(make_cell<F, P, T>(m.inv, -m.l1p, top_costs)) {
        top.q = m.rest * m.inv;
        top.lq = m.log_rest - m.l1p;
    }
    INLINE void add_terms(const T* a, P* totals) const {
        P at_top[F::totals], top_is_truth[F::totals], at_truth[F::totals];
        F::template terms<P, T>(top, a, at_top);
        F::template terms_truth<P, T>(top, a, top_is_truth);
        F::template terms_truth<P, T>(truth, a, at_truth);
        for (int i = 0; i < F::totals; ++i)
            totals[i] = totals[i] + select<T>(both, top_is_truth[i], at_top[i] + at_truth[i]);
    }
    INLINE P slope(const T* a, const P* f) const {
        return select<T>(both, F::template slope_truth<P, T>(top, a, f),
                         F::template slope<P, T>(top, a, f));
    }
    INLINE P pull(const T* a, const P* f) const {
        return select<T>(both, P(T(0)), F::template pull_truth<P, T>(truth, a, f));
    }
};

// Up to W rows whose classes lie one after the other. Each has scratch that starts at the beginning of
// a cache line: e for exp(z − z_m), and pull where that is kept. The gradient goes to g, which may be
// where the logits are, or e.
template <class T> struct Rows {
    static constexpr int W = Pack<T>::lanes;
    int count;
    // Memory that is wanted soon, class j at j · size bytes: logits of later rows, and the gradient.
    int64_t size;
    const char *next[W], *gradient[W];
    const T* z[W];
    const T* c[LOSSMATRIX_STREAMS][W];
    int64_t y[W];
    T scale[W], losses[W];
    T *e[W], *pull[W], *g[W];
};

// The losses of some rows, and scale · gradient. What is done once for a row is done for all rows
// together, one in each lane, so that no row waits for its own sums.
template <class F, class T>
static void rows_of_classes(int64_t n, Rows<T>& r, const T* a, bool gradient) {
    using P = Pack<T>;
    constexpr int W = P::lanes;
    auto plus = [](P x, P y) { return x + y; };
    P folds[F::totals + 1][W];
    for (auto& fold : folds) for (auto& x : fold) x = P(T(0));

    for (int l = 0; l < r.count; ++l) folds[0][l] = largest_lanes(r.z[l], n);
    T origin[W], inv[W], l1p[W];
    int64_t top[W];
    folded_each<T>(folds[0], [](P x, P y) { return maximum(x, y); }).store(origin);
    for (int l = 0; l < r.count; ++l) {
        const T* z = r.z[l];
        P shift(origin[l]);
        top[l] = first(z, n, origin[l]);
        Accumulators<T> others;
        sweep<T>(n, top[l], top[l], [&](int64_t j, int u, int64_t count, auto special) {
            P x = decay(P::load(z + j, count, -INF) - shift);
            x.store(r.e[l] + j, count);
            __builtin_prefetch(r.gradient[l] + j * r.size, 1);  // while there is much to compute
            __builtin_prefetch(r.next[l] + j * r.size);
            for (int i = 0; i < F::streams; ++i) __builtin_prefetch(r.c[i][l] + j);
            if (special.value) x = select<T>(lanes_but<T>(j, count, top[l], top[l]), x, P(T(0)));
            others.each[u] = others.each[u] + x;
        });
        folds[0][l] = others.total();
    }
    Top<T> m(folded_each<T>(folds[0], plus));
    m.inv.store(inv);
    m.l1p.store(l1p);

    auto cells = [&](int l, int64_t j, int64_t count) {
        P costs[LOSSMATRIX_STREAMS];
        for (int i = 0; i < F::streams; ++i) costs[i] = P::load(r.c[i][l] + j, count, T(0));
        P p = P::load(r.e[l] + j, count, T(0)) * P(inv[l]);
        P lp = (P::load(r.z[l] + j, count, T(0)) - P(origin[l])) - P(l1p[l]);
        return make_cell<F, P, T>(p, lp, costs);
    };
    T e_truth[W] = {}, x_truth[W] = {};
    typename P::Integer same[W] = {};
    T truth_costs[LOSSMATRIX_STREAMS][W] = {}, top_costs[LOSSMATRIX_STREAMS][W] = {};
    for (int l = 0; l < r.count; ++l) {
        int64_t y = r.y[l];
        e_truth[l] = r.e[l][y];
        x_truth[l] = r.z[l][y] - origin[l];
        same[l] = -(y == top[l]);
        for (int i = 0; i < F::streams; ++i) {
            truth_costs[i][l] = r.c[i][l][y];
            top_costs[i][l] = r.c[i][l][top[l]];
        }
        // What vanishes with p needs no mask: a branch that is taken at random takes longer than a
        // few classes.
        if (F::vanishes) r.e[l][y] = r.e[l][top[l]] = T(0);
    }

    P totals[F::totals], f[F::totals];
    if (F::linear) F::template partials<P, T>(totals, a, f);  // they are numbers
    for (int l = 0; l < r.count; ++l) {
        Accumulators<T> bulk[F::totals + 1];
        int64_t y = F::vanishes ? -1 : r.y[l], m = F::vanishes ? -1 : top[l];
        if (!F::empty) sweep<T>(n, y, m, [&](int64_t j, int u, int64_t count, auto special) {
            Cell<P> k = cells(l, j, count);
            P out[F::totals + 1];
            F::template terms<P, T>(k, a, out);
            out[F::totals] = F::linear ? F::template pull<P, T>(k, a, f) : P(T(0));
            if (keeps_pull<F>) out[F::totals].store(r.pull[l] + j, count);
            for (int i = 0; i <= F::totals; ++i) {
                if (special.value && !F::vanishes)
                    out[i] = select<T>(lanes_but<T>(j, count, y, m), out[i], P(T(0)));
                bulk[i].each[u] = bulk[i].each[u] + out[i];
            }
        });
        for (int i = 0; i <= F::totals; ++i) folds[i][l] = bulk[i].total();
    }
    for (int i = 0; i < F::totals; ++i) totals[i] = folded_each<T>(folds[i], plus);

    P of_truth[LOSSMATRIX_STREAMS], of_top[LOSSMATRIX_STREAMS], e_of_truth = P::load(e_truth);
    for (int i = 0; i < F::streams; ++i)
        of_truth[i] = P::load(truth_costs[i]), of_top[i] = P::load(top_costs[i]);
    typename P::Mask both;
    std::memcpy(&both, same, sizeof both);
    Apart<F, T> apart(m, e_of_truth, P::load(x_truth), of_truth, of_top, both);
    apart.add_terms(a, totals);
    F::template loss<P, T>(totals, a).store(r.losses);

    unsigned far = m.far();
    if (gradient) {
        if (!F::linear) F::template partials<P, T>(totals, a, f);
        T partial[F::totals][W], slopes[W], truths[W], tops[W];
        for (int i = 0; i < F::totals; ++i) f[i].store(partial[i]);
        if (!F::linear) {
            for (int l = 0; l < r.count; ++l) {
                P mine[F::totals];
                for (int i = 0; i < F::totals; ++i) mine[i] = P(partial[i][l]);
                Accumulators<T> pulls;
                int64_t y = F::vanishes ? -1 : r.y[l], m = F::vanishes ? -1 : top[l];
                sweep<T>(n, y, m, [&](int64_t j, int u, int64_t count, auto special) {
                    P pull = F::template pull<P, T>(cells(l, j, count), a, mine);
                    if (special.value && !F::vanishes)
                        pull = select<T>(lanes_but<T>(j, count, y, m), pull, P(T(0)));
                    pulls.each[u] = pulls.each[u] + pull;
                });
                folds[F::totals][l] = pulls.total();
            }
        }
        P R = folded_each<T>(folds[F::totals], plus);
        P h = apart.slope(a, f), pull_truth = apart.pull(a, f);
        R = R + pull_truth;
        P slope = R * m.inv + h / m.rest;  // p_k R + h s_k = e_k · slope
        slope.store(slopes);
        (pull_truth - e_of_truth * slope).store(truths);
        (h - apart.top.p * R).store(tops);
        for (int l = 0; l < r.count; ++l) {
            if (far >> l & 1) continue;
            T* g = r.g[l];
            P mine[F::totals], steep(slopes[l]), scale(r.scale[l]);
            for (int i = 0; i < F::totals; ++i) mine[i] = P(partial[i][l]);
            sweep<T>(n, -1, -1, [&](int64_t j, int, int64_t count, auto) {
                P pull = keeps_pull<F> ? P::load(r.pull[l] + j, count, T(0))
                                       : F::template pull<P, T>(cells(l, j, count), a, mine);
                P x = P::load(r.e[l] + j, count, T(0));
                ((pull - x * steep) * scale).store(g + j, count);
            });
            g[r.y[l]] = truths[l] * r.scale[l];
            g[top[l]] = tops[l] * r.scale[l];
        }
    }
    for (int l = 0; far && l < r.count; ++l) {
        if (!(far >> l & 1)) continue;
        const T* c[LOSSMATRIX_STREAMS];
        for (int i = 0; i < F::streams; ++i) c[i] = r.c[i][l];
        r.losses[l] = far_row<F, T>(n, r.z[l], 1, c, r.y[l], a, r.scale[l],
                                    gradient ? r.g[l] : nullptr, 1);
    }
}

// --- many rows side by side, one in each lane ----------------------------------------------------

// Sums are taken in runs of this many classes, so that rounding grows with their root.
constexpr int64_t RUN = 16;

// The losses of W = Pack<T>::lanes rows. z and g are tiles: class j of lane l is z[j · width + l];
// so are the costs, of width W, one stream after the other, which are overwritten. `e` is scratch of
// n · W numbers and may be g. Lanes whose top class leads too far are left to far_row(): bit l of the
// result.
template <class F, class T>
static unsigned lanes_of_rows(const T* z, int64_t width, int64_t n, typename Pack<T>::Mask truth,
                              T* c, const T* a, Pack<T> weight, T* g, T* losses, T* e) {
    using P = Pack<T>;
    using Mask = typename P::Mask;
    constexpr int W = P::lanes;
    auto at = [&](int64_t j) { return P::load(z + j * width); };
    auto is = [](Mask number, int64_t j) { return number == Mask{} + typename P::Integer(j); };

    P origin = at(0), rest = P(T(0));
    Mask top = Mask{};  // the first class at the origin
    for (int64_t j = 1; j < n; ++j) {
        P x = at(j);
        top = x > origin ? Mask{} + typename P::Integer(j) : top;
        origin = maximum(x, origin);
    }
    for (int64_t first = 0; first < n; first += RUN) {
        P run(T(0));
        for (int64_t j = first; j < n && j < first + RUN; ++j) {
            P x = decay(at(j) - origin);
            x.store(e + j * W);
            run = run + select<T>(is(top, j), P(T(0)), x);
        }
        rest = rest + run;
    }
    Top<T> m(rest);
    auto cell = [&](int64_t j) {
        P costs[LOSSMATRIX_STREAMS];
        for (int i = 0; i < F::streams; ++i) costs[i] = P::load(c + (i * n + j) * W);
        return make_cell<F, P, T>(P::load(e + j * W) * m.inv, (at(j) - origin) - m.l1p, costs);
    };

    P totals[F::totals], f[F::totals], R(T(0));
    P e_truth = P(T(0)), x_truth = P(T(0));
    P truth_costs[LOSSMATRIX_STREAMS], top_costs[LOSSMATRIX_STREAMS];
    for (int i = 0; i < F::totals; ++i) totals[i] = P(T(0));
    for (int i = 0; i < F::streams; ++i) truth_costs[i] = top_costs[i] = P(T(0));
    if (F::linear) F::template partials<P, T>(totals, a, f);
    for (int64_t first = 0; first < n; first += RUN) {
        P run[F::totals + 1];
        for (auto& x : run) x = P(T(0));
        for (int64_t j = first; j < n && j < first + RUN; ++j) {
            Cell<P> k = cell(j);
            P out[F::totals + 1];
            F::template terms<P, T>(k, a, out);
            out[F::totals] = F::linear ? F::template pull<P, T>(k, a, f) : P(T(0));
            auto is_truth = is(truth, j), is_top = is(top, j);
            for (int i = 0; i <= F::totals; ++i)
                run[i] = run[i] + select<T>(is_truth | is_top, P(T(0)), out[i]);
            e_truth = select<T>(is_truth, P::load(e + j * W), e_truth);
            x_truth = select<T>(is_truth, at(j) - origin, x_truth);
            for (int i = 0; i < F::streams; ++i) {
                truth_costs[i] = select<T>(is_truth, k.c[i], truth_costs[i]);
                top_costs[i] = select<T>(is_top, k.c[i], top_costs[i]);
            }
            if (keeps_pull<F>) out[F::totals].store(c + j * W);
        }
        for (int i = 0; i < F::totals; ++i) totals[i] = totals[i] + run[i];
        R = R + run[F::totals];
    }
    Apart<F, T> apart(m, e_truth, x_truth, truth_costs, top_costs, truth == top);
    apart.add_terms(a, totals);
    F::template loss<P, T>(totals, a).store(losses);
    if (!g) return m.far();

    if (!F::linear) {
        F::template partials<P, T>(totals, a, f);
        for (int64_t first = 0; first < n; first += RUN) {
            P run(T(0));
            for (int64_t j = first; j < n && j < first + RUN; ++j) {
                P pull = F::template pull<P, T>(cell(j), a, f);
                run = run + select<T>(is(truth, j) | is(top, j), P(T(0)), pull);
            }
            R = R + run;
        }
    }
    P h = apart.slope(a, f), pull_truth = apart.pull(a, f);
    R = R + pull_truth;
    P slope = R * m.inv + h / m.rest;  // p_k R + h s_k = e_k · slope
    P g_top = (h - apart.top.p * R) * weight;
    for (int64_t j = 0; j < n; ++j) {
        P pull = keeps_pull<F> ? P::load(c + j * W) : F::template pull<P, T>(cell(j), a, f);
        pull = select<T>(is(truth, j), pull_truth, pull);
        P gradient = (pull - P::load(e + j * W) * slope) * weight;
        select<T>(is(top, j), g_top, gradient).store(g + j * width);
    }
    return m.far();
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

// The last classes, at most `most`; what the others would need is left out by the compiler.
template <int most, class T>
INLINE void turn_some(const T* const* from, int64_t j, int64_t n, T* to) {
    constexpr int64_t W = Pack<T>::lanes;
    Pack<T> square[W], other[W];
#pragma GCC unroll 16
    for (int l = 0; l < W; ++l) square[l] = Pack<T>::load(from[l] + j, n - j, T(0));
    Pack<T>* columns = turned<T>(square, other);
#pragma GCC unroll 16
    for (int i = 0; i < most; ++i) columns[i].store(to + (j + i) * W);
}

// W rows of n numbers, the l-th at from[l], laid side by side: column j of lane l is to[j · W + l].
// `to` has room for a whole number of squares.
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
    if (j < n) n - j <= W / 4 ? turn_some<W / 4>(from, j, n, to)
             : n - j <= W / 2 ? turn_some<W / 2>(from, j, n, to) : turn_some<W>(from, j, n, to);
}

// … and back; `from` has room for a whole number of squares.
template <class T> INLINE void turn_out(const T* from, int64_t n, T* const* to, int64_t rows) {
    constexpr int64_t W = Pack<T>::lanes;
    Pack<T> square[W], other[W];
    for (int64_t j = 0; j < n; j += W) {
#pragma GCC unroll 16
        for (int i = 0; i < W; ++i) square[i] = Pack<T>::load(from + (j + i) * W);
        Pack<T>* columns = turned<T>(square, other);
        for (int64_t l = 0; l < rows; ++l) columns[l].store(to[l] + j, n - j);
    }
}

INLINE int64_t target_at(const Task& t, int64_t b, int64_t p) {
    int64_t i = b * t.target_stride[0] + p * t.target_stride[1];
    if (t.target_type == 0) return static_cast<const int64_t*>(t.target)[i];
    if (t.target_type == 1) return static_cast<const int32_t*>(t.target)[i];
    return static_cast<const uint8_t*>(t.target)[i];
}

// --- costs that no table holds -------------------------------------------------------------------

// The costs of one truth into n numbers.
template <class T> static void make_costs(const Rule& rule, int64_t n, int64_t y, T* to) {
    const T* x = static_cast<const T*>(rule.numbers);
    T usual = T(rule.kind == LOSSMATRIX_SPARSE ? rule.number : 1);
    switch (rule.kind) {
        case LOSSMATRIX_ORDINAL:
            for (int64_t j = 0; j < n; ++j) to[j] = x[j] > x[y] ? x[j] - x[y] : x[y] - x[j];
            if (rule.number == 2) for (int64_t j = 0; j < n; ++j) to[j] *= to[j];
            else if (rule.number != 1)
                for (int64_t j = 0; j < n; ++j) to[j] = power(to[j], T(rule.number));
            break;
        case LOSSMATRIX_TREE: {  // from the leaf up: what a node holds beyond the one below it
            int64_t node = rule.leaf[y], begin = rule.begin[node], end = begin;
            for (;; node = rule.parent[node]) {
                int64_t first = rule.begin[node], last = rule.end[node];
                for (int64_t k = first; k < begin; ++k) to[rule.order[k]] = x[node];
                for (int64_t k = end; k < last; ++k) to[rule.order[k]] = x[node];
                begin = first, end = last;
                if (begin == 0 && end == n) break;
            }
            break;
        }
        default:
            for (int64_t j = 0; j < n; ++j) to[j] = usual;
            to[y] = T(0);
            if (rule.kind == LOSSMATRIX_SPARSE)
                for (int64_t k = rule.begin[y]; k < rule.begin[y + 1]; ++k) to[rule.decision[k]] = x[k];
    }
    T factor = T(rule.factor), offset = rule.offset ? static_cast<const T*>(rule.offset)[y] : T(0);
    if (factor != 1 || offset != 0) for (int64_t j = 0; j < n; ++j) to[j] = factor * to[j] + offset;
    if (rule.off_the_truth) to[y] = T(0);
}

// --- the drivers: blocks of rows, shared among threads -------------------------------------------

template <class F, class T> struct Run {
    static constexpr int W = Pack<T>::lanes;
    using Integer = typename Pack<T>::Integer;
    Task t;
    Task& out;
    Access<T> tensor;
    T parameters[LOSSMATRIX_PARAMETERS];
    T scale;  // of the gradient: 1, or 1 / denominator of the mean
    int64_t rows, per_block;
    double* partial;
    const T* columns[LOSSMATRIX_STREAMS];

    Run(Task& task, Access<T> type) : t(task), out(task), tensor(type) {
        for (int i = 0; i < LOSSMATRIX_PARAMETERS; ++i) parameters[i] = T(t.parameters[i]);
    }

    INLINE T weight_of(int64_t y, int64_t r) const {
        T w = t.weight ? static_cast<const T*>(t.weight)[y] : T(1);
        return t.sample_weight ? w * static_cast<const T*>(t.sample_weight)[r] : w;
    }
    INLINE const T* costs_of(int i, int64_t y, int64_t r) const {
        return static_cast<const T*>(t.costs[i]) + (t.per_sample[i] ? r : y) * t.costs_stride[i];
    }
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

    // rows whose classes lie one after the other, some at a time
    INLINE double by_row(int64_t begin, int64_t end) const {
        double total = 0;
        int64_t n = t.classes, sc = t.logits_stride[1], gc = t.gradient_stride[1];
        bool direct = sc == 1 && tensor.same, block = sc == 1 && without_gaps(t.logits_stride);
        bool in_place = t.gradient && gc == 1 && tensor.same && !t.accumulate;
        bool block_of_slopes = gc == 1 && without_gaps(t.gradient_stride);
        int64_t together = rows_together(), room = (n + W - 1) / W * W;
        Scratch<T> logits(direct ? 0 : together * n), tilted(F::tilted ? together * n : 0);
        Scratch<T> e(together * room), pull(keeps_pull<F> ? together * room : 0);
        Scratch<T> made(ruled() ? F::streams * together * n : 0);
        Rows<T> rows;
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
                int64_t y = target_at(t, at.batch, at.position), k = r - first;
                if (y == t.ignore_index) {
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
                rows.pull[l] = pull.data + k * room;
                // Slopes without gaps, where e lies with gaps: never ahead of what they are made from.
                rows.g[l] = in_place ? reinterpret_cast<T*>(to) : e.data + k * n;
                rows.next[l] = from + together * t.logits_stride[2] * tensor.size;
                rows.gradient[l] = to ? to : reinterpret_cast<char*>(rows.e[l]);
                for (int i = 0; i < F::streams; ++i) {
                    T* here = made.data + (i * together + k) * n;
                    if (t.rule[i]) make_costs(*t.rule[i], n, y, here);
                    rows.c[i][l] = t.rule[i] ? here : costs_of(i, y, r);
                }
                weight[l] = weight_of(y, r);
                rows.scale[l] = weight[l] * scale;
                if (F::tilted) tilt(rows, l, tilted.data + k * n, n, parameters);
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

    // w = (z − max z) + margin takes the place of z
    static void tilt(Rows<T>& r, int l, T* tilted, int64_t n, const T* a) {
        using P = Pack<T>;
        const T* z = r.z[l];
        T costs[LOSSMATRIX_STREAMS], origin = largest(largest_lanes(z, n));
        sweep<T>(n, -1, -1, [&](int64_t j, int, int64_t count, auto) {
            P costs[LOSSMATRIX_STREAMS];
            for (int i = 0; i < F::streams; ++i) costs[i] = P::load(r.c[i][l] + j, count, T(0));
            P x = P::load(z + j, count, T(0)) - P(origin);
            (x + F::template margin<P, T>(costs, a)).store(tilted + j, count);
        });
        for (int i = 0; i < F::streams; ++i) costs[i] = r.c[i][l][r.y[l]];
        tilted[r.y[l]] = (z[r.y[l]] - origin) + F::template margin_truth<T, T>(costs, a);
        r.z[l] = tilted;
    }

    // `width` rows at a time, laid side by side
    INLINE double by_tile(int64_t begin, int64_t end) const {
        int64_t n = t.classes, sc = t.logits_stride[1], gc = t.gradient_stride[1];
        int64_t zs = t.logits_stride[2], gs = t.gradient_stride[2], width = tile_width();
        int64_t squares = (n + W - 1) / W * W;  // classes, as turning writes them
        Scratch<T> tile(squares * width), e(squares * W), costs((F::streams * n + W) * W);
        Scratch<T> wide(width > W && t.gradient ? n * width : 0);
        T* slopes = !t.gradient ? nullptr : width > W ? wide.data : e.data;
        Scratch<T> losses(width), weight(width), rows_of(W * n);
        Scratch<Integer> truth(width);
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

            const char* from = logits_at(b, p);
            if (zs == 1) {
                for (int64_t j = 0; j < n; ++j) {
                    T* to = tile.data + j * width;
                    tensor.read(from + j * sc * tensor.size, 1, count, to);
                    for (int64_t l = count; l < width; ++l) to[l] = T(0);
                }
            } else {
                columns_of_rows(from, count, rows_of.data, tile.data);
            }
            for (int64_t l = 0; l < count; l += W)
                pack_of_rows(tile.data + l, slopes ? slopes + l : nullptr, width, r0 + l,
                             count - l < W ? count - l : W, truth.data + l, weight.data + l,
                             losses.data + l, e.data, costs.data);
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
            if (gs == 1 || width > W) {
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

    // A tile of W columns from its first `count` rows; `rows` is scratch of n · W numbers.
    INLINE void columns_of_rows(const char* from, int64_t count, T* rows, T* tile) const {
        int64_t n = t.classes, sc = t.logits_stride[1], zs = t.logits_stride[2];
        bool direct = tensor.same && sc == 1, block = sc == 1 && zs == n;
        if (!direct && block) tensor.read(from, 1, n * count, rows);
        if (block && n <= W / 2 && count == W) {
            const T* all = direct ? reinterpret_cast<const T*>(from) : rows;
            auto of_class = lane_numbers<T>() * Integer(n);
            for (int64_t j = 0; j < n; ++j)
                chosen<T>(all, n, of_class + Integer(j)).store(tile + j * W);
            return;
        }
        const T* row[W];
        for (int64_t l = 0; l < W; ++l) {  // lanes beyond the last row repeat the first
            int64_t here = l < count ? l : 0;
            const char* logits = from + here * zs * tensor.size;
            row[l] = direct ? reinterpret_cast<const T*>(logits) : rows + here * n;
            if (!direct && !block) tensor.read(logits, sc, n, rows + here * n);
        }
        turn_in<T>(row, n, tile);
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
                chosen<T>(tile, n, places).store(all + k * W);
            }
            if (!direct) tensor.write(all, n * W, to, 1, t.accumulate);
            return;
        }
        T* row[W];
        for (int64_t l = 0; l < count; ++l) row[l] = rows + l * n;
        turn_out<T>(tile, n, row, count);
        if (block) tensor.write(rows, n * count, to, 1, t.accumulate);
        else for (int64_t l = 0; l < count; ++l)
            tensor.write(row[l], n, to + l * gs * tensor.size, gc, t.accumulate);
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
        if (t.target_type == 0 && step == 1) all(static_cast<const int64_t*>(t.target), 1);
        else if (t.target_type == 0) all(static_cast<const int64_t*>(t.target), step);
        else if (t.target_type == 1) all(static_cast<const int32_t*>(t.target), step);
        else all(static_cast<const uint8_t*>(t.target), step);
        for (int64_t l = count; l % W; ++l) truth[l] = 0, counts[l] = T(0);
    }

    // W rows of a tile; `costs` is scratch of streams · n · W numbers
    INLINE void pack_of_rows(T* z, T* g, int64_t width, int64_t r, int64_t count, const Integer* y,
                             const T* weight, T* losses, T* e, T* costs) const {
        using P = Pack<T>;
        using Mask = typename P::Mask;
        int64_t n = t.classes;
        Mask truth;
        std::memcpy(&truth, y, sizeof truth);
        for (int i = 0; i < F::streams; ++i) fill(i, truth, y, r, count, costs + i * n * W);
        if (F::tilted) {
            P origin = P::load(z);
            for (int64_t j = 1; j < n; ++j) origin = maximum(P::load(z + j * width), origin);
            for (int64_t j = 0; j < n; ++j) {
                P c[LOSSMATRIX_STREAMS];
                for (int i = 0; i < F::streams; ++i) c[i] = P::load(costs + (i * n + j) * W);
                P margin = select<T>(truth == Mask{} + Integer(j),
                                     F::template margin_truth<P, T>(c, parameters),
                                     F::template margin<P, T>(c, parameters));
                ((P::load(z + j * width) - origin) + margin).store(z + j * width);
            }
        }
        unsigned far = lanes_of_rows<Plain, T>(z, width, n, truth, costs, parameters,
                                               P::load(weight) * P(scale), g, losses, e);
        for (int l = 0; far && l < count; ++l) {
            if (!(far >> l & 1) || weight[l] == 0) continue;
            const T* c[LOSSMATRIX_STREAMS] = {};
            for (int i = 0; i < F::streams; ++i) c[i] = costs_of(i, y[l], r + l);
            losses[l] = far_row<Plain, T>(n, z + l, width, c, y[l], parameters, weight[l] * scale,
                                          g ? g + l : nullptr, width);
        }
    }

    // The costs of W rows side by side, from stream i.
    INLINE void fill(int i, typename Pack<T>::Mask truth, const Integer* y, int64_t r,
                     int64_t count, T* costs) const {
        int64_t n = t.classes;
        if (const T* column = columns[i]) {
            for (int64_t j = 0; j < n; ++j, column += 2 * W)
                chosen<T>(column, n <= W ? 1 : 2, truth).store(costs + j * W);
            return;
        }
        const T* from[W];
        for (int l = 0; l < W; ++l) from[l] = costs_of(i, y[l], r + (l < count ? l : 0));
        turn_in<T>(from, n, costs);
    }

    // Few classes: each decision's costs, by truth, fit into two packs.
    void lay_columns(T* to) {
        for (int i = 0; i < F::streams; ++i) {
            columns[i] = nullptr;
            if (t.classes > 2 * W || t.per_sample[i] || t.rule[i]) continue;
            columns[i] = to;
            for (int64_t j = 0; j < t.classes; ++j, to += 2 * W)
                for (int64_t y = 0; y < t.classes; ++y) to[y] = costs_of(i, y, 0)[j];
        }
    }

    // the formula after its margin has been added to the logits
    struct Untilted : F { static constexpr bool tilted = false; };
    using Plain = std::conditional_t<F::tilted, Untilted, F>;

    bool ruled() const {
        bool any = false;
        for (int i = 0; i < F::streams; ++i) any |= t.rule[i] != nullptr;
        return any;
    }
    // Costs that are made are made for rows. Rows side by side pay off while turning them costs less than the ends of a row alone.
    bool tiled() const {
        bool few = t.classes < 48 || (t.logits_stride[1] != 1 && t.classes <= 2048);
        return few && !ruled();
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
            run.partial[block] = run.tiled() ? run.by_tile(first, last) : run.by_row(first, last);
        }
    }

    // Positions that go on where the batch does, and a batch without positions, are one long line.
    void straighten() {
        auto join = [&](int64_t* outer, int64_t inner) { return *outer == inner * t.positions; };
        bool single = t.positions == 1;
        bool joined = join(t.logits_stride, t.logits_stride[2]) &&
                      join(t.target_stride, t.target_stride[1]) &&
                      (!t.gradient || join(t.gradient_stride, t.gradient_stride[2]));
        if (!single && !joined) return;
        if (single) {
            t.logits_stride[2] = t.logits_stride[0];
            t.gradient_stride[2] = t.gradient_stride[0];
            t.target_stride[1] = t.target_stride[0];
        }
        t.positions *= t.batch;
        t.batch = 1;
    }

    // Targets that are no class are reported before anything is written.
    double denominator() {
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
                if (t.weight) sum += double(static_cast<const T*>(t.weight)[y]);
            }
        return t.weight ? sum : double(counted);
    }

    void all() {
        int64_t bytes = t.batch * t.classes * t.positions * tensor.size;
        if (t.gradient_dense) ask_for_huge_pages(t.gradient, bytes);
        rows = t.batch * t.positions;
        straighten();
        out.total = 0;
        out.is_outside = 0;
        double count = denominator();
        if (out.is_outside) return;
        if (t.denominator != 0) count = t.denominator;
        scale = t.mean ? T(1.0 / count) : T(1);
        Scratch<T> laid(F::streams && t.classes <= 2 * W ? F::streams * t.classes * 2 * W : 0);
        lay_columns(laid.data);
        // Blocks of equal size, some 32,768 numbers each, in a number that threads can share evenly.
        int64_t width = tiled() ? tile_width() : 1, shares = (rows * t.classes + 32767) / 32768;
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
