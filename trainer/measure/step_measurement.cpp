// What is measured when time is short? A step's cost is known beforehand up to a factor: the first
// cases show how many flops a second the device does, and a case whose few steps would not fit into
// the time that is left is skipped and named. Every case that is begun gets an equal share of what
// is left for its visit, but stops early once the interval of its median is narrow enough.
#include "trainer/measure/step_measurement.h"

#include <algorithm>
#include <cmath>
#include <map>
#include <memory>
#include <optional>
#include <utility>

#include <fmt/format.h>

#include "models/distribution.h"
#include "models/document/quantity_text.h"
#include "models/vit/cost_graph.h"
#include "trainer/measure/training_bench.h"

namespace vitsim {

namespace {

constexpr int kStepWarmUp = 2;  // steps of a visit that are not counted
constexpr int kLeastSteps = 4;  // counted steps, so that a visit says something
constexpr int kMostStepsOfCase = 60;
constexpr double kStepNarrow = 0.005;  // half-width of the median's interval

std::string label(const StepCase& one) {
  return fmt::format(
      "{} in {} at micro-batch {}", model_name(one.model), name(one.precision), one.micro_batch);
}

double flops_of(const StepCase& one) {
  return training_flops(one.model).value() * static_cast<double>(one.micro_batch);
}

class StepMeasurement {
 public:
  StepMeasurement(Bench& bench, const TrainingSpec& training, double until_s)
      : bench_(bench), training_(training), until_s_(until_s) {}

  // Two steps of the cheapest case show about how fast the device is.
  void probe(const StepCase& cheapest) {
    bench_.progress("a first step");
    build(cheapest);
    trainer_->step(cheapest.micro_batch);
    seconds_per_flop_ =
        bench_.largest(trainer_->step(cheapest.micro_batch).step_s) / flops_of(cheapest);
  }

  // Returns whether others disturbed it; none where the device's memory is too small.
  std::optional<bool> visit(const StepCase& one, int number, double share_s);

  // Seconds that the least number of steps of this case takes.
  [[nodiscard]] double least_s(const StepCase& one) const {
    const auto seen = pace_.find(label(one));
    const double step_s = seen == pace_.end() ? seconds_per_flop_ * flops_of(one) : seen->second;
    return (kStepWarmUp + kLeastSteps) * step_s;
  }

  bool agree(bool word) { return bench_.agree(word); }

  // A processor that is hot or out of credits is slower in later visits, though nobody uses it.
  void look_for_throttling();

  [[nodiscard]] double left_s() const { return until_s_ - bench_.budget().elapsed_s(); }

 private:
  void build(const StepCase& one);

  [[nodiscard]] bool is_built(const StepCase& one) const {
    return built_ && built_->model == one.model && built_->precision == one.precision;
  }

  void leave() {
    trainer_.reset();
    dataset_.reset();
    built_.reset();
  }

  void record(const StepCase& one, int number, const std::vector<TrainingBench::Step>& steps);

