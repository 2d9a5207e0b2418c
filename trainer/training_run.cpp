// One training from its file to its report: a loop of epochs, each a loop of steps. The step itself
// is step/train_step.cpp.
#include "trainer/training_run.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>
#include <utility>
#include <vector>

#include <ATen/ATen.h>
#include <ATen/Parallel.h>
#include <fmt/format.h>
#include <nlohmann/json.hpp>
#include <torch/csrc/distributed/c10d/comm.hpp>

#include "models/document/quantity_text.h"
#include "models/error.h"
#include "models/experiment/epoch.h"
#include "models/experiment/resolved.h"
#include "models/vit/memory.h"
#include "trainer/banner.h"
#include "trainer/batch_feed.h"
#include "trainer/checkpoint.h"
#include "trainer/evaluate.h"
#include "trainer/failure.h"
#include "trainer/gpu_monitor.h"
#include "trainer/loss_scale.h"
#include "trainer/measured_report.h"
#include "trainer/model.h"
#include "trainer/profiler.h"
#include "trainer/progress_line.h"
#include "trainer/recorder.h"
#include "trainer/run_directory.h"
#include "trainer/run_record.h"
#include "trainer/schedule.h"
#include "trainer/step/train_step.h"
#include "trainer/unreadable_images.h"

namespace vitsim {

namespace {

// The Reducer builds its buckets anew in the second step, and allocators settle by the third.
constexpr std::int64_t kWarmUpSteps = 3;
constexpr std::int64_t kProfiledSteps = 3;
constexpr std::size_t kBroadcastBytes = 250 << 20;

bool needs_loss_scale(Precision precision) {
  return precision == Precision::kFp16 || precision == Precision::kAmpFp16;
}

// The model's arithmetic in words; empty where no step was measured.
std::string utilisation_text(const Report& report) {
  if (!report.model_flops_per_s) {
    return "";
  }
  const double tera = *report.model_flops_per_s * 1e-12;
  std::string text = fmt::format("Arithmetic: {:.4g} {}FLOP/s of the model's own",
                                 tera < 1 ? 1e3 * tera : tera,
                                 tera < 1 ? "G" : "T");
  if (report.model_flops_utilisation) {
    text += fmt::format(", {:.1f} % of the dense peak", 100 * *report.model_flops_utilisation);
  }
  return text + ".";
}

// The largest peak of all ranks beside what the ledger of models/vit/memory.h computes for that
// rank; empty where nothing was measured. The ledger leaves out what the process itself holds.
std::string memory_text(const TrainingSpec& training, const Report& report) {
  if (report.ranks.empty()) {
    return "";
  }
  const RankReport& rank = *std::ranges::max_element(
      report.ranks, {}, [](const RankReport& each) { return each.memory.total_bytes; });
  const double computed = memory_parts(training, report.world_size, rank.micro_batch, {}).total();
  if (rank.memory.allocated_bytes) {
    return fmt::format(
        "Peak memory: {} reserved on rank {}, of which tensors held {}; {} computed for weights, "
        "gradients, optimizer, buffers and activations.",
        human(Bytes(rank.memory.total_bytes)),
        rank.rank,
        human(Bytes(*rank.memory.allocated_bytes)),
        human(Bytes(computed)));
  }
  return fmt::format(
      "Peak memory: {} measured on rank {}; {} computed for weights, gradients, optimizer, buffers "
      "and activations, the rest is what the process and its libraries hold.",
      human(Bytes(rank.memory.total_bytes)),
      rank.rank,
      human(Bytes(computed)));
}

// What the ranks' GPUs drew; empty where no driver tells.
std::string power_text(const Report& report) {
  GpuPower all;
  std::int64_t count = 0;
  for (const RankReport& rank : report.ranks) {
    if (rank.power) {
      all.mean_w += rank.power->mean_w;
      all.energy_j += rank.power->energy_j;
      all.peak_w = std::max(all.peak_w, rank.power->peak_w);
      ++count;
    }
  }
  return count == 0 ? ""
                    : fmt::format("GPU power: {:.0f} W on average, {:.0f} W at most, {:.3g} kWh.",
                                  all.mean_w / static_cast<double>(count),
                                  all.peak_w,
                                  all.energy_j / kKilowattHour.value());
}

class Run {
 public:
  Run(const Experiment& experiment,
      const RunOptions& options,
      const MpiSession& session,
      Communication& communication,
      Device& device,
      Watchdog& watchdog)
      : experiment_(experiment),
        training_(experiment.training),
        options_(options),
        session_(session),
        communication_(communication),
        device_(device),
        board_(watchdog.board()),
        loader_options_(loader_options(training_.loader, device)),
        model_(training_.model, training_.seed) {
    communication_.on_every_rank([&] {
      dataset_ = open_dataset(training_, Split::kTrain, options.on_unreadable);
      if (training_.evaluate) {
        test_set_ = open_dataset(training_, Split::kTest, options.on_unreadable);
      }
      const std::int64_t counted = counted_samples(training_, *dataset_);
      const std::int64_t subset = subset_samples(counted, training_.dataset.fraction);
      if (subset < 1) {
        throw UserError(fmt::format("training.dataset: a fraction of {} of {} samples is none",
                                    training_.dataset.fraction,
                                    counted));
      }
      plan_ = plan_epoch(subset, session.size(), training_.micro_batch, training_.accumulation);
    });
    model_.convert(device.torch_device(), model_type(training_.precision));
    {
      const at::NoGradGuard no_grad;
      c10d::broadcast_coalesced(communication.group(), model_.parameters(), kBroadcastBytes);
    }
    model_.set_recompute(training_.recompute == Recompute::kBlock);
    reducer_ = make_gradient_reducer({.group = communication.group(),
                                      .device = &device,
                                      .model = &model_,
                                      .training = &training_});
    optimizer_ = make_optimizer(training_.optimizer,
                                reducer_->slices(),
                                model_.parameters().size(),
                                [this](at::Tensor& values) { reducer_->sum_over_shards(values); });
    device.reset_peak_memory();  // what it took to get here is not what training needs
    if (needs_loss_scale(training_.precision)) {
      loss_scale_.emplace(training_.loss_scale);
    }
    if (options.resume) {
      resume(*options.resume);
    }
    first_step_ = progress_.steps;
    total_steps_ = std::min(progress_.steps - progress_.step_in_epoch +
                                (training_.epochs - progress_.epoch) * plan_.steps,
                            options.steps.value_or(std::numeric_limits<std::int64_t>::max()));
    communication_.on_every_rank([&] {
      if (session_.rank() == 0 && !nothing_is_left()) {
        directory_.emplace(options.out);
        directory_->write_resolved(resolved(experiment_).dump(2) + "\n");
      }
    });
    if (options.kineto) {
      profiler_.emplace(options.out / "kineto" / fmt::format("rank-{}.json", session.rank()),
                        session.rank(),
                        session.size(),
                        !device.torch_device().is_cpu(),
                        first_step_ + kWarmUpSteps,
                        std::min(first_step_ + kWarmUpSteps + kProfiledSteps, total_steps_) - 1);
    }
    if (const auto place = device.pci_bus_id()) {
      monitor_ = GpuMonitor::start(*place);
    }
    communication_.barrier();
    recorder_.emplace(device, board_, session.rank(), options.timeline);
    record_.emplace(experiment_, plan_);
    step_.emplace(training_,
                  model_,
                  *reducer_,
                  *optimizer_,
                  loss_scale_ ? &*loss_scale_ : nullptr,
                  device_,
                  *recorder_);
  }

