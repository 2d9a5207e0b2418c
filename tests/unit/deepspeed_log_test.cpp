#include "calibrate/import/deepspeed_log.h"

#include <sstream>

#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "calibrate/import/text_source.h"
#include "models/distribution.h"
#include "models/error.h"
#include "tests/support/broken_input.h"
#include "tests/support/import_samples.h"
#include "tests/support/temporary_folder_support.h"

namespace vitsim {
namespace {

using ::testing::AllOf;
using ::testing::Contains;
using ::testing::DoubleEq;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Pointwise;
using ::testing::SizeIs;

Piece read(const std::string& text) {
  std::istringstream stream(text);
  return read_deepspeed_log(stream, "a.log", "a").front();
}

Piece read_sample_log(const std::string& name) {
  return read(test::file_text(import_sample(name)));
}

Piece read_reference(const std::string& name) {
  FileBuffer buffer(reference_runs() / name);
  std::istream stream(&buffer);
  return read_deepspeed_log(stream, name, name).front();
}

std::string micro_step(const std::string& forward) {
  return "[Rank 0] time (ms) | fwd_microstep: " + forward +
         " | bwd_microstep: 3.00 | bwd_inner_microstep: 2.00 | bwd_allreduce_microstep: 1.00 | "
         "step_microstep: 0.50";
}

std::string step(const std::string& forward) {
  return "[Rank 0] time (ms) | fwd: " + forward +
         " | bwd: 3.00 | bwd_inner: 2.00 | bwd_allreduce: 1.00 | step: 0.50";
}

std::string whole_step(const std::string& forward) {
  return micro_step(forward) + "\n" + step(forward) + "\n";
}

TEST(DeepspeedLog, ReadsDatedLinesAndThePrintedConfiguration) {
  const Piece piece = read_sample_log("old/two_hosts.deepspeed.log");
  EXPECT_THAT(figures(piece.samples, "forward", 0),
              Pointwise(DoubleEq(), std::vector<double>{0.0905, 0.0201, 0.0203, 0.0102}));
  EXPECT_THAT(figures(piece.samples, "backward", 0),
              Pointwise(DoubleEq(), std::vector<double>{0.25025, 0.0904, 0.0914, 0.0607}));
  EXPECT_THAT(figures(piece.samples, "backward_compute", 0), SizeIs(4));
  EXPECT_THAT(figures(piece.samples, "gradient_all_reduce", 0),
              Pointwise(DoubleEq(), std::vector<double>{0.1502, 0.05, 0.051, 0.0402}));
  EXPECT_THAT(figures(piece.samples, "optimizer", 0),
              Pointwise(DoubleEq(), std::vector<double>{0.03, 0.008, 0.0081, 0.0082}));
  EXPECT_EQ(piece.facts.world_size, 2);
  EXPECT_EQ(piece.facts.one_node, false);  // both ranks are the first of their machine
  EXPECT_EQ(piece.facts.micro_batch, std::vector<std::int64_t>{12});
  EXPECT_EQ(piece.facts.accumulation, 1);
  EXPECT_EQ(piece.facts.precision, Precision::kFp16);
  EXPECT_EQ(piece.facts.optimizer, OptimizerKind::kAdamW);
  EXPECT_EQ(piece.facts.gradient_sync, GradientSync::kDeepspeedZero0);
  EXPECT_EQ(piece.facts.wall_clock_breakdown, true);
  EXPECT_EQ(piece.environment.at("deepspeed"), "0.15.1");
  EXPECT_THAT(piece.warnings, IsEmpty());
}

TEST(DeepspeedLog, FindsTimesAmongProgressBars) {
  const Piece piece = read_sample_log("bars/bars.log");
  EXPECT_THAT(figures(piece.samples, "forward", 0),
              Pointwise(DoubleEq(), std::vector<double>{0.0315, 0.0111, 0.0112, 0.0113}));
  EXPECT_THAT(figures(piece.samples, "optimizer", 0),
              Pointwise(DoubleEq(), std::vector<double>{0.005, 0.0025, 0.0026, 0.0027}));
  EXPECT_EQ(piece.facts.world_size, 1);
  EXPECT_EQ(piece.facts.micro_batch, std::vector<std::int64_t>{8});
  EXPECT_EQ(piece.facts.parameters, 5717416);
  EXPECT_EQ(piece.environment.at("torch"), "2.11.0");
  EXPECT_THAT(piece.warnings, IsEmpty());
}

TEST(DeepspeedLog, SeparatesRanksThatShareALineAndDerivesTheAccumulation) {
  const Piece piece = read_sample_log("tagged/tagged.log");
  EXPECT_EQ(piece.facts.accumulation, 2);
  EXPECT_EQ(piece.facts.world_size, 2);
  EXPECT_THAT(figures(piece.samples, "forward", 0),
              Pointwise(DoubleEq(), std::vector<double>{0.05, 0.052, 0.051, 0.053, 0.052, 0.054}));
  EXPECT_THAT(figures(piece.samples, "forward", 1),
              Pointwise(DoubleEq(), std::vector<double>{0.06, 0.062, 0.061, 0.063, 0.062, 0.064}));
  EXPECT_THAT(figures(piece.samples, "optimizer", 1),
              Pointwise(DoubleEq(),
                        std::vector<double>{0.00002, 0.0096, 0.00002, 0.0106, 0.00002, 0.0116}));
  EXPECT_THAT(piece.warnings, IsEmpty());
}

TEST(DeepspeedLog, TakesFiguresOfTwoDecimalsOnly) {
  // Another rank's text begins with digits: 7.251 is 7.25 and a 1 of the other.
  const Piece piece = read(micro_step("7.25") + "1/2 ready\n" + step("7.25") + "\n");
  EXPECT_THAT(figures(piece.samples, "forward", 0),
              Pointwise(DoubleEq(), std::vector<double>{0.00725}));
  EXPECT_THAT(figures(piece.samples, "optimizer", 0),
              Pointwise(DoubleEq(), std::vector<double>{0.0005}));
}

TEST(DeepspeedLog, ReadsTheTimersOfOlderVersions) {
  const Piece piece = read(
      "[INFO] [Rank 0] rank=0 time (ms) | optimizer_gradients: 0.27 | optimizer_step: 1.20\n"
      "[INFO] [Rank 0] rank=0 time (ms) | forward_microstep: 4.50 | backward_microstep: 3.00 | "
      "backward_inner_microstep: 2.00 | backward_allreduce_microstep: 1.00 | step_microstep: 0.50\n"
      "[INFO] [Rank 0] rank=0 time (ms) | forward: 4.50 | backward: 3.00 | backward_inner: 2.00 | "
      "backward_allreduce: 1.00 | step: 0.50\n");
  EXPECT_THAT(figures(piece.samples, "forward", 0),
              Pointwise(DoubleEq(), std::vector<double>{0.0045}));
  EXPECT_THAT(piece.warnings, ElementsAre(HasSubstr("1 lines of other timers")));
}

TEST(DeepspeedLog, WarnsOfACutLineWithItsNumber) {
  const std::string text =
      whole_step("4.00") + whole_step("5.00") + micro_step("6.00").substr(0, 60);
  const Piece piece = read(text);
  EXPECT_THAT(figures(piece.samples, "forward", 0),
              Pointwise(DoubleEq(), std::vector<double>{0.004, 0.005}));
  ASSERT_THAT(piece.warnings, SizeIs(1));
  EXPECT_THAT(piece.warnings.front(), HasSubstr("a.log:5: the file ends in the middle"));
}

TEST(DeepspeedLog, KeepsTheStepOfALostMicroStepLine) {
  // The second step's micro-step line was torn apart; its step line says the same.
  const std::string torn = micro_step("5.00").insert(70, "[Rank 1] hello ");
  const Piece piece =
      read(whole_step("4.00") + torn + "\n" + step("5.00") + "\n" + whole_step("6.00"));
  EXPECT_THAT(figures(piece.samples, "forward", 0),
              Pointwise(DoubleEq(), std::vector<double>{0.004, 0.005, 0.006}));
  ASSERT_THAT(piece.warnings, SizeIs(1));
  EXPECT_THAT(piece.warnings.front(), HasSubstr("a.log:3: a timer line is mangled"));
}

TEST(DeepspeedLog, LeavesOutStepsThatLostAMicroStep) {
  std::string text;
  for (const char* forward : {"1.00", "2.00", "3.00"}) {
    text += micro_step(forward) + "\n" + whole_step(forward);
  }
  text += whole_step("9.00");  // one micro-step where others have two
  const Piece piece = read(text);
  EXPECT_EQ(piece.facts.accumulation, 2);
  EXPECT_THAT(figures(piece.samples, "forward", 0),
              Pointwise(DoubleEq(), std::vector<double>{0.001, 0.001, 0.002, 0.002, 0.003, 0.003}));
  ASSERT_THAT(piece.warnings, SizeIs(1));
  EXPECT_THAT(piece.warnings.front(), HasSubstr("1 steps have other than 2 micro-steps"));
}

TEST(DeepspeedLog, BelievesWhatWasPrintedOverTheConfiguration) {
  const Piece piece = read("[INFO] [config.py:1003:print]   gradient_accumulation_steps .. 4\n" +
                           whole_step("1.00"));
  EXPECT_EQ(piece.facts.accumulation, 1);
  EXPECT_THAT(piece.warnings, SizeIs(1));
}

TEST(DeepspeedLog, GivesFactsOfARankThatPrintsNoTimes) {
  const Piece piece =
      read("DeepSpeed deepspeed.ops.comm.deepspeed_shm_comm_op built successfully\n");
  EXPECT_THAT(piece.samples, IsEmpty());
}

TEST(DeepspeedLog, RefusesTextWithoutDeepSpeed) {
  EXPECT_THROW(read("hello\n"), UserError);
  EXPECT_THROW(read(""), UserError);
}

// A log cut anywhere gives no more steps than the whole, and the same ones.
TEST(DeepspeedLog, CutAnywhereGivesABeginning) {
  for (const char* name : {"old/two_hosts.deepspeed.log", "bars/bars.log", "tagged/tagged.log"}) {
    const std::string text = test::file_text(import_sample(name));
    const std::vector<double> whole = figures(read(text).samples, "forward", 0);
    SCOPED_TRACE(name);
    test::read_every_beginning(text, [&](const std::string& beginning) {
      const std::vector<double> part = figures(read(beginning).samples, "forward", 0);
      ASSERT_LE(part.size(), whole.size());
      ASSERT_TRUE(std::equal(part.begin(), part.end(), whole.begin()));
    });
  }
}

TEST(DeepspeedLog, ReadsLinesOfAnyLength) {
  const std::string rubbish(3 << 20, 'x');
  const Piece piece = read(rubbish + "\n" + whole_step("1.00") + rubbish);
  EXPECT_THAT(figures(piece.samples, "forward", 0), SizeIs(1));
}

// Counts and medians by grep -o "| fwd_microstep: [0-9.]*" | sort -n.
TEST(DeepspeedLog, ReadsTheStudysLogs) {
  if (reference_runs().empty()) {
    GTEST_SKIP() << "no reference runs beside the checkout";
  }
  const Piece tesla = read_reference("raw/tesla-4gpu-p0.4_b16_e10.deepspeed.log");
  EXPECT_THAT(figures(tesla.samples, "forward", 0), SizeIs(3130));
  EXPECT_NEAR(median(figures(tesla.samples, "forward", 0)), 0.23821, 1e-9);
  EXPECT_NEAR(median(figures(tesla.samples, "backward_compute", 0)), 0.437845, 1e-9);
  EXPECT_NEAR(median(figures(tesla.samples, "gradient_all_reduce", 0)), 0.515685, 1e-9);
  EXPECT_NEAR(median(figures(tesla.samples, "optimizer", 0)), 0.04864, 1e-9);
  EXPECT_EQ(tesla.facts.world_size, 4);
  EXPECT_EQ(tesla.facts.one_node, false);
  EXPECT_EQ(tesla.facts.micro_batch, std::vector<std::int64_t>{16});
  EXPECT_EQ(tesla.facts.precision, Precision::kFp32);
  EXPECT_EQ(tesla.environment.at("deepspeed"), "0.15.4");
  EXPECT_THAT(tesla.warnings, IsEmpty());

  const Piece vector = read_reference("raw/vector-t4v2_b64-2gpu-p0.2_b64_e5.deepspeed.log");
  EXPECT_THAT(figures(vector.samples, "forward", 0), SizeIs(395));
  EXPECT_NEAR(median(figures(vector.samples, "forward", 0)), 0.80749, 1e-9);
  EXPECT_EQ(vector.facts.micro_batch, std::vector<std::int64_t>{64});
}

// The same, with grep -a.
TEST(DeepspeedLog, ReadsTodaysLogsThroughEveryLauncher) {
  if (reference_runs().empty()) {
    GTEST_SKIP() << "no reference runs beside the checkout";
  }

  struct Expected {
    const char* name;
    std::size_t micro_steps;
    double forward_ms;
    double all_reduce_ms;
    std::int64_t accumulation;
  };

  for (const Expected& expected : {Expected{"ds_2rank_tqdm", 20, 74.685, 22.455, 1},
                                   Expected{"ds_2rank_tee", 15, 77.07, 21.03, 1},
                                   Expected{"ds_2rank_tagged", 15, 74.40, 15.98, 1},
                                   Expected{"ds_2rank_gas2", 40, 74.83, 7.465, 2}}) {
    SCOPED_TRACE(expected.name);
    const Piece piece = read_reference(std::string("deepspeed-0.19/") + expected.name + ".log");
    const std::vector<double> forward = figures(piece.samples, "forward", 0);
    ASSERT_THAT(forward, SizeIs(expected.micro_steps));
    EXPECT_NEAR(median(forward), expected.forward_ms * 1e-3, 1e-9);
    EXPECT_NEAR(median(figures(piece.samples, "gradient_all_reduce", 0)),
                expected.all_reduce_ms * 1e-3,
                1e-9);
    EXPECT_EQ(piece.facts.accumulation, expected.accumulation);
    EXPECT_EQ(piece.facts.world_size, 2);
    EXPECT_EQ(piece.facts.micro_batch, std::vector<std::int64_t>{16});
    EXPECT_EQ(piece.facts.parameters, 2738596);
    EXPECT_THAT(piece.warnings, IsEmpty());
  }
}

std::string configuration(int micro_batch, int stage) {
  return fmt::format(
      "[Rank 0] DeepSpeed info: version=0.9.2, git-hash=unknown\n"
      "[Rank 0] DeepSpeed Final Optimizer = AdamW\n"
      "DeepSpeedEngine configuration:\n"
      "[config.py:964:print]   train_micro_batch_size_per_gpu  {}\n"
      "[config.py:964:print]   zero_optimization_stage ...... {}\n",
      micro_batch,
      stage);
}

std::vector<Piece> read_all(const std::string& text) {
  std::istringstream stream(text);
  return read_deepspeed_log(stream, "a.log", "a");
}

TEST(DeepspeedLog, EveryStartIsARunWithItsOwnFacts) {
  const std::vector<Piece> pieces =
      read_all(configuration(16, 0) + whole_step("1.00") + whole_step("1.00") +
               configuration(32, 0) + whole_step("2.00"));
  ASSERT_THAT(pieces, SizeIs(2));
  EXPECT_EQ(pieces[0].run, "a");
  EXPECT_EQ(pieces[1].run, "a (2)");
  EXPECT_EQ(pieces[1].start_of, "a");
  EXPECT_EQ(pieces[0].facts.micro_batch, std::vector<std::int64_t>{16});
  EXPECT_EQ(pieces[1].facts.micro_batch, std::vector<std::int64_t>{32});
  EXPECT_EQ(pieces[1].facts.optimizer, OptimizerKind::kAdamW);
  EXPECT_THAT(figures(pieces[0].samples, "forward", 0), SizeIs(2));
  EXPECT_THAT(figures(pieces[1].samples, "forward", 0),
              Pointwise(DoubleEq(), std::vector<double>{0.002}));
}

// A start that failed before its first step leaves nothing behind but its count.
TEST(DeepspeedLog, AStartWithoutStepsGivesNoFacts) {
  const std::string half = "[config.py:964:print]   fp16_enabled ................. True\n";
  const std::vector<Piece> pieces =
      read_all(configuration(16, 0) + half + configuration(64, 0) + whole_step("1.00"));
  ASSERT_THAT(pieces, SizeIs(1));
  EXPECT_EQ(pieces[0].facts.micro_batch, std::vector<std::int64_t>{64});
  EXPECT_FALSE(pieces[0].facts.precision);
  const std::vector<Piece> ended =
      read_all(configuration(16, 0) + whole_step("1.00") + configuration(64, 0));
  ASSERT_THAT(ended, SizeIs(1));
  EXPECT_EQ(ended[0].facts.micro_batch, std::vector<std::int64_t>{16});
  EXPECT_THAT(ended[0].warnings, Contains(HasSubstr("1 of 2 starts printed no step")));
}

// Without a printed configuration the ranks that introduce themselves again tell a restart; the
// ranks of one start introduce themselves once each.
TEST(DeepspeedLog, RanksThatIntroduceThemselvesAgainAreANewStart) {
  const auto banner = [](int rank, int batch) {
    return fmt::format("rank {}/2 parameters 100 micro_batch {}\n", rank, batch);
  };
  const std::string first = "DeepSpeed\n" + banner(0, 8) + whole_step("1.00") + banner(1, 8);
  ASSERT_THAT(read_all(first), SizeIs(1));
  const std::vector<Piece> pieces = read_all(first + banner(0, 4) + whole_step("3.00"));
  ASSERT_THAT(pieces, SizeIs(2));
  EXPECT_EQ(pieces[0].facts.micro_batch, std::vector<std::int64_t>{8});
  EXPECT_EQ(pieces[1].facts.micro_batch, std::vector<std::int64_t>{4});
}

// A stage that nothing simulates is no other stage: its steps are left out by name.
TEST(DeepspeedLog, AStageThatIsNotSimulatedIsLeftOut) {
  const std::vector<Piece> pieces = read_all(configuration(16, 9) + whole_step("1.00") +
                                             configuration(16, 0) + whole_step("2.00"));
  ASSERT_THAT(pieces, SizeIs(1));
  EXPECT_EQ(pieces[0].facts.gradient_sync, GradientSync::kDeepspeedZero0);
  EXPECT_THAT(figures(pieces[0].samples, "forward", 0), SizeIs(1));
  EXPECT_THAT(pieces[0].warnings,
              Contains(AllOf(HasSubstr("ZeRO stage \"9\""), HasSubstr("1 steps"))));
  EXPECT_THAT(read_all(configuration(16, 9) + whole_step("1.00")).front().samples, IsEmpty());
}

TEST(DeepspeedLog, CountsTimersOfOthers) {
  const std::string pipeline =
      "[Rank 0] rank=0 time (ms) | train_batch: 0.00 | forward: 516.28 | backward_microstep: "
      "1816.61 | backward: 1809.28 | step: 18.44 | _step_step: 17.40\n";
  const std::string optimizer = "[Rank 0] time (ms) | optimizer_allgather: 1.50\n";
  const Piece piece = read(pipeline + pipeline + optimizer + whole_step("1.00"));
  ASSERT_THAT(piece.warnings, SizeIs(1));
  EXPECT_THAT(piece.warnings.front(), HasSubstr("3 lines of other timers"));
  EXPECT_THAT(figures(piece.samples, "forward", 0), SizeIs(1));
}

TEST(DeepspeedLog, ReadsAutocastOfThePrintedConfiguration) {
  const std::string on = "[config.py:964:print]   torch_autocast_enabled ....... True\n";
  const std::string half = "[config.py:964:print]   torch_autocast_dtype ......... torch.float16\n";
  EXPECT_EQ(read(on + whole_step("1.00")).facts.precision, Precision::kAmpBf16);
  EXPECT_EQ(read(on + half + whole_step("1.00")).facts.precision, Precision::kAmpFp16);
}

// Under Hugging Face's Trainer its banner tells what DeepSpeed does not print.
TEST(DeepspeedLog, ReadsTheTrainersBanner) {
  const Piece piece = read(
      "***** Running training *****\n  Num examples = 50,000\n  Num Epochs = 3\n"
      "  Instantaneous batch size per device = 16\n"
      "  Number of trainable parameters = 86,567,656\n" +
      whole_step("1.00"));
  EXPECT_EQ(piece.facts.samples, 50'000);
  EXPECT_EQ(piece.facts.epochs, 3);
  EXPECT_EQ(piece.facts.micro_batch, std::vector<std::int64_t>{16});
  EXPECT_EQ(piece.facts.parameters, 86'567'656);
}

}  // namespace
}  // namespace vitsim