  Bench& bench_;
  const TrainingSpec& training_;
  double until_s_;
  std::unique_ptr<Dataset> dataset_;
  std::unique_ptr<TrainingBench> trainer_;
  std::optional<StepCase> built_;
  double seconds_per_flop_ = 0;
  std::map<std::string, double> pace_;  // seconds of a step by case, of the slowest rank
  std::map<std::string, std::vector<double>> visits_;  // the same, one for each visit
};

void StepMeasurement::build(const StepCase& one) {
  if (is_built(one)) {
    return;
  }
  leave();
  TrainingSpec training = training_;
  training.model = one.model;
  training.precision = one.precision;
  dataset_ = open_dataset(training, Split::kTrain);
  trainer_ = std::make_unique<TrainingBench>(training, *dataset_, bench_.device(), bench_.board());
  built_ = one;
}

void StepMeasurement::record(const StepCase& one,
                             int number,
                             const std::vector<TrainingBench::Step>& steps) {
  RecordedRun run{.name = fmt::format("{}/{}/{}/batch {}/rank {}/visit {}",
                                      bench_.name(),
                                      model_name(one.model),
                                      name(one.precision),
                                      one.micro_batch,
                                      bench_.session().rank(),
                                      number),
                  .one_node = true,
                  .gpus = {bench_.name()},
                  .model = one.model,
                  .precision = one.precision,
                  .optimizer = training_.optimizer.kind,
                  .gradient_sync = GradientSync::kDeepspeedZero0,
                  .micro_batch = {one.micro_batch},
                  .epochs = 1,
                  .qkv_split = QkvSplit::kUnbind};
  run.model.name = model_name(one.model);
  const std::string unit = fmt::format("{}:{}", bench_.session().host(), bench_.session().rank());
  const auto add = [&](Series series, std::int64_t warm_up) {
    bench_.measured.samples.push_back(
        {.series = std::move(series), .run = run.name, .warm_up = warm_up});
  };
  for (const Phase phase : {Phase::kDataLoad,
                            Phase::kForward,
                            Phase::kBackward,
                            Phase::kGradientAllReduce,
                            Phase::kOptimizer}) {
    std::vector<double> seconds;
    for (const TrainingBench::Step& step : steps) {
      const auto found = step.phase_s.find(phase);
      seconds.push_back(found == step.phase_s.end() ? 0 : found->second);
    }
    add(PhaseSeries{.part = step_part(phase).value(), .unit = unit, .seconds = seconds},
        kStepWarmUp);
  }
  std::vector<double> whole;
  whole.reserve(steps.size());
  for (const TrainingBench::Step& step : steps) {
    whole.push_back(step.step_s);
  }
  add(StepSeries{.unit = unit, .seconds = whole}, kStepWarmUp);
  MemoryReading memory{.unit = unit,
                       .bytes = {static_cast<double>(bench_.device().peak_memory_bytes())}};
  if (const auto allocated = bench_.device().peak_allocated_bytes()) {
    memory.allocated_bytes = static_cast<double>(*allocated);
  }
  if (const auto capacity = bench_.device().memory_bytes()) {
    memory.capacity_bytes = static_cast<double>(*capacity);
  }
  add(std::move(memory), 0);
  bench_.measured.runs.push_back(std::move(run));
}

std::optional<bool> StepMeasurement::visit(const StepCase& one, int number, double share_s) {
  bench_.progress("step of " + label(one));
  const double begin_s = bench_.budget().elapsed_s();
  if (!is_built(one)) {
    leave();  // before the peak is forgotten: another model's memory is not this one's
  } else {
    trainer_->drop_batches();
  }
  bench_.device().reset_peak_memory();
  const bool fits = bench_.fits([&] { build(one); });
  bench_.communication().barrier();
  const std::size_t first_sample = bench_.measured.samples.size();
  std::vector<TrainingBench::Step> steps;
  std::vector<double> counted;
  bench_.begin_timing();
  bool again = true;
  while (again) {
    if (!fits || !bench_.fits([&] { steps.push_back(trainer_->step(one.micro_batch)); })) {
      bench_.could_not(fmt::format("not measured: {}: out of memory", label(one)));
      leave();
      return std::nullopt;
    }
    if (steps.size() > kStepWarmUp) {
      counted.push_back(steps.back().step_s);
    }
    const double spent_s = bench_.budget().elapsed_s() - begin_s;
    const bool enough =
        counted.size() >= kLeastSteps &&
        (spent_s + steps.back().step_s > share_s || median_uncertainty(counted) < kStepNarrow ||
         counted.size() >= kMostStepsOfCase);
    // Not even the least number of steps, where they turn out far slower than expected.
    const bool too_slow = counted.size() > 1 && left_s() < steps.back().step_s;
    again = bench_.agree(!enough && !too_slow);
  }
  record(one, number, steps);
  const bool disturbed = bench_.end_timing(first_sample);
  const double pace = bench_.largest(median(counted));
  seconds_per_flop_ = pace / flops_of(one);
  pace_[label(one)] = pace;
  visits_[label(one)].push_back(pace);
  return disturbed;
}

void StepMeasurement::look_for_throttling() {
  constexpr double kSteady = 0.05;
  std::vector<double> changes;
  for (const auto& [what, paces] : visits_) {
    if (paces.size() > 1) {
      changes.push_back(paces.back() / paces.front() - 1);
    }
  }
  if (!changes.empty() && std::abs(median(changes)) > kSteady) {
    bench_.could_not(
        fmt::format("the machine's own speed changed while it was measured: steps of later visits "
                    "took {:+.0f} % (throttling?); the profile's spread holds it",
                    100 * median(changes)));
  }
}

}  // namespace

void measure_steps(Bench& bench,
                   const TrainingSpec& training,
                   std::vector<StepCase> cases,
                   double until_s) {
  StepMeasurement measurement(bench, training, until_s);
  const std::int64_t samples = open_dataset(training, Split::kTrain)->size();
  std::erase_if(cases, [&](const StepCase& one) {
    if (one.micro_batch > samples) {
      bench.could_not(
          fmt::format("not measured: {}: the data set holds {} samples", label(one), samples));
    }
    return one.micro_batch > samples;
  });
  if (cases.empty()) {
    return;
  }
  measurement.probe(*std::ranges::min_element(cases, {}, flops_of));
  // A case is begun only where its second visit, and those of the cases before it, fit as well.
  std::vector<StepCase> chosen;
  double owed_s = 0;
  for (std::size_t i = 0; i < cases.size(); ++i) {
    const double least_s = measurement.least_s(cases[i]);
    if (!measurement.agree(owed_s + 2 * least_s < measurement.left_s())) {
      bench.could_not(fmt::format(
          "not measured: {}: no time for {} steps", label(cases[i]), kStepWarmUp + kLeastSteps));
      continue;
    }
    const auto visits_left = static_cast<double>(2 * (cases.size() - i) + chosen.size());
    if (!measurement.visit(cases[i], 1, measurement.left_s() / visits_left)) {
      continue;
    }
    bench.keep();
    chosen.push_back(cases[i]);
    owed_s = 0;
    for (const StepCase& other : chosen) {
      owed_s += measurement.least_s(other);
    }
  }
  bench.keep();
  std::vector<StepCase> disturbed;
  for (std::size_t i = 0; i < chosen.size(); ++i) {
    const double left_s = measurement.left_s();
    if (!measurement.agree(measurement.least_s(chosen[i]) < left_s)) {
      bench.could_not(fmt::format("measured once only: {}: no time", label(chosen[i])));
    } else if (measurement.visit(chosen[i], 2, left_s / static_cast<double>(chosen.size() - i))
                   .value_or(false)) {
      disturbed.push_back(chosen[i]);
    }
  }
  bench.keep();
  // Time is left: once more what others disturbed.
  for (std::size_t i = 0; i < disturbed.size(); ++i) {
    const double left_s = measurement.left_s();
    if (measurement.agree(2 * measurement.least_s(disturbed[i]) < left_s)) {
      measurement.visit(disturbed[i], 3, left_s / static_cast<double>(disturbed.size() - i));
    }
  }
  measurement.look_for_throttling();
  bench.keep();
}

std::string model_name(const VitSpec& model) {
  for (const VitSpec& variant : vit_variants()) {
    VitSpec same = variant;
    same.image_size = model.image_size;
    same.channels = model.channels;
    same.classes = model.classes;
    same.name = model.name;
    if (same == model) {
      return variant.name;
    }
  }
  return fmt::format("vit-{}x{}x{}-{}", model.layers, model.width, model.mlp, model.patch);
}

}  // namespace vitsim
