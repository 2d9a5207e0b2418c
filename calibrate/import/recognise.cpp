#include "calibrate/import/recognise.h"

#include <algorithm>
#include <array>
#include <cctype>
#include <optional>
#include <set>
#include <sstream>
#include <vector>

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include "calibrate/import/csv_table.h"
#include "calibrate/import/text_source.h"
#include "calibrate/import/topology.h"
#include "calibrate/import/training_log.h"
#include "models/document/relaxed_json.h"
#include "models/error.h"

namespace vitsim {

namespace {

constexpr std::size_t kHead = std::size_t{1} << 16;

/// The columns by which a table is known.
struct TableMark {
  FileKind kind;
  std::vector<std::string_view> columns;
};

/// Columns of rccl-tests' `-Z csv`, whose first is no mark of its own.
bool is_nccl_csv(const std::vector<std::string>& header) {
  const auto has = [&](std::string_view column) {
    return std::ranges::find(header, column) != header.end();
  };
  return has("size") && has("time") && (has("busBw") || has("busbw") || has("bus_bw"));
}

const std::vector<TableMark>& table_marks() {
  static const std::vector<TableMark> kMarks = {
      {FileKind::kRunTable, {"run", "world_size", "epoch_seconds"}},
      {FileKind::kStepTable, {"rank", "forward_ms", "backward_ms"}},
      {FileKind::kEpochTable, {"Rank", "Epoch", "Computation_Time"}},
      {FileKind::kThroughputTable, {"gpu", "what", "batch", "step_ms"}},
      {FileKind::kParallelTable, {"tensor", "data", "pipeline", "iteration_ms"}},
      {FileKind::kRankClock, {"microstep", "total_ms"}},
      {FileKind::kAllReduceTable, {"bytes", "allreduce_ms"}},
      {FileKind::kRunDirectory, {"epoch", "train_s", "images_per_s"}},
      {FileKind::kRunDirectory, {"step", "epoch", "loss", "skipped"}},
  };
  return kMarks;
}

std::optional<FileKind> table_kind(const std::vector<std::string>& header) {
  for (const TableMark& mark : table_marks()) {
    if (std::ranges::all_of(mark.columns, [&](std::string_view column) {
          return std::ranges::find(header, column) != header.end();
        })) {
      return mark.kind;
    }
  }
  return is_nccl_csv(header) ? std::optional(FileKind::kNcclCsv) : std::nullopt;
}

/// Listens to a JSON text until its outermost keys tell what it is.
class KeyListener : public nlohmann::json_sax<nlohmann::json> {
 public:
  std::optional<FileKind> kind;
  std::string schema;  // of a file of this project that is none to import
  std::string error;

  [[nodiscard]] bool is_trace() const { return keys_.contains("traceEvents"); }

  bool null() override { return true; }

  bool boolean(bool) override { return true; }

  bool number_integer(number_integer_t) override { return true; }

  bool number_unsigned(number_unsigned_t) override { return true; }

  bool number_float(number_float_t, const string_t&) override { return true; }

  bool binary(binary_t&) override { return true; }

  bool string(string_t& text) override {
    if (depth_ == 1 && key_ == "schema") {
      if (text.starts_with("vitsim-measurement/")) {
        kind = FileKind::kMeasurement;
      } else if (text.starts_with("vitsim-report/")) {
        kind = FileKind::kRunDirectory;
      } else {
        schema = text;
      }
    }
    return !kind;
  }

  bool start_object(std::size_t) override { return enter(); }

  bool end_object() override { return leave(); }

  bool start_array(std::size_t) override { return enter(); }

  bool end_array() override { return leave(); }

