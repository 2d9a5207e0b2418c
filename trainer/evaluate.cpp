#include "trainer/evaluate.h"

#include <algorithm>
#include <array>

#include <ATen/ATen.h>

#include "trainer/step/train_step.h"

namespace vitsim {

Evaluation evaluate(const TrainingSpec& training,
                    const VisionTransformer& model,
                    const Dataset& dataset,
                    const LoaderOptions& options,
                    Communication& communication,
                    Device& device,
                    PhaseBoard& board,
                    std::int64_t step) {
  const at::NoGradGuard no_grad;
  const int rank = communication.group()->getRank();
  const std::int64_t samples =
      training.micro_batch[training.micro_batch.size() == 1 ? 0 : static_cast<std::size_t>(rank)];
  BatchFeed feed(
      start_evaluation(dataset, training, samples, rank, communication.group()->getSize(), options),
      dataset.normalisation(),
      training.precision,
      device);
  std::array<double, 4> sums{};  // samples, loss, first, among five
  while (feed.left() > 0) {
    board.enter(step, Phase::kEvaluate);
    const Batch batch = feed.next();
    const at::Tensor& labels = batch.labels;
    const at::Tensor scores = logits(model, batch.images, training.precision).to(at::kFloat);
    feed.copy_ahead();
    const std::int64_t choices = std::min<std::int64_t>(5, scores.size(1));
    const at::Tensor hits =
        std::get<1>(scores.topk(choices, 1)).eq(labels.unsqueeze(1)).to(at::kDouble);
    sums[0] += static_cast<double>(labels.numel());
    sums[1] += at::cross_entropy_loss(scores, labels, {}, at::Reduction::Sum).item<double>();
    sums[2] += hits.select(1, 0).sum().item<double>();
    sums[3] += hits.sum().item<double>();
  }
  communication.sum(sums);
  return {.loss = sums[1] / sums[0], .top1 = sums[2] / sums[0], .top5 = sums[3] / sums[0]};
}

}  // namespace vitsim
