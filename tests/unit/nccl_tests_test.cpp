#include "calibrate/import/nccl_tests.h"

#include <sstream>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "models/error.h"
#include "tests/support/broken_input.h"
#include "tests/support/import_samples.h"
#include "tests/support/temporary_folder_support.h"

namespace vitsim {
namespace {

using ::testing::DoubleEq;
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

TEST(NcclTests, RefusesOtherCollectives) {
  const std::string text = test::file_text(import_sample("ring/four_gpus.txt"));
  EXPECT_THROW(read(test::replaced(text, "all_reduce_perf", "all_gather_perf")), UserError);
  // Without a name the factor tells: 2.54 / 3.39 is 3/4, the factor of an AllGather on 4 ranks.
  const std::string nameless = text.substr(text.find("# nThread"));
  EXPECT_NO_THROW(read(nameless));
  EXPECT_THROW(read(test::replaced(nameless, "5.08", "2.54")), UserError);
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
