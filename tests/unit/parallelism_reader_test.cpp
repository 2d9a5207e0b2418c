#include "models/experiment/parallelism_reader.h"

#include <string>

#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "models/error.h"
#include "models/experiment/experiment.h"

namespace vitsim {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

// Eight GPUs and a training with further keys. ViT-B/16 has 12 blocks and heads and 197 tokens.
std::string file(const std::string& keys) {
  return fmt::format(R"({{
  "cluster": {{"nodes": [{{"name": "n", "count": 2, "gpus": ["t4", "t4", "t4", "t4"],
      "host_memory": "64GiB"}}],
    "network": {{"bandwidth": "10Gbps", "latency": "50us"}}}},
  "training": {{"model": "vit-b-16", "dataset": {{"name": "cifar10"}},
    "micro_batch_per_gpu": 16,
    {}}}
}})",
                     keys);
}

std::vector<std::string> problems_of(const std::string& keys) {
  try {
    experiment_from_text(file(keys), "lab.json");
  } catch (const UserError& error) {
    return error.problems();
  }
  return {};
}

TrainingSpec training_of(const std::string& keys) {
  return experiment_from_text(file(keys), "lab.json").training;
}

TEST(ParallelismReader, ReadsEveryKey) {
  const TrainingSpec training = training_of(R"(
    "gradient_sync": "deepspeed-zero-1",
    "zero": {"reduce_bucket_size": 1000000, "overlap_comm": true},
    "gradient_accumulation_steps": 4,
    "parallelism": {"tensor": 2, "pipeline": {"stages": 2, "schedule": "interleaved", "chunks": 3},
      "sequence": {"kind": "megatron", "pad": true}, "data": 2},
    "recompute": "block",
    "offload": {"optimizer": "cpu"})");
  EXPECT_EQ(training.zero.reduce_bucket_size, 1'000'000);
  EXPECT_EQ(training.zero.overlap_comm, true);
  EXPECT_EQ(training.zero.allgather_bucket_size, 500'000'000);
  EXPECT_EQ(training.parallelism.tensor, 2);
  EXPECT_EQ(training.parallelism.pipeline.schedule, PipelineSchedule::kInterleaved);
  EXPECT_EQ(training.parallelism.pipeline.chunks, 3);
  EXPECT_EQ(training.parallelism.model_ranks(), 4);  // tokens are split among the tensor's ranks
  EXPECT_TRUE(training.parallelism.splits_tokens_with_tensor());
  EXPECT_EQ(training.recompute, Recompute::kBlock);
  EXPECT_EQ(training.offload.optimizer, OffloadTarget::kCpu);
}

TEST(ParallelismReader, ReadsHooksAndLocalUpdates) {
  const TrainingSpec hook = training_of(R"("communication_hook": {"type": "powersgd", "rank": 4})");
  EXPECT_EQ(hook.communication_hook->rank, 4);
  EXPECT_EQ(hook.communication_hook->start_step, 10);
  const TrainingSpec local = training_of(R"("local_updates": {"type": "diloco", "every": 30})");
  EXPECT_EQ(local.local_updates->kind, LocalUpdatesKind::kDiloco);
  EXPECT_EQ(local.local_updates->every, 30);
}

// State that goes to the hosts must fit there: the file says how much they have.
TEST(ParallelismReader, OffloadNeedsTheHostsMemory) {
  std::string text =
      file(R"("gradient_sync": "deepspeed-zero-2", "offload": {"optimizer": "cpu"})");
  EXPECT_EQ(experiment_from_text(text, "lab.json").cluster.nodes[1].host_memory,
            Bytes(64.0 * (1 << 30)));
  text.erase(text.find(",\n      \"host_memory\""),
             std::string(",\n      \"host_memory\": \"64GiB\"").size());
  try {
    experiment_from_text(text, "lab.json");
    FAIL();
  } catch (const UserError& error) {
    EXPECT_THAT(error.problems(),
                ElementsAre(::testing::AllOf(HasSubstr("/training/offload"),
                                             HasSubstr("\"n-0\""),
                                             HasSubstr("\"host_memory\": \"256GiB\""))));
  }
}

TEST(ParallelismReader, APipelineOfANumberIsItsStages) {
  EXPECT_EQ(training_of(R"("parallelism": {"pipeline": 4})").parallelism.pipeline.stages, 4);
}

