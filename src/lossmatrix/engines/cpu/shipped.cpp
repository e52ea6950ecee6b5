// SPDX-License-Identifier: BSD-3-Clause
// The kernels that ship with the package, for the instruction set LOSSMATRIX_SET.
#define JOINED_(a, b) a##b
#define JOINED(a, b) JOINED_(a, b)
#define LOSSMATRIX_ISA JOINED(lossmatrix_, LOSSMATRIX_SET)

#include "curvature.hpp"

#include "costs.hpp"
#include "formulas.hpp"
#include "matrices.hpp"
#include "products.hpp"

// read by compile.py: a library of another version of these structures is not used
extern "C" __attribute__((visibility("default"))) const int64_t JOINED(lossmatrix_sizes_, LOSSMATRIX_SET)[] = {
    sizeof(Task), sizeof(CostProgram)};

#define KERNEL(formula, ...)                                                                    \
    extern "C" __attribute__((visibility("default"))) void JOINED(formula##_, LOSSMATRIX_SET)( \
        Task * task) {                                                                     \
        using namespace LOSSMATRIX_ISA; run<__VA_ARGS__>(task);                                \
    }
LOSSMATRIX_FORMULAS(KERNEL)
LOSSMATRIX_PRODUCTS(JOINED(lossmatrix_multiply_, LOSSMATRIX_SET),
                    JOINED(lossmatrix_least_cost_, LOSSMATRIX_SET))

#define MATRIX(costs)                                                                      \
    extern "C" __attribute__((visibility("default"))) void JOINED(costs##_, LOSSMATRIX_SET)( \
        const CostProgram* program, int64_t truth, int64_t count, void* row) {             \
        LOSSMATRIX_ISA::make_row<LOSSMATRIX_ISA::costs>(program, truth, count, row);       \
    }
MATRIX(costs_tree)
MATRIX(costs_sparse)
MATRIX(costs_soft_targets)
LOSSMATRIX_MATRICES(MATRIX)

#define CURVATURE(formula)                                                                     \
    extern "C" __attribute__((visibility("default"))) void JOINED(formula##_, LOSSMATRIX_SET)( \
        CurvatureTask * task) {                                                                \
        LOSSMATRIX_ISA::curvature<LOSSMATRIX_ISA::formula>(task);                              \
    }
LOSSMATRIX_CURVATURES(CURVATURE)
