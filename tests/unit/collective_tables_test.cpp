// Tables of nccl-tests become tables of a link's profile, which give the same times again.
#include "calibrate/fit/collective_tables.h"

#include <numeric>

#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "calibrate/profile/library.h"
#include "calibrate/profile/lookup.h"
#include "sim/collective/table.h"
#include "sim/job/link_figures.h"
#include "sim/job/resolve.h"
#include "tests/support/temporary_folder_support.h"

namespace vitsim {
namespace {

using ::testing::Contains;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

Sample row(MeasuredCollective kind,
           std::int64_t ranks,
           std::int64_t bytes,
           double seconds,
           const std::string& place = "out-of-place") {
  return {.series = CollectiveSeries{.kind = kind,
                                     .bytes = bytes,
                                     .ranks = ranks,
                                     .one_node = true,
                                     .link = "board",
                                     .place = place,
                                     .series = "table",
                                     .seconds = {seconds}}};
}

/// An odd table that no ring follows: it has to come back all the same.
double odd_s(std::int64_t bytes) {
  return 20e-6 + static_cast<double>(bytes) / 50e9 * (bytes < 8'000'000 ? 2 : 1.2);
}

Measurement tables() {
  Measurement measurement;
  for (std::int64_t bytes = 1024; bytes <= (1 << 28); bytes *= 4) {
    measurement.samples.push_back(row(MeasuredCollective::kAllReduce, 8, bytes, odd_s(bytes)));
    measurement.samples.push_back(
        row(MeasuredCollective::kAllReduce, 8, bytes, 9 * odd_s(bytes), "in-place"));
    measurement.samples.push_back(row(MeasuredCollective::kAllReduce, 2, bytes, odd_s(bytes) / 2));
    measurement.samples.push_back(row(MeasuredCollective::kAllToAll, 8, bytes, odd_s(bytes) / 3));
    measurement.samples.push_back(row(MeasuredCollective::kSendReceive, 8, bytes, 1e-3));
  }
  return measurement;
}

ResolvedExperiment machine(const LinkProfile& link, std::int64_t gpus, const std::string& more) {
  test::TemporaryFolder folder;
  write_profile(folder.path() / "board.json", link);
  std::string names = "\"h100\"";
  for (std::int64_t i = 1; i < gpus; ++i) {
    names += ", \"h100\"";
  }
  const Experiment experiment =
      experiment_from_text(fmt::format(R"({{"cluster": {{"nodes": [{{"gpus": [{}]}}],
                                    "intra_node": {{"profile": "board"}}}},
          "training": {{"model": "vit-b-16", "dataset": {{"name": "cifar10"}},
                        "micro_batch_per_gpu": 16, "precision": "bf16"{}}}}})",
                                       names,
                                       more),
                           "lab.json");
  return resolve(experiment, load_profiles(experiment, ProfileLibrary({folder.path()})));
}

std::vector<CollectiveRow> rows_of(const ResolvedExperiment& resolved,
                                   CollectiveKind kind,
                                   std::int64_t first,
                                   std::int64_t last) {
  const Network& network = *resolved.network;
  std::vector<std::int64_t> ranks(static_cast<std::size_t>(network.world_size()));
  std::iota(ranks.begin(), ranks.end(), std::int64_t{0});
  return collective_table(Communicator(network, ranks),
                          kind,
                          AllReduceAlgorithm::kAuto,
                          first,
                          last,
                          to_ticks(resolved.jobs.front().collective_overhead));
}

TEST(CollectiveTables, ComeBackAsTheyWereMeasured) {
  const Calibration found = fit(tables(), {});
  const LinkProfile& link = found.links.at("board");
  EXPECT_EQ(link.collectives.size(), 4U);
  for (const auto& [gpus, kind, share] :
       std::vector<std::tuple<std::int64_t, CollectiveKind, double>>{
           {8, CollectiveKind::kAllReduce, 1},
           {2, CollectiveKind::kAllReduce, 1.0 / 2},
           {8, CollectiveKind::kAllToAll, 1.0 / 3}}) {
    const auto rows = rows_of(machine(link, gpus, ""), kind, 1 << 20, 1 << 28);
    ASSERT_EQ(rows.size(), 9U);
    for (std::size_t i = 0; i < rows.size(); i += 2) {  // every second size was measured
      const double expected = share * odd_s(rows[i].bytes);
      EXPECT_EQ(rows[i].algorithm, Algorithm::kMeasured);
      EXPECT_NEAR(rows[i].time.value(), expected, 1e-4 * expected) << rows[i].bytes;
    }
  }
}

