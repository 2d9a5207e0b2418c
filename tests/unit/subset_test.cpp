#include "sim/predict/subset.h"

#include <gtest/gtest.h>

#include "models/error.h"
#include "models/experiment/epoch.h"

namespace vitsim {
namespace {

Experiment lab() {
  Experiment experiment;
  experiment.cluster.nodes = {{.name = "a", .gpus = {{.model = "slow"}, {.model = "fast"}}},
                              {.name = "b", .gpus = {{.model = "fast"}}},
                              {.name = "c", .gpus = {{.model = "slow"}}}};
  experiment.training.model = *vit_variant("vit-ti-16");
  experiment.training.dataset = {.name = "any", .samples = 1000, .fraction = 0.4};
  experiment.training.micro_batch = {1, 2, 3, 4};
  experiment.training.parallelism.shards.proportions = {0, 0, 1, 2};
  experiment.events = {{.what = DisturbanceSpec::What::kPause, .rank = 3},
                       {.what = DisturbanceSpec::What::kLink, .node = "c"}};
  return experiment;
}

ProfileSet speeds() {
  ProfileSet set;
  for (const auto& [name, ms] : {std::pair("slow", 30.0), std::pair("fast", 10.0)}) {
    GpuProfile gpu{.name = name};
    gpu.steps = {{.model = *vit_variant("vit-ti-16"),
                  .points = {{.micro_batch = 1, .forward = milliseconds(ms)},
                             {.micro_batch = 4, .forward = milliseconds(4 * ms)}}}};
    set.gpus[name] = gpu;
  }
  return set;
}

TEST(Subset, StrongScalingKeepsTheDataAndCutsNodes) {
  Experiment all = lab();
  all.training.parallelism.shards.proportions = {3, 0, 1, 2};
  const Experiment two = first_ranks(all, 2, false);
  EXPECT_EQ(two.cluster.world_size(), 2);
  EXPECT_EQ(two.cluster.nodes.size(), 1U);
  EXPECT_EQ(two.training.micro_batch, (std::vector<std::int64_t>{1, 2}));
  EXPECT_EQ(two.training.parallelism.shards.proportions, (std::vector<double>{3, 0}));
  EXPECT_EQ(two.training.dataset.samples, 1000);
  EXPECT_TRUE(two.events.empty());  // rank 3 and node c are gone
}

// 400 samples on four ranks are 100 each: three ranks get 300.
TEST(Subset, WeakScalingKeepsTheSamplesPerRank) {
  const Experiment three = first_ranks(lab(), 3, true);
  EXPECT_EQ(subset_samples(three.training.dataset.samples, three.training.dataset.fraction), 300);
}

TEST(Subset, MoreRanksThanThereAreIsAnError) {
  EXPECT_THROW(first_ranks(lab(), 5, false), UserError);
  EXPECT_THROW(first_ranks(lab(), 0, false), UserError);
}

// The first two ranks hold nothing: without the others nobody has the model.
TEST(Subset, SomebodyMustHoldTheModel) {
  EXPECT_THROW(first_ranks(lab(), 2, false), UserError);
}

// Nodes by their fastest GPU: a (fast inside) and b tie in file order, then c; inside a the fast
// one leads. Micro-batches, shards and events move with their rank.
TEST(Subset, FastestFirstMovesEverythingWithItsRank) {
  Experiment all = lab();
  all.training.parallelism.shards.proportions = {0, 3, 1, 2};
  const Experiment sorted = fastest_first(all, speeds());
  EXPECT_EQ(sorted.cluster.nodes[0].name, "a");
  EXPECT_EQ(sorted.cluster.nodes[0].gpus[0].model, "fast");
  EXPECT_EQ(sorted.cluster.nodes[2].name, "c");
  EXPECT_EQ(sorted.training.micro_batch, (std::vector<std::int64_t>{2, 1, 3, 4}));
  EXPECT_EQ(sorted.training.parallelism.shards.proportions, (std::vector<double>{3, 0, 1, 2}));
  EXPECT_EQ(sorted.events[0].rank, 3);
}

}  // namespace
}  // namespace vitsim
