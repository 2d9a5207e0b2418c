#include "trainer/training_run.h"

#include <utility>
#include <vector>

#include <ATen/ATen.h>
#include <fmt/format.h>
#include <torch/csrc/distributed/c10d/comm.hpp>

#include "models/epoch.h"
#include "models/error.h"
#include "trainer/data/loader.h"
#include "trainer/loss_scale.h"
#include "trainer/model.h"
#include "trainer/recorder.h"
#include "trainer/run_directory.h"
#include "trainer/schedule.h"
#include "trainer/step/train_step.h"

namespace vitsim {

namespace {

constexpr std::int64_t kWarmUpSteps = 3;
constexpr std::size_t kBroadcastBytes = 250 << 20;

at::ScalarType model_type(Precision precision) {
  switch (precision) {
    case Precision::kFp16:
      return at::kHalf;
    case Precision::kBf16:
      return at::kBFloat16;
    default:
      return at::kFloat;
  }
}

class Run {
 public:
  Run(const Experiment& experiment,
      const RunOptions& options,
      const MpiSession& session,
      Communication& communication,
      Device& device,
      Watchdog& watchdog)
      : training_(experiment.training),
        options_(options),
        session_(session),
        communication_(communication),
        device_(device),
        dataset_(open_dataset(training_, Split::kTrain)),
        plan_(plan_epoch(
            subset_samples(counted_samples(training_, *dataset_), training_.dataset.fraction),
            session.size(),
            training_.micro_batch,
            training_.accumulation)),
        model_(training_.model, training_.seed),
        recorder_(device, watchdog, session.rank()) {
    model_.convert(device.torch_device(), model_type(training_.precision));
    {
      const at::NoGradGuard no_grad;
      c10d::broadcast_coalesced(communication.group(), model_.parameters(), kBroadcastBytes);
    }
    reducer_ = make_gradient_reducer(
        training_.gradient_sync,
        {.group = communication.group(), .device = &device, .parameters = &model_.parameters()});
    optimizer_ = make_optimizer(training_.optimizer,
                                reducer_->slices(),
                                model_.parameters().size(),
                                [this](at::Tensor& values) { reducer_->sum_over_shards(values); });
    if (training_.precision == Precision::kFp16 || training_.precision == Precision::kAmpFp16) {
      loss_scale_.emplace(training_.loss_scale);
    }
    step_.emplace(training_,
                  model_,
                  *reducer_,
                  *optimizer_,
                  loss_scale_ ? &*loss_scale_ : nullptr,
                  device_,
                  recorder_);
  }

  void run() {
    for (std::int64_t epoch = 0; epoch < training_.epochs; ++epoch) {
      train_epoch(epoch);
      if (session_.rank() == 0) {
        RunDirectory(options_.out).write_steps(rows_);
      }
    }
    if (options_.check_replicas) {
      check_replicas();
    }
  }

 private:
  void train_epoch(std::int64_t epoch) {
    const auto loader =
        start_epoch(*dataset_, training_, plan_, session_.rank(), session_.size(), epoch, 0);
    std::vector<double> losses;
    for (std::int64_t step = 0; step < plan_.steps; ++step) {
      const std::int64_t global = epoch * plan_.steps + step;
      const bool short_step = step + 1 == plan_.steps && plan_.last_is_short();
      const auto& shapes = short_step ? plan_.last : plan_.full;
      std::int64_t joined = 0;
      for (const StepShape& shape : shapes) {
        joined += shape.samples();
      }
      recorder_.begin_step(global, global < kWarmUpSteps, !short_step);
      const double lr = learning_rate(training_.optimizer,
                                      training_.schedule,
                                      optimizer_->updates(),
                                      training_.epochs * plan_.steps);
      const StepResult result =
          step_->run(*loader, shapes[static_cast<std::size_t>(session_.rank())], joined, lr);
      losses.push_back(result.loss);
      rows_.push_back({.step = global, .epoch = epoch, .lr = lr, .skipped = result.skipped});
    }
    communication_.sum(losses);
    for (std::size_t i = 0; i < losses.size(); ++i) {
      rows_[rows_.size() - losses.size() + i].loss = losses[i];
    }
    if (session_.rank() == 0) {
      fmt::print("epoch {}: loss {:.4f}\n", epoch, losses.back());
    }
  }

  // Every rank tells a fingerprint of its weights (FNV-1a over their bytes).
  void check_replicas() {
    std::uint64_t fingerprint = 0xcbf29ce484222325;
    for (const at::Tensor& parameter : model_.parameters()) {
      const at::Tensor bytes = parameter.detach().cpu().contiguous().view(-1).view(at::kByte);
      for (std::int64_t i = 0; i < bytes.numel(); ++i) {
        fingerprint = (fingerprint ^ bytes.const_data_ptr<std::uint8_t>()[i]) * 0x100000001b3;
      }
    }
    const std::vector<std::int64_t> mine = {static_cast<std::int64_t>(fingerprint)};
    const auto all = communication_.gather(mine);
    for (std::size_t rank = 1; rank < all.size(); ++rank) {
      if (all[rank] != all[0]) {
        throw DeviceError(fmt::format("ranks 0 and {} do not hold the same weights", rank));
      }
    }
    if (session_.rank() == 0) {
      fmt::print("replicas are equal\n");
    }
  }

  const TrainingSpec& training_;
  const RunOptions& options_;
  const MpiSession& session_;
  Communication& communication_;
  Device& device_;
  std::unique_ptr<Dataset> dataset_;
  EpochPlan plan_;
  VisionTransformer model_;
  Recorder recorder_;
  std::unique_ptr<GradientReducer> reducer_;
  std::unique_ptr<Optimizer> optimizer_;
  std::optional<LossScale> loss_scale_;
  std::optional<TrainStep> step_;
  std::vector<StepRow> rows_;
};

}  // namespace

void train(const Experiment& experiment,
           const RunOptions& options,
           const MpiSession& session,
           Communication& communication,
           Device& device,
           Watchdog& watchdog) {
  Run(experiment, options, session, communication, device, watchdog).run();
}

}  // namespace vitsim
