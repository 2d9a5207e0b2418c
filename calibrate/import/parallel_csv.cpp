#include "calibrate/import/parallel_csv.h"

#include <fmt/format.h>

#include "calibrate/import/csv_table.h"
#include "models/error.h"

namespace vitsim {

namespace {

constexpr const char* kStudyGpu = "a100";
constexpr std::int64_t kStudyVocabulary = 51'200;

void read_row(CsvTable& table, const std::string& gpu, ParallelStepSeries& step) {
  const auto read = [&](std::string_view column, std::int64_t& value) {
    value = table.integer(column, 1).value_or(value);
  };
  step.gpu = gpu.empty() ? kStudyGpu : gpu;
  if (table.has("gpu") && !table.text("gpu").empty()) {
    step.gpu = gpu_slug(table.text("gpu"));
  }
  std::int64_t gpus = 1;
  std::int64_t global_batch = 1;
  read("gpus", gpus);
  read("global_batch", global_batch);
  read("micro_batch", step.micro_batch);
  read("hidden", step.model.width);
  read("heads", step.model.heads);
  read("layers", step.model.layers);
  read("sequence", step.model.text_tokens);
  read("tensor", step.tensor);
  read("data", step.data);
  read("pipeline", step.pipeline);
  step.model.causal = true;
  step.model.vocabulary = kStudyVocabulary;
  if (table.has("vocabulary")) {
    read("vocabulary", step.model.vocabulary);
  }
  step.model.mlp = 4 * step.model.width;
  if (table.has("mlp")) {
    read("mlp", step.model.mlp);
  }
  if (table.has("precision")) {
    if (const auto precision = precision_from_name(table.text("precision"))) {
      step.precision = *precision;
    } else {
      table.problem(fmt::format("precision: \"{}\" is unknown", table.text("precision")));
    }
  }
  if (step.tensor * step.data * step.pipeline != gpus) {
    table.problem(fmt::format("tensor {} x data {} x pipeline {} are not the {} gpus",
                              step.tensor,
                              step.data,
                              step.pipeline,
                              gpus));
  }
  if (global_batch % (step.micro_batch * step.data) != 0) {
    table.problem(fmt::format("global_batch {} is no multiple of micro_batch {} x data {}",
                              global_batch,
                              step.micro_batch,
                              step.data));
  } else {
    step.micro_batches = global_batch / (step.micro_batch * step.data);
  }
  if (step.model.width % step.model.heads != 0 || step.model.heads % step.tensor != 0) {
    table.problem(fmt::format("{} heads neither divide the width {} nor split into {}",
                              step.model.heads,
                              step.model.width,
                              step.tensor));
  }
  if (step.pipeline > step.model.layers) {
    table.problem(fmt::format(
        "{} pipeline stages are more than {} layers", step.pipeline, step.model.layers));
  }
  if (const auto milliseconds = table.number("iteration_ms")) {
    if (*milliseconds > 0) {
      step.seconds = {*milliseconds / 1e3};
    } else {
      table.problem("iteration_ms: must be above 0");
    }
  }
}

}  // namespace

Piece read_parallel_table(std::istream& stream, const std::string& origin, const std::string& gpu) {
  CsvTable table(stream, origin);
  const bool complete = table.require({"gpus",
                                       "global_batch",
                                       "micro_batch",
                                       "hidden",
                                       "heads",
                                       "layers",
                                       "sequence",
                                       "tensor",
                                       "data",
                                       "pipeline",
                                       "iteration_ms"});
  if (!complete) {
    throw UserError(table.problems);
  }
  Piece piece{.origin = origin, .authority = Authority::kRunTable};
  while (table.next()) {
    ParallelStepSeries step;
    read_row(table, gpu, step);
    piece.samples.push_back({.series = std::move(step)});
  }
  if (!table.problems.empty()) {
    throw UserError(table.problems);
  }
  if (piece.samples.empty()) {
    throw UserError(fmt::format("{}: no measurement in it", origin));
  }
  std::string assumed;
  const auto assume = [&](bool is_open, const std::string& what) {
    if (is_open) {
      assumed += (assumed.empty() ? "" : ", ") + what;
    }
  };
  assume(gpu.empty() && !table.has("gpu"), fmt::format("GPU {}", kStudyGpu));
  assume(!table.has("precision"), "precision fp16");
  assume(!table.has("vocabulary"), fmt::format("a vocabulary of {}", kStudyVocabulary));
  assume(!table.has("mlp"), "an MLP of 4 times the width");
  if (!assumed.empty()) {
    piece.warnings.push_back(
        fmt::format("{}: assumed {}, as in the vTrain study", origin, assumed));
  }
  return piece;
}

}  // namespace vitsim
