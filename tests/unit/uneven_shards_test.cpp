// Predictions of trainings whose shards differ in size, from cluster to report.
#include <algorithm>
#include <string>
#include <utility>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "models/error.h"
#include "models/vit/memory.h"
#include "sim/job/resolve.h"
#include "sim/predict/predict.h"

namespace vitsim {
namespace {

using ::testing::Contains;
using ::testing::HasSubstr;
using ::testing::Not;

/// ViT-H, of 632 million parameters, on two cards of 8 GB and two of 24 GB that are equally fast:
/// 40 ms of forward and 80 ms of backward for 4 images, 10 ms for an update of everything.
class UnevenShards : public ::testing::Test {
 protected:
  UnevenShards() {
    for (const auto& [name, memory] : {std::pair("small", 8e9), std::pair("large", 24e9)}) {
      GpuProfile gpu;
      gpu.name = name;
      gpu.memory = Bytes(memory);
      gpu.steps = {{.model = *vit_variant("vit-h-14"),
                    .points = {{.micro_batch = 4,
                                .data_load = Seconds(0),
                                .forward = milliseconds(40),
                                .backward = milliseconds(80),
                                .optimizer = milliseconds(10),
                                .other = Seconds(0),
                                .count = 10}}}};
      profiles_.gpus[name] = gpu;
    }
    experiment_.cluster.nodes = {
        {.name = "node",
         .gpus = {{.model = "small"}, {.model = "small"}, {.model = "large"}, {.model = "large"}}}};
    set_bandwidth(10e9);
    training().model = *vit_variant("vit-h-14");
    training().micro_batch = {4};
    training().gradient_sync = GradientSync::kFsdp;
    training().all_reduce = AllReduceAlgorithm::kRing;
    training().dataset = {.name = "images", .samples = 4 * 4 * 10};
  }

  TrainingSpec& training() { return experiment_.training; }

  void set_bandwidth(double bytes_per_s) {
    experiment_.cluster.intra_node =
        LinkSpec{.bandwidth = BytesPerSecond(bytes_per_s), .latency = Seconds(0)};
  }

  [[nodiscard]] Report report() const {
    return predict(resolve(experiment_, profiles_), {.replicates = 1, .seed = 1, .gains = false})
        .front();
  }

