#include <map>

#include <gtest/gtest.h>

#include "models/vit/buckets.h"
#include "models/vit/compression.h"
#include "models/vit/zero_3_gathers.h"
#include "sim/step/builder.h"

// Calls and elements of one optimizer step, as DeepSpeed 0.19.2 and PyTorch 2.11's FSDP2 were
// traced with two ranks and a ViT of 3,174,154 parameters in fp32.

namespace vitsim {
namespace {

/// Four blocks of 12 x 256^2 + 13 x 256 = 789,760 parameters. The rest has 15,114: patches of
/// 2 x 2 x 2 pixels 2,048 and their bias 256, the class token 256, 37 positions 9,472, the last
/// norm 512, a head of ten classes 2,570.
VitSpec traced_vit() {
  return {.layers = 4,
          .width = 256,
          .heads = 4,
          .mlp = 1024,
          .patch = 2,
          .image_size = 12,
          .channels = 2,
          .classes = 10};
}

constexpr std::int64_t kParameters = 3'174'154;
constexpr std::int64_t kBlock = 789'760;

struct Volume {
  std::int64_t calls = 0;
  std::int64_t bytes = 0;

  bool operator==(const Volume&) const = default;
};

void PrintTo(const Volume& volume, std::ostream* out) {
  *out << volume.calls << " calls of " << volume.bytes << " bytes";
}

using Volumes = std::map<std::pair<CollectiveKind, Phase>, Volume>;

StepInput two_ranks(std::int64_t micro_batches) {
  ClassWork work;
  for (std::int64_t i = 0; i < micro_batches; ++i) {
    work.micro_batches.push_back({.forward = milliseconds(10), .backward = milliseconds(20)});
  }
  return {.classes = {work}, .class_of = {0, 0}};
}

Volumes volumes(const StepProgram& program) {
  check_program(program);
  Volumes found;
  for (const Operation& operation : program.classes.front().operations) {
    if (const Collective* collective = operation.collective()) {
      Volume& volume = found[{collective->kind, operation.phase}];
      ++volume.calls;
      volume.bytes += collective->bytes;
    }
  }
  return found;
}

TrainingSpec training(GradientSync sync) {
  TrainingSpec training{.model = traced_vit()};
  training.gradient_sync = sync;
  return training;
}

Volumes step(const TrainingSpec& training, std::int64_t micro_batches = 1) {
  return volumes(build_program(training, two_ranks(micro_batches)));
}

constexpr auto kGradients = Phase::kGradientAllReduce;
constexpr auto kWeights = Phase::kParameterAllGather;

TEST(CommunicationVolume, TheTracedVit) {
  EXPECT_EQ(parameter_count(traced_vit()), kParameters);
}

// 3,174,154 elements are padded to a multiple of 2 x 2.
const Volume kGathered{1, 4 * 3'174'156};

// One AllReduce of all gradients behind the last micro-batch, one AllGather.
TEST(CommunicationVolume, Zero1) {
  const Volumes once = {{{CollectiveKind::kAllReduce, kGradients}, {1, 4 * kParameters}},
                        {{CollectiveKind::kAllGather, kWeights}, kGathered}};
  EXPECT_EQ(step(training(GradientSync::kDeepspeedZero1)), once);
  EXPECT_EQ(step(training(GradientSync::kDeepspeedZero1), 2), once);
}

TEST(CommunicationVolume, Zero1WithRootedReductions) {
  TrainingSpec rooted = training(GradientSync::kDeepspeedZero1);
  rooted.zero.multi_rank_bucket_allreduce = false;
  EXPECT_EQ(step(rooted),
            (Volumes{{{CollectiveKind::kReduce, kGradients}, {2, 4 * kParameters}},
                     {{CollectiveKind::kAllGather, kWeights}, kGathered}}));
}

TEST(CommunicationVolume, Zero2) {
  EXPECT_EQ(step(training(GradientSync::kDeepspeedZero2)),
            (Volumes{{{CollectiveKind::kAllReduce, kGradients}, {1, 4 * kParameters}},
                     {{CollectiveKind::kAllGather, kWeights}, kGathered}}));
}

// Buckets of at most a million elements hold a block each: four, in both micro-batches.
TEST(CommunicationVolume, Zero2ReducesInEveryMicroBatch) {
  TrainingSpec small = training(GradientSync::kDeepspeedZero2);
  small.zero.overlap_comm = true;
  small.zero.reduce_bucket_size = 1'000'000;
  EXPECT_EQ(step(small, 2),
            (Volumes{{{CollectiveKind::kAllReduce, kGradients}, {8, 4 * 2 * kParameters}},
                     {{CollectiveKind::kAllGather, kWeights}, kGathered}}));
  const auto buckets = deepspeed_buckets(traced_vit(), Bytes(4), 1'000'000);
  ASSERT_EQ(buckets.size(), 4U);
  EXPECT_EQ(buckets[1].bytes, 4 * kBlock);
  EXPECT_EQ(buckets[2].bytes, 4 * kBlock);
}

// Of each block the input projection and both MLP matrices have 100,000 elements or more:
// 196,608 + 2 x 262,144 = 720,896, 90.85 % of P in four blocks, in one AllGather. What is left,
// 290,570 elements, all ranks keep: nine tensors a block and the model's own eight, each of which
// is gathered by itself behind the update. The norm is one number of 64 bits.
TEST(CommunicationVolume, Zero3) {
  const std::int64_t split = 4 * 720'896;
  const std::int64_t persistent = kParameters - split;
  EXPECT_EQ(persistent, 290'570);
  EXPECT_EQ(
      step(training(GradientSync::kDeepspeedZero3)),
      (Volumes{{{CollectiveKind::kAllGather, kWeights}, {1 + 4 * 9 + 8, 4 * (split + persistent)}},
               {{CollectiveKind::kReduceScatter, kGradients}, {1, 4 * kParameters}},
               {{CollectiveKind::kAllReduce, kGradients}, {1, 8}}}));
  const Zero3Gathers gathers = zero_3_gathers(traced_vit(), ZeroSpec{});
  EXPECT_EQ(gathers.calls, std::vector<std::int64_t>{split});
  EXPECT_EQ(gathers.persistent.size(), 44U);
}

// Every leaf module is gathered in forward and again in backward: six a block and five others.
TEST(CommunicationVolume, Zero3WithoutThresholds) {
  TrainingSpec bare = training(GradientSync::kDeepspeedZero3);
  bare.zero.param_persistence_threshold = 0;
  bare.zero.prefetch_bucket_size = 0;
  bare.zero.max_reuse_distance = 0;
  EXPECT_EQ(
      step(bare),
      (Volumes{{{CollectiveKind::kAllGather, kWeights}, {2 * (4 * 6 + 5), 4 * 2 * kParameters}},
               {{CollectiveKind::kReduceScatter, kGradients}, {1, 4 * kParameters}},
               {{CollectiveKind::kAllReduce, kGradients}, {1, 8}}}));
}

// Four blocks and the root in forward; in backward the blocks again.
TEST(CommunicationVolume, Fsdp) {
  const Volume scattered{5, 4 * kParameters};
  TrainingSpec units = training(GradientSync::kFsdp);
  EXPECT_EQ(
      step(units),
      (Volumes{{{CollectiveKind::kAllGather, kWeights}, {5 + 4, 4 * (kParameters + 4 * kBlock)}},
               {{CollectiveKind::kReduceScatter, kGradients}, scattered}}));
  EXPECT_EQ(kParameters + 4 * kBlock, 6'333'194);
  units.fsdp.reshard_after_forward = false;
  EXPECT_EQ(step(units),
            (Volumes{{{CollectiveKind::kAllGather, kWeights}, {5, 4 * kParameters}},
                     {{CollectiveKind::kReduceScatter, kGradients}, scattered}}));
}

// Weights of 2 bytes are gathered twice, gradients reduced in 4: as many bytes as ddp in fp32.
TEST(CommunicationVolume, FsdpReducesInItsOwnPrecision) {
  TrainingSpec units = training(GradientSync::kFsdp);
  units.precision = Precision::kBf16;
  units.fsdp.reduce_precision = Precision::kFp32;
  const Volumes found = step(units);
  EXPECT_EQ(found.at({CollectiveKind::kAllGather, kWeights}).bytes, 2 * (kParameters + 4 * kBlock));
  EXPECT_EQ(found.at({CollectiveKind::kReduceScatter, kGradients}).bytes, 4 * kParameters);
}

TEST(CommunicationVolume, TheDistributedOptimizer) {
  EXPECT_EQ(step(training(GradientSync::kDistributedOptimizer)),
            (Volumes{{{CollectiveKind::kReduceScatter, kGradients}, {1, 4 * kParameters}},
                     {{CollectiveKind::kAllGather, kWeights}, {1, 4 * kParameters}}}));
}

// Four ranks in two shards: what is scattered among two is summed with the other replica.
TEST(CommunicationVolume, HybridShards) {
  TrainingSpec units = training(GradientSync::kFsdp);
  units.fsdp.shard_ranks = 2;
  StepInput input = two_ranks(1);
  input.class_of = {0, 0, 0, 0};
  const StepProgram program = build_program(units, input);
  EXPECT_EQ(program.axes[0].groups, (std::vector<std::vector<std::uint32_t>>{{0, 1}, {2, 3}}));
  EXPECT_EQ(program.axes[1].groups, (std::vector<std::vector<std::uint32_t>>{{0, 2}, {1, 3}}));
  EXPECT_EQ(volumes(program).at({CollectiveKind::kAllReduce, kGradients}),
            (Volume{5, 4 * kParameters / 2}));
}

// Half of fp32's bytes. PowerSGD sends 203 times fewer elements of ViT-B at rank 1.
TEST(CommunicationVolume, Hooks) {
  TrainingSpec hooked = training(GradientSync::kDdp);
  hooked.communication_hook = HookSpec{.kind = HookKind::kBf16};
  EXPECT_EQ(step(hooked).at({CollectiveKind::kAllReduce, kGradients}).bytes, 2 * kParameters);
  const VitSpec vit_b = *vit_variant("vit-b-16");
  std::vector<std::size_t> all(parameters(vit_b).size());
  for (std::size_t i = 0; i < all.size(); ++i) {
    all[i] = i;
  }
  EXPECT_NEAR(static_cast<double>(parameter_count(vit_b)) /
                  static_cast<double>(power_sgd_elements(vit_b, all, 1).total()),
              203,
              0.5);
}

// A tensor of 20 x 30 elements at rank 3: 50 x 3 x 2 < 600, so factors of 60 and 90 elements
// travel. At rank 6 it would be 600, no longer less: it travels whole. So does a row of 40.
TEST(CommunicationVolume, PowerSgdFactorsWhatItHalves) {
  const VitSpec vit{.layers = 1, .width = 20, .heads = 1, .mlp = 30, .patch = 1, .image_size = 1};
  const auto tensors = parameters(vit);
  std::size_t up = 0;
  while (tensors[up].name != "encoder.layers.encoder_layer_0.mlp.0.weight") {
    ++up;
  }
  const auto sent = [&](std::int64_t rank) {
    return power_sgd_elements(vit, std::vector{up, up + 1}, rank);  // with its bias of 30
  };
  EXPECT_EQ(sent(3).plain, 30);
  EXPECT_EQ(sent(3).left, 90);
  EXPECT_EQ(sent(3).right, 60);
  EXPECT_EQ(sent(6).plain, 630);
}

// Plain until step 10, then three AllReduces a bucket.
TEST(CommunicationVolume, PowerSgdBeginsPlain) {
  TrainingSpec hooked = training(GradientSync::kDdp);
  hooked.communication_hook = HookSpec{.kind = HookKind::kPowerSgd, .rank = 2};
  const TrainingPrograms programs = training_programs(hooked, two_ranks(1), 100);
  ASSERT_EQ(programs.rare.size(), 1U);
  EXPECT_EQ(programs.rare[0].to, 10);
  EXPECT_EQ(volumes(programs.rare[0].program).at({CollectiveKind::kAllReduce, kGradients}).bytes,
            4 * kParameters);
  const auto buckets = gradient_buckets(traced_vit(), Bytes(4));
  EXPECT_EQ(volumes(programs.usual).at({CollectiveKind::kAllReduce, kGradients}).calls,
            static_cast<std::int64_t>(3 * buckets.size()));
  // All of a run that ends before is plain.
  EXPECT_TRUE(training_programs(hooked, two_ranks(1), 10).rare.empty());
}

// 56 tensors, each an AllToAll and an AllGather of an eighth of a byte an element, and two
// AllGathers of a scale of 4 bytes from both ranks. LAMB sends one flat momentum.
TEST(CommunicationVolume, OneBitOptimizers) {
  TrainingSpec bits = training(GradientSync::kDeepspeedZero0);
  bits.optimizer.kind = OptimizerKind::kOneBitAdam;
  bits.optimizer.freeze_step = 40;
  const TrainingPrograms programs = training_programs(bits, two_ranks(1), 100);
  ASSERT_EQ(programs.rare.size(), 1U);
  EXPECT_EQ(programs.rare[0].to, 40);
  const Volumes found = volumes(programs.usual);
  std::int64_t packed = 0;
  for (const ParameterTensor& tensor : parameters(traced_vit())) {
    packed += (tensor.elements() + 7) / 8;
  }
  EXPECT_EQ(found.at({CollectiveKind::kAllToAll, kGradients}), (Volume{56, packed}));
  EXPECT_EQ(found.at({CollectiveKind::kAllGather, kGradients}),
            (Volume{3 * 56, packed + 56 * 2 * 8}));
  bits.optimizer.kind = OptimizerKind::kOneBitLamb;
  EXPECT_EQ(volumes(training_programs(bits, two_ranks(1), 100).usual)
                .at({CollectiveKind::kAllToAll, kGradients}),
            (Volume{1, (kParameters + 7) / 8}));
}

// Once variances are frozen every 16th step communicates. Before, 16 log2(240 / 16 + 1) = 64 of
// 240 steps update variances: every fourth is plain, by 240 / 64 = 3.75.
TEST(CommunicationVolume, ZeroOneAdamIsSilentInMostSteps) {
  TrainingSpec bits = training(GradientSync::kDeepspeedZero0);
  bits.optimizer.kind = OptimizerKind::kZeroOneAdam;
  bits.optimizer.freeze_step = 240;
  const TrainingPrograms programs = training_programs(bits, two_ranks(1), 10'000);
  EXPECT_TRUE(volumes(programs.usual).empty());
  ASSERT_EQ(programs.rare.size(), 3U);
  EXPECT_EQ(programs.rare[0].every, 4);
  EXPECT_EQ(programs.rare[1].to, 240);
  EXPECT_EQ(programs.rare[2].from, 240);
  EXPECT_EQ(programs.rare[2].every, 16);
}

TEST(CommunicationVolume, LocalUpdates) {
  TrainingSpec local = training(GradientSync::kDdp);
  local.local_updates = LocalUpdatesSpec{.kind = LocalUpdatesKind::kDiloco, .every = 30};
  const TrainingPrograms programs = training_programs(local, two_ranks(2), 100);
  EXPECT_TRUE(volumes(programs.usual).empty());
  ASSERT_EQ(programs.rare.size(), 1U);
  EXPECT_EQ(programs.rare[0].every, 30);
  EXPECT_EQ(volumes(programs.rare[0].program).at({CollectiveKind::kAllReduce, kGradients}),
            (Volume{1, 4 * kParameters}));
}

// 1e9 elements of forward and backward lie between the two uses of a module that ViT-H, of 632
// million, meets before its 132nd million: its first seven blocks are gathered again in backward.
// ViT-B and ViT-L keep everything.
TEST(Zero3Gathers, LargeModelsGatherTheirFirstBlocksAgain) {
  const auto elements = [](const Zero3Gathers& gathers) {
    std::int64_t sum = 0;
    for (const std::int64_t call : gathers.calls) {
      sum += call;
    }
    for (const std::int64_t tensor : gathers.persistent) {
      sum += tensor;
    }
    return sum;
  };
  for (const char* name : {"vit-b-16", "vit-l-16"}) {
    const VitSpec vit = *vit_variant(name);
    EXPECT_EQ(elements(zero_3_gathers(vit, ZeroSpec{})), parameter_count(vit)) << name;
  }
  const VitSpec vit_h = *vit_variant("vit-h-14");
  const double again =
      static_cast<double>(elements(zero_3_gathers(vit_h, ZeroSpec{})) - parameter_count(vit_h));
  const double block = 12.0 * 1280 * 1280;
  EXPECT_NEAR(again / block, 7, 1);
}

// Norms, biases, the class token: eight tensors a block and five others.
TEST(Zero3Gathers, SmallTensorsStayWhole) {
  EXPECT_EQ(zero_3_gathers(*vit_variant("vit-b-16"), ZeroSpec{}).persistent.size(), 12U * 8 + 5);
  EXPECT_EQ(zero_3_gathers(*vit_variant("vit-l-16"), ZeroSpec{}).persistent.size(), 24U * 8 + 5);
  EXPECT_EQ(zero_3_gathers(*vit_variant("vit-h-14"), ZeroSpec{}).persistent.size(), 32U * 8 + 5);
}

}  // namespace
}  // namespace vitsim
