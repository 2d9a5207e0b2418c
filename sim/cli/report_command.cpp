#include <CLI/CLI.hpp>
#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include "models/document/words.h"
#include "sim/cli/command.h"
#include "sim/render/html/page.h"
#include "sim/render/html/run_document.h"

namespace vitsim {

namespace {

namespace fs = std::filesystem;

struct ReportArguments {
  fs::path input;
  std::string html;
};

int run_report(const ReportArguments& arguments) {
  const bool is_run = fs::is_directory(arguments.input);
  const std::string page =
      is_run ? html_page(run_document(arguments.input), arguments.input.string())
             : html_page_of_text(read_text(arguments.input), arguments.input.string());
  std::string html = arguments.html;
  if (html.empty()) {
    html = is_run ? (arguments.input / "report.html").string()
                  : fs::path(arguments.input).replace_extension(".html").string();
  }
  write_output(html, page);
  if (html != "-") {
    fmt::print("{}\n", html);
  }
  return 0;
}

}  // namespace

void write_run_page(const fs::path& folder) {
  const std::string file = (folder / "report.html").string();
  try {
    write_output(file, html_page(run_document(folder), folder.string()));
    fmt::print(stderr, "Report of the run: {}\n", file);
  } catch (const std::exception& error) {
    fmt::print(stderr, "vitsim: warning: no report.html: {}\n", printable(error.what()));
  }
}

void add_report_command(CLI::App& app, Action& action) {
  auto* command = app.add_subcommand(
      "report", "Write the page of a result that --json kept, or of a real run's directory");
  auto arguments = std::make_shared<ReportArguments>();
  command
      ->add_option("INPUT",
                   arguments->input,
                   "JSON of predict, scale, sweep, plan, collective, compare, validate or "
                   "calibrate check; or a run directory of train")
      ->required();
  command
      ->add_option("--html",
                   arguments->html,
                   "Page to write; - for standard output (default: beside INPUT, or report.html "
                   "in the run directory)")
      ->type_name("FILE");
  command->footer("Example: vitsim report report.json --html report.html");
  command->callback(
      [arguments, &action] { action = [arguments] { return run_report(*arguments); }; });
}

}  // namespace vitsim
