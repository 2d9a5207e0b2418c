#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <vector>

namespace vitsim {

/// A line of epochs.csv.
struct EpochRow {
  std::int64_t epoch = 0;
  double train_s = 0;
  std::optional<double> evaluate_s;
  double loss = 0;  // mean over samples
  std::optional<double> top1;
  std::optional<double> top5;
  double images_per_s = 0;
  std::int64_t peak_memory_bytes = 0;  // of the rank that uses most
  std::optional<double> gpu_power_w;   // of a GPU, evaluation included; where the driver tells
};

/// A line of steps.csv.
struct StepRow {
  std::int64_t step = 0;
  std::int64_t epoch = 0;
  double loss = 0;  // of the joined batch
  double lr = 0;
  bool skipped = false;  // gradients overflowed
};

/// What a run leaves behind, written by rank 0. Every file appears whole, under its final name.
class RunDirectory {
 public:
  /// Makes the directory. Throws UserError where it cannot be.
  explicit RunDirectory(std::filesystem::path path);

  [[nodiscard]] const std::filesystem::path& path() const { return path_; }

  void write_resolved(const std::string& json) const;
  void write_epochs(const std::vector<EpochRow>& rows) const;
  void write_steps(const std::vector<StepRow>& rows) const;

 private:
  std::filesystem::path path_;
};

/// Throws UserError where a run that writes to `out`, and its checkpoints to `checkpoints` if that
/// is another place, would mix with or destroy one that is there and that `resume` does not go on
/// with.
void require_no_other_run(const std::filesystem::path& out,
                          const std::optional<std::filesystem::path>& checkpoints,
                          const std::optional<std::filesystem::path>& resume);

/// The lines of a steps.csv that come before `step`; none where there is no such file.
std::vector<StepRow> read_steps(const std::filesystem::path& file, std::int64_t step);

}  // namespace vitsim
