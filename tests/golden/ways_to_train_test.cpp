// Every way to train with data parallelism, predicted from cluster file to report.
#include <cmath>
#include <functional>
#include <string>

#include <fmt/format.h>
#include <gtest/gtest.h>

#include "calibrate/profile/library.h"
#include "calibrate/profile/lookup.h"
#include "models/experiment/experiment.h"
#include "sim/job/resolve.h"
#include "sim/predict/predict.h"

namespace vitsim {
namespace {

/// Two nodes of four GPUs; `keys` go into the training section.
Report predicted(const std::string& keys, const std::string& bandwidth = "10Gbps") {
  const Experiment experiment = experiment_from_text(fmt::format(R"({{
  "cluster": {{"nodes": [{{"name": "n", "count": 2, "host_memory": "256GiB",
      "gpus": ["rtx-3090", "rtx-3090", "rtx-3090", "rtx-3090"]}}],
    "network": {{"bandwidth": "{}", "latency": "20us"}}}},
  "training": {{"model": "vit-b-16", "dataset": {{"name": "cifar10"}}, "epochs": 2,
    "micro_batch_per_gpu": 8, "gradient_accumulation_steps": 2, {}}}
}})",
                                                                 bandwidth,
                                                                 keys),
                                                     "lab.json");
  return predict(resolve(experiment, load_profiles(experiment, ProfileLibrary())), {}).front();
}

double sum_of(const Report& report, const std::function<double(const CommunicationRow&)>& value) {
  double sum = 0;
  for (const CommunicationRow& row : report.communication) {
    sum += value(row);
  }
  return sum;
}

class WaysToTrain : public testing::TestWithParam<const char*> {};

// Parts, exposed communication and straggler wait make the median step; the rows of communication
// add up to its phases and to what is exposed.
TEST_P(WaysToTrain, TheirPartsAddUp) {
  const Report report = predicted(GetParam());
  const double step_s = report.step_s.p50;
  EXPECT_NEAR(report.phases.compute_s() + report.exposed_communication_s + report.wait_s,
              step_s,
              1e-6 * step_s);
  EXPECT_NEAR(sum_of(report, [](const CommunicationRow& row) { return row.busy_s; }),
              report.phases.communication_s(),
              1e-6 * step_s);
  EXPECT_NEAR(sum_of(report, [](const CommunicationRow& row) { return row.exposed_s; }),
              report.exposed_communication_s,
              1e-6 * step_s);
  EXPECT_GT(sum_of(report, [](const CommunicationRow& row) { return row.bytes; }), 0);
}

INSTANTIATE_TEST_SUITE_P(
    All,
    WaysToTrain,
    testing::Values(
        R"("gradient_sync": "ddp")",
        R"("gradient_sync": "deepspeed-zero-0")",
        R"("gradient_sync": "deepspeed-zero-1", "clip_norm": 1)",
        R"("gradient_sync": "deepspeed-zero-1", "zero": {"use_multi_rank_bucket_allreduce": false})",
        R"("gradient_sync": "deepspeed-zero-2", "precision": "fp16")",
        R"("gradient_sync": "deepspeed-zero-2",
           "zero": {"overlap_comm": true, "reduce_bucket_size": 10000000})",
        R"("gradient_sync": "deepspeed-zero-3")",
        R"("gradient_sync": "deepspeed-zero-3", "zero": {"prefetch_bucket_size": 0,
           "param_persistence_threshold": 0, "max_reuse_distance": 0})",
        R"("gradient_sync": "deepspeed-zero-3", "offload": {"optimizer": "nvme",
           "parameters": "cpu"})",
        R"("gradient_sync": "fsdp")",
        R"("gradient_sync": "fsdp", "fsdp": {"reshard_after_forward": false})",
        R"("gradient_sync": "fsdp", "fsdp": {"shard_ranks": 4}, "clip_norm": 1)",
        R"("gradient_sync": "fsdp", "parallelism": {"tensor": 2}, "clip_norm": 1)",
        R"("gradient_sync": "fsdp", "fsdp": {"shard_ranks": 2}, "parallelism": {"tensor": 2})",
        R"("gradient_sync": "fsdp", "parallelism":
           {"sequence": {"kind": "ring", "ranks": 2, "pad": true}})",
        R"("gradient_sync": "fsdp", "parallelism": {"shards": [1, 1, 1, 1, 2, 2, 3, 0]})",
        R"("gradient_sync": "deepspeed-zero-2", "parallelism":
           {"tensor": 2, "sequence": {"kind": "megatron", "pad": true}})",
        R"("gradient_sync": "deepspeed-zero-3", "parallelism":
           {"sequence": {"kind": "ulysses", "ranks": 4, "pad": true}})",
        R"("gradient_sync": "deepspeed-zero-3", "offload": {"optimizer": "cpu",
           "parameters": "cpu"}, "parallelism": {"shards": [1, 1, 1, 1, 2, 2, 2, 2]})",
        R"("gradient_sync": "distributed-optimizer")",
        R"("gradient_sync": "ddp", "communication_hook": {"type": "bf16"})",
        R"("gradient_sync": "ddp", "communication_hook": {"type": "powersgd"})",
        R"("gradient_sync": "deepspeed-zero-0",
           "optimizer": {"type": "onebit-adam", "freeze_step": 500})",
        R"("gradient_sync": "deepspeed-zero-0",
           "optimizer": {"type": "zero-one-adam", "freeze_step": 200})",
        R"("gradient_sync": "ddp", "local_updates": {"type": "local-sgd", "every": 10})",
        R"("gradient_sync": "ddp", "local_updates": {"type": "diloco", "every": 10})",
        R"("gradient_sync": "ddp", "local_updates": {"type": "co2", "every": 4})"));

// On a slow network local steps save nine of ten AllReduces: the mean step lies between a step
// without communication and one with a tenth of ddp's time in full, whatever ddp hides.
TEST(WaysToTrainMeans, LocalStepsCommunicateOnceInARound) {
  const Report every = predicted(R"("local_updates": {"type": "local-sgd", "every": 1})", "1Gbps");
  const Report tenth = predicted(R"("local_updates": {"type": "local-sgd", "every": 10})", "1Gbps");
  EXPECT_NEAR(tenth.exposed_communication_s,
              every.exposed_communication_s / 10,
              0.01 * every.exposed_communication_s);
  EXPECT_NEAR(tenth.communication.at(0).calls, 0.1, 0.005);
}

// The run has 2 x 391 steps. Half of them are plain where compression begins at step 391: the
// first epoch is plain, the second compressed.
TEST(WaysToTrainMeans, OneBitAdamCompressesFromItsFreezeStep) {
  const auto with = [](int freeze) {
    return predicted(fmt::format(
        R"("gradient_sync": "deepspeed-zero-0",
           "optimizer": {{"type": "onebit-adam", "freeze_step": {}}})",
        freeze));
  };
  const Report half = with(391);
  ASSERT_EQ(half.steps_per_epoch, 391);  // ceil(50,000 / 8) images a rank, 16 a step
  EXPECT_NEAR(
      half.step_s.mean, (with(782).step_s.mean + with(0).step_s.mean) / 2, 1e-3 * half.step_s.mean);
}

}  // namespace
}  // namespace vitsim
