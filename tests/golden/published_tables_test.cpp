// AllReduces and all-to-alls that people published, against data sheets of links alone: nothing of
// these tables is fitted here. Thresholds are what the project promises.
#include <algorithm>
#include <cmath>
#include <filesystem>
#include <fstream>
#include <map>
#include <numeric>
#include <sstream>

#include <fmt/format.h>
#include <gtest/gtest.h>

#include "calibrate/fit/fit.h"
#include "calibrate/profile/library.h"
#include "calibrate/profile/lookup.h"
#include "sim/collective/communicator.h"
#include "sim/job/resolve.h"
#include "tests/support/temporary_folder_support.h"

namespace vitsim {
namespace {

const std::filesystem::path kTable = VITSIM_SOURCE_DIR "/../shared/oracles/nccl-tests/tables.csv";

/// One row that was published.
struct Row {
  std::string set;
  bool is_all_to_all = false;
  std::int64_t ranks = 0;
  std::int64_t nodes = 0;
  std::int64_t bytes = 0;
  double measured_s = 0;
};

/// The machine of a set of rows, as somebody would describe it who knows its parts.
std::string cluster_of(const std::string& set) {
  static const std::map<std::string, std::string> kClusters = {
      {"h100x8-dgx", R"({"nodes": [{"gpus": [8, "h100"]}]})"},
      {"h100x16-oci",
       R"({"nodes": [{"count": 2, "gpus": [8, "h100"], "nic": {"link": "roce-200", "count": 16}}]})"},
      {"h200x16",
       R"({"nodes": [{"count": 2, "gpus": [8, "h200"], "nic": {"link": "ib-ndr", "count": 8}}]})"},
      {"a100x16-oci",
       R"({"nodes": [{"count": 2, "gpus": [8, "a100-40gb"], "nic": {"link": "roce-200", "count": 8}}]})"},
      {"a100x24-hdr",
       R"({"nodes": [{"count": 3, "gpus": [8, "a100-40gb"], "nic": {"link": "ib-hdr", "count": 4}}]})"},
      {"4090x2-slow", R"({"nodes": [{"gpus": [2, "rtx-4090"]}]})"},
      {"4090x4-p2p",
       R"({"nodes": [{"gpus": [4, "rtx-4090"]}], "intra_node": {"link": "pcie4-x16"}})"},
      {"mi300x16",
       R"({"nodes": [{"count": 2, "gpus": [8, "mi300x"], "nic": {"link": "ib-ndr", "count": 8}}]})"},
      {"galvatron-a100-allreduce-8", R"({"nodes": [{"gpus": [8, "a100-40gb"]}]})"},
      {"galvatron-a100-allreduce-2", R"({"nodes": [{"gpus": [2, "a100-40gb"]}]})"},
      {"galvatron-a100-all2all-8", R"({"nodes": [{"gpus": [8, "a100-40gb"]}]})"}};
  const auto found = kClusters.find(set);
  if (found == kClusters.end()) {
    return "";  // machines that were published because something was wrong with them
  }
  // [8, "h100"] stands for eight names.
  std::string text = found->second;
  const std::size_t begin = text.find("\"gpus\": [") + 9;
  const std::size_t comma = text.find(',', begin);
  const std::size_t end = text.find(']', comma);
  const std::string name = text.substr(comma + 1, end - comma - 1);
  std::string names = name;
  for (int i = 1; i < std::stoi(text.substr(begin, comma - begin)); ++i) {
    names += "," + name;
  }
  return text.replace(begin, end - begin, names);
}

std::vector<std::string> cells_of(const std::string& line) {
  std::vector<std::string> cells(1);
  bool is_quoted = false;
  for (const char c : line) {
    if (c == '"') {
      is_quoted = !is_quoted;
    } else if (c == ',' && !is_quoted) {
      cells.emplace_back();
    } else {
      cells.back() += c;
    }
  }
  return cells;
}

std::vector<Row> published_rows() {
  std::ifstream file(kTable);
  std::string line;
  std::getline(file, line);
  std::vector<Row> rows;
  while (std::getline(file, line)) {
    const std::vector<std::string> cells = cells_of(line);
    rows.push_back({.set = cells.at(0),
                    .is_all_to_all = cells.at(1) == "all_to_all",
                    .ranks = std::stoll(cells.at(3)),
                    .nodes = std::stoll(cells.at(4)),
                    .bytes = std::stoll(cells.at(7)),
                    .measured_s = std::stod(cells.at(8)) * 1e-6});
  }
  return rows;
}

double predicted_s(const Row& row,
                   const std::string& cluster,
                   const ProfileLibrary& library = ProfileLibrary()) {
  const Experiment experiment =
      experiment_from_text(R"({"cluster": )" + cluster + R"(, "training": {"model": "vit-b-16",
          "dataset": {"name": "cifar10"}, "micro_batch_per_gpu": 1}})",
                           row.set);
  const ResolvedExperiment resolved = resolve(experiment, load_profiles(experiment, library));
  const Network& network = *resolved.network;
  std::vector<std::int64_t> ranks(static_cast<std::size_t>(network.world_size()));
  std::iota(ranks.begin(), ranks.end(), std::int64_t{0});
  const Communicator group(network, ranks);
  const CollectiveKind kind =
      row.is_all_to_all ? CollectiveKind::kAllToAll : CollectiveKind::kAllReduce;
  const Algorithm algorithm = group.resolve(AllReduceAlgorithm::kAuto, kind, row.bytes);
  const std::vector<Tick> starts(ranks.size());
  return to_seconds(group.run(kind, algorithm, row.bytes, starts).front()).value();
}

