#include "models/report/remarks.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace vitsim {
namespace {

using ::testing::AllOf;
using ::testing::Contains;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Not;

constexpr Bytes gibibytes(double value) {
  return mebibytes(1024 * value);
}

TrainingSpec training(const char* model, GradientSync sync, Precision precision) {
  TrainingSpec training{.model = *vit_variant(model), .precision = precision};
  training.gradient_sync = sync;
  return training;
}

/// Eight ranks, steps of a second of which 0.4 are exposed.
Report report(std::vector<CommunicationRow> rows) {
  Report report;
  report.world_size = 8;
  report.step_s.p50 = 1;
  report.exposed_communication_s = 0.4;
  report.communication = std::move(rows);
  return report;
}

CommunicationRow row(const char* collective, double calls, double bytes) {
  return {.collective = collective, .calls = calls, .bytes = bytes};
}

constexpr double kVitB = 86'567'656;  // parameters

// Three of (N-1)/N P e against ddp's two; a plain step of 0.8 s is 20 % less.
TEST(Remarks, CompareTheChosenWayWithDdp) {
  const auto said =
      remarks(training("vit-b-16", GradientSync::kFsdp, Precision::kFp32),
              report({row("all-gather", 25, 8 * kVitB), row("reduce-scatter", 13, 4 * kVitB)}),
              {{.micro_batch = 4, .capacity = gibibytes(64)}},
              0.8);
  EXPECT_THAT(said,
              Contains(AllOf(HasSubstr("fsdp sends 1.5 times the bytes of ddp, in 38 calls a step"),
                             HasSubstr("exposed communication is 40 % of the step"),
                             HasSubstr("With ddp a step would take 800.0 ms, 20 % less"))));
}

// ViT-H in fp16 with AdamW holds 16 bytes of 632 million parameters, 10 GB, and ddp's buckets: too
// much for 8 GiB. Split among eight ranks it fits.
TEST(Remarks, SayWhatFitsSmallCards) {
  const std::vector<RankLimits> ranks = {{.count = 8, .micro_batch = 4, .capacity = gibibytes(8)}};
  EXPECT_THAT(
      remarks(training("vit-h-14", GradientSync::kDdp, Precision::kFp16), report({}), ranks),
      Contains(AllOf(HasSubstr("does not fit its"), HasSubstr("and fit"))));
  EXPECT_THAT(
      remarks(training("vit-h-14", GradientSync::kFsdp, Precision::kFp16), report({}), ranks),
      Contains(AllOf(HasSubstr("With ddp a rank would hold"), HasSubstr("fsdp holds"))));
  EXPECT_THAT(
      remarks(training("vit-ti-16", GradientSync::kDdp, Precision::kFp16), report({}), ranks),
      IsEmpty());
}

// A bucket of 1 GB beside the activations is more than the 7/8 of 173 MB of gradients that stage 2
// saves; with a bucket of a million elements it is not.
TEST(Remarks, SayWhyStage2HoldsMore) {
  TrainingSpec stage_2 = training("vit-b-16", GradientSync::kDeepspeedZero2, Precision::kFp16);
  const std::vector<RankLimits> ranks = {{.micro_batch = 64, .capacity = gibibytes(16)}};
  const auto why = HasSubstr("more than deepspeed-zero-1 here: a bucket of reduce_bucket_size");
  EXPECT_THAT(remarks(stage_2, report({}), ranks), Contains(why));
  stage_2.zero.reduce_bucket_size = 1'000'000;
  EXPECT_THAT(remarks(stage_2, report({}), ranks), Not(Contains(why)));
}

// Twice P of AllReduce against a 16th: signs of P/8 bytes, sent and gathered. A run that ends
// before the freeze step sends whole gradients.
TEST(Remarks, SayWhatCompressionBrings) {
  TrainingSpec bits = training("vit-b-16", GradientSync::kDeepspeedZero0, Precision::kFp32);
  bits.optimizer.kind = OptimizerKind::kOneBitAdam;
  const std::vector<RankLimits> ranks = {{.micro_batch = 4, .capacity = gibibytes(64)}};
  EXPECT_THAT(
      remarks(bits,
              report({row("all-to-all", 152, kVitB / 8), row("all-gather", 152, kVitB / 8)}),
              ranks),
      Contains(HasSubstr("onebit-adam sends 32 times fewer bytes")));
  EXPECT_THAT(
      remarks(bits, report({row("all-reduce", 1, 4 * kVitB)}), ranks),
      Contains(HasSubstr("saves next to nothing in this run: it compresses from step 100000")));
}

// FSDP of ViT-H in fp32 takes 16 bytes x 632 million / 2 = 4.7 GiB of each of two cards, and 1.2
// GiB besides: more than 5 GiB; a small one and a large one together have the room.
TEST(Remarks, SayThatUnevenShardsWouldFit) {
  TrainingSpec split = training("vit-h-14", GradientSync::kFsdp, Precision::kFp32);
  Report two = report({});
  two.world_size = 2;
  const auto uneven = AllOf(HasSubstr("Shards of unequal size would fit"),
                            HasSubstr("\"training.parallelism.shards\": \"by-memory\""),
                            HasSubstr("instead of 4.7 GiB each"));
  const std::vector<RankLimits> unequal = {{.micro_batch = 1, .capacity = gibibytes(5)},
                                           {.micro_batch = 1, .capacity = gibibytes(24)}};
  EXPECT_THAT(remarks(split, two, unequal), Contains(uneven));
  EXPECT_THAT(remarks(split,
                      two,
                      {{.micro_batch = 1, .capacity = gibibytes(24)},
                       {.micro_batch = 2, .capacity = gibibytes(24)}}),
              Not(Contains(HasSubstr("Shards"))));
  // Hybrid shards must be equal, and a second small card leaves no room.
  TrainingSpec hybrid = split;
  hybrid.fsdp.shard_ranks = 1;
  EXPECT_THAT(remarks(hybrid, two, unequal), Not(Contains(HasSubstr("Shards"))));
  EXPECT_THAT(remarks(split, two, {{.count = 2, .capacity = gibibytes(5)}}),
              Not(Contains(HasSubstr("Shards"))));
}

// 16 bytes of 632 million parameters are 9.42 GiB: a quarter of them 2.4 GiB, three quarters 7.1.
TEST(Remarks, SayHowShardsDiffer) {
  TrainingSpec split = training("vit-h-14", GradientSync::kFsdp, Precision::kFp32);
  split.parallelism.shards.by_memory = true;
  Report two = report({});
  two.world_size = 2;
  EXPECT_THAT(
      remarks(split,
              two,
              {{.capacity = gibibytes(8), .held = StagePart{.part = split.model, .shard = 0.25}},
               {.capacity = gibibytes(24), .held = StagePart{.part = split.model, .shard = 0.75}}}),
      Contains(AllOf(HasSubstr("Shards follow the memory"),
                     HasSubstr("between 2.4 GiB and 7.1 GiB"),
                     HasSubstr("equal ones would be 4.7 GiB each"))));
}

}  // namespace
}  // namespace vitsim
