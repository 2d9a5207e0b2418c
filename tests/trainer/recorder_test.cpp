#include "trainer/recorder.h"

#include <chrono>

#include <gtest/gtest.h>

#include "tests/trainer/scripted_device.h"

namespace vitsim {
namespace {

using testing::ScriptedDevice;

TEST(Recorder, WritesDownPhasesOfAStep) {
  ScriptedDevice device;
  PhaseBoard board;
  Recorder recorder(device, board, 3);
  device.now = 100;
  recorder.begin_step(7, /*warm_up=*/true, /*full=*/false);
  {
    const auto phase = recorder.phase(Phase::kForward);
    EXPECT_EQ(board.phase(), Phase::kForward);
    EXPECT_EQ(board.step(), 7);
    device.now = 110;
  }
  {
    auto phase = recorder.phase(Phase::kBackward);
    device.now = 130;
    phase.end_at(Mark{125});  // it was done earlier: the rest was waiting for sums
  }
  device.now = 140;
  recorder.end_step();
  const auto spans = recorder.take_spans();
  ASSERT_EQ(spans.size(), 2U);
  EXPECT_EQ(spans[0].rank, 3);
  EXPECT_EQ(spans[0].step, 7);
  EXPECT_TRUE(spans[0].warm_up);
  EXPECT_EQ(spans[0].end_ns - spans[0].begin_ns, 10);
  EXPECT_EQ(spans[1].end_ns - spans[1].begin_ns, 15);
  const auto steps = recorder.take_steps();
  ASSERT_EQ(steps.size(), 1U);
  EXPECT_EQ(steps[0].end_ns - steps[0].begin_ns, 40);
  EXPECT_FALSE(steps[0].full);
  EXPECT_TRUE(recorder.take_spans().empty());
}

TEST(Recorder, SumsBesideBackwardAreSpansOfTheirOwn) {
  ScriptedDevice device;
  PhaseBoard board;
  Recorder recorder(device, board, 0);
  recorder.begin_step(0, false, true);
  device.communication = {{.begin_ns = 5, .end_ns = 9, .bytes = 64}};
  recorder.end_step();
  auto spans = recorder.take_spans();
  ASSERT_EQ(spans.size(), 1U);
  EXPECT_EQ(spans[0].phase, Phase::kGradientAllReduce);
  EXPECT_EQ(spans[0].stream, Stream::kCommunication);
  EXPECT_EQ(spans[0].bytes, 64);

  // What brings the sums back is a span without bytes, from the last sum's end to its mark.
  recorder.begin_step(1, false, true);
  device.communication = {{.begin_ns = 5, .end_ns = 9, .bytes = 64}};
  device.now = 14;
  recorder.gradients_are_back();
  device.now = 20;
  recorder.end_step();
  spans = recorder.take_spans();
  ASSERT_EQ(spans.size(), 2U);
  EXPECT_EQ(spans[1].bytes, 0);
  EXPECT_EQ(spans[1].begin_ns, spans[0].end_ns);
  EXPECT_EQ(spans[1].end_ns - spans[1].begin_ns, 5);

  // Gathers of weights are told apart from sums.
  recorder.begin_step(2, false, true);
  device.communication = {
      {.phase = Phase::kParameterAllGather, .begin_ns = 5, .end_ns = 9, .bytes = 32}};
  recorder.end_step();
  spans = recorder.take_spans();
  ASSERT_EQ(spans.size(), 1U);
  EXPECT_EQ(spans[0].phase, Phase::kParameterAllGather);
  EXPECT_EQ(spans[0].bytes, 32);
}

TEST(Recorder, LeavesOutOfAPhaseWhatItWaitsFor) {
  // A pass from 0 to 20 waits from 5 to 8 and from 12 to 13: it is three pieces of 5 + 4 + 7. What
  // lies behind its end, 22, does not count.
  ScriptedDevice device;
  PhaseBoard board;
  Recorder recorder(device, board, 0);
  recorder.begin_step(0, false, true);
  {
    auto phase = recorder.phase(Phase::kBackward);
    device.now = 25;
    phase.end_at(Mark{20});
    phase.leave_out({{{5}, {8}}, {{12}, {13}}, {{22}, {24}}});
  }
  recorder.end_step();
  const auto spans = recorder.take_spans();
  ASSERT_EQ(spans.size(), 3U);
  const std::int64_t lengths[] = {5, 4, 7};
  for (std::size_t i = 0; i < 3; ++i) {
    EXPECT_EQ(spans[i].phase, Phase::kBackward);
    EXPECT_EQ(spans[i].end_ns - spans[i].begin_ns, lengths[i]);
  }
}

TEST(Recorder, KeepsNothingWhereNothingIsAsked) {
  ScriptedDevice device;
  PhaseBoard board;
  Recorder recorder(device, board, 0, /*keep=*/false);
  recorder.begin_step(5, false, true);
  { const auto phase = recorder.phase(Phase::kBackward); }
  recorder.end_step();
  recorder.add(Phase::kEvaluate, 5, 0, 1);
  EXPECT_TRUE(recorder.take_spans().empty());
  EXPECT_TRUE(recorder.take_steps().empty());
  EXPECT_EQ(board.phase(), Phase::kBackward);
}

TEST(Recorder, CostsLessThanOnePercentOfAStep) {
  // A step has five phases and its frame. The smallest ViT's takes milliseconds; 5 us a phase would
  // be 30 us of them, far above what is measured (about 0.1 us).
  ScriptedDevice device;
  PhaseBoard board;
  Recorder recorder(device, board, 0);
  constexpr int kSteps = 20'000;
  const auto begin = std::chrono::steady_clock::now();
  for (int step = 0; step < kSteps; ++step) {
    recorder.begin_step(step, false, true);
    for (const Phase phase : {Phase::kDataLoad,
                              Phase::kForward,
                              Phase::kBackward,
                              Phase::kGradientAllReduce,
                              Phase::kOptimizer}) {
      const auto scope = recorder.phase(phase);
    }
    recorder.end_step();
  }
  const std::chrono::duration<double, std::micro> took = std::chrono::steady_clock::now() - begin;
  RecordProperty("us_per_step", std::to_string(took.count() / kSteps));
  EXPECT_LT(took.count() / kSteps, 30);
  EXPECT_EQ(recorder.take_spans().size(), 5U * kSteps);
}

}  // namespace
}  // namespace vitsim