  void run() {
    if (session_.rank() == 0) {
      fmt::print("{}\n", banner(resolved(experiment_), facts()));
      for (const std::string& warning : warnings()) {
        fmt::print("warning: {}\n", warning);
      }
    }
    progress_line_.emplace(training_.epochs, total_steps_, output_is_terminal());
    while (progress_.epoch < training_.epochs && progress_.steps < total_steps_) {
      train_epoch();
    }
    board_.enter(progress_.steps, Phase::kOther);
    if (!nothing_is_left()) {
      write_report();
    } else if (session_.rank() == 0) {
      progress_line_->note(fmt::format("nothing is left to do: {} steps are done", first_step_));
    }
    if (options_.check_replicas) {
      const WholeModel whole(*reducer_);
      vitsim::check_replicas(communication_, model_.parameters());
      if (session_.rank() == 0) {
        progress_line_->note("replicas are equal");
      }
    }
    communication_.barrier();
  }

 private:
  void train_epoch() {
    const std::int64_t begin_ns = recorder_->now_ns();
    const double elapsed_before_s = progress_.elapsed_s;
    BatchFeed feed(start_epoch(*dataset_,
                               training_,
                               plan_,
                               session_.rank(),
                               session_.size(),
                               progress_.epoch,
                               progress_.step_in_epoch,
                               loader_options_),
                   dataset_->normalisation(),
                   training_.precision,
                   device_);
    while (progress_.step_in_epoch < plan_.steps && progress_.steps < total_steps_) {
      train_step(feed);
      progress_.elapsed_s =
          elapsed_before_s + static_cast<double>(recorder_->now_ns() - begin_ns) * 1e-9;
      const bool epoch_ends = progress_.step_in_epoch == plan_.steps;
      if (training_.checkpoint && training_.checkpoint->every > 0 && !epoch_ends &&
          progress_.steps % training_.checkpoint->every == 0) {
        flush_losses();
        save();
      }
    }
    timed(Phase::kEpochBarrier, [&] { communication_.barrier(); });
    flush_losses();
    if (progress_.step_in_epoch == plan_.steps) {
      if (progress_.epoch + 1 == training_.epochs) {
        reducer_->finish();
      }
      end_epoch(elapsed_before_s + static_cast<double>(recorder_->now_ns() - begin_ns) * 1e-9);
      return;
    }
    // Stopped by --steps: a run that goes on from the checkpoint must not notice.
    if (training_.checkpoint) {
      save();
    }
    reducer_->finish();
  }