  ProfileSet profiles_;
  Experiment experiment_;
};

double state_of(const RankClassReport& ranks) {
  const MemoryParts& parts = ranks.memory.parts;
  return parts.weights + parts.gradients + parts.optimizer;
}

double state_of_all(const Report& report) {
  double sum = 0;
  for (const RankClassReport& ranks : report.rank_classes) {
    sum += static_cast<double>(ranks.count) * state_of(ranks);
  }
  return sum;
}

const RankClassReport& ranks_with(const Report& report, const std::string& gpu) {
  return *std::ranges::find(report.rank_classes, gpu, &RankClassReport::gpu);
}

double sent(const Report& report) {
  double bytes = 0;
  for (const CommunicationRow& row : report.communication) {
    bytes += row.bytes;
  }
  return bytes;
}

// Proportions that are all the same are no unequal shards, and nor is what equal GPUs have left:
// the same ticks, calls and bytes.
TEST_F(UnevenShards, EqualProportionsAreEvenShards) {
  experiment_.cluster.nodes.front().gpus = std::vector<GpuSpec>(4, {.model = "large"});
  for (const GradientSync sync : {GradientSync::kFsdp, GradientSync::kDeepspeedZero3}) {
    training().gradient_sync = sync;
    training().parallelism.shards = {};
    const Report even = report();
    training().parallelism.shards.proportions = {0.1, 0.1, 0.1, 0.1};
    const Report equal = report();
    EXPECT_EQ(equal.step_s.p50, even.step_s.p50);
    EXPECT_EQ(equal.communication, even.communication);
    training().parallelism.shards = {.by_memory = true, .proportions = {}};
    const Report by_memory = report();
    EXPECT_EQ(by_memory.step_s.p50, even.step_s.p50);
    EXPECT_EQ(by_memory.communication, even.communication);
    EXPECT_EQ(by_memory.rank_classes.front().memory.total_bytes,
              even.rank_classes.front().memory.total_bytes);
  }
}

// One image more than even shards leave room for on the small cards: the report names the key, and
// with it everything fits. All ranks together hold what they held before, 16 bytes of each
// parameter, and send the same.
TEST_F(UnevenShards, FitWhereEvenOnesDoNot) {
  training().micro_batch = {*ranks_with(report(), "small").largest_micro_batch + 1};
  training().dataset.samples = 4 * training().micro_batch.front() * 10;
  const Report even = report();
  EXPECT_FALSE(ranks_with(even, "small").memory.fits);
  EXPECT_TRUE(ranks_with(even, "large").memory.fits);
  EXPECT_THAT(
      even.remarks,
      Contains(HasSubstr("with \"training.parallelism.shards\": \"by-memory\" ranks hold")));

  training().parallelism.shards.by_memory = true;
  const Report uneven = report();
  const RankClassReport& small = ranks_with(uneven, "small");
  const RankClassReport& large = ranks_with(uneven, "large");
  EXPECT_TRUE(small.memory.fits);
  EXPECT_TRUE(large.memory.fits);
  EXPECT_GT(*small.largest_micro_batch, training().micro_batch.front() - 1);
  EXPECT_LT(state_of(small), state_of(ranks_with(even, "small")));
  EXPECT_GT(state_of(large), state_of(ranks_with(even, "large")));
  const double all = 16 * static_cast<double>(parameter_count(training().model));
  EXPECT_NEAR(state_of_all(even), all, 1e-9 * all);
  EXPECT_NEAR(state_of_all(uneven), all, 1e-9 * all);
  EXPECT_NEAR(sent(uneven), sent(even), 1e-9 * sent(even));
  EXPECT_THAT(uneven.remarks, Contains(HasSubstr("Shards follow the memory")));
  EXPECT_THAT(uneven.remarks, Not(Contains(HasSubstr("would fit: with"))));
}

// Of an update of 10 ms a rank with three tenths of the state does 3 ms, one with two tenths 2.
// Over links that take nothing the step is longer by what the largest shard is beyond a quarter.
TEST_F(UnevenShards, TheUpdateFollowsTheShard) {
  set_bandwidth(1e18);
  const Report even = report();
  training().parallelism.shards.proportions = {2, 2, 3, 3};
  const Report uneven = report();
  EXPECT_NEAR(ranks_with(uneven, "small").phases.optimizer_s, 0.002, 1e-9);
  EXPECT_NEAR(ranks_with(uneven, "large").phases.optimizer_s, 0.003, 1e-9);
  EXPECT_NEAR(uneven.step_s.p50 - even.step_s.p50, 0.0005, 1e-6);
}

// Alone on their links, of four ranks in a ring three end behind three hops of 3/10 of the bytes,
// the fourth behind two of them and one of 2/10: on average 8.75 tenths, where quarters take 7.5.
TEST_F(UnevenShards, TheLargestPieceSetsTheRing) {
  set_bandwidth(0.2e9);
  const Report even = report();
  training().parallelism.shards.proportions = {2, 2, 3, 3};
  const Report uneven = report();
  EXPECT_NEAR(uneven.phases.communication_s() / even.phases.communication_s(), 8.75 / 7.5, 1e-4);
}

// 8 GB cards with a batch that fills them hold nothing; the others all of it.
TEST_F(UnevenShards, AFullCardHoldsNothing) {
  training().micro_batch = {1000};
  training().dataset.samples = 4 * 1000 * 10;
  training().parallelism.shards.by_memory = true;
  profiles_.gpus["large"].memory = Bytes(10e12);
  const Report found = report();
  EXPECT_EQ(state_of(ranks_with(found, "small")), 0);
  EXPECT_FALSE(ranks_with(found, "small").memory.fits);
  EXPECT_TRUE(ranks_with(found, "large").memory.fits);
  EXPECT_EQ(ranks_with(found, "small").phases.optimizer_s, 0);
}

TEST_F(UnevenShards, NeedTheMemoryOfEveryGpu) {
  profiles_.gpus["small"].memory.reset();
  training().parallelism.shards.by_memory = true;
  try {
    static_cast<void>(report());
    FAIL() << "dealt by a memory that nobody knows";
  } catch (const UserError& error) {
    EXPECT_THAT(error.what(), HasSubstr("needs the memory of every GPU"));
  }
}

}  // namespace
}  // namespace vitsim
