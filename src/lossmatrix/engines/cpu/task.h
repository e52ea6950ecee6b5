// SPDX-License-Identifier: BSD-3-Clause
// One call from Python: plain data, read by every kernel. engines/cpu/compile.py mirrors it field by field.
#pragma once
#include <stdint.h>

enum { LOSSMATRIX_STREAMS = 3, LOSSMATRIX_PARAMETERS = 12 };
enum { LOSSMATRIX_TABLES = 8, LOSSMATRIX_NUMBERS = 8 };  // what a program of costs reads

typedef int32_t (*ParallelFor)(int64_t begin, int64_t end, int64_t grain,
                               void (*body)(int64_t, int64_t, void*), void* context);

// How the costs of a truth are made where no table holds them: its `base` makes a row, and make_row
// changes it; without a base it makes it. Tables are numbers of the computation, or int64.
struct CostProgram {
    void (*make_row)(const struct CostProgram* program, int64_t truth, int64_t count, void* row);
    const struct CostProgram* base;
    int32_t type;  // 0 float32, 1 float64
    const void* table[LOSSMATRIX_TABLES];
    double number[LOSSMATRIX_NUMBERS];
};

struct Task {
    // logits and gradient are (batch, classes, positions) with any strides, in elements
    const void* logits;
    void* gradient;  // null: not wanted. Same type as the logits.
    int64_t batch, classes, positions;
    int64_t logits_stride[3], gradient_stride[3];
    int32_t type;         // 0 float32, 1 float64, 2 bfloat16, 3 float16
    int32_t target_type;  // 0 int64, 1 int32, 2 uint8
    const void* target;   // (batch, positions)
    int64_t target_stride[2];
    int64_t ignore_index;
    // rows of costs: of the truth, or of the sample where per_sample is set
    const void* costs[LOSSMATRIX_STREAMS];
    int64_t costs_stride[LOSSMATRIX_STREAMS];
    int32_t per_sample[LOSSMATRIX_STREAMS];
    const struct CostProgram* rule[LOSSMATRIX_STREAMS];  // in place of rows of costs, or null
    // Class probabilities, or smoothed class indices: t_j = keep[j] · (probability of j, or [j = y]) + base[j]
    const void* probs;  // (batch, classes, positions), or null
    int64_t probs_stride[3];
    int32_t probs_type;
    const void *keep, *base;  // (classes) numbers of the computation; null for 1, and 0
    const void* smooth_costs[LOSSMATRIX_STREAMS];  // base · D: what smoothing adds to keep[y] · D[y], or null
    // What decisions are expected to cost. Made in the same visit where a table D (classes, decisions) is
    // given; else excess and ∂ℓ/∂p by way of the risks are given for every row, without gaps.
    int64_t decisions;
    const void* risk_costs;
    int64_t risk_stride;
    const void *smooth_risk_costs, *excess, *risk_grad;
    double decision_parameters[LOSSMATRIX_PARAMETERS];
    int32_t mean;               // divide by the weights of the rows that count …
    double denominator;         // … or by this, where it is not 0
    const void* weight;         // (classes), or null
    const void* sample_weight;  // (batch · positions), or null
    double parameters[LOSSMATRIX_PARAMETERS];
    // Two classes: logits and gradient have class 1 alone, and class 0 has the logit 0; probabilities
    // likewise have that of class 1. Both in tiles only.
    int32_t one_logit, one_share;
    int64_t labels;      // where not 0: row r has the tables [r mod labels] of costs and risk costs
    int32_t tiled;       // rows side by side, or classes side by side
    int32_t accumulate;  // add to gradient and losses instead of writing them
    int32_t gradient_dense;  // the gradient is one block of memory without gaps
    void* losses;            // (batch · positions), or null
    double total;            // out: the sum, or the mean
    int64_t outside;         // out: a target that is no class; the call then did nothing else
    int32_t is_outside;      // out: whether there is one
    int32_t threads;         // 1: never leave the calling thread
    ParallelFor parallel_for;
};