  bool key(string_t& text) override {
    // Of nccl-tests and rccl-tests, wherever they stand.
    static constexpr std::array<std::string_view, 6> kBus = {
        "busBw", "bus_bw", "busbw", "busbw_bytes_per_s", "bus_bandwidth", "busBandwidth"};
    if (std::ranges::find(kBus, text) != kBus.end()) {
      kind = FileKind::kNcclJson;
      return false;
    }
    if (depth_ != 1) {
      return true;
    }
    key_ = text;
    keys_.insert(text);
    static constexpr std::array<std::string_view, 4> kConfiguration = {
        "train_batch_size",
        "train_micro_batch_size_per_gpu",
        "zero_optimization",
        "wall_clock_breakdown"};
    static constexpr std::array<std::string_view, 4> kProfiler = {
        "schemaVersion", "deviceProperties", "distributedInfo", "baseTimeNanoseconds"};
    // Other programs, and this one's timelines, write traces of the same form: the profiler's own
    // keys tell, wherever they stand.
    if (keys_.contains("traceEvents") && std::ranges::any_of(kProfiler, [&](std::string_view mark) {
          return keys_.contains(mark);
        })) {
      kind = FileKind::kKinetoTrace;
    } else if (keys_.contains("traceEvents")) {
      return true;
    } else if (std::ranges::find(kConfiguration, text) != kConfiguration.end()) {
      kind = FileKind::kDeepspeedConfig;
    } else if ((keys_.contains("cluster") && keys_.contains("training")) ||
               (keys_.contains("begin_ns") && keys_.contains("phase"))) {
      kind = FileKind::kRunDirectory;
    }
    return !kind;
  }

  bool parse_error(std::size_t, const std::string&, const nlohmann::json::exception& e) override {
    error = fmt::format("JSON that is cut or damaged: {}", e.what());
    return false;
  }

 private:
  bool enter() {
    ++depth_;
    return true;
  }

  bool leave() {
    --depth_;
    return true;
  }