  void train_step(BatchFeed& feed) {
    const bool short_step = progress_.step_in_epoch + 1 == plan_.steps && plan_.last_is_short();
    const auto& shapes = short_step ? plan_.last : plan_.full;
    const std::int64_t joined = std::accumulate(
        shapes.begin(),
        shapes.end(),
        std::int64_t{0},
        [](std::int64_t sum, const StepShape& shape) { return sum + shape.samples(); });
    const StepShape& mine = shapes[static_cast<std::size_t>(session_.rank())];
    const std::int64_t most = std::ranges::max(shapes, {}, &StepShape::count).count;
    const double lr = learning_rate(training_.optimizer,
                                    training_.schedule,
                                    optimizer_->updates(),
                                    training_.epochs * plan_.steps);
    if (profiler_) {
      profiler_->begin_step(progress_.steps);
    }
    recorder_->begin_step(
        progress_.steps, progress_.steps < first_step_ + kWarmUpSteps, !short_step);
    const StepResult result = step_->run(
        feed, {.mine = mine, .joined = joined, .most = most, .step = progress_.steps}, lr);
    if (profiler_) {
      profiler_->end_step(progress_.steps);
    }
    rows_.push_back(
        {.step = progress_.steps, .epoch = progress_.epoch, .lr = lr, .skipped = result.skipped});
    pending_losses_.push_back(result.loss);
    pending_samples_.push_back(joined);
    ++progress_.steps;
    ++progress_.step_in_epoch;
    progress_.samples_in_epoch += joined;
    if (session_.rank() == 0 && mine.samples() > 0) {
      progress_line_->step(
          progress_.epoch,
          progress_.steps,
          result.loss * static_cast<double>(joined) / static_cast<double>(mine.samples()),
          joined);
    }
  }

  // Ranks know their own share of each loss; here they add them up.
  void flush_losses() {
    communication_.sum(pending_losses_);
    for (std::size_t i = 0; i < pending_losses_.size(); ++i) {
      rows_[rows_.size() - pending_losses_.size() + i].loss = pending_losses_[i];
      if (std::isfinite(pending_losses_[i])) {  // else its step was skipped
        progress_.loss_sum += pending_losses_[i] * static_cast<double>(pending_samples_[i]);
        progress_.loss_samples += pending_samples_[i];
      }
    }
    pending_losses_.clear();
    pending_samples_.clear();
    if (session_.rank() == 0) {
      directory_->write_steps(rows_);
    }
  }

