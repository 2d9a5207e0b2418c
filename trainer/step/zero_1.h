#pragma once

#include <cstdint>
#include <optional>

#include "trainer/step/gradient_buckets.h"
#include "trainer/step/sharded_weights.h"

namespace vitsim {

/// DeepSpeed's ZeRO stage 1, and stage 2 where gradients are summed after every micro-batch.
class Zero1 : public ShardedReducer {
 public:
  Zero1(const ReducerContext& context, bool every_micro_batch);

  void begin_step(const StepShare& share) override;
  void before_backward(bool last) override;
  void after_backward(bool last) override;

  [[nodiscard]] bool tracks_collectives() const override { return overlap_; }

  [[nodiscard]] bool reduces_every_micro_batch() const override { return every_micro_batch_; }

  std::int64_t reduce() override;

 private:
  void ready(std::size_t parameter);
  void take_gradient(std::size_t parameter);
  void launched(const c10::intrusive_ptr<c10d::Work>& work, std::int64_t bytes);
  void wait(c10d::Work& work);

  Device& device_;
  bool every_micro_batch_;
  bool overlap_;
  bool within_backward_ = false;
  at::Tensor sum_;  // this rank's shard of the gradient, over ranks and micro-batches
  GradientBuckets buckets_;
  std::optional<GradientHooks> hooks_;  // none where gradients are taken after backward
};

}  // namespace vitsim
