#include "calibrate/import/import.h"

#include <algorithm>
#include <array>
#include <functional>
#include <istream>
#include <map>
#include <set>
#include <string_view>
#include <variant>

#include <fmt/format.h>

#include "calibrate/import/csv_table.h"
#include "calibrate/import/deepspeed_log.h"
#include "calibrate/import/join.h"
#include "calibrate/import/kineto.h"
#include "calibrate/import/nccl_tests.h"
#include "calibrate/import/parallel_csv.h"
#include "calibrate/import/rank_csv.h"
#include "calibrate/import/recognise.h"
#include "calibrate/import/run_directory.h"
#include "calibrate/import/study_csv.h"
#include "calibrate/import/text_source.h"
#include "calibrate/import/topology.h"
#include "calibrate/import/training_log.h"
#include "models/error.h"

namespace vitsim {

namespace {

namespace fs = std::filesystem;

/// A run directory also holds files for people to look at, and its checkpoints in folders.
bool is_in_run_directory(const fs::path& file) {
  const fs::path folder = fs::absolute(file).parent_path();
  return fs::exists(folder / "report.json") || fs::exists(folder.parent_path() / "report.json");
}

struct Entry {
  fs::path file;
  bool named = false;  // by the user, not found in a folder
};

/// What the name of a file says about the run it belongs to.
struct RunName {
  std::string run;
  std::optional<std::int64_t> rank;
};

std::string folder_of(const fs::path& file) {
  return fs::absolute(file).lexically_normal().parent_path().filename().string();
}

/// Takes ".rank1", "_rank_1" and the like, with all that follows, off a name.
std::optional<std::int64_t> take_rank(std::string& name) {
  constexpr std::string_view kRank = "rank";
  const std::size_t at = name.rfind(kRank);
  if (at == std::string::npos ||
      (at > 0 && std::string_view("._-").find(name[at - 1]) == std::string_view::npos)) {
    return std::nullopt;
  }
  std::string_view rest = std::string_view(name).substr(at + kRank.size());
  if (rest.starts_with('_') || rest.starts_with('-')) {
    rest.remove_prefix(1);
  }
  const std::size_t digits = std::min(rest.find_first_not_of("0123456789"), rest.size());
  const auto rank = parse_integer(rest.substr(0, digits));
  if (!rank || (digits < rest.size() && rest[digits] != '.')) {
    return std::nullopt;
  }
  name.resize(at > 0 ? at - 1 : 0);
  return rank;
}

/// "NAME.rank1.csv" and "NAME.rank0.log" are of ranks of NAME; "NAME.deepspeed.log" and
/// "NAME.ds_config.json" of NAME. Where a script chose the file's name and the user that of its
/// folder ("metrics.csv", "rank0.json"), the run is called after the folder.
RunName run_name(const fs::path& file) {
  RunName name{.run = file.filename().string()};
  const auto drop = [&](std::string_view end) {
    if (name.run.ends_with(end) && name.run.size() > end.size()) {
      name.run.resize(name.run.size() - end.size());
    }
  };
  drop(".gz");
  for (const std::string_view end : {".log", ".txt", ".out", ".csv", ".jsonl", ".json"}) {
    drop(end);
  }
  for (const std::string_view end : {".deepspeed", ".metrics", ".ds_config"}) {
    drop(end);
  }
  name.rank = take_rank(name.run);
  static constexpr std::array<std::string_view, 11> kByScripts = {"",
                                                                  "metrics",
                                                                  "ds_config",
                                                                  "deepspeed_config",
                                                                  "deepspeed",
                                                                  "train",
                                                                  "log",
                                                                  "stdout",
                                                                  "stderr",
                                                                  "output",
                                                                  "nohup"};
  if (std::ranges::find(kByScripts, name.run) != kByScripts.end()) {
    if (const std::string folder = folder_of(file); !folder.empty()) {
      name.run = folder;
    }
  }
  return name;
}

/// "ar_3x1g" was measured on three hosts.
std::optional<std::int64_t> ranks_in_name(const std::string& name) {
  const std::size_t at = name.find('_');
  if (at == std::string::npos) {
    return std::nullopt;
  }
  const std::string_view rest = std::string_view(name).substr(at + 1);
  const std::size_t digits = std::min(rest.find_first_not_of("0123456789"), rest.size());
  if (digits == 0 || digits == rest.size() || rest[digits] != 'x') {
    return std::nullopt;
  }
  return parse_integer(rest.substr(0, digits));
}

/// All files of a folder, in the order of their names.
std::vector<fs::path> files_in(const fs::path& folder) {
  std::vector<fs::path> files;
  for (const fs::directory_entry& entry :
       fs::recursive_directory_iterator(folder, fs::directory_options::skip_permission_denied)) {
    if (entry.is_regular_file()) {
      files.push_back(entry.path());
    }
  }
  std::ranges::sort(files);
  return files;
}

std::vector<Entry> expand(std::span<const fs::path> files_or_folders,
                          std::vector<std::string>& problems) {
  std::vector<Entry> entries;
  for (const fs::path& path : files_or_folders) {
    std::error_code error;
    if (fs::is_directory(path, error)) {
      try {
        for (fs::path& file : files_in(path)) {
          entries.push_back({.file = std::move(file)});
        }
      } catch (const fs::filesystem_error& failure) {
        problems.push_back(
            fmt::format("{}: cannot be searched: {}", path.string(), failure.code().message()));
      }
    } else if (fs::exists(path, error)) {
      entries.push_back({.file = path, .named = true});
    } else {
      problems.push_back(fmt::format("{}: no such file or folder", path.string()));
    }
  }
  return entries;
}

class Importer {
 public:
  explicit Importer(const ImportHints& hints) : hints_(hints) {}