double mean(const std::vector<double>& values) {
  return std::accumulate(values.begin(), values.end(), 0.0) / static_cast<double>(values.size());
}

TEST(PublishedTables, DataSheetsOfLinksAreNear) {
  if (!std::filesystem::exists(kTable)) {
    GTEST_SKIP() << "no published tables beside the project";
  }
  std::vector<double> large;
  std::vector<double> factors;
  std::map<std::string, std::vector<double>> by_set;
  for (const Row& row : published_rows()) {
    const std::string cluster = cluster_of(row.set);
    if (cluster.empty()) {
      continue;
    }
    const double ratio = predicted_s(row, cluster) / row.measured_s;
    if (row.bytes >= 64 * 1024 * 1024) {
      large.push_back(std::abs(ratio - 1));
      by_set[row.set].push_back(ratio - 1);
    } else if (row.bytes <= 1024 * 1024) {
      factors.push_back(std::max(ratio, 1 / ratio));
    }
  }
  ASSERT_GT(large.size(), 50U);
  ASSERT_GT(factors.size(), 20U);
  EXPECT_LE(mean(large), 0.15);
  std::ranges::sort(factors);
  EXPECT_LE(factors[factors.size() / 2], 2);
  for (const auto& [set, errors] : by_set) {
    RecordProperty(set, std::to_string(mean(errors)));
    std::printf("%-28s %+6.1f %% over %zu sizes from 64 MiB on\n",
                set.c_str(),
                100 * mean(errors),
                errors.size());
  }
  std::printf("mean error %.1f %%, median factor up to 1 MiB %.2f\n",
              100 * mean(large),
              factors[factors.size() / 2]);
}

// The same rows as measurements: the link profile that is fitted to a set gives its times again.
TEST(PublishedTables, FittedTheyComeBack) {
  if (!std::filesystem::exists(kTable)) {
    GTEST_SKIP() << "no published tables beside the project";
  }
  std::map<std::string, std::vector<Row>> sets;
  for (const Row& row : published_rows()) {
    sets[row.set].push_back(row);
  }
  const test::TemporaryFolder folder;
  Measurement measurement;
  for (const auto& [set, rows] : sets) {
    for (const Row& row : rows) {
      measurement.samples.push_back(
          {.series = CollectiveSeries{.kind = row.is_all_to_all ? MeasuredCollective::kAllToAll
                                                                : MeasuredCollective::kAllReduce,
                                      .bytes = row.bytes,
                                      .ranks = row.ranks,
                                      .one_node = row.nodes == 1,
                                      .link = set,
                                      .series = "table",
                                      .seconds = {row.measured_s}}});
    }
  }
  for (const auto& [name, link] : fit(measurement, {}).links) {
    write_profile(folder.path() / (name + ".json"), link);
  }
  const ProfileLibrary library({folder.path()});
  std::size_t held = 0;
  for (const auto& [set, rows] : sets) {
    std::string gpus = "\"h100\"";
    for (std::int64_t i = 1; i < rows.front().ranks / rows.front().nodes; ++i) {
      gpus += ", \"h100\"";
    }
    const std::string cluster =
        fmt::format(R"({{"nodes": [{{"count": {}, "gpus": [{}]}}], "{}": {{"profile": "{}"}}}})",
                    rows.front().nodes,
                    gpus,
                    rows.front().nodes == 1 ? "intra_node" : "network",
                    set);
    for (const Row& row : rows) {
      if (row.bytes >= 1024 * 1024) {
        EXPECT_NEAR(predicted_s(row, cluster, library) / row.measured_s, 1, 0.05)
            << set << ", " << row.bytes << " bytes";
        ++held;
      }
    }
  }
  EXPECT_GT(held, 80U);
}

}  // namespace
}  // namespace vitsim
