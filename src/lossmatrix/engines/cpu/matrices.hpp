// SPDX-License-Identifier: BSD-3-Clause
// Printed by lossmatrix.engines.cpu.generate from the matrices' methods; do not edit.
#pragma once

namespace LOSSMATRIX_ISA {

// ZeroOne(3)
struct costs_2bc8503989aa {
    template <class T>
    static void make(const CostProgram& program, int64_t truth, int64_t n, T* row) {
        using V = Pack<T>;
        const V i = V(T(truth));
        each_pack<T>(n, [&](int64_t first, int64_t count) ALWAYS_INLINE {
            const V j = V(T(first)) + numbers_of_lanes<T>();
            const auto v0 = i == j;
            const auto v1 = where(v0, V(T(0.0)), V(T(1.0)));
            v1.store(row + first, count);
        });
    }
};

// Ordinal(3, power=1)
struct costs_f22a616543be {
    template <class T>
    static void make(const CostProgram& program, int64_t truth, int64_t n, T* row) {
        using V = Pack<T>;
        const V i = V(T(truth));
        each_pack<T>(n, [&](int64_t first, int64_t count) ALWAYS_INLINE {
            const V j = V(T(first)) + numbers_of_lanes<T>();
            const auto v0 = i - j;
            const auto v1 = abs(v0);
            v1.store(row + first, count);
        });
    }
};

// Ordinal(3, power=2)
struct costs_c71b1ceb640a {
    template <class T>
    static void make(const CostProgram& program, int64_t truth, int64_t n, T* row) {
        using V = Pack<T>;
        const V i = V(T(truth));
        each_pack<T>(n, [&](int64_t first, int64_t count) ALWAYS_INLINE {
            const V j = V(T(first)) + numbers_of_lanes<T>();
            const auto v0 = i - j;
            const auto v1 = abs(v0);
            const auto v2 = v1 * v1;
            v2.store(row + first, count);
        });
    }
};

// Ordinal(3, power=1.5)
struct costs_2bd147c7648e {
    template <class T>
    static void make(const CostProgram& program, int64_t truth, int64_t n, T* row) {
        using V = Pack<T>;
        const V i = V(T(truth));
        each_pack<T>(n, [&](int64_t first, int64_t count) ALWAYS_INLINE {
            const V j = V(T(first)) + numbers_of_lanes<T>();
            const auto v0 = i - j;
            const auto v1 = abs(v0);
            const auto v2 = power(v1, program.number[0]);
            v2.store(row + first, count);
        });
    }
};

// Ordinal(3, power=1), reads positions
struct costs_7e766205dd5a {
    template <class T>
    static void make(const CostProgram& program, int64_t truth, int64_t n, T* row) {
        using V = Pack<T>;
        const T* t0 = static_cast<const T*>(program.table[0]);
        const V i = V(T(truth));
        const auto v0 = V(T(t0[truth]));
        each_pack<T>(n, [&](int64_t first, int64_t count) ALWAYS_INLINE {
            const V j = V(T(first)) + numbers_of_lanes<T>();
            const auto v1 = entries<T>(t0 + first, count);
            const auto v2 = v0 - v1;
            const auto v3 = abs(v2);
            v3.store(row + first, count);
        });
    }
};

// Ordinal(3, power=2), reads positions
struct costs_d1f9203c92cd {
    template <class T>
    static void make(const CostProgram& program, int64_t truth, int64_t n, T* row) {
        using V = Pack<T>;
        const T* t0 = static_cast<const T*>(program.table[0]);
        const V i = V(T(truth));
        const auto v0 = V(T(t0[truth]));
        each_pack<T>(n, [&](int64_t first, int64_t count) ALWAYS_INLINE {
            const V j = V(T(first)) + numbers_of_lanes<T>();
            const auto v1 = entries<T>(t0 + first, count);
            const auto v2 = v0 - v1;
            const auto v3 = abs(v2);
            const auto v4 = v3 * v3;
            v4.store(row + first, count);
        });
    }
};

// Ordinal(3, power=1.5), reads positions
struct costs_ccac87ac4fbd {
    template <class T>
    static void make(const CostProgram& program, int64_t truth, int64_t n, T* row) {
        using V = Pack<T>;
        const T* t0 = static_cast<const T*>(program.table[0]);
        const V i = V(T(truth));
        const auto v0 = V(T(t0[truth]));
        each_pack<T>(n, [&](int64_t first, int64_t count) ALWAYS_INLINE {
            const V j = V(T(first)) + numbers_of_lanes<T>();
            const auto v1 = entries<T>(t0 + first, count);
            const auto v2 = v0 - v1;
            const auto v3 = abs(v2);
            const auto v4 = power(v3, program.number[0]);
            v4.store(row + first, count);
        });
    }
};

// Adjusted(3, base=Ordinal(3, power=1)), reads factor
struct costs_a2edefe6a871 {
    template <class T>
    static void make(const CostProgram& program, int64_t truth, int64_t n, T* row) {
        using V = Pack<T>;
        const T* t0 = static_cast<const T*>(program.table[0]);
        const V i = V(T(truth));
        const auto v1 = V(T(t0[0]));
        each_pack<T>(n, [&](int64_t first, int64_t count) ALWAYS_INLINE {
            const V j = V(T(first)) + numbers_of_lanes<T>();
            const auto v0 = V::load(row + first, count, T(0));
            const auto v2 = v1 * v0;
            v2.store(row + first, count);
        });
    }
};

// Adjusted(3, base=Sparse(3)), reads offset
struct costs_c307f64caa8c {
    template <class T>
    static void make(const CostProgram& program, int64_t truth, int64_t n, T* row) {
        using V = Pack<T>;
        const T* t0 = static_cast<const T*>(program.table[0]);
        const V i = V(T(truth));
        const auto v1 = V(T(t0[truth]));
        each_pack<T>(n, [&](int64_t first, int64_t count) ALWAYS_INLINE {
            const V j = V(T(first)) + numbers_of_lanes<T>();
            const auto v0 = V::load(row + first, count, T(0));
            const auto v2 = v0 - v1;
            v2.store(row + first, count);
        });
    }
};

// Savings(3, base=Ordinal(3, power=1)), reads highest
struct costs_f7723ca5df46 {
    template <class T>
    static void make(const CostProgram& program, int64_t truth, int64_t n, T* row) {
        using V = Pack<T>;
        const T* t0 = static_cast<const T*>(program.table[0]);
        const V i = V(T(truth));
        const auto v1 = V(T(t0[truth]));
        each_pack<T>(n, [&](int64_t first, int64_t count) ALWAYS_INLINE {
            const V j = V(T(first)) + numbers_of_lanes<T>();
            const auto v0 = V::load(row + first, count, T(0));
            const auto v2 = v1 - v0;
            v2.store(row + first, count);
        });
    }
};

// ZeroDiagonal(3, base=Sparse(3))
struct costs_50f0315a0913 {
    template <class T>
    static void make(const CostProgram& program, int64_t truth, int64_t n, T* row) {
        using V = Pack<T>;
        const V i = V(T(truth));
        each_pack<T>(n, [&](int64_t first, int64_t count) ALWAYS_INLINE {
            const V j = V(T(first)) + numbers_of_lanes<T>();
            const auto v0 = V::load(row + first, count, T(0));
            const auto v1 = i == j;
            const auto v2 = where(v1, V(T(0.0)), v0);
            v2.store(row + first, count);
        });
    }
};

}  // namespace LOSSMATRIX_ISA

#define LOSSMATRIX_MATRICES(each) each(costs_2bc8503989aa) each(costs_f22a616543be) each(costs_c71b1ceb640a) each(costs_2bd147c7648e) each(costs_7e766205dd5a) each(costs_d1f9203c92cd) each(costs_ccac87ac4fbd) each(costs_a2edefe6a871) each(costs_c307f64caa8c) each(costs_f7723ca5df46) each(costs_50f0315a0913)
