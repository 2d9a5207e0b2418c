// Steps of language models on GPUs of one machine, by tensor, data and pipeline parallelism. What
// is measured is a whole step; the unknowns are nine:
//
//   products' rate and the width at which they reach half of it, attention's rate, the head's rate,
//   the memory's bandwidth, what the host takes to launch a kernel and to call a collective, the
//   link's bandwidth, the bandwidth of the optimizer's update.
//
// In each block and micro-batch the slower of two counts: the host, which launches kernels and
// calls collectives, or the device with its collectives. Small models are all host: there tensor
// parallelism gains nothing. Each unknown is a logarithm with a wide prior, so that few steps do
// not run away; rates stay below the sheet's peak, being peak x / (1 + x) of an unknown x.
// Neglected: what schedules of unequal stages gain over the closed form, and memory that runs out.
#include "calibrate/fit/parallel_fit.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <map>

#include "calibrate/compute/compute_model.h"
#include "calibrate/fit/least_squares.h"
#include "models/distribution.h"
#include "models/vit/buckets.h"
#include "models/vit/partition.h"

namespace vitsim {

namespace {

// Steps of one configuration differ by about as much from run to run.
constexpr double kStepSigma = 0.03;
// Where no data sheet is known: above every GPU of the time being.
constexpr double kAnyPeakFlops = 5e15;
constexpr double kAnyBandwidth = 2e13;
constexpr double kAnyLink = 2e12;
// So many elements are handled per second that it never shows beside the memory.
constexpr double kManyElements = 1e15;

struct Prior {
  double typical;
  double sigma;  // of the logarithm
};

// In the order of the unknowns. Rates are odds of the peak: 1 is half of it.
constexpr std::array<Prior, 9> kPriors = {{
    {1.5, 0.7},    // products
    {100, 1.5},    // width at half of it
    {0.2, 1.0},    // attention
    {0.5, 0.7},    // head
    {1.5, 0.7},    // memory
    {40e-6, 1.0},  // launch of a kernel, s
    {50e-6, 1.0},  // call of a collective, s
    {0.1, 1.5},    // link
    {1.0, 1.0},    // update
}};

Eigen::VectorXd prior_point() {
  Eigen::VectorXd x(static_cast<Eigen::Index>(kPriors.size()));
  for (std::size_t i = 0; i < kPriors.size(); ++i) {
    x[static_cast<Eigen::Index>(i)] = std::log(kPriors[i].typical);
  }
  return x;
}

ParallelConstants constants_at(const Eigen::VectorXd& x,
                               Precision precision,
                               const GpuSheet* sheet) {
  const double peak = sheet ? peak_flops(*sheet, precision).value() : kAnyPeakFlops;
  const double bandwidth = sheet ? sheet->memory_bandwidth.value() : kAnyBandwidth;
  const auto share = [&](Eigen::Index i) { return std::exp(x[i]) / (1 + std::exp(x[i])); };
  ParallelConstants constants;
  OperatorRates& rates = constants.rates;
  rates.precision = precision;
  rates.gemm_forward = FlopsPerSecond(peak * share(0));
  rates.gemm_backward = rates.gemm_forward;
  rates.convolution = rates.gemm_forward;
  rates.gemm_inner = std::exp(x[1]);
  rates.attention = FlopsPerSecond(peak * share(2));
  rates.head = FlopsPerSecond(peak * share(3));
  rates.memory = BytesPerSecond(bandwidth * share(4));
  rates.elements = kManyElements;
  constants.host.forward = Seconds(std::exp(x[5]));
  constants.host.backward = constants.host.forward;
  constants.host.collective = Seconds(std::exp(x[6]));
  constants.link = BytesPerSecond(kAnyLink * share(7));
  constants.update = BytesPerSecond(bandwidth * share(8));
  return constants;
}

// What a ring moves of an AllReduce's bytes over each link.
double ring_share(std::int64_t ranks) {
  return 2 * static_cast<double>(ranks - 1) / static_cast<double>(ranks);
}

/// One pass of a stage: its operators do not depend on the constants.
struct StagePass {
  Pass pass;
  ModelPart part;
  std::int64_t micro_batch;
  std::vector<Operator> blocks;
  std::vector<Operator> ends;

  StagePass(const ModelPart& whole, Pass which, Precision precision, std::int64_t batch)
      : pass(which),
        part(whole),
        micro_batch(batch),
        blocks(pass_operators(whole.only_blocks(), precision, which)),
        ends(pass_operators(whole.only_ends(), precision, which)) {}

