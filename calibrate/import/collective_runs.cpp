#include "calibrate/import/collective_runs.h"

#include <algorithm>
#include <array>
#include <cctype>
#include <cmath>
#include <map>
#include <set>
#include <utility>

#include <fmt/format.h>

#include "models/document/words.h"
#include "models/error.h"
#include "models/experiment/limits.h"

// nccl-tests prints the same table for every collective. What it timed is told by the relation of
// its columns (src/*.cu, GetCollByteCount and GetBw): with N ranks, `size` bytes and `count`
// elements of the type,
//
//   collective                count x type     redop  root   busbw / algbw
//   AllReduce                 size             sum    -1     2 (N - 1) / N
//   reduce-scatter            size / N         sum    -1     (N - 1) / N
//   all-gather, all-to-all    size / N         none   -1     (N - 1) / N
//   broadcast                 size             none   >= 0   1
//   reduce                    size             sum    >= 0   1
//   gather, scatter           size / N         none   >= 0   (N - 1) / N
//   send-receive              size             none   -1     1
//
// The bandwidths are printed with two digits, so that they tell something of large messages only.

namespace vitsim {

namespace {

/// Letters and digits in lower case.
std::string plain_word(std::string_view text) {
  std::string word;
  for (const char c : text) {
    if (std::isalnum(static_cast<unsigned char>(c)) != 0) {
      word.push_back(static_cast<char>(std::tolower(static_cast<unsigned char>(c))));
    }
  }
  return word;
}

std::int64_t bytes_of_type(std::string_view type) {
  static constexpr std::array<std::pair<std::string_view, std::int64_t>, 16> kTypes = {
      {{"float", 4},
       {"half", 2},
       {"bfloat16", 2},
       {"double", 8},
       {"int8", 1},
       {"uint8", 1},
       {"char", 1},
       {"int", 4},
       {"int32", 4},
       {"uint32", 4},
       {"int64", 8},
       {"uint64", 8},
       {"fp8_e4m3", 1},
       {"fp8_e5m2", 1},
       {"f8e4m3", 1},
       {"f8e5m2", 1}}};
  const auto found =
      std::ranges::find(kTypes, type, &std::pair<std::string_view, std::int64_t>::first);
  return found == kTypes.end() ? 0 : found->second;
}

bool reduces(const ImportedRow& row) {
  return !row.operation.empty() && row.operation != "none";
}

/// How many times the row's elements the size is; 0 where the table does not tell.
std::int64_t share_of_size(const ImportedRow& row) {
  const std::int64_t element = bytes_of_type(row.type);
  if (!row.elements || *row.elements <= 0 || element == 0 || *row.elements > row.bytes / element) {
    return 0;
  }
  const double ratio = static_cast<double>(row.bytes) /
                       (static_cast<double>(*row.elements) * static_cast<double>(element));
  const double whole = std::round(ratio);
  constexpr double kRounding = 0.01;  // small sizes are rounded to whole elements of each rank
  return std::abs(ratio - whole) <= kRounding * whole ? static_cast<std::int64_t>(whole) : 0;
}

/// What busbw / algbw is for N ranks.
double bus_factor(MeasuredCollective kind, std::int64_t ranks) {
  const auto n = static_cast<double>(ranks);
  switch (kind) {
    case MeasuredCollective::kAllReduce:
      return 2 * (n - 1) / n;
    case MeasuredCollective::kReduceScatter:
    case MeasuredCollective::kAllGather:
    case MeasuredCollective::kAllToAll:
    case MeasuredCollective::kGather:
    case MeasuredCollective::kScatter:
      return (n - 1) / n;
    case MeasuredCollective::kBroadcast:
    case MeasuredCollective::kReduce:
    case MeasuredCollective::kSendReceive:
    case MeasuredCollective::kHypercube:
      return 1;
  }
  return 1;
}

std::string spoken(MeasuredCollective kind) {
  std::string text(name(kind));
  std::ranges::replace(text, '_', '-');
  return kind == MeasuredCollective::kAllReduce ? "AllReduce" : text;
}

class Judge {
 public:
  Judge(CollectiveRun& run, const std::string& origin, const std::string& name)
      : run_(run), origin_(origin), name_(name) {}