  void add(const Entry& entry);
  Measurement finish();

  std::vector<std::string> problems;

 private:
  void read(FileKind kind, const fs::path& file);
  void tell_traces_apart();

  const ImportHints& hints_;
  std::vector<Piece> pieces_;
  std::map<std::string, std::vector<KinetoTrace>> traces_;  // by run
  std::set<fs::path> run_directories_;
  std::vector<std::pair<std::string, Measurement>> measurements_;  // with their files
  std::vector<std::string> warnings_;
  bool refused_ = false;
};

void Importer::read(FileKind kind, const fs::path& file) {
  FileBuffer buffer(file);
  std::istream stream(&buffer);
  const std::string origin = file.string();
  const RunName name = run_name(file);
  const std::int64_t rank = name.rank.value_or(0);
  const auto take = [&](Piece piece) { pieces_.push_back(std::move(piece)); };
  switch (kind) {
    case FileKind::kMeasurement:
      measurements_.emplace_back(
          origin,
          measurement_from_text(std::string(std::istreambuf_iterator<char>(&buffer), {}), origin));
      break;
    case FileKind::kRunTable:
      for (Piece& piece : read_run_table(stream, origin)) {
        take(std::move(piece));
      }
      break;
    case FileKind::kStepTable:
      take(read_step_table(stream, origin, name.run));
      break;
    case FileKind::kEpochTable:
      take(read_epoch_table(stream, origin, name.run));
      break;
    case FileKind::kThroughputTable:
      take(read_throughput_table(stream, origin));
      break;
    case FileKind::kParallelTable:
      take(read_parallel_table(
          stream, origin, hints_.gpus.empty() ? std::string() : hints_.gpus.front()));
      break;
    case FileKind::kRankClock:
      take(read_rank_clock(stream, origin, name.run, rank));
      break;
    case FileKind::kAllReduceTable: {
      const auto ranks = hints_.ranks ? hints_.ranks : ranks_in_name(name.run);
      take(read_all_reduce_table(stream, origin, name.run, rank, ranks));
      break;
    }
    case FileKind::kDeepspeedLog:
      for (Piece& piece : read_deepspeed_log(stream, origin, name.run)) {
        take(std::move(piece));
      }
      break;
    case FileKind::kTrainingLog:
      take(read_training_log(stream, origin, name.run));
      break;
    case FileKind::kTopology:
      take(read_topology(stream, origin, name.run));
      break;
    case FileKind::kDeepspeedConfig:
      take({.origin = origin,
            .run = name.run,
            .authority = Authority::kConfiguration,
            .deepspeed_config = std::string(std::istreambuf_iterator<char>(&buffer), {})});
      break;
    case FileKind::kNcclTests:
      take(read_nccl_tests(stream, origin, name.run, hints_.ranks));
      break;
    case FileKind::kNcclJson:
      take(read_nccl_json(stream, origin, name.run, hints_.ranks));
      break;
    case FileKind::kNcclCsv:
      take(read_nccl_csv(stream, origin, name.run, hints_.ranks));
      break;
    case FileKind::kKinetoTrace: {
      if (is_in_run_directory(file)) {
        break;  // a run directory's own timeline once more, for people to look at
      }
      KinetoTrace trace = read_kineto_trace(stream, origin);
      trace.rank = trace.rank ? trace.rank : name.rank;
      // The profiler names its files by host and process: the folder tells which belong together.
      traces_[name.rank ? name.run : folder_of(file)].push_back(std::move(trace));
      break;
    }
    case FileKind::kRunDirectory: {
      const fs::path folder = fs::absolute(file).parent_path();
      if (run_directories_.insert(folder).second) {
        take(read_run_directory(folder));
      }
      break;
    }
  }
  if (buffer.cut() && !pieces_.empty()) {
    warnings_.push_back(fmt::format("{}: the gzip file is cut: its beginning is taken", origin));
  }
}

void Importer::add(const Entry& entry) {
  try {
    const std::variant<FileKind, std::string> found = recognise(entry.file);
    if (const FileKind* kind = std::get_if<FileKind>(&found)) {
      read(*kind, entry.file);
      return;
    }
    const std::string refusal =
        fmt::format("{}: {}", entry.file.string(), std::get<std::string>(found));
    if (entry.named) {
      problems.push_back(refusal);
      refused_ = true;
    } else if (!is_in_run_directory(entry.file)) {
      warnings_.push_back(refusal + "; skipped");
    }
  } catch (const UserError& error) {
    problems.insert(problems.end(), error.problems().begin(), error.problems().end());
  }
}

/// Traces of one folder are the ranks, or the cycles, of one run, unless two show the same steps of
/// the same rank: then each file is a run of its own.
void Importer::tell_traces_apart() {
  std::map<std::string, std::vector<KinetoTrace>> apart;
  for (auto& [run, traces] : traces_) {
    std::set<std::pair<std::int64_t, std::int64_t>> seen;
    bool same = false;
    for (const KinetoTrace& trace : traces) {
      for (const ProfiledStep& step : trace.steps) {
        same = (trace.rank && !seen.insert({*trace.rank, step.number}).second) || same;
      }
    }
    for (KinetoTrace& trace : traces) {
      const std::string own = same ? run_name(trace.origin).run : run;
      apart[own].push_back(std::move(trace));
    }
  }
  traces_ = std::move(apart);
}

Measurement Importer::finish() {
  tell_traces_apart();
  for (const auto& [run, traces] : traces_) {
    try {
      pieces_.push_back(join_kineto_traces(traces, run));
    } catch (const UserError& error) {
      problems.insert(problems.end(), error.problems().begin(), error.problems().end());
    }
  }
  if (problems.empty() && pieces_.empty() && measurements_.empty()) {
    problems = warnings_;
    problems.emplace_back("nothing to import was found");
    refused_ = true;
  }
  if (refused_) {
    problems.push_back("accepted are: " + accepted_kinds());
  }
  if (!problems.empty()) {
    throw UserError(problems);
  }
  Measurement joined = join(std::move(pieces_), hints_);
  for (auto& [origin, measurement] : measurements_) {
    try {
      append(joined, std::move(measurement));
    } catch (const UserError& error) {
      for (const std::string& problem : error.problems()) {
        problems.push_back(fmt::format("{}: {}", origin, problem));
      }
    }
  }
  if (!problems.empty()) {
    throw UserError(problems);
  }
  joined.warnings.insert(joined.warnings.end(), warnings_.begin(), warnings_.end());
  return joined;
}

}  // namespace

Measurement import_files(std::span<const fs::path> files_or_folders, const ImportHints& hints) {
  Importer importer(hints);
  for (const Entry& entry : expand(files_or_folders, importer.problems)) {
    importer.add(entry);
  }
  return importer.finish();
}

}  // namespace vitsim