  void end_epoch(double train_s) {
    EpochRow row{.epoch = progress_.epoch,
                 .train_s = train_s,
                 .loss = progress_.loss_sum / static_cast<double>(progress_.loss_samples),
                 .images_per_s = static_cast<double>(progress_.samples_in_epoch) / train_s};
    if (test_set_) {
      const std::int64_t begin_ns = recorder_->now_ns();
      Evaluation result;
      timed(Phase::kEvaluate, [&] {
        const WholeModel whole(*reducer_);
        result = evaluate(training_,
                          model_,
                          *test_set_,
                          loader_options_,
                          communication_,
                          device_,
                          board_,
                          progress_.steps);
      });
      row.evaluate_s = static_cast<double>(recorder_->now_ns() - begin_ns) * 1e-9;
      row.top1 = result.top1;
      row.top5 = result.top5;
    }
    const auto unreadable = gather_unreadable();
    record_->gather(communication_, *recorder_, device_, monitor_.get());
    row.peak_memory_bytes = record_->peak_memory_bytes();
    row.gpu_power_w = record_->take_power_w();
    progress_.epochs.push_back(row);
    ++progress_.epoch;
    progress_.step_in_epoch = 0;
    progress_.samples_in_epoch = 0;
    progress_.loss_sum = 0;
    progress_.loss_samples = 0;
    progress_.elapsed_s = 0;
    if (training_.checkpoint) {
      save();
    }
    board_.enter(progress_.steps, Phase::kOther);  // rank 0 writes while the others go on
    if (session_.rank() == 0) {
      directory_->write_epochs(progress_.epochs);
      if (options_.timeline) {
        record_->write_timeline(*directory_);
      }
      std::string line = fmt::format("epoch {}: loss {:.4f}, {:.4g} s, {:.4g} images/s",
                                     progress_.epoch,
                                     row.loss,
                                     row.train_s,
                                     row.images_per_s);
      if (row.top1) {
        line += fmt::format(", top-1 {:.2f} %, top-5 {:.2f} %", 100 * *row.top1, 100 * *row.top5);
      }
      progress_line_->note(line);
      for (const std::string& problem : unreadable) {
        progress_line_->note("warning: " + problem);
      }
    }
  }

  std::vector<std::string> gather_unreadable() {
    std::vector<const Dataset*> datasets = {dataset_.get()};
    if (test_set_) {
      datasets.push_back(test_set_.get());
    }
    return unreadable_.gather(communication_, datasets);
  }

  template <typename Work>
  void timed(Phase phase, const Work& work) {
    board_.enter(progress_.steps, phase);
    const std::int64_t begin_ns = recorder_->now_ns();
    work();
    recorder_->add(phase, progress_.steps, begin_ns, recorder_->now_ns());
  }

  [[nodiscard]] std::filesystem::path checkpoint_folder() const {
    return training_.checkpoint && training_.checkpoint->path ? *training_.checkpoint->path
                                                              : options_.out / "checkpoint";
  }

  [[nodiscard]] TrainingState state() {
    return {training_, model_, *reducer_, *optimizer_, session_.rank(), session_.size()};
  }

  void save() {
    timed(Phase::kCheckpoint, [&] {
      const WholeModel whole(*reducer_);
      progress_.loss_scale = loss_scale_ ? std::optional(loss_scale_->state()) : std::nullopt;
      save_checkpoint(checkpoint_folder(), state(), progress_, communication_);
    });
  }

  void resume(const std::filesystem::path& folder) {
    {
      const WholeModel whole(*reducer_);
      communication_.on_every_rank([&] { progress_ = load_checkpoint(folder, state()); });
    }
    if (loss_scale_ && progress_.loss_scale) {
      loss_scale_->restore(*progress_.loss_scale);
    }
    // Steps may be larger or smaller now: go on at the last whole step that has all samples behind.
    if (progress_.samples_in_epoch > 0) {
      const auto per_step =
          std::accumulate(plan_.full.begin(),
                          plan_.full.end(),
                          std::int64_t{0},
                          [](std::int64_t sum, const StepShape& s) { return sum + s.samples(); });
      progress_.step_in_epoch = std::min(progress_.samples_in_epoch / per_step, plan_.steps);
      // What came after that step is done again, and counts once.
      const double kept = static_cast<double>(progress_.step_in_epoch * per_step) /
                          static_cast<double>(progress_.samples_in_epoch);
      const auto scale = [kept](std::int64_t& samples) {
        samples = std::llround(kept * static_cast<double>(samples));
      };
      scale(progress_.samples_in_epoch);
      scale(progress_.loss_samples);
      progress_.loss_sum *= kept;
      progress_.elapsed_s *= kept;
    }
    if (session_.rank() == 0) {
      rows_ = read_steps(folder / "steps.csv", progress_.steps);
    }
  }

