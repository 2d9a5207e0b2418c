#pragma once

#include <cstdint>
#include <vector>

#include "trainer/step/gradient_reducer.h"

namespace vitsim {

/// What reducers have in common whose ranks hold all weights and update a part of them each (ZeRO;
/// Rajbhandari et al., 2020). The model's parameters become views of one flat buffer, padded to N
/// equal shards, one a rank. A rank updates its shard in fp32, on a master copy where the model is
/// in 16 bits, and an AllGather brings the new weights to every rank.
///
/// A shard's borders cut through tensors. The optimizer sees the pieces ("slices"); what needs
/// whole tensors or the whole gradient, LAMB's norms and clipping, sums its squares over shards.
class ShardedReducer : public GradientReducer {
 public:
  [[nodiscard]] std::vector<Slice> slices() override;
  std::int64_t publish() override;

  [[nodiscard]] std::optional<Phase> publish_phase() const override {
    return Phase::kParameterAllGather;
  }

  void sum_over_shards(at::Tensor& values) override;

  [[nodiscard]] bool sharded() const override { return true; }

  void adopt_model() override;

 protected:
  /// A shard is a multiple of `multiple` elements. Weights are gathered in as many calls as whole
  /// `gather_elements` they hold, as DeepSpeed does; 0: all at once.
  ShardedReducer(const ReducerContext& context,
                 std::int64_t multiple,
                 std::int64_t gather_elements = 0);

  [[nodiscard]] c10d::ProcessGroup& group() const { return *group_; }

  [[nodiscard]] const std::vector<at::Tensor>& parameters() const { return parameters_; }

  /// Elements of all parameters, and of a shard, padding included.
  [[nodiscard]] std::int64_t elements() const { return elements_; }

  [[nodiscard]] std::int64_t shard() const { return shard_; }

  /// Zeros of the model's type.
  [[nodiscard]] at::Tensor zeros(std::int64_t elements) const;

  /// Adds to `sum`, a shard, what falls into it of the gradient `flat` of parameter `index`.
  void add_own_part(std::size_t index, const at::Tensor& flat, at::Tensor& sum) const;

  /// The sum over ranks of this shard's gradient, for the optimizer.
  void set_gradient(const at::Tensor& gradient);

 private:
  // The part of a parameter that lies in this rank's shard.
  struct Overlap {
    std::int64_t offset = 0;    // within the parameter
    std::int64_t at = 0;        // within the shard
    std::int64_t elements = 0;  // 0: none
  };

  [[nodiscard]] Overlap overlap(std::size_t index) const;
  [[nodiscard]] at::Tensor own_part() const;

  c10::intrusive_ptr<c10d::ProcessGroup> group_;
  const std::vector<at::Tensor>& parameters_;
  std::vector<std::int64_t> begins_;  // of each parameter in the flat buffer
  std::int64_t gather_elements_;
  std::int64_t elements_ = 0;
  std::int64_t shard_ = 0;
  std::int64_t begin_ = 0;  // of this rank's shard
  at::Tensor flat_;
  at::Tensor master_;    // fp32; in fp32 training the model's own memory
  at::Tensor gradient_;  // fp32, of this shard
};

}  // namespace vitsim
