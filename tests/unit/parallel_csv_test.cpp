#include "calibrate/import/parallel_csv.h"

#include <sstream>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "models/error.h"

namespace vitsim {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

constexpr const char* kHeader =
    "gpus,global_batch,micro_batch,hidden,heads,layers,sequence,tensor,data,pipeline,iteration_"
    "ms\n";

Piece read(const std::string& rows, const std::string& gpu = "") {
  std::istringstream stream(kHeader + rows);
  return read_parallel_table(stream, "steps.csv", gpu);
}

std::vector<std::string> problems(const std::string& rows) {
  try {
    read(rows);
  } catch (const UserError& error) {
    return error.problems();
  }
  return {};
}

// 64 sequences of which each of 4 replicas has 16, in micro-batches of 2.
TEST(ParallelCsv, ReadsARow) {
  const Piece piece = read("8,64,2,1024,16,12,512,2,4,1,396.3\n", "h100");
  ASSERT_EQ(piece.samples.size(), 1U);
  const auto& step = *piece.samples.front().as<ParallelStepSeries>();
  EXPECT_EQ(step.gpu, "h100");
  EXPECT_EQ(step.model.width, 1024);
  EXPECT_EQ(step.model.mlp, 4096);
  EXPECT_EQ(step.model.tokens(), 512);
  EXPECT_EQ(step.model.vocabulary, 51'200);
  EXPECT_TRUE(step.model.causal);
  EXPECT_EQ(step.micro_batches, 8);
  EXPECT_EQ(step.tensor, 2);
  EXPECT_DOUBLE_EQ(step.seconds.front(), 0.3963);
}

TEST(ParallelCsv, SaysWhatItAssumes) {
  const Piece piece = read("1,8,8,1024,16,12,512,1,1,1,396.3\n");
  EXPECT_EQ(piece.samples.front().as<ParallelStepSeries>()->gpu, "a100");
  EXPECT_THAT(piece.warnings, ElementsAre(HasSubstr("GPU a100, precision fp16")));
}

TEST(ParallelCsv, NamesEveryMistake) {
  EXPECT_THAT(problems("8,64,2,1024,16,12,512,2,2,1,396.3\n"),
              ElementsAre(HasSubstr("tensor 2 x data 2 x pipeline 1 are not the 8 gpus")));
  EXPECT_THAT(problems("4,9,2,1024,16,12,512,1,4,1,396.3\n"),
              ElementsAre(HasSubstr("no multiple of micro_batch 2 x data 4")));
  EXPECT_THAT(problems("8,8,1,1024,12,12,512,8,1,1,396.3\n"), ElementsAre(HasSubstr("12 heads")));
  EXPECT_THAT(problems("1,8,1,1024,16,12,512,1,1,1,0\n"), ElementsAre(HasSubstr("above 0")));
}

}  // namespace
}  // namespace vitsim
