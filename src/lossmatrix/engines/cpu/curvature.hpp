// SPDX-License-Identifier: BSD-3-Clause
// Gradient and Σ_l |H_kl| of every row in one visit, rows side by side: one in each lane. The formula
// F, printed by codegen/curvature.py from a loss's own methods, is put in; H is derived there.
//
// The softmax is that of kernels.hpp, with s = e / rest over the classes other than the top one m.
#pragma once

#include "kernels.hpp"

#include <algorithm>

// One call from Python; engines/cpu/curvature.py mirrors it field by field.
struct CurvatureTask {
    const void* scores;  // (rows, classes), or (rows) where single
    void *gradient, *bound;
    int64_t rows, classes;
    int64_t score_stride[2], out_stride[2];  // of rows and classes, in elements
    int32_t type;    // 0 float32, 1 float64: of scores, gradient, bound, costs and weights
    int32_t single;  // the scores are those of class 1, of two classes; those of class 0 are 0
    const int64_t* target;
    const void* costs[LOSSMATRIX_STREAMS];
    int64_t costs_stride[LOSSMATRIX_STREAMS];
    int32_t by_row[LOSSMATRIX_STREAMS];  // rows of costs belong to rows, and not to truths
    const void* weight;                  // (rows), or null
    double parameters[LOSSMATRIX_PARAMETERS];
    int64_t outside;     // out: a target that is no class; the call then did nothing else
    int32_t is_outside;  // out: whether there is one
    int32_t threads;
    ParallelFor parallel_for;
};

