#pragma once

#include <filesystem>
#include <string>
#include <variant>

namespace vitsim {

/// Every kind of file that can be imported.
enum class FileKind {
  kMeasurement,
  kRunTable,
  kStepTable,
  kEpochTable,
  kThroughputTable,
  kParallelTable,
  kRankClock,
  kAllReduceTable,
  kDeepspeedLog,
  kDeepspeedConfig,
  kTrainingLog,
  kTopology,
  kNcclTests,
  kNcclJson,
  kNcclCsv,
  kKinetoTrace,
  kRunDirectory,  // one of the files of a run directory
};

/// Tells what a file is by its content, gzip unpacked; else why it is nothing that can be imported.
/// Reads the beginning of tables, JSON and binaries, and text up to the first telling line.
std::variant<FileKind, std::string> recognise(const std::filesystem::path& file);

/// One line per kind that `recognise` knows, for messages.
std::string accepted_kinds();

}  // namespace vitsim
