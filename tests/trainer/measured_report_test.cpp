#include "trainer/measured_report.h"

#include <gtest/gtest.h>

namespace vitsim {
namespace {

// Two ranks, one full step after one warm-up step. Rank 0 computes 4 + 6 ns, rank 1 8 + 12 ns; the
// AllReduce of 5 ns begins when rank 1 comes, so rank 0 is 10 + 5 ns in it.
struct Example {
  ClusterSpec cluster{.nodes = {{.name = "box", .gpus = {{.model = "fast"}, {.model = "slow"}}}}};
  TrainingSpec training{.micro_batch = {2}};
  EpochPlan plan = plan_epoch(8, 2, std::vector<std::int64_t>{2}, 1);
  Measured measured{.epochs_s = {3, 1, 2},
                    .total_s = 7,
                    .peak_memory_bytes = {100, 200},
                    .peak_allocated_bytes = {80, 0},
                    .memory_bytes = {1000, 0},
                    .devices = {"A", "B"},
                    .power = {{.mean_w = 300, .peak_w = 400, .energy_j = 2100}, {}}};

  void step(std::int64_t number, std::int64_t start, bool warm_up) {
    const auto add = [&](std::int64_t rank, Phase phase, std::int64_t begin, std::int64_t end) {
      measured.spans.push_back({.rank = rank,
                                .step = number,
                                .phase = phase,
                                .begin_ns = start + begin,
                                .end_ns = start + end,
                                .bytes = phase == Phase::kGradientAllReduce ? 64 : 0,
                                .warm_up = warm_up});
    };
    add(0, Phase::kForward, 0, 4);
    add(0, Phase::kBackward, 4, 10);
    add(0, Phase::kGradientAllReduce, 10, 25);
    add(0, Phase::kOptimizer, 25, 27);
    add(1, Phase::kForward, 0, 8);
    add(1, Phase::kBackward, 8, 20);
    add(1, Phase::kGradientAllReduce, 20, 25);
    add(1, Phase::kOptimizer, 25, 27);
    for (const std::int64_t rank : {0, 1}) {
      measured.steps.push_back({.rank = rank,
                                .step = number,
                                .begin_ns = start,
                                .end_ns = start + 28,
                                .warm_up = warm_up});
    }
  }
};

TEST(MeasuredReport, SeparatesBusyTimeFromWaiting) {
  Example example;
  example.step(0, 0, true);
  example.step(1, 1000, false);
  const Report report =
      measured_report(example.cluster, example.training, example.plan, example.measured);
  const double ns = 1e-9;
  EXPECT_EQ(report.source, "measured");
  EXPECT_EQ(report.steps_per_epoch, 2);
  EXPECT_DOUBLE_EQ(report.epoch_s.p50, 2);
  EXPECT_FALSE(report.epoch_s.p05.has_value());
  EXPECT_DOUBLE_EQ(report.samples_per_s, 4);  // 8 samples in the median epoch of 2 s
  EXPECT_NEAR(report.step_s.p50, 28 * ns, 1e-15);
  EXPECT_NEAR(report.phases.forward_s, 6 * ns, 1e-15);   // (4 + 8) / 2
  EXPECT_NEAR(report.phases.backward_s, 9 * ns, 1e-15);  // (6 + 12) / 2
  EXPECT_NEAR(report.phases.gradient_all_reduce_s, 5 * ns, 1e-15);
  EXPECT_NEAR(report.phases.optimizer_s, 2 * ns, 1e-15);
  EXPECT_NEAR(report.exposed_communication_s, 5 * ns, 1e-15);
  // After the optimizer both have 1 ns that no phase explains: the host's own.
  EXPECT_NEAR(report.phases.other_s, 1 * ns, 1e-15);
  // The parts are those of the step.
  EXPECT_NEAR(report.phases.compute_s() + report.exposed_communication_s + report.wait_s,
              report.step_s.p50,
              1e-15);
  EXPECT_NEAR(report.ranks[0].wait_s, 10 * ns, 1e-15);
  EXPECT_NEAR(report.ranks[1].wait_s, 0, 1e-15);
  EXPECT_NEAR(report.ranks[0].compute_s, 12 * ns, 1e-15);
  EXPECT_NEAR(report.ranks[1].compute_s, 22 * ns, 1e-15);
  EXPECT_DOUBLE_EQ(report.ranks[0].late_share, 0);
  EXPECT_DOUBLE_EQ(report.ranks[1].late_share, 1);
  // The median of 12 and 22 is 17: as fast as that, rank 1 saves 5 ns in each of 2 steps.
  EXPECT_NEAR(report.ranks[1].gain_s, 10 * ns, 1e-15);
  EXPECT_DOUBLE_EQ(report.ranks[0].gain_s, 0);
  EXPECT_EQ(report.ranks[1].gpu, "slow");
  EXPECT_EQ(report.ranks[0].memory.capacity_bytes, 1000);
  EXPECT_FALSE(report.ranks[1].memory.capacity_bytes.has_value());
}

TEST(MeasuredReport, TellsMemoryByTheAllocatorAndPowerWhereTheyAreKnown) {
  // Rank 0 is on a GPU, of whose memory the allocator reserved 100 and tensors held 80; rank 1 is
  // on a CPU.
  Example example;
  example.step(1, 0, false);
  const Report report =
      measured_report(example.cluster, example.training, example.plan, example.measured);
  EXPECT_EQ(report.ranks[0].memory.total_bytes, 100);
  EXPECT_EQ(report.ranks[0].memory.reserved_bytes, 100);
  EXPECT_EQ(report.ranks[0].memory.allocated_bytes, 80);
  EXPECT_EQ(report.rank_classes[0].memory.allocated_bytes, 80);
  EXPECT_EQ(report.ranks[1].memory.total_bytes, 200);
  EXPECT_FALSE(report.ranks[1].memory.allocated_bytes.has_value());
  EXPECT_FALSE(report.ranks[1].memory.reserved_bytes.has_value());
  ASSERT_TRUE(report.ranks[0].power.has_value());
  EXPECT_EQ(report.ranks[0].power->mean_w, 300);
  EXPECT_EQ(report.ranks[0].power->peak_w, 400);
  EXPECT_EQ(report.ranks[0].power->energy_j, 2100);
  EXPECT_FALSE(report.ranks[1].power.has_value());
}

TEST(MeasuredReport, CommunicationThatBackwardHidesIsNotExposed) {
  Example example;
  example.step(1, 0, false);
  // A first bucket, summed while both still compute.
  for (const std::int64_t rank : {0, 1}) {
    example.measured.spans.push_back({.rank = rank,
                                      .stream = Stream::kCommunication,
                                      .step = 1,
                                      .phase = Phase::kGradientAllReduce,
                                      .begin_ns = 5,
                                      .end_ns = 8,
                                      .bytes = 64});
  }
  const Report report =
      measured_report(example.cluster, example.training, example.plan, example.measured);
  EXPECT_NEAR(report.phases.gradient_all_reduce_s, 8e-9, 1e-15);  // 5 + 3
  EXPECT_NEAR(report.exposed_communication_s, 5e-9, 1e-15);       // as before
}

TEST(MeasuredReport, CountsTheModelsArithmeticAgainstThePeaksOfItsRanks) {
  Example example;
  example.training.model = vit_variant("vit-b-16").value();
  example.step(1, 0, false);
  Report report =
      measured_report(example.cluster, example.training, example.plan, example.measured);
  // 3 x 2 x 17.56 G flops a sample, 2 samples on each of 2 ranks, in 28 ns.
  EXPECT_NEAR(report.model_flops_per_s.value(), 3 * 2 * 17.56e9 * 4 / 28e-9, 2e-3 * 15e18);
  EXPECT_FALSE(report.model_flops_utilisation.has_value());

  example.measured.peak_flops_per_s = {2e19, 3e19};
  report = measured_report(example.cluster, example.training, example.plan, example.measured);
  EXPECT_NEAR(report.model_flops_utilisation.value(), *report.model_flops_per_s / 5e19, 1e-12);

  example.measured.peak_flops_per_s = {2e19, 0};  // one unknown: no share of the whole
  report = measured_report(example.cluster, example.training, example.plan, example.measured);
  EXPECT_FALSE(report.model_flops_utilisation.has_value());
}

TEST(MeasuredReport, SaysSoWhenOnlyWarmUpWasMeasured) {
  Example example;
  example.step(0, 0, true);
  const Report report =
      measured_report(example.cluster, example.training, example.plan, example.measured);
  ASSERT_EQ(report.warnings.size(), 1U);
  EXPECT_EQ(report.phases.forward_s, 0);
  EXPECT_EQ(verdict_sentence(report), "unknown: no full step after warm-up was recorded");
}

}  // namespace
}  // namespace vitsim
