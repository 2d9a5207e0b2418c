#pragma once

#include <vector>

#include "calibrate/compute/operator_rates.h"
#include "calibrate/fit/fit.h"
#include "calibrate/measurement/measurement.h"

namespace vitsim {

/// What a GPU, its host and the link inside its node deliver to trainings whose model is split: the
/// unknowns of `fit_parallel_steps`.
struct ParallelConstants {
  OperatorRates rates;
  HostLaunch host;
  BytesPerSecond update;  // bytes that the optimizer moves
  BytesPerSecond link;    // of each GPU, each way
};

/// A step by these constants: the same operators, floors and schedule as a prediction's program,
/// summed up in closed form. With stages s of F_s + B_s, m micro-batches of 1F1B take
/// (m - 1) max_s (F_s + B_s) + sum_s (F_s + B_s); gradients travel beside the last backward pass.
Seconds parallel_step_time(const ParallelStepSeries& step, const ParallelConstants& constants);

/// By robust least squares on the logarithms of step times, no rate above the data sheet's peak
/// where `sheet` is known.
ParallelConstants fit_parallel_constants(const std::vector<ParallelStepSeries>& steps,
                                         const GpuSheet* sheet);

/// Logarithms of predicted by measured times, each step by a fit to the nine tenths of the steps
/// that it is not among.
std::vector<double> left_out_parallel_errors(const std::vector<ParallelStepSeries>& steps,
                                             const GpuSheet* sheet);

/// Profiles of the GPUs whose steps by parallelism a measurement holds, and of the links inside
/// their nodes, "NAME-parallel".
void fit_parallel_steps(const Measurement& measurement,
                        const FitOptions& options,
                        Calibration& calibration);

}  // namespace vitsim
