#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "calibrate/measurement/measurement.h"

namespace vitsim {

/// What the user says about files that do not say it themselves. A file that does is believed.
struct ImportHints {
  std::optional<std::string> cluster;
  std::vector<std::string> gpus;  // by rank, or one for all
  std::optional<VitSpec> model;
  std::optional<Precision> precision;
  std::vector<std::int64_t> micro_batch;
  std::optional<std::int64_t> samples;
  std::optional<bool> one_node;
  std::optional<std::int64_t> ranks;  // of an AllReduce measurement
};

/// Reads files of every kind this project knows, each recognised by its content: DeepSpeed logs and
/// configurations, the study's tables, rank clocks, AllReduce tables, nccl-tests' output, Kineto
/// traces, this project's run directories and measurements. Folders are searched; what is unknown
/// in them is skipped with a warning. Files that describe the same run (by their names: `NAME.log`,
/// `NAME.ds_config.json`, `NAME.rank0.csv`, a row NAME of a run table, `steps/NAME.csv`) are
/// joined.
///
/// Throws UserError with every problem of every file; nothing is returned then.
Measurement import_files(std::span<const std::filesystem::path> files_or_folders,
                         const ImportHints& hints = {});

}  // namespace vitsim
