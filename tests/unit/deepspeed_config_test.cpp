#include "models/experiment/deepspeed_config.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "models/error.h"
#include "models/experiment/experiment.h"
#include "tests/support/temporary_folder_support.h"

namespace vitsim {
namespace {

using test::TemporaryFolder;
using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::SizeIs;

struct Read {
  DeepspeedConfig config;
  std::vector<std::string> warnings;
  std::string problems;
};

Read read(std::string_view text, std::int64_t world_size = 2) {
  Read result;
  Problems problems;
  try {
    result.config =
        deepspeed_config_from_text(text, "ds.json", world_size, problems, result.warnings);
    problems.throw_if_any();
  } catch (const UserError& error) {
    result.problems = error.what();
  }
  return result;
}

struct Triple {
  const char* text;
  std::int64_t micro;
  std::int64_t accumulation;
};

// World size 4. The rules are those of DeepSpeed's _set_batch_related_parameters.
TEST(DeepspeedConfig, TheBatchTripleFollowsItsRules) {
  const std::vector<Triple> cases = {
      {R"({"train_batch_size": 96, "train_micro_batch_size_per_gpu": 8,
           "gradient_accumulation_steps": 3})",
       8,
       3},  // 8 * 3 * 4 = 96
      {R"({"train_batch_size": 96, "train_micro_batch_size_per_gpu": 8})", 8, 3},
      {R"({"train_batch_size": 96, "gradient_accumulation_steps": 3})", 8, 3},
      {R"({"train_micro_batch_size_per_gpu": 8, "gradient_accumulation_steps": 3})", 8, 3},
      {R"({"train_batch_size": 96})", 24, 1},  // 96 / 4
  };
  for (const Triple& one : cases) {
    const Read result = read(one.text, 4);
    EXPECT_EQ(result.problems, "") << one.text;
    EXPECT_EQ(result.config.micro_batch->value, one.micro) << one.text;
    EXPECT_EQ(result.config.accumulation->value, one.accumulation) << one.text;
  }
  const Read only_micro = read(R"({"train_micro_batch_size_per_gpu": 8})", 4);
  EXPECT_EQ(only_micro.config.micro_batch->value, 8);
  EXPECT_FALSE(only_micro.config.accumulation.has_value());  // one, unless the cluster file says
}

TEST(DeepspeedConfig, ATripleThatDoesNotMultiplyIsAProblem) {
  // 33 / 2 = 16 by floor division, and 16 x 1 x 2 = 32.
  EXPECT_EQ(
      read(R"({"train_batch_size": 33})").problems,
      "ds.json:1: /train_batch_size: 33 is not micro-batch 16 x gradient_accumulation_steps 1 "
      "x world size 2");
  EXPECT_THAT(read(R"({"train_batch_size": 8, "train_micro_batch_size_per_gpu": 16})").problems,
              HasSubstr("8 is not micro-batch 16 x gradient_accumulation_steps 0"));
  EXPECT_THAT(read(R"({"train_batch_size": 1})").problems, HasSubstr("is not micro-batch 0"));
  EXPECT_THAT(read(R"({"gradient_accumulation_steps": 3})").problems,
              HasSubstr("needs \"train_batch_size\" or \"train_micro_batch_size_per_gpu\""));
  EXPECT_THAT(read(R"({"train_batch_size": 0})").problems, HasSubstr("0 is out of range"));
}

TEST(DeepspeedConfig, KeysThatDeepspeedIgnoresAreNamed) {
  // The study's own configuration: micro_batch_per_gpu is no key of DeepSpeed.
  const Read result = read("{\"train_batch_size\": 32,\n\"micro_batch_per_gpu\": 4}");
  EXPECT_EQ(result.problems, "");
  EXPECT_EQ(result.config.micro_batch->value, 16);  // 32 / 2, not 4
  EXPECT_THAT(result.warnings,
              ElementsAre("ds.json:2: /micro_batch_per_gpu: DeepSpeed does not know the key "
                          "\"micro_batch_per_gpu\" and ignores it (did you mean "
                          "\"train_micro_batch_size_per_gpu\"?)"));
}

