#include "calibrate/import/study_csv.h"

#include <sstream>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "calibrate/import/csv_table.h"
#include "models/distribution.h"
#include "models/error.h"
#include "tests/support/broken_input.h"
#include "tests/support/import_samples.h"
#include "tests/support/temporary_folder_support.h"

namespace vitsim {
namespace {

using test::refusal;
using test::replaced;
using ::testing::DoubleEq;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Pointwise;
using ::testing::SizeIs;

constexpr double kMebibyte = 1048576;

std::vector<Piece> runs(const std::string& text) {
  std::istringstream stream(text);
  return read_run_table(stream, "runs.csv");
}

Piece epochs(const std::string& text) {
  std::istringstream stream(text);
  return read_epoch_table(stream, "metrics.csv", "twins");
}

TEST(SplitCsv, KnowsQuotesAndBlanks) {
  EXPECT_THAT(*split_csv("a, b ,\"c, d\",\"say \"\"e\"\"\",,f"),
              ElementsAre("a", "b", "c, d", "say \"e\"", "", "f"));
  EXPECT_THAT(*split_csv(""), ElementsAre(""));
  EXPECT_THAT(*split_csv("a,"), ElementsAre("a", ""));
  EXPECT_FALSE(split_csv("a,\"b"));
}

TEST(GpuSlug, IsTheNameOfTheDataSheets) {
  EXPECT_EQ(gpu_slug("NVIDIA GeForce RTX 3070"), "rtx-3070");
  EXPECT_EQ(gpu_slug("NVIDIA GeForce GTX 1070"), "gtx-1070");
  EXPECT_EQ(gpu_slug("NVIDIA A40"), "a40");
  EXPECT_EQ(gpu_slug("Tesla P4"), "tesla-p4");
  EXPECT_EQ(gpu_slug(" Tesla  T4 "), "tesla-t4");
  EXPECT_EQ(gpu_slug(""), "");
}

TEST(RunTable, ReadsEveryRun) {
  const std::vector<Piece> pieces = runs(test::file_text(import_sample("tables/runs.csv")));
  ASSERT_THAT(pieces, SizeIs(2));
  const Piece& pair = pieces[0];
  EXPECT_EQ(pair.run, "pair");
  EXPECT_EQ(pair.facts.cluster, "lab");
  EXPECT_EQ(pair.facts.one_node, false);
  EXPECT_THAT(pair.facts.gpus, ElementsAre("rtx-3070", "tesla-p4"));
  EXPECT_EQ(pair.facts.precision, Precision::kFp32);
  EXPECT_FALSE(pair.facts.precision_inferred);
  EXPECT_EQ(pair.facts.samples, 1000);
  EXPECT_EQ(pair.facts.epochs, 3);
  EXPECT_EQ(pair.facts.model->name, "vit-b-16");
  EXPECT_EQ(pair.facts.wall_clock_breakdown, true);
  EXPECT_THAT(figures(pair.samples, "epoch"),
              Pointwise(DoubleEq(), std::vector<double>{12.5, 12.1, 12.2}));
  EXPECT_THAT(figures(pair.samples, "memory", 1), ElementsAre(3722 * kMebibyte));
  EXPECT_THAT(pair.warnings, IsEmpty());

  const Piece& box = pieces[1];
  EXPECT_EQ(box.facts.cluster, "hall-a40");  // networks inside nodes differ by GPU
  EXPECT_EQ(box.facts.one_node, true);
  EXPECT_EQ(box.facts.precision, Precision::kFp16);
  EXPECT_TRUE(box.facts.precision_inferred);
  EXPECT_EQ(box.facts.wall_clock_breakdown, false);  // one sample per micro-batch, no phases
  EXPECT_THAT(figures(box.samples, "epoch"), SizeIs(2));
  ASSERT_THAT(box.warnings, SizeIs(1));  // four losses, two epochs
  EXPECT_THAT(box.warnings.front(), HasSubstr("runs.csv:3: box holds more losses"));
}

TEST(RunTable, ReportsEveryMistakeWithItsLine) {
  std::string text = test::file_text(import_sample("tables/runs.csv"));
  text = replaced(text, ",16,False,", ",-16,No,");
  text = replaced(text, "8.2;8.0", "8.2;nan");
  const std::string problems = refusal([&] { runs(text); });
  EXPECT_THAT(problems, HasSubstr("runs.csv:2: micro_batch_per_gpu: \"-16\""));
  EXPECT_THAT(problems, HasSubstr("runs.csv:2: fp16: \"No\""));
  EXPECT_THAT(problems, HasSubstr("runs.csv:3: epoch_seconds: \"nan\""));
}

TEST(RunTable, NamesMissingColumns) {
  const std::string problems = refusal([] { runs("run,world_size,epoch_seconds\nx,1,2\n"); });
  EXPECT_THAT(problems, HasSubstr("\"gpus\""));
  EXPECT_THAT(problems, HasSubstr("\"placement\""));
}

TEST(RunTable, RefusesTwiceTheSameRun) {
  const std::string text =
      replaced(test::file_text(import_sample("tables/runs.csv")), "\nbox,", "\npair,");
  EXPECT_THAT(refusal([&] { runs(text); }), HasSubstr("\"pair\" is there twice"));
}

TEST(StepTable, ReadsEveryPhase) {
  std::istringstream stream(test::file_text(import_sample("tables/steps/pair.csv")));
  const Piece piece = read_step_table(stream, "pair.csv", "pair");
  EXPECT_THAT(figures(piece.samples, "forward", 0),
              Pointwise(DoubleEq(), std::vector<double>{0.09, 0.02, 0.0205, 0.021, 0.0215, 0.01}));
  EXPECT_THAT(figures(piece.samples, "backward_compute", 0), SizeIs(6));
  EXPECT_THAT(figures(piece.samples, "gradient_all_reduce", 0).front(), 0.2);
  EXPECT_THAT(figures(piece.samples, "optimizer", 0).back(), 0.008);
  EXPECT_EQ(piece.samples.front().warm_up, 4);
}

TEST(StepTable, LeavesOutALineThatTheEndCuts) {
  const std::string text = test::file_text(import_sample("tables/steps/pair.csv"));
  std::istringstream stream(text.substr(0, text.size() - 20));
  const Piece piece = read_step_table(stream, "pair.csv", "pair");
  EXPECT_THAT(figures(piece.samples, "forward", 0), SizeIs(5));
  ASSERT_THAT(piece.warnings, SizeIs(1));
  EXPECT_THAT(piece.warnings.front(), HasSubstr("pair.csv:7: the file ends in the middle"));
}

TEST(EpochTable, TakesTheSlowestRankAndEachRanksOwnGpu) {
  // Byte-order mark, CRLF and quotes are in the sample.
  const Piece piece = epochs(test::file_text(import_sample("tables/twins/metrics.csv")));
  EXPECT_THAT(figures(piece.samples, "epoch"),
              Pointwise(DoubleEq(), std::vector<double>{51.5, 41.25}));
  EXPECT_THAT(piece.facts.gpus, ElementsAre("tesla-t4", "tesla-t4"));
  EXPECT_EQ(piece.facts.one_node, true);
  EXPECT_THAT(figures(piece.samples, "memory", 0), ElementsAre(9000 * kMebibyte, 9001 * kMebibyte));
  EXPECT_THAT(figures(piece.samples, "memory", 1), ElementsAre(9501 * kMebibyte, 9502 * kMebibyte));
}

TEST(EpochTable, ARestartedRunCountsFromItsRestart) {
  const std::string text = test::file_text(import_sample("tables/twins/metrics.csv"));
  const std::string rows = text.substr(text.find('\n') + 1);
  const Piece piece = epochs(text + replaced(rows, ",1,51.5,", ",1,52.5,"));
  // The first of rank 1's two rows says 52.5, the second, of its other GPU, 51.5 as before.
  EXPECT_THAT(figures(piece.samples, "epoch"),
              Pointwise(DoubleEq(), std::vector<double>{51.5, 41.25}));
  EXPECT_EQ(piece.facts.epochs, 2);
}

TEST(ThroughputTable, KeepsModelAndBatch) {
  std::istringstream stream(test::file_text(import_sample("tables/throughput.csv")));
  const Piece piece = read_throughput_table(stream, "throughput.csv");
  ASSERT_THAT(piece.samples, SizeIs(2));
  ASSERT_NE(piece.samples[0].as<PassSeries>(), nullptr);
  EXPECT_EQ(piece.samples[0].as<PassSeries>()->kind, PassSeries::Kind::kForward);
  ASSERT_NE(piece.samples[1].as<PassSeries>(), nullptr);
  const PassSeries& pass = *piece.samples[1].as<PassSeries>();
  EXPECT_EQ(pass.kind, PassSeries::Kind::kTrainStep);
  EXPECT_EQ(pass.gpu, "rtx-3090");
  EXPECT_EQ(pass.optimizer, "sgd");
  EXPECT_EQ(pass.model.width, 384);
  EXPECT_EQ(pass.batch, 128);
  EXPECT_THAT(pass.seconds, Pointwise(DoubleEq(), std::vector<double>{0.16}));
}

TEST(StudyTables, CutAnywhereNeverGivesMore) {
  const std::string text = test::file_text(import_sample("tables/steps/pair.csv"));
  test::read_every_beginning(text, [](const std::string& part) {
    std::istringstream stream(part);
    const Piece piece = read_step_table(stream, "pair.csv", "pair");
    ASSERT_LE(figures(piece.samples, "forward", 0).size(), 6U);
  });
}

TEST(StudyTables, ReadTheReleasedRuns) {
  if (reference_runs().empty()) {
    GTEST_SKIP() << "no reference runs beside the checkout";
  }
  // awk -F, 'NR>1' runs.csv | wc -l, and the table's own medians of odd counts.
  const std::vector<Piece> pieces = runs(test::file_text(reference_runs() / "runs.csv"));
  ASSERT_THAT(pieces, SizeIs(27));
  std::size_t without_breakdown = 0;
  for (const Piece& piece : pieces) {
    without_breakdown += piece.facts.wall_clock_breakdown == false ? 1 : 0;
    if (piece.run == "vector-t4v2-run_1-1gpu-p1_b16_e5") {
      EXPECT_NEAR(median(figures(piece.samples, "epoch")), 1851.897, 1e-9);
      EXPECT_EQ(piece.facts.cluster, "vector-t4");
      EXPECT_THAT(piece.warnings, SizeIs(1));  // seven losses, five epochs
    }
    if (piece.run == "tesla-5gpu-p0.5_b16_e10") {
      EXPECT_THAT(piece.facts.gpus,
                  ElementsAre("tesla-p4", "rtx-3070", "rtx-3070", "gtx-1070", "rtx-3070"));
      EXPECT_EQ(piece.facts.cluster, "tesla");
    }
  }
  EXPECT_EQ(without_breakdown, 2U);  // the b1 runs

  // awk -F, 'NR>1 {s += $2} END {print s}': 737310 ms.
  std::istringstream steps(test::file_text(reference_runs() / "steps/tesla-5gpu-p0.5_b16_e10.csv"));
  const Piece five = read_step_table(steps, "steps", "five");
  const std::vector<double> forward = figures(five.samples, "forward", 0);
  ASSERT_THAT(forward, SizeIs(3130));
  double sum = 0;
  for (const double seconds : forward) {
    sum += seconds;
  }
  EXPECT_NEAR(sum, 737.310, 0.001);

  // Epoch 4: 389.4945, 389.5166, 389.5015 and 389.4335 s on ranks 1, 3, 2, 0.
  const Piece four =
      epochs(test::file_text(reference_runs() / "raw/tesla-4gpu-p0.4_b16_e10.metrics.csv"));
  EXPECT_NEAR(figures(four.samples, "epoch")[3], 389.51659655570984, 1e-12);
  EXPECT_THAT(four.facts.gpus, ElementsAre("tesla-p4", "rtx-3070", "rtx-3070", "rtx-3070"));
  EXPECT_EQ(four.facts.one_node, false);

  std::istringstream throughput(test::file_text(reference_runs() / "throughput.csv"));
  EXPECT_THAT(read_throughput_table(throughput, "throughput.csv").samples, SizeIs(24));
}

}  // namespace
}  // namespace vitsim
