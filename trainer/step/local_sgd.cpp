// Local SGD (Stich, 2019): ranks train by themselves, each on its own samples with its own
// optimizer, and every `every` steps their weights become the average of all. The average is
// weighted by the samples that each rank has trained on since the last one, so that with uneven
// micro-batches every sample counts the same. With `every` 1 and an optimizer that is linear in the
// gradient, that is data-parallel training; with AdamW it is another training.
//
// What is averaged is the fp32 weights, in 16-bit training the master copies: updates far below a
// 16-bit weight's last place would get lost otherwise. Moments are not averaged.
#include <ATen/ATen.h>

#include "trainer/step/replicated_weights.h"

namespace vitsim {

namespace {

class LocalSgd : public ReplicatedReducer {
 public:
  explicit LocalSgd(const ReducerContext& context)
      : ReplicatedReducer(context),
        group_(context.group),
        every_(context.training->local_updates->every),
        since_average_(at::zeros({2}, at::kDouble)) {}

  void begin_step(const StepShare& share) override {
    due_ = (share.step + 1) % every_ == 0;
    since_average_[0] += static_cast<double>(share.samples);
    since_average_[1] += static_cast<double>(share.joined);
  }

  std::int64_t reduce() override { return 0; }

  [[nodiscard]] bool trains_alone() const override { return true; }

  [[nodiscard]] std::optional<Phase> publish_phase() const override {
    return due_ ? std::optional(Phase::kGradientAllReduce) : std::nullopt;
  }

  std::int64_t publish() override {
    const std::int64_t bytes = due_ ? average() : 0;
    replicated().publish();
    return bytes;
  }

  [[nodiscard]] std::vector<NamedTensor> own_state() override {
    return {{"samples_since_average", since_average_}};
  }

  void finish() override {
    if (since_average_[1].item<double>() > 0) {
      average();
      replicated().publish();
    }
  }

 private:
  std::int64_t average() {
    const at::NoGradGuard no_grad;
    const double share =
        since_average_[0].item<double>() / std::max(1.0, since_average_[1].item<double>());
    since_average_.zero_();
    const std::vector<at::Tensor> all = replicated().weights();
    std::vector<at::Tensor> parts;
    parts.reserve(all.size());
    for (const at::Tensor& weight : all) {
      parts.push_back(weight.reshape(-1));
    }
    at::Tensor flat = at::cat(parts).mul_(share);
    std::vector<at::Tensor> tensors = {flat};
    group_->allreduce(tensors)->wait();
    std::int64_t at = 0;
    for (const at::Tensor& weight : all) {
      weight.copy_(flat.narrow(0, at, weight.numel()).view(weight.sizes()));
      at += weight.numel();
    }
    return static_cast<std::int64_t>(flat.nbytes());
  }

  c10::intrusive_ptr<c10d::ProcessGroup> group_;
  std::int64_t every_;
  at::Tensor since_average_;  // samples of this rank, and of all, since the last average
  bool due_ = false;
};

}  // namespace

std::unique_ptr<GradientReducer> make_local_sgd(const ReducerContext& context) {
  return std::make_unique<LocalSgd>(context);
}

}  // namespace vitsim
