#include "calibrate/import/kineto.h"

#include <array>
#include <sstream>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "models/error.h"
#include "tests/support/broken_input.h"
#include "tests/support/import_samples.h"
#include "tests/support/temporary_folder_support.h"

namespace vitsim {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::SizeIs;

KinetoTrace read(const std::string& text) {
  std::istringstream stream(text);
  return read_kineto_trace(stream, "trace.json");
}

std::string trace_of(int rank) {
  return test::file_text(import_sample("traces/worker_" + std::to_string(rank) + ".pt.trace.json"));
}

// The samples' step, in microseconds from its start: kernels [100, 600), [600, 900) and
// [1950, 1990.25), a copy [50, 70), and an AllReduce [400, 1200) on rank 0, [400, 1100.5) on rank
// 1, 10 longer in the second step. The last kernel runs after its step's annotation, which ends at
// 1900, but was launched inside.
TEST(Kineto, MergesKernelsByTheStepThatLaunchedThem) {
  const KinetoTrace trace = read(trace_of(0));
  EXPECT_EQ(trace.rank, 0);
  EXPECT_EQ(trace.world_size, 2);
  EXPECT_EQ(trace.device, "NVIDIA A40");
  EXPECT_THAT(trace.warnings, IsEmpty());
  ASSERT_THAT(trace.steps, SizeIs(2));
  const ProfiledStep& first = trace.steps[0];
  EXPECT_EQ(first.number, 2);
  EXPECT_NEAR(first.wall_s, 1900e-6, 1e-12);
  EXPECT_NEAR(first.compute_s, 860.25e-6, 1e-12);  // 20 + 800 + 40.25
  EXPECT_NEAR(first.communication_s, 800e-6, 1e-12);
  EXPECT_NEAR(first.overlap_s, 500e-6, 1e-12);  // 400 to 900
  EXPECT_NEAR(trace.steps[1].communication_s, 810e-6, 1e-12);
  ASSERT_THAT(trace.collectives, SizeIs(2));
  EXPECT_EQ(trace.collectives[0].bytes, 1048576);  // 262144 floats
  EXPECT_EQ(trace.collectives[0].sequence, 1);
  EXPECT_EQ(trace.collectives[1].step, 3);
}

TEST(Kineto, TakesTheShortestOfTheRanksForEachCollective) {
  const std::array<KinetoTrace, 2> traces = {read(trace_of(0)), read(trace_of(1))};
  const Piece piece = join_kineto_traces(traces, "traces");
  EXPECT_THAT(piece.facts.gpus, ElementsAre("a40", "a40"));
  EXPECT_EQ(piece.facts.wall_clock_breakdown, false);
  EXPECT_THAT(figures(piece.samples, "communication", 1), SizeIs(2));
  const std::vector<double> reduced = figures(piece.samples, "all_reduce");
  ASSERT_THAT(reduced, SizeIs(2));
  EXPECT_NEAR(reduced[0], 700.5e-6, 1e-12);  // rank 1 came last and waited for nobody
  EXPECT_NEAR(reduced[1], 710.5e-6, 1e-12);
  ASSERT_NE(piece.samples.back().as<CollectiveSeries>(), nullptr);
  EXPECT_EQ(piece.samples.back().as<CollectiveSeries>()->bytes, 1048576);
  EXPECT_EQ(piece.samples.back().as<CollectiveSeries>()->ranks, 2);
}

TEST(Kineto, MatchesByOrderWhereNoSequenceIsRecorded) {
  const auto without = [](std::string text) {
    for (std::size_t at = text.find("\"Seq\""); at != std::string::npos;
         at = text.find("\"Seq\"")) {
      text.replace(at, 5, "\"Sxq\"");
    }
    return text;
  };
  const std::array<KinetoTrace, 2> traces = {read(without(trace_of(0))),
                                             read(without(trace_of(1)))};
  EXPECT_FALSE(traces[0].collectives[0].sequence);
  const std::vector<double> reduced =
      figures(join_kineto_traces(traces, "traces").samples, "all_reduce");
  ASSERT_THAT(reduced, SizeIs(2));
  EXPECT_NEAR(reduced[0], 700.5e-6, 1e-12);
}

TEST(Kineto, SaysWhenRanksAreMissingOrDouble) {
  const std::array<KinetoTrace, 1> one = {read(trace_of(1))};
  const Piece piece = join_kineto_traces(one, "traces");
  EXPECT_THAT(piece.facts.gpus, IsEmpty());
  EXPECT_THAT(piece.warnings, ElementsAre(HasSubstr("1 of 2 ranks")));
  const std::array<KinetoTrace, 2> twice = {read(trace_of(1)), read(trace_of(1))};
  EXPECT_THROW(join_kineto_traces(twice, "traces"), UserError);
}

TEST(Kineto, TakesATraceWithoutMarksAsOneStep) {
  const KinetoTrace trace = read(
      R"({"traceEvents": [
        {"ph": "X", "cat": "kernel", "name": "gemm", "ts": 10, "dur": 5, "args": {"stream": 7}},
        {"ph": "X", "cat": "kernel", "name": "gemm", "ts": 12, "dur": 8, "args": {"stream": 9}}]})");
  ASSERT_THAT(trace.steps, SizeIs(1));
  EXPECT_NEAR(trace.steps[0].compute_s, 10e-6, 1e-12);  // 10 to 20, both streams merged
  EXPECT_THAT(trace.warnings, SizeIs(1));
}

TEST(Kineto, RefusesATraceWithoutADevice) {
  EXPECT_THROW(read(R"({"traceEvents": [{"ph": "X", "cat": "cpu_op", "ts": 1, "dur": 2}]})"),
               UserError);
  EXPECT_THROW(read(""), UserError);
  EXPECT_THROW(read("{\"traceEvents\": 3}"), UserError);
}

TEST(Kineto, SurvivesFiguresOutOfRange) {
  EXPECT_THROW(read(R"({"traceEvents": [{"ph": "X", "cat": "kernel", "ts": 1e300, "dur": 1},
                               {"ph": "X", "cat": "kernel", "ts": 1, "dur": -5},
                               {"ph": "X", "cat": "kernel", "ts": 1, "dur": 1e300}]})"),
               UserError);
}

TEST(Kineto, CutAnywhereGivesABeginning) {
  const std::string text = trace_of(0);
  test::read_every_beginning(text, [&](const std::string& beginning) {
    const KinetoTrace part = read(beginning);
    ASSERT_LE(part.steps.size(), 2U);
    ASSERT_LE(part.collectives.size(), 2U);
    ASSERT_FALSE(part.warnings.empty() && beginning.size() + 2 < text.size());
  });
}

}  // namespace
}  // namespace vitsim