  int depth_ = 0;
  std::string key_;
  std::set<std::string, std::less<>> keys_;
};

/// DeepSpeed's files may hold comments, which no strict parser passes.
bool is_relaxed_configuration(const std::filesystem::path& file) {
  constexpr std::size_t kMost = std::size_t{1} << 20;
  FileBuffer buffer(file);
  std::string text(kMost, '\0');
  text.resize(static_cast<std::size_t>(
      buffer.sgetn(text.data(), static_cast<std::streamsize>(text.size()))));
  KeyListener listener;
  nlohmann::json::sax_parse(
      strict_json(text), &listener, nlohmann::json::input_format_t::json, false);
  return listener.kind == FileKind::kDeepspeedConfig;
}

std::variant<FileKind, std::string> recognise_json(const std::filesystem::path& file) {
  FileBuffer buffer(file);
  std::istream stream(&buffer);
  KeyListener listener;
  // Not strict: lines of spans hold one object after the other.
  nlohmann::json::sax_parse(stream, &listener, nlohmann::json::input_format_t::json, false);
  if (!listener.kind && !listener.error.empty() && is_relaxed_configuration(file)) {
    return FileKind::kDeepspeedConfig;
  }
  if (listener.kind) {
    return *listener.kind;
  }
  if (!listener.error.empty()) {
    return listener.error;
  }
  if (listener.is_trace()) {
    return "a trace, but not of the PyTorch profiler: it states no device and no rank";
  }
  if (!listener.schema.empty()) {
    return fmt::format("a file of schema \"{}\", which holds no measurement", listener.schema);
  }
  return "JSON with none of the keys of a measurement, trace or configuration";
}

/// A line of timers; text about timers says something else behind the mark.
bool has_timers(std::string_view line) {
  static constexpr std::string_view kMark = "time (ms) | ";
  const std::size_t at = line.find(kMark);
  return at != std::string_view::npos && at + kMark.size() < line.size() &&
         line[at + kMark.size()] >= 'a' && line[at + kMark.size()] <= 'z';
}

/// What DeepSpeed prints on ranks that print no times.
bool is_of_deepspeed(std::string_view line) {
  return line.find("deepspeed.ops.") != std::string_view::npos ||
         line.find("DeepSpeed info: version") != std::string_view::npos ||
         line.find("DeepSpeedEngine configuration") != std::string_view::npos ||
         line.find("init_distributed]") != std::string_view::npos;
}

std::variant<FileKind, std::string> recognise_text(std::istream& stream) {
  LineReader reader(stream);
  std::string line;
  bool deepspeed = false;
  bool training = false;
  while (reader.next(line)) {
    if (has_timers(line)) {
      return FileKind::kDeepspeedLog;
    }
    if (line.find("# nThread") != std::string::npos ||
        (line.find("algbw") != std::string::npos && line.find("busbw") != std::string::npos)) {
      return FileKind::kNcclTests;
    }
    if (marks_topology(line)) {
      return FileKind::kTopology;
    }
    deepspeed = deepspeed || is_of_deepspeed(line);
    training = training || marks_training_log(line);
  }
  if (training) {
    return FileKind::kTrainingLog;
  }
  if (deepspeed) {
    return FileKind::kDeepspeedLog;
  }
  return "text with neither step times of a training nor a table of known columns";
}

/// Text has no NUL and few control characters; terminals' escape sequences are allowed.
bool is_binary(std::string_view head) {
  const auto control = std::ranges::count_if(head, [](char c) {
    const auto byte = static_cast<unsigned char>(c);
    return byte < 0x20 && c != '\n' && c != '\r' && c != '\t' && c != '\b' && byte != 0x1b;
  });
  constexpr std::ptrdiff_t kOneIn = 20;
  return head.find('\0') != std::string_view::npos || control * kOneIn > std::ssize(head);
}

/// A page may quote anything, tables and logs included.
bool is_html(std::string_view text) {
  constexpr std::array<std::string_view, 2> kBegins = {"<!doctype html", "<html"};
  return std::ranges::any_of(kBegins, [&](std::string_view mark) {
    return std::ranges::equal(text.substr(0, mark.size()), mark, {}, [](char c) {
      return static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
    });
  });
}

}  // namespace

std::variant<FileKind, std::string> recognise(const std::filesystem::path& file) {
  FileBuffer buffer(file);
  std::istream stream(&buffer);
  std::string head(kHead, '\0');
  head.resize(
      static_cast<std::size_t>(buffer.sgetn(head.data(), static_cast<std::streamsize>(kHead))));
  std::string_view text = head;
  if (text.starts_with("\xEF\xBB\xBF")) {
    text.remove_prefix(3);
  }
  const std::size_t first = text.find_first_not_of(" \t\r\n");
  if (text.empty()) {
    return "an empty file";
  }
  if (is_binary(text)) {
    return "a binary file";
  }
  if (first == std::string_view::npos) {
    return "a file of blanks";
  }
  text.remove_prefix(first);
  if (is_html(text)) {
    return "an HTML page, for people to look at: figures are in the report.json that it was made "
           "from";
  }
  if (text.front() == '{') {
    return recognise_json(file);
  }
  if (const auto header = split_csv(trimmed(text.substr(0, text.find('\n'))))) {
    if (const auto kind = table_kind(*header)) {
      return *kind;
    }
  }
  FileBuffer whole(file);
  std::istream lines(&whole);
  std::variant<FileKind, std::string> found = recognise_text(lines);
  const bool commented = text.front() == '/' || text.front() == '#';
  if (std::holds_alternative<std::string>(found) && commented && is_relaxed_configuration(file)) {
    found = FileKind::kDeepspeedConfig;
  }
  return found;
}

std::string accepted_kinds() {
  return "a DeepSpeed log (wall_clock_breakdown: true) or configuration; a log with step times of "
         "Hugging Face's Trainer, Accelerate, torchvision, timm or Megatron; the study's runs.csv, "
         "steps/*.csv, metrics.csv or throughput.csv; steps by parallelism "
         "(gpus,...,tensor,data,pipeline,iteration_ms); a rank's clock (microstep,...,total_ms) or "
         "an "
         "AllReduce table (bytes,rep,allreduce_ms); the output of nccl-tests or rccl-tests "
         "(text, -J JSON, -Z json or csv) and of vitsim collective; nvidia-smi topo -m; a PyTorch "
         "profiler "
         "trace (.json, .json.gz); a run directory or measurement.json of vitsim";
}

}  // namespace vitsim
