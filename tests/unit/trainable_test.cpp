#include "models/experiment/trainable.h"

#include <functional>
#include <string>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "models/error.h"

namespace vitsim {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::StartsWith;

Experiment two_ranks() {
  Experiment experiment;
  experiment.file = "lab.json";
  experiment.cluster = {.nodes = {{.name = "box", .gpus = {{.model = "t4"}, {.model = "t4"}}}}};
  return experiment;
}

TEST(Trainable, IsEveryWayThatTheTrainerHas) {
  for (const GradientSync sync : {GradientSync::kDdp,
                                  GradientSync::kDeepspeedZero0,
                                  GradientSync::kDeepspeedZero1,
                                  GradientSync::kDeepspeedZero2,
                                  GradientSync::kFsdp,
                                  GradientSync::kDistributedOptimizer}) {
    Experiment experiment = two_ranks();
    experiment.training.gradient_sync = sync;
    experiment.training.recompute = Recompute::kBlock;
    experiment.training.fsdp.shard_ranks = 2;  // all ranks there are
    EXPECT_THAT(why_not_trainable(experiment), IsEmpty()) << name(sync);
    EXPECT_NO_THROW(require_trainable(experiment));
  }
  Experiment hooked = two_ranks();
  hooked.training.communication_hook = HookSpec{.kind = HookKind::kPowerSgd};
  EXPECT_THAT(why_not_trainable(hooked), IsEmpty());
  Experiment local = two_ranks();
  local.training.local_updates = LocalUpdatesSpec{.every = 4};
  EXPECT_THAT(why_not_trainable(local), IsEmpty());
}

TEST(Trainable, RefusesInOneSentenceWithACure) {
  using Change = std::function<void(TrainingSpec&)>;
  const std::vector<std::pair<std::string, Change>> cases = {
      {"training.gradient_sync deepspeed-zero-3",
       [](TrainingSpec& t) { t.gradient_sync = GradientSync::kDeepspeedZero3; }},
      {"training.parallelism.tensor", [](TrainingSpec& t) { t.parallelism.tensor = 2; }},
      {"training.parallelism.pipeline", [](TrainingSpec& t) { t.parallelism.pipeline.stages = 2; }},
      {"training.parallelism.sequence",
       [](TrainingSpec& t) { t.parallelism.sequence = SequenceSpec{.ranks = 2}; }},
      {"training.optimizer.type onebit-adam",
       [](TrainingSpec& t) { t.optimizer.kind = OptimizerKind::kOneBitAdam; }},
      {"training.local_updates.type diloco",
       [](TrainingSpec& t) { t.local_updates = {.kind = LocalUpdatesKind::kDiloco, .every = 2}; }},
      {"training.local_updates.type co2",
       [](TrainingSpec& t) { t.local_updates = {.kind = LocalUpdatesKind::kCo2, .every = 2}; }},
      {"training.local_updates with amp-fp16",
       [](TrainingSpec& t) {
         t.local_updates = {.every = 2};
         t.precision = Precision::kAmpFp16;
       }},
      {"training.communication_hook powersgd with fp16",
       [](TrainingSpec& t) {
         t.communication_hook = HookSpec{.kind = HookKind::kPowerSgd};
         t.precision = Precision::kFp16;
       }},
      {"training.offload", [](TrainingSpec& t) { t.offload.optimizer = OffloadTarget::kCpu; }},
      {"training.recompute attention",
       [](TrainingSpec& t) { t.recompute = Recompute::kAttention; }},
      {"training.fsdp.shard_ranks",
       [](TrainingSpec& t) {
         t.gradient_sync = GradientSync::kFsdp;
         t.fsdp.shard_ranks = 1;
       }},
      {"training.parallelism.shards",
       [](TrainingSpec& t) {
         t.gradient_sync = GradientSync::kFsdp;
         t.parallelism.shards.by_memory = true;
       }},
      {"training.zero.use_multi_rank_bucket_allreduce false",
       [](TrainingSpec& t) {
         t.gradient_sync = GradientSync::kDeepspeedZero1;
         t.zero.multi_rank_bucket_allreduce = false;
       }},
      {"a token model", [](TrainingSpec& t) { t.model.vocabulary = 100; }},
  };
  for (const auto& [what, change] : cases) {
    Experiment experiment = two_ranks();
    change(experiment.training);
    EXPECT_THAT(why_not_trainable(experiment),
                ElementsAre(StartsWith("lab.json: " + what + " can be predicted, not trained: ")))
        << what;
    EXPECT_THROW(require_trainable(experiment), UserError) << what;
  }
}

TEST(Trainable, NamesEverythingAtOnce) {
  Experiment experiment = two_ranks();
  experiment.jobs.resize(2);
  experiment.training.parallelism.tensor = 2;
  EXPECT_THAT(why_not_trainable(experiment),
              ElementsAre(HasSubstr("a file with jobs"), HasSubstr("parallelism.tensor")));
}

}  // namespace
}  // namespace vitsim