struct Refusal {
  std::string keys;
  std::string path;
  std::string what;
};

class Refused : public testing::TestWithParam<Refusal> {};

TEST_P(Refused, IsNamedWithPathAndCure) {
  EXPECT_THAT(problems_of(GetParam().keys),
              ElementsAre(::testing::AllOf(
                  HasSubstr("lab.json:"), HasSubstr(GetParam().path), HasSubstr(GetParam().what))));
}

INSTANTIATE_TEST_SUITE_P(
    Combinations,
    Refused,
    testing::Values(
        // 3 x 1 x 1 ranks do not divide 8, though 3 divides the 12 heads.
        Refusal{R"("parallelism": {"tensor": 3})", "/training/parallelism", "world size 8"},
        Refusal{R"("parallelism": {"tensor": 8})", "/parallelism/tensor", "12 heads"},
        Refusal{R"("parallelism": {"tensor": 2, "data": 2})", "/parallelism/data", "leave 4"},
        // 4 stages of 4 chunks are 16 parts of 12 blocks.
        Refusal{R"("gradient_accumulation_steps": 4, "parallelism": {"pipeline":
          {"stages": 4, "schedule": "interleaved", "chunks": 4}})",
                "/parallelism/pipeline",
                "12 blocks"},
        Refusal{R"("parallelism": {"pipeline": {"stages": 2, "chunks": 2}})",
                "/parallelism/pipeline",
                "interleaved"},
        Refusal{R"("gradient_accumulation_steps": 4,
          "parallelism": {"pipeline": {"stages": 2, "micro_batches": 8}})",
                "/gradient_accumulation_steps",
                "keep one"},
        // 198 of 197 tokens: 0.5 % more.
        Refusal{R"("parallelism": {"sequence": {"kind": "ulysses", "ranks": 2}})",
                "/parallelism/sequence",
                "to 198, 0.5 % more work"},
        Refusal{R"("parallelism": {"sequence": {"kind": "megatron", "pad": true}})",
                "/parallelism/sequence",
                "tensor parallelism above 1"},
        Refusal{R"("gradient_sync": "deepspeed-zero-2", "parallelism": {"pipeline": 2})",
                "/gradient_sync",
                "deepspeed-zero-1"},
        Refusal{R"("gradient_sync": "deepspeed-zero-2", "optimizer": {"type": "onebit-adam"})",
                "/gradient_sync",
                "deepspeed-zero-0"},
        Refusal{R"("gradient_sync": "deepspeed-zero-1", "communication_hook": {"type": "bf16"})",
                "/communication_hook",
                "belong to ddp"},
        Refusal{R"("precision": "bf16", "communication_hook": {"type": "bf16"})",
                "/communication_hook",
                "16 bits already"},
        Refusal{R"("offload": {"optimizer": "cpu"})", "/offload", "not with ddp"},
        Refusal{R"("gradient_sync": "deepspeed-zero-2", "offload": {"parameters": "cpu"})",
                "/offload",
                "deepspeed-zero-3 and fsdp"},
        Refusal{R"("gradient_sync": "fsdp", "local_updates": {"type": "co2", "every": 4})",
                "/local_updates",
                "instead of fsdp"},
        Refusal{R"("gradient_sync": "fsdp", "fsdp": {"shard_ranks": 3})",
                "/fsdp",
                "8 data-parallel ranks"},
        // Of 8 ranks 2 share the matrices: 4 hold the same.
        Refusal{R"("gradient_sync": "fsdp", "fsdp": {"shard_ranks": 8},
          "parallelism": {"tensor": 2})",
                "/fsdp",
                "4 data-parallel ranks"},
        Refusal{R"("gradient_sync": "fsdp", "parallelism": {"pipeline": 2})",
                "/gradient_sync",
                "\"reshard_after_forward\": false"},
        Refusal{R"("gradient_sync": "fsdp", "parallelism": {"shards": [1, 2]})",
                "/parallelism/shards",
                "2 proportions for 8 ranks"},
        Refusal{R"("gradient_sync": "fsdp", "parallelism": {"shards": [0, 0, 0, 0, 0, 0, 0, 0]})",
                "/parallelism/shards",
                "a proportion above 0"},
        Refusal{R"("gradient_sync": "fsdp", "parallelism": {"shards": "by-memry"})",
                "/parallelism/shards",
                "by-memory"},
        Refusal{R"("gradient_sync": "deepspeed-zero-2", "parallelism": {"shards": "by-memory"})",
                "/parallelism/shards",
                "deepspeed-zero-3 and fsdp"},
        Refusal{R"("gradient_sync": "fsdp", "parallelism": {"tensor": 2, "shards": "by-memory"})",
                "/parallelism/shards",
                "data parallelism alone"},
        Refusal{R"("gradient_sync": "fsdp", "fsdp": {"shard_ranks": 4},
          "parallelism": {"shards": "by-memory"})",
                "/parallelism/shards",
                "\"shard_ranks\" out"}));

