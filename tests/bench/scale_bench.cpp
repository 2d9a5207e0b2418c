#include <string>

#include <benchmark/benchmark.h>
#include <fmt/format.h>

#include "calibrate/profile/lookup.h"
#include "sim/job/resolve.h"
#include "sim/predict/predict.h"
#include "sim/step/step_executor.h"

// Predictions of large clusters: nodes of 8 GPUs, all H100 or half H100 and half A100. The same
// clusters with 64 and 256 GPUs are first held against the event level, rank by rank.

namespace vitsim {
namespace {

Experiment cluster_of(std::int64_t gpus, bool mixed, const char* sync, const char* algorithm) {
  const std::int64_t nodes = gpus / 8;
  const auto group = [](const char* name, std::int64_t count, const char* gpu) {
    return fmt::format(
        R"({{"name": "{0}", "count": {1}, "gpus": ["{2}","{2}","{2}","{2}","{2}","{2}","{2}","{2}"]}})",
        name,
        count,
        gpu);
  };
  const std::string list =
      mixed ? group("a", nodes / 2, "h100") + "," + group("b", nodes - nodes / 2, "a100")
            : group("a", nodes, "h100");
  return experiment_from_text(fmt::format(R"({{"cluster": {{"nodes": [{}],
        "network": {{"bandwidth": "400Gbps", "latency": "5us"}},
        "intra_node": {{"bandwidth": "300GB/s", "latency": "3us"}}}},
        "training": {{"model": "vit-l-16", "dataset": {{"name": "any", "samples": 25623340}},
        "micro_batch_per_gpu": 32, "epochs": 10, "precision": "bf16", "gradient_sync": "{}",
        "all_reduce": "{}"}}}})",
                                          list,
                                          sync,
                                          algorithm),
                              "scale.json");
}

ResolvedExperiment resolved(const Experiment& experiment) {
  return resolve(experiment, load_profiles(experiment, ProfileLibrary()));
}

bool equals_events(const Experiment& experiment) {
  const ResolvedExperiment lab = resolved(experiment);
  const ResolvedJob& job = lab.jobs.front();
  StepExecutor executor(job.group, *job.full);
  const OperationTicks ticks(*job.full);
  const std::vector<Tick> starts(job.world_size());
  std::vector<Tick> fast(starts.size());
  std::vector<Tick> slow(starts.size());
  executor.run(ticks, starts, fast);
  executor.run_events(ticks, starts, slow);
  return fast == slow;
}

void predict_large(benchmark::State& state) {
  static constexpr const char* kSyncs[] = {"ddp", "deepspeed-zero-0"};
  static constexpr const char* kAlgorithms[] = {"ring", "hierarchical", "tree", "nccl"};
  const bool mixed = state.range(1) == 1;
  const char* sync = kSyncs[state.range(2)];
  const char* algorithm = kAlgorithms[state.range(3)];
  state.SetLabel(fmt::format("{}, {}, {}", mixed ? "H100 and A100" : "H100", sync, algorithm));
  const bool by_arrays = state.range(3) < 2;  // the others are events, or NCCL's own figures, there
  if (by_arrays && (!equals_events(cluster_of(64, mixed, sync, algorithm)) ||
                    !equals_events(cluster_of(256, mixed, sync, algorithm)))) {
    state.SkipWithError("arrays differ from events");
  }
  for (auto _ : state) {
    const Experiment experiment = cluster_of(state.range(0), mixed, sync, algorithm);
    benchmark::DoNotOptimize(predict(resolved(experiment), {}).front().epoch_s.p50);
  }
}

BENCHMARK(predict_large)
    ->ArgsProduct({{1024, 12'800, 100'000}, {0, 1}, {0, 1}, {0, 1, 2, 3}})
    ->ArgNames({"gpus", "mixed", "sync", "algorithm"})
    ->Unit(benchmark::kMillisecond)
    ->Iterations(1);

}  // namespace
}  // namespace vitsim
