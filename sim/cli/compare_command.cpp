#include <CLI/CLI.hpp>
#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include "models/document/words.h"
#include "models/error.h"
#include "sim/assess/compare.h"
#include "sim/cli/command.h"
#include "sim/render/comparison_text.h"

namespace vitsim {

namespace {

struct CompareArguments {
  std::filesystem::path a;
  std::filesystem::path b;
  std::string tolerance = "5%";
  ResultFiles files;
};

// A report, or the one of a run directory.
Report report_at(const std::filesystem::path& path) {
  return read_report(std::filesystem::is_directory(path) ? path / "report.json" : path);
}

int run_compare(const CompareArguments& arguments) {
  const double tolerance = parse_share("--tolerance", arguments.tolerance);
  const Report a = report_at(arguments.a);
  const Report b = report_at(arguments.b);
  const Comparison comparison = compare(a, b);
  if (comparison.figures.empty()) {
    throw UserError(fmt::format("{} and {} have no figure in common",
                                in_quotes(arguments.a.string()),
                                in_quotes(arguments.b.string())));
  }
  if (arguments.files.any()) {
    arguments.files.write(to_json(comparison, tolerance));
  }
  if (!arguments.files.take_standard_output()) {
    fmt::print(
        "{}",
        comparison_text(comparison, "A " + a.source, "B " + b.source, tolerance, terminal_style()));
  }
  return comparison.beyond(tolerance).empty() ? 0 : 1;
}

}  // namespace

void add_compare_command(CLI::App& app, Action& action) {
  auto* command = app.add_subcommand("compare", "Compare two reports, predicted or measured");
  auto arguments = std::make_shared<CompareArguments>();
  command->add_option("A", arguments->a, "Report or run directory")->required();
  command->add_option("B", arguments->b, "Report or run directory, held against A")->required();
  add_tolerance(*command, arguments->tolerance);
  add_result_files(*command, arguments->files, "comparison");
  command->footer(
      "Example: vitsim compare predicted.json outputs/tesla-5gpu-20260301-1200 --tolerance 10%");
  command->callback(
      [arguments, &action] { action = [arguments] { return run_compare(*arguments); }; });
}

}  // namespace vitsim
