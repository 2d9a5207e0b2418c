#include "calibrate/import/training_log.h"

#include <sstream>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "models/error.h"
#include "tests/support/broken_input.h"
#include "tests/support/import_samples.h"

namespace vitsim {
namespace {

using ::testing::DoubleEq;
using ::testing::DoubleNear;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::Pointwise;

Piece read(const std::string& text) {
  std::istringstream stream(text);
  return read_training_log(stream, "a.log", "a");
}

constexpr const char* kBanner =
    "[INFO|trainer.py:2245] 2025-01-01 >> ***** Running training *****\n"
    "[INFO|trainer.py:2246] 2025-01-01 >>   Num examples = 50,000\n"
    "[INFO|trainer.py:2247] 2025-01-01 >>   Num Epochs = 3\n"
    "[INFO|trainer.py:2248] 2025-01-01 >>   Instantaneous batch size per device = 16\n"
    "[INFO|trainer.py:2251] 2025-01-01 >>   Total train batch size (w. parallel, distributed & "
    "accumulation) = 128\n"
    "[INFO|trainer.py:2252] 2025-01-01 >>   Gradient Accumulation steps = 2\n"
    "[INFO|trainer.py:2253] 2025-01-01 >>   Total optimization steps = 1,173\n"
    "[INFO|trainer.py:2254] 2025-01-01 >>   Number of trainable parameters = 86,567,656\n";

TEST(TrainingLog, ReadsTheTrainersBannerAndSummary) {
  const Piece piece = read(std::string(kBanner) +
                           "{'train_runtime': 600.0, 'train_samples_per_second': 250.0, "
                           "'train_steps_per_second': 1.955, 'train_loss': 1.2, 'epoch': 3.0}\n");
  EXPECT_EQ(piece.facts.samples, 50'000);
  EXPECT_EQ(piece.facts.epochs, 3);
  EXPECT_EQ(piece.facts.micro_batch, std::vector<std::int64_t>{16});
  EXPECT_EQ(piece.facts.accumulation, 2);
  EXPECT_EQ(piece.facts.world_size, 4);  // 128 / 16 / 2
  EXPECT_EQ(piece.facts.parameters, 86'567'656);
  EXPECT_THAT(figures(piece.samples, "step", 0), ElementsAre(DoubleEq(1 / 1.955)));
  EXPECT_THAT(figures(piece.samples, "epoch"), ElementsAre(200.0));
}

TEST(TrainingLog, ReadsTheTableAtTheEnd) {
  std::string log(kBanner);
  log += "***** train metrics *****\n  train_runtime            = 0:10:00.00\n";
  log += "  train_steps_per_second   =      2.0\n";
  const Piece piece = read(log);
  EXPECT_THAT(figures(piece.samples, "step", 0), ElementsAre(0.5));
  EXPECT_THAT(figures(piece.samples, "epoch"), ElementsAre(200.0));
}

// Bars are drawn over and over: 100 steps in 50 s, then 100 in 40 s. Evaluation's bar is another.
TEST(TrainingLog, ReadsProgressBarsByDifference) {
  const Piece piece = read(
      "***** Running training *****\n"
      "  0%|          | 1/2000 [00:01<30:00,  1.1it/s]\r  5%|#  | 101/2000 [00:51<15:50,  "
      "2.0it/s]\r"
      " 10%|#  | 201/2000 [01:31<15:50,  2.4it/s]\n 3%|#  | 1/30 [00:09<15:50,  2.4it/s]\n"
      " 10%|#  | 3/30 [00:10<15:50,  2.4it/s]\n");
  EXPECT_THAT(figures(piece.samples, "step", 0),
              Pointwise(DoubleEq(), std::vector<double>{0.5, 0.4}));
}

TEST(TrainingLog, ReadsReferenceScripts) {
  const Piece imagenet = read(
      "Epoch: [0][   1/5005]\tTime  6.352 ( 6.352)\tData  5.001 ( 5.001)\tLoss 6.9\n"
      "[rank0]:Epoch: [0][  11/5005]\tTime  0.352 ( 0.812)\tData  0.001 ( 0.321)\tLoss 6.9\n"
      "[rank1]:Epoch: [0][  11/5005]\tTime  0.360 ( 0.812)\tData  0.001 ( 0.321)\tLoss 6.9\n");
  EXPECT_THAT(figures(imagenet.samples, "step", 0), ElementsAre(6.352, 0.352));
  EXPECT_THAT(figures(imagenet.samples, "step", 1), ElementsAre(0.36));
  const Piece torchvision = read(
      "Epoch: [0]  [  10/5005]  eta: 1:23:45  lr: 0.1  img/s: 723.4  loss: 6.9 (6.9)  time: 0.3521 "
      " data: 0.0010  max mem: 12345\n");
  EXPECT_THAT(figures(torchvision.samples, "step", 0), ElementsAre(0.3521));
  const Piece timm = read(
      "Train: 0 [  50/1251 (  4%)]  Loss: 6.95 (6.95)  Time: 0.412s,  620.10/s  (0.502s,  510.1/s) "
      " LR: 1.000e-05  Data: 0.011 (0.042)\n");
  EXPECT_THAT(figures(timm.samples, "step", 0), ElementsAre(0.412));
  const Piece megatron = read(
      " iteration       10/     100 | consumed samples:  640 | elapsed time per iteration (ms): "
      "1234.5 | learning rate: 1.5E-04 | global batch size:    64 |\n");
  EXPECT_THAT(figures(megatron.samples, "step", 0), ElementsAre(DoubleNear(1.2345, 1e-12)));
}

TEST(TrainingLog, ALogWithoutTimesIsRefused) {
  EXPECT_THAT(test::refusal([] { read(kBanner); }), HasSubstr("no time of a step"));
  EXPECT_FALSE(marks_training_log("the time of a step"));
  EXPECT_TRUE(marks_training_log("Epoch: [0][ 11/5005]\tTime  0.352 ( 0.812)"));
}

}  // namespace
}  // namespace vitsim