TEST(DeepspeedConfig, KeysThatAreNotModelledAreNamedUnlessSwitchedOff) {
  const Read result = read(R"({"train_batch_size": 32, "steps_per_print": 10,
    "wall_clock_breakdown": true, "prescale_gradients": false, "communication_data_type": null,
    "flops_profiler": {"enabled": false},
    "sparse_gradients": true,
    "elasticity": {"enabled": true},
    "zero_optimization": {"stage": 1, "zero_hpz_partition_size": 8},
    "fp16": {"enabled": true, "auto_cast": true}})");
  EXPECT_EQ(result.problems, "");
  EXPECT_THAT(result.warnings,
              ElementsAre(HasSubstr("/fp16/auto_cast: \"auto_cast\" is not modelled"),
                          HasSubstr("/zero_optimization/zero_hpz_partition_size"),
                          HasSubstr("\"sparse_gradients\" is not modelled"),
                          HasSubstr("\"elasticity\" is not modelled")));
}

TEST(DeepspeedConfig, PrecisionAndLossScale) {
  const Read half = read(R"({"train_batch_size": 32, "fp16": {"enabled": true, "loss_scale": 0,
    "initial_scale_power": 12, "loss_scale_window": 500, "hysteresis": 4, "min_loss_scale": 2,
    "consecutive_hysteresis": true}})");
  EXPECT_EQ(half.config.precision->value, Precision::kFp16);
  EXPECT_EQ(half.config.loss_scale->initial_power, 12);
  EXPECT_EQ(half.config.loss_scale->window, 500);
  EXPECT_EQ(half.config.loss_scale->hysteresis, 4);
  EXPECT_EQ(half.config.loss_scale->minimum, 2);
  EXPECT_TRUE(half.config.loss_scale->consecutive_hysteresis);
  EXPECT_EQ(
      read(R"({"train_batch_size": 32, "bfloat16": {"enabled": true}})").config.precision->value,
      Precision::kBf16);
  EXPECT_THAT(
      read(R"({"train_batch_size": 32, "fp16": {"enabled": true}, "bf16": {"enabled": true}})")
          .problems,
      HasSubstr("cannot both be enabled"));
}

TEST(DeepspeedConfig, StagesAndSchedules) {
  EXPECT_EQ(read(R"({"train_batch_size": 2, "zero_optimization": {"stage": 1}})")
                .config.gradient_sync->value,
            GradientSync::kDeepspeedZero1);
  EXPECT_EQ(read(R"({"train_batch_size": 2, "zero_optimization": {"stage": 3}})")
                .config.gradient_sync->value,
            GradientSync::kDeepspeedZero3);
  EXPECT_THAT(read(R"({"train_batch_size": 2, "zero_optimization": {"stage": 4}})").problems,
              HasSubstr("/zero_optimization/stage"));
  const Read warm = read(R"({"train_batch_size": 2,
    "optimizer": {"type": "AdamW", "params": {"lr": 0.01, "betas": [0.8, 0.9], "eps": 1e-7}},
    "scheduler": {"type": "WarmupDecayLR", "params": {"warmup_min_lr": 0.001, "warmup_max_lr": 0.01,
      "warmup_num_steps": 10, "total_num_steps": 100, "warmup_type": "linear"}}})");
  EXPECT_EQ(warm.problems, "");
  EXPECT_THAT(warm.warnings, IsEmpty());
  const ScheduleSpec& schedule = warm.config.schedule->value;
  EXPECT_EQ(schedule.kind, ScheduleKind::kLinear);
  EXPECT_EQ(schedule.warmup_steps, 10);
  EXPECT_DOUBLE_EQ(schedule.warmup_start, 0.1);  // 0.001 of 0.01
  EXPECT_FALSE(schedule.warmup_log);
  EXPECT_EQ(schedule.total_steps, 100);
  EXPECT_EQ(warm.config.optimizer.lr->value, 0.01);
  EXPECT_EQ(warm.config.optimizer.betas->value[0], 0.8);
  EXPECT_EQ(warm.config.optimizer.weight_decay->value, 0);  // FusedAdam's own default
  const Read cosine = read(R"({"train_batch_size": 2, "scheduler": {"type": "WarmupCosineLR",
    "params": {"total_num_steps": 50}}})");
  EXPECT_EQ(cosine.config.schedule->value.warmup_steps, 1000);
  EXPECT_EQ(cosine.config.schedule->value.final_fraction, 1e-4);
  EXPECT_TRUE(cosine.config.schedule->value.warmup_log);
  EXPECT_THAT(read(R"({"train_batch_size": 2, "scheduler": {"type": "WarmupCosineLR"}})").problems,
              HasSubstr("needs \"total_num_steps\""));
  EXPECT_THAT(read(R"({"train_batch_size": 2, "optimizer": {"type": "Lion"}})").problems,
              HasSubstr("optimizer \"lion\" is not supported"));
}