namespace LOSSMATRIX_ISA {

template <class T> INLINE Pack<T> magnitude(Pack<T> x) {
    using Mask = typename Pack<T>::Mask;
    using Integer = typename Pack<T>::Integer;
    Mask bits;
    std::memcpy(&bits, &x.v, sizeof bits);
    bits = bits & ~(Mask{} + (Integer(1) << (8 * sizeof(T) - 1)));
    std::memcpy(&x.v, &bits, sizeof bits);
    return x;
}

// exp(x) for x ≤ 0. In double precision x = n ln 2 + r and the Taylor polynomial of degree 13, exact
// to 4e-18 for |r| ≤ ln 2 / 2; results below 2^-1022 are 0.
INLINE Pack<float> exponential(Pack<float> x) { return exp_nonpositive(x); }
INLINE Pack<double> exponential(Pack<double> x) {
    using P = Pack<double>;
    const P shifter(6755399441055744.0);  // 1.5 · 2^52: adding it rounds to a whole number
    P bounded = select<double>(x < P(-708.3), P(-708.3), x);
    P shifted = bounded * P(1.4426950408889634) + shifter, whole = shifted - shifter;
    P r = bounded - whole * P(6.93145751953125e-1) - whole * P(1.42860682030941723e-6);
    const double factorials[] = {6227020800, 479001600, 39916800, 3628800, 362880, 40320, 5040,
                                 720, 120, 24, 6, 2, 1, 1};
    P y(1 / factorials[0]);
#pragma GCC unroll 16
    for (int i = 1; i < 14; ++i) y = y * r + P(1 / factorials[i]);
    P::Mask n;
    std::memcpy(&n, &shifted.v, sizeof n);
    P::Mask bits = (n << 52) + 0x3ff0000000000000;
    P factor;
    std::memcpy(&factor.v, &bits, sizeof bits);
    return select<double>(x < P(-708.3), P(0.0), select<double>(x == x, y * factor, x));
}

// The softmax of W rows with its top class m apart.
template <class T> struct Parted : SoftmaxStats<T> {
    using P = Pack<T>;
    using Mask = typename P::Mask;
    P beyond;  // 1 − s of the second class
    Mask top, second;

    // z of class j at z[j · W]; s gets the softmax of the classes other than m, and 0 for m
    INLINE Parted(const T* z, int64_t n, T* s) {
        constexpr int W = P::lanes;
        using Integer = typename P::Integer;
        P largest = P::load(z), runner(T(-INF));
        top = second = Mask{};
        for (int64_t j = 1; j < n; ++j) {
            P x = P::load(z + j * W);
            Mask here = Mask{} + Integer(j), above = x > largest, between = x > runner;
            second = above ? top : between ? here : second;
            runner = select<T>(above, largest, select<T>(between, x, runner));
            top = above ? here : top;
            largest = select<T>(above, x, largest);
        }
        const P zero(T(0)), one(T(1)), shift = SoftmaxStats<T>::shifted_by(runner);
        P sum = zero, rest = zero;
        for (int64_t j = 0; j < n; ++j) {
            Mask here = Mask{} + Integer(j), at_top = top == here;
            P x = select<T>(at_top, zero, P::load(z + j * W) - shift);
            P e = select<T>(at_top, zero, exponential(x));
            e.store(s + j * W);
            sum = sum + e;
            rest = rest + select<T>(second == here, zero, e);
        }
        P inverse = one / select<T>(sum == zero, one, sum);  // no other class may be possible
        for (int64_t j = 0; j < n; ++j) (P::load(s + j * W) * inverse).store(s + j * W);
        beyond = rest * inverse;
        static_cast<SoftmaxStats<T>&>(*this) = SoftmaxStats<T>(largest, runner, sum);
    }
};

constexpr int64_t SORTED = 1024;  // classes from which sorting beats looking at all pairs

template <class F, class T> struct Curvature {
    static constexpr int W = Pack<T>::lanes, B = F::bent > 0 ? F::bent : 1;
    using P = Pack<T>;
    using Mask = typename P::Mask;
    using Integer = typename P::Integer;
    using Cell = LOSSMATRIX_ISA::Cell<P>;
    const CurvatureTask& t;
    T a[LOSSMATRIX_PARAMETERS];

    // what W rows need, in tiles: class j of lane l at [j · W + l]
    struct Tiles {
        Scratch<T> z, costs, plain, s, y, g, bound, bent;
        explicit Tiles(int64_t n)
            : z(room(n)), costs(F::streams * n * W + W * W), plain(F::tilted ? room(n) : 0),
              s(room(n)), y(room(n)), g(room(n)), bound(room(n)), bent(F::bent * n * W) {}
        static int64_t room(int64_t n) { return (n + W - 1) / W * W * W; }
    };

    explicit Curvature(const CurvatureTask& task) : t(task) {
        for (int i = 0; i < LOSSMATRIX_PARAMETERS; ++i) a[i] = T(t.parameters[i]);
    }

    static INLINE Mask is(Mask number, int64_t j) { return number == Mask{} + Integer(j); }
    static INLINE P pick(Mask mask, P x, P y) { return select<T>(mask, x, y); }

    // --- one tile ----------------------------------------------------------------------------

    INLINE void tile(const Tiles& tiles, Mask truth, P weight) const {
        const int64_t n = t.classes;
        T *z = tiles.z.data, *s = tiles.s.data, *y = tiles.y.data, *g = tiles.g.data;
        T *bound = tiles.bound.data, *bent = tiles.bent.data;
        const P zero(T(0)), one(T(1)), two(T(2));
        auto costs = [&](int64_t j, Cell& k) {
            for (int i = 0; i < F::streams; ++i)
                k.c[i] = P::load(tiles.costs.data + (i * n + j) * W);
        };

        // the softmax of the scores as they are, which the floor of the bound is made of
        P plain_q = zero;
        Mask plain_top = Mask{};
        if (F::tilted) {
            Parted<T> m(z, n, tiles.plain.data);
            plain_q = m.q, plain_top = m.top;
            for (int64_t j = 0; j < n; ++j) {
                P p = pick(is(m.top, j), m.p, P::load(tiles.plain.data + j * W) * m.q);
                p.store(tiles.plain.data + j * W);
                Cell k;
                costs(j, k);
                P margin = pick(is(truth, j), F::template margin_truth<P, T>(k, a),
                                F::template margin<P, T>(k, a));
                ((P::load(z + j * W) - m.origin) + margin).store(z + j * W);
            }
        }
        const Parted<T> m(z, n, s);

        Cell top;
        for (int i = 0; i < F::streams; ++i) top.c[i] = zero;
        for (int64_t j = 0; F::streams && j < n; ++j) {
            Cell k;
            costs(j, k);
            for (int i = 0; i < F::streams; ++i) top.c[i] = pick(is(m.top, j), k.c[i], top.c[i]);
        }
        for (int i = 0; i < F::streams; ++i) top.tc[i] = top.c[i];
        top.p = m.p, top.q = m.q, top.lp = -m.l1p, top.lq = m.lq;
        const Mask both = truth == m.top;  // the truth is the top class
        auto cell = [&](int64_t j) {
            Cell k;
            costs(j, k);
            for (int i = 0; i < F::streams; ++i) k.tc[i] = top.tc[i];
            k.p = P::load(s + j * W) * m.q;
            k.q = one - k.p;
            k.lp = (P::load(z + j * W) - m.origin) - m.l1p;
            k.lq = log1m(k.p);
            return k;
        };

        P f[F::totals], L[B * B], out[F::totals], other[F::totals];
        for (P& each : f) each = one;
        if (!F::linear) {
            P totals[F::totals];
            F::template terms<P, T>(top, a, out);
            F::template terms_truth<P, T>(top, a, other);
            for (int i = 0; i < F::totals; ++i) totals[i] = pick(both, other[i], out[i]);
            for (int64_t j = 0; j < n; ++j) {
                Cell k = cell(j);
                F::template terms<P, T>(k, a, out);
                F::template terms_truth<P, T>(k, a, other);
                for (int i = 0; i < F::totals; ++i)
                    totals[i] = totals[i] + pick(is(m.top, j), zero, pick(is(truth, j), other[i], out[i]));
            }
            F::template partials<P, T>(totals, a, f);
            F::template second_partials<P, T>(totals, a, L);
        }

        // slopes, with 0 in the place of the top class, and their sums
        P R = zero, V = zero, bent_R[B], bent_h[B], x[B], x_truth[B];
        for (P& each : bent_R) each = zero;
        for (int64_t j = 0; j < n; ++j) {
            Cell k = cell(j);
            Mask at_truth = is(truth, j), at_top = is(m.top, j);
            P pull = pick(at_truth, F::template pull_truth<P, T>(k, a, f), F::template pull<P, T>(k, a, f));
            pull = pick(at_top, zero, pull);
            R = R + pull;
            pull.store(g + j * W);
            if (!F::flat) {
                P bend = pick(at_truth, F::template bend_truth<P, T>(k, a, f), F::template bend<P, T>(k, a, f));
                bend = pick(at_top, zero, bend);
                V = V + bend;
                bend.store(y + j * W);
            }
            F::template pulls<P, T>(k, a, x);
            F::template pulls_truth<P, T>(k, a, x_truth);
            for (int i = 0; i < F::bent; ++i) {
                x[i] = pick(at_top, zero, pick(at_truth, x_truth[i], x[i]));
                bent_R[i] = bent_R[i] + x[i];
                x[i].store(bent + (i * n + j) * W);
            }
        }
        const P h = pick(both, F::template slope_truth<P, T>(top, a, f), F::template slope<P, T>(top, a, f));
        const P h2 = pick(both, F::template second_truth<P, T>(top, a, f), F::template second<P, T>(top, a, f));
        F::template slopes<P, T>(top, a, bent_h);
        F::template slopes_truth<P, T>(top, a, x_truth);
        for (int i = 0; i < F::bent; ++i) bent_h[i] = pick(both, x_truth[i], bent_h[i]);

        // gradients: g_m = h_m − p_m R, g_k = pull_k − s_k (q_m R + h_m)
        P bent_top[B], bent_of_top[B];
        for (int i = 0; i < F::bent; ++i) {
            P steep = m.q * bent_R[i] + bent_h[i];
            bent_top[i] = bent_h[i] - m.p * bent_R[i];
            for (int64_t j = 0; j < n; ++j) {
                T* here = bent + (i * n + j) * W;
                (P::load(here) - P::load(s + j * W) * steep).store(here);
            }
        }
        auto leaned = [&](const P* slopes, P* to) {  // Σ_s L_st g^s
            for (int i = 0; i < F::bent; ++i) {
                to[i] = zero;
                for (int k = 0; k < F::bent; ++k) to[i] = to[i] + L[k * F::bent + i] * slopes[k];
            }
        };
        leaned(bent_top, bent_of_top);

        const P sum = R + V, A = h + h2 + m.q * m.q * sum;
        pairs(tiles, m, A, leaned);

        const P steep = m.q * R + h;
        P of_top = zero;
        for (int64_t j = 0; j < n; ++j) {
            P share = P::load(s + j * W), p = share * m.q, bend = F::flat ? zero : P::load(y + j * W);
            P left = pick(is(m.second, j), m.beyond, one - share);
            P slope = P::load(g + j * W) - share * steep;
            P with_top = m.p * p * sum - share * h2 - m.p * bend;
            P own = bend * (one - two * p) - p * R + p * p * sum + share * (share * h2 - left * h);
            P mine[B], lean[B];
            for (int i = 0; i < F::bent; ++i) mine[i] = P::load(bent + (i * n + j) * W);
            leaned(mine, lean);
            for (int i = 0; i < F::bent; ++i) {
                with_top = with_top + lean[i] * bent_top[i];
                own = own + lean[i] * mine[i];
            }
            of_top = of_top + magnitude<T>(with_top);
            P off = F::flat && !F::bent ? share * left * magnitude<T>(A) : P::load(bound + j * W);
            (off + magnitude<T>(with_top) + magnitude<T>(own)).store(bound + j * W);
            slope.store(g + j * W);
        }
        P g_top = h - m.p * R, own = h2 - m.p * m.q * R + m.p * m.p * V;
        for (int i = 0; i < F::bent; ++i) own = own + bent_of_top[i] * bent_top[i];
        of_top = of_top + magnitude<T>(own);

        // the floor: the curvature of the cross-entropy that has the same slope
        for (int64_t j = 0; j < n; ++j) {
            Mask at_top = is(m.top, j);
            P slope = pick(at_top, g_top, P::load(g + j * W));
            P curvature = pick(at_top, of_top, P::load(bound + j * W));
            P p = F::tilted ? P::load(tiles.plain.data + j * W)
                            : pick(at_top, m.p, P::load(s + j * W) * m.q);
            P q = F::tilted ? pick(is(plain_top, j), plain_q, one - p) : pick(at_top, m.q, one - p);
            P alike = two * magnitude<T>(slope) * pick(slope > zero, q, p);
            curvature = pick(alike > curvature, alike, curvature);
            (slope * weight).store(g + j * W);
            (curvature * weight).store(bound + j * W);
        }
    }

    // bound_k = Σ_l |H_kl| over the classes l ≠ k, m. H is symmetric: every pair is looked at once.
    template <class Leaned>
    INLINE void pairs(const Tiles& tiles, const Parted<T>& m, P A, Leaned leaned) const {
        constexpr int K = 4;  // classes k at a time
        const int64_t n = t.classes;
        T *s = tiles.s.data, *y = tiles.y.data, *bent = tiles.bent.data, *bound = tiles.bound.data;
        if (F::flat && !F::bent) return;  // H_kl = s_k s_l A
        if (!F::bent && n >= SORTED) return sorted(tiles, m, A);
        for (int64_t j = 0; j < n; ++j) P(T(0)).store(bound + j * W);
        // H_kl = s_l (s_k A − q y_k) − y_l q s_k + Σ_t g^t_l Σ_s L_st g^s_k
        P of_s[K], of_y[K], of_bent[K][B], off[K];
        auto entry = [&](int64_t l, int i) {
            P x = P::load(s + l * W) * of_s[i];
            if (!F::flat) x = x + P::load(y + l * W) * of_y[i];
            for (int b = 0; b < F::bent; ++b) x = x + P::load(bent + (b * n + l) * W) * of_bent[i][b];
            return magnitude<T>(x);
        };
        auto block = [&](int64_t first, auto size) {
            constexpr int count = decltype(size)::value;
#pragma GCC unroll 4
            for (int i = 0; i < count; ++i) {
                const int64_t k = first + i;
                P share = P::load(s + k * W), mine[B];
                of_s[i] = share * A, of_y[i] = -(m.q * share), off[i] = P(T(0));
                if (!F::flat) of_s[i] = of_s[i] - m.q * P::load(y + k * W);
                for (int b = 0; b < F::bent; ++b) mine[b] = P::load(bent + (b * n + k) * W);
                leaned(mine, of_bent[i]);
            }
            for (int64_t l = 0; l < first; ++l) {
                P total(T(0));
#pragma GCC unroll 4
                for (int i = 0; i < count; ++i) {
                    P x = entry(l, i);
                    off[i] = off[i] + x;
                    total = total + x;
                }
                (P::load(bound + l * W) + total).store(bound + l * W);
            }
#pragma GCC unroll 4
            for (int i = 1; i < count; ++i) {
#pragma GCC unroll 4
                for (int l = 0; l < i; ++l) {
                    P x = entry(first + l, i);
                    off[i] = off[i] + x, off[l] = off[l] + x;
                }
            }
#pragma GCC unroll 4
            for (int i = 0; i < count; ++i) off[i].store(bound + (first + i) * W);
        };
        int64_t k = 0;
        for (; k + K <= n; k += K) block(k, std::integral_constant<int, K>());
        for (; k < n; ++k) block(k, std::integral_constant<int, 1>());
    }

    // The same by sorting: with w_l = q y_l / s_l − A/2, |H_kl| = s_k s_l |w_k + w_l|, and the l at
    // which w_k + w_l changes its sign moves down while w_k moves up.
    void sorted(const Tiles& tiles, const Parted<T>& m, P A) const {
        struct Weighted { double w, s; int64_t j; };
        const int64_t n = t.classes;
        Scratch<Weighted> scratch(n);
        Weighted* all = scratch.data;
        for (int lane = 0; lane < W; ++lane) {
            double half = double(A.v[lane]) / 2, S = 0, M = 0;
            for (int64_t j = 0; j < n; ++j) {
                double s = tiles.s.data[j * W + lane], y = tiles.y.data[j * W + lane];
                double w = s == 0 ? 0 : double(m.q.v[lane]) * y / s - half;
                all[j] = {w, s, j};
                S += s, M += s * w;
            }
            std::sort(all, all + n, [](const Weighted& x, const Weighted& y) { return x.w < y.w; });
            int64_t end = n;  // classes before it have w_k + w_l < 0
            double below = S, moment = M;
            for (int64_t i = 0; i < n; ++i) {
                double w = all[i].w;
                while (end > 0 && all[end - 1].w + w >= 0) {
                    --end;
                    below -= all[end].s, moment -= all[end].s * all[end].w;
                }
                double total = w * (S - 2 * below) + (M - 2 * moment);
                double others = total - all[i].s * (w < 0 ? -2 * w : 2 * w);
                tiles.bound.data[all[i].j * W + lane] = T(all[i].s * (others > 0 ? others : 0));
            }
        }
    }

    // --- from memory and back ------------------------------------------------------------------

    // W rows of n numbers whose classes lie one after the other
    INLINE void columns(const T* const* from, int64_t n, T* to) const {
        if (n >= 2 * W) return transpose_in<T>(from, n, to);
        for (int64_t j = 0; j < n; ++j)
            for (int l = 0; l < W; ++l) to[j * W + l] = from[l][j];
    }

    INLINE void read(int64_t first, int64_t count, T* to) const {
        const T* from = static_cast<const T*>(t.scores) + first * t.score_stride[0];
        const int64_t n = t.classes, step = t.score_stride[0], apart = t.score_stride[1];
        auto place = [&](int l) { return (l < count ? l : 0) * step; };  // rows beyond repeat the first
        if (t.single) {
            for (int l = 0; l < W; ++l) to[l] = T(0), to[W + l] = from[place(l)];
        } else if (apart == 1) {
            const T* rows[W];
            for (int l = 0; l < W; ++l) rows[l] = from + place(l);
            columns(rows, n, to);
        } else {
            for (int64_t j = 0; j < n; ++j)
                for (int l = 0; l < W; ++l) to[j * W + l] = from[j * apart + place(l)];
        }
    }

    INLINE void write(const T* tile, int64_t first, int64_t count, void* out, T factor) const {
        T* to = static_cast<T*>(out) + first * t.out_stride[0];
        const int64_t n = t.classes, step = t.out_stride[0], apart = t.out_stride[1];
        if (t.single) {
            for (int64_t l = 0; l < count; ++l) to[l * step] = factor * tile[W + l];
        } else if (apart == 1 && n >= 2 * W) {
            T* rows[W];
            for (int l = 0; l < count; ++l) rows[l] = to + l * step;
            transpose_out<T>(tile, n, rows, count);
        } else if (apart == 1) {
            for (int64_t l = 0; l < count; ++l)
                for (int64_t j = 0; j < n; ++j) to[l * step + j] = tile[j * W + l];
        } else {
            for (int64_t j = 0; j < n; ++j)
                for (int64_t l = 0; l < count; ++l) to[j * apart + l * step] = tile[j * W + l];
        }
    }

    void rows(int64_t begin, int64_t end) const {
        const int64_t n = t.classes;
        Tiles tiles(n);
        for (int64_t first = begin; first < end; first += W) {
            int64_t count = end - first < W ? end - first : W;
            Integer truths[W];
            T weights[W];
            for (int l = 0; l < W; ++l) {
                int64_t r = first + (l < count ? l : 0);
                truths[l] = Integer(t.target[r]);
                weights[l] = t.weight ? static_cast<const T*>(t.weight)[r] : T(1);
            }
            read(first, count, tiles.z.data);
            for (int i = 0; i < F::streams; ++i) {
                const T* from[W];
                for (int l = 0; l < W; ++l) {
                    int64_t row = t.by_row[i] ? first + (l < count ? l : 0) : int64_t(truths[l]);
                    from[l] = static_cast<const T*>(t.costs[i]) + row * t.costs_stride[i];
                }
                columns(from, n, tiles.costs.data + i * n * W);
            }
            Mask truth;
            std::memcpy(&truth, truths, sizeof truth);
            tile(tiles, truth, P::load(weights));
            write(tiles.g.data, first, count, t.gradient, T(1));
            // H_10 = −H_11: where one score moves alone, the bound is |H_11|
            write(tiles.bound.data, first, count, t.bound, T(0.5));
        }
    }

    // Blocks of some 16,384 numbers, in whole tiles.
    int64_t per_block() const {
        int64_t tiles = 16384 / (t.classes * W);
        return (tiles < 1 ? 1 : tiles) * W;
    }
    static void blocks(int64_t begin, int64_t end, void* context) {
        const Curvature& self = *static_cast<const Curvature*>(context);
        int64_t first = begin * self.per_block(), last = end * self.per_block();
        self.rows(first, last < self.t.rows ? last : self.t.rows);
    }
    void all() {
        int64_t count = (t.rows + per_block() - 1) / per_block();
        if (t.threads > 1 && t.parallel_for && count > 1)
            t.parallel_for(0, count, 1, &Curvature::blocks, this);
        else blocks(0, count, this);
    }
};

template <class F> void curvature(CurvatureTask* task) {
    task->is_outside = 0;
    for (int64_t r = 0; r < task->rows; ++r)
        if (uint64_t(task->target[r]) >= uint64_t(task->classes)) {
            task->outside = task->target[r];
            task->is_outside = 1;
            return;
        }
    if (task->type == 0) Curvature<F, float>(*task).all();
    else Curvature<F, double>(*task).all();
}

}  // namespace LOSSMATRIX_ISA