TEST(ParallelismReader, ReadsShards) {
  const auto shards = [](const std::string& value) {
    return training_of(R"("gradient_sync": "deepspeed-zero-3", "parallelism": {"shards": )" +
                       value + "}")
        .parallelism.shards;
  };
  EXPECT_TRUE(shards(R"("even")").are_even());
  EXPECT_TRUE(shards(R"("by-memory")").by_memory);
  EXPECT_THAT(shards("[1, 1, 1, 1, 0.5, 0.5, 0.5, 0]").proportions,
              ElementsAre(1, 1, 1, 1, 0.5, 0.5, 0.5, 0));
}

// What Megatron-DeepSpeed, DeepSpeed's Ulysses and PyTorch's meshes do.
TEST(ParallelismReader, ShardsGoBesideTensorAndSequenceParallelism) {
  for (const char* sync : {"deepspeed-zero-2", "deepspeed-zero-3", "fsdp"}) {
    for (const char* split :
         {R"("tensor": 2)",
          R"("tensor": 2, "sequence": {"kind": "megatron", "pad": true})",
          R"("sequence": {"kind": "ulysses", "ranks": 2, "pad": true})",
          R"("sequence": {"kind": "ring", "ranks": 2, "pad": true})",
          R"("tensor": 2, "sequence": {"kind": "ulysses", "ranks": 2, "pad": true})"}) {
      EXPECT_THAT(
          problems_of(fmt::format(R"("gradient_sync": "{}", "parallelism": {{{}}})", sync, split)),
          ::testing::IsEmpty())
          << sync << " " << split;
    }
  }
  EXPECT_THAT(problems_of(R"("gradient_sync": "fsdp", "fsdp": {"reshard_after_forward": false},
    "gradient_accumulation_steps": 4, "parallelism": {"tensor": 2, "pipeline": 2})"),
              ::testing::IsEmpty());
  // Four ranks hold the same weights: two replicas of two ranks that share the tokens.
  EXPECT_THAT(problems_of(R"("gradient_sync": "fsdp", "fsdp": {"shard_ranks": 4}, "parallelism":
    {"tensor": 2, "sequence": {"kind": "ulysses", "ranks": 2, "pad": true}})"),
              ::testing::IsEmpty());
}

TEST(ParallelismReader, TokenModelsNeedTokensAndVocabulary) {
  EXPECT_THAT(problems_of(R"("epochs": 1, "seed": 2)"), ::testing::IsEmpty());
  const std::string text = R"({
    "cluster": {"nodes": [{"name": "n", "gpus": ["t4"]}]},
    "training": {"dataset": {"name": "text", "samples": 1000}, "micro_batch_per_gpu": 1,
      "model": {"layers": 2, "width": 64, "heads": 2, "mlp": 256, "tokens": 1024})";
  const Experiment right = experiment_from_text(
      text.substr(0, text.size() - 1) + R"(, "vocabulary": 51200, "causal": true}}})", "lab.json");
  EXPECT_TRUE(right.training.model.is_token_model());
  EXPECT_EQ(right.training.model.tokens(), 1024);
  try {
    experiment_from_text(text + "}}", "lab.json");
    FAIL() << "accepted a token model without a vocabulary";
  } catch (const UserError& error) {
    EXPECT_THAT(error.problems(), ElementsAre(HasSubstr("\"vocabulary\" is missing")));
  }
}

}  // namespace
}  // namespace vitsim
