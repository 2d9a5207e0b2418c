#include "calibrate/import/nccl_tests.h"

#include <sstream>

#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "models/error.h"
#include "tests/support/broken_input.h"
#include "tests/support/import_samples.h"
#include "tests/support/temporary_folder_support.h"

namespace vitsim {
namespace {

using ::testing::AllOf;
using ::testing::DoubleEq;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Pointwise;
using ::testing::SizeIs;

Piece read(const std::string& text) {
  std::istringstream stream(text);
  return read_nccl_tests(stream, "ring.txt", "ring");
}

const Sample& sample_at(const Piece& piece, std::int64_t bytes, const std::string& place) {
  for (const Sample& sample : piece.samples) {
    const auto& series = *sample.as<CollectiveSeries>();
    if (series.bytes == bytes && series.place == place) {
      return sample;
    }
  }
  throw std::runtime_error("no such sample");
}

const CollectiveSeries& at(const Piece& piece, std::int64_t bytes, const std::string& place) {
  return *sample_at(piece, bytes, place).as<CollectiveSeries>();
}

TEST(NcclTests, ReadsBothPlacesOfEverySize) {
  const Piece piece = read(test::file_text(import_sample("ring/four_gpus.txt")));
  ASSERT_THAT(piece.samples, SizeIs(8));
  const CollectiveSeries& sample = at(piece, 67108864, "out-of-place");
  EXPECT_EQ(sample.kind, MeasuredCollective::kAllReduce);
  EXPECT_THAT(sample.seconds, Pointwise(DoubleEq(), std::vector<double>{0.0198}));  // 19800 us
  EXPECT_EQ(sample.ranks, 4);
  EXPECT_EQ(sample.nodes, 2);
  EXPECT_EQ(sample.one_node, false);
  EXPECT_EQ(sample.gpu, "a40");
  EXPECT_EQ(sample.backend, "nccl");
  EXPECT_THAT(at(piece, 1024, "in-place").seconds,
              Pointwise(DoubleEq(), std::vector<double>{33.98e-6}));
  EXPECT_THAT(piece.warnings, IsEmpty());
}

TEST(NcclTests, ReadsTheOldTableBehindLaunchersMarks) {
  const Piece piece = read(test::file_text(import_sample("ring/old_tagged.txt")));
  ASSERT_THAT(piece.samples, SizeIs(6));
  EXPECT_THAT(at(piece, 16777216, "in-place").seconds,
              Pointwise(DoubleEq(), std::vector<double>{0.01519}));
  EXPECT_EQ(at(piece, 16777216, "in-place").ranks, 2);
  EXPECT_EQ(at(piece, 16777216, "in-place").nodes, 2);
  EXPECT_EQ(at(piece, 16777216, "in-place").gpu, "tesla-p4");
}

TEST(NcclTests, CollectsRepeatedSizes) {
  const std::string text = test::file_text(import_sample("ring/four_gpus.txt"));
  const std::string header_and_rows = text.substr(text.find("#       size"));
  const Piece piece = read(text + header_and_rows);
  EXPECT_THAT(at(piece, 1024, "in-place").seconds, SizeIs(2));
}

/// Lines as the program prints them, of `ranks` ranks on as many hosts.
std::string table(std::int64_t ranks, const std::vector<std::string>& rows) {
  std::string text = "# nThread 1 nGpus 1 minBytes 8 maxBytes 1073741824\n# Using devices\n";
  for (std::int64_t rank = 0; rank < ranks; ++rank) {
    text += fmt::format(
        "#  Rank {0:2} Group  0 Pid  9{0} on  host{0} device  0 [0x07] NVIDIA A40\n", rank);
  }
  text += "#  size  count  type  redop  root  time  algbw  busbw #wrong\n";
  for (const std::string& row : rows) {
    text += row + "\n";
  }
  return text;
}

MeasuredCollective kind_of(const std::string& text) {
  return read(text).samples.front().as<CollectiveSeries>()->kind;
}

// 1 MiB of floats among 4 ranks: a share is 65,536 elements.
TEST(NcclTests, KnowsOtherCollectivesByCountAndRoot) {
  using enum MeasuredCollective;
  EXPECT_EQ(kind_of(table(4, {"1048576 262144 float sum -1 9000 0.12 0.17 0"})), kAllReduce);
  EXPECT_EQ(kind_of(table(4, {"1048576 65536 float sum -1 9000 0.12 0.09 0"})), kReduceScatter);
  EXPECT_EQ(kind_of(table(4, {"1048576 65536 float none -1 9000 0.12 0.09 0"})), kAllGather);
  EXPECT_EQ(kind_of(table(4, {"1048576 262144 float none 0 9000 0.12 0.12 0"})), kBroadcast);
  EXPECT_EQ(kind_of(table(4, {"1048576 262144 float sum 0 9000 0.12 0.12 0"})), kReduce);
  EXPECT_EQ(kind_of(table(4, {"1048576 65536 float none 0 9000 0.12 0.09 0"})), kGather);
  EXPECT_EQ(kind_of(table(4, {"1048576 262144 float none -1 9000 0.12 0.12 0"})), kSendReceive);
  EXPECT_EQ(kind_of(table(4, {"67108864 16777216 float sum -1 8640 7.77 7.77 0"})), kSendReceive);
  // Half precision: twice as many elements.
  EXPECT_EQ(kind_of(table(4, {"1048576 524288 half sum -1 9000 0.12 0.17 0"})), kAllReduce);
  EXPECT_EQ(kind_of(table(4, {"1048576 131072 bfloat16 sum -1 9000 0.12 0.09 0"})), kReduceScatter);
}

TEST(NcclTests, TheProgramsNameTellsTheCollective) {
  using enum MeasuredCollective;
  const std::string gathered = table(4, {"1048576 65536 float none -1 9000 0.12 0.09 0"});
  for (const auto& [name, kind] : {std::pair("alltoall_perf", kAllToAll),
                                   {"all_gather_perf", kAllGather},
                                   {"all_gather_perf_mpi", kAllGather},
                                   {"sendrecv_perf", kSendReceive},
                                   {"reduce_scatter_perf", kReduceScatter},
                                   {"scatter_perf", kScatter}}) {
    EXPECT_EQ(kind_of(fmt::format("# Collective test starting: {}\n{}", name, gathered)), kind);
  }
  std::istringstream stream(gathered);
  EXPECT_EQ(read_nccl_tests(stream, "a2a.log", "node_alltoall")
                .samples.front()
                .as<CollectiveSeries>()
                ->kind,
            kAllToAll);
  const std::string reduced = table(4, {"67108864 16777216 float sum -1 8640 7.77 11.65 0"});
  EXPECT_EQ(kind_of("# Collective test starting: all_reduce_perf_mpi\n" + reduced), kAllReduce);
}

// A table whose bandwidths are of other ranks than it lists is no measurement of either.
TEST(NcclTests, RefusesBandwidthsThatContradict) {
  const auto text = test::file_text(import_sample("ring/four_gpus.txt"));
  const std::string nameless = text.substr(text.find("# nThread"));
  EXPECT_NO_THROW(read(nameless));
  EXPECT_THAT(test::refusal([&] { read(test::replaced(nameless, "4.88", "3.25")); }),
              AllOf(HasSubstr("ring.txt:14"), HasSubstr("AllReduce of 4 ranks")));
  // A rank's line is missing.
  EXPECT_THAT(
      test::refusal([&] { read(table(3, {"1048576 65536 float sum -1 9000 0.12 0.09 0"})); }),
      HasSubstr("3 ranks are listed"));
}

// A job that ran the program twice: two series of the same ranks, not one of eight.
TEST(NcclTests, EveryStartIsARunOfItsOwn) {
  const std::string once = table(4, {"1048576 262144 float sum -1 13746 0.08 0.11 0"});
  const Piece piece =
      read(once + once + table(2, {"1048576 262144 float sum -1 9000 0.12 0.12 0"}));
  ASSERT_THAT(piece.samples, SizeIs(3));
  std::vector<std::pair<std::string, std::int64_t>> runs;
  for (const Sample& sample : piece.samples) {
    const auto& series = *sample.as<CollectiveSeries>();
    runs.emplace_back(series.series, series.ranks.value_or(0));
  }
  EXPECT_THAT(runs,
              ::testing::ElementsAre(
                  std::pair("ring", 4), std::pair("ring (2)", 4), std::pair("ring (3)", 2)));
}

TEST(NcclTests, OneRankHasNoLink) {
  const std::string row = "1310720000 327680000 float sum -1 5204.3 251.85 0.00 0";
  EXPECT_THAT(test::refusal([&] { read(table(1, {row})); }),
              AllOf(HasSubstr("ring.txt:1"), HasSubstr("one rank"), HasSubstr("MPI=1")));
  // Two processes that did not find each other print everything twice, each as rank 0.
  EXPECT_THAT(test::refusal([&] { read(table(1, {row}) + table(1, {row})); }),
              HasSubstr("built without MPI"));
  const std::string mixed = test::replaced(table(2, {row}), "Rank  1", "Rank  0");
  EXPECT_THAT(test::refusal([&] { read(mixed); }), HasSubstr("listed twice"));
  // Beside a run of several ranks it is left out.
  const Piece piece =
      read(table(1, {row}) + table(2, {"1048576 262144 float sum -1 9000 0.12 0.12 0"}));
  EXPECT_THAT(piece.samples, SizeIs(1));
  ASSERT_THAT(piece.warnings, SizeIs(1));
  EXPECT_THAT(piece.warnings.front(), HasSubstr("left out"));
}

TEST(NcclTests, ReadsTimeStampsAndUncheckedResults) {
  std::string text =
      table(2, {"1048576 262144 float sum -1 9000 0.12 0.12 N/A  2025-06-01 12:00:07"});
  text = test::replaced(text, "busbw #wrong\n", "busbw #wrong    timestamp\n");
  const Piece piece = read(text);
  ASSERT_THAT(piece.samples, SizeIs(1));
  EXPECT_THAT(piece.samples.front().figures(), Pointwise(DoubleEq(), std::vector<double>{0.009}));
  EXPECT_THAT(piece.warnings, IsEmpty());
}

TEST(NcclTests, GpusThatDifferAreAListByRank) {
  const std::string row = "1048576 262144 float sum -1 9000 0.12 0.12 0";
  std::string text = table(2, {row});
  text.replace(text.rfind("NVIDIA A40"), 10, "Tesla T4");
  const auto series = *read(text).samples.front().as<CollectiveSeries>();
  EXPECT_EQ(series.gpu, "");
  EXPECT_EQ(series.devices, "a40;tesla-t4");
}

TEST(NcclTests, TheUserTellsRanksThatAreNotListed) {
  const std::string header = "# size count type redop root time algbw busbw #wrong\n";
  const std::string small = header + "1024 256 float sum -1 30 0.03 0.05 0\n";
  EXPECT_THAT(read(small).warnings, ElementsAre(HasSubstr("give --ranks")));
  std::istringstream stream(small);
  const Piece told = read_nccl_tests(stream, "ring.txt", "ring", 4);
  EXPECT_EQ(told.samples.front().as<CollectiveSeries>()->ranks, 4);
  // 11.64 / 7.76 is 1.5 within its digits: only 4 ranks make that.
  const Piece large = read(header + "67108864 16777216 float sum -1 8640 7.76 11.64 0\n");
  EXPECT_EQ(large.samples.front().as<CollectiveSeries>()->ranks, 4);
  EXPECT_THAT(large.warnings, ElementsAre(HasSubstr("those of 4")));
}

Piece read_json(const std::string& text) {
  std::istringstream stream(text);
  return read_nccl_json(stream, "rccl.jsonl", "rccl");
}

TEST(NcclTests, ReadsRcclTestsLinesOfJson) {
  const std::string row =
      R"({"#wrong": "0", "algBw": 7.77, "busBw": 11.65, "gpus": 4, "inPlace": 0, "name": "AllReduce",)"
      R"( "redop": "sum", "size": 67108864, "time": 8639.7, "type": "float"})";
  const Piece piece =
      read_json(row + "\n" + test::replaced(row, R"("inPlace": 0)", R"("inPlace": 1)") + "\n");
  ASSERT_THAT(piece.samples, SizeIs(2));
  EXPECT_EQ(at(piece, 67108864, "in-place").ranks, 4);
  EXPECT_THAT(at(piece, 67108864, "out-of-place").seconds,
              Pointwise(DoubleEq(), std::vector<double>{0.0086397}));
  // Cut in the second line.
  const Piece part = read_json(row + "\n" + row.substr(0, 50));
  EXPECT_THAT(part.samples, SizeIs(1));
  EXPECT_THAT(part.warnings, ElementsAre(HasSubstr("cut or damaged")));
}

TEST(NcclTests, ReadsNcclTestsJson) {
  const Piece piece = read_json(R"({"args": ["./build/all_gather_perf", "-b", "1M"],
    "devices": [{"rank": 0, "hostname": "a", "device_name": "NVIDIA H100 80GB HBM3"},
                {"rank": 1, "hostname": "b", "device_name": "NVIDIA H100 80GB HBM3"}],
    "results": [{"size": 1048576, "count": 131072, "type": "float", "redop": "none", "root": -1,
      "out_of_place": {"time": 100.0, "alg_bw": 10.48, "bus_bw": 5.24, "nwrong": 0},
      "in_place": {"time": 90.0, "alg_bw": 11.65, "bus_bw": 5.82, "nwrong": 3}}]})");
  ASSERT_THAT(piece.samples, SizeIs(2));
  const CollectiveSeries& series = at(piece, 1048576, "in-place");
  EXPECT_EQ(series.kind, MeasuredCollective::kAllGather);
  EXPECT_EQ(series.ranks, 2);
  EXPECT_EQ(series.nodes, 2);
  EXPECT_THAT(series.seconds, Pointwise(DoubleEq(), std::vector<double>{90e-6}));
  EXPECT_TRUE(sample_at(piece, 1048576, "in-place").disturbed);
}

TEST(NcclTests, ReadsRcclTestsCsv) {
  std::istringstream stream(
      "name,size,type,redop,inPlace,time,algBw,busBw,#wrong,gpus\n"
      "ReduceScatter,1048576,float,sum,0,100,10.48,5.24,0,2\n");
  const Piece piece = read_nccl_csv(stream, "a.csv", "a");
  ASSERT_THAT(piece.samples, SizeIs(1));
  EXPECT_EQ(at(piece, 1048576, "out-of-place").kind, MeasuredCollective::kReduceScatter);
  EXPECT_EQ(at(piece, 1048576, "out-of-place").ranks, 2);
}

TEST(NcclTests, ReadsThisProgramsOwnTables) {
  const Piece text = read(
      "# all-reduce among 4 ranks, lab.json; time of one call, everybody ready at once\n"
      "#   size  algorithm    time  algbw  busbw\n#    (B)     (us)   (GB/s)  (GB/s)\n"
      "   1048576  ring     2797.24       0.375       0.562\n");
  const Piece json = read_json(R"({"collective": "all-reduce", "ranks": 4, "rows": [
      {"algbw_bytes_per_s": 374861470, "algorithm": "ring", "busbw_bytes_per_s": 562292200,
       "bytes": 1048576, "time_s": 0.00279724}], "schema": "vitsim-collective/1"})");
  for (const Piece* piece : {&text, &json}) {
    ASSERT_THAT(piece->samples, SizeIs(1));
    const auto& series = *piece->samples.front().as<CollectiveSeries>();
    EXPECT_EQ(series.ranks, 4);
    EXPECT_EQ(series.backend, "vitsim");
    EXPECT_NEAR(series.seconds.front(), 0.00279724, 1e-12);
    EXPECT_THAT(piece->warnings, ElementsAre(HasSubstr("predicted, not measured")));
  }
}

TEST(NcclTests, MarksWrongResults) {
  const std::string text = test::file_text(import_sample("ring/four_gpus.txt"));
  const Piece piece =
      read(test::replaced(text, "33.98    0.03    0.05       0", "33.98    0.03    0.05       7"));
  EXPECT_TRUE(sample_at(piece, 1024, "in-place").disturbed);
  EXPECT_FALSE(sample_at(piece, 1024, "out-of-place").disturbed);
  ASSERT_THAT(piece.warnings, SizeIs(1));
  EXPECT_THAT(piece.warnings.front(), HasSubstr("ring.txt:14: the result was wrong"));
}

TEST(NcclTests, CutAnywhereGivesABeginning) {
  const std::string text = test::file_text(import_sample("ring/four_gpus.txt"));
  const Piece whole = read(text);
  test::read_every_beginning(text, [&](const std::string& beginning) {
    const Piece part = read(beginning);
    ASSERT_LE(part.samples.size(), whole.samples.size());
    for (const Sample& sample : part.samples) {
      const auto& series = *sample.as<CollectiveSeries>();
      EXPECT_EQ(series.seconds, at(whole, series.bytes, series.place).seconds);
    }
  });
}

}  // namespace
}  // namespace vitsim