  std::vector<std::string> warnings;

  /// What the run timed.
  MeasuredCollective collective();
  /// Among how many ranks; none where nothing tells.
  std::optional<std::int64_t> ranks(MeasuredCollective kind, std::optional<std::int64_t> hint);
  /// Throws where a printed bandwidth contradicts.
  void check_bandwidths(MeasuredCollective kind, std::int64_t ranks) const;

 private:
  [[nodiscard]] const ImportedRow& largest() const {
    return *std::ranges::max_element(run_.rows, {}, &ImportedRow::bytes);
  }

  [[nodiscard]] std::string place(const ImportedRow& row) const {
    return row.line > 0 ? fmt::format("{}:{}", origin_, row.line) : origin_;
  }

  [[nodiscard]] std::optional<std::int64_t> ranks_by_bandwidth() const;

  CollectiveRun& run_;
  const std::string& origin_;
  const std::string& name_;
};

MeasuredCollective Judge::collective() {
  if (run_.collective) {
    return *run_.collective;
  }
  const ImportedRow& row = largest();
  const bool rooted = row.root && *row.root >= 0;
  const std::int64_t share = share_of_size(row);
  const auto by_name = collective_from_name(name_);
  const bool shared_by_bandwidth = [&] {
    // Without counts: an AllReduce's bus carries twice what any of the others' does.
    const auto listed = static_cast<double>(run_.ranks.size());
    return share == 0 && listed > 1 && row.algorithm_gb_per_s >= 1 &&
           std::abs(row.bus_gb_per_s / row.algorithm_gb_per_s - (listed - 1) / listed) < 0.02;
  }();
  if (share > 1 || (shared_by_bandwidth && !rooted && run_.ranks.size() > 2)) {
    if (rooted) {
      return by_name == MeasuredCollective::kScatter ? MeasuredCollective::kScatter
                                                     : MeasuredCollective::kGather;
    }
    if (reduces(row)) {
      return MeasuredCollective::kReduceScatter;
    }
    // Their tables are alike: only the name of the program tells them apart.
    return by_name == MeasuredCollective::kAllToAll ? MeasuredCollective::kAllToAll
                                                    : MeasuredCollective::kAllGather;
  }
  if (rooted) {
    return reduces(row) ? MeasuredCollective::kReduce : MeasuredCollective::kBroadcast;
  }
  // Some versions print an operation for send-receive too: then its bus, as wide as itself, tells.
  const bool as_wide = run_.ranks.size() > 2 && row.algorithm_gb_per_s >= 1 &&
                       std::abs(row.bus_gb_per_s / row.algorithm_gb_per_s - 1) < 0.02;
  const bool named = by_name == MeasuredCollective::kSendReceive;
  if (share == 1 && row.root && (!reduces(row) || as_wide || named)) {
    return MeasuredCollective::kSendReceive;
  }
  return share == 0 && by_name ? *by_name : MeasuredCollective::kAllReduce;
}

/// An AllReduce's factor 2 (N - 1) / N, where its two digits leave one N.
std::optional<std::int64_t> Judge::ranks_by_bandwidth() const {
  const ImportedRow& row = *std::ranges::max_element(run_.rows, {}, &ImportedRow::bus_gb_per_s);
  constexpr double kHalfDigit = 0.005;
  if (row.algorithm_gb_per_s < 1 || row.bus_gb_per_s < 1) {
    return std::nullopt;
  }
  const auto ranks_at = [](double factor) { return factor < 2 ? 2 / (2 - factor) : 1e9; };
  const double least =
      ranks_at((row.bus_gb_per_s - kHalfDigit) / (row.algorithm_gb_per_s + kHalfDigit));
  const double most =
      ranks_at((row.bus_gb_per_s + kHalfDigit) / (row.algorithm_gb_per_s - kHalfDigit));
  const double whole = std::ceil(least);
  if (whole < 2 || whole > most || whole + 1 <= most) {
    return std::nullopt;
  }
  return static_cast<std::int64_t>(whole);
}

std::optional<std::int64_t> Judge::ranks(MeasuredCollective kind,
                                         std::optional<std::int64_t> hint) {
  const bool shared = bus_factor(kind, 3) < 1;  // a rank's share is 1 / N of the size
  const std::int64_t share = shared ? share_of_size(largest()) : 0;
  if (!run_.ranks.empty()) {
    const std::int64_t listed = std::ssize(run_.ranks);
    if (share > 1 && share != listed) {
      throw UserError(
          fmt::format("{}: {} ranks are listed, but count x size of the type is a share of {} "
                      "ranks: the list is incomplete, or lines of several runs are mixed",
                      place(largest()),
                      listed,
                      share));
    }
    return listed;
  }
  if (run_.stated_ranks) {
    return run_.stated_ranks;
  }
  if (share > 1) {
    return share;
  }
  if (hint) {
    return hint;
  }
  if (kind == MeasuredCollective::kAllReduce) {
    if (const auto found = ranks_by_bandwidth()) {
      warnings.push_back(fmt::format(
          "{}: its ranks are not listed; its two bandwidths are those of {}", origin_, *found));
      return found;
    }
  }
  return std::nullopt;
}

void Judge::check_bandwidths(MeasuredCollective kind, std::int64_t ranks) const {
  constexpr double kTelling_gb_per_s = 1;
  constexpr double kTolerance = 0.02;
  const double expected = bus_factor(kind, ranks);
  for (const ImportedRow& row : run_.rows) {
    if (row.algorithm_gb_per_s < kTelling_gb_per_s || row.bus_gb_per_s <= 0) {
      continue;
    }
    const double found = row.bus_gb_per_s / row.algorithm_gb_per_s;
    if (std::abs(found / expected - 1) > kTolerance) {
      throw UserError(fmt::format(
          "{}: {} of {} ranks was understood, but at {} bytes the bus bandwidth is {:.3f} of the "
          "algorithm's and would be {:.3f}: name the collective (a line \"# Collective test "
          "starting: NAME_perf\") or give --ranks",
          place(row),
          spoken(kind),
          ranks,
          row.bytes,
          found,
          expected));
    }
  }
}

/// Devices by rank.
void set_devices(const CollectiveRun& run, CollectiveSeries& series) {
  if (run.ranks.empty()) {
    return;
  }
  std::set<std::string> hosts;
  std::vector<std::pair<std::int64_t, std::string>> devices;
  for (const CollectiveRank& rank : run.ranks) {
    hosts.insert(rank.host);
    devices.emplace_back(rank.rank, gpu_slug(rank.device));
  }
  std::ranges::stable_sort(devices, {}, &std::pair<std::int64_t, std::string>::first);
  series.nodes = std::ssize(hosts);
  series.one_node = hosts.size() == 1;
  const bool equal = std::ranges::all_of(
      devices, [&](const auto& entry) { return entry.second == devices.front().second; });
  if (equal) {
    series.gpu = devices.front().second;
    return;
  }
  for (const auto& [rank, device] : devices) {
    series.devices += (series.devices.empty() ? "" : ";") + device;
  }
}

bool names_a_rank_twice(const CollectiveRun& run) {
  std::set<std::int64_t> seen;
  return std::ranges::any_of(
      run.ranks, [&](const CollectiveRank& rank) { return !seen.insert(rank.rank).second; });
}

constexpr std::string_view kAlone =
    "one rank has no link between GPUs, so that nothing of a network was measured. Where several "
    "processes each print \"Rank 0\", nccl-tests was built without MPI: build it with MPI=1";

/// Why nothing can be taken of a run; empty where there is no reason.
std::string refusal(const CollectiveRun& run, std::optional<std::int64_t> ranks) {
  if (names_a_rank_twice(run)) {
    return fmt::format("a rank is listed twice: processes did not find each other, {}", kAlone);
  }
  return ranks == 1 ? fmt::format("only one rank: {}", kAlone) : "";
}

void add_series(const CollectiveRun& run,
                const CollectiveSeries& common,
                const std::string& origin,
                Piece& piece) {
  std::map<std::pair<std::int64_t, bool>, Sample> samples;
  for (const ImportedRow& row : run.rows) {
    const auto [at, fresh] = samples.try_emplace({row.bytes, row.in_place});
    Sample& sample = at->second;
    if (fresh) {
      CollectiveSeries series = common;
      series.bytes = row.bytes;
      series.place = row.in_place ? "in-place" : "out-of-place";
      sample.series = std::move(series);
    }
    sample.as<CollectiveSeries>()->seconds.push_back(row.seconds);
    if (row.wrong) {
      piece.warnings.push_back(
          fmt::format("{}:{}: the result was wrong at {} bytes", origin, row.line, row.bytes));
      sample.disturbed = true;
    }
  }
  for (auto& [key, sample] : samples) {
    piece.samples.push_back(std::move(sample));
  }
}

}  // namespace

std::optional<MeasuredCollective> collective_from_name(std::string_view name) {
  using enum MeasuredCollective;
  // "all_reduce" before "reduce": the first that occurs is taken.
  static constexpr std::array<std::pair<std::string_view, MeasuredCollective>, 13> kNames = {
      {{"allreduce", kAllReduce},
       {"reducescatter", kReduceScatter},
       {"allgather", kAllGather},
       {"alltoall", kAllToAll},
       {"all2all", kAllToAll},
       {"sendrecv", kSendReceive},
       {"sendreceive", kSendReceive},
       {"broadcast", kBroadcast},
       {"bcast", kBroadcast},
       {"hypercube", kHypercube},
       {"scatter", kScatter},
       {"gather", kGather},
       {"reduce", kReduce}}};
  const std::string word = plain_word(name);
  for (const auto& [known, kind] : kNames) {
    if (word.find(known) != std::string::npos) {
      return kind;
    }
  }
  return std::nullopt;
}

Piece collective_piece(std::vector<CollectiveRun> runs,
                       const std::string& origin,
                       const std::string& name,
                       const std::string& backend,
                       std::optional<std::int64_t> ranks) {
  std::erase_if(runs, [](const CollectiveRun& run) { return run.rows.empty(); });
  if (runs.empty()) {
    throw UserError(fmt::format("{}: no row of figures of nccl-tests in it", origin));
  }
  Piece piece{.origin = origin, .authority = Authority::kRankClock};
  std::vector<std::string> refused;
  std::int64_t number = 0;
  for (CollectiveRun& run : runs) {
    Judge judge(run, origin, name);
    const MeasuredCollective kind = judge.collective();
    const std::optional<std::int64_t> count = judge.ranks(kind, ranks);
    const std::string line = run.line > 0 ? fmt::format("{}:{}", origin, run.line) : origin;
    if (const std::string reason = refusal(run, count); !reason.empty()) {
      refused.push_back(fmt::format("{}: {}", line, reason));
      continue;
    }
    ++number;
    CollectiveSeries common{.kind = kind,
                            .backend = backend,
                            .series = number == 1 ? name : fmt::format("{} ({})", name, number)};
    if (count && *count > 0 && *count <= kMostRanks) {
      common.ranks = count;
      judge.check_bandwidths(kind, *count);
    } else {
      piece.warnings.push_back(fmt::format("{}: its ranks are not listed: give --ranks", line));
    }
    set_devices(run, common);
    std::ranges::move(judge.warnings, std::back_inserter(piece.warnings));
    add_series(run, common, origin, piece);
  }
  if (piece.samples.empty()) {
    if (refused.size() > 1) {
      refused = {fmt::format("{} ({} runs alike)", refused.front(), refused.size())};
    }
    throw UserError(refused);
  }
  for (const std::string& reason : refused) {
    piece.warnings.push_back(reason + "; left out");
  }
  return piece;
}

}  // namespace vitsim