TEST(DeepspeedConfig, ZeroKeysAreRead) {
  const Read found = read(R"({"train_batch_size": 2, "zero_optimization": {"stage": 3,
    "reduce_bucket_size": 1e6, "allgather_bucket_size": 2e6, "overlap_comm": false,
    "contiguous_gradients": false, "stage3_prefetch_bucket_size": "auto",
    "stage3_param_persistence_threshold": 10, "stage3_max_live_parameters": 3e8,
    "stage3_max_reuse_distance": 4e8, "sub_group_size": 1e9, "reduce_scatter": true,
    "offload_optimizer": {"device": "cpu", "pin_memory": true},
    "offload_param": {"device": "nvme"}}})");
  EXPECT_EQ(found.problems, "");
  EXPECT_THAT(found.warnings, IsEmpty());
  const ZeroSpec& zero = found.config.zero->value;
  EXPECT_EQ(zero.reduce_bucket_size, 1'000'000);
  EXPECT_EQ(zero.allgather_bucket_size, 2'000'000);
  EXPECT_EQ(zero.overlap_comm, false);
  EXPECT_FALSE(zero.contiguous_gradients);
  EXPECT_EQ(zero.prefetch_bucket_size, ZeroSpec{}.prefetch_bucket_size);
  EXPECT_EQ(zero.param_persistence_threshold, 10);
  EXPECT_EQ(zero.max_live_parameters, 300'000'000);
  EXPECT_EQ(zero.max_reuse_distance, 400'000'000);
  EXPECT_EQ(found.config.offload->value.optimizer, OffloadTarget::kCpu);
  EXPECT_EQ(found.config.offload->value.parameters, OffloadTarget::kNvme);
  const Read old = read(R"({"train_batch_size": 2, "zero_optimization": {"stage": 2,
    "cpu_offload": true, "reduce_bucket_size": "auto"}})");
  EXPECT_EQ(old.config.gradient_sync->value, GradientSync::kDeepspeedZero2);
  EXPECT_EQ(old.config.offload->value.optimizer, OffloadTarget::kCpu);
  EXPECT_FALSE(old.config.zero);
}

TEST(DeepspeedConfig, CompressedOptimizersHaveDeepspeedsNames) {
  const Read bits = read(R"({"train_batch_size": 2, "optimizer": {"type": "OneBitAdam",
    "params": {"lr": 0.001, "freeze_step": 400, "cuda_aware": false,
    "comm_backend_name": "nccl"}}})");
  EXPECT_EQ(bits.problems, "");
  EXPECT_THAT(bits.warnings, IsEmpty());
  EXPECT_EQ(bits.config.optimizer.kind->value, OptimizerKind::kOneBitAdam);
  EXPECT_EQ(bits.config.optimizer.freeze_step->value, 400);
  const Read zero_one = read(R"({"train_batch_size": 2, "optimizer": {"type": "ZeroOneAdam",
    "params": {"var_freeze_step": 50}}})");
  EXPECT_EQ(zero_one.config.optimizer.kind->value, OptimizerKind::kZeroOneAdam);
  EXPECT_EQ(zero_one.config.optimizer.freeze_step->value, 50);
}

// ---- together with a cluster file ----

std::string cluster_with(std::string_view training_keys) {
  return std::string(R"({"cluster": {"nodes": [{"name": "n", "count": 2, "gpus": ["rtx-3070"]}],
"network": {"bandwidth": "10Gbps", "latency": "50us"}},
"training": {"model": "vit-b-16", "dataset": {"name": "cifar10"},
"deepspeed_config": "ds.json")") +
         std::string(training_keys) + "}}";
}