TEST(CollectiveTables, AreWrittenAndRead) {
  const Calibration found = fit(tables(), {});
  const std::string text = profile_text(found.links.at("board"));
  const auto again = std::get<LinkProfile>(part_from_text(text, "board.json"));
  EXPECT_EQ(profile_text(again), text);
  EXPECT_EQ(again.table("all-reduce", 6)->ranks, 8);
  EXPECT_EQ(again.table("all-reduce", 3)->ranks, 2);
  EXPECT_EQ(again.table("broadcast", 8), nullptr);
}

// ViT-B/16's buckets are 1 to 56 MB in bf16: inside the table no note, outside one for each side.
TEST(CollectiveTables, OutsideOfThemTheIntervalGrows) {
  LinkProfile link{.name = "board",
                   .latency = microseconds(10),
                   .bandwidth = BytesPerSecond(20e9),
                   .collectives = {{.kind = "all-reduce", .ranks = 4}}};
  const auto sigma = [&](double least, double most) {
    link.collectives[0].points = {{.bytes = Bytes(least), .time = microseconds(30)},
                                  {.bytes = Bytes(most), .time = milliseconds(5)}};
    link.spread.run_sigma = 0.05;
    const ResolvedExperiment lab = machine(link, 4, "");
    std::vector<std::string> notes;
    for (const std::string& warning : lab.jobs.front().warnings) {
      if (warning.starts_with("board")) {
        notes.push_back(warning);
      }
    }
    return std::pair(*lab.jobs.front().link_noise.front().spread.run_sigma, notes);
  };
  EXPECT_EQ(sigma(1e3, 1e9).first, 0.05);
  EXPECT_THAT(sigma(1e3, 1e9).second, IsEmpty());
  const auto [narrow, first_notes] = sigma(1e3, 65'536);
  EXPECT_GT(narrow, 0.5);
  EXPECT_THAT(first_notes, ElementsAre(HasSubstr("are larger than any that was measured")));
  EXPECT_GT(sigma(1e3, 1e6).first, 0.05);
  EXPECT_LT(sigma(1e3, 1e6).first, narrow);
}

// A link of which only an AllGather was seen: 8 ranks send 7/8 of 256 MiB in 10 ms.
TEST(CollectiveTables, OneCollectiveIsEnoughForALink) {
  Measurement measurement;
  measurement.samples = {row(MeasuredCollective::kAllGather, 8, 1024, 70e-6),
                         row(MeasuredCollective::kAllGather, 8, 1 << 28, 10.07e-3)};
  const Calibration found = fit(measurement, {});
  const LinkProfile& link = found.links.at("board");
  EXPECT_NEAR(link.latency.value(), 10e-6, 1e-9);
  EXPECT_NEAR(link.bandwidth.value(), 7.0 / 8 * (1 << 28) / 10e-3, 1e6);
}

TEST(CollectiveTables, SmallSizesShowNoBandwidth) {
  Measurement measurement;
  for (std::int64_t bytes = 8; bytes <= 1024; bytes *= 2) {
    measurement.samples.push_back(row(MeasuredCollective::kAllReduce, 8, bytes, 25e-6));
  }
  const Calibration found = fit(measurement, {});
  EXPECT_THAT(found.notes, Contains(HasSubstr("its bandwidth is not known")));
  // The profile can be read: a bandwidth is in it that no reader refuses.
  const std::string text = profile_text(found.links.at("board"));
  EXPECT_NO_THROW((void)part_from_text(text, "board.json"));
}

TEST(CollectiveTables, OneSizeShowsNoLatency) {
  Measurement measurement;
  measurement.samples = {row(MeasuredCollective::kAllReduce, 8, 1 << 28, 2e-3)};
  const Calibration found = fit(measurement, {});
  EXPECT_THAT(found.notes, Contains(HasSubstr("its latency is not known")));
  EXPECT_TRUE(is_latency_unknown(found.links.at("board")));
  EXPECT_FALSE(is_bandwidth_unknown(found.links.at("board")));
}

// 24 GPUs pass on 128 MB in 46 steps. 2.7 ms of that might all be latency: it must not be, or the
// link would have no bandwidth that could be written down. Also where no table says it again.
TEST(CollectiveTables, OneSizeBetweenManyGpusShowsABandwidth) {
  for (const char* place : {"out-of-place", ""}) {
    Measurement measurement;
    Sample sample = row(MeasuredCollective::kAllReduce, 24, 1 << 27, 2.68e-3, place);
    std::get<CollectiveSeries>(sample.series).one_node = false;
    measurement.samples = {sample};
    const Calibration found = fit(measurement, {});
    const std::string text = profile_text(found.links.at("board"));
    const auto link = std::get<LinkProfile>(part_from_text(text, "board.json"));
    // 2 x 23/24 of the bytes in the whole time, at least.
    EXPECT_GE(link.bandwidth.value(), 0.99 * 2 * 23 / 24 * (1 << 27) / 2.68e-3);
    EXPECT_LE(link.bandwidth.value(), kMostBytesPerSecond);
  }
}

}  // namespace
}  // namespace vitsim