  // A run that is resumed after its end leaves everything as it is.
  [[nodiscard]] bool nothing_is_left() const { return first_step_ >= total_steps_; }

  void write_report() {
    gather_unreadable();
    record_->gather(communication_, *recorder_, device_, monitor_.get());
    if (session_.rank() == 0) {
      const std::vector<std::string> unreadable = unreadable_.summary();
      const bool whole = first_step_ == 0 && progress_.epoch == training_.epochs;
      const Report report =
          record_->write(*directory_,
                         progress_.epochs,
                         whole ? static_cast<double>(recorder_->now_ns()) * 1e-9 : 0,
                         warnings());
      progress_line_->note(verdict_sentence(report));
      for (const std::string& line :
           {utilisation_text(report), memory_text(training_, report), power_text(report)}) {
        if (!line.empty()) {
          progress_line_->note(line);
        }
      }
      if (!unreadable.empty()) {
        progress_line_->note("warning: " + unreadable.front());
      }
      progress_line_->note(fmt::format("wrote {}", directory_->path().string()));
    }
  }

  // What the file says and this run does not do, and images that could not be read.
  [[nodiscard]] std::vector<std::string> warnings() const {
    std::vector<std::string> all = experiment_.warnings;
    if (!experiment_.events.empty()) {
      all.emplace_back("events are predicted, not made: this run has none");
    }
    if (options_.kineto && total_steps_ - first_step_ <= kWarmUpSteps) {
      all.push_back(fmt::format("--kineto records steps after the first {}: this run has {}",
                                kWarmUpSteps,
                                total_steps_ - first_step_));
    }
    const std::vector<std::string> unreadable = unreadable_.summary();
    all.insert(all.end(), unreadable.begin(), unreadable.end());
    return all;
  }

  [[nodiscard]] std::vector<std::pair<std::string, std::string>> facts() const {
    return {{"run.ranks", std::to_string(session_.size())},
            {"run.device", device_.name()},
            {"run.threads_per_rank", std::to_string(at::get_num_threads())},
            {"run.parameters", std::to_string(parameter_count(training_.model))},
            {"run.steps_per_epoch", std::to_string(plan_.steps)},
            {"run.first_step", std::to_string(first_step_)},
            {"run.directory", options_.out.string()}};
  }

  const Experiment& experiment_;
  const TrainingSpec& training_;
  const RunOptions& options_;
  const MpiSession& session_;
  Communication& communication_;
  Device& device_;
  PhaseBoard& board_;
  EpochPlan plan_;
  LoaderOptions loader_options_;
  std::unique_ptr<Dataset> dataset_;
  std::unique_ptr<Dataset> test_set_;
  VisionTransformer model_;
  std::unique_ptr<GradientReducer> reducer_;
  std::unique_ptr<Optimizer> optimizer_;
  std::optional<LossScale> loss_scale_;
  std::unique_ptr<GpuMonitor> monitor_;  // none where no driver tells
  std::optional<Recorder> recorder_;
  std::optional<RunRecord> record_;
  std::optional<TrainStep> step_;
  std::optional<Profiler> profiler_;
  std::optional<RunDirectory> directory_;  // rank 0
  std::optional<ProgressLine> progress_line_;
  Progress progress_;
  std::int64_t first_step_ = 0;
  std::int64_t total_steps_ = 0;
  std::vector<StepRow> rows_;
  std::vector<double> pending_losses_;  // of steps since the last flush, this rank's shares
  std::vector<std::int64_t> pending_samples_;
  UnreadableImages unreadable_;
};

}  // namespace

void train(const Experiment& experiment,
           const RunOptions& options,
           const MpiSession& session,
           Communication& communication,
           Device& device,
           Watchdog& watchdog) {
  std::optional<Run> run;
  // A rank that fails alone ends the job from where it stands: to unwind first would wait for work
  // that other ranks never do.
  try {
    run.emplace(experiment, options, session, communication, device, watchdog);
  } catch (...) {
    end_job_unless_agreed(watchdog);
  }
  try {
    run->run();
  } catch (...) {
    end_job_for_current_exception(watchdog);
  }
}

}  // namespace vitsim