  [[nodiscard]] Seconds time(const ParallelConstants& constants) const {
    PassTime of_blocks = pass_time(constants.rates, constants.host, blocks, pass, micro_batch);
    of_blocks.host += collective_launches(constants.host, part);
    if (part.tensor > 1) {
      constexpr double kCallsPerBlock = 2;
      const Bytes call = static_cast<double>(micro_batch * hidden_elements(part)) *
                         arithmetic_bytes(constants.rates.precision);
      of_blocks.kernels += kCallsPerBlock * static_cast<double>(part.block_count()) *
                           (ring_share(part.tensor) * call / constants.link);
    }
    return of_blocks.total() +
           pass_time(constants.rates, constants.host, ends, pass, micro_batch).total();
  }
};

/// A step with all that does not depend on the constants.
class PreparedStep {
 public:
  explicit PreparedStep(const ParallelStepSeries& step)
      : step_(step), log_measured_(std::log(median(step.seconds))) {
    ParallelismSpec split;
    split.tensor = step.tensor;
    split.pipeline.stages = step.pipeline;
    const std::vector<std::int64_t> blocks =
        deal_blocks(step.model.layers, step.pipeline, 1, StageCosts{});
    for (std::int64_t stage = 0; stage < step.pipeline; ++stage) {
      const ModelPart part = part_of_stage(step.model, split, Recompute::kNone, blocks, stage);
      forward_.emplace_back(part, Pass::kForward, step.precision, step.micro_batch);
      backward_.emplace_back(part, Pass::kBackward, step.precision, step.micro_batch);
    }
    const ModelPart& first = forward_.front().part;
    parameters_ = static_cast<double>(parameter_count(first));
    if (step.data > 1) {
      buckets_ = gradient_buckets(first, gradient_bytes_per_parameter(step.precision));
    }
  }

  [[nodiscard]] Seconds time(const ParallelConstants& constants) const {
    const auto batches = static_cast<double>(step_.micro_batches);
    Seconds slowest;
    Seconds sum;
    for (std::size_t stage = 0; stage < forward_.size(); ++stage) {
      const Seconds both = forward_[stage].time(constants) + backward_[stage].time(constants);
      slowest = std::max(slowest, both);
      sum += both;
    }
    return (batches - 1) * slowest + sum + messages(constants) + exposed_gradients(constants) +
           parameters_ * update_bytes_per_parameter(OptimizerKind::kAdamW) / constants.update;
  }

  /// Logarithm of predicted by measured.
  [[nodiscard]] double log_error(const ParallelConstants& constants) const {
    return std::log(time(constants).value()) - log_measured_;
  }

 private:
  /// Between stages, and of the embedding that both ends hold.
  [[nodiscard]] Seconds messages(const ParallelConstants& constants) const {
    if (step_.pipeline == 1) {
      return Seconds(0);
    }
    const ModelPart& first = forward_.front().part;
    const Bytes message = static_cast<double>(step_.micro_batch * hidden_elements(first)) *
                          arithmetic_bytes(step_.precision);
    const auto edges = static_cast<double>(step_.micro_batches + step_.pipeline - 2);
    const std::int64_t rows = step_.model.vocabulary / step_.tensor;
    const Bytes embedding = static_cast<double>(rows * step_.model.width) *
                            gradient_bytes_per_parameter(step_.precision);
    return (2 * edges * message + ring_share(2) * embedding) / constants.link;
  }

  /// Gradients travel in buckets beside the last backward pass: what is left of them behind it.
  [[nodiscard]] Seconds exposed_gradients(const ParallelConstants& constants) const {
    if (buckets_.empty()) {
      return Seconds(0);
    }
    const Seconds backward = backward_.front().time(constants);
    Seconds end;
    for (const GradientBucket& bucket : buckets_) {
      end = std::max(end, bucket.ready_share * backward) +
            ring_share(step_.data) * Bytes(static_cast<double>(bucket.bytes)) / constants.link;
    }
    return std::max(Seconds(0), end - backward);
  }