TEST(DeepspeedConfig, IsMergedIntoTheTraining) {
  const TemporaryFolder folder;
  folder.write("ds.json", R"({"train_batch_size": 64, "gradient_accumulation_steps": 2,
    "gradient_clipping": 1.0, "fp16": {"enabled": true},
    "optimizer": {"type": "SGD", "params": {"lr": 0.1, "momentum": 0.8}}})");
  const auto file = folder.write("cluster.json", cluster_with(R"(, "clip_norm": 1.0)"));
  const TrainingSpec training = read_experiment(file).training;
  EXPECT_THAT(training.micro_batch, ElementsAre(16));  // 64 / 2 / 2
  EXPECT_EQ(training.accumulation, 2);
  EXPECT_EQ(training.precision, Precision::kFp16);
  EXPECT_EQ(training.clip_norm, 1.0);
  EXPECT_EQ(training.gradient_sync, GradientSync::kDeepspeedZero0);
  EXPECT_EQ(training.optimizer.kind, OptimizerKind::kSgd);
  EXPECT_EQ(training.optimizer.momentum, 0.8);
  EXPECT_EQ(training.optimizer.lr, 0.1);
}

TEST(DeepspeedConfig, AKeyGivenBothWaysMustAgree) {
  const TemporaryFolder folder;
  const std::string config = folder
                                 .write("ds.json",
                                        "{\"train_batch_size\": 64,\n\"fp16\": {\"enabled\": "
                                        "false},\n\"gradient_clipping\": 1.0}")
                                 .string();
  const auto file = folder.write(
      "cluster.json",
      cluster_with(R"(, "micro_batch_per_gpu": 16, "precision": "fp16", "clip_norm": 2)"));
  try {
    (void)read_experiment(file);
    FAIL();
  } catch (const UserError& error) {
    EXPECT_THAT(
        error.problems(),
        ElementsAre(
            AllOf(HasSubstr("cluster.json:4: /training/micro_batch_per_gpu: disagrees with"),
                  HasSubstr(config + ":1: /train_batch_size")),
            AllOf(HasSubstr("/training/precision: disagrees with"),
                  HasSubstr(config + ":2: /fp16")),
            AllOf(HasSubstr("/training/clip_norm: disagrees with"),
                  HasSubstr(config + ":3: /gradient_clipping"))));
  }
}

TEST(DeepspeedConfig, ItsProblemsComeTogetherWithTheClusters) {
  const TemporaryFolder folder;
  folder.write("ds.json", "{\"train_batch_size\": 64");
  const auto file = folder.write("cluster.json", cluster_with(R"(, "epochs": 0)"));
  try {
    (void)read_experiment(file);
    FAIL();
  } catch (const UserError& error) {
    EXPECT_THAT(error.what(), HasSubstr("/training/epochs: 0 is out of range"));
    EXPECT_THAT(error.what(), HasSubstr("ds.json:1: the file ends in the middle"));
  }
}

// Hugging Face's Trainer writes "auto" where its own arguments decide. What changes no time passes.
TEST(DeepspeedConfig, AutoLeavesValuesToTheTrainingSection) {
  const Read result = read(R"({"train_batch_size": "auto", "train_micro_batch_size_per_gpu": "auto",
    "gradient_accumulation_steps": "auto", "gradient_clipping": "auto",
    "fp16": {"enabled": "auto", "loss_scale": 0}, "bf16": {"enabled": "auto"},
    "zero_optimization": {"stage": 1, "reduce_bucket_size": "auto"},
    "optimizer": {"type": "AdamW", "params": {"lr": "auto", "betas": "auto", "eps": "auto",
                                              "weight_decay": "auto"}},
    "scheduler": {"type": "WarmupDecayLR", "params": {"warmup_min_lr": "auto",
      "warmup_max_lr": "auto", "warmup_num_steps": "auto", "total_num_steps": "auto"}}})",
                           4);
  EXPECT_EQ(result.problems, "");
  EXPECT_THAT(result.warnings, IsEmpty());
  EXPECT_FALSE(result.config.micro_batch);
  EXPECT_FALSE(result.config.precision);
  EXPECT_THAT(result.config.not_precision, IsEmpty());
  EXPECT_EQ(result.config.open_micro_batch, "ds.json:1: /train_micro_batch_size_per_gpu");
  ASSERT_TRUE(result.config.open_precision);
  EXPECT_THAT(*result.config.open_precision, HasSubstr("/bf16/enabled"));
  // A value that is there leaves nothing open.
  const Read stated = read(R"({"train_batch_size": "auto", "train_micro_batch_size_per_gpu": 4,
    "fp16": {"enabled": "auto"}, "bf16": {"enabled": true}})");
  EXPECT_FALSE(stated.config.open_micro_batch);
  EXPECT_FALSE(stated.config.open_precision);
  EXPECT_EQ(stated.config.precision->value, Precision::kBf16);
  // What a step does is not to be guessed.
  EXPECT_THAT(read(R"({"train_batch_size": 2, "zero_optimization": {"stage": "auto"}})").problems,
              HasSubstr("/zero_optimization/stage: \"auto\" is filled in by"));
}

