// Plans: of five GPUs, and of 64 nodes of 8 GPUs of three kinds; candidate predictions by the
// thousand.
#include <stdexcept>
#include <string>

#include <benchmark/benchmark.h>

#include "sim/plan/plan.h"

namespace vitsim {
namespace {

const std::filesystem::path kTesla = VITSIM_SOURCE_DIR "/configs/cluster/tesla-5gpu.json";

constexpr const char* kThreeKinds = R"({
  "cluster": {"nodes": [
    {"name": "h", "count": 22, "gpus": ["h100", "h100", "h100", "h100", "h100", "h100", "h100", "h100"]},
    {"name": "a", "count": 21, "gpus": ["a100", "a100", "a100", "a100", "a100", "a100", "a100", "a100"]},
    {"name": "v", "count": 21, "gpus": ["v100", "v100", "v100", "v100", "v100", "v100", "v100", "v100"]}],
    "network": {"link": "ib-hdr", "count": 4}},
  "training": {"model": "vit-l-16", "dataset": {"name": "imagenet", "samples": 1281167},
               "micro_batch_per_gpu": 16, "precision": "amp-fp16", "epochs": 90}})";

Plan checked(const PlanRequest& request) {
  Plan plan = make_plan(request, {});
  if (plan.options.empty() || plan.options.front().gain_share <= 0) {
    throw std::logic_error("the plan finds nothing");
  }
  return plan;
}

void plan_of_five_gpus(benchmark::State& state) {
  const PlanRequest request{.text = experiment_text(kTesla), .file = kTesla};
  for (auto _ : state) {
    benchmark::DoNotOptimize(checked(request).options.size());
  }
}

BENCHMARK(plan_of_five_gpus)->Unit(benchmark::kMillisecond)->Iterations(1);

void plan_of_512_gpus_of_three_kinds(benchmark::State& state) {
  const PlanRequest request{.text = kThreeKinds, .file = "three-kinds.json"};
  for (auto _ : state) {
    benchmark::DoNotOptimize(checked(request).options.size());
  }
}

BENCHMARK(plan_of_512_gpus_of_three_kinds)->Unit(benchmark::kMillisecond)->Iterations(1);

// Every number of epochs is a way of its own, of which the best of each kind is predicted.
void candidate_predictions(benchmark::State& state) {
  PlanRequest request{.text = experiment_text(kTesla),
                      .file = kTesla,
                      .keep = {"training.gradient_sync",
                               "training.parallelism",
                               "training.zero",
                               "training.fsdp",
                               "training.recompute"},
                      .vary = {{.key = "training.epochs", .values = {}}}};
  for (int epochs = 11; epochs < 11 + state.range(0); ++epochs) {
    request.vary.front().values.push_back(std::to_string(epochs));
  }
  std::int64_t predicted = 0;
  for (auto _ : state) {
    predicted += make_plan(request, {}).search.predicted;
  }
  state.counters["predictions"] = static_cast<double>(predicted);
  state.counters["per_second"] =
      benchmark::Counter(static_cast<double>(predicted), benchmark::Counter::kIsRate);
}

BENCHMARK(candidate_predictions)->Arg(200)->Unit(benchmark::kMillisecond)->Iterations(1);

}  // namespace
}  // namespace vitsim