  ParallelStepSeries step_;
  double log_measured_;
  std::vector<StagePass> forward_;
  std::vector<StagePass> backward_;
  double parameters_ = 0;  // of the first stage
  std::vector<GradientBucket> buckets_;
};

std::vector<PreparedStep> prepared(const std::vector<ParallelStepSeries>& steps) {
  return {steps.begin(), steps.end()};
}

Eigen::VectorXd fitted_point(const std::vector<const PreparedStep*>& steps,
                             Precision precision,
                             const GpuSheet* sheet,
                             const Eigen::VectorXd& start) {
  const auto count = static_cast<Eigen::Index>(steps.size());
  const auto priors = static_cast<Eigen::Index>(kPriors.size());
  const Eigen::VectorXd typical = prior_point();
  const auto residuals = [&](const Eigen::VectorXd& x, Eigen::VectorXd& r) {
    const ParallelConstants constants = constants_at(x, precision, sheet);
    for (Eigen::Index i = 0; i < count; ++i) {
      r[i] = steps[static_cast<std::size_t>(i)]->log_error(constants) / kStepSigma;
    }
    for (Eigen::Index i = 0; i < priors; ++i) {
      r[count + i] = (x[i] - typical[i]) / kPriors[static_cast<std::size_t>(i)].sigma;
    }
  };
  return robust_least_squares(residuals, start, count + priors, count).x;
}

Eigen::VectorXd fitted_point(const std::vector<PreparedStep>& steps,
                             Precision precision,
                             const GpuSheet* sheet) {
  std::vector<const PreparedStep*> all;
  all.reserve(steps.size());
  for (const PreparedStep& step : steps) {
    all.push_back(&step);
  }
  return fitted_point(all, precision, sheet, prior_point());
}

}  // namespace

Seconds parallel_step_time(const ParallelStepSeries& step, const ParallelConstants& constants) {
  return PreparedStep(step).time(constants);
}

ParallelConstants fit_parallel_constants(const std::vector<ParallelStepSeries>& steps,
                                         const GpuSheet* sheet) {
  const Precision precision = steps.front().precision;
  return constants_at(fitted_point(prepared(steps), precision, sheet), precision, sheet);
}

std::vector<double> left_out_parallel_errors(const std::vector<ParallelStepSeries>& steps,
                                             const GpuSheet* sheet) {
  constexpr std::size_t kFolds = 10;
  const Precision precision = steps.front().precision;
  const std::vector<PreparedStep> all = prepared(steps);
  // The unknowns without a tenth of the steps lie near those with them.
  const Eigen::VectorXd start = fitted_point(all, precision, sheet);
  std::vector<double> errors;
  for (std::size_t fold = 0; fold < kFolds && fold < all.size(); ++fold) {
    std::vector<const PreparedStep*> others;
    for (std::size_t i = 0; i < all.size(); ++i) {
      if (i % kFolds != fold) {
        others.push_back(&all[i]);
      }
    }
    if (others.empty()) {
      continue;
    }
    const ParallelConstants constants =
        constants_at(fitted_point(others, precision, sheet, start), precision, sheet);
    for (std::size_t i = fold; i < all.size(); i += kFolds) {
      errors.push_back(all[i].log_error(constants));
    }
  }
  return errors;
}

void fit_parallel_steps(const Measurement& measurement,
                        const FitOptions& options,
                        Calibration& calibration) {
  std::map<std::pair<std::string, Precision>, std::vector<ParallelStepSeries>> by_gpu;
  for (const Sample& sample : measurement.samples) {
    if (const auto* step = sample.as<ParallelStepSeries>(); step != nullptr) {
      if (!step->seconds.empty()) {
        by_gpu[{step->gpu, step->precision}].push_back(*step);
      }
    }
  }
  for (const auto& [key, steps] : by_gpu) {
    const auto& [gpu, precision] = key;
    const GpuSheet* sheet = options.sheet(gpu);
    const ParallelConstants constants = fit_parallel_constants(steps, sheet);
    GpuProfile& profile = calibration.gpus[gpu];
    profile.rates.push_back(constants.rates);
    profile.host = constants.host;
    profile.operators.push_back({.kind = "optimizer",
                                 .precision = precision,
                                 .flops_per_s = FlopsPerSecond(0),
                                 .bytes_per_s = constants.update,
                                 .overhead = Seconds(0)});
    profile.provenance.sources.emplace_back("steps by parallelism");
    LinkProfile& link = calibration.links[gpu + "-parallel"];
    link.name = gpu + "-parallel";
    link.bandwidth = constants.link;
    link.provenance.sources.emplace_back("steps by parallelism");
    profile.intra_node = link.name;
    if (!options.with_spread) {
      continue;
    }
    const std::vector<double> errors = left_out_parallel_errors(steps, sheet);
    double squares = 0;
    double absolute = 0;
    double worst = 0;
    for (const double error : errors) {
      squares += error * error;
      absolute += std::abs(std::expm1(error));
      worst = std::max(worst, std::abs(std::expm1(error)));
    }
    const auto n = static_cast<double>(errors.size());
    if (n > 0) {
      profile.rates.back().error = absolute / n;
      profile.spread.run_sigma = std::sqrt(squares / n);
      profile.fit = {
          .runs = static_cast<int>(errors.size()), .mean_abs_error = absolute / n, .worst = worst};
      link.fit = profile.fit;
    }
  }
}

}  // namespace vitsim
