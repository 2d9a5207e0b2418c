#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include <nlohmann/json_fwd.hpp>

#include "models/experiment/experiment.h"
#include "sim/render/text_table.h"

namespace CLI {
class App;
class Option;
}  // namespace CLI

namespace vitsim {

struct Measurement;

/// What the chosen subcommand does; returns the exit code.
using Action = std::function<int()>;

// One function per subcommand: adds it to `app` and sets `action` when it is the one chosen.
void add_predict_command(CLI::App& app, Action& action);
void add_scale_command(CLI::App& app, Action& action);
void add_plan_command(CLI::App& app, Action& action);
void add_sweep_command(CLI::App& app, Action& action);
void add_collective_command(CLI::App& app, Action& action);
void add_compare_command(CLI::App& app, Action& action);
void add_report_command(CLI::App& app, Action& action);
void add_calibrate_command(CLI::App& app, Action& action);
void add_validate_command(CLI::App& app, Action& action);
void add_train_command(CLI::App& app, Action& action);
void add_completion_command(CLI::App& app, Action& action);
void add_init_command(CLI::App& app, Action& action);
void add_manual_command(CLI::App& app, Action& action);

/// Lets the option, or each of its values, be a whole number from `least` to `most` only.
void whole_number(CLI::Option& option, std::int64_t least, std::int64_t most);

/// Adds `measure` to `calibrate`, and what `calibrate` by itself does: measure, then fit.
void add_calibrate_measure_command(CLI::App& calibrate, Action& action);

/// Fits profiles, writes them to the folder `out` and prints what they hold.
void fit_and_write(const Measurement& measurement, const std::filesystem::path& out);

/// Writes `report.html` into the directory of a real run. The run is done whatever becomes of its
/// page: a failure is a warning.
void write_run_page(const std::filesystem::path& folder);

/// Options that every predicting command has.
struct PredictionInput {
  std::filesystem::path file;
  std::vector<std::string> settings;  // KEY=VALUE
  std::uint64_t seed = 1;
  int replicates = 200;
  int threads = 0;  // 0: as many as there are cores

  /// The settings as overrides. Throws UserError for one without "=".
  [[nodiscard]] std::vector<Override> overrides() const;
};

/// Adds FILE, --set, --seed, --replicates, --threads.
void add_prediction_input(CLI::App& command, PredictionInput& input);

/// Adds --tolerance, a share; what `tolerance` holds is its default.
void add_tolerance(CLI::App& command, std::string& tolerance);

/// The whole file. Throws UserError where it cannot be read.
std::string read_text(const std::filesystem::path& file);

/// Colours where standard output is a terminal that has them and NO_COLOR is unset.
TextStyle terminal_style();

/// Writes to the file, or to standard output for "-".
void write_output(const std::string& target, std::string_view text);

/// Where a result goes besides the terminal.
struct ResultFiles {
  std::string json;
  std::string html;

  [[nodiscard]] bool any() const { return !json.empty() || !html.empty(); }

  /// Whether one of the files is standard output, which then holds nothing else.
  [[nodiscard]] bool take_standard_output() const { return json == "-" || html == "-"; }

  /// Writes what was asked for: the JSON, and the page made of it. Throws UserError where both go
  /// to standard output.
  void write(const nlohmann::json& result) const;
};

/// Adds --json and --html; `result` is what they hold, e.g. "report".
void add_result_files(CLI::App& command, ResultFiles& files, const std::string& result);

/// Uses `threads` threads for parallel work while it lives; 0: all cores.
class ThreadLimit {
 public:
  explicit ThreadLimit(int threads);
  ~ThreadLimit();
  ThreadLimit(const ThreadLimit&) = delete;
  ThreadLimit& operator=(const ThreadLimit&) = delete;

 private:
  struct Control;
  std::unique_ptr<Control> control_;
};

}  // namespace vitsim
