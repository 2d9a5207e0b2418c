#include "trainer/run_directory.h"

#include <cinttypes>
#include <cstdio>
#include <fstream>
#include <system_error>
#include <utility>

#include <fmt/format.h>

#include "models/document/atomic_file.h"
#include "models/error.h"
#include "trainer/checkpoint.h"

namespace vitsim {

namespace {

namespace fs = std::filesystem;

bool is_there(const fs::path& file) {
  std::error_code ignored;
  return fs::exists(file, ignored);
}

std::string or_empty(const std::optional<double>& value) {
  return value ? fmt::format("{:.9g}", *value) : std::string();
}

}  // namespace

RunDirectory::RunDirectory(std::filesystem::path path) : path_(std::move(path)) {
  std::error_code error;
  std::filesystem::create_directories(path_, error);
  if (error) {
    throw UserError(
        fmt::format("{}: cannot be made a run directory: {}", path_.string(), error.message()));
  }
}

void RunDirectory::write_resolved(const std::string& json) const {
  write_file_atomically(path_ / "resolved.json", json);
}

void RunDirectory::write_epochs(const std::vector<EpochRow>& rows) const {
  std::string text =
      "epoch,train_s,evaluate_s,loss,top1,top5,images_per_s,peak_memory_bytes,gpu_power_w\n";
  for (const EpochRow& row : rows) {
    text += fmt::format("{},{:.9g},{},{:.9g},{},{},{:.9g},{},{}\n",
                        row.epoch,
                        row.train_s,
                        or_empty(row.evaluate_s),
                        row.loss,
                        or_empty(row.top1),
                        or_empty(row.top5),
                        row.images_per_s,
                        row.peak_memory_bytes,
                        or_empty(row.gpu_power_w));
  }
  write_file_atomically(path_ / "epochs.csv", text);
}

void RunDirectory::write_steps(const std::vector<StepRow>& rows) const {
  std::string text = "step,epoch,loss,lr,skipped\n";
  for (const StepRow& row : rows) {
    text += fmt::format(
        "{},{},{:.17g},{:.17g},{}\n", row.step, row.epoch, row.loss, row.lr, row.skipped ? 1 : 0);
  }
  write_file_atomically(path_ / "steps.csv", text);
}

void require_no_other_run(const fs::path& out,
                          const std::optional<fs::path>& checkpoints,
                          const std::optional<fs::path>& resume) {
  const auto checkpoints_of = [](const fs::path& place) -> std::optional<fs::path> {
    const auto step = find_checkpoint(place);
    return step ? std::optional(fs::weakly_canonical(*step).parent_path()) : std::nullopt;
  };
  const auto resumed = resume ? checkpoints_of(*resume) : std::nullopt;
  if (resume && !resumed) {
    return;  // which load_checkpoint tells
  }
  if ((is_there(out / "resolved.json") || is_there(out / "checkpoint" / "latest")) &&
      (!resumed || resumed != checkpoints_of(out))) {
    throw UserError(
        fmt::format("{}: holds another run, which this one would overwrite: name another --out, or "
                    "go on with it by --resume {}",
                    out.string(),
                    out.string()));
  }
  if (checkpoints && is_there(*checkpoints / "latest") &&
      (!resumed || *resumed != fs::weakly_canonical(*checkpoints))) {
    throw UserError(
        fmt::format("{}: holds another run's checkpoint, which this one would overwrite: name "
                    "another training.checkpoint.path, or go on with it by --resume {}",
                    checkpoints->string(),
                    checkpoints->string()));
  }
}

std::vector<StepRow> read_steps(const std::filesystem::path& file, std::int64_t step) {
  std::vector<StepRow> rows;
  std::ifstream input(file);
  std::string line;
  std::getline(input, line);  // the heading
  while (std::getline(input, line)) {
    StepRow row;
    int skipped = 0;
    if (std::sscanf(line.c_str(),
                    "%" SCNd64 ",%" SCNd64 ",%lf,%lf,%d",
                    &row.step,
                    &row.epoch,
                    &row.loss,
                    &row.lr,
                    &skipped) == 5 &&
        row.step < step) {
      row.skipped = skipped != 0;
      rows.push_back(row);
    }
  }
  return rows;
}

}  // namespace vitsim