TEST(DeepspeedConfig, ReadsAutocastAndApex) {
  const auto precision = [](const std::string& sections) {
    const Read result = read(R"({"train_batch_size": 2, )" + sections + "}");
    EXPECT_EQ(result.problems, "") << sections;
    EXPECT_THAT(result.warnings, IsEmpty()) << sections;
    return result.config.precision ? std::optional(result.config.precision->value) : std::nullopt;
  };
  using enum Precision;
  EXPECT_EQ(precision(R"("torch_autocast": {"enabled": true, "dtype": "bfloat16"})"), kAmpBf16);
  EXPECT_EQ(precision(R"("torch_autocast": {"enabled": true, "dtype": "float16"})"), kAmpFp16);
  EXPECT_EQ(precision(R"("torch_autocast": {"enabled": true})"), kAmpBf16);
  EXPECT_EQ(precision(R"("torch_autocast": {"enabled": false})"), std::nullopt);
  EXPECT_EQ(precision(R"("amp": {"enabled": true, "opt_level": "O1"})"), kAmpFp16);
  EXPECT_EQ(precision(R"("amp": {"enabled": true, "opt_level": "O2"})"), kFp16);
  EXPECT_EQ(precision(R"("amp": {"enabled": true})"), kAmpFp16);
  EXPECT_EQ(precision(R"("amp": {"enabled": false})"), std::nullopt);
  EXPECT_THAT(
      read(R"({"train_batch_size": 2, "torch_autocast": {"enabled": true, "dtype": "int8"}})")
          .problems,
      HasSubstr("/torch_autocast/dtype: \"int8\""));
}

TEST(DeepspeedConfig, AllowsCommentsAndTrailingCommas) {
  const Read result = read(
      "{\n  // per card\n  \"train_micro_batch_size_per_gpu\": 64, # each\n"
      "  \"fp16\": { \"enabled\": true, /* mixed */ },\n  \"zero_optimisation\": {},\n}\n");
  EXPECT_EQ(result.problems, "");
  EXPECT_EQ(result.config.micro_batch->value, 64);
  EXPECT_EQ(result.config.precision->value, Precision::kFp16);
  ASSERT_THAT(result.warnings, SizeIs(1));
  EXPECT_THAT(result.warnings.front(), HasSubstr("ds.json:5: "));  // lines are the file's
}

TEST(DeepspeedConfig, WhatAutoLeavesOpenTheTrainingSectionStates) {
  const TemporaryFolder folder;
  folder.write("ds.json",
               R"({"train_micro_batch_size_per_gpu": "auto", "fp16": {"enabled": "auto"}})");
  const auto full =
      folder.write("full.json", cluster_with(R"(, "micro_batch_per_gpu": 8, "precision": "fp16")"));
  EXPECT_THAT(read_experiment(full).training.micro_batch, ElementsAre(8));
  EXPECT_EQ(read_experiment(full).training.precision, Precision::kFp16);
  const auto open = folder.write("open.json", cluster_with(""));
  try {
    (void)read_experiment(open);
    FAIL();
  } catch (const UserError& error) {
    EXPECT_THAT(error.what(), HasSubstr("\"micro_batch_per_gpu\" is missing"));
    EXPECT_THAT(error.what(), HasSubstr("\"precision\" is missing"));
    EXPECT_THAT(error.what(), HasSubstr("ds.json:1: /fp16/enabled says \"auto\""));
  }
}

}  // namespace
}  // namespace vitsim
