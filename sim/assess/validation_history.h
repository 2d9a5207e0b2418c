#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <vector>

namespace vitsim {

/// One prediction that was held against a real run: a line of the history file.
struct ValidationRecord {
  std::string created;  // "2026-03-01T12:00:00Z"
  std::string name;     // file or recorded run
  std::string kind;     // "run" (trained now) or "recorded"
  std::int64_t ranks = 0;
  std::string figure;  // what was judged: "step" or "epoch"
  double predicted_s = 0;
  double measured_s = 0;
  std::optional<bool> inside;         // the interval; none where there was none
  std::optional<bool> slowest_named;  // none for one rank
  std::int64_t runs = 1;              // real runs that it took
  std::int64_t disturbed = 0;         // of them thrown away

  [[nodiscard]] double error() const { return predicted_s / measured_s - 1; }
};

/// The time now, in UTC, as `created` has it.
std::string timestamp();

/// Appends one line of JSON (`vitsim-validation-history/1`) for each record. Throws DeviceError
/// where the file cannot be written.
void append_history(const std::filesystem::path& file,
                    const std::vector<ValidationRecord>& records);

/// Reads what `append_history` wrote. A last line without its end (a machine that went down) is
/// left out; anything else that is wrong throws UserError with file and line.
std::vector<ValidationRecord> read_history(const std::filesystem::path& file);

/// How the error moved: every batch of validations (records of the same minute) with its count,
/// mean absolute and worst error, share inside the interval.
std::string history_text(const std::vector<ValidationRecord>& records);

}  // namespace vitsim
